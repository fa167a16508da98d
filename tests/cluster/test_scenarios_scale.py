"""Scaling, before and during a release."""

from sandbox import manifests
from tests.cluster.application import NAME, V1, V2, Application, is_paused


async def test_update_of_a_workload_without_replicas_is_native_and_says_so(app: Application) -> None:
    """Scaled to zero, nothing serves that could be protected."""
    await app.deploy()
    await app.kubectl("scale", f"deployment/{NAME}", "--replicas=0")
    await app.wait("deployments", manifests.available(0))

    said = await app.kubectl("set", "image", f"deployment/{NAME}", f"{NAME}={V2}")

    assert f"Warning: not gated by Rollout {NAME}" in said
    assert not is_paused(await app.get("deployments"))


async def test_scaling_up_during_a_release_grows_both_sides(app: Application) -> None:
    """5 pods become 10: the stable side follows natively, the canary's 20 % become two, the weight stays."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    canary = (await app.canary())["metadata"]["name"]

    await app.kubectl("scale", f"deployment/{NAME}", "--replicas=10")
    await app.wait("deployments", manifests.available(2), name=canary)
    await app.wait("deployments", lambda found: found["status"].get("readyReplicas") == 10)
    await app.waits(1, 1)
    weight = await app.weight()
    await app.approve()
    await app.completes()

    assert weight == 20
    await app.serves(V2, 10)


async def test_scaling_down_during_a_release_shrinks_both_sides(app: Application) -> None:
    """10 pods become 5: the canary shrinks too, which other tools never do."""
    await app.deploy(replicas=10)
    await app.set_image(V2)
    await app.waits(1, 1)
    canary = (await app.canary())["metadata"]["name"]

    await app.kubectl("scale", f"deployment/{NAME}", "--replicas=5")
    await app.wait("deployments", manifests.available(1), name=canary)
    await app.wait("deployments", lambda found: found["status"].get("replicas") == 5)
    await app.set_image(V1)
    await app.rolled_back()

    await app.serves(V1)
