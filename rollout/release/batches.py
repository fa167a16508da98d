"""The labels by which tools group a canary's pods: the id of the release, and the step that brought each.

Nothing waits for them, and nothing here depends on them.
"""

import re
from collections.abc import Iterator

from rollout import names
from rollout.actions import Patch
from rollout.release import pods
from rollout.release.facts import Facts, guarded
from rollout.snapshot import Pod
from rollout.status import Release

# So many writes between two looks at the release: an approval that comes meanwhile waits for them.
_AT_ONCE = 50
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)


def labels(facts: Facts, release: Release) -> tuple[Patch, ...]:
    """Label the ready pods of the canary that are not labelled yet, or for another step or release."""
    crew = [each for each in facts.canary_pods if each.ready]
    rollout_id = release.rollout_id if _LABEL_VALUE.fullmatch(release.rollout_id) else release.revision
    wanted = assigned(sorted(crew, key=lambda each: each.target.name), rollout_id, _sizes(facts, release))
    changes = ((pod, batch) for pod, batch in wanted if (pod.rollout_id, pod.batch) != (rollout_id, batch))
    patches = (_labelled(pod, rollout_id, batch) for pod, batch in changes)
    return tuple(patch for patch, _ in zip(patches, range(_AT_ONCE), strict=False))


def assigned(crew: list[Pod], rollout_id: str, sizes: list[int]) -> Iterator[tuple[Pod, str]]:
    """Give every pod its batch, counted from 1: the one that it has while there is room, or the earliest.

    ``sizes``: how many pods each step brought, up to the present one, which also has what is too many.
    """
    room, rest = list(sizes), list[Pod]()
    for pod in crew:
        batch = _batch(pod, rollout_id, len(sizes))
        if batch and room[batch - 1] > 0:
            room[batch - 1] -= 1
            yield pod, str(batch)
        else:
            rest.append(pod)
    for pod in rest:
        earliest = next((index for index, free in enumerate(room) if free > 0), len(sizes) - 1)
        room[earliest] -= 1
        yield pod, str(earliest + 1)


def _batch(pod: Pod, rollout_id: str, steps: int) -> int:
    """Read the batch that a pod was given in this release; 0 when it was given none."""
    known = {str(number): number for number in range(1, steps + 1)}
    return known.get(pod.batch, 0) if pod.rollout_id == rollout_id else 0


def _sizes(facts: Facts, release: Release) -> list[int]:
    """Count the pods that each step up to the present one brought."""
    sizes, before = list[int](), 0
    for step in facts.spec.steps[: release.step]:
        total = max(before, pods.wanted(facts, step))
        sizes.append(total - before)
        before = total
    return sizes


def _labelled(pod: Pod, rollout_id: str, batch: str) -> Patch:
    change = {"metadata": {"labels": {names.ROLLOUT_ID: rollout_id, names.ROLLOUT_BATCH_ID: batch}}}
    return Patch(pod.target, guarded(pod.target, change), why="show which step brought the pod")
