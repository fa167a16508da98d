"""The Gateway API in a cluster: Gateways for the routes of all namespaces, and Traefik behind one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox import data_plane
from sandbox.names import JsonObject
from sandbox.program import Specification

_GROUP = "gateway.networking.k8s.io/v1"
_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Gateway:
    """A Gateway with one listener, and the class that says whose it is."""

    name: str
    class_name: str
    controller: str

    @property
    def parent(self) -> JsonObject:
        """What an HTTPRoute names in `spec.parentRefs`."""
        return {"name": self.name, "namespace": _NAMESPACE}

    def manifests(self, port: int) -> Iterator[tuple[str, str | None, JsonObject]]:
        """Return the class and the Gateway: resource, namespace and manifest of each."""
        class_of: JsonObject = {"controllerName": self.controller}
        yield "gatewayclasses", None, _object("GatewayClass", self.class_name, class_of)
        listener = {
            "name": "web",
            "protocol": "HTTP",
            "port": port,
            "allowedRoutes": {"namespaces": {"from": "All"}},
        }
        specification: JsonObject = {"gatewayClassName": self.class_name, "listeners": [listener]}
        yield "gateways", _NAMESPACE, _object("Gateway", self.name, specification)


TRAEFIK = Gateway("public", "sandbox", "traefik.io/gateway-controller")
CONTOUR = Gateway("contour", "contour", "projectcontour.io/gateway-controller")


def specification(traefik: Path, kubeconfig: Path, url: str, access_log: Path | None) -> Specification:
    """Return the Gateway's program: the ingress controller's, with another provider."""
    flags = data_plane.flags(url, access_log)
    command = [str(traefik), "--providers.kubernetesgateway=true", *flags]
    return Specification("gateway", command, data_plane.environment(kubeconfig))


def is_established(definition: JsonObject) -> bool:
    """Whether a CRD's kind is served."""
    conditions = definition.get("status", {}).get("conditions") or ()
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)


def _object(kind: str, name: str, specification: JsonObject) -> JsonObject:
    return {"apiVersion": _GROUP, "kind": kind, "metadata": {"name": name}, "spec": specification}
