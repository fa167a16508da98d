"""One long-running program of the sandbox as an operating-system process.

Knows how to start, stop, freeze, kill and start it again, and what it last
said; refuses to know what it is for.
"""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_STOP_TIMEOUT = 2.0
"""Seconds between SIGTERM and SIGKILL. An API server with open watches would take a minute."""

_TAIL = 4000
"""Characters of a log that an error shows: about forty lines."""

RARELY_COLLECTED = {"GOGC": "300"}
"""Go's setting for programs that share two processors and have memory to spare."""


class ProgramError(RuntimeError):
    """A program ended although it should run."""


@dataclass(frozen=True, slots=True)
class Specification:
    """What to run. The environment is complete: nothing is inherited."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Program:
    """A process that runs a Specification and writes its output to one log file."""

    def __init__(self, specification: Specification, logs: Path) -> None:
        self.specification = specification
        self.log = logs / f"{specification.name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        """The program's name, as `Cluster.restart` takes it."""
        return self.specification.name

    @property
    def pid(self) -> int:
        """The process id; raises when it was never started."""
        if self._process is None:
            raise ProgramError(f"{self.name} was not started")
        return self._process.pid

    async def start(self) -> None:
        """Start it. Its output is appended to the log."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.specification.command,
                env=dict(self.specification.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def stop(self) -> None:
        """End it in order, or by force after a while; a stopped program is left alone."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """End it the way a power cut does."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def restart(self) -> None:
        """Stop it and start it again with the same command."""
        await self.stop()
        await self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes it, SIGCONT lets it go on. Nothing happens when it has ended."""
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(number)

    def check(self) -> None:
        """Raise, with the end of its log, when it is not running."""
        if self._process is None or self._process.returncode is not None:
            code = None if self._process is None else self._process.returncode
            raise ProgramError(f"{self.name} ended with status {code}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-_TAIL:] if self.log.exists() else ""
