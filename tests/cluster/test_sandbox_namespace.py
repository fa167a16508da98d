"""Nothing that runs in private namespaces outlives them."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from itertools import count

import pytest

from sandbox.names import INSIDE_VARIABLE

_durations = count(70_000)


def _environment() -> Mapping[str, str]:
    """Return this environment as it is outside, so that namespaces are made within these namespaces."""
    return {name: value for name, value in os.environ.items() if name != INSIDE_VARIABLE}


async def _start(*command: str) -> asyncio.subprocess.Process:
    """Start a command as a terminal does: in the background of a script, it would be deaf to Ctrl-C."""
    return await asyncio.create_subprocess_exec(
        *("env", "--default-signal=INT", sys.executable, "-m", "sandbox.namespace"),
        *command,
        env=_environment(),
        stdout=asyncio.subprocess.PIPE,
    )


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode()


async def _started(command: str, expected: int) -> None:
    """Wait until so many processes run this command: a shell says that it is ready before it becomes one."""
    async with asyncio.timeout(20):
        while len((await _output("pgrep", "--full", f"^{command}")).split()) != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name
)
async def test_nothing_survives_the_end_of_the_outer_process(number: signal.Signals) -> None:
    """However the outer process is ended, its command and its command's orphans end too."""
    sleep = f"sleep {next(_durations)}"
    outer = await _start("sh", "-c", f"setsid {sleep} & echo ready; exec {sleep}")
    assert outer.stdout is not None
    await outer.stdout.readline()
    await _started(sleep, expected=2)

    outer.send_signal(number)

    async with asyncio.timeout(20):
        # The pipe's other end is held by every process in the namespaces.
        assert await outer.stdout.read() == b""
        await outer.wait()
    assert await _output("pgrep", "--full", f"^{sleep}") == ""


async def test_orphans_end_with_the_command() -> None:
    """A process left behind ends when the command does."""
    sleep = f"sleep {next(_durations)}"

    process = await _start("sh", "-c", f"setsid {sleep} > /dev/null & exit 5")

    async with asyncio.timeout(20):
        assert await process.wait() == 5
    assert await _output("pgrep", "--full", f"^{sleep}") == ""


async def test_network_ends_at_this_machine() -> None:
    """There is no way out: the only device is the loopback one."""
    process = await _start("ip", "-brief", "link")
    output, _ = await process.communicate()

    assert [line.split()[0] for line in output.decode().splitlines()] == ["lo"]
