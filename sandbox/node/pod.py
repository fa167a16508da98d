"""One pod on the node, from its binding to its removal."""

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Protocol

import aiohttp

from sandbox.api import Api, ApiError
from sandbox.names import JsonObject
from sandbox.node import environment, images
from sandbox.node.container import Container, Sandbox, now
from sandbox.node.network import AddressPool, NetworkError, PodNetwork, create_network
from sandbox.node.status import ContainerRecord, Running, Terminated, Waiting, pod_status
from sandbox.node.volumes import VolumeError, Volumes
from sandbox.resources import path as resource_path

_RETRY = 0.5
"""Seconds before a pod whose Secrets or ConfigMaps are missing is looked at again."""

_REFRESH = 5.0
"""Seconds between refreshes of mounted Secrets, ConfigMaps and tokens (kubelet: 60 to 90)."""

_NOT_FOUND = 404


class Host(Protocol):
    """What a pod needs from the node it runs on."""

    api: Api
    session: aiohttp.ClientSession
    pool: AddressPool
    address: str
    directory: Path


class PodWorker:
    """One pod. `run` returns when the pod is gone from the API."""

    def __init__(self, pod: JsonObject, host: Host) -> None:
        self._pod = pod
        self._host = host
        metadata = pod["metadata"]
        self._path = resource_path("pods", metadata["namespace"], metadata["name"])
        self._directory = host.directory / "pods" / metadata["uid"]
        self._logs = host.directory / "logs" / metadata["namespace"] / metadata["name"]
        self._volumes = Volumes(pod, host.api, self._directory / "volumes")
        self._initial: list[Container] = []
        self._containers: list[Container] = []
        self._initialized = False
        self._waiting = Waiting("ContainerCreating")
        self._address = ""
        self._changed = asyncio.Event()
        self._deletion = asyncio.Event()
        self._gone = asyncio.Event()
        self._conditions: dict[str, JsonObject] = {}
        self._ended_before = pod["status"].get("phase") in {"Succeeded", "Failed"}

    @property
    def key(self) -> tuple[str, str]:
        """The pod's namespace and name."""
        return self._pod["metadata"]["namespace"], self._pod["metadata"]["name"]

    def is_running(self, container: str) -> bool:
        """Say whether a container of the pod runs now."""
        return any(
            each.record.name == container and isinstance(each.record.state, Running)
            for each in (*self._initial, *self._containers)
        )

    def update(self, pod: JsonObject) -> None:
        """Take note of the pod's newest form; a deletion timestamp begins its end."""
        self._pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._deletion.set()

    def vanish(self) -> None:
        """Take note that the API no longer has the pod: end it without any grace."""
        self._gone.set()
        self._deletion.set()

    async def run(self) -> None:
        """Run the pod."""
        writing = asyncio.create_task(self._write_status())
        living = asyncio.create_task(self._live())
        deletion = asyncio.create_task(self._deletion.wait())
        try:
            await asyncio.wait([living, deletion], return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                await living
            await deletion
            await self._end(living)
        finally:
            await _cancel(living, deletion, writing)
            shutil.rmtree(self._directory, ignore_errors=True)
        await self._finalise()

    async def _live(self) -> None:
        """Set the pod up and run its containers until all have ended for good."""
        if self._ended_before:
            return
        containers = [*self._pod["spec"].get("initContainers", ()), *self._pod["spec"]["containers"]]
        isolated = any(self._is_command(container) for container in containers)
        self._address = self._host.pool.take(isolated=isolated)
        async with contextlib.AsyncExitStack() as stack:
            network: PodNetwork | None = None
            if isolated:
                network = await self._connect()
                stack.push_async_callback(network.close)
            # Demo programs read no token: a hundred of them are spared a hundred requests for one.
            await self._fill_volumes(projected=isolated)
            sandbox = self._sandbox(network)
            policy = self._pod["spec"].get("restartPolicy", "Always")
            once = "Never" if policy == "Never" else "OnFailure"
            for specification in self._pod["spec"].get("initContainers", ()):
                self._initial.append(await self._container(specification, sandbox, once))
                if not await self._initialize(self._initial[-1]):
                    return
            self._initialized = True
            specifications = self._pod["spec"]["containers"]
            self._containers = [await self._container(each, sandbox, policy) for each in specifications]
            if isolated:
                stack.push_async_callback(_cancel, asyncio.create_task(self._refresh_volumes()))
            async with asyncio.TaskGroup() as group:
                for container in self._containers:
                    group.create_task(container.live())

    @staticmethod
    def _is_command(container: JsonObject) -> bool:
        return isinstance(images.behaviour(container, {}, {}), images.Command)

    async def _connect(self) -> PodNetwork:
        while True:
            try:
                return await create_network(self._address, self._host.address)
            except NetworkError as error:
                self._waiting = Waiting("ContainerCreating", str(error))
                self._changed.set()
                await asyncio.sleep(_RETRY)

    async def _initialize(self, container: Container) -> bool:
        await container.live()
        return isinstance(container.record.state, Terminated) and container.record.state.exit_code == 0

    def _sandbox(self, network: PodNetwork | None) -> Sandbox:
        self._logs.mkdir(parents=True, exist_ok=True)
        path = None if network is None else network.path
        return Sandbox(
            pod=self._pod,
            address=self._address,
            network=path,
            directory=self._directory,
            logs=self._logs,
            session=self._host.session,
            changed=self._changed.set,
        )

    async def _container(self, specification: JsonObject, sandbox: Sandbox, policy: str) -> Container:
        while True:
            try:
                sources = await self._sources(specification)
                known = environment.variables(specification, self._as_seen(), sources)
                break
            except environment.MissingReferenceError as error:
                self._waiting = Waiting("CreateContainerConfigError", str(error))
                self._changed.set()
                await asyncio.sleep(_RETRY)
        known = {"KUBERNETES_SERVICE_HOST": self._host.address, "KUBERNETES_SERVICE_PORT": "443", **known}
        expanded = environment.expanded(specification, known)
        return Container(expanded, known, self._volumes.mounts(specification), sandbox, policy)

    def _as_seen(self) -> JsonObject:
        """Return the pod with the addresses that its containers may ask for."""
        addresses = {"podIP": self._address, "podIPs": [{"ip": self._address}], "hostIP": self._host.address}
        return {**self._pod, "status": {**self._pod["status"], **addresses}}

    async def _sources(self, container: JsonObject) -> dict[environment.Reference, dict[str, str]]:
        volumes = Volumes(self._pod, self._host.api, self._directory)
        found = {}
        for resource, name in environment.references(container):
            with contextlib.suppress(VolumeError):
                data = await volumes.data(resource, {"name": name})
                found[(resource, name)] = {key: value.decode() for key, value in data.items()}
        return found

    async def _fill_volumes(self, *, projected: bool) -> None:
        while True:
            try:
                await self._volumes.fill(projected=projected)
            except (VolumeError, ApiError) as error:
                self._waiting = Waiting("ContainerCreating", str(error))
                self._changed.set()
                await asyncio.sleep(_RETRY)
            else:
                return

    async def _refresh_volumes(self) -> None:
        while True:
            await asyncio.sleep(_REFRESH)
            with contextlib.suppress(VolumeError, ApiError, aiohttp.ClientError, TimeoutError):
                await self._volumes.fill()

    async def _end(self, living: asyncio.Task[None]) -> None:
        """End all containers within the pod's grace period."""
        grace = (
            0.0 if self._gone.is_set() else float(self._pod["metadata"].get("deletionGracePeriodSeconds", 30))
        )
        containers = [*self._initial, *self._containers]
        async with asyncio.TaskGroup() as group:
            for container in containers:
                group.create_task(container.end(grace))
        if not self._initialized or not self._containers:
            await _cancel(living)
        with contextlib.suppress(asyncio.CancelledError):
            await living

    async def _finalise(self) -> None:
        """Write the last status and remove the pod from the API."""
        if self._gone.is_set():
            return
        precondition = {"uid": self._pod["metadata"]["uid"]}
        options = {"gracePeriodSeconds": 0, "preconditions": precondition}
        while not self._gone.is_set():
            try:
                if not self._ended_before:
                    await self._put_status()
                await self._host.api.delete(self._path, options)
            except ApiError as error:
                if error.status == _NOT_FOUND:
                    return
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                return
            await asyncio.sleep(_RETRY)

    async def _write_status(self) -> None:
        """Write the status after every change; several changes at once are one write."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._put_status()
            except ApiError as error:
                if error.status == _NOT_FOUND:
                    return
                self._changed.set()
                await asyncio.sleep(_RETRY)
            except (aiohttp.ClientError, TimeoutError):
                self._changed.set()
                await asyncio.sleep(_RETRY)

    async def _put_status(self) -> None:
        addresses = (self._address, self._host.address)
        status = pod_status(
            self._pod, self._records(), addresses, self._conditions, now(), initialized=self._initialized
        )
        self._conditions = {condition["type"]: condition for condition in status["conditions"]}
        if self._initial:
            status["initContainerStatuses"] = pod_status(
                self._pod, [each.record for each in self._initial], addresses, {}, now()
            )["containerStatuses"]
        body = {"metadata": {"uid": self._pod["metadata"]["uid"]}, "status": status}
        await self._host.api.patch(f"{self._path}/status", body)

    def _records(self) -> list[ContainerRecord]:
        if self._containers:
            return [container.record for container in self._containers]
        return [
            ContainerRecord(container["name"], container["image"], state=self._waiting)
            for container in self._pod["spec"]["containers"]
        ]


async def _cancel(*tasks: asyncio.Task[object] | asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
