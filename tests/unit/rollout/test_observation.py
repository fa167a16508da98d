"""From Kubernetes JSON to a snapshot: defaults, owners, endpoints, and a plan for whatever is observed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rollout import names
from rollout.observation import (
    digested,
    observe,
    read_deployment,
    read_gate,
    read_pod,
    read_ready_pods,
    read_replica_set,
    read_rollout,
    read_service,
)
from rollout.release.plan import plan
from rollout.snapshot import Gate
from rollout.status import format_time
from tests.unit.rollout.model.drills import governed, paused_at
from tests.unit.rollout.model.objects import GROUP_VERSION
from tests.unit.rollout.model.reconciling import settle
from tests.unit.rollout.model.world import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def waiting() -> World:
    """Return a world in the middle of a release: every kind of object is there."""
    return paused_at(1)


def deployment(**spec: Any) -> dict[str, Any]:
    """Return a Deployment as an API server gives it, with little in it."""
    template: dict[str, Any] = {"metadata": {}, "spec": {}}
    return {"metadata": {"name": "web", "uid": "u"}, "spec": {"template": template, **spec}}


@pytest.mark.parametrize(
    ("strategy", "replicas", "expected"),
    [
        ({}, 5, 1),
        ({"rollingUpdate": {"maxUnavailable": 0}}, 5, 0),
        ({"rollingUpdate": {"maxUnavailable": 9}}, 5, 5),
        ({"rollingUpdate": {"maxUnavailable": "50%"}}, 5, 2),
        ({"rollingUpdate": {"maxUnavailable": "100%"}}, 3, 3),
    ],
)
def test_unavailable_is_resolved_as_the_controller_does(
    strategy: dict[str, Any], replicas: int, expected: int
) -> None:
    """A percentage is rounded down, the default is a quarter, and it is never more than there are."""
    assert read_deployment(deployment(strategy=strategy, replicas=replicas)).max_unavailable == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ('{"rolloutName":"web"}', Gate("web", "k4x9d")),
        ("{}", Gate("", "k4x9d")),
        ('{"rolloutName":5}', Gate("", "k4x9d")),
        ("[1]", Gate("", "k4x9d")),
        ("not json", Gate("", "k4x9d")),
        ("[" * 100_000, Gate("", "k4x9d")),
    ],
)
def test_gate_is_closed_by_whatever_stands_in_its_annotation(
    value: str | None, expected: Gate | None
) -> None:
    """An unreadable holder still holds: only the reconciler opens a gate."""
    annotations = {names.RELEASE: "k4x9d", **({} if value is None else {names.IN_PROGRESSING: value})}

    assert read_gate(annotations) == expected


def test_endpoint_without_condition_counts_as_ready() -> None:
    """The API says so; a Service's slices are taken together, and what is no pod is not counted."""
    labels = {"labels": {names.KUBERNETES_SERVICE_NAME: "web"}}

    def endpoint(name: str, **conditions: bool) -> dict[str, Any]:
        return {"targetRef": {"kind": "Pod", "name": name}, "conditions": conditions}

    slices: list[dict[str, Any]] = [
        {
            "metadata": labels,
            "endpoints": [endpoint("a"), endpoint("b", ready=True), endpoint("c", ready=False)],
        },
        {"metadata": labels, "endpoints": [{"addresses": ["10.0.0.1"]}, endpoint("d")]},
        {"metadata": labels, "endpoints": None},
    ]

    assert read_ready_pods(slices) == {"web": frozenset({"a", "b", "d"})}


def test_objects_of_others_are_not_taken_for_ours(waiting: World) -> None:
    """What is ours is told by the owner reference, not by the name."""
    rollout = waiting.rollout
    assert rollout is not None
    others = [each for (kind, _), each in waiting.store.objects.items() if kind != "Rollout"]
    stranger = {**rollout, "metadata": {**rollout["metadata"], "uid": "somebody else"}}

    assert observe(rollout, others, NOW).ingresses["web-canary"].owned
    assert not observe(stranger, others, NOW).ingresses["web-canary"].owned


ADOPTED = [{"kind": "App", "name": "x", "uid": "uid-other", "controller": True}]


@pytest.mark.parametrize(
    ("metadata", "ours"),
    [
        ({"name": "web-canary"}, True),
        ({"name": "web"}, False),
        ({"name": "web-preview"}, False),
        ({"name": "web-canary", "ownerReferences": ADOPTED}, False),
    ],
    ids=["name of ours", "the stable one", "a copy", "adopted"],
)
def test_label_counts_on_the_names_that_we_give_services(metadata: dict[str, Any], *, ours: bool) -> None:
    """A Service put back, or copied, from the canary's is whoever's it is."""
    service = {"metadata": {**metadata, "labels": {names.MADE_BY: "uid-1"}}, "spec": {}}

    assert read_service(service, "uid-1").owned is ours


@pytest.mark.parametrize(
    ("name", "release", "ours"),
    [("web-k4x9d", "k4x9d", True), ("web-debug", "k4x9d", False), ("web-k4x9d", None, False)],
)
def test_label_counts_on_the_names_that_we_give_deployments(
    name: str, release: str | None, *, ours: bool
) -> None:
    """A copy of the canary under a name of its own is not the canary."""
    found = deployment()
    annotations = {names.RELEASE: release} if release else {}
    found["metadata"] |= {"name": name, "labels": {names.MADE_BY: "uid-1"}, "annotations": annotations}

    assert (read_deployment(found).owner_uid == "uid-1") is ours


@pytest.mark.parametrize("stamp", [None, "", "not json", '{"approval":"k4x9d/2","user":"u","at":"x"}'])
def test_approval_without_its_stamp_is_none(stamp: str | None) -> None:
    """An approval that came past the webhook, or whose stamp is for another, does not count."""
    annotations = {names.APPROVE: "k4x9d/1", **({} if stamp is None else {names.APPROVED_BY: stamp})}
    metadata = {"name": "web", "namespace": "default", "annotations": annotations}

    assert read_rollout({"metadata": metadata, "spec": {}}).approval is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=6,
)
release_fields = st.dictionaries(
    st.sampled_from(
        [
            "canaryRevision",
            "stableRevision",
            "podTemplateHash",
            "currentStepIndex",
            "nextStepIndex",
            "currentStepState",
            "lastUpdateTime",
        ]
    ),
    json_values
    | st.integers(-3, 5)
    | st.sampled_from(["StepPaused", "StepReady", "Completed", "9999-12-31T23:59:59Z", "-"]),
    max_size=4,
)


@given(
    phase=st.sampled_from(["", "Initial", "Healthy", "Progressing", "Terminating", "Disabling", "Disabled"]),
    reason=st.sampled_from(
        ["Initializing", "InRolling", "Paused", "Finalising", "Cancelling", "Completed", "x"]
    ),
    release=release_fields,
    missing=st.sets(
        st.sampled_from(["Deployment", "ReplicaSet", "Service", "Ingress", "EndpointSlice", "web"]),
        max_size=3,
    ),
    change=st.sampled_from([{}, {"disabled": True}, {"strategy": {"paused": True}}, {"strategy": 5}]),
    deleting=st.booleans(),
)
def test_plan_is_total_and_deterministic(
    phase: str,
    reason: str,
    release: dict[str, Any],
    missing: set[str],
    change: dict[str, Any],
    *,
    deleting: bool,
) -> None:
    """Any status, with any objects missing, gives a plan, and the same one twice."""
    world = MIDDLE
    rollout = world.rollout
    assert rollout is not None
    condition = {
        "type": "Progressing",
        "status": "True",
        "reason": reason,
        "message": "",
        "lastUpdateTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {
        "phase": phase,
        "conditions": [condition],
        "canaryStatus": {**world.release, **release},
    }
    metadata = {**rollout["metadata"], **({"deletionTimestamp": "x"} if deleting else {})}
    spec = {**rollout["spec"], **change}
    if isinstance(change.get("strategy"), dict):
        spec["strategy"] = {**rollout["spec"]["strategy"], **change["strategy"]}
    seen = {
        "apiVersion": GROUP_VERSION,
        "kind": "Rollout",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }
    others = [
        each
        for (kind, name), each in world.store.objects.items()
        if kind != "Rollout" and kind not in missing and name not in missing
    ]
    snapshot = observe(seen, others, NOW)

    assert plan(snapshot) == plan(snapshot)


MIDDLE = paused_at(1)


def pod(*states: dict[str, Any], ready: bool = False) -> dict[str, Any]:
    """Return a pod whose containers are in these states."""
    said = {"reason": "ContainersNotReady", "message": "containers with unready status: [web]"}
    condition = {"type": "Ready", "status": str(ready), **({} if ready else said)}
    statuses = [{"state": state} for state in states]
    return {
        "metadata": {"name": "web-1"},
        "status": {"conditions": [condition], "containerStatuses": statuses},
    }


RUNNING, LATER = ({"running": {"startedAt": f"2026-01-01T00:00:0{second}Z"}} for second in (0, 4))


@pytest.mark.parametrize(
    ("value", "since"),
    [
        (pod(RUNNING), NOW),
        (pod(RUNNING, LATER), NOW.replace(second=4)),
        (pod(RUNNING, ready=True), None),
        (pod(RUNNING, {"waiting": {"reason": "ContainerCreating"}}), None),
        (pod(), None),
    ],
    ids=["one", "the last of two", "ready", "one waits", "none yet"],
)
def test_pod_is_unready_since_its_last_container_runs(value: dict[str, Any], since: datetime | None) -> None:
    """What has not started is starting; what runs and is not ready is waited for, and then told."""
    found = read_pod(value)

    assert found.unready_since == since
    assert since is None or found.unready == "ContainersNotReady: containers with unready status: [web]"


@pytest.mark.parametrize(("seconds", "told"), [(1, False), (3, True)])
def test_pod_that_runs_and_is_not_ready_is_told_after_a_while(seconds: int, *, told: bool) -> None:
    """Every start is unready for a moment: nothing is told before three seconds, then by whom and why."""
    world = governed()
    world.held_up = frozenset({"pods"})
    world.apply_template("v2")
    settle(world)
    sets = world.store.of_kind("ReplicaSet")
    (revision,) = (each for each in sets if world.release_id in each["metadata"]["name"])
    unready = pod({"running": {"startedAt": format_time(world.now)}})
    unready["kind"] = "Pod"
    owner = {"controller": True, "uid": revision["metadata"]["uid"], "name": revision["metadata"]["name"]}
    unready["metadata"]["ownerReferences"] = [owner]
    objects = [*world.store.objects.values(), unready]

    made = plan(observe(world.rollout or {}, objects, world.now + timedelta(seconds=seconds)))

    condition = made.status.condition("Progressing")
    assert condition is not None
    assert ("pod web-1: ContainersNotReady" in condition.message) is told
    assert (made.look_again_at is None) is told


def test_digested_replica_set_reads_as_the_whole_one(waiting: World) -> None:
    """What is kept of a revision says the same of it, without its template."""
    for whole in waiting.store.of_kind("ReplicaSet"):
        kept = digested(whole)

        assert "template" not in kept["spec"]
        assert read_replica_set(kept) == read_replica_set(whole)
