"""The reconciler process, and ``leave``, the command that has everything of ours removed from a cluster."""

import os
import sys
from functools import partial
from typing import NoReturn

from reconciler.assembly import assemble
from reconciler.hook import start_leaving
from reconciler.settings import LeavingSettings, ReconcilerSettings
from runtime.process import Process, load_or_exit, run

# Below the pods' terminationGracePeriodSeconds (300 in the chart), with time left to stop in order.
_FINISH_SECONDS = 270.0


def main() -> NoReturn:
    """Run the reconciler, or one leaving, until done or told to stop."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["leave"]:
        leaving = load_or_exit(LeavingSettings, "sluice-reconciler leave", arguments[1:], os.environ)
        sys.exit(run("leave", leaving, partial(start_leaving, leaving)))
    settings = load_or_exit(ReconcilerSettings, "sluice-reconciler", arguments, os.environ)
    sys.exit(run("reconciler", settings, partial(start, settings)))


async def start(settings: ReconcilerSettings, process: Process) -> None:
    """Wait for the lease, then lead."""
    parts = await assemble(settings, process)
    process.start_task("lead", lambda: parts.election.lead(parts.turn))
    process.on_stop("leaving", parts.finish, _FINISH_SECONDS)


if __name__ == "__main__":
    main()
