"""Install the chart into a cluster of a test's own: a cluster holds one install."""

from pathlib import Path

from sandbox.cluster import Cluster
from sandbox.names import JsonObject

CHART = str(Path(__file__).parents[2] / "charts" / "sluice")
NAMESPACE = "kruise-rollout"
PROCESSES = ("sluice-webhook", "sluice-reconciler")

_AVAILABLE_SECONDS = 60
"""Two processes start twice each; six seconds on two idle cores."""


def fully_available(deployment: JsonObject) -> bool:
    """Tell whether every replica is available in its present version, and no other is left."""
    status = deployment.get("status", {})
    return (
        status.get("observedGeneration") == deployment["metadata"]["generation"]
        and status.get("updatedReplicas") == status.get("availableReplicas") == deployment["spec"]["replicas"]
        and not status.get("unavailableReplicas")
    )


async def install(cluster: Cluster, *flags: str) -> None:
    """Install, and wait until both processes are available."""
    await cluster.helm("install", "sluice", CHART, "-n", NAMESPACE, "--create-namespace", *flags)
    for process in PROCESSES:
        await available(cluster, process)


async def available(cluster: Cluster, process: str) -> None:
    """Wait until a process is available, and the webhook found by its Service too.

    The API server calls it by the EndpointSlices, which come a moment after the Deployment's status.
    """
    found = await cluster.wait_for("deployments", NAMESPACE, process, fully_available, _AVAILABLE_SECONDS)
    if process != "sluice-webhook":
        return
    async with cluster.record("endpointslices", NAMESPACE) as slices:
        await slices.wait_for(
            lambda event: _ready(event.object, process) >= found["spec"]["replicas"], _AVAILABLE_SECONDS
        )


def _ready(endpoint_slice: JsonObject, service: str) -> int:
    """Count the ready endpoints of a Service's slice; none in another's."""
    if endpoint_slice["metadata"]["labels"].get("kubernetes.io/service-name") != service:
        return 0
    return sum(bool(each["conditions"].get("ready")) for each in endpoint_slice.get("endpoints") or ())
