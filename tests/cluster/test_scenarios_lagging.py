"""A reconciler whose way to the API server is bad takes over: what it does not see in time stays served."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from kube.login import log_in
from kube.service_account import act_as
from sandbox import manifests
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, Application
from tests.cluster.chart_install import NAMESPACE
from tests.cluster.faults import Fault, FaultyServer, faulty
from tests.cluster.outside import Outside, running
from tests.cluster.product import LEASE, Product, holder

RECONCILER = "sluice-reconciler"
REPLICA = "lagging"


def watches_ingresses(request: web.Request) -> bool:
    """Match the watch of all Ingresses."""
    return "watch" in request.query and request.path.endswith("/ingresses")


def writes_ingresses(request: web.Request) -> bool:
    """Match changes of an Ingress."""
    return request.method == "PATCH" and "/ingresses/" in request.path


@asynccontextmanager
async def lagging(
    product: Product, directory: Path, *faults: Fault
) -> AsyncIterator[tuple[Outside, FaultyServer]]:
    """Run one more reconciler, to which these happen."""
    administrator = await log_in(environ={}, kubeconfig=str(product.cluster.kubeconfig))
    async with faulty(await act_as(administrator, NAMESPACE, RECONCILER)) as server:
        server.faults.extend(faults)
        kubeconfig = directory / "kubeconfig"
        server.write_kubeconfig(kubeconfig)
        flags = ("--identity", REPLICA, "--http-port", "18083")
        async with running(
            product.cluster, directory, "reconciler", *flags, kubeconfig=kubeconfig
        ) as reconciler:
            await reconciler.says("Started")
            yield reconciler, server


@asynccontextmanager
async def leading(product: Product) -> AsyncIterator[None]:
    """Have that reconciler lead."""
    try:
        await product.scale(RECONCILER, 0)
        await product.cluster.wait_for(
            "leases", NAMESPACE, LEASE, lambda found: holder(found).startswith(REPLICA)
        )
        yield
    finally:
        await product.scale(RECONCILER, 2)


async def test_canary_serves_as_long_as_its_unseen_ingress_leads_to_it(
    product: Product, app: Application, tmp_path: Path
) -> None:
    """A roll-back by a leader that knows of no canary Ingress takes nothing away before it knows."""
    await app.deploy()
    before = await inventory.take(app)
    unseen = Fault(watches_ingresses, stop_after=0, silently=True)
    async with lagging(product, tmp_path, unseen) as (reconciler, server):
        await app.set_image(V2)
        await app.waits(1, 1)
        async with leading(product):
            await app.set_image(V1)
            await reconciler.says("cache lags behind the API server")
            weight, pods = await app.weight(), await app.pods(V2)
            service = await app.find("services", f"{NAME}-canary")
            server.hang_up()
            await app.rolled_back()

    assert weight == 20
    assert len(pods) == 1
    assert service is not None
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_data_plane_has_its_grace_after_a_write_that_took_long(
    product: Product, app: Application, tmp_path: Path
) -> None:
    """Sending everything to the stable Service takes 4 s at the API server: the 3 s of grace begin then."""
    await app.deploy(manifests.rollout(grace_period_seconds=3))
    async with lagging(product, tmp_path) as (_, server):
        await app.set_image(V2)
        await app.waits(1, 1)
        async with leading(product):
            server.add(Fault(writes_ingresses, delay=4.0))
            await app.set_image(V1)
            await app.weighs(0)
            silent = time.monotonic()
            await app.cluster.wait_gone("services", app.namespace, f"{NAME}-canary")
            graced = time.monotonic() - silent
            await app.rolled_back()

    assert graced >= 2.9
