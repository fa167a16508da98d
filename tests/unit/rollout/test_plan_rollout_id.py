"""The user's own id of a release: shown, followed, and by itself nothing to release."""

import pytest

from rollout import messages, names
from tests.unit.rollout.model.drills import governed, paused_at
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.world import World

FIELDS = ("labels", "annotations")


def name_release(world: World, value: str, field: str = "annotations") -> None:
    """Change the id, and nothing else."""
    world.user_patch("Deployment", APP, {"metadata": {field: {names.ROLLOUT_ID: value}}})


def ended(world: World) -> tuple[str, str, str, str]:
    """Return what platforms poll for, and MESSAGE."""
    release = world.release
    shown = (str(release["observedRolloutID"]), str(release["currentStepState"]))
    return *shown, str(world.status["phase"]), str(world.status["message"])


def test_release_without_an_id_goes_by_what_it_releases() -> None:
    """The id that is shown is never empty: it is that of the revision."""
    world = paused_at(1)

    assert world.release["observedRolloutID"] == world.release["canaryRevision"]


@pytest.mark.parametrize("field", FIELDS)
def test_id_is_read_as_label_and_as_annotation(field: str) -> None:
    """Changed together with the template, it names the release from its begin to its end."""
    world = governed()
    name_release(world, "r1", field)
    settle(world)
    world.user_patch(
        "Deployment",
        APP,
        {
            "metadata": {field: {names.ROLLOUT_ID: "r2"}},
            "spec": {"template": {"spec": {"containers": [{"name": APP, "image": "web:v2"}]}}},
        },
    )
    settle(world)
    begun = (world.release["observedRolloutID"], world.release["currentStepState"])
    for _ in range(2):
        world.approve_present_step()
        settle(world)

    assert begun == ("r2", "StepPaused")
    assert ended(world) == ("r2", "Completed", "Healthy", messages.COMPLETED)


@pytest.mark.parametrize("field", FIELDS)
def test_new_id_with_the_same_template_is_completed_at_once(field: str) -> None:
    """There is nothing to step through: the gate opens, no pod is touched, and the id is completed."""
    world = governed()
    pods = set(world.store.pods)
    name_release(world, "r1", field)
    held = world.gate_closed
    settle(world)

    assert held
    assert ended(world) == ("r1", "Completed", "Healthy", messages.COMPLETED)
    assert set(world.store.pods) == pods
    assert world.leftovers() == []
    assert [each.note for each in world.events][-1] == messages.nothing_new("r1")


def test_new_id_after_a_roll_back_is_completed() -> None:
    """Whoever waits for its completion is served, whatever became of the release before."""
    world = paused_at(1)
    world.apply_template("v1")
    settle(world)
    name_release(world, "r1")
    settle(world)

    assert ended(world) == ("r1", "Completed", "Healthy", messages.COMPLETED)


def test_new_id_during_a_step_moves_nothing() -> None:
    """The release goes on under the new name, with its step and its approvals."""
    world = paused_at(2)
    release = world.release_id
    name_release(world, "r1")
    settle(world)
    shown = (world.release["observedRolloutID"], world.release["currentStepIndex"], world.release_id)
    world.approve_present_step()
    settle(world)

    assert shown == ("r1", 2, release)
    assert ended(world) == ("r1", "Completed", "Healthy", messages.COMPLETED)


def test_new_id_while_the_version_is_let_out_takes_nothing_back() -> None:
    """The gate closes on a version that was approved: it opens again, and the release succeeds."""
    done = False
    for turns in range(60):
        if done:  # later on there is nothing to come in between
            return
        world = paused_at(2, grace=0)
        world.approve_present_step()
        for _ in range(turns):
            if not reconcile(world, writes=1):
                world.run_controllers()
        done = world.status["phase"] == "Healthy"
        name_release(world, "r1")
        settle(world)

        assert ended(world) == ("r1", "Completed", "Healthy", messages.COMPLETED)
        assert world.ready_by_tag() == {"v2": 5}
        assert world.leftovers() == []
