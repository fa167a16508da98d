"""What we write on an HTTPRoute about itself: whose it is for now, what it says, and what it was before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout import names
from rollout.fields import MISSHAPEN
from rollout.spec import HeaderMatch, HeaderModifier, Match, MatchType, PathMatch, PathMatchType, QueryMatch
from rollout.traffic.gateway.backends import Rules, readable
from rollout.traffic.gateway.matches import asked
from rollout.traffic.routing import Routing
from rollout.wire import JsonObject

KEYS = (
    names.ROUTED_BY,
    names.RELEASE,
    names.ROUTING,
    names.ORIGINAL,
    names.CHANGED_AT,
    names.ASKED,
)
"""Every annotation of ours."""

LARGEST = 200_000
"""Bytes that our annotations may take: all of an object's may take 256 KiB (ValidateAnnotations)."""


@dataclass(frozen=True)
class Marks:
    """Our annotations on a route, without the time of change, which says nothing about the rules."""

    rollout: str
    release: str
    services: tuple[str, ...]
    """The stable Services of which requests are sent elsewhere, in order."""
    routing: Routing
    before: Routing
    """What the rules say until they say ``routing``: marks come first, the rules follow (``route``)."""
    original: Rules

    def annotations(self) -> dict[str, str]:
        """Write them."""
        said = {
            "services": list(self.services),
            "routing": _written(self.routing),
            "before": _written(self.before),
        }
        return {
            names.ROUTED_BY: self.rollout,
            names.RELEASE: self.release,
            names.ROUTING: _compact(said),
            names.ORIGINAL: _compact(list(self.original)),
        }


def read(route: JsonObject) -> Marks | None:
    """Read our annotations; None when there are none, or when they are not as we wrote them."""
    found: Mapping[str, str] = route["metadata"].get("annotations") or {}
    try:
        said, original = json.loads(found[names.ROUTING]), json.loads(found[names.ORIGINAL])
        marks = Marks(
            found[names.ROUTED_BY],
            found[names.RELEASE],
            tuple(map(str, said["services"])),
            _read(said["routing"]),
            _read(said["before"]),
            original,
        )
    except MISSHAPEN:
        return None
    return marks if readable(original) and marks.annotations().items() <= found.items() else None


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


# --- a routing in JSON, in the words of the Rollout's own API ----------------------------------------


def _written(routing: Routing) -> dict[str, Any]:
    written: dict[str, Any] = {"weight": routing.weight}
    if routing.matches:
        written["matches"] = [asked(each) for each in routing.matches]
    if routing.modifier:
        written["requestHeaderModifier"] = _modifier(routing.modifier)
    return written


def _modifier(modifier: HeaderModifier) -> dict[str, Any]:
    pairs = {"set": modifier.set, "add": modifier.add}
    return {
        **{key: [{"name": n, "value": v} for n, v in found] for key, found in pairs.items()},
        "remove": list(modifier.remove),
    }


def _read(said: Mapping[str, Any]) -> Routing:
    matches = tuple(_read_match(each) for each in said.get("matches", ()))
    modifier = said.get("requestHeaderModifier")
    return Routing(int(said["weight"]), matches, _read_modifier(modifier) if modifier else None)


def _read_match(value: Mapping[str, Any]) -> Match:
    path = value.get("path")
    return Match(
        PathMatch(path["value"], PathMatchType(path["type"])) if path else None,
        tuple(HeaderMatch(c["name"], c["value"], MatchType(c["type"])) for c in value.get("headers", ())),
        tuple(QueryMatch(c["name"], c["value"], MatchType(c["type"])) for c in value.get("queryParams", ())),
    )


def _read_modifier(value: Mapping[str, Any]) -> HeaderModifier:
    set_to, added = (tuple((each["name"], each["value"]) for each in value[key]) for key in ("set", "add"))
    return HeaderModifier(set_to, added, tuple(value["remove"]))
