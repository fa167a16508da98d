"""Versions that cannot run: what is said of them, how soon, and how one gets out of it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, V3, Application, is_paused, state
from tests.cluster.plans import plan, step, three_steps

_SECONDS = 5.0
"""The promise: a reason is named so soon after a pod shows it."""

_TOO_MUCH = {"requests": {"cpu": "2000"}}
"""More than any node of the sandbox has."""

_FROM_NOTHING = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "token"}}}
_WHOLE = {"resources": None, "env": [{"name": "TOKEN", "$patch": "delete"}]}
"""What a version that works has of all this: nothing."""

Fail = Callable[[Application], Coroutine[Any, Any, JsonObject]]


def _container(**changes: Any) -> JsonObject:
    container = {"name": NAME, "image": V2, **changes}
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


async def _use_up_the_quota(app: Application) -> JsonObject:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}}
    pods = len(await app.pods())
    await app.create({**quota, "spec": {"hard": {"pods": str(pods)}}})
    await app.wait("v1/resourcequotas", lambda found: "pods" in found["status"].get("used", {}), name="full")
    return await app.set_image(V2)


_WAYS: dict[str, tuple[Fail, str]] = {
    "image": (lambda app: app.set_image(f"{V2}-unpullable"), "ImagePullBackOff"),
    "crash": (lambda app: app.set_image(f"{V2}-crashing"), "CrashLoopBackOff"),
    "unready": (lambda app: app.set_image(f"{V2}-unready"), "ContainersNotReady"),
    "unschedulable": (lambda app: app.change(_container(resources=_TOO_MUCH)), "Unschedulable"),
    "config": (lambda app: app.change(_container(env=[_FROM_NOTHING])), "CreateContainerConfigError"),
    "quota": (_use_up_the_quota, "exceeded quota"),
}


def _shows(reason: str) -> Callable[[JsonObject], bool]:
    """Return whether a pod, or a ReplicaSet, says why it is not as it should be."""
    return lambda found: reason in str(found["status"])


async def _appears(app: Application, reason: str) -> float:
    """Wait until Kubernetes itself has said it; return when that was."""
    resource = "replicasets" if reason == "exceeded quota" else "pods"
    async with app.cluster.record(resource, app.namespace) as record:
        await record.wait_for(lambda event: _is_new(event.object) and _shows(reason)(event.object))
        return time.monotonic()


def _is_new(found: JsonObject) -> bool:
    spec = found["spec"]["template"]["spec"] if "template" in found["spec"] else found["spec"]
    return bool(spec["containers"][0]["image"] != V1)


def _condition_names(reason: str) -> Callable[[JsonObject], bool]:
    def decide(rollout: JsonObject) -> bool:
        conditions = rollout.get("status", {}).get("conditions", ())
        return any(reason in f"{each['reason']} {each['message']}" for each in conditions)

    return decide


def _event_names(reason: str) -> Callable[[JsonObject], bool]:
    def decide(event: JsonObject) -> bool:
        about_a_rollout = event["involvedObject"]["kind"] == "Rollout"
        return event["type"] == "Warning" and about_a_rollout and reason in f"{event.get('message')}"

    return decide


async def _is_named(app: Application, reason: str) -> float:
    """Wait until condition and event of the Rollout name a reason; return when the later one did."""
    async with app.cluster.record("events", app.namespace) as events:
        await app.wait("rollouts", _condition_names(reason), seconds=20)
        await events.wait_for(lambda event: _event_names(reason)(event.object), seconds=20)
        return time.monotonic()


@pytest.mark.parametrize("name", _WAYS)
async def test_reason_is_named_soon_and_a_third_version_gets_out_of_it(app: Application, name: str) -> None:
    """Condition and event name what the pods say; no traffic goes there; a version that works takes over."""
    fail, reason = _WAYS[name]
    await app.deploy(three_steps())

    async with asyncio.TaskGroup() as group:
        appearing = group.create_task(_appears(app, reason))
        naming = group.create_task(_is_named(app, reason))
        group.create_task(fail(app))
    stuck = await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")
    weight, gated = await app.weight(), is_paused(await app.get("deployments"))
    if name == "quota":
        await app.cluster.delete("v1/resourcequotas", app.namespace, "full")
    await app.change(_container(image=V3, **_WHOLE))
    await app.waits(1, 3)

    assert naming.result() - appearing.result() < _SECONDS
    assert (weight in {None, 0}, gated) == (True, True)
    assert stuck["status"]["message"] == "Rollout is in step(1/3), and upgrade workload to new version"
    assert not _condition_names(reason)(await app.get("rollouts"))
    assert await app.pods(V2) == []


@pytest.mark.parametrize("name", ["image", "unschedulable"])
async def test_rollback_gets_out_of_a_version_that_fails(app: Application, name: str) -> None:
    """Going back leaves no pod, no object and no complaint of the version that failed."""
    fail, reason = _WAYS[name]
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await fail(app)
    await app.wait("rollouts", _condition_names(reason))

    await app.change(_container(image=V1, **_WHOLE))
    found = await app.rolled_back(state="StepUpgrade")

    assert inventory.leftovers(before, await inventory.settled(app)) == []
    assert not _condition_names(reason)(found)


async def test_reason_at_a_later_step_leaves_the_traffic_where_it_was(app: Application) -> None:
    """Pods of the second step find no room: the first step's pods keep their weight, the reason is named."""
    port = {"containerPort": 8080, "hostPort": 8099, "name": "http"}
    await app.deploy(plan(step(20, 1), step(40, 3)))
    await app.change(_container(ports=[port]))
    await app.waits(1, 2)

    await app.approve()
    # Two nodes, a port of the node each: the third pod finds none.
    await app.wait("rollouts", _condition_names("Unschedulable"))

    assert await app.weight() == 20
    await app.change(_container(image=V1, ports=[{**port, "hostPort": None}]))
    await app.rolled_back(step=2, state="StepUpgrade")


async def test_progress_deadline_is_said_when_it_has_passed(app: Application) -> None:
    """Pods that take longer than the Deployment allows: condition and event say that the deadline passed."""
    await app.deploy(three_steps())
    await app.change({"spec": {"progressDeadlineSeconds": 3}})

    begun = time.monotonic()
    await app.set_image(f"{V2}-unready")
    await _is_named(app, "ProgressDeadlineExceeded")
    elapsed = time.monotonic() - begun

    assert elapsed > 3
    assert state(await app.get("rollouts")) == "StepUpgrade"
    await app.set_image(V1)
    await app.rolled_back(state="StepUpgrade")


@pytest.mark.parametrize(("threshold", "passes"), [(1, True), ("34%", True), (None, False)], ids=str)
async def test_failure_threshold_lets_a_step_pass_with_some_pods_missing(
    app: Application,
    threshold: int | str | None,
    passes: bool,  # noqa: FBT001 - a case
) -> None:
    """Of three canary pods one finds no room: within the threshold the step goes on, without one it waits."""
    rollout = plan(step(20, 3))
    if threshold is not None:
        rollout["spec"]["strategy"]["canary"]["failureThreshold"] = threshold
    await app.deploy(rollout)

    await app.change(_container(ports=[{"containerPort": 8080, "hostPort": 8098, "name": "http"}]))
    if passes:
        await app.waits(1, 1)
    else:
        await app.wait("rollouts", _condition_names("Unschedulable"))
        name = (await app.canary())["metadata"]["name"]
        await app.wait("deployments", lambda found: found["status"].get("availableReplicas") == 2, name=name)

    assert (await app.weight() == 20) is passes
    assert state(await app.get("rollouts")) == ("StepPaused" if passes else "StepUpgrade")


async def test_failure_threshold_never_means_no_pod_at_all(app: Application) -> None:
    """With every failure allowed, a step still waits for its first ready pod: nothing could answer."""
    rollout = plan(step(20, 1))
    rollout["spec"]["strategy"]["canary"]["failureThreshold"] = "100%"
    await app.deploy(rollout)

    await app.set_image(f"{V2}-unpullable")
    await app.wait("rollouts", _condition_names("ImagePullBackOff"))

    assert state(await app.get("rollouts")) == "StepUpgrade"
    assert await app.weight() in {None, 0}
