"""Which writes of a Rollout's status are allowed.

Approvals and jumps come in through the status, from clients that repeat everything they know and
lack everything they do not. Judged are therefore only the fields that a write changes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rollout.fields import is_integer
from rollout.problems import Problem
from rollout.status import NEXT_STEP_UNSET, NO_NEXT_STEP, Phase, StepState
from rollout.wire import JsonObject

_PLANS = {"canaryStatus": "canary", "blueGreenStatus": "blueGreen"}


def validate_status(old: JsonObject, new: JsonObject) -> tuple[Problem, ...]:
    """Judge a write of the status, in either version."""
    found: list[Problem] = []
    before, after = _member(old, "status"), _member(new, "status")
    for name, plan in _PLANS.items():
        said, now = _member(before, name), _member(after, name)
        path = f"Status.{name[0].upper()}{name[1:]}"
        if after.get(name) is not None and not isinstance(after[name], Mapping):
            found.append(Problem(path, after[name], "must be an object"))
        changed = {key: value for key, value in now.items() if _differs(said.get(key), value)}
        found += _step_problems(path, changed, _number_of_steps(new, plan))
        if before.get("phase") == Phase.PROGRESSING.value:
            found += _early_approval(path, said, changed)
    return tuple(found)


def _step_problems(path: str, changed: Mapping[str, Any], steps: int) -> list[Problem]:
    found = []
    state = changed.get("currentStepState")
    if state is not None and state not in _STATES:
        legal = ", ".join(each for each in _STATES if each)
        found.append(Problem(f"{path}.CurrentStepState", state, f"must be one of {legal}"))
    index = changed.get("currentStepIndex")
    if index is not None and not (is_integer(index) and 0 <= index <= steps):
        message = f"must be the number of a step, 1 to {steps}, or 0 for none"
        found.append(Problem(f"{path}.CurrentStepIndex", index, message))
    following = changed.get("nextStepIndex")
    if following is not None and not (is_integer(following) and NO_NEXT_STEP <= following <= steps):
        message = (
            f"must be the number of a step, 1 to {steps}, "
            f"{NEXT_STEP_UNSET} for the one that follows, or {NO_NEXT_STEP} after the last"
        )
        found.append(Problem(f"{path}.NextStepIndex", following, message))
    return found


def _early_approval(path: str, said: Mapping[str, Any], changed: Mapping[str, Any]) -> Iterator[Problem]:
    """Refuse to approve a step before it is reached: a second click would let the next one pass."""
    at, state = said.get("currentStepIndex"), said.get("currentStepState")
    if changed.get("currentStepState") == StepState.STEP_READY.value and state in _UNDER_WAY:
        message = (
            f"step {at} has not been reached yet ({state}): "
            f"approve it when its state is {StepState.STEP_PAUSED.value}"
        )
        yield Problem(f"{path}.CurrentStepState", StepState.STEP_READY.value, message)


_UNDER_WAY = (
    StepState.BEFORE_STEP_UPGRADE.value,
    StepState.STEP_UPGRADE.value,
    StepState.STEP_TRAFFIC_ROUTING.value,
    StepState.STEP_METRICS_ANALYSIS.value,
)
_STATES = tuple(state.value for state in StepState)


def _number_of_steps(obj: JsonObject, plan: str) -> int:
    steps = _member(_member(_member(obj, "spec"), "strategy"), plan).get("steps")
    return len(steps) if isinstance(steps, list) else 0


def _differs(one: object, other: object) -> bool:
    return type(one) is not type(other) or one != other


def _member(obj: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = obj.get(key)
    return value if isinstance(value, Mapping) else {}
