"""Istio's kinds without Istio: definitions that take any object, and the objects of the walkthrough."""

from sandbox.manifests import NAME
from sandbox.names import JsonObject
from tests.cluster import custom_kinds

GROUP = "networking.istio.io"
VIRTUAL_SERVICES = f"{GROUP}/v1/virtualservices"
DESTINATION_RULES = f"{GROUP}/v1/destinationrules"
DEFINITIONS = (
    custom_kinds.definition(GROUP, "VirtualService", "virtualservices", "v1", "v1beta1"),
    custom_kinds.definition(GROUP, "DestinationRule", "destinationrules", "v1", "v1beta1"),
)


def virtual_service(name: str = NAME, service: str = NAME) -> JsonObject:
    """Return a VirtualService with one route to the Service, and one to elsewhere."""
    elsewhere = {
        "name": "images",
        "match": [{"uri": {"prefix": "/images"}}],
        "route": [{"destination": {"host": "images"}}],
    }
    route = {"name": "all", "timeout": "5s", "route": [{"destination": {"host": service}}]}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "labels": {"team": "shop"}, "annotations": {"note": "keep"}},
        "spec": {"hosts": [service], "http": [elsewhere, route], "exportTo": []},
    }


def destination_rule(name: str = NAME, host: str = NAME) -> JsonObject:
    """Return a DestinationRule of the Service."""
    policy = {"loadBalancer": {"simple": "LEAST_REQUEST"}}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name},
        "spec": {"host": host, "trafficPolicy": policy},
    }


def ref(kind: str = "VirtualService", name: str = NAME) -> JsonObject:
    """Return a customNetworkRef."""
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "name": name}
