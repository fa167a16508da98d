"""Pods that move between the two revisions of a Deployment whose gate is closed: partition style.

    canary Deployment with the first new pods -> available -> handed over -> one revision is made larger,
    the controller makes the other smaller -> available -> ...

A paused Deployment's controller keeps its revisions at replicas and maxSurge together, in proportion. What
it would make of a change of one revision's size is reckoned beforehand (``forecast``), and the change is
made that moves the most pods where they shall go, no further than asked, and leaves the Deployment within
its owner's limits while the new ones start (docs/decisions/017). What came of it is observed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from rollout import messages, names
from rollout.actions import Patch
from rollout.release import handover, pods, routes, strategy
from rollout.release.facts import Facts, guarded
from rollout.release.forecast import Forecast, Outlook
from rollout.release.outcome import DONE, Doing, Outcome, first_unfinished, resting_on
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
        return _move(facts, inside, stable, inside.replicas)
    return _move(facts, stable, inside, total - inside.replicas)


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
    return _move(facts, facts.inside, facts.stable, facts.inside.replicas - total)


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
    stable, replaced = facts.stable, _replaced(facts)
    if replaced is None or stable is None:
        return DONE
    if outcome := strategy.narrow(facts, 0, _evening(facts, replaced)):
        return outcome
    moving = _move(facts, replaced, stable, replaced.replicas)
    return moving or Doing(messages.settles(facts.workload.target.name))


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


def _move(facts: Facts, source: ReplicaSet, goal: ReplicaSet, distance: int) -> Outcome:
    """Move as many pods as may be missing for a while, or do not serve anyway; later looks move more.

    Where no push would move any, whatever was available, they stay as they are.
    """
    if not facts.scaled:
        return Doing(messages.waits_for_scaling(facts.workload.target.name))
    way, seen = _Way(facts, source, goal, distance), Outlook.of(facts)
    if push := way.push(seen):
        return _sized(facts, *push)
    if way.push(seen.unsaturated):
        return _unsaturated(facts)
    if not way.push(seen.unsaturated.at_its_best):
        return DONE
    due, trouble = pods.told(facts, goal)
    waits = messages.waits_to_move(facts.workload.target.name, goal.target.name, trouble)
    return Doing(waits, until=due, trouble=trouble)


@dataclass(frozen=True)
class _Way:
    """From one revision to another, and how far pods are to go."""

    facts: Facts
    source: ReplicaSet
    goal: ReplicaSet
    distance: int

    def push(self, outlook: Outlook) -> tuple[ReplicaSet, int] | None:
        """Find which revision to give which size, that as many pods as possible move, but no further.

        Failing that, some further than asked: a step in the other direction is always possible.
        """
        spare = outlook.spare(self.facts.least)
        source, goal = self.source.replicas, self.goal.replicas
        most = spare + outlook.room + source - outlook.serving[self.source.target.name]
        near = range(min(self.distance, most), 0, -1)
        for count in (*near, *range(len(near) + 1, most + 1)):
            for pushed, size in ((self.goal, goal + count), (self.source, max(0, source - count))):
                after = outlook.after(pushed.target.name, size)
                if after.lost <= spare and self._leads(after, most if count > len(near) else self.distance):
                    return pushed, size
        return None

    def _leads(self, after: Forecast, most: int) -> bool:
        """Tell whether pods come where they shall, at most so many, and nowhere else."""
        sizes, goal, source = after.sizes, self.goal, self.source
        given = source.replicas - sizes[source.target.name]
        gained = sizes[goal.target.name] - goal.replicas
        if given < 0 or not self._leaves_others(sizes):
            return False
        if source in self.facts.unsettled:  # it has to go, whatever the stable one gains by it
            replicas = self.facts.workload.replicas
            gains = 0 < gained <= replicas - goal.replicas  # a pod beside it, that it may go afterwards
            return (given > 0 or gains) and sizes[goal.target.name] >= min(goal.replicas, replicas)
        if not gained:  # one that has all it is asked for gains nothing by what the other still has
            return given > 0 and goal.replicas >= self.facts.workload.replicas
        # The last one of those that were let out goes only where all are to be new.
        emptied = source is self.facts.stable and given == source.replicas and gained > self.distance
        return 0 < gained <= most and not emptied

    def _leaves_others(self, sizes: Mapping[str, int]) -> bool:
        """Tell whether no third revision changes, but for one that has to go anyway."""
        others = (each for each in self.facts.known if each not in (self.source, self.goal))
        changes = ((each, sizes[each.target.name] - each.replicas) for each in others)
        return all(not change or (change < 0 and each in self.facts.unsettled) for each, change in changes)


def _unsaturated(facts: Facts) -> Outcome:
    """Have the controller leave the stable revision what it is given, where all pods are new.

    By the annotation it knows that the newest one was given everything, and takes all others' pods then. It
    writes the annotation anew with the next push; without one, a Deployment rolls out as any other.
    """
    newest = facts.newest
    if newest is None:
        return DONE
    change = guarded(newest.target, {"metadata": {"annotations": {names.DESIRED_REPLICAS: None}}})
    patch = Patch(newest.target, change, why="let the stable revision have pods again")
    return Doing(f"prepares ReplicaSet {newest.target.name} to give pods back", (patch,))


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


def _sized(facts: Facts, revision: ReplicaSet, replicas: int) -> Outcome:
    """Push, while what serves and how much of it may be missing are as they were seen."""
    # The controller reckons proportions from these: as they should be, or an empty set may have old ones.
    reckoned = handover.reckoned_from(facts.workload)
    size = {"metadata": {"annotations": reckoned}, "spec": {"replicas": replicas}}
    why = "move pods from one revision to the other"
    patch = Patch(revision.target, guarded(revision.target, size), why=why)
    pushing = Doing(f"scales ReplicaSet {revision.target.name} to {replicas}", (patch,))
    others = (each.target for each in facts.serving if each is not revision)
    return resting_on((facts.workload.target, *others), pushing)
