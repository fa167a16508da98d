"""The walkthrough's stages 1 and 4a, cell by cell, for each way to approve and both versions."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from sandbox import manifests
from sandbox.demo.tables import Table
from tests.cluster import inventory
from tests.cluster.application import COMPLETED, NAME, V2, Application, image_of
from tests.cluster.approvals import WAYS, Approve
from tests.cluster.chart_install import NAMESPACE, PROCESSES
from tests.cluster.product import Product, application

_ROLLOUTS = {
    "v1beta1": manifests.rollout(grace_period_seconds=0),
    "v1alpha1": manifests.rollout_v1alpha1(grace_period_seconds=0),
}
_CASES = [(way, version) for way in WAYS for version in _ROLLOUTS]


@dataclass(frozen=True)
class Promotion:
    """What was visible after the approval."""

    tables: dict[str, Table]
    images: list[str]
    succeeded: str
    leftovers: list[str]


@pytest_asyncio.fixture(
    scope="module", loop_scope="session", params=_CASES, ids=["-".join(case) for case in _CASES]
)
async def promotion(request: pytest.FixtureRequest, product: Product) -> AsyncIterator[Promotion]:
    """Release, approve in one way, and wait for the end."""
    way, version = request.param
    async with application(product) as app:
        await app.deploy(_ROLLOUTS[version])
        yield await _promote(app, WAYS[way])


async def _promote(app: Application, approve: Approve) -> Promotion:
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 1)
    await approve(app)
    rollout = await app.completes()
    tables = await app.tables()
    left = inventory.leftovers(before, await inventory.settled(app))
    images = [pod["spec"]["containers"][0]["image"] for pod in await app.pods()]
    conditions = {each["type"]: each["status"] for each in rollout["status"]["conditions"]}
    return Promotion(tables, images, conditions.get("Succeeded", ""), left)


async def test_installed_product_runs_two_replicas_of_each_process(product: Product) -> None:
    """Stage 1: webhook and reconciler, two replicas each, all ready."""
    found = {name: await product.cluster.get("deployments", NAMESPACE, name) for name in PROCESSES}

    ready = {name: each and each["status"].get("readyReplicas") for name, each in found.items()}
    assert ready == {"sluice-webhook": 2, "sluice-reconciler": 2}


async def test_approved_version_is_rolled_out_natively(promotion: Promotion) -> None:
    """Stage 4a: five pods, all of the new version, and the canary Deployment gone."""
    table = promotion.tables["deployment"]

    assert promotion.images == [V2] * 5
    assert table.names == (NAME,)
    assert (table.rows[NAME]["READY"], table.rows[NAME]["UP-TO-DATE"]) == ("5/5", "5")


async def test_completed_release_removes_the_canary_objects(promotion: Promotion) -> None:
    """Stage 4a: one Service, one Ingress."""
    assert promotion.tables["service"].names == (NAME,)
    assert promotion.tables["ingress"].names == (NAME,)


async def test_rollout_says_that_it_is_completed(promotion: Promotion) -> None:
    """Stage 4a: all four columns of `kubectl get rollouts`, and the condition."""
    row = promotion.tables["rollout"].rows[NAME]

    assert (row["STATUS"], row["CANARY_STEP"], row["CANARY_STATE"]) == ("Healthy", "1", "Completed")
    assert row["MESSAGE"] == COMPLETED
    assert promotion.succeeded == "True"


async def test_completed_release_leaves_nothing_behind(promotion: Promotion) -> None:
    """Stage 4a: every object of the namespace is as before the update, but for the new version."""
    assert promotion.leftovers == []


@pytest.mark.parametrize(
    "shown",
    [
        ("events", "--for", f"rollout/{NAME}"),
        ("get", "rollout", NAME, "-o", "jsonpath={.status.canaryStatus.message}"),
    ],
    ids=["event", "status"],
)
async def test_command_that_is_shown_approves(app: Application, shown: tuple[str, ...]) -> None:
    """A waiting step tells the command that approves it, as it stands; an event is gone after an hour."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    text = await app.kubectl(*shown)

    (command,) = [line.partition(": ")[2] for line in text.splitlines() if "waits for approval" in line]
    await app.kubectl(*command.removeprefix("kubectl ").split())
    await app.completes()

    assert image_of(await app.get("deployments")) == V2


async def test_plugin_says_what_was_approved(app: Application) -> None:
    """`kubectl sluice approve` prints release and step, as the kruise plugin prints the Rollout."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release = await app.release()

    printed = await WAYS["plugin"](app)

    assert printed.startswith(f"rollout.rollouts.kruise.io/{NAME} approved")
    assert release in printed
