"""An HTTP listener that is started, and later stopped without cutting a request short.

Knows nothing of what is served. TLS is whatever the given context holds at each handshake.
"""

import ssl

from aiohttp import web

# How long requests that run when the listener closes get to end; above the longest webhook timeout (5 s).
_FINISH_SECONDS = 8.0
# Idle connections are kept longer than the API server keeps them (90 s): the side that opened one closes it,
# so no request can meet a connection that we are just closing.
_KEEP_ALIVE_SECONDS = 120.0


class Server:
    """One application on one address and port."""

    def __init__(
        self,
        application: web.Application,
        address: str,
        port: int,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            shutdown_timeout=_FINISH_SECONDS,
        )
        self._address = address or None
        self._port = port
        self._ssl_context = ssl_context

    @property
    def port(self) -> int:
        """The port that is listened on; known once started, also when 0 was asked for."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen; when this returns, connections are accepted."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._address, self._port, ssl_context=self._ssl_context)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._address or 'all addresses'} port {self._port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error

    async def stop(self) -> None:
        """Accept nothing more, let running requests end, close idle connections."""
        await self._runner.cleanup()
