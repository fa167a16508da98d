"""The product, installed once for all scenario tests: the real chart in a cluster of its own.

The cluster stands beside the session's one, so that tests which run a webhook alone, or
install and remove the chart, meet nothing of it.
"""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from sandbox.names import JsonObject
from sandbox.observation import Predicate
from tests.cluster.application import Application, is_ready
from tests.cluster.chart_install import NAMESPACE, available, install

LEASE = "sluice-reconciler"
_ORDINAL = 2
_numbers = count(1)


@dataclass(frozen=True)
class Product:
    """The running product, and what can be done to it; whoever does puts it back."""

    cluster: Cluster

    async def leader(self) -> str:
        """Return the name of the reconciler pod that leads."""
        lease = await self.cluster.wait_for("leases", NAMESPACE, LEASE, lambda found: bool(holder(found)))
        return holder(lease)

    async def scale(self, process: str, replicas: int) -> None:
        """Scale one of the two processes, and wait until it is so."""
        selector = f"app.kubernetes.io/component={process.removeprefix('sluice-')}"
        pods = await self.cluster.list("pods", NAMESPACE, selector)
        await self.cluster.patch("deployments", NAMESPACE, process, {"spec": {"replicas": replicas}})
        if replicas:
            await available(self.cluster, process)
            return
        for pod in pods:
            await self.cluster.wait_gone("pods", NAMESPACE, pod["metadata"]["name"], 60)

    def kill(self, pod: str, module: str = "reconciler") -> None:
        """End a pod's process as nothing it could handle: SIGKILL."""
        os.kill(_process_of(pod, module), signal.SIGKILL)

    async def kill_webhooks(self) -> None:
        """Kill every webhook's process at one moment, and wait until all are ready again."""
        selector = "app.kubernetes.io/component=webhook"
        pods = await self.cluster.list("pods", NAMESPACE, selector)
        for pod in pods:
            self.kill(pod["metadata"]["name"], "webhook")
        for pod in pods:
            name, before = pod["metadata"]["name"], _restarts(pod)
            await self.cluster.wait_for("pods", NAMESPACE, name, _is_ready_after(before), 60)
        await available(self.cluster, "sluice-webhook")

    async def replace_leader(self) -> None:
        """Kill the reconciler that leads, and wait until another process does."""
        lease = await self.cluster.wait_for("leases", NAMESPACE, LEASE, lambda found: bool(holder(found)))
        before = lease["spec"]["holderIdentity"]
        self.kill(holder(lease))
        await self.cluster.wait_for(
            "leases",
            NAMESPACE,
            LEASE,
            lambda found: found["spec"].get("holderIdentity") not in {None, "", before},
        )


def holder(lease: JsonObject) -> str:
    """Return the pod that holds a Lease; each start of its process is another holder."""
    return str(lease["spec"].get("holderIdentity") or "").partition("_")[0]


def _restarts(pod: JsonObject) -> int:
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def _is_ready_after(restarts: int) -> Predicate:
    return lambda pod: _restarts(pod) > restarts and is_ready(pod)


def _process_of(pod: str, module: str) -> int:
    """Find the process of one of our pods by its environment: the sandbox runs containers as processes."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            variables = (directory / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            continue
        command = (directory / "cmdline").read_bytes().split(b"\0")
        if f"POD_NAME={pod}".encode() in variables and module.encode() in command:
            return int(directory.name)
    raise LookupError(f"no process of pod {pod}")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def product() -> AsyncIterator[Product]:
    """Install the chart into a cluster for all tests that try the product as a whole."""
    async with Cluster(Options(ordinal=_ORDINAL)) as cluster:
        await cluster.data_plane()
        await install(cluster)
        yield Product(cluster)


@asynccontextmanager
async def application(product: Product) -> AsyncIterator[Application]:
    """Give the walkthrough's application a namespace of its own; nothing is in it yet."""
    namespace = f"app-{next(_numbers)}"
    await product.cluster.create_namespace(namespace)
    yield Application(product.cluster, namespace)
    await product.cluster.delete("namespaces", None, namespace)


@pytest_asyncio.fixture(loop_scope="session")
async def app(product: Product) -> AsyncIterator[Application]:
    """Give a test the application, not yet deployed."""
    async with application(product) as given:
        yield given
