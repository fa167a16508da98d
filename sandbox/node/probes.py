"""Readiness, liveness and startup probes, executed for real as kubelet does.

Decides only whether a probe's verdict changed; what follows from it is the
container's business.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp

from sandbox.names import JsonObject

Execute = Callable[[Sequence[str]], Awaitable[int]]
"""Run a command inside the container; returns its exit status."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a probe is aimed at."""

    address: str
    ports: dict[str, int]
    execute: Execute
    session: aiohttp.ClientSession


async def succeeds(probe: JsonObject, target: Target) -> bool:
    """Execute a probe once."""
    try:
        async with asyncio.timeout(probe.get("timeoutSeconds", 1)):
            match probe:
                case {"httpGet": action}:
                    return await _http(action, target)
                case {"tcpSocket": action}:
                    _, writer = await asyncio.open_connection(
                        action.get("host", target.address), _port(action["port"], target)
                    )
                    writer.close()
                    return True
                case {"exec": action}:
                    return await target.execute(action["command"]) == 0
                case _:
                    return False
    except (TimeoutError, OSError, aiohttp.ClientError, KeyError):  # KeyError: a port of an unknown name
        return False


async def verdicts(probe: JsonObject, target: Target, *, initially: bool) -> AsyncIterator[bool]:
    """Yield the verdict every time it has changed, counting thresholds; `initially` is not yielded.

    A failing verdict is yielded again each time the threshold is reached anew,
    because a liveness probe must kill again.
    """
    thresholds = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
    verdict, candidate, times = initially, initially, 0
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    while True:
        result = await succeeds(probe, target)
        times = times + 1 if result == candidate else 1
        candidate = result
        if times >= thresholds[result] and (result != verdict or not result):
            verdict, times = result, 0
            yield verdict
        await asyncio.sleep(probe.get("periodSeconds", 10))


async def http_get(action: JsonObject, target: Target) -> None:
    """Send a lifecycle hook's request; the answer does not matter."""
    await _http(action, target)


async def _http(action: JsonObject, target: Target) -> bool:
    scheme = action.get("scheme", "HTTP").lower()
    host = action.get("host") or target.address
    url = f"{scheme}://{host}:{_port(action['port'], target)}{action.get('path', '/')}"
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders", ())}
    async with target.session.get(url, headers=headers, ssl=False, allow_redirects=False) as response:
        return 200 <= response.status < 400  # noqa: PLR2004  kubelet's definition of success


def _port(port: int | str, target: Target) -> int:
    return target.ports[port] if isinstance(port, str) else port
