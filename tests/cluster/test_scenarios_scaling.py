"""Replicas that change in the middle of a release, by a person or an autoscaler, at every step and state."""

import pytest

from sandbox.names import READY_AFTER
from sandbox.observation import Predicate
from tests.cluster import inventory
from tests.cluster.application import (
    NAME,
    V1,
    V2,
    V3,
    Application,
    is_paused,
    says,
    shows,
    state,
)
from tests.cluster.evidence import watching
from tests.cluster.plans import plan, step, three_steps
from tests.cluster.readiness import counting


async def _has(app: Application, replicas: int) -> None:
    """Wait until the stable side has so many ready pods."""
    await app.wait(
        "deployments",
        lambda found: [found["status"].get(key) for key in ("replicas", "readyReplicas")] == [replicas] * 2,
    )


def _wants(replicas: int) -> Predicate:
    return lambda found: bool(found["spec"]["replicas"] == replicas)


async def test_canary_follows_every_change_of_scale_at_its_step(app: Application) -> None:
    """At 40 %: 5, 10, 20, 3 and 5 pods have 2, 4, 8, 2 and 2 canaries; step, weight and approval stay."""
    await app.deploy(three_steps())
    async with watching(app) as evidence:
        await app.set_image(V2)
        await app.waits(1, 3)
        await app.approve()
        await app.waits(2, 3)
        async with app.cluster.record("rollouts", app.namespace) as record:
            for replicas, canaries in ((10, 4), (20, 8), (3, 2), (5, 2)):
                await app.scale(replicas)
                await app.canary_has(canaries)
                await _has(app, replicas)
                assert await app.weight() == 40
            await app.waits(2, 3)
    await app.approve()
    await app.waits(3, 3)
    await app.approve()
    await app.completes(steps=3)

    assert {each["status"]["currentStepIndex"] for each in record.objects} == {2}
    assert evidence.updated_pods() == []
    await app.serves(V2)


async def test_number_of_pods_is_no_more_than_the_deployment_has(app: Application) -> None:
    """A step of three pods has two when the Deployment has two, and three again when it has four."""
    await app.deploy(plan(step(20, 3)))
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.scale(2)
    await app.canary_has(2)
    await app.waits(1, 1)
    await app.scale(4)
    await app.canary_has(3)
    await app.waits(1, 1)

    assert await app.weight() == 20


async def test_scaled_while_pods_come_up(app: Application) -> None:
    """In StepUpgrade, with pods that are not ready: more are asked for, then fewer; none is routed to."""
    await app.deploy(plan(step(20, "40%")))
    await app.set_image(f"{V2}-unready")
    await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")
    name = (await app.canary())["metadata"]["name"]

    for replicas, canaries in ((10, 4), (5, 2)):
        await app.scale(replicas)
        await app.wait("deployments", _wants(canaries), name=name)
        await _has(app, replicas)

    assert await app.weight() in {None, 0}
    await app.set_image(V1)
    await app.rolled_back(state="StepUpgrade")


async def test_scaled_during_the_grace_period_and_a_timed_pause(app: Application) -> None:
    """In StepTrafficRouting and in a pause with a duration, scaling changes pods, not the step."""
    rollout = plan(step(20, "20%", pause=4), step(40, "40%"))
    rollout["spec"]["strategy"]["canary"]["trafficRoutings"][0]["gracePeriodSeconds"] = 2
    await app.deploy(rollout)
    await app.set_image(V2)

    await app.wait("rollouts", lambda found: state(found) == "StepTrafficRouting")
    await app.scale(10)
    await app.canary_has(2)
    text = "Rollout is in step(1/2), and wait duration(4 seconds) to enter the next step"
    await app.wait("rollouts", shows("Progressing", 1, "StepPaused", text))
    await app.scale(5)
    await app.canary_has(1)
    await app.waits(2, 2)

    assert (await app.weight(), await app.canary_pods()) == (40, 2)


async def test_scaled_while_paused_follows_all_the_same(app: Application) -> None:
    """`strategy.paused` holds the steps, not the share: the canary stays in proportion."""
    await app.deploy(plan(step(20, "20%")))
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says("Rollout has been paused, you can resume it by kube-cli"))

    await app.scale(10)
    await app.canary_has(2)
    await app.scale(5)
    await app.canary_has(1)

    assert await app.weight() == 20


@pytest.mark.parametrize("ending", ["approved", "rolled-back", "third"])
async def test_scaled_to_nothing_and_back_the_release_goes_on(app: Application, ending: str) -> None:
    """No pods, no canary, no route to them; with pods again the same step waits, and ends like any other."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)
    release = await app.release()

    await app.scale(0)
    await app.wait_for_all("pods", lambda found: not found)
    gated = is_paused(await app.get("deployments"))
    async with counting(app) as pods:
        await app.scale(5)
        await _has(app, 5)
        await app.canary_has(2)
        await app.weighs(40)
        await app.waits(2, 3)

    assert gated
    assert pods.most(V2) == 2
    assert await app.release() == release
    match ending:
        case "approved":
            await app.approve()
            await app.waits(3, 3)
            await app.approve()
            await app.completes(steps=3)
            await app.serves(V2)
        case "rolled-back":
            await app.set_image(V1)
            await app.rolled_back(step=2)
            await app.serves(V1)
        case _:
            await app.set_image(V3)
            await app.waits(1, 3)
            await app.set_image(V1)
            await app.rolled_back()
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_changed_while_scaled_to_nothing(app: Application) -> None:
    """Scaled to nothing mid-release, a third version and then the first: nothing of either is left behind."""
    await app.deploy()
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.scale(0)
    await app.wait_for_all("pods", lambda found: not found)

    await app.set_image(V3)
    await app.set_image(V1)
    await app.wait("deployments", lambda found: not is_paused(found))
    await app.scale(5)
    await app.serves(V1)
    await app.wait("rollouts", lambda found: found["status"]["phase"] == "Healthy")

    assert inventory.leftovers(before, await inventory.settled(app)) == []


@pytest.mark.parametrize(("replicas", "lowest"), [(8, 4), (3, 1)], ids=["up", "down"])
async def test_scaled_during_promotion(app: Application, replicas: int, lowest: int) -> None:
    """In the final roll the user's number counts: it ends with so many pods, never too few on the way.

    Of five one may be missing. Scaled down in a roll, Kubernetes' own controller takes more than that:
    it counts pods as available that it has just scaled away; here only an outage would be ours.
    """
    await app.deploy(plan(step(20, 2)))
    slow = {"metadata": {"annotations": {READY_AFTER: "0.8"}}}
    container = {"spec": {"containers": [{"name": NAME, "image": V2}]}}
    await app.change({"spec": {"template": {**slow, **container}}})
    await app.waits(1, 1)

    async with counting(app) as readiness:
        await app.approve()
        await app.wait("deployments", lambda found: not is_paused(found))
        await app.scale(replicas)
        await app.completes()
        await app.serves(V2, replicas)

    assert readiness.lowest(V1, V2) >= lowest
