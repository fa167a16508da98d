"""Drills, as in ``drills``, of releases that go on inside the Deployment."""

from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.drills import ends_healthy
from tests.unit.rollout.model.objects import step
from tests.unit.rollout.model.partitions import events, ready, released, sizes
from tests.unit.rollout.model.reconciling import look, reconcile, settle
from tests.unit.rollout.model.routing import APP, BY_INGRESS, UNROUTED, Setting
from tests.unit.rollout.model.world import World

_WRITES = 60  # of ours: more than a roll-back takes

_MISSING: JsonObject = {"maxSurge": 0, "maxUnavailable": 1}


def _within_limits(world: World, limits: JsonObject) -> None:
    """Let the release come to rest, with enough pods available at every event."""
    replicas = (world.workload or {})["spec"]["replicas"]
    least = replicas - controllers.limits({"rollingUpdate": limits}, replicas)[1]
    for _ in events(world):
        has = ready(world)
        invariants.expect("within-limits", holds=has >= least, text=f"{has} pods where {least} are the least")


def _at_first_step(share: str, limits: JsonObject, setting: Setting = UNROUTED) -> World:
    steps = (step(5, share), step(60, "90%"), step(100, "100%"))
    return released(*steps, replicas=10, limits=limits, setting=setting)


def batches() -> None:
    """Exchange ten pods, one at a time, each of which is available only a while after it is ready."""
    world = _at_first_step("20%", _MISSING)
    world.store.matures = True
    for _ in range(2):
        world.approve_present_step()
        _within_limits(world, _MISSING)
    ends_healthy(world, succeeded=True)


def batches_with_a_surge() -> None:
    """Exchange them with as many pods more as the owner allows, and none missing."""
    limits: JsonObject = {"maxSurge": "30%", "maxUnavailable": 0}
    world = _at_first_step("20%", limits)
    for _ in range(2):
        world.approve_present_step()
        _within_limits(world, limits)
    ends_healthy(world, succeeded=True)


def no_more_pods() -> None:
    """Give the one version what the other gets, though the owner allows half as many pods more."""
    world = _at_first_step("20%", {"maxSurge": "50%", "maxUnavailable": "20%"})
    has = ready(world)
    invariants.expect("no-more-pods", holds=has == 10, text=f"{has} pods, 10 are asked for")


def taken_back() -> None:
    """Take six bad pods of ten back, while the old ones take long to start."""
    world = _at_first_step("60%", {"maxSurge": 0, "maxUnavailable": 2}, BY_INGRESS)
    world.apply_template("v1")
    world.held_up = frozenset({"pods"})
    for _ in range(_WRITES):
        moved = reconcile(world, writes=1) + world.run_controllers()
        due = (one := look(world)) and one.plan.look_again_at
        world.now = due if due and not moved else world.now
        found = {world.store.pods[each].tag for each in world.ready_pods(APP)}
        invariants.expect("no-bad-request", holds="v2" not in found, text=f"{APP} leads to {found}")
    world.held_up = frozenset()
    ends_healthy(world, succeeded=False)


def third_version() -> None:
    """Release a third version: the second one's pods go before it has any."""
    world = _at_first_step("10%", {"maxSurge": 1, "maxUnavailable": 0})
    world.apply_template("v3")
    for _ in events(world):
        tags = {each.tag for each in world.store.pods.values()}
        invariants.expect("two-versions", holds=not {"v2", "v3"} <= tags, text=f"{tags} run side by side")
    for _ in range(2):
        world.approve_present_step()
        settle(world)
    ends_healthy(world, succeeded=True)


def scaled_down() -> None:
    """Scale to where none may be missing: what the owner allows beside them goes to nobody new."""
    world = _at_first_step("80%", {"maxSurge": "50%", "maxUnavailable": "20%"}, BY_INGRESS)
    world.scale(4)
    most = 8
    for _ in events(world):
        new = sizes(world)["v2"]
        invariants.expect("unapproved-pods", holds=new <= most, text=f"{new} new pods after {most}")
        most = new
    for _ in range(2):
        world.approve_present_step()
        settle(world)
    ends_healthy(world, succeeded=True)


DRILLS = (batches, batches_with_a_surge, no_more_pods, taken_back, third_version, scaled_down)
