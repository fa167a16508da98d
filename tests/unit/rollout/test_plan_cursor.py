"""Where a step leads, as a table: state, approval, pause, and whether it is the last."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from rollout.release import cursor
from rollout.spec import Amount, Step
from rollout.status import Release, StepState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BEFORE, UPGRADE, ROUTING, PAUSED, READY, COMPLETED = (
    StepState.BEFORE_STEP_UPGRADE,
    StepState.STEP_UPGRADE,
    StepState.STEP_TRAFFIC_ROUTING,
    StepState.STEP_PAUSED,
    StepState.STEP_READY,
    StepState.COMPLETED,
)
HALF, WHOLE, ALL_PODS = Amount(50, percent=True), Amount(100, percent=True), Amount(5)
LAST, NOT_LAST = 2, 1


def steps(replicas: Amount, pause: int | None) -> tuple[Step, ...]:
    """Return two equal steps."""
    return (Step(replicas, weight=20, pause_seconds=pause),) * 2


def release(step: int, state: StepState, next_step: int = 0, age: int = 30) -> Release:
    """Return a release at a step that was entered ``age`` seconds ago."""
    return Release(
        digest="d", id="r", step=step, state=state, next_step=next_step, since=NOW - timedelta(seconds=age)
    )


@pytest.mark.parametrize("state", [StepState.NONE, BEFORE, UPGRADE, ROUTING, StepState.STEP_METRICS_ANALYSIS])
@pytest.mark.parametrize(
    ("at", "replicas", "pause", "approved", "leads_to"),
    [
        pytest.param(NOT_LAST, HALF, None, False, (1, PAUSED), id="waits"),
        pytest.param(NOT_LAST, HALF, None, True, (1, PAUSED), id="an early approval still passes the pause"),
        pytest.param(NOT_LAST, HALF, 10, False, (1, PAUSED), id="a timed pause begins when reached"),
        pytest.param(NOT_LAST, HALF, 0, False, (2, BEFORE), id="a pause of no length is none"),
        pytest.param(NOT_LAST, WHOLE, None, False, (1, PAUSED), id="100 % in the middle waits"),
        pytest.param(LAST, WHOLE, None, False, (2, COMPLETED), id="100 % at the end does not"),
        pytest.param(LAST, ALL_PODS, None, False, (2, PAUSED), id="all pods as a number wait"),
        pytest.param(LAST, HALF, None, False, (2, PAUSED), id="the last step waits"),
        pytest.param(LAST, HALF, 0, False, (2, COMPLETED), id="the last step without a pause"),
    ],
)
def test_step_that_was_just_reached(
    *,
    state: StepState,
    at: int,
    replicas: Amount,
    pause: int | None,
    approved: bool,
    leads_to: tuple[int, StepState],
) -> None:
    """Reaching a step pauses there, unless it has no pause or is the last at exactly 100 %."""
    moved = cursor.advanced(release(at, state), steps(replicas, pause), NOW, approved=approved)

    assert (moved.step, moved.state) == leads_to


@pytest.mark.parametrize(
    ("at", "state", "pause", "age", "approved", "leads_to"),
    [
        pytest.param(NOT_LAST, PAUSED, None, 9999, False, (1, PAUSED), id="waits for ever"),
        pytest.param(NOT_LAST, PAUSED, None, 0, True, (2, BEFORE), id="approved"),
        pytest.param(NOT_LAST, READY, None, 0, False, (2, BEFORE), id="StepReady"),
        pytest.param(NOT_LAST, PAUSED, 10, 9, False, (1, PAUSED), id="a second too early"),
        pytest.param(NOT_LAST, PAUSED, 10, 10, False, (2, BEFORE), id="in time"),
        pytest.param(NOT_LAST, PAUSED, 10, 1, True, (2, BEFORE), id="approved before the time"),
        pytest.param(LAST, PAUSED, None, 9999, False, (2, PAUSED), id="the last waits"),
        pytest.param(LAST, PAUSED, None, 0, True, (2, COMPLETED), id="the last approved"),
        pytest.param(LAST, READY, None, 0, False, (2, COMPLETED), id="the last StepReady"),
        pytest.param(LAST, PAUSED, 10, 10, False, (2, COMPLETED), id="the last in time"),
    ],
)
def test_step_that_waits(
    *, at: int, state: StepState, pause: int | None, age: int, approved: bool, leads_to: tuple[int, StepState]
) -> None:
    """A reached step is left by approval, by StepReady, or when its pause has ended; by nothing else."""
    moved = cursor.advanced(release(at, state, age=age), steps(HALF, pause), NOW, approved=approved)

    assert (moved.step, moved.state) == leads_to


@pytest.mark.parametrize(
    ("at", "wanted", "number", "leads_to"),
    [
        pytest.param(1, 0, 3, None, id="unset"),
        pytest.param(1, 2, 3, None, id="the natural next"),
        pytest.param(3, -1, 3, None, id="the natural next of the last"),
        pytest.param(1, 3, 3, 3, id="forward"),
        pytest.param(3, 1, 3, 1, id="back"),
        pytest.param(2, 2, 3, 2, id="onto itself"),
        pytest.param(1, 4, 3, None, id="beyond the plan"),
        pytest.param(1, -7, 3, None, id="nonsense"),
    ],
)
def test_jump(at: int, wanted: int, number: int, leads_to: int | None) -> None:
    """A jump inside the plan is followed and begins its step anew; anything else leaves the cursor alone."""
    moved = cursor.jumped(release(at, PAUSED, next_step=wanted), number, NOW)

    assert (moved.step if moved else None) == leads_to
    assert moved is None or (moved.state, moved.since) == (BEFORE, NOW)


@pytest.mark.parametrize(
    ("at", "number", "leads_to"),
    [
        pytest.param(2, 3, None, id="within the plan"),
        pytest.param(3, 2, 2, id="the plan became shorter"),
        pytest.param(0, 2, 1, id="no step yet"),
        pytest.param(-5, 2, 1, id="garbage in the status"),
    ],
)
def test_cursor_stays_within_the_plan(at: int, number: int, leads_to: int | None) -> None:
    """Whatever the status says, there is a step to work at."""
    moved = cursor.confined(release(at, PAUSED), number, NOW)

    assert (moved.step if moved else None) == leads_to


ONE_OF_FIVE, TWO_OF_FIVE, THREE_OF_FIVE = (Step(Amount(share, percent=True)) for share in (20, 40, 60))


@dataclass(frozen=True)
class Pods:
    """A canary of so many pods, of a workload of five; nothing is routed."""

    present: int

    def reaches(self, step: Step) -> bool:
        """Judge by pods alone."""
        return step.replicas.of(5) <= self.present

    def same(self, one: Step, other: Step) -> bool:
        """Judge by pods alone."""
        return one.replicas.of(5) == other.replicas.of(5)


@pytest.mark.parametrize(
    ("steps", "pods", "expected"),
    [
        ((Step(Amount(10, percent=True)), ONE_OF_FIVE, TWO_OF_FIVE, THREE_OF_FIVE), 2, 3),
        ((TWO_OF_FIVE, THREE_OF_FIVE), 2, 1),
        ((ONE_OF_FIVE, TWO_OF_FIVE), 3, 2),
        ((THREE_OF_FIVE,), 2, 1),
        ((ONE_OF_FIVE, THREE_OF_FIVE), 2, 1),
        ((ONE_OF_FIVE, TWO_OF_FIVE, THREE_OF_FIVE), 0, 1),
        ((ONE_OF_FIVE, TWO_OF_FIVE, TWO_OF_FIVE, TWO_OF_FIVE), 2, 2),
    ],
    ids=["one before", "first gone", "last gone", "larger alone", "between two", "no pods yet", "alike"],
)
def test_release_stands_where_its_pods_are_in_a_plan_of_other_length(
    steps: tuple[Step, ...], pods: int, expected: int
) -> None:
    """Steps added or removed: the last one that asks for no more than there is, and never what is beyond."""
    release = Release(step=2, next_step=3, plan_digest="digest-7")

    placed = cursor.replanned(release, steps, NOW, Pods(pods))

    assert placed is not None
    assert (placed.step, placed.state) == (expected, StepState.BEFORE_STEP_UPGRADE)


def test_release_keeps_its_index_in_a_plan_of_the_same_length() -> None:
    """Edited steps move no release: what the present one asks for now is done."""
    release = Release(step=1, next_step=2, plan_digest="digest-2")

    assert cursor.replanned(release, (TWO_OF_FIVE, THREE_OF_FIVE), NOW, Pods(5)) is None
