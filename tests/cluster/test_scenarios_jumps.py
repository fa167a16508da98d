"""Moving a release by `nextStepIndex`: from every state, to every step, and what is not a step."""

import time
from http import HTTPStatus

import pytest

from sandbox.api import ApiError
from sandbox.names import JsonObject
from sandbox.observation import Predicate
from tests.cluster.application import (
    V1,
    V2,
    WEIGHT,
    Application,
    is_paused,
    message,
    says,
    state,
)
from tests.cluster.approvals import by_plugin
from tests.cluster.plans import plan, step, three_steps

_PAUSED = "Rollout has been paused, you can resume it by kube-cli"
_HOUR = 3600
_PAUSE = 4


def _is_at(number: int, step_state: str) -> Predicate:
    return lambda found: (found["status"].get("currentStepIndex"), state(found)) == (number, step_state)


def _wants(replicas: int) -> Predicate:
    return lambda found: bool(found["spec"]["replicas"] == replicas)


def _next(rollout: JsonObject) -> int:
    return int(rollout["status"]["canaryStatus"]["nextStepIndex"])


async def test_jump_onto_the_same_step_runs_it_again_and_no_further(app: Application) -> None:
    """Asked for the step it is at, a release goes through it once more and waits there, as it did before."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)

    async with app.cluster.record("rollouts", app.namespace) as record:
        await app.jump(2)
        await app.wait("rollouts", lambda found: _next(found) == 3)
        await app.waits(2, 3)

    assert {each["status"]["currentStepIndex"] for each in record.objects} == {2}
    assert (await app.weight(), await app.canary_pods()) == (40, 2)


async def test_step_gone_back_to_is_approved_anew_by_the_plugin(app: Application) -> None:
    """`kubectl sluice approve` moves a release on also where the same approval stands, and counts no more."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    await by_plugin(app)
    await app.waits(2, 3)
    await app.jump(1)
    await app.waits(1, 3)

    await by_plugin(app)

    await app.waits(2, 3)


async def test_jump_while_pods_come_up_moves_the_pods_and_no_traffic(app: Application) -> None:
    """With pods that never become ready, a jump changes how many are asked for, up and down."""
    await app.deploy(three_steps())
    wanted = []

    await app.set_image(f"{V2}-unready")
    await app.wait("rollouts", _is_at(1, "StepUpgrade"))
    for number in (3, 1, 3):
        await app.jump(number)
        await app.wait("rollouts", _is_at(number, "StepUpgrade"))
        name = (await app.canary())["metadata"]["name"]
        await app.wait("deployments", _wants(number), name=name)
        wanted.append(await app.weight())
    await app.set_image(V1)
    await app.rolled_back(step=3, state="StepUpgrade")

    assert set(wanted) <= {None, 0}
    await app.serves(V1)


async def test_jump_while_traffic_is_being_routed(app: Application) -> None:
    """During the grace period after a weight was set, a jump goes at once to where it points."""
    rollout = three_steps()
    rollout["spec"]["strategy"]["canary"]["trafficRoutings"][0]["gracePeriodSeconds"] = 2
    await app.deploy(rollout)

    await app.set_image(V2)
    await app.wait("rollouts", _is_at(1, "StepTrafficRouting"))
    await app.jump(3)
    await app.waits(3, 3)
    weight = await app.weight()
    await app.jump(2)
    await app.wait("rollouts", lambda found: found["status"]["currentStepIndex"] == 2)
    await app.jump(1)
    await app.waits(1, 3)
    await app.canary_has(1)

    assert (weight, await app.weight()) == (60, 20)


async def test_jump_during_a_timed_pause(app: Application) -> None:
    """A long pause is left by a jump forward, and by one backward; the steps between are not gone through."""
    await app.deploy(plan(step(20, 1, pause=_HOUR), step(40, 2), step(60, 3, pause=_HOUR)))
    await app.set_image(V2)
    weights = []

    await app.wait("rollouts", _is_at(1, "StepPaused"))
    for number in (3, 1):
        await app.jump(number)
        await app.wait("rollouts", _is_at(number, "StepPaused"))
        weights.append(await app.weight())

    assert weights == [60, 20]


async def test_jump_onto_a_timed_pause_begins_it_anew(app: Application) -> None:
    """Asked for its own step a second before the end of its pause, a release waits the whole time again."""
    await app.deploy(plan(step(20, 1, pause=_PAUSE), step(40, 2)))
    await app.set_image(V2)
    await app.wait("rollouts", _is_at(1, "StepPaused"))

    begun = time.monotonic()
    await app.passes(seconds=_PAUSE - 1)
    await app.jump(1)
    await app.waits(2, 2)

    assert time.monotonic() - begun > 2 * _PAUSE - 2.5


async def test_jump_while_paused_is_not_lost(app: Application) -> None:
    """While `strategy.paused` holds a release, a jump is kept; resumed, it stands at the step asked for."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says(_PAUSED))

    async with app.cluster.record("rollouts", app.namespace) as record:
        await app.jump(3)
        await app.change_rollout({"spec": {"strategy": {"paused": None}}})
        await app.waits(3, 3)

    assert {each["status"]["currentStepIndex"] for each in record.objects} == {1, 3}
    assert (await app.weight(), await app.canary_pods()) == (60, 3)


async def test_jump_to_the_last_step_of_all_pods_promotes(app: Application) -> None:
    """A last step of 100 % needs no approval, so asking for it asks for completion."""
    await app.deploy(plan(step(20, 1), step(40, 2), step(100, "100%")))
    await app.set_image(V2)
    await app.waits(1, 3)

    await app.jump(3)
    await app.completes(steps=3)

    await app.serves(V2)


@pytest.mark.parametrize("number", [4, -2, 0])
async def test_step_that_does_not_exist_moves_nothing(app: Application, number: int) -> None:
    """No such step: refused with the reason, or taken as nothing at all; the release waits where it was."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)

    try:
        await app.jump(number)
    except ApiError as error:
        assert error.status in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.FORBIDDEN}  # noqa: PT017
        assert "NextStepIndex: Invalid value" in error.message  # noqa: PT017
    await app.approve()
    await app.waits(2, 3)

    assert is_paused(await app.get("deployments"))


async def test_step_asked_for_outside_a_release_is_forgotten(app: Application) -> None:
    """A number written while nothing is released moves nothing, then or later."""
    await app.deploy(three_steps())

    await app.jump(2)
    await app.set_image(V2)
    found = await app.waits(1, 3)

    assert _next(found) == 2
    assert message(found).startswith("Rollout is in step(1/3)")
    assert await app.canary_pods() == 1


async def test_jump_during_the_final_roll_moves_nothing(app: Application) -> None:
    """What was approved to the end is let out: a step asked for now neither holds nor repeats anything."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    for number in (1, 2, 3):
        await app.waits(number, 3)
        await app.approve()

    await app.wait("deployments", lambda found: not is_paused(found))
    await app.jump(1)
    await app.completes(steps=3)
    await app.serves(V2)

    assert not is_paused(await app.get("deployments"))


async def test_fifty_steps_run_one_after_the_other(app: Application) -> None:
    """As many steps as the API allows, none skipped, none twice, weight never ahead of its step."""
    steps = [step(2 * number, f"{2 * number}%", pause=0) for number in range(1, 50)]
    await app.deploy(plan(*steps, step(100, 5)))

    async with (
        app.cluster.record("rollouts", app.namespace) as record,
        app.cluster.record("ingresses", app.namespace) as routes,
    ):
        await app.set_image(V2)
        await app.wait("rollouts", _is_at(50, "StepPaused"), seconds=90)
    positions = [each["status"]["currentStepIndex"] for each in record.objects if "status" in each]
    in_order = [one for one, other in zip(positions, [None, *positions], strict=False) if one != other]
    weights = [
        int(each["metadata"]["annotations"].get(WEIGHT, 0))
        for each in routes.objects
        if each["metadata"]["name"].endswith("-canary")
    ]

    assert in_order[-50:] == list(range(1, 51))
    assert weights == sorted(weights)
    await app.set_image(V1)
    await app.rolled_back(step=50)
