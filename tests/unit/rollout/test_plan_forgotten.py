"""The stable revision is no more: no history is kept, or somebody deleted it."""

from dataclasses import replace
from typing import Any

import pytest

from rollout import messages
from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.partitions import events, governed, lowest, revision, sizes
from tests.unit.rollout.model.reconciling import look, reconcile, settle, stale_view
from tests.unit.rollout.model.routing import ADMIN, APP, BY_INGRESS, TWO_INGRESSES, Setting
from tests.unit.rollout.model.world import World

_LIMITS: tuple[JsonObject | None, ...] = (
    None,
    {"maxSurge": 0, "maxUnavailable": 1},
    {"maxSurge": 1, "maxUnavailable": 0},
)

every_limit = pytest.mark.parametrize("limits", _LIMITS, ids=["default", "missing", "more"])


def without_history(*steps: dict[str, Any], limits: JsonObject | None) -> World:
    """Return a release of v2 that rests at its first step, in a Deployment that keeps no empty revision."""
    world = governed(*steps, replicas=5, limits=limits, setting=BY_INGRESS)
    world.store.patch("Deployment", APP, {"spec": {"revisionHistoryLimit": 0}})
    world.apply_template("v2")
    settle(world)
    return world


def served(world: World) -> bool:
    """Tell whether a request to the stable Service meets a pod at every event until all is at rest."""
    return all(world.ready_pods(APP) for _ in events(world))


@every_limit
def test_step_of_all_pods_waits_and_is_followed_without_a_stable_revision(limits: JsonObject | None) -> None:
    """Emptied by a step of 100 % in the middle, it is deleted: steps go on to be waited at and approved."""
    world = without_history(step(20, "20%"), step(100, "100%"), step(100, "100%"), limits=limits)
    world.approve_present_step()
    settle(world)
    at_all = (world.release["currentStepIndex"], world.release["currentStepState"], world.ready_by_tag())
    world.approve_present_step()
    settle(world)
    later = world.release["currentStepIndex"]
    world.approve_present_step()
    settle(world)

    assert at_all == (2, "StepPaused", {"v2": 5})
    assert later == 3
    assert world.status["phase"] == "Healthy"
    assert not world.gate_closed
    assert world.leftovers() == []


@every_limit
@pytest.mark.parametrize("then", ["jump back", "scale up", "scale to none and up", "v3", "v1", "delete"])
def test_deployment_without_a_stable_revision_goes_wherever_it_is_asked_to(
    then: str, limits: JsonObject | None
) -> None:
    """What serves goes on serving; another version is a release of its own, held as any other."""
    world = without_history(step(20, "20%"), step(100, "100%"), step(100, "100%"), limits=limits)
    world.approve_present_step()
    settle(world)
    assert world.release["currentStepState"] == "StepPaused"
    match then:
        case "jump back":
            world.write_release({"nextStepIndex": 1})
        case "scale up":
            world.scale(9)
        case "scale to none and up":
            world.scale(0)
            settle(world)
            world.scale(5)
        case "v3" | "v1":
            world.apply_template(then)
        case _:
            world.delete_or_create("Rollout")
    pods = {"v2": 9 if then == "scale up" else 5}
    if then in {"v3", "v1"}:
        pods = {"v2": 4, then: 1} if limits != _LIMITS[2] else {"v2": 5, then: 1}

    assert served(world) or then == "scale to none and up"
    settle(world)
    assert world.ready_by_tag() == pods


@every_limit
def test_stable_revision_deleted_by_hand_does_not_leave_requests_without_a_pod(
    limits: JsonObject | None,
) -> None:
    """The controller makes all pods new at once; nobody is left for the Service to be held to."""
    world = governed(
        step(20, "20%"), step(50, "50%"), step(100, "100%"), replicas=5, limits=limits, setting=BY_INGRESS
    )
    world.apply_template("v2")
    settle(world)
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    settle(world)

    assert world.ready_by_tag() == {"v2": 5}
    assert world.ready_pods(APP)
    assert world.release["currentStepState"] == "StepPaused"
    for _ in range(3):
        world.approve_present_step()
        settle(world)
    assert world.status["phase"] == "Healthy"
    assert world.leftovers() == []


def _with_a_history(style: str, setting: Setting = BY_INGRESS) -> World:
    """Return a release of v2 that rests at its first step, where v1 is stable and v0 in the history."""
    world = World(tag="v0", replicas=5, setting=setting)
    world.more = {"enableExtraWorkloadForCanary": style == "canary"}
    plan = [step(20, "20%"), step(50, "60%"), step(100, "100%")]
    world.store.create(rollout(plan, setting=setting, **world.more))
    settle(world)
    for tag in ("v1", "v2"):
        world.apply_template(tag)
        settle(world)
        while tag == "v1" and world.status["phase"] == "Progressing":
            world.approve_present_step()
            settle(world)
    return world


@pytest.mark.parametrize("moment", [None, 0, 3, 6, 9, 12, 15])
@pytest.mark.parametrize("style", ["canary", "partition"])
def test_release_begins_anew_beside_what_the_controller_woke_for_a_deleted_revision(
    style: str, moment: int | None
) -> None:
    """A paused Deployment without pods is given those of its history: they are what serves then."""
    world = _with_a_history(style)
    if moment is not None:  # in the middle of the second step
        world.approve_present_step()
        for number, _ in enumerate(events(world)):
            if number == moment:
                break
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    settle(world)

    assert world.ready_pods(APP)
    assert world.release["currentStepState"] == "StepPaused"
    assert messages.CONTINUOUS_EVENT not in {each.note for each in world.events}
    assert world.release["observedWorkloadGeneration"] == (world.workload or {})["metadata"]["generation"]
    while world.status["phase"] == "Progressing":
        world.approve_present_step()
        settle(world)
    assert world.ready_by_tag() == {"v2": 5}
    assert world.leftovers() == []


def test_third_version_begins_beside_the_second_where_the_stable_one_is_deleted() -> None:
    """Nobody may take its pods back to a revision that is no more, nor leave a Service held to it."""
    for moment in range(0, 40, 2):
        world = governed(step(20, "20%"), step(50, "60%"), step(100, "100%"), replicas=5, setting=BY_INGRESS)
        world.apply_template("v2")
        settle(world)
        world.approve_present_step()
        settle(world)
        world.apply_template("v3")
        for number, _ in enumerate(events(world)):
            if number == moment:
                break
        world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
        settle(world)

        assert world.ready_pods(APP)
        assert world.release["currentStepIndex"] == 1
        assert world.release["currentStepState"] == "StepPaused"


def test_service_is_widened_for_a_broken_plan_whose_stable_revision_is_deleted() -> None:
    """Nothing is decided by a plan that cannot be read, but requests are led to the pods that there are."""
    world = governed(step(20, "20%"), step(100, "100%"), replicas=5, setting=BY_INGRESS)
    world.apply_template("v2")
    settle(world)
    world.change_spec({"strategy": {"canary": {"steps": []}}})
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    for _ in events(world):
        pass

    assert world.ready_pods(APP)
    assert world.canary_weight() == 0
    assert world.gate_closed


def test_service_is_held_to_what_serves_where_a_broken_plan_cannot_be_begun_anew() -> None:
    """What the controller woke for a deleted revision is what requests go to, and nobody else's pods."""
    world = _with_a_history("canary")
    world.change_spec({"strategy": {"canary": {"steps": []}}})
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    for _ in events(world):
        pass

    assert world.gate_closed
    assert world.ready_pods(APP)
    assert {world.store.pods[each].tag for each in world.ready_pods(APP)} == {"v0"}


def test_release_without_its_stable_revision_says_that_it_waits_for_the_count() -> None:
    """The Deployment's controller may be away: nothing is decided by pods that it has not counted."""
    world = World(replicas=5, setting=BY_INGRESS)
    world.store.create(rollout([step(20, "20%"), step(100, "100%")], setting=BY_INGRESS))
    settle(world)
    world.apply_template("v2")
    settle(world)
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    while reconcile(world):
        pass

    assert world.release["message"] == f"waits until Deployment {APP} has counted its pods"
    assert world.gate_closed


@pytest.mark.parametrize("plan", ["kept", "paused", "broken"])
def test_version_that_runs_alone_beside_its_own_canary_is_accepted(plan: str) -> None:
    """Somebody resumed the Deployment, the gate closed again, and the stable revision was deleted."""
    world = World(replicas=5, setting=BY_INGRESS)
    world.store.create(rollout([step(20, "20%"), step(100, "100%")], setting=BY_INGRESS))
    settle(world)
    world.apply_template("v2")
    settle(world)
    if plan == "paused":
        world.change_spec({"strategy": {"paused": True}})
    if plan == "broken":
        world.change_spec({"strategy": {"canary": {"steps": []}}})
    world.torn = True
    world.store.patch("Deployment", APP, {"spec": {"paused": None}})
    controllers.sync_deployment(world.store, APP)
    assert sizes(world)["v2"] > 0
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    settle(world)

    assert world.ready_by_tag() == {"v2": 5}
    assert world.ready_pods(APP)
    assert world.status["phase"] == "Healthy" or plan == "broken"
    assert world.leftovers() == []


@pytest.mark.parametrize("age", [1, 2, 3])
@pytest.mark.parametrize("style", ["canary", "partition"])
def test_nobody_lets_a_version_out_by_an_old_view_of_what_the_controller_woke(style: str, age: int) -> None:
    """The Deployment's status still counts no pod, and neither does the old view of its revisions."""
    world = _with_a_history(style)
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    world.remember()
    while controllers.sync_deployment(world.store, APP):
        world.remember()
    looked = look(world, stale_view(world, {"ReplicaSet": age}))
    while looked and next(looked.writes, False):
        pass
    settle(world)

    assert world.status["phase"] == "Progressing"
    assert world.release["currentStepState"] == "StepPaused"


def test_canary_without_ready_pods_is_silenced_though_another_service_cannot_move_on() -> None:
    """Held to a deleted revision and by a broken plan: what waits for pods keeps no request from any."""
    world = _with_a_history("canary", TWO_INGRESSES)
    world.change_spec({"strategy": {"canary": {"steps": []}}})
    world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
    world.hand_on_service = True
    world.store.patch("Service", ADMIN, {"spec": {"selector": {"tier": "admin"}}})
    lowest(world)
    world.broken_tags = {"v2"}
    for name, pod in list(world.store.pods.items()):
        if pod.tag == "v2":
            world.store.pods[name] = replace(pod, ready=False, stuck=True)
    lowest(world)

    assert world.ready_pods(APP)
    assert world.canary_weight() == 0


@pytest.mark.parametrize("age", [4, 7])
def test_service_is_not_held_again_to_a_revision_that_was_deleted_while_it_was_replaced(age: int) -> None:
    """A reconciler that lags sees the step before, and the ReplicaSet: the API server does not any more."""
    tried = 0
    for moment in range(0, 25, 2):
        world = World(replicas=1, setting=BY_INGRESS)
        world.store.create(rollout([step(None, 1), step(None, 1)], setting=BY_INGRESS))
        settle(world)
        world.apply_template("v2")
        settle(world)
        world.approve_present_step()
        settle(world)
        world.approve_present_step()
        for _ in zip(range(moment), events(world), strict=False):
            pass
        if not world.gate_closed:
            break
        tried += 1
        world.store.delete("ReplicaSet", revision(world, "v1")["metadata"]["name"])
        world.remember()
        reconcile(world, stale_view(world, {"Rollout": age, "Deployment": 1, "ReplicaSet": 2}))
        settle(world)

        assert world.ready_pods(APP)
    assert tried
