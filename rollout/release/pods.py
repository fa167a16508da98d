"""The canary Deployments: brought up to a step's size, measured, and taken away again."""

from datetime import datetime, timedelta

from rollout import manifests, messages
from rollout.actions import Create, Delete, Patch
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome
from rollout.selection import selects
from rollout.snapshot import Deployment, ReplicaSet, Snapshot
from rollout.spec import Step

_STARTING = timedelta(seconds=3)
"""What a container takes to become ready without being in trouble; a longer start is told, and no more."""


def wanted(facts: Facts, step: Step) -> int:
    """Count the canary pods of a step: a percentage is rounded up, and never more than the workload has.

    Where they replace the stable ones, all that does not say 100 % leaves one of these, if there are two pods
    at all: a number may come to be all of them when the workload is scaled.
    """
    replicas = facts.workload.replicas
    total = step.replicas.of(replicas)
    part = facts.parts and not (step.replicas.percent and step.replicas.value == 100)  # noqa: PLR2004 - percent
    return min(total, max(1, replicas - 1)) if part and replicas else total


def needed(facts: Facts, total: int) -> int:
    """Count how many of ``total`` pods must be available: all, less the failureThreshold, at least one."""
    threshold = facts.spec.failure_threshold
    tolerated = threshold.of(total) if threshold else 0
    return max(min(total, 1), total - tolerated)


def suitable(facts: Facts) -> Outcome:
    """Refuse a canary Deployment that cannot be made, before anything else is."""
    name, patch = facts.canary_name, facts.spec.pod_template_patch
    if facts.canary is None and name in facts.snapshot.deployments:
        owner = manifests.owning_rollout(facts.snapshot.deployments[name].manifest)
        return Doing(messages.not_ours("Deployment", name, owner), blocked=True)
    spec = facts.workload.manifest["spec"]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if patch.labels and not selects(spec.get("selector") or {}, {**labels, **patch.labels}):
        return Doing(messages.patch_unselected(facts.workload.target.name), blocked=True)
    return DONE


def grow(facts: Facts, total: int) -> Outcome:
    """Create the canary Deployment, or raise it to ``total`` pods.

    It is created without pods and raised by a guarded write: a creation that arrives late, from a
    reconciler that no longer leads, must not run a version that was taken back meanwhile.
    """
    name = facts.canary_name
    if facts.canary is None:
        patch = facts.spec.pod_template_patch
        manifest = manifests.canary_deployment(facts.workload.manifest, facts.release, patch, facts.owner)
        return Doing(
            f"creates Deployment {name}", (Create(manifest, why="run the new version beside the stable one"),)
        )
    if facts.canary.deleting:
        return Doing(messages.waits_for_removal("Deployment", name))
    if facts.canary.replicas < total:
        size = guarded(facts.canary.target, manifests.canary_size(facts.workload.manifest, total))
        raised = Patch(facts.canary.target, size, why="raise to the step's size")
        return Doing(f"scales Deployment {name} to {total}", (raised,))
    return DONE


def available(facts: Facts, need: int) -> Outcome:
    """Wait for the new version's pods."""
    if (facts.crew_available if facts.crew_counted else 0) >= need:
        return DONE
    due, trouble = told(facts, facts.canary_set)
    return Doing(messages.waits_for_pods(need, facts.crew_name, trouble), until=due, trouble=trouble)


def told(facts: Facts, revision: ReplicaSet | None) -> tuple[datetime | None, str | None]:
    """Say what keeps pods from being available; of such as run and are not ready, not before a while."""
    crew, trouble = facts.pods_of(revision), facts.trouble(revision)
    slow = min((each.unready_since for each in crew if each.unready_since), default=None)
    if trouble or slow is None:
        return None, trouble
    due = slow + _STARTING
    if facts.snapshot.now < due:
        return due, None
    pod = next(each for each in crew if each.unready_since == slow)
    return None, f"pod {pod.target.name}: {pod.unready}"


def shrink(facts: Facts, total: int) -> Outcome:
    """Lower the canary to the step's size; traffic was lowered before."""
    if facts.canary is None or facts.canary.replicas <= total:
        return DONE
    return scale_to(facts.canary, total, "lower to the step's size")


def scale_to(canary: Deployment, total: int, why: str) -> Doing:
    """Change the size of a canary Deployment."""
    return Doing(f"scales Deployment {canary.target.name} to {total}", (_scale(canary, total, why),))


def remove(snapshot: Snapshot, canary: Deployment, *, drained: bool) -> Outcome:
    """Delete a canary Deployment and wait until its ReplicaSets are gone.

    ``drained``: first scale it to zero and see its pods go, so that nothing which selects them by the
    shared labels can still find one when the Deployment is gone.
    """
    name = canary.target.name
    waits = messages.waits_for_removal("Deployment", name)
    if canary.deleting:
        return Doing(waits)
    if drained and canary.replicas > 0:
        return Doing(waits, (_scale(canary, 0, "drain before deletion"),))
    if drained and (canary.observed_generation < canary.generation or _present(snapshot, canary)):
        return Doing(waits)
    return Doing(waits, (Delete(canary.target, why="the release no longer needs it"),))


def _present(snapshot: Snapshot, canary: Deployment) -> bool:
    return any(each.present for each in snapshot.replica_sets if each.owner_uid == canary.target.uid)


def _scale(canary: Deployment, replicas: int, why: str) -> Patch:
    return Patch(canary.target, guarded(canary.target, {"spec": {"replicas": replicas}}), why=why)
