"""A reconciler one of whose caches has stalled: it must not take away what a route leads to."""

from typing import Any

import pytest

from rollout import names
from rollout.wire import JsonObject
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import reconcile, settle, settle_without_waiting, stale_view
from tests.unit.rollout.model.routing import APP, BY_HTTP_ROUTE, BY_INGRESS, Setting
from tests.unit.rollout.model.store import Key
from tests.unit.rollout.model.world import World

CANARY = f"{APP}-canary"
ROUTES = ("Ingress", "HTTPRoute")
OURS = ("Deployment", "ReplicaSet")


def at_its_first_step(setting: Setting, *later: Any) -> tuple[World, dict[Key, JsonObject]]:
    """Return a world in which 20 % go to the canary, and its objects before any release."""
    world = World(replicas=5, setting=setting)
    world.store.create(rollout([step(20, "20%"), *later], setting=setting))
    settle(world)
    before = dict(world.store.objects)
    world.apply_template("v2")
    settle_without_waiting(world)
    assert world.canary_weight() == 20
    return world, before


def served(world: World) -> tuple[bool, int]:
    """Tell what the route leads to: whether the canary's Service exists, and its ready pods."""
    return world.store.get("Service", CANARY) is not None, len(world.ready_pods(CANARY))


def without_routes(world: World, before: dict[Key, JsonObject]) -> dict[Key, JsonObject]:
    """Return what is seen when the watches of all routes have stalled before the release."""
    seen = {key: each for key, each in stale_view(world, {}).items() if key[0] not in ROUTES}
    return seen | {key: each for key, each in before.items() if key[0] in ROUTES}


BOTH = pytest.mark.parametrize("setting", [BY_INGRESS, BY_HTTP_ROUTE], ids=["Ingress", "HTTPRoute"])


@pytest.mark.parametrize("ending", ["roll back", "approve", "delete", "disable", "third version"])
@BOTH
def test_nothing_is_taken_from_a_route_that_is_not_seen(setting: Setting, ending: str) -> None:
    """However often it looks, the canary keeps its Service and its pods; when it sees again, all goes."""
    world, before = at_its_first_step(setting)
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

    for _ in range(20):
        reconcile(world, without_routes(world, before))
        world.run_controllers()
    during = served(world)
    settle(world)

    assert during == (True, 1)
    assert served(world) == ((True, 1) if ending == "third version" else (False, 0))


@BOTH
def test_canary_is_not_cut_under_a_weight_that_is_not_seen(setting: Setting) -> None:
    """Back from three pods and 60 % to one and 20 %: pods go after the weight, seen or not."""
    world, before = at_its_first_step(setting, step(60, "60%"))
    settle(world)
    world.approve_present_step()
    settle(world)
    shares = [world.canary_weight()]
    world.write_release({"nextStepIndex": 1})

    for _ in range(20):
        reconcile(world, without_routes(world, before))
        world.run_controllers()
    during = served(world)
    settle(world)

    assert shares == [60]
    assert during == (True, 3)
    assert (world.canary_weight(), served(world)) == (20, (True, 1))


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

    assert world.ready_by_tag() == {"v1": 5}


def test_service_is_not_widened_for_a_release_that_is_not_seen() -> None:
    """Seen before the new version came, a Deployment looks as if that had been taken back."""
    world, before = at_its_first_step(BY_INGRESS)
    old = {key: each for key, each in before.items() if key[0] in OURS}

    for _ in range(20):
        fresh = {key: each for key, each in stale_view(world, {}).items() if key[0] not in OURS}
        reconcile(world, fresh | old)
        world.run_controllers()
        world.wait(world.grace_seconds)
    service = world.store.get("Service", APP)

    assert service
    assert names.POD_TEMPLATE_HASH in service["spec"]["selector"]
