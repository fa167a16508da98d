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
from tests.unit.rollout.model.reconciling import look, reconcile, settle
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
        step(None, "20%"), step(None, "100%"), step(None, "100%"), replicas=10, limits=limits, approved=1
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


@pytest.mark.parametrize("up", [0, 1], ids=["before its pods", "with its pods"])
def test_paused_release_hands_no_pod_over(up: int) -> None:
    """Paused while its first pods come up beside the Deployment: there they stay until it is resumed."""
    world = governed(step(None, "10%"), step(None, "100%"), replicas=10)
    world.apply_template("v2")
    for _ in events(world):
        if len(world.store.of_kind("Deployment")) > 1 and ready(world) == 10 + up:
            break
    world.change_spec({"strategy": {"paused": True}})
    settle(world)

    assert world.ready_by_tag()["v1"] == 10
    world.change_spec({"strategy": {"paused": None}})
    settle(world)
    assert world.ready_by_tag() == {"v1": 9, "v2": 1}


@pytest.mark.parametrize("share", ["20%", "60%"])
def test_gate_that_is_torn_open_is_closed_again_however_many_pods_are_new(share: str) -> None:
    """Inside the Deployment, most of its pods may be new though nobody has let the version out."""
    world = released(step(None, share), step(None, "90%"), step(None, "100%"), replicas=10, limits=_MISSING)
    world.tear_gate_open()
    world.torn = True
    settle(world)

    assert world.status["phase"] == "Progressing"
    assert (world.workload or {})["spec"]["paused"]
    world.approve_present_step()
    settle(world)
    assert world.status["canaryStatus"]["currentStepIndex"] == 2


def test_strategy_is_given_back_by_a_rollout_that_releases_nothing_any_more() -> None:
    """Its gate was opened while no webhook answered, then its Rollout was spoilt."""
    world = _marked(_HELD, Kept(_OWN, None, _HELD))
    world.change_spec({"strategy": {"canary": {"steps": "none"}}})
    settle(world)

    assert (world.workload or {})["spec"]["strategy"] == _OWN


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


def test_service_leads_to_no_bad_pod_while_a_version_is_taken_back() -> None:
    """Its pods are the Deployment's own, and go only as fast as the old ones start."""
    limits = {"maxSurge": 0, "maxUnavailable": 2}
    world = released(step(5, "60%"), step(None, "100%"), replicas=10, limits=limits, setting=BY_INGRESS)
    world.apply_template("v1")
    world.held_up = frozenset({"pods"})
    versions = set[str]()
    for _ in range(60):
        moved = reconcile(world, writes=1) + world.run_controllers()
        versions |= {world.store.pods[each].tag for each in world.ready_pods(APP)}
        due = (one := look(world)) and one.plan.look_again_at
        world.now = due if due and not moved else world.now
    world.held_up = frozenset()
    settle(world)

    assert versions == {"v1"}
    assert len(world.ready_pods(APP)) == 10


_HALF_MORE: JsonObject = {"maxSurge": "50%", "maxUnavailable": "20%"}


@pytest.mark.parametrize("how", ["scaled down", "none may be missing"])
def test_no_pod_of_a_new_version_comes_by_another_strategy(how: str) -> None:
    """What a wider one adds goes to the largest revision, which is the new one by then."""
    limits = _HALF_MORE if how == "scaled down" else _MISSING
    world = released(step(5, "80%"), step(None, "100%"), replicas=10, limits=limits, setting=BY_INGRESS)
    if how == "scaled down":
        world.scale(4)
    else:
        wide = {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}
        world.user_patch("Deployment", APP, {"spec": {"strategy": wide}})
    settle(world)

    most = {"scaled down": 3, "none may be missing": 8}[how]
    assert world.ready_by_tag()["v2"] <= most
    assert world.canary_weight() == 5
    assert {world.store.pods[each].tag for each in world.ready_pods(APP)} == {"v1"}
    world.approve_present_step()
    settle(world)
    assert world.status["phase"] == "Healthy"


@pytest.mark.parametrize("limits", [_MORE, None, {"maxSurge": "50%", "maxUnavailable": 0}])
@pytest.mark.parametrize("replicas", [2, 3, 5, 10])
def test_third_version_begins_when_nothing_of_the_second_is_left(
    replicas: int, limits: JsonObject | None
) -> None:
    """Whatever the stable one has by then: the one pod more that was let be for the way back, too."""
    world = released(step(None, "10%"), step(None, "100%"), replicas=replicas, limits=limits)
    world.apply_template("v3")
    for _ in events(world):
        running = {each.tag for each in world.store.pods.values()}
        assert not {"v2", "v3"} <= running

    assert world.ready_by_tag()["v3"] == 1
    assert "v2" not in world.ready_by_tag()


def test_number_that_comes_to_be_all_pods_leaves_a_stable_one() -> None:
    """Scaled to as many as the step has, nobody has approved that all of them are new."""
    world = released(step(5, 5), step(None, "100%"), replicas=10, setting=BY_INGRESS)
    world.scale(5)
    settle(world)

    assert world.ready_by_tag() == {"v1": 1, "v2": 4}
    assert world.canary_weight() == 5


def test_stable_side_without_a_ready_pod_is_told() -> None:
    """The one old pod that is left fails: most requests are held to it, and nobody may decide for them."""
    world = released(step(5, "80%"), step(None, "100%"), replicas=5, limits=_MISSING, setting=BY_INGRESS)
    (last,) = (each.name for each in world.store.pods.values() if each.tag == "v1")
    world.store.stick(last)
    settle(world)
    one = look(world)

    assert "no stable pod behind Service" in world.condition_message
    assert one
    assert "StableNotReady" in {each.reason for each in one.plan.events}
    world.approve_present_step()
    settle(world)
    assert world.status["phase"] == "Healthy"


def test_status_tells_of_pods_that_fail() -> None:
    """One by one, while a step waits for a person: at the end it says that none is ready."""
    limits = {"maxSurge": 0, "maxUnavailable": 2}
    world = released(step(None, "80%"), step(None, "100%"), replicas=10, limits=limits)
    for name in [each.name for each in world.store.pods.values() if each.tag == "v2"]:
        world.store.stick(name)
        settle(world)

    assert (world.release["canaryReplicas"], world.release["canaryReadyReplicas"]) == (8, 0)


@pytest.mark.parametrize("then", ["v1", "v3"])
def test_version_that_has_all_pods_unapproved_is_not_the_one_to_go_back_to(then: str) -> None:
    """A third one begins beside the one that was let out; that one comes back without steps."""
    world = released(step(None, "20%"), step(None, "100%"), step(None, "100%"), replicas=5, approved=1)
    world.apply_template("v3")
    settle(world)
    parts = world.ready_by_tag()
    if then == "v1":
        world.apply_template("v1")
        settle(world)

    assert parts == {"v1": 4, "v3": 1}
    assert world.ready_by_tag() == ({"v1": 5} if then == "v1" else parts)


def test_version_that_was_taken_back_and_given_again_at_once_is_not_its_own_stable_side() -> None:
    """Its pod came in between and took the place of the only other one: that is what it goes back to."""
    world = governed(step(None, 1, headers=("x-user",)), replicas=1, setting=BY_INGRESS)
    world.apply_template("v2")
    stable = revision(world, "v1")["metadata"]["labels"][names.POD_TEMPLATE_HASH]
    while not world.ready_by_tag()["v2"] or len(list(world.store.of_kind("Deployment"))) > 1:
        world.run_controllers()
        reconcile(world, writes=1)
    world.apply_template("v1")
    world.apply_template("v2")
    settle(world)

    assert world.ready_by_tag() == {"v2": 1}
    assert world.release["stableRevision"] == stable
    assert world.release["currentStepState"] == "StepPaused"


def test_version_that_runs_alone_is_not_released_beside_itself() -> None:
    """Its Rollout knew nothing of it any more, and its pod had failed just then: it is let out."""
    world = released(step(None, 1, headers=("x-user",)), replicas=1, setting=BY_INGRESS)
    world.webhook_away = True
    world.repoint("elsewhere")
    reconcile(world)
    for name in world.store.pods:
        world.store.stick(name)
    world.run_controllers()
    world.repoint(APP)
    reconcile(world)
    world.mend()
    settle(world)

    assert not world.gate_closed
    assert world.ready_by_tag() == {"v2": 1}


def test_set_older_than_that_of_the_stable_pods_is_begun_anew() -> None:
    """An earlier version comes again past the webhook: the controller gives to the newer."""
    world = released(step(None, "50%"), replicas=5, limits=_MISSING)
    world.approve_present_step()
    settle(world)
    world.webhook_away = True
    world.broken_tags.add("v1")
    world.apply_template("v1")
    world.run_controllers()
    found = sizes(world)
    while not world.gate_closed:
        assert reconcile(world)
    world.mend()
    settle(world)

    assert found == {"v1": 1, "v2": 4}
    assert world.release["currentStepState"] == "StepPaused"
    assert world.ready_by_tag() == {"v1": 3, "v2": 2}


def test_service_that_is_held_to_another_revision_is_taken_back() -> None:
    """As an earlier release may leave it: it cannot show the pods to which it is to be held."""
    world = released(step(20, 1), replicas=5, setting=BY_INGRESS)
    other = revision(world, "v2")["metadata"]["labels"][names.POD_TEMPLATE_HASH]
    world.engine_patch("Service", APP, {"metadata": {"annotations": {names.PIN: other}}})
    world.run_controllers()
    led = len(world.ready_pods(APP))
    settle(world)

    assert led == 1
    assert len(world.ready_pods(APP)) == 4
    assert world.release["currentStepState"] == "StepPaused"


def test_third_version_begins_where_scaling_took_the_last_stable_pod() -> None:
    """It cannot come back, for none may be missing: what serves alone is the stable side of the third one."""
    world = released(step(20, "50%"), step(100, "100%"), replicas=20, setting=BY_INGRESS)
    world.scale(1)
    settle(world)
    alone = world.ready_by_tag()
    world.apply_template("v3")
    settle(world)

    assert alone == {"v2": 1}
    assert world.ready_pods(APP)
    assert world.release["currentStepState"] == "StepPaused"
    world.approve_present_step()
    settle(world)
    assert world.ready_by_tag() == {"v3": 1}


@every_limit
def test_service_is_not_widened_over_pods_that_are_given_back(limits: JsonObject | None) -> None:
    """Asked to have none, their set has them still when a step of all pods would open the Service."""
    world = released(step(20, 1), step(20, 1), replicas=2, limits=limits, setting=BY_INGRESS, approved=1)
    world.apply_template("v3")
    world.scale(1)
    versions = set[str]()
    for _ in events(world, hasty=True):
        versions |= {pod.tag for name, pod in world.store.pods.items() if name in world.ready_pods(APP)}

    assert versions == {"v1", "v3"}
    assert world.release["currentStepState"] == "StepPaused"


def test_weight_is_the_steps_where_pods_cannot_be_handed_over() -> None:
    """Beside the Deployment, all pods being new does not end the division."""
    world = governed(step(20, "20%"), step(90, "100%"), step(100, "100%"), replicas=5, setting=BY_INGRESS)
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


@every_limit
@pytest.mark.parametrize("up", [1, 2, 5])
@pytest.mark.parametrize("replicas", [1, 2, 10])
def test_version_that_is_woken_by_scaling_up_from_zero_gives_its_pods_back(
    replicas: int, up: int, limits: JsonObject | None
) -> None:
    """A paused Deployment without pods wakes the youngest revision that it has: one that was taken back."""
    world = governed(step(None, 1), step(None, "50%"), replicas=replicas, limits=limits)
    for tag in ("v3", "v1", "v2"):
        world.apply_template(tag)
        settle(world)
    world.scale(0)
    settle(world)
    world.scale(up)
    settle(world)

    assert world.release["currentStepState"] == "StepPaused"
    assert world.ready_by_tag()["v2"] == 1
    assert world.ready_by_tag()["v3"] == 0


@pytest.mark.parametrize("how", ["paused and edited", "plan broken", "route deleted"])
def test_service_leads_to_pods_when_a_release_that_stands_still_loses_its_last_stable_one(how: str) -> None:
    """Whatever a release waits for, requests find a pod."""
    world = released(step(20, "80%"), step(100, "100%"), replicas=5, setting=BY_INGRESS)
    match how:
        case "paused and edited":
            world.change_spec({"strategy": {"paused": True}})
            lowest(world)
            ask_for(world, "90%", "100%")
        case "plan broken":
            world.change_spec({"strategy": {"canary": {"steps": []}}})
        case _:
            world.delete_or_create("Route")
    lowest(world)
    world.scale(1)
    lowest(world)

    assert world.ready_by_tag() == {"v2": 1}
    assert len(world.ready_pods(APP)) == 1
