"""The chart taken out of a real cluster again, in each of the ways there are."""

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.cluster.chart_install import NAMESPACE, PROCESSES, install

from sandbox.cluster import Cluster
from sandbox.control_plane import Options

LABEL = "app.kubernetes.io/name=sluice"
CLUSTER_SCOPED = (
    "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
)
NAMESPACED = "deployments,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets,jobs,pods"


@pytest_asyncio.fixture(loop_scope="session")
async def own_cluster() -> AsyncIterator[Cluster]:
    """Run a cluster beside the session's one, for one test."""
    async with Cluster(Options(ordinal=1)) as running:
        yield running


async def _ours(cluster: Cluster, resources: str, *flags: str) -> set[str]:
    found = await cluster.kubectl("get", resources, "-l", LABEL, "-o", "name", *flags)
    return set(found.stdout.split())


async def _assert_nothing_is_left(cluster: Cluster) -> None:
    for process in PROCESSES:
        await cluster.wait_gone("deployments", NAMESPACE, process, 60)
        await cluster.wait_gone("serviceaccounts", NAMESPACE, process, 60)
    for kind in ("clusterroles", "clusterrolebindings"):
        await cluster.wait_gone(f"rbac.authorization.k8s.io/v1/{kind}", None, "sluice-reconciler", 60)
    assert await _ours(cluster, CLUSTER_SCOPED) == set()
    crds = await cluster.kubectl("get", "crds", "-o", "name")
    assert "customresourcedefinition.apiextensions.k8s.io/rollouts.rollouts.kruise.io" in crds.stdout.split()
    assert (await cluster.kubectl("get", "rollouts", "-A")).returncode == 0


async def test_helm_uninstall_leaves_nothing_but_the_definitions(own_cluster: Cluster) -> None:
    """The hook ends first and succeeds; Rollouts stay readable."""
    await install(own_cluster)

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--wait", "--timeout", "4m")

    await _assert_nothing_is_left(own_cluster)
    await own_cluster.kubectl("wait", "--for=delete", "pods", "-l", LABEL, "-n", NAMESPACE, "--timeout=60s")
    assert await _ours(own_cluster, NAMESPACED, "-n", NAMESPACE) == set()


async def test_uninstalling_without_hooks_leaves_nothing_either(own_cluster: Cluster) -> None:
    """What the reconciler needs is held by finalizers until it has finished."""
    await install(own_cluster)

    await own_cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--no-hooks")

    await _assert_nothing_is_left(own_cluster)


async def test_deleting_the_namespace_takes_the_cluster_wide_objects_along(own_cluster: Cluster) -> None:
    """They belong to the namespace by the time it is gone."""
    await install(own_cluster)

    await own_cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")

    await _assert_nothing_is_left(own_cluster)
