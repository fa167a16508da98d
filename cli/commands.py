"""The commands of ``kubectl sluice``: each reads a Rollout and says, or does, one thing."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kube.client import Client
from kube.errors import Conflict, NotFound
from kube.resources import ROLLOUTS
from kube.wire import JsonObject
from rollout import messages, names
from rollout.approval import Approval, counts, granted
from rollout.observation import read_rollout
from rollout.snapshot import RolloutObject
from rollout.spec import RolloutSpec
from rollout.status import APPROVALS_RESET, Phase, Reason, StepState


class CommandError(Exception):
    """The command cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Command:
    """``run`` gives the lines to print."""

    summary: str
    run: Callable[[Client, str, str], Awaitable[Sequence[str]]]


async def status(client: Client, namespace: str, name: str) -> Sequence[str]:
    """Say where a release stands, what it waits for and how to go on."""
    rollout = read_rollout(await _get(client, namespace, name))
    found, release = rollout.status, rollout.status.release
    lines = [f"{rollout.namespace}/{name}: {found.phase.value or 'not reconciled yet'}: {found.message}"]
    if found.message == messages.WORKLOAD_NOT_FOUND:
        named = f"{rollout.namespace}/{rollout.workload}"
        lines.append(f"Deployment {named} (spec.workloadRef) does not exist")
    if found.phase is not Phase.PROGRESSING:
        return lines
    steps = len(rollout.spec.steps) if isinstance(rollout.spec, RolloutSpec) else 0
    lines.append(f"release {release.id}, step {release.step} of {steps}: {release.state.value}")
    lines.append(f"canary pods: {release.canary_ready} of {release.canary_replicas} available")
    if release.message and release.message not in _invitations(rollout):
        lines.append(release.message)
    if _is_paused(rollout):
        lines.append(f"to resume: {_resume(rollout)}")
    elif release.state is StepState.STEP_PAUSED:
        reset, stamp = found.condition(APPROVALS_RESET), rollout.approval
        if reset and stamp and not counts(stamp, reset):
            lines.append(reset.message)
        lines.append(f"to approve: kubectl sluice approve {name} -n {rollout.namespace}")
    if release.state is StepState.STEP_PAUSED:
        lines.append("to roll back: apply the previous version again")
    return lines


async def approve(client: Client, namespace: str, name: str) -> Sequence[str]:
    """Approve the step at which the release waits, bound to release and step."""
    found = await _get(client, namespace, name)
    rollout = read_rollout(found)
    reached, release = rollout.status, rollout.status.release
    if reached.phase is not Phase.PROGRESSING or release.state is not StepState.STEP_PAUSED:
        stands = f"phase {reached.phase.value or 'none'}, state {release.state.value or 'none'}"
        raise CommandError(f"Rollout {namespace}/{name} waits for no approval: {stands}")
    wanted = Approval(release.id, release.step)
    stamp = granted(_annotations(found), wanted)
    void = stamp is None or not counts(stamp, reached.condition(APPROVALS_RESET))
    if void and _annotations(found).get(names.APPROVE) == str(wanted):
        # Written over itself it would change nothing: it is given anew. One that counts is never taken away.
        await _take_away(client, namespace, name, found)
    answer = await _annotate(client, namespace, name, str(wanted))
    if granted(_annotations(answer), wanted) is None:
        raise CommandError(
            f"Rollout {namespace}/{name} is not approved: {names.APPROVE}={wanted} was written, but does not "
            "count, as Sluice's webhook did not stamp it: see that Sluice is installed and its webhook runs "
            "(kubectl get pods -A -l app.kubernetes.io/name=sluice), then approve again"
        )
    lines = [f"rollout.rollouts.kruise.io/{name} approved: release {release.id}, step {release.step}"]
    if _is_paused(rollout):
        lines.append(f"it is paused: the approval counts once it is resumed: {_resume(rollout)}")
    return lines


def _invitations(rollout: RolloutObject) -> set[str]:
    """Give what a waiting step says for readers of ``kubectl describe``: here our own command is told."""
    at, target = rollout.status.release, rollout.target
    return {
        messages.approve_event(target.name, rollout.namespace, at.id, at.step, replacing=each)
        for each in (False, True)
    }


def _is_paused(rollout: RolloutObject) -> bool:
    """Tell whether the release stands still: let out or taken back, it goes on to its end all the same."""
    ending = rollout.status.reason in {Reason.FINALISING, Reason.CANCELLING}
    return isinstance(rollout.spec, RolloutSpec) and rollout.spec.paused and not ending


def _resume(rollout: RolloutObject) -> str:
    change = '{"spec":{"strategy":{"paused":false}}}'
    return f"kubectl patch rollout {rollout.target.name} -n {rollout.namespace} --type merge -p '{change}'"


async def _annotate(client: Client, namespace: str, name: str, approval: str) -> JsonObject:
    """Set the approval; without a webhook, the answer bears no stamp, not even an old one.

    No resourceVersion: the approval names what it approves, so it can never count for anything else.
    """
    change = {names.APPROVE: approval, names.APPROVED_BY: None}
    return await client.patch(ROLLOUTS.ref(namespace, name), {"metadata": {"annotations": change}})


async def _take_away(client: Client, namespace: str, name: str, found: JsonObject) -> None:
    """Remove the approval that was found, and no later one."""
    guard = {key: found["metadata"][key] for key in ("uid", "resourceVersion")}
    change = {**guard, "annotations": {names.APPROVE: None, names.APPROVED_BY: None}}
    try:
        await client.patch(ROLLOUTS.ref(namespace, name), {"metadata": change})
    except Conflict as error:
        text = (
            f"Rollout {namespace}/{name} was changed at the same moment; see its status, then approve again"
        )
        raise CommandError(text) from error


def _annotations(rollout: JsonObject) -> JsonObject:
    return rollout["metadata"].get("annotations") or {}


async def _get(client: Client, namespace: str, name: str) -> JsonObject:
    try:
        return await client.get(ROLLOUTS.ref(namespace, name))
    except NotFound as error:
        raise CommandError(f"Rollout {namespace}/{name} not found: check the name and -n") from error


COMMANDS = {
    "status": Command("say where a release stands, what it waits for and how to go on", status),
    "approve": Command("approve the step at which a release waits", approve),
}
