"""Partition style: its Rollouts and Deployments as manifests, and how a Deployment is divided."""

from collections import Counter
from collections.abc import Iterable

from sandbox import manifests
from sandbox.names import READY_AFTER, JsonObject
from tests.cluster.application import NAME, V1, V2, V3, Application, image_of, image_of_pod
from tests.cluster.plans import plan

ONE_MISSING: JsonObject = {"maxSurge": 0, "maxUnavailable": 1}
ONE_MORE: JsonObject = {"maxSurge": 1, "maxUnavailable": 0}
STRATEGY = "sluice.dev/strategy"

_IMAGES = {"v1": V1, "v2": V2, "v3": V3}


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


async def release_slowly(app: Application, image: str, seconds: float) -> None:
    """Change the image to one whose pods take so long to become ready."""
    slow = {"metadata": {"annotations": {READY_AFTER: str(seconds)}}}
    containers = {"spec": {"containers": [{"name": NAME, "image": image}]}}
    await app.change({"spec": {"template": {**slow, **containers}}})


async def take_back(app: Application, image: str) -> None:
    """Change the image to that of the stable template, whose pods are as quick as any."""
    fast = {"metadata": {"annotations": {READY_AFTER: None}}}
    containers = {"spec": {"containers": [{"name": NAME, "image": image}]}}
    await app.change({"spec": {"template": {**fast, **containers}}})


async def has(app: Application, **pods: int) -> None:
    """Wait until the Deployment's own columns and the pods that stay show these versions: v1=4, v2=1.

    A step waits as soon as its pods serve; the ones that they replace have their last moments then.
    """
    wanted = Counter({_IMAGES[version]: count for version, count in pods.items() if count})
    await app.wait_for_all(
        "pods",
        lambda found: Counter(image_of_pod(pod) for pod in found if stays(pod)) == wanted,
    )
    new = image_of(await app.get("deployments"))
    await app.wait("deployments", lambda found: counts(found) == (wanted[new], wanted.total()))


def divided(pods: Iterable[JsonObject]) -> dict[str, int]:
    """Count the pods of each image that stay."""
    return dict(Counter(image_of_pod(pod) for pod in pods if stays(pod)))


def stays(pod: JsonObject) -> bool:
    """Whether a pod is not on its way out."""
    return "deletionTimestamp" not in pod["metadata"]
