"""What this version cannot do of all that a Rollout may ask for.

The one list that admission refuses by, the gate stays open for and the reconciler does nothing by:
were they to disagree, a Deployment could be held that nobody ever lets out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from rollout.spec import RolloutSpec, Style, TrafficRoutingRef

_EXTRA_WORKLOAD = "set spec.strategy.canary.enableExtraWorkloadForCanary: true for a canary release"
_INGRESS = "route by ingress"


class Feature(Enum):
    """Something that a Rollout can ask for and that may be missing, as messages name it."""

    CANARY = "style canary"
    PARTITION = "style partition"
    BLUE_GREEN = "style blueGreen"
    GATEWAY = "trafficRoutings with gateway"
    CUSTOM_NETWORK = "trafficRoutings with customNetworkRefs"
    TRAFFIC_ROUTING = "trafficRoutingRef"
    NO_CANARY_SERVICE = "disableGenerateCanaryService"


EXISTING = frozenset({Feature.CANARY})
"""The features that exist."""
_STYLES = {
    Style.CANARY: Feature.CANARY,
    Style.PARTITION: Feature.PARTITION,
    Style.BLUE_GREEN: Feature.BLUE_GREEN,
}
_HINTS = {
    Feature.CANARY: "use another style",
    Feature.PARTITION: _EXTRA_WORKLOAD,
    Feature.BLUE_GREEN: f"use spec.strategy.canary, and {_EXTRA_WORKLOAD}",
    Feature.GATEWAY: _INGRESS,
    Feature.CUSTOM_NETWORK: _INGRESS,
    Feature.TRAFFIC_ROUTING: "write the routing into trafficRoutings",
    Feature.NO_CANARY_SERVICE: "leave it out: a Service for the canary is made and removed by each release",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A feature that a spec asks for and that does not exist."""

    feature: Feature
    routing: int | None = None
    """Index of the entry of trafficRoutings that asks for it."""

    @property
    def hint(self) -> str:
        """What to do instead."""
        return _HINTS[self.feature]

    def __str__(self) -> str:
        return f"{self.feature.value} is not supported yet: {self.hint}"


def missing(spec: RolloutSpec, existing: frozenset[Feature] = EXISTING) -> Iterator[Missing]:
    """Find everything that a spec asks for and that does not exist."""
    for found in _asked_for(spec):
        if found.feature not in existing:
            yield found


def unsupported(spec: RolloutSpec) -> str | None:
    """Say why nothing is released by this spec, and what to do; None where all of it is supported."""
    if not is_deployment(spec):
        kind = f"workloadRef of kind {spec.workload.kind} in {spec.workload.api_version}"
        return f"{kind} is not supported: only Deployments of API group apps are"
    return "; ".join(str(each) for each in missing(spec)) or None


def is_deployment(spec: RolloutSpec) -> bool:
    """Tell whether the workload is of the one kind that is governed."""
    return (spec.workload.group, spec.workload.kind) == ("apps", "Deployment")


def _asked_for(spec: RolloutSpec) -> Iterator[Missing]:
    yield Missing(_STYLES[spec.style])
    for index, routing in enumerate(spec.routings):
        yield from (Missing(feature, index) for feature in _of_routing(routing))
    if spec.traffic_routing_ref is not None:
        yield Missing(Feature.TRAFFIC_ROUTING)
    if spec.disable_generate_canary_service:
        yield Missing(Feature.NO_CANARY_SERVICE)


def _of_routing(routing: TrafficRoutingRef) -> Iterator[Feature]:
    if routing.http_route is not None:
        yield Feature.GATEWAY
    if routing.custom:
        yield Feature.CUSTOM_NETWORK
