"""Deployments and Services that bear our marks and have no Rollout: let go, or they would be held for ever.

A gate or a pin outlives its Rollout when the Rollout's finalizer was never set or was removed by hand,
when a backup brought back one without the other, or when the Rollout was pointed elsewhere. Nothing in
a Rollout's own reconciliation can see that, so the marks are looked at from their bearers' side.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kube.client import Client
from kube.errors import KubeError
from kube.events import Event, EventWriter, Regarding
from kube.queue import QueueClosed, WorkQueue
from kube.resources import DEPLOYMENTS, ROLLOUTS, SERVICES, Ref
from kube.wire import JsonObject, Key
from reconciler.world import World, pinned_by_key, workload_keys
from rollout import messages, names
from rollout.observation import read_gate
from rollout.release.facts import GATE_ANNOTATIONS
from runtime.logs import Log

# A Rollout that is replaced (deleted and created) is missing for a moment; so is one that a restore brings
# back after its Deployment.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Strays:
    """Finds and frees them while this replica leads."""

    client: Client
    world: World
    writer: EventWriter
    leading: Callable[[], bool]
    log: Log

    async def work(self) -> None:
        """Look at every bearer once, then whenever one could have become a stray; ends by cancellation."""
        queue: WorkQueue[Ref] = WorkQueue()

        def consider(*_: object) -> None:
            for ref in self._suspects():
                queue.add_after(ref, _PATIENCE_SECONDS)

        def bearer_changed(_key: Key, _old: JsonObject | None, new: JsonObject | None) -> None:
            if new is not None and self._is_stray(new):
                queue.add_after(_ref(new), _PATIENCE_SECONDS)

        def rollout_changed(_key: Key, old: JsonObject | None, new: JsonObject | None) -> None:
            if new is None or (old is not None and workload_keys(old) != workload_keys(new)):
                consider()

        ends = [
            self.world.deployments.subscribe(bearer_changed),
            self.world.services.subscribe(bearer_changed),
            self.world.rollouts.subscribe(rollout_changed),
        ]
        try:
            consider()
            while True:
                async with queue.take() as ref:
                    await self._look(ref, queue)
        except QueueClosed:
            return
        finally:
            for end in ends:
                end()

    def _suspects(self) -> list[Ref]:
        bearers = (*self.world.deployments.items(), *self.world.services.items())
        return [_ref(each) for each in bearers if self._is_stray(each)]

    def _is_stray(self, value: JsonObject) -> bool:
        if value["kind"] == "Deployment":
            return freed(value) is not None and not self.world.governors_of(value)
        key = pinned_by_key(value)
        return key is not None and self.world.rollouts.get(*key) is None

    async def _look(self, ref: Ref, queue: WorkQueue[Ref]) -> None:
        cache = self.world.deployments if ref.resource is DEPLOYMENTS else self.world.services
        value = cache.get(ref.namespace or "", ref.name)
        if value is None or not self._is_stray(value) or not self.leading():
            queue.forget(ref)
            return
        try:
            if not await self._has_rollout(value):
                await self._free(ref, value)
        except KubeError as error:
            self.log.warning("a stray could not be freed; trying again", stray=str(ref), error=str(error))
            queue.retry(ref)
        else:
            queue.forget(ref)

    async def _has_rollout(self, value: JsonObject) -> bool:
        """Ask the API server itself: a cache that lags must not let a held change out."""
        metadata = value["metadata"]
        found = (await self.client.list(ROLLOUTS, namespace=metadata["namespace"])).items
        if value["kind"] == "Deployment":
            key = Key(metadata["namespace"], metadata["name"])
            return any(key in workload_keys(each) for each in found)
        pinner = pinned_by_key(value)
        return any(each["metadata"]["name"] == pinner.name for each in found) if pinner else True

    async def _free(self, ref: Ref, value: JsonObject) -> None:
        change = freed(value) if value["kind"] == "Deployment" else widened(value)
        if change is None:
            return
        await self.client.patch(ref, change)
        self.log.warning("freed what a Rollout that is gone had left", stray=str(ref))
        if read_gate(value["metadata"].get("annotations") or {}):
            self.writer.record(
                Event(
                    regarding=Regarding.of(value),
                    type="Warning",
                    reason="GateOpened",
                    action="Release",
                    note=messages.gate_without_rollout(ref.name),
                    key=value["metadata"]["resourceVersion"],
                )
            )


def freed(deployment: JsonObject) -> JsonObject | None:
    """Build the patch that takes our label and gate from a Deployment; None when there is neither."""
    metadata = deployment["metadata"]
    gated = read_gate(metadata.get("annotations") or {}) is not None
    if not gated and names.WORKLOAD_TYPE not in (metadata.get("labels") or {}):
        return None
    marks: JsonObject = {**_guard(metadata), "labels": {names.WORKLOAD_TYPE: None}}
    if not gated:
        return {"metadata": marks}
    return {"metadata": {**marks, "annotations": dict.fromkeys(GATE_ANNOTATIONS)}, "spec": {"paused": None}}


def widened(service: JsonObject) -> JsonObject | None:
    """Build the patch that takes our pin from a Service; None when there is none."""
    if pinned_by_key(service) is None:
        return None
    marks = dict.fromkeys((names.PIN, names.PINNED_BY, names.RELEASE))
    selector = {names.POD_TEMPLATE_HASH: None}
    return {"metadata": {**_guard(service["metadata"]), "annotations": marks}, "spec": {"selector": selector}}


def _guard(metadata: JsonObject) -> JsonObject:
    return {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}


def _ref(value: JsonObject) -> Ref:
    resource = DEPLOYMENTS if value["kind"] == "Deployment" else SERVICES
    return resource.ref(value["metadata"]["namespace"], value["metadata"]["name"])
