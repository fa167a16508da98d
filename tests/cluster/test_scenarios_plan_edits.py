"""A plan that is edited while it is carried out: the release goes on from where it is, never anew."""

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import ALPHA, COMPLETED, V1, V2, WEIGHT, Application, shows
from tests.cluster.evidence import watching
from tests.cluster.plans import plan, step, three_steps


def _alpha(*weights: int) -> list[JsonObject]:
    """Return v1alpha1 steps, each waiting for a person."""
    return [{"weight": weight, "pause": {}} for weight in weights]


def _alpha_plan(*weights: int) -> JsonObject:
    rollout = manifests.rollout_v1alpha1(grace_period_seconds=0)
    rollout["spec"]["strategy"]["canary"]["steps"] = _alpha(*weights)
    return rollout


async def test_single_step_is_rewritten_to_the_end_under_one_release(app: Application) -> None:
    """KubeVela's canary-deploy writes 20, 50, 100 into the one step: each is reached, none begins anew."""
    await app.deploy(_alpha_plan(20))
    before = await inventory.take(app)
    seen = []

    async with watching(app) as evidence:
        await app.set_image(V2)
        await app.waits(1, 1)
        seen.append((await app.release(), await app.weight(), await app.canary_pods()))
        await app.rewrite(*_alpha(50), resource=ALPHA)
        await app.weighs(50)
        await app.waits(1, 1)
        seen.append((await app.release(), await app.weight(), await app.canary_pods()))
    await app.rewrite(*_alpha(100), resource=ALPHA)
    await app.completes()

    (release, *_), *_ = seen
    assert seen == [(release, 20, 1), (release, 50, 3)]
    assert evidence.updated_pods() == []
    await app.serves(V2)
    differences = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in differences if "/rollouts/" not in each] == []


async def test_weight_and_pods_of_the_present_step_follow_the_plan(app: Application) -> None:
    """More pods and more traffic for the step that waits: brought, and waited for again at the same step."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    release = await app.release()

    await app.rewrite(step(30, 2), step(40, "40%"), step(60, 3))
    await app.canary_has(2)
    await app.weighs(30)
    await app.waits(1, 3)
    await app.rewrite(step(10, 2), step(40, "40%"), step(60, 3))
    await app.weighs(10)
    await app.waits(1, 3)

    assert await app.release() == release
    await app.write_status({"currentStepState": "StepReady"})
    await app.waits(2, 3)
    assert (await app.weight(), await app.canary_pods()) == (40, 2)


async def test_steps_that_come_later_or_have_passed_are_edited_without_effect_now(app: Application) -> None:
    """Only what is to come changes; the step that waits goes on waiting, its approval counts on."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)

    async with app.cluster.record("rollouts", app.namespace) as record:
        await app.rewrite(step(10, 1), step(40, "40%"), step(80, 4))
        await app.wait("rollouts", lambda found: found["status"]["observedGeneration"] == 2)
        await app.waits(2, 3)
        weight = await app.weight()
        await app.approve()
        await app.waits(3, 3)

    assert weight == 40
    assert {each["status"]["currentStepIndex"] for each in record.objects} == {2, 3}
    assert (await app.weight(), await app.canary_pods()) == (80, 4)


@pytest.mark.parametrize(
    ("weights", "position"),
    [
        pytest.param((20, 40, 60, 80), 2, id="added-after"),
        pytest.param((10, 20, 40, 60), 3, id="added-before"),
        pytest.param((40, 60), 1, id="removed-before"),
        pytest.param((20, 40), 2, id="removed-after"),
    ],
)
async def test_steps_are_added_and_removed_around_the_one_that_waits(
    app: Application, weights: tuple[int, ...], position: int
) -> None:
    """Through v1alpha1 the number of steps may change: the release is found again where it stands."""
    await app.deploy(_alpha_plan(20, 40, 60))
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)
    release = await app.release()

    async with app.cluster.record("ingresses", app.namespace) as record:
        await app.rewrite(*_alpha(*weights), resource=ALPHA)
        await app.waits(position, len(weights))

    routed = {each["metadata"]["annotations"].get(WEIGHT) for each in record.objects}
    assert (await app.release(), await app.weight(), await app.canary_pods()) == (release, 40, 2)
    assert routed <= {None, "40"}


async def test_plan_that_is_cut_short_ends_at_its_last_step(app: Application) -> None:
    """With the step that waits taken away and none so large left, the release waits at the last one."""
    await app.deploy(_alpha_plan(20, 40, 60))
    await app.set_image(V2)
    for number in (1, 2):
        await app.waits(number, 3)
        await app.approve()
    await app.waits(3, 3)

    await app.rewrite(*_alpha(20), resource=ALPHA)
    await app.waits(1, 1)
    await app.weighs(20)
    await app.canary_has(1)
    await app.write_status({"currentStepState": "StepReady"})
    await app.completes()

    await app.serves(V2)


async def test_plan_edited_while_pods_come_up_and_while_paused(app: Application) -> None:
    """An edit in StepUpgrade counts for the pods waited for; one while paused counts when resumed."""
    await app.deploy(three_steps())
    await app.set_image(f"{V2}-unready")
    await app.wait("rollouts", lambda found: found["status"]["currentStepState"] == "StepUpgrade")

    await app.rewrite(step(20, 3), step(40, 3), step(60, 4))
    name = (await app.canary())["metadata"]["name"]
    await app.wait("deployments", lambda found: found["spec"]["replicas"] == 3, name=name)
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.rewrite(step(25, 4), step(40, 4), step(60, 4))
    await app.change_rollout({"spec": {"strategy": {"paused": None}}})
    await app.weighs(25)
    await app.waits(1, 3)

    assert await app.canary_pods() == 4


async def test_last_step_made_whole_needs_no_approval_any_more(app: Application) -> None:
    """Rewritten to 100 % while it waits, the last step goes on to promotion; the edit is the approval."""
    await app.deploy(plan(step(20, 1), step(90, "90%")))
    await app.set_image(V2)
    await app.waits(1, 2)
    await app.approve()
    await app.waits(2, 2)

    await app.rewrite(step(20, 1), step(100, "100%"))
    await app.wait("rollouts", shows("Healthy", 2, "Completed", COMPLETED))

    await app.serves(V2)


@pytest.mark.parametrize("replicas", [5, "90%"], ids=str)
async def test_last_step_of_all_pods_by_other_words_needs_approval(
    app: Application, replicas: int | str
) -> None:
    """Only `100%` says that all is meant; a number that equals it, or a share rounded to it, waits."""
    await app.deploy(plan(step(20, 1), step(100, replicas)))
    await app.set_image(V2)
    await app.waits(1, 2)
    await app.approve()
    await app.waits(2, 2)

    assert (await app.weight(), await app.canary_pods()) == (100, 5)
    await app.set_image(V1)
    await app.rolled_back(step=2)


async def test_step_without_traffic_after_one_with_traffic_sends_none(app: Application) -> None:
    """The route goes before the step's pods come, no request reaches them, and the next step routes again."""
    data_plane = await app.cluster.data_plane()
    await app.deploy(plan(step(20, 1), step(None, 3), step(40, 3)))
    await app.set_image(V2)
    await app.waits(1, 3)
    await data_plane.wait_for(app.host, V2)

    await app.approve()
    await app.waits(2, 3)
    without = (await app.weight(), await app.canary_pods())
    service = (await app.get("services"))["spec"]["selector"]
    await app.answers_only(V1)
    traffic = await data_plane.send(app.host, 100)
    await app.approve()
    await app.waits(3, 3)

    assert without[0] in {None, 0}
    assert without[1] == 3
    assert "pod-template-hash" in service
    assert (set(traffic.by_image), traffic.lost) == ({V1}, 0)
    assert await app.weight() == 40
