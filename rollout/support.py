"""What this version cannot do of all that a Rollout may ask for.

The one list that admission refuses by, the gate stays open for and the reconciler does nothing by:
were they to disagree, a Deployment could be held that nobody ever lets out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from rollout import names
from rollout.spec import RolloutSpec, Style, TrafficRoutingRef
from rollout.traffic.ingress_classes import CLASSES, Limit, limits


class Feature(Enum):
    """Something that a Rollout can ask for and that does not exist, as messages name it."""

    BLUE_GREEN = "style blueGreen"
    ROUTED_TWICE = "trafficRoutingRef beside trafficRoutings"
    NO_CANARY_SERVICE = "disableGenerateCanaryService with ingress or gateway"
    MIXED_CLASSES = "one Ingress with several classTypes"
    CLASS_LIMIT = "what a classType of ingress cannot say"
    UNVERIFIABLE = f"annotation {names.VERIFY} beside a route other than gateway"


_HINTS = {
    Feature.BLUE_GREEN: "use spec.strategy.canary",
    Feature.ROUTED_TWICE: "write all of the routing into one of them",
    Feature.MIXED_CLASSES: "one canary Ingress stands for all its trafficRoutings: give them one classType",
    Feature.NO_CANARY_SERVICE: "leave it out, or route by customNetworkRefs alone",
    Feature.UNVERIFIABLE: "only a Gateway says what it has accepted: route by gateway, or leave it out",
}
_WHY = {Feature.UNVERIFIABLE: "is a promise that nobody can keep"}


@dataclass(frozen=True, slots=True)
class Missing:
    """A place in a spec that asks for a feature which does not exist."""

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
        return f"{name} {_WHY.get(self.feature, 'is not supported yet')}"

    def __str__(self) -> str:
        return f"{self.why(self.feature.value)}: {self.hint}"


def unsupported(spec: RolloutSpec) -> str | None:
    """Say why nothing is released by this spec, and what to do; None where all of it is supported."""
    if not is_deployment(spec):
        kind = f"workloadRef of kind {spec.workload.kind} in {spec.workload.api_version}"
        return f"{kind} is not supported: only Deployments of API group apps are"
    return "; ".join(str(each) for each in missing(spec)) or None


def is_deployment(spec: RolloutSpec) -> bool:
    """Tell whether the workload is of the one kind that is governed."""
    return (spec.workload.group, spec.workload.kind) == ("apps", "Deployment")


def missing(spec: RolloutSpec) -> Iterator[Missing]:
    """Find everything that a spec asks for and that does not exist."""
    if spec.style is Style.BLUE_GREEN:
        yield Missing(Feature.BLUE_GREEN)
    for index, routing in enumerate(spec.routings):
        if routing.ingress_name:
            yield from _of_ingress(spec, index, routing)
    if spec.traffic_routing_ref is not None and spec.routings:
        yield Missing(Feature.ROUTED_TWICE)
    own_service = any(each.ingress_name or each.http_route for each in spec.routings)
    if spec.disable_generate_canary_service and own_service:
        yield Missing(Feature.NO_CANARY_SERVICE)
    if spec.strict and any(each.ingress_name or each.custom for each in spec.routings):
        yield Missing(Feature.UNVERIFIABLE)


def _of_ingress(spec: RolloutSpec, index: int, routing: TrafficRoutingRef) -> Iterator[Missing]:
    """Find what the annotations of one canary Ingress cannot say."""
    classtype, before = routing.ingress_class, spec.routings[:index]
    if any(each.ingress_name == routing.ingress_name and each.ingress_class != classtype for each in before):
        yield Missing(Feature.MIXED_CLASSES, index)
    # What a class that is not built in can say, its script knows.
    for number, step in enumerate(spec.steps if classtype in CLASSES else ()):
        for limit in limits(classtype, step):
            yield Missing(Feature.CLASS_LIMIT, index, number, classtype, limit)
