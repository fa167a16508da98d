"""What the Deployment's controller will make of a change, before anybody makes it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rollout.release.facts import Facts
from rollout.scaling import Part, Size, course
from rollout.snapshot import ReplicaSet


@dataclass(frozen=True, slots=True)
class Forecast:
    """How the workload's ReplicaSets come to rest, and what serves no more on the way there."""

    sizes: Mapping[str, int]
    """The size of each at rest, by name."""
    lost: int
    """By how many the available pods are fewer in between."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The parts of a paused Deployment, as they are or as they could be."""

    parts: tuple[Part, ...]
    size: Size

    @staticmethod
    def of(facts: Facts) -> "Outlook":
        """Take them as they were seen."""
        workload = facts.workload
        own = facts.known
        return Outlook(
            tuple(_part(each, newest=each.digest == workload.digest) for each in own),
            Size(workload.replicas, workload.max_surge, workload.status_replicas),
        )

    @property
    def at_its_best(self) -> "Outlook":
        """Suppose that every pod that is asked for is available."""
        return replace(self, parts=tuple(replace(each, available=each.size) for each in self.parts))

    @property
    def unsaturated(self) -> "Outlook":
        """Suppose that the controller does not know that its newest part has been given everything."""
        parts = tuple(replace(each, desired=None) if each.newest else each for each in self.parts)
        return replace(self, parts=parts)

    def with_surge(self, surge: int) -> "Outlook":
        """Suppose another surge."""
        return replace(self, size=replace(self.size, surge=surge))

    @property
    def room(self) -> int:
        """Count the pods that the controller would still add."""
        return max(0, self.size.most - sum(each.size for each in self.parts))

    @property
    def serving(self) -> Mapping[str, int]:
        """The available pods of each part that it is still asked for, by name."""
        return {each.name: min(each.available, each.size) for each in self.parts}

    def spare(self, least: int) -> int:
        """Count the available pods beyond ``least``."""
        return max(0, sum(self.serving.values()) - least)

    def after(self, name: str = "", count: int = 0) -> Forecast:
        """Let the controller look at it, when part ``name``, if any, has been given ``count`` pods."""
        size = self.size
        parts = tuple(
            replace(each, size=count, desired=size.replicas, most=size.most) if each.name == name else each
            for each in self.parts
        )
        looks, serving = [parts, *course(parts, size)], self.serving
        lowest = before = sum(serving.values())
        for number, look in enumerate(looks):
            serving = {each.name: min(each.size, serving[each.name]) for each in look}
            lowest = min(lowest, sum(serving.values()))
            if number:  # what the controller has asked for is available by its next look
                serving = {each.name: each.size for each in look}
        return Forecast({each.name: each.size for each in looks[-1]}, before - lowest)


def _part(revision: ReplicaSet, *, newest: bool) -> Part:
    desired, most = revision.scaled_for
    name = revision.target.name
    return Part(name, revision.replicas, (revision.created, name), newest, revision.available, desired, most)
