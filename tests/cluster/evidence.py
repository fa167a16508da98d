"""What the watches saw while nothing may be let out: no sampling, every event counts."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sandbox.names import JsonObject
from sandbox.observation import Record
from tests.cluster.application import NAME, Application

_HASH = "pod-template-hash"


@dataclass(frozen=True)
class Evidence:
    """Every form that the namespace's Deployments, ReplicaSets and Pods had; complete when its block ends."""

    stable: str
    """The pod-template-hash that serves."""
    template: JsonObject
    """The template that serves."""
    deployments: Record
    replica_sets: Record
    pods: Record

    def updated_pods(self) -> list[str]:
        """Name each moment at which the Deployment itself had, or asked for, a pod of another template."""
        return [*self._by_deployment(), *self._by_replica_set(), *self._by_pod()]

    def _by_deployment(self) -> Iterator[str]:
        for found in self.deployments.objects:
            if found["metadata"]["name"] != NAME or found["spec"]["template"] == self.template:
                continue
            status = found["status"]
            observed = status.get("observedGeneration") == found["metadata"]["generation"]
            if observed and status.get("updatedReplicas", 0):
                yield f"Deployment at {_version(found)} has {status['updatedReplicas']} updated pods"

    def _by_replica_set(self) -> Iterator[str]:
        for found in self.replica_sets.objects:
            if self._is_new(found) and _owner(found) == NAME and found["spec"]["replicas"]:
                yield f"ReplicaSet {found['metadata']['name']} at {_version(found)} wants pods"

    def _by_pod(self) -> Iterator[str]:
        owners = {found["metadata"]["name"] for found in self.replica_sets.objects if _owner(found) == NAME}
        for found in self.pods.objects:
            if self._is_new(found) and _owner(found) in owners:
                yield f"Pod {found['metadata']['name']} is the Deployment's"

    def _is_new(self, found: JsonObject) -> bool:
        return bool(found["metadata"]["labels"].get(_HASH) != self.stable)


@asynccontextmanager
async def watching(app: Application) -> AsyncIterator[Evidence]:
    """Record from now on, with the revision that serves now as the stable one."""
    hashes = {pod["metadata"]["labels"][_HASH] for pod in await app.pods()}
    (stable,) = hashes
    template = (await app.get("deployments"))["spec"]["template"]
    async with AsyncExitStack() as stack:
        deployments, replica_sets, pods = [
            await stack.enter_async_context(app.cluster.record(resource, app.namespace))
            for resource in ("deployments", "replicasets", "pods")
        ]
        yield Evidence(stable, template, deployments, replica_sets, pods)


def _owner(found: JsonObject) -> str:
    owners = found["metadata"].get("ownerReferences", ())
    return next((str(each["name"]) for each in owners if each.get("controller")), "")


def _version(found: JsonObject) -> str:
    return f"resourceVersion {found['metadata']['resourceVersion']}"
