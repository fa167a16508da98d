"""A cluster's memory: objects with uids, versions and generations, and the writes an API server accepts.

Objects are never changed in place: a write puts a new value, so any earlier state can be kept for
nothing and looked at again (a stale cache). Knows nothing of controllers, admission or Sluice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rollout import names
from rollout.wire import JsonObject

Key = tuple[str, str]
"""Kind and name; the model has one namespace."""

ORPHAN_FINALIZER = "orphan"
NAMESPACE = "default"


class Refused(Exception):  # noqa: N818 - an answer, as in the Kubernetes API
    """A write that the API server does not accept."""


class Conflict(Refused):
    """The object is not the one that was observed, or not in the state that was observed."""


class NotFound(Refused):
    """There is no such object."""


class AlreadyExists(Refused):
    """An object of this name exists."""


@dataclass(frozen=True)
class Pod:
    """A pod, as far as anything here looks at it."""

    name: str
    owner: str
    """uid of its ReplicaSet."""
    labels: tuple[tuple[str, str], ...]
    tag: str
    """Image tag of its template."""
    ready: bool = False
    version: int = 0
    stuck: bool = False
    """Whether it never becomes ready, whatever its image."""

    @property
    def manifest(self) -> JsonObject:
        """The pod as an API server shows it."""
        owner = {"kind": "ReplicaSet", "uid": self.owner, "controller": True}
        return {
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "uid": self.name,
                "resourceVersion": str(self.version),
                "labels": dict(self.labels),
                "ownerReferences": [owner],
            },
            "status": {"conditions": [{"type": "Ready", "status": str(self.ready)}]},
        }


class Store:
    """Objects by kind and name, and pods by name."""

    def __init__(self) -> None:
        self.objects: dict[Key, JsonObject] = {}
        self.pods: dict[str, Pod] = {}
        self.matures = False
        """Whether a pod that becomes ready is available only later (``minReadySeconds``)."""
        self.fresh: list[str] = []
        """The pods that are ready and not available yet, the oldest first."""
        self._counter = 0

    # --- reading ---------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> JsonObject | None:
        """Find an object."""
        return self.objects.get((kind, name))

    def of_kind(self, kind: str) -> list[JsonObject]:
        """List objects in the order of their creation."""
        return [each for (found, _), each in self.objects.items() if found == kind]

    # --- writing ---------------------------------------------------------------------------------

    def create(self, manifest: JsonObject) -> JsonObject:
        """Create an object."""
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key in self.objects:
            raise AlreadyExists(key)
        metadata = {
            **manifest["metadata"],
            "namespace": NAMESPACE,
            "uid": f"uid-{self.tick()}",
            "resourceVersion": str(self.tick()),
            "generation": 1,
            # Of whole seconds, as an API server's: what is created close together is of one age.
            "creationTimestamp": f"{self._counter // 40:08}",
        }
        self.objects[key] = {**manifest, "metadata": metadata}
        return self.objects[key]

    def merged(self, kind: str, name: str, merge: JsonObject) -> tuple[JsonObject, JsonObject]:
        """Work out a merge patch: the object as it is, and as it would be. Guards are checked here."""
        old = self.objects.get((kind, name))
        if old is None:
            raise NotFound((kind, name))
        metadata = merge.get("metadata", {})
        for guard in ("uid", "resourceVersion"):
            if guard in metadata and metadata[guard] != old["metadata"][guard]:
                raise Conflict((kind, name, guard))
        return old, merge_patch(old, merge)

    def put(self, new: JsonObject, *, status_only: bool = False) -> JsonObject:
        """Store a changed object; equal content changes nothing, as on an API server."""
        key = (new["kind"], new["metadata"]["name"])
        old = self.objects[key]
        if new == old:
            return old
        generation = old["metadata"]["generation"]
        if not status_only and new.get("spec") != old.get("spec"):
            generation += 1
        metadata = {**new["metadata"], "resourceVersion": str(self.tick()), "generation": generation}
        self.objects[key] = {**new, "metadata": metadata}
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            del self.objects[key]
        return {**new, "metadata": metadata}

    def patch(self, kind: str, name: str, merge: JsonObject) -> JsonObject:
        """Apply a merge patch past all admission."""
        return self.put(self.merged(kind, name, merge)[1])

    def write_status(self, kind: str, name: str, status: JsonObject, version: str | None = None) -> None:
        """Replace the status of an object."""
        old = self.objects.get((kind, name))
        if old is None:
            raise NotFound((kind, name))
        if version not in {None, old["metadata"]["resourceVersion"]}:
            raise Conflict((kind, name, "resourceVersion"))
        self.put({**old, "status": status}, status_only=True)

    def delete(self, kind: str, name: str, *, orphan: bool = False) -> None:
        """Delete an object, or mark it while it has finalizers."""
        old = self.objects.get((kind, name))
        if old is None:
            raise NotFound((kind, name))
        finalizers = [*(old["metadata"].get("finalizers") or ()), *((ORPHAN_FINALIZER,) if orphan else ())]
        if not finalizers:
            del self.objects[(kind, name)]
            return
        metadata = {**old["metadata"], "finalizers": finalizers, "deletionTimestamp": "2026-01-01T00:00:00Z"}
        metadata["generation"] = old["metadata"]["generation"] + 1
        self.put({**old, "metadata": metadata})

    # --- pods ------------------------------------------------------------------------------------

    def put_pod(self, pod: Pod) -> None:
        """Store a pod."""
        self.pods[pod.name] = pod

    def set_ready(self, name: str, *, ready: bool) -> None:
        """Change whether a pod is ready."""
        self.pods[name] = replace(self.pods[name], ready=ready, version=self.tick())
        self.fresh = [each for each in self.fresh if each != name] + [name] * (ready and self.matures)

    def mature(self) -> bool:
        """Let the time of the oldest fresh pod pass; tell whether there was one."""
        self.fresh, passed = self.fresh[1:], self.fresh[:1]
        return bool(passed)

    def is_available(self, pod: Pod) -> bool:
        """Tell whether a pod counts as available."""
        return pod.ready and pod.name not in self.fresh

    def stick(self, name: str) -> None:
        """Make a pod not ready for good."""
        self.pods[name] = replace(self.pods[name], ready=False, stuck=True, version=self.tick())

    def mend_pods(self) -> None:
        """Let every pod become ready again."""
        self.pods = {name: replace(each, stuck=False) for name, each in self.pods.items()}

    def label_pod(self, name: str, merge: JsonObject) -> None:
        """Add labels to a pod."""
        found, metadata = self.pods.get(name), merge["metadata"]
        if found is None:
            raise NotFound(("Pod", name))
        if (metadata["uid"], metadata["resourceVersion"]) != (found.name, str(found.version)):
            raise Conflict(("Pod", name))
        labels = tuple(sorted({**dict(found.labels), **metadata["labels"]}.items()))
        self.pods[name] = replace(found, labels=labels, version=self.tick())

    def tick(self) -> int:
        """Give the next number; versions, uids and pod names come from one sequence."""
        self._counter += 1
        return self._counter


def merge_patch(value: Any, merge: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386)."""
    if not isinstance(merge, Mapping):
        return merge
    merged = dict(value) if isinstance(value, Mapping) else {}
    for key, change in merge.items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), change)
    return merged


def owner_of(value: JsonObject) -> str:
    """Return the uid of the controlling owner, "" for none."""
    references = value["metadata"].get("ownerReferences") or ()
    return next((each["uid"] for each in references if each.get("controller")), "")


def maker_of(value: JsonObject) -> str:
    """Return the uid of the Rollout that made an object, also when its owner reference was taken away."""
    return owner_of(value) or (value["metadata"].get("labels") or {}).get(names.MADE_BY, "")


def owner_uids(value: JsonObject) -> Iterator[str]:
    """Go through the uids of all owners."""
    return (each["uid"] for each in value["metadata"].get("ownerReferences") or ())


def owned_by(kind: str, owner: JsonObject) -> list[JsonObject]:
    """Return the owner references of something that ``owner`` controls."""
    return [
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
    ]
