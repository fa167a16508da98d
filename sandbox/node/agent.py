"""The node itself: it registers, stays alive in the API's eyes, and gives every pod a worker."""

import asyncio
import contextlib
import datetime as dt
import logging
import ssl
from pathlib import Path

import aiohttp

from sandbox.api import Api, ApiError
from sandbox.names import Addresses, JsonObject
from sandbox.node import logs
from sandbox.node.container import now
from sandbox.node.network import AddressPool
from sandbox.node.pod import PodWorker
from sandbox.resources import path as resource_path

_LEASE_SECONDS = 40
_HEARTBEAT = 10.0
"""Seconds, both as kubelet's; the controller manager gives a node up after 50."""

_CAPACITY = {"cpu": "1000", "memory": "1Ti", "pods": "1000", "ephemeral-storage": "1Ti"}
"""More than any test asks for: the scheduler must not be what a test runs into."""

_CONFLICT = 409

log = logging.getLogger("sandbox.node")


class Agent:
    """Runs the pods of all the cluster's nodes on this machine."""

    def __init__(
        self, api: Api, session: aiohttp.ClientSession, addresses: Addresses, directory: Path
    ) -> None:
        self.api = api
        self.session = session
        self.pool = AddressPool(addresses)
        self.address = addresses.host
        self.directory = directory
        self._workers: dict[str, PodWorker] = {}

    async def run(self, nodes: list[str]) -> None:
        """Serve the nodes for ever."""
        serving = logs.serving(self.directory / "logs", self.address, self._tls(), self._is_running)
        async with serving, asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(self._keep_alive(node))
                group.create_task(self._follow(node, group))

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.directory / "node.crt", self.directory / "node.key")
        return context

    def _is_running(self, namespace: str, pod: str, container: str) -> bool:
        key = (namespace, pod)
        return any(worker.key == key and worker.is_running(container) for worker in self._workers.values())

    async def _follow(self, node: str, group: asyncio.TaskGroup) -> None:
        query = {"fieldSelector": f"spec.nodeName={node}"}
        async for event in self.api.follow(resource_path("pods"), query):
            uid = event.object["metadata"]["uid"]
            worker = self._workers.get(uid)
            if event.type == "DELETED":
                if worker is not None:
                    worker.vanish()
                continue
            if worker is None:
                worker = self._workers[uid] = PodWorker(event.object, self)
                group.create_task(self._run(uid, worker))
            worker.update(event.object)

    async def _run(self, uid: str, worker: PodWorker) -> None:
        """Run one pod; whatever goes wrong with it is logged and leaves the other pods alone."""
        try:
            await worker.run()
        except Exception:
            log.exception("pod %s failed", uid)
        finally:
            self._workers.pop(uid, None)

    async def _keep_alive(self, node: str) -> None:
        lease = resource_path("leases", "kube-node-lease", node)
        registered = False
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ApiError):
                if not registered:
                    await self._create(resource_path("nodes"), self._node(node))
                    await self._create(resource_path("leases", "kube-node-lease"), _lease(node))
                    registered = True
                await self.api.patch(lease, {"spec": _lease(node)["spec"]})
            await asyncio.sleep(_HEARTBEAT if registered else 0.1)

    async def _create(self, collection: str, body: JsonObject) -> None:
        try:
            await self.api.post(collection, body)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise

    def _node(self, name: str) -> JsonObject:
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
        healthy = {
            "MemoryPressure": "False",
            "DiskPressure": "False",
            "PIDPressure": "False",
            "Ready": "True",
        }
        times = {"lastHeartbeatTime": now(), "lastTransitionTime": now()}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "status": {
                "capacity": _CAPACITY,
                "allocatable": _CAPACITY,
                "addresses": [{"type": "InternalIP", "address": self.address}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": logs.PORT}},
                "conditions": [{"type": kind, "status": fact, **times} for kind, fact in healthy.items()],
            },
        }


def _lease(node: str) -> JsonObject:
    renewed = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    specification = {"holderIdentity": node, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": renewed}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node, "namespace": "kube-node-lease"},
        "spec": specification,
    }
