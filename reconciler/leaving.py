"""Leaving: every release ended, every trace removed, and only then our own objects let go.

    the webhook out of every request -> every Rollout let go -> strays -> our own objects

Each part looks at what is, so that leaving can be stopped anywhere and taken up again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from kube.client import Client
from kube.errors import KubeError
from kube.resources import DEPLOYMENTS
from kube.wire import JsonObject
from reconciler.controller import Controller
from reconciler.installation import DONE, Caretaker
from reconciler.world import World
from rollout import names
from rollout.observation import observe, read_gate
from rollout.release.facts import GATE_ANNOTATIONS
from rollout.release.plan import has_left, leave
from runtime.logs import Log

# `kubectl delete -f` sends one deletion after the other; what is let go plainly and deleted a moment later
# could strand a binding. Quiet for this long, the burst is over.
_QUIET_SECONDS = 3.0
_RETRY_SECONDS = 1.0
# An API server may ask the webhook for a moment after its configuration is gone, and a gate close once more.
_LATE_SECONDS = 1.0


@dataclass
class Leaver:
    """Takes us out of the cluster."""

    client: Client
    world: World
    caretaker: Caretaker
    clock: Callable[[], datetime]
    log: Log
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        installation = self.caretaker.installation
        for cache in (*self.world.caches.values(), *installation.caches.values()):
            cache.subscribe(lambda *_: self._changed.set())

    async def leave(self, controller: Controller, workers: int) -> None:
        """Do all of it; whatever the API server refuses is tried again, for whoever uninstalls waits."""
        installation = self.caretaker.installation
        self.log.info("leaving: taking the webhook out of every request")
        await self.persist(self.caretaker.withdraw_webhook)
        await self.persist(self.caretaker.hand_over)
        self.log.info("leaving: ending every release")
        working = asyncio.ensure_future(controller.work(workers, leave))
        try:
            await self.until(lambda: not self.unfinished())
            await asyncio.sleep(_LATE_SECONDS)
            await self.until(lambda: not self.unfinished())
            await self.persist(self._sweep)
        finally:
            working.cancel()
            await asyncio.wait({working})
        if installation.namespace_deleted:
            await self.persist(self.caretaker.tie_to_namespace)
        await self.persist(lambda: self.caretaker.report(DONE))
        await self._quiet()
        self.log.info("leaving: nothing of ours is left; letting go of our own objects")
        await self.persist(self.caretaker.hand_over)
        await self.persist(self.caretaker.let_go)

    def unfinished(self) -> list[str]:
        """Name the Rollouts around which something of ours is left."""
        rollouts = self.world.rollouts.items()
        left = ((each, has_left(observe(each, self.world.around(each), self.clock()))) for each in rollouts)
        return [
            f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each, done in left if not done
        ]

    async def _sweep(self) -> None:
        """Free Deployments that bear our marks and have no Rollout (any more)."""
        for deployment in self.world.deployments.items():
            if change := _freed(deployment):
                metadata = deployment["metadata"]
                await self.client.patch(DEPLOYMENTS.ref(metadata["namespace"], metadata["name"]), change)

    async def _quiet(self) -> None:
        """Wait until our own objects have stopped changing."""
        installation = self.caretaker.installation
        if not installation.deleted:
            return
        while True:
            before = installation.versions
            await asyncio.sleep(_QUIET_SECONDS)
            if installation.versions == before:
                return

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on what is seen holds, looking after each change."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something until the API server has accepted it."""
        while True:
            try:
                await work()
            except KubeError as error:
                self.log.warning("leaving: refused for now; trying again", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return


def _freed(deployment: JsonObject) -> JsonObject | None:
    """Build the patch that takes our label and gate from a Deployment; None when there is neither."""
    metadata = deployment["metadata"]
    gated = read_gate(metadata.get("annotations") or {}) is not None
    labelled = names.WORKLOAD_TYPE in (metadata.get("labels") or {})
    if not gated and not labelled:
        return None
    guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    change: dict[str, object] = {"metadata": {**guard, "labels": {names.WORKLOAD_TYPE: None}}}
    if gated:
        annotations = dict.fromkeys(GATE_ANNOTATIONS)
        change = {
            "metadata": {**guard, "labels": {names.WORKLOAD_TYPE: None}, "annotations": annotations},
            "spec": {"paused": None},
        }
    return change
