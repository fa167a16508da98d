"""Supervised tasks: started again with growing waits, or ending the process when essential."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator

import pytest

from runtime.clock import ManualClock
from runtime.logs import Log
from runtime.metrics import Metrics
from runtime.tasks import Tasks, wait_before_restart


class World:
    """Tasks under a manual clock, and what became of them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics("test", "1")
        self.essential_ends: list[str] = []
        self.tasks = Tasks(Log("test"), self.metrics, self.clock, self.essential_ends.append)

    def restarts(self, task: str) -> float:
        """Return how often a task was started again."""
        value = self.metrics.registry.get_sample_value("sluice_task_restarts_total", {"task": task})
        assert value is not None
        return value


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Return a world whose tasks are stopped after the test."""
    world = World()
    yield world
    for name in ("one", "other"):
        try:
            await world.tasks.stop(name)
        except KeyError:
            continue


def test_waits_double_up_to_a_cap() -> None:
    """Quick failures back off; the wait never exceeds half a minute, however many there were."""
    waits = [wait_before_restart(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 8, 10_000)]

    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


async def test_crashed_task_is_logged_once_counted_and_started_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """One crash: one line, one count, one more start after the wait."""
    starts: list[float] = []

    async def crash_once() -> None:
        starts.append(world.clock.monotonic())
        if len(starts) == 1:
            raise ConnectionError("reset by peer")
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR):
        world.tasks.start("one", crash_once)
        await world.clock.sleeping()
        assert starts == [0.0]
        await world.clock.advance(0.5)

    assert starts == [0.0, 0.5]
    assert world.restarts("one") == 1
    assert [record.getMessage() for record in caplog.records] == ["A task ended and will be started again"]


async def test_other_tasks_go_on_while_one_crashes(world: World) -> None:
    """A crash is contained."""
    turns: list[float] = []

    async def crash() -> None:
        raise RuntimeError

    async def work() -> None:
        while True:
            await world.clock.sleep(1)
            turns.append(world.clock.monotonic())

    world.tasks.start("one", crash)
    world.tasks.start("other", work)
    await world.clock.sleeping()
    await world.clock.advance(10)

    assert len(turns) == 10
    assert world.restarts("other") == 0


async def test_task_that_returns_is_started_again(world: World) -> None:
    """A loop that ends is as dead as one that raises."""

    async def end() -> None:
        return

    world.tasks.start("one", end)
    await world.clock.sleeping()

    assert world.restarts("one") == 1


async def test_wait_starts_afresh_after_a_task_ran_well(world: World) -> None:
    """A failure after a long good run is not held against the earlier ones."""
    lives = [0.0, 0.0, 0.0, 500.0, 0.0]
    starts: list[float] = []

    async def live() -> None:
        starts.append(world.clock.monotonic())
        await world.clock.sleep(lives[len(starts) - 1])
        raise RuntimeError

    world.tasks.start("one", live)
    for _ in range(5):
        await world.clock.advance(await world.clock.sleeping())

    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps == [0.5, 1, 2, 500.5]


async def test_task_cancelled_from_within_is_started_again(world: World) -> None:
    """A cancelled future inside a task does not end its supervision."""

    async def cancelled() -> None:
        raise asyncio.CancelledError

    world.tasks.start("one", cancelled)
    await world.clock.sleeping()

    assert world.restarts("one") == 1
    assert world.tasks.unsupervised() is None


async def test_essential_task_ends_the_process_and_is_not_started_again(world: World) -> None:
    """What cannot be started again safely asks the process to stop."""

    async def lose() -> None:
        raise RuntimeError("lease lost")

    world.tasks.start("one", lose, essential=True)
    await world.clock.advance(3600)

    assert world.essential_ends == ["one"]
    assert world.restarts("one") == 0


async def test_stopped_task_has_ended_when_stop_returns(world: World) -> None:
    """Stopping waits for the task's own cleaning up."""
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    world.tasks.start("one", work)
    await asyncio.sleep(0)
    await world.tasks.stop("one")

    assert cleaned


async def test_name_can_be_used_only_once(world: World) -> None:
    """Two tasks of one name could not be told apart in a metric."""
    world.tasks.start("one", asyncio.Event().wait)  # type: ignore[arg-type]  # its True is never looked at

    with pytest.raises(ValueError, match="'one' runs already"):
        world.tasks.start("one", asyncio.Event().wait)  # type: ignore[arg-type]  # likewise
