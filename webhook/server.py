"""The webhook over HTTP: bodies in, answers out, and a 4xx for everything that is no review.

Knows nothing of what is reviewed. Every request ends in an answer: a hostile one in a 4xx and a line in
our log, one that meets a bug of ours in a 500, upon which the failure policy of its hook decides. Never
is anything let through because it could not be read.
"""

import asyncio
from collections.abc import Mapping

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, Counter, Histogram

from runtime.clock import Clock
from runtime.logs import Log
from webhook.endpoints import Endpoint
from webhook.review import Malformed

MAX_BODY_BYTES = 7 * 1024 * 1024
"""An API server takes requests of up to 3 MiB; a review of an update carries two such objects."""
_BODY_SECONDS = 10.0
"""How long a body may take to arrive: after 5 s, the longest hook timeout, nobody waits for the answer."""
_JSON = "application/json"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)


class Traffic:
    """What the webhook counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
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
        self._reviews.labels(path, outcome).inc()
        self._seconds.labels(path).observe(seconds)


class Handler:
    """One path: its endpoint behind everything that HTTP can do to it."""

    def __init__(self, path: str, endpoint: Endpoint, traffic: Traffic, clock: Clock, log: Log) -> None:
        self._path = path
        self._endpoint = endpoint
        self._traffic = traffic
        self._clock = clock
        self._log = log

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request."""
        started = self._clock.monotonic()
        response, outcome = await self._respond(request)
        self._traffic.answered(self._path, outcome, self._clock.monotonic() - started)
        return response

    async def _respond(self, request: web.Request) -> tuple[web.Response, str]:
        try:
            body = await _body(request)
            answer, outcome = await self._endpoint(body)
        except Malformed as error:
            return self._refuse(request, 400, str(error))
        except web.HTTPException as error:
            return self._refuse(request, error.status, error.reason)
        except RecursionError:  # deep enough to decode, too deep to compare
            return self._refuse(request, 400, "nested too deeply")
        except Exception:  # noqa: BLE001 - the boundary of a request: a bug of ours, logged and counted
            self._log.exception("A review failed", path=self._path)
            return web.Response(status=500, text="internal error, see the webhook's log\n"), "error"
        return web.Response(body=answer, headers={hdrs.CONTENT_TYPE: _JSON}), outcome

    def _refuse(self, request: web.Request, status: int, why: str) -> tuple[web.Response, str]:
        self._log.warning("Refused a request", path=self._path, status=status, why=why, peer=request.remote)
        return web.Response(status=status, text=f"{why}\n"), "refused"


def application(
    endpoints: Mapping[str, Endpoint], registry: CollectorRegistry, clock: Clock, log: Log
) -> web.Application:
    """Return the HTTP application: POST to the endpoints' paths, nothing else."""
    traffic = Traffic(registry)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    for path, endpoint in endpoints.items():
        app.router.add_post(path, Handler(path, endpoint, traffic, clock, log).__call__)
    return app


async def _body(request: web.Request) -> bytes:
    if request.content_type != _JSON:
        raise web.HTTPUnsupportedMediaType(reason=f"content type must be {_JSON}")
    if hdrs.CONTENT_ENCODING in request.headers:
        raise web.HTTPUnsupportedMediaType(reason="content must not be encoded")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, request.content_length or 0)
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"no complete body within {_BODY_SECONDS:g} s") from None
