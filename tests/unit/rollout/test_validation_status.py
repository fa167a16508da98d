"""Which writes of the status are let through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.validation_status import validate_status
from tests.unit.rollout.recorded import status_puts
from tests.unit.rollout.rollout_objects import Json, alpha, beta, hostile_objects, objects, with_status

STEPS = {"steps": [{"traffic": "20%", "replicas": "20%"}] * 3}


def written(**step: object) -> list[str]:
    """Judge a write over a waiting first step of three; return path and message of each problem."""
    old = {"currentStepIndex": 1, "currentStepState": "StepPaused", "nextStepIndex": 2}
    problems = validate_status(
        with_status(beta(STEPS), canaryStatus=old), with_status(beta(STEPS), canaryStatus=old | step)
    )
    return [f"{problem.path}: {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    "state",
    [
        "BeforeStepUpgrade",
        "StepUpgrade",
        "StepTrafficRouting",
        "StepMetricsAnalysis",
        "StepPaused",
        "StepReady",
        "Completed",
        "",
    ],
)
def test_known_states_are_allowed(state: str) -> None:
    """All that the API has ever had."""
    assert written(currentStepState=state) == []


@pytest.mark.parametrize(
    "state", ["BeforeStepUpgrade", "StepUpgrade", "StepTrafficRouting", "StepMetricsAnalysis"]
)
@pytest.mark.parametrize("plan", ["canaryStatus", "blueGreenStatus"])
def test_step_that_was_not_reached_is_not_approved(state: str, plan: str) -> None:
    """Two clicks for one step approve one step: the second comes when the next has begun."""
    old = {"phase": "Progressing", plan: {"currentStepIndex": 2, "currentStepState": state}}
    new = {"phase": "Progressing", plan: {"currentStepIndex": 2, "currentStepState": "StepReady"}}

    (told,) = validate_status(with_status(beta(STEPS), **old), with_status(beta(STEPS), **new))

    assert told.message == (
        f"step 2 has not been reached yet ({state}): approve it when its state is StepPaused"
    )


@pytest.mark.parametrize(
    ("phase", "state"), [("Progressing", "StepPaused"), ("Progressing", ""), ("Healthy", "StepUpgrade")]
)
def test_approval_of_what_waits_or_of_nothing_is_let_through(phase: str, state: str) -> None:
    """Outside a release it approves nothing, and clients repeat it there."""
    old = {"phase": phase, "canaryStatus": {"currentStepIndex": 2, "currentStepState": state}}
    new = {"phase": phase, "canaryStatus": {"currentStepIndex": 2, "currentStepState": "StepReady"}}

    assert validate_status(with_status(beta(STEPS), **old), with_status(beta(STEPS), **new)) == ()


@pytest.mark.parametrize("state", ["stepready", "Approved", 5, ["StepReady"], {}], ids=str)
def test_unknown_state_is_refused_with_those_that_exist(state: object) -> None:
    """A misspelt approval would otherwise wait for ever."""
    (told,) = written(currentStepState=state)

    assert told.startswith("Status.CanaryStatus.CurrentStepState: must be one of ")
    assert "StepReady" in told


@pytest.mark.parametrize("index", [-1, 0, 1, 3])
def test_jump_to_a_step_that_exists_is_allowed(index: int) -> None:
    """0 is the one that follows, -1 none."""
    assert written(nextStepIndex=index) == []


@pytest.mark.parametrize("index", [-2, 4, 2**40, "2", True, 1.5], ids=str)
def test_jump_to_nowhere_is_refused_with_what_is_legal(index: object) -> None:
    """The message says how many steps there are."""
    assert written(nextStepIndex=index) == [
        (
            "Status.CanaryStatus.NextStepIndex: must be the number of a step, 1 to 3, "
            "0 for the one that follows, or -1 after the last"
        )
    ]


@pytest.mark.parametrize("index", [-1, 4, "1"], ids=str)
def test_current_step_must_exist(index: object) -> None:
    """0 stands for none yet."""
    assert written(currentStepIndex=0) == []
    assert written(currentStepIndex=index) == [
        "Status.CanaryStatus.CurrentStepIndex: must be the number of a step, 1 to 3, or 0 for none"
    ]


def test_what_a_write_repeats_is_not_judged() -> None:
    """Nobody is refused for what somebody else wrote, nor for a plan that became shorter."""
    odd = {"currentStepIndex": 9, "currentStepState": "Odd", "nextStepIndex": 10}
    old = with_status(beta(), canaryStatus=odd)

    assert validate_status(old, with_status(beta(), canaryStatus=odd | {"message": "new"})) == ()


def test_blue_green_steps_are_judged_by_their_own_plan() -> None:
    """The sub-status goes with its block of the strategy."""
    obj = beta() | {"spec": {"strategy": {"blueGreen": {"steps": [{}, {}]}}}}
    told = [
        str(each) for each in validate_status(obj, with_status(obj, blueGreenStatus={"nextStepIndex": 3}))
    ]

    assert validate_status(obj, with_status(obj, blueGreenStatus={"nextStepIndex": 2})) == ()
    assert len(told) == 1
    assert told[0].startswith("Status.BlueGreenStatus.NextStepIndex: Invalid value: 3: ")


def test_sub_status_must_be_an_object() -> None:
    """What a release reads is never replaced by something else."""
    assert len(validate_status(beta(), with_status(beta(), canaryStatus=5))) == 1


@pytest.mark.parametrize("body", status_puts(), ids=lambda body: body["metadata"]["resourceVersion"])
def test_recorded_resume_of_vela_is_allowed(body: Json) -> None:
    """Its typed PUT of the whole object approves and lacks the newer fields."""
    step = body["status"]["canaryStatus"]
    waiting = step | {"currentStepState": "StepPaused", "nextStepIndex": -1, "finalisingStep": ""}
    old = body | {"status": body["status"] | {"canaryStatus": waiting}}

    assert "nextStepIndex" not in step
    assert validate_status(old, body) == ()


def test_approval_of_kubectl_kruise_is_allowed() -> None:
    """Its merge patch changes one field."""
    old = with_status(alpha(), canaryStatus={"currentStepIndex": 1, "currentStepState": "StepPaused"})
    new = with_status(alpha(), canaryStatus={"currentStepIndex": 1, "currentStepState": "StepReady"})

    assert validate_status(old, new) == ()


def test_fast_undo_of_kubectl_kruise_is_allowed() -> None:
    """It jumps to an earlier step."""
    assert written(currentStepIndex=3) == written(nextStepIndex=1) == []


@given(hostile_objects(), st.one_of(hostile_objects(), objects))
def test_any_json_is_judged(old: Json, new: Json) -> None:
    """Nothing that a client can send makes the check raise."""
    assert all(str(problem) for problem in validate_status(old, new))
