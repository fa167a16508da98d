"""Pods moved from one revision of a paused Deployment to another, by single changes of one's size.

A paused Deployment's controller keeps its revisions at replicas and maxSurge together, in proportion. What
it would make of a change of one revision's size is reckoned beforehand (``forecast``), and the change is
made that moves the most pods where they shall go, no further than asked, and leaves the Deployment within
its owner's limits while the new ones start (docs/decisions/017). What came of it is observed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rollout import messages, names
from rollout.actions import Patch
from rollout.release import handover, pods
from rollout.release.facts import Facts, guarded
from rollout.release.forecast import Forecast, Outlook
from rollout.release.outcome import DONE, Doing, Outcome, resting_on
from rollout.snapshot import ReplicaSet


def move(facts: Facts, source: ReplicaSet, goal: ReplicaSet, distance: int) -> Outcome:
    """Move as many pods as may be missing for a while, or do not serve anyway; later looks move more.

    Where no push would move any, whatever was available, they stay as they are: under Recreate, with which
    the controller keeps no proportion, always.
    """
    if facts.workload.recreates:
        return DONE
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


def clear(facts: Facts) -> Outcome:
    """Move pods of those that have to go to the stable revision: first of which most do not serve anyway."""
    stable, waits = facts.stable, DONE
    if stable is None:
        return DONE
    for each in sorted(facts.unsettled, key=lambda each: (each.staying - each.replicas, -each.replicas)):
        outcome = move(facts, each, stable, each.replicas)
        if outcome and outcome.actions:
            return outcome
        waits = waits or outcome
    return waits


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
        """Tell whether no third revision changes, but for one that has to go anyway.

        It may even grow where this one goes for good: they get fewer all the same.
        """
        unsettled, (source, goal) = self.facts.unsettled, (self.source, self.goal)
        fewer = source in unsettled and not sizes[source.target.name]
        others = (each for each in self.facts.known if each not in (source, goal))
        changes = ((each, sizes[each.target.name] - each.replicas) for each in others)
        return all(not change or (each in unsettled and (change < 0 or fewer)) for each, change in changes)


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
