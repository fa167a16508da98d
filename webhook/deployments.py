"""Admission of a Deployment's update: gate decisions and approvals turned into a patch and warnings.

Pure. What the gate means is in ``rollout.gate``; here it meets who asks and what JSON Patch can say.
Touches ``spec.paused``, our own annotations and label, and ``spec.strategy``: to keep a closed gate from
ending every pod at once, and for a release inside the Deployment, as the reconciler asks. Nothing else.
"""

from collections.abc import Sequence
from datetime import datetime

from rollout import approval, gate, names, warnings
from rollout.gate import Close, Deployment, Governor, Hold, Release, Stranded
from rollout.strategy import Kept, kept
from webhook import patch
from webhook.patch import Operation
from webhook.policy import Policy
from webhook.review import ALLOWED, Denial, Request, Verdict

GROUP, PLURAL = "apps", "deployments"
_OURS_ON_GATE = (names.IN_PROGRESSING, names.RELEASE, names.STRATEGY)
_OURS = (*_OURS_ON_GATE, names.APPROVE, names.APPROVED_BY)


def is_labelled(request: Request[Deployment]) -> bool:
    """Tell whether a Rollout once governed what is updated: then it has to be known whether one does now."""
    if request.operation != "UPDATE" or request.sub_resource:
        return False
    sides = (request.object, request.old_object)
    return any(side and names.WORKLOAD_TYPE in (side.metadata.labels or {}) for side in sides)


def admit(
    request: Request[Deployment], governors: Sequence[Governor], policy: Policy, now: datetime
) -> Verdict:
    """Judge one request, given every Rollout that refers to the Deployment."""
    old, new = request.old_object, request.object
    if new is None:
        return ALLOWED
    if policy.is_reconciler(request.user_info):
        return _followed(old, new) if old is not None and not request.sub_resource else ALLOWED
    match request.operation, request.sub_resource:
        case "CREATE", "":
            return _created(new)
        case "UPDATE", "" if old is not None:
            return _updated(request, old, new, governors, policy, now)
        case "UPDATE", "status" if old is not None:
            return _status_written(request, old, new)
        case _:
            return ALLOWED


def _followed(old: Deployment, new: Deployment) -> Verdict:
    """Give the Deployment the strategy that the reconciler asks for, so that the field stays its owner's."""
    asked = gate.follow(old, new)
    if asked is None:
        return ALLOWED
    operations = patch.entries("/metadata/annotations", new.metadata.annotations, _mark(asked))
    return Verdict(patch=operations + _strategy(asked, new), outcome="patched")


def _mark(held: Kept | None) -> dict[str, str | None]:
    """Say what is held; with the owner's own strategy in force there is nothing more to say."""
    return {names.STRATEGY: held.annotation() if held and held.held is not None else None}


def _strategy(held: Kept, new: Deployment) -> list[Operation]:
    """Put a strategy in force."""
    in_force = gate.declares(new) == held.in_force
    return [] if in_force else [patch.add("/spec/strategy", held.in_force)]


def _created(new: Deployment) -> Verdict:
    """Take what only a release writes out of a new Deployment, which nobody can have released yet.

    The pause of a copied gate goes with it: without pods there is nothing to protect, and nobody else
    would ever end it. An approval may stay, it counts for nothing without its stamp.
    """
    annotations = new.metadata.annotations or {}
    planted = [key for key in (*_OURS_ON_GATE, names.APPROVED_BY) if key in annotations]
    if not planted:
        return ALLOWED
    operations = patch.entries("/metadata/annotations", annotations, dict.fromkeys(planted))
    pauses = bool(annotations.get(names.IN_PROGRESSING) and new.spec.paused)
    if pauses:
        operations.append(patch.remove("/spec/paused"))
    copied = kept(annotations.get(names.STRATEGY))
    narrow = copied is not None and copied.has(gate.declares(new))
    if copied and narrow:
        operations.append(patch.add("/spec/strategy", copied.declared))
    said = [*planted, *(["spec.paused"] if pauses else []), *(["spec.strategy"] if narrow else [])]
    return Verdict(patch=operations, warnings=[warnings.planted(said)], outcome="cleaned")


def _status_written(request: Request[Deployment], old: Deployment, new: Deployment) -> Verdict:
    """Keep our annotations out of reach of /status, whose writers may release nothing."""
    before, after = old.metadata.annotations or {}, new.metadata.annotations or {}
    changed = [key for key in _OURS if before.get(key) != after.get(key)]
    if not changed:
        return ALLOWED
    text = warnings.status_refused(request.name, request.namespace, changed)
    return Verdict(denial=Denial(403, "Forbidden", text), outcome="denied")


def _updated(
    request: Request[Deployment],
    old: Deployment,
    new: Deployment,
    governors: Sequence[Governor],
    policy: Policy,
    now: datetime,
) -> Verdict:
    decision = gate.decide(old, new, governors)
    denial = _approval_denied(request, old, new, governors, policy)
    if denial:
        return Verdict(denial=denial, outcome="denied")
    if gate.spoils_strategy(decision, old, new):
        text = warnings.strategy_invalid(gate.declares(new))
        return Verdict(denial=Denial(422, "Invalid", text), outcome="denied")
    stamp = policy.stamp(request.user_info, old.metadata.annotations, new.metadata.annotations, now)
    operations = _operations(decision, old, new, stamp)
    return Verdict(
        patch=operations,
        warnings=_warnings(decision, old, new, request.name, governors),
        outcome=_outcome(decision, operations),
    )


def _operations(
    decision: gate.Decision, old: Deployment, new: Deployment, stamp: str | None
) -> list[Operation]:
    held = gate.strategy(decision, old, new)
    wanted = {**gate.annotations(decision, old, new), **_mark(held), names.APPROVED_BY: stamp}
    operations = patch.entries("/metadata/annotations", new.metadata.annotations, wanted)
    operations += patch.entries("/metadata/labels", new.metadata.labels, gate.labels(decision, old))
    if isinstance(decision, Close | Hold) and not new.spec.paused:
        operations.append(patch.add("/spec/paused", value=True))
    if held:
        operations += _strategy(held, new)
    elif gate.restores_strategy(decision, old, new):
        operations.append(patch.add("/spec/strategy", old.spec.strategy))
    return operations


def _warnings(
    decision: gate.Decision, old: Deployment, new: Deployment, name: str, governors: Sequence[Governor]
) -> list[str]:
    before, after = old.metadata.annotations or {}, new.metadata.annotations or {}
    differs = any(before.get(key) != after.get(key) for key in _OURS_ON_GATE)
    opens = isinstance(decision, Hold) and (differs or not new.spec.paused)
    said = warnings.deployment(decision, name, altered=opens)
    if gate.restores_strategy(decision, old, new):
        said.append(warnings.strategy_kept())
    elif declared := gate.redeclares(decision, old, new):
        said += warnings.strategy_waits(declared)
    forged = [key for key in _OURS_ON_GATE if after.get(key) not in {None, before.get(key)}]
    if forged and isinstance(decision, Release | gate.Pass):
        said.append(warnings.forged_gate(forged))
    return said + _idle_approval(before, after, governors)


def _idle_approval(before: dict[str, str], after: dict[str, str], governors: Sequence[Governor]) -> list[str]:
    governor = gate.choose(governors, after.get(names.IN_PROGRESSING))
    if governor is None or not approval.changed(before, after):
        return []
    value, position = after[names.APPROVE], governor.position
    if position and str(position.approval) == value:
        return []
    return [warnings.approval_idle(value, governor.name, governor.namespace, position)]


def _approval_denied(
    request: Request[Deployment],
    old: Deployment,
    new: Deployment,
    governors: Sequence[Governor],
    policy: Policy,
) -> Denial | None:
    before, after = old.metadata.annotations or {}, new.metadata.annotations or {}
    if not approval.changed(before, after):
        return None
    governor = gate.choose(governors, before.get(names.IN_PROGRESSING))
    if governor is None:
        return None  # an annotation that means nothing here
    value = after[names.APPROVE]
    if approval.parse(value) is None:
        text = warnings.approval_malformed(value, governor.name, governor.namespace, governor.position)
        return Denial(422, "Invalid", text)
    if not policy.may_approve(request.user_info):
        return Denial(
            403, "Forbidden", warnings.approver_refused(request.user_info.username, policy.approvers)
        )
    return None


def _outcome(decision: gate.Decision, operations: Sequence[Operation]) -> str:
    match decision:
        case Close():
            return "closed"
        case Hold():
            return "held"
        case Release():
            return "ungated"
        case Stranded():
            return "stranded"
        case _:
            return "patched" if operations else "unchanged"
