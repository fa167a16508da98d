"""Promotion by hand-over: the approved pods become the Deployment's own instead of being started again.

The canary's ReplicaSet has the Deployment's template and selector. Left behind by its own Deployment,
it is adopted as the newest revision by the one that is still paused, and the native rolling update goes
on from the pods that were approved. What the controller does with a set that it adopts is reckoned
beforehand (docs/decisions/009), so that the available pods never fall below the Deployment's limits.
"""

from collections.abc import Iterable

from rollout import messages, names
from rollout.actions import Delete, Patch, Propagation
from rollout.release import pods
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome, first_unfinished, together
from rollout.selection import selects
from rollout.snapshot import Deployment, ReplicaSet, Snapshot


def hand_over(facts: Facts) -> Outcome:
    """Give the canary's pods to the Deployment; done when it has them, or can only start its own."""
    if not facts.gated:  # the controller may be starting a ReplicaSet of its own already
        return DONE
    return _given(facts, facts.canary) if facts.canary else DONE


def possible(facts: Facts) -> bool:
    """Tell whether the Deployment would take the canary's pods over as its newest revision's."""
    canary, approved = facts.canary, facts.canary_set
    return canary is not None and (approved is None or not _impossible(facts, canary, approved))


def _given(facts: Facts, canary: Deployment) -> Outcome:
    approved = facts.canary_set
    if canary.deleting:
        return Doing(messages.waits_for_removal("Deployment", canary.target.name))
    if approved is None:  # unless this view of the cluster lacks it, there is nothing to hand over
        unseen = canary.digest == facts.workload.digest and canary.status_replicas > 0
        return Doing(f"waits for the ReplicaSet of Deployment {canary.target.name}") if unseen else DONE
    size = _size(facts, canary, approved)
    if not size or _impossible(facts, canary, approved):
        return DONE
    return first_unfinished(
        [
            lambda: _resized(canary, approved, size),
            lambda: _forget(each for each in facts.canary_sets if each is not approved),
            lambda: forget_empty(facts),
            lambda: _reckoned(facts, approved),
            lambda: _left_behind(canary),
        ]
    )


def forget_empty(facts: Facts) -> Outcome:
    """Delete the Deployment's own empty ReplicaSets of the present template.

    The controller would take such a set for the newest revision: at adoption instead of the canary's,
    and, with the gate closed, as the one to wake when the Deployment is scaled to zero and up again.
    """
    return _forget(facts.same_template)


def _forget(sets: Iterable[ReplicaSet]) -> Outcome:
    """Delete those that are empty: the Deployment would have them in its history."""
    empty = (each for each in sets if not each.replicas and not each.present)
    why = "the release brings this revision itself"
    return together(
        Doing(messages.waits_for_removal("ReplicaSet", each.target.name), (Delete(each.target, why=why),))
        for each in empty
    )


def clear(snapshot: Snapshot) -> Outcome:
    """Delete what was left behind for a Deployment that is gone: nobody would ever adopt it."""
    release = snapshot.rollout.status.release.id
    left = (each for each in snapshot.replica_sets if each.left_behind and each.maker.endswith(f"-{release}"))
    return together(_cleared(each) for each in left) if release else DONE


def _cleared(left: ReplicaSet) -> Outcome:
    waits = messages.waits_for_removal("ReplicaSet", left.target.name)
    if left.owner_uid:  # the garbage collector has not come to it yet
        return Doing(waits)
    return Doing(waits, (Delete(left.target, why="the Deployment that was to have its pods is gone"),))


def _impossible(facts: Facts, canary: Deployment, approved: ReplicaSet) -> bool:
    """Tell whether the Deployment would not, or not alone, take the set over as its newest revision."""
    others = [each for each in facts.canary_sets if each is not approved]
    rivals = (each for each in facts.snapshot.deployments.values() if each is not canary)
    return (
        canary.digest != facts.workload.digest
        or any(each.replicas or each.present for each in others)
        or any(each.replicas or each.present for each in facts.same_template)
        or any(_would_adopt(each, facts.workload) for each in rivals)
    )


def _would_adopt(rival: Deployment, workload: Deployment) -> bool:
    labels = (workload.manifest["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return selects(rival.manifest["spec"].get("selector") or {}, labels)


def _size(facts: Facts, canary: Deployment, approved: ReplicaSet) -> int:
    """Count the pods to hand over: those that serve.

    With more pods than replicas and maxSurge together, the controller cuts the largest set, which is the
    stable one, whether the others are available or not.
    """
    return min(canary.replicas, facts.workload.replicas, approved.available)


def _resized(canary: Deployment, approved: ReplicaSet, size: int) -> Outcome:
    if canary.replicas > size:
        return pods.scale_to(canary, size, "hand over no more than the Deployment can take")
    caught_up = canary.observed_generation >= canary.generation and approved.replicas == canary.replicas
    return DONE if caught_up else Doing(f"waits for the ReplicaSet of Deployment {canary.target.name}")


def _reckoned(facts: Facts, approved: ReplicaSet) -> Outcome:
    """Write what proportional scaling is reckoned from: by the canary's own numbers it cuts stable pods."""
    workload = facts.workload
    if approved.scaled_for == (workload.replicas, workload.replicas + workload.max_surge):
        return DONE
    change = {"metadata": {"annotations": reckoned_from(workload)}}
    patch = Patch(approved.target, guarded(approved.target, change), why="let it be adopted without a cut")
    return Doing(
        f"prepares ReplicaSet {approved.target.name} for Deployment {workload.target.name}", (patch,)
    )


def reckoned_from(workload: Deployment) -> dict[str, str]:
    """Give the annotations that a ReplicaSet of a Deployment has when it has just been scaled with it."""
    most = workload.replicas + workload.max_surge
    return {names.DESIRED_REPLICAS: str(workload.replicas), names.MAX_REPLICAS: str(most)}


def _left_behind(canary: Deployment) -> Outcome:
    name = canary.target.name
    delete = Delete(canary.target, why="its pods are handed over", propagation=Propagation.ORPHAN)
    return Doing(messages.waits_for_removal("Deployment", name), (delete,))
