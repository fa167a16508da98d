"""Who uses a TrafficRouting, and what it shows of that: phase, message and finalizers.

The Rollouts take and let go of it themselves (``rollout.release.engagement``); here is what is left to do
from its own side. It routes nothing by itself: without a Rollout's release there is no canary to route to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from rollout import messages, names
from rollout.shared_routing import parse
from rollout.status import Phase, Reason, Status
from rollout.wire import JsonObject

LONGEST_USER = 63  # characters of a Rollout's name: so many may stand behind the slash of a finalizer


class RoutingPhase(Enum):
    """``status.phase`` of a TrafficRouting."""

    INITIAL = "Initial"
    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    FINALIZING = "Finalizing"
    TERMINATING = "Terminating"


@dataclass(frozen=True)
class RoutingStatus:
    """What a TrafficRouting shows."""

    phase: RoutingPhase
    message: str
    generation: int

    def written(self) -> JsonObject:
        """Give its JSON."""
        return {
            "observedGeneration": self.generation,
            "phase": self.phase.value,
            "message": self.message,
        }


def users(finalizers: Iterable[str]) -> tuple[str, ...]:
    """Name the Rollouts whose releases go through a TrafficRouting with these finalizers."""
    found = (each.removeprefix(names.USED_BY) for each in finalizers if each.startswith(names.USED_BY))
    return tuple(each for each in found if each)


def status(routing: JsonObject, using: Mapping[str, Status]) -> RoutingStatus:
    """Say how it is; ``using`` are the Rollouts that hold it, with their status."""
    metadata = routing["metadata"]
    spec = parse(routing)
    if "deletionTimestamp" in metadata:
        said = RoutingPhase.TERMINATING, messages.routing_terminating(using)
    elif using:
        ending = all(_ends(each) for each in using.values())
        said = (
            (RoutingPhase.FINALIZING, messages.ROUTING_FINALIZING)
            if ending
            else (RoutingPhase.PROGRESSING, messages.ROUTING_PROGRESSING)
        )
    elif isinstance(spec, tuple):
        said = RoutingPhase.INITIAL, messages.routing_unreadable(spec)
    else:
        said = RoutingPhase.HEALTHY, messages.ROUTING_HEALTHY
    return RoutingStatus(*said, generation=metadata.get("generation", 0))


def _ends(rollout: Status) -> bool:
    """Tell whether a Rollout is giving back what it routed."""
    return rollout.phase is not Phase.PROGRESSING or rollout.reason in {Reason.FINALISING, Reason.CANCELLING}


def uninstalled(routing: JsonObject) -> JsonObject:
    """Give the status that a TrafficRouting keeps when nobody looks after it any more."""
    generation = routing["metadata"].get("generation", 0)
    return RoutingStatus(RoutingPhase.INITIAL, messages.ROUTING_UNINSTALLED, generation).written()


def unheld(finalizers: Iterable[str], holders: Iterable[str]) -> list[str] | None:
    """Leave of our finalizers those of Rollouts that hold it; None when there is nothing to take away."""
    held = {names.USED_BY + each for each in holders}
    present = list(finalizers)
    if held.intersection(present):
        held.add(names.TRAFFIC_ROUTING_FINALIZER)
    kept = [each for each in present if not _ours(each) or each in held]
    return kept if kept != present else None


def _ours(finalizer: str) -> bool:
    return finalizer == names.TRAFFIC_ROUTING_FINALIZER or finalizer.startswith(names.USED_BY)
