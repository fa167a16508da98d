"""Pods that move between the two revisions of a Deployment whose gate is closed: partition style.

    canary Deployment with the first new pods -> available -> handed over -> one revision is made larger,
    the controller makes the other smaller -> available -> ...

How pods are moved, and when they cannot be, is told in ``moving`` and docs/decisions/017.
"""

from datetime import timedelta

from rollout import messages
from rollout.release import handover, moving, pods, routes, strategy
from rollout.release.facts import Facts
from rollout.release.outcome import DONE, Doing, Outcome, first_unfinished
from rollout.snapshot import ReplicaSet
from rollout.status import parse_time
from rollout.strategy import limits


def grow(facts: Facts, total: int, *, still: bool) -> Outcome:
    """Bring the new version to ``total`` pods; ``still``: the Deployment gets none that it has not yet."""
    if facts.unadopted:
        return Doing(messages.waits_for_adoption(facts.workload.target.name, facts.unadopted[0].target.name))
    if facts.inside is None:
        return _begin(facts, total, still=still)
    if facts.canary:  # made by somebody whose view was old: the Deployment runs the new version already
        return pods.remove(facts.snapshot, facts.canary, drained=True)
    stable, inside = facts.stable, facts.inside
    if stable is None or inside.replicas >= total:
        return DONE
    if _begins_anew(facts, inside, stable, total):
        return moving.move(facts, inside, stable, inside.replicas)
    return moving.move(facts, stable, inside, total - inside.replicas)


def _begins_anew(facts: Facts, inside: ReplicaSet, stable: ReplicaSet, total: int) -> bool:
    """Tell whether a version gives its pods back, to have them in a set that is made for it.

    Of two of nearly one size the controller gives to the newer: a version whose set is older than that of
    the pods it replaces was on its way out when it was released again. No request is on its way to it yet.
    """
    older = total < facts.workload.replicas and _age(inside) < _age(stable)
    return older and not any(routes.reaches_canary(facts, each) for each in facts.spec.routings)


def shrink(facts: Facts, total: int) -> Outcome:
    """Give pods back to the stable revision, as far as the controller can be made to."""
    if facts.inside is None:
        return pods.shrink(facts, total)
    if facts.stable is None or facts.inside.replicas <= total:
        return DONE
    return moving.move(facts, facts.inside, facts.stable, facts.inside.replicas - total)


def takes_all(facts: Facts, total: int) -> bool:
    """Tell whether all pods are to be new, or are and must stay so.

    Where none may be missing, the controller takes every stable pod away that comes back beside them; and
    none can come back of a revision that is deleted.
    """
    workload = facts.workload
    stuck = _has_all(facts) and (
        facts.stable is None or workload.max_surge > 0 or not workload.max_unavailable
    )
    beside = facts.canary is not None and not facts.inside and not handover.possible(facts)
    return workload.replicas > 0 and not beside and (total == workload.replicas or stuck)


def _has_all(facts: Facts) -> bool:
    return facts.inside is not None and not (facts.stable and facts.stable.replicas)


def settle(facts: Facts) -> Outcome:
    """Give the pods of a version that was replaced in the middle of its release back to the stable one."""
    replaced = _replaced(facts)
    if replaced is None or facts.stable is None:
        return DONE
    if outcome := strategy.narrow(facts, 0, _evening(facts, replaced)):
        return outcome
    return moving.clear(facts) or Doing(messages.settles(facts.workload.target.name))


def rid_of_others(facts: Facts) -> Outcome:
    """Wait until none is left of the pods that were given back: a Service that is widened next finds them."""
    others = (each for each in facts.known if each is not facts.stable and each is not facts.newest)
    leaving = any(each.present or not each.observed for each in others)
    return Doing(messages.settles(facts.workload.target.name)) if leaving else DONE


def _replaced(facts: Facts) -> ReplicaSet | None:
    """Give the version that goes next, of those that were replaced in the middle of their release."""
    return min(facts.unsettled, key=lambda each: (-each.replicas, _age(each)), default=None)


def _begin(facts: Facts, total: int, *, still: bool) -> Outcome:
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
            lambda: DONE if still else _joined(facts, total),
        )
    )


def _joined(facts: Facts, total: int) -> Outcome:
    return handover.hand_over(facts) if handover.possible(facts) else pods.grow(facts, total)


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


def room(facts: Facts, total: int) -> int:
    """Count the pods by which the strategy is less narrow, for the way back to ``total`` to be open.

    One more must not make all of the Deployment's pods new: the controller would take the others.
    """
    inside, workload, replaced = facts.inside, facts.workload, _replaced(facts)
    if replaced:
        return _evening(facts, replaced)
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
