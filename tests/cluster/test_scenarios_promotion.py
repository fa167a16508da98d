"""Promotion: the approved pods stay, and the Deployment never has fewer than its own limits allow."""

from collections.abc import Iterable
from typing import Any

import pytest

from sandbox import manifests
from sandbox.api import Event
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, Application, present
from tests.cluster.plans import plan, step

pytestmark = pytest.mark.minors


def identities(pods: Iterable[JsonObject]) -> dict[str, tuple[str, str]]:
    """Return uid and start of each pod by its name."""
    return {pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["status"]["startTime"]) for pod in pods}


def fewest_ready(events: list[Event]) -> int:
    """Return the smallest number of ready pods, on their way out or not, after any event."""
    counts = [sum(map(_serves, present(events[: number + 1]))) for number in range(len(events))]
    return min(counts[_first_full(counts) :])


def _first_full(counts: list[int]) -> int:
    """Skip the listing with which a record begins: it brings the pods one by one."""
    return counts.index(max(counts[:60]))


def _serves(pod: JsonObject) -> bool:
    conditions = pod["status"].get("conditions", ())
    ready = any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def deployment(replicas: int, **limits: int | str) -> dict[str, Any]:
    """Return the walkthrough's Deployment of another size, with limits of its own."""
    manifest = manifests.deployment(replicas=replicas)
    return {**manifest, "spec": {**manifest["spec"], "strategy": {"rollingUpdate": limits}}}


@pytest.mark.parametrize(
    ("replicas", "canaries", "limits", "least"),
    [
        (5, 1, {"maxSurge": "25%", "maxUnavailable": "25%"}, 4),
        (5, 5, {"maxSurge": "25%", "maxUnavailable": "25%"}, 5),
        (4, 3, {"maxSurge": 0, "maxUnavailable": 1}, 3),
        (20, 6, {"maxSurge": "25%", "maxUnavailable": "25%"}, 15),
        (3, 2, {"maxSurge": 1, "maxUnavailable": 0}, 3),
    ],
    ids=["one of five", "all of five", "no surge", "six of twenty", "none unavailable"],
)
async def test_approved_pods_survive_promotion(
    app: Application, replicas: int, canaries: int, limits: dict[str, Any], least: int
) -> None:
    """Uids and starts are unchanged afterwards; at every event enough pods are ready."""
    await app.deploy(plan(step(20, canaries)), replicas=replicas, deployment=deployment(replicas, **limits))
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 1)
    approved = identities(await app.pods(V2))

    async with app.cluster.record("pods", app.namespace) as pods:
        await app.approve()
        await app.completes()
        await app.serves(V2, replicas)

    after = identities(await app.pods(V2))
    assert len(approved) == canaries
    assert approved.items() <= after.items()
    assert fewest_ready(pods.events) >= least
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_step_of_all_pods_starts_no_pod_at_promotion(app: Application) -> None:
    """With a step of 100 % the Deployment takes over what is there: not one pod more is started."""
    await app.deploy(plan(step(20, 1), step(100, "100%")))
    await app.set_image(V2)
    await app.waits(1, 2)

    async with app.cluster.record("pods", app.namespace) as pods:
        await app.approve()
        await app.completes(steps=2)
        await app.serves(V2)

    started = {each["metadata"]["uid"] for each in pods.objects if _image(each) == V2}
    assert len(started) == 5


async def test_version_that_was_released_before_is_handed_over_too(app: Application) -> None:
    """v2, v1 and v2 again: an empty ReplicaSet of v2 does not stand in for the approved one."""
    await app.deploy(plan(step(20, 2)))
    for image in (V2, V1):
        await app.set_image(image)
        await app.waits(1, 1)
        await app.approve()
        await app.completes()
    await app.set_image(V2)
    await app.waits(1, 1)
    approved = identities(await app.pods(V2))

    await app.approve()
    await app.completes()
    await app.serves(V2)

    assert approved.items() <= identities(await app.pods(V2)).items()
    revisions = [line.split()[0] for line in (await _history(app)).splitlines() if line[:1].isdigit()]
    assert revisions == sorted(revisions, key=int)
    assert len(revisions) == 2


async def test_pods_with_metadata_of_their_own_are_started_anew(app: Application) -> None:
    """With patchPodTemplateMetadata the templates differ: the native rolling update brings the plain pods."""
    rollout = plan(step(20, 1))
    canary = rollout["spec"]["strategy"]["canary"]
    canary["patchPodTemplateMetadata"] = {"labels": {"track": "canary"}}
    await app.deploy(rollout)
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.approve()
    await app.completes()
    await app.serves(V2)

    assert not any("track" in pod["metadata"]["labels"] for pod in await app.pods())
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_roll_back_after_a_hand_over_is_a_release_of_its_own(app: Application) -> None:
    """Once v2 serves alone, v1 again is gated and stepped like any other change."""
    await app.deploy(plan(step(20, 5)))
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()

    await app.set_image(V1)
    await app.waits(1, 1)

    assert len(await app.pods(V2)) == 5


def _image(pod: JsonObject) -> str:
    return str(pod["spec"]["containers"][0]["image"])


async def _history(app: Application) -> str:
    return await app.kubectl("rollout", "history", f"deployment/{NAME}")
