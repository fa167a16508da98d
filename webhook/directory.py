"""Which Rollouts there are, as admission asks: who governs this Deployment, who routes through this Service.

Answers from watch caches; only ``read_governors`` asks the API server.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from kube.cache import Cache
from kube.client import Listing
from kube.resources import ROLLOUTS, TRAFFIC_ROUTINGS, Resource
from rollout import names
from rollout.gate import Governor, governor_of, refers_to
from rollout.wire import JsonObject

_WORKLOAD = "workload"
_NAMESPACE = "namespace"
_SERVICE = "service"


class Directory(Protocol):
    """What admission asks of the cluster."""

    def governors(self, namespace: str, deployment: str) -> Sequence[Governor]:
        """Return every Rollout that refers to the Deployment, as cached."""
        ...

    async def read_governors(self, namespace: str, deployment: str) -> Sequence[Governor]:
        """Return the same, read from the API server now; raises KubeError."""
        ...

    def needs_pin(self, namespace: str, service: str, pinned_by: str | None) -> bool:
        """Tell whether the Rollout is cached that pinned it, or an active one that routes through it."""
        ...

    def has_rollout(self, namespace: str, name: str | None) -> bool:
        """Tell whether a Rollout is cached."""
        ...

    def rollouts(self, namespace: str) -> Sequence[JsonObject]:
        """Return the namespace's Rollouts, as cached."""
        ...

    def traffic_routings(self, namespace: str) -> Mapping[str, JsonObject]:
        """Return the namespace's TrafficRoutings by name, as cached."""
        ...


class Lister(Protocol):
    """What the live read needs of a ``kube.client.Client``."""

    async def list(self, resource: Resource, *, namespace: str | None = None) -> Listing:
        """List a namespace's objects of one kind; raises KubeError."""
        ...


class CachedDirectory:
    """The directory over two watch caches and one client."""

    def __init__(
        self, rollouts: Cache[dict[str, Any]], traffic_routings: Cache[dict[str, Any]], client: Lister
    ) -> None:
        self._rollouts = rollouts
        self._traffic_routings = traffic_routings
        self._client = client

    def governors(self, namespace: str, deployment: str) -> Sequence[Governor]:
        """Return every Rollout that refers to the Deployment, as cached."""
        found = self._rollouts.by_index(_WORKLOAD, f"{namespace}/{deployment}")
        return [governor_of(each) for each in found]

    async def read_governors(self, namespace: str, deployment: str) -> Sequence[Governor]:
        """Return the same, read from the API server now; raises KubeError."""
        listing = await self._client.list(ROLLOUTS, namespace=namespace)
        return [governor_of(each) for each in listing.items if refers_to(each) == deployment]

    def needs_pin(self, namespace: str, service: str, pinned_by: str | None) -> bool:
        """Tell whether the Rollout is cached that pinned it, or an active one that routes through it."""
        key = f"{namespace}/{service}"
        if self._rollouts.by_index(_SERVICE, key) or self._rollouts.get(namespace, pinned_by or ""):
            return True
        routings = {each["metadata"]["name"] for each in self._traffic_routings.by_index(_SERVICE, key)}
        active = (each for each in self.rollouts(namespace) if _is_active(each)) if routings else ()
        return any(routing_of(each) in routings for each in active)

    def has_rollout(self, namespace: str, name: str | None) -> bool:
        """Tell whether a Rollout is cached."""
        return bool(name) and self._rollouts.get(namespace, name or "") is not None

    def rollouts(self, namespace: str) -> Sequence[JsonObject]:
        """Return the namespace's Rollouts, as cached."""
        return self._rollouts.by_index(_NAMESPACE, namespace)

    def traffic_routings(self, namespace: str) -> Mapping[str, JsonObject]:
        """Return the namespace's TrafficRoutings by name, as cached."""
        found = self._traffic_routings.by_index(_NAMESPACE, namespace)
        return {each["metadata"]["name"]: each for each in found}


def routing_of(rollout: JsonObject) -> str | None:
    """Return the name of the TrafficRouting that a v1beta1 Rollout refers to, by annotation or by field."""
    annotations = rollout["metadata"].get("annotations") or {}
    canary = ((rollout.get("spec") or {}).get("strategy") or {}).get("canary") or {}
    found: str | None = annotations.get(names.TRAFFIC_ROUTING) or canary.get("trafficRoutingRef")
    return found


def rollout_cache() -> Cache[dict[str, Any]]:
    """Make the cache of Rollouts that a directory needs."""
    by = {_WORKLOAD: _workload_keys, _NAMESPACE: _namespace_keys, _SERVICE: _service_keys}
    return Cache(ROLLOUTS, indexers=by)


def traffic_routing_cache() -> Cache[dict[str, Any]]:
    """Make the cache of TrafficRoutings that a directory needs."""
    return Cache(TRAFFIC_ROUTINGS, indexers={_NAMESPACE: _namespace_keys, _SERVICE: _routing_service_keys})


def _workload_keys(rollout: JsonObject) -> Iterable[str]:
    deployment = refers_to(rollout)
    return [f"{_namespace(rollout)}/{deployment}"] if deployment else []


def _namespace_keys(value: JsonObject) -> Iterable[str]:
    return [_namespace(value)]


def _is_active(rollout: JsonObject) -> bool:
    """Whether a Rollout begins releases: one that is disabled or deleted only ends what it has begun."""
    disabled = (rollout.get("spec") or {}).get("disabled") is True
    return not disabled and "deletionTimestamp" not in rollout["metadata"]


def _service_keys(rollout: JsonObject) -> Iterable[str]:
    if not _is_active(rollout):
        return []
    strategy = (rollout.get("spec") or {}).get("strategy") or {}
    styles = (strategy.get("canary") or {}, strategy.get("blueGreen") or {})
    return _services(rollout, [each for style in styles for each in style.get("trafficRoutings") or ()])


def _routing_service_keys(routing: JsonObject) -> Iterable[str]:
    return _services(routing, (routing.get("spec") or {}).get("objectRef") or ())


def _services(owner: JsonObject, references: Iterable[JsonObject]) -> list[str]:
    return [f"{_namespace(owner)}/{each['service']}" for each in references if each.get("service")]


def _namespace(value: JsonObject) -> str:
    return str(value["metadata"]["namespace"])
