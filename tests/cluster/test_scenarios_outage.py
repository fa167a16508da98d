"""What the product does without parts of itself."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest_asyncio

from sandbox import manifests
from sandbox.commands import Completed
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import (
    NAME,
    V1,
    V2,
    V3,
    Application,
    image_of,
    is_labelled,
    is_paused,
    phase,
    state,
)
from tests.cluster.chart_install import NAMESPACE
from tests.cluster.product import Product, application

_WEBHOOK = "sluice-webhook"
_RECONCILER = "sluice-reconciler"
_RECONCILER_USER = f"system:serviceaccount:{NAMESPACE}:{_RECONCILER}"
_LABEL = "rollouts.kruise.io/workload-type"
_FAILOVER_SECONDS = 5.0
"""The promise: a killed leader's work is taken up within this time."""

_ROLLBACK_SECONDS = 3.0
"""What the roll-back itself may take, on a machine that does other things too."""


@dataclass(frozen=True)
class Outage:
    """What happened in one release while no webhook pod was there."""

    refused: Completed
    """An update of the governed Deployment."""
    free: JsonObject
    """A Deployment without a Rollout, after its update."""
    scaled: JsonObject
    """The governed Deployment, after it was scaled."""
    leftovers: list[str]
    """After the Rollout was deleted."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outage(product: Product) -> AsyncIterator[Outage]:
    """Have a release wait, take the webhook away, try everything, and bring it back."""
    async with application(product) as app:
        await app.deploy()
        await app.create(manifests.deployment("free", replicas=1))
        await app.wait("deployments", manifests.available(1), name="free")
        before = await inventory.take(app)
        await app.set_image(V2)
        await app.waits(1, 1)
        await product.scale(_WEBHOOK, 0)
        try:
            found = await _outage(app, before)
        finally:
            await product.scale(_WEBHOOK, 2)
    yield found


async def _outage(app: Application, before: inventory.Inventory) -> Outage:
    update = ("-n", app.namespace, "set", "image", f"deployment/{NAME}", f"{NAME}={V3}")
    refused = await app.cluster.kubectl(*update, check=False)
    await app.kubectl("set", "image", "deployment/free", f"free={V2}")
    free = await app.wait("deployments", manifests.available(1), name="free")
    await app.kubectl("scale", f"deployment/{NAME}", "--replicas=6")
    scaled = await app.wait("deployments", lambda found: found["status"].get("readyReplicas") == 6)
    await app.kubectl("scale", f"deployment/{NAME}", "--replicas=5")
    await app.kubectl("delete", "rollout", NAME, "--timeout=30s")
    await app.wait("deployments", manifests.available(5))
    left = inventory.leftovers(before, await inventory.settled(app))
    return Outage(refused, free, scaled, left)


async def test_update_of_a_governed_deployment_is_refused_while_no_webhook_answers(outage: Outage) -> None:
    """Nothing is let out unseen: the API server refuses a template change of a labelled Deployment."""
    assert outage.refused.returncode != 0
    assert "failed calling webhook" in outage.refused.stderr


async def test_other_deployments_are_updated_while_no_webhook_answers(outage: Outage) -> None:
    """Who has no Rollout does not notice."""
    assert image_of(outage.free) == V2


async def test_governed_deployment_is_scaled_while_no_webhook_answers(outage: Outage) -> None:
    """Scaling never depends on us, not even mid-release."""
    assert image_of(outage.scaled) == V2
    assert outage.scaled["spec"]["paused"] is True


async def test_release_is_ended_while_no_webhook_answers(outage: Outage) -> None:
    """The way out without a webhook is to delete the Rollout: the reconciler's writes pass, nothing stays."""
    expected = ("/rollouts/", "rollouts.kruise.io/workload-type was")

    assert [each for each in outage.leftovers if not any(part in each for part in expected)] == []


async def test_rollback_that_was_begun_ends_while_no_webhook_answers(
    product: Product, app: Application
) -> None:
    """A roll-back needs the webhook for the user's own write only."""
    await app.deploy(manifests.rollout(grace_period_seconds=5))
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.set_image(V1)
    await product.scale(_WEBHOOK, 0)
    try:
        await app.rolled_back()
        assert inventory.leftovers(before, await inventory.settled(app)) == []
    finally:
        await product.scale(_WEBHOOK, 2)


async def test_change_that_passed_without_the_webhook_is_held_late(
    product: Product, app: Application
) -> None:
    """An unlabelled Deployment changed while no webhook answered is held late, and an event says so."""
    await app.deploy()
    try:
        await product.scale(_RECONCILER, 0)
        # The state before the label lands, which only the reconciler could make: nobody else may take it off.
        await app.kubectl("label", f"deployment/{NAME}", f"{_LABEL}-", f"--as={_RECONCILER_USER}")
        await product.scale(_WEBHOOK, 0)
        # Pods that never become ready: the native update is still under way when somebody comes to look.
        await app.set_image(f"{V2}-unready")
    finally:
        await product.scale(_WEBHOOK, 2)
        await product.scale(_RECONCILER, 2)

    await app.wait("deployments", lambda found: is_paused(found) and is_labelled(found))
    await app.wait("rollouts", lambda found: phase(found) == "Progressing")
    events = await app.kubectl("events", "--for", f"rollout/{NAME}")
    await app.set_image(V1)
    await app.wait("rollouts", lambda found: phase(found) == "Healthy")
    await app.wait("deployments", manifests.available(5))

    assert "the gate was closed late" in events
    await app.serves(V1)


async def test_killed_leader_is_replaced_and_the_release_goes_on(product: Product, app: Application) -> None:
    """SIGKILL of the leader in the middle of a release: within five seconds somebody goes on with it."""
    await app.deploy()
    await app.set_image(f"{V2}-unready")
    await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")

    product.kill(await product.leader())
    begun = time.monotonic()
    await app.set_image(V1)
    await app.rolled_back(state="StepUpgrade")
    elapsed = time.monotonic() - begun

    assert elapsed < _FAILOVER_SECONDS + _ROLLBACK_SECONDS
    assert (await app.tables())["deployment"].names == (NAME,)
