"""Promotion over a grid of sizes and limits, with scaling at the worst moments: no event shows a dip.

A few rows are always tried. `SLUICE_LIMITS_ROWS` asks for so many of the wide grid, of up to fifty pods.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import product as combinations

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import COMPLETED, NAME, V1, V2, Application, is_paused, phase, shows
from tests.cluster.limits import LIMITS, ROWS, SCALES, SECONDS, WIDE, Row, below, side_by_side
from tests.cluster.plans import plan, step
from tests.cluster.product import Product
from tests.cluster.readiness import counting

pytestmark = pytest.mark.minors

_REPLICAS = (1, 2, 3, 4, 6, 10, *((20, 34, 50) if WIDE else ()))
_SHARES = (0.01, 0.3, 0.5, 1.0)
"""How much of the replicas the approved step has, rounded up."""

_SEED = 129


async def _at_once(app: Application) -> None:
    """Scale in the moment of the approval."""
    await app.get("deployments")


async def _when_prepared(app: Application) -> None:
    """Scale when the canary's ReplicaSet has been prepared for the Deployment's present size."""
    desired = "deployment.kubernetes.io/desired-replicas"
    replicas = str((await app.get("deployments"))["spec"]["replicas"])
    async with app.cluster.record("replicasets", app.namespace) as sets:
        await sets.wait_for(
            lambda event: (
                _image(event.object) == V2
                and event.object["metadata"]["annotations"].get(desired) == replicas
            ),
            SECONDS,
        )


async def _when_left_behind(app: Application) -> None:
    """Scale when the canary Deployment is gone and its pods are being adopted."""
    await app.cluster.wait_gone("deployments", app.namespace, f"{NAME}-{await app.release()}", SECONDS)


async def _when_opened(app: Application) -> None:
    """Scale when the native update goes on from the approved pods."""
    await app.wait("deployments", lambda found: not is_paused(found), seconds=SECONDS)


_MOMENTS: dict[str, Callable[[Application], Awaitable[None]]] = {
    "approved": _at_once,
    "prepared": _when_prepared,
    "left behind": _when_left_behind,
    "opened": _when_opened,
}


def _grid() -> Iterator[Row]:
    """Draw rows from all combinations, the same ones in every run."""
    everything = list(combinations(_REPLICAS, _SHARES, LIMITS, _MOMENTS, SCALES))
    drawn = random.Random(_SEED).sample(everything, ROWS)  # noqa: S311 - no secret
    for replicas, share, (surge, unavailable), moment, scale in drawn:
        scaled = math.ceil(replicas * scale)
        yield Row(replicas, math.ceil(replicas * share), surge, unavailable, moment, scaled)


async def test_available_pods_never_fall_below_the_limits(product: Product) -> None:
    """Replicas, canaries, maxSurge, maxUnavailable and scaling, mixed: enough pods at each event."""
    assert await side_by_side(product, _grid(), _dips) == []


@pytest.mark.parametrize("moment", ["prepared", "left behind"])
async def test_roll_back_in_a_hand_over_costs_no_pod(app: Application, moment: str) -> None:
    """Back to the first version when some pods change hands: enough pods at each event, and a clean end."""
    row = Row(5, 3, 1, 0, moment, 5)
    await _deploy(app, row)
    before = await inventory.take(app)
    await _release(app)

    async with counting(app) as readiness, app.cluster.record("deployments", app.namespace) as deployments:
        async with asyncio.TaskGroup() as group:
            group.create_task(_set_image(app, moment, V1))
            group.create_task(app.approve())
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")
        await app.serves(V1)

    assert list(below(row, readiness, deployments)) == []
    assert inventory.leftovers(before, await inventory.settled(app)) == []


@pytest.mark.parametrize("moment", ["prepared", "left behind"])
async def test_scaled_to_nothing_in_a_hand_over_the_approved_version_comes_back(
    app: Application, moment: str
) -> None:
    """It completes without a pod; what is asked for later is the new version."""
    await _deploy(app, Row(5, 3, 1, 0, moment, 0))
    before = await inventory.take(app)
    await _release(app)

    async with asyncio.TaskGroup() as group:
        group.create_task(_scale(app, Row(5, 3, 1, 0, moment, 0)))
        group.create_task(app.approve())
    await app.completes()
    await app.wait_for_all("pods", lambda found: not found)
    await app.scale(5)
    await app.serves(V2)

    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def _dips(app: Application, row: Row) -> list[str]:
    """Release one row; return where fewer pods were available than its limits allow."""
    await _deploy(app, row)
    await _release(app)
    async with counting(app) as readiness, app.cluster.record("deployments", app.namespace) as deployments:
        async with asyncio.TaskGroup() as group:
            group.create_task(_scale(app, row))
            group.create_task(app.approve())
        await app.wait("rollouts", shows("Healthy", 1, "Completed", COMPLETED), seconds=SECONDS)
        await app.serves(V2, row.scaled)
    return list(below(row, readiness, deployments))


async def _deploy(app: Application, row: Row) -> None:
    manifest = manifests.deployment(replicas=row.replicas)
    limits = {"maxSurge": row.surge, "maxUnavailable": row.unavailable}
    manifest["spec"]["strategy"] = {"rollingUpdate": limits}
    await app.deploy(plan(step(20, row.canaries)), replicas=row.replicas, deployment=manifest)


async def _release(app: Application) -> None:
    await app.set_image(V2)
    await app.waits(1, 1)


async def _set_image(app: Application, moment: str, image: str) -> None:
    await _MOMENTS[moment](app)
    await app.set_image(image)


async def _scale(app: Application, row: Row) -> None:
    await _MOMENTS[row.moment](app)
    if row.scaled != row.replicas:
        await app.scale(row.scaled)


def _image(replica_set: JsonObject) -> str:
    return str(replica_set["spec"]["template"]["spec"]["containers"][0]["image"])
