"""kube-controller-manager, the kubelet and the garbage collector, as far as a release meets them.

Each controller is a function that looks at the store and makes at most one write, so that a test
can put any other event between two of them; it returns whether it wrote. The Deployment
controller follows the real one's rules: surge and unavailability limits, unhealthy pods first,
and what it does to ReplicaSets while the Deployment is paused (``scale``).
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from math import ceil, floor
from typing import Any

from rollout.wire import JsonObject
from tests.unit.rollout.model.store import ORPHAN_FINALIZER, Pod, Store, owned_by, owner_of, owner_uids

HASH = "pod-template-hash"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"


# --- templates -------------------------------------------------------------------------------------


def template_hash(template: JsonObject) -> str:
    """Hash a template, as the Deployment controller names its revisions."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]


def bare(template: JsonObject) -> JsonObject:
    """Return a template without the hash label that the controller adds."""
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def tag_of(template: JsonObject) -> str:
    """Return the image tag of a template."""
    return str(template["spec"]["containers"][0]["image"]).rpartition(":")[2]


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether a selector (never empty) matches labels."""
    return bool(selector) and selector.items() <= labels.items()


# --- Deployment controller -------------------------------------------------------------------------


class _Sync:
    """One look at a Deployment and its ReplicaSets."""

    def __init__(self, store: Store, deployment: JsonObject) -> None:
        self.store = store
        self.deployment = deployment
        self.spec = deployment["spec"]
        self.desired: int = self.spec.get("replicas", 1)
        uid = deployment["metadata"]["uid"]
        self.sets = [each for each in store.of_kind("ReplicaSet") if owner_of(each) == uid]
        wanted = bare(self.spec["template"])
        self.new = next((each for each in self.sets if bare(each["spec"]["template"]) == wanted), None)
        self.old = [each for each in self.sets if each is not self.new]
        surge, self.unavailable = limits(self.spec.get("strategy") or {}, self.desired)
        self.most = self.desired + surge if self.desired else 0
        self.recreates = (self.spec.get("strategy") or {}).get("type") == "Recreate"

    def adopt(self) -> bool:
        selector = self.spec["selector"]["matchLabels"]
        for each in self.store.of_kind("ReplicaSet"):
            metadata = each["metadata"]
            if not owner_of(each) and selects(selector, metadata["labels"]):
                references = owned_by("Deployment", self.deployment)
                self.store.patch(
                    "ReplicaSet", metadata["name"], {"metadata": {"ownerReferences": references}}
                )
                return True
        return False

    def is_scaling_event(self) -> bool:
        return any(
            _annotation(each, DESIRED_REPLICAS) not in {None, str(self.desired)}
            for each in _active(self.sets)
        )

    def scale(self) -> bool:
        """Do what the real one does when paused or scaled: a sole set whole, several in proportion."""
        active = _active(self.sets)
        sole = active[0] if len(active) == 1 else None
        if not active:
            sole = self.new or (max(self.old, key=_age) if self.old else None)
        if len(active) <= 1:
            return sole is not None and _replicas(sole) != self.desired and self.resize(sole, self.desired)
        if self.new and self._is_saturated(self.new):
            return any(self.resize(each, 0) for each in _active(self.old))
        return not self.recreates and self._scale_in_proportion(active)

    def _is_saturated(self, new: JsonObject) -> bool:
        status = new.get("status") or {}
        return (
            _replicas(new) == self.desired
            and _annotation(new, DESIRED_REPLICAS) == str(self.desired)
            and status.get("availableReplicas", 0) == self.desired
        )

    def _scale_in_proportion(self, active: list[JsonObject]) -> bool:
        to_add = self.most - sum(_replicas(each) for each in active)
        active = sorted(active, key=_age, reverse=to_add > 0)  # the newer gets, the older gives
        active = sorted(active, key=_replicas, reverse=True)
        added, sizes = 0, {}
        for each in active:
            share = self._share(each, to_add, added) if to_add else 0
            sizes[each["metadata"]["name"]] = _replicas(each) + share
            added += share
        if to_add:
            largest = active[0]["metadata"]["name"]
            sizes[largest] = max(0, sizes[largest] + to_add - added)
        return any(self.resize(each, sizes[each["metadata"]["name"]]) for each in active)

    def _share(self, each: JsonObject, to_add: int, added: int) -> int:
        if _replicas(each) == 0 or to_add == added:
            return 0
        annotated = int(_annotation(each, MAX_REPLICAS) or 0)
        before = annotated or (self.deployment.get("status") or {}).get("replicas", 0) or self.most
        if self.desired == 0:
            fraction = -_replicas(each)
        else:
            fraction = _half_up(_replicas(each) * self.most / before) - _replicas(each)
        allowed = to_add - added
        return min(fraction, allowed) if to_add > 0 else max(fraction, allowed)

    def roll(self) -> bool:
        if self.recreates:
            return self._recreate()
        return self._ensure_new() or self._scale_new() or self._scale_old()

    def _recreate(self) -> bool:
        if any(self.resize(each, 0) for each in _active(self.old)):
            return True
        if any((each.get("status") or {}).get("replicas") for each in self.old):
            return False
        return self._ensure_new() or (self.new is not None and self.resize(self.new, self.desired))

    def _ensure_new(self) -> bool:
        if self.new is not None:
            return False
        template = self.spec["template"]
        digest = template_hash(bare(template))
        labels = {**template["metadata"]["labels"], HASH: digest}
        if self.store.get("ReplicaSet", f"{self.deployment['metadata']['name']}-{digest}"):
            return False  # of a Deployment of the same name that is gone: waits for the garbage collector
        room = self.most - sum(_replicas(each) for each in self.sets)
        self.store.create(
            {
                "kind": "ReplicaSet",
                "metadata": {
                    "name": f"{self.deployment['metadata']['name']}-{digest}",
                    "labels": labels,
                    "annotations": self._notes(),
                    "ownerReferences": owned_by("Deployment", self.deployment),
                },
                "spec": {
                    "replicas": self.desired if self.recreates else max(0, min(room, self.desired)),
                    "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
                },
            }
        )
        return True

    def _scale_new(self) -> bool:
        if self.new is None or _replicas(self.new) == self.desired:
            return False
        if _replicas(self.new) > self.desired:
            return self.resize(self.new, self.desired)
        room = self.most - sum(_replicas(each) for each in self.sets)
        if room <= 0:
            return False
        return self.resize(self.new, _replicas(self.new) + min(room, self.desired - _replicas(self.new)))

    def _scale_old(self) -> bool:
        if self.new is None or not _active(self.old):
            return False
        least = self.desired - self.unavailable
        new_unready = _replicas(self.new) - _available(self.new)
        spare = sum(_replicas(each) for each in self.sets) - least - new_unready
        for each in sorted(_active(self.old), key=_age):
            broken = min(spare, _replicas(each) - _available(each))
            if broken > 0:
                return self.resize(each, _replicas(each) - broken)
        spare = min(spare, sum(_available(each) for each in self.sets) - least)
        for each in sorted(_active(self.old), key=_age):
            if spare > 0:
                return self.resize(each, max(0, _replicas(each) - spare))
        return False

    def forget(self) -> bool:
        """Delete the oldest of those that the history has no room for, once they are empty."""
        limit = self.spec.get("revisionHistoryLimit", 10)
        for each in sorted(self.old, key=_age)[: max(0, len(self.old) - limit)]:
            status = each.get("status") or {}
            counted = status.get("observedGeneration", 0) >= each["metadata"]["generation"]
            if counted and not _replicas(each) and not status.get("replicas"):
                self.store.delete("ReplicaSet", each["metadata"]["name"])
                return True
        return False

    def is_complete(self) -> bool:
        status, metadata = self.deployment.get("status") or {}, self.deployment["metadata"]
        counts = {status.get(each) for each in ("replicas", "updatedReplicas", "availableReplicas")}
        return counts == {self.desired} and status.get("observedGeneration", 0) >= metadata["generation"]

    def resize(self, target: JsonObject, size: int) -> bool:
        name, notes = target["metadata"]["name"], self._notes()
        has = target["metadata"].get("annotations") or {}
        if _replicas(target) == size and notes.items() <= has.items():
            return False
        self.store.patch("ReplicaSet", name, {"metadata": {"annotations": notes}, "spec": {"replicas": size}})
        return True

    def _notes(self) -> dict[str, str]:
        return {DESIRED_REPLICAS: str(self.desired), MAX_REPLICAS: str(self.most)}

    def report(self) -> bool:
        new_status = (self.new or {}).get("status") or {}
        status = {
            "observedGeneration": self.deployment["metadata"]["generation"],
            "replicas": sum((each.get("status") or {}).get("replicas", 0) for each in self.sets),
            "updatedReplicas": new_status.get("replicas", 0),
            "readyReplicas": sum(_available(each) for each in self.sets),
            "availableReplicas": sum(_available(each) for each in self.sets),
        }
        if status == self.deployment.get("status"):
            return False
        self.store.write_status("Deployment", self.deployment["metadata"]["name"], status)
        return True


def sync_deployment(store: Store, name: str, seen: JsonObject | None = None) -> bool:
    """Take the Deployment controller one write further, as far as it knows the Deployment: perhaps of old.

    It guards what it writes by the ReplicaSets' resourceVersions, never by the Deployment's.
    """
    present = store.get("Deployment", name)
    if present is None:
        return False
    deployment = seen or present
    sync = _Sync(store, deployment)
    if "deletionTimestamp" in deployment["metadata"]:
        return sync.report()
    if sync.adopt():
        return True
    standing = deployment["spec"].get("paused") or sync.is_scaling_event()
    if sync.scale() if standing else sync.roll():
        return True
    forgets = deployment["spec"].get("paused") or (not standing and sync.is_complete())
    return (forgets and sync.forget()) or (deployment == present and sync.report())


def limits(strategy: JsonObject, replicas: int) -> tuple[int, int]:
    """Resolve maxSurge (rounded up) and maxUnavailable (rounded down); both 0 means one unavailable."""
    rolling = strategy.get("rollingUpdate") or {}
    surge = _resolve(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _resolve(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def _resolve(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    part = total * int(value.removesuffix("%")) / 100
    return ceil(part) if up else floor(part)


def _half_up(value: float) -> int:
    return floor(value + 0.5)


def _replicas(each: JsonObject) -> int:
    return int(each["spec"]["replicas"])


def _available(each: JsonObject) -> int:
    return int((each.get("status") or {}).get("availableReplicas", 0))


def _active(sets: Iterable[JsonObject]) -> list[JsonObject]:
    return [each for each in sets if _replicas(each) > 0]


def _age(each: JsonObject) -> tuple[str, str]:
    """Order by creation, and what was created in the same second by name."""
    return each["metadata"]["creationTimestamp"], each["metadata"]["name"]


def _annotation(each: JsonObject, key: str) -> str | None:
    return (each["metadata"].get("annotations") or {}).get(key)


# --- the others --------------------------------------------------------------------------------------


def sync_replica_set(store: Store, name: str) -> bool:
    """Create and delete pods of a ReplicaSet, and count them."""
    found = store.get("ReplicaSet", name)
    if found is None:
        return False
    uid, wanted = found["metadata"]["uid"], _replicas(found)
    pods = [each for each in store.pods.values() if each.owner == uid]
    if len(pods) < wanted:
        template = found["spec"]["template"]
        labels = tuple(sorted(template["metadata"]["labels"].items()))
        for _ in range(wanted - len(pods)):
            pod_name = f"{name}-"[:58] + f"{store.tick():05d}"
            store.put_pod(Pod(pod_name, uid, labels, tag_of(template)))
        return True
    if len(pods) > wanted:
        for each in sorted(pods, key=lambda each: (each.ready, store.is_available(each)))[
            : len(pods) - wanted
        ]:
            del store.pods[each.name]
        return True
    status = {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": len(pods),
        "readyReplicas": sum(each.ready for each in pods),
        "availableReplicas": sum(store.is_available(each) for each in pods),
    }
    if status == found.get("status"):
        return False
    store.write_status("ReplicaSet", name, status)
    return True


def start_pods(store: Store, broken_tags: Iterable[str]) -> bool:
    """Make every pod ready whose image works, and every other one not ready."""
    broken, changed = set(broken_tags), False
    for each in list(store.pods.values()):
        if each.ready != (each.tag not in broken and not each.stuck):
            store.set_ready(each.name, ready=not each.ready)
            changed = True
    return changed


def sync_endpoints(store: Store, service: str) -> bool:
    """Bring a Service's EndpointSlice up to its selector and the pods."""
    found, name = store.get("Service", service), f"{service}-slice"
    present = store.get("EndpointSlice", name)
    if found is None:
        if present is not None:
            store.delete("EndpointSlice", name)
        return present is not None
    endpoints = [
        {"conditions": {"ready": each.ready}, "targetRef": {"kind": "Pod", "name": each.name}}
        for each in store.pods.values()
        if selects(found["spec"]["selector"], dict(each.labels))
    ]
    if present is None:
        labels = {"kubernetes.io/service-name": service}
        metadata = {"name": name, "labels": labels, "ownerReferences": owned_by("Service", found)}
        store.create({"kind": "EndpointSlice", "metadata": metadata, "endpoints": endpoints})
        return True
    if present["endpoints"] == endpoints:
        return False
    store.put({**present, "endpoints": endpoints})
    return True


def collect_garbage(store: Store) -> bool:
    """Do a piece of the garbage collector's work: finish an orphaning, or delete what lost its owners."""
    uids = {each["metadata"]["uid"] for each in store.objects.values()}
    for (kind, name), each in list(store.objects.items()):
        if ORPHAN_FINALIZER in (each["metadata"].get("finalizers") or ()):
            return _orphan(store, kind, name, each)
        owners = list(owner_uids(each))
        if owners and not uids.intersection(owners) and "deletionTimestamp" not in each["metadata"]:
            store.delete(kind, name)
            return True
    sets = {each["metadata"]["uid"] for each in store.of_kind("ReplicaSet")}
    lost = [each.name for each in store.pods.values() if each.owner not in sets]
    for name in lost:
        del store.pods[name]
    return bool(lost)


def _orphan(store: Store, kind: str, name: str, owner: JsonObject) -> bool:
    uid = owner["metadata"]["uid"]
    for (dependent_kind, dependent), each in list(store.objects.items()):
        if uid in owner_uids(each):
            left = [one for one in each["metadata"]["ownerReferences"] if one["uid"] != uid]
            store.patch(dependent_kind, dependent, {"metadata": {"ownerReferences": left or None}})
            return True
    kept: list[Any] = [one for one in owner["metadata"]["finalizers"] if one != ORPHAN_FINALIZER]
    store.patch(kind, name, {"metadata": {"finalizers": kept}})
    return True


def one_event(store: Store, broken_tags: Iterable[str], choice: int) -> None:
    """Let one of the controllers make one step."""
    events: list[Callable[[], bool]] = [
        lambda: start_pods(store, broken_tags),
        lambda: collect_garbage(store),
        lambda: accept_route(store),
    ]
    events += [partial(sync_endpoints, store, name) for name in sorted(_service_names(store))]
    for kind, name in store.objects:
        if kind == "Deployment":
            events.append(partial(sync_deployment, store, name))
        if kind == "ReplicaSet":
            events.append(partial(sync_replica_set, store, name))
    events[choice % len(events)]()


def run_controllers(
    store: Store, broken_tags: Iterable[str], held_up: frozenset[str] = frozenset(), limit: int = 2000
) -> int:
    """Run every controller that is not held up until none has work left; return the number of events."""
    controllers: dict[str, Callable[[], bool]] = {
        "deployments": lambda: any(sync_deployment(store, name) for name in _names(store, "Deployment")),
        "replica sets": lambda: any(sync_replica_set(store, name) for name in _names(store, "ReplicaSet")),
        "pods": lambda: start_pods(store, broken_tags),
        "endpoints": lambda: any(sync_endpoints(store, name) for name in _service_names(store)),
        "garbage": lambda: collect_garbage(store),
        "gateway": lambda: accept_route(store),
    }
    running = [each for name, each in controllers.items() if name not in held_up]
    for count in range(limit):
        if not any(each() for each in running):
            return count
    raise AssertionError("the controllers of the model never come to rest")


def run_one(store: Store, broken_tags: Collection[str] = ()) -> bool:
    """Let the first controller that has something to do make one write; pods become ready one by one."""
    return (
        any(sync_replica_set(store, name) for name in _names(store, "ReplicaSet"))
        or any(sync_endpoints(store, name) for name in _service_names(store))
        or collect_garbage(store)
        or accept_route(store)
        or any(sync_deployment(store, name) for name in _names(store, "Deployment"))
        or _start_one(store, broken_tags)
    )


def accept_route(store: Store) -> bool:
    """Let the Gateway accept an HTTPRoute as it is now."""
    for found in store.of_kind("HTTPRoute"):
        generation, (parent,) = found["metadata"]["generation"], found["spec"]["parentRefs"]
        accepted = {"type": "Accepted", "status": "True", "observedGeneration": generation}
        status = {"parents": [{"parentRef": parent, "conditions": [accepted]}]}
        if found.get("status") != status:
            store.write_status("HTTPRoute", found["metadata"]["name"], status)
            return True
    return False


def _start_one(store: Store, broken: Collection[str]) -> bool:
    for each in store.pods.values():
        if not each.ready and not each.stuck and each.tag not in broken:
            store.set_ready(each.name, ready=True)
            return True
    return False


def _names(store: Store, wanted: str) -> list[str]:
    return [name for kind, name in store.objects if kind == wanted]


def _service_names(store: Store) -> set[str]:
    slices = {
        each["metadata"]["labels"]["kubernetes.io/service-name"] for each in store.of_kind("EndpointSlice")
    }
    return slices | {name for kind, name in store.objects if kind == "Service"}
