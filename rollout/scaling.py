"""What the Deployment controller makes of the ReplicaSets of a paused Deployment, reckoned beforehand.

A paused Deployment is scaled all the same: its sets are kept at replicas and maxSurge together, in
proportion. The arithmetic is that of ``scale`` in Kubernetes' ``pkg/controller/deployment/sync.go`` (1.33 to
1.37); what rests on it is still observed afterwards.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import floor

_LOOKS = 8  # the controller needs two or three to come to rest


@dataclass(frozen=True, slots=True)
class Part:
    """A ReplicaSet, as far as its scaling goes."""

    name: str
    size: int
    age: tuple[str, str]
    """Creation time and name: what is older comes first."""
    newest: bool
    """Whether it is of the Deployment's present template."""
    available: int
    desired: int | None
    """The Deployment's replicas for which it was last scaled, by its annotation."""
    most: int | None
    """The same with the surge of that time."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a Deployment asks of its parts together."""

    replicas: int
    surge: int
    counted: int
    """``status.replicas``: reckoned from where a part has no annotation."""

    @property
    def most(self) -> int:
        """The pods that there may be."""
        return self.replicas + self.surge if self.replicas else 0


def course(parts: Iterable[Part], size: Size) -> Iterator[tuple[Part, ...]]:
    """Give the parts after each look of the controller until it changes nothing more.

    What it asks for has become available by its next look, and counts.
    """
    now = tuple(parts)
    for _ in range(_LOOKS):
        after = _scaled(now, size)
        yield after
        settled = tuple(replace(each, available=each.size) for each in after)
        if settled == now:
            return
        now = settled


def _scaled(parts: tuple[Part, ...], size: Size) -> tuple[Part, ...]:
    active = [each for each in parts if each.size]
    if len(active) < 2:  # noqa: PLR2004 - alone, a part is asked for everything
        alone = active[0] if active else max(parts, key=lambda each: (each.newest, each.age), default=None)
        return tuple(_resized(each, size.replicas, size) if each is alone else each for each in parts)
    if any(_is_saturated(each, size) for each in parts):
        return tuple(each if each.newest else _resized(each, 0, size) for each in parts)
    sizes = _in_proportion(active, size)
    return tuple(_noted(each, sizes[each.name], size) if each.size else each for each in parts)


def _in_proportion(active: list[Part], size: Size) -> dict[str, int]:
    missing = size.most - sum(each.size for each in active)
    ordered = sorted(active, key=lambda each: each.age, reverse=missing > 0)
    ordered.sort(key=lambda each: each.size, reverse=True)
    sizes, added = dict[str, int](), 0
    for each in ordered:
        share = _share(each, size, missing, added)
        sizes[each.name] = each.size + share
        added += share
    largest = ordered[0].name
    sizes[largest] = max(0, sizes[largest] + missing - added)
    return sizes


def _share(part: Part, size: Size, missing: int, added: int) -> int:
    left = missing - added
    if not missing or not left:
        return 0
    before = part.most or size.counted
    fraction = floor(part.size * size.most / before + 0.5) - part.size if before else 0
    if not size.replicas:
        fraction = -part.size
    return min(fraction, left) if missing > 0 else max(fraction, left)


def _is_saturated(part: Part, size: Size) -> bool:
    return part.newest and part.size == part.desired == part.available == size.replicas


def _resized(part: Part, count: int, size: Size) -> Part:
    return part if part.size == count else _noted(part, count, size)


def _noted(part: Part, count: int, size: Size) -> Part:
    return replace(part, size=count, desired=size.replicas, most=size.most)
