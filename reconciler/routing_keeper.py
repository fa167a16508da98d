"""TrafficRoutings from their own side: their status, and finalizers of ours that nobody needs any more.

Rollouts take and let go of a TrafficRouting in their own reconciliation. What is left is to show it, and to
free an object whose Rollout is gone: it could never be deleted.
"""

from dataclasses import dataclass

from kube.client import Client
from kube.errors import KubeError, NotFound, Retry
from kube.queue import QueueClosed, WorkQueue
from kube.resources import ROLLOUTS, TRAFFIC_ROUTINGS
from kube.wire import JsonObject, Key
from reconciler.execution import Leading, carries
from reconciler.world import World
from rollout.shared_routing_status import status, unheld, users
from rollout.status import read_status
from runtime.logs import Log

# As for plans: a cache that lags longer than this is stalled, and the next write is guarded anyway.
_SEEN_SECONDS = 10.0


@dataclass(frozen=True)
class RoutingKeeper:
    """Keeps every TrafficRouting's status and finalizers while this replica leads."""

    client: Client
    world: World
    leading: Leading
    log: Log

    async def work(self) -> None:
        """Look at every TrafficRouting once, then when it or a Rollout that holds it changes."""
        queue: WorkQueue[Key] = WorkQueue()

        def routing_changed(key: Key, _old: JsonObject | None, _new: JsonObject | None) -> None:
            queue.add(key)

        def rollout_changed(key: Key, _old: JsonObject | None, _new: JsonObject | None) -> None:
            for each in self.world.held_by(key):
                queue.add(Key(each["metadata"]["namespace"], each["metadata"]["name"]))

        ends = [
            self.world.traffic_routings.subscribe(routing_changed),
            self.world.rollouts.subscribe(rollout_changed),
        ]
        try:
            for key in self.world.traffic_routings.keys():  # noqa: SIM118  a Cache is no mapping
                queue.add(key)
            while True:
                async with queue.take() as key:
                    await self._look(key, queue)
        except QueueClosed:
            return
        finally:
            for end in ends:
                end()

    async def _look(self, key: Key, queue: WorkQueue[Key]) -> None:
        routing = self.world.traffic_routings.get(*key)
        if routing is None or not self.leading():
            queue.forget(key)
            return
        try:
            await self._keep(key, routing)
        except NotFound:  # gone meanwhile
            queue.forget(key)
        except KubeError as error:
            if error.retry is not Retry.AFTER_OBSERVING:
                name, said = "/".join(key), str(error)
                self.log.warning("a TrafficRouting could not be kept; trying again", name=name, error=said)
            queue.retry(key)
        except Exception:  # the boundary of one object: a bug met there must not end all releases
            name = "/".join(key)
            self.log.exception("a look at a TrafficRouting failed", name=name, again_in=queue.retry(key))
        else:
            queue.forget(key)

    async def _keep(self, key: Key, routing: JsonObject) -> None:
        """Bring finalizers and status up to date; each write is followed by another look."""
        finalizers = routing["metadata"].get("finalizers") or ()
        seen = ((name, self.world.rollouts.get(key.namespace, name)) for name in users(finalizers))
        holders = dict(seen)
        held = [name for name, found in holders.items() if found or await self._exists(key.namespace, name)]
        if (left := unheld(finalizers, held)) is not None:
            await self._write(key, routing, {"metadata": {"finalizers": left}})
            self.log.info("freed a TrafficRouting of finalizers that nobody needs", routing="/".join(key))
            return
        using = {name: read_status(found.get("status")) for name, found in holders.items() if found}
        wanted = status(routing, using).written()
        if not carries(routing.get("status"), wanted):
            await self._write(key, routing, {"status": wanted}, subresource="status")

    async def _exists(self, namespace: str, rollout: str) -> bool:
        """Ask the API server itself: a cache that lags must not let another release in."""
        try:
            await self.client.get(ROLLOUTS.ref(namespace, rollout))
        except NotFound:
            return False
        return True

    async def _write(
        self, key: Key, routing: JsonObject, change: JsonObject, subresource: str | None = None
    ) -> None:
        metadata = routing["metadata"]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        guarded = {**change, "metadata": {**change.get("metadata", {}), **guard}}
        written = await self.client.patch(TRAFFIC_ROUTINGS.ref(*key), guarded, subresource=subresource)
        version, cache = written["metadata"]["resourceVersion"], self.world.traffic_routings
        try:
            await cache.seen(version, _SEEN_SECONDS)
        except TimeoutError:
            self.log.warning("cache lags behind our own write", kind="TrafficRouting", seconds=_SEEN_SECONDS)
