"""The life of one process: start, run until told to stop, stop in order.

The first SIGTERM or SIGINT: readiness goes false; the process serves on for the drain delay, so that
whoever still routes to it learns of it; then everything started is stopped in reverse order, each with
a timeout; exit code 0. A second signal ends the process at once. The end of an essential task stops the
process in the same order with exit code 1. What is started, the ``start`` function given to ``run`` says.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import FrameType
from typing import TypeVar

from runtime import logs
from runtime.clock import Clock, SystemClock
from runtime.health import Health, application
from runtime.logs import Log
from runtime.metrics import Metrics, product_version
from runtime.server import Server
from runtime.settings import ProcessSettings, SettingsError, load
from runtime.tasks import Run, Tasks

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_SETTINGS = 2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A task is cancelled and then only cleans up after itself.
_TASK_STOP_SECONDS = 5.0
_SERVER_STOP_SECONDS = 10.0  # above the time that ``Server`` gives its running requests

Stop = Callable[[], Awaitable[None]]
_Settings = TypeVar("_Settings", bound=ProcessSettings)


class Process:
    """What the parts of a process share, and the order in which they are stopped."""

    def __init__(
        self, name: str, settings: ProcessSettings, clock: Clock, drain_seconds: float = 0.0
    ) -> None:
        self.log = Log(name)
        self.clock = clock
        self.started = asyncio.Event()
        self.metrics = Metrics(name, product_version())
        self.health = Health(self.log)
        self.probes_port = settings.http_port
        self._settings = settings
        self._drain_seconds = drain_seconds
        self._stops: list[tuple[str, Stop, float]] = []
        self._stopping = asyncio.Event()
        self._reason = ""
        self._exit_code = EXIT_STOPPED
        self._tasks = Tasks(self.log, self.metrics, clock, self._essential_task_ended)
        self.health.add_live("tasks", self._tasks.unsupervised)
        self.health.add_ready("process", self._not_ready)

    @property
    def stopping(self) -> bool:
        """Whether the process was told to stop; it serves on for the drain delay."""
        return self._stopping.is_set()

    def start_task(self, name: str, run: Run, *, essential: bool = False) -> None:
        """Start a supervised task (see ``tasks``); it is stopped in its turn."""
        self._tasks.start(name, run, essential=essential)
        self.on_stop(f"task {name}", lambda: self._tasks.stop(name), _TASK_STOP_SECONDS)

    async def start_server(
        self, name: str, server: Server, stop_seconds: float = _SERVER_STOP_SECONDS
    ) -> None:
        """Start a listener; it is stopped in its turn."""
        await server.start()
        self.on_stop(name, server.stop, stop_seconds)
        self.log.info("Listening", server=name, port=server.port)

    def on_stop(self, name: str, stop: Stop, seconds: float) -> None:
        """Call ``stop`` when the process stops, before all that was added earlier."""
        self._stops.append((name, stop, seconds))

    def stop(self, reason: str, exit_code: int = EXIT_STOPPED) -> None:
        """Begin to stop. The first reason counts; the worst exit code counts."""
        self._reason = self._reason or reason
        self._exit_code = max(self._exit_code, exit_code)
        self._stopping.set()

    async def run(self, start: Callable[["Process"], Awaitable[None]]) -> int:
        """Live: probes first, then ``start``, then until stopped. Return the exit code."""
        self._listen_to_signals()
        try:
            probes = application(self.health, self.metrics)
            server = Server(probes, self._settings.bind_address, self._settings.http_port)
            await self.start_server("probes", server)
            self.probes_port = server.port
            await self._start_or_stop(start)
            await self._stopping.wait()
        except Exception:  # the boundary of the process: logged, then everything is stopped
            self.log.exception("The process failed to start")
            self.stop("failed to start", EXIT_FAILED)
        await self._stop_all()
        return self._exit_code

    async def _start_or_stop(self, start: Callable[["Process"], Awaitable[None]]) -> None:
        """Start, unless told to stop meanwhile: a start that waits for the API server can take for ever."""
        starting = asyncio.ensure_future(start(self))
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        if starting.cancelled():
            return
        starting.result()
        self.started.set()
        self.log.info("Started")

    async def _stop_all(self) -> None:
        self.log.info("Stopping", reason=self._reason, drain_seconds=self._drain_seconds)
        if self.started.is_set():
            await self.clock.sleep(self._drain_seconds)
        while self._stops:
            name, stop, seconds = self._stops.pop()
            try:
                async with asyncio.timeout(seconds):
                    await stop()
            except Exception:  # one part that fails to stop must not keep the others from it
                self.log.exception("A part failed to stop", part=name, seconds=seconds)
                self._exit_code = max(self._exit_code, EXIT_FAILED)
        self.log.info("Stopped", exit_code=self._exit_code)

    def _not_ready(self) -> str | None:
        if self._stopping.is_set():
            return f"stopping: {self._reason}"
        return None if self.started.is_set() else "starting"

    def _essential_task_ended(self, task: str) -> None:
        self.stop(f"essential task {task} ended", EXIT_FAILED)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._first_signal, number)

    def _first_signal(self, number: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            # A handler of the interpreter, not of the loop: it also ends a process whose loop is stuck.
            # SIG_DFL would not do: the kernel drops it for process 1 of a container.
            signal.signal(each, _exit_at_once)
        self.stop(f"received {number.name}")


def load_or_exit(
    kind: type[_Settings], program: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> _Settings:
    """Return the settings; with wrong ones, say so on standard error and exit with code 2."""
    try:
        return load(kind, arguments, environment, program)
    except SettingsError as error:
        sys.stderr.writelines(f"{program}: {problem}\n" for problem in error.problems)
        raise SystemExit(EXIT_SETTINGS) from None


def run(
    name: str,
    settings: ProcessSettings,
    start: Callable[[Process], Awaitable[None]],
    drain_seconds: float = 0.0,
) -> int:
    """Run a process from the first log line to the exit code: the body of every ``main``."""
    logs.configure(settings.log_level, settings.log_format)

    async def live() -> int:
        return await Process(name, settings, SystemClock(), drain_seconds).run(start)

    return asyncio.run(live())


def _exit_at_once(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
