"""A reverse proxy in front of the real API server that does what networks and busy API servers do.

Each fault happens to the first requests that it matches, as often as it says. What matches no fault passes
through byte by byte.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import aiohttp
from aiohttp import web

from kube.login import Headers, Login

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive", "authorization"}


@dataclass
class Fault:
    """What happens to a request: see each field."""

    matches: Callable[[web.Request], bool]
    times: int = 1
    status: int | None = None
    """Answer with this code, and do not ask the API server."""
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    """Ask the API server with these parameters in place of the caller's."""
    delay: float = 0.0
    """Keep the request for so many seconds before the API server gets it."""
    before: bytes = b""
    """Send these bytes before the API server's answer."""
    stop_after: int | None = None
    """Pass so many bytes of the answer and then cut the connection,"""
    silently: bool = False
    """or, with this, keep it open and send nothing more."""


def watches(request: web.Request) -> bool:
    """Match watches."""
    return "watch" in request.query


def lists(request: web.Request) -> bool:
    """Match requests for a page of a collection, the first or a later one."""
    return request.method == "GET" and "watch" not in request.query


def further_pages(request: web.Request) -> bool:
    """Match requests for any page but the first."""
    return "continue" in request.query


def everything(request: web.Request) -> bool:
    """Match whatever comes."""
    return bool(request)


@dataclass
class FaultyServer:
    """A running proxy: how to log in to it, what it will do wrong, what it was asked for."""

    login: Login
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    down: bool = False
    """While true, connections are cut before any answer."""
    lag: float = 0.0
    """Seconds after which each piece of a watch that comes from now on is passed on."""
    open: list[web.Request] = field(default_factory=list)
    """Requests that are being answered."""

    def write_kubeconfig(self, file: Path) -> None:
        """Write what a program needs to reach the API server through here."""
        found = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "faulty",
            "clusters": [{"name": "faulty", "cluster": {"server": self.login.server}}],
            "users": [{"name": "faulty", "user": {}}],
            "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "faulty"}}],
        }
        file.write_text(json.dumps(found), encoding="utf-8")

    def add(self, fault: Fault) -> None:
        """Have a fault happen."""
        self.faults.append(fault)

    def hang_up(self) -> None:
        """Cut all connections that are being answered."""
        for request in self.open:
            if request.transport is not None:
                request.transport.abort()

    def count(self, words: str) -> int:
        """Tell how many requests had these words in method, path or query."""
        return sum(words in line for line in self.asked)

    def next_fault(self, request: web.Request) -> Fault | None:
        """Find and use up a fault."""
        for fault in self.faults:
            if fault.matches(request):
                fault.times -= 1
                if fault.times == 0:
                    self.faults.remove(fault)
                return fault
        return None


class _Nobody:
    """No credentials: the proxy puts in its own."""

    async def headers(self) -> Headers:
        return []

    def refused(self) -> None:
        """Have nothing to renew."""


@asynccontextmanager
async def faulty(login: Login) -> AsyncIterator[FaultyServer]:
    """Run a proxy that speaks to the cluster with `login`, and to us on plain HTTP."""
    connector = aiohttp.TCPConnector(ssl=login.tls or True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as upstream:
        server = FaultyServer(login)

        async def handle(request: web.Request) -> web.StreamResponse:
            server.asked.append(f"{request.method} {request.path_qs}")
            if server.down:
                _cut(request)
            fault = server.next_fault(request)
            if fault is not None and fault.status is not None:
                body = {"kind": "Status", "code": fault.status, "reason": fault.reason, "message": "a fault"}
                return web.json_response(body, status=fault.status, headers=fault.headers)
            server.open.append(request)
            try:
                return await _pass(upstream, login, request, fault or Fault(everything), lambda: server.lag)
            except (aiohttp.ClientError, OSError):  # either side went away
                _cut(request)
            finally:
                server.open.remove(request)

        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://{}:{}".format(*runner.addresses[0][:2])
        server.login = replace(login, server=url, tls=None, anonymous_tls=None, credentials=_Nobody())
        try:
            yield server
        finally:
            await runner.cleanup()


async def _pass(
    upstream: aiohttp.ClientSession,
    login: Login,
    request: web.Request,
    fault: Fault,
    lag: Callable[[], float],
) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    await asyncio.sleep(fault.delay)
    async with upstream.request(
        request.method,
        login.server + request.path,
        params={**request.query, **fault.query},
        headers=[*headers.items(), *await login.credentials.headers()],
        data=await request.read() or None,  # an empty body would be said to have a type
        timeout=aiohttp.ClientTimeout(total=None),
    ) as answer:
        response = web.StreamResponse(status=answer.status)
        if kind := answer.headers.get("Content-Type"):
            response.headers["Content-Type"] = kind  # its parameters name API groups
        await response.prepare(request)
        if fault.before:
            await response.write(fault.before)
        left = fault.stop_after
        pieces = answer.content.iter_any()
        async for chunk in _late(pieces, lag) if watches(request) else pieces:
            await response.write(chunk if left is None else chunk[:left])
            if left is not None:
                left -= len(chunk)
                if left <= 0:
                    await _stop(request, silently=fault.silently)
        await response.write_eof()
        return response


async def _late(pieces: AsyncIterator[bytes], lag: Callable[[], float]) -> AsyncIterator[bytes]:
    """Give each piece so many seconds after it came, however many are on their way."""
    queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()

    async def read() -> None:
        try:
            async for piece in pieces:
                queue.put_nowait((time.monotonic() + lag(), piece))
        finally:
            queue.put_nowait((time.monotonic() + lag(), None))

    reading = asyncio.create_task(read())
    try:
        while True:
            due, late = await queue.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if late is None:
                break
            yield late
        await reading
    finally:
        reading.cancel()


async def _stop(request: web.Request, *, silently: bool) -> NoReturn:
    if silently:
        await asyncio.Event().wait()
    _cut(request)


def _cut(request: web.Request) -> NoReturn:
    """Close the connection in the middle of everything."""
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError  # what aiohttp's own handlers end with when their peer is gone
