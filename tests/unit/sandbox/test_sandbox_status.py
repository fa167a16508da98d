"""A pod's status says what kubelet would say."""

import pytest

from sandbox.names import JsonObject
from sandbox.node.status import (
    ContainerRecord,
    Phase,
    Running,
    State,
    Terminated,
    Waiting,
    pod_phase,
    pod_status,
)

_EARLY = "2026-01-01T00:00:00Z"
_LATE = "2026-01-01T00:01:00Z"
_DONE = Terminated(0, _EARLY, _LATE)
_FAILED = Terminated(3, _EARLY, _LATE)


def _pod(policy: str = "Always") -> JsonObject:
    return {"metadata": {"uid": "u", "generation": 2}, "spec": {"restartPolicy": policy}, "status": {}}


def _record(state: State, *, ready: bool = False, last: Terminated | None = None) -> ContainerRecord:
    return ContainerRecord("main", "image:1", state=state, ready=ready, last=last)


@pytest.mark.parametrize(
    ("policy", "state", "last", "expected"),
    [
        ("Always", Waiting("ContainerCreating"), None, "Pending"),
        ("Always", Running(_EARLY), None, "Running"),
        ("Always", Waiting("CrashLoopBackOff"), _FAILED, "Running"),
        ("Always", _DONE, None, "Running"),
        ("Never", _DONE, None, "Succeeded"),
        ("Never", _FAILED, None, "Failed"),
        ("OnFailure", _DONE, None, "Succeeded"),
        ("OnFailure", _FAILED, None, "Running"),
    ],
)
def test_phase_follows_from_state_and_restart_policy(
    policy: str, state: State, last: Terminated | None, expected: Phase
) -> None:
    """A pod has ended only when its containers ended and will not be started again."""
    assert expected == pod_phase(_pod(policy), [_record(state, last=last)])


def test_pod_is_ready_when_all_its_containers_are() -> None:
    """One unready container makes the pod unready, and is named."""
    records = [_record(Running(_EARLY), ready=True), _record(Running(_EARLY))]

    status = pod_status(_pod(), records, ("10.244.0.2", "10.0.0.1"), {}, _LATE)
    conditions = {each["type"]: each for each in status["conditions"]}

    assert conditions["Ready"]["status"] == "False"
    assert conditions["Ready"]["message"] == "containers with unready status: [main]"
    assert conditions["PodScheduled"]["status"] == "True"


def test_transition_time_moves_only_with_the_status() -> None:
    """A condition keeps the time at which it became what it is."""
    addresses = ("10.244.0.2", "10.0.0.1")
    first = pod_status(_pod(), [_record(Running(_EARLY))], addresses, {}, _EARLY)
    before = {each["type"]: each for each in first["conditions"]}

    second = pod_status(_pod(), [_record(Running(_EARLY), ready=True)], addresses, before, _LATE)
    times = {each["type"]: each["lastTransitionTime"] for each in second["conditions"]}

    assert times["Ready"] == _LATE
    assert times["PodScheduled"] == _EARLY


def test_start_time_is_kept() -> None:
    """A pod's startTime is written once."""
    pod = {**_pod(), "status": {"startTime": _EARLY}}

    assert pod_status(pod, [], ("", "10.0.0.1"), {}, _LATE)["startTime"] == _EARLY
