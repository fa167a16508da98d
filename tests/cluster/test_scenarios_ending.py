"""Releases that end because something was taken away: the Rollout, its right to act, or the workload."""

import asyncio

from sandbox import manifests
from sandbox.resources import path
from tests.cluster import inventory
from tests.cluster.application import (
    NAME,
    V2,
    V3,
    Application,
    image_of,
    is_labelled,
    message,
    phase,
)

_OURS = ("rollouts.kruise.io/", "sluice.dev/")


def _is_ours(key: str) -> bool:
    return key.startswith(_OURS)


async def _releasing(app: Application) -> inventory.Inventory:
    """Have a release wait; return what there was before it."""
    await app.deploy()
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 1)
    return before


async def test_deleted_rollout_lets_the_new_version_out_and_leaves_nothing(app: Application) -> None:
    """Deleting the Rollout mid-release lets the new version finish natively; no name of ours stays."""
    before = await _releasing(app)

    await app.kubectl("delete", "rollout", NAME, "--timeout=30s")
    deployment = await app.wait("deployments", manifests.available(5))
    after = await inventory.settled(app)

    differences = inventory.leftovers(before, after)
    metadata = deployment["metadata"]
    assert image_of(deployment) == V2
    assert [key for key in (*metadata["labels"], *metadata["annotations"]) if _is_ours(key)] == []
    assert [each for each in differences if not _is_expected_of_deletion(each)] == []


def _is_expected_of_deletion(difference: str) -> bool:
    """Allow what the Rollout brought and took along: itself, and its label on the Deployment."""
    return "/rollouts/" in difference or "rollouts.kruise.io/workload-type was" in difference


async def test_deployment_is_its_own_again_after_the_rollout_is_deleted(app: Application) -> None:
    """After the Rollout is gone, an update is native at once."""
    await app.deploy()
    await app.kubectl("delete", "rollout", NAME, "--timeout=30s")
    await app.wait("deployments", lambda found: not is_labelled(found))

    said = await app.kubectl("set", "image", f"deployment/{NAME}", f"{NAME}={V2}")
    await app.wait("deployments", manifests.available(5))

    assert "held by" not in said
    await app.serves(V2)


async def test_deleted_with_foreground_propagation_ends_as_clean(app: Application) -> None:
    """Argo CD deletes in the foreground, which takes owned objects first; the result is the same."""
    before = await _releasing(app)

    await app.kubectl("delete", "rollout", NAME, "--cascade=foreground", "--timeout=30s")
    await app.wait("deployments", manifests.available(5))

    differences = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in differences if not _is_expected_of_deletion(each)] == []
    await app.serves(V2)


async def test_disabled_rollout_lets_the_new_version_out(app: Application) -> None:
    """Disabling mid-release finishes natively; phase and message say that the Rollout is disabled."""
    before = await _releasing(app)

    await app.change_rollout({"spec": {"disabled": True}})
    disabled = await app.wait("rollouts", lambda found: phase(found) == "Disabled")
    await app.wait("deployments", manifests.available(5))

    differences = inventory.leftovers(before, await inventory.settled(app))
    assert message(disabled) == "Rollout is disabled"
    await app.serves(V2)
    assert [each for each in differences if "spec.disabled" not in each] == []


async def test_update_under_a_disabled_rollout_is_native_and_says_so(app: Application) -> None:
    """A disabled Rollout holds nothing, and whoever updates is told."""
    await app.deploy()
    await app.change_rollout({"spec": {"disabled": True}})
    await app.wait("rollouts", lambda found: phase(found) == "Disabled")

    said = await app.kubectl("set", "image", f"deployment/{NAME}", f"{NAME}={V2}")
    await app.wait("deployments", manifests.available(5))

    assert f"Warning: not gated by Rollout {NAME}" in said
    await app.serves(V2)


async def test_enabled_again_the_rollout_holds_again(app: Application) -> None:
    """From Disabled back to Healthy, and the next update waits."""
    await app.deploy()
    await app.change_rollout({"spec": {"disabled": True}})
    await app.wait("rollouts", lambda found: phase(found) == "Disabled")
    await app.change_rollout({"spec": {"disabled": False}})
    healthy = await app.wait("rollouts", lambda found: phase(found) == "Healthy")
    await app.wait("deployments", is_labelled)

    await app.set_image(V2)
    await app.waits(1, 1)

    assert message(healthy) == "rollout is healthy"


async def test_deleted_workload_takes_the_release_along(app: Application) -> None:
    """Without a workload nothing of ours stays, the Service selects as before, and the status says why."""
    await app.deploy()
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.kubectl("delete", "deployment", NAME)
    found = await app.wait("rollouts", lambda found: message(found) == "Workload Not Found")
    await app.wait_for_all("pods", lambda pods: not pods)

    differences = inventory.leftovers(before, await inventory.settled(app))
    assert phase(found) == "Initial"
    assert differences == [f"apps/v1/deployments/{NAME} is gone"]


async def test_workload_that_comes_back_is_released_like_any_other(app: Application) -> None:
    """After the workload was deleted mid-release and deployed again, the next update waits at step 1."""
    await _releasing(app)
    await app.kubectl("delete", "deployment", NAME)
    await app.wait("rollouts", lambda found: message(found) == "Workload Not Found")

    await app.create(manifests.deployment(image=V2))
    await app.wait("deployments", manifests.available(5))
    await app.governed()
    await app.set_image(V3)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()

    await app.serves(V3)


async def test_all_objects_deleted_at_once_leave_nothing(app: Application) -> None:
    """`vela delete` deletes Deployment, Service, Ingress and Rollout at the same moment, mid-release."""
    empty = await inventory.take(app)
    await _releasing(app)

    resources = ("deployments", "services", "ingresses", "rollouts")
    places = [path(resource, app.namespace, NAME) for resource in resources]
    await asyncio.gather(*(app.cluster.api.delete(place) for place in places))
    for resource in resources:
        await app.cluster.wait_gone(resource, app.namespace, NAME)
    await app.wait_for_all("deployments", lambda found: not found)

    assert inventory.leftovers(empty, await inventory.settled(app)) == []
