"""GitOps peace: kubectl, Helm 3 and 4, and Flux apply unchanged manifests every second of a whole release."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from loadtest.account import Account
from sandbox import flux
from sandbox.names import JsonObject
from tests.cluster import gitops, inventory
from tests.cluster.application import NAME, V1, V2, Application, phase
from tests.cluster.evidence import watching
from tests.cluster.gitops import CLIENTS
from tests.cluster.partitions import STRATEGY, has, partition
from tests.cluster.plans import plan, step
from tests.cluster.readiness import counting

pytestmark = pytest.mark.long

_RATE = 30.0
"""Requests a second: enough to see a share that is wrong for the time of one apply."""

_OWN = ("v1/secrets/sh.helm.release.v1.", flux.KUSTOMIZATIONS)
"""What clients remember of themselves: Helm its releases, Flux when it was asked."""

_ROUNDING = 3
"""Requests more than a share is of all: the data plane begins a new round with each change."""


def changes(values: Iterable[Any]) -> list[Any]:
    """Leave out repetitions."""
    return [value for value, _ in itertools.groupby(values)]


def named(objects: Iterable[JsonObject], name: str) -> list[JsonObject]:
    """Return the objects of a name."""
    return [each for each in objects if each["metadata"]["name"] == name]


def selected(service: JsonObject) -> str:
    """Return the revision that a Service is held to."""
    return str(service["spec"]["selector"].get("pod-template-hash", ""))


def weight_on(ingress: JsonObject) -> int:
    """Return the share that an Ingress sends to the canary."""
    annotations = ingress["metadata"].get("annotations", {})
    return int(annotations.get("nginx.ingress.kubernetes.io/canary-weight", 0))


def most(account: Account, percent: int) -> float:
    """Return how many requests may have reached the canary when a share of them was approved."""
    return account.total * percent / 100 + _ROUNDING


@pytest.mark.parametrize("client", CLIENTS)
async def test_release_completes_under_a_client_that_applies_every_second(
    app: Application, client: str, tmp_path: Path
) -> None:
    """Nothing flaps, no conflict is met, no request is lost, none reaches the canary without approval."""
    data_plane = await app.cluster.data_plane()
    objects = gitops.application(app, plan(step(20, 1), step(60, 3)))
    async with gitops.applying(app, CLIENTS[client](app, objects, tmp_path)) as repository:
        await repository.applies(1)
        await app.serves_requests()
        before = await inventory.take(app)
        async with (
            watching(app) as evidence,
            app.cluster.record("services", app.namespace) as services,
            app.cluster.record("ingresses", app.namespace) as ingresses,
        ):
            async with data_plane.load(app.host, _RATE) as first:
                repository.image = V2
                await gitops.released(app)
                await app.waits(1, 2)
                await repository.applies(2)
            async with data_plane.load(app.host, _RATE) as second:
                await app.approve()
                await app.waits(2, 2)
                await repository.applies(2)
                held = evidence.updated_pods()
            await app.approve()
            await app.completes(steps=2)
            await app.serves(V2)
            await repository.applies(2)

    assert held == []
    assert changes(weight_on(each) for each in named(ingresses.objects, f"{NAME}-canary")) == [0, 20, 60, 0]
    assert changes(bool(selected(each)) for each in named(services.objects, NAME)) == [False, True, False]
    paused = [bool(each["spec"].get("paused")) for each in named(evidence.deployments.objects, NAME)]
    assert changes(paused) == [False, True, False]
    assert 0 < first.answered[V2] <= most(first, 20)
    assert second.answered[V2] <= most(second, 60)
    assert [first.lost, second.lost] == [0, 0]
    assert repository.conflicts == []
    assert phase(await app.get("rollouts")) == "Healthy"
    left = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in left if not each.startswith(_OWN)] == []


@pytest.mark.parametrize("client", ["helm 3", "kubectl apply --server-side", "flux"])
async def test_batches_go_on_under_a_client_that_applies_its_strategy_every_second(
    app: Application, client: str, tmp_path: Path
) -> None:
    """Partition style: behind the gate only the narrow strategy is ever in force, and no conflict is met."""
    own: JsonObject = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "60%", "maxUnavailable": "20%"}}
    objects = gitops.application(app, partition(step(20, "20%"), step(60, "60%"), step(100, "100%")), own)
    async with gitops.applying(app, CLIENTS[client](app, objects, tmp_path)) as repository:
        await repository.applies(1)
        before = await inventory.take(app)
        async with (
            counting(app) as readiness,
            app.cluster.record("deployments", app.namespace) as deployments,
        ):
            repository.image = V2
            await gitops.released(app)
            for number in (1, 2):
                await app.waits(number, 3)
                await has(app, v1=5 - 2 * number + 1, v2=2 * number - 1)
                await repository.applies(2)
                await app.approve()
            await app.completes(steps=3)
            await app.serves(V2)
            await repository.applies(2)

    forms = named(deployments.objects, NAME)
    during = [each for each in forms if STRATEGY in each["metadata"]["annotations"]]
    assert {each["spec"]["strategy"]["rollingUpdate"]["maxSurge"] for each in during} == {0}
    assert forms[-1]["spec"]["strategy"] == own
    assert readiness.lowest() >= 4
    assert repository.conflicts == []
    left = inventory.leftovers(before, await inventory.settled(app))
    assert [each for each in left if not each.startswith(_OWN)] == []


@pytest.mark.parametrize("client", CLIENTS)
async def test_roll_back_in_the_repository_takes_the_release_back(
    app: Application, client: str, tmp_path: Path
) -> None:
    """The old image committed again while the client goes on applying: everything is as it was."""
    objects = gitops.application(app, plan(step(20, 1), step(60, 3)))
    async with gitops.applying(app, CLIENTS[client](app, objects, tmp_path)) as repository:
        await repository.applies(1)
        repository.image = V2
        await gitops.released(app)
        await app.waits(1, 2)

        repository.image = V1
        await app.rolled_back()
        await repository.applies(2)

    assert await app.pods(V2) == []
    assert repository.conflicts == []
