"""A change of a user's own route that is asked of the webhook, which makes it in the write that asks.

What admission changes is nobody's in the eyes of server-side apply: so the spec stays its owner's, and a
client that applies it anew finds in it, in the same write, what the release has made of it. Where the
webhook is not up, the asking stays on the object, and the reconciler makes the change itself.

Knows no script: what is asked for is said in full.
"""

import json
from collections.abc import Mapping
from typing import Any

from rollout import names
from rollout.traffic import custom
from rollout.traffic.custom import Data, Record
from rollout.wire import JsonObject

LARGEST = 240 * 1024
"""Bytes that all our annotations may take, of the 256 KiB that an object may have."""


_ANSWERED = {"metadata": {"annotations": {names.ASKED: None}}}


def asking(manifest: JsonObject, change: JsonObject) -> JsonObject:
    """Build the patch that asks for a change, or makes one that was asked for already or is too large."""
    found = _annotations(manifest)
    stands = names.ASKED in found
    text = json.dumps(change, sort_keys=True, separators=(",", ":"))
    grown = json.dumps({**found, **change["metadata"]["annotations"], names.ASKED: text})
    if len(grown.encode()) > LARGEST or (stands and _timeless(read(manifest)) == _timeless(change)):
        annotations = {**change["metadata"]["annotations"], **({names.ASKED: None} if stands else {})}
        return {**change, "metadata": {**change["metadata"], "annotations": annotations}}
    return {"metadata": {"annotations": {names.ASKED: text}}}


def read(manifest: JsonObject) -> dict[str, Any] | None:
    """Read what is asked for; None when nothing is, or it is not as we write it."""
    try:
        found = json.loads(_annotations(manifest).get(names.ASKED, "null"))
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("metadata"), dict)
    return found if whole and all(isinstance(each, dict) for each in found["metadata"].values()) else None


def made(manifest: JsonObject, change: JsonObject) -> JsonObject:
    """Make a change that was asked for; nothing asks for it any more."""
    return _merged(_merged(manifest, change), _ANSWERED)


def held(before: JsonObject, after: JsonObject) -> JsonObject:
    """Keep an object, as somebody else writes it, saying what it said; their own edits stand.

    What was the original, and is the original as they write it, is what the release has made of it.
    """
    kept = {key: _annotations(before).get(key) for key in custom.MARKS}
    marked = _merged(after, {"metadata": {"annotations": kept}})
    record, original = custom.record_of(before), custom.original_of(before)
    if record is None or original is None or not custom.is_ours(before, record):
        return marked
    maps = _maps_held(before, marked, original, record)
    return _merged(_spec_held(before, marked, original), {"metadata": maps})


def _spec_held(before: JsonObject, after: JsonObject, original: Data) -> JsonObject:
    theirs = custom.merge_patch(after.get("spec"), original.spec) is None
    return {**after, "spec": before.get("spec")} if theirs else after


def _maps_held(before: JsonObject, after: JsonObject, original: Data, record: Record) -> dict[str, Any]:
    """Keep the labels and annotations that the script had a hand in."""
    maps: dict[str, Any] = {}
    for key, touched in record.touched.items():
        was, now = before["metadata"].get(key) or {}, after["metadata"].get(key) or {}
        own = getattr(original, key)
        maps[key] = {name: was.get(name) for name in touched if now.get(name) == own.get(name)}
    return maps


def _timeless(change: JsonObject | None) -> JsonObject:
    """Leave out when it was asked for."""
    return _merged(change or {}, {"metadata": {"annotations": {names.CHANGED_AT: None}}})


def _merged(value: JsonObject, patch: JsonObject) -> JsonObject:
    """Apply a JSON merge patch (RFC 7396)."""
    result = dict(value)
    for key, each in patch.items():
        if each is None:
            result.pop(key, None)
        elif isinstance(each, Mapping):
            inner = result.get(key)
            result[key] = _merged(inner if isinstance(inner, Mapping) else {}, each)
        else:
            result[key] = each
    return result


def _annotations(manifest: JsonObject) -> Mapping[str, str]:
    return manifest["metadata"].get("annotations") or {}
