"""The webhook over HTTP: bodies in, answers out, and a 4xx for everything that is no review.

Knows nothing of what is reviewed. Every request ends in an answer: a hostile one in a 4xx and a line in
our log, one that meets a bug of ours in a 500, upon which the failure policy of its hook decides. Never
is anything let through because it could not be read.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from prometheus_client import CollectorRegistry, Counter, Histogram

from runtime.clock import Clock
from runtime.logs import Log
from webhook.endpoints import Endpoint, body_limit
from webhook.review import Malformed

_BODY_SECONDS = 10.0
"""How long a body may take to arrive: after 5 s, the longest hook timeout, nobody waits for the answer."""
_LARGE_BYTES, _MOST_LARGE = 1024 * 1024, 4
"""Bodies beyond this size are read so many at a time on each path, before anybody is known: memory is the
limit. Whoever holds these places keeps large bodies of that path out, and nobody else."""
_LARGE_BODY_SECONDS = 2.0
_PLACE_SECONDS = 5.0
"""How long a large body waits for a place: the longest hook timeout."""
_JSON = "application/json"
# How long requests that run when the listener closes get to end; above the longest hook timeout (5 s).
FINISH_SECONDS = 8.0
# Above the API server's own (90 s): the side that opened a connection closes it, so that no request meets one
# that we are just closing.
_KEEP_ALIVE_SECONDS = 120.0
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


class Traffic:
    """What the webhook counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._known: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._reviews = Counter(
            "sluice_webhook_reviews",
            "Requests answered, by path and outcome.",
            ["path", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "sluice_webhook_review_seconds",
            "Time from a request's head to its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )

    def answered(self, path: str, outcome: str, seconds: float) -> None:
        """Count one answer."""
        known = self._known.get((path, outcome))
        if known is None:  # paths and outcomes are a few words each
            known = self._reviews.labels(path, outcome), self._seconds.labels(path)
            self._known[path, outcome] = known
        known[0].inc()
        known[1].observe(seconds)


class Reviewer:
    """Every path with its endpoint, behind everything that HTTP can do to them."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        traffic: Traffic,
        clock: Clock,
        log: Log,
        *,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """``draining``: whether callers should go elsewhere; each is told so with its answer."""
        self._draining = draining
        self._endpoints = endpoints
        self._traffic = traffic
        self._clock = clock
        self._log = log
        self._large = {path: asyncio.Semaphore(_MOST_LARGE) for path in endpoints}

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        path = request.path
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            return self._refuse(request, 404, "no such path")
        started = self._clock.monotonic()
        response, outcome = await self._reviewed(request, endpoint)
        self._traffic.answered(path, outcome, self._clock.monotonic() - started)
        if self._draining():
            response.force_close()
        return response

    async def _reviewed(self, request: web.BaseRequest, endpoint: Endpoint) -> tuple[web.Response, str]:
        try:
            _check_head(request)
            async with self._place(request):
                answer, outcome = await endpoint(await _body(request))
        except Malformed as error:
            return self._refuse(request, 400, str(error)), "refused"
        except RecursionError:  # deep enough to decode, too deep to compare
            return self._refuse(request, 400, "nested too deeply"), "refused"
        except web.HTTPException as error:
            return self._refuse(request, error.status, error.reason), "refused"
        except Exception:  # noqa: BLE001 - the boundary of a request: a bug of ours, logged and counted
            self._log.exception("A review failed", path=request.path)
            return web.Response(status=500, text="internal error, see the webhook's log\n"), "error"
        return web.Response(body=answer, content_type=_JSON), outcome

    @asynccontextmanager
    async def _place(self, request: web.BaseRequest) -> AsyncIterator[None]:
        """Hold a place for a large body, while it is read and answered."""
        if not _is_large(request):
            yield
            return
        places = self._large[request.path]
        try:
            async with asyncio.timeout(_PLACE_SECONDS):
                await places.acquire()
        except TimeoutError:
            raise web.HTTPServiceUnavailable(reason="too many large bodies at a time") from None
        try:
            yield
        finally:
            places.release()

    def _refuse(self, request: web.BaseRequest, status: int, why: str) -> web.Response:
        self._log.warning("Refused a request", path=request.path, status=status, why=why, peer=request.remote)
        return web.Response(status=status, text=f"{why}\n")


class Listener:
    """The webhook on one address and port. TLS is whatever the given context holds at each handshake.

    Below aiohttp's application layer, whose routing and middlewares would take a third of the time.
    """

    def __init__(self, reviewer: Reviewer, address: str, port: int, ssl_context: ssl.SSLContext) -> None:
        self._reviewer = reviewer
        self._address = address or None
        self._port = port
        self._ssl_context = ssl_context
        self._runner: web.ServerRunner | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; known once started, also when 0 was asked for."""
        return int(self._runner.addresses[0][1]) if self._runner else self._port

    async def start(self) -> None:
        """Listen; when this returns, connections are accepted."""
        server = web.Server(
            self._reviewer,
            request_factory=_request,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=FINISH_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._address, self._port, ssl_context=self._ssl_context)
        await site.start()

    async def stop(self) -> None:
        """Accept nothing more, let running requests end, close idle connections."""
        if self._runner:
            await self._runner.cleanup()


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    limit = body_limit(message.url.path)
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=limit)


def _is_large(request: web.BaseRequest) -> bool:
    """Tell whether a body is beyond what most reviews have; one that does not say how long it is may be."""
    return request.content_length is None or request.content_length > _LARGE_BYTES


def _check_head(request: web.BaseRequest) -> None:
    if request.method != hdrs.METH_POST:
        raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_POST])
    if request.content_type != _JSON:
        raise web.HTTPUnsupportedMediaType(reason=f"content type must be {_JSON}")
    if hdrs.CONTENT_ENCODING in request.headers:
        raise web.HTTPUnsupportedMediaType(reason="content must not be encoded")
    if (request.content_length or 0) > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, request.content_length or 0)


async def _body(request: web.BaseRequest) -> bytes:
    if request.content.is_eof():  # it came with the head, as nearly always: no timer for nothing
        return await request.read()
    seconds = _LARGE_BODY_SECONDS if _is_large(request) else _BODY_SECONDS
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"no complete body within {seconds:g} s") from None
