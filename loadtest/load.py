"""Sending: so many requests a second in several streams, whatever becomes of those before."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import aiohttp

from loadtest.account import Account, Request

_MOST_OPEN = 2000
"""Requests that may be open at a time: a server that answers none of them would take all memory."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one shape, ``rate`` of them a second."""

    name: str
    rate: float
    path: str = "/"
    method: str = "GET"
    body_size: int = 0
    """Bytes that each request carries."""
    fresh: bool = False
    """Open a connection for every request, in place of keeping them."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and how an answer is read."""

    url: str
    """Scheme, host and port: http://127.0.0.1:8000."""
    host: str = ""
    """The Host header, where it is another than the URL's."""
    revision_header: str = ""
    """The header of an answer that names the revision which gave it; an answer without it is lost."""
    server_header: str = ""
    """The header that names the very server; looked at, not asked for."""
    expected: frozenset[int] = frozenset({200})
    """The statuses of good answers."""
    timeout: float = 10.0
    """Seconds after which a request is lost."""


class Load:
    """A load under way."""

    def __init__(self, target: Target, account: Account, requests: asyncio.TaskGroup) -> None:
        self._target = target
        self._account = account
        self._requests = requests
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._stopped = asyncio.Event()
        self._open = 0
        self._changed = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Send nothing during the block, which begins when every open request has ended."""
        self._flowing.clear()
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._open)
            yield
        finally:
            self._flowing.set()

    def stop(self) -> None:
        """Send no more; what is open goes on."""
        self._stopped.set()
        self._flowing.set()

    async def feed(self, stream: Stream, session: aiohttp.ClientSession) -> None:
        """Send a stream's requests at their times until stopped."""
        due = time.monotonic()
        while not self._stopped.is_set():
            if not self._flowing.is_set():
                await self._flowing.wait()
                due = time.monotonic()
            self._begin(stream, session, due)
            due += 1 / stream.rate
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._stopped.wait()

    def _begin(self, stream: Stream, session: aiohttp.ClientSession, due: float) -> None:
        """Send a request; its time counts from when it was due, whatever kept it."""
        identity = uuid.uuid4().hex
        if self._open >= _MOST_OPEN:
            loss = f"not sent: {_MOST_OPEN} requests are open"
            self._account.add(Request(stream.name, identity, due, due, loss=loss))
            return
        self._open += 1
        self._requests.create_task(self._send(stream, session, identity, due))

    async def _send(self, stream: Stream, session: aiohttp.ClientSession, identity: str, due: float) -> None:
        try:
            self._account.add(await self._answered(stream, session, identity, due))
        finally:
            self._open -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _answered(
        self, stream: Stream, session: aiohttp.ClientSession, identity: str, began: float
    ) -> Request:
        target, attempts = self._target, _Attempts()
        host = {"Host": target.host} if target.host else {}
        try:
            async with session.request(
                stream.method,
                stream.path,
                headers={**stream.headers, **host, "X-Request-Id": identity},
                data=bytes(stream.body_size) if stream.body_size else None,
                allow_redirects=False,
                trace_request_ctx=attempts,
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            loss = _reason(error)
            return Request(stream.name, identity, began, time.monotonic(), loss=loss)
        revision = answer.headers.get(target.revision_header, "") if target.revision_header else ""
        return Request(
            stream.name,
            identity,
            began,
            time.monotonic(),
            answer.status,
            revision,
            answer.headers.get(target.server_header, "") if target.server_header else "",
            self._loss(answer.status, revision, attempts),
        )

    def _loss(self, status: int, revision: str, attempts: "_Attempts") -> str:
        if status not in self._target.expected:
            return f"status {status}"
        if self._target.revision_header and not revision:
            return f"no header {self._target.revision_header}"
        # The client library sends some requests a second time when a kept connection breaks.
        return "answered when sent again" if attempts.made > 1 else ""


@contextlib.asynccontextmanager
async def running(target: Target, streams: Sequence[Stream], account: Account) -> AsyncIterator[Load]:
    """Send a load while the block runs; it ends when every request has ended."""
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(_session(target, each)) for each in streams]
        async with asyncio.TaskGroup() as group:
            load = Load(target, account, group)
            for stream, session in zip(streams, sessions, strict=True):
                group.create_task(load.feed(stream, session))
            try:
                yield load
            finally:
                load.stop()


def _session(target: Target, stream: Stream) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        target.url,
        connector=aiohttp.TCPConnector(limit=0, force_close=stream.fresh),
        # A session's cookie would keep all of its requests with one version.
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=target.timeout),
        trace_configs=[_counting_attempts()],
    )


@dataclass(slots=True)
class _Attempts:
    """How often a connection was taken for a request."""

    made: int = 0


def _counting_attempts() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def begun(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
        context.trace_request_ctx.made += 1

    trace.on_connection_create_start.append(begun)
    trace.on_connection_reuseconn.append(begun)
    return trace


def _reason(error: Exception) -> str:
    """Name an error so that equal ones count as equal: without addresses."""
    name, cause = type(error).__name__, error.__cause__
    text = getattr(cause, "strerror", None) or getattr(error, "strerror", None)
    return f"{name}: {text}" if text else name
