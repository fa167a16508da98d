"""What a Deployment's own limits ask for at any moment of a release, and where there were fewer pods."""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass

from sandbox.names import JsonObject
from sandbox.observation import Record
from tests.cluster.application import NAME, Application, is_paused
from tests.cluster.product import Product, application
from tests.cluster.readiness import Readiness

_ASKED = os.environ.get("SLUICE_LIMITS_ROWS")
WIDE = _ASKED is not None
"""Whether so many rows of the wide grid are tried, of up to fifty pods, instead of twelve of a narrow one."""

ROWS = int(_ASKED or 12)

SECONDS = 300
"""For fifty pods, one at a time."""

LIMITS: tuple[tuple[int | str, int | str], ...] = (
    ("25%", "25%"),
    (0, 1),
    (1, 0),
    ("100%", 0),
    (0, "50%"),
    (2, "10%"),
)
"""maxSurge and maxUnavailable."""

SCALES = (1, 1.5, 0.5)

_AT_ONCE = 3
"""Releases side by side: each waits for pods more than it works, and two processors are all there is."""


@dataclass(frozen=True)
class Row:
    """One release: how large, how limited, and scaled when to what."""

    replicas: int
    canaries: int
    surge: int | str
    unavailable: int | str
    moment: str
    scaled: int

    def floor(self, replicas: int) -> int:
        """Return how many pods the Deployment's own limits ask for, as its controller reckons."""
        surge, unavailable = (
            _share(self.surge, replicas, math.ceil),
            _share(self.unavailable, replicas, math.floor),
        )
        return replicas - (unavailable if surge or unavailable else 1)


def _share(value: int | str, replicas: int, rounded: Callable[[float], int]) -> int:
    return value if isinstance(value, int) else rounded(replicas * int(value.removesuffix("%")) / 100)


async def side_by_side(
    product: Product, rows: Iterable[Row], dips: Callable[[Application, Row], Awaitable[list[str]]]
) -> list[str]:
    """Release each row in a namespace of its own, some at once; return where there were too few pods."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def run(row: Row) -> list[str]:
        async with free, application(product) as app:
            return await dips(app, row)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(row)) for row in rows]
    return [dip for task in tasks for dip in task.result()]


def below(row: Row, readiness: Readiness, deployments: Record) -> Iterator[str]:
    """Tell of each event at which there were too few: of the Deployment's status, and of the pods."""
    own = [each for each in deployments.objects if each["metadata"]["name"] == NAME]
    scaled = _first(own, lambda found: found["spec"]["replicas"] != row.replicas)
    opened = _first(own, lambda found: not is_paused(found))
    after = min(row.floor(row.replicas), row.floor(row.scaled))
    if row.scaled < row.replicas and opened < scaled:
        # Scaled down in its own roll, Kubernetes' controller takes more than it may: it counts pods as
        # available that it has just scaled away. Here only an outage would be ours.
        after = min(after, 1)
    available = [(_version(each), each["status"].get("availableReplicas", 0)) for each in own]
    for source, counts in (("status", available), ("pods", readiness.counts())):
        for version, count in counts:
            floor = row.floor(row.replicas) if version < scaled else after
            if count < floor:
                yield f"{row}: {source} show {count} of {floor} at {version}, scaled at {scaled}"


def _first(forms: Iterable[JsonObject], decide: Callable[[JsonObject], bool]) -> float:
    """Return the version at which an object first was so."""
    return min((_version(each) for each in forms if decide(each)), default=math.inf)


def _version(found: JsonObject) -> int:
    """Return where in the history of the whole cluster a form of an object stands."""
    return int(found["metadata"]["resourceVersion"])
