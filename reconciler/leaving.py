"""Leaving: every release ended, every trace removed, and only then our own objects let go.

    the webhook out of every request -> every Rollout let go -> strays -> our own objects

Each part looks at what is, so that leaving can be stopped and taken up again by anybody, until our own
objects are let go: that is done to its end by who began it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any

from kube.backoff import Backoff
from kube.client import Client
from kube.errors import KubeError, NotFound
from kube.resources import DEPLOYMENTS, ROLLOUTS, SERVICES, TRAFFIC_ROUTINGS, Resource
from kube.wire import JsonObject
from reconciler.controller import Controller
from reconciler.execution import carries
from reconciler.installation import Caretaker
from reconciler.strays import freed, let_go, widened
from reconciler.world import World
from rollout.release.plan import has_left, leave
from rollout.shared_routing_status import unheld, uninstalled
from runtime.logs import Log

# `kubectl delete -f` sends one deletion after the other; what is let go plainly and deleted a moment later
# could strand a binding. Quiet for this long, the burst is over.
_QUIET_SECONDS = 3.0
# Whoever uninstalls waits; a policy that refuses for good is not asked every second.
_RETRY = Backoff(first=1.0, cap=10.0)
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
    _parting: asyncio.Future[None] | None = None
    _failed: set[tuple[str, str]] = field(default_factory=set)
    """Versions of Rollouts at which a look has failed, by uid and resourceVersion."""
    nobody_to_ask: bool = False
    """Whether there is no Deployment of ours on which the request could stand, or be taken back."""

    def __post_init__(self) -> None:
        installation = self.caretaker.installation
        self.world.subscribe(lambda _: self._changed.set())
        for cache in installation.caches.values():
            cache.subscribe(lambda *_: self._changed.set())

    async def leave(self, controller: Controller, workers: int) -> bool:
        """Do all of it, and tell whether it came to its end: who asked for it may take that back.

        Whatever the API server refuses is tried again, for whoever uninstalls waits.
        """
        if self._parting is None or self._parting.done():
            if not await self.unless(self._stays, self._end_everything(controller, workers)):
                self.log.warning(
                    "leaving: no longer asked for; nothing is held until the webhook's hooks are back"
                )
                return False
            self._parting = asyncio.ensure_future(self._let_go_of_ourselves())
            self._parting.add_done_callback(self._parted)
        # Our rights go with it: the next leader could not come as far again. A lost lease does not end it.
        await asyncio.shield(self._parting)
        return True

    def unfinished(self) -> Iterator[str]:
        """Name what is left to do, as far as it can be seen."""
        for rollout in self.world.rollouts.items():
            key = rollout["metadata"]["namespace"], rollout["metadata"]["name"]
            if not self._let_go(*key):
                yield f"Rollout {'/'.join(key)} is not let go; its events say what is refused"
        if not self.caretaker.installation.released:
            yield "our own objects are still held, which comes last"

    def _stays(self) -> bool:
        return not (self.nobody_to_ask or self.caretaker.installation.leaving)

    async def _end_everything(self, controller: Controller, workers: int) -> None:
        installation = self.caretaker.installation
        self.log.info("leaving: taking the webhook out of every request")
        await self.persist(self.caretaker.withdraw_webhook)
        await self.persist(self.caretaker.hand_over)
        self.log.info("leaving: ending every release")
        working = asyncio.ensure_future(controller.work(workers, leave))
        try:
            await self._all_let_go()
            await asyncio.sleep(_LATE_SECONDS)
            await self._all_let_go()
            await self.persist(self._sweep)
        finally:
            working.cancel()
            await asyncio.wait({working})
        if installation.namespace_deleted:
            await self.persist(self.caretaker.tie_to_namespace)
        await self.persist(self.caretaker.answer)
        await self._quiet()

    async def _let_go_of_ourselves(self) -> None:
        self.log.info("leaving: nothing of ours is left; letting go of our own objects")

        async def part() -> None:
            # Whoever changes their mind while we are refused, keeps us.
            if not self._stays():
                await self.caretaker.hand_over()
                await self.caretaker.let_go()

        await self.persist(part)

    def _parted(self, parting: asyncio.Future[None]) -> None:
        if not parting.cancelled() and (error := parting.exception()):
            self.log.error("leaving: could not let go of our own objects", error=repr(error))

    async def _all_let_go(self) -> None:
        """Wait until nothing of ours is left around any Rollout.

        Looked at one after the other, each again and again until it is so, and never for long without
        letting others run: the lease has to be renewed meanwhile.
        """
        for rollout in self.world.rollouts.items():
            key = rollout["metadata"]["namespace"], rollout["metadata"]["name"]
            if not self._let_go(*key) and await self._is_stranded(rollout):
                self.log.warning(
                    "leaving: a Rollout stays, its namespace does not exist", rollout="/".join(key)
                )
                continue
            await self.until(partial(self._let_go, *key))
            await asyncio.sleep(0)

    async def _is_stranded(self, rollout: JsonObject) -> bool:
        """Tell whether nothing can be written to a Rollout: its namespace went without it."""
        metadata, stranded = rollout["metadata"], False

        async def ask() -> None:
            nonlocal stranded
            ref = ROLLOUTS.ref(metadata["namespace"], metadata["name"])
            try:
                await self.client.patch(ref, {"metadata": {"uid": metadata["uid"]}}, dry_run=True)
            except NotFound:
                stranded = True

        await self.persist(ask)
        return stranded

    def _let_go(self, namespace: str, name: str) -> bool:
        rollout = self.world.rollouts.get(namespace, name)
        try:
            return rollout is None or has_left(self.world.observe(rollout, self.clock()))
        except Exception as error:  # noqa: BLE001 - the boundary of one Rollout: the others are let go
            self._puzzled(rollout, error)
            return False

    def _puzzled(self, rollout: JsonObject | None, error: Exception) -> None:
        """Log what a bug makes of a Rollout, once for each version of it: it is looked at again and again."""
        metadata = rollout["metadata"] if rollout else {}
        version = metadata.get("uid", ""), metadata.get("resourceVersion", "")
        if version not in self._failed:
            self._failed.add(version)
            name = f"{metadata.get('namespace')}/{metadata.get('name')}"
            self.log.error("leaving: a look at a Rollout failed", rollout=name, exception=error)

    async def _sweep(self) -> None:
        """Free what bears our marks and has no Rollout (any more)."""
        for deployment in self.world.deployments.items():
            await self._change(DEPLOYMENTS, deployment, freed)
        for service in self.world.services.items():
            await self._change(SERVICES, service, widened)
        for route in self.world.kinds.all_marked():
            resource = self.world.cache_of(route["kind"], route["apiVersion"]).resource
            await self._change(resource, route, let_go)
        for routing in self.world.traffic_routings.items():
            with suppress(NotFound):
                await self._free(routing)

    async def _change(
        self, resource: Resource, found: JsonObject, without_us: Callable[[JsonObject], JsonObject | None]
    ) -> None:
        """Make an object as it would be without us, if it and its namespace still exist."""
        ref = resource.ref(found["metadata"]["namespace"], found["metadata"]["name"])
        try:
            change = without_us(found)
        except Exception:  # the boundary of one object: the others are let go
            self.log.exception("leaving: an object stays as it is", object=str(ref))
            return
        if change:
            with suppress(NotFound):
                await self.client.patch(ref, change)

    async def _free(self, routing: JsonObject) -> None:
        """Show on a TrafficRouting that nobody looks after it, and hold it no longer."""
        metadata = routing["metadata"]
        ref = TRAFFIC_ROUTINGS.ref(metadata["namespace"], metadata["name"])
        said = uninstalled(routing)
        if not carries(routing.get("status"), said):
            await self.client.patch(ref, {"status": said}, subresource="status")
        left = unheld(metadata.get("finalizers") or (), ())
        if left is not None:
            await self.client.patch(ref, {"metadata": {"uid": metadata["uid"], "finalizers": left}})

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

    async def unless(self, condition: Callable[[], bool], work: Coroutine[Any, Any, None]) -> bool:
        """Do something until a condition on what is seen holds, and tell whether it came to its end."""
        if condition():
            work.close()
            return False
        working = asyncio.ensure_future(work)
        waiting = asyncio.ensure_future(self.until(condition))
        try:
            await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
            ended = working.done()
        finally:
            working.cancel()
            waiting.cancel()
            await asyncio.wait({working, waiting})
        if ended:
            working.result()  # raises what ended it
        return ended

    async def persist(
        self, work: Callable[[], Awaitable[None]], refused: str = "leaving: refused for now"
    ) -> None:
        """Do something until the API server has accepted it."""
        for failures in count(1):
            try:
                await work()
            except KubeError as error:
                wait = _RETRY.delay(failures, random.random())  # noqa: S311  jitter, no secret
                self.log.warning(refused, error=str(error), again_in=wait)
                await asyncio.sleep(wait)
            else:
                return
