"""A small process for the tests of a real process's life; prints what happens, in order."""

import asyncio
import os
import sys

from runtime.process import Process, load_or_exit, run
from runtime.settings import ProcessSettings


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201 - the test reads it


async def forever() -> None:
    """Run until cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        say("task stopped")


async def hang() -> None:
    """Never end."""
    await asyncio.Event().wait()


async def start(process: Process) -> None:
    """Start the parts, and what the first argument adds."""

    async def first() -> None:
        say("first stopped")

    async def last() -> None:
        say(f"ready while draining was over: {process.health.ready().passed}")

    async def lose() -> None:
        raise RuntimeError("lease lost")

    process.on_stop("first", first, 1)
    process.start_task("loop", forever)
    process.on_stop("last", last, 1)
    match sys.argv[1]:
        case "hanging-stop":
            process.on_stop("hanging", hang, 0.05)
        case "essential":
            process.start_task("lease", lose, essential=True)
        case "failing-start":
            raise RuntimeError("no such thing")
        case "stuck-start":
            say("started")
            await hang()
        case _:
            pass
    say("started")


if __name__ == "__main__":
    settings = load_or_exit(ProcessSettings, "example", ["--http-port=0"], os.environ)
    sys.exit(run("example", settings, start, drain_seconds=float(sys.argv[2])))
