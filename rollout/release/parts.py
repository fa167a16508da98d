"""Pods that move between the two revisions of a Deployment whose gate is closed: partition style.

    canary Deployment with the first new pods -> available -> handed over -> one revision is made larger,
    the controller makes the other smaller -> available -> ...

A paused Deployment's controller keeps its revisions at replicas and maxSurge together: what is too much it
takes from the largest, what is missing it gives to the largest; of two of one size it takes from the older
and gives to the newer (docs/decisions/017). So pods move by making the smaller one larger, or the
larger one's counterpart smaller; a push against the largest is undone. No more at a time than leave the
Deployment within its owner's limits while the new ones start.
"""

from datetime import timedelta

from rollout import messages, names
from rollout.actions import Patch
from rollout.release import handover, pods, strategy
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome, first_unfinished, resting_on
from rollout.snapshot import ReplicaSet
from rollout.status import parse_time
from rollout.strategy import limits


def grow(facts: Facts, total: int) -> Outcome:
    """Bring the new version to ``total`` pods."""
    if facts.unadopted:
        return Doing(messages.waits_for_adoption(facts.workload.target.name, facts.unadopted[0].target.name))
    if facts.inside is None:
        return _begin(facts, total)
    if facts.canary:  # made by somebody whose view was old: the Deployment runs the new version already
        return pods.remove(facts.snapshot, facts.canary, drained=True)
    if facts.stable is None or facts.inside.replicas >= total:
        return DONE
    return _move(facts, facts.stable, facts.inside, total - facts.inside.replicas)


def shrink(facts: Facts, total: int) -> Outcome:
    """Give pods back to the stable revision, as far as the controller can be made to."""
    if facts.inside is None:
        return pods.shrink(facts, total)
    if facts.stable is None or facts.inside.replicas <= total:
        return DONE
    if _has_all(facts):
        return _divide(facts, facts.inside, facts.stable, total)
    return _move(facts, facts.inside, facts.stable, facts.inside.replicas - total)


def _divide(facts: Facts, whole: ReplicaSet, stable: ReplicaSet, total: int) -> Outcome:
    """Bring the stable revision back where all pods are new.

    The controller takes every other revision's pods when its newest one has all it is asked for, by the
    number that stands on the set as well: written otherwise, it does not until it writes that anew.
    """
    workload = facts.workload
    count = min(workload.replicas - total, max(0, facts.spare))
    if not facts.scaled or not count:
        return Doing(messages.waits_to_move(workload.target.name, stable.target.name))
    if whole.scaled_for and whole.scaled_for[0] == workload.replicas:
        note = {names.DESIRED_REPLICAS: str(workload.replicas + 1)}
        change = guarded(whole.target, {"metadata": {"annotations": note}})
        patch = Patch(whole.target, change, why="let the stable revision have pods again")
        return Doing(messages.waits_to_move(workload.target.name, stable.target.name), (patch,))
    return _sized(facts, stable, count)


def takes_all(facts: Facts, total: int) -> bool:
    """Tell whether all pods are to be new, or are and must stay so.

    Where none may be missing, the controller takes every stable pod away that comes back beside them.
    """
    workload = facts.workload
    stuck = _has_all(facts) and (workload.max_surge > 0 or not workload.max_unavailable)
    return workload.replicas > 0 and (total == workload.replicas or stuck)


def _has_all(facts: Facts) -> bool:
    return facts.inside is not None and facts.inside.replicas >= facts.workload.replicas


def settle(facts: Facts) -> Outcome:
    """Give the pods of a version that was replaced in the middle of its release back to the stable one."""
    stable, others = facts.stable, sorted(facts.unsettled, key=lambda each: (-each.replicas, _age(each)))
    if not others or stable is None:
        return DONE
    if outcome := strategy.narrow(facts, extra=_evening(facts, others[0])):
        return outcome
    return _move(facts, others[0], stable, others[0].replicas)


def _begin(facts: Facts, total: int) -> Outcome:
    """See the first pods serve beside the Deployment, then have it take them over.

    Where it cannot, because something changed their template, all of them stay beside it.
    """
    surge, _ = limits(strategy.declared_by(facts.workload), facts.workload.replicas)
    first = min(total, max(1, surge))
    return first_unfinished(
        (
            lambda: _later(facts),
            lambda: pods.grow(facts, 0),
            lambda: _younger(facts),
            lambda: pods.grow(facts, first),
            lambda: pods.available(facts, pods.needed(facts, first)),
            lambda: handover.hand_over(facts) if handover.possible(facts) else pods.grow(facts, total),
        )
    )


def _later(facts: Facts) -> Outcome:
    """Let the second pass in which the stable revision was created."""
    stable = facts.stable
    created = parse_time(stable.created) if stable and not facts.canary else None
    due = created + timedelta(seconds=1) if created else None
    if stable is None or due is None or facts.snapshot.now >= due:
        return DONE
    return Doing(f"waits until ReplicaSet {stable.target.name} is a second old", until=due)


def _younger(facts: Facts) -> Outcome:
    """Have the new revision be created later than the stable one, by the seconds that are told.

    Of two of one size the controller gives to the newer: the other way round, pods could not move on.
    """
    revision, stable = facts.canary_set, facts.stable
    if facts.canary is None or stable is None:
        return DONE
    if revision is None:
        return Doing(f"waits for the ReplicaSet of Deployment {facts.canary.target.name}")
    if revision.created > stable.created or facts.canary.replicas:
        return DONE
    return pods.remove(facts.snapshot, facts.canary, drained=True)


def _move(facts: Facts, source: ReplicaSet, goal: ReplicaSet, distance: int) -> Outcome:
    """Move as many pods as may be missing for a while, or do not serve anyway; later looks move more."""
    if not facts.scaled:
        return Doing(messages.waits_for_scaling(facts.workload.target.name))
    count = min(distance, max(0, facts.spare) + source.replicas - min(source.ready, source.replicas))
    if not count:
        due, trouble = pods.told(facts, goal)
        waits = messages.waits_to_move(facts.workload.target.name, goal.target.name, trouble)
        return Doing(waits, until=due, trouble=trouble)
    ahead = source.replicas - goal.replicas
    favoured = _age(goal) > _age(source)
    enough = max(1, ahead if favoured else ahead + 1)  # from there on the goal is the largest
    room = ahead if favoured else ahead - 1  # so long the source stays it
    if count >= enough:
        return _sized(facts, source, source.replicas - count)
    if room >= 1:
        return _sized(facts, goal, goal.replicas + min(count, room))
    if max(0, facts.spare) >= enough:  # further than asked: a step in the other direction is always possible
        return _sized(facts, source, source.replicas - enough)
    return DONE


def room(facts: Facts, total: int) -> int:
    """Count the pods by which the strategy is less narrow, for the way back to ``total`` to be open.

    One more must not make all of the Deployment's pods new: the controller would take the others.
    """
    inside, workload = facts.inside, facts.workload
    if inside is None or inside.replicas <= total:
        return 0
    held = workload.max_surge > strategy.beside(facts)
    return _evening(facts, inside) if inside.replicas + (not held) < workload.replicas else 0


def _evening(facts: Facts, source: ReplicaSet) -> int:
    """Ask for one more pod while pods go to an older revision and may only go one by one.

    With two revisions of nearly one size, the controller would take from the older whatever it is given.
    """
    workload, stable, surge = facts.workload, facts.stable, strategy.beside(facts)
    alone = surge + workload.max_unavailable <= 1
    older = stable is not None and _age(stable) < _age(source)
    return (workload.replicas + surge) % 2 if older and alone else 0


def _age(revision: ReplicaSet) -> tuple[str, str]:
    return (revision.created, revision.target.name)


def _sized(facts: Facts, revision: ReplicaSet, replicas: int) -> Outcome:
    """Push, while what serves and how much of it may be missing are as they were seen."""
    change = guarded(revision.target, {"spec": {"replicas": replicas}})
    patch = Patch(revision.target, change, why="move pods from one revision to the other")
    pushing = Doing(f"scales ReplicaSet {revision.target.name} to {replicas}", (patch,))
    others = (each.target for each in facts.serving if each is not revision)
    return resting_on((facts.workload.target, *others), pushing)
