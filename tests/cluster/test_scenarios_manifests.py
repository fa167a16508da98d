"""Manifests as users of this API have them, applied as they stand, and released by approvals alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio
import yaml

from sandbox import manifests
from sandbox.api import Event
from sandbox.names import JsonObject
from sandbox.resources import path
from tests.cluster import inventory
from tests.cluster.application import COMPLETED, V2, Application, image_of, image_of_pod, message, phase
from tests.cluster.product import Product, application

_FILES = sorted((Path(__file__).parents[1] / "manifests").glob("*.yaml"))
_SECONDS = 60
"""For a release of a few steps beside as many others as there are manifests."""

_NATIVE = ('Warning: annotation "kubernetes.io/ingress.class" is deprecated', "poddisruptionbudget.policy/")
"""What kubectl says of other people's kinds, Rollout or not: a class by annotation, a selector sent again."""


@dataclass(frozen=True)
class Story:
    """What became of one manifest."""

    first: list[str]
    """What kubectl said beyond that it created everything."""
    again: list[str]
    """What it said of the same file, with the Rollout at rest, beyond that nothing changed."""
    spec: Any
    """The Rollout's, through the version in which it was written, after its release."""
    written: Any
    approvals: int
    leftovers: list[str]
    images: set[str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stories(product: Product) -> AsyncIterator[dict[str, Story]]:
    """Apply and release each manifest in a namespace of its own, all of them side by side."""

    async def tell(file: Path) -> Story:
        async with application(product) as app:
            return await _tell(app, file)

    async with asyncio.TaskGroup() as group:
        tasks = {file.stem: group.create_task(tell(file)) for file in _FILES}
    yield {name: task.result() for name, task in tasks.items()}


def _read(file: Path, kind: str) -> JsonObject:
    """Return the one object of a kind in a file."""
    documents: list[JsonObject] = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    (found,) = (each for each in documents if each["kind"] == kind)
    return found


async def _tell(app: Application, file: Path) -> Story:
    rollout, deployment = _read(file, "Rollout"), _read(file, "Deployment")
    name, workload = rollout["metadata"]["name"], deployment["metadata"]["name"]
    replicas = deployment["spec"]["replicas"]
    first = await app.kubectl("apply", "-f", str(file))
    await app.wait("rollouts", lambda found: phase(found) == "Healthy", name)
    await app.wait("deployments", manifests.available(replicas), workload, _SECONDS)
    await app.wait("deployments", lambda found: "rollouts.kruise.io/workload-type" in str(found), workload)
    before = await inventory.take(app)
    again = await app.kubectl("apply", "-f", str(file))

    await app.kubectl("set", "image", f"deployment/{workload}", f"main={V2}")
    approvals = await _approve_all(app, name)
    done = await app.wait("deployments", manifests.available(replicas), workload, _SECONDS)

    group, _, version = rollout["apiVersion"].partition("/")
    place = path(f"{group}/{version}/rollouts", app.namespace, name)
    return Story(
        first=_complaints(first, " created"),
        again=_complaints(again, " unchanged"),
        spec=(await app.cluster.api.get(place))["spec"],
        written=rollout["spec"],
        approvals=approvals,
        leftovers=inventory.leftovers(before, await inventory.settled(app)),
        images={image_of(done), *(image_of_pod(each) for each in await app.pods())},
    )


def _complaints(said: str, usual: str) -> list[str]:
    return [line for line in said.splitlines() if not line.endswith(usual) and not line.startswith(_NATIVE)]


async def _approve_all(app: Application, name: str) -> int:
    """Approve each step that asks for a person, as the kruise plugin does; return how many did."""
    place = path("rollouts", app.namespace, name) + "/status"
    asked: set[int] = set()
    async with app.cluster.record("rollouts", app.namespace) as rollouts:
        while True:
            event = await rollouts.wait_for(_asks_or_ends(asked), _SECONDS)
            if message(event.object) == COMPLETED:
                return len(asked)
            asked.add(event.object["status"]["currentStepIndex"])
            await app.cluster.api.patch(
                place, {"status": {"canaryStatus": {"currentStepState": "StepReady"}}}
            )


def _asks_or_ends(asked: set[int]) -> Callable[[Event], bool]:
    def decide(event: Event) -> bool:
        status = event.object.get("status", {})
        asks = "you need manually confirm" in message(event.object)
        return message(event.object) == COMPLETED or (asks and status["currentStepIndex"] not in asked)

    return decide


async def test_manifest_is_taken_as_it_stands(stories: dict[str, Story]) -> None:
    """Not a word of complaint at the first apply, nothing to change at the second."""
    said = {name: story.first + story.again for name, story in stories.items()}

    assert said == {name: [] for name in stories}


async def test_manifest_reads_back_as_written(stories: dict[str, Story]) -> None:
    """Through its own version, after a release: no field was added, dropped or rewritten."""
    differing = {
        name: (story.written, story.spec)
        for name, story in stories.items()
        if story.spec | {"disabled": False} != story.written | {"disabled": False}
    }

    assert differing == {}


async def test_manifest_releases_with_the_approvals_it_asks_for(stories: dict[str, Story]) -> None:
    """Steps without a time wait for a person, those with one go on, and 100 % completes by itself."""
    approvals = {name: story.approvals for name, story in stories.items()}

    assert approvals == {
        "cookie-v1alpha1": 1,
        "marked-pods-v1alpha1": 1,
        "pods-alone-v1beta1": 1,
        "shares-v1beta1": 1,
        "testers-v1alpha1": 2,
        "testers-v1beta1": 2,
        "weights-v1alpha1": 1,
    }


async def test_manifest_is_released_whole(stories: dict[str, Story]) -> None:
    """The new version alone, every other object as before: autoscaler and disruption budget as well."""
    found = {name: (story.images, story.leftovers) for name, story in stories.items()}

    assert found == dict.fromkeys(stories, ({V2}, []))
