"""`patchPodTemplateMetadata`: labels and annotations for the canary's pods alone."""

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, V3, Application
from tests.cluster.plans import plan, step

_LABEL, _ANNOTATION = "example.com/track", "example.com/canary"


def _patched(labels: JsonObject, annotations: JsonObject | None = None) -> JsonObject:
    rollout = plan(step(20, 1), step(60, 3))
    patch = {"labels": labels, "annotations": annotations or {}}
    rollout["spec"]["strategy"]["canary"]["patchPodTemplateMetadata"] = patch
    return rollout


def _carries(pod: JsonObject) -> tuple[str | None, str | None]:
    metadata = pod["metadata"]
    return metadata["labels"].get(_LABEL), metadata.get("annotations", {}).get(_ANNOTATION)


async def test_canary_pods_alone_carry_what_the_plan_says(app: Application) -> None:
    """On every step the new pods have the marks, the old ones have not; promoted, nothing keeps them."""
    await app.deploy(_patched({_LABEL: "canary"}, {_ANNOTATION: "yes"}))
    before = await inventory.take(app)
    await app.set_image(V2)

    marks = []
    for number in (1, 2):
        await app.waits(number, 2)
        marks.append(sorted({_carries(pod) for pod in await app.pods(V2)}))
        assert {_carries(pod) for pod in await app.pods(V1)} == {(None, None)}
        await app.approve()
    await app.completes(steps=2)
    await app.serves(V2)

    assert marks == [[("canary", "yes")]] * 2
    assert {_carries(pod) for pod in await app.pods()} == {(None, None)}
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_label_that_the_service_selects_by_is_the_canary_services_too(app: Application) -> None:
    """A Service that selects a track: the canary's selects the canary's track, and requests reach both."""
    data_plane = await app.cluster.data_plane()
    deployment = manifests.deployment()
    deployment["spec"]["template"]["metadata"]["labels"] = {"app": NAME, "track": "stable"}
    service = manifests.service()
    service["spec"]["selector"]["track"] = "stable"
    await app.create(service, manifests.ingress(host=app.host), deployment)
    await app.wait("deployments", manifests.available(5))
    await app.create(_patched({"track": "canary"}))
    await app.governed()

    await app.set_image(V2)
    await app.waits(1, 2)
    selector = (await app.get("services", f"{NAME}-canary"))["spec"]["selector"]
    await data_plane.wait_for(app.host, V2)
    await app.approve()
    await app.waits(2, 2)
    await app.approve()
    await app.completes(steps=2)

    assert selector["track"] == "canary"
    assert (await app.get("services"))["spec"]["selector"] == {"app": NAME, "track": "stable"}
    await app.serves(V2)


async def test_marked_canary_is_replaced_and_taken_back_like_any_other(app: Application) -> None:
    """A third version gets a canary with the marks; going back leaves no pod that has them."""
    await app.deploy(_patched({_LABEL: "canary"}))
    before = await inventory.take(app)
    await app.set_image(V2)
    await app.waits(1, 2)
    await app.set_image(V3)
    await app.waits(1, 2)
    third = {_carries(pod) for pod in await app.pods(V3)}

    await app.set_image(V1)
    await app.rolled_back()

    assert third == {("canary", None)}
    assert {_carries(pod) for pod in await app.pods()} == {(None, None)}
    assert inventory.leftovers(before, await inventory.settled(app)) == []
