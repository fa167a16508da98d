"""Partition style over a grid of sizes and limits, with scaling at the worst moments: no event shows a dip.

A few rows are always tried. `SLUICE_LIMITS_ROWS` asks for so many of the wide grid, of up to fifty pods.
"""

import asyncio
import math
import random
from collections.abc import Iterator
from itertools import product as combinations

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from sandbox.observation import Predicate
from tests.cluster.application import COMPLETED, V2, Application, image_of, is_paused, shows
from tests.cluster.limits import LIMITS, ROWS, SCALES, SECONDS, WIDE, Row, below, side_by_side
from tests.cluster.partitions import counts, partition
from tests.cluster.plans import step
from tests.cluster.product import Product
from tests.cluster.readiness import counting

pytestmark = [pytest.mark.minors, pytest.mark.long]

_REPLICAS = (2, 3, 4, 5, 7, 10, *((20, 35, 50) if WIDE else ()))
_SHARES = (0.01, 0.3, 0.5, 0.8)
"""How much of the replicas the first step has, rounded up; the second has 80 %."""

_SEED = 517


def _new(deployment: JsonObject) -> int:
    """Return how many pods of the second version its controller has counted."""
    observed = deployment["status"].get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return counts(deployment)[0] if observed and image_of(deployment) == V2 else 0


_MOMENTS: dict[str, Predicate] = {
    "begun": lambda found: _new(found) > 0,
    "half way": lambda found: 2 * _new(found) >= found["spec"]["replicas"],
    "opened": lambda found: _new(found) > 0 and not is_paused(found),
}
"""When somebody scales: the first new pods are the Deployment's, others move, the rest rolls natively."""


def _grid() -> Iterator[Row]:
    """Draw rows from all combinations, the same ones in every run."""
    everything = list(combinations(_REPLICAS, _SHARES, LIMITS, _MOMENTS, SCALES))
    drawn = random.Random(_SEED).sample(everything, ROWS)  # noqa: S311 - no secret
    for replicas, share, (surge, unavailable), moment, scale in drawn:
        scaled = math.ceil(replicas * scale)
        yield Row(replicas, math.ceil(replicas * share), surge, unavailable, moment, scaled)


async def test_batches_never_leave_fewer_pods_than_the_limits_allow(product: Product) -> None:
    """Replicas, first step, maxSurge, maxUnavailable and scaling, mixed: enough pods at each event."""
    assert await side_by_side(product, _grid(), _dips) == []


async def _dips(app: Application, row: Row) -> list[str]:
    """Release one row to its end; return where fewer pods were available than its limits allow."""
    manifest = manifests.deployment(replicas=row.replicas)
    manifest["spec"]["strategy"] = {
        "rollingUpdate": {"maxSurge": row.surge, "maxUnavailable": row.unavailable}
    }
    steps = (step(None, row.canaries, 0), step(None, "80%", 0), step(None, "100%"))
    await app.deploy(partition(*steps, routed=False), replicas=row.replicas, deployment=manifest)
    async with counting(app) as readiness, app.cluster.record("deployments", app.namespace) as deployments:
        async with asyncio.TaskGroup() as group:
            group.create_task(_scale(app, row))
            group.create_task(app.set_image(V2))
        await app.wait("rollouts", shows("Healthy", 3, "Completed", COMPLETED), seconds=SECONDS)
        await app.serves(V2, row.scaled)
    return list(below(row, readiness, deployments))


async def _scale(app: Application, row: Row) -> None:
    await app.wait("deployments", _MOMENTS[row.moment], seconds=SECONDS)
    if row.scaled != row.replicas:
        await app.scale(row.scaled)
