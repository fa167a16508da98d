"""Admission of a user's own object that a customNetworkRef names: it stays what a release makes of it.

Made here, a change is nobody's for server-side apply, and whoever applies the object anew finds it made
again in the same write. Only the reconciler asks for changes; an object whose Rollout is gone is nobody's
business but its owner's.
"""

from typing import Any

import msgspec

from rollout import names, warnings
from rollout.gate import Metadata
from rollout.traffic import asked, custom
from rollout.wire import JsonObject
from webhook import patch
from webhook.patch import Operation
from webhook.policy import Policy
from webhook.review import ALLOWED, Request, Verdict


class Object(msgspec.Struct):
    """An object of any kind as one side of a write."""

    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Any = None

    @property
    def manifest(self) -> JsonObject:
        """As the core reads it."""
        metadata = self.metadata
        read: JsonObject = {"labels": metadata.labels or {}, "annotations": metadata.annotations or {}}
        return {"metadata": {**read, "generation": metadata.generation}, "spec": self.spec}


def routed_by(request: Request[Object]) -> str | None:
    """Name the Rollout whose release goes through the object."""
    return _annotations(request.old_object).get(names.ROUTED_BY)


def admit(request: Request[Object], policy: Policy, *, in_use: bool) -> Verdict:
    """Judge one request; ``in_use`` tells whether the Rollout that has marked the object exists."""
    old, new = request.old_object, request.object
    if request.operation not in {"CREATE", "UPDATE"} or new is None or request.sub_resource:
        return ALLOWED
    before, after = _annotations(old), _annotations(new)
    if policy.is_reconciler(request.user_info):
        change = asked.read(new.manifest) if after.get(names.ASKED) != before.get(names.ASKED) else None
        return _verdict(new, asked.made(new.manifest, change), ()) if change else ALLOWED
    if new.metadata.deletion_timestamp:
        return ALLOWED
    if not before.get(names.ROUTED_BY):
        return _unmarked(request, new)
    # Other annotations than ours by which a route is marked are another hook's business.
    ours = names.ORIGINAL_SPEC in before
    return _held(request, old, new) if old and in_use and ours else ALLOWED


def _unmarked(request: Request[Object], new: Object) -> Verdict:
    """Take over no marks: most likely those of a manifest that was exported during a release."""
    forged = dict.fromkeys(key for key in custom.MARKS if key in _annotations(new))
    if not forged:
        return ALLOWED
    operations = patch.entries("/metadata/annotations", new.metadata.annotations, forged)
    said = warnings.custom_marks_forged(new.kind, request.name)
    return Verdict(patch=operations, warnings=(said,), outcome="routed")


def _held(request: Request[Object], old: Object, new: Object) -> Verdict:
    before, after = _annotations(old), _annotations(new)
    replaced = any(after.get(key) not in {None, before.get(key)} for key in custom.MARKS)
    said = (warnings.custom_marks_kept(new.kind, request.name),) if replaced else ()
    return _verdict(new, asked.held(old.manifest, new.manifest), said)


def _verdict(new: Object, wanted: JsonObject, said: tuple[str, ...]) -> Verdict:
    """Turn the object into what is wanted, by as little as makes the difference."""
    operations: list[Operation] = []
    metadata = wanted["metadata"]
    for key, present in (("labels", new.metadata.labels), ("annotations", new.metadata.annotations)):
        change = {name: metadata[key].get(name) for name in sorted({*(present or {}), *metadata[key]})}
        operations += patch.entries(f"/metadata/{key}", present, change)
    if custom.merge_patch(new.spec, wanted["spec"]) is not None:
        operations.append(patch.add("/spec", wanted["spec"]))
    return Verdict(patch=operations, warnings=said, outcome="routed" if operations else "unchanged")


def _annotations(value: Object | None) -> dict[str, str]:
    return (value.metadata.annotations if value else None) or {}
