"""Promotion hands the approved pods over, and never takes the Deployment below its own limits meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.store import owner_of
from tests.unit.rollout.model.world import World
from tests.unit.search import dear

_MOST_EVENTS = 4000  # of a promotion of 50 pods; one that needs more hangs


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
