"""Contour and Envoy: a second implementation of the Gateway API, of another make than Traefik.

Contour watches the cluster and tells Envoy what to do; Envoy answers requests.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import aiohttp

from sandbox.gateway import CONTOUR
from sandbox.names import Addresses, JsonObject
from sandbox.program import RARELY_COLLECTED, Specification

_LISTENER_OFFSET = 8000
"""Contour has Envoy listen at the Gateway's port plus this one, which needs no privilege."""

CRDS = "01-crds.yaml"
"""The file of Contour's own kinds, beside the program: it waits for them whether they are used or not."""

_DRAIN_SECONDS = 2
_PATIENCE = 30.0
_POLL = 0.1

_CONNECTIONS = "http.http-80.downstream_cx_active"
_LISTENERS = "listener_manager.total_listeners_active"
_EXPECTED_LISTENERS = 3
"""The Gateway's, that of the statistics and that of Envoy's own administration."""

_UNUSED = ("extensionservices", "tlsroutes", "tcproutes", "backendtlspolicies")
"""Kinds of which some are not in the Gateway API's standard channel."""

_LOGGED = ["@timestamp", "request_id", "upstream_cluster", "upstream_host", "response_code", "response_flags"]


def listener_port(addresses: Addresses) -> int:
    """Return the port that the Gateway has to say for Envoy to listen at `addresses.contour`."""
    return int(addresses.contour.rpartition(":")[2]) - _LISTENER_OFFSET


def health(addresses: Addresses) -> str:
    """Return where Envoy answers before any route is attached to the Gateway."""
    return f"http://{addresses.host}:{addresses.contour_ports[3]}/ready"


def control(
    contour: Path, kubeconfig: Path, addresses: Addresses, configuration: Path, access_log: Path | None
) -> Specification:
    """Return the program that watches the cluster; its configuration file is written."""
    configuration.write_text(json.dumps(_configuration(addresses, access_log)), encoding="utf-8")
    host, listener = addresses.host, addresses.contour.removeprefix("http://")
    flags = {
        "config-path": configuration,
        "kubeconfig": kubeconfig,
        "xds-address": host,
        "xds-port": addresses.contour_ports[0],
        "http-address": host,
        "http-port": addresses.contour_ports[1],
        "health-address": host,
        "health-port": addresses.contour_ports[1],
        "debug-http-address": host,
        "debug-http-port": addresses.contour_ports[2],
        "stats-address": host,
        "stats-port": addresses.contour_ports[3],
        "envoy-service-http-address": listener.partition(":")[0],
        "envoy-http-access-log": access_log or "/dev/null",
        "kubernetes-client-qps": 200,
        "kubernetes-client-burst": 400,
    }
    unused = [f"--disable-feature={each}" for each in _UNUSED]
    command = [str(contour), "serve", "--insecure", "--disable-leader-election", *unused]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(kubeconfig.parent), **RARELY_COLLECTED}
    return Specification(
        "contour", [*command, *(f"--{name}={value}" for name, value in flags.items())], environment
    )


def bootstrap(contour: Path, addresses: Addresses, file: Path) -> Sequence[str]:
    """Return the command that writes the file by which Envoy finds Contour."""
    where = (f"--xds-address={addresses.host}", f"--xds-port={addresses.contour_ports[0]}")
    return (str(contour), "bootstrap", *where, f"--admin-address={_admin(file)}", str(file))


def proxy(envoy: Path, addresses: Addresses, file: Path) -> Specification:
    """Return the program that answers requests. Several at a time share the address: the kernel divides.

    It is named after the file, and is told to drain in the seconds in which kept connections are used again.
    """
    identity = ["--service-cluster", "sandbox", "--service-node", f"{file.stem}-{addresses.ordinal}"]
    quiet = ["--disable-hot-restart", "--log-level", "warn", "--concurrency", "2"]
    command = [str(envoy), "--config-path", str(file), "--drain-time-s", f"{_DRAIN_SECONDS}"]
    return Specification(file.stem, [*command, *identity, *quiet])


async def drain(file: Path) -> None:
    """Have an Envoy take no new connections and end those it has, and wait until none is left."""
    async with _administration(file) as envoy:
        async with envoy.post("/drain_listeners", params={"graceful": "", "skip_exit": ""}) as answer:
            answer.raise_for_status()
        await _becomes(envoy, lambda found: not found.get(_CONNECTIONS))


async def listens(file: Path) -> None:
    """Wait until an Envoy that was started has all its listeners."""
    async with _administration(file) as envoy:
        await _becomes(envoy, lambda found: found.get(_LISTENERS) == _EXPECTED_LISTENERS)


def _administration(file: Path) -> aiohttp.ClientSession:
    return aiohttp.ClientSession("http://envoy", connector=aiohttp.UnixConnector(str(_admin(file))))


async def _becomes(envoy: aiohttp.ClientSession, decide: Callable[[Mapping[str, int]], bool]) -> None:
    """Wait until an Envoy's statistics are so: it has no watch for them."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):  # it was started just now
                async with envoy.get("/stats", params={"filter": f"{_CONNECTIONS}|{_LISTENERS}"}) as answer:
                    lines = (line.split(": ") for line in (await answer.text()).splitlines() if line)
                    if decide({name: int(value) for name, value in lines}):
                        return
            await asyncio.sleep(_POLL)


def _admin(file: Path) -> Path:
    return file.with_suffix(".sock")


def _configuration(addresses: Addresses, access_log: Path | None) -> JsonObject:
    parent = CONTOUR.parent
    found: JsonObject = {
        "network": {"admin-port": addresses.contour_ports[3] + 1 + addresses.ordinal},
        "gateway": {"gatewayRef": {"name": parent["name"], "namespace": parent["namespace"]}},
    }
    if access_log:
        found |= {"accesslog-format": "json", "json-fields": _LOGGED}
    return found
