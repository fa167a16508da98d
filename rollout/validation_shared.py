"""Which TrafficRoutings are allowed, and what is doubtful about a Rollout that refers to one.

The two come in any order and change on their own, so neither is refused for the other's sake: an installer
that creates the Rollout first must not fail. What does not fit is said at once, and waited for in a release.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from rollout import messages, warnings
from rollout.problems import Problem
from rollout.shared_routing import leaves_routing, parse, taken
from rollout.shared_routing_status import LONGEST_USER, users
from rollout.spec import Amount, RolloutSpec, SharedRouting, Step, Style, WorkloadRef
from rollout.support import unsupported
from rollout.validation import Neighbours, Rules, routed_problems, understood
from rollout.wire import JsonObject

# A release by which a TrafficRouting alone is judged: one step that leaves the routing to it.
_ANY = RolloutSpec(WorkloadRef("apps/v1", "Deployment", "any"), Style.CANARY, (Step(Amount(1)),))


def misfit(spec: RolloutSpec, place: str) -> str:
    """Say why routes taken from elsewhere cannot carry a release; "" where they can."""
    own = replace(spec, traffic_routing_ref=None)
    return unsupported(own) or "; ".join(str(each) for each in routed_problems(own, place))


def validate_routing(old: JsonObject | None, new: JsonObject) -> tuple[Problem, ...]:
    """Judge a write of a TrafficRouting; what was wrong before, unchanged, is no reason to refuse."""
    found = _problems(new)
    before = _problems(old) if old and found else ()
    return tuple(each for each in found if each not in before)


def _problems(routing: JsonObject) -> tuple[Problem, ...]:
    shared = parse(routing)
    if isinstance(shared, tuple):
        return shared
    why = misfit(taken(_ANY, shared), "Spec.ObjectRef")
    return (Problem("Spec", [each.service for each in shared.routings], why),) if why else ()


def routing_doubts(old: JsonObject | None, new: JsonObject) -> Iterator[str]:
    """Tell what a change of a TrafficRouting does not do at once."""
    used = users(_metadata(old).get("finalizers") or ()) if old else ()
    if old and used and (old.get("spec") or {}).get("objectRef") != (new.get("spec") or {}).get("objectRef"):
        yield messages.traffic_routing_changed(str(_metadata(new).get("name", "")))


def doubts(obj: JsonObject, neighbours: Neighbours) -> Iterator[str]:
    """Tell what a release of this Rollout would wait for, as its TrafficRouting is now."""
    spec, known = understood(obj, Rules()), neighbours.traffic_routings
    name = None if isinstance(spec, tuple) else spec.traffic_routing_ref
    if isinstance(spec, tuple) or name is None or known is None:
        return
    rollout = str(_metadata(obj).get("name", ""))
    if len(rollout) > LONGEST_USER:
        yield messages.rollout_name_too_long(rollout, LONGEST_USER)
    routing = known.get(name)
    if routing is None:
        yield messages.traffic_routing_missing(name)
        return
    shared = parse(routing)
    if isinstance(shared, tuple):
        yield messages.traffic_routing_unreadable(name, shared)
        return
    if why := misfit(taken(spec, shared), f"TrafficRouting {name}"):
        yield messages.traffic_routing_unfit(name, why)
    if not leaves_routing(spec) and _says_something(shared):
        yield warnings.strategy_unused(name)


def _says_something(shared: SharedRouting) -> bool:
    return bool(shared.weight or shared.matches)


def _metadata(obj: JsonObject) -> Any:
    return obj.get("metadata") or {}
