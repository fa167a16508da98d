"""GitOps peace: clients that apply their unchanged manifests every second, during a whole release."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, Application, is_labelled, phase
from tests.cluster.evidence import watching
from tests.cluster.plans import plan, step

_PERIOD = 1.0
"""Seconds between two applies: a client that re-syncs more often than any real one."""

CLIENTS: Mapping[str, tuple[str, ...]] = {
    "three-way merge": ("apply",),
    "server-side apply": ("apply", "--server-side", "--field-manager=gitops"),
}


def desired(app: Application, image: str) -> JsonObject:
    """Return everything that stands in the user's repository, as one list."""
    rollout = plan(step(20, 1), step(60, 3))
    items: list[Any] = [
        manifests.service(),
        manifests.ingress(host=app.host),
        manifests.deployment(image=image),
        rollout,
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


class Repository:
    """A client that applies what the repository says, for ever, and what it was told."""

    def __init__(self, app: Application, command: tuple[str, ...]) -> None:
        self.image = V1
        self.applied: asyncio.Condition = asyncio.Condition()
        self.count = 0
        self.conflicts: list[str] = []
        self._app = app
        self._command = command

    async def run(self) -> None:
        """Apply, wait a second, and so on; ends by cancellation."""
        while True:
            found = await self._app.kubectl(*self._command, "-f", "-", stdin=desired(self._app, self.image))
            if "conflict" in found.lower():
                self.conflicts.append(found)
            async with self.applied:
                self.count += 1
                self.applied.notify_all()
            await asyncio.sleep(_PERIOD)

    async def applies(self, times: int) -> None:
        """Wait until it has applied so many times more."""
        async with asyncio.timeout(60), self.applied:
            wanted = self.count + times
            await self.applied.wait_for(lambda: self.count >= wanted)


@asynccontextmanager
async def repository(app: Application, command: tuple[str, ...]) -> AsyncIterator[Repository]:
    """Deploy by a client that goes on applying until the block ends."""
    client = Repository(app, command)
    task = asyncio.create_task(client.run())
    try:
        await client.applies(1)
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")
        await app.wait("deployments", is_labelled)
        yield client
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()):
        raise error


def changes(values: list[Any]) -> list[Any]:
    """Leave out repetitions."""
    return [value for value, _ in itertools.groupby(values)]


def selected(service: JsonObject) -> str:
    """Return the revision that a Service is held to."""
    return str(service["spec"]["selector"].get("pod-template-hash", ""))


def weight_on(ingress: JsonObject) -> int:
    """Return the share that an Ingress sends to the canary."""
    annotations = ingress["metadata"].get("annotations", {})
    return int(annotations.get("nginx.ingress.kubernetes.io/canary-weight", 0))


@pytest.mark.parametrize("client", CLIENTS)
async def test_release_completes_under_a_client_that_applies_every_second(
    app: Application, client: str
) -> None:
    """Nothing flaps: one revision is held and let go once, the weight only rises, no conflict is met."""
    async with repository(app, CLIENTS[client]) as gitops:
        await gitops.applies(1)
        before = await inventory.take(app)
        async with (
            watching(app) as evidence,
            app.cluster.record("services", app.namespace) as services,
            app.cluster.record("ingresses", app.namespace) as ingresses,
        ):
            gitops.image = V2
            await app.wait(
                "deployments", lambda found: "sluice.dev/release" in found["metadata"].get("annotations", {})
            )
            await app.waits(1, 2)
            await gitops.applies(2)
            await app.approve()
            await app.waits(2, 2)
            await gitops.applies(2)
            held = evidence.updated_pods()
            raised = [
                weight_on(each) for each in ingresses.objects if each["metadata"]["name"] == f"{NAME}-canary"
            ]
            await app.approve()
            await app.completes(steps=2)
            await app.serves(V2)
            await gitops.applies(2)

        assert held == []
        assert changes(raised) == [0, 20, 60]
        pins = [selected(each) for each in services.objects if each["metadata"]["name"] == NAME]
        assert [bool(pin) for pin in changes(pins)] == [False, True, False]
        assert gitops.conflicts == []
        assert phase(await app.get("rollouts")) == "Healthy"
        assert inventory.leftovers(before, await inventory.settled(app)) == []


@pytest.mark.parametrize("client", CLIENTS)
async def test_roll_back_in_the_repository_takes_the_release_back(app: Application, client: str) -> None:
    """The old image committed again while the client goes on applying: everything is as it was."""
    async with repository(app, CLIENTS[client]) as gitops:
        await gitops.applies(1)
        gitops.image = V2
        await app.wait(
            "deployments", lambda found: "sluice.dev/release" in found["metadata"].get("annotations", {})
        )
        await app.waits(1, 2)

        gitops.image = V1
        await app.rolled_back()
        await gitops.applies(2)

        assert await app.pods(V2) == []
        assert gitops.conflicts == []
