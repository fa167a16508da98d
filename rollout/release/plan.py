"""The decision: from one snapshot of the world to the next writes.

``plan`` is total, deterministic and idempotent: executed and observed again, it asks for nothing.
The situation is judged anew each time, from what is, in the order of the guards below.
"""

from dataclasses import replace

from rollout import messages, names
from rollout.actions import Action, Patch
from rollout.release import advancing, closing, engagement, holding, resting, strategy
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Outcome
from rollout.release.plan_value import Plan
from rollout.release.stages import find_pods
from rollout.snapshot import Deployment, RolloutObject, Snapshot
from rollout.spec import Amount, RolloutSpec, Step, Style, WorkloadRef
from rollout.status import Phase, Reason, Release, Status
from rollout.support import unsupported

__all__ = ["Plan", "has_left", "leave", "plan"]

_NOTHING_ASKED = RolloutSpec(WorkloadRef("apps/v1", "Deployment", ""), Style.CANARY, (Step(Amount(1)),))


def plan(snapshot: Snapshot) -> Plan:
    """Decide what to write, what to show, and when to look again."""
    made = _plan(snapshot)
    # A write to the Rollout itself makes a guarded status write beside it void; it comes with the next plan.
    if any(isinstance(each, Patch) and each.target == snapshot.rollout.target for each in made.actions):
        return replace(made, status=snapshot.rollout.status)
    status = replace(made.status, observed_generation=snapshot.rollout.generation)
    return replace(made, status=engagement.told(snapshot, status))


def leave(snapshot: Snapshot) -> Plan:
    """Let go of the workload because we are being uninstalled; the Rollout stays, free of us."""
    rollout, workload = snapshot.rollout, snapshot.workload
    if rollout.deleting:
        return plan(snapshot)
    spec = engagement.resolved(snapshot, _legible(rollout))
    facts = Facts(snapshot, rollout, spec, workload) if workload and not workload.deleting else None
    outcome = closing.withdraw(facts) if facts else closing.clear(snapshot, spec.routings)
    if outcome is not DONE:
        return Plan(rollout.status, outcome.actions, look_again_at=outcome.until)
    if workload and workload.governed:
        return Plan(rollout.status, (_label(workload, present=False),))
    if names.ROLLOUT_FINALIZER not in rollout.finalizers:
        return Plan(rollout.status)
    # The status is told while the finalizer still says that this Rollout is not done with.
    left = replace(rollout.status.silent, phase=Phase.INITIAL, message=messages.UNINSTALLED, conditions=())
    return Plan(left, (_finalizer(rollout, present=False),) if left == rollout.status else ())


def has_left(snapshot: Snapshot) -> bool:
    """Tell whether nothing of ours is left around a Rollout."""
    return names.ROLLOUT_FINALIZER not in snapshot.rollout.finalizers and not leave(snapshot).actions


def _plan(snapshot: Snapshot) -> Plan:  # noqa: PLR0911 - a guard a line, each with its why, reads best in one place
    rollout, workload = snapshot.rollout, snapshot.workload
    spec = _readable(rollout)
    if isinstance(spec, str):
        return _idle(snapshot, spec)
    spec = engagement.resolved(snapshot, spec)
    # Before the first write of a release something must make sure that it will be cleaned up.
    if not rollout.deleting and names.ROLLOUT_FINALIZER not in rollout.finalizers:
        return Plan(rollout.status, (_finalizer(rollout, present=True),))
    if workload is None or workload.deleting:
        return _without_workload(snapshot, spec)
    facts = Facts(snapshot, rollout, spec, workload)
    if rollout.deleting:
        return _terminate(facts)
    # Once begun, disabling goes on to its end: a release begun anew would meet its own pods already.
    letting_go = rollout.status.phase is Phase.DISABLING and (facts.is_recorded or not facts.gated)
    if spec.disabled or letting_go:
        return _disable(facts)
    # The label makes the webhook's strict hook see the Deployment.
    if not workload.governed:
        return Plan(rollout.status, (_label(workload, present=True),))
    return _behind_gate(facts) if facts.gated else _without_gate(facts)


def _legible(rollout: RolloutObject) -> RolloutSpec:
    """Give the spec or, of one that cannot be read, what is needed to end what it has begun."""
    if not isinstance(rollout.spec, tuple):
        return rollout.spec
    return replace(_NOTHING_ASKED, routings=rollout.routings, disabled=rollout.disabled)


def _readable(rollout: RolloutObject) -> RolloutSpec | str:
    """Give the spec, or say why nothing can be done by it. What is deleted or disabled is always let go."""
    spec = rollout.spec
    if isinstance(spec, tuple):
        if rollout.deleting or rollout.disabled:
            return _legible(rollout)
        return "; ".join(str(each) for each in spec)
    if rollout.deleting or spec.disabled:
        return spec
    return unsupported(spec) or spec


def _idle(snapshot: Snapshot, why: str) -> Plan:
    """Do nothing by a Rollout that says nothing we can do, and hold nothing for it either.

    Only a release under way stays held: letting it out because its Rollout was broken meanwhile would
    be a release that nobody approved.
    """
    rollout, workload = snapshot.rollout, snapshot.workload
    phase = rollout.status.phase if rollout.status.phase is not Phase.NONE else Phase.INITIAL
    status = replace(rollout.status, phase=phase, message=why)
    spec = engagement.resolved(snapshot, _legible(rollout))
    if workload is None:
        outcome = closing.clear(snapshot, spec.routings)
        return Plan(status, outcome.actions if outcome else ())
    facts = Facts(snapshot, rollout, spec, workload)
    if phase is Phase.PROGRESSING:
        return _unguided(facts, status)
    if workload.gate and workload.gate.rollout != rollout.target.name:
        return Plan(status)
    outcome = holding.open_gate(facts) or strategy.give_back(facts)
    return Plan(status, outcome.actions if outcome else ())


def _unguided(facts: Facts, held: Status) -> Plan:
    """End a release whose Rollout was broken if that was decided; until then, only protect requests."""
    going_back = held.reason is Reason.CANCELLING and not facts.gated
    if going_back or (facts.returning and facts.counted):
        return closing.take_back(facts)
    if held.reason is Reason.FINALISING and facts.is_recorded:
        return closing.let_out(facts)
    if facts.overtaken:
        return closing.accept(facts)
    outcome = find_pods(facts)
    return Plan(held, outcome.actions if outcome else (), look_again_at=outcome.until if outcome else None)


def _behind_gate(facts: Facts) -> Plan:
    status = facts.rollout.status
    # It runs alone, and nobody knows of it any more: beside itself it cannot be released.
    alone = facts.parts and not facts.is_recorded and facts.stable in facts.same_template
    # The old template is back, or nothing serves that a release could protect.
    if facts.returning or (facts.stable is None and not facts.forgotten) or alone:
        return _unguarded(facts) if facts.counted else _uncounted(facts)
    # A release that has ended: all that can be left is its gate (or this view of it is old).
    if facts.is_recorded and status.phase in {Phase.HEALTHY, Phase.DISABLED}:
        return _opened(facts)
    # What is being let out needs no stable revision: one that keeps no history is deleted when it is empty.
    let_out = facts.is_recorded and status.reason is Reason.FINALISING
    if not (facts.in_view or let_out):
        return _unseen(facts)
    # A template that came past the webhook gets its own release id before anything is recorded of it.
    if facts.workload.gate and facts.workload.gate.release != facts.release:
        outcome = holding.hold(facts)
        return Plan(status, outcome.actions if outcome else ())
    return _held(facts)


def _unseen(facts: Facts) -> Plan:
    """Wait until the stable revision can be seen or, where it is gone, go by what serves now."""
    if facts.overtaken:  # nothing is left that it could be taken back to
        return closing.accept(facts)
    if facts.lost:
        return replace(advancing.start(facts), actions=(closing.as_seen(facts),))
    return _uncounted(facts)


def _uncounted(facts: Facts) -> Plan:
    """Wait until the Deployment's status is about the ReplicaSets that are seen."""
    status = facts.rollout.status
    if facts.is_recorded:  # before a release it takes a moment, and nobody has been told of any
        waits = messages.waits_for_count(facts.workload.target.name)
        status = replace(status, release=replace(status.release, message=waits))
    return Plan(status)


def _unguarded(facts: Facts) -> Plan:
    """Let the change out: nothing would be gained by holding it."""
    status = facts.rollout.status
    under_way = status.phase is Phase.PROGRESSING and status.reason is not Reason.CANCELLING
    # Without history, the old revision of a Deployment that is scaled to zero is deleted: it is a release.
    if facts.is_recorded and under_way:
        return closing.accept(facts)
    return closing.take_back(facts)


def _held(facts: Facts) -> Plan:
    """Begin the release that waits behind the gate, or go on with it."""
    status = facts.rollout.status
    # It is out: handed over by somebody who did not go on to the end (an uninstall that was given up), or
    # rolled out whole while somebody had resumed the Deployment: what it replaced cannot be brought back.
    handed_over = facts.newest is not None and facts.newest.maker == facts.canary_name
    if not facts.parts and facts.counted and facts.out and (handed_over or facts.whole):
        return closing.accept(facts)
    # Pods on their way to the Deployment arrive first: with another release recorded, nobody waits for them.
    if facts.unadopted and not facts.is_recorded:
        return Plan(status)
    if status.phase is not Phase.PROGRESSING or not facts.is_recorded or status.reason is Reason.CANCELLING:
        return advancing.start(facts)
    return closing.let_out(facts) if status.reason is Reason.FINALISING else advancing.advance(facts)


def _opened(facts: Facts) -> Plan:
    outcome = holding.open_gate(facts)
    return Plan(facts.rollout.status, outcome.actions if outcome else ())


def _without_gate(facts: Facts) -> Plan:
    status = facts.rollout.status
    if status.phase is not Phase.PROGRESSING:
        return resting.rest(facts)
    if status.reason is Reason.CANCELLING or facts.returning:
        return closing.take_back(facts)
    if status.reason is Reason.FINALISING:
        return closing.let_out(facts)
    # Inside the Deployment, most of its pods may be new though nobody has let the version out.
    if facts.out and not (facts.parts and facts.is_recorded):
        return closing.accept(facts)
    if not facts.in_view:
        return _unseen(facts)
    # Somebody opened the gate behind our back: what was held stays held, and a new template is a new release.
    return advancing.advance(facts) if facts.is_recorded else advancing.start(facts)


def _without_workload(snapshot: Snapshot, spec: RolloutSpec) -> Plan:
    rollout = snapshot.rollout
    outcome = closing.clear(snapshot, spec.routings)
    if rollout.deleting:
        return _let_go(rollout, rollout.status, outcome, None)
    # The release is forgotten when all that it left is gone: it is found by the release's id. Never is it
    # Disabled before: what a gate may still hold, where the Rollout pointed earlier, would count as let out.
    release = Release() if outcome is DONE else rollout.status.release
    phase, message = Phase.INITIAL, messages.WORKLOAD_NOT_FOUND
    if spec.disabled:
        phase = Phase.DISABLED if outcome is DONE else Phase.INITIAL
        message = messages.DISABLED if outcome is DONE else messages.DISABLING
    return Plan(Status(phase=phase, message=message, release=release), outcome.actions if outcome else ())


def _terminate(facts: Facts) -> Plan:
    now, outcome = facts.snapshot.now, closing.withdraw(facts)
    status = replace(facts.rollout.status, phase=Phase.TERMINATING)
    status = status.with_condition(
        "Terminating", status=True, reason="InTerminating", message=messages.TERMINATING, now=now
    )
    return _let_go(facts.rollout, status, outcome, facts.workload)


def _let_go(rollout: RolloutObject, status: Status, outcome: Outcome, workload: Deployment | None) -> Plan:
    """Finish the clean-up, then take the label from the workload, then the finalizer from the Rollout."""
    if outcome is not DONE:
        return Plan(status, outcome.actions, look_again_at=outcome.until)
    if workload and workload.governed:
        return Plan(status, (_label(workload, present=False),))
    if names.ROLLOUT_FINALIZER in rollout.finalizers:
        return Plan(rollout.status, (_finalizer(rollout, present=False),))
    return Plan(rollout.status)


def _disable(facts: Facts) -> Plan:
    outcome, status = closing.withdraw(facts), facts.rollout.status.silent
    if outcome is not DONE:
        disabling = replace(status, phase=Phase.DISABLING, message=messages.DISABLING)
        return Plan(disabling, outcome.actions, look_again_at=outcome.until)
    disabled = replace(status, phase=Phase.DISABLED, message=messages.DISABLED)
    return Plan(disabled.without_condition("Progressing").without_condition("Succeeded"))


def _finalizer(rollout: RolloutObject, *, present: bool) -> Action:
    others = [each for each in rollout.finalizers if each != names.ROLLOUT_FINALIZER]
    finalizers = [*others, names.ROLLOUT_FINALIZER] if present else others
    why = "clean up before the Rollout goes" if present else "nothing of ours is left"
    return Patch(rollout.target, guarded(rollout.target, {"metadata": {"finalizers": finalizers}}), why=why)


def _label(workload: Deployment, *, present: bool) -> Action:
    labels = {names.WORKLOAD_TYPE: "deployment" if present else None}
    why = "let the webhook see every change" if present else "the webhook need not see it any more"
    return Patch(workload.target, guarded(workload.target, {"metadata": {"labels": labels}}), why=why)
