"""The end of a release: the new version let out, or taken back, and nothing of ours left.

Let out:     stable Service widened and seen -> no weight -> grace -> route and canary Service gone
             -> approved pods handed over -> gate opened -> native rolling update complete -> canary gone
             (and with the gate, a Deployment inside which the release went on gets its owner's strategy back)
Taken back:  no weight -> grace -> route gone -> gate opened (the template is the stable one's)
             -> canary Service gone -> canary drained and gone -> stable Service widened
"""

from collections.abc import Iterable
from dataclasses import replace

from rollout import messages
from rollout.actions import Confirm, Event, Target
from rollout.release import engagement, handover, holding, pods, routes, services, strategy
from rollout.release.facts import Facts, owned_deployments, pinned_services
from rollout.release.outcome import DONE, Doing, Outcome, Task, first_unfinished, resting_on, together
from rollout.release.plan_value import Plan
from rollout.snapshot import Snapshot
from rollout.spec import TrafficRoutingRef
from rollout.status import APPROVALS_RESET, NO_NEXT_STEP, Phase, Reason, Release, Status, StepState

_Named = tuple[str, Task]


def let_out(facts: Facts) -> Plan:
    """Finish a release whose last step was approved."""
    name, outcome = _first(_letting_out(facts, wait=True))
    if outcome is not DONE:
        return Plan(
            _closing(facts, Reason.FINALISING, name, outcome), outcome.actions, look_again_at=outcome.until
        )
    status = _ended(facts, messages.COMPLETED, succeeded=True, release=_completed(facts))
    return Plan(status, events=(Event("Succeeded", messages.COMPLETED, key=f"{facts.release}/completed"),))


def accept(facts: Facts) -> Plan:
    """Finish a release that somebody let out behind our back, when it is too late to hold it."""
    if facts.rollout.status.reason is Reason.FINALISING:
        return let_out(facts)
    text = messages.let_out_elsewhere(facts.workload.target.name)
    note = Event("ReleasedUncontrolled", text, key=f"{facts.release}/out", warning=True)
    return Plan(_closing(facts, Reason.FINALISING, "", None), (as_seen(facts),), events=(note,))


def as_seen(facts: Facts) -> Confirm:
    """Look once more at what serves: an old view may lack a revision, or the pods that an empty one got."""
    return Confirm((facts.workload.target, *(each.target for each in facts.known)))


def take_back(facts: Facts) -> Plan:
    """Return everything to the stable revision."""
    status = facts.rollout.status
    if status.phase is Phase.PROGRESSING and status.reason is not Reason.CANCELLING:
        key = f"{status.release.id}/rolled-back"
        begun = _closing(facts, Reason.CANCELLING, "", None)
        note = Event("Progressing", messages.ROLLED_BACK_EVENT, key=key)
        # Seen as it was before the release, the Deployment looks the same.
        return Plan(begun, (Confirm((facts.workload.target,)),), events=(note,))
    name, outcome = _first(_taking_back(facts, wait=True))
    if outcome is not DONE:
        closing = (
            status
            if status.phase is not Phase.PROGRESSING
            else _closing(facts, Reason.CANCELLING, name, outcome)
        )
        return Plan(closing, outcome.actions, look_again_at=outcome.until)
    if status.phase is not Phase.PROGRESSING:
        return Plan(status)
    release = replace(
        status.release,
        digest=facts.workload.digest,
        finalising="",
        message="",
        canary_replicas=0,
        canary_ready=0,
    )
    return Plan(_ended(facts, messages.ROLLED_BACK, succeeded=False, release=release))


def withdraw(facts: Facts) -> Outcome:
    """Let go of the Deployment at once, whichever way: the Rollout is being disabled or deleted."""
    tasks = _taking_back(facts, wait=False) if facts.returning else _letting_out(facts, wait=False)
    return _first(tasks)[1]


def clear(snapshot: Snapshot, refs: Iterable[TrafficRoutingRef]) -> Outcome:
    """Remove everything of ours when there is no workload: nobody serves behind the routes any more."""
    cleared = first_unfinished(
        [
            lambda: routes.remove(snapshot),
            lambda: services.remove_canaries(snapshot),
            lambda: _remove_all(snapshot, drained=False),
            lambda: handover.clear(snapshot),
            lambda: together(services.widen(snapshot, each) for each in pinned_services(snapshot, refs)),
            lambda: engagement.disengage(snapshot),
        ]
    )
    name = snapshot.rollout.workload
    missing = Target.absent("Deployment", name) if name else None
    return resting_on((snapshot.workload.target if snapshot.workload else missing,), cleared)


def leftovers(facts: Facts) -> bool:
    """Tell whether anything of a release still exists."""
    snapshot = facts.snapshot
    return (
        any(each.owned for each in snapshot.services.values())
        or routes.left(snapshot)
        or bool(owned_deployments(snapshot))
        or bool(pinned_services(snapshot, facts.spec.routings))
        or engagement.left(snapshot)
        or (facts.workload.kept is not None and not facts.gated)
    )


def clear_old(facts: Facts) -> Outcome:
    """Remove canaries of an earlier release, after their traffic."""
    old = facts.old_canaries
    if not old:
        return DONE
    return first_unfinished(
        [
            lambda: together(routes.silence(facts, ref) for ref in facts.spec.routings),
            lambda: routes.unseen(facts.snapshot),
            lambda: _unrouted(
                facts, together(pods.remove(facts.snapshot, each, drained=True) for each in old)
            ),
        ]
    )


# --- the two orders --------------------------------------------------------------------------------


def _letting_out(facts: Facts, *, wait: bool) -> tuple[_Named, ...]:
    tasks: tuple[_Named, ...] = (
        # Widened before, the stable Service would find the pods of a version that was replaced meanwhile.
        ("FinalisingStepRouteTrafficToStable", lambda: clear_old(facts)),
        *_uniting(facts),
        ("RemoveCanaryService", lambda: engagement.disengage(facts.snapshot)),
        ("ResumeWorkload", lambda: handover.hand_over(facts)),
        ("ResumeWorkload", lambda: _unrouted(facts, holding.open_gate(facts))),
        ("ResumeWorkload", lambda: strategy.give_back(facts)),
    )
    waiting: tuple[_Named, ...] = (("ResumeWorkload", lambda: holding.rolled_out(facts)),) if wait else ()
    return (*tasks, *waiting, ("ReleaseWorkloadControl", lambda: _remove_canaries(facts, drained=False)))


def unite(facts: Facts) -> Outcome:
    """Let the users' own routes and Services lead to all pods, and to both revisions alike."""
    return _first(_uniting(facts))[1]


def _uniting(facts: Facts) -> tuple[_Named, ...]:
    return (
        ("RestoreStableService", lambda: _widen(facts)),
        ("FinalisingStepRouteTrafficToStable", lambda: silence(facts)),
        ("FinalisingStepRouteTrafficToStable", lambda: routes.remove(facts.snapshot)),
        ("RemoveCanaryService", lambda: _remove_canary_services(facts)),
    )


def _taking_back(facts: Facts, *, wait: bool) -> tuple[_Named, ...]:
    snapshot = facts.snapshot
    tasks: tuple[_Named, ...] = (
        ("FinalisingStepRouteTrafficToStable", lambda: silence(facts)),
        ("FinalisingStepRouteTrafficToStable", lambda: routes.remove(snapshot)),
        ("ResumeWorkload", lambda: holding.open_gate(facts)),
        ("ResumeWorkload", lambda: strategy.give_back(facts)),
        ("RemoveCanaryService", lambda: _remove_canary_services(facts)),
        ("ReleaseWorkloadControl", lambda: _remove_canaries(facts, drained=True)),
        # Inside the Deployment, those that were taken back go with its native roll.
        *((("ResumeWorkload", lambda: holding.rolled_back(facts)),) if wait else ()),
        ("RestoreStableService", lambda: _widen(facts)),
        ("RestoreStableService", lambda: engagement.disengage(snapshot)),
    )
    # Taken back in the middle of a native roll, the Deployment has a way to go.
    return (*tasks, ("ResumeWorkload", lambda: holding.rolled_out(facts))) if wait else tasks


def _first(tasks: Iterable[_Named]) -> tuple[str, Outcome]:
    for name, task in tasks:
        if (outcome := task()) is not DONE:
            return name, outcome
    return "", DONE


def _widen(facts: Facts) -> Outcome:
    pinned = pinned_services(facts.snapshot, facts.spec.routings)
    routed = [facts.snapshot.services.get(each.service) for each in facts.spec.routings]
    free = (found for found in routed if found and found.pinned_by is None)
    everyone = {each.target.name: each for each in (*pinned, *free)}
    # The Deployment says whose pods may serve everybody: the canary's, or the stable ones alone.
    widened = together(services.widen(facts.snapshot, each) for each in everyone.values())
    return resting_on((facts.workload.target,), widened)


def silence_moving(facts: Facts) -> Outcome:
    """Take the traffic from a canary Service before it is pointed to another revision."""
    moving = (ref for ref in facts.spec.routings if services.moves(facts, ref) and routes.carry(facts, ref))
    return together(routes.silence(facts, ref) for ref in moving)


def silence(facts: Facts) -> Outcome:
    """Send everything to the stable Service."""
    return together(routes.silence(facts, each) for each in facts.spec.routings)


def _remove_canary_services(facts: Facts) -> Outcome:
    return _unrouted(facts, services.remove_canaries(facts.snapshot))


def _remove_canaries(facts: Facts, *, drained: bool) -> Outcome:
    return _unrouted(facts, _remove_all(facts.snapshot, drained=drained))


def _remove_all(snapshot: Snapshot, *, drained: bool) -> Outcome:
    return together(pods.remove(snapshot, each, drained=drained) for each in owned_deployments(snapshot))


def _unrouted(facts: Facts, outcome: Outcome) -> Outcome:
    """Have writes wait until no route leads to the canary by the API server's own word."""
    return resting_on(routes.observed(facts), outcome)


# --- status ----------------------------------------------------------------------------------------


def _closing(facts: Facts, reason: Reason, task: str, outcome: Doing | None) -> Status:
    message = messages.FINALISING if reason is Reason.FINALISING else messages.ROLLED_BACK
    status = facts.rollout.status if task else facts.rollout.status.silent
    release = status.release
    # What is done at once needs no report; what waits does.
    if outcome and not outcome.actions and not outcome.until:
        generation = facts.workload.generation
        release = replace(release, finalising=task, message=outcome.waits_for, workload_generation=generation)
    closing = replace(status, phase=Phase.PROGRESSING, message=message, release=release)
    return closing.with_condition(
        "Progressing", status=True, reason=reason.value, message=message, now=facts.snapshot.now
    )


def _completed(facts: Facts) -> Release:
    return replace(
        facts.rollout.status.release,
        state=StepState.COMPLETED,
        next_step=NO_NEXT_STEP,
        stable_hash=facts.newest.hash if facts.newest else "",
        workload_generation=facts.workload.generation,
        finalising="",
        message="",
        canary_replicas=0,
        canary_ready=0,
    )


def _ended(facts: Facts, message: str, *, succeeded: bool, release: Release) -> Status:
    now = facts.snapshot.now
    status = replace(facts.rollout.status, phase=Phase.HEALTHY, message=message, release=release)
    status = status.with_condition(
        "Progressing", status=False, reason=Reason.COMPLETED.value, message=message, now=now
    )
    status = status.without_condition(APPROVALS_RESET)
    return status.with_condition("Succeeded", status=succeeded, reason="", message="", now=now)
