"""A change that comes while the Deployment is still rolling natively: gated, settled, and then stepped."""

from collections.abc import Callable
from typing import Any

import pytest

from sandbox import manifests
from sandbox.names import READY_AFTER, JsonObject
from tests.cluster import inventory
from tests.cluster.application import (
    NAME,
    V1,
    V2,
    V3,
    Application,
    image_of_pod,
    is_paused,
    is_ready,
    phase,
    state,
)
from tests.cluster.plans import plan, step, three_steps
from tests.cluster.readiness import counting

pytestmark = pytest.mark.minors

_REPLICAS = 6
_SURGE_ONE = {"maxSurge": 1, "maxUnavailable": 1}
_LOWEST = _REPLICAS - 1
"""Six replicas of which one may be missing."""

_SLOW = "0.9"
"""Seconds that a pod takes to become ready: six pods, two at a time, so that a roll lasts."""

_V4 = "cilium/echoserver:1.10.5"


def _deployment(image: str = V1) -> JsonObject:
    """Return a Deployment that rolls slowly enough for somebody to come in between."""
    manifest = manifests.deployment(image=image, replicas=_REPLICAS)
    manifest["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": _SURGE_ONE}
    return manifest


def _slowly(image: str, **container: Any) -> JsonObject:
    """Return a patch to an image whose pods take their time; the delay is part of the template."""
    annotations = {"metadata": {"annotations": {READY_AFTER: _SLOW}}}
    containers = {"spec": {"containers": [{"name": NAME, "image": image, **container}]}}
    return {"spec": {"template": {**annotations, **containers}}}


async def _count_ready(app: Application, image: str, decide: Callable[[int], bool]) -> None:
    """Wait until as many pods of an image are ready as is decided."""
    await app.wait_for_all(
        "pods",
        lambda found: decide(sum(is_ready(pod) and image_of_pod(pod) == image for pod in found)),
    )


async def _roll_on(app: Application, ready: int) -> None:
    """Promote a slow second version, and come back when so many of its pods are ready."""
    await app.change(_slowly(V2))
    await app.waits(1, 1)
    await app.approve()
    await app.wait("deployments", lambda found: not is_paused(found))
    await _count_ready(app, V2, lambda found: found >= ready)


@pytest.mark.parametrize("ready", [2, 4], ids=["early", "late"])
async def test_third_version_during_the_final_roll_is_gated_settled_and_stepped(
    app: Application, ready: int
) -> None:
    """While the second replaces the first, the third waits: one revision serves alone before step 1."""
    await app.deploy(deployment=_deployment(), replicas=_REPLICAS)
    before = await inventory.take(app)
    await _roll_on(app, ready)

    async with counting(app) as readiness:
        await app.set_image(V3)
        held = await app.get("deployments")
        await app.waits(1, 1)
        pods = await app.pods()
        canary = (await app.canary())["status"]["replicas"]
    stable = {image_of_pod(pod) for pod in pods} - {V3}
    await app.approve()
    await app.completes()

    assert is_paused(held)
    assert len(stable) == 1
    assert len(pods) == _REPLICAS + 2
    assert readiness.lowest(V1, V2) >= _LOWEST
    assert readiness.most(V3) == canary == 2
    await app.serves(V3, _REPLICAS)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_first_version_again_during_the_final_roll_is_let_out_at_once(app: Application) -> None:
    """What still serves is no new release: the roll turns round without a step, and nothing is left."""
    await app.deploy(deployment=_deployment(), replicas=_REPLICAS)
    before = await inventory.take(app)
    await _roll_on(app, 3)

    async with counting(app) as readiness, app.cluster.record("rollouts", app.namespace) as rollouts:
        await app.set_image(V1)
        await app.change({"spec": {"template": {"metadata": {"annotations": {READY_AFTER: None}}}}})
        await app.wait("deployments", manifests.available(_REPLICAS))
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")
        await app.serves(V1, _REPLICAS)

    assert readiness.lowest() >= _LOWEST
    assert not any("manually confirm" in str(each["status"].get("message")) for each in rollouts.objects[1:])
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_second_version_again_after_a_third_goes_on_rolling(app: Application) -> None:
    """A third version comes and is taken back while the second rolls: the second rolls on, unstepped."""
    await app.deploy(deployment=_deployment(), replicas=_REPLICAS)
    before = await inventory.take(app)
    await _roll_on(app, 3)

    async with counting(app) as readiness:
        await app.set_image(V3)
        await app.set_image(V2)
        await app.wait("deployments", manifests.available(_REPLICAS))
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")
        await app.serves(V2, _REPLICAS)

    assert readiness.lowest(V1, V2) >= _LOWEST
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_change_after_a_broken_final_roll_settles_on_the_revision_that_serves(app: Application) -> None:
    """The second version finds no room for all its pods: settled on the first, which has the ready ones."""
    port = {"containerPort": manifests.PORT, "hostPort": 8097, "name": "http"}
    await app.deploy(plan(step(20, 1)), deployment=_deployment(), replicas=_REPLICAS)
    await app.change(_slowly(V2, ports=[port]))
    await app.waits(1, 1)
    await app.approve()
    # A port of the node each, and two nodes: the third pod of the second version waits for ever.
    await _count_ready(app, V2, lambda found: found == 2)
    await app.wait_for_all("pods", lambda found: any("Unschedulable" in str(pod["status"]) for pod in found))

    async with counting(app) as readiness:
        await app.change(_slowly(V3, ports=[{**port, "hostPort": None}]))
        await app.waits(1, 1)
        pods = await app.pods()
    await app.approve()
    await app.completes()

    assert sorted(map(image_of_pod, pods)) == [V1] * _REPLICAS + [V3]
    assert readiness.lowest(V1, V2) >= _LOWEST
    assert readiness.most(V3) == 1
    await app.serves(V3, _REPLICAS)


async def test_change_while_a_native_update_is_stuck_settles_on_the_old_version(app: Application) -> None:
    """A broken version let out without the Rollout: the next is stepped, beside the version that serves."""
    await app.deploy(three_steps(), deployment=_deployment(), replicas=_REPLICAS)
    await app.change_rollout({"spec": {"disabled": True}})
    await app.wait("rollouts", lambda found: phase(found) == "Disabled")
    await app.set_image(f"{V2}-unready")
    await _count_ready(app, V1, lambda found: found == _LOWEST)
    await app.change_rollout({"spec": {"disabled": False}})
    await app.governed()

    async with counting(app) as readiness:
        await app.set_image(V3)
        await app.waits(1, 3)
        pods = await app.pods()

    assert sorted(map(image_of_pod, pods)) == [V1] * _REPLICAS + [V3]
    assert readiness.lowest(V1) >= _LOWEST
    assert readiness.most(V3) == 1
    await app.set_image(V1)
    await app.wait("rollouts", lambda found: phase(found) == "Healthy")
    await app.serves(V1, _REPLICAS)


async def test_change_before_the_first_version_is_up_is_stepped_beside_it(app: Application) -> None:
    """A Rollout for a Deployment whose first pods still come up: the change waits behind them."""
    await app.create(manifests.service(), manifests.ingress(host=app.host))
    slow = _deployment()
    slow["spec"]["template"]["metadata"]["annotations"] = {READY_AFTER: "2"}
    await app.create(slow, manifests.rollout(grace_period_seconds=0))
    await app.governed()

    await app.set_image(V2)
    await app.waits(1, 1)
    pods = await app.pods()
    await app.approve()
    await app.completes()

    assert sorted(map(image_of_pod, pods)) == [V1] * _REPLICAS + [V2] * 2
    await app.serves(V2, _REPLICAS)


async def test_rollout_created_during_a_native_roll_gates_the_next_change(app: Application) -> None:
    """The roll that was under way goes on natively; what comes after it, or in between, is stepped."""
    await app.create(manifests.service(), manifests.ingress(host=app.host), _deployment())
    await app.wait("deployments", manifests.available(_REPLICAS))
    await app.change(_slowly(V2))
    await app.create(manifests.rollout(grace_period_seconds=0))
    await app.governed()
    paused = is_paused(await app.get("deployments"))

    async with counting(app) as readiness:
        await app.set_image(V3)
        await app.waits(1, 1)
        serving = {image_of_pod(pod) for pod in await app.pods()}

    assert not paused
    assert len(serving - {V3}) == 1
    assert readiness.lowest(V1, V2) >= _LOWEST
    assert readiness.most(V3) == 2


async def test_versions_in_quick_succession_during_a_roll_end_with_the_last(app: Application) -> None:
    """Four changes within a second of a roll: the last is stepped, none of the others serves beside it."""
    await app.deploy(deployment=_deployment(), replicas=_REPLICAS)
    await _roll_on(app, 2)

    async with counting(app) as readiness:
        for image in (V3, _V4, V3, _V4):
            await app.set_image(image)
        await app.waits(1, 1)
        serving = {image_of_pod(pod) for pod in await app.pods()}

    assert serving - {V1, V2} == {_V4}
    assert len(serving) == 2
    assert readiness.lowest(V1, V2) >= _LOWEST
    assert readiness.most(V3) <= 2
    assert readiness.most(_V4) == 2
    await app.approve()
    await app.completes()
    await app.serves(_V4, _REPLICAS)


async def test_scaled_while_a_change_is_being_settled(app: Application) -> None:
    """Scaled up in the middle of a roll with a third version waiting: all of it comes to rest."""
    await app.deploy(deployment=_deployment(), replicas=_REPLICAS)
    await _roll_on(app, 2)

    async with counting(app) as readiness:
        await app.set_image(V3)
        await app.scale(_REPLICAS + 4)
        await app.wait("deployments", lambda found: found["status"].get("readyReplicas") == _REPLICAS + 4)
        await app.waits(1, 1)
        await app.canary_has(2)
        serving = {image_of_pod(pod) for pod in await app.pods()}

    assert len(serving - {V3}) == 1
    assert readiness.lowest(V1, V2) >= _LOWEST
    assert state(await app.get("rollouts")) == "StepPaused"
