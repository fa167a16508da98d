"""Partition style where the stable revision is no more: no history is kept, or somebody deleted it."""

from typing import Any

import pytest

from rollout.wire import JsonObject
from tests.unit.rollout.model.objects import step
from tests.unit.rollout.model.partitions import events, governed, revision
from tests.unit.rollout.model.reconciling import settle
from tests.unit.rollout.model.routing import APP, BY_INGRESS
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
