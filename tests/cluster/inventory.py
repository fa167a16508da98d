"""Everything in a namespace, so that a test can say: nothing is left.

Kinds are asked for by discovery, so that one that nobody thought of is looked at too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sandbox.cluster import Cluster
from sandbox.names import JsonObject
from tests.cluster.application import Application

Inventory = Mapping[str, JsonObject]
"""Every object of a namespace by `group/version/plural/name`."""

_EVENTS = {"v1/events", "events.k8s.io/v1/events"}
_GENERATED = {"v1/pods", "apps/v1/replicasets", "discovery.k8s.io/v1/endpointslices", "v1/endpoints"}
"""Made by Kubernetes from others, and named by it: judged by their owners."""

_VOLATILE = ("uid", "resourceVersion", "generation", "managedFields", "creationTimestamp")
_REVISION = "deployment.kubernetes.io/revision"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_APPROVALS = ("sluice.dev/approve", "sluice.dev/approved-by")
"""What a user wrote, and its stamp: it stays until the user removes it."""


async def take(app: Application) -> Inventory:
    """List all objects of the application's namespace."""
    found: dict[str, JsonObject] = {}
    for resource in await _resources(app.cluster):
        for each in await app.cluster.list(resource, app.namespace):
            found[f"{resource}/{each['metadata']['name']}"] = each
    return found


async def settled(app: Application) -> Inventory:
    """Wait until what Kubernetes collects as garbage is gone, then list; nothing else is waited for."""
    for resource in ("apps/v1/replicasets", "v1/pods", "discovery.k8s.io/v1/endpointslices"):
        await app.wait_for_all(resource, _no_orphans(await take(app)))
    return await take(app)


def leftovers(before: Inventory, after: Inventory) -> list[str]:
    """Name what was not there before, what is missing, and each field that differs."""
    return [*_objects(before, after), *_fields(before, after)]


def _objects(before: Inventory, after: Inventory) -> Iterator[str]:
    for key in sorted(after.keys() - before.keys()):
        if _kind(key) not in _GENERATED:
            yield f"{key} is left over"
    for key in sorted(before.keys() - after.keys()):
        if _kind(key) not in _GENERATED:
            yield f"{key} is gone"


def _fields(before: Inventory, after: Inventory) -> Iterator[str]:
    for key in sorted(before.keys() & after.keys()):
        if _kind(key) not in _GENERATED:
            yield from _differences(key, *(_essence(_kind(key), each[key]) for each in (before, after)))


def _essence(kind: str, found: JsonObject) -> JsonObject:
    """Return what an ended release must leave as it was: all but status, template and bookkeeping."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in _VOLATILE}
    annotations = {
        key: value
        for key, value in metadata.pop("annotations", {}).items()
        if key not in {_REVISION, _LAST_APPLIED, *_APPROVALS}
    }
    essence = {key: value for key, value in found.items() if key not in {"metadata", "status"}}
    if kind == "apps/v1/deployments":
        essence["spec"] = {key: value for key, value in found["spec"].items() if key != "template"}
    return {**essence, "metadata": metadata, "annotations": annotations}


def _differences(where: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from _differences(f"{where}.{key}", one.get(key), other.get(key))
    elif one != other:
        yield f"{where} was {one!r} and is {other!r}"


def _no_orphans(inventory: Inventory) -> Callable[[list[JsonObject]], bool]:
    """Return whether every object has an owner that exists, and none is on its way out."""
    uids = {each["metadata"]["uid"] for each in inventory.values()}

    def is_orphan(found: JsonObject) -> bool:
        metadata = found["metadata"]
        owners = metadata.get("ownerReferences", ())
        return bool(metadata.get("deletionTimestamp")) or any(each["uid"] not in uids for each in owners)

    return lambda found: not any(map(is_orphan, found))


def _kind(key: str) -> str:
    return key.rpartition("/")[0]


async def _resources(cluster: Cluster) -> list[str]:
    groups = (await cluster.api.get("/apis"))["groups"]
    versions = [("/api/v1", "v1")]
    for group in groups:
        version = group["preferredVersion"]["groupVersion"]
        versions.append((f"/apis/{version}", version))
    found = []
    for place, version in versions:
        for each in (await cluster.api.get(place))["resources"]:
            resource = f"{version}/{each['name']}"
            if each["namespaced"] and "list" in each["verbs"] and resource not in _EVENTS:
                found.append(resource)
    return found
