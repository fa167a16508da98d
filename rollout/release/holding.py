"""The gate of the workload: kept closed while a release runs, opened at its end, closed late if need be."""

import json
from collections.abc import Iterator
from dataclasses import replace

from rollout import messages, names
from rollout.actions import Patch
from rollout.release import moving
from rollout.release.facts import GATE_ANNOTATIONS, Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome, resting_on
from rollout.snapshot import ReplicaSet


def hold(facts: Facts) -> Outcome:
    """Close the gate, or mend one that somebody left half open while the webhook was away."""
    gate, name = facts.workload.gate, facts.rollout.target.name
    if gate and facts.workload.paused and (gate.rollout, gate.release) == (name, facts.release):
        return DONE
    change = {
        "metadata": {
            "annotations": {
                names.IN_PROGRESSING: json.dumps({"rolloutName": name}, separators=(",", ":")),
                names.RELEASE: facts.release,
            }
        },
        "spec": {"paused": True},
    }
    target = facts.workload.target
    patch = Patch(target, guarded(target, change), why="hold the change until the release lets it out")
    return Doing(f"closes the gate of Deployment {target.name}", (patch,))


def open_gate(facts: Facts) -> Outcome:
    """Remove annotation and pause in one write, only while the template is the one that was judged."""
    if not facts.gated:
        return DONE
    return _at_rest(facts) or _opened(facts)


def _at_rest(facts: Facts) -> Outcome:
    """Wait until the paused Deployment has what was left behind for it, is cut to its limits, and counts so.

    With the gate open, its controller takes a pod that it has just scaled away for one that serves, as
    long as the set's status counts it, and takes another one for it: of the version that was promoted or,
    when the old one came back in the middle of a hand-over, of that which serves beside it. What is adopted
    later may be cut by a look at the Deployment that began while it was paused.
    """
    workload = facts.workload
    if not workload.paused:  # somebody resumed it: its controller goes on, whatever the annotation says
        return DONE
    if facts.unadopted:
        return Doing(messages.waits_for_adoption(workload.target.name, facts.unadopted[0].target.name))
    return DONE if facts.scaled else Doing(messages.waits_for_scaling(workload.target.name))


def _opened(facts: Facts) -> Outcome:
    target, kept = facts.workload.target, facts.workload.kept
    annotations: dict[str, str | None] = dict.fromkeys(GATE_ANNOTATIONS)
    if kept:  # the webhook gives the strategy back in the same write
        strategy = facts.workload.strategy
        ours = kept.has(strategy)
        annotations[names.STRATEGY] = kept.instead_of(strategy).annotation() if ours else None
    change = {"metadata": {"annotations": annotations}, "spec": {"paused": None}}
    patch = Patch(target, guarded(target, change), why="let the Deployment roll out natively")
    return Doing(f"opens the gate of Deployment {target.name}", (patch,))


def settle(facts: Facts) -> Outcome:
    """Leave only the stable revision running behind the gate, never below the Deployment's limits.

    The controller of a paused Deployment gives every place that falls free to its largest ReplicaSet: pods
    are moved by changes that it does not undo. Where each by itself would be undone, as of two of nearly one
    size, two of them are made, one after the other.
    """
    if not facts.unsettled:
        return DONE
    name = facts.workload.target.name
    if not facts.scaled:  # enlarged again, a set that still counts its lost pods seems to serve with them
        return Doing(messages.settles(name))
    moved = moving.clear(facts)
    return replace(moved, waits_for=messages.settles(name, moved.trouble)) if moved else _swapped(facts)


def _swapped(facts: Facts) -> Outcome:
    """Make the stable revision the largest, and give its controller places to fill by it."""
    settling = Doing(messages.settles(facts.workload.target.name), (*_enlarged(facts), *_exchanged(facts)))
    return resting_on((facts.workload.target, *(each.target for each in facts.serving)), settling)


def _enlarged(facts: Facts) -> Iterator[Patch]:
    """Make the stable revision the largest, so that the places that fall free become its own.

    It may be none at all: scaled to zero and back, a Deployment's controller wakes the youngest one.
    """
    stable = facts.stable
    largest = max(each.replicas for each in facts.unsettled)
    if stable and stable.replicas <= largest:
        yield _sized(stable, largest + 1)


def _exchanged(facts: Facts) -> Iterator[Patch]:
    """Shrink the others as far as the Deployment's limits allow, while they serve."""
    limit = facts.workload.replicas - facts.workload.max_unavailable
    spare = max(0, sum(each.staying for each in facts.serving) - limit)
    for each in facts.unsettled:
        keep = max(0, each.staying - spare)
        spare -= each.staying - keep
        if keep < each.replicas:
            yield _sized(each, keep)


def _sized(revision: ReplicaSet, replicas: int) -> Patch:
    change = guarded(revision.target, {"spec": {"replicas": replicas}})
    return Patch(revision.target, change, why="serve the stable revision alone")


def rolled_back(facts: Facts) -> Outcome:
    """Wait until only the Deployment's present template has pods of its own: no Service finds others."""
    others = (each for each in facts.known if each.digest != facts.workload.digest)
    if any(each.replicas or each.present for each in others):
        return Doing(messages.waits_for_workload(facts.workload.target.name, facts.workload.stuck))
    return DONE


def rolled_out(facts: Facts) -> Outcome:
    """Wait until the native rolling update is complete, by the same rule as ``kubectl rollout status``."""
    workload = facts.workload
    complete = (
        workload.observed_generation >= workload.generation
        and workload.updated >= workload.replicas
        and workload.status_replicas == workload.updated
        and workload.available >= workload.updated
    )
    if complete:
        return DONE
    return Doing(messages.waits_for_workload(workload.target.name, workload.stuck))
