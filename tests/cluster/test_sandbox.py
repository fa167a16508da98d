"""The sandbox behaves like a real cluster in everything the product relies on."""

from sandbox import manifests
from sandbox.cluster import Cluster


async def test_five_replicas_become_available(cluster: Cluster, namespace: str) -> None:
    """A Deployment of demo pods becomes available within seconds and fills its EndpointSlice."""
    await cluster.create("deployments", namespace, manifests.deployment())

    found = await cluster.wait_for("deployments", namespace, "echoserver", manifests.available(5), seconds=20)

    assert found["status"]["updatedReplicas"] == 5
