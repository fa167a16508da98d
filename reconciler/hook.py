"""The command of the chart's Job: ask the leader to leave, and wait until it has.

Where there is no leader, it leads and leaves itself. When that takes too long, it says what is left and ends:
the deadline of a Job would take its pod away, and the log with it.
"""

import asyncio
from dataclasses import dataclass

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
    departure = _Departure(process, settings.timeout_seconds)
    process.start_task("deadline", departure.give_up)
    departure.parts = parts = await assemble(settings, process)
    if await _installed_without_helm(parts.client, parts.installation):
        process.stop("not installed by Helm: this command is for Helm's hook; delete the manifests instead")
        return
    await parts.leaver.persist(parts.caretaker.ask)
    parts.leaver.nobody_to_ask = await _is_absent(parts.client, parts.installation)
    process.start_task("lead", lambda: departure.lead(parts))
    process.start_task("wait", lambda: departure.wait_for_leader(parts))


@dataclass
class _Departure:
    """One command's way to its end."""

    process: Process
    seconds: float
    parts: Assembly | None = None

    async def lead(self, parts: Assembly) -> None:
        await self._seen(parts)
        left = await parts.election.lead(lambda: parts.leaver.leave(parts.controller, parts.workers))
        await self._end(left=left)

    async def wait_for_leader(self, parts: Assembly) -> None:
        await self._seen(parts)
        installation = parts.installation

        def done() -> bool:
            return installation.request == DONE and installation.released

        def taken_back() -> bool:
            return not installation.leaving and not parts.leaver.nobody_to_ask

        await parts.leaver.until(lambda: done() or taken_back())
        await self._end(left=done())

    async def give_up(self) -> None:
        await self.process.clock.sleep(self.seconds)
        unfinished = self.parts.leaver.unfinished() if self.parts else ["nothing is known of the cluster yet"]
        for each in unfinished:
            self.process.log.error("not left yet", what=each)
        why = f"not finished within {self.seconds:g} s; what is refused stands in the reconciler's log"
        await self._end(left=False, why=why)

    async def _seen(self, parts: Assembly) -> None:
        """Wait until our own view has the request in it: it looks taken back before that."""
        await parts.leaver.until(lambda: parts.installation.leaving or parts.leaver.nobody_to_ask)

    async def _end(self, *, left: bool, why: str = "not left: this is no longer asked for") -> None:
        if left:
            self.process.stop("left")
        else:
            self.process.stop(why, _EXIT_UNFINISHED)
        await asyncio.Event().wait()  # until the stopping process cancels us


async def _is_absent(client: Client, installation: Installation) -> bool:
    try:
        await client.get(installation.deployment)
    except NotFound:
        return True
    return False


async def _installed_without_helm(client: Client, installation: Installation) -> bool:
    """Tell whether the manifests were applied by hand, hook included: then this runs at install."""
    try:
        found = await client.get(installation.deployment)
    except NotFound:
        return False
    return _HELM_RELEASE not in (found["metadata"].get("annotations") or {})
