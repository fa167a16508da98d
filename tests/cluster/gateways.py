"""HTTPRoutes of the walkthrough, attached to the sandbox's Gateway."""

from typing import Any

from sandbox import gateway
from sandbox.manifests import NAME, PORT
from sandbox.names import JsonObject

RESOURCE = "httproutes"
DEFINITION = "httproutes.gateway.networking.k8s.io"


def backend(service: str = NAME, weight: int | None = None, **more: Any) -> JsonObject:
    """Return a backendRef."""
    share = {} if weight is None else {"weight": weight}
    return {"name": service, "port": PORT, **share, **more}


def rule(*backends: JsonObject, **more: Any) -> JsonObject:
    """Return a rule, for every path unless told otherwise."""
    return {"backendRefs": list(backends) or [backend()], **more}


def http_route(host: str, *rules: JsonObject, name: str = NAME, parent: str = "") -> JsonObject:
    """Return an HTTPRoute as a user writes it."""
    parents = [{**gateway.TRAEFIK.parent, "name": parent or gateway.TRAEFIK.name}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": parents, "hostnames": [host], "rules": list(rules) or [rule()]},
    }


def by_gateway(rollout: JsonObject, route: str = NAME) -> JsonObject:
    """Return a Rollout that routes by an HTTPRoute in place of an Ingress."""
    canary = rollout["spec"]["strategy"]["canary"]
    grace = canary["trafficRoutings"][0]["gracePeriodSeconds"]
    routing = {"service": NAME, "gateway": {"httpRouteName": route}, "gracePeriodSeconds": grace}
    strategy = {**rollout["spec"]["strategy"], "canary": {**canary, "trafficRoutings": [routing]}}
    return {**rollout, "spec": {**rollout["spec"], "strategy": strategy}}


def accepted(found: JsonObject) -> bool:
    """Whether the Gateway has accepted an HTTPRoute as it is now."""
    conditions = [
        each
        for parent in found.get("status", {}).get("parents", ())
        for each in parent["conditions"]
        if each["type"] == "Accepted"
    ]
    generation = found["metadata"]["generation"]
    return bool(conditions) and all(
        (each["status"], each["observedGeneration"]) == ("True", generation) for each in conditions
    )
