"""What nobody would ever let go again, and what the controller of a paused Deployment wakes up."""

from tests.cluster.application import NAME, V1, V2, V3, Application, image_of, is_labelled
from tests.cluster.chart_install import fully_available


async def test_workload_of_a_rollout_that_was_forced_away_is_let_go(app: Application) -> None:
    """Somebody removes the finalizer and deletes the Rollout: gate, label and pin do not stay for ever."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.change_rollout({"metadata": {"finalizers": None}})
    await app.kubectl("delete", "rollout", NAME, "--timeout=30s")

    deployment = await app.wait(
        "deployments", lambda found: fully_available(found) and not is_labelled(found)
    )
    service = await app.wait("services", lambda found: "pod-template-hash" not in found["spec"]["selector"])
    assert "paused" not in deployment["spec"]
    assert image_of(deployment) == V2
    assert not any(key.startswith("sluice.dev/") for key in service["metadata"].get("annotations", {}))
    await app.serves(V2)


async def test_scaled_to_zero_and_back_the_stable_revision_serves(app: Application) -> None:
    """Of several old ReplicaSets the controller wakes the youngest; the one that served serves again."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()
    await app.set_image(V1)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()
    await app.set_image(V3)
    await app.waits(1, 1)

    await app.kubectl("scale", "deployment", NAME, "--replicas=0")
    await app.wait("deployments", lambda found: not found["status"].get("replicas"))
    await app.kubectl("scale", "deployment", NAME, "--replicas=5")

    await app.wait_for_all(
        "pods",
        lambda found: sorted(pod["spec"]["containers"][0]["image"] for pod in found) == [V1] * 5 + [V3],
    )
    await app.wait("deployments", lambda found: found["status"].get("readyReplicas") == 5)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()
    await app.serves(V3)


async def test_approval_does_not_outlive_its_deployment(app: Application) -> None:
    """A Deployment that is created again counts its generations anew; its release is another one."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    approved = await app.approve()
    await app.completes()

    manifest = await app.get("deployments")
    await app.kubectl("delete", "deployment", NAME, "--timeout=30s")
    await app.wait("rollouts", lambda found: found["status"]["phase"] == "Initial")
    fresh = {"labels": {"app": NAME}, "name": NAME}
    spec = {key: value for key, value in manifest["spec"].items() if key != "paused"}
    spec["template"]["spec"]["containers"][0]["image"] = V1
    await app.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": fresh, "spec": spec})
    await app.governed()
    await app.serves(V1)
    await app.set_image(V2)

    await app.waits(1, 1)
    assert approved.partition("/")[0] != await app.release()
