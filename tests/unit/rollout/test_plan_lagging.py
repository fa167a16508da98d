"""A reconciler one of whose caches has stalled: what others rely on stays, until it sees again."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from rollout import names
from rollout.actions import Action, Confirm, Patch
from rollout.route_kinds import RouteKind, Unseen
from rollout.wire import JsonObject
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import look, reconcile, settle, settle_without_waiting, stale_view
from tests.unit.rollout.model.routing import (
    APP,
    BY_HTTP_ROUTE,
    BY_INGRESS,
    BY_SPLIT,
    SHARED,
    SPLIT_API,
    Setting,
)
from tests.unit.rollout.model.store import Key
from tests.unit.rollout.model.world import World

ROUTES = {"Ingress", "HTTPRoute", "Split"}
MARKED = {"labels": {"track": "canary"}}

every_route = pytest.mark.parametrize(
    "setting",
    [BY_INGRESS, BY_HTTP_ROUTE, BY_SPLIT, SHARED],
    ids=["Ingress", "HTTPRoute", "custom", "custom without a canary Service"],
)


def at_its_first_step(
    setting: Setting, *later: Any, tag: str = "v2", **more: Any
) -> tuple[World, dict[Key, JsonObject]]:
    """Return a world in which 20 % go to the canary, and its objects before any release."""
    world = World(replicas=5, setting=setting)
    world.store.create(rollout([step(20, "20%"), *later], setting=setting, **more))
    settle(world)
    before = dict(world.store.objects)
    world.apply_template(tag)
    settle_without_waiting(world)
    assert world.canary_weight() == 20
    return world, before


def ready(world: World) -> Counter[str]:
    """Count the ready pods of each version, whoever owns them."""
    return Counter(each.tag for each in world.store.pods.values() if each.ready)


def served(world: World) -> tuple[int, int]:
    """Count what the route leads to: Services, and ready pods of the new version."""
    return len(list(world.store.of_kind("Service"))), ready(world)["v2"]


def look_without(world: World, kinds: set[str], before: dict[Key, JsonObject]) -> None:
    """Look often and for long while the watches of some kinds have stalled before the release."""
    for _ in range(20):
        seen = {key: each for key, each in stale_view(world, {}).items() if key[0] not in kinds}
        reconcile(world, seen | {key: each for key, each in before.items() if key[0] in kinds})
        world.run_controllers()
        world.wait(world.grace_seconds)


@pytest.mark.parametrize("ending", ["roll back", "approve", "delete", "disable", "third version"])
@every_route
def test_nothing_is_taken_from_a_route_that_is_not_seen(setting: Setting, ending: str) -> None:
    """The canary keeps its Service and its pods; when the route is seen again, all of it goes."""
    world, before = at_its_first_step(setting, patchPodTemplateMetadata=MARKED)
    at_first = served(world)
    match ending:
        case "roll back":
            world.apply_template("v1")
        case "approve":
            world.approve_present_step()
        case "delete":
            world.store.delete("Rollout", APP)
        case "disable":
            world.change_spec({"disabled": True})
        case _:
            world.apply_template("v3")

    look_without(world, ROUTES, before)
    during = served(world)
    settle(world)

    assert during == at_first
    assert ready(world) == {
        "roll back": {"v1": 5},
        "third version": {"v1": 5, "v3": 1},
    }.get(ending, {"v2": 5})


@every_route
def test_canary_is_not_cut_under_a_weight_that_is_not_seen(setting: Setting) -> None:
    """Back from three pods and 60 % to one and 20 %: pods go after the weight, seen or not."""
    world, before = at_its_first_step(setting, step(60, "60%"))
    settle(world)
    world.approve_present_step()
    settle(world)
    shares = [world.canary_weight()]
    world.write_release({"nextStepIndex": 1})

    look_without(world, ROUTES, before)
    during = served(world)
    settle(world)

    assert shares == [60]
    assert during[1] == 3
    assert (world.canary_weight(), served(world)[1]) == (20, 1)


def test_canary_of_a_route_that_cannot_be_read_outlives_its_version() -> None:
    """A third version, while the API server refuses to show the objects of the route's kind."""
    world, _ = at_its_first_step(BY_SPLIT)
    world.unseen = {RouteKind(SPLIT_API, "Split"): Unseen("forbidden")}
    world.apply_template("v3")

    look_without(world, set(), {})
    during = served(world)
    world.unseen = {}
    settle(world)

    assert during[1] == 1
    assert ready(world) == {"v1": 5, "v3": 1}


@pytest.mark.parametrize("leaving", ["delete", "disable"])
def test_service_is_not_widened_for_a_version_that_was_taken_back(leaving: str) -> None:
    """Back to the first version, then away with the Rollout: the second write is seen before the first."""
    world, _ = at_its_first_step(BY_INGRESS)
    old = world.store.objects["Deployment", APP]
    world.apply_template("v1")
    if leaving == "delete":
        world.store.delete("Rollout", APP)
    else:
        world.change_spec({"disabled": True})

    reconcile(world, stale_view(world, {}) | {("Deployment", APP): old})
    settle(world)

    assert ready(world) == {"v1": 5}


@pytest.mark.parametrize("kinds", [("Deployment",), ("Deployment", "ReplicaSet")], ids=" and ".join)
def test_release_is_not_taken_back_because_it_is_not_seen(kinds: tuple[str, ...]) -> None:
    """Seen before the new version came, a Deployment looks as if that had been taken back."""
    world, before = at_its_first_step(BY_INGRESS)
    service = world.store.get("Service", APP)

    look_without(world, set(kinds), before)

    assert (world.canary_weight(), served(world)) == (20, (2, 1))
    assert world.condition_reason != "Cancelling"
    assert world.store.get("Service", APP) == service


@pytest.mark.parametrize("leaving", [False, True])
def test_workload_that_is_not_seen_keeps_its_release(*, leaving: bool) -> None:
    """Deleted and created again while the watch of Deployments had stalled in between."""
    world, _ = at_its_first_step(BY_INGRESS)
    if leaving:
        world.store.delete("Rollout", APP)

    look_without(world, {"Deployment"}, {})

    assert (world.canary_weight(), served(world)) == (20, (2, 1))
    assert names.IN_PROGRESSING in (world.workload or {})["metadata"]["annotations"]


@pytest.mark.parametrize("leaving", ["delete", "disable"])
def test_pin_that_arrives_when_its_rollout_holds_nothing_any_more_leaves_the_service_wide(
    leaving: str,
) -> None:
    """Sent by a leader that froze between its last look and the write: the Service itself had not changed."""
    world = World(replicas=5)
    world.store.create(rollout([step(20, "20%")]))
    settle(world)
    world.apply_template("v2")
    late = look(world)
    while late and not any(_pins(each) for each in late.plan.actions):
        assert reconcile(world) or world.run_controllers()
        late = look(world)
    assert late
    if leaving == "delete":
        world.store.delete("Rollout", APP)
    else:
        world.change_spec({"disabled": True})
    settle(world)

    (pin,) = (each for each in late.plan.actions if isinstance(each, Patch) and _pins(each))
    world.engine_patch("Service", APP, pin.merge)

    assert len(world.ready_pods(APP)) == 5
    assert names.POD_TEMPLATE_HASH not in world.store.objects["Service", APP]["spec"]["selector"]


def test_service_is_not_pinned_to_a_version_that_is_down_by_an_old_view_of_its_rollout() -> None:
    """Promoted meanwhile, the Service is wide for the only pods that serve."""
    world, _ = at_its_first_step(BY_INGRESS)
    world.broken_tags.add("v1")
    settle(world)
    before = {key: each for key, each in world.store.objects.items() if key[0] == "Rollout"}
    world.approve_present_step()
    while _pinned(world):
        assert reconcile(world, writes=1)

    late = look(world, {**world.store.objects, **before})

    assert late
    asked, pin = late.plan.actions
    assert isinstance(asked, Confirm)
    assert [each.kind for each in asked.targets] == ["Deployment", "ReplicaSet", "Rollout"]
    assert _pins(pin)


def test_service_is_not_pinned_by_a_view_from_before_the_promotion() -> None:
    """The Service alone is seen as it is: wide, and behind it the pods of the version that was promoted."""
    world = World(replicas=5)
    world.store.create(rollout([step(None, "20%")]))
    settle(world)
    world.apply_template("v2")
    settle(world)
    before = {key: each for key, each in world.store.objects.items() if key[0] != "Service"}
    world.approve_present_step()
    settle(world)

    reconcile(world, {**world.store.objects, **before})
    world.run_controllers()

    assert len(world.ready_pods(APP)) == 5
    assert not _pinned(world)


def _pinned(world: World) -> bool:
    return names.PIN in (world.store.objects["Service", APP]["metadata"].get("annotations") or {})


def _pins(action: Action) -> bool:
    return isinstance(action, Patch) and action.target.kind == "Service"


def test_http_route_gets_a_weight_when_its_gateway_knows_the_canary() -> None:
    """It is named with weight 0 first; what its Gateway has not accepted yet may be in no proxy."""
    world = World(replicas=5, setting=BY_HTTP_ROUTE)
    world.store.create(rollout([step(20, "20%")], setting=BY_HTTP_ROUTE))
    settle(world)
    world.apply_template("v2")
    while not _named(world):
        assert world.run_controllers() or reconcile(world, writes=1)

    for _ in range(5):
        reconcile(world)
    unaccepted = world.canary_weight()
    settle_without_waiting(world)

    assert unaccepted == 0
    assert world.canary_weight() == 20


def _named(world: World) -> bool:
    rules = world.store.objects["HTTPRoute", APP]["spec"]["rules"]
    return any(each["name"] == f"{APP}-canary" for one in rules for each in one["backendRefs"])


@every_route
def test_grace_is_counted_from_the_write_and_not_from_its_plan(setting: Setting) -> None:
    """A process that stands still between plan and write has sent requests to the canary all that time."""
    world, _ = at_its_first_step(setting)
    world.apply_template("v1")
    for _ in range(6):
        world.run_controllers()
        stalled = look(world)
        assert stalled is not None
        world.wait(2)
        sum(stalled.writes)
        if not world.canary_weight():
            break
    silent = world.now

    settle(world)

    assert world.now - silent == timedelta(seconds=world.grace_seconds)


def test_revision_that_a_view_does_not_show_yet_is_not_taken_for_deleted() -> None:
    """ReplicaSets as they were before the stable one was made: the one before it serves there, all of it."""
    world = World(tag="v0", replicas=5, setting=BY_INGRESS)
    world.store.create(rollout([step(20, "20%"), step(None, "100%")], setting=BY_INGRESS))
    settle(world)
    before = {key: each for key, each in world.store.objects.items() if key[0] == "ReplicaSet"}
    world.apply_template("v1")
    settle(world)
    world.approve_present_step()
    settle(world)
    world.apply_template("v2")
    settle(world)
    now = dict(world.store.objects)

    reconcile(world, {key: each for key, each in now.items() if key[0] != "ReplicaSet"} | before)

    assert dict(world.store.objects) == now
    assert world.release["currentStepState"] == "StepPaused"
