"""Where in its steps a release stands, and when it moves on.

    BeforeStepUpgrade -> StepUpgrade -> StepTrafficRouting -> StepPaused -> StepReady -> next step | Completed

The states before StepPaused only report; what moves the cursor is that the step has been *reached*
(its pods, endpoints and traffic were seen in place) and that it was then approved or its pause ended.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from rollout.revision import steps_counted
from rollout.spec import Step
from rollout.status import NEXT_STEP_UNSET, NO_NEXT_STEP, Release, StepState, whole_second

WAITING = frozenset({StepState.STEP_PAUSED, StepState.STEP_READY})


def natural_next(step: int, steps: int) -> int:
    """Give the index of the step after ``step``, both counted from 1."""
    return step + 1 if step < steps else NO_NEXT_STEP


def begin(release: Release, step: int, steps: int, now: datetime) -> Release:
    """Enter a step."""
    return replace(
        release,
        step=step,
        next_step=natural_next(step, steps),
        state=StepState.BEFORE_STEP_UPGRADE,
        since=whole_second(now),
        message="",
    )


class Standing(Protocol):
    """How far the canary is, beside what steps ask for."""

    def reaches(self, step: Step) -> bool:
        """Tell whether a step asks for no more than there is."""

    def same(self, one: Step, other: Step) -> bool:
        """Tell whether two steps ask for the same."""


def replanned(release: Release, steps: tuple[Step, ...], now: datetime, standing: Standing) -> Release | None:
    """Find the place of a release in a plan that has more or fewer steps than the one it was in.

    It stands at the last step that asks for no more than there is already, and that a person has to let
    pass: what is beyond was not approved. Of several that ask for the same it is the first.
    """
    if steps_counted(release.plan_digest) in {0, len(steps)}:
        return None
    behind = [
        number
        for number, step in enumerate(steps, start=1)
        if standing.reaches(step) and not skips_pause(step, last=number == len(steps))
    ]
    last = max(behind, default=1)
    place = next((each for each in behind if standing.same(steps[each - 1], steps[last - 1])), last)
    return begin(release, place, len(steps), now)


def jumped(release: Release, steps: int, now: datetime) -> Release | None:
    """Follow a jump that a client asked for through ``nextStepIndex``."""
    wanted = release.next_step
    if wanted not in {NEXT_STEP_UNSET, natural_next(release.step, steps)} and 1 <= wanted <= steps:
        return begin(release, wanted, steps, now)
    return None


def confined(release: Release, steps: int, now: datetime) -> Release | None:
    """Stay within the plan, whatever a client wrote."""
    if 1 <= release.step <= steps:
        return None
    return begin(release, max(1, min(release.step, steps)), steps, now)


def advanced(release: Release, steps: tuple[Step, ...], now: datetime, *, approved: bool) -> Release:
    """Move on from a step that has been reached."""
    step = steps[release.step - 1]
    if release.state not in WAITING:
        if not skips_pause(step, last=release.step == len(steps)):
            return replace(release, state=StepState.STEP_PAUSED, since=whole_second(now))
    elif not (approved or _needs_no_approval(release, step, now, last=release.step == len(steps))):
        return release
    if release.step < len(steps):
        return begin(release, release.step + 1, len(steps), now)
    return replace(release, state=StepState.COMPLETED, since=whole_second(now))


def skips_pause(step: Step, *, last: bool) -> bool:
    """Tell whether a step needs no approval: a pause of no length, or the last step at 100 %."""
    whole = step.replicas.percent and step.replicas.value == 100  # noqa: PLR2004 - the contract says exactly "100%"
    return step.pause_seconds == 0 or (last and whole)


def _needs_no_approval(release: Release, step: Step, now: datetime, *, last: bool) -> bool:
    """Tell whether a step that waits may be left: also when its plan was edited while it waited."""
    if release.state is StepState.STEP_READY or skips_pause(step, last=last):
        return True
    return _pause_ended(release, step, now)


def pause_end(release: Release, step: Step) -> datetime | None:
    """Say when the pause of a step ends by itself; None when it waits for a person."""
    if step.pause_seconds is None or release.since is None:
        return None
    return release.since + timedelta(seconds=step.pause_seconds)


def _pause_ended(release: Release, step: Step, now: datetime) -> bool:
    end = pause_end(release, step)
    return end is not None and now >= end
