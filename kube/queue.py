"""Which key is worked on next.

Decides order, pauses and exclusion; refuses to know what a key stands for or what the work is. Keys, never
events: what is queued twice is done once, on what is true then.

    add ────────────────> ready ──take──> running ──done──> (gone)
    add_after, retry ──> waiting ──due──┘    │ add while running: marked
                                             └─done──> ready again, at the back

`Line` is that table, pure: time comes in as a number. `WorkQueue` puts a clock and waiting workers around it.
"""

import asyncio
import random
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from heapq import heappop, heappush
from typing import Generic, TypeVar

from kube.backoff import Backoff

K = TypeVar("K", bound=Hashable)

# The first retry is nearly at once, as most failures are a stale observation; a key that fails for ever costs
# one attempt a minute and is found healed within that.
BACKOFF = Backoff(first=0.05, cap=60.0)


class QueueClosed(Exception):  # noqa: N818  the orderly end of a worker, not an error
    """There is nothing more to take: the process is shutting down."""


class Line(Generic[K]):
    """Keys that are ready, waiting for their time, or being worked on."""

    def __init__(self) -> None:
        self._ready: OrderedDict[K, None] = OrderedDict()  # in order of arrival
        self._running: set[K] = set()
        self._marked: set[K] = set()  # added again while running
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []  # may hold outdated times; `_due` is what counts
        self._pushes = 0

    def add(self, key: K) -> None:
        """Have a key worked on as soon as possible, after what is ready already."""
        if key in self._running:
            self._marked.add(key)
        else:
            self._ready.setdefault(key)

    def add_at(self, key: K, due: float) -> None:
        """Have a key worked on at a time; of several times the earliest counts, whatever is ready by then."""
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._pushes += 1
            heappush(self._heap, (due, self._pushes, key))

    def release(self, now: float) -> int:
        """Make ready what is due, the longest overdue first, and say how many keys that were."""
        released = 0
        while (due := self.next_due()) is not None and due <= now:
            _, _, key = heappop(self._heap)
            del self._due[key]
            self.add(key)
            released += 1
        return released

    def take(self) -> K | None:
        """Give the key whose turn it is and mark it running; None while none is ready."""
        if not self._ready:
            return None
        key, _ = self._ready.popitem(last=False)
        self._running.add(key)
        return key

    def done(self, key: K) -> None:
        """End the work on a key; having been added meanwhile makes it ready again."""
        self._running.remove(key)
        if key in self._marked:
            self._marked.remove(key)
            self._ready[key] = None

    def next_due(self) -> float | None:
        """Give the time at which a waiting key becomes ready."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._ready) + len(self._marked)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._due)

    @property
    def running(self) -> int:
        """How many keys are being worked on."""
        return len(self._running)


class WorkQueue(Generic[K]):
    """A line of keys for any number of workers on one event loop."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._clock = clock
        self._random = random
        self._backoff = backoff
        self._line: Line[K] = Line()
        self._failures: dict[K, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()  # workers without work, the longest idle first
        self._timer: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._closed = False

    def add(self, key: K) -> None:
        """Have a key worked on as soon as possible; queued twice is worked on once."""
        self._line.add(key)
        self._wake(1)

    def add_after(self, key: K, seconds: float) -> None:
        """Have a key worked on after a pause; the earliest of several counts."""
        self._line.add_at(key, self._clock() + seconds)
        self._arm()

    def retry(self, key: K) -> float:
        """Have a key worked on again, later with each failure in a row; returns the pause in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = self._backoff.delay(failures, self._random())
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: K) -> None:
        """Let the next failure of a key count as the first."""
        self._failures.pop(key, None)

    @asynccontextmanager
    async def take(self) -> AsyncGenerator[K, None]:
        """Wait for a key and have it to ourselves within the block; raises QueueClosed."""
        key = await self._next()
        try:
            yield key
        finally:
            self._line.done(key)
            self._wake(1)  # in vain if the key was not added again
            self._drained_when_idle()

    def close(self) -> None:
        """Give out no more keys; what is queued is the next leader's, who looks at everything anyway."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._wake(len(self._idle))
        self._drained_when_idle()

    async def drained(self, seconds: float) -> None:
        """Wait, after `close`, until no key is worked on; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._drained.wait()

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return self._line.depth

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return self._line.delayed

    @property
    def running(self) -> int:
        """How many keys are being worked on."""
        return self._line.running

    async def _next(self) -> K:
        while not self._closed:
            key = self._line.take()
            if key is not None:
                return key
            await self._idle_until_woken()
        raise QueueClosed

    async def _idle_until_woken(self) -> None:
        """Wait for one wake-up; one that reaches a cancelled worker is handed on."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(future)
        try:
            await future
        except asyncio.CancelledError:
            with suppress(ValueError):  # popped already
                self._idle.remove(future)
            if not future.cancelled():
                self._wake(1)
            raise

    def _wake(self, workers: int) -> None:
        while workers > 0 and self._idle:
            future = self._idle.popleft()
            if not future.done():  # done: its worker was just cancelled
                future.set_result(None)
                workers -= 1

    def _arm(self) -> None:
        """Keep one timer, set to the next time that a key is due."""
        due = self._line.next_due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._closed:
            pause = max(0.0, due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(pause, self._on_due)

    def _on_due(self) -> None:
        self._wake(self._line.release(self._clock()))
        self._arm()

    def _drained_when_idle(self) -> None:
        if self._closed and not self._line.running:
            self._drained.set()
