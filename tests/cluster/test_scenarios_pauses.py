"""How long a step waits: times that are persisted, changed while they run, and held by a person."""

import time

from sandbox.names import JsonObject
from tests.cluster.application import V1, V2, Application, message, phase, says, shows, state
from tests.cluster.plans import plan, step, three_steps
from tests.cluster.product import Product

_PAUSED = "Rollout has been paused, you can resume it by kube-cli"
_PAUSE = 8
_FAILOVER = 5.0
"""What the product promises for taking over; a pause counted anew would end at least so much later."""


def _timed(number: int, steps: int, seconds: int) -> str:
    return (
        f"Rollout is in step({number}/{steps}), and wait duration({seconds} seconds) to enter the next step"
    )


async def test_pause_goes_on_when_the_reconciler_is_replaced(product: Product, app: Application) -> None:
    """The time is persisted: with the leader killed mid-pause the step ends when it would have ended."""
    await app.deploy(plan(step(20, 1, pause=_PAUSE), step(40, 2)))
    await app.set_image(V2)
    await app.wait("rollouts", says(_timed(1, 2, _PAUSE)))
    begun = time.monotonic()

    product.kill(await product.leader())
    await app.waits(2, 2)
    elapsed = time.monotonic() - begun

    assert _PAUSE - 1.5 < elapsed < _PAUSE + _FAILOVER - 2


async def test_pause_is_changed_while_it_runs(app: Application) -> None:
    """From an hour to a second, from a person to a second, and back to a person: each at once."""
    await app.deploy(plan(step(20, 1, pause=3600), step(40, 2), step(60, 3, pause=3600)))
    await app.set_image(V2)
    await app.wait("rollouts", says(_timed(1, 3, 3600)))
    release = await app.release()

    await app.rewrite(step(20, 1, pause=1), step(40, 2), step(60, 3, pause=3600))
    await app.waits(2, 3)
    await app.rewrite(step(20, 1, pause=1), step(40, 2, pause=1), step(60, 3, pause=3600))
    await app.wait("rollouts", says(_timed(3, 3, 3600)))
    await app.rewrite(step(20, 1, pause=1), step(40, 2, pause=1), step(60, 3))
    await app.waits(3, 3)

    assert await app.release() == release
    await app.approve()
    await app.completes(steps=3)


async def test_timed_pause_is_ended_by_an_approval(app: Application) -> None:
    """Nobody has to wait an hour who has seen enough."""
    await app.deploy(plan(step(20, 1, pause=3600), step(40, 2, pause=3600)))
    await app.set_image(V2)
    await app.wait("rollouts", says(_timed(1, 2, 3600)))

    await app.write_status({"currentStepState": "StepReady"})
    await app.wait("rollouts", says(_timed(2, 2, 3600)))
    await app.approve()
    await app.completes(steps=2)


async def test_paused_before_the_release_holds_it_at_its_beginning(app: Application) -> None:
    """A Rollout that is paused already lets no pod of a new version out until it is resumed."""
    rollout = three_steps()
    rollout["spec"]["strategy"]["paused"] = True
    await app.deploy(rollout)

    await app.set_image(V2)
    held = await app.wait("rollouts", says(_PAUSED))
    before = await app.pods(V2)
    await app.change_rollout({"spec": {"strategy": {"paused": None}}})
    await app.waits(1, 3)

    assert (phase(held), before) == ("Progressing", [])
    assert await app.canary_pods() == 1


async def test_paused_while_pods_come_up_gives_them_no_traffic(app: Application) -> None:
    """Held in StepUpgrade, a canary that becomes ready meanwhile is not routed to until it is resumed."""
    deployment = {
        "spec": {"template": {"metadata": {"annotations": {"sandbox.sluice.dev/ready-after": "2"}}}}
    }
    await app.deploy(three_steps())
    await app.change(deployment)
    await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says(_PAUSED))

    await app.canary_has(1)
    weight = await app.weight()
    held = await app.get("rollouts")
    await app.change_rollout({"spec": {"strategy": {"paused": False}}})
    await app.waits(1, 3)

    assert weight in {None, 0}
    assert message(held) == _PAUSED
    assert await app.weight() == 20


async def test_paused_with_a_third_version_and_then_a_rollback(app: Application) -> None:
    """Held, a third version waits like the second; going back to the first works all the same."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says(_PAUSED))
    await app.set_image(f"{V2}-unready")

    await app.set_image(V1)
    found = await app.wait("rollouts", _healthy)

    assert found["spec"]["strategy"]["paused"] is True
    await app.serves(V1)
    assert await app.weight() is None


def _healthy(rollout: JsonObject) -> bool:
    return phase(rollout) == "Healthy"


async def test_paused_during_a_timed_pause_does_not_end_by_itself(app: Application) -> None:
    """The time of a step may pass while a release is held: it goes on when it is resumed, not before."""
    await app.deploy(plan(step(20, 1, pause=2), step(40, 2)))
    await app.set_image(V2)
    await app.wait("rollouts", says(_timed(1, 2, 2)))
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says(_PAUSED))

    async with app.cluster.record("rollouts", app.namespace) as record:
        await app.passes(seconds=3)
        positions = {each["status"]["currentStepIndex"] for each in record.objects}
        await app.change_rollout({"spec": {"strategy": {"paused": None}}})
        await app.waits(2, 2)

    assert positions == {1}


async def test_resumed_release_says_where_it_is_again(app: Application) -> None:
    """Resumed at a step that waits for a person, MESSAGE asks for that person again."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", says(_PAUSED))

    await app.change_rollout({"spec": {"strategy": {"paused": False}}})

    text = "Rollout is in step(1/1), and you need manually confirm to enter the next step"
    await app.wait("rollouts", shows("Progressing", 1, "StepPaused", text))
