"""The command of the chart's Job: ask the leader to leave, and wait until it has.

Where there is no leader, it leads and leaves itself. When that takes too long, it says what is left and ends:
the deadline of a Job would take its pod away, and the log with it.
"""

import asyncio

from kube.client import Client
from kube.errors import NotFound
from reconciler.assembly import Assembly, assemble
from reconciler.installation import DONE, Installation
from reconciler.settings import LeavingSettings
from runtime.process import Process

# The Job takes no further attempt after this one: only people can change what the command says.
_EXIT_UNFINISHED = 3
_HELM_RELEASE = "meta.helm.sh/release-name"  # an annotation that Helm writes on what it installs


async def start_leaving(settings: LeavingSettings, process: Process) -> None:
    """Start asking and waiting; the process ends when it is done, too late, or no longer wanted."""
    parts = await assemble(settings, process)
    if await _installed_without_helm(parts.client, parts.installation):
        process.stop("not installed by Helm: this command is for Helm's hook; delete the manifests instead")
        return
    await parts.leaver.persist(parts.caretaker.ask)
    await parts.leaver.until(lambda: parts.installation.leaving)
    process.start_task("deadline", lambda: _give_up(parts, process, settings.timeout_seconds))
    process.start_task("lead", lambda: _leave(parts, process))
    process.start_task("wait", lambda: _wait_for_leader(parts, process))


async def _leave(parts: Assembly, process: Process) -> None:
    left = await parts.election.lead(lambda: parts.leaver.leave(parts.controller, parts.workers))
    await _end(process, left=left)


async def _wait_for_leader(parts: Assembly, process: Process) -> None:
    installation = parts.installation

    def done() -> bool:
        return installation.request == DONE and installation.released

    await parts.leaver.until(lambda: done() or not installation.leaving)
    await _end(process, left=done())


async def _give_up(parts: Assembly, process: Process, seconds: float) -> None:
    await process.clock.sleep(seconds)
    for each in parts.leaver.unfinished():
        process.log.error("not left yet", what=each)
    why = f"not finished within {seconds:g} s; the reconciler goes on, and its log says what is refused"
    await _end(process, left=False, why=why)


async def _end(process: Process, *, left: bool, why: str = "not left: this is no longer asked for") -> None:
    if left:
        process.stop("left")
    else:
        process.stop(why, _EXIT_UNFINISHED)
    await asyncio.Event().wait()  # until the stopping process cancels us


async def _installed_without_helm(client: Client, installation: Installation) -> bool:
    """Tell whether the manifests were applied by hand, hook included: then this runs at install."""
    try:
        found = await client.get(installation.deployment)
    except NotFound:
        return False
    return _HELM_RELEASE not in (found["metadata"].get("annotations") or {})
