"""Pods move between the revisions of one Deployment, and never are there fewer than its limits allow."""

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from rollout.actions import Patch
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.objects import step
from tests.unit.rollout.model.partitions import ask_for, events, governed, ready, released, revision
from tests.unit.rollout.model.reconciling import look, reconcile
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.world import World
from tests.unit.search import dear

_ONE_MISSING = {"maxSurge": 0, "maxUnavailable": 1}


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
    world = released(step(None, 2), replicas=7, limits=_ONE_MISSING)
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
    world = released(step(None, 3), replicas=7, limits=_ONE_MISSING)
    ask_for(world, pods)
    growing = "v2" if pods > 3 else "v1"
    before = revision(world, growing)["spec"]["replicas"]
    while revision(world, growing)["spec"]["replicas"] == before:
        assert reconcile(world) or world.run_controllers()
    while world.run_controllers():
        pass
    short = revision(world, growing)
    created = short["spec"]["replicas"] - 2
    said = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    counted = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), created)
    status = {**short["status"], **counted, "conditions": [said]}
    world.store.write_status("ReplicaSet", short["metadata"]["name"], status)
    workload = (world.workload or {})["status"]
    updated = created if growing == "v2" else workload["updatedReplicas"]
    present = sum(each["status"]["replicas"] for each in world.store.of_kind("ReplicaSet"))
    world.store.write_status("Deployment", APP, {**workload, "replicas": present, "updatedReplicas": updated})
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
    matures: bool = False
    """Whether pods are available only some time after they are ready."""


limits = st.sampled_from([0, 1, 2, 5, "10%", "25%", "50%", "100%"])
releases = (
    st.integers(1, 50)
    .flatmap(
        lambda replicas: st.builds(
            Release,
            st.just(replicas),
            st.lists(
                st.integers(1, replicas) | st.sampled_from(["5%", "50%", "99%", "100%"]),
                min_size=1,
                max_size=3,
            ).map(tuple),
            limits,
            limits,
            st.none() | st.integers(1, 50),
            st.integers(0, 60),
            st.booleans(),
        )
    )
    .filter(lambda release: release.surge or release.unavailable)  # no valid strategy
)


@dear(20)
@given(releases)
@example(Release(5, ("20%", "50%", "100%"), 0, 1))
@example(Release(10, ("20%", "50%", "20%"), 1, 0, scaled_to=5, scaled_after=30))
@example(Release(40, (20, 1), "10%", 0))
@example(Release(10, ("60%",), 0, 1, matures=True))
@example(Release(40, ("50%",), 0, "10%", scaled_to=36, scaled_after=31))
def test_available_pods_stay_within_the_limits_while_they_are_exchanged(release: Release) -> None:
    """At every event: never fewer than the owner's limits allow, or than there were; at rest, the step's."""
    strategy = {"maxSurge": release.surge, "maxUnavailable": release.unavailable}
    world = governed(step(None, release.totals[0]), replicas=release.replicas, limits=strategy)
    asked, number, had, rounding = release.replicas, 0, release.replicas, 0
    world.store.matures = release.matures
    world.apply_template("v2")
    for total in release.totals:
        ask_for(world, total)
        for _ in events(world):
            has = ready(world)
            least = asked - controllers.limits({"rollingUpdate": strategy}, asked)[1] - rounding
            assert has >= min(had, least), f"{has} pods after {had}, {least} needed"
            had, number = has, number + 1
            if number == release.scaled_after and release.scaled_to is not None:
                world.scale(release.scaled_to)
                asked = min(asked, release.scaled_to)  # more have no pods yet
                # What a batch may miss was a share of another size, rounded down.
                rounding = int(isinstance(release.unavailable, str))
        asked = (world.workload or {})["spec"]["replicas"]
        invariants.world_at_rest_is_sound(world)
    world.approve_present_step()
    for _ in events(world):
        pass

    assert world.status["phase"] == "Healthy"
    assert world.ready_by_tag() == {"v2": asked}
