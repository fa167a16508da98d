"""When a route was changed, as its annotation says: the moment of the write, not that of the plan.

From it the data plane's grace is counted. Between a plan and its writes time passes: the status is written
before, other writes come first, and a process or an API server may be held up for seconds.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from rollout import names
from rollout.actions import Create, Patch
from rollout.status import format_instant
from rollout.wire import JsonObject

_Change = TypeVar("_Change", bound=Create | Patch)


def dated(change: _Change, now: datetime) -> _Change:
    """Return a write that says of the route which it changes, if it does, that this was now."""
    if isinstance(change, Create):
        return replace(change, manifest=_dated(change.manifest, now))
    return replace(change, merge=_dated(change.merge, now))


def is_dated(change: Create | Patch) -> bool:
    """Tell whether a write changes a route, and says when."""
    return dated(change, datetime.min.replace(tzinfo=UTC)) != change


def changed_at(route: JsonObject) -> str | None:
    """Return when a route was changed, as it says itself."""
    return (route["metadata"].get("annotations") or {}).get(names.CHANGED_AT)


def redated(written: JsonObject, now: datetime) -> JsonObject:
    """Build the merge patch that dates the change of a route anew, unless it was changed since."""
    guards = {key: written["metadata"][key] for key in ("uid", "resourceVersion")}
    return {"metadata": {**guards, "annotations": {names.CHANGED_AT: format_instant(now)}}}


def _dated(value: JsonObject, now: datetime) -> JsonObject:
    metadata = value.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    fresh: dict[str, str] = {}
    if annotations.get(names.CHANGED_AT):
        fresh[names.CHANGED_AT] = format_instant(now)
    if asked := annotations.get(names.ASKED):  # the webhook makes this change, in the same write
        fresh[names.ASKED] = json.dumps(_dated(json.loads(asked), now), sort_keys=True, separators=(",", ":"))
    return {**value, "metadata": {**metadata, "annotations": {**annotations, **fresh}}} if fresh else value
