"""Who may do what: the reconciler opens gates and moves pins, approvers approve. Knows no object."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from rollout import approval, names
from webhook.review import User


@dataclass(frozen=True)
class Policy:
    """What the settings say about users."""

    reconciler: str
    """User name of the reconciler's own identity."""
    approvers: tuple[str, ...] = ()
    """Groups whose members may approve; none: whoever the API server lets write."""

    def is_reconciler(self, user: User) -> bool:
        """Tell whether our own reconciler asks."""
        return user.username == self.reconciler

    def may_approve(self, user: User) -> bool:
        """Tell whether an approval by this user counts."""
        return not self.approvers or not set(self.approvers).isdisjoint(user.groups)

    def stamp(
        self,
        user: User,
        old: Mapping[str, str] | None,
        new: Mapping[str, str] | None,
        now: datetime,
    ) -> str | None:
        """Return the stamp that the new annotations must carry; None for none.

        Somebody who may not approve keeps the stamp of who did, and gets none of their own: not even for an
        approval that was there before, unstamped (from a time or a request without the webhook).
        """
        stamp = approval.stamped(old, new, user.username, now)
        kept = stamp == (old or {}).get(names.APPROVED_BY)
        return stamp if kept or self.may_approve(user) else None
