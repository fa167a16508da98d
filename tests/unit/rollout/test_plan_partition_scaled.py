"""Partition style where somebody scales, changes the limits or ends it at the worst moment."""

import json

import pytest

from reconciler.strays import freed
from rollout import names
from rollout.strategy import Kept
from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.objects import step
from tests.unit.rollout.model.partitions import (
    ask_for,
    events,
    governed,
    lowest,
    ready,
    released,
    revision,
    sizes,
)
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP, BY_INGRESS
from tests.unit.rollout.model.world import World

_MISSING: JsonObject = {"maxSurge": 0, "maxUnavailable": 1}
_MORE: JsonObject = {"maxSurge": 1, "maxUnavailable": 0}

every_limit = pytest.mark.parametrize("limits", [None, _MISSING, _MORE], ids=["default", "missing", "more"])


@every_limit
@pytest.mark.parametrize(("replicas", "through"), [(1, ()), (10, (1,))], ids=["from one", "to one and back"])
def test_stable_pods_come_back_to_a_deployment_that_was_scaled_up(
    replicas: int, through: tuple[int, ...], limits: JsonObject | None
) -> None:
    """An empty revision has the numbers of the time when it got empty: reckoned from these, all others go."""
    world = released(step(None, "50%"), step(None, "100%"), replicas=replicas, limits=limits)
    for each in through:
        world.scale(each)
        settle(world)
    world.scale(10)
    world.run_controllers()
    allowed = controllers.limits({"rollingUpdate": limits or {}}, 10)[1]

    assert lowest(world) >= 10 - allowed
    assert world.ready_by_tag()["v1"] == (0 if limits == _MORE else 5)  # where none may be missing, none goes


@pytest.mark.parametrize("ending", ["roll back", "delete", "disable", "resume"])
def test_deployment_rolls_on_whatever_ends_a_way_back_that_was_begun(ending: str) -> None:
    """Its controller was kept from taking stable pods away: by nothing that keeps it from rolling out."""
    limits = {"maxSurge": 0, "maxUnavailable": 2}
    world = released(
        step(None, "20%"), step(None, 10), step(None, "100%"), replicas=10, limits=limits, approved=1
    )
    world.write_release({"nextStepIndex": 1})
    while names.DESIRED_REPLICAS in revision(world, "v2")["metadata"]["annotations"]:
        assert reconcile(world, writes=1) or world.run_controllers()
    match ending:
        case "roll back":
            world.apply_template("v1")
        case "delete":
            world.store.delete("Rollout", APP)
        case "disable":
            world.change_spec({"disabled": True})
        case _:
            world.tear_gate_open()
            world.torn = True
    settle(world)
    if ending != "roll back":
        world.torn = True
        if world.rollout:
            world.store.delete("Rollout", APP)
            settle(world)
        world.apply_template("v1")
        world.run_controllers()

    assert world.ready_by_tag() == {"v1": 10}


def test_paused_release_stops_in_the_middle_of_a_batch() -> None:
    """No further pod is replaced; the one that was on its way arrives."""
    world = released(step(None, "10%"), step(None, "90%"), step(None, "100%"), replicas=20, limits=_MISSING)
    world.approve_present_step()
    for _ in events(world):
        if sizes(world)["v2"] == 5:
            break
    world.change_spec({"strategy": {"paused": True}})
    settle(world)

    assert world.ready_by_tag() == {"v1": 15, "v2": 5}
    world.change_spec({"strategy": {"paused": None}})
    settle(world)
    assert world.ready_by_tag() == {"v1": 2, "v2": 18}


@pytest.mark.parametrize("limits", [None, {"maxSurge": 1, "maxUnavailable": "25%"}], ids=["default", "one"])
@pytest.mark.parametrize("replicas", [2, 3, 4])
@pytest.mark.parametrize("share", ["50%", "60%"])
def test_pod_more_does_not_make_all_of_a_small_deployment_new(
    share: str, replicas: int, limits: JsonObject | None
) -> None:
    """Scaled so far down that none may be missing: the pod that replaces one would go to the new version."""
    world = released(step(None, share), step(None, "100%"), replicas=10, limits=limits)
    world.scale(replicas)
    settle(world)

    assert world.ready_by_tag()["v1"] >= 1
    world.approve_present_step()
    settle(world)
    assert world.ready_by_tag() == {"v2": replicas}


def test_wider_strategy_does_not_make_all_pods_new() -> None:
    """Another plan asks for larger batches, or the owner for other limits."""
    steps = (step(None, "30%"), step(None, "60%"), step(None, "90%"), step(None, "100%"))
    edited = released(*steps, replicas=10, limits={"maxSurge": "50%", "maxUnavailable": 0}, approved=2)
    ask_for(edited, "40%", "90%", "90%", "100%")
    settle(edited)
    owned = released(step(None, "80%"), step(None, "100%"), replicas=5, limits=_MISSING)
    owned.user_patch("Deployment", APP, {"spec": {"strategy": {"rollingUpdate": _MORE}}})
    settle(owned)

    assert edited.ready_by_tag()["v1"] >= 1
    assert owned.ready_by_tag()["v1"] >= 1


@every_limit
@pytest.mark.parametrize(("share", "replicas"), [("90%", 3), ("80%", 2), ("50%", 1), ("20%", 1), ("60%", 2)])
def test_service_leads_to_pods_when_scaling_took_the_last_stable_one(
    share: str, replicas: int, limits: JsonObject | None
) -> None:
    """Held to a revision that has none left, it would lead nowhere until a new one has started."""
    world = released(step(20, share), step(100, "100%"), replicas=10, limits=limits, setting=BY_INGRESS)
    world.scale(replicas)
    world.run_controllers()
    world.held_up = frozenset({"pods"})
    for _ in range(60):
        if not reconcile(world) and not world.run_controllers():
            break
    while_none_starts = world.ready_pods(APP)
    world.held_up = frozenset()
    settle(world)

    assert while_none_starts
    assert world.ready_pods(APP)


@pytest.mark.parametrize("then", ["v1", "v3"])
def test_version_that_has_all_pods_unapproved_is_not_the_one_to_go_back_to(then: str) -> None:
    """A third one begins beside the one that was let out; that one comes back without steps."""
    world = released(step(None, "20%"), step(None, 5), step(None, "100%"), replicas=5, approved=1)
    world.apply_template("v3")
    settle(world)
    parts = world.ready_by_tag()
    if then == "v1":
        world.apply_template("v1")
        settle(world)

    assert parts == {"v1": 4, "v3": 1}
    assert world.ready_by_tag() == ({"v1": 5} if then == "v1" else parts)


def test_weight_is_the_steps_where_pods_cannot_be_handed_over() -> None:
    """Beside the Deployment, all pods being new does not end the division."""
    world = governed(step(20, "20%"), step(90, 5), step(100, "100%"), replicas=5, setting=BY_INGRESS)
    rival = {**(world.workload or {}), "metadata": {"name": "rival"}, "status": {}}
    world.foreign.add("rival")
    labels = {"app": APP, "of": "rival"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "web:v9"}]}}
    world.store.create({**rival, "spec": {**rival["spec"], "replicas": 0, "template": template}})
    world.apply_template("v2")
    lowest(world)
    world.approve_present_step()
    lowest(world)

    assert world.canary_weight() == 90


def _marked(strategy: JsonObject, kept: Kept) -> World:
    world = governed(step(None, "20%"), step(None, "100%"), replicas=5)
    mark = {"metadata": {"annotations": {names.STRATEGY: kept.annotation()}}}
    world.store.patch("Deployment", APP, {**mark, "spec": {"strategy": strategy}})
    return world


_OWN, _HELD, _OTHER = (
    {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    for surge, unavailable in (("25%", "25%"), (0, "25%"), ("50%", 0))
)


@pytest.mark.parametrize(("in_force", "expected"), [(_HELD, _OWN), (_OTHER, _OTHER)], ids=["ours", "theirs"])
def test_only_a_strategy_of_ours_is_replaced_by_the_one_that_was_declared(
    in_force: JsonObject, expected: JsonObject
) -> None:
    """A mark may have been left for long: what its owner wrote since is not to be overwritten."""
    world, kept = _marked(in_force, Kept(_OWN, _HELD)), Kept(_OWN, _HELD)
    stray = {**(world.workload or {}), "metadata": {**(world.workload or {})["metadata"], "name": "other"}}
    patch = freed(stray) or {}
    settle(world)

    workload = world.workload or {}
    assert workload["spec"]["strategy"] == expected
    assert names.STRATEGY not in workload["metadata"]["annotations"]
    assert patch["metadata"]["annotations"] == {names.STRATEGY: None}
    assert ("strategy" in patch["spec"]) == (in_force == kept.held)
    assert ready(world) == 5


@pytest.mark.parametrize("approved", [0, 1], ids=["first step", "second step"])
@pytest.mark.parametrize("ending", ["roll back", "delete", "disable", "promote"])
def test_strategy_is_its_owners_again_when_no_webhook_follows_the_marks(ending: str, approved: int) -> None:
    """The mark is written first and moves nothing: what is still in force is ours, not an owner's."""
    steps = (step(None, "20%"), step(None, "50%"), step(None, "100%"))
    world = released(*steps, replicas=10, approved=approved)
    declared = json.loads((world.workload or {})["metadata"]["annotations"][names.STRATEGY])["declared"]
    while ending == "promote" and world.status["canaryStatus"]["currentStepIndex"] < 3:
        world.approve_present_step()
        settle(world)
    world.webhook_away = True
    match ending:
        case "roll back":
            world.apply_template("v1")
        case "delete":
            world.store.delete("Rollout", APP)
        case "disable":
            world.change_spec({"disabled": True})
        case _:
            world.write_release({"currentStepState": "StepReady"})
    settle(world)

    workload = world.workload or {}
    assert workload["spec"]["strategy"] == declared
    assert names.STRATEGY not in workload["metadata"]["annotations"]


def test_strategy_that_is_written_past_the_webhook_is_its_owners_at_the_end() -> None:
    """Overwritten in the middle of the release, it is not forgotten."""
    world = released(step(None, "20%"), step(None, "100%"), replicas=10)
    world.webhook_away = True
    world.user_patch("Deployment", APP, {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "60%"}}}})
    settle(world)
    held = (world.workload or {})["spec"]["strategy"]["rollingUpdate"]
    world.webhook_away = False
    world.approve_present_step()
    settle(world)

    assert held == {"maxSurge": 0, "maxUnavailable": "25%"}
    assert world.ready_by_tag() == {"v2": 10}
    assert (world.workload or {})["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == "60%"


def test_strategy_that_a_mark_was_to_replace_is_ours_too() -> None:
    """Nobody followed the mark before the release was over: the one before it is still in force."""
    wider = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}}
    world = _marked(_HELD, Kept(_OWN, wider, replaces=_HELD))
    settle(world)

    assert (world.workload or {})["spec"]["strategy"] == _OWN


def test_mark_that_names_no_strategy_is_nobodys() -> None:
    """Forged, it must not keep a Rollout from going."""
    world = governed(step(None, "20%"), step(None, "100%"), replicas=5)
    forged = '{"declared":{"rollingUpdate":{"maxSurge":"x%"}}}'
    world.store.patch("Deployment", APP, {"metadata": {"annotations": {names.STRATEGY: forged}}})
    world.store.delete("Rollout", APP)
    settle(world)

    assert world.rollout is None
