"""The chart in a real cluster: install and upgrade, with the real processes under its own rights."""

from collections.abc import AsyncIterator

import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from tests.cluster.chart_install import CHART, NAMESPACE, fully_available, install


@pytest_asyncio.fixture(loop_scope="session")
async def own_cluster() -> AsyncIterator[Cluster]:
    """Run a cluster beside the session's one, for one test: a cluster holds one install."""
    async with Cluster(Options(ordinal=1)) as running:
        yield running


async def test_install_makes_every_replica_ready_and_admission_trusted(own_cluster: Cluster) -> None:
    """Both processes run under the chart's own rights, and the API server trusts the webhook."""
    await install(own_cluster)

    pods = await own_cluster.list("pods", NAMESPACE, "app.kubernetes.io/name=sluice")
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods] == [0, 0, 0, 0]
    for kind, name in (
        ("mutatingwebhookconfigurations", "sluice-mutating"),
        ("validatingwebhookconfigurations", "sluice-validating"),
    ):
        await own_cluster.wait_for(
            f"admissionregistration.k8s.io/v1/{kind}",
            None,
            name,
            lambda found: all(each["clientConfig"].get("caBundle") for each in found["webhooks"]),
            30,
        )


async def test_upgrade_never_has_fewer_webhooks_than_before(own_cluster: Cluster) -> None:
    """On every event of the update two webhook pods are available."""
    await install(own_cluster)

    async with own_cluster.record("deployments", NAMESPACE, "sluice-webhook") as record:
        await own_cluster.helm("upgrade", "sluice", CHART, "-n", NAMESPACE, "--set", "logLevel=debug")
        await own_cluster.wait_for(
            "deployments",
            NAMESPACE,
            "sluice-webhook",
            lambda found: found["metadata"]["generation"] > 1 and fully_available(found),
            90,
        )

    assert min(item["status"].get("availableReplicas", 0) for item in record.objects) >= 2
