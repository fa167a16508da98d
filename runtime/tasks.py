"""Tasks that live as long as the process: started again when they end, or ending the process with them.

A task is a named coroutine function meant to run until it is cancelled; returning is as unexpected as
raising. One that ends is logged once, counted and started again after a wait that doubles with
each quick failure. An *essential* task is one that cannot be started again safely (a lost lease: what
it guarded may already be another process's); its end asks the process to stop.
"""

import asyncio
from collections.abc import Awaitable, Callable

from runtime.clock import Clock
from runtime.logs import Log
from runtime.metrics import Metrics

_FIRST_WAIT_SECONDS = 0.5
# Long enough not to hammer an API server that is down, short enough to be back soon after it is.
_LONGEST_WAIT_SECONDS = 30.0
# A task that ran this long was well: its next failure is a new one.
_WELL_AFTER_SECONDS = 120.0

Run = Callable[[], Awaitable[None]]


def wait_before_restart(quick_failures: int) -> float:
    """Return the seconds to wait before a start, after this many quick failures in a row (1 or more)."""
    doublings = min(quick_failures - 1, 16)  # 2**16 is far above the cap; keeps the number small
    return float(min(_FIRST_WAIT_SECONDS * 2**doublings, _LONGEST_WAIT_SECONDS))


class TaskEndedError(RuntimeError):
    """A supervised task returned although the process is not stopping."""


class Tasks:
    """The supervised tasks of one process."""

    def __init__(
        self, log: Log, metrics: Metrics, clock: Clock, on_essential_end: Callable[[str], None]
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._on_essential_end = on_essential_end
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, run: Run, *, essential: bool = False) -> None:
        """Start a task under supervision; its name is unique in the process."""
        if name in self._running:
            raise ValueError(f"a task named {name!r} runs already")
        self._metrics.expect_task(name)
        self._running[name] = asyncio.create_task(self._supervise(name, run, essential=essential), name=name)

    async def stop(self, name: str) -> None:
        """Cancel a task and wait until it has ended."""
        task = self._running.pop(name)
        task.cancel()
        await asyncio.wait({task})

    def unsupervised(self) -> str | None:
        """Liveness check: name the tasks that nobody watches any more, which only a bug of ours can cause."""
        dead = [name for name, task in self._running.items() if task.done()]
        return f"no longer supervised: {', '.join(dead)}" if dead else None

    async def _supervise(self, name: str, run: Run, *, essential: bool) -> None:
        quick_failures = 0
        while True:
            started = self._clock.monotonic()
            error = await _ending(name, run)
            lasted = self._clock.monotonic() - started
            quick_failures = 1 if lasted >= _WELL_AFTER_SECONDS else quick_failures + 1
            if essential:
                self._log.error("An essential task ended", task=name, seconds=lasted, exception=error)
                self._on_essential_end(name)
                await asyncio.Event().wait()  # until the stopping process cancels us
            wait = wait_before_restart(quick_failures)
            self._log.error(
                "A task ended and will be started again",
                task=name,
                seconds=lasted,
                wait=wait,
                exception=error,
            )
            self._metrics.task_restarted(name)
            await self._clock.sleep(wait)


async def _ending(name: str, run: Run) -> Exception:
    """Run to the end, whatever the end is; only cancelling this supervision gets through."""
    try:
        await run()
    except Exception as error:  # noqa: BLE001 - the supervised boundary: logged, counted, started again
        return error
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return TaskEndedError(f"task {name!r} was cancelled from within")
    return TaskEndedError(f"task {name!r} returned")
