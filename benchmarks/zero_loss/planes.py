"""The data planes through which releases are tried, each with the route that it understands."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox import gateway, manifests
from sandbox.cluster import Cluster
from sandbox.data_plane import DataPlane
from sandbox.names import JsonObject
from tests.cluster.gateways import by_gateway, http_route

_LOG_SECONDS = 30.0
_LOG_POLL = 0.5


@dataclass(frozen=True)
class Plane:
    """A data plane and how it is used."""

    name: str
    in_turns: bool
    """Whether it deals weights in turns, so that counts are exact; else by chance."""
    start: Callable[[Cluster], Awaitable[DataPlane]]
    route: Callable[[str], JsonObject]
    """Makes the user's route for a host."""
    routed: Callable[[JsonObject], JsonObject]
    """Makes a Rollout name that route."""
    logged: tuple[str, str]
    """The fields of its access log that name a request, and what it was routed to."""
    by_cookie: bool = False
    """Whether requests can be told apart by a cookie alone."""
    torn: bool = False
    """Whether several proxies write its access log at a time, and can tear each other's lines."""

    async def routings(self, log: Path, requests: Collection[str]) -> Mapping[str, str]:
        """Say what each of some requests was routed to: the name of a Service is in it.

        They are waited for, a proxy writes its access log in pieces; what does not come in time is left out.
        """
        found: dict[str, str] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOG_SECONDS):
                while not found.keys() >= set(requests):
                    found = dict(self._logged(log))
                    await asyncio.sleep(_LOG_POLL)
        return found

    def told_of(self, log: Path, request: str) -> str:
        """Give the line of the access log about one request, as it is; nothing while there is none."""
        return next(
            (json.dumps(line) for line in self._lines(log) if line.get(self.logged[0]) == request), ""
        )

    def _logged(self, log: Path) -> Iterator[tuple[str, str]]:
        request, service = self.logged
        for line in self._lines(log):
            yield line.get(request, ""), line.get(service, "")

    def _lines(self, log: Path) -> Iterator[JsonObject]:
        with log.open(encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n"):  # the last one may be half written
                    return
                try:
                    found = json.loads(line)
                except json.JSONDecodeError:
                    if not self.torn:
                        raise
                    continue
                yield found


_TRAEFIK_LOG = ("request_X-Request-Id", "ServiceName")

TRAEFIK_INGRESS = Plane(
    "Traefik, nginx annotations",
    in_turns=True,
    start=lambda cluster: cluster.data_plane(),
    route=lambda host: manifests.ingress(host=host, retries=False),
    routed=lambda rollout: rollout,
    logged=_TRAEFIK_LOG,
    by_cookie=True,
)
TRAEFIK_GATEWAY = Plane(
    "Traefik, Gateway API",
    in_turns=True,
    start=lambda cluster: cluster.gateway(),
    route=http_route,
    routed=by_gateway,
    logged=_TRAEFIK_LOG,
)
CONTOUR = Plane(
    "Envoy with Contour",
    in_turns=False,
    start=lambda cluster: cluster.contour(),
    route=lambda host: http_route(host, parent=gateway.CONTOUR.name),
    routed=by_gateway,
    logged=("request_id", "upstream_cluster"),
)
PLANES = (TRAEFIK_INGRESS, TRAEFIK_GATEWAY, CONTOUR)
