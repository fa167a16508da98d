"""What a user asks for, as values: nothing here knows JSON, API versions or what is allowed.

``rollout.parsing`` makes these values from a v1beta1 object; everything that decides a release
reads them and never the JSON again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from rollout.route_kinds import RouteRef

DEFAULT_GRACE_SECONDS = 3  # what the API has always meant by a missing gracePeriodSeconds
DEFAULT_INGRESS_CLASS = "nginx"  # what the API has always meant by a missing classType


class Style(Enum):
    """How a release gets its new pods."""

    CANARY = "canary"
    """An extra canary Deployment beside the stable one."""
    PARTITION = "partition"
    """No extra Deployment: the stable one is updated in parts."""
    BLUE_GREEN = "blueGreen"
    """A full second set of pods."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of pods, absolute or in percent of a total."""

    value: int
    percent: bool = False

    def of(self, total: int) -> int:
        """Count the pods of ``total``: percent rounded up, never below 0 nor above ``total``."""
        wanted = -(-self.value * total // 100) if self.percent else self.value
        return max(0, min(wanted, total))

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


@dataclass(frozen=True, slots=True)
class WorkloadRef:
    """The workload that a rollout governs, in the rollout's namespace."""

    api_version: str
    kind: str
    name: str

    @property
    def group(self) -> str:
        """The API group, ``""`` for the core group."""
        return self.api_version.rpartition("/")[0]

    def same_object(self, other: "WorkloadRef") -> bool:
        """Tell whether both name one object, however the version is spelled."""
        return (self.group, self.kind, self.name) == (other.group, other.kind, other.name)


class MatchType(Enum):
    """How a header's or query parameter's value is compared."""

    EXACT = "Exact"
    REGULAR_EXPRESSION = "RegularExpression"


class PathMatchType(Enum):
    """How a path is compared."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGULAR_EXPRESSION = "RegularExpression"


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """One header that a request must carry."""

    name: str
    value: str
    type: MatchType = MatchType.EXACT


@dataclass(frozen=True, slots=True)
class QueryMatch:
    """One query parameter that a request must carry."""

    name: str
    value: str
    type: MatchType = MatchType.EXACT


@dataclass(frozen=True, slots=True)
class PathMatch:
    """The path that a request must have."""

    value: str = "/"
    type: PathMatchType = PathMatchType.PREFIX


@dataclass(frozen=True, slots=True)
class Match:
    """Requests that go to the canary: all of its conditions hold (several matches are alternatives)."""

    path: PathMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderModifier:
    """What is done to the headers of a request that goes to the canary; pairs are (name, value)."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a release: pods first, then traffic, then a pause."""

    replicas: Amount
    weight: int | None = None
    """Percent of traffic for the canary, 0 to 100; None leaves weights alone."""
    matches: tuple[Match, ...] = ()
    request_header_modifier: HeaderModifier | None = None
    pause_seconds: int | None = None
    """Seconds until the next step by itself; None waits for an approval."""

    @property
    def routes_traffic(self) -> bool:
        """Whether this step asks for a route at all."""
        return self.weight is not None or bool(self.matches)


@dataclass(frozen=True, slots=True)
class TrafficRoutingRef:
    """One Service and what routes to it."""

    service: str
    grace_seconds: int = DEFAULT_GRACE_SECONDS
    """What a data plane gets to notice one change before the next dependent one; 0 means no wait."""
    ingress_name: str | None = None
    ingress_class: str = DEFAULT_INGRESS_CLASS
    http_route: str | None = None
    custom: tuple[RouteRef, ...] = ()
    """Objects of other APIs that route traffic."""


@dataclass(frozen=True, slots=True)
class SharedRouting:
    """What a TrafficRouting object asks for: routes that Rollouts use one after the other."""

    routings: tuple[TrafficRoutingRef, ...]
    weight: int | None = None
    """Percent of traffic for the canary of a release whose steps do not route themselves; so the rest."""
    matches: tuple[Match, ...] = ()
    request_header_modifier: HeaderModifier | None = None


@dataclass(frozen=True, slots=True)
class PodTemplatePatch:
    """Labels and annotations that only canary pods get."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """Everything that a Rollout object asks for."""

    workload: WorkloadRef
    style: Style
    steps: tuple[Step, ...]
    """Never empty."""
    routings: tuple[TrafficRoutingRef, ...] = ()
    disabled: bool = False
    paused: bool = False
    failure_threshold: Amount | None = None
    """How many of a step's pods may be unready; None as 0."""
    pod_template_patch: PodTemplatePatch = PodTemplatePatch()
    disable_generate_canary_service: bool = False
    traffic_routing_ref: str | None = None
    """Name of a TrafficRouting object that routes instead of ``routings``."""
    strict: bool = False
    """Whether every route must be one whose data plane says that it is in force."""
