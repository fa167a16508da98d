"""One container of a pod: its process, its probes, its restarts, its end."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

import aiohttp

from sandbox.names import JsonObject
from sandbox.node import echo, images, probes
from sandbox.node.status import ContainerRecord, Running, Terminated, Waiting

_SOURCES = Path(__file__).parent
_BACKOFF_START = 1.0
_BACKOFF_LIMIT = 30.0
"""Seconds before a crashed container is restarted again; kubelet's are 10 and 300, ten times as long."""

_BACKOFF_FORGOTTEN = 60.0
"""Seconds a container must have lived for its crashes to be forgotten (kubelet: 600)."""

_HOOK_ROOM = 2.0
"""Seconds a container gets after a preStop hook that used up its whole grace period, as with kubelet."""

_KILLED_BY_SIGNAL = 128
_DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What all containers of one pod share."""

    pod: JsonObject
    address: str
    network: str | None
    directory: Path
    logs: Path
    session: aiohttp.ClientSession
    changed: Callable[[], None]


def now() -> str:
    """Return the time as the API writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _end_group(leader: int) -> None:
    """End what a container's first process has left behind, as the end of a container does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class Container:
    """One container. `live` runs until it has ended for good."""

    def __init__(
        self,
        specification: JsonObject,
        environment: Mapping[str, str],
        mounts: Sequence[JsonObject],
        sandbox: Sandbox,
        restart_policy: str,
    ) -> None:
        self._specification = specification
        self._environment = environment
        self._mounts = mounts
        self._sandbox = sandbox
        self._restart_policy = restart_policy
        annotations = sandbox.pod["metadata"].get("annotations", {})
        self._behaviour = images.behaviour(specification, annotations, environment)
        self._process: asyncio.subprocess.Process | None = None
        self._ending = asyncio.Event()
        self.record = ContainerRecord(specification["name"], specification["image"])

    async def live(self) -> None:
        """Run the container, and again after it ended where the restart policy says so."""
        if isinstance(self._behaviour, images.Unpullable):
            await self._never_pulled()
            return
        backoff = _BACKOFF_START
        while not self._ending.is_set():
            begun = time.monotonic()
            ended = await self._run_once()
            if self._ending.is_set() or not self._restarts(ended.exit_code):
                return
            if time.monotonic() - begun > _BACKOFF_FORGOTTEN:
                backoff = _BACKOFF_START
            if self.record.restarts > 0:
                await self._back_off(backoff, ended)
                backoff = min(2 * backoff, _BACKOFF_LIMIT)
            self._note(restarts=self.record.restarts + 1, last=ended)

    async def end(self, grace: float) -> None:
        """End the container as kubelet does: preStop hook, SIGTERM, and SIGKILL when the grace is over."""
        self._ending.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        deadline = time.monotonic() + grace
        hook = self._specification.get("lifecycle", {}).get("preStop")
        if hook is not None and grace > 0:
            with contextlib.suppress(TimeoutError, OSError, aiohttp.ClientError):
                async with asyncio.timeout(grace):
                    await self._run_hook(hook)
            deadline = max(deadline, time.monotonic() + _HOOK_ROOM)
        await self._stop(process, deadline - time.monotonic())

    def kill(self) -> None:
        """End the container's process at once; its restart policy still applies."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    @property
    def target(self) -> probes.Target:
        """What this container's probes are aimed at."""
        ports = {port["name"]: port["containerPort"] for port in self._ports if "name" in port}
        return probes.Target(self._sandbox.address, ports, self.execute, self._sandbox.session)

    async def execute(self, command: Sequence[str]) -> int:
        """Run a command inside the container and return its exit status."""
        if self._process is None:
            return 1
        inside = ["nsenter", "--target", str(self._process.pid), "--net", "--mount", "--root", "--wd"]
        prefix = inside if isinstance(self._behaviour, images.Command) else []
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *prefix, *command, env=self._complete_environment(), stdout=log, stderr=log
            )
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()

    @property
    def _ports(self) -> Sequence[JsonObject]:
        ports: Sequence[JsonObject] = self._specification.get("ports", ())
        return ports

    @property
    def _log(self) -> Path:
        return self._sandbox.logs / f"{self.record.name}.log"

    def _note(self, **changes: object) -> None:
        self.record = replace(self.record, **changes)  # type: ignore[arg-type]  # names of fields
        self._sandbox.changed()

    async def _never_pulled(self) -> None:
        image = self.record.image
        self._note(state=Waiting("ErrImagePull", f"image {image} does not exist"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BACKOFF_START):
                await self._ending.wait()
        self._note(state=Waiting("ImagePullBackOff", f'Back-off pulling image "{image}"'))
        await self._ending.wait()

    async def _run_once(self) -> Terminated:
        """Run the process once with its probes; return how it ended."""
        began = now()
        process = await self._spawn()
        self._process = process
        if self._ending.is_set():
            process.kill()
        self._note(state=Running(began), started=False, ready=False)
        watching = asyncio.create_task(self._probe(process))
        try:
            code = await process.wait()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            _end_group(process.pid)
        if not watching.cancelled() and (failure := watching.exception()) is not None:
            raise failure
        code = _KILLED_BY_SIGNAL - code if code < 0 else code
        ended = Terminated(code, began, now())
        self._note(state=ended, started=False, ready=False)
        return ended

    async def _back_off(self, seconds: float, ended: Terminated) -> None:
        name = f"{self.record.name} in pod {self._sandbox.pod['metadata']['name']}"
        message = f"back-off {seconds:g}s restarting failed container={name}"
        self._note(state=Waiting("CrashLoopBackOff", message), last=ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()

    def _restarts(self, code: int) -> bool:
        return self._restart_policy == "Always" or (self._restart_policy == "OnFailure" and code != 0)

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._command()]
        piped = isinstance(self._behaviour, images.Demo)
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                env=self._complete_environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if piped else log,
                stderr=log,
                start_new_session=True,
            )

    def _command(self) -> Sequence[str]:
        match self._behaviour:
            case images.Demo(crashes=True):
                return ["false"]
            case images.Demo() as demo:
                server = [sys.executable, "-I", "-S", str(_SOURCES / "echo.py")]
                return [*self._in_network(), *server, self._echo_settings(demo)]
            case images.Command(arguments):
                return [*self._in_network(), *self._in_own_root(arguments)]
            case images.Unpullable():
                raise AssertionError("an image that does not exist is never run")
            case _:
                assert_never(self._behaviour)

    def _echo_settings(self, demo: images.Demo) -> str:
        ports = {int(port["containerPort"]) for port in self._ports}
        if "PORT" in self._environment:
            ports.add(int(self._environment["PORT"]))
        metadata = self._sandbox.pod["metadata"]
        node = self._sandbox.pod["spec"]["nodeName"]
        identity = {"pod": metadata["name"], "namespace": metadata["namespace"], "node": node}
        return json.dumps(
            {
                "address": self._sandbox.address,
                "ports": sorted(ports or {_DEFAULT_PORT}),
                "delay": demo.ready_after,
                "serves": demo.serves,
                "failing": demo.failing,
                "drains": demo.drains,
                "identity": {**identity, "image": self.record.image},
            }
        )

    def _in_own_root(self, arguments: Sequence[str]) -> Sequence[str]:
        root = self._sandbox.directory / f"root-{self.record.name}"
        root.mkdir(parents=True, exist_ok=True)
        specification = {
            "root": str(root),
            "mounts": list(self._mounts),
            "directory": self._specification.get("workingDir", "/"),
            "command": list(arguments),
            "environment": self._complete_environment(),
        }
        return [sys.executable, "-I", "-S", str(_SOURCES / "launch.py"), json.dumps(specification)]

    def _in_network(self) -> Sequence[str]:
        network = self._sandbox.network
        return [] if network is None else ["nsenter", f"--net={network}"]

    def _complete_environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "HOSTNAME": self._sandbox.pod["metadata"]["name"], **self._environment}

    async def _probe(self, process: asyncio.subprocess.Process) -> None:
        """Turn what the probes find into started and ready, and end what is not alive."""
        if process.stdout is not None:
            listening = asyncio.create_task(self._await_listening(process.stdout))
        else:
            listening = None
        startup = self._specification.get("startupProbe")
        try:
            if startup is not None and not await self._started(startup):
                await self._replace(process)
                return
            self._note(started=True)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_readiness(listening))
                if "livenessProbe" in self._specification:
                    group.create_task(self._follow_liveness(process))
        finally:
            if listening is not None:
                listening.cancel()

    async def _await_listening(self, output: asyncio.StreamReader) -> None:
        """Wait until a demo image says that it accepts connections, for ever if it never does."""
        line = await output.readline()
        if line.decode().strip() != echo.LISTENING:
            await asyncio.Event().wait()

    async def _started(self, probe: JsonObject) -> bool:
        async for verdict in probes.verdicts(probe, self.target, initially=False):
            return verdict
        return False

    async def _follow_readiness(self, listening: asyncio.Task[None] | None) -> None:
        probe = self._specification.get("readinessProbe")
        if probe is not None:
            async for verdict in probes.verdicts(probe, self.target, initially=False):
                if verdict != self.record.ready:
                    self._note(ready=verdict)
            return
        if listening is not None:
            await listening
        self._note(ready=True)

    async def _follow_liveness(self, process: asyncio.subprocess.Process) -> None:
        async for verdict in probes.verdicts(
            self._specification["livenessProbe"], self.target, initially=True
        ):
            if not verdict and not self._ending.is_set():
                await self._replace(process)

    async def _replace(self, process: asyncio.subprocess.Process) -> None:
        """End a process that a probe condemned; the restart policy does the rest."""
        grace = self._sandbox.pod["spec"].get("terminationGracePeriodSeconds", 30)
        await self._stop(process, grace)

    async def _stop(self, process: asyncio.subprocess.Process, grace: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate() if grace > 0 else process.kill()
            try:
                async with asyncio.timeout(max(grace, _HOOK_ROOM)):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _run_hook(self, hook: JsonObject) -> None:
        match hook:
            case {"sleep": {"seconds": seconds}}:
                await asyncio.sleep(seconds)
            case {"exec": {"command": command}}:
                await self.execute(command)
            case {"httpGet": action}:
                await probes.http_get(action, self.target)
            case _:
                pass
