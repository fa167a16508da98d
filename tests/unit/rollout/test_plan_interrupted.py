"""Releases that people interrupt: paused, edited, disabled and enabled in the middle."""

from typing import Any

import pytest

from rollout import names
from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.objects import rollout, step, template
from tests.unit.rollout.model.reconciling import reconcile, settle, settle_without_waiting
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.world import World


def waiting(
    steps: list[dict[str, Any]], at: int = 1, *, replicas: int = 5, routed: bool = True, timed: bool = False
) -> World:
    """Return a world whose release of v2 waits at a step: for approval, or until its pause ends."""
    world = World(replicas=replicas)
    world.grace_seconds = 0
    world.store.create(rollout(steps, grace=0, routed=routed))
    settle(world)
    world.apply_template("v2")
    (settle_without_waiting if timed else settle)(world)
    for _ in range(at - 1):
        world.approve_present_step()
        settle(world)
    assert world.release["currentStepIndex"] == at
    return world


def edit(world: World, steps: list[dict[str, Any]]) -> None:
    """Change the plan."""
    world.change_spec({"strategy": {"canary": {"steps": steps}}})


def pause(world: World, *, paused: bool) -> None:
    """Switch ``strategy.paused``, and let everybody come to rest."""
    world.change_spec({"strategy": {"paused": paused}})
    settle(world)


SMALL = [step(5, "10%"), step(10, "10%"), step(20, "20%"), step(40, "40%"), step(60, "60%")]


def test_plan_that_is_cut_short_while_paused_lets_nothing_out() -> None:
    """What was step 3 of five is not step 3 of three when the release goes on."""
    world = waiting(SMALL, at=3)
    pause(world, paused=True)
    edit(world, [step(20, "20%"), step(50, "50%"), step(100, "100%")])
    settle(world)
    pods_while_paused = world.canary_weight()

    pause(world, paused=False)

    assert pods_while_paused == 20
    assert (world.release["currentStepIndex"], world.canary_weight()) == (1, 20)


def test_approval_given_while_paused_does_not_count_for_an_edited_step() -> None:
    """Approved was 20 %; the step says 60 % when the release goes on, and waits to be approved at that."""
    world = waiting([step(20, "20%"), step(95, "95%")])
    pause(world, paused=True)
    world.approve_present_step()
    world.wait(1)
    edit(world, [step(60, "60%"), step(95, "95%")])

    pause(world, paused=False)

    assert (world.release["currentStepIndex"], world.release["currentStepState"]) == (1, "StepPaused")


def test_approval_of_an_edited_plan_counts_by_whatever_clock_it_was_stamped() -> None:
    """The webhook's clock is behind ours, and seconds are long: what was there before is known by name."""
    world = waiting([step(20, "20%"), step(60, "60%")])
    edit(world, [step(20, "20%"), step(40, "40%"), step(60, "60%")])
    settle(world)

    world.approve_present_step()
    settle(world)

    assert (world.release["currentStepIndex"], world.canary_weight()) == (2, 40)


@pytest.mark.parametrize("how", ["annotation", "status"])
def test_approval_does_not_count_for_a_plan_whose_next_step_was_edited_meanwhile(how: str) -> None:
    """Approved was to go on to 40 %; while paused, the step after the present one became 100 %."""
    world = waiting([step(20, "20%"), step(40, "40%")])
    pause(world, paused=True)
    if how == "annotation":
        world.approve_present_step()
    else:
        world.write_release({"currentStepState": "StepReady"})
    edit(world, [step(20, "20%"), step(100, "100%")])

    pause(world, paused=False)

    assert (world.release["currentStepIndex"], world.release["currentStepState"]) == (1, "StepPaused")
    assert world.canary_weight() == 20


@pytest.mark.parametrize(
    "edited",
    [
        [step(5, "10%"), step(10, "20%"), step(20, "20%"), step(100, "100%")],
        [step(5, "10%"), step(10, "10%"), step(20, "20%"), step(90, "90%"), step(95, "95%")],
    ],
    ids=["shorter", "same length"],
)
def test_jump_asked_for_while_paused_into_a_plan_that_was_edited_then_is_forgotten(
    edited: list[dict[str, Any]],
) -> None:
    """Step 4 was 40 %: nobody asked for what it is when the release goes on."""
    world = waiting(SMALL)
    pause(world, paused=True)
    world.write_release({"nextStepIndex": 4})
    edit(world, edited)

    pause(world, paused=False)

    assert (world.release["currentStepIndex"], world.canary_weight()) == (1, 5)


def test_duration_that_is_edited_is_counted_from_when_the_pause_began() -> None:
    """An edit of the plan is no new pause."""
    world = waiting([step(20, "20%", pause=600), step(60, "60%")], at=1, timed=True)
    world.wait(100)
    edit(world, [step(20, "20%", pause=120), step(60, "60%")])
    begun = world.now

    settle(world)

    assert world.release["currentStepIndex"] == 2
    assert (world.now - begun).total_seconds() <= 30


def test_void_approval_is_replaced_by_the_command_that_is_printed() -> None:
    """Written again, the same value would change nothing: the command takes it away first."""
    world = waiting([step(20, "20%"), step(60, "60%")])
    world.approve_present_step()
    settle(world)
    world.write_release({"nextStepIndex": 1})
    settle(world)

    told = [each.note for each in world.events if each.reason == "StepPaused"][-1]

    assert f"{names.APPROVE}- && " in told
    assert told.endswith(f"{names.APPROVE}={world.release_id}/1 --overwrite")


def test_step_added_to_a_plan_of_equal_pods_raises_no_weight() -> None:
    """Steps that differ by their weights alone are told apart by them."""
    world = waiting([step(5, "100%"), step(20, "100%"), step(100, "100%")])

    edit(world, [step(5, "100%"), step(20, "100%"), step(50, "100%"), step(100, "100%")])
    settle(world)

    assert (world.release["currentStepIndex"], world.canary_weight()) == (1, 5)


def test_plan_edited_while_scaled_to_zero_begins_with_its_first_step() -> None:
    """Of no pods, every step has as many as it asks for: nothing that is beyond the first was approved."""
    world = waiting([step(None, "20%"), step(None, "90%")], routed=False)
    world.scale(0)
    settle(world)

    edit(world, [step(None, "20%"), step(None, "50%"), step(None, "90%")])
    settle(world)
    world.scale(5)
    settle(world)

    assert world.release["currentStepIndex"] == 1


def test_third_template_while_paused_takes_the_traffic_of_the_second() -> None:
    """The pause keeps v3 from beginning, not v2's canary from ending."""
    world = waiting([step(20, "20%"), step(50, "50%")], at=2)
    pause(world, paused=True)

    world.apply_template("v3")
    settle(world)

    assert world.canary_weight() == 0
    assert [each["metadata"]["name"] for each in world.store.of_kind("Deployment")] == [APP]


@pytest.mark.parametrize("writes", range(14))
def test_release_that_is_disabled_and_enabled_is_over(writes: int) -> None:
    """However far letting go had come: it goes on to its end, and the next change is a release again."""
    world = waiting([step(20, "20%"), step(60, "100%")], at=2)
    world.change_spec({"disabled": True})
    for _ in range(writes):
        if not controllers.run_one(world.store):
            reconcile(world, writes=1)
    begun = world.status["phase"] == "Disabling"

    world.change_spec({"disabled": False})
    settle(world)

    if begun:
        assert world.status["phase"] == "Healthy"
        assert world.ready_by_tag() == {"v2": 5}
    assert world.release["currentStepState"] in {"Completed", "StepPaused"}


def test_canary_without_replica_set_does_not_keep_a_rollout_from_being_deleted() -> None:
    """Where the canary's ReplicaSet never came (a quota, a person's hand), nothing is waited for."""
    world = waiting([step(20, "40%")])
    canary = f"{APP}-{world.release_id}"
    world.store.patch("Deployment", canary, {"spec": {"paused": True, "template": template("v3")}})
    world.run_controllers()

    world.store.delete("Rollout", APP)
    settle(world)

    assert world.rollout is None
    assert not world.gate_closed


@pytest.mark.parametrize("disabled", [False, True], ids=["enabled", "disabled meanwhile"])
@pytest.mark.parametrize("writes", [1, 3, 100])
def test_release_whose_rollout_looked_elsewhere_for_a_moment_is_begun_anew(
    writes: int, *, disabled: bool
) -> None:
    """Pointed elsewhere and back, past the webhook: what its gate holds was not approved by that."""
    world = waiting([step(20, "40%")])
    world.change_spec({"workloadRef": {"name": "elsewhere"}, "disabled": disabled})
    reconcile(world, writes=writes)
    world.change_spec({"workloadRef": {"name": APP}, "disabled": False})
    settle(world)

    assert world.gate_closed
    assert (world.release["currentStepIndex"], world.release["currentStepState"]) == (1, "StepPaused")
