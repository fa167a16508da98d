"""`kubectl sluice loadtest` as a process: what it prints, and how it ends."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process

import pytest
from aiohttp import web

from tests.unit.loadtest.test_load import answered, serving


async def started(*arguments: str) -> Process:
    """Start the command."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "loadtest", *arguments, stdout=PIPE, stderr=PIPE
    )


async def good(request: web.Request) -> web.Response:
    """Answer as version one, POSTs with an error."""
    return answered("one", 200 if request.method == "GET" else 500)


async def test_summary_says_what_became_of_every_request() -> None:
    """By version; exit code 0 when none was lost."""
    async with serving(good) as url:
        process = await started(url, "--duration", "0.5", "--revision-header", "X-Version")
        output, _ = await process.communicate()

    lines = output.decode().splitlines()
    assert process.returncode == 0
    assert lines[0].startswith("sent ")
    assert ", lost 0: one " in lines[0]
    assert lines[-1].startswith("answered within: p50 ")


async def test_loss_is_said_with_its_reason_and_is_an_error() -> None:
    """Exit code 1, for scripts."""
    async with serving(good) as url:
        process = await started(url, "--duration", "0.5", "--rate", "0", "--post-rate", "20")
        output, _ = await process.communicate()

    assert process.returncode == 1
    assert " of post: status 500" in output.decode()


async def test_interrupt_ends_it_in_order() -> None:
    """Ctrl-C is how a load of no fixed duration ends: with its summary."""
    async with serving(good) as url:
        process = await started(url)
        assert process.stderr is not None
        await process.stderr.readline()  # it has begun
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()

    assert process.returncode == 0
    assert output.decode().startswith("sent ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop.example.com"], "is not scheme, host and port"),
        (["http://a.example.com/path"], "a path belongs to --path"),
        (["http://a.example.com", "--rate", "-1"], "is not a number of at least 0"),
        (["http://a.example.com", "--rate", "0"], "nothing to send"),
        (["http://a.example.com", "--duration", "soon"], "is not a number"),
    ],
)
async def test_wrong_option_is_refused_with_its_reason(arguments: list[str], said: str) -> None:
    """Before anything is sent."""
    process = await started(*arguments)
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert said in errors.decode()
