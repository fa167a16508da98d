"""What must never happen, each as a function that fails with the rule's name.

Rules about a write are judged against the snapshot the write was made from (a reconciler cannot
know better) and, where an older view must do no harm either, against the world as it is.
"""

from datetime import timedelta
from functools import lru_cache
from typing import NoReturn

from rollout import names
from rollout.actions import Action, Create, Delete, Patch, Propagation
from rollout.release.plan import Plan
from rollout.revision import steps_counted, template_digest
from rollout.snapshot import ReplicaSet, Snapshot
from rollout.spec import RolloutSpec, Step
from rollout.status import Phase, Reason, Release, Status, StepState
from rollout.wire import JsonObject
from tests.unit.rollout.model.controllers import bare, selects, tag_of
from tests.unit.rollout.model.store import maker_of, owner_of
from tests.unit.rollout.model.world import APP, World, template, weight_of

CANARY = f"{APP}-canary"


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
    begins_anew = not same or before.reason is Reason.CANCELLING
    finishes = after.reason is Reason.FINALISING and before.reason is not Reason.FINALISING
    if begins_anew or (finishes and _is_out(snapshot)):
        return
    if _is_jump(old, new, len(spec.steps)):
        return
    if old.plan_digest != new.plan_digest and steps_counted(old.plan_digest) not in {0, len(spec.steps)}:
        _stays_behind(snapshot, spec, new)
        return
    if not 1 <= old.step <= len(spec.steps):
        return
    if old.step == new.step and not finishes:
        return
    expect("natural", holds=finishes or new.step == old.step + 1, text=f"from step {old.step} to {new.step}")
    expect("approved", holds=_may_leave(world, snapshot, spec, old), text=f"left step {old.step}: {before}")
    _was_reached(snapshot, spec, old)
    expect("released-world", holds=world.rollout is not None, text="released without a Rollout")


def _stays_behind(snapshot: Snapshot, spec: RolloutSpec, new: Release) -> None:
    """In a plan of other length a release asks for no more than it has, or begins anew."""
    workload, step = snapshot.workload, spec.steps[new.step - 1]
    assert workload is not None
    canary = snapshot.deployments.get(f"{APP}-{new.id}")
    found = snapshot.ingresses.get(CANARY)
    pods = canary is not None and step.replicas.of(workload.replicas) <= canary.replicas
    weight = not spec.routings or (step.weight or 0) <= weight_of(found.manifest if found else None)
    expect("stays-behind", holds=new.step == 1 or (pods and weight), text=f"put to step {new.step}")


def _is_rolled_out(snapshot: Snapshot) -> None:
    """Let a release be over only when the Deployment runs the new version whole, and nothing else."""
    workload = snapshot.workload
    assert workload is not None
    whole = workload.updated == workload.replicas == workload.available == workload.status_replicas
    seen = workload.observed_generation == workload.generation
    expect(
        "completed-means-out", holds=whole and seen, text=f"completed with {workload.updated} pods updated"
    )


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


def _was_reached(snapshot: Snapshot, spec: RolloutSpec, old: Release) -> None:
    workload, step = snapshot.workload, spec.steps[old.step - 1]
    assert workload is not None
    canary = snapshot.deployments.get(f"{APP}-{old.id}")
    need = _needed(spec, step, workload.replicas)
    have = canary.available if canary else 0
    expect("reached-pods", holds=have >= need, text=f"left step {old.step} with {have} of {need} pods")
    if spec.routings and need:
        ready = _canary_ready(snapshot)
        expect("reached-endpoints", holds=ready >= need, text=f"{ready} of {need} endpoints")
        found = snapshot.ingresses.get(CANARY)
        weight = weight_of(found.manifest if found else None)
        wanted = 100 if step.matches else step.weight or 0
        expect("reached-weight", holds=weight == wanted, text=f"left step {old.step} with {weight} %")


def note_status(world: World, snapshot: Snapshot, status: Status) -> None:
    """Remember what our own status promises: what is being let out may run, and when a release went back."""
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
    world: World, snapshot: Snapshot, action: Action, old: JsonObject | None, new: JsonObject | None
) -> None:
    """Judge one write that the API server accepted: what was there before it, and after."""
    match action.kind if isinstance(action, Create) else action.target.kind:
        case "Ingress":
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
    world: World, snapshot: Snapshot, action: Action, old: JsonObject | None, new: JsonObject | None
) -> None:
    expect(
        "only-canary-route",
        holds=bool(maker_of(old or new or {})),
        text=f"{action} writes the user's own Ingress",
    )
    before, after = weight_of(old), weight_of(new)
    if after == 0 and isinstance(action, Delete):
        text = f"the canary Ingress is deleted while it sends {before} %"
        expect("silent-before-removal", holds=before == 0 or snapshot.workload is None, text=text)
        if snapshot.workload is None:
            world.last_weight_at = None  # nobody served: there is nothing to be graceful about
    if after == 0:
        return
    ready = _canary_ready(snapshot)
    expect("no-weight-without-endpoints", holds=ready > 0, text=f"{action} with no ready pod in sight")
    if after > before:
        _raise(world, snapshot, action, after)


def _raise(world: World, snapshot: Snapshot, action: Action, weight: int) -> None:
    """Let weights go up only after pods and endpoints, as far as approved, beside a pinned Service."""
    spec, workload, release = snapshot.rollout.spec, snapshot.workload, snapshot.rollout.status.release
    assert isinstance(spec, RolloutSpec)
    assert workload is not None
    step = spec.steps[release.step - 1]
    need = _needed(spec, step, workload.replicas)
    canary = snapshot.deployments.get(f"{APP}-{release.id}")
    have, ready = canary.available if canary else 0, _canary_ready(snapshot)
    expect("weight-after-pods", holds=have >= need, text=f"raised to {weight} % with {have} of {need} pods")
    expect("weight-after-endpoints", holds=ready >= need, text=f"raised to {weight} % with {ready}/{need}")
    allowed = world.approved_weight.get(release.id, 0)
    expect("approved-weight", holds=weight <= allowed, text=f"{weight} % where {allowed} % was approved")
    pinned = snapshot.services.get(APP)
    held = pinned is not None and pinned.selected_hash not in {None, release.canary_hash}
    expect("weight-after-pin", holds=held, text=f"raised to {weight} % while the stable Service is wide")
    stable = snapshot.ready_pods.get(APP, frozenset())
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    down = not any(each.ready for each in own if each.digest != workload.digest)
    expect(
        "stable-endpoints", holds=bool(stable) or down, text=f"raised to {weight} % without stable endpoints"
    )
    if isinstance(action, Create):
        harmless = bool(world.ready_pods(CANARY)) and world.status.get("phase") == "Progressing"
        expect("late-create", holds=harmless, text="an old view created a route to a canary that is gone")


def _service_write(world: World, snapshot: Snapshot, old: JsonObject | None, new: JsonObject | None) -> None:
    name = (old or new or {})["metadata"]["name"]
    if name == APP:
        assert old is not None
        assert new is not None
        had, has = _selected(world, old), _selected(world, new)
        lost = not has and any(digest_of_tag(tag) in world.released for tag in had)
        expect("stable-keeps-endpoints", holds=not lost, text="a write of ours left the stable Service empty")
        fresh = {digest_of_tag(tag) for tag in has - had}
        unapproved = set() if world.torn or world.workload is None else fresh - world.released
        expect("wide-after-canary", holds=not unapproved, text="the stable Service was widened over a canary")
    elif new is None:
        found = snapshot.ingresses.get(CANARY)
        reaches = weight_of(found.manifest if found else None) > 0
        text = "the canary Service is deleted while a route leads to it"
        expect("route-before-service", holds=not reaches, text=text)
        _graced(world, snapshot, "the canary Service is deleted")


def _selected(world: World, service: JsonObject) -> set[str]:
    selector = service["spec"]["selector"]
    return {
        each.tag for each in world.store.pods.values() if each.ready and selects(selector, dict(each.labels))
    }


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
    world.released.add(template_digest(new["spec"]["template"]))


def _may_open(world: World, snapshot: Snapshot) -> bool:
    workload, rollout, status = snapshot.workload, snapshot.rollout, snapshot.rollout.status
    assert workload is not None
    spec = rollout.spec
    if rollout.deleting or (isinstance(spec, RolloutSpec) and spec.disabled):
        return True
    gate = workload.gate
    known = gate is not None and (status.release.id, status.release.digest) == (gate.release, workload.digest)
    if known and status.reason in {Reason.FINALISING, Reason.COMPLETED}:
        return True
    own = [each for each in snapshot.replica_sets if each.owner_uid == workload.target.uid]
    serving = [each for each in own if each.replicas > 0]
    returns = any(each.digest == workload.digest for each in serving)
    return returns or not serving or world.torn


def _canary_write(
    world: World, snapshot: Snapshot, action: Action, old: JsonObject | None, new: JsonObject | None
) -> None:
    """Canary pods appear only beside a pinned Service, and go only after their traffic."""
    before, after = _size(old), _size(new)
    spec = snapshot.rollout.spec
    if isinstance(action, Delete) and action.propagation is Propagation.ORPHAN:
        _left_behind_whole(snapshot, action)
    if after > before and isinstance(spec, RolloutSpec) and snapshot.workload is not None:
        own = [each for each in snapshot.replica_sets if each.owner_uid == snapshot.workload.target.uid]
        serving = [each for each in own if each.replicas > 0]
        text = f"canary pods beside {len(serving)} revisions"
        expect("settled-before-canary", holds=len(serving) <= 1, text=text)
    if after > before and isinstance(spec, RolloutSpec) and spec.routings:
        stable = snapshot.services.get(APP)
        held = stable is not None and stable.selected_hash is not None
        expect("pods-after-pin", holds=held, text=f"{action} while the stable Service is wide")
        live = world.store.get("Service", APP)
        pinned = live is None or names.POD_TEMPLATE_HASH in live["spec"]["selector"] or world.hand_on_service
        expect("late-create", holds=pinned, text="an old view created canary pods behind a wide Service")
    if after < before and snapshot.workload is not None and isinstance(spec, RolloutSpec):
        _shrinking(world, snapshot, spec, after)


def _left_behind_whole(snapshot: Snapshot, action: Delete) -> None:
    """Let a canary leave its pods behind only when they are scaled by the Deployment's numbers alone."""
    workload = snapshot.workload
    assert workload is not None
    canary = next(each for each in snapshot.deployments.values() if each.target == action.target)
    wanted = (workload.replicas, workload.replicas + workload.max_surge)
    own = [each for each in snapshot.replica_sets if each.owner_uid == canary.target.uid]
    expect("left-behind-whole", holds=all(each.scaled_for == wanted for each in own), text=f"{own}")
    expect("left-behind-whole", holds=workload.gate is not None, text="the gate is open already")


def _shrinking(world: World, snapshot: Snapshot, spec: RolloutSpec, after: int) -> None:
    found = snapshot.ingresses.get(CANARY)
    weight = weight_of(found.manifest if found else None)
    release, workload = snapshot.rollout.status.release, snapshot.workload
    assert workload is not None
    if after == 0:
        expect("pods-down-after-weight", holds=weight == 0, text=f"canary removed at {weight} %")
        _graced(world, snapshot, "canary pods are removed")
    elif weight:
        step = spec.steps[release.step - 1]
        enough = after >= step.replicas.of(workload.replicas) and weight <= (step.weight or 0)
        expect("pods-down-after-weight", holds=enough, text=f"canary cut to {after} at {weight} %")
        _graced_lowering(world)


def _graced(world: World, snapshot: Snapshot, what: str) -> None:
    """Between the last weight and whatever depends on there being none lies the data plane's grace."""
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


def _revision_write(snapshot: Snapshot, action: Action) -> None:
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
    ready = sum(each.ready for each in own)
    lost = max(0, target.ready - action.merge["spec"].get("replicas", target.replicas))
    least = min(ready, workload.replicas - workload.max_unavailable)
    text = f"settling leaves {ready - lost} of {ready} ready pods, {least} are needed"
    expect("settle-within-limits", holds=ready - lost >= least, text=text)


# --- the world at any moment -------------------------------------------------------------------------


def world_is_sound(world: World) -> None:
    """No pod of an unapproved version in the stable Deployment; remember what weights were and may be."""
    _remember_weights(world)
    workload = world.workload
    if workload is None or world.torn:
        return
    if _leaves(world):
        world.released.add(template_digest(workload["spec"]["template"]))
    uid = workload["metadata"]["uid"]
    for each in world.store.of_kind("ReplicaSet"):
        if owner_of(each) == uid and each["spec"]["replicas"] > 0:
            digest = digest_of_tag(tag_of(bare(each["spec"]["template"])))
            text = f"{each['metadata']['name']} runs {tag_of(each['spec']['template'])}"
            expect("no-unapproved-pods", holds=digest in world.released, text=text)


def world_at_rest_is_sound(world: World) -> None:
    """Judge what rests: silent without endpoints, gate whole, weight approved, nothing left over."""
    ready, weight = world.ready_pods(CANARY), world.canary_weight()
    expect("silence", holds=bool(ready) or weight == 0, text=f"{weight} % to a canary without endpoints")
    allowed = world.approved_weight.get(world.release_id, 0)
    expect("rest-weight", holds=weight <= allowed, text=f"rests at {weight} % where {allowed} % was approved")
    phase = world.status.get("phase")
    if phase == "Healthy":
        expect("nothing-left", holds=not world.leftovers(), text=f"{world.leftovers()}")
    if world.workload is None or phase != "Progressing":
        return
    if world.condition_reason == "InRolling":
        closed = world.gate_closed and bool(world.workload["spec"].get("paused"))
        expect("gate-closed", holds=closed, text="a release rests with its gate open")
    if world.condition_reason == "InRolling" and world.release.get("currentStepState") == "StepPaused":
        canaries = [each for each in world.store.of_kind("Deployment") if each["metadata"]["name"] != APP]
        expect("one-canary", holds=len(canaries) == 1, text=f"{len(canaries)} canary Deployments")
    serving = world.ready_pods(APP)
    ours = {each.name for each in world.store.pods.values() if each.ready} & world.pods_of(world.workload)
    routed = world.store.get("Service", APP) is not None
    expect("stable-served", holds=bool(serving) or not (ours and routed), text="no stable endpoints at rest")


def _leaves(world: World) -> bool:
    """Tell whether the Rollout lets its Deployment go, with whatever template it has (contract, 3.5)."""
    rollout = world.rollout
    if rollout is None or "deletionTimestamp" in rollout["metadata"]:
        return True
    return bool(rollout["spec"].get("disabled"))


def _remember_weights(world: World) -> None:
    weight = world.canary_weight()
    if weight:
        world.last_weight_at = world.now
    if weight < world.weight_before:
        world.lowered_at = world.now
    world.weight_before = weight
    status, release = world.status, world.release
    if status.get("phase") != "Progressing" or world.rollout is None:
        return
    steps = world.rollout["spec"]["strategy"]["canary"]["steps"]
    index = release.get("currentStepIndex", 0)
    if isinstance(index, int) and 1 <= index <= len(steps):
        one = steps[index - 1]
        asked = 100 if one.get("matches") else int(one.get("traffic", "0%").removesuffix("%"))
        before = world.approved_weight.get(world.release_id, 0)
        world.approved_weight[world.release_id] = max(before, asked)


# --- helpers of the rules ----------------------------------------------------------------------------


def _needed(spec: RolloutSpec, step: Step, replicas: int) -> int:
    total = step.replicas.of(replicas)
    tolerated = spec.failure_threshold.of(total) if spec.failure_threshold else 0
    return max(min(total, 1), total - tolerated)


def _canary_ready(snapshot: Snapshot) -> int:
    return len(snapshot.ready_pods.get(CANARY, frozenset()))


def _size(value: JsonObject | None) -> int:
    return int(value["spec"]["replicas"]) if value else 0


@lru_cache
def digest_of_tag(tag: str) -> str:
    """Return the digest of the template of a version."""
    return template_digest(template(tag))
