"""A load accounts for every request, whatever a server does to it: a real one, on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from loadtest.account import Account, Request
from loadtest.load import Stream, Target, running

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
KEPT = Stream("kept", 200)


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[str]:
    """Run a server with one handler for everything; give its URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


async def sent(handle: Handler, *streams: Stream, count: int = 20, patience: float = 10.0) -> Account:
    """Send a load until so many requests have ended; return what became of all of them."""
    enough = asyncio.Event()

    def observe(_: Request) -> None:
        if account.total >= count:
            enough.set()

    account = Account(observe)
    async with serving(handle) as url:
        target = Target(url, "a.example.com", "X-Version", "X-Pod", timeout=patience)
        async with running(target, streams, account):
            await enough.wait()
    return account


def answered(version: str, status: int = 200) -> web.Response:
    """Return an answer that says who gave it."""
    return web.Response(status=status, headers={"X-Version": version, "X-Pod": f"pod-{version}"})


async def test_every_request_is_counted_by_stream_and_version() -> None:
    """The sums are those of the server."""
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers["X-Request-Id"])
        assert request.host == "a.example.com"
        return answered("one" if len(seen) % 4 else "two")

    account = await sent(handle, KEPT, Stream("fresh", 100, fresh=True))

    assert account.total == len(seen) == len(set(seen))
    assert account.lost == 0
    assert account.answered["two"] == len(seen) // 4
    assert set(account.sent) == {"kept", "fresh"}


async def test_body_arrives_whole() -> None:
    """A POST carries as many bytes as it says."""
    sizes: set[tuple[str, int]] = set()

    async def handle(request: web.Request) -> web.Response:
        sizes.add((request.method, len(await request.read())))
        return answered("one")

    account = await sent(handle, Stream("post", 100, method="POST", body_size=70_000))

    assert sizes == {("POST", 70_000)}
    assert account.lost == 0


async def test_other_status_is_a_loss() -> None:
    """It says which, and who gave it."""

    async def handle(request: web.Request) -> web.Response:
        del request
        return answered("one", 503)

    account = await sent(handle, KEPT)

    assert account.losses == {("kept", "status 503"): account.total}
    assert account.lost_requests[0].server == "pod-one"


async def test_answer_from_nobody_that_was_asked_for_is_a_loss() -> None:
    """A proxy's own page, for instance."""

    async def handle(request: web.Request) -> web.Response:
        del request
        return web.Response()

    account = await sent(handle, KEPT)

    assert account.losses == {("kept", "no header X-Version"): account.total}


async def test_broken_connection_is_a_loss_although_the_client_sends_again() -> None:
    """The client library repeats a request on a new connection when a kept one breaks: that is told apart."""
    seen: set[str] = set()

    async def handle(request: web.Request) -> web.Response:
        identity, transport = request.headers["X-Request-Id"], request.transport
        first = identity not in seen
        seen.add(identity)
        if len(seen) > 5 and first and transport is not None:
            transport.abort()
        return answered("one")

    account = await sent(handle, Stream("kept", 50))

    reasons = {reason for _, reason in account.losses}
    assert account.lost == account.total - 5
    assert "answered when sent again" in reasons


async def test_request_without_an_answer_in_time_is_a_loss() -> None:
    """It is waited for until then, also when the load has ended."""

    async def handle(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return answered(request.path)

    account = await sent(handle, KEPT, count=5, patience=0.2)

    assert account.lost == account.total >= 5
    assert {reason for _, reason in account.losses} == {"TimeoutError"}


async def test_nothing_is_sent_or_open_in_a_pause() -> None:
    """A pause begins when the last answer has come."""
    open_now, seen = 0, 0
    several = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        nonlocal open_now, seen
        del request
        open_now, seen = open_now + 1, seen + 1
        if open_now > 3:
            several.set()
        await several.wait()
        open_now -= 1
        return answered("one")

    account = Account()
    async with serving(handle) as url, running(Target(url), [KEPT], account) as load:
        await several.wait()
        async with load.paused():
            paused = open_now, seen
            counted = account.total
        resumed = asyncio.Event()
        account.observe = lambda _: resumed.set()
        await resumed.wait()

    assert paused == (0, counted)
    assert account.total == seen > counted


async def test_quantiles_are_those_of_the_answers() -> None:
    """To the width of a bucket."""
    account = Account()
    for milliseconds in range(1, 1001):
        account.add(Request("kept", "", 0.0, milliseconds / 1000, 200))

    assert 0.5 <= account.quantile(0.5) <= 0.55
    assert 0.99 <= account.quantile(0.99) <= 1.09
    assert Account().quantile(0.5) == 0
