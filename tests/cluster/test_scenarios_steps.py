"""Releases of several steps: what each brings, how long it waits, and how people move between them."""

import time

import pytest

from sandbox import manifests
from tests.cluster import inventory
from tests.cluster.application import (
    NAME,
    V2,
    Application,
    is_paused,
    message,
    says,
    shows,
    state,
)
from tests.cluster.evidence import watching
from tests.cluster.plans import plan, step, three_steps

PAUSED = "Rollout has been paused, you can resume it by kube-cli"


async def test_each_step_brings_its_pods_and_its_weight(app: Application) -> None:
    """Three steps, each approved: pods and weight are the step's, and the Deployment has no updated pod."""
    await app.deploy(three_steps())
    before = await inventory.take(app)
    seen = []

    async with watching(app) as evidence:
        await app.set_image(V2)
        for number in (1, 2, 3):
            await app.waits(number, 3)
            seen.append((await app.canary_pods(), await app.weight()))
            if number < 3:
                await app.approve()
    await app.approve()
    await app.completes(steps=3)

    assert seen == [(1, 20), (2, 40), (3, 60)]
    assert evidence.updated_pods() == []
    await app.serves(V2)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_share_of_pods_is_rounded_up(app: Application) -> None:
    """30 % of five pods are two."""
    await app.deploy(plan(step(20, "30%")))

    await app.set_image(V2)
    await app.waits(1, 1)

    assert await app.canary_pods() == 2


async def test_stable_service_is_held_to_the_stable_pods_during_a_release(app: Application) -> None:
    """While a release waits, the Service selects one revision; afterwards it selects as before."""
    await app.deploy()
    wide = (await app.get("services"))["spec"]["selector"]
    (stable,) = {pod["metadata"]["labels"]["pod-template-hash"] for pod in await app.pods()}

    await app.set_image(V2)
    await app.waits(1, 1)
    held = (await app.get("services"))["spec"]["selector"]
    await app.approve()
    await app.completes()

    assert held == {**wide, "pod-template-hash": stable}
    assert (await app.get("services"))["spec"]["selector"] == wide


async def test_pause_with_duration_ends_by_itself(app: Application) -> None:
    """A step with a duration says so, lasts that long, and is followed by the next without a person."""
    await app.deploy(plan(step(20, 1, pause=2), step(40, 2)))
    text = "Rollout is in step(1/2), and wait duration(2 seconds) to enter the next step"

    await app.set_image(V2)
    await app.wait("rollouts", shows("Progressing", 1, "StepPaused", text))
    begun = time.monotonic()
    await app.waits(2, 2)

    assert time.monotonic() - begun > 1.5


async def test_last_step_of_all_pods_needs_no_approval(app: Application) -> None:
    """A last step of 100 % of the pods goes on to completion when its traffic is set."""
    await app.deploy(plan(step(20, 1), step(100, "100%")))

    await app.set_image(V2)
    await app.waits(1, 2)
    await app.approve()
    await app.completes(steps=2)

    await app.serves(V2)


async def test_step_without_traffic_brings_pods_and_no_route(app: Application) -> None:
    """A step that names no traffic has canary pods and no canary Ingress."""
    await app.deploy(plan(step(None, 1), step(20, 1)))

    await app.set_image(V2)
    await app.waits(1, 2)
    first = (await app.canary_pods(), await app.weight())
    await app.approve()
    await app.waits(2, 2)

    assert first == (1, None)
    assert await app.weight() == 20


@pytest.mark.parametrize(("start", "target"), [(1, 3), (3, 1)], ids=["forward", "back"])
async def test_jump_goes_to_the_step_that_was_asked_for(app: Application, start: int, target: int) -> None:
    """`nextStepIndex` by /status moves a release forward or back: pods and weight become the step's."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    for number in range(1, start):
        await app.waits(number, 3)
        await app.approve()
    await app.waits(start, 3)

    await app.jump(target)
    await app.waits(target, 3)
    await app.canary_has(target)

    assert await app.weight() == 20 * target


async def test_paused_rollout_holds_and_resumes_where_it_was(app: Application) -> None:
    """`strategy.paused` stops a release with its own message; without it the step waits as before."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says(PAUSED))
    await app.approve()
    held = await app.wait("rollouts", lambda found: "sluice.dev/approve" in found["metadata"]["annotations"])
    await app.change_rollout({"spec": {"strategy": {"paused": None}}})
    await app.completes()

    assert message(held) == PAUSED


async def test_paused_rollout_still_rolls_back(app: Application) -> None:
    """A roll-back needs no resume: whoever goes back wants it now."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says(PAUSED))

    await app.set_image(manifests.STABLE_IMAGE)
    await app.rolled_back()

    assert await app.pods(V2) == []


async def test_plan_changed_during_a_release_moves_its_weight(app: Application) -> None:
    """A person who edits the step that waits gets the new weight; the release goes on from where it was."""
    await app.deploy(plan(step(20, 1), step(40, 2)))
    await app.set_image(V2)
    await app.waits(1, 2)
    release = await app.release()

    steps = plan(step(30, 1), step(40, 2))["spec"]["strategy"]["canary"]["steps"]
    await app.change_rollout({"spec": {"strategy": {"canary": {"steps": steps}}}})
    await app.wait(
        "ingresses",
        lambda found: found["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "30",
        name=f"{NAME}-canary",
    )
    await app.waits(1, 2)

    assert await app.release() == release


async def test_new_version_that_is_never_ready_says_which_pods_it_waits_for(app: Application) -> None:
    """A canary that cannot become available stays in StepUpgrade, says why, and gets no traffic."""
    await app.deploy()

    await app.set_image(f"{V2}-unpullable")
    stuck = await app.wait(
        "rollouts",
        lambda found: (
            state(found) == "StepUpgrade"
            and "ImagePullBackOff" in str(found["status"]["canaryStatus"].get("message"))
        ),
    )

    assert message(stuck) == "Rollout is in step(1/1), and upgrade workload to new version"
    assert await app.weight() in {None, 0}
    assert is_paused(await app.get("deployments"))


async def test_release_loses_no_request(app: Application) -> None:
    """With grace for the data plane and pods that drain, a release under load loses nothing up to its end."""
    data_plane = await app.cluster.data_plane()
    rollout = manifests.rollout(grace_period_seconds=2)
    await app.deploy(rollout, deployment=manifests.deployment(pre_stop_seconds=3))
    await app.serves_requests()

    async with data_plane.load(app.host, rate=50) as account:
        await app.set_image(V2)
        await app.waits(1, 1)
        await data_plane.wait_for(app.host, V2)
        await app.approve()
        await app.completes()
        await app.serves(V2)

    assert account.answered[V2] > 0
    assert account.lost == 0


async def test_stable_ingress_edited_during_a_release_is_followed(app: Application) -> None:
    """What a user changes on the stable Ingress mid-release reaches the canary's; the weight stays."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)

    rules = manifests.ingress(host=f"other.{app.host}")["spec"]["rules"]
    patch = {"metadata": {"annotations": {"example.com/team": "blue"}}, "spec": {"rules": rules}}
    await app.cluster.patch("ingresses", app.namespace, NAME, patch)
    found = await app.wait(
        "ingresses",
        lambda found: found["spec"]["rules"][0]["host"] == rules[0]["host"],
        name=f"{NAME}-canary",
    )

    assert found["metadata"]["annotations"]["example.com/team"] == "blue"
    assert await app.weight() == 20
