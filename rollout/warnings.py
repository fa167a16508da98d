"""Every text that admission shows to people, in their terminal, at the moment of their change.

Warnings say what is going on and what to do, one fact a line: clients print each on a line of its
own, and an API server may cut one that is longer than 256 characters.
"""

import json
from collections.abc import Sequence
from typing import assert_never

from rollout import names
from rollout.approval import Approval, Position
from rollout.gate import Close, Decision, Governor, Hold, Pass, Reason, Release, Stranded
from rollout.problems import Problem
from rollout.wire import JsonObject

_SHOWN = 120  # characters of a value
_WHY = 180  # characters of a reason: with the longest name in front, less than an API server may cut


def deployment(decision: Decision, name: str, *, altered: bool) -> list[str]:
    """Say what became of a Deployment's update; ``altered``: it would have opened or changed its gate."""
    match decision:
        case Close(governor, release, empty):
            begun = f"starts release {release} and is not rolled out yet"
            return [_nothing_new(governor)] if empty else _held(governor, release, begun)
        case Hold(governor, _, release, starts=True):
            replaced = f"replaces the release in progress by {release}"
            return _held(governor, release, f"{replaced}, or rolls it back if the template is the stable one")
        case Hold(governor, _, release) if altered:
            let_out = f"would have let out {_release(release)}"
            return _held(governor, release, f"{let_out}, so spec.paused and the gate's annotations were kept")
        case Release(governor, reason):
            explained = [_why_inert(governor)] if reason is Reason.INERT else []
            return [_not_gated(governor, reason), *explained]
        case Stranded(governor):
            return [stranded(name)] if governor is None else held_by_inert(name, governor)
        case Hold() | Pass():
            return []
        case _:
            assert_never(decision)


def stranded(deployment: str) -> str:
    """Tell that no Rollout is left which would open this gate."""
    return (
        f"Deployment {deployment} is paused for a Rollout that no longer exists, nothing holds it: "
        f"resume it with kubectl rollout resume deployment/{deployment}"
    )


def held_by_inert(deployment: str, governor: Governor) -> list[str]:
    """Tell that the Rollout of this gate would not open it as it is."""
    return [
        f"Deployment {deployment} is paused for Rollout {governor.name}, by which nothing is released",
        _why_inert(governor),
        f"correct the Rollout, or resume with kubectl rollout resume deployment/{deployment}",
    ]


def strategy_kept() -> str:
    """Tell that a switch to Recreate has to wait for the end of the release."""
    return (
        "spec.strategy was kept: Recreate would end every pod at once during a release; change it afterwards"
    )


def strategy_waits(declared: JsonObject) -> list[str]:
    """Tell that another strategy is what the Deployment gets at the end of its release."""
    return [
        f"spec.strategy is held for a release that goes on inside the Deployment, then {_compact(declared)}",
        "a limit that was written just as it is held at present keeps its earlier value",
    ]


def strategy_invalid(found: JsonObject) -> str:
    """Deny a strategy that could not be given back at the end of the release."""
    return (
        f"spec.strategy: Invalid value: {_compact(found)}: must be of type Recreate, or RollingUpdate with "
        "maxSurge and maxUnavailable as numbers or percentages that are not both 0"
    )


def forged_gate(found: Sequence[str]) -> str:
    """Tell that the gate's annotations are not for everybody to write."""
    return (
        f"{', '.join(found)}: written by admission alone, and left out; "
        "if the manifest was exported during a release, remove them and spec.paused from it"
    )


def planted(found: Sequence[str]) -> str:
    """Tell that a new Deployment cannot bring a release along; most likely it was exported during one."""
    return f"left out of a new Deployment, where no release can be in progress: {', '.join(found)}"


def status_refused(deployment: str, namespace: str, found: Sequence[str]) -> str:
    """Deny a write that reaches for the gate or for an approval past everything that guards them."""
    return (
        f"Deployment {namespace}/{deployment}: {', '.join(found)} cannot be changed through /status: "
        f"to approve, annotate the Rollout or the Deployment itself with {names.APPROVE}"
    )


def approve_command(name: str, namespace: str, approval: Approval) -> str:
    """Give the command that approves one step of one release."""
    return f"kubectl annotate rollout {name} -n {namespace} {names.APPROVE}={approval} --overwrite"


def approval_malformed(found: str, name: str, namespace: str, position: Position | None) -> str:
    """Deny an approval that is not one."""
    return (
        f"metadata.annotations[{names.APPROVE}]: Invalid value: {_quoted(found)}: must be <release>/<step>; "
        + _waiting(name, namespace, position)
    )


def approval_idle(found: str, name: str, namespace: str, position: Position | None) -> str:
    """Warn of an approval that is well-formed and approves nothing that waits."""
    return f"{names.APPROVE}={found} approves nothing now; {_waiting(name, namespace, position)}"


def approver_refused(user: str, groups: tuple[str, ...]) -> str:
    """Deny an approval by somebody who is not on the allow-list."""
    return f"user {_quoted(user)} may not approve: approvals are limited to members of {', '.join(groups)}"


def stamp_forged() -> str:
    """Deny a stamp that names somebody else."""
    return (
        f"metadata.annotations[{names.APPROVED_BY}]: Forbidden: is written by admission only; "
        f"leave it out and set {names.APPROVE}"
    )


def pin_kept(service: str) -> str:
    """Tell that a Service stays on its revision while a release needs it there."""
    return (
        f"Service {service} stays pinned to one revision while a release is in progress: "
        f"annotation {names.PIN} and spec.selector[{names.POD_TEMPLATE_HASH}] were kept"
    )


def pin_forged(service: str) -> str:
    """Tell that a pin is not for everybody to write; most likely it was exported during a release."""
    return (
        f"annotation {names.PIN} was not taken over on Service {service}, only the reconciler writes it: "
        f"remove it and spec.selector[{names.POD_TEMPLATE_HASH}] from the manifest"
    )


def pin_refused(service: str, namespace: str, found: Sequence[str]) -> str:
    """Deny a pin that comes by way of /status."""
    return f"Service {namespace}/{service}: {', '.join(found)} cannot be changed through /status"


def route_marks_kept(route: str) -> str:
    """Tell that what a release remembers on a route is not for everybody to change."""
    return (
        f"HTTPRoute {route} is routed by a release in progress: its annotations {names.ROUTED_BY}, "
        f"{names.ROUTING} and {names.ORIGINAL} were kept"
    )


def route_marks_forged(route: str) -> str:
    """Tell that marks were not taken over; most likely the manifest was exported during a release."""
    return (
        f"annotations {names.ROUTED_BY}, {names.ROUTING} and {names.ORIGINAL} on HTTPRoute {route} are the "
        "reconciler's alone: left out; remove them from the manifest, check its rules"
    )


def custom_marks_kept(kind: str, name: str) -> str:
    """Tell the same of an object of any kind."""
    return (
        f"{kind} {name} is routed by a release in progress: its annotations {names.ROUTED_BY}, "
        f"{names.ROUTING} and {names.ORIGINAL_SPEC} were kept"
    )


def custom_marks_forged(kind: str, name: str) -> str:
    """Tell the same of an object of any kind."""
    return (
        f"annotations {names.ROUTED_BY}, {names.ROUTING} and {names.ORIGINAL_SPEC} on {kind} {name} are the "
        "reconciler's alone: left out; remove them from the manifest, check its spec"
    )


def class_by_script(classtype: str) -> str:
    """Tell that a release will need a script: a typing error would be seen only then."""
    key = names.INGRESS_SCRIPT + classtype
    return (
        f"ingress.classType {classtype} is not built in: a release waits for key {key} in ConfigMap "
        f"{names.CONFIGURATION}"
    )


def forgotten(part: str) -> str:
    """Tell a client of v1alpha1 what its write drops that it could not see."""
    return (
        f"spec.{part}: what only v1beta1 can say of it is dropped by this write through v1alpha1; "
        f"to keep it, edit rollouts.v1beta1.{names.GROUP}"
    )


def strategy_unused(routing: str) -> str:
    """Tell that a Rollout's steps route themselves."""
    return (
        f"spec.strategy of TrafficRouting {routing} is not used: the steps of this Rollout say what goes to "
        "the canary; remove traffic and matches from every step to leave it to the TrafficRouting"
    )


def problems(found: Sequence[Problem]) -> str:
    """Deny a Rollout: every problem at once, so that one more try is enough."""
    return "; ".join(str(each) for each in found)


def unreadable(namespace: str, error: str) -> str:
    """Deny a change because nobody can say whether it has to be gated."""
    return (
        f"cannot tell whether a Rollout in namespace {namespace} governs this Deployment, "
        f"so the change is not let through: {error}; try again"
    )


def _nothing_new(governor: Governor) -> str:
    return (
        f"Rollout {governor.name} notes the new {names.ROLLOUT_ID}; the template is the one that it had, so "
        "there is nothing to roll out and nothing to approve"
    )


def _held(governor: Governor, release: str | None, what: str) -> list[str]:
    return [f"held by Rollout {governor.name}: this change {what}", *_ways(governor, release)]


def _ways(governor: Governor, release: str | None) -> list[str]:
    approval = _next_approval(governor, release)
    ways = []
    if approval:
        ways.append(
            f"to approve step {approval.step}: {approve_command(governor.name, governor.namespace, approval)}"
        )
    ways.append(
        "to roll back: apply the previous pod template again, or "
        f"kubectl-kruise rollout undo rollout/{governor.name} -n {governor.namespace}"
    )
    return ways


def _next_approval(governor: Governor, release: str | None) -> Approval | None:
    if release is None:
        return None
    position = governor.position
    return position.approval if position and position.release == release else Approval(release, 1)


def _release(release: str | None) -> str:
    return f"release {release}" if release else "a release"


def _not_gated(governor: Governor, reason: Reason) -> str:
    match reason:
        case Reason.DISABLED:
            why = "the Rollout is disabled"
        case Reason.DELETING:
            why = "the Rollout is being deleted"
        case Reason.INERT:
            why = "nothing is released by the Rollout until it is corrected"
        case Reason.NO_REPLICAS:
            why = "spec.replicas is 0, so nothing serves that could be protected"
        case Reason.RECREATES:
            why = "spec.strategy.type is Recreate, which allows no two revisions at once (use RollingUpdate)"
        case _:
            assert_never(reason)
    return f"not gated by Rollout {governor.name}, rolled out at once: {why}"


def _why_inert(governor: Governor) -> str:
    text = governor.inert if len(governor.inert) <= _WHY else governor.inert[:_WHY] + "…"
    return f"Rollout {governor.name}: {text}"


def _waiting(name: str, namespace: str, position: Position | None) -> str:
    if position is None:
        return "no release is in progress, so there is nothing to approve"
    command = approve_command(name, namespace, position.approval)
    return f"to approve step {position.step} of {position.steps}: {command}"


def _compact(value: JsonObject) -> str:
    """Show a value as JSON, cut where it is longer than anybody reads."""
    text = json.dumps(value, separators=(",", ":"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _quoted(value: str) -> str:
    shown = value if len(value) <= 64 else value[:64] + "…"  # noqa: PLR2004 - a value is shown, not repeated: messages are one line
    return '"' + shown.replace('"', "'").replace("\n", " ") + '"'
