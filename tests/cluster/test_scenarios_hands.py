"""Hands on what is the release's own: its objects edited, orphaned, or taken by the garbage collector."""

import pytest

from sandbox.names import JsonObject
from sandbox.resources import path
from tests.cluster import inventory
from tests.cluster.application import NAME, V2, V3, Application, image_of, is_paused
from tests.cluster.plans import three_steps


def _is_of_the_rollout(difference: str) -> bool:
    """Allow what the test itself changed: the Rollout, and with it its label on the Deployment."""
    return "/rollouts/" in difference or "rollouts.kruise.io/workload-type was" in difference


@pytest.mark.parametrize("propagation", ["Orphan", "Foreground"])
async def test_rollout_deleted_with_any_propagation_leaves_nothing(
    app: Application, propagation: str
) -> None:
    """`--cascade=orphan` strips our objects of their owner, foreground deletes them first: nothing stays."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 3)

    options = {"propagationPolicy": propagation}
    await app.cluster.api.delete(path("rollouts", app.namespace, NAME), options)
    await app.cluster.wait_gone("rollouts", app.namespace, NAME)
    await app.wait("deployments", lambda found: not is_paused(found))
    await app.serves(V2)

    differences = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in differences if not _is_of_the_rollout(each)] == []


async def test_canary_edited_by_hand_is_made_anew(app: Application) -> None:
    """`kubectl set image` on the canary: that version is never served, and the approved one returns."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    canary = await app.canary()
    before = canary["metadata"]

    await app.kubectl("set", "image", f"deployment/{before['name']}", f"{NAME}={V3}")
    found = await app.wait(
        "deployments",
        lambda each: each["metadata"]["uid"] != before["uid"] and each["status"].get("availableReplicas"),
        before["name"],
    )
    await app.wait("ingresses", _sends_a_fifth, f"{NAME}-canary")

    assert image_of(found) == V2
    assert await app.pods(V3) == []


def _sends_a_fifth(ingress: JsonObject) -> bool:
    return bool(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "20")
