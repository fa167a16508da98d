"""Pods that go during a release and canaries that people meddle with: what is brought back."""

from typing import Any

from sandbox.names import READY_AFTER, JsonObject
from sandbox.resources import path
from tests.cluster.application import NAME, V1, V2, WEIGHT, Application, image_of_pod, is_ready, names
from tests.cluster.plans import three_steps
from tests.cluster.readiness import counting

_SLOW = "2"
"""Seconds that a pod takes to become ready: long enough to see what is done meanwhile."""


def _slowly(image: str) -> JsonObject:
    annotations = {"metadata": {"annotations": {READY_AFTER: _SLOW}}}
    containers: dict[str, Any] = {"spec": {"containers": [{"name": NAME, "image": image}]}}
    return {"spec": {"template": {**annotations, **containers}}}


async def _kill(app: Application, pod: JsonObject) -> None:
    """Delete a pod as an eviction does, with no time to end."""
    place = path("pods", app.namespace, pod["metadata"]["name"])
    await app.cluster.api.delete(place, {"gracePeriodSeconds": 0})


def _weights(routes: list[JsonObject]) -> list[int]:
    canaries = (each["metadata"] for each in routes if each["metadata"]["name"] == f"{NAME}-canary")
    found = [int(each["annotations"].get(WEIGHT, 0)) for each in canaries]
    return [one for one, other in zip(found, [None, *found], strict=False) if one != other]


async def test_canary_without_a_ready_pod_gets_nothing_until_it_has_one(app: Application) -> None:
    """The only canary pod is evicted: its weight goes, and comes back with the next pod."""
    await app.deploy(three_steps())
    await app.change(_slowly(V2))
    found = await app.waits(1, 3)
    (pod,) = await app.pods(V2)

    async with app.cluster.record("ingresses", app.namespace) as routes:
        await _kill(app, pod)
        await app.weighs(0)
        await app.weighs(20)
        again = await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)

    assert _weights(routes.objects) == [20, 0, 20]
    assert [each["status"]["canaryStatus"]["canaryRevision"] for each in (found, again)] == [
        found["status"]["canaryStatus"]["canaryRevision"]
    ] * 2


async def test_canary_that_loses_its_pods_at_a_waiting_step_says_why(app: Application) -> None:
    """Evicted, and none may be created: nothing is sent there, the reason is named, and it all comes back."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    (pod,) = await app.pods(V2)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}}
    await app.create({**quota, "spec": {"hard": {"pods": "5"}}})
    await app.wait("v1/resourcequotas", lambda found: "pods" in found["status"].get("used", {}), name="full")

    await _kill(app, pod)
    await app.weighs(0)
    named = await app.wait("rollouts", lambda found: "exceeded quota" in str(found["status"]["conditions"]))
    await app.cluster.delete("v1/resourcequotas", app.namespace, "full")
    await app.weighs(20)
    found = await app.wait(
        "rollouts", lambda found: "exceeded quota" not in str(found["status"]["conditions"])
    )

    assert {each["status"]["currentStepIndex"] for each in (named, found)} == {1}
    await app.approve()
    await app.waits(2, 3)


async def test_stable_pod_that_is_evicted_is_replaced_by_its_own_version(app: Application) -> None:
    """With the new template behind the gate, what goes comes back old: nothing is let out that way."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)

    async with counting(app) as readiness:
        for pod in (await app.pods(V1))[:2]:
            await _kill(app, pod)
        await app.wait_for_all("pods", lambda found: sum(map(is_ready, found)) == 6)

    assert sorted(map(image_of_pod, await app.pods())) == [V1] * 5 + [V2]
    assert readiness.most(V2) == 1
    assert await app.weight() == 20


async def test_canary_deployment_changed_by_hand_is_put_back(app: Application) -> None:
    """Scaled to nothing or deleted, it comes back as the step has it, and no other step is gone to."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)
    canary = (await app.canary())["metadata"]["name"]

    await app.kubectl("scale", f"deployment/{canary}", "--replicas=5")
    await app.canary_has(2)
    await app.kubectl("scale", f"deployment/{canary}", "--replicas=0")
    await app.canary_has(2)
    await app.waits(2, 3)
    await app.kubectl("delete", f"deployment/{canary}", "--wait=false")
    await app.wait_for_all("deployments", lambda found: any(_is_new(each, canary) for each in found))
    await app.waits(2, 3)
    await app.weighs(40)

    assert names(await app.cluster.list("deployments", app.namespace)) == {NAME, canary}
    assert sorted(map(image_of_pod, await app.pods())) == [V1] * 5 + [V2] * 2


def _is_new(deployment: JsonObject, canary: str) -> bool:
    metadata, status = deployment["metadata"], deployment["status"]
    whole = status.get("availableReplicas") == 2 and "deletionTimestamp" not in metadata
    return bool(metadata["name"] == canary and whole)
