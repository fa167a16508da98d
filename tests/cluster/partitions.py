"""Partition style: its Rollouts and Deployments as manifests, and how a Deployment is divided."""

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster.application import Application, image_of_pod
from tests.cluster.plans import plan

ONE_MISSING: JsonObject = {"maxSurge": 0, "maxUnavailable": 1}
ONE_MORE: JsonObject = {"maxSurge": 1, "maxUnavailable": 0}
STRATEGY = "sluice.dev/strategy"


def partition(*steps: JsonObject, routed: bool = True) -> JsonObject:
    """Return a Rollout in partition style."""
    rollout = plan(*steps)
    canary = rollout["spec"]["strategy"]["canary"]
    left_out = {"enableExtraWorkloadForCanary", *(() if routed else ("trafficRoutings",))}
    kept = {key: value for key, value in canary.items() if key not in left_out}
    return {**rollout, "spec": {**rollout["spec"], "strategy": {"canary": kept}}}


def limited(limits: JsonObject, replicas: int = 5) -> JsonObject:
    """Return a Deployment with limits of its rolling update."""
    manifest = manifests.deployment(replicas=replicas)
    manifest["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": limits}
    return manifest


def counts(deployment: JsonObject) -> tuple[int, int]:
    """Return what `kubectl get deployment` shows as UP-TO-DATE and AVAILABLE."""
    status = deployment["status"]
    return status.get("updatedReplicas", 0), status.get("availableReplicas", 0)


async def divided(app: Application) -> dict[str, int]:
    """Count the pods of each image that stay."""
    found = [image_of_pod(pod) for pod in await app.pods()]
    return {image: found.count(image) for image in sorted(set(found))}
