"""Short courses of events that each bring one safety rule to bear.

On the engine as it is, each runs through; without the rule it is made for, an invariant of the
model fails. So the drills are tests of the engine, and together the proof that the model watches.
"""

from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import Pass, look, reconcile, settle, stale_view
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.store import owner_of
from tests.unit.rollout.model.world import World

TWO_STEPS = [step(20, "40%"), step(50, "60%")]


def governed(*, grace: int = 3, routed: bool = True) -> World:
    """Return a world with a Rollout at rest."""
    world = World()
    world.grace_seconds = grace
    world.store.create(rollout(TWO_STEPS, grace=grace, routed=routed))
    settle(world)
    return world


def paused_at(number: int, *, grace: int = 3) -> World:
    """Return a world whose release of v2 waits for approval at a step."""
    world = governed(grace=grace)
    world.apply_template("v2")
    settle(world)
    for _ in range(number - 1):
        world.approve_present_step()
        settle(world)
    invariants.expect("drill", holds=world.release["currentStepIndex"] == number, text=f"{world.status}")
    return world


def ends_healthy(world: World, *, succeeded: bool) -> None:
    """Expect the end of a release, with nothing left."""
    settle(world)
    conditions = {each["type"]: each["status"] for each in world.status["conditions"]}
    invariants.expect("ends", holds=world.status["phase"] == "Healthy", text=f"{world.status}")
    invariants.expect("ends", holds=conditions["Succeeded"] == str(succeeded), text=f"{world.status}")
    invariants.expect("nothing-left", holds=not world.leftovers(), text=f"{world.leftovers()}")


def completes() -> None:
    """Two steps, each approved."""
    world = paused_at(2)
    world.approve_present_step()
    ends_healthy(world, succeeded=True)


def waits_for_its_own_approval() -> None:
    """Neither another step's nor another release's approval moves a step."""
    world = paused_at(1)
    for value in ("zzzzz/1", f"{world.release_id}/2", "nonsense"):
        world.approve(value)
        settle(world)
        invariants.expect("approved", holds=world.release["currentStepIndex"] == 1, text=f"{value} counted")


def canary_loses_its_pods() -> None:
    """Every canary pod fails while it has traffic."""
    world = paused_at(1)
    world.broken_tags.add("v2")
    settle(world)


def endpoints_lag_behind() -> None:
    """Pods are up, the EndpointSlices do not show them yet."""
    world = governed()
    world.apply_template("v2")
    world.held_up = frozenset({"endpoints"})
    settle(world)
    world.held_up = frozenset()
    settle(world)


def pods_do_not_come_up() -> None:
    """One canary pod of two never becomes ready."""
    world = governed()
    world.held_up = frozenset({"pods"})
    world.apply_template("v2")
    settle(world)
    pod = next(each for each in world.store.pods.values() if each.tag == "v2")
    world.store.set_ready(pod.name, ready=True)
    settle(world)


def pods_without_traffic() -> None:
    """No traffic is routed; a step is approved before its pods are there."""
    world = governed(routed=False)
    world.held_up = frozenset({"pods"})
    world.apply_template("v2")
    settle(world)
    world.approve_present_step()
    settle(world)
    world.held_up = frozenset()
    world.approve_present_step()
    settle(world)
    invariants.expect("second", holds=world.release["currentStepIndex"] == 2, text=f"{world.status}")


def rolls_back() -> None:
    """Apply the old template again, while the canary has traffic."""
    world = paused_at(1)
    world.apply_template("v1")
    ends_healthy(world, succeeded=False)


def rolls_back_slowly() -> None:
    """Roll back while neither pods nor the garbage collector are quick."""
    world = paused_at(1)
    world.apply_template("v1")
    world.held_up = frozenset({"garbage", "replica sets"})
    settle(world)
    world.held_up = frozenset()
    ends_healthy(world, succeeded=False)


def third_template() -> None:
    """v3 while v2's canary has traffic."""
    world = paused_at(1)
    world.apply_template("v3")
    settle(world)
    invariants.expect(
        "third", holds=world.release["currentStepState"] == "StepPaused", text=f"{world.status}"
    )


def third_template_while_promoting() -> None:
    """v3 while v2 rolls out natively: two revisions serve behind the gate."""
    world = paused_at(2, grace=0)
    world.approve_present_step()
    world.held_up = frozenset({"pods"})
    settle(world)
    world.held_up = frozenset()
    world.apply_template("v3")
    settle(world)
    invariants.expect(
        "third", holds=world.release["currentStepState"] == "StepPaused", text=f"{world.status}"
    )


def change_in_the_middle_of_a_roll() -> None:
    """v3 while v1 and v2 both serve, in about equal numbers, and the Deployment's limits allow no jump."""
    world = paused_at(2, grace=0)
    limits = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    world.store.patch("Deployment", APP, {"spec": {"strategy": limits}})
    world.approve_present_step()
    for _ in range(400):
        counts = world.ready_by_tag()
        if counts.get("v1", 0) <= 3 and counts.get("v2", 0) >= 2 and not world.gate_closed:
            break
        if not reconcile(world):
            controllers.run_one(world.store)
    invariants.expect("drill", holds=not world.gate_closed, text=f"{world.status}")
    world.apply_template("v3")
    settle(world)
    invariants.expect(
        "third", holds=world.release["currentStepState"] == "StepPaused", text=f"{world.status}"
    )


def jumps_back() -> None:
    """From step 2 to step 1: weight and pods go down."""
    world = paused_at(1)
    world.write_release({"currentStepState": "StepReady"})
    settle(world)
    _jump_to_the_first_step(world)


def old_approval_after_a_jump_back() -> None:
    """Step 1 was approved by annotation once; who jumps back to it means to stay there."""
    _jump_to_the_first_step(paused_at(2))


def _jump_to_the_first_step(world: World) -> None:
    world.write_release({"nextStepIndex": 1})
    settle(world)
    canary = world.store.get("Deployment", f"{APP}-{world.release_id}")
    assert canary is not None
    invariants.expect("shrinks", holds=canary["spec"]["replicas"] == 2, text=f"{canary['spec']}")
    invariants.expect("jumped", holds=world.canary_weight() == 20, text=f"{world.canary_weight()} %")


def weight_raised_by_hand() -> None:
    """Somebody sets weight 90 while a pod is missing, so that the step cannot be finished."""
    world = paused_at(1)
    world.held_up = frozenset({"pods"})
    pod = next(each for each in world.store.pods.values() if each.tag == "v2")
    world.store.set_ready(pod.name, ready=False)
    world.meddle_with_canary_route("90")
    settle(world)


def gate_torn_open() -> None:
    """Open the gate by hand while the webhook is away."""
    world = paused_at(1)
    world.webhook_away = True
    world.tear_gate_open()
    world.held_up = frozenset({"deployments"})
    settle(world)


def late_creations() -> None:
    """Go on with what a reconciler without its lease had planned, after the release was taken back."""
    world, begun = governed(), list[Pass]()
    world.apply_template("v2")
    for _ in range(40):
        world.run_controllers()
        if (one := look(world)) and one.plan.actions:
            begun.append(one)
        reconcile(world, writes=1)
    world.apply_template("v1")
    settle(world)
    for one in begun:
        while next(one.writes, False):
            pass
    ends_healthy(world, succeeded=False)


def stalled_widening() -> None:
    """Stall a reconciler before it widens the Service for v2, and go on when v3 has its canary."""
    world = paused_at(2, grace=0)
    world.approve_present_step()
    reconcile(world)
    stalled = look(world)
    assert stalled is not None
    world.apply_template("v3")
    settle(world)
    while next(stalled.writes, False):
        pass
    settle(world)


def view_of_a_finished_release() -> None:
    """Show the gate still closed, by an old cache of Deployments, when the release is over."""
    world = paused_at(2, grace=0)
    before = {key: each for key, each in world.store.objects.items() if key[0] == "Deployment"}
    world.approve_present_step()
    settle(world)
    reconcile(world, {**world.store.objects, **before})
    ends_healthy(world, succeeded=True)


def old_view_of_replica_sets() -> None:
    """Begin v3 when the cache of ReplicaSets does not show v2 yet: a pin to v1 would select nothing."""
    world = paused_at(2, grace=0)
    before = {key: each for key, each in world.store.objects.items() if key[0] == "ReplicaSet"}
    world.approve_present_step()
    while world.ready_by_tag() != {"v2": 5}:
        reconcile(world, writes=1)
        world.run_controllers()
    world.apply_template("v3")
    for _ in range(12):
        reconcile(world)
        world.run_controllers()
        fresh = {key: each for key, each in world.store.objects.items() if key[0] != "ReplicaSet"}
        reconcile(world, {**fresh, **before})
    settle(world)
    invariants.expect(
        "third", holds=world.release["currentStepState"] == "StepPaused", text=f"{world.status}"
    )


def view_without_replica_sets() -> None:
    """Hide every ReplicaSet: that nothing is seen to serve does not mean that nothing serves."""
    for world in (governed(), paused_at(1)):
        world.apply_template("v3")
        for _ in range(5):
            seen = {key: each for key, each in world.store.objects.items() if key[0] != "ReplicaSet"}
            reconcile(world, seen)
        invariants.expect("gate-held", holds=world.gate_closed, text=f"opened blindly: {world.status}")


def blocked_and_scaled_to_nothing() -> None:
    """Scale to zero and up while a version that ran before waits for a Service: it stays asleep."""
    world = paused_at(2, grace=0)
    world.approve_present_step()
    settle(world)
    world.delete_or_create("Service")
    world.apply_template("v1")
    settle(world)
    for replicas in (0, 5):
        world.scale(replicas)
        world.run_controllers()
    asleep = "v1" not in world.ready_by_tag()
    invariants.expect("no-unapproved-pods", holds=asleep, text=f"{world.ready_by_tag()} are ready")


def plan_shortened() -> None:
    """Take a step out of the plan while the first one waits: the release stays where it asks for no more."""
    world = governed(grace=0)
    world.change_spec({"strategy": {"canary": {"steps": [*TWO_STEPS, step(90, "80%")]}}})
    settle(world)
    world.apply_template("v2")
    settle(world)
    world.change_spec({"strategy": {"canary": {"steps": [step(20, "40%"), step(90, "80%")]}}})
    settle(world)
    invariants.expect("stays-behind", holds=world.canary_weight() == 20, text=f"{world.canary_weight()} %")


# --- promotion by hand-over --------------------------------------------------------------------------


def approved_pods_survive() -> None:
    """Promote: the canary's pods are the Deployment's own after it, not started again."""
    _survives(paused_at(2, grace=0), "v2")


def adopted_slowly() -> None:
    """Promote while the garbage collector is slow: the gate stays closed until the pods are handed over."""
    world = paused_at(2, grace=0)
    approved = _pods_of_version(world, "v2")
    world.approve_present_step()
    for _ in range(30):
        world.held_up = frozenset({"garbage"})
        world.run_controllers()
        reconcile(world)
    world.held_up = frozenset()
    _still_there(world, approved, "v2")


def rolled_back_while_pods_change_hands() -> None:
    """Take v2 back when its pods were adopted and pods of v1 cut for them, which still count."""
    world = paused_at(2, grace=0)
    world.approve_present_step()
    world.held_up = frozenset({"replica sets"})
    for _ in range(30):
        if len(world.tags_asked_for(world.workload or {})) > 1:
            break
        reconcile(world, writes=1)
        world.run_controllers()
    world.apply_template("v1")
    for _ in range(5):
        world.run_controllers()
        reconcile(world)
    world.held_up = frozenset()
    ends_healthy(world, succeeded=False)


def a_version_that_ran_before() -> None:
    """v1 is released again: its own old ReplicaSet must not be the one that the controller fills."""
    world = paused_at(2, grace=0)
    world.approve_present_step()
    settle(world)
    world.apply_template("v1")
    settle(world)
    world.approve_present_step()
    settle(world)
    _survives(world, "v1")


def more_pods_than_fit() -> None:
    """Half of the canary's pods are not ready, and the Deployment has no room beside its own."""
    limits = {"maxSurge": 0, "maxUnavailable": 1}
    world = World(replicas=10, limits=limits)
    world.grace_seconds = 0
    whole = rollout([step(20, "100%")], grace=0, failureThreshold="50%")
    whole["spec"]["strategy"]["canary"]["steps"][0]["replicas"] = 10
    world.store.create(whole)
    settle(world)
    world.apply_template("v2")
    world.held_up = frozenset({"pods"})
    settle(world)
    for number, name in enumerate(sorted(_pods_of_version(world, "v2"))):
        if number < 5:  # half of them
            world.store.set_ready(name, ready=True)
        else:
            world.store.stick(name)
    settle(world)
    world.approve_present_step()
    for _ in range(40):
        reconcile(world, writes=1)
        world.run_controllers()
        ready = sum(world.ready_by_tag().values())
        invariants.expect("limits", holds=ready >= 9, text=f"{ready} of 10 pods are ready")
    world.held_up = frozenset()
    world.store.mend_pods()
    ends_healthy(world, succeeded=True)


def patched_pods_are_not_handed_over() -> None:
    """With labels of their own the canary's pods are not of the Deployment's template: it starts its own."""
    world = World()
    world.grace_seconds = 0
    patch = {"labels": {"track": "canary"}}
    world.store.create(rollout(TWO_STEPS, grace=0, patchPodTemplateMetadata=patch))
    settle(world)
    world.apply_template("v2")
    for _ in range(2):
        settle(world)
        world.approve_present_step()
    ends_healthy(world, succeeded=True)
    tracked = [each.name for each in world.store.pods.values() if ("track", "canary") in each.labels]
    invariants.expect("nothing-left", holds=not tracked, text=f"{tracked}")


def workload_deleted_before_adoption() -> None:
    """Delete the Deployment before it has adopted what was left behind for it."""
    world = paused_at(2, grace=0)
    world.approve_present_step()
    world.held_up = frozenset({"deployments"})
    for _ in range(30):
        if not any(owner_of(each) for each in world.store.of_kind("ReplicaSet") if _is_of(each, "v2")):
            break
        reconcile(world, writes=1)
        world.run_controllers()
    world.store.delete("Deployment", APP)
    settle(world)
    invariants.expect("nothing-left", holds=not world.leftovers(), text=f"{world.leftovers()}")


def _survives(world: World, tag: str) -> None:
    approved = _pods_of_version(world, tag)
    world.approve_present_step()
    _still_there(world, approved, tag)


def _still_there(world: World, approved: set[str], tag: str) -> None:
    ends_healthy(world, succeeded=True)
    lost = approved - _pods_of_version(world, tag)
    text = f"{lost} of {approved} were started again"
    invariants.expect("survive", holds=bool(approved) and not lost, text=text)


def _pods_of_version(world: World, tag: str) -> set[str]:
    return {each.name for each in world.store.pods.values() if each.tag == tag}


def _is_of(revision: JsonObject, tag: str) -> bool:
    return controllers.tag_of(revision["spec"]["template"]) == tag


def disabled_after_third_template() -> None:
    """Disabled between a third template and the removal of the second one's canary."""
    world = paused_at(1)
    world.apply_template("v3")
    world.change_spec({"disabled": True})
    settle(world)
    invariants.expect("nothing-left", holds=not world.leftovers(), text=f"{world.leftovers()}")


def scaled_to_nothing_and_back() -> None:
    """Scale to zero and back: the controller wakes the youngest old ReplicaSet, not the stable one."""
    world = governed(grace=0)
    for tag in ("v2", "v1"):
        world.apply_template(tag)
        settle(world)
        for _ in range(2):
            world.approve_present_step()
            settle(world)
    world.apply_template("v3")
    settle(world)
    for replicas in (0, 5):
        world.scale(replicas)
        settle(world)
    invariants.expect("stable", holds=world.ready_by_tag() == {"v1": 5}, text=f"{world.ready_by_tag()}")


def workload_deleted() -> None:
    """Delete the Deployment while its canary has traffic."""
    world = paused_at(1)
    world.store.delete("Deployment", APP)
    settle(world)
    invariants.expect("nothing-left", holds=not world.leftovers(), text=f"{world.leftovers()}")


def webhook_away() -> None:
    """Everything of ours works on without the webhook."""
    world = paused_at(1)
    world.webhook_away = True
    world.store.patch("Service", APP, {"spec": {"selector": {"pod-template-hash": None}}})
    settle(world)
    world.write_release({"currentStepState": "StepReady"})
    settle(world)
    world.write_release({"currentStepState": "StepReady"})
    ends_healthy(world, succeeded=True)


def stable_is_down() -> None:
    """Release the cure for a version that serves nothing."""
    world = governed()
    world.broken_tags.add("v1")
    world.run_controllers()
    world.apply_template("v2")
    settle(world)
    for _ in range(2):
        world.approve_present_step()
        settle(world)
    ends_healthy(world, succeeded=True)


def stale_views() -> None:
    """Pass from views of any age, between the writes of a whole release."""
    world = governed(grace=0)
    world.apply_template("v2")
    for turn in range(60):
        world.run_controllers()
        world.remember()
        kinds = ("Rollout", "Deployment", "ReplicaSet", "Service", "Ingress", "EndpointSlice")
        ages = {kind: (turn * (index + 3)) % 7 for index, kind in enumerate(kinds)}
        reconcile(world, stale_view(world, ages))
        reconcile(world, writes=1)
        if world.release.get("currentStepState") == "StepPaused":
            world.approve_present_step()
    ends_healthy(world, succeeded=True)


DRILLS = (
    completes,
    waits_for_its_own_approval,
    canary_loses_its_pods,
    endpoints_lag_behind,
    pods_do_not_come_up,
    pods_without_traffic,
    rolls_back,
    rolls_back_slowly,
    third_template,
    third_template_while_promoting,
    change_in_the_middle_of_a_roll,
    jumps_back,
    old_approval_after_a_jump_back,
    weight_raised_by_hand,
    gate_torn_open,
    late_creations,
    stalled_widening,
    view_of_a_finished_release,
    old_view_of_replica_sets,
    view_without_replica_sets,
    blocked_and_scaled_to_nothing,
    plan_shortened,
    approved_pods_survive,
    adopted_slowly,
    rolled_back_while_pods_change_hands,
    a_version_that_ran_before,
    more_pods_than_fit,
    patched_pods_are_not_handed_over,
    workload_deleted_before_adoption,
    disabled_after_third_template,
    scaled_to_nothing_and_back,
    workload_deleted,
    webhook_away,
    stable_is_down,
    stale_views,
)
