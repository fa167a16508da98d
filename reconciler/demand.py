"""Watching exactly the kinds that are asked for: found by discovery, followed, left alone again.

    asked for ──> where is it kept? ──> list and watch ──> nobody asks, nothing bears our mark: forgotten
                    │      ^                 │
                    │      └── absent <──────┤  the CRD was deleted, the right withdrawn
                    └── unknown, forbidden, no answer: said so, asked again later and later

A kind that is missing costs a few small requests a minute, and only while a Rollout refers to it: a
watch of all CRDs would need a right, and a list of megabytes, that a cluster without such a Rollout has
no use for.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NoReturn

from kube.backoff import Backoff
from kube.cache import Cache
from kube.client import Client
from kube.discovery import discover
from kube.errors import KubeError
from kube.resources import Resource
from kube.watch import Ended, Surroundings, Watch
from kube.wire import JsonObject
from reconciler.world import World
from rollout import messages
from rollout.route_kinds import HTTP_ROUTE, RouteKind, Unseen
from runtime.logs import Log

# CRDs and rights are given by people: found within half a minute, and soon when they were just installed.
_BACKOFF = Backoff(first=0.5, cap=30.0)
# Anybody who writes Rollouts names kinds, of which each costs requests or memory; one routes by a few.
_MOST_KINDS = 16


def within_limits(asked_for: Mapping[RouteKind, AbstractSet[str]]) -> AbstractSet[RouteKind]:
    """Choose the kinds to follow: so many of each namespace, so that none can take another's away."""
    taken: Counter[str] = Counter()
    chosen = set()
    for kind in sorted(asked_for, key=lambda each: (each != HTTP_ROUTE, each)):
        taken.update(asked_for[kind])
        if any(taken[namespace] <= _MOST_KINDS for namespace in asked_for[kind]):
            chosen.add(kind)
    return chosen


@dataclass
class Demand:
    """Keeps the caches of a world's optional kinds to what its Rollouts ask for."""

    client: Client
    world: World
    log: Log
    _followed: dict[RouteKind, asyncio.Task[None]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _passed_over: AbstractSet[RouteKind] = frozenset()

    def __post_init__(self) -> None:
        self.world.rollouts.subscribe(self._hear)
        self.world.traffic_routings.subscribe(self._hear)
        self.world.kinds.subscribe(self._hear, self._hear)

    async def run(self) -> NoReturn:
        """Follow what is asked for; ends by cancellation, or by a bug in following."""
        try:
            while True:
                self._changed.clear()
                await self._adjust()
                await self._until_changed()
        finally:
            for kind in tuple(self._followed):
                await self._leave(kind)

    async def settle(self, seconds: float) -> None:
        """Wait until each kind that is asked for has been looked for; raises TimeoutError.

        To be called once all Rollouts are known.
        """
        async with asyncio.timeout(seconds):
            while not self._answered:
                self._moved.clear()
                await self._moved.wait()

    def _hear(self, *_: object) -> None:
        self._changed.set()
        self._moved.set()

    @property
    def _answered(self) -> bool:
        return all(self.world.kinds.answered(each) for each in self.world.kinds_asked_for)

    async def _adjust(self) -> None:
        asked_for = self.world.kinds_asked_for
        served = within_limits(asked_for)
        for kind in served - self._followed.keys():
            self._followed[kind] = asyncio.create_task(self._follow(kind), name=f"watch {kind}")
        for kind in self._passed_over - asked_for.keys():
            self.world.kinds.close(kind)
        self._passed_over = asked_for.keys() - served - self._followed.keys()
        for kind in self._passed_over:
            self.world.kinds.explain(kind, Unseen(messages.kind_too_many(kind, _MOST_KINDS)))
        for kind in self._followed.keys() - served:
            if not self.world.kinds.marked(kind):
                await self._leave(kind)

    async def _until_changed(self) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            done, _ = await asyncio.wait(
                {changed, *self._followed.values()}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            changed.cancel()
        for each in done:
            each.result()  # to follow has no end of its own: this raises what ended it

    async def _leave(self, kind: RouteKind) -> None:
        task = self._followed.pop(kind)
        task.cancel()
        await asyncio.wait({task})
        self.world.kinds.close(kind)
        self.log.info("a kind is not watched any more", kind=str(kind))

    # --- one kind --------------------------------------------------------------------------------------

    async def _follow(self, kind: RouteKind) -> None:
        failures = 0
        while True:
            found = await self._where(kind)
            if isinstance(found, Resource):
                self.log.info("a kind is watched", kind=str(kind))
                cache = self.world.kinds.open(kind, found)
                found = await self._watch(kind, cache)
                failures = 0 if cache.synced else failures
                self.world.kinds.close(kind)
            self.world.kinds.explain(kind, found)
            failures += 1
            wait = _BACKOFF.delay(failures, random.random())  # noqa: S311  jitter, no secret
            self.log.warning("a kind cannot be watched", kind=str(kind), why=found.why, again_in=wait)
            await asyncio.sleep(wait)

    async def _where(self, kind: RouteKind) -> Resource | Unseen:
        known = self.world.caches.get(kind.kind)
        if known is not None and known.resource.group == kind.api_version.rpartition("/")[0]:
            return Unseen(messages.kind_no_route(kind))
        try:
            found = await discover(self.client, *kind)
        except KubeError as error:
            return Unseen(messages.kind_unreadable(kind, str(error)))
        if not isinstance(found, Resource):
            return Unseen(messages.kind_unknown(kind, found.versions), absent=not found.versions)
        return found if found.namespaced else Unseen(messages.kind_not_namespaced(kind))

    async def _watch(self, kind: RouteKind, cache: Cache[JsonObject]) -> Unseen:
        """Keep a cache filled; ends when the kind is gone or closed to us, and says so."""
        end: asyncio.Future[Unseen] = asyncio.get_running_loop().create_future()

        def heard(resource: str, ended: Ended) -> None:
            del resource
            if ended == "absent" and not end.done():
                end.set_result(Unseen(messages.kind_unknown(kind, ()), absent=True))
            elif ended == "forbidden" and not end.done():
                end.set_result(Unseen(messages.kind_forbidden(kind, cache.resource.plural)))
            elif not cache.synced:
                self.world.kinds.explain(kind, Unseen(messages.kind_unreadable(kind, f"its list {ended}")))

        watch = Watch(self.client, cache, optional=True, surroundings=Surroundings(observer=heard))
        parts: set[asyncio.Task[Any]] = {
            asyncio.ensure_future(watch.run()),
            asyncio.ensure_future(self._tell(kind, cache)),
        }
        try:
            waiting: set[asyncio.Future[Any]] = {*parts, end}
            while not end.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()  # raises the bug that ended it
        finally:
            for each in parts:
                each.cancel()
            await asyncio.wait(parts)
        return end.result()

    async def _tell(self, kind: RouteKind, cache: Cache[JsonObject]) -> None:
        """Say when everything of a kind is seen; how long that takes is the watch's to bear."""
        await cache.until(lambda: cache.synced, math.inf)
        self.world.kinds.explain(kind, None)
