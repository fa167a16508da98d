"""The product's own webhook as the API server meets it: what it changes in a write on its way in.

A second, small statement of what ``rollout.gate`` decides, so that the model does not lean on
the code whose surroundings it plays.
"""

import json
from dataclasses import replace

from rollout import names
from rollout.revision import release_id, template_digest
from rollout.traffic import custom
from rollout.traffic.gateway import marks, route
from rollout.traffic.gateway.backends import Backends, Rules
from rollout.traffic.gateway.marks import Marks
from rollout.wire import JsonObject
from tests.unit.rollout.model.controllers import bare
from tests.unit.rollout.model.store import NAMESPACE, merge_patch


def admit_deployment(old: JsonObject, new: JsonObject, rollout: JsonObject | None) -> JsonObject:
    """Close the gate on a change of template, hold it once closed; ``rollout`` refers to the Deployment."""
    held = (old["metadata"].get("annotations") or {}).get(names.IN_PROGRESSING)
    if rollout is None or "deletionTimestamp" in new["metadata"]:
        return new
    changes = bare(old["spec"]["template"]) != bare(new["spec"]["template"])
    if held:
        new = _narrow(old, new)
        stamped = (old["metadata"].get("annotations") or {}).get(names.RELEASE)
        return _closed(new, held, _release(old, new, rollout) if changes else stamped)
    exempt = (
        "deletionTimestamp" in rollout["metadata"]
        or rollout["spec"].get("disabled")
        or new["spec"].get("replicas", 1) == 0
        or (new["spec"].get("strategy") or {}).get("type") == "Recreate"
    )
    if (changes or _ids(new) - _ids(old)) and not exempt:
        holder = json.dumps({"rolloutName": rollout["metadata"]["name"]}, separators=(",", ":"))
        return _closed(new, holder, _release(old, new, rollout))
    return new


def follow_strategy(old: JsonObject, new: JsonObject) -> JsonObject:
    """Give the Deployment the strategy that the reconciler's annotation asks for."""
    before, after = ((each["metadata"].get("annotations") or {}).get(names.STRATEGY) for each in (old, new))
    if after is None or after == before:
        return new
    said = json.loads(after)
    if "held" in said:
        return {**new, "spec": {**new["spec"], "strategy": said["held"]}}
    given = {**new, "spec": {**new["spec"], "strategy": said["declared"]}}
    return _merged(given, {"metadata": {"annotations": {names.STRATEGY: None}}})


def _narrow(old: JsonObject, new: JsonObject) -> JsonObject:
    """Keep the narrower strategy, and what somebody wrote instead as the one to give back."""
    kept = (old["metadata"].get("annotations") or {}).get(names.STRATEGY)
    if kept is None:
        return new
    said, wrote = json.loads(kept), new["spec"].get("strategy")
    if wrote != old["spec"].get("strategy"):
        said = {**said, "declared": _meant(old["spec"]["strategy"], said["declared"], wrote)}
    annotations = {names.STRATEGY: json.dumps(said, separators=(",", ":"), sort_keys=True)}
    held = {**new, "spec": {**new["spec"], "strategy": old["spec"]["strategy"]}}
    return _merged(held, {"metadata": {"annotations": annotations}})


def _meant(held: JsonObject, declared: JsonObject, wrote: JsonObject) -> JsonObject:
    """Take from what somebody wrote over the held strategy what differs from it."""
    meant = dict(wrote["rollingUpdate"])
    for key, value in wrote["rollingUpdate"].items():
        if value == held["rollingUpdate"].get(key) and key in (declared.get("rollingUpdate") or {}):
            meant[key] = declared["rollingUpdate"][key]
    return {**wrote, "rollingUpdate": meant}


def _ids(value: JsonObject) -> set[str]:
    metadata = value["metadata"]
    found = ((metadata.get(field) or {}).get(names.ROLLOUT_ID) for field in ("labels", "annotations"))
    return {each for each in found if each}


def admit_service(old: JsonObject, new: JsonObject, rollout: JsonObject | None) -> JsonObject:
    """Set the selector that the pin annotation asks for; take it away with the annotation.

    A first pin needs a Rollout that begins releases.
    """
    held, pin = ((each["metadata"].get("annotations") or {}).get(names.PIN) for each in (old, new))
    ended = rollout is None or "deletionTimestamp" in rollout["metadata"] or rollout["spec"].get("disabled")
    if held is None and ended:
        return new
    return _merged(new, {"spec": {"selector": {names.POD_TEMPLATE_HASH: pin}}})


def admit_http_route(old: JsonObject, new: JsonObject, *, reconciler: bool) -> JsonObject:
    """Let rules follow marks, and keep both where others write."""
    before, after = (each["metadata"].get("annotations") or {} for each in (old, new))
    if reconciler:
        moved = any(before.get(key) != after.get(key) for key in (names.ROUTING, names.ORIGINAL))
        found = marks.read(new) if moved else None
        return _ruled(new, route.rendered(found, _between(found), found.routing)) if found else new
    if names.ORIGINAL not in before:
        return new
    kept = {key: before.get(key) for key in marks.KEYS}
    held = _merged(new, {"metadata": {"annotations": kept}})
    found = marks.read(old)
    if found is None or old["spec"]["rules"] == new["spec"]["rules"]:
        return held
    followed = route.followed(found, _between(found), old["spec"]["rules"], new["spec"]["rules"])
    if followed is None:
        return held
    said = replace(found, original=list(followed[1])).annotations()
    return _ruled(_merged(held, {"metadata": {"annotations": said}}), followed[0])


def admit_split(old: JsonObject, new: JsonObject, *, reconciler: bool) -> JsonObject:
    """Make the change that is asked for; give others back what stood where they write the original."""
    before, after = (each["metadata"].get("annotations") or {} for each in (old, new))
    if reconciler:
        wanted = after.get(names.ASKED)
        if wanted is None or wanted == before.get(names.ASKED):
            return new
        return _merged(_merged(new, json.loads(wanted)), {"metadata": {"annotations": {names.ASKED: None}}})
    if names.ORIGINAL_SPEC not in before:
        return new
    held = _merged(new, {"metadata": {"annotations": {key: before.get(key) for key in custom.MARKS}}})
    written = custom.record_of(old)
    original = json.loads(before[names.ORIGINAL_SPEC])["spec"]
    ours = written is not None and custom.is_ours(old, written)
    return {**held, "spec": old["spec"]} if ours and new["spec"] == original else held


def _between(found: Marks) -> Backends:
    return route.backends(NAMESPACE, found.services)


def _ruled(value: JsonObject, rules: Rules) -> JsonObject:
    return {**value, "spec": {**value["spec"], "rules": list(rules)}} if rules else value


def _release(old: JsonObject, new: JsonObject, rollout: JsonObject) -> str:
    digest = template_digest(new["spec"]["template"])
    return release_id(
        rollout["metadata"]["uid"], old["metadata"]["uid"], digest, old["metadata"]["generation"]
    )


def _closed(new: JsonObject, holder: str, release: str | None) -> JsonObject:
    annotations = {names.IN_PROGRESSING: holder, names.RELEASE: release}
    labels = {names.WORKLOAD_TYPE: "deployment"}
    return _merged(
        new, {"metadata": {"annotations": annotations, "labels": labels}, "spec": {"paused": True}}
    )


def _merged(value: JsonObject, merge: JsonObject) -> JsonObject:
    merged: JsonObject = merge_patch(value, merge)
    return merged
