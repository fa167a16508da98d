"""The reconcile loop: a changed object names Rollouts, a worker observes one, plans, and executes.

Level-based: a key says only that something around a Rollout may have changed. Failures decide how
soon it is looked at again; none stops the others.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from kube.errors import KubeError, Retry
from kube.queue import QueueClosed, WorkQueue
from kube.wire import JsonObject, Key
from reconciler.brake import Brake
from reconciler.execution import Executor, NotLeading
from reconciler.reporting import Reporter
from reconciler.world import World
from rollout import messages
from rollout.release.plan import Plan, plan
from rollout.snapshot import Snapshot
from runtime.logs import Log

# What changed under a write that nothing waits for is soon at rest; a pod that starts changes a few times.
_COURTESY_SECONDS = 1.0

Clock = Callable[[], datetime]
Decide = Callable[[Snapshot], Plan]


class Controller:
    """Keeps every Rollout going while this replica leads."""

    def __init__(
        self,
        world: World,
        executor: Executor,
        reporter: Reporter,
        *,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._world = world
        self._executor = executor
        self._reporter = reporter
        self._clock = clock
        self._log: Log = executor.log
        self._queue: WorkQueue[Key] = WorkQueue()
        self._brake = Brake()
        self._outcomes = Counter("sluice_reconciles", "Looks at a Rollout.", ["outcome"], registry=registry)
        self._seconds = Histogram(
            "sluice_reconcile_seconds", "Time of one look at a Rollout.", registry=registry
        )
        world.subscribe(self._changed)

    async def work(self, workers: int, decide: Decide = plan) -> None:
        """Look at every Rollout once, then at each when something around it changes; ends by cancellation."""
        for key in self._world.rollouts.keys():  # noqa: SIM118  a Cache is no mapping
            self._queue.add(key)
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._worker(decide))

    def _changed(self, rollouts: Iterable[Key]) -> None:
        for each in rollouts:
            self._queue.add(each)

    async def _worker(self, decide: Decide) -> None:
        try:
            while True:
                async with self._queue.take() as key:
                    with self._seconds.time():
                        await self._reconcile(key, decide)
        except QueueClosed:
            return

    async def _reconcile(self, key: Key, decide: Decide) -> None:
        rollout = self._world.rollouts.get(key.namespace, key.name)
        if rollout is None:
            self._queue.forget(key)
            self._brake.rested(key)
            return
        if pause := self._brake.remaining(key, time.monotonic()):
            self._queue.add_after(key, pause)
            return
        log = self._log.bind(rollout=f"{key.namespace}/{key.name}")
        try:
            made = decide(self._world.observe(rollout, self._clock()))
            wrote = await self._executor.execute(rollout, made)
            wrote = wrote or await self._oblige(key, rollout, made, log)
        except KubeError as error:
            self._failed(key, rollout, error, log)
        except NotLeading:
            self._outcomes.labels("not-leading").inc()
        except Exception:
            self._outcomes.labels("bug").inc()
            log.exception("a look at this Rollout failed; others go on", again_in=self._queue.retry(key))
        else:
            self._outcomes.labels("written" if wrote else "unchanged").inc()
            self._succeeded(key, rollout, made, wrote=wrote)

    async def _oblige(self, key: Key, rollout: JsonObject, made: Plan, log: Log) -> bool:
        """Make the writes that nothing waits for; a refusal is no reason to hold anything up."""
        try:
            return await self._executor.oblige(rollout, made)
        except KubeError as error:
            if error.retry is Retry.AFTER_OBSERVING:
                self._queue.add_after(key, _COURTESY_SECONDS)
            log.info("a courtesy was refused", error=str(error))
            return False

    def _succeeded(self, key: Key, rollout: JsonObject, made: Plan, *, wrote: bool) -> None:
        self._queue.forget(key)
        for event in made.events:
            self._reporter.report(rollout, event)
        if not wrote:
            self._brake.rested(key)
        elif self._brake.wrote(key, time.monotonic()):
            self._log.warning(
                "writes have no lasting effect; slowing down", rollout=f"{key.namespace}/{key.name}"
            )
            self._reporter.report(rollout, messages.IN_VAIN)
        if wrote:
            self._queue.add(key)  # what a write made possible is done at once
        elif made.look_again_at is not None:
            self._queue.add_after(key, max(0.0, (made.look_again_at - self._clock()).total_seconds()))

    def _failed(self, key: Key, rollout: JsonObject, error: KubeError, log: Log) -> None:
        if error.retry is Retry.AFTER_OBSERVING:
            self._outcomes.labels("outdated").inc()
            log.debug("the world moved on; looking again", error=str(error), again_in=self._queue.retry(key))
            return
        self._outcomes.labels("refused").inc()
        if error.retry is Retry.AFTER and error.retry_after is not None:
            self._queue.add_after(key, error.retry_after)
        else:
            self._queue.retry(key)
        log.warning("a write was refused; it is tried again", error=str(error))
        if error.retry is Retry.WHEN_CHANGED:
            self._reporter.report_refusal(rollout, error)
