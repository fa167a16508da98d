"""What a TrafficRouting object asks for, and how a Rollout that refers to it takes that as its own.

The routes and the grace period are the TrafficRouting's, weights and matches the steps'. A plan of which
no step routes leaves that to the TrafficRouting: its strategy is then every step's (docs/decisions/013).
Knows neither whether the object exists nor who uses it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rollout.fields import Field
from rollout.parsing import read_header_modifier, read_match, read_routing, refuse_repeated
from rollout.problems import Problem
from rollout.spec import RolloutSpec, SharedRouting, Step
from rollout.wire import JsonObject

_WEIGHT = "strategy.weight must be percentage with 0 <= weight <= 100"
_WHOLE = 100


@dataclass(frozen=True)
class Engaged:
    """The TrafficRouting that a release goes through, as it was when the release began."""

    name: str
    shared: SharedRouting
    spec: JsonObject
    """As its owner wrote it."""


def parse(routing: JsonObject) -> SharedRouting | tuple[Problem, ...]:
    """Read what the object asks for; total, as ``rollout.parsing`` is."""
    problems: list[Problem] = []
    spec = Field("Spec", routing.get("spec"), problems)
    spec.is_object()
    refs, strategy = spec.child("objectRef"), spec.child("strategy")
    strategy.is_object()
    if refs.value in (None, []):
        refs.refuse("TrafficRoutings are not set", "Name the Service and what routes to it")
    read = SharedRouting(
        routings=tuple(read_routing(each) for each in refs.items()),
        weight=_weight(strategy.child("weight")),
        matches=tuple(read_match(each) for each in strategy.child("matches").items()),
        request_header_modifier=read_header_modifier(strategy.child("requestHeaderModifier")),
    )
    refuse_repeated(refs, read.routings)
    return tuple(problems) or read


def _weight(field: Field) -> int | None:
    weight = field.count(_WEIGHT)
    if weight is not None and weight > _WHOLE:
        field.refuse(_WEIGHT)
        return None
    return weight


def leaves_routing(spec: RolloutSpec) -> bool:
    """Tell whether no step says anything of traffic."""
    return not any(step.routes_traffic for step in spec.steps)


def taken(spec: RolloutSpec, shared: SharedRouting) -> RolloutSpec:
    """Give the spec as if it had said itself what the TrafficRouting says."""
    taking = replace(spec, routings=shared.routings)
    if not leaves_routing(spec):
        return taking
    return replace(taking, steps=tuple(_routed(step, shared) for step in spec.steps))


def _routed(step: Step, shared: SharedRouting) -> Step:
    return replace(
        step,
        weight=shared.weight,
        matches=shared.matches,
        request_header_modifier=shared.request_header_modifier,
    )


# --- remembered for the time of a release ----------------------------------------------------------


def remembered(name: str, spec: JsonObject) -> str:
    """Write down which TrafficRouting a release goes through, and what it says."""
    return json.dumps({"name": name, "spec": spec}, separators=(",", ":"), sort_keys=True)


def engaged(annotation: str | None) -> Engaged | None:
    """Read that again; None for nothing, and for what is not of our writing."""
    try:
        found: Any = json.loads(annotation or "")
    except (ValueError, RecursionError):
        return None
    name, spec = (found.get("name"), found.get("spec")) if isinstance(found, Mapping) else (None, None)
    if not isinstance(name, str) or not isinstance(spec, Mapping):
        return None
    shared = parse({"spec": spec})
    return Engaged(name, shared, spec) if isinstance(shared, SharedRouting) else None
