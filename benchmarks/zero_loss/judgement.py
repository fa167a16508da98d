"""What must hold of the requests of a release beside that none is lost: from what was noted to words."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt

from loadtest.account import Request
from tests.cluster.application import V1

_DEVIATIONS = 5


@dataclass(frozen=True)
class Share:
    """How many of some requests went to the new version, and at what weight."""

    weight: int
    found: int
    of: int
    in_turns: bool
    """Whether the proxy deals in turns; else by chance."""

    @property
    def right(self) -> bool:
        """Whether it is as it should be: in turns to one request, by chance to five standard deviations."""
        turn = 1.0 if self.weight % 100 else 0.0
        chance = _DEVIATIONS * sqrt(self.of * self.weight * (100 - self.weight)) / 100
        return abs(self.found - self.of * self.weight / 100) <= (turn if self.in_turns else chance)


def misrouted(
    requests: Iterable[Request], routings: Mapping[str, str], let_out_at: float | None
) -> Iterator[str]:
    """Name requests that were routed to one revision's Service and answered by a pod of the other.

    ``routings``: a request's id to what it was routed to. Once let out, the new version serves behind the
    user's own Service too.
    """
    for each in requests:
        service, is_new = routings[each.id], each.revision != V1
        let_out = let_out_at is not None and each.ended >= let_out_at
        fits = is_new if "-canary" in service else not is_new or let_out
        if not fits:
            yield f"routed to {service}, answered by {each.server} ({each.revision})"


def late(requests: Iterable[Request], since: float, until: float) -> Iterator[str]:
    """Name requests that were sent to a version between two moments in which it is taken back."""
    for each in requests:
        if since < each.began < until and each.revision != V1:
            yield f"sent to {each.revision} {each.began - since:.2f} s after the roll-back was visible"
