"""Canary Ingresses of classes that users' scripts know: the annotations are a script's.

What a script said for the routing in force, and what it says where there is no traffic for the canary,
stands on the canary Ingress: it can be read back and silenced without the script.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout import names
from rollout.fields import MISSHAPEN
from rollout.traffic import custom, lua
from rollout.traffic.lua import Failure, Script
from rollout.traffic.routing import ALL_STABLE, Routing
from rollout.wire import JsonObject

Annotations = Mapping[str, str]


@dataclass(frozen=True)
class Said:
    """What a script said on a canary Ingress: annotations by key, None for one that must not be there."""

    routing: Routing
    now: Mapping[str, str | None]
    silent: Mapping[str, str | None]
    """The same keys without any traffic for the canary."""

    @property
    def text(self) -> str:
        """As the annotation has it."""
        said = {**custom.routing_json(self.routing), "now": dict(self.now), "silent": dict(self.silent)}
        return json.dumps(said, sort_keys=True, separators=(",", ":"))


def annotations(
    script: Script, copied: Annotations, routing: Routing, canary: str
) -> dict[str, str] | Failure:
    """Have a script say a routing, from the annotations that are copied from the stable Ingress."""
    said = _ask(script, copied, routing, canary)
    silent = _ask(script, copied, ALL_STABLE, canary)
    if isinstance(said, Failure):
        return said
    if isinstance(silent, Failure):
        return silent
    touched = sorted({*_touched(copied, said), *_touched(copied, silent)})
    record = Said(routing, {key: said.get(key) for key in touched}, {key: silent.get(key) for key in touched})
    return {**said, names.ROUTING: record.text}


def read(ingress: JsonObject) -> Routing | None:
    """Read the routing in force; None when somebody else's hand is in it."""
    said, has = said_on(ingress), _annotations(ingress)
    if said is None or any(has.get(key) != value for key, value in said.now.items()):
        return None
    return said.routing


def silencing(ingress: JsonObject) -> dict[str, str | None] | None:
    """Give the annotations that leave the canary without traffic; None when they cannot be read."""
    said = said_on(ingress)
    if said is None:
        return None
    return {**said.silent, names.ROUTING: Said(ALL_STABLE, said.silent, said.silent).text}


def said_on(ingress: JsonObject) -> Said | None:
    """Read what a script said; None when that cannot be read."""
    try:
        found = json.loads(_annotations(ingress)[names.ROUTING])
        routing = custom.routing_of(found)
        return Said(routing, dict(found["now"]), dict(found["silent"]))
    except MISSHAPEN:
        return None


def _ask(script: Script, copied: Annotations, routing: Routing, canary: str) -> dict[str, str] | Failure:
    """Run the script; a routing by matches alone has no weight, which scripts know as -1."""
    weight = "-1" if routing.matches and not routing.weight else str(routing.weight)
    value: dict[str, Any] = {"annotations": dict(copied), "weight": weight, "canaryService": canary}
    if routing.matches:
        value["matches"] = [custom.match_json(each) for each in routing.matches]
    if routing.modifier:
        value["requestHeaderModifier"] = custom.modifier_json(routing.modifier)
    found = lua.run(script, value)
    if isinstance(found, Failure):
        return found
    if not all(isinstance(each, str) for each in found.values()):
        return Failure(f"{script.name}: returns annotations that are not texts by name")
    return dict(found)


def _touched(copied: Annotations, said: Annotations) -> list[str]:
    return [key for key in copied.keys() | said.keys() if copied.get(key) != said.get(key)]


def _annotations(ingress: JsonObject) -> Annotations:
    found: Annotations = ingress["metadata"].get("annotations") or {}
    return found
