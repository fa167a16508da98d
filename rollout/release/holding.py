"""The gate of the workload: kept closed while a release runs, opened at its end, closed late if need be."""

import json

from rollout import messages, names
from rollout.actions import Patch
from rollout.release.facts import GATE_ANNOTATIONS, Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome


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
    target = facts.workload.target
    change = {"metadata": {"annotations": dict.fromkeys(GATE_ANNOTATIONS)}, "spec": {"paused": None}}
    patch = Patch(target, guarded(target, change), why="let the Deployment roll out natively")
    return Doing(f"opens the gate of Deployment {target.name}", (patch,))


def settle(facts: Facts) -> Outcome:
    """Leave only the stable revision running behind the gate.

    A paused Deployment's controller restores a sole remaining ReplicaSet to full size by itself. The
    others are shrunk only when the stable one alone satisfies the Deployment's limits.
    """
    others = facts.unsettled
    if not others:
        return DONE
    stable_ready = facts.stable.ready if facts.stable else 0
    enough = stable_ready >= facts.workload.replicas - facts.workload.max_unavailable
    if not enough and any(each.ready for each in others):
        return Doing(messages.unsettled(facts.workload.target.name), blocked=True)
    return Doing(
        f"settles Deployment {facts.workload.target.name} on its stable revision",
        tuple(
            Patch(
                each.target,
                guarded(each.target, {"spec": {"replicas": 0}}),
                why="serve one revision before step 1",
            )
            for each in others
        ),
    )


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
    text = messages.waits_for_workload(
        workload.target.name, workload.updated, workload.available, workload.replicas
    )
    return Doing(f"{text} ({workload.stuck})" if workload.stuck else text)
