"""Going back, changing one's mind, and changing it again: every way ends clean."""

import pytest

from sandbox import manifests
from sandbox.demo import lives
from sandbox.demo.lives import Life
from tests.cluster import inventory
from tests.cluster.application import (
    APPROVE,
    NAME,
    V1,
    V2,
    V3,
    Application,
    image_of,
    is_paused,
    phase,
    revision,
    state,
)
from tests.cluster.evidence import watching
from tests.cluster.plans import three_steps


async def _lives(app: Application) -> frozenset[Life]:
    return frozenset(map(Life.of, await app.pods()))


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_rollback_at_any_step_restarts_nothing_and_leaves_nothing(
    app: Application, number: int
) -> None:
    """Whatever step waits, the old template brings every object and pod back to where it was."""
    await app.deploy(three_steps())
    before, pods = await inventory.take(app), await _lives(app)
    await app.set_image(V2)
    for earlier in range(1, number):
        await app.waits(earlier, 3)
        await app.approve()
    await app.waits(number, 3)

    await app.set_image(V1)
    await app.rolled_back(step=number)

    assert inventory.leftovers(before, await inventory.settled(app)) == []
    assert list(lives.losses(pods, await _lives(app))) == []


async def test_rollback_while_canary_pods_are_not_ready(app: Application) -> None:
    """A release that never got beyond StepUpgrade is taken back just the same."""
    await app.deploy()
    before, pods = await inventory.take(app), await _lives(app)
    await app.set_image(f"{V2}-unready")
    await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")

    await app.set_image(V1)
    await app.rolled_back(state="StepUpgrade")

    assert inventory.leftovers(before, await inventory.settled(app)) == []
    assert list(lives.losses(pods, await _lives(app))) == []


async def test_rollback_loses_no_request(app: Application) -> None:
    """With grace for the data plane and pods that drain, release and roll-back under load lose nothing."""
    data_plane = await app.cluster.data_plane()
    rollout = manifests.rollout(grace_period_seconds=2)
    await app.deploy(rollout, deployment=manifests.deployment(pre_stop_seconds=3))
    await app.serves_requests()

    async with data_plane.load(app.host, rate=50) as account:
        await app.set_image(V2)
        await app.waits(1, 1)
        await data_plane.wait_for(app.host, V2)
        await app.set_image(V1)
        await app.rolled_back()
        await inventory.settled(app)

    assert account.answered[V2] > 0
    assert account.lost == 0


async def test_third_template_begins_at_the_first_step(app: Application) -> None:
    """A third version mid-release replaces the second: its canary goes, and the new one starts at step 1."""
    await app.deploy(three_steps())
    before = await inventory.take(app)

    async with watching(app) as evidence:
        await app.set_image(V2)
        await app.waits(1, 3)
        await app.approve()
        await app.waits(2, 3)
        old = (await app.canary())["metadata"]["name"]
        await app.set_image(V3)
        await app.waits(1, 3)
        weight, canary, replaced = await app.weight(), await app.canary(), await app.find("deployments", old)
    for number in (1, 2, 3):
        await app.waits(number, 3)
        await app.approve()
    await app.completes(steps=3)

    assert evidence.updated_pods() == []
    assert (weight, image_of(canary), replaced) == (20, V3, None)
    await app.serves(V3)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_old_approval_never_counts_for_a_later_release_of_the_same_template(app: Application) -> None:
    """Approved v2, then v1, then v2 again: the second release waits though the annotation is still there."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    first = await app.approve()
    await app.completes()
    await app.set_image(V1)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()

    await app.annotate(first)
    await app.set_image(V2)
    await app.waits(1, 1)
    release, step = await app.position()

    annotations = (await app.get("rollouts"))["metadata"]["annotations"]
    assert annotations[APPROVE] == first
    assert f"{release}/{step}" != first
    assert is_paused(await app.get("deployments"))
    assert len(await app.pods(V2)) == 1


async def test_approval_of_a_release_that_was_rolled_back_never_counts(app: Application) -> None:
    """An approval that arrives too late, for a release that is over, approves nothing of the next."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, step = await app.position()
    await app.set_image(V1)
    await app.rolled_back()

    await app.annotate(f"{release}/{step}")
    await app.set_image(V2)
    await app.waits(1, 1)

    assert is_paused(await app.get("deployments"))
    assert len(await app.pods(V1)) == 5


@pytest.mark.parametrize("last", [V1, V2], ids=["ends-old", "ends-new"])
async def test_templates_that_flip_within_a_second_end_clean(app: Application, last: str) -> None:
    """A person and a state-keeping client write old and new in turns: the last counts, no pod restarts."""
    await app.deploy()
    before, pods = await inventory.take(app), await _lives(app)
    turns = [V2, V1, V2, V1, V2, V1, *([V2] if last == V2 else [])]

    async with watching(app) as evidence:
        for image in turns:
            await app.set_image(image)
        if last == V2:
            await app.waits(1, 1)
            await app.set_image(V1)
    await app.wait("deployments", lambda found: not is_paused(found))
    await app.wait("rollouts", lambda found: phase(found) == "Healthy")

    assert evidence.updated_pods() == []
    assert inventory.leftovers(before, await inventory.settled(app)) == []
    assert list(lives.losses(pods, await _lives(app))) == []


async def test_release_after_a_rollback_is_a_release_of_its_own(app: Application) -> None:
    """After a roll-back the same version can be released again, under another id."""
    await app.deploy()
    await app.set_image(V2)
    first = revision(await app.waits(1, 1))
    await app.set_image(V1)
    await app.rolled_back()

    await app.set_image(V2)
    second = revision(await app.waits(1, 1))
    await app.approve()
    await app.completes()

    assert first != second
    assert (await app.tables())["deployment"].names == (NAME,)
