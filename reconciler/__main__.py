"""The reconciler process, and ``leave``, the command that has everything of ours removed from a cluster."""

import os
import sys
from functools import partial
from typing import NoReturn

from kube.client import Client
from kube.errors import NotFound
from reconciler.assembly import assemble
from reconciler.installation import DONE, REQUESTED, Installation
from reconciler.settings import ReconcilerSettings
from runtime.process import Process, load_or_exit, run

# Below the pods' terminationGracePeriodSeconds (300 in the chart), with time left to stop in order.
_FINISH_SECONDS = 270.0
_HELM_RELEASE = "meta.helm.sh/release-name"  # an annotation that Helm writes on what it installs


def main() -> NoReturn:
    """Run the reconciler, or one leaving, until done or told to stop."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["leave"]:
        settings = load_or_exit(ReconcilerSettings, "sluice-reconciler leave", arguments[1:], os.environ)
        sys.exit(run("leave", settings, partial(start_leaving, settings)))
    settings = load_or_exit(ReconcilerSettings, "sluice-reconciler", arguments, os.environ)
    sys.exit(run("reconciler", settings, partial(start, settings)))


async def start(settings: ReconcilerSettings, process: Process) -> None:
    """Wait for the lease, then lead."""
    parts = await assemble(settings, process)
    process.start_task("lead", lambda: parts.election.lead(parts.turn))
    process.on_stop("leaving", parts.finish, _FINISH_SECONDS)


async def start_leaving(settings: ReconcilerSettings, process: Process) -> None:
    """Ask the leader to leave, or do it where there is none; the process ends when it is done."""
    parts = await assemble(settings, process)
    if await _installed_without_helm(parts.client, parts.installation):
        process.stop("not installed by Helm: this command is for Helm's hook; delete the manifests instead")
        return
    await parts.leaver.persist(lambda: parts.caretaker.report(REQUESTED))

    async def do_it_ourselves() -> None:
        await parts.election.lead(lambda: parts.leaver.leave(parts.controller, parts.workers))
        process.stop("left")

    async def wait_for_leader() -> None:
        await parts.leaver.until(lambda: parts.installation.request == DONE and parts.installation.released)
        process.stop("left")

    process.start_task("lead", do_it_ourselves)
    process.start_task("wait", wait_for_leader)


async def _installed_without_helm(client: Client, installation: Installation) -> bool:
    """Tell whether the manifests were applied by hand, hook included: then this runs at install."""
    try:
        found = await client.get(installation.deployment)
    except NotFound:
        return False
    return _HELM_RELEASE not in (found["metadata"].get("annotations") or {})


if __name__ == "__main__":
    main()
