"""What this version cannot do of all that a Rollout may ask for.

The one list that admission refuses by, the gate stays open for and the reconciler does nothing by:
were they to disagree, a Deployment could be held that nobody ever lets out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from rollout.spec import RolloutSpec, Style, TrafficRoutingRef
from rollout.traffic.ingress_classes import CLASSES, Limit, limits

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
    ROUTED_TWICE = "trafficRoutingRef beside trafficRoutings"
    NO_CANARY_SERVICE = "disableGenerateCanaryService with ingress or gateway"
    MIXED_CLASSES = "one Ingress with several classTypes"
    CLASS_LIMIT = "what a classType of ingress cannot say"


EXISTING = frozenset(
    {Feature.CANARY, Feature.PARTITION, Feature.GATEWAY, Feature.CUSTOM_NETWORK, Feature.TRAFFIC_ROUTING}
)
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
    Feature.ROUTED_TWICE: "write all of the routing into one of them",
    Feature.MIXED_CLASSES: "one canary Ingress stands for all its trafficRoutings: give them one classType",
    Feature.NO_CANARY_SERVICE: "leave it out, or route by customNetworkRefs alone",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A feature that a spec asks for and that does not exist."""

    feature: Feature
    routing: int | None = None
    """Index of the entry of trafficRoutings that asks for it."""
    step: int | None = None
    """Index of the step that asks for it."""
    classtype: str = ""
    """The class of the Ingress that cannot do it."""
    limit: Limit | None = None
    """What of the step goes beyond that class."""

    @property
    def hint(self) -> str:
        """What to do instead."""
        return self.limit.hint if self.limit else _HINTS[self.feature]

    def why(self, name: str) -> str:
        """Say what is missing, by the name that the reader's API version has for the feature."""
        if self.limit:
            return f"classType {self.classtype} cannot {self.limit.what}"
        return f"{name} is not supported yet"

    def __str__(self) -> str:
        return f"{self.why(self.feature.value)}: {self.hint}"


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
        if routing.ingress_name:
            yield from _of_ingress(spec, index, routing)
    if spec.traffic_routing_ref is not None:
        yield Missing(Feature.TRAFFIC_ROUTING)
        if spec.routings:
            yield Missing(Feature.ROUTED_TWICE)
    own_service = any(each.ingress_name or each.http_route for each in spec.routings)
    if spec.disable_generate_canary_service and own_service:
        yield Missing(Feature.NO_CANARY_SERVICE)


def _of_routing(routing: TrafficRoutingRef) -> Iterator[Feature]:
    if routing.http_route is not None:
        yield Feature.GATEWAY
    if routing.custom:
        yield Feature.CUSTOM_NETWORK


def _of_ingress(spec: RolloutSpec, index: int, routing: TrafficRoutingRef) -> Iterator[Missing]:
    """Find what the annotations of one canary Ingress cannot say."""
    classtype, before = routing.ingress_class, spec.routings[:index]
    if any(each.ingress_name == routing.ingress_name and each.ingress_class != classtype for each in before):
        yield Missing(Feature.MIXED_CLASSES, index)
    # What a class that is not built in can say, its script knows.
    for number, step in enumerate(spec.steps if classtype in CLASSES else ()):
        for limit in limits(classtype, step):
            yield Missing(Feature.CLASS_LIMIT, index, number, classtype, limit)
