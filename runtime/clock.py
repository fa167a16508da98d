"""Time as a parameter: the real clock, and one that a test moves.

Whoever decides by time takes a ``Clock``; nothing else in our packages asks the system for the time.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for durations, and a way to wait."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until a test moves it; sleepers wake in the order they are due."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._slept = asyncio.Event()

    def now(self) -> datetime:
        """Return the start plus every advance."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has advanced the clock that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        due: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = (self._elapsed + seconds, due)
        self._sleepers.append(sleeper)
        self._slept.set()
        try:
            await due
        finally:
            self._sleepers.remove(sleeper)

    async def sleeping(self) -> float:
        """Wait until somebody sleeps; return for how many seconds the first sleeper still will."""
        while not self._sleepers:
            self._slept.clear()
            # 5 s of real time: far above what a step of a test takes, and a hung test then says where
            await asyncio.wait_for(self._slept.wait(), timeout=5)
        return min(due for due, _ in self._sleepers) - self._elapsed

    async def advance(self, seconds: float) -> None:
        """Move time on, waking each sleeper at its own moment."""
        target = self._elapsed + seconds
        while pending := [s for s in self._sleepers if s[0] <= target and not s[1].done()]:
            due, sleeper = min(pending, key=lambda item: item[0])
            self._elapsed = max(self._elapsed, due)
            sleeper.set_result(None)
            await _let_others_run()
        self._elapsed = target
        await _let_others_run()


async def wait_for_event(clock: Clock, event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set or the time is over, by this clock; tell whether it was set."""
    waiting = asyncio.ensure_future(event.wait())
    sleeping = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        sleeping.cancel()
        await asyncio.gather(waiting, sleeping, return_exceptions=True)
    return event.is_set()


async def _let_others_run() -> None:
    # One turn wakes the sleeper, the others let it reach its next wait; more turns cost nothing.
    for _ in range(20):
        await asyncio.sleep(0)
