"""Which manager owns what of an object, as server-side apply sees it (``metadata.managedFields``)."""

from kube.wire import JsonObject


def owns_spec(found: JsonObject, manager: str) -> bool:
    """Tell whether a later apply of any such field by somebody else would conflict with a manager."""
    return any("f:spec" in each.get("fieldsV1", {}) for each in _entries(found) if _is_of(each, manager))


def disowned(found: JsonObject, manager: str) -> JsonObject:
    """Build the merge patch by which a manager owns nothing of an object, bound to it as it was found."""
    metadata = found["metadata"]
    others = [each for each in _entries(found) if not _is_of(each, manager)]
    guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    # An empty list would have the API server take back what stands there.
    return {"metadata": {**guard, "managedFields": others or [{}]}}


def _entries(found: JsonObject) -> list[JsonObject]:
    return list(found["metadata"].get("managedFields") or ())


def _is_of(entry: JsonObject, manager: str) -> bool:
    # Somebody may apply under the same name: what they have applied is theirs.
    mine = (entry.get("manager"), entry.get("operation")) == (manager, "Update")
    return mine and "subresource" not in entry
