"""The walkthrough's stages 2, 3 and 4b, cell by cell, for each kind of client.

Each client goes the whole way once; every test looks at one cell of what was then visible.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from sandbox import manifests
from sandbox.data_plane import DataPlane, Traffic
from sandbox.demo import lives
from sandbox.demo.lives import Life
from sandbox.demo.tables import Table
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import NAME, Application
from tests.cluster.clients import KINDS, Client
from tests.cluster.evidence import watching
from tests.cluster.product import Product, application

_ROLLOUTS = {
    "v1beta1": manifests.rollout(grace_period_seconds=0),
    "v1alpha1": manifests.rollout_v1alpha1(grace_period_seconds=0),
}
_BOTH = ("apply", "apply-server-side", "helm")
"""Clients that send the Rollout too, each time, in the version in which the user wrote it."""

_WAYS = [(kind, version) for kind in KINDS for version in _ROLLOUTS if version == "v1beta1" or kind in _BOTH]
_REQUESTS = 200
_HELM = "v1/secrets/sh.helm.release.v1."
"""Helm's own memory of its releases."""

Tables = dict[str, Table]


@dataclass(frozen=True)
class Journey:
    """What was visible on one client's way."""

    host: str
    deployed: Tables
    said: str
    """What the client printed at the update."""
    waiting: Tables
    canary_ingress: JsonObject
    traffic: Traffic
    updated_pods: list[str]
    said_back: str
    rolled_back: Tables
    leftovers: list[str]
    losses: list[str]

    @property
    def canary(self) -> str:
        """The canary Deployment's name."""
        (name,) = set(self.waiting["deployment"].names) - {NAME}
        return name


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=_WAYS, ids=["-".join(way) for way in _WAYS]
)
async def journey(
    request: pytest.FixtureRequest, product: Product, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Journey]:
    """Go one client's way: deploy, update, wait, look, go back."""
    kind, version = request.param
    client = Client(**KINDS[kind], directory=tmp_path_factory.mktemp(kind), rollout=_ROLLOUTS[version])
    async with application(product) as app:
        yield await _travel(app, client)


async def _travel(app: Application, client: Client) -> Journey:
    data_plane = await app.cluster.data_plane()
    await client.deploy(client, app)
    await app.wait("deployments", manifests.available(5))
    await app.governed()
    before, deployed, pods = await inventory.take(app), await app.tables(), await _lives(app)
    async with watching(app) as evidence:
        said = await client.update(client, app)
        await app.waits(1, 1)
        waiting = await app.tables()
        canary_ingress = await app.get("ingresses", f"{NAME}-canary")
        traffic = await _split(app, await app.canary(), data_plane)
    said_back = await client.back(client, app)
    await app.rolled_back()
    await app.wait("deployments", manifests.available(5))
    rolled_back = await app.tables()
    return Journey(
        app.host,
        deployed,
        said,
        waiting,
        canary_ingress,
        traffic,
        evidence.updated_pods(),
        said_back,
        rolled_back,
        [each for each in inventory.leftovers(before, await inventory.settled(app)) if _HELM not in each],
        list(lives.losses(pods, await _lives(app))),
    )


async def _lives(app: Application) -> frozenset[Life]:
    return frozenset(map(Life.of, await app.pods()))


async def _split(app: Application, canary: JsonObject, data_plane: DataPlane) -> Traffic:
    """Count within one configuration of the proxy, once the canary has answered: it tells nobody when."""
    await data_plane.answers(app.host, lambda found: found.pod.startswith(canary["metadata"]["name"]))
    return await data_plane.divides(app.host, _REQUESTS, lambda found: not found.loaded)


def _cells(table: Table, name: str, *columns: str) -> tuple[str, ...]:
    return tuple(table.rows[name][column] for column in columns)


_DEPLOYMENT = ("READY", "UP-TO-DATE", "AVAILABLE")
_ROLLOUT = ("STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE")


async def test_first_deployment_is_not_released_step_by_step(journey: Journey) -> None:
    """Stage 2: the Deployment has five ready, updated pods at once, and no canary beside it."""
    assert journey.deployed["deployment"].names == (NAME,)
    assert _cells(journey.deployed["deployment"], NAME, *_DEPLOYMENT) == ("5/5", "5", "5")


async def test_first_deployment_has_service_and_ingress_alone(journey: Journey) -> None:
    """Stage 2: one Service, one Ingress."""
    assert journey.deployed["service"].names == (NAME,)
    assert journey.deployed["ingress"].names == (NAME,)


async def test_rollout_of_the_first_deployment_is_healthy(journey: Journey) -> None:
    """Stage 2: the Rollout is Healthy."""
    assert _cells(journey.deployed["rollout"], NAME, "STATUS") == ("Healthy",)


async def test_update_leaves_all_stable_pods_and_updates_none(journey: Journey) -> None:
    """Stage 3: READY 5/5, UP-TO-DATE 0."""
    assert _cells(journey.waiting["deployment"], NAME, *_DEPLOYMENT) == ("5/5", "0", "5")


async def test_deployment_never_has_an_updated_pod_before_approval(journey: Journey) -> None:
    """Stage 3: no event of any Deployment, ReplicaSet or Pod shows an updated pod of the Deployment."""
    assert journey.updated_pods == []


async def test_canary_deployment_has_one_pod_of_five(journey: Journey) -> None:
    """Stage 3: the canary Deployment is named after the release and has its 20 %."""
    assert re.fullmatch(rf"{NAME}-[a-z0-9]{{5}}", journey.canary)
    assert _cells(journey.waiting["deployment"], journey.canary, *_DEPLOYMENT) == ("1/1", "1", "1")


async def test_canary_service_stands_beside_the_stable_one(journey: Journey) -> None:
    """Stage 3: Services `echoserver` and `echoserver-canary`, on the same port."""
    assert journey.waiting["service"].names == (NAME, f"{NAME}-canary")
    assert _cells(journey.waiting["service"], f"{NAME}-canary", "TYPE", "PORT(S)") == (
        "ClusterIP",
        "8080/TCP",
    )


async def test_canary_ingress_stands_beside_the_stable_one(journey: Journey) -> None:
    """Stage 3: Ingresses `echoserver` and `echoserver-canary`, for the same host."""
    assert journey.waiting["ingress"].names == (NAME, f"{NAME}-canary")
    assert _cells(journey.waiting["ingress"], f"{NAME}-canary", "HOSTS", "PORTS") == (journey.host, "80")


async def test_rollout_waits_for_manual_confirmation(journey: Journey) -> None:
    """Stage 3: all four columns of `kubectl get rollouts`."""
    message = "Rollout is in step(1/1), and you need manually confirm to enter the next step"

    assert _cells(journey.waiting["rollout"], NAME, *_ROLLOUT) == ("Progressing", "1", "StepPaused", message)


async def test_canary_ingress_carries_class_and_weight(journey: Journey) -> None:
    """Stage 3: the three annotations that the walkthrough shows."""
    found = journey.canary_ingress["metadata"]["annotations"]

    assert found["kubernetes.io/ingress.class"] == "nginx"
    assert found["nginx.ingress.kubernetes.io/canary"] == "true"
    assert found["nginx.ingress.kubernetes.io/canary-weight"] == "20"


async def test_canary_ingress_has_one_rule_to_the_canary_service(journey: Journey) -> None:
    """Stage 3: same host, path `/` ImplementationSpecific, backend `echoserver-canary` port 8080."""
    backend = {"service": {"name": f"{NAME}-canary", "port": {"number": 8080}}}
    path = {"path": "/", "pathType": "ImplementationSpecific", "backend": backend}

    assert journey.canary_ingress["spec"]["rules"] == [{"host": journey.host, "http": {"paths": [path]}}]


async def test_every_fifth_request_goes_to_the_canary(journey: Journey) -> None:
    """Stage 3: real requests split 80/20, none is lost; Traefik deals in turns, so one more or less."""
    traffic = journey.traffic
    canary = sum(count for pod, count in traffic.by_pod.items() if pod.startswith(journey.canary))

    assert traffic.lost == 0
    assert abs(canary - _REQUESTS * 20 // 100) <= 1


async def test_client_is_told_that_its_update_is_held_and_how_to_approve(journey: Journey) -> None:
    """Stage 3: a warning in the user's terminal names the Rollout and the exact command of approval."""
    release = journey.canary.removeprefix(f"{NAME}-")

    assert f"held by Rollout {NAME}" in journey.said
    assert f"kubectl annotate rollout {NAME} -n " in journey.said
    assert f"sluice.dev/approve={release}/1" in journey.said


async def test_rollback_leaves_the_deployment_whole(journey: Journey) -> None:
    """Stage 4b: 5/5, all up to date, the canary Deployment gone."""
    assert journey.rolled_back["deployment"].names == (NAME,)
    assert _cells(journey.rolled_back["deployment"], NAME, *_DEPLOYMENT) == ("5/5", "5", "5")


async def test_rollback_removes_the_canary_objects(journey: Journey) -> None:
    """Stage 4b: one Service, one Ingress again."""
    assert journey.rolled_back["service"].names == (NAME,)
    assert journey.rolled_back["ingress"].names == (NAME,)


async def test_rollout_says_that_it_was_rolled_back(journey: Journey) -> None:
    """Stage 4b: all four columns of `kubectl get rollouts`."""
    message = "The workload has been rolled back and the rollout process will be cancelled"

    assert _cells(journey.rolled_back["rollout"], NAME, *_ROLLOUT) == ("Healthy", "1", "StepPaused", message)


async def test_rollback_restarts_no_stable_pod(journey: Journey) -> None:
    """Stage 4b: every stable pod keeps its uid, start time and count of restarts."""
    assert journey.losses == []


async def test_rollback_leaves_nothing_behind(journey: Journey) -> None:
    """Stage 4b: every object of the namespace is as before the update."""
    assert journey.leftovers == []
