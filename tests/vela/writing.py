"""The bodies that vela-core sends: a new object, or the patch of one that is there."""

import json
from datetime import UTC, datetime
from typing import Any

from tests.vela.merging import merge_patch, strategic_merge_patch

JsonObject = dict[str, Any]

_APPLIED = "app.oam.dev/last-applied-configuration"
_TIME = "app.oam.dev/last-applied-time"
_DEFINED_ELSEWHERE = ("rollouts.kruise.io/", "gateway.networking.k8s.io/", "apiextensions.k8s.io/")
"""Groups that vela's client knows no types of."""


def created(found: JsonObject) -> JsonObject:
    """Give the body by which an object is created."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _marked(_annotated(found, {_TIME: now}))


def patch(wanted: JsonObject, live: JsonObject) -> JsonObject:
    """Give the patch by which an object becomes what is wanted; an empty one needs no request."""
    applied = live["metadata"].get("annotations", {}).get(_APPLIED)
    original = json.loads(applied) if applied else {}
    compute = strategic_merge_patch if is_built_in(wanted) else merge_patch
    return compute(original, _marked(wanted), live)


def is_built_in(found: JsonObject) -> bool:
    """Tell whether Kubernetes defines the kind."""
    return not found["apiVersion"].startswith(_DEFINED_ELSEWHERE)


def render_hash(found: JsonObject) -> str | None:
    """Give the hash of what was rendered, which vela reads off an object before it writes."""
    value: str | None = found["metadata"].get("labels", {}).get("oam.dev/render-hash")
    return value


def _marked(found: JsonObject) -> JsonObject:
    """Note in an object what it was applied as; where the API server keeps little, not."""
    if found["kind"] in {"Secret", "ConfigMap"}:
        return found
    return _annotated(found, {_APPLIED: json.dumps(found, sort_keys=True, separators=(",", ":"))})


def _annotated(found: JsonObject, annotations: dict[str, str]) -> JsonObject:
    metadata = found["metadata"]
    return {
        **found,
        "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}},
    }
