"""The walkthrough's objects, as values: a Deployment, what routes to it, and its Rollout."""

from collections.abc import Callable

from sandbox.names import DRAINS_VARIABLE, JsonObject

NAME = "echoserver"
HOST = "echoserver.example.com"
STABLE_IMAGE = "cilium/echoserver:1.10.2"
CANARY_IMAGE = "cilium/echoserver:1.10.3"
PORT = 8080


def deployment(
    name: str = NAME,
    image: str = STABLE_IMAGE,
    replicas: int = 5,
    *,
    pre_stop_seconds: int = 0,
    drains: bool = False,
) -> JsonObject:
    """Return a Deployment of the echo server; a preStop sleep lets data planes notice its end."""
    container: JsonObject = {
        "name": name,
        "image": image,
        "env": [{"name": "PORT", "value": str(PORT)}],
        "ports": [{"containerPort": PORT, "name": "http"}],
    }
    if pre_stop_seconds:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": pre_stop_seconds}}}
    if drains:
        container["env"].append({"name": DRAINS_VARIABLE, "value": "true"})
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service(name: str = NAME, selector: str = NAME) -> JsonObject:
    """Return a Service for the pods of a Deployment."""
    ports = [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": selector}, "ports": ports},
    }


def ingress(
    name: str = NAME,
    service_name: str = NAME,
    host: str = HOST,
    *,
    canary_weight: int | None = None,
    retries: bool = True,
) -> JsonObject:
    """Return an Ingress with a class annotation; with a weight, the canary's Ingress beside it.

    Without retries, a request that meets an ended pod is lost: for tests that count.
    """
    annotations = {"kubernetes.io/ingress.class": "nginx"}
    if not retries:
        annotations["nginx.ingress.kubernetes.io/proxy-next-upstream"] = "off"
    if canary_weight is not None:
        annotations["nginx.ingress.kubernetes.io/canary"] = "true"
        annotations["nginx.ingress.kubernetes.io/canary-weight"] = str(canary_weight)
    backend = {"service": {"name": service_name, "port": {"number": PORT}}}
    path = {"path": "/", "pathType": "ImplementationSpecific", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"rules": [{"host": host, "http": {"paths": [path]}}]},
    }


def rollout(name: str = NAME, *, weight: int = 20, grace_period_seconds: int = 5) -> JsonObject:
    """Return the walkthrough's Rollout in v1beta1: one step with traffic, then a person's approval."""
    share = f"{weight}%"
    routing = {"service": name, "ingress": {"name": name}, "gracePeriodSeconds": grace_period_seconds}
    canary = {
        "enableExtraWorkloadForCanary": True,
        "steps": [{"traffic": share, "replicas": share, "pause": {}}],
        "trafficRoutings": [routing],
    }
    return {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "strategy": {"canary": canary},
        },
    }


def rollout_v1alpha1(name: str = NAME, *, weight: int = 20, grace_period_seconds: int = 5) -> JsonObject:
    """Return the same Rollout as KubeVela's trait writes it, in v1alpha1."""
    routing = {
        "service": name,
        "type": "nginx",
        "ingress": {"name": name},
        "gracePeriodSeconds": grace_period_seconds,
    }
    canary = {"steps": [{"weight": weight, "pause": {}}], "trafficRoutings": [routing]}
    workload = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "rollouts.kruise.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {"objectRef": {"workloadRef": workload}, "strategy": {"canary": canary}},
    }


def with_image(manifest: JsonObject, image: str) -> JsonObject:
    """Return a Deployment with another image in its first container."""
    template = manifest["spec"]["template"]
    first, *others = template["spec"]["containers"]
    containers = [{**first, "image": image}, *others]
    fresh = {**template, "spec": {**template["spec"], "containers": containers}}
    return {**manifest, "spec": {**manifest["spec"], "template": fresh}}


def available(replicas: int) -> Callable[[JsonObject], bool]:
    """Return whether a Deployment has been observed, rolled out and is available."""

    def decide(found: JsonObject) -> bool:
        status = found["status"]
        counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
        return (
            status.get("observedGeneration") == found["metadata"]["generation"] and counts == [replicas] * 3
        )

    return decide
