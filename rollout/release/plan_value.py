"""The answer of one look at a release."""

from dataclasses import dataclass
from datetime import datetime

from rollout.actions import Action, Event
from rollout.status import Status


@dataclass(frozen=True)
class Plan:
    """Write ``status`` if it differs, then execute ``actions`` in order, then show ``events``.

    The status is written first and guarded by the Rollout's resourceVersion: whatever a user changed
    meanwhile makes the whole plan void before anything was done.
    """

    status: Status
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    look_again_at: datetime | None = None
    courtesies: tuple[Action, ...] = ()
    """Writes that nothing waits for: made when nothing else is written, and a refusal stops nothing."""
