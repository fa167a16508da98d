"""Partition style: batches inside the Deployment itself, without a workload that stays beside it."""

from typing import Any

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, V3, Application, is_paused
from tests.cluster.partitions import ONE_MISSING, ONE_MORE, STRATEGY, counts, divided, has, limited, partition
from tests.cluster.plans import step
from tests.cluster.readiness import counting

pytestmark = pytest.mark.minors


def crew(rollout: JsonObject) -> tuple[int, int]:
    """Return how many pods of the new version a Rollout's status tells of, and how many are ready."""
    status = rollout["status"]["canaryStatus"]
    return status["canaryReplicas"], status["canaryReadyReplicas"]


@pytest.mark.parametrize("limits", [ONE_MISSING, ONE_MORE, None], ids=["missing", "more", "default"])
async def test_release_goes_through_its_batches_inside_the_deployment(
    app: Application, limits: JsonObject | None
) -> None:
    """20 %, 60 %, 100 % of five pods: nothing beside it, no pod too few, its strategy as it was."""
    manifest = limited(limits) if limits else manifests.deployment(replicas=5)
    await app.deploy(
        partition(step(None, "20%"), step(None, "60%"), step(None, "100%"), routed=False),
        deployment=manifest,
    )
    before, strategy = await inventory.take(app), (await app.get("deployments"))["spec"]["strategy"]
    lowest, beside = (5, 1) if limits == ONE_MORE else (4, 0)

    async with counting(app) as readiness:
        await app.set_image(V2)
        first = await app.waits(1, 3)
        await has(app, v1=5 - 1 + beside, v2=1)
        deployments = await app.cluster.list("deployments", app.namespace)
        approved = {pod["metadata"]["uid"] for pod in await app.pods(V2)}
        await app.approve()
        second = await app.waits(2, 3)
        await has(app, v1=5 - 3 + beside, v2=3)
        await app.approve()
        await app.completes(3)

    assert len(deployments) == 1
    assert (crew(first), crew(second)) == ((1, 1), (3, 3))
    assert readiness.lowest() >= lowest
    await app.serves(V2, 5)
    assert approved <= {pod["metadata"]["uid"] for pod in await app.pods()}
    after = await app.get("deployments")
    assert after["spec"]["strategy"] == strategy
    assert not is_paused(after)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_weights_follow_the_batches(app: Application) -> None:
    """Each revision has a Service of its own while both have pods; with the last batch all is as it was."""
    await app.deploy(partition(step(20, "20%"), step(50, "60%"), step(100, "100%")))
    before = await inventory.take(app)
    data_plane = await app.cluster.data_plane()
    await app.serves_requests()

    await app.set_image(V2)
    await app.waits(1, 3)
    await data_plane.divides(app.host, 20, lambda found: found.by_image.get(V2) == 4)
    await app.approve()
    await app.waits(2, 3)
    await data_plane.divides(app.host, 20, lambda found: found.by_image.get(V2) == 10)
    await app.approve()
    await app.completes(3)

    await app.answers_only(V2)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


@pytest.mark.parametrize("steps", [1, 2])
async def test_version_is_taken_back_at_any_batch(app: Application, steps: int) -> None:
    """The old template lets the Deployment roll back natively, with its own strategy."""
    await app.deploy(partition(step(20, "20%"), step(50, "60%"), step(100, "100%")))
    before, strategy = await inventory.take(app), (await app.get("deployments"))["spec"]["strategy"]
    await app.set_image(V2)
    await app.waits(1, 3)
    for number in range(2, steps + 1):
        await app.approve()
        await app.waits(number, 3)

    async with counting(app) as readiness:
        await app.set_image(V1)
        await app.rolled_back(steps)
        await app.serves(V1, 5)

    assert readiness.lowest() >= 4
    assert (await app.get("deployments"))["spec"]["strategy"] == strategy
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_no_request_meets_a_version_that_is_being_taken_back(app: Application) -> None:
    """Its pods are the Deployment's own until the native roll has replaced them; no Service leads to them."""
    rollout = partition(step(20, "20%"), step(50, "60%"), step(100, "100%"))
    (routing,) = rollout["spec"]["strategy"]["canary"]["trafficRoutings"]
    routing["gracePeriodSeconds"] = 2
    await app.deploy(rollout, deployment=manifests.deployment(replicas=5, pre_stop_seconds=3))
    data_plane = await app.cluster.data_plane()
    await app.serves_requests()
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)
    await data_plane.wait_for(app.host, V2)

    await app.set_image(V1)
    await app.cluster.wait_gone("ingresses", app.namespace, f"{NAME}-canary")
    async with data_plane.load(app.host, rate=100) as account:
        await app.rolled_back(2)
        await app.serves(V1, 5)

    assert set(account.answered) == {V1}
    assert account.lost == 0


async def test_third_version_replaces_the_second_in_the_middle(app: Application) -> None:
    """The first version's pods come back for the second's before the third has any."""
    await app.deploy(
        partition(step(20, "20%"), step(50, "60%"), step(100, "100%")), deployment=limited(ONE_MISSING)
    )
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)

    async with counting(app) as readiness:
        await app.set_image(V3)
        await app.waits(1, 3)
        await has(app, v1=4, v3=1)

    assert readiness.lowest() >= 4
    assert readiness.ever(lambda pods: {V2, V3} <= divided(pods).keys()) is False
    for number in (2, 3):
        await app.approve()
        await (app.waits(number, 3) if number == 2 else app.completes(3))
    await app.serves(V3, 5)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_pods_go_back_with_a_jump(app: Application) -> None:
    """From 80 % to 20 %: stable pods come back, as many at a time as may be missing."""
    await app.deploy(
        partition(step(None, "20%"), step(None, "80%"), step(None, "100%"), routed=False),
        deployment=limited(ONE_MISSING),
    )
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)
    await has(app, v1=1, v2=4)

    async with counting(app) as readiness:
        await app.jump(1)
        await app.waits(1, 3)
        await has(app, v1=4, v2=1)

    assert readiness.lowest() >= 4


async def test_strategy_that_somebody_writes_is_given_back_at_the_end(app: Application) -> None:
    """A client that applies its own strategy every now and then changes nothing until the release ends."""
    await app.deploy(partition(step(None, "20%"), step(None, "100%"), routed=False))
    await app.set_image(V2)
    await app.waits(1, 2)
    held = (await app.get("deployments"))["spec"]["strategy"]

    wide: dict[str, Any] = {"maxSurge": "60%", "maxUnavailable": "20%"}
    written = await app.change({"spec": {"strategy": {"rollingUpdate": wide}}})
    await app.scale(10)
    await app.wait("deployments", lambda found: counts(found) == (2, 10))
    await app.waits(1, 2)
    await app.approve()
    await app.completes(2)

    assert written["spec"]["strategy"] == held
    after = await app.get("deployments")
    assert after["spec"]["strategy"]["rollingUpdate"] == wide
    assert STRATEGY not in after["metadata"]["annotations"]


@pytest.mark.parametrize("ending", ["delete", "disable"])
async def test_deployment_rolls_out_natively_when_its_rollout_lets_go(app: Application, ending: str) -> None:
    """In the middle of the batches: the Deployment is whole, un-paused, with its own strategy."""
    await app.deploy(partition(step(20, "20%"), step(50, "60%"), step(100, "100%")))
    strategy = (await app.get("deployments"))["spec"]["strategy"]
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)

    async with counting(app) as readiness:
        if ending == "delete":
            await app.cluster.delete("rollouts", app.namespace, NAME)
        else:
            await app.change_rollout({"spec": {"disabled": True}})
        await app.serves(V2, 5)
        after = await app.wait("deployments", lambda found: not is_paused(found) and counts(found) == (5, 5))

    assert readiness.lowest() >= 4
    assert after["spec"]["strategy"] == strategy
    assert STRATEGY not in after["metadata"]["annotations"]
