"""Custom network references: the user's own objects, changed by a script and given back exactly."""

import json
from collections.abc import AsyncIterator
from copy import deepcopy

import pytest_asyncio

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import custom_kinds, istio
from tests.cluster.application import NAME, V1, V2, V3, Application, message, phase
from tests.cluster.chart_install import NAMESPACE
from tests.cluster.istio import DESTINATION_RULES, VIRTUAL_SERVICES
from tests.cluster.product import Product, application

CONFIGURATION = "kruise-rollout-configuration"
KEY = "lua.traffic.routing.VirtualService.networking.istio.io"


@pytest_asyncio.fixture(loop_scope="session")
async def mesh(product: Product) -> AsyncIterator[Application]:
    """Give a test the application in a cluster that has Istio's kinds."""
    for each in istio.DEFINITIONS:
        await custom_kinds.install(product.cluster, each)
    try:
        async with application(product) as app:
            yield app
    finally:
        await product.cluster.delete("configmaps", NAMESPACE, CONFIGURATION)
        for each in istio.DEFINITIONS:
            await custom_kinds.uninstall(product.cluster, each)


def rollout(*refs: JsonObject, weights: tuple[int, ...] = (20,), **plan: object) -> JsonObject:
    """Return a Rollout that routes by references alone."""
    found = manifests.rollout(grace_period_seconds=0)
    canary = found["spec"]["strategy"]["canary"]
    routing = {"service": NAME, "gracePeriodSeconds": 0, "customNetworkRefs": list(refs or (istio.ref(),))}
    steps = [{"traffic": f"{each}%", "replicas": f"{each}%", "pause": {}} for each in weights]
    canary |= {"trafficRoutings": [routing], "steps": steps, **plan}
    return found


async def deploy(app: Application, *objects: JsonObject, given: JsonObject | None = None) -> None:
    """Deploy the first version with its routes, and wait until it is at rest."""
    await app.create(manifests.service(), *objects, manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(given or rollout())
    await app.governed()


async def configure(app: Application, source: str, key: str = KEY) -> None:
    """Put a script into the ConfigMap, as existing users have it."""
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIGURATION},
        "data": {key: source},
    }
    await app.cluster.create("configmaps", NAMESPACE, manifest)


def destinations(found: JsonObject) -> list[tuple[str, int | None]]:
    """Return where the last HTTP route of a VirtualService leads, with weights."""
    routes = found["spec"]["http"][-1]["route"]
    return [(each["destination"]["host"], each.get("weight")) for each in routes]


def theirs(found: JsonObject) -> JsonObject:
    """Return what of an object is its owner's."""
    metadata = found["metadata"]
    kept = {key: metadata.get(key) for key in ("labels", "annotations")}
    return {**kept, "spec": found["spec"]}


async def test_virtual_service_carries_the_weight_and_is_given_back(mesh: Application) -> None:
    """Weights move step by step on the user's own object, and after the release it is what it was."""
    await deploy(mesh, istio.virtual_service(), given=rollout(weights=(20, 60)))
    before = await mesh.get(VIRTUAL_SERVICES)

    await mesh.set_image(V2)
    await mesh.waits(1, 2)
    first = destinations(await mesh.get(VIRTUAL_SERVICES))
    await mesh.approve()
    await mesh.waits(2, 2)
    second = destinations(await mesh.get(VIRTUAL_SERVICES))
    await mesh.approve()
    await mesh.completes(2)

    assert first == [(NAME, 80), (f"{NAME}-canary", 20)]
    assert second == [(NAME, 40), (f"{NAME}-canary", 60)]
    assert theirs(await mesh.get(VIRTUAL_SERVICES)) == theirs(before)
    await mesh.serves(V2)


async def test_virtual_service_is_given_back_at_a_rollback(mesh: Application) -> None:
    """The old template back: the object is what it was."""
    await deploy(mesh, istio.virtual_service())
    before = await mesh.get(VIRTUAL_SERVICES)

    await mesh.set_image(V2)
    await mesh.waits(1, 1)
    await mesh.set_image(V1)
    await mesh.rolled_back()

    assert theirs(await mesh.get(VIRTUAL_SERVICES)) == theirs(before)


async def test_virtual_service_is_given_back_when_the_rollout_is_disabled_or_deleted(
    mesh: Application,
) -> None:
    """Whoever stops using a Rollout keeps an object that is whole."""
    await deploy(mesh, istio.virtual_service())
    before = await mesh.get(VIRTUAL_SERVICES)

    await mesh.set_image(V2)
    await mesh.waits(1, 1)
    await mesh.change_rollout({"spec": {"disabled": True}})
    await mesh.wait("rollouts", lambda found: phase(found) == "Disabled")
    disabled = await mesh.get(VIRTUAL_SERVICES)
    await mesh.serves(V2)
    await mesh.change_rollout({"spec": {"disabled": False}})
    await mesh.governed()
    await mesh.set_image(V3)
    await mesh.waits(1, 1)
    await mesh.cluster.delete("rollouts", mesh.namespace, NAME)
    await mesh.cluster.wait_gone("rollouts", mesh.namespace, NAME)

    assert theirs(disabled) == theirs(before)
    assert theirs(await mesh.get(VIRTUAL_SERVICES)) == theirs(before)


async def test_virtual_service_is_given_back_though_its_rollout_went_without_a_word(
    mesh: Application,
) -> None:
    """A finalizer that was removed by hand leaves nothing routed to a canary that is gone."""
    await deploy(mesh, istio.virtual_service())
    before = await mesh.get(VIRTUAL_SERVICES)
    await mesh.set_image(V2)
    await mesh.waits(1, 1)

    # Deletion and the finalizer's end in one write: nobody can come in between.
    await mesh.change_rollout({"metadata": {"finalizers": None}})
    await mesh.kubectl("delete", "rollout", NAME, "--timeout=30s")
    await mesh.wait(VIRTUAL_SERVICES, lambda found: theirs(found) == theirs(before))


async def test_third_version_goes_through_the_object_anew(mesh: Application) -> None:
    """Its own release, from the same original."""
    await deploy(mesh, istio.virtual_service())
    before = await mesh.get(VIRTUAL_SERVICES)

    await mesh.set_image(V2)
    await mesh.waits(1, 1)
    await mesh.set_image(V3)
    await mesh.waits(1, 1)
    routed = destinations(await mesh.get(VIRTUAL_SERVICES))
    await mesh.approve()
    await mesh.completes()

    assert routed == [(NAME, 80), (f"{NAME}-canary", 20)]
    assert theirs(await mesh.get(VIRTUAL_SERVICES)) == theirs(before)


async def test_kind_that_is_not_installed_is_said_and_the_release_goes_on_when_it_is(
    product: Product, app: Application
) -> None:
    """A CRD that comes late is found without a restart."""
    await deploy(app)
    await app.set_image(V2)
    await app.wait("rollouts", lambda found: "is not known to the API server" in message(found))
    paused = (await app.get("deployments"))["spec"].get("paused")
    async with custom_kinds.installed(product.cluster, istio.DEFINITIONS[0]):
        await app.wait(
            "rollouts", lambda found: message(found).startswith(f"VirtualService {NAME} not found")
        )
        await app.create(istio.virtual_service())
        await app.waits(1, 1)
        routed = destinations(await app.get(VIRTUAL_SERVICES))
        await app.approve()
        await app.completes()

    assert paused is True
    assert routed == [(NAME, 80), (f"{NAME}-canary", 20)]


async def test_kind_without_a_right_is_said_with_what_to_add(product: Product, app: Application) -> None:
    """RBAC is the cluster administrator's: the message names the chart's value."""
    lanes = custom_kinds.definition("mesh.example.com", "Lane", "lanes", "v1")
    ref = {"apiVersion": "mesh.example.com/v1", "kind": "Lane", "name": NAME}
    async with custom_kinds.installed(product.cluster, lanes):
        await deploy(app, given=rollout(ref))
        await app.set_image(V2)
        await app.wait("rollouts", lambda found: "resources [lanes] to the chart's custom" in message(found))
        await app.set_image(V1)
        await app.wait("rollouts", lambda found: phase(found) == "Healthy")

        assert not (await app.get("deployments"))["spec"].get("paused")


async def test_script_of_the_configuration_comes_before_the_one_built_in(mesh: Application) -> None:
    """Users' scripts run unchanged, whatever we bring for the same kind."""
    await deploy(mesh, istio.virtual_service())
    await configure(
        mesh,
        """
        local labels = obj.data.labels
        labels.share = tostring(obj.canaryWeight) .. "-" .. tostring(obj.stableWeight)
        obj.data.annotations.note = nil
        obj.data.spec.http[2].route[1].destination.host = obj.canaryService
        return obj.data
        """,
    )
    before = await mesh.get(VIRTUAL_SERVICES)

    await mesh.set_image(V2)
    await mesh.waits(1, 1)
    routed = await mesh.get(VIRTUAL_SERVICES)
    await mesh.approve()
    await mesh.completes()

    assert destinations(routed) == [(f"{NAME}-canary", None)]
    assert routed["metadata"]["labels"] == {"team": "shop", "share": "20-80"}
    assert "note" not in routed["metadata"]["annotations"]
    assert theirs(await mesh.get(VIRTUAL_SERVICES)) == theirs(before)


async def test_script_that_never_ends_is_named_and_stops_nothing_else(mesh: Application) -> None:
    """An endless loop is a message, and the release goes on once the script is mended."""
    await deploy(mesh, istio.virtual_service())
    await configure(mesh, "while true do end")

    await mesh.set_image(V2)
    await mesh.wait("rollouts", lambda found: "does it loop for ever?" in message(found))
    said = message(await mesh.get("rollouts"))
    untouched = await mesh.get(VIRTUAL_SERVICES)
    await mesh.cluster.delete("configmaps", NAMESPACE, CONFIGURATION)
    await mesh.waits(1, 1)

    assert said.startswith(f"VirtualService {NAME} cannot be routed: {KEY}: stopped after")
    assert destinations(untouched) == [(NAME, None)]
    assert destinations(await mesh.get(VIRTUAL_SERVICES)) == [(NAME, 80), (f"{NAME}-canary", 20)]


async def test_script_that_breaks_in_a_release_does_not_keep_it_from_being_taken_back(
    mesh: Application,
) -> None:
    """To send everything to the stable Service no script is asked."""
    await deploy(mesh, istio.virtual_service())
    before = await mesh.get(VIRTUAL_SERVICES)
    await mesh.set_image(V2)
    await mesh.waits(1, 1)

    await configure(mesh, "local nothing\nreturn nothing.spec")
    await mesh.wait("rollouts", lambda found: f"{KEY}:2:" in message(found))
    await mesh.set_image(V1)
    await mesh.rolled_back()

    assert theirs(await mesh.get(VIRTUAL_SERVICES)) == theirs(before)


async def test_spec_that_is_replaced_in_a_release_is_the_new_original(mesh: Application) -> None:
    """What its owner applies meanwhile is routed by at once, and stays."""
    await deploy(mesh, istio.virtual_service())
    await mesh.set_image(V2)
    await mesh.waits(1, 1)

    fresh = istio.virtual_service()
    fresh["spec"]["http"][1]["timeout"] = "9s"
    await mesh.cluster.patch(VIRTUAL_SERVICES, mesh.namespace, NAME, {"spec": fresh["spec"]})
    changed = await mesh.wait(
        VIRTUAL_SERVICES,
        lambda found: (
            found["spec"]["http"][1]["timeout"] == "9s"
            and destinations(found) == [(NAME, 80), (f"{NAME}-canary", 20)]
        ),
    )
    await mesh.approve()
    await mesh.completes()

    assert json.loads(changed["metadata"]["annotations"]["sluice.dev/routing"])["weight"] == 20
    assert (await mesh.get(VIRTUAL_SERVICES))["spec"] == fresh["spec"]


async def test_edit_of_what_we_wrote_is_undone_and_said(mesh: Application) -> None:
    """More than was approved is never sent to the canary for long."""
    await deploy(mesh, istio.virtual_service())
    before = await mesh.get(VIRTUAL_SERVICES)
    await mesh.set_image(V2)
    await mesh.waits(1, 1)

    routed = await mesh.get(VIRTUAL_SERVICES)
    edited = deepcopy(routed["spec"])
    edited["http"][1]["route"][1]["weight"] = 90
    await mesh.cluster.patch(VIRTUAL_SERVICES, mesh.namespace, NAME, {"spec": edited})
    await mesh.wait(VIRTUAL_SERVICES, lambda found: found["spec"] == routed["spec"])
    events = await mesh.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")
    await mesh.approve()
    await mesh.completes()

    assert "RouteEdited" in events
    assert theirs(await mesh.get(VIRTUAL_SERVICES)) == theirs(before)


async def test_canary_without_a_service_of_its_own_is_a_subset(mesh: Application) -> None:
    """disableGenerateCanaryService: no Service is made or pinned, the two rules tell the pods apart."""
    refs = (istio.ref("DestinationRule"), istio.ref())
    given = rollout(*refs, disableGenerateCanaryService=True)
    await deploy(mesh, istio.destination_rule(), istio.virtual_service(), given=given)
    before = [theirs(await mesh.get(each)) for each in (DESTINATION_RULES, VIRTUAL_SERVICES)]

    await mesh.set_image(V2)
    await mesh.waits(1, 1)
    rule, service = await mesh.get(DESTINATION_RULES), await mesh.get(VIRTUAL_SERVICES)
    hashes = [
        {pod["metadata"]["labels"]["pod-template-hash"] for pod in await mesh.pods(image)}
        for image in (V1, V2)
    ]
    plain = await mesh.get("services")
    made = await mesh.find("services", f"{NAME}-canary")
    await mesh.approve()
    await mesh.completes()

    subsets = rule["spec"]["subsets"]
    assert [each["name"] for each in subsets] == ["stable", "canary"]
    assert [{each["labels"]["pod-template-hash"]} for each in subsets] == hashes
    assert [each["destination"] for each in service["spec"]["http"][1]["route"]] == [
        {"host": NAME, "subset": "stable"},
        {"host": NAME, "subset": "canary"},
    ]
    assert plain["spec"]["selector"] == {"app": NAME}
    assert made is None
    assert [theirs(await mesh.get(each)) for each in (DESTINATION_RULES, VIRTUAL_SERVICES)] == before


async def test_class_of_ingress_is_what_a_script_says(product: Product, app: Application) -> None:
    """A class that is not built in: named while it has no script, released by as soon as it has one."""
    given = manifests.rollout(grace_period_seconds=0)
    given["spec"]["strategy"]["canary"]["trafficRoutings"][0]["ingress"]["classType"] = "house"
    await app.deploy(given)
    await app.serves_requests()
    await app.set_image(V2)
    await app.wait("rollouts", lambda found: message(found).startswith("classType house is not built in"))
    try:
        await configure(
            app,
            """
            local prefix = "nginx.ingress.kubernetes.io/"
            obj.annotations[prefix .. "canary"] = "true"
            obj.annotations[prefix .. "canary-weight"] = obj.weight
            return obj.annotations
            """,
            "lua.traffic.routing.ingress.house",
        )
        await app.waits(1, 1)
        weight = await app.weight()
        await app.cluster.patch(
            "ingresses",
            app.namespace,
            f"{NAME}-canary",
            {"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "90"}}},
        )
        await app.wait(
            "ingresses",
            lambda found: (
                found["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "20"
            ),
            f"{NAME}-canary",
        )
    finally:
        await product.cluster.delete("configmaps", NAMESPACE, CONFIGURATION)
    await app.wait("rollouts", lambda found: message(found).startswith("classType house is not built in"))
    await app.set_image(V1)
    await app.rolled_back()

    assert weight == 20
    assert await app.find("ingresses", f"{NAME}-canary") is None
