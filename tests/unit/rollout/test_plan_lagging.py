"""A reconciler one of whose caches has stalled: it must not take away what a route leads to."""

import pytest

from rollout.wire import JsonObject
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import reconcile, settle, settle_without_waiting, stale_view
from tests.unit.rollout.model.routing import APP, BY_HTTP_ROUTE, BY_INGRESS, Setting
from tests.unit.rollout.model.store import Key
from tests.unit.rollout.model.world import World

CANARY = f"{APP}-canary"


def at_its_first_step(setting: Setting) -> tuple[World, dict[Key, JsonObject]]:
    """Return a world in which 20 % go to the canary, and its objects before any release."""
    world = World(replicas=5, setting=setting)
    world.store.create(rollout([step(20, "20%")], setting=setting))
    settle(world)
    before = dict(world.store.objects)
    world.apply_template("v2")
    settle_without_waiting(world)
    assert world.canary_weight() == 20
    return world, before


def served(world: World) -> tuple[bool, int]:
    """Tell what the route leads to: whether the canary's Service exists, and its ready pods."""
    return world.store.get("Service", CANARY) is not None, len(world.ready_pods(CANARY))


@pytest.mark.parametrize("ending", ["roll back", "approve", "delete", "disable", "third version"])
@pytest.mark.parametrize("setting", [BY_INGRESS, BY_HTTP_ROUTE], ids=["Ingress", "HTTPRoute"])
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
        lagging = stale_view(world, {})
        routes = [key for key in lagging if key[0] in {"Ingress", "HTTPRoute"}]
        reconcile(
            world,
            {key: each for key, each in lagging.items() if key not in routes}
            | {key: before[key] for key in routes if key in before},
        )
        world.run_controllers()
    during = served(world)
    settle(world)

    assert during == (True, 1)
    assert served(world) == ((True, 1) if ending == "third version" else (False, 0))


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
