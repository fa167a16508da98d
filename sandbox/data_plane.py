"""The data plane: a real ingress controller (Traefik), and counted requests through it."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp

from loadtest.account import Account
from loadtest.load import Stream, Target, running
from sandbox.names import INGRESS_CLASS, JsonObject
from sandbox.program import RARELY_COLLECTED, Program, Specification

Outcome = TypeVar("Outcome")

INGRESS_CLASS_MANIFEST: JsonObject = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": INGRESS_CLASS},
    "spec": {"controller": "k8s.io/ingress-nginx"},
}

_REQUEST_TIMEOUT = 10.0
"""Seconds after which a request counts as lost."""

METRICS = ("--metrics.prometheus=true", "--metrics.prometheus.entrypoint=web")
"""The proxy's own path /metrics, of any host: no application of the sandbox has one."""

_LOADED = "traefik_config_reloads_total"

_THROTTLE = "500ms"
"""The default of 2 s would be most of a release's time."""

_START_TIMEOUT = 30.0
_NOTICE_TIMEOUT = 30.0
"""Seconds in which it has noticed a change: on a machine at rest it takes one."""

_POLL = 0.05


def specification(
    traefik: Path, kubeconfig: Path, url: str, access_log: Path | None, *, throttle: str = _THROTTLE
) -> Specification:
    """Return the ingress controller's program; it takes up changes once in the duration `throttle`."""
    command = [str(traefik), "--providers.kubernetesingressnginx=true", *flags(url, access_log, throttle)]
    return Specification("traefik", command, environment(kubeconfig))


def flags(url: str, access_log: Path | None, throttle: str = _THROTTLE) -> Sequence[str]:
    """Return what every program of the proxy is told; with a file for them, it notes all requests there."""
    noted = (
        (
            "--accesslog=true",
            "--accesslog.format=json",
            f"--accesslog.filepath={access_log}",
            "--accesslog.fields.headers.names.X-Request-Id=keep",
        )
        if access_log
        else ()
    )
    return (
        f"--entrypoints.web.address={url.removeprefix('http://')}",
        f"--providers.providersThrottleDuration={throttle}",
        *METRICS,
        *noted,
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    )


def environment(kubeconfig: Path) -> Mapping[str, str]:
    """Return the environment of any program of the proxy."""
    home = {"KUBECONFIG": str(kubeconfig), "PATH": "/usr/bin:/bin", "HOME": str(kubeconfig.parent)}
    return {**home, **RARELY_COLLECTED}


@dataclass(frozen=True, slots=True)
class Response:
    """One answered request; `pod` and `image` are empty when no demo pod answered it."""

    status: int
    pod: str = ""
    image: str = ""
    text: str = ""
    received: frozenset[tuple[str, str]] = frozenset()
    """The request's headers as the pod got them, of those whose names begin with X-Test-."""


@dataclass(slots=True)
class Traffic:
    """What became of many requests."""

    answers: Counter[Response] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    loaded: int = 0
    """Configurations that the proxy loaded meanwhile: after each it deals its turns from the first again."""

    @property
    def sent(self) -> int:
        """All requests."""
        return self.answers.total() + self.errors.total()

    @property
    def lost(self) -> int:
        """Requests that were not answered with 200 by a demo pod."""
        return self.losses.total()

    @property
    def losses(self) -> Counter[str]:
        """Those by what came in place of such an answer."""
        found = Counter(self.errors)
        for answer, count in self.answers.items():
            if answer.status != 200 or not answer.pod:  # noqa: PLR2004  OK
                found[f"status {answer.status} {answer.text}".strip()] += count
        return found

    @property
    def by_image(self) -> Counter[str]:
        """Good answers for each image."""
        return self._by("image")

    @property
    def by_pod(self) -> Counter[str]:
        """Good answers for each pod."""
        return self._by("pod")

    def _by(self, name: str) -> Counter[str]:
        result: Counter[str] = Counter()
        for answer, count in self.answers.items():
            if answer.status == 200 and answer.pod:  # noqa: PLR2004  OK
                result[getattr(answer, name)] += count
        return result


class DataPlane:
    """A running proxy. `health` is what answers before it has any route; `metrics` tells what it loaded."""

    def __init__(
        self,
        program: Program,
        url: str,
        *,
        access_log: Path | None = None,
        health: str = "",
        metrics: bool = True,
    ) -> None:
        self.program = program
        self.url = url
        self.access_log = access_log
        self._health = health or url
        self._metrics = metrics

    async def ready(self) -> None:
        """Wait until it accepts connections."""
        async with asyncio.timeout(_START_TIMEOUT), aiohttp.ClientSession() as session:
            while True:
                self.program.check()
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(self._health):
                        return
                await asyncio.sleep(_POLL)

    async def request(self, host: str, path: str = "/", headers: Mapping[str, str] | None = None) -> Response:
        """Send one request on a connection of its own."""
        async with self._session(1) as session:
            return await _request(session, host, path, headers or {})

    async def send(
        self,
        host: str,
        count: int,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        connections: int = 8,
    ) -> Traffic:
        """Send a number of requests over a few kept connections; return what became of each."""
        before = await self.loaded()
        traffic = Traffic()
        left = iter(range(count))

        async def client(session: aiohttp.ClientSession) -> None:
            for _ in left:
                await _count(traffic, session, host, path, headers or {})

        async with self._session(connections) as session, asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(client(session))
        traffic.loaded = await self.loaded() - before
        return traffic

    async def loaded(self) -> int:
        """Count the configurations that it has loaded since it started."""
        if not self._metrics:
            return 0
        async with self._session(1) as session, session.get("/metrics") as response:
            samples = dict(line.split() for line in (await response.text()).splitlines() if line[:1] != "#")
        return int(float(samples[_LOADED]))

    @contextlib.asynccontextmanager
    async def load(self, host: str, rate: float, path: str = "/") -> AsyncIterator[Account]:
        """Send `rate` requests a second, each counted by its image, until the block ends."""
        account = Account()
        target = Target(self.url, host, revision_header="X-Image", server_header="X-Pod")
        async with running(target, [Stream("kept", rate, path)], account):
            yield account

    async def wait_for(self, host: str, image: str) -> None:
        """Wait until a request is answered by an image."""
        await self.answers(host, lambda found: found.image == image)

    async def answers(
        self,
        host: str,
        decide: Callable[[Response], bool],
        path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Wait until a request is answered so."""
        async with self._session(1) as session:
            return await _repeated(lambda: _request(session, host, path, headers or {}), decide)

    async def divides(
        self, host: str, count: int, decide: Callable[[Traffic], bool], path: str = "/"
    ) -> Traffic:
        """Wait until of so many requests became what was asked for."""
        return await _repeated(lambda: self.send(host, count, path), decide)

    def _session(self, connections: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            self.url,
            connector=aiohttp.TCPConnector(limit=connections),
            timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT),
        )


async def _repeated(attempt: Callable[[], Awaitable[Outcome]], decide: Callable[[Outcome], bool]) -> Outcome:
    """Ask again and again: the proxy has no watch for what it serves."""
    last: object = "no answer"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_NOTICE_TIMEOUT):
            while True:
                try:
                    last = found = await attempt()
                except aiohttp.ClientError as error:
                    last = repr(error)
                else:
                    if decide(found):
                        return found
                await asyncio.sleep(_POLL)
    raise AssertionError(f"the proxy did not answer so within {_NOTICE_TIMEOUT:g} s; last: {last}")


async def _count(
    traffic: Traffic, session: aiohttp.ClientSession, host: str, path: str, headers: Mapping[str, str]
) -> None:
    try:
        traffic.answers[await _request(session, host, path, headers)] += 1
    except (aiohttp.ClientError, TimeoutError) as error:
        traffic.errors[repr(error)] += 1


async def _request(
    session: aiohttp.ClientSession, host: str, path: str, headers: Mapping[str, str]
) -> Response:
    async with session.get(path, headers={**headers, "Host": host}) as response:
        text = await response.text()
        if response.content_type != "application/json":
            return Response(response.status, text=text[:200])
        body = json.loads(text)
        received = {(name, value) for name, value in body.get("headers", {}).items() if _is_told(name)}
        return Response(response.status, body.get("pod", ""), body.get("image", ""), "", frozenset(received))


def _is_told(header: str) -> bool:
    """Whether a test looks at a header: others differ from request to request, and answers are counted."""
    return header.lower().startswith("x-test-")
