"""A release under way: from step to step, and the status that says how far it is."""

from dataclasses import dataclass, replace

from rollout import messages
from rollout.actions import Event
from rollout.approval import Stamp, counts
from rollout.release import batches, closing, cursor, handover, holding, pods, routes, services
from rollout.release.facts import Facts
from rollout.release.outcome import DONE, Doing, Outcome, Task, first_unfinished
from rollout.release.plan_value import Plan
from rollout.release.stages import find_pods, stages, unfinished
from rollout.revision import steps_digest
from rollout.spec import RolloutSpec, Step
from rollout.status import (
    APPROVALS_RESET,
    Phase,
    Reason,
    Release,
    Status,
    StepState,
    format_time,
)


def start(facts: Facts) -> Plan:
    """Begin the release behind the gate: only the status moves, everything else follows from it."""
    stable = facts.stable
    begins_again = facts.rollout.status.release.id == facts.release
    continuous = facts.rollout.status.phase is Phase.PROGRESSING and not begins_again
    release = cursor.begin(
        Release(
            digest=facts.workload.digest,
            id=facts.release,
            stable_hash=stable.hash if stable else "",
            plan_digest=steps_digest(facts.spec.steps),
            workload_generation=facts.workload.generation,
        ).known_as(facts.workload.rollout_id),
        1,
        len(facts.spec.steps),
        facts.snapshot.now,
    )
    begun = _status(facts, release, Reason.IN_ROLLING).without_condition("Succeeded")
    begun = _anew(facts, begun, "WentBack") if begins_again else begun.without_condition(APPROVALS_RESET)
    note = Event("Progressing", messages.CONTINUOUS_EVENT, key=f"{facts.release}/continuous")
    return Plan(begun, events=(note,) if continuous else ())


def advance(facts: Facts) -> Plan:
    """Do the present step's work; when it has been reached, and approved, move on."""
    recorded = facts.rollout.status.release
    steps, now = facts.spec.steps, facts.snapshot.now
    if facts.spec.paused:
        return _frozen(facts)
    edited = recorded.plan_digest not in {"", steps_digest(steps)}
    if moved := _moved(facts, recorded, edited=edited):
        return Plan(moved)
    step = steps[recorded.step - 1]
    stage, outcome = unfinished(facts, step)
    observed = _observed(facts, recorded)
    if edited:
        return _edited(facts, observed, stage, outcome)
    if outcome is not DONE:
        working = _working(observed, recorded, stage, outcome)
        status = _status(facts, working, Reason.IN_ROLLING, outcome)
        events = (*_trouble_events(working, outcome), *outcome.events)
        spare = batches.labels(facts, working) if outcome.until else ()
        return Plan(status, outcome.actions, events, outcome.until, spare)
    reached = cursor.advanced(observed, steps, now, approved=_approved(facts))
    return _arrived(facts, replace(reached, message=""))


def _moved(facts: Facts, recorded: Release, *, edited: bool) -> Status | None:
    """Put the release to another step: where a client asked for, or where it stands in an edited plan.

    A jump that was asked for while ``strategy.paused``, in a plan that is another one now, names no step.
    """
    steps, now = facts.spec.steps, facts.snapshot.now
    followed = not (edited and facts.rollout.status.reason is Reason.PAUSED)
    moved = (
        (cursor.jumped(recorded, len(steps), now) if followed else None)
        or cursor.replanned(recorded, steps, now, _Standing(facts))
        or cursor.confined(recorded, len(steps), now)
    )
    if moved is None:
        return None
    status = _status(facts, replace(moved, plan_digest=steps_digest(steps)), Reason.IN_ROLLING)
    if edited:
        return _anew(facts, status, "PlanChanged")
    return status if moved.step > recorded.step else _anew(facts, status, "WentBack")


def _edited(facts: Facts, observed: Release, stage: StepState, outcome: Outcome) -> Plan:
    """Report an edited plan at the same step: nothing approved so far counts, whichever step was edited."""
    state = StepState.STEP_PAUSED if observed.state is StepState.STEP_READY else observed.state
    following = cursor.natural_next(observed.step, len(facts.spec.steps))
    release = replace(observed, state=state if outcome is DONE else stage, next_step=following, message="")
    status = _anew(facts, _status(facts, release, Reason.IN_ROLLING, outcome), "PlanChanged")
    return Plan(status, outcome.actions if outcome else ())


@dataclass(frozen=True)
class _Standing:
    """What the canary has, beside what steps ask for."""

    facts: Facts

    def reaches(self, step: Step) -> bool:
        """Tell whether a step asks for neither more pods nor more traffic than the canary has.

        Scaled to zero, every step asks for none: nothing can be told then.
        """
        facts, routing = self.facts, routes.wanted(step)
        return 0 < pods.wanted(facts, step) <= facts.crew and all(
            routes.send(facts, ref, routing) for ref in facts.spec.routings
        )

    def same(self, one: Step, other: Step) -> bool:
        """Tell whether two steps ask for the same pods and, where anything is routed, the same traffic."""
        pods_alike = pods.wanted(self.facts, one) == pods.wanted(self.facts, other)
        return pods_alike and (not self.facts.spec.routings or routes.wanted(one) == routes.wanted(other))


def _anew(facts: Facts, status: Status, reason: str) -> Status:
    """Let no approval given so far count any more: it was given to another step, or to what it was then.

    Which these are is written down: the clock of whoever stamped them is not ours.
    """
    release, now = status.release, facts.snapshot.now
    void = [each.identity for each in facts.approvals]
    text = messages.approvals_reset(release.id, release.step, format_time(now), reason, void)
    return status.with_condition(APPROVALS_RESET, status=True, reason=reason, message=text, now=now)


def _working(observed: Release, recorded: Release, stage: StepState, outcome: Doing) -> Release:
    """Report an unfinished step, but not each pod that comes up, each write of ours, each short wait."""
    state = recorded.state if recorded.state in cursor.WAITING else stage
    brief = outcome.actions or outcome.until
    before = recorded.message if state is recorded.state else ""
    working = replace(observed, state=state, message=before if brief else outcome.waits_for)
    as_before = replace(
        working,
        canary_hash=recorded.canary_hash,
        canary_replicas=recorded.canary_replicas,
        canary_ready=recorded.canary_ready,
    )
    return recorded if as_before == recorded and not _worth_telling(recorded, working) else working


def _worth_telling(before: Release, now: Release) -> bool:
    """Tell whether pods have changed in number, or failed; of those that come up, every quarter is told."""
    quarters = [4 * each.canary_ready // max(1, each.canary_replicas) for each in (before, now)]
    return (
        now.canary_replicas != before.canary_replicas
        or now.canary_ready < before.canary_ready
        or quarters[0] != quarters[1]
    )


def _trouble_events(release: Release, outcome: Doing) -> tuple[Event, ...]:
    if outcome.trouble is None:
        return ()
    key = f"{release.id}/{release.step}/{outcome.trouble.partition(': ')[2].partition(':')[0]}"
    return (Event("CanaryInTrouble", outcome.waits_for, key=key, warning=True),)


def _arrived(facts: Facts, after: Release) -> Plan:
    """Report a step that has been reached, and what comes next."""
    if after.state is StepState.COMPLETED:
        return Plan(_status(facts, after, Reason.FINALISING))
    events: tuple[Event, ...] = ()
    due = None
    if after.state is StepState.STEP_PAUSED:
        step = facts.spec.steps[after.step - 1]
        due = cursor.pause_end(after, step)
        # In the status too: an event is gone after an hour, and people approve the next morning.
        after = after if due else replace(after, message=_invitation(facts, after))
        # Told as long as it is true: an event that was lost with a failed write is told again.
        events = _pause_events(facts, after, manual=due is None)
    down = services.stable_is_down(facts)
    if down:
        events = (*events, Event("StableNotReady", down, key=f"{after.id}/{after.step}/down", warning=True))
    status = _status(facts, after, Reason.IN_ROLLING, Doing("", trouble=down) if down else DONE)
    told = batches.labels(facts, after)
    return Plan(status, events=events, look_again_at=due, courtesies=told)


def _pause_events(facts: Facts, release: Release, *, manual: bool) -> tuple[Event, ...]:
    key = f"{release.id}/{release.step}"
    done = Event("Progressing", messages.step_done(release.step), key=f"{key}/done")
    if not manual:
        return (done,)
    void = _void(facts, release)
    again = f"/{void.at}" if void else ""
    return (done, Event("StepPaused", release.message, key=f"{key}/approve{again}"))


def _invitation(facts: Facts, release: Release) -> str:
    """Say how the step is approved that waits for it."""
    name, namespace = facts.rollout.target.name, facts.rollout.namespace
    replacing = _void(facts, release) is not None
    return messages.approve_event(name, namespace, release.id, release.step, replacing=replacing)


def _void(facts: Facts, release: Release) -> Stamp | None:
    """Give the approval that stands there for a step and does not count: put again, it would not either."""
    given, reset = facts.rollout.approval, facts.rollout.status.condition(APPROVALS_RESET)
    named = given is not None and given.approval == f"{release.id}/{release.step}"
    return given if given and named and not counts(given, reset) else None


def _frozen(facts: Facts) -> Plan:
    """Stand still while ``strategy.paused``: requests stay protected, and pods follow the workload's size."""
    recorded, steps = facts.rollout.status.release, facts.spec.steps
    tasks: tuple[Task, ...] = (
        lambda: holding.hold(facts),
        lambda: find_pods(facts),
        lambda: closing.clear_old(facts),
        lambda: handover.forget_empty(facts),
    )
    unchanged = recorded.plan_digest == steps_digest(steps) and 1 <= recorded.step <= len(steps)
    if (facts.canary or facts.inside) and unchanged:
        preparing, upgrading, _ = stages(facts, steps[recorded.step - 1], still=True)
        tasks = (*preparing.tasks, *upgrading.tasks)
    outcome = first_unfinished(tasks)
    # A plan that is edited meanwhile is looked at when the release goes on.
    observed = replace(_observed(facts, recorded), plan_digest=recorded.plan_digest, message="")
    status = _status(facts, observed, Reason.PAUSED)
    return Plan(status, outcome.actions if outcome else (), look_again_at=outcome.until if outcome else None)


# --- status ----------------------------------------------------------------------------------------


def _approved(facts: Facts) -> bool:
    status = facts.rollout.status
    wanted = f"{status.release.id}/{status.release.step}"
    reset = status.condition(APPROVALS_RESET)
    return any(each.approval == wanted and counts(each, reset) for each in facts.approvals)


def _observed(facts: Facts, release: Release) -> Release:
    """Bring the counted fields up to what was seen."""
    return replace(
        release,
        canary_hash=facts.canary_set.hash if facts.canary_set else release.canary_hash,
        canary_replicas=facts.crew,
        canary_ready=facts.crew_available,
        plan_digest=steps_digest(facts.spec.steps),
        workload_generation=facts.workload.generation,
    ).known_as(facts.workload.rollout_id)


def _status(facts: Facts, release: Release, reason: Reason, outcome: Outcome = DONE) -> Status:
    blocked = outcome is not DONE and outcome.blocked
    message = outcome.waits_for if outcome and blocked else _message(facts.spec, release, reason)
    told = f"{message}: {outcome.trouble}" if outcome and outcome.trouble else message
    status = replace(facts.rollout.status, release=release, phase=Phase.PROGRESSING, message=message)
    return status.with_condition(
        "Progressing", status=True, reason=reason.value, message=told, now=facts.snapshot.now
    )


def _message(spec: RolloutSpec, release: Release, reason: Reason) -> str:
    if reason is Reason.PAUSED:
        return messages.PAUSED
    if reason is Reason.FINALISING:
        return messages.FINALISING
    at, steps = release.step, len(spec.steps)
    match release.state:
        case StepState.BEFORE_STEP_UPGRADE if at == 1:
            return messages.PROGRESSING
        case StepState.STEP_TRAFFIC_ROUTING:
            return messages.step_routing(at, steps)
        case StepState.STEP_PAUSED | StepState.STEP_READY:
            seconds = spec.steps[at - 1].pause_seconds
            return (
                messages.step_confirm(at, steps)
                if seconds is None
                else messages.step_wait(at, steps, seconds)
            )
        case _:
            return messages.step_upgrade(at, steps)
