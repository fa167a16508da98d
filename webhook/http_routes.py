"""Admission of an HTTPRoute that a release goes through: its rules follow the reconciler's marks.

Set here, the rules stay their owner's for server-side apply, and whoever applies them anew finds the canary's
share in them again in the same write; at the end they are given back in the write that asks for it. Only the
reconciler writes marks; a route whose Rollout is gone is nobody's business but its owner's.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from rollout import names, warnings
from rollout.gate import Metadata
from rollout.traffic import asked
from rollout.traffic.gateway import marks, route
from rollout.traffic.gateway.backends import Rules
from rollout.traffic.gateway.marks import Marks
from webhook import patch
from webhook.patch import Operation
from webhook.policy import Policy
from webhook.review import ALLOWED, Request, Verdict

GROUP, PLURAL = "gateway.networking.k8s.io", "httproutes"


class Spec(msgspec.Struct):
    """The part of an HTTPRoute's spec that decides something here."""

    rules: list[dict[str, Any]] | None = None


class HTTPRoute(msgspec.Struct):
    """An HTTPRoute as one side of a write."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)


def routed_by(request: Request[HTTPRoute]) -> str | None:
    """Name the Rollout whose release goes through the route."""
    return _annotations(request.old_object).get(names.ROUTED_BY)


def admit(request: Request[HTTPRoute], policy: Policy, *, in_use: bool) -> Verdict:
    """Judge one request; ``in_use`` tells whether the Rollout that has marked the route exists."""
    old, new = request.old_object, request.object
    if request.operation not in {"CREATE", "UPDATE"} or new is None or request.sub_resource:
        return ALLOWED
    before, after = _annotations(old), _annotations(new)
    if policy.is_reconciler(request.user_info):
        if after.get(names.ASKED) != before.get(names.ASKED):
            return _given_back(new)
        moved = any(before.get(key) != after.get(key) for key in (names.ROUTING, names.ORIGINAL))
        return _verdict(new, {}, _following(new) if moved else None, ())
    if new.metadata.deletion_timestamp:
        return ALLOWED
    if not before.get(names.ROUTED_BY):
        forged = {key: None for key in marks.KEYS if key in after}
        said = (warnings.route_marks_forged(request.name),) if forged else ()
        return _verdict(new, forged, _restored(request, new), said)
    ours = names.ORIGINAL in before  # a script's marks, of a customNetworkRef, are another thing
    return _held(request, old, new) if old and in_use and ours else ALLOWED


def _given_back(new: HTTPRoute) -> Verdict:
    """Give the route back in the write that asks for it: the rules are its owner's, and nothing is ours.

    What a script asks for, who may want anything of the object, is another hook's business.
    """
    present = _annotations(new)
    manifest = {"metadata": {"annotations": present}, "spec": {"rules": _rules(new)}}
    change = asked.read(manifest)
    if change is None or names.ORIGINAL not in present:
        return ALLOWED
    made = asked.made(manifest, change)
    annotations = made["metadata"]["annotations"]
    wanted = {key: annotations.get(key) for key in sorted({*present, *annotations})}
    return _verdict(new, wanted, made["spec"]["rules"], ())


def _held(request: Request[HTTPRoute], old: HTTPRoute, new: HTTPRoute) -> Verdict:
    """Keep the marks, and let the rules go on saying what they said."""
    before, after = _annotations(old), _annotations(new)
    if _is_answered(before, after, new):
        return ALLOWED
    carried: dict[str, str | None] = {key: before.get(key) for key in marks.KEYS}
    replaced = any(after.get(key) not in {None, before.get(key)} for key in marks.KEYS)
    said = (warnings.route_marks_kept(request.name),) if replaced else ()
    found = _marks(old)
    if found is None or _rules(old) == _rules(new):
        return _verdict(new, carried, None, said)
    between = route.backends(request.namespace, found.services)
    kept = route.followed(found, between, _rules(old), _rules(new))
    if kept is None:
        return _verdict(new, carried, None, said)
    rules, own = kept
    return _verdict(new, {**carried, **replace(found, original=list(own)).annotations()}, rules, said)


def _is_answered(before: Mapping[str, str], after: Mapping[str, str], new: HTTPRoute) -> bool:
    """Whether a write carries our answer already: another webhook makes the API server ask once more."""
    moved = {key for key in marks.KEYS if before.get(key) != after.get(key)}
    return moved == {names.ORIGINAL} and _following(new) == _rules(new)


def _restored(request: Request[HTTPRoute], new: HTTPRoute) -> Rules | None:
    """Give the user's own rules of a manifest that was taken in the middle of a release, marks and all."""
    if _marks(new) is None:
        return None
    metadata = {"namespace": request.namespace, "annotations": _annotations(new)}
    change = route.given_back({"metadata": metadata, "spec": {"rules": _rules(new)}})
    rules: Rules | None = change.get("spec", {}).get("rules")
    return rules


def _following(new: HTTPRoute) -> Rules | None:
    """Give the rules that the reconciler's marks ask for."""
    found = _marks(new)
    if found is None:
        return None
    between = route.backends(new.metadata.namespace, found.services)
    return route.rendered(found, between, found.routing) or None


def _verdict(
    new: HTTPRoute, annotations: Mapping[str, str | None], rules: Rules | None, said: tuple[str, ...]
) -> Verdict:
    operations: list[Operation] = patch.entries(
        "/metadata/annotations", new.metadata.annotations, annotations
    )
    if rules is not None and list(rules) != _rules(new):
        operations.append(patch.add("/spec/rules", list(rules)))
    return Verdict(patch=operations, warnings=said, outcome="routed" if operations else "unchanged")


def _marks(value: HTTPRoute) -> Marks | None:
    return marks.read({"metadata": {"annotations": _annotations(value)}})


def _rules(value: HTTPRoute) -> list[dict[str, Any]]:
    return value.spec.rules or []


def _annotations(value: HTTPRoute | None) -> dict[str, str]:
    return (value.metadata.annotations if value else None) or {}
