"""Health over HTTP: status codes for machines, reasons for people."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from runtime.health import Health, application
from runtime.logs import Log
from runtime.metrics import Metrics
from runtime.server import Server


@pytest.fixture
def health() -> Health:
    """Return health without checks."""
    return Health(Log("test"))


@pytest.fixture
async def address(health: Health) -> AsyncIterator[str]:
    """Return the URL under which that health is served."""
    server = Server(application(health, Metrics("test", "1")), "127.0.0.1", 0)
    await server.start()
    yield f"http://127.0.0.1:{server.port}"
    await server.stop()


async def get(url: str) -> tuple[int, str]:
    """Return status and body."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def test_ready_names_each_check_and_why_it_fails(health: Health, address: str) -> None:
    """Who looks at a pod that is not ready reads the reason there."""
    health.add_ready("caches", lambda: None)
    health.add_ready("certificate", lambda: "the Secret ns/certs cannot be read")

    assert await get(f"{address}/readyz") == (
        503,
        "caches: ok\ncertificate: the Secret ns/certs cannot be read\nfailed\n",
    )


async def test_ready_follows_the_check(health: Health, address: str) -> None:
    """A check is asked at each probe; nothing is remembered."""
    reasons: list[str | None] = ["not yet", None]
    health.add_ready("caches", lambda: reasons.pop(0))

    assert (await get(f"{address}/readyz"))[0] == 503
    assert (await get(f"{address}/readyz"))[0] == 200


async def test_readiness_does_not_touch_liveness(health: Health, address: str) -> None:
    """A process that only waits for something is not killed for it."""
    health.add_ready("caches", lambda: "not synced")

    assert await get(f"{address}/healthz") == (200, "passed\n")


async def test_check_that_raises_fails_alone(health: Health, address: str) -> None:
    """A broken check is a failed check; the answer still comes and names it."""

    def broken() -> str | None:
        raise KeyError("bug")

    health.add_ready("broken", broken)
    health.add_ready("caches", lambda: None)

    status, body = await get(f"{address}/readyz")
    assert status == 503
    assert body == "broken: the check itself failed: KeyError\ncaches: ok\nfailed\n"


async def test_metrics_are_served_beside_the_probes(address: str) -> None:
    """One port serves probes and metrics."""
    status, body = await get(f"{address}/metrics")

    assert status == 200
    assert "sluice_build_info" in body


async def test_taken_port_is_named_in_the_error(health: Health, address: str) -> None:
    """Who cannot listen says where."""
    taken = int(address.rsplit(":", 1)[1])
    second = Server(application(health, Metrics("test", "1")), "127.0.0.1", taken)

    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {taken}"):
        await second.start()
