"""What must never happen, each as a function that fails with the rule's name.

Rules about a write are judged against the snapshot the write was made from (a reconciler cannot
know better) and, where an older view must do no harm either, against the world as it is.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import NoReturn

from rollout import names
from rollout.actions import Create, Delete, Patch, Propagation, Write
from rollout.observation import read_deployment, read_replica_set
from rollout.parsing import parse
from rollout.release.engagement import resolved
from rollout.release.plan import Plan
from rollout.revision import steps_counted, template_digest
from rollout.snapshot import Deployment, ReplicaSet, Snapshot
from rollout.spec import RolloutSpec, Step
from rollout.status import Phase, Reason, Release, Status, StepState, read_status
from rollout.wire import JsonObject
from tests.unit.rollout.model.controllers import bare, selects, tag_of
from tests.unit.rollout.model.objects import template
from tests.unit.rollout.model.routing import APP, NOTHING, Share, asked_by, joined, sent_by
from tests.unit.rollout.model.store import ORPHAN_FINALIZER, Pod, maker_of, owner_of
from tests.unit.rollout.model.world import World


class InvariantBroken(AssertionError):  # noqa: N818 - the rule is broken, the program is not
    """A rule was broken; ``rule`` is its name."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule


def fail(rule: str, text: str) -> NoReturn:
    """Report a broken rule."""
    raise InvariantBroken(rule, text)


def expect(rule: str, *, holds: bool, text: str) -> None:
    """Report a rule as broken unless it holds."""
    if not holds:
        fail(rule, text)


# --- the plan as a value -----------------------------------------------------------------------------


def plan_is_sound(snapshot: Snapshot, made: Plan, again: Plan) -> None:
    """Demand the same plan again, a look into the future alone, and writes that name what they saw."""
    expect("deterministic", holds=made == again, text=f"{made} != {again}")
    due = made.look_again_at
    expect("future", holds=due is None or due > snapshot.now, text=f"look again at {due}, now {snapshot.now}")
    for action in made.actions:
        if isinstance(action, Patch):
            guards = action.merge.get("metadata", {})
            wanted = {"uid": action.target.uid, "resourceVersion": action.target.resource_version}
            expect("guarded", holds=wanted.items() <= guards.items(), text=f"{action} is not guarded")


# --- status writes -----------------------------------------------------------------------------------


def status_write_is_allowed(world: World, snapshot: Snapshot, made: Plan) -> None:
    """Let a step be left only when it was reached and approved, or by a jump that a client asked for."""
    spec, before, after = snapshot.rollout.spec, snapshot.rollout.status, made.status
    old, new = before.release, after.release
    begins = before.phase is Phase.HEALTHY and after.phase is Phase.PROGRESSING
    again = begins and bool(new.id) and (old.id, old.digest) == (new.id, new.digest)
    expect("ended-stays-ended", holds=not again, text=f"release {new.id} began a second time")
    if not isinstance(spec, RolloutSpec) or before.phase is not Phase.PROGRESSING:
        return
    if after.phase is Phase.HEALTHY and before.reason is Reason.FINALISING:
        _is_rolled_out(snapshot)
    same = (old.id, old.digest) == (new.id, new.digest) and after.phase is Phase.PROGRESSING
    anew_beside_others = _is_gone(snapshot) and new.step == 1
    begins_anew = not same or before.reason is Reason.CANCELLING or anew_beside_others
    finishes = after.reason is Reason.FINALISING and before.reason is not Reason.FINALISING
    if begins_anew or (finishes and _is_out(snapshot)):
        return
    if _is_jump(old, new, len(spec.steps)):
        return
    if old.plan_digest != new.plan_digest and steps_counted(old.plan_digest) not in {0, len(spec.steps)}:
        _stays_behind(world, snapshot, spec, new)
        return
    if not 1 <= old.step <= len(spec.steps):
        return
    if old.step == new.step and not finishes:
        return
    expect("natural", holds=finishes or new.step == old.step + 1, text=f"from step {old.step} to {new.step}")
    expect("approved", holds=_may_leave(world, snapshot, spec, old), text=f"left step {old.step}: {before}")
    _was_reached(world, snapshot, spec, old)


def _stays_behind(world: World, snapshot: Snapshot, spec: RolloutSpec, new: Release) -> None:
    """In a plan of other length a release asks for no more than it has, or begins anew."""
    workload, step = snapshot.workload, spec.steps[new.step - 1]
    assert workload is not None
    pods = _total(world, step, workload.replicas) <= _new_pods(world, snapshot, new)[0]
    weight = all(
        _asked(world, snapshot, new.step, kind).within(_sent(snapshot, kind, name))
        for kind, name in _routes(world, snapshot)
    )
    expect("stays-behind", holds=new.step == 1 or (pods and weight), text=f"put to step {new.step}")


def _is_rolled_out(snapshot: Snapshot) -> None:
    """Let a release be over only when the Deployment runs the new version whole, and nothing else."""
    workload = snapshot.workload
    assert workload is not None
    # Scaled down just now, it has more for a moment: all of them are of the new version.
    whole = workload.replicas <= workload.updated == workload.available == workload.status_replicas
    seen = workload.observed_generation == workload.generation
    expect(
        "completed-means-out", holds=whole and seen, text=f"completed with {workload.updated} pods updated"
    )


def _is_gone(snapshot: Snapshot) -> bool:
    """Tell whether the stable revision of the release does not exist any more."""
    recorded, uid = (
        snapshot.rollout.status.release.stable_hash,
        snapshot.workload and snapshot.workload.target.uid,
    )
    return bool(recorded) and recorded not in {
        each.hash for each in snapshot.replica_sets if each.owner_uid == uid
    }


def _is_jump(old: Release, new: Release, steps: int) -> bool:
    natural = old.step + 1 if old.step < steps else -1
    return old.next_step == new.step and old.next_step != natural


def _is_out(snapshot: Snapshot) -> bool:
    """Tell whether somebody else let the version out: the Deployment runs it, or has nothing else to run."""
    workload, stable = snapshot.workload, snapshot.rollout.status.release.stable_hash
    assert workload is not None
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    if not workload.status_replicas and stable not in {each.hash for each in own}:
        return True
    new = sum(each.replicas for each in own if each.digest == workload.digest)
    return new > 0 and new >= max(
        (each.replicas for each in own if each.digest != workload.digest), default=0
    )


def _may_leave(world: World, snapshot: Snapshot, spec: RolloutSpec, old: Release) -> bool:
    step = spec.steps[old.step - 1]
    if old.state is StepState.STEP_READY or step.pause_seconds == 0:
        return True
    if old.step == len(spec.steps) and (step.replicas.percent and step.replicas.value == 100):
        return True
    if _is_approved(world, snapshot, f"{old.id}/{old.step}"):
        return old.state is StepState.STEP_PAUSED
    if step.pause_seconds is None or old.since is None or old.state is not StepState.STEP_PAUSED:
        return False
    return snapshot.now >= old.since + timedelta(seconds=step.pause_seconds)


def _is_approved(world: World, snapshot: Snapshot, wanted: str) -> bool:
    """Tell whether that approval was given, and since the release last went back."""
    given = (snapshot.rollout.approval, snapshot.workload.approval if snapshot.workload else None)
    return any(
        each and each.approval == wanted and each.identity not in world.void_approvals for each in given
    )


def _was_reached(world: World, snapshot: Snapshot, spec: RolloutSpec, old: Release) -> None:
    workload, step = snapshot.workload, spec.steps[old.step - 1]
    assert workload is not None
    total = _total(world, step, workload.replicas)
    need = _needed(spec, total)
    _, have = _new_pods(world, snapshot, old)
    expect("reached-pods", holds=have >= need, text=f"left step {old.step} with {have} of {need} pods")
    whole = bool(_whole(world, snapshot))
    for kind, name in _routes(world, snapshot) if need and not whole else ():
        ready = _canary_ready(world, snapshot, kind, name)
        expect("reached-endpoints", holds=ready >= need, text=f"{ready} of {need} endpoints")
        sent, wanted = _sent(snapshot, kind, name), _asked(world, snapshot, old.step, kind)
        expect("reached-weight", holds=sent == wanted, text=f"left step {old.step} with {sent}")


def note_status(world: World, snapshot: Snapshot, status: Status) -> None:
    """Remember what our own status promises: what is being let out may run, and which approvals are void."""
    old, new, spec = snapshot.rollout.status.release, status.release, snapshot.rollout.spec
    if (old.id, old.digest) != (new.id, new.digest):
        world.void_approvals = frozenset()
    elif isinstance(spec, RolloutSpec) and new.step <= old.step and new.next_step != old.next_step:
        given = (snapshot.rollout.approval, snapshot.workload.approval if snapshot.workload else None)
        world.void_approvals = frozenset(each.identity for each in given if each)
    if status.reason is Reason.FINALISING and status.phase is Phase.PROGRESSING:
        world.released.add(status.release.digest)


# --- writes of ours ----------------------------------------------------------------------------------


def write_is_allowed(
    world: World, snapshot: Snapshot, action: Write, old: JsonObject | None, new: JsonObject | None
) -> None:
    """Judge one write that the API server accepted: what was there before it, and after."""
    match action.kind if isinstance(action, Create) else action.target.kind:
        case "Ingress" | "HTTPRoute" | "Split":
            _route_write(world, snapshot, action, old, new)
        case "Service":
            _service_write(world, snapshot, old, new)
        case "Deployment" if (old or new or {})["metadata"]["name"] == APP:
            _workload_write(world, snapshot, old, new)
        case "Deployment":
            _canary_write(world, snapshot, action, old, new)
        case "ReplicaSet":
            _revision_write(snapshot, action)
        case _:
            return


def _route_write(
    world: World, snapshot: Snapshot, action: Write, old: JsonObject | None, new: JsonObject | None
) -> None:
    """Leave something sent only where the canary has endpoints; more of it needs more."""
    route = old or new or {}
    kind, name = route["kind"], route["metadata"]["name"]
    before, after = sent_by(old), sent_by(new)
    if kind == "Ingress":
        text = f"{action} writes the user's own Ingress"
        expect("only-canary-route", holds=bool(maker_of(route)), text=text)
    if isinstance(action, Delete):
        expect("only-canary-route", holds=kind == "Ingress", text=f"{action} deletes the user's own route")
        text = f"the canary Ingress is deleted while it sends {before}"
        expect("silent-before-removal", holds=not before.reaches or snapshot.workload is None, text=text)
    if snapshot.workload is None:
        world.last_weight_at = None  # nobody served: there is nothing to be graceful about
    marks_alone = kind != "Ingress" and old is not None and old["spec"] == (new or {}).get("spec")
    if not after.reaches or marks_alone:  # without a webhook the spec follows its marks in the next write
        return
    ready = _canary_ready(world, snapshot, kind, name)
    expect("no-weight-without-endpoints", holds=ready > 0, text=f"{action} with no ready pod in sight")
    if after.exceeds(before):
        _raise(world, snapshot, action, after)


def _raise(world: World, snapshot: Snapshot, action: Write, share: Share) -> None:
    """Let shares go up only after pods and endpoints, as far as approved, beside a pinned Service."""
    spec, workload, release = snapshot.rollout.spec, snapshot.workload, snapshot.rollout.status.release
    assert isinstance(spec, RolloutSpec)
    assert workload is not None
    need = _needed(spec, _total(world, spec.steps[release.step - 1], workload.replicas))
    _, have = _new_pods(world, snapshot, release)
    ready = min(_ready_behind(world, snapshot, each) for each in world.setting.services)
    expect("weight-after-pods", holds=have >= need, text=f"raised to {share} with {have} of {need} pods")
    expect("weight-after-endpoints", holds=ready >= need, text=f"raised to {share} with {ready}/{need}")
    allowed = world.approved.get(release.id, NOTHING)
    expect("approved-weight", holds=share.within(allowed), text=f"{share} where {allowed} was approved")
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    down = not any(each.ready for each in own if each.digest != workload.digest)
    for each in world.setting.services:
        stable = snapshot.ready_pods.get(each, frozenset())
        text = f"raised to {share} without stable endpoints of {each}"
        expect("stable-endpoints", holds=bool(stable) or down, text=text)
        pinned = snapshot.services.get(each)
        held = pinned is not None and pinned.selected_hash not in {None, release.canary_hash}
        text = f"raised to {share} while Service {each} is wide"
        expect("weight-after-pin", holds=held or world.setting.shared, text=text)
    if isinstance(action, Create):
        served = all(world.ready_pods(f"{each}-canary") for each in world.setting.services)
        harmless = served and world.status.get("phase") == "Progressing"
        expect("late-create", holds=harmless, text="an old view created a route to a canary that is gone")


def _service_write(world: World, snapshot: Snapshot, old: JsonObject | None, new: JsonObject | None) -> None:
    name = (old or new or {})["metadata"]["name"]
    if name in world.foreign:
        assert old is not None
        assert new is not None
        had, has = _served(world, old), _selected(world, new)
        served = any(digest_of_tag(tag) in world.released for tag in had)
        lost = served and not has and not _reported_ready(world, new)
        expect("stable-keeps-endpoints", holds=not lost, text="a write of ours left the stable Service empty")
        fresh = {digest_of_tag(tag) for tag in has - had}
        theirs = world.torn or world.hand_on_canary or world.workload is None
        # Let go in the middle, a Deployment rolls out natively from all versions that it runs itself.
        let_go = world.parts and world.workload is not None and _leaves(world, world.workload)
        ours = fresh - world.released - _whole(world, snapshot) - _alone(snapshot) - _serves_alone(snapshot)
        unapproved = set() if theirs or let_go else ours
        expect("wide-after-canary", holds=not unapproved, text="the stable Service was widened over a canary")
    elif new is None:
        reaches = _all_sent(world, snapshot).reaches
        text = "the canary Service is deleted while a route leads to it"
        expect("route-before-service", holds=not reaches, text=text)
        _graced(world, snapshot, "the canary Service is deleted")


def _served(world: World, service: JsonObject) -> set[str]:
    """Give the versions behind a Service; of one that was just unpinned by hand those it was told of."""
    pin = (service["metadata"].get("annotations") or {}).get(names.PIN)
    if not (world.hand_on_service and pin and names.POD_TEMPLATE_HASH not in service["spec"]["selector"]):
        return _selected(world, service)
    told = world.ready_pods(service["metadata"]["name"])
    return {each.tag for name, each in _staying(world) if name in told}


def _selected(world: World, service: JsonObject) -> set[str]:
    selector = service["spec"]["selector"]
    return {each.tag for _, each in _staying(world) if selects(selector, dict(each.labels))}


def _staying(world: World) -> Iterator[tuple[str, Pod]]:
    """Give the ready pods that nobody is about to take away."""
    sets = world.store.of_kind("ReplicaSet")
    staying = {each["metadata"]["uid"] for each in sets if owner_of(each) not in world.forsaken}
    return ((name, each) for name, each in world.store.pods.items() if each.ready and each.owner in staying)


def _reported_ready(world: World, service: JsonObject) -> bool:
    """Whether ready pods are reported behind a Service: of those that failed just now nobody has heard."""
    selector = service["spec"]["selector"]
    return any(
        selects(selector, each["spec"]["template"]["metadata"]["labels"])
        and (each.get("status") or {}).get("readyReplicas", 0)
        for each in world.store.of_kind("ReplicaSet")
    )


def _workload_write(world: World, snapshot: Snapshot, old: JsonObject | None, new: JsonObject | None) -> None:
    """Let the gate open only for promotion, for roll-back, for leaving, or when nothing serves."""
    assert old is not None
    expect("workload-stays", holds=new is not None, text="the user's own Deployment was deleted")
    assert new is not None
    expect(
        "template-stays", holds=old["spec"]["template"] == new["spec"]["template"], text="template changed"
    )
    was = names.IN_PROGRESSING in (old["metadata"].get("annotations") or {})
    stays = names.IN_PROGRESSING in (new["metadata"].get("annotations") or {})
    if not was or stays:
        return
    expect("whole-gate", holds=not new["spec"].get("paused"), text="annotation removed, pause left behind")
    may_open = _may_open(world, snapshot)
    expect("gate-held", holds=may_open, text=f"opened while {snapshot.rollout.status}")
    if old["spec"].get("paused"):
        given = _given_to(snapshot, new["spec"]["selector"]["matchLabels"])
        expect("handed-over-first", holds=not given, text=f"opened before the Deployment has {given}")
        expect("opened-when-cut", holds=_is_cut(snapshot), text=f"{snapshot}")
    world.released.add(template_digest(new["spec"]["template"]))


def _given_to(snapshot: Snapshot, selector: JsonObject) -> list[ReplicaSet]:
    """Find the sets that a canary Deployment leaves behind for the Deployment, and nobody has adopted."""
    leaving = {each.target.uid for each in snapshot.deployments.values() if _is_left_behind(each.manifest)}
    left = (each for each in snapshot.replica_sets if each.owner_uid in {"", *leaving})
    return [each for each in left if selects(selector, each.labels)]


def _is_cut(snapshot: Snapshot) -> bool:
    """Tell whether the Deployment's sets are within its limits, and count no pod that they are not to have.

    Its controller would take such a pod for one that serves. It cuts nothing under Recreate.
    """
    workload = snapshot.workload
    assert workload is not None
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    asked = sum(each.replicas for each in own)
    going = any(each.replicas < max(each.present, each.available) for each in own)
    return workload.recreates or (asked <= workload.replicas + workload.max_surge and not going)


def _is_left_behind(manifest: JsonObject) -> bool:
    return ORPHAN_FINALIZER in (manifest["metadata"].get("finalizers") or ())


def _may_open(world: World, snapshot: Snapshot) -> bool:
    workload, rollout, status = snapshot.workload, snapshot.rollout, snapshot.rollout.status
    assert workload is not None
    spec = rollout.spec
    if rollout.deleting or (isinstance(spec, RolloutSpec) and spec.disabled):
        return True
    if status.phase is Phase.DISABLING:
        return True  # disabling that has begun goes on to its end
    gate = workload.gate
    known = gate is not None and (status.release.id, status.release.digest) == (gate.release, workload.digest)
    if known and status.reason in {Reason.FINALISING, Reason.COMPLETED}:
        return True
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    serving = [each for each in own if each.replicas > 0]
    stable = snapshot.rollout.status.release.stable_hash
    # Where all pods are new, the version that comes back has none.
    back = [each for each in own if each in serving or (world.parts and each.hash == stable)]
    returns = any(each.digest == workload.digest for each in back)
    return returns or not serving or world.torn


def _canary_write(
    world: World, snapshot: Snapshot, action: Write, old: JsonObject | None, new: JsonObject | None
) -> None:
    """Canary pods appear only beside a pinned Service, and go only after their traffic."""
    before, after = _size(old), _size(new)
    spec = snapshot.rollout.spec
    if isinstance(action, Delete) and snapshot.workload is None:
        world.forsaken.add(action.target.uid)
    if isinstance(action, Delete) and action.propagation is Propagation.ORPHAN:
        _left_behind_whole(snapshot, action)
    if after > before and isinstance(spec, RolloutSpec) and snapshot.workload is not None:
        own = [each for each in snapshot.replica_sets if each.owner_uid == snapshot.workload.target.uid]
        serving = [each for each in own if each.replicas > 0]
        text = f"canary pods beside {len(serving)} revisions"
        expect("settled-before-canary", holds=len(serving) <= 1, text=text)
    whole = _whole(world, snapshot)
    if after > before and isinstance(spec, RolloutSpec) and not world.setting.shared and not whole:
        for each in {one.service for one in spec.routings}:
            stable, live = snapshot.services.get(each), world.store.get("Service", each)
            held = stable is not None and stable.selected_hash is not None
            expect("pods-after-pin", holds=held, text=f"{action} while Service {each} is wide")
            pinned = live is None or names.POD_TEMPLATE_HASH in live["spec"]["selector"]
            text = f"an old view created canary pods behind Service {each}, which is wide"
            theirs = world.hand_on_service or _is_let_go(world, new)
            expect("late-create", holds=pinned or theirs, text=text)
    if after < before and snapshot.workload is not None and isinstance(spec, RolloutSpec):
        _shrinking(world, snapshot, spec, after)


def _is_let_go(world: World, canary: JsonObject | None) -> bool:
    """Tell whether a canary is of the version that is let out at once.

    A Rollout does so that goes, or is disabled, and one whose stable revision somebody has deleted.
    """
    ended = world.rollout is None or "deletionTimestamp" in world.rollout["metadata"]
    ended = ended or (world.rollout or {})["spec"].get("disabled") is True
    gone = bool(world.release.get("stableRevision")) and not world.stable_tags()
    if not (ended or gone) or world.workload is None or canary is None:
        return False
    return template_digest(canary["spec"]["template"]) == template_digest(world.workload["spec"]["template"])


def _left_behind_whole(snapshot: Snapshot, action: Delete) -> None:
    """Let a canary leave its pods behind only when they are scaled by the Deployment's numbers alone."""
    workload = snapshot.workload
    assert workload is not None
    canary = next(each for each in snapshot.deployments.values() if each.target == action.target)
    wanted = (workload.replicas, workload.replicas + workload.max_surge)
    own = [each for each in snapshot.replica_sets if each.owner_uid == canary.target.uid]
    expect("left-behind-whole", holds=all(each.scaled_for == wanted for each in own), text=f"{own}")
    expect("left-behind-whole", holds=workload.gate is not None, text="the gate is open already")
    same = canary.digest == workload.digest
    expect("left-behind-whole", holds=same, text="its pods are not of the Deployment's template")


def _shrinking(world: World, snapshot: Snapshot, spec: RolloutSpec, after: int) -> None:
    really = NOTHING if world.hand_on_route else world.sent()
    sent = joined((_all_sent(world, snapshot), really))
    release, workload = snapshot.rollout.status.release, snapshot.workload
    assert workload is not None
    if after == 0:
        expect("pods-down-after-weight", holds=not sent.reaches, text=f"canary removed at {sent}")
        _graced(world, snapshot, "canary pods are removed")
    elif sent.reaches:
        step = spec.steps[release.step - 1]
        allowed = _asked(world, snapshot, release.step, "")
        enough = after >= step.replicas.of(workload.replicas) and sent.within(allowed)
        expect("pods-down-after-weight", holds=enough, text=f"canary cut to {after} at {sent}")
        _graced_lowering(world)


def _graced(world: World, snapshot: Snapshot, what: str) -> None:
    """Between the last weight and whatever depends on there being none lies the data plane's grace.

    Whatever was seen: a cache that lags shows no weight, and takes nothing from those who follow it.
    """
    sent, theirs = world.sent(), world.hand_on_route or snapshot.workload is None
    expect("route-before-service", holds=theirs or not sent.reaches, text=f"{what} while {sent} leads to it")
    if world.last_weight_at is None or world.hand_on_route or snapshot.workload is None:
        return
    since = world.now - world.last_weight_at
    text = f"{what} {since} after the last weight"
    expect("grace", holds=since >= timedelta(seconds=world.grace_seconds), text=text)


def _graced_lowering(world: World) -> None:
    """Pods that a weight needed go only when the data plane had its time to notice the lower one."""
    if world.lowered_at is None or world.hand_on_route:
        return
    since = world.now - world.lowered_at
    holds = since >= timedelta(seconds=world.grace_seconds)
    expect("grace", holds=holds, text=f"canary cut {since} after its weight was lowered")


def _revision_write(snapshot: Snapshot, action: Write) -> None:
    """Only empty ReplicaSets are deleted, only the workload's own are resized, and those within limits."""
    assert not isinstance(action, Create)
    (found,) = (each for each in snapshot.replica_sets if each.target == action.target)
    if isinstance(action, Delete):
        empty = not found.replicas and not found.present
        orphaned = snapshot.workload is None and not found.owner_uid
        text = f"{found.target.name} is deleted with pods"
        expect("empty-before-removal", holds=empty or orphaned, text=text)
    elif "spec" in action.merge:
        _settling_write(snapshot, found, action)


def _settling_write(snapshot: Snapshot, target: ReplicaSet, action: Patch) -> None:
    """Settling never takes the Deployment below its own limits, or below what it has."""
    workload = snapshot.workload
    assert workload is not None
    expect("own-revisions-only", holds=target.owner_uid == workload.target.uid, text=f"{action}")
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    has = sum(each.available for each in own)
    lost = max(0, target.available - action.merge["spec"].get("replicas", target.replicas))
    least = min(has, workload.replicas - workload.max_unavailable)
    text = f"settling leaves {has - lost} of {has} available pods, {least} are needed"
    expect("settle-within-limits", holds=has - lost >= least, text=text)


# --- the world at any moment -------------------------------------------------------------------------


def world_is_sound(world: World) -> None:
    """No pod of an unapproved version in the stable Deployment; remember what weights were and may be."""
    _remember_shares(world)
    workload = world.workload
    if workload is None or world.torn:
        return
    if _leaves(world, workload):
        world.released.add(template_digest(workload["spec"]["template"]))
    if world.woken:
        return
    uid = workload["metadata"]["uid"]
    for each in world.store.of_kind("ReplicaSet"):
        if owner_of(each) == uid and each["spec"]["replicas"] > 0:
            if world.parts and (world.release_id or _leaves(world, workload)):
                continue  # judged by their number, where they rest and where we write; let go, they may stay
            digest = digest_of_tag(tag_of(bare(each["spec"]["template"])))
            text = f"{each['metadata']['name']} runs {tag_of(each['spec']['template'])}"
            expect("no-unapproved-pods", holds=digest in world.released, text=text)


def world_at_rest_is_sound(world: World) -> None:
    """Judge what rests: silent without endpoints, gate whole, share approved, nothing left over."""
    if world.woken and world.workload is not None:
        # Whatever earlier version the controller has woken is what serves: the stable side from now on.
        waiting = tag_of(world.workload["spec"]["template"])
        others = world.tags_asked_for(world.workload) - {waiting}
        world.released |= {digest_of_tag(each) for each in others}
    world.woken = False
    for each in world.setting.services:
        ready = world.ready_pods(each if world.setting.shared else f"{each}-canary")
        sent = world.sent(each)
        text = f"{sent} to a canary of {each} without endpoints"
        expect("silence", holds=bool(ready) or not sent.reaches, text=text)
    sent, allowed = world.sent(), world.approved.get(world.release_id, NOTHING)
    expect("rest-weight", holds=sent.within(allowed), text=f"rests at {sent} where {allowed} was approved")
    phase = world.status.get("phase")
    if phase == "Healthy":
        expect("nothing-left", holds=not world.leftovers(), text=f"{world.leftovers()}")
    if world.workload is None or phase != "Progressing" or not world.governs:
        return
    if world.condition_reason == "InRolling":
        closed = world.gate_closed and bool(world.workload["spec"].get("paused"))
        expect("gate-closed", holds=closed, text="a release rests with its gate open")
    if world.condition_reason == "InRolling" and world.release.get("currentStepState") == "StepPaused":
        _step_rests_soundly(world)
    ours = {each.name for each in world.store.pods.values() if each.ready} & world.pods_of(world.workload)
    for each in (APP, *world.setting.services):
        serving, exists = world.ready_pods(each), world.store.get("Service", each) is not None
        # Inside the Deployment, the last stable pods may fail beside new ones: no more goes to these than was
        # approved, and it is told.
        told = world.parts and f"no stable pod behind Service {each}" in world.condition_message
        held = bool(serving) or told or not (ours and exists)
        expect("stable-served", holds=held, text=f"no stable endpoints of {each} at rest")


def _step_rests_soundly(world: World) -> None:
    """Expect one canary, beside one stable revision, whose ready pods say by which step they came."""
    workload = world.workload
    assert workload is not None
    if world.parts:
        _parts_rest_soundly(world, workload)
        return
    canaries = [each for each in world.store.of_kind("Deployment") if each["metadata"]["name"] != APP]
    expect("one-canary", holds=len(canaries) == 1, text=f"{len(canaries)} canary Deployments")
    asked = world.tags_asked_for(workload)
    expect("settled-at-rest", holds=len(asked) <= 1, text=f"the Deployment runs {asked} behind its gate")
    (canary,) = canaries
    for name in world.pods_of(canary):
        labels = dict(world.store.pods[name].labels)
        batch, ready = labels.get(names.ROLLOUT_BATCH_ID, "0"), world.store.pods[name].ready
        holds = not ready or 1 <= int(batch) <= world.release["currentStepIndex"]
        expect("batches", holds=holds, text=f"pod {name} is of batch {batch}: {world.release}")


def _parts_rest_soundly(world: World, workload: JsonObject) -> None:
    """Expect the step's pods, no more and no less, in the Deployment itself, beside one stable revision."""
    canaries = [each for each in world.store.of_kind("Deployment") if each["metadata"]["name"] != APP]
    if world.tags_asked_for(workload) == {tag_of(workload["spec"]["template"])} and canaries:
        return  # released anew because it was down: the Deployment cannot take over what it has
    if not workload["spec"]["replicas"] and [each["spec"]["replicas"] for each in canaries] == [0]:
        return  # scaled to zero, it lost its empty set: what takes its place waits for pods, too
    expect("no-canary", holds=not canaries, text=f"{len(canaries)} canary Deployments")
    asked = world.tags_asked_for(workload)
    expect("settled-at-rest", holds=len(asked) <= 2, text=f"the Deployment runs {asked} behind its gate")
    own = [
        each for each in world.store.of_kind("ReplicaSet") if owner_of(each) == workload["metadata"]["uid"]
    ]
    wanted = bare(workload["spec"]["template"])
    new = sum(each["spec"]["replicas"] for each in own if bare(each["spec"]["template"]) == wanted)
    assert world.rollout is not None
    spec = parse(world.rollout)
    assert isinstance(spec, RolloutSpec)
    step = spec.steps[world.release["currentStepIndex"] - 1]
    total = _total(world, step, workload["spec"]["replicas"])
    asked, here = workload["spec"]["replicas"], read_deployment(workload)
    # One pod at a time, and with as many new as old ones but for that: the controller takes from the older.
    level = here.max_surge + here.max_unavailable <= 1 and 2 * new == asked + here.max_surge + 1 >= asked
    # Of a revision that is deleted no pod comes back.
    gone = world.release["stableRevision"] not in {read_replica_set(each).hash for each in own}
    stuck = (new == asked and (gone or not _divisible(here))) or (level and new + 1 >= asked)
    text = f"{new} new pods where the step asks for {total}"
    expect("part", holds=new == total or (new > total and stuck), text=text)


def _leaves(world: World, workload: JsonObject) -> bool:
    """Tell whether the Rollout lets its Deployment go, with whatever template it has (contract, 3.5)."""
    rollout = world.rollout
    if rollout is None or not world.governs or "deletionTimestamp" in rollout["metadata"]:
        return True
    recorded = read_status(world.status)
    goes_on = recorded.phase is Phase.DISABLING  # begun, it goes on to its end
    same = recorded.release.digest == template_digest(workload["spec"]["template"])
    return bool(rollout["spec"].get("disabled")) or (goes_on and same)


def _remember_shares(world: World) -> None:
    sent = world.sent()
    if sent.reaches:
        world.last_weight_at = world.now
    if world.sent_before.exceeds(sent):
        world.lowered_at = world.now
    world.sent_before = sent
    status, release = world.status, world.release
    if status.get("phase") != "Progressing" or world.rollout is None:
        return
    steps = world.rollout["spec"]["strategy"]["canary"]["steps"]
    index = release.get("currentStepIndex", 0)
    if isinstance(index, int) and 1 <= index <= len(steps):
        before = world.approved.get(world.release_id, NOTHING)
        asked = asked_by(steps[index - 1])
        if not any("traffic" in each or each.get("matches") for each in steps):
            asked = _asked_by_strategy(world)
        world.approved[world.release_id] = before.joined(asked)


def _asked_by_strategy(world: World) -> Share:
    """Say what TrafficRoutings ask for where the steps leave it to them."""
    strategies = [each["spec"]["strategy"] for each in world.store.of_kind("TrafficRouting")]
    return joined(Share(each.get("weight") or 0) for each in strategies)


# --- helpers of the rules ----------------------------------------------------------------------------


def _whole(world: World, snapshot: Snapshot) -> set[str]:
    """Give the version of which a step asks for all pods, of a Deployment that is divided: it serves all."""
    workload, spec, step = snapshot.workload, snapshot.rollout.spec, snapshot.rollout.status.release.step
    if not world.parts or workload is None or not isinstance(spec, RolloutSpec):
        return set()
    inside = 1 <= step <= len(spec.steps)
    whole = inside and _total(world, spec.steps[step - 1], workload.replicas) == workload.replicas
    # Of a revision that is deleted no pod comes back.
    stuck = bool(_alone(snapshot)) and (_is_gone(snapshot) or not _divisible(workload))
    return {workload.digest} if whole or stuck else set()


def _alone(snapshot: Snapshot) -> set[str]:
    """Give the new version of a Deployment that asks for no other pods: scaled down, it lost the others."""
    workload = snapshot.workload
    uid = workload.target.uid if workload else ""
    own = [each for each in snapshot.replica_sets if each.owner_uid == uid and each.replicas]
    new = workload is not None and bool(own) and all(each.digest == workload.digest for each in own)
    return {workload.digest} if workload and new else set()


def _serves_alone(snapshot: Snapshot) -> set[str]:
    """Give the version of the only ready pods: a third one that comes then is settled on these."""
    uid = snapshot.workload.target.uid if snapshot.workload else ""
    own = {each.digest for each in snapshot.replica_sets if each.owner_uid == uid and each.ready}
    return own if len(own) == 1 else set()


def _divisible(workload: Deployment) -> bool:
    """Tell whether stable pods can come back where all are new."""
    return workload.max_surge == 0 and workload.max_unavailable > 0


def _total(world: World, step: Step, replicas: int) -> int:
    """Count the new pods of a step; where they replace stable ones, less than all leaves one of these."""
    total = step.replicas.of(replicas)
    part = world.parts and not (step.replicas.percent and step.replicas.value == 100) and replicas > 1
    return min(total, replicas - 1) if part else total


def _new_pods(world: World, snapshot: Snapshot, release: Release) -> tuple[int, int]:
    """Count the pods that the new version is asked to have, and those of them that are available."""
    canary, workload = snapshot.deployments.get(f"{APP}-{release.id}"), snapshot.workload
    beside = (canary.replicas, canary.available) if canary else (-1, 0)
    if not world.parts or workload is None:
        return beside
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    new = [each for each in own if each.digest == workload.digest]
    return max(beside[0], sum(each.replicas for each in new)), beside[1] + sum(each.available for each in new)


def _needed(spec: RolloutSpec, total: int) -> int:
    tolerated = spec.failure_threshold.of(total) if spec.failure_threshold else 0
    return max(min(total, 1), total - tolerated)


def _routes(world: World, snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """Name the routes of a release, as kind and the user's name of it."""
    spec = snapshot.rollout.spec
    routed = isinstance(spec, RolloutSpec) and resolved(snapshot, spec).routings
    return world.setting.routes if routed else ()


def _asked(world: World, snapshot: Snapshot, number: int, kind: str) -> Share:
    """Say what a step asks of a kind of route, in the plan as the snapshot shows it."""
    spec = snapshot.rollout.spec
    assert isinstance(spec, RolloutSpec)
    step = resolved(snapshot, spec).steps[number - 1]
    headers = (header for match in step.matches for header in match.headers)
    matches = frozenset(f"{each.name}={each.value}" for each in headers)
    weight = 0 if matches and kind == "HTTPRoute" else step.weight or 0
    return Share(weight, matches) if world.setting.routings else NOTHING


def _sent(snapshot: Snapshot, kind: str, name: str) -> Share:
    """Read what a route sends to the canary, as a snapshot shows it; ``name`` is the user's."""
    if kind == "Ingress":
        found = snapshot.ingresses.get(f"{name}-canary")
        return sent_by(found.manifest if found and found.owned else None)
    routes = (each for each in snapshot.route_objects.values() if each.target.kind == kind)
    return joined(sent_by(each.manifest) for each in routes if each.target.name == name)


def _all_sent(world: World, snapshot: Snapshot) -> Share:
    """Read what all routes send to the canary, as a snapshot shows it."""
    return joined(_sent(snapshot, kind, name) for kind, name in world.setting.routes)


def _canary_ready(world: World, snapshot: Snapshot, kind: str, name: str) -> int:
    """Count the endpoints that the canary has for a route, of the Service that has least."""
    behind = world.setting.behind(kind, name)
    return min((_ready_behind(world, snapshot, each) for each in behind), default=0)


def _ready_behind(world: World, snapshot: Snapshot, service: str) -> int:
    if not world.setting.shared:
        return len(snapshot.ready_pods.get(f"{service}-canary", frozenset()))
    ours = f"{APP}-{snapshot.rollout.status.release.id}-"
    return sum(each.startswith(ours) for each in snapshot.ready_pods.get(service, frozenset()))


def _size(value: JsonObject | None) -> int:
    return int(value["spec"]["replicas"]) if value else 0


@lru_cache
def digest_of_tag(tag: str) -> str:
    """Return the digest of the template of a version."""
    return template_digest(template(tag))
