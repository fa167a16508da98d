"""Promotion hands the approved pods over, and never takes the Deployment below its own limits meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import assume, example, given

from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.controllers import tag_of
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.store import owner_of
from tests.unit.rollout.model.world import World
from tests.unit.search import dear

_MOST_EVENTS = 4000  # of a promotion of 50 pods; one that needs more hangs
_LAG = 4  # events that a controller may not have seen yet


@dataclass(frozen=True)
class Promotion:
    """A release about to be promoted, and a user who scales at some moment of it."""

    replicas: int
    canaries: int
    surge: int | str = "25%"
    unavailable: int | str = "25%"
    scaled_to: int | None = None
    scaled_after: int = 0
    """Events of the promotion before the user scales."""


promotions = st.integers(1, 50).flatmap(
    lambda replicas: st.builds(
        Promotion,
        st.just(replicas),
        st.integers(1, replicas),
        st.sampled_from([0, 1, 2, 5, "10%", "25%", "50%", "100%"]),
        st.sampled_from([0, 1, 2, 5, "10%", "25%", "50%", "100%"]),
        st.none() | st.integers(1, 50),
        st.integers(0, 60),
    )
)


def approved(given: Promotion) -> World:
    """Return a world in which the last step is approved, and nothing has been done about it yet."""
    world = World(replicas=given.replicas)
    limits = {"maxSurge": given.surge, "maxUnavailable": given.unavailable}
    world.store.patch("Deployment", APP, {"spec": {"strategy": {"rollingUpdate": limits}}})
    world.store.create(rollout([step(None, given.canaries)], routed=False))
    settle(world)
    world.apply_template("v2")
    settle(world)
    world.approve_present_step()
    return world


def events(world: World) -> Iterator[int]:
    """Let the promotion go on by single events: a write of ours when the controllers have nothing to do."""
    for number in range(_MOST_EVENTS):
        if not controllers.run_one(world.store) and not reconcile(world, writes=1):
            return
        yield number
    invariants.fail("hang", f"no rest after {_MOST_EVENTS} events: {world.status}")


def one_of_all(world: World, order: Random) -> None:
    """Let a controller make one step, or a reconciler that crashes; the others are slow.

    The Deployment's own may know it as it was some events ago.
    """
    match order.randrange(6):
        case 0 | 1:
            reconcile(world, writes=1)
        case 2:
            seen = order.choice(world.past[-_LAG:])[("Deployment", APP)]
            controllers.sync_deployment(world.store, APP, seen)
        case 3:
            controllers.sync_deployment(world.store, APP)
        case _:
            controllers.one_event(world.store, (), order.randrange(1000))
    world.remember()


def handing_over(world: World) -> World:
    """Go on until the canary Deployment begins to leave its pods behind."""
    canary = f"{APP}-{world.release_id}"
    while "deletionTimestamp" not in (world.store.get("Deployment", canary) or {})["metadata"]:
        if not controllers.run_one(world.store):
            reconcile(world, writes=1)
    return world


def pods_of(world: World, tag: str) -> set[str]:
    """Return the names of the pods of a version."""
    return {each.name for each in world.store.pods.values() if each.tag == tag}


def replicas_of(world: World) -> int:
    """Return what the Deployment is asked for."""
    return int((world.workload or {})["spec"]["replicas"])


def running(world: World, workload: str = APP) -> list[JsonObject]:
    """Return the revisions of a Deployment that run pods."""
    uid = (world.store.get("Deployment", workload) or {})["metadata"]["uid"]
    sets = world.store.of_kind("ReplicaSet")
    return [each for each in sets if owner_of(each) == uid and each["spec"]["replicas"]]


@dear(20)
@given(promotions)
@example(Promotion(20, 6))
@example(Promotion(10, 10, 0, 1))
@example(Promotion(5, 5))
@example(Promotion(20, 6, scaled_to=40, scaled_after=8))
@example(Promotion(20, 20, scaled_to=7, scaled_after=8))
def test_available_pods_stay_within_the_limits_while_they_are_handed_over(promotion: Promotion) -> None:
    """At every event: never fewer than the limits allow, or than there were where those were fewer."""
    world = approved(promotion)
    strategy = (world.workload or {})["spec"]["strategy"]
    had = sum(each.ready for each in world.store.pods.values())
    for number in events(world):
        has = sum(each.ready for each in world.store.pods.values())
        # Whoever scales up in the middle finds pods on their way out that the former size did not need.
        asked = min(promotion.replicas, replicas_of(world))
        least = asked - controllers.limits(strategy, asked)[1]
        assert has >= min(had, least), f"{has} pods after {had}, {least} needed"
        had = has
        if number == promotion.scaled_after and promotion.scaled_to is not None:
            world.scale(promotion.scaled_to)

    assert world.status["phase"] == "Healthy"
    assert world.ready_by_tag() == {"v2": replicas_of(world)}


@dear(20)
@given(promotions)
@example(Promotion(10, 5, 0, 1, scaled_to=5, scaled_after=3))
def test_gate_is_opened_when_the_deployment_has_scaled_what_it_adopted(promotion: Promotion) -> None:
    """The native update takes a pod that its controller is just taking away for one that serves."""
    world = approved(promotion)
    for number in range(_MOST_EVENTS):
        if not reconcile(world, writes=1):
            controllers.run_one(world.store)
        if not (world.workload or {})["spec"].get("paused"):
            break
        if number == promotion.scaled_after and promotion.scaled_to is not None:
            world.scale(promotion.scaled_to)

    strategy, asked = (world.workload or {})["spec"]["strategy"], replicas_of(world)
    sets = running(world)
    assert not (world.workload or {})["spec"].get("paused")
    assert sum(each["spec"]["replicas"] for each in sets) <= asked + controllers.limits(strategy, asked)[0]
    assert all(each["status"]["availableReplicas"] <= each["spec"]["replicas"] for each in sets)


def test_third_version_in_a_hand_over_exchanges_no_pod_while_the_controller_is_cutting() -> None:
    """Cut to three and enlarged again, a set that still counts five has two that do not serve."""
    world = approved(Promotion(5, 3, 1, 0))
    for _ in events(world):
        if len(running(world)) > 1:
            break
    world.apply_template("v3")
    stable, second = sorted(running(world), key=lambda each: -each["spec"]["replicas"])
    name = stable["metadata"]["name"]
    world.store.patch("ReplicaSet", name, {"spec": {"replicas": 4}})
    world.store.write_status("ReplicaSet", name, dict.fromkeys(stable["status"], 5))
    workload = world.workload or {}
    counted = {"observedGeneration": workload["metadata"]["generation"], "replicas": 8}
    world.store.write_status("Deployment", APP, {**workload["status"], **counted})
    for _ in range(5):
        reconcile(world)

    assert world.gate_closed
    assert (world.store.get("ReplicaSet", name) or {})["spec"]["replicas"] == 4
    assert (world.store.get("ReplicaSet", second["metadata"]["name"]) or {})["spec"]["replicas"] == 3


def test_third_version_exchanges_no_pod_while_a_set_counts_what_it_had_before_it_was_resized() -> None:
    """Cut to three and enlarged to four again, it counts four: one of them was taken away meanwhile."""
    world = handing_over(approved(Promotion(5, 3, 1, 0)))
    world.run_controllers()
    world.apply_template("v3")
    world.run_controllers()
    reconcile(world, writes=1)
    first, second = sorted(each["metadata"]["name"] for each in running(world))
    stable = world.release["stableRevision"]
    kept, shrunk = (first, second) if first.endswith(stable) else (second, first)
    world.store.patch("ReplicaSet", shrunk, {"spec": {"replicas": 2}})
    world.run_controllers()
    status = (world.store.get("ReplicaSet", kept) or {})["status"]
    counted = {**status, "observedGeneration": status["observedGeneration"] - 1}
    world.store.write_status("ReplicaSet", kept, counted)
    for _ in range(5):
        reconcile(world)

    assert status["availableReplicas"] == 4
    assert (world.store.get("ReplicaSet", shrunk) or {})["spec"]["replicas"] == 2
    settle(world)
    assert world.release["currentStepState"] == "StepPaused"


@pytest.mark.parametrize("tag", ["v1", "v3"])
@dear(25)
@given(promotions, st.integers(0, 20), st.randoms(use_true_random=True))
def test_another_version_in_a_hand_over_costs_no_pod(
    tag: str, promotion: Promotion, turns: int, order: Random
) -> None:
    """Back to the first version, or on to a third, in whatever order the controllers come to it."""
    world = handing_over(approved(promotion))
    world.remember()
    for _ in range(turns):
        one_of_all(world, order)
    assume(world.gate_closed)
    world.apply_template(tag)
    unavailable = controllers.limits((world.workload or {})["spec"]["strategy"], promotion.replicas)[1]
    for _ in range(300):
        one_of_all(world, order)
        ready = sum(each.ready for each in world.store.pods.values())
        assert ready >= promotion.replicas - unavailable
    settle(world)

    # With v2 serving alone already, v1 is a release of its own.
    assert world.status["phase"] == "Healthy" or world.release["currentStepState"] == "StepPaused"


def test_gate_is_opened_for_a_roll_back_when_no_set_counts_pods_that_are_going() -> None:
    """The native update takes the pods that were just cut for such as serve, and takes the others away."""
    world = handing_over(approved(Promotion(5, 3, 1, 0)))
    world.held_up = frozenset({"replica sets"})
    world.run_controllers()
    world.apply_template("v1")
    for _ in range(10):
        world.run_controllers()
        reconcile(world)

    assert sorted(each["spec"]["replicas"] for each in running(world)) == [3, 3]
    assert world.gate_closed
    world.held_up = frozenset()
    settle(world)
    assert world.ready_by_tag() == {"v1": 5}


@pytest.mark.parametrize("held_up", ["garbage", "deployments"])
def test_gate_stays_closed_for_a_roll_back_until_the_pods_are_adopted(held_up: str) -> None:
    """Its controller may be adopting them just now, and cut stable pods as if the gate were closed still."""
    world = handing_over(approved(Promotion(5, 3, 1, 0)))
    if held_up == "deployments":
        while controllers.collect_garbage(world.store):
            pass
    world.apply_template("v1")
    _observe_generation(world)
    world.held_up = frozenset({held_up})
    for _ in range(10):
        world.run_controllers()
        reconcile(world)

    assert world.gate_closed
    world.held_up = frozenset()
    settle(world)
    assert world.ready_by_tag() == {"v1": 5}


def test_gate_does_not_wait_for_pods_that_the_deployment_does_not_select() -> None:
    """Somebody took them out of its reach: nobody adopts them."""
    world = handing_over(approved(Promotion(5, 3, 1, 0)))
    while controllers.collect_garbage(world.store):
        pass
    (left,) = (each for each in world.store.of_kind("ReplicaSet") if not owner_of(each))
    world.store.patch("ReplicaSet", left["metadata"]["name"], {"metadata": {"labels": {"app": "other"}}})
    world.apply_template("v1")
    for _ in range(5):
        world.run_controllers()
        reconcile(world)

    assert not world.gate_closed


def test_gate_of_a_deployment_that_somebody_resumed_is_opened_at_once() -> None:
    """Its controller goes on already, whatever the annotation says: the wait would be for nothing."""
    world = handing_over(approved(Promotion(5, 3, 1, 0)))
    world.held_up = frozenset({"replica sets"})
    world.run_controllers()
    world.torn = True
    world.store.patch("Deployment", APP, {"spec": {"paused": None}})
    for _ in range(3):
        reconcile(world)

    assert not world.gate_closed


def test_third_version_begins_when_the_pods_of_the_second_are_adopted() -> None:
    """With another release recorded, nobody would know any more that they are on their way."""
    world = handing_over(approved(Promotion(5, 3, 1, 0)))
    second = world.release_id
    while controllers.collect_garbage(world.store):
        pass
    world.apply_template("v3")
    _observe_generation(world)
    world.held_up = frozenset({"deployments"})
    for _ in range(10):
        world.run_controllers()
        reconcile(world)

    assert world.release_id == second
    world.held_up = frozenset()
    settle(world)
    assert world.release_id != second
    assert world.release["currentStepState"] == "StepPaused"


def _observe_generation(world: World) -> None:
    """Let the Deployment's controller see its change, and nothing else yet."""
    workload = world.workload or {}
    seen = {**workload["status"], "observedGeneration": workload["metadata"]["generation"]}
    newest = [
        each
        for each in running(world)
        if tag_of(each["spec"]["template"]) == tag_of(workload["spec"]["template"])
    ]
    updated = sum(each["status"]["replicas"] for each in newest)
    world.store.write_status("Deployment", APP, {**seen, "updatedReplicas": updated})


@dear(20)
@given(promotions)
def test_approved_pods_survive_promotion(promotion: Promotion) -> None:
    """Every pod that was approved is there afterwards."""
    world = approved(replace(promotion, scaled_to=None))
    before = pods_of(world, "v2")

    settle(world)

    assert before <= pods_of(world, "v2")


def test_step_of_all_pods_starts_none_at_promotion() -> None:
    """With as many canaries as replicas, the Deployment has all its pods already."""
    world = approved(Promotion(5, 5))
    before = pods_of(world, "v2")

    settle(world)

    assert pods_of(world, "v2") == before


def test_version_that_was_released_before_is_handed_over_too() -> None:
    """An empty ReplicaSet of the same template does not stand in for the approved one."""
    world = approved(Promotion(5, 2))
    for tag in ("v1", "v2"):
        settle(world)
        world.apply_template(tag)
        settle(world)
        world.approve_present_step()
    before = pods_of(world, "v2")

    settle(world)

    assert len(before) == 2
    assert before <= pods_of(world, "v2")
    assert len(running(world)) == 1


def test_canary_that_another_deployment_could_adopt_is_not_left_behind() -> None:
    """Where a second Deployment selects the same pods, the new version is started anew."""
    world = approved(Promotion(5, 2))
    rival = {**(world.workload or {}), "metadata": {"name": "rival"}}
    world.store.create({**rival, "spec": {**rival["spec"], "replicas": 0}})

    for _ in events(world):
        assert all(owner_of(each) for each in world.store.of_kind("ReplicaSet"))

    assert world.status["phase"] == "Healthy"
    assert world.ready_by_tag() == {"v2": 5}


def test_gate_stays_closed_until_the_pods_are_adopted() -> None:
    """Opened before, the Deployment would start a second ReplicaSet of the same template."""
    world = approved(Promotion(5, 2))
    canary = f"{APP}-{world.release_id}"
    while "deletionTimestamp" not in (world.store.get("Deployment", canary) or {})["metadata"]:
        if not reconcile(world, writes=1):
            world.run_controllers()
    world.held_up = frozenset({"deployments"})

    settle(world)

    assert world.store.get("Deployment", canary) is None
    assert world.gate_closed


def test_pods_that_never_came_up_are_not_handed_over() -> None:
    """What is cut at adoption is cut from pods that serve: unready ones must not take their places."""
    world = World(replicas=10)
    plan = rollout([step(None, 10)], routed=False)
    canary = {**plan["spec"]["strategy"]["canary"], "failureThreshold": "90%"}
    world.store.create({**plan, "spec": {**plan["spec"], "strategy": {"canary": canary}}})
    settle(world)
    world.apply_template("v2")
    world.held_up = frozenset({"pods"})
    settle(world)
    world.store.set_ready(min(pods_of(world, "v2")), ready=True)
    settle(world)
    world.approve_present_step()

    for _ in range(30):
        world.run_controllers()
        assert sum(each.ready for each in world.store.pods.values()) >= 8
        reconcile(world, writes=1)

    assert not world.gate_closed


@pytest.mark.parametrize("writes", range(12))
def test_nothing_is_left_of_a_hand_over_whose_deployment_is_deleted(writes: int) -> None:
    """Deleted at any moment of a promotion, the Deployment takes every ReplicaSet and pod with it."""
    world = approved(Promotion(5, 2))
    for _ in range(writes):
        reconcile(world, writes=1)
        controllers.run_one(world.store)
    world.store.delete("Deployment", APP)

    settle(world)

    assert world.store.of_kind("ReplicaSet") == []
    assert world.store.pods == {}


@pytest.mark.parametrize("writes", range(14))
def test_roll_back_in_the_middle_of_a_hand_over_ends_on_the_old_version(writes: int) -> None:
    """The old template applied at any moment of a promotion: v1 alone serves, nothing is left."""
    world = approved(Promotion(5, 2))
    for _ in range(writes):
        reconcile(world, writes=1)
        controllers.run_one(world.store)
    world.apply_template("v1")

    settle(world)

    if world.status["phase"] == "Progressing":  # v2 served alone already: v1 is a release of its own
        world.approve_present_step()
        settle(world)
    assert world.ready_by_tag() == {"v1": 5}
    assert world.leftovers() == []


@pytest.mark.parametrize("canaries", [5, 3])
def test_deployment_that_keeps_no_history_is_promoted_all_the_same(canaries: int) -> None:
    """With `revisionHistoryLimit: 0` the stable revision is deleted as soon as it is empty, gate or not."""
    world = approved(Promotion(5, canaries))
    world.store.patch("Deployment", APP, {"spec": {"revisionHistoryLimit": 0}})

    for _ in events(world):  # the controllers act after every single write
        pass

    assert len(list(world.store.of_kind("ReplicaSet"))) == 1
    assert world.status["phase"] == "Healthy"
    assert not world.gate_closed
