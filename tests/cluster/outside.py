"""Our processes beside the cluster, each started as a person would start it, against a kubeconfig."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sandbox.cluster import Cluster
from tests.cluster.chart_install import NAMESPACE

_SECONDS = 60.0
_COMMON = ("--namespace", NAMESPACE)


class Outside:
    """One of our processes, started as a person would, and what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    async def says(self, text: str) -> None:
        """Wait until the log contains a text: the process has no other face to a person who runs it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(_SECONDS):
            async for line in self.process.stderr:
                with self.log.open("ab") as log:
                    log.write(line)
                if text in line.decode():
                    return
        raise AssertionError(f"ended without saying {text!r}: {self.log.read_text()}")

    async def stop(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        await asyncio.wait_for(self.process.communicate(), _SECONDS)
        return int(self.process.returncode or 0)


@asynccontextmanager
async def running(
    cluster: Cluster, directory: Path, module: str, *flags: str, kubeconfig: Path | None = None
) -> AsyncIterator[Outside]:
    """Run one of our processes beside the cluster."""
    login = ("--kubeconfig", str(kubeconfig or cluster.kubeconfig))
    command = (sys.executable, "-m", module, *login, *_COMMON, *flags)
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(cluster.environment), stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        yield Outside(process, directory / f"{module}.log")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
