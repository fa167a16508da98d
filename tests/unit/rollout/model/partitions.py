"""Deployments inside which a release goes on: put there, moved on by single events, and looked at."""

from collections.abc import Iterator
from typing import Any

from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.controllers import tag_of
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import look, reconcile, settle
from tests.unit.rollout.model.routing import UNROUTED, Setting
from tests.unit.rollout.model.world import World

MOST_EVENTS = 8000  # of a release of 50 pods; one that needs more hangs


def governed(
    *steps: dict[str, Any], replicas: int, limits: JsonObject | None = None, setting: Setting = UNROUTED
) -> World:
    """Return a Deployment at rest, with a plan in partition style."""
    world = World(replicas=replicas, limits=limits, setting=setting)
    world.more = {"enableExtraWorkloadForCanary": False}
    world.store.create(rollout(list(steps), setting=setting, **world.more))
    settle(world)
    return world


def released(
    *steps: dict[str, Any],
    replicas: int,
    limits: JsonObject | None = None,
    setting: Setting = UNROUTED,
    approved: int = 0,
) -> World:
    """Return one whose release rests at a step, after so many approvals."""
    world = governed(*steps, replicas=replicas, limits=limits, setting=setting)
    world.apply_template("v2")
    settle(world)
    for _ in range(approved):
        world.approve_present_step()
        settle(world)
    return world


def ask_for(world: World, *totals: int | str) -> None:
    """Rewrite the plan; KubeVela's canary-deploy does so with its only step."""
    world.change_spec({"strategy": {"canary": {"steps": [step(None, each) for each in totals]}}})


def revision(world: World, tag: str) -> JsonObject:
    """Return the ReplicaSet of a version."""
    (found,) = (each for each in world.store.of_kind("ReplicaSet") if tag_of(each["spec"]["template"]) == tag)
    return found


def sizes(world: World) -> dict[str, int]:
    """Return how many pods each version is asked to have."""
    sets = world.store.of_kind("ReplicaSet")
    return {tag_of(each["spec"]["template"]): each["spec"]["replicas"] for each in sets}


def ready(world: World) -> int:
    """Count the pods that are ready, and have been for as long as is asked of them."""
    return sum(world.store.is_available(each) for each in world.store.pods.values())


def events(world: World, *, hasty: bool = False) -> Iterator[None]:
    """Let the release go on by single events: a write of ours when the controllers have nothing to do.

    ``hasty``: the other way round.
    """

    def theirs() -> bool:
        return controllers.run_one(world.store, world.broken_tags)

    def ours() -> bool:
        return bool(reconcile(world, writes=1))

    for _ in range(MOST_EVENTS):
        if not (ours() or theirs() if hasty else theirs() or ours()):
            one = look(world)
            due = one.plan.look_again_at if one else None
            if due is not None:
                world.now = due
            elif not world.store.mature():
                return
        yield
    invariants.fail("hang", f"no rest after {MOST_EVENTS} events: {world.status}")


def lowest(world: World) -> int:
    """Let the release come to rest; return how few pods were ready at any event."""
    least = ready(world)
    for _ in events(world):
        least = min(least, ready(world))
    return least
