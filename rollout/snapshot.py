"""All that one look at the cluster showed about one Rollout: the whole input of a plan.

Values only. How they are read from Kubernetes JSON is in ``rollout.observation``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rollout.actions import Target
from rollout.approval import Stamp
from rollout.problems import Problem
from rollout.route_kinds import RouteKind, RouteRef, Unseen
from rollout.shared_routing import Engaged
from rollout.spec import RolloutSpec, SharedRouting, TrafficRoutingRef
from rollout.status import Status
from rollout.strategy import Kept
from rollout.wire import JsonObject

_ORPHAN_FINALIZER = "orphan"  # the garbage collector's, until it has let go of what the object owned


@dataclass(frozen=True)
class RolloutObject:
    """The Rollout itself. ``spec`` is what could be parsed, or the problems that prevent it."""

    target: Target
    namespace: str
    generation: int
    deleting: bool
    disabled: bool
    """Also when the rest of the spec cannot be read."""
    workload: str
    """The name of its Deployment, or nothing: also when the rest of the spec cannot be read."""
    finalizers: tuple[str, ...]
    approval: Stamp | None
    """The approval, as the webhook stamped it."""
    spec: RolloutSpec | tuple[Problem, ...]
    status: Status
    routings: tuple[TrafficRoutingRef, ...] = ()
    """As far as they can be read, also when the rest of the spec cannot."""
    engaged: Engaged | None = None
    """The TrafficRouting that its release goes through, as noted when that began."""
    noted: bool = False
    """Whether there is such a note at all, readable or not."""


@dataclass(frozen=True)
class Gate:
    """The closed gate of a Deployment: whose it is, and which release waits behind it."""

    rollout: str
    release: str | None


@dataclass(frozen=True)
class Deployment:
    """A Deployment, stable or canary. Counts are pods."""

    target: Target
    owner_uid: str
    generation: int
    observed_generation: int
    deleting: bool
    governed: bool
    gate: Gate | None
    approval: Stamp | None
    rollout_id: str
    paused: bool
    recreates: bool
    strategy: JsonObject
    kept: Kept | None
    """Its owner's strategy, where a narrower one is in force."""
    replicas: int
    max_surge: int
    """By the strategy in force: what its controller goes by."""
    max_unavailable: int
    """By its owner's own strategy."""
    digest: str
    status_replicas: int
    updated: int
    ready: int
    available: int
    stuck: str | None
    """What the Deployment controller itself reports as failing: condition reason and message."""
    manifest: JsonObject

    @property
    def orphaning(self) -> bool:
        """Whether it is being deleted and will leave its ReplicaSets behind."""
        return self.deleting and _ORPHAN_FINALIZER in (self.manifest["metadata"].get("finalizers") or ())


@dataclass(frozen=True)
class ReplicaSet:
    """A revision's pods: ``digest`` names its template, ``hash`` is its pod-template-hash."""

    target: Target
    owner_uid: str
    owner_name: str
    created: str
    """RFC 3339: of two sets of one size, the controller takes from the older and gives to the newer."""
    hash: str
    digest: str
    replicas: int
    observed: bool
    """Whether it was counted since it was resized: cut and enlarged again, it has less than it counts."""
    present: int
    """Pods that exist and are not terminating (``status.replicas``)."""
    ready: int
    available: int
    stuck: str | None
    """Why its controller cannot create pods."""
    labels: Mapping[str, str]
    scaled_for: tuple[int | None, int | None]
    """The Deployment's replicas, and these with its surge, for which its controller last scaled this set."""

    @property
    def staying(self) -> int:
        """Count the available pods that stay: a shrink that was not counted yet is taken as done."""
        return min(self.available, self.replicas)

    @property
    def maker(self) -> str:
        """The Deployment that made this set, and after which it is named, whoever owns it now."""
        return self.target.name.rpartition("-")[0]

    @property
    def left_behind(self) -> bool:
        """Whether nobody has adopted it since its maker had it, or has it still."""
        return self.owner_name in {"", self.maker}


@dataclass(frozen=True)
class Pod:
    """A pod that is neither ended nor on its way out, with the labels that tell which step brought it."""

    target: Target
    owner_uid: str
    ready: bool
    unready_since: datetime | None = field(default=None, kw_only=True)
    """When the last of its containers began to run, if they all do and it is not ready for all that."""
    unready: str = field(default="", kw_only=True)
    """What its own condition says of that."""
    rollout_id: str
    batch: str


@dataclass(frozen=True)
class Service:
    """A Service; ``pin`` is our annotation, ``selected_hash`` what its selector really says."""

    target: Target
    owned: bool
    deleting: bool
    pin: str | None
    pinned_by: str | None
    release: str | None
    """The release for which it was pinned."""
    selected_hash: str | None
    manifest: JsonObject


@dataclass(frozen=True)
class Ingress:
    """An Ingress, stable or canary."""

    target: Target
    owned: bool
    deleting: bool
    manifest: JsonObject


@dataclass(frozen=True)
class RouteObject:
    """A user's own object that routes: an HTTPRoute, or one of a kind that a customNetworkRef names."""

    target: Target
    deleting: bool
    routed_by: str | None
    """The Rollout that has changed it and owes it to its owner as it was."""
    manifest: JsonObject


@dataclass(frozen=True)
class TrafficRouting:
    """A TrafficRouting object. ``shared`` is what could be parsed of its spec, or what prevents it."""

    target: Target
    deleting: bool
    finalizers: tuple[str, ...]
    users: tuple[str, ...]
    """The Rollouts whose releases go through it."""
    shared: SharedRouting | tuple[Problem, ...]
    spec: JsonObject


@dataclass(frozen=True)
class Snapshot:
    """The observed world around one Rollout at one moment."""

    now: datetime
    rollout: RolloutObject
    workload: Deployment | None
    deployments: Mapping[str, Deployment]
    """The namespace's other Deployments, by name."""
    replica_sets: tuple[ReplicaSet, ...]
    """Those of the namespace, whoever owns them."""
    services: Mapping[str, Service]
    """The namespace's Services, by name."""
    ingresses: Mapping[str, Ingress]
    """The namespace's Ingresses, by name."""
    troubles: Mapping[str, str]
    """ReplicaSet uid to what keeps one of its pods from running."""
    pods: tuple[Pod, ...]
    """Those of canary Deployments, and perhaps others."""
    ready_pods: Mapping[str, frozenset[str]]
    """Service name to the names of the pods that its EndpointSlices show ready."""
    route_objects: Mapping[RouteRef, RouteObject] = field(default_factory=dict)
    """The users' own objects that the Rollout names, and those that bear its mark though it does not."""
    unseen: Mapping[RouteKind, Unseen] = field(default_factory=dict)
    """Kinds that the Rollout names and of which no object can be seen: nothing is known about these."""
    traffic_routings: Mapping[str, TrafficRouting] = field(default_factory=dict)
    """The TrafficRoutings that the Rollout refers to or holds, by name; others do no harm."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """The users' own Lua scripts, by their key in the ConfigMap."""
