"""Filters of an HTTPRoute's rules and backends: the step's header modifier among the user's own."""

from typing import Any

from rollout import messages
from rollout.spec import HeaderModifier
from rollout.traffic.gateway.backends import refs_of
from rollout.traffic.gateway.matches import Unsayable
from rollout.wire import JsonObject

_MOST_HEADERS = 16  # of each kind in one filter: a limit of the API


def modified(holder: JsonObject, modifier: HeaderModifier | None) -> JsonObject:
    """Add a header modifier to a rule or backendRef; of two for one name the step's counts."""
    if modifier is None:
        return holder
    filters = list(holder.get("filters") or ())
    own = next((each for each in filters if each["type"] == "RequestHeaderModifier"), None)
    merged = _merged((own or {}).get("requestHeaderModifier") or {}, modifier)
    for what, entries in merged.items():
        if len(entries) > _MOST_HEADERS:
            raise Unsayable(messages.too_many_headers(what, len(entries), _MOST_HEADERS))
    if not merged:
        return holder
    added = {"type": "RequestHeaderModifier", "requestHeaderModifier": merged}
    if own is None:
        return {**holder, "filters": [*filters, added]}
    return {**holder, "filters": [added if each is own else each for each in filters]}


def _merged(own: JsonObject, modifier: HeaderModifier) -> dict[str, Any]:
    touched = {name.lower() for name, _ in (*modifier.set, *modifier.add)} | {
        n.lower() for n in modifier.remove
    }
    merged: dict[str, Any] = {}
    for key, pairs in (("set", modifier.set), ("add", modifier.add)):
        kept = [each for each in own.get(key) or () if each["name"].lower() not in touched]
        merged[key] = [*kept, *({"name": name, "value": value} for name, value in pairs)]
    kept = [name for name in own.get("remove") or () if name.lower() not in touched]
    merged["remove"] = [*kept, *modifier.remove]
    return {key: value for key, value in merged.items() if value}


def replaces_prefix(rule: JsonObject) -> bool:
    """Tell whether a rule rewrites the very prefix that it matches."""
    filters = [
        *(rule.get("filters") or ()),
        *(each for ref in refs_of(rule) for each in ref.get("filters") or ()),
    ]
    paths = ((each.get("urlRewrite") or {}).get("path") or {} for each in filters)
    return any("replacePrefixMatch" in path for path in paths)
