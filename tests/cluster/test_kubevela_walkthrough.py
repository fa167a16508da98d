"""The walkthrough under KubeVela, cell by cell, by a client that sends what KubeVela sends."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from sandbox.data_plane import Traffic
from sandbox.demo.tables import Table
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import COMPLETED, NAME, ROLLED_BACK, V1, V2, Application
from tests.cluster.product import Product, application
from tests.cluster.recordings import recorded, replay
from tests.vela import cli, walkthrough
from tests.vela.core import RUNNING, Vela

_WAITS = "Rollout is in step(1/1), and you need manually confirm to enter the next step"
_CANARY = f"{NAME}-canary"
_REQUESTS = 100


@dataclass
class Story:
    """What was visible at each stage."""

    columns: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    tables: dict[str, dict[str, Table]] = field(default_factory=dict)
    pods: dict[str, set[str]] = field(default_factory=dict)
    route: JsonObject = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    leftovers: list[str] = field(default_factory=list)
    refused: list[Any] = field(default_factory=list)

    def row(self, stage: str, kind: str) -> tuple[str, ...]:
        """Give the cells of an object of the walkthrough that it shows."""
        found = self.tables[stage][kind]
        shown = {
            "deployment": ("READY", "UP-TO-DATE", "AVAILABLE"),
            "rollout": ("STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE"),
        }[kind]
        return tuple(found.rows[NAME][each] for each in shown)

    def names(self, stage: str) -> dict[str, set[str]]:
        """Name the objects of each kind."""
        return {kind: set(found.names) for kind, found in self.tables[stage].items()}


Approve = Callable[[Application, Vela], Awaitable[Any]]

_WAYS: dict[str, tuple[Approve, int | None]] = {
    "vela workflow resume": (lambda _, vela: cli.resume(vela), None),
    "kubectl-kruise rollout approve": (
        lambda app, _: replay(app, recorded("kubectl-kruise rollout approve")[0]),
        0,
    ),
    "annotation": (lambda app, _: app.approve(), 0),
}
"""How to approve, and the grace that the user asks for: the walkthrough's user says nothing of it."""


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=_WAYS)
async def story(request: pytest.FixtureRequest, product: Product) -> AsyncIterator[Story]:
    """Deploy, update, approve in one way, update again and go back."""
    approve, grace = _WAYS[request.param]
    async with application(product) as app:
        vela = Vela(app.cluster.api)
        async with vela.running():
            yield await _play(app, vela, approve, grace)


async def _play(app: Application, vela: Vela, approve: Approve, grace: int | None) -> Story:
    story, trait = Story(), walkthrough.rollout(grace=grace)

    async def up(image: str) -> None:
        await vela.up(walkthrough.application(image, trait, namespace=app.namespace, host=app.host))

    async def note(stage: str, image: str) -> None:
        story.columns[stage], story.tables[stage] = vela.columns, await app.tables()
        story.pods[stage] = {each["metadata"]["uid"] for each in await app.pods(image)}

    await up(V1)
    await vela.reaches(RUNNING, app.patience)
    await note("first deploy", V1)
    before = await inventory.take(app)
    await up(V2)
    await app.waits(1, 1)
    await vela.looked(app.patience)
    await note("image changed", V2)
    story.route = await app.get("ingresses", _CANARY)
    data_plane = await app.cluster.data_plane()
    await data_plane.divides(app.host, 10, lambda found: set(found.by_image) == {V1, V2})
    story.traffic = await data_plane.send(app.host, _REQUESTS)
    await approve(app, vela)
    await vela.reaches(RUNNING, app.patience)
    await note("approved", V2)
    story.leftovers = inventory.leftovers(before, await inventory.settled(app))
    await up(V1)
    await app.waits(1, 1)
    await up(V2)
    await vela.reaches(RUNNING, app.patience)
    await note("rolled back", V2)
    story.refused = vela.refused
    return story


async def test_first_deploy_is_no_release(story: Story) -> None:
    """Stage 2: the Application runs, and its Rollout is healthy."""
    stage = "first deploy"

    assert story.columns[stage] == ("running", "true", "Ready:5/5")
    assert story.row(stage, "deployment") == ("5/5", "5", "5")
    assert story.row(stage, "rollout")[0] == "Healthy"
    assert set().union(*story.names(stage).values()) == {NAME}


async def test_new_image_waits_at_its_step(story: Story) -> None:
    """Stage 3: no pod of the Deployment is new, one canary pod is, and everybody is told so."""
    stage = "image changed"
    canaries = story.names(stage)["deployment"] - {NAME}

    assert story.columns[stage] == ("runningWorkflow", "false", "Ready:5/5")
    assert story.row(stage, "deployment") == ("5/5", "0", "5")
    assert [story.tables[stage]["deployment"].rows[each]["READY"] for each in canaries] == ["1/1"]
    assert story.row(stage, "rollout") == ("Progressing", "1", "StepPaused", _WAITS)
    assert story.names(stage)["service"] == story.names(stage)["ingress"] == {NAME, _CANARY}


async def test_canary_ingress_is_the_walkthroughs(story: Story) -> None:
    """Stage 3: class by annotation, as the stable one has it; weight, host, path and backend."""
    annotations, (rule,) = story.route["metadata"]["annotations"], story.route["spec"]["rules"]
    (path,) = rule["http"]["paths"]

    assert annotations["kubernetes.io/ingress.class"] == "nginx"
    assert annotations["nginx.ingress.kubernetes.io/canary"] == "true"
    assert annotations["nginx.ingress.kubernetes.io/canary-weight"] == "20"
    assert (rule["host"], path["path"], path["pathType"]) == (
        story.tables["image changed"]["ingress"].rows[_CANARY]["HOSTS"],
        "/",
        "ImplementationSpecific",
    )
    assert path["backend"]["service"] == {"name": _CANARY, "port": {"number": 8080}}


async def test_requests_are_split(story: Story) -> None:
    """Stage 3: one in five, and each configuration that the proxy loads meanwhile may cost a turn."""
    assert sum(story.traffic.by_image.values()) == _REQUESTS
    assert abs(story.traffic.by_image[V2] - _REQUESTS // 5) <= 1 + story.traffic.loaded


async def test_approved_version_is_out(story: Story) -> None:
    """Stage 4a: all pods are new, the approved one among them, and nothing is left of the release."""
    stage = "approved"

    assert story.columns[stage] == ("running", "true", "Ready:5/5")
    assert story.row(stage, "deployment") == ("5/5", "5", "5")
    assert story.row(stage, "rollout") == ("Healthy", "1", "Completed", COMPLETED)
    assert story.pods["image changed"] <= story.pods[stage]
    assert [each for each in story.leftovers if "oam.dev" not in each] == []  # vela numbers its revisions


async def test_old_image_again_is_a_roll_back(story: Story) -> None:
    """Stage 4b: no pod of the stable version was started anew."""
    stage = "rolled back"

    assert story.columns[stage] == ("running", "true", "Ready:5/5")
    assert story.row(stage, "deployment") == ("5/5", "5", "5")
    assert story.row(stage, "rollout") == ("Healthy", "1", "StepPaused", ROLLED_BACK)
    assert story.pods[stage] == story.pods["approved"]
    assert set().union(*story.names(stage).values()) == {NAME}


async def test_vela_is_never_refused(story: Story) -> None:
    """None of its writes, dry runs included, meets an error that it would not meet without us."""
    assert story.refused == []
