"""The reconciler's loop without its process: observe, plan, write the status, act, each write on its own.

Every write is judged before the world sees it (``invariants``), so that a rule names the write
that broke it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rollout.actions import Confirm, Create, Delete, Patch, Propagation, Target, Write
from rollout.dating import dated
from rollout.observation import observe
from rollout.release.plan import Plan, plan
from rollout.snapshot import Snapshot
from rollout.status import write_status
from rollout.wire import JsonObject
from tests.unit.rollout.model import invariants
from tests.unit.rollout.model.routing import APP, SCRIPTS, USERS_KINDS
from tests.unit.rollout.model.store import Conflict, Key, NotFound, Refused
from tests.unit.rollout.model.world import World

PLANNED_TWICE = 5  # of so many plans one is made a second time, to see that it is the same
ROUNDS = 200  # a release of three steps takes about 40; one that needs five times that hangs


@dataclass
class Pass:
    """One pass of a reconciler: its snapshot, its plan, and the writes that are still to be made."""

    snapshot: Snapshot
    plan: Plan
    writes: Iterator[bool]

    @property
    def is_empty(self) -> bool:
        """Whether the plan asks for nothing."""
        writes = (*self.plan.actions, *self.plan.courtesies)
        return not writes and self.plan.status == self.snapshot.rollout.status


def look(world: World, view: Mapping[Key, JsonObject] | None = None) -> Pass | None:
    """Observe the world (or a stale view of it) and plan; None while there is no Rollout to see."""
    objects = world.store.objects if view is None else view
    rollout = objects.get(("Rollout", APP))
    if rollout is None:
        return None
    around = [each for (kind, _), each in objects.items() if kind not in {"Rollout", *USERS_KINDS}]
    around += [each.manifest for each in world.store.pods.values()]
    shown = USERS_KINDS - {each.kind for each in world.unseen}
    routed = [each for (kind, _), each in objects.items() if kind in shown]
    snapshot = observe(rollout, around, world.now, routed, world.unseen, SCRIPTS)
    made = plan(snapshot)
    world.looks += 1
    again = plan(snapshot) if world.looks % PLANNED_TWICE == 0 else made
    invariants.plan_is_sound(snapshot, made, again)
    # Judged now, and only from the present Rollout: what comes too late, the API server refuses.
    if made.status != snapshot.rollout.status and rollout == world.rollout:
        invariants.status_write_is_allowed(world, snapshot, made)
    return Pass(snapshot, made, _execute(world, snapshot, made))


def stale_view(world: World, ages: Mapping[str, int]) -> dict[Key, JsonObject]:
    """Return what caches of these ages, counted in events and by kind, would show together."""
    view: dict[Key, JsonObject] = {}
    states = [*world.past, world.store.objects]
    kinds = {kind for state in states for kind, _ in state}
    for kind in sorted(kinds):
        state = states[max(0, len(states) - 1 - ages.get(kind, 0))]
        view.update({key: each for key, each in state.items() if key[0] == kind})
    return view


def _execute(world: World, snapshot: Snapshot, made: Plan) -> Iterator[bool]:
    """Write status, then actions; stop at the first that is refused. Yields after each write."""
    if made.status != snapshot.rollout.status:
        if not all(_is_confirmed(world, each) for each in made.actions if isinstance(each, Confirm)):
            return
        target = snapshot.rollout.target
        try:
            world.store.write_status("Rollout", APP, write_status(made.status), target.resource_version)
        except Refused:
            return
        invariants.note_status(world, snapshot, made.status)
        invariants.world_is_sound(world)
        world.remember()
        yield True
    spare = made.courtesies if made.status == snapshot.rollout.status and not made.actions else ()
    for action in (*made.actions, *spare):
        if isinstance(action, Confirm):
            if not _is_confirmed(world, action):
                return
            continue
        kind, name = _addressed(action)
        old = world.store.get(kind, name)
        try:
            _act(world, action)
        except Refused:
            return
        new = world.store.get(kind, name)
        invariants.write_is_allowed(world, snapshot, action, old, new)
        invariants.world_is_sound(world)
        world.remember()
        yield True
    world.events += made.events


def _is_confirmed(world: World, action: Confirm) -> bool:
    return all(_is_as_observed(world, each) for each in action.targets)


def _is_as_observed(world: World, target: Target) -> bool:
    live = world.store.get(target.kind, target.name)
    return target.resource_version == (live["metadata"]["resourceVersion"] if live else "")


def _addressed(action: Write) -> Key:
    if isinstance(action, Create):
        return action.kind, action.name
    return action.target.kind, action.target.name


def _act(world: World, action: Write) -> None:
    match action if isinstance(action, Delete) else dated(action, world.now):
        case Create(manifest):
            world.store.create(manifest)
        case Patch(target, merge) if target.kind == "Pod":
            world.store.label_pod(target.name, merge)
        case Patch(target, merge):
            world.engine_patch(target.kind, target.name, merge)
        case Delete(target, _, propagation):
            found = world.store.get(target.kind, target.name)
            if found is None:
                raise NotFound(target)
            seen = (found["metadata"]["uid"], found["metadata"]["resourceVersion"])
            if seen != (target.uid, target.resource_version):
                raise Conflict(target)
            world.store.delete(target.kind, target.name, orphan=propagation is Propagation.ORPHAN)


def reconcile(world: World, view: Mapping[Key, JsonObject] | None = None, *, writes: int = 1000) -> int:
    """Make one pass, crashing after ``writes`` writes; return how many were made."""
    return _carried_out(look(world, view), writes)


def _carried_out(one: Pass | None, writes: int = 1000) -> int:
    made = 0
    while one is not None and made < writes and next(one.writes, False):
        made += 1
    return made


def settle(world: World, *, rounds: int = ROUNDS) -> int:
    """Run controllers and reconciler fairly until nothing is left to do; return the number of our writes.

    The clock only moves when the plan asks for it. Fails when the world does not come to rest.
    """
    total = 0
    for _ in range(rounds):
        events = world.run_controllers()
        invariants.world_is_sound(world)
        world.remember()
        one = look(world)
        made = _carried_out(one)
        total += made
        if not made and not events:
            if world.free_strays():
                continue
            if one is None:
                return total
            if not one.is_empty:
                continue
            if one.plan.look_again_at is None:
                invariants.world_at_rest_is_sound(world)
                return total
            assert one.plan.look_again_at > world.now, "the plan asks to look again at a time that has passed"
            world.now = one.plan.look_again_at
    return invariants.fail("hang", f"no rest after {rounds} rounds: {world.status}")


def settle_without_waiting(world: World) -> None:
    """Come to rest as far as that is possible without the clock moving."""
    for _ in range(ROUNDS):
        events = world.run_controllers()
        if not reconcile(world) and not events:
            return
    invariants.fail("livelock", f"writes for ever while the clock stands: {world.status}")
