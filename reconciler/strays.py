"""Objects that bear our marks and have no Rollout: let go, or they would be held for ever.

A gate, a pin or a changed route outlives its Rollout when the Rollout's finalizer was never set or was
removed by hand, when a backup brought back one without the other, or when the Rollout was pointed
elsewhere. Nothing in a Rollout's own reconciliation can see that, so the marks are looked at from their
bearers' side.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kube.client import Client
from kube.discovery import NotServed, discover
from kube.errors import KubeError, NotFound
from kube.events import Event, EventWriter, Regarding
from kube.queue import QueueClosed, WorkQueue
from kube.resources import DEPLOYMENTS, ROLLOUTS, SERVICES, Ref, Resource
from kube.wire import JsonObject, Key
from reconciler.kinds import route_marker
from reconciler.ownership import leave_to_owner
from reconciler.references import pinned_by_key, workload_keys
from reconciler.world import World
from rollout import messages, names
from rollout.observation import read_gate
from rollout.release.facts import GATE_ANNOTATIONS
from rollout.release.routes.returning import given_back
from rollout.route_kinds import RouteKind
from rollout.strategy import kept, merge
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

        def bearer_changed(_key: Key, _old: JsonObject | None, new: JsonObject | None) -> None:
            if new is not None:
                self._consider([new], queue)

        def rollout_changed(key: Key, old: JsonObject | None, new: JsonObject | None) -> None:
            if old is not None and (new is None or workload_keys(old) != workload_keys(new)):
                self._consider(self.world.bearers_of(key, workload_keys(old)), queue)

        ends = [
            self.world.deployments.subscribe(bearer_changed),
            self.world.services.subscribe(bearer_changed),
            self.world.rollouts.subscribe(rollout_changed),
            self.world.kinds.subscribe(bearer_changed),
        ]
        try:
            self._consider(self._bearers(), queue)
            while True:
                async with queue.take() as ref:
                    await self._look(ref, queue)
        except QueueClosed:
            return
        finally:
            for end in ends:
                end()

    def _consider(self, bearers: Iterable[JsonObject], queue: WorkQueue[Ref]) -> None:
        for each in bearers:
            if self._is_stray(each):
                queue.add_after(self._ref(each), _PATIENCE_SECONDS)

    def _bearers(self) -> list[JsonObject]:
        plain = (*self.world.deployments.items(), *self.world.services.items())
        return [*plain, *self.world.kinds.all_marked()]

    def _is_stray(self, value: JsonObject) -> bool:
        if _is(DEPLOYMENTS, value):
            return freed(value) is not None and not self.world.governors_of(value)
        key = holder_of(value)
        return key is not None and self.world.rollouts.get(*key) is None

    async def _look(self, ref: Ref, queue: WorkQueue[Ref]) -> None:
        value = self._find(ref)
        if value is None or not self._is_stray(value) or not self.leading():
            queue.forget(ref)
            return
        try:
            if not await self._has_rollout(value):
                await self._free(ref, value)
        except KubeError as error:
            self.log.warning("a stray could not be freed; trying again", stray=str(ref), error=str(error))
            queue.retry(ref)
        except Exception:  # the boundary of one object: a bug met there must not end all releases
            self.log.exception("a look at a stray failed", stray=str(ref), again_in=queue.retry(ref))
        else:
            queue.forget(ref)

    def _ref(self, value: JsonObject) -> Ref:
        metadata = value["metadata"]
        for resource in (DEPLOYMENTS, SERVICES):
            if _is(resource, value):
                return resource.ref(metadata["namespace"], metadata["name"])
        cache = self.world.cache_of(value["kind"], value["apiVersion"])
        return cache.resource.ref(metadata["namespace"], metadata["name"])

    def _find(self, ref: Ref) -> JsonObject | None:
        plain = {DEPLOYMENTS: self.world.deployments, SERVICES: self.world.services}
        kind = RouteKind(ref.resource.api_version, ref.resource.kind)
        cache = plain.get(ref.resource) or self.world.kinds.caches.get(kind)
        return cache.get(ref.namespace or "", ref.name) if cache is not None else None

    async def _has_rollout(self, value: JsonObject) -> bool:
        """Ask the API server itself: a cache that lags must not let a held change out."""
        metadata = value["metadata"]
        try:
            found = (await self.client.list(ROLLOUTS, namespace=metadata["namespace"])).items
        except NotFound:
            where = await discover(self.client, ROLLOUTS.api_version, ROLLOUTS.kind)
            if isinstance(where, NotServed) and not where.versions:
                return False  # with their definition went all of them
            raise
        if _is(DEPLOYMENTS, value):
            key = Key(metadata["namespace"], metadata["name"])
            return any(key in workload_keys(each) for each in found)
        holder = holder_of(value)
        return any(each["metadata"]["name"] == holder.name for each in found) if holder else True

    async def _free(self, ref: Ref, value: JsonObject) -> None:
        change = let_go(value)
        if change is None:
            self.log.warning("a stray cannot be given back: what it was is not known", stray=str(ref))
            return
        await leave_to_owner(self.client, ref, await self.client.patch(ref, change))
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


def let_go(value: JsonObject) -> JsonObject | None:
    """Build the patch that makes an object as it would be without us; None when that is not known."""
    if _is(DEPLOYMENTS, value):
        return freed(value)
    if _is(SERVICES, value):
        return widened(value)
    patch = given_back(value)
    if patch is None:
        return None
    return {**patch, "metadata": {**patch["metadata"], **_guard(value["metadata"])}}


def holder_of(value: JsonObject) -> Key | None:
    """Name the Rollout whose mark a Service or a user's own route bears."""
    return pinned_by_key(value) if _is(SERVICES, value) else route_marker(value)


def freed(deployment: JsonObject) -> JsonObject | None:
    """Build the patch that takes label, gate and held strategy from a Deployment; None when there is none."""
    metadata = deployment["metadata"]
    annotations = metadata.get("annotations") or {}
    gated, held = read_gate(annotations) is not None, kept(annotations.get(names.STRATEGY))
    if not (gated or held or names.WORKLOAD_TYPE in (metadata.get("labels") or {})):
        return None
    ours = (*(GATE_ANNOTATIONS if gated else ()), *((names.STRATEGY,) if held else ()))
    marks = {**_guard(metadata), "labels": {names.WORKLOAD_TYPE: None}, "annotations": dict.fromkeys(ours)}
    paused: JsonObject = {"paused": None} if gated else {}
    is_ours = held is not None and held.has(deployment["spec"].get("strategy") or {})
    strategy = {"strategy": merge(held.declared)} if held and is_ours else {}
    return {"metadata": marks, "spec": {**paused, **strategy}}


def widened(service: JsonObject) -> JsonObject | None:
    """Build the patch that takes our pin from a Service; None when there is none."""
    if pinned_by_key(service) is None:
        return None
    marks = dict.fromkeys((names.PIN, names.PINNED_BY, names.RELEASE))
    selector = {names.POD_TEMPLATE_HASH: None}
    return {"metadata": {**_guard(service["metadata"]), "annotations": marks}, "spec": {"selector": selector}}


def _guard(metadata: JsonObject) -> JsonObject:
    return {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}


def _is(resource: Resource, value: JsonObject) -> bool:
    """Tell whether an object is of one of Kubernetes' own kinds; others may be called the same."""
    return (value["apiVersion"], value["kind"]) == (resource.api_version, resource.kind)
