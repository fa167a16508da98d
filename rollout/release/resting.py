"""A Rollout without a release: seeding its status, and catching changes that slipped past the webhook."""

from dataclasses import replace

from rollout import messages
from rollout.actions import Event
from rollout.release import advancing, closing, holding
from rollout.release.facts import Facts
from rollout.release.outcome import DONE
from rollout.release.plan_value import Plan
from rollout.revision import steps_digest
from rollout.status import NO_NEXT_STEP, Phase, Release, Status, StepState


def rest(facts: Facts) -> Plan:
    """Keep a governed Deployment that is not being released."""
    if closing.leftovers(facts):
        return closing.take_back(facts)
    status = facts.rollout.status
    if status.phase is not Phase.HEALTHY or not status.release.digest:
        return Plan(_healthy(facts, _seed(facts)))
    if facts.workload.digest != status.release.digest:
        return _escaped(facts)
    return (
        _nothing_new(facts) if _renamed(facts) else Plan(_healthy(facts, _refreshed(facts, status.release)))
    )


def _renamed(facts: Facts) -> bool:
    """Tell whether the user's own id of a release changed, without anything to release."""
    return facts.workload.rollout_id not in {"", facts.rollout.status.release.rollout_id}


def _nothing_new(facts: Facts) -> Plan:
    """Complete a release of what serves already at once: whoever waits for its id to be completed sees it."""
    done, now = _seed(facts), facts.snapshot.now
    status = replace(facts.rollout.status, message=messages.COMPLETED, release=done)
    text = messages.nothing_new(done.rollout_id)
    return Plan(
        status.with_condition("Succeeded", status=True, reason="", message="", now=now),
        events=(Event("Succeeded", text, key=f"{done.rollout_id}/unchanged"),),
    )


def _escaped(facts: Facts) -> Plan:
    """Deal with a new template that nobody held: hold it now if old pods still serve, else accept it."""
    name = facts.workload.target.name
    if facts.out or not facts.serving or facts.workload.recreates:
        accepted = Event(
            "ReleasedUncontrolled", messages.released_uncontrolled(name), key=facts.release, warning=True
        )
        return Plan(_healthy(facts, _seed(facts)), events=(accepted,))
    # The release is recorded first: a gate that closes on pods of the new template would otherwise look
    # like a roll-back to them.
    begun = advancing.start(facts)
    held = Event("GatedLate", messages.gated_late(name), key=facts.release, warning=True)
    return replace(begun, events=(*begun.events, held))


def _seed(facts: Facts) -> Release:
    """Show the last step as completed, so that platforms which poll for that are served (contract, 1.4)."""
    served = replace(facts.rollout.status.release, digest=facts.workload.digest, id="")
    return replace(
        _refreshed(facts, served),
        step=len(facts.spec.steps),
        next_step=NO_NEXT_STEP,
        state=StepState.COMPLETED,
        canary_replicas=0,
        canary_ready=0,
        finalising="",
        message="",
    )


def _refreshed(facts: Facts, release: Release) -> Release:
    serving = facts.newest
    return replace(
        release,
        stable_hash=serving.hash if serving else release.stable_hash,
        plan_digest=steps_digest(facts.spec.steps),
        workload_generation=facts.workload.generation,
    ).known_as(facts.workload.rollout_id)


def _healthy(facts: Facts, release: Release) -> Status:
    status = facts.rollout.status
    succeeded = status.condition("Succeeded") if status.phase is Phase.HEALTHY else None
    if facts.workload.recreates:
        message = messages.recreates(facts.workload.target.name)
    elif succeeded:
        message = messages.COMPLETED if succeeded.status else messages.ROLLED_BACK
    elif status.message in {messages.HEALTHY, messages.SEEDED}:
        message = status.message
    else:
        first = status.phase is not Phase.DISABLED and holding.rolled_out(facts) is DONE
        message = messages.SEEDED if first else messages.HEALTHY
    healthy = replace(status, phase=Phase.HEALTHY, message=message, release=release)
    return healthy.without_condition("Terminating") if status.phase is Phase.DISABLED else healthy
