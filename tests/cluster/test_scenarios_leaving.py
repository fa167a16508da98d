"""Releases that somebody takes away at awkward moments: every object is listed before and after."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sandbox import manifests
from sandbox.names import READY_AFTER, JsonObject
from sandbox.resources import path
from tests.cluster import inventory
from tests.cluster.application import (
    NAME,
    V1,
    V2,
    V3,
    Application,
    image_of,
    is_labelled,
    is_paused,
    message,
    phase,
    says,
    state,
)
from tests.cluster.plans import three_steps

_OTHER = "other"


async def _coming_up(app: Application) -> None:
    """Have pods that never become ready."""
    await app.set_image(f"{V2}-unready")
    await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")
    await app.wait_for_all("pods", lambda found: len(found) == 6)


async def _at_the_second_step(app: Application) -> None:
    """Have pods and weight."""
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)


async def _paused(app: Application) -> None:
    """Have a release that a person holds."""
    await _at_the_second_step(app)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says("Rollout has been paused, you can resume it by kube-cli"))


async def _promoting(app: Application) -> None:
    """Have a final roll under way."""
    slow = {"metadata": {"annotations": {READY_AFTER: "0.8"}}}
    container = {"spec": {"containers": [{"name": NAME, "image": V2}]}}
    await app.change({"spec": {"template": {**slow, **container}}})
    await app.waits(1, 3)
    for number in (1, 2, 3):
        await app.waits(number, 3)
        await app.approve()
    await app.wait("deployments", lambda found: not is_paused(found))


async def _third_version(app: Application) -> None:
    """Have a second version's canary up and a third version just applied."""
    await _at_the_second_step(app)
    await app.set_image(V3)


async def _going_back(app: Application) -> None:
    """Have a roll-back begun."""
    await _at_the_second_step(app)
    await app.set_image(V1)


Situation = Callable[[Application], Awaitable[None]]
_SITUATIONS: dict[str, tuple[Situation, str]] = {
    "coming-up": (_coming_up, f"{V2}-unready"),
    "paused": (_paused, V2),
    "promoting": (_promoting, V2),
    "third-version": (_third_version, V3),
    "going-back": (_going_back, V1),
}
"""How a release is when it is taken away, and what serves in the end."""


def _is_of_the_rollout(difference: str) -> bool:
    """Allow what the test itself changed: the Rollout, and with it its label on the Deployment."""
    return "/rollouts/" in difference or "rollouts.kruise.io/workload-type was" in difference


async def _let_out(app: Application, image: str) -> None:
    """Wait until the Deployment is its own again, with the new version or on its way to it."""
    deployment = await app.wait(
        "deployments", lambda found: not is_paused(found) and image_of(found) == image
    )
    annotations = deployment["metadata"].get("annotations", {})
    assert not any(key.startswith(("rollouts.kruise.io/", "sluice.dev/")) for key in annotations)
    if not image.endswith("-unready"):
        await app.serves(image)


@pytest.mark.parametrize("name", _SITUATIONS)
async def test_rollout_deleted_in_any_situation_leaves_nothing(app: Application, name: str) -> None:
    """The version that is wanted now is let out natively; not one object, label or selector stays."""
    situation, image = _SITUATIONS[name]
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await situation(app)

    await app.cluster.delete("rollouts", app.namespace, NAME)
    await app.cluster.wait_gone("rollouts", app.namespace, NAME)
    await _let_out(app, image)

    differences = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in differences if not _is_of_the_rollout(each)] == []


@pytest.mark.parametrize("name", _SITUATIONS)
async def test_rollout_disabled_in_any_situation_leaves_nothing_and_can_be_enabled(
    app: Application, name: str
) -> None:
    """Disabled it lets go of everything; enabled again it holds the next change, and that one is released."""
    situation, image = _SITUATIONS[name]
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await situation(app)

    await app.change_rollout({"spec": {"disabled": True, "strategy": {"paused": None}}})
    await app.wait("rollouts", lambda found: phase(found) == "Disabled")
    await _let_out(app, image)
    differences = inventory.leftovers(before, await inventory.settled(app))
    await app.change_rollout({"spec": {"disabled": False}})
    await app.governed()
    await app.set_image("cilium/echoserver:1.10.9")
    found = await app.wait("rollouts", lambda found: phase(found) == "Progressing")

    assert [each for each in differences if not _is_of_the_rollout(each)] == []
    assert is_paused(await app.get("deployments"))
    assert found["status"]["currentStepIndex"] == 1


async def test_disabled_and_enabled_at_once_ends_held_or_let_out_but_whole(app: Application) -> None:
    """A switch that is flipped within a second: the release goes on or is out, and nothing is half done."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await _at_the_second_step(app)

    for disabled in (True, False, True, False):
        await app.change_rollout({"spec": {"disabled": disabled}})
    await app.wait(
        "rollouts",
        lambda found: (
            phase(found) == "Healthy" or (phase(found) == "Progressing" and state(found) == "StepPaused")
        ),
    )
    if is_paused(await app.get("deployments")):
        await app.set_image(V1)
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")
    await app.wait("deployments", manifests.available(5))

    differences = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in differences if not _is_of_the_rollout(each)] == []


async def test_workload_replaced_mid_release_is_governed_anew(app: Application) -> None:
    """`kubectl replace --force` deletes and creates: a first deploy, and nothing of the old release."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await _at_the_second_step(app)

    await app.cluster.api.delete(
        path("deployments", app.namespace, NAME), {"propagationPolicy": "Background"}
    )
    await app.create(manifests.deployment(image=V3))
    await app.serves(V3)
    await app.wait("rollouts", lambda found: phase(found) == "Healthy")
    await app.governed()

    assert inventory.leftovers(before, await inventory.settled(app)) == []
    await app.set_image(V2)
    await app.waits(1, 3)


async def test_workload_deleted_before_its_canary_is_ready_leaves_nothing(app: Application) -> None:
    """Deleted while pods come up: canary, pin and gate go with it; the Rollout waits for a workload."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await _coming_up(app)

    await app.cluster.delete("deployments", app.namespace, NAME)
    await app.wait("rollouts", says("Workload Not Found"))
    await app.wait_for_all("pods", lambda found: not found)

    assert inventory.leftovers(before, await inventory.settled(app)) == [
        f"apps/v1/deployments/{NAME} is gone"
    ]


async def test_rollout_replaced_mid_release_holds_what_comes_next(app: Application) -> None:
    """`kubectl replace --force` deletes and creates: this version is let out, the next one is held."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await _at_the_second_step(app)

    await app.kubectl("replace", "--force", "-f", "-", "--timeout=30s", stdin=three_steps())
    await app.serves(V2)
    await app.governed()
    differences = inventory.leftovers(before, await inventory.settled(app))
    await app.set_image(V3)
    await app.waits(1, 3)

    assert differences == []
    assert await app.canary_pods() == 1


def _points_to(name: str) -> JsonObject:
    return {"spec": {"workloadRef": {"name": name}}}


async def test_rollout_is_pointed_to_another_deployment(app: Application) -> None:
    """Between releases a Rollout may change its workload: the first is its own again, the second is held."""
    await app.deploy()
    other = manifests.deployment(replicas=2)
    other["metadata"]["name"] = _OTHER
    other["spec"]["selector"]["matchLabels"] = other["spec"]["template"]["metadata"]["labels"] = {
        "app": NAME,
        "who": _OTHER,
    }
    await app.create(other)
    await app.wait("deployments", manifests.available(2), name=_OTHER)

    await app.change_rollout(_points_to(_OTHER))
    await app.wait("deployments", is_labelled, name=_OTHER)
    await app.wait("deployments", lambda found: not is_labelled(found))
    await app.set_image(V2)
    await app.wait("deployments", manifests.available(5))
    await app.kubectl("set", "image", f"deployment/{_OTHER}", f"{NAME}={V2}")

    held = await app.wait("rollouts", lambda found: phase(found) == "Progressing")
    assert is_paused(await app.get("deployments", _OTHER))
    assert not is_paused(await app.get("deployments"))
    assert held["status"]["currentStepIndex"] == 1


async def test_rollout_pointed_to_nothing_and_back(app: Application) -> None:
    """Without its workload it says so and holds nothing; pointed back, it governs as before."""
    await app.deploy()

    await app.change_rollout(_points_to("nobody"))
    lost = await app.wait("rollouts", says("Workload Not Found"))
    await app.wait("deployments", lambda found: not is_labelled(found))
    await app.change_rollout(_points_to(NAME))
    await app.governed()
    await app.set_image(V2)
    await app.waits(1, 1)

    assert (phase(lost), message(lost)) == ("Initial", "Workload Not Found")


@pytest.mark.parametrize("name", ["coming-up", "paused"])
async def test_namespace_deleted_mid_release_is_gone(app: Application, name: str) -> None:
    """Nothing of ours holds a namespace back: every finalizer comes off though nothing can be created."""
    situation, _ = _SITUATIONS[name]
    await app.deploy(three_steps())
    await situation(app)

    await app.cluster.delete("namespaces", None, app.namespace)

    await app.cluster.wait_gone("namespaces", None, app.namespace)


async def test_everything_at_once_ends_clean(app: Application) -> None:
    """Third version, jump, scaling, plan edit and deletion in one moment leave a Deployment that is whole."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    await _at_the_second_step(app)

    await asyncio.gather(app.set_image(V3), app.jump(1), app.scale(4), app.approve())
    await app.cluster.delete("rollouts", app.namespace, NAME)
    await app.cluster.wait_gone("rollouts", app.namespace, NAME)
    await app.serves(V3, 4)

    differences = inventory.leftovers(before, await inventory.settled(app))
    expected = ("/rollouts/", "rollouts.kruise.io/workload-type was", "spec.replicas was 5 and is 4")
    assert [each for each in differences if not any(part in each for part in expected)] == []
