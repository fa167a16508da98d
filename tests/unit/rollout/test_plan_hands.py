"""Releases whose own objects people lay hands on, past everything that would stop them."""

import pytest

from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.controllers import tag_of
from tests.unit.rollout.model.objects import rollout, step, template
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.world import World
from tests.unit.rollout.test_plan_interrupted import SMALL, edit, waiting

OURS = ("Deployment", "Service", "Ingress")


def orphaned(world: World) -> None:
    """Delete the Rollout with ``--cascade=orphan``: the garbage collector takes our references away."""
    world.store.delete("Rollout", APP)
    for kind in OURS:
        for each in world.store.of_kind(kind):
            if each["metadata"]["name"] not in world.foreign:
                merge = {"metadata": {"ownerReferences": None}}
                world.store.patch(kind, each["metadata"]["name"], merge)


@pytest.mark.parametrize("at", [1, 2])
def test_rollout_deleted_without_its_objects_takes_them_along(at: int) -> None:
    """`kubectl delete rollout --cascade=orphan`: the new version is let out, and nothing of ours stays."""
    world = waiting([step(20, "20%"), step(60, "60%")], at=at)

    orphaned(world)
    settle(world)

    assert world.rollout is None
    assert world.leftovers() == []
    assert world.ready_by_tag() == {"v2": 5}


def test_canary_that_was_edited_by_hand_is_made_anew() -> None:
    """`kubectl set image` on the canary Deployment: nobody approved that version, so nobody is sent to it."""
    world = waiting([step(20, "40%"), step(60, "60%")])
    canary = f"{APP}-{world.release_id}"

    world.store.patch("Deployment", canary, {"spec": {"template": template("v9")}})
    weights = {world.canary_weight()}
    while controllers.run_one(world.store) or reconcile(world):
        if "v9" in {each.tag for each in world.store.pods.values() if each.ready}:
            weights.add(world.canary_weight())
    settle(world)

    found = world.store.get("Deployment", canary)
    assert found
    assert tag_of(found["spec"]["template"]) == "v2"
    assert (world.release["currentStepIndex"], world.canary_weight()) == (1, 20)


def test_edited_canary_is_never_let_out() -> None:
    """Approved at the last step while the canary runs something else: what was approved is let out."""
    world = waiting([step(20, "40%")])
    world.store.patch("Deployment", f"{APP}-{world.release_id}", {"spec": {"template": template("v9")}})
    world.approve_present_step()

    settle(world)

    assert world.ready_by_tag() == {"v2": 5}
    assert world.leftovers() == []


def test_release_whose_stable_revision_is_gone_says_that_the_new_one_is_out() -> None:
    """With no history kept and scaled to zero, the old revision is deleted: that is no roll-back."""
    world = waiting([step(20, "20%"), step(60, "60%")])
    stable = world.release["stableRevision"]
    world.scale(0)
    settle(world)
    world.store.delete("ReplicaSet", f"{APP}-{stable}")
    settle(world)
    world.scale(5)
    settle(world)

    conditions = {each["type"]: each["status"] for each in world.status["conditions"]}
    assert world.ready_by_tag() == {"v2": 5}
    assert conditions["Succeeded"] == "True"


def test_jump_that_comes_with_another_number_of_steps_is_followed() -> None:
    """The person says where to go on, in the same moment as with how many steps."""
    world = waiting(SMALL, at=3)
    edit(world, [step(5, "10%"), step(20, "20%"), step(60, "60%"), step(80, "80%")])
    world.write_release({"nextStepIndex": 1})

    settle(world)

    assert (world.release["currentStepIndex"], world.canary_weight()) == (1, 5)


def broken_in_the_middle() -> World:
    """Return a world whose release at 20 % lost its plan: written past the webhook, or by a newer version."""
    world = waiting([step(20, "40%"), step(60, "60%")])
    world.change_spec({"strategy": {"canary": {"failureThreshold": "nonsense"}}})
    settle(world)
    assert (world.gate_closed, world.canary_weight()) == (True, 20)
    return world


def test_broken_plan_sends_nothing_to_a_canary_that_is_away() -> None:
    """Whatever a Rollout says, no request is sent where nobody answers."""
    world = broken_in_the_middle()

    world.broken_tags.add("v2")
    for pod in [each.name for each in world.store.pods.values() if each.tag == "v2"]:
        world.store.set_ready(pod, ready=False)
    settle(world)

    assert world.canary_weight() == 0


def test_release_is_taken_back_though_its_plan_is_broken() -> None:
    """The old template is applied again: that needs no plan."""
    world = broken_in_the_middle()

    world.apply_template("v1")
    settle(world)

    assert world.leftovers() == []
    assert world.ready_by_tag() == {"v1": 5}


def test_rollout_with_a_broken_plan_is_deleted_with_grace() -> None:
    """The share goes to nothing before its route goes, as at any other end."""
    world = broken_in_the_middle()

    world.store.delete("Rollout", APP)
    settle(world)

    assert world.rollout is None
    assert world.leftovers() == []


def test_approved_release_is_let_out_though_its_plan_is_broken() -> None:
    """What was approved to the last step needs no plan any more."""
    world = waiting([step(20, "40%")])
    world.approve_present_step()
    reconcile(world, writes=2)
    assert world.condition_reason == "Finalising"

    world.change_spec({"strategy": {"canary": {"failureThreshold": "nonsense"}}})
    settle(world)

    assert world.leftovers() == []
    assert world.ready_by_tag() == {"v2": 5}


@pytest.mark.parametrize("replicas", [1, 2, 5])
@pytest.mark.parametrize("events", [3, 6, 12, 40])
def test_gate_that_was_resumed_by_hand_comes_to_rest(replicas: int, events: int) -> None:
    """`kubectl rollout resume` past the webhook: what is not out yet is held again, the rest stays out."""
    world = waiting([step(20, "20%"), step(60, "60%")], replicas=replicas)
    world.torn = True
    world.store.patch("Deployment", APP, {"spec": {"paused": None}})
    for _ in range(events):
        controllers.run_one(world.store)

    settle(world)

    assert world.status["phase"] in {"Progressing", "Healthy"}
    assert sum(world.ready_by_tag().values()) == replicas


def test_third_version_in_a_roll_back_is_held_though_the_plan_is_broken() -> None:
    """The gate is still closed: what is applied then is not the version that is being returned to."""
    world = waiting([step(20, "40%"), step(60, "60%")])
    world.apply_template("v1")
    reconcile(world, writes=1)
    world.change_spec({"strategy": {"canary": {"failureThreshold": "nonsense"}}})

    world.apply_template("v3")
    settle(world)

    assert world.gate_closed
    assert world.ready_by_tag() == {"v1": 5}


def test_workload_deleted_while_the_plan_is_broken_leaves_nothing() -> None:
    """Clean-up needs no plan."""
    world = broken_in_the_middle()

    world.store.delete("Deployment", APP)
    settle(world)

    assert world.leftovers() == []


def test_canary_without_history_is_still_known_to_be_edited() -> None:
    """A canary keeps its revisions, whatever the workload does with its own."""
    world = World(replicas=5)
    world.store.patch("Deployment", APP, {"spec": {"revisionHistoryLimit": 0}})
    world.store.create(rollout([step(20, "40%")], grace=0))
    settle(world)
    world.apply_template("v2")
    settle(world)

    found = world.store.get("Deployment", f"{APP}-{world.release_id}")

    assert found
    assert "revisionHistoryLimit" not in found["spec"]
