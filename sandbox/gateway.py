"""The Gateway API in a cluster: a Gateway that every namespace may attach routes to, served by Traefik."""

from collections.abc import Iterator
from pathlib import Path

from sandbox.data_plane import METRICS, environment
from sandbox.names import JsonObject
from sandbox.program import Specification

PARENT: JsonObject = {"name": "public", "namespace": "default"}
"""What an HTTPRoute names in `spec.parentRefs`."""

CLASS = "sandbox"
_GROUP = "gateway.networking.k8s.io/v1"


def manifests(url: str) -> Iterator[tuple[str, str | None, JsonObject]]:
    """Return the class and the Gateway that listens at a URL: resource, namespace and manifest of each."""
    yield (
        "gatewayclasses",
        None,
        {
            "apiVersion": _GROUP,
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
    )
    listener = {
        "name": "web",
        "protocol": "HTTP",
        "port": int(url.rpartition(":")[2]),
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    yield (
        "gateways",
        PARENT["namespace"],
        {
            "apiVersion": _GROUP,
            "kind": "Gateway",
            "metadata": {"name": PARENT["name"]},
            "spec": {"gatewayClassName": CLASS, "listeners": [listener]},
        },
    )


def specification(traefik: Path, kubeconfig: Path, url: str) -> Specification:
    """Return the Gateway's program: the ingress controller's, with another provider."""
    return Specification(
        "gateway",
        [
            str(traefik),
            "--providers.kubernetesgateway=true",
            f"--entrypoints.web.address={url.removeprefix('http://')}",
            "--providers.providersThrottleDuration=500ms",
            *METRICS,
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ],
        environment(kubeconfig),
    )


def is_established(definition: JsonObject) -> bool:
    """Whether a CRD's kind is served."""
    conditions = definition.get("status", {}).get("conditions") or ()
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)
