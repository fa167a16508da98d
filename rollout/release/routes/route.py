"""One object that carries a canary's share of the traffic, whatever its API.

A canary Ingress is an object of ours beside the user's; other routes are the user's own object,
changed for the time of a release and given back as it was.
"""

from typing import Protocol

from rollout.actions import Target
from rollout.release.outcome import Outcome
from rollout.spec import TrafficRoutingRef
from rollout.traffic.routing import Routing


class Route(Protocol):
    """A route as it was observed, and the writes that change it."""

    @property
    def ref(self) -> TrafficRoutingRef:
        """The entry of trafficRoutings that names it."""

    @property
    def problem(self) -> str | None:
        """Why it cannot carry a canary's share, and what to do; None when it can."""

    @property
    def observed(self) -> Target | None:
        """What was observed of the object that carries it, if only that there is none."""

    @property
    def carries(self) -> bool:
        """Whether there is anything of ours to change or to take away."""

    @property
    def leaving(self) -> str | None:
        """What of ours is being deleted; nothing can be written until it is gone."""

    @property
    def reaches_canary(self) -> bool:
        """Whether any request can arrive at the canary: whatever cannot be told counts as yes."""

    @property
    def live(self) -> Routing | None:
        """What it says now; None when somebody else's hand is in it."""

    @property
    def changed_at(self) -> str | None:
        """When we last changed where it sends requests (RFC 3339)."""

    @property
    def unnoticed(self) -> str | None:
        """What the data plane itself says it has not taken in yet; None when it has, or says nothing."""

    def said_by(self, routing: Routing) -> Routing:
        """Give what a routing comes to on a route of this kind."""

    def begin(self) -> Outcome:
        """Prepare a route that carries nothing yet, without traffic for the canary."""

    def say(self, routing: Routing) -> Outcome:
        """Make it say a routing; done when it does."""

    def silence(self) -> Outcome:
        """Send everything to the stable Service, whatever else is wrong."""

    def restamp(self) -> Outcome:
        """Write the time of change anew, as now."""
