"""Admission of a Rollout in either served version: approvals stamped, plans and approvals checked.

Pure. What a valid plan is, ``rollout.validation`` knows. A mutation of metadata on a
``/status`` write is dropped by the API server, so an approval given there leaves its giver's name in the
API server's audit log and in our own.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Required, TypedDict

from rollout import approval, conversion, names, warnings
from rollout.problems import Problem
from rollout.validation import Neighbours, Rules, scripted_classes, validate_create, validate_update
from rollout.validation_shared import doubts
from rollout.validation_status import validate_status
from webhook import patch
from webhook.policy import Policy
from webhook.review import ALLOWED, Denial, Request, User, Verdict

PLURAL = "rollouts"
_SUB_STATUSES = ("canaryStatus", "blueGreenStatus")
_CURSOR = ("currentStepState", "nextStepIndex", "currentStepIndex")


class Metadata(TypedDict, total=False):
    """The part of a Rollout's metadata that decides something."""

    name: str
    namespace: str
    uid: str
    annotations: dict[str, str] | None
    labels: dict[str, str] | None


class Object(TypedDict, total=False):
    """A Rollout as one side of a write: its plan is what is judged, so that is decoded whole."""

    apiVersion: str
    kind: str
    metadata: Required[Metadata]
    spec: dict[str, Any] | None
    status: dict[str, Any] | None


def mutate(request: Request[Object], policy: Policy, now: datetime) -> Verdict:
    """Stamp approvals: with who gives a new one, as it was for one that is only put again."""
    new = request.object
    if request.sub_resource or new is None or request.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    present = new["metadata"].get("annotations")
    stamp = policy.stamp(request.user_info, _annotations(request.old_object), present, now)
    operations = patch.entries("/metadata/annotations", present, {names.APPROVED_BY: stamp})
    return Verdict(patch=operations, outcome="stamped" if operations else "unchanged")


def validate(
    request: Request[Object], policy: Policy, neighbours: Neighbours, rules: Rules, now: datetime
) -> Verdict:
    """Judge a write of a Rollout or of its status."""
    new, old = request.object, request.old_object
    if new is None or request.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    if request.sub_resource == "status":
        return ALLOWED if old is None else _validate_status(request, old, new, policy)
    if request.sub_resource:
        return ALLOWED
    denial = _approval_denied(request, old, new, policy, now)
    if denial:
        return Verdict(denial=denial, outcome="denied")
    if old is None:
        said = (*_idle_approval(old, new), *_scripted(None, new), *doubts(new, neighbours))
        return _judged(validate_create(new, neighbours, rules), said)
    problems = validate_update(old, new, neighbours, rules)
    said = (*_idle_approval(old, new), *_scripted(old, new), *_forgotten(old, new))
    return _judged(problems, (*said, *_doubted(old, new, neighbours)))


def _validate_status(request: Request[Object], old: Object, new: Object, policy: Policy) -> Verdict:
    given = _approval_on_status(old, new)
    if given and not policy.is_reconciler(request.user_info) and not policy.may_approve(request.user_info):
        return Verdict(denial=_refusal(request.user_info, policy), outcome="denied")
    verdict = _judged(validate_status(old, new), ())
    if not given or verdict.denial:
        return verdict
    notes = {"step-approval": given, "step-approved-by": request.user_info.username}
    return Verdict(notes=notes, outcome="approved")


def _approval_on_status(old: Object, new: Object) -> str:
    """Return what a status write approves: StepReady, a jump, any move of the cursor; empty for nothing.

    A client that drops a field it does not know (vela: nextStepIndex) asks for nothing by it.
    """
    for part in _SUB_STATUSES:
        before, after = _sub_status(old, part), _sub_status(new, part)
        for key in _CURSOR:
            if after.get(key) is not None and after[key] != before.get(key):
                return f"{key} {after[key]} at step {before.get('currentStepIndex', 0)}"
    return ""


def _approval_denied(
    request: Request[Object], old: Object | None, new: Object, policy: Policy, now: datetime
) -> Denial | None:
    before, after = _annotations(old), _annotations(new)
    user = request.user_info
    if approval.stamp_is_forged(before, after, user.username, now):
        return Denial(403, "Forbidden", warnings.stamp_forged())
    if not approval.changed(before, after):
        return None
    value = after[names.APPROVE]
    if approval.parse(value) is None:
        name, namespace = request.name or new["metadata"].get("name", ""), request.namespace
        text = warnings.approval_malformed(value, name, namespace, approval.position(new))
        return Denial(422, "Invalid", text)
    return None if policy.may_approve(user) else _refusal(user, policy)


def _refusal(user: User, policy: Policy) -> Denial:
    return Denial(403, "Forbidden", warnings.approver_refused(user.username, policy.approvers))


def _idle_approval(old: Object | None, new: Object) -> Sequence[str]:
    if not approval.changed(_annotations(old), _annotations(new)):
        return ()
    value, position = _annotations(new)[names.APPROVE], approval.position(new)
    if position and str(position.approval) == value:
        return ()
    metadata = new["metadata"]
    return (warnings.approval_idle(value, metadata.get("name", ""), metadata.get("namespace", ""), position),)


def _scripted(old: Object | None, new: Object) -> Iterator[str]:
    """Warn of classes of Ingress that need a script, when they are asked for."""
    before = scripted_classes(old) if old else ()
    for each in scripted_classes(new):
        if each not in before:
            yield warnings.class_by_script(each)


def _forgotten(old: Object, new: Object) -> Iterator[str]:
    """Warn of what a client drops because its version cannot show it."""
    if new.get("apiVersion") == f"{names.GROUP}/v1alpha1":
        yield from (warnings.forgotten(each) for each in conversion.forgotten(old, new))


def _doubted(old: Object, new: Object, neighbours: Neighbours) -> Iterator[str]:
    """Warn of what is doubtful about a TrafficRouting, when that is new."""
    before = tuple(doubts(old, neighbours))
    yield from (each for each in doubts(new, neighbours) if each not in before)


def _judged(problems: Sequence[Problem], said: Sequence[str]) -> Verdict:
    if not problems:
        return Verdict(warnings=said)
    return Verdict(denial=Denial(422, "Invalid", warnings.problems(problems)), outcome="denied")


def _annotations(value: Object | None) -> Mapping[str, str]:
    return (value["metadata"].get("annotations") if value else None) or {}


def _sub_status(value: Object, part: str) -> Mapping[str, Any]:
    found = (value.get("status") or {}).get(part)
    return found if isinstance(found, dict) else {}
