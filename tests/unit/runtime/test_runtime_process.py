"""A process's life, on real processes with real signals, and in order on a manual clock."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from runtime.clock import ManualClock
from runtime.process import EXIT_FAILED, EXIT_STOPPED, Process
from runtime.settings import ProcessSettings

ROOT = Path(__file__).parents[3]
SETTINGS = ProcessSettings(http_port=0, bind_address="127.0.0.1")
# A start of the interpreter on a busy machine; a hung process fails the test instead of holding the suite.
PATIENCE = 30


class Example:
    """A started example process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Return the next line it prints."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode().strip()

    async def ended(self) -> tuple[int | None, list[str], list[dict[str, object]]]:
        """Wait for its end; return the exit code, the lines printed since and the lines logged."""
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return (
            self.process.returncode,
            out.decode().splitlines(),
            [json.loads(line) for line in err.decode().splitlines()],
        )


async def example(kind: str, drain_seconds: float = 0) -> Example:
    """Start the example process."""
    return Example(
        await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("example_process.py")),
            kind,
            str(drain_seconds),
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_in_reverse_order_with_exit_code_0(number: signal.Signals) -> None:
    """What was started last is stopped first; an ordered stop is a success."""
    running = await example("plain")
    assert await running.line() == "started"

    running.process.send_signal(number)
    code, said, logged = await running.ended()

    assert code == EXIT_STOPPED
    assert said == ["ready while draining was over: False", "task stopped", "first stopped"]
    assert logged[-1]["message"] == "Stopped"
    assert {"message": "Stopping", "reason": f"received {number.name}"}.items() <= logged[-2].items()


async def test_second_signal_ends_a_draining_process_at_once() -> None:
    """Who is in a hurry is obeyed."""
    running = await example("plain", drain_seconds=3600)
    assert await running.line() == "started"

    running.process.send_signal(signal.SIGTERM)
    assert running.process.stderr is not None
    while b'"Stopping"' not in await asyncio.wait_for(running.process.stderr.readline(), PATIENCE):
        pass
    running.process.send_signal(signal.SIGTERM)
    code, said, _ = await running.ended()

    assert code == 128 + signal.SIGTERM
    assert said == []


async def test_stop_that_hangs_is_given_up_and_the_others_follow() -> None:
    """One part that does not stop costs its timeout and the exit code, not the others' stop."""
    running = await example("hanging-stop")
    assert await running.line() == "started"

    running.process.terminate()
    code, said, logged = await running.ended()

    assert code == EXIT_FAILED
    assert said[-1] == "first stopped"
    assert ["A part failed to stop", "hanging"] in [[line["message"], line.get("part")] for line in logged]


async def test_end_of_an_essential_task_stops_the_process_with_exit_code_1() -> None:
    """The rest is stopped in order, and whoever restarts us learns that something was wrong."""
    running = await example("essential")

    code, said, logged = await running.ended()

    assert code == EXIT_FAILED
    assert said[-2:] == ["task stopped", "first stopped"]
    assert "essential task lease ended" in [line.get("reason") for line in logged]


async def test_start_that_fails_stops_what_was_started() -> None:
    """A failed start leaves nothing half open and is logged once."""
    running = await example("failing-start")

    code, said, logged = await running.ended()

    assert code == EXIT_FAILED
    assert said[-1] == "first stopped"
    assert [line["error"] for line in logged if "error" in line] == ["RuntimeError: no such thing"]


async def test_signal_during_start_is_obeyed_without_drain() -> None:
    """A start that waits for an absent API server can be stopped, and nobody routes to it yet."""
    running = await example("stuck-start", drain_seconds=3600)
    assert await running.line() == "started"

    running.process.terminate()
    code, said, _ = await running.ended()

    assert code == EXIT_STOPPED
    assert said[-1] == "first stopped"


async def test_readiness_is_false_and_requests_are_served_while_draining() -> None:
    """Between the signal and the stop, probes say 503 while everything still works."""
    clock = ManualClock()
    process = Process("test", SETTINGS, clock, drain_seconds=5)

    async def start(process: Process) -> None:
        process.health.add_ready("caches", lambda: None)

    life = asyncio.create_task(process.run(start))
    await asyncio.wait_for(process.started.wait(), PATIENCE)
    port = process.probes_port
    assert process.health.ready().passed

    process.stop("the test says so")
    assert await clock.sleeping() == 5
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            assert (response.status, await response.text()) == (
                503,
                "process: stopping: the test says so\ncaches: ok\nfailed\n",
            )
        async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert response.status == 200
    await clock.advance(5)

    assert await asyncio.wait_for(life, PATIENCE) == EXIT_STOPPED
