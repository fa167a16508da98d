"""Matches of an HTTPRoute: what two of them say together, and which of two wins a request.

Values of the Gateway API, fully defaulted, as an API server gives them back. Precedence is that of the
API's own text (HTTPRouteRule.matches); of regular expressions in paths it says nothing, and so does this.
"""

from collections.abc import Mapping
from typing import Any

from rollout import messages
from rollout.spec import Match
from rollout.wire import JsonObject

_EVERYTHING: Mapping[str, str] = {"type": "PathPrefix", "value": "/"}
_PATH_ORDER = {"Exact": 2, "PathPrefix": 1}
_REGULAR = "RegularExpression"


class Unsayable(Exception):  # noqa: N818  an answer for people, not a failure
    """What is asked for cannot be written on the route; says why, and what to do."""


def matches_of(rule: JsonObject) -> tuple[JsonObject, ...]:
    """Give the matches of a rule; one without any takes every request."""
    return tuple(rule.get("matches") or ({"path": _EVERYTHING},))


def asked(match: Match) -> dict[str, Any]:
    """Write a step's match in the API's words; without a path it takes any."""
    written: dict[str, Any] = {}
    if match.path:
        written["path"] = {"type": match.path.type.value, "value": match.path.value}
    for key, conditions in (("headers", match.headers), ("queryParams", match.query)):
        if conditions:
            written[key] = [{"type": c.type.value, "name": c.name, "value": c.value} for c in conditions]
    return written


def both(own: JsonObject, more: JsonObject) -> dict[str, Any] | None:
    """Join two matches: the requests that satisfy both; None when there is none. Raises Unsayable."""
    path = _narrower(own.get("path") or _EVERYTHING, more.get("path") or _EVERYTHING)
    methods = {each["method"] for each in (own, more) if "method" in each}
    if path is None or len(methods) > 1:
        return None
    joined: dict[str, Any] = {**own, **more, "path": path}
    for key, folded in (("headers", True), ("queryParams", False)):
        conditions = _joined(own.get(key) or (), more.get(key) or (), folded=folded)
        if conditions is None:
            return None
        if conditions:
            joined[key] = conditions
    return joined


def overlaps(own: JsonObject, more: JsonObject) -> bool:
    """Tell whether two matches have a path in common."""
    return _narrower(own.get("path") or _EVERYTHING, more.get("path") or _EVERYTHING) is not None


def covers(outer: JsonObject, inner: JsonObject) -> bool:
    """Tell whether the one match surely takes every request that the other one takes."""
    one, other = outer.get("path") or _EVERYTHING, inner.get("path") or _EVERYTHING
    kinds = {one["type"], other["type"]}
    return (
        (one in (other, _EVERYTHING) or (_REGULAR not in kinds and _covers(one, other)))
        and outer.get("method") in {None, inner.get("method")}
        and all(
            {*_conditions(outer, key)} <= {*_conditions(inner, key)} for key in ("headers", "queryParams")
        )
    )


def precedence(match: JsonObject) -> tuple[int, int, bool, int, int] | None:
    """Rank a match: of two that take a request the greater wins; None where the API does not say."""
    path = match.get("path") or _EVERYTHING
    if path["type"] == _REGULAR:
        return None
    return (
        _PATH_ORDER[path["type"]],
        0 if path["type"] == "Exact" else len(path["value"]),
        "method" in match,
        len(match.get("headers") or ()),
        len(match.get("queryParams") or ()),
    )


def _narrower(own: JsonObject, more: JsonObject) -> JsonObject | None:
    """Give the paths that both take; where that cannot be said, ``more`` replaces ``own``."""
    if own == more or _REGULAR in {own["type"], more["type"]}:
        return own if more == _EVERYTHING else more
    if _covers(own, more):
        return more
    return own if _covers(more, own) else None


def _covers(outer: JsonObject, inner: JsonObject) -> bool:
    """Tell whether a path match takes all that another one takes; prefixes count by segment."""
    if outer["type"] == "Exact":
        return bool(inner["type"] == "Exact" and outer["value"] == inner["value"])
    prefix = _segments(outer["value"])
    return _segments(inner["value"])[: len(prefix)] == prefix


def _segments(path: str) -> list[str]:
    return path.rstrip("/").split("/")


def _joined(own: Any, more: Any, *, folded: bool) -> list[JsonObject] | None:
    """Join conditions by name; None when no value satisfies both."""
    joined = list(own)
    by_name = {_name(each, folded=folded): each for each in own}
    for each in more:
        same = by_name.get(_name(each, folded=folded))
        if same is None:
            joined.append(each)
        elif (same["type"], same["value"]) != (each["type"], each["value"]):
            if _REGULAR in {same["type"], each["type"]}:
                raise Unsayable(messages.matched_twice(each["name"], same["value"], each["value"]))
            return None
    return joined


def _conditions(match: JsonObject, key: str) -> list[tuple[str, str, str]]:
    folded = key == "headers"
    return [(_name(each, folded=folded), each["type"], each["value"]) for each in match.get(key) or ()]


def _name(condition: JsonObject, *, folded: bool) -> str:
    name: str = condition["name"]
    return name.lower() if folded else name
