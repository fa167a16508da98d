"""Promotion over a grid of sizes and limits, with scaling at the worst moments: no event shows a dip.

A few rows are always tried. `SLUICE_LIMITS_ROWS` asks for so many of the wide grid, of up to fifty pods.
"""

import asyncio
import math
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product as combinations

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from sandbox.observation import Record
from tests.cluster import inventory
from tests.cluster.application import COMPLETED, NAME, V1, V2, Application, is_paused, phase, shows
from tests.cluster.plans import plan, step
from tests.cluster.product import Product, application
from tests.cluster.readiness import Readiness, counting

_WIDE = "SLUICE_LIMITS_ROWS"
_ROWS = int(os.environ.get(_WIDE, "12"))
_AT_ONCE = 3
"""Releases side by side: a roll waits for pods more than it works, and two processors are all there is."""

_SECONDS = 300
"""For fifty pods, one at a time."""

_REPLICAS = (1, 2, 3, 4, 6, 10, *((20, 34, 50) if _WIDE in os.environ else ()))
_SHARES = (0.01, 0.3, 0.5, 1.0)
"""How much of the replicas the approved step has, rounded up."""

_LIMITS: tuple[tuple[int | str, int | str], ...] = (
    ("25%", "25%"),
    (0, 1),
    (1, 0),
    ("100%", 0),
    (0, "50%"),
    (2, "10%"),
)
"""maxSurge and maxUnavailable."""

_SCALES = (1, 1.5, 0.5)
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
            _SECONDS,
        )


async def _when_left_behind(app: Application) -> None:
    """Scale when the canary Deployment is gone and its pods are being adopted."""
    await app.cluster.wait_gone("deployments", app.namespace, f"{NAME}-{await app.release()}", _SECONDS)


async def _when_opened(app: Application) -> None:
    """Scale when the native update goes on from the approved pods."""
    await app.wait("deployments", lambda found: not is_paused(found), seconds=_SECONDS)


_MOMENTS: dict[str, Callable[[Application], Awaitable[None]]] = {
    "approved": _at_once,
    "prepared": _when_prepared,
    "left behind": _when_left_behind,
    "opened": _when_opened,
}


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


def _grid() -> Iterator[Row]:
    """Draw rows from all combinations, the same ones in every run."""
    everything = list(combinations(_REPLICAS, _SHARES, _LIMITS, _MOMENTS, _SCALES))
    drawn = random.Random(_SEED).sample(everything, _ROWS)  # noqa: S311 - no secret
    for replicas, share, (surge, unavailable), moment, scale in drawn:
        scaled = math.ceil(replicas * scale)
        yield Row(replicas, math.ceil(replicas * share), surge, unavailable, moment, scaled)


async def test_available_pods_never_fall_below_the_limits(product: Product) -> None:
    """Replicas, canaries, maxSurge, maxUnavailable and scaling, mixed: enough pods at each event."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def run(row: Row) -> list[str]:
        async with free, application(product) as app:
            return await _dips(app, row)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(row)) for row in _grid()]

    assert [dip for task in tasks for dip in task.result()] == []


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

    assert list(_below(row, readiness, deployments)) == []
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
        await app.wait("rollouts", shows("Healthy", 1, "Completed", COMPLETED), seconds=_SECONDS)
        await app.serves(V2, row.scaled)
    return list(_below(row, readiness, deployments))


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


def _below(row: Row, readiness: Readiness, deployments: Record) -> Iterator[str]:
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


def _image(replica_set: JsonObject) -> str:
    return str(replica_set["spec"]["template"]["spec"]["containers"][0]["image"])
