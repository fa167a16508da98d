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


@dataclass(frozen=True)
class Course:
    """What a trial did when, in seconds of the requests' clock."""

    let_out_at: float | None = None
    """From when the new version serves behind the user's own Service too."""
    released: tuple[tuple[float, str | None], ...] = ()
    """From when which version is the new one; None while one replaces another."""

    def new_at(self, moment: float) -> str | None:
        """Name the version that was the new one; None where it may have been any."""
        return next((image for since, image in reversed(self.released) if since <= moment), None)


def misrouted(requests: Iterable[Request], routings: Mapping[str, str], course: Course) -> Iterator[str]:
    """Name requests that were routed to one revision's Service and answered by a pod of the other.

    ``routings``: a request's id to what it was routed to.
    """
    for each in requests:
        service = routings.get(each.id)
        if service is None:
            yield f"not in the access log: request {each.id}, answered by {each.server}"
        elif not _fits(each, course, to_canary="-canary" in service):
            yield f"routed to {service}, answered by {each.server} ({each.revision})"


def _fits(request: Request, course: Course, *, to_canary: bool) -> bool:
    if to_canary:
        new = course.new_at(request.began)
        return request.revision != V1 and new in {None, request.revision}
    let_out = course.let_out_at is not None and request.ended >= course.let_out_at
    return request.revision == V1 or let_out


def late(requests: Iterable[Request], since: float, until: float) -> Iterator[str]:
    """Name requests that were sent to a version between two moments in which it is taken back."""
    for each in requests:
        if since < each.began < until and each.revision != V1:
            yield f"sent to {each.revision} {each.began - since:.2f} s after the roll-back was visible"
