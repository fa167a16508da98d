"""The part of kubelet's own API that `kubectl logs` needs."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

PORT = 10250
"""kubelet's port."""

_POLL = 0.2
"""Seconds between looks at a followed file: no event tells that it grew."""

_CHUNK = 1 << 16

Running = Callable[[str, str, str], bool]
"""Say whether a container (namespace, pod, name) runs, so that its log may grow."""


@asynccontextmanager
async def serving(logs: Path, address: str, tls: ssl.SSLContext, running: Running) -> AsyncIterator[None]:
    """Serve the containers' logs while the block runs."""

    async def respond(request: web.Request) -> web.StreamResponse:
        return await _respond(request, logs, running)

    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", respond)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, PORT, ssl_context=tls, reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()


async def _respond(request: web.Request, logs: Path, running: Running) -> web.StreamResponse:
    namespace, pod, container = (request.match_info[key] for key in ("namespace", "pod", "container"))
    log = logs / namespace / pod / f"{container}.log"
    if not log.is_file():
        raise web.HTTPNotFound(text="the container has not been started yet")
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with log.open("rb") as file:
        await response.write(_tail(file.read(), request.query.get("tailLines")))
        follow = request.query.get("follow") == "true"
        while follow:
            follow = running(namespace, pod, container)
            while fresh := file.read(_CHUNK):
                await response.write(fresh)
            await asyncio.sleep(_POLL)
    return response


def _tail(text: bytes, lines: str | None) -> bytes:
    """Return the last lines of a log, all of it when no number is given."""
    if lines is None:
        return text
    kept = text.splitlines(keepends=True)
    return b"".join(kept[len(kept) - min(int(lines), len(kept)) :])
