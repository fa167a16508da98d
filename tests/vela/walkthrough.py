"""The Applications of the walkthrough."""

from typing import Any

JsonObject = dict[str, Any]

NAME, PORT = "echoserver", 8080


def application(
    image: str,
    *traits: JsonObject,
    namespace: str = "default",
    host: str = "echoserver.example.com",
    name: str = NAME,
) -> JsonObject:
    """Build the Application as its user wrote it, with these traits beside those of size and way in."""
    properties = {"image": image, "ports": [{"port": PORT}], "env": [{"name": "PORT", "value": f"{PORT}"}]}
    component = {
        "name": name,
        "type": "webservice",
        "properties": properties,
        "traits": [scaler(5), gateway(host), *traits],
    }
    return of(component, namespace=namespace, name=name)


def of(*components: JsonObject, namespace: str, name: str = NAME, **spec: Any) -> JsonObject:
    """Build an Application of components."""
    return {
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"components": list(components), **spec},
    }


def scaler(replicas: int) -> JsonObject:
    """Say how many pods there are."""
    return {"type": "scaler", "properties": {"replicas": replicas}}


def gateway(host: str, **more: Any) -> JsonObject:
    """Let requests in."""
    return {"type": "gateway", "properties": {"domain": host, "http": {"/": PORT}, **more}}


def rollout(*steps: JsonObject, grace: int | None = None, kind: str = "nginx", **more: Any) -> JsonObject:
    """Release in steps; without any, as the walkthrough does."""
    routing: JsonObject = {"type": kind} | ({} if grace is None else {"gracePeriodSeconds": grace})
    canary = {"steps": list(steps) or [{"weight": 20}], "trafficRoutings": [routing]}
    return {"type": "kruise-rollout", "properties": {"canary": canary, **more}}
