"""Where a route sends requests: the one value that every provider renders and reads back."""

from dataclasses import dataclass

from rollout.spec import HeaderModifier, Match, Step


@dataclass(frozen=True)
class Routing:
    """``weight``: share of requests for the canary in percent; ``matches``: requests that go there anyway."""

    weight: int = 0
    matches: tuple[Match, ...] = ()
    modifier: HeaderModifier | None = None
    """What is done to the headers of the requests that go to the canary."""

    @property
    def reaches_canary(self) -> bool:
        """Tell whether any request can arrive at the canary."""
        return self.weight > 0 or bool(self.matches)

    def within(self, limit: "Routing") -> "Routing":
        """Leave of this routing what ``limit`` allows; nothing is ever more than it was."""
        matches = tuple(each for each in self.matches if each in limit.matches)
        left = Routing(min(self.weight, limit.weight), matches, self.modifier)
        return left if left.reaches_canary else ALL_STABLE


ALL_STABLE = Routing()


def wanted(step: Step) -> Routing:
    """Say where a step sends requests; a step without traffic sends the canary none."""
    routing = Routing(step.weight or 0, step.matches, step.request_header_modifier)
    return routing if routing.reaches_canary else ALL_STABLE
