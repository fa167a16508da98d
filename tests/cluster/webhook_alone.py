"""The webhook as a plain process beside the cluster, registered by URL; no reconciler is running."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from sandbox.cluster import Cluster

CHART = Path(__file__).parents[2] / "charts" / "sluice"
HOME = "kruise-rollout"
RECONCILER = f"system:serviceaccount:{HOME}:sluice-reconciler"
_CONFIGURATIONS = {
    "mutatingwebhookconfigurations": "sluice-mutating",
    "validatingwebhookconfigurations": "sluice-validating",
}
# The private network is this run's own: fixed ports meet nobody.
_HTTPS_PORT, _HTTP_PORT = 19443, 18080
# Certificates take a few writes; on a busy machine Python's start alone takes a second.
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Webhook:
    """The running process, and what it has counted."""

    session: aiohttp.ClientSession

    async def calls(self, path: str) -> float:
        """Count the reviews answered on a path so far."""
        start = 'sluice_webhook_reviews_total{outcome="'
        total = 0.0
        async with self.session.get("/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(start) and f'path="{path}"' in line:
                    total += float(line.rpartition(" ")[2])
        return total

    async def wait_ready(self) -> None:
        """Wait until the process says that the API server can rely on it."""
        async with asyncio.timeout(_READY_SECONDS):
            while not await self._is_ready():  # noqa: ASYNC110 - another process: it can only be asked
                await asyncio.sleep(0.1)

    async def _is_ready(self) -> bool:
        try:
            async with self.session.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False


@asynccontextmanager
async def webhook_alone(cluster: Cluster, *arguments: str) -> AsyncIterator[Webhook]:
    """Install CRDs and webhook configurations, run the process, and put everything back."""
    await cluster.create_namespace(HOME)
    shown = ("--show-only", "templates/webhooks.yaml")
    rendered = await cluster.helm("template", "sluice", str(CHART), "-n", HOME, *shown)
    await cluster.apply_definitions(CHART / "crds")
    await cluster.kubectl("apply", "-f", "-", stdin=rendered.stdout)
    command = [
        *(sys.executable, "-m", "webhook", f"--kubeconfig={cluster.kubeconfig}", f"--namespace={HOME}"),
        *(f"--url=https://127.0.0.1:{_HTTPS_PORT}", f"--port={_HTTPS_PORT}", f"--http-port={_HTTP_PORT}"),
        *("--bind-address=127.0.0.1", "--drain-seconds=0", *arguments),
    ]
    log = (cluster.directory / "webhook-alone.log").open("ab")
    process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603, ASYNC220 - our own module; started in no time
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{_HTTP_PORT}") as session:
            running = Webhook(session)
            await running.wait_ready()
            yield running
    finally:
        for resource, name in _CONFIGURATIONS.items():
            await cluster.kubectl("delete", resource, name, "--ignore-not-found")
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
        log.close()
        await cluster.kubectl("delete", "-f", str(CHART / "crds"), "--wait=true", "--timeout=60s")
        await cluster.kubectl("delete", "namespace", HOME, "--wait=true", "--timeout=60s")
