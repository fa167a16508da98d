"""Partition style when something comes in between: edits, scaling, trouble, and ends that nobody planned."""

import json

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from sandbox.observation import Predicate
from tests.cluster import gateways, inventory
from tests.cluster.application import (
    ALPHA,
    APPROVE,
    NAME,
    V1,
    V2,
    V3,
    Application,
    image_of,
    image_of_pod,
    is_paused,
    is_ready,
    message,
    phase,
)
from tests.cluster.partitions import (
    ONE_MISSING,
    ONE_MORE,
    STRATEGY,
    counts,
    divided,
    has,
    limited,
    partition,
    release_slowly,
    take_back,
)
from tests.cluster.plans import step
from tests.cluster.product import Product
from tests.cluster.readiness import counting
from tests.cluster.test_scenarios_batches import labelled, named

pytestmark = pytest.mark.minors

_PAUSED = "Rollout has been paused, you can resume it by kube-cli"


def _has_new(pods: int) -> Predicate:
    """Return whether so many pods of a Deployment, or more, are of its present template."""
    return lambda found: counts(found)[0] >= pods


def _are_ready(pods: list[JsonObject], image: str, count: int) -> bool:
    """Tell whether these are so many pods of an image, and all ready."""
    return [image_of_pod(each) for each in pods if is_ready(each)] == [image] * count


def _shows(new: int, available: int) -> Predicate:
    """Return whether a Deployment's columns are so."""
    return lambda found: counts(found) == (new, available)


async def test_leader_is_killed_after_every_pod_that_moved(product: Product, app: Application) -> None:
    """SIGKILL whenever one more pod is new: whoever comes next goes on from there, and none is lost."""
    await app.deploy(
        partition(step(None, "20%"), step(None, "80%"), step(None, "100%"), routed=False),
        deployment=limited(ONE_MISSING),
    )
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 3)

    async with counting(app) as readiness:
        await app.approve()
        for new in (2, 3, 4):
            await app.wait("deployments", _has_new(new))
            await product.replace_leader()
        await app.waits(2, 3)
        await has(app, v1=1, v2=4)
        await app.approve()
        await app.completes(3)
        await app.serves(V2)

    assert readiness.lowest() >= 4
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_single_step_is_rewritten_to_the_end_under_one_release(app: Application) -> None:
    """KubeVela's canary-deploy, as it asks by default: annotation, and 20, 50, 100 in the one step."""
    rollout = manifests.rollout_v1alpha1(grace_period_seconds=0)
    rollout["metadata"].setdefault("annotations", {})["rollouts.kruise.io/rolling-style"] = "partition"
    rollout["spec"]["strategy"]["canary"]["steps"] = [{"weight": 20, "pause": {}}]
    await app.deploy(rollout)
    before = await inventory.take(app)
    seen = []

    await app.set_image(V2)
    await app.waits(1, 1)
    await has(app, v1=4, v2=1)
    seen.append((await app.release(), await app.weight()))
    await app.rewrite({"weight": 50, "pause": {}}, resource=ALPHA)
    await app.weighs(50)
    await app.waits(1, 1)
    await has(app, v1=2, v2=3)
    seen.append((await app.release(), await app.weight()))
    await app.rewrite({"weight": 100, "pause": {}}, resource=ALPHA)
    await app.completes()

    (release, _), _ = seen
    assert seen == [(release, 20), (release, 50)]
    await app.serves(V2)
    differences = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in differences if "/rollouts/" not in each] == []


async def test_batches_follow_the_number_of_replicas(app: Application) -> None:
    """Up, down, to nothing and back: the step keeps its share, and nothing is approved by it."""
    await app.deploy(partition(step(None, "40%"), step(None, "100%"), routed=False))
    await app.set_image(V2)
    await app.waits(1, 2)

    for replicas, new in ((10, 4), (5, 2), (0, 0), (5, 2)):
        await app.scale(replicas)
        await has(app, v1=replicas - new, v2=new)
        await app.waits(1, 2)
    await app.approve()
    await app.completes(2)

    await app.serves(V2)


async def test_release_goes_on_when_it_was_scaled_to_zero_and_up_again(
    product: Product, app: Application
) -> None:
    """Kubernetes wakes the youngest revision, one that was taken back, while nobody looks: it goes again."""
    rollout = partition(step(None, 1), step(None, "100%"), routed=False)
    await app.deploy(rollout, deployment=limited(ONE_MORE))
    await app.set_image(V3)
    await app.waits(1, 2)
    await app.set_image(V1)
    await app.rolled_back()
    await app.set_image(V2)
    await app.waits(1, 2)

    sets = await app.cluster.list("replicasets", app.namespace)
    (new,) = (each["metadata"]["name"] for each in sets if image_of(each) == V2)
    await app.scale(0)
    await app.cluster.wait_gone("replicasets", app.namespace, new)
    await product.scale("sluice-reconciler", 0)
    try:
        await app.scale(3)
        await app.wait_for_all("pods", lambda found: _are_ready(found, V3, 3))
    finally:
        await product.scale("sluice-reconciler", 2)
    await app.wait("deployments", lambda found: counts(found) == (1, 4))
    assert divided(await app.pods()).get(V3) is None
    await app.approve()
    await app.completes(2)
    await has(app, v2=3)


async def test_paused_rollout_moves_nothing_and_still_rolls_back(app: Application) -> None:
    """`strategy.paused` stops the batches where they are; the old template needs no resuming."""
    await app.deploy(partition(step(20, "20%"), step(50, "60%"), step(100, "100%")))
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", lambda found: message(found) == _PAUSED)

    async with counting(app) as readiness:
        await app.approve()
        await app.change({"metadata": {"annotations": {"somebody": "wrote"}}})
        await app.passes(2)
        await app.set_image(V1)
        await app.rolled_back()
        await app.serves(V1)
    await app.change_rollout({"spec": {"strategy": {"paused": None}}})

    assert readiness.most(V2) == 1
    expected = ".annotations.somebody was"
    left = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in left if expected not in each] == []


async def test_release_is_approved_on_the_deployment_and_its_pods_say_their_batch(app: Application) -> None:
    """One by the first step, two by the second, whoever owned them when they started."""
    await app.deploy(partition(step(None, "20%"), step(None, "60%"), step(None, "100%"), routed=False))
    await app.change(named("r1", image=V2))
    await app.waits(1, 3)
    await labelled(app, ("r1", "1"))

    await app.change({"metadata": {"annotations": {APPROVE: f"{await app.release()}/1"}}})
    await app.waits(2, 3)

    await labelled(app, ("r1", "1"), ("r1", "2"), ("r1", "2"))


@pytest.mark.parametrize("steps", [1, 2], ids=["beside", "inside"])
async def test_version_that_never_gets_ready_costs_no_pod_and_is_taken_back(
    app: Application, steps: int
) -> None:
    """Its first pod stays beside the Deployment; a later one stops the batch: both say why."""
    await app.deploy(
        partition(step(None, "20%"), step(None, "80%"), step(None, "100%"), routed=False),
        deployment=limited(ONE_MISSING),
    )
    before = await inventory.take(app)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}}
    if steps == 1:
        await app.set_image(f"{V2}-unready")
        reason = "ContainersNotReady"
    else:
        await app.set_image(V2)
        await app.waits(1, 3)
        await app.create({**quota, "spec": {"hard": {"pods": "4"}}})
        await app.wait(
            "v1/resourcequotas", lambda found: "pods" in found["status"].get("used", {}), name="full"
        )
        await app.approve()
        reason = "exceeded quota"

    async with counting(app) as readiness:
        await app.wait("rollouts", _names(reason))
        await app.set_image(V1)
        if steps == 2:
            await app.cluster.delete("v1/resourcequotas", app.namespace, "full")
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")
        await app.serves(V1)

    assert readiness.lowest() >= 4
    left = inventory.leftovers(before, await inventory.settled(app))
    assert left == []


def _names(reason: str) -> Predicate:
    """Return whether a condition of a Rollout says why."""

    def decide(rollout: JsonObject) -> bool:
        conditions = rollout.get("status", {}).get("conditions", ())
        return any(reason in each["message"] for each in conditions)

    return decide


async def test_version_is_taken_back_in_the_middle_of_a_batch(app: Application) -> None:
    """Its pods are still starting, its owner's limits are what the way back keeps to as well."""
    await app.deploy(
        partition(step(None, "20%"), step(None, "80%"), step(None, "100%"), routed=False),
        deployment=limited(ONE_MISSING),
    )
    before = await inventory.take(app)
    await release_slowly(app, V2, 4)
    await app.waits(1, 3)

    async with counting(app) as readiness:
        await app.approve()
        await app.wait("deployments", _shows(2, 4))
        await take_back(app, V1)
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")
        await app.serves(V1)

    assert readiness.lowest() >= 4
    assert readiness.most(V2) == 2
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_pods_with_metadata_of_their_own_stay_beside_the_deployment(app: Application) -> None:
    """Their template is not the Deployment's, which could not adopt them: all are started anew at the end."""
    rollout = partition(step(20, "20%"), step(50, "60%"), step(100, "100%"))
    marked = {"labels": {"track": "canary"}}
    rollout["spec"]["strategy"]["canary"]["patchPodTemplateMetadata"] = marked
    await app.deploy(rollout, deployment=limited(ONE_MISSING))
    before, strategy = await inventory.take(app), (await app.get("deployments"))["spec"]["strategy"]

    async with counting(app) as readiness:
        await app.set_image(V2)
        await app.waits(1, 3)
        seen = [(await app.weight(), await app.canary_pods())]
        await app.approve()
        await app.waits(2, 3)
        seen.append((await app.weight(), await app.canary_pods()))
        during = await app.get("deployments")
        await app.approve()
        await app.completes(3)
        await app.serves(V2)

    assert seen == [(20, 1), (50, 3)]
    assert during["spec"]["strategy"] == strategy
    assert counts(during) == (0, 5)
    assert readiness.lowest() >= 4
    assert [pod for pod in await app.pods() if "track" in pod["metadata"]["labels"]] == []
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_change_during_the_final_roll_is_gated_settled_and_stepped(app: Application) -> None:
    """The second version is being let out natively when the third comes: one serves alone, then step 1."""
    await app.deploy(partition(step(None, "20%"), routed=False), deployment=limited(ONE_MISSING))
    await release_slowly(app, V2, 0.9)
    await app.waits(1, 1)
    await app.approve()
    await app.wait("deployments", lambda found: not is_paused(found) and counts(found)[0] >= 2)

    async with counting(app) as readiness:
        await app.set_image(V3)
        held = await app.get("deployments")
        await app.waits(1, 1)
        await app.wait_for_all("pods", lambda found: sorted(divided(found).values()) == [1, 4])

    assert is_paused(held)
    assert readiness.lowest() >= 4
    assert readiness.most(V3) == 1
    assert len(await app.pods(V3)) == 1


async def test_deployment_that_is_deleted_in_the_middle_takes_everything_along(app: Application) -> None:
    """Its pods of both versions, canary Service and route; what comes back is released like any other."""
    await app.deploy(partition(step(20, "20%"), step(50, "60%"), step(100, "100%")))
    await app.set_image(V2)
    await app.waits(1, 3)

    await app.cluster.delete("deployments", app.namespace, NAME)
    await app.wait("rollouts", lambda found: message(found) == "Workload Not Found")
    await app.wait_for_all("pods", lambda found: not found)
    left = await inventory.settled(app)
    await app.create(manifests.deployment(replicas=5))
    await app.wait("deployments", manifests.available(5))
    await app.governed()
    await app.set_image(V2)
    await app.waits(1, 3)

    assert [each for each in left if "canary" in each] == []
    await has(app, v1=4, v2=1)


async def test_nobody_plants_a_strategy(app: Application) -> None:
    """Neither in a new Deployment, nor where no release goes on: it would be written over the owner's."""
    mark = json.dumps({"declared": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "90%"}}})
    manifest = limited(ONE_MISSING)
    manifest["metadata"]["annotations"] = {STRATEGY: mark}
    await app.create(manifest)
    new = await app.get("deployments")
    await app.create(manifests.service(), manifests.ingress(host=app.host))
    await app.create(partition(step(20, "20%"), step(100, "100%")))
    await app.governed()

    said = await app.kubectl("annotate", f"deployment/{NAME}", f"{STRATEGY}={mark}")
    changed = await app.get("deployments")

    assert STRATEGY not in new["metadata"].get("annotations", {})
    assert STRATEGY not in changed["metadata"].get("annotations", {})
    assert "sluice.dev/strategy: written by admission alone, and left out" in said
    assert changed["spec"]["strategy"]["rollingUpdate"] == ONE_MISSING


async def test_rules_of_an_http_route_are_divided_between_the_parts(app: Application) -> None:
    """By the revisions of the one Deployment, and given back with the last batch."""
    await app.cluster.gateway()
    await app.create(manifests.service(), gateways.http_route(app.host), manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(gateways.by_gateway(partition(step(20, "20%"), step(60, "60%"), step(100, "100%"))))
    await app.governed()
    before = await inventory.take(app)
    data_plane = await app.cluster.gateway()

    await app.set_image(V2)
    await app.waits(1, 3)
    await data_plane.divides(app.host, 20, lambda found: found.by_image.get(V2) == 4)
    await app.approve()
    await app.waits(2, 3)
    await data_plane.divides(app.host, 20, lambda found: found.by_image.get(V2) == 12)
    await app.approve()
    await app.completes(3)

    await app.serves(V2)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_strategy_is_given_back_while_no_webhook_answers(product: Product, app: Application) -> None:
    """The reconciler writes what the webhook would have: the way out never depends on it."""
    await app.deploy(partition(step(None, "20%"), step(None, "100%"), routed=False))
    strategy = (await app.get("deployments"))["spec"]["strategy"]
    await app.set_image(V2)
    await app.waits(1, 2)

    await product.scale("sluice-webhook", 0)
    try:
        async with counting(app) as readiness:
            await app.cluster.delete("rollouts", app.namespace, NAME)
            await app.serves(V2)
            after = await app.wait(
                "deployments", lambda found: STRATEGY not in found["metadata"]["annotations"]
            )
    finally:
        await product.scale("sluice-webhook", 2)

    assert readiness.lowest() >= 4
    assert after["spec"]["strategy"] == strategy
    assert not is_paused(after)


async def test_steps_are_followed_when_the_stable_revision_is_deleted_for_want_of_a_history(
    app: Application,
) -> None:
    """With `revisionHistoryLimit: 0` it goes as soon as a step in the middle has made all pods new."""
    deployment = limited(ONE_MISSING)
    deployment["spec"]["revisionHistoryLimit"] = 0
    plan = partition(step(20, "20%"), step(100, "100%"), step(100, "100%"), step(100, "100%"))
    await app.deploy(plan, deployment=deployment)
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 4)

    await app.approve()
    await app.waits(2, 4)
    await app.wait_for_all("replicasets", lambda found: len(found) == 1)
    for number in (1, 3, 2):  # to the one after the present one would be no jump
        await app.jump(number)
        await app.waits(number, 4)
        await app.serves(V2)
        await app.answers_only(V2)
    await app.jump(4)
    await app.completes(4)

    await app.serves(V2)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_stable_revision_that_is_deleted_by_hand_leaves_nobody_without_a_pod(app: Application) -> None:
    """Its pods end, and the controller makes all of them new: the Service leads to these."""
    await app.deploy(partition(step(20, "20%"), step(50, "50%")))
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 2)
    (stable,) = [
        each for each in await app.cluster.list("replicasets", app.namespace) if image_of(each) == V1
    ]

    await app.kubectl("delete", "replicaset", stable["metadata"]["name"])
    await app.serves(V2)
    await app.waits(1, 2)
    await app.answers_only(V2)
    await app.approve()
    await app.waits(2, 2)
    await app.approve()
    await app.completes(2)

    await app.serves(V2)
    assert inventory.leftovers(before, await inventory.settled(app)) == []
