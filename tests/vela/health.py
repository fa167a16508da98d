"""Whether a component is healthy, by the rules of its definitions."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.vela.applications import Component, Trait

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Health:
    """What vela shows of a component."""

    healthy: bool
    message: str


async def judge(component: Component, find: Callable[[JsonObject], Awaitable[JsonObject | None]]) -> Health:
    """Look at a component's objects; the workload's message is shown, or else the first of a trait."""
    workload = await find(component.workload) if component.written else None
    found = {
        trait.type: {key: await find(each) for key, each in trait.objects.items()}
        for trait in component.traits
    }
    traits = [await asyncio.to_thread(_of_trait, each, found[each.type]) for each in component.traits]
    own = _of_workload(component, workload)
    messages = [own.message, *(each.message for each in traits)]
    return Health(own.healthy and all(each.healthy for each in traits), next(filter(None, messages), ""))


def _of_workload(component: Component, live: JsonObject | None) -> Health:
    if not component.written:
        return Health(healthy=True, message="")
    if component.type != "webservice":  # no rule: healthy as soon as it is applied
        return Health(live is not None, "")
    if live is None:
        return Health(healthy=False, message="")
    spec, status = live["spec"], live.get("status", {})
    counts = [status.get(key, 0) for key in ("readyReplicas", "updatedReplicas", "replicas")]
    told = status.get("observedGeneration", 0) >= live["metadata"]["generation"]
    excused = live["metadata"].get("annotations", {}).get("app.oam.dev/disable-health-check") == "true"
    whole = told and set(counts) == {spec["replicas"]}
    return Health(excused or whole, f"Ready:{counts[0]}/{spec['replicas']}")


def _of_trait(trait: Trait, live: dict[str, JsonObject | None]) -> Health:
    if None in live.values():
        return Health(healthy=False, message="")
    if trait.definition is None:
        return Health(healthy=True, message="")
    context = {"outputs": {key: _plain(each) for key, each in live.items()}, "parameter": trait.parameter}
    return Health(trait.definition.is_healthy(context), trait.definition.message(context))


def _plain(found: JsonObject | None) -> JsonObject:
    """Leave out what no rule looks at, so that the same question is asked only once."""
    parts = dict(found or {})
    metadata = {"generation": parts.get("metadata", {}).get("generation")}
    return {"metadata": metadata, "spec": parts.get("spec"), "status": parts.get("status")}
