"""Short-lived command-line programs of the sandbox: kubectl, helm."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TIMEOUT = 300.0
"""Seconds; longer than any `--wait` or `--timeout` a test gives to a command."""


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command said and how it ended."""

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class CommandError(RuntimeError):
    """A command failed that should not."""

    def __init__(self, completed: Completed) -> None:
        shown = " ".join(completed.command)
        super().__init__(
            f"`{shown}` ended with {completed.returncode}:\n{completed.stdout}{completed.stderr}"
        )
        self.completed = completed


async def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = _TIMEOUT,  # noqa: ASYNC109  the commands' own notion, given as a number by tests
) -> Completed:
    """Run a command to its end; with `check`, a status other than 0 raises CommandError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout):
            output, errors = await process.communicate(None if stdin is None else stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    code = process.returncode if process.returncode is not None else -1
    completed = Completed(tuple(command), code, output.decode(), errors.decode())
    if check and code != 0:
        raise CommandError(completed)
    return completed
