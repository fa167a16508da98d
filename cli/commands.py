"""The commands of ``kubectl sluice``: each reads a Rollout and says, or does, one thing."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kube.client import Client
from kube.errors import NotFound
from kube.resources import ROLLOUTS
from rollout import names
from rollout.observation import read_rollout
from rollout.snapshot import RolloutObject
from rollout.status import Phase, StepState


class CommandError(Exception):
    """The command cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Command:
    """``run`` gives the lines to print."""

    summary: str
    run: Callable[[Client, str, str], Awaitable[Sequence[str]]]


async def status(client: Client, namespace: str, name: str) -> Sequence[str]:
    """Say where a release stands, what it waits for and how to go on."""
    rollout = await _read(client, namespace, name)
    found, release = rollout.status, rollout.status.release
    lines = [f"{rollout.namespace}/{name}: {found.phase.value or 'not reconciled yet'}: {found.message}"]
    if found.phase is not Phase.PROGRESSING:
        return lines
    steps = len(rollout.spec.steps) if not isinstance(rollout.spec, tuple) else 0
    lines.append(f"release {release.id}, step {release.step} of {steps}: {release.state.value}")
    lines.append(f"canary pods: {release.canary_ready} of {release.canary_replicas} available")
    if release.message:
        lines.append(release.message)
    if release.state is StepState.STEP_PAUSED:
        lines.append(f"to approve: kubectl sluice approve {name} -n {rollout.namespace}")
        lines.append("to roll back: apply the previous version again")
    return lines


async def approve(client: Client, namespace: str, name: str) -> Sequence[str]:
    """Approve the step at which the release waits, bound to release and step."""
    rollout = await _read(client, namespace, name)
    release = rollout.status.release
    if rollout.status.phase is not Phase.PROGRESSING or release.state is not StepState.STEP_PAUSED:
        found = f"phase {rollout.status.phase.value or 'none'}, state {release.state.value or 'none'}"
        raise CommandError(f"Rollout {namespace}/{name} waits for no approval: {found}")
    approval = f"{release.id}/{release.step}"
    # No resourceVersion: the approval names what it approves, so it can never count for anything else.
    await client.patch(
        ROLLOUTS.ref(namespace, name), {"metadata": {"annotations": {names.APPROVE: approval}}}
    )
    return [f"rollout.rollouts.kruise.io/{name} approved: release {release.id}, step {release.step}"]


async def _read(client: Client, namespace: str, name: str) -> RolloutObject:
    try:
        return read_rollout(await client.get(ROLLOUTS.ref(namespace, name)))
    except NotFound as error:
        raise CommandError(f"Rollout {namespace}/{name} not found: check the name and -n") from error


COMMANDS = {
    "status": Command("say where a release stands, what it waits for and how to go on", status),
    "approve": Command("approve the step at which a release waits", approve),
}
