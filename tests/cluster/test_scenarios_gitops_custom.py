"""GitOps peace for users' own routes: the object applied every second through a whole release."""

from collections.abc import AsyncIterator, Iterable
from itertools import groupby
from pathlib import Path

import pytest
import pytest_asyncio

from kube.managed_fields import owns_spec
from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import custom_kinds, gitops, istio
from tests.cluster.application import NAME, V1, V2, Application
from tests.cluster.gitops import CLIENTS, Objects
from tests.cluster.istio import VIRTUAL_SERVICES
from tests.cluster.plans import plan, step
from tests.cluster.product import Product, application

CANARY = f"{NAME}-canary"
ASKED = "sluice.dev/asked"


@pytest_asyncio.fixture(loop_scope="session")
async def mesh(product: Product) -> AsyncIterator[Application]:
    """Give a test the application in a cluster that has Istio's VirtualService."""
    async with (
        custom_kinds.installed(product.cluster, istio.DEFINITIONS[0]),
        application(product) as app,
    ):
        yield app


def repository(pause: int | None = None) -> Objects:
    """Return the application that routes by a VirtualService alone, as it stands in a repository."""
    rollout = plan(step(20, 1, pause), step(60, 3, pause))
    routing = {"service": NAME, "gracePeriodSeconds": 0, "customNetworkRefs": [istio.ref()]}
    rollout["spec"]["strategy"]["canary"]["trafficRoutings"] = [routing]
    return lambda image: [
        manifests.service(),
        istio.virtual_service(),
        manifests.deployment(image=image),
        rollout,
    ]


def shares(found: Iterable[JsonObject]) -> list[int]:
    """Return what the canary's share was, one after the other."""
    routes = (
        [(each["destination"]["host"], each) for each in one["spec"]["http"][1]["route"]] for one in found
    )
    weights = (dict(route).get(CANARY, {}).get("weight", 0) for route in routes)
    return [weight for weight, _ in groupby(weights)]


# Helm 3 sends nothing for what has not changed, and Helm 4 sends what kubectl does.
@pytest.mark.parametrize("client", ["kubectl apply", "kubectl apply --server-side", "flux"])
async def test_virtual_service_applied_every_second_does_not_flap(
    mesh: Application, client: str, tmp_path: Path
) -> None:
    """The canary's share only rises until it goes, no conflict is met, the object is given back as it was."""
    async with gitops.applying(mesh, CLIENTS[client](mesh, repository(), tmp_path)) as gitops_client:
        await gitops_client.applies(1)
        own = (await mesh.get(VIRTUAL_SERVICES))["spec"]
        async with mesh.cluster.record(VIRTUAL_SERVICES, mesh.namespace) as record:
            gitops_client.image = V2
            await gitops.released(mesh)
            for number in (1, 2):
                await mesh.waits(number, 2)
                await gitops_client.applies(2)
                await mesh.approve()
            await mesh.completes(steps=2)
            await gitops_client.applies(2)

    assert shares(record.objects) == [0, 20, 60, 0]
    assert gitops_client.conflicts == []
    after = await mesh.get(VIRTUAL_SERVICES)
    assert after["spec"] == own
    assert not owns_spec(after, "sluice")


async def test_release_by_a_virtual_service_goes_on_while_no_webhook_answers(
    mesh: Application, product: Product
) -> None:
    """What the webhook was asked for and did not hear, the reconciler writes, and what others undo too."""
    *routes, deployment, rollout = repository(pause=8)(V1)
    await mesh.create(*routes, deployment)
    await mesh.wait("deployments", manifests.available(5))
    await mesh.create(rollout)
    await mesh.governed()
    own = await mesh.get(VIRTUAL_SERVICES)
    await mesh.set_image(V2)
    await mesh.wait(VIRTUAL_SERVICES, lambda found: shares([found]) == [20])

    await product.scale("sluice-webhook", 0)
    try:
        await mesh.wait(VIRTUAL_SERVICES, lambda found: shares([found]) == [60])
        asked = (await mesh.get(VIRTUAL_SERVICES))["metadata"]["annotations"].get(ASKED)
        applied = await mesh.cluster.patch(
            VIRTUAL_SERVICES, mesh.namespace, NAME, {"spec": {"http": own["spec"]["http"]}}
        )
        await mesh.wait(VIRTUAL_SERVICES, lambda found: shares([found]) == [60])
        await mesh.completes(steps=2)
    finally:
        await product.scale("sluice-webhook", 2)

    assert asked is None
    assert shares([applied]) == [0]
    after = await mesh.get(VIRTUAL_SERVICES)
    assert (after["spec"], after["metadata"]["annotations"]) == (own["spec"], own["metadata"]["annotations"])
