"""Order, exclusion and pauses of keys."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kube.backoff import Backoff
from kube.queue import Line, QueueClosed, WorkQueue


def test_keys_are_taken_in_the_order_they_came() -> None:
    """First come, first served."""
    line: Line[str] = Line()
    for key in "cab":
        line.add(key)

    assert [line.take() for _ in range(4)] == ["c", "a", "b", None]


def test_key_added_twice_is_taken_once() -> None:
    """What is queued twice is done once."""
    line: Line[str] = Line()
    line.add("a")
    line.add("a")

    assert line.take() == "a"
    assert line.take() is None


def test_running_key_is_not_taken_by_a_second_worker() -> None:
    """Two workers on one object would undo each other's work."""
    line: Line[str] = Line()
    line.add("a")
    line.take()
    line.add("a")

    assert line.take() is None


def test_key_added_while_running_runs_again() -> None:
    """The running work may have looked before the change."""
    line: Line[str] = Line()
    line.add("a")
    line.take()
    line.add("a")
    line.done("a")

    assert line.take() == "a"


def test_key_that_keeps_coming_back_does_not_starve_others() -> None:
    """Re-added keys go to the back."""
    line: Line[str] = Line()
    line.add("busy")
    line.add("quiet")
    assert line.take() == "busy"
    line.add("busy")
    line.done("busy")

    assert line.take() == "quiet"


def test_earliest_of_several_times_counts() -> None:
    """A later look must not push back an earlier one."""
    line: Line[str] = Line()
    line.add_at("a", 10.0)
    line.add_at("a", 5.0)
    line.add_at("a", 7.0)

    assert line.next_due() == 5.0
    assert line.release(4.9) == 0
    assert line.release(5.0) == 1
    assert line.take() == "a"
    assert line.next_due() is None


def test_time_that_comes_while_running_is_not_lost() -> None:
    """The key runs again when its present run is over."""
    line: Line[str] = Line()
    line.add("a")
    line.take()
    line.add_at("a", 1.0)
    line.release(1.0)
    line.done("a")

    assert line.take() == "a"


class Lines(RuleBasedStateMachine):
    """Any interleaving of callers and workers, against what is owed to each key."""

    def __init__(self) -> None:
        super().__init__()
        self.line: Line[int] = Line()
        self.now = 0.0
        self.owed: set[int] = set()  # added and not taken since
        self.running: set[int] = set()
        self.due: dict[int, float] = {}

    @rule(key=st.integers(0, 4))
    def add(self, key: int) -> None:
        """Somebody adds a key."""
        self.line.add(key)
        self.owed.add(key)

    @rule(key=st.integers(0, 4), pause=st.integers(0, 10))
    def add_later(self, key: int, pause: int) -> None:
        """Somebody adds a key for later."""
        self.line.add_at(key, self.now + pause)
        self.due[key] = min(self.due.get(key, float("inf")), self.now + pause)

    @rule(seconds=st.integers(0, 6))
    def pass_time(self, seconds: int) -> None:
        """Time goes by."""
        self.now += seconds
        self.line.release(self.now)
        for key in [key for key, due in self.due.items() if due <= self.now]:
            del self.due[key]
            self.owed.add(key)

    @rule()
    def take(self) -> None:
        """Have a worker ask for a key."""
        key = self.line.take()
        if key is None:
            assert self.owed <= self.running
        else:
            assert key in self.owed
            assert key not in self.running
            self.owed.remove(key)
            self.running.add(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Have a worker be done."""
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.line.done(key)
        self.running.remove(key)

    @invariant()
    def counts_are_true(self) -> None:
        """Compare what is shown as metrics with what is."""
        assert self.line.depth == len(self.owed)
        assert self.line.running == len(self.running)
        assert self.line.delayed == len(self.due)
        assert self.line.next_due() == min(self.due.values(), default=None)


TestLines = Lines.TestCase


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_within_its_bounds(failures: int, fraction: float) -> None:
    """However long something fails, the pause is neither gone nor endless."""
    delay = Backoff(first=0.1, cap=8.0).delay(failures, fraction)

    assert 0.05 <= delay <= 8.0


def never_random() -> float:
    """Draw always the same."""
    return 0.0


async def taken(queue: WorkQueue[str]) -> str:
    """Take one key and be done with it."""
    async with queue.take() as key:
        return key


async def test_waiting_worker_gets_a_key_that_is_added_later() -> None:
    """Workers sleep until there is work."""
    queue: WorkQueue[str] = WorkQueue()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        worker = group.create_task(taken(queue))
        await asyncio.sleep(0)
        queue.add("a")

    assert worker.result() == "a"


async def test_waiting_worker_gets_a_key_that_another_worker_was_busy_with() -> None:
    """Added while it ran, a key goes to whoever is free when it is done."""
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    async with asyncio.timeout(5), asyncio.TaskGroup() as group, queue.take() as key:
        idle = group.create_task(taken(queue))
        await asyncio.sleep(0)
        queue.add(key)
        await asyncio.sleep(0)
        assert not idle.done()

    assert idle.result() == "a"


async def test_waiting_worker_gets_a_key_when_its_time_comes() -> None:
    """The earliest time wakes a worker even though a later one was armed first."""
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("late", 60.0)
    queue.add_after("soon", 0.01)

    async with asyncio.timeout(5):
        assert await taken(queue) == "soon"


async def test_wake_up_of_a_cancelled_worker_goes_to_another() -> None:
    """A worker that is cancelled just as it is woken must not take the wake-up with it."""
    queue: WorkQueue[str] = WorkQueue()
    cancelled = asyncio.create_task(taken(queue))
    other = asyncio.create_task(taken(queue))
    await asyncio.sleep(0)
    queue.add("a")
    cancelled.cancel()

    async with asyncio.timeout(5):
        assert await other == "a"
    assert cancelled.cancelled()


async def test_cancelled_work_frees_its_key() -> None:
    """A key whose worker was cancelled can be taken again."""
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")

    async def stuck() -> None:
        async with queue.take():
            await asyncio.Event().wait()

    worker = asyncio.create_task(stuck())
    await asyncio.sleep(0)
    worker.cancel()
    await asyncio.wait({worker})
    queue.add("a")

    async with asyncio.timeout(5):
        assert await taken(queue) == "a"


async def test_retry_waits_longer_with_each_failure_until_forgotten() -> None:
    """A key that heals starts over."""
    queue: WorkQueue[str] = WorkQueue(random=never_random, backoff=Backoff(first=2.0, cap=5.0))
    pauses = [queue.retry("a") for _ in range(3)]
    queue.forget("a")

    assert pauses == [1.0, 2.0, 2.5]
    assert queue.retry("a") == 1.0


async def test_close_ends_idle_workers_and_lets_running_ones_finish() -> None:
    """Shutting down neither hangs on idle workers nor cuts work short nor begins more."""
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    release = asyncio.Event()

    async def work() -> None:
        async with queue.take():
            await release.wait()

    running = asyncio.create_task(work())
    await asyncio.sleep(0)
    idle = asyncio.create_task(taken(queue))
    await asyncio.sleep(0)
    queue.add("b")
    queue.close()

    with pytest.raises(QueueClosed):
        await taken(queue)
    with pytest.raises(TimeoutError):
        await queue.drained(0.01)
    release.set()
    await queue.drained(5)
    await running
    await asyncio.wait({idle})


async def test_no_key_is_ever_worked_on_twice_at_once() -> None:
    """Many workers, many adds: one at a time for each key, and the last add is always followed by a run."""
    queue: WorkQueue[int] = WorkQueue()
    inside: set[int] = set()
    runs: Counter[int] = Counter()
    quiet = asyncio.Event()

    async def worker() -> None:
        while True:
            try:
                async with queue.take() as key:
                    assert key not in inside
                    inside.add(key)
                    await asyncio.sleep(0)
                    inside.remove(key)
                    runs[key] += 1
            except QueueClosed:
                return
            if not queue.depth and not queue.running:
                quiet.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(worker())
        for turn in range(200):
            queue.add(turn % 5)
            await asyncio.sleep(0)
        before = runs.copy()
        quiet.clear()
        for key in range(5):
            queue.add(key)
        await quiet.wait()
        queue.close()

    assert all(runs[key] > before[key] for key in range(5))
