"""Pods move between the revisions of one Deployment, and never are there fewer than its limits allow."""

from collections.abc import Iterator
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from rollout.actions import Patch
from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.controllers import tag_of
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import look, reconcile, settle
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.world import World
from tests.unit.search import dear

_MOST_EVENTS = 8000  # of a release of 50 pods; one that needs more hangs


def governed(plan: int | str, replicas: int, strategy: JsonObject) -> World:
    """Return a Deployment at rest, with a plan of one step."""
    world = World(replicas=replicas, limits=strategy)
    world.more = {"enableExtraWorkloadForCanary": False}
    world.store.create(rollout([step(None, plan)], routed=False, **world.more))
    settle(world)
    return world


def waiting_at(total: int, *, replicas: int) -> World:
    """Return a Deployment of which ``total`` pods are new, and one may be missing."""
    world = governed(total, replicas, {"maxSurge": 0, "maxUnavailable": 1})
    world.apply_template("v2")
    settle(world)
    return world


def ask_for(world: World, total: int | str) -> None:
    """Rewrite the only step of the plan, as KubeVela's canary-deploy does."""
    world.change_spec({"strategy": {"canary": {"steps": [step(None, total)]}}})


def revision(world: World, tag: str) -> JsonObject:
    """Return the ReplicaSet of a version."""
    (found,) = (each for each in world.store.of_kind("ReplicaSet") if tag_of(each["spec"]["template"]) == tag)
    return found


def moves(world: World) -> bool:
    """Tell whether the next write is to move a pod."""
    one = look(world)
    return one is not None and any(
        each.target.kind == "ReplicaSet" for each in one.plan.actions if isinstance(each, Patch)
    )


@pytest.mark.parametrize("seen_late", ["ReplicaSet", "Deployment"])
@pytest.mark.parametrize("pods", [3, 1])
def test_no_pod_moves_on_a_view_of_what_serves_that_is_old(seen_late: str, pods: int) -> None:
    """A stable pod failed, or its owner allows none to be missing any more: the move would cost another."""
    world = waiting_at(2, replicas=7)
    ask_for(world, pods)
    while not moves(world):
        assert reconcile(world) or world.run_controllers()
    before = dict(world.store.objects)
    if seen_late == "ReplicaSet":
        stable = revision(world, "v1")
        less = {**stable["status"], "readyReplicas": 4, "availableReplicas": 4}
        world.store.write_status("ReplicaSet", stable["metadata"]["name"], less)
    else:
        world.store.patch("Deployment", APP, {"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0}}}})
    sizes = [each["spec"]["replicas"] for each in (revision(world, "v1"), revision(world, "v2"))]

    for _ in range(3):
        reconcile(
            world, {**world.store.objects, **{key: before[key] for key in before if key[0] == seen_late}}
        )

    assert [each["spec"]["replicas"] for each in (revision(world, "v1"), revision(world, "v2"))] == sizes


@pytest.mark.parametrize("pods", [6, 1])
def test_what_keeps_pods_of_either_version_from_being_created_is_told(pods: int) -> None:
    """The controller of a paused Deployment says nothing of it: its ReplicaSet does."""
    world = waiting_at(3, replicas=7)
    ask_for(world, pods)
    growing = "v2" if pods > 3 else "v1"
    before = revision(world, growing)["spec"]["replicas"]
    while revision(world, growing)["spec"]["replicas"] == before:
        assert reconcile(world) or world.run_controllers()
    while world.run_controllers():
        pass
    short = revision(world, growing)
    created = short["spec"]["replicas"] - 1
    said = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    counted = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), created)
    status = {**short["status"], **counted, "conditions": [said]}
    world.store.write_status("ReplicaSet", short["metadata"]["name"], status)
    workload = (world.workload or {})["status"]
    updated = created if growing == "v2" else workload["updatedReplicas"]
    world.store.write_status("Deployment", APP, {**workload, "replicas": 6, "updatedReplicas": updated})
    for _ in range(3):
        reconcile(world)

    conditions = {each["type"]: each["message"] for each in world.status["conditions"]}
    assert conditions["Progressing"].endswith(": FailedCreate: exceeded quota")


@dataclass(frozen=True)
class Release:
    """A release whose only step is rewritten again and again, and a user who scales at some moment of it."""

    replicas: int
    totals: tuple[int | str, ...]
    surge: int | str = "25%"
    unavailable: int | str = "25%"
    scaled_to: int | None = None
    scaled_after: int = 0
    """Events of the release before the user scales."""


limits = st.sampled_from([0, 1, 2, 5, "10%", "25%", "50%", "100%"])
releases = st.integers(1, 50).flatmap(
    lambda replicas: st.builds(
        Release,
        st.just(replicas),
        st.lists(
            st.integers(1, replicas) | st.sampled_from(["5%", "50%", "99%"]), min_size=1, max_size=3
        ).map(tuple),
        limits,
        limits,
        st.none() | st.integers(1, 50),
        st.integers(0, 60),
    )
)


def events(world: World) -> Iterator[None]:
    """Let the release go on by single events: a write of ours when the controllers have nothing to do."""
    for _ in range(_MOST_EVENTS):
        if not controllers.run_one(world.store) and not reconcile(world, writes=1):
            one = look(world)
            due = one.plan.look_again_at if one else None
            if due is None:
                return
            world.now = due
        yield
    invariants.fail("hang", f"no rest after {_MOST_EVENTS} events: {world.status}")


@dear(20)
@given(releases)
@example(Release(5, ("20%", "50%", "100%"), 0, 1))
@example(Release(10, ("20%", "50%", "20%"), 1, 0, scaled_to=5, scaled_after=30))
@example(Release(40, (20, 1), "10%", 0))
def test_available_pods_stay_within_the_limits_while_they_are_exchanged(release: Release) -> None:
    """At every event: never fewer than the owner's limits allow, or than there were; at rest, the step's."""
    strategy = {"maxSurge": release.surge, "maxUnavailable": release.unavailable}
    world = governed(release.totals[0], release.replicas, strategy)
    asked, number, had = release.replicas, 0, release.replicas
    world.apply_template("v2")
    for total in release.totals:
        ask_for(world, total)
        for _ in events(world):
            has = sum(each.ready for each in world.store.pods.values())
            least = asked - controllers.limits({"rollingUpdate": strategy}, asked)[1]
            assert has >= min(had, least), f"{has} pods after {had}, {least} needed"
            had, number = has, number + 1
            if number == release.scaled_after and release.scaled_to is not None:
                world.scale(release.scaled_to)
                asked = min(asked, release.scaled_to)  # more have no pods yet
        asked = (world.workload or {})["spec"]["replicas"]
        invariants.world_at_rest_is_sound(world)
    world.approve_present_step()
    settle(world)

    assert world.status["phase"] == "Healthy"
    assert world.ready_by_tag() == {"v2": asked}
