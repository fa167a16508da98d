"""The three-way merge by which KubeVela writes: what it applied last, what it applies now, what is there.

What is there and was never applied stays. Kinds that Kubernetes defines are merged strategically: lists
whose elements have a key are merged element by element. Of all other kinds lists are replaced whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any

JsonObject = dict[str, Any]

_KEYS: Mapping[str, Sequence[str]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ports": ("containerPort", "port"),
    "webhooks": ("name",),
    "matchConditions": ("name",),
    "secrets": ("name",),
}
"""The lists that are merged by elements, and by which of their fields."""

_ONE_OF = frozenset({"strategy"})
"""The objects of which only what is applied stays: their fields depend on their type."""


def merge_patch(original: JsonObject, modified: JsonObject, current: JsonObject) -> JsonObject:
    """Compute a JSON merge patch."""
    return _patch(original, modified, current, strategic=False)


def strategic_merge_patch(original: JsonObject, modified: JsonObject, current: JsonObject) -> JsonObject:
    """Compute a strategic merge patch."""
    return _patch(original, modified, current, strategic=True)


def _patch(original: JsonObject, modified: JsonObject, current: JsonObject, *, strategic: bool) -> JsonObject:
    patch: JsonObject = dict.fromkeys(original.keys() - modified.keys())
    for field, wanted in modified.items():
        before, present = original.get(field), current.get(field)
        if wanted == present:
            continue
        if isinstance(wanted, dict) and isinstance(present, dict):
            known = before if isinstance(before, dict) else {}
            if inner := _patch(known, wanted, present, strategic=strategic):
                kept = {"$retainKeys": sorted(wanted)} if strategic and field in _ONE_OF else {}
                patch[field] = {**kept, **inner}
        elif strategic and (key := _key(field, wanted)) and isinstance(present, list):
            patch |= _elements(field, key, before if isinstance(before, list) else [], wanted, present)
        else:
            patch[field] = wanted
    return patch


def _key(field: str, elements: Any) -> str | None:
    """Give the field by which a list's elements are told apart; None where it is replaced whole."""
    if not isinstance(elements, list):
        return None
    return next((key for key in _KEYS.get(field, ()) if all(key in each for each in elements)), None)


def _elements(
    field: str, key: str, original: list[JsonObject], modified: list[JsonObject], current: list[JsonObject]
) -> JsonObject:
    before, present = ({each.get(key): each for each in found} for found in (original, current))
    changes = []
    for each in modified:
        name = each[key]
        if name not in present:
            changes.append(each)
        elif inner := _patch(before.get(name, {}), each, present[name], strategic=True):
            changes.append({**inner, key: name})
    applied = {each[key] for each in modified}
    changes += [{"$patch": "delete", key: name} for name in before if name not in applied]
    if not changes:
        return {}
    foreign = [name for name in present if name not in applied and name not in before]
    order = [{key: name} for name in (*(each[key] for each in modified), *foreign)]
    return {f"$setElementOrder/{field}": order, field: changes}
