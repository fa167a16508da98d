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
    SHARED_INGRESS = "one Ingress in two trafficRoutings"
    RICH_MATCH = "a match other than by one header or cookie"
    HEADER_MODIFIER = "requestHeaderModifier"


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
    Feature.SHARED_INGRESS: "use an Ingress for each Service",
    Feature.RICH_MATCH: "give each of steps[].matches exactly one header, and no path or query parameter",
    Feature.HEADER_MODIFIER: "leave it out: an Ingress cannot change headers for the canary alone",
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
    if spec.routings:
        yield from _of_steps(spec)


def _of_steps(spec: RolloutSpec) -> Iterator[Missing]:
    """Find what the annotations of one canary Ingress cannot say."""
    ingresses = [each.ingress_name for each in spec.routings if each.ingress_name]
    if len(set(ingresses)) < len(ingresses):
        yield Missing(Feature.SHARED_INGRESS)
    matches = [match for step in spec.steps for match in step.matches]
    if any(each.path or each.query or len(each.headers) != 1 for each in matches):
        yield Missing(Feature.RICH_MATCH)
    if any(step.request_header_modifier for step in spec.steps):
        yield Missing(Feature.HEADER_MODIFIER)


def _of_routing(routing: TrafficRoutingRef) -> Iterator[Feature]:
    if routing.http_route is not None:
        yield Feature.GATEWAY
    if routing.custom:
        yield Feature.CUSTOM_NETWORK
