"""What the Gateways of an HTTPRoute say about it in its status: refused, not taken in yet, or accepted."""

from collections.abc import Iterator
from typing import Any

from rollout.wire import JsonObject

_UNSAID = "no controller has said anything about it"


def parents(route: JsonObject) -> list[JsonObject]:
    """Give the parents that the route names."""
    return list(route["spec"].get("parentRefs") or ())


def refusal(route: JsonObject) -> tuple[str, str] | None:
    """Name a parent that does not serve the route, and why; None when all do."""
    for parent in parents(route):
        found = list(_accepted(route, parent))
        if not found:
            return _name(parent), _UNSAID
        for each in found:
            if each.get("status") != "True":
                return _name(parent), f"{each.get('reason', '')}: {each.get('message', '')}".strip(": ")
    return None


def lagging(route: JsonObject) -> str | None:
    """Name a parent that has not accepted the route as it is now; None when all have."""
    generation = route["metadata"].get("generation", 0)
    for parent in parents(route):
        found = list(_accepted(route, parent))
        if not found or any(each.get("observedGeneration", 0) < generation for each in found):
            return _name(parent)
    return None


def _accepted(route: JsonObject, parent: JsonObject) -> Iterator[JsonObject]:
    """Find the Accepted conditions of a parent: each controller that serves it writes its own."""
    namespace = route["metadata"].get("namespace")
    for entry in (route.get("status") or {}).get("parents") or ():
        if _identity(entry.get("parentRef") or {}, namespace) == _identity(parent, namespace):
            found = [each for each in entry.get("conditions") or () if each.get("type") == "Accepted"]
            yield from found or ({"status": "Unknown", "reason": _UNSAID},)


def _identity(parent: JsonObject, namespace: str | None) -> tuple[Any, ...]:
    """Name a parent with the defaults that the API gives to what is left out."""
    return (
        parent.get("group", "gateway.networking.k8s.io"),
        parent.get("kind", "Gateway"),
        parent.get("namespace") or namespace,
        parent.get("name"),
        parent.get("sectionName") or None,
        parent.get("port"),
    )


def _name(parent: JsonObject) -> str:
    section = parent.get("sectionName")
    return f"{parent.get('kind', 'Gateway')} {parent['name']}" + (f" ({section})" if section else "")
