"""Both processes outside the cluster, as CONTRIBUTING gives the commands, against a kubeconfig."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from tests.cluster.application import V2, Application
from tests.cluster.chart_install import NAMESPACE, PROCESSES, install
from tests.cluster.outside import running


@pytest_asyncio.fixture(loop_scope="session")
async def emptied_cluster() -> AsyncIterator[Cluster]:
    """Run a cluster with the chart installed and both processes scaled away."""
    async with Cluster(Options(ordinal=3)) as cluster:
        await install(cluster)
        await cluster.kubectl("-n", NAMESPACE, "scale", "deployment", *PROCESSES, "--replicas", "0")
        await cluster.kubectl("-n", NAMESPACE, "wait", "--for=delete", "pods", "--all", "--timeout=60s")
        yield cluster


async def test_a_release_runs_with_both_processes_outside_the_cluster(
    emptied_cluster: Cluster, tmp_path: Path
) -> None:
    """The webhook is reached by URL, the reconciler acts as the chart's ServiceAccount."""
    cluster = emptied_cluster
    webhook = ("--url", "https://127.0.0.1:19443", "--port", "19443", "--http-port", "18080")
    reconciler = ("--service-account", "sluice-reconciler", "--http-port", "18081")
    async with (
        running(cluster, tmp_path, "webhook", *webhook) as admitting,
        running(cluster, tmp_path, "reconciler", *reconciler) as reconciling,
    ):
        await admitting.says("CustomResourceDefinition")
        await reconciling.says("Started")
        await cluster.create_namespace("shop")
        app = Application(cluster, "shop")

        await app.deploy()
        await app.set_image(V2)
        await app.waits(1, 1)
        await app.approve()
        await app.completes()

        assert await reconciling.stop() == 0
        assert await admitting.stop() == 0


async def test_the_reconciler_refuses_an_identity_that_the_gate_does_not_open_for(
    emptied_cluster: Cluster, tmp_path: Path
) -> None:
    """It would hold every release for ever, and says so instead."""
    async with running(emptied_cluster, tmp_path, "reconciler", "--http-port", "18082") as refused:
        await refused.says("--service-account sluice-reconciler")

        assert await refused.process.wait() != 0
