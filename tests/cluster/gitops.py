"""Clients that apply what a repository says, again and again, though nothing in it has changed."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import yaml

from sandbox import flux, manifests
from sandbox.cluster import Cluster
from sandbox.commands import Completed
from sandbox.names import JsonObject
from tests.cluster.application import NAME, V1, Application

PERIOD = 1.0
"""Seconds between two applies: a client that re-syncs more often than any real one."""

Objects = Callable[[str], list[JsonObject]]
"""All that stands in the user's repository, for an image."""

Deliver = Callable[[str], Awaitable[str]]
"""Apply what the repository says with an image; returns what the client printed."""

Setup = Callable[[Application, Objects, Path], Deliver]
"""Make a client that delivers objects; the directory is for its files."""


class Repository:
    """A client that delivers what the repository says, for ever, and what it was told."""

    def __init__(self, deliver: Deliver) -> None:
        self.image = V1
        self.applied: asyncio.Condition = asyncio.Condition()
        self.count = 0
        self.conflicts: list[str] = []
        self._deliver = deliver

    async def run(self) -> None:
        """Apply, wait a second, and so on; ends by cancellation."""
        while True:
            found = await self._deliver(self.image)
            if "conflict" in found.lower():
                self.conflicts.append(found)
            async with self.applied:
                self.count += 1
                self.applied.notify_all()
            await asyncio.sleep(PERIOD)

    async def applies(self, times: int) -> None:
        """Wait until it has applied so many times more."""
        async with asyncio.timeout(60), self.applied:
            wanted = self.count + times
            await self.applied.wait_for(lambda: self.count >= wanted)


@asynccontextmanager
async def applying(app: Application, deliver: Deliver) -> AsyncIterator[Repository]:
    """Deploy by a client that goes on applying until the block ends; the block ends with it if it fails."""
    client = Repository(deliver)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        await client.applies(1)
        await app.governed()
        yield client
        task.cancel()


async def released(app: Application) -> None:
    """Wait until the change has become a release."""
    await app.wait("deployments", lambda found: "sluice.dev/release" in found["metadata"]["annotations"])


def kubectl(*verb: str) -> Setup:
    """Apply by kubectl."""

    def client(app: Application, objects: Objects, _: Path) -> Deliver:
        async def deliver(image: str) -> str:
            listed: JsonObject = {"apiVersion": "v1", "kind": "List", "items": objects(image)}
            return await app.kubectl(*verb, "-f", "-", stdin=listed)

        return deliver

    return client


def helm(run: Callable[[Cluster], Callable[..., Awaitable[Completed]]]) -> Setup:
    """Upgrade a chart, whose only value is the image, by one of the Helms."""

    def client(app: Application, objects: Objects, directory: Path) -> Deliver:
        write_chart(directory, objects("{{ .Values.image }}"))
        chart = ("web", str(directory), "-n", app.namespace)

        async def deliver(image: str) -> str:
            helm = run(app.cluster)
            done = await helm("upgrade", "--install", *chart, "--set", f"image={image}")
            return done.stderr + done.stdout

        return deliver

    return client


def kustomize_controller(app: Application, objects: Objects, _: Path) -> Deliver:
    """Commit what changed and have Flux reconcile, as `flux reconcile` does."""
    numbers = count(1)

    async def deliver(image: str) -> str:
        artifacts = await app.cluster.flux()
        artifact = artifacts.add(objects(image))
        asked = str(next(numbers))
        if asked == "1":
            await app.cluster.create(flux.SOURCES, app.namespace, flux.source(NAME, artifact))
            await app.create(flux.kustomization(NAME, app.namespace))
        else:
            change: JsonObject = {"status": {"artifact": artifact}}
            await app.cluster.patch(flux.SOURCES, app.namespace, NAME, change)
        request = {"metadata": {"annotations": {flux.REQUESTED: asked}}}
        await app.cluster.patch(flux.KUSTOMIZATIONS, app.namespace, NAME, request)
        done = await app.wait(
            flux.KUSTOMIZATIONS,
            lambda found: found.get("status", {}).get("lastHandledReconcileAt") == asked and _is_ready(found),
        )
        return str(_ready(done)["message"])

    return deliver


def _ready(kustomization: JsonObject) -> JsonObject:
    conditions = kustomization.get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == "Ready"), {"status": "Unknown"})


def _is_ready(kustomization: JsonObject) -> bool:
    return bool(_ready(kustomization)["status"] == "True")


CLIENTS: Mapping[str, Setup] = {
    "kubectl apply": kubectl("apply"),
    "kubectl apply --server-side": kubectl("apply", "--server-side", "--field-manager=gitops"),
    "helm 3": helm(lambda cluster: cluster.helm3),
    "helm 4": helm(lambda cluster: cluster.helm),
    "flux": kustomize_controller,
}
"""By name: how a client is set up to deliver what a repository says."""


def write_chart(directory: Path, objects: list[JsonObject]) -> None:
    """Write a chart of these objects, in which `.Values.image` may stand."""
    templates = directory / "templates"
    templates.mkdir()
    chart = {"apiVersion": "v2", "name": "web", "version": "1.0.0"}
    (directory / "Chart.yaml").write_text(json.dumps(chart))
    (directory / "values.yaml").write_text(json.dumps({"image": V1}))
    for each in objects:
        (templates / f"{each['kind']}.yaml").write_text(yaml.safe_dump(each))


def application(app: Application, rollout: JsonObject, strategy: JsonObject | None = None) -> Objects:
    """Return the walkthrough's application with a Rollout, as it stands in a repository."""

    def objects(image: str) -> list[JsonObject]:
        deployment = manifests.deployment(image=image)
        if strategy:
            deployment["spec"]["strategy"] = strategy
        return [manifests.service(), manifests.ingress(host=app.host), deployment, rollout]

    return objects
