"""What a Deployment's own strategy means for releases: Recreate, edited limits, minReadySeconds."""

from datetime import datetime
from typing import Any

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster.application import NAME, V1, V2, V3, Application, is_paused, phase, says
from tests.cluster.plans import plan, step
from tests.cluster.readiness import counting

_MIN_READY = 2
"""Seconds that a pod of the Deployment has to stay ready until it is available."""


def _deployment(replicas: int = 5, **spec: Any) -> JsonObject:
    manifest = manifests.deployment(replicas=replicas)
    return {**manifest, "spec": {**manifest["spec"], **spec}}


async def test_deployment_that_recreates_is_not_held_and_says_so(app: Application) -> None:
    """Two revisions at once are what it must never have: it is updated natively, and both sides are told."""
    why = f"Deployment {NAME} has strategy Recreate, which allows no two revisions: its changes are not held"
    await app.deploy(deployment=_deployment(strategy={"type": "Recreate"}))
    await app.wait("rollouts", says(why))

    said = await app.kubectl("set", "image", f"deployment/{NAME}", f"{NAME}={V2}")
    paused = is_paused(await app.get("deployments"))
    await app.serves(V2)

    assert "spec.strategy.type is Recreate, which allows no two revisions at once" in said
    assert not paused
    assert phase(await app.get("rollouts")) == "Healthy"


async def test_switch_to_recreate_waits_for_the_end_of_the_release(app: Application) -> None:
    """Promoted with it, every pod would end at once: the strategy is kept, and free afterwards."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    recreate = '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}'

    said = await app.kubectl("patch", f"deployment/{NAME}", "-p", recreate)
    kept = await app.get("deployments")
    async with counting(app) as readiness:
        await app.approve()
        await app.completes()
    await app.kubectl("patch", f"deployment/{NAME}", "-p", recreate)
    taken = await app.get("deployments")

    assert "spec.strategy was kept: Recreate would end every pod at once during a release" in said
    assert [each["spec"]["strategy"]["type"] for each in (kept, taken)] == ["RollingUpdate", "Recreate"]
    assert readiness.lowest(V1, V2) >= 4


async def test_limits_changed_during_a_release_count_at_its_promotion(app: Application) -> None:
    """Begun with one pod that may be missing, promoted with none: not one is missing at any moment."""
    loose, strict = {"maxSurge": 0, "maxUnavailable": 1}, {"maxSurge": 1, "maxUnavailable": 0}
    await app.deploy(plan(step(20, 2)), deployment=_deployment(strategy={"rollingUpdate": loose}))
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.change({"spec": {"strategy": {"rollingUpdate": strict}}})
    async with counting(app) as readiness:
        await app.approve()
        await app.completes()
        await app.serves(V2)

    assert readiness.lowest(V1, V2) >= 5
    assert (await app.get("deployments"))["spec"]["strategy"]["rollingUpdate"] == strict


async def test_canary_is_routed_to_when_it_is_available_not_when_it_is_ready(app: Application) -> None:
    """A Deployment's minReadySeconds counts for the canary's pods: no weight before they have passed."""
    await app.deploy(replicas=3, deployment=_deployment(3, minReadySeconds=_MIN_READY))

    async with app.cluster.record("ingresses", app.namespace) as routes:
        await app.set_image(V2)
        await app.waits(1, 1)
    (pod,) = await app.pods(V2)
    created = next(each for each in routes.objects if each["metadata"]["name"] == f"{NAME}-canary")
    await app.set_image(V3)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()
    await app.serves(V3, 3)

    ready = next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    # Both times are whole seconds.
    elapsed = _time(created["metadata"]["creationTimestamp"]) - _time(ready["lastTransitionTime"])
    assert elapsed.total_seconds() >= _MIN_READY - 1


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
