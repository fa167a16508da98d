"""A pod's status as kubelet writes it, from what is known of its containers.

Pure: the clock is a parameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sandbox.names import JsonObject


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running: not yet, or not again."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """The process lives."""

    since: str


@dataclass(frozen=True, slots=True)
class Terminated:
    """The process ended."""

    exit_code: int
    since: str
    until: str


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """All that is to be told of one container."""

    name: str
    image: str
    state: State = field(default_factory=lambda: Waiting("ContainerCreating"))
    last: Terminated | None = None
    ready: bool = False
    started: bool = False
    restarts: int = 0


Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


def pod_status(
    pod: JsonObject,
    records: Sequence[ContainerRecord],
    addresses: tuple[str, str],
    previous: Mapping[str, JsonObject],
    now: str,
    initialized: bool = True,  # noqa: FBT001, FBT002  a plain fact of the pod
) -> JsonObject:
    """Return the status; `addresses` are the pod's and the node's, `previous` the conditions by type."""
    phase = pod_phase(pod, records)
    ready = bool(records) and all(record.ready for record in records)
    facts = {
        "PodReadyToStartContainers": bool(addresses[0]),
        "Initialized": initialized,
        "Ready": ready and initialized,
        "ContainersReady": ready,
        "PodScheduled": True,
    }
    conditions = [_condition(name, fact, records, phase, previous, now) for name, fact in facts.items()]
    return {
        "phase": phase,
        "observedGeneration": pod["metadata"].get("generation"),
        "conditions": conditions,
        "hostIP": addresses[1],
        "hostIPs": [{"ip": addresses[1]}],
        "podIP": addresses[0],
        "podIPs": [{"ip": addresses[0]}],
        "startTime": pod["status"].get("startTime", now),
        "containerStatuses": [_container_status(record, pod) for record in records],
        "qosClass": pod["status"].get("qosClass", "BestEffort"),
    }


def pod_phase(pod: JsonObject, records: Sequence[ContainerRecord]) -> Phase:
    """Return the phase: ended pods are those whose containers all ended for good."""
    policy = pod["spec"].get("restartPolicy", "Always")
    states = [record.state for record in records]
    codes = [state.exit_code for state in states if isinstance(state, Terminated)]
    if len(codes) == len(states) and states:
        if any(codes) and policy == "Never":
            return "Failed"
        if not any(codes) and policy != "Always":
            return "Succeeded"
    alive = [record for record in records if not isinstance(record.state, Waiting) or record.last is not None]
    return "Running" if len(alive) == len(records) and records else "Pending"


def _condition(
    name: str,
    fact: bool,  # noqa: FBT001  the condition itself
    records: Sequence[ContainerRecord],
    phase: Phase,
    previous: Mapping[str, JsonObject],
    now: str,
) -> JsonObject:
    status = "True" if fact else "False"
    condition: JsonObject = {"type": name, "status": status, "lastProbeTime": None}
    if not fact and name in {"Ready", "ContainersReady"}:
        unready = [record.name for record in records if not record.ready]
        condition["reason"] = "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
        condition["message"] = f"containers with unready status: [{' '.join(unready)}]"
    before = previous.get(name, {})
    since = before.get("lastTransitionTime", now) if before.get("status") == status else now
    return {**condition, "lastTransitionTime": since}


def _container_status(record: ContainerRecord, pod: JsonObject) -> JsonObject:
    return {
        "name": record.name,
        "image": record.image,
        "imageID": "" if isinstance(record.state, Waiting) else f"sandbox://{record.image}",
        "containerID": (
            "" if isinstance(record.state, Waiting) else f"sandbox://{pod['metadata']['uid']}/{record.name}"
        ),
        "ready": record.ready,
        "started": record.started,
        "restartCount": record.restarts,
        "state": _state(record.state),
        "lastState": {} if record.last is None else _state(record.last),
    }


def _state(state: State) -> JsonObject:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        case Running(since):
            return {"running": {"startedAt": since}}
        case Terminated(exit_code, since, until):
            reason = "Completed" if exit_code == 0 else "Error"
            times = {"startedAt": since, "finishedAt": until}
            return {"terminated": {"exitCode": exit_code, "reason": reason, **times}}
