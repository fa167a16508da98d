"""Which Services a release can use, and what the canary's has of the stable one's."""

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, Application, message, says
from tests.cluster.plans import plan, step

CANARY = f"{NAME}-canary"
ONE_STEP = step(20, 1)
PORT = {"name": "http", "port": manifests.PORT, "targetPort": manifests.PORT}


async def deployed(
    app: Application,
    service: JsonObject,
    deployment: JsonObject | None = None,
    rollout: JsonObject | None = None,
) -> None:
    """Deploy the first version behind a Service of one's own."""
    service = {**manifests.service(), "spec": {**manifests.service()["spec"], **service}}
    await app.create(service, manifests.ingress(host=app.host), deployment or manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(rollout or plan(ONE_STEP))
    await app.governed()


async def finished(app: Application) -> None:
    """Approve the only step, and see the end."""
    await app.approve()
    await app.completes()
    await app.serves(V2)


@pytest.mark.parametrize(
    ("given", "expected_type"),
    [
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, "NodePort"),
        (
            {
                "type": "LoadBalancer",
                "externalTrafficPolicy": "Local",
                "loadBalancerIP": "192.0.2.7",
                "loadBalancerClass": "example.com/internal",
                "loadBalancerSourceRanges": ["192.0.2.0/24"],
            },
            "NodePort",
        ),
        ({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, "ClusterIP"),
    ],
    ids=["node-port", "load-balancer", "load-balancer-without-node-ports"],
)
async def test_service_is_copied_without_what_belongs_to_it_alone(
    app: Application, given: JsonObject, expected_type: str
) -> None:
    """No clash over ports and addresses, no load balancer of its own; ports and affinity are the same."""
    ports = [{**PORT, "appProtocol": "http"}, {**PORT, "name": "admin", "port": 8081}]
    own = {"ports": ports, "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.8"]}
    await deployed(app, {**own, **given})
    stable = (await app.get("services"))["spec"]

    await app.set_image(V2)
    await app.waits(1, 1)
    canary = (await app.get("services", CANARY))["spec"]

    assert canary["type"] == expected_type
    assert canary["clusterIP"] != stable["clusterIP"]
    allotted = {"externalIPs", "loadBalancerIP", "loadBalancerClass", "loadBalancerSourceRanges"}
    assert not canary.keys() & {*allotted, "healthCheckNodePort", "allocateLoadBalancerNodePorts"}
    taken = {port["nodePort"] for port in stable["ports"] if "nodePort" in port}
    assert not taken & {port.get("nodePort") for port in canary["ports"]}
    assert [{**port, "nodePort": 0} for port in canary["ports"]] == [
        {**port, "nodePort": 0} for port in stable["ports"]
    ]
    assert canary["sessionAffinityConfig"] == stable["sessionAffinityConfig"]


async def test_service_with_node_ports_is_as_before_after_a_release(app: Application) -> None:
    """Its ports, its addresses and its selector: nothing of a release is left on it."""
    await deployed(app, {"type": "NodePort", "sessionAffinity": "ClientIP"})
    stable = (await app.get("services"))["spec"]
    before = await inventory.take(app)

    await app.set_image(V2)
    await app.waits(1, 1)
    await finished(app)

    assert (await app.get("services"))["spec"] == stable
    assert inventory.leftovers(before, await inventory.settled(app)) == []


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"clusterIP": "None"}, "it is headless"),
        (
            {"type": "ExternalName", "externalName": "example.com", "selector": None},
            "its type is ExternalName",
        ),
        ({"selector": None}, "it has no selector"),
    ],
    ids=["headless", "external-name", "without-selector"],
)
async def test_service_that_cannot_be_held_to_a_revision_is_refused_with_a_reason(
    app: Application, spec: JsonObject, reason: str
) -> None:
    """Nothing is begun, MESSAGE says why, and a Service that can be goes on with the release."""
    await deployed(app, spec)
    before = await app.get("services")

    await app.set_image(V2)
    await app.wait("rollouts", lambda found: f"Service {NAME}" in message(found) and reason in message(found))
    kept = await app.get("services")
    await app.kubectl("delete", "service", NAME)
    await app.create(manifests.service())
    await app.waits(1, 1)

    assert kept == before


async def test_stable_service_edited_during_a_release_is_followed(app: Application) -> None:
    """A port that is added, or leads elsewhere, does so for the canary too: routes may name it any time."""
    await deployed(app, {"type": "NodePort"})
    await app.set_image(V2)
    await app.waits(1, 1)
    first = (await app.get("services", CANARY))["spec"]["ports"]

    ports = [*(await app.get("services"))["spec"]["ports"], {**PORT, "name": "more", "port": 8090}]
    await app.cluster.patch("services", app.namespace, NAME, {"spec": {"ports": ports}})
    found = await app.wait("services", lambda found: len(found["spec"]["ports"]) == 2, name=CANARY)

    assert found["spec"]["ports"][0] == first[0]  # its node port included
    assert found["spec"]["ports"][1]["port"] == 8090
    await app.waits(1, 1)


async def test_canary_service_deleted_or_edited_by_hand_is_restored(app: Application) -> None:
    """The release that waits finds its Service again as it was, and its weight."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    selector = (await app.get("services", CANARY))["spec"]["selector"]

    edit = {"spec": {"selector": {"app": "somebody-else", "more": "x"}}}
    await app.cluster.patch("services", app.namespace, CANARY, edit)
    await app.wait("services", lambda found: found["spec"]["selector"] == selector, name=CANARY)
    await app.cluster.delete("services", app.namespace, CANARY)
    await app.wait("services", lambda found: found["spec"]["selector"] == selector, name=CANARY)
    await app.wait(
        "ingresses",
        lambda found: found["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "20",
        name=CANARY,
    )
    await app.waits(1, 1)


async def test_label_that_canary_pods_get_instead_is_followed_by_their_service(app: Application) -> None:
    """The stable Service selects by a label that patchPodTemplateMetadata changes: each finds its pods."""
    data_plane = await app.cluster.data_plane()
    deployment = manifests.deployment()
    deployment["spec"]["template"]["metadata"]["labels"] = {"app": NAME, "lane": "stable"}
    patch = {"labels": {"lane": "canary", "more": "x"}, "annotations": {"example.com/a": "b"}}
    rollout = plan(ONE_STEP)
    rollout["spec"]["strategy"]["canary"]["patchPodTemplateMetadata"] = patch
    selector = {"app": NAME, "lane": "stable"}
    await deployed(app, {"selector": selector}, deployment, rollout)
    await app.serves_requests()
    before = await inventory.take(app)

    await app.set_image(V2)
    await app.waits(1, 1)
    (pod,) = await app.pods(V2)
    found = (await app.get("services", CANARY))["spec"]["selector"]
    await data_plane.wait_for(app.host, V2)
    traffic = await data_plane.send(app.host, 50)

    revision = pod["metadata"]["labels"]["pod-template-hash"]
    assert found == {"app": NAME, "lane": "canary", "pod-template-hash": revision}
    assert pod["metadata"]["labels"]["more"] == "x"
    assert pod["metadata"]["annotations"]["example.com/a"] == "b"
    assert set(traffic.by_image) == {V1, V2}
    assert traffic.lost == 0
    await finished(app)
    assert {each["metadata"]["labels"]["lane"] for each in await app.pods()} == {"stable"}
    assert (await app.get("services"))["spec"]["selector"] == selector
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_label_by_which_the_deployment_selects_cannot_be_changed(app: Application) -> None:
    """The canary Deployment has the same selector: MESSAGE names the mistake, and nothing is begun."""
    rollout = plan(ONE_STEP)
    rollout["spec"]["strategy"]["canary"]["patchPodTemplateMetadata"] = {"labels": {"app": "other"}}
    await app.deploy(rollout)
    wide = (await app.get("services"))["spec"]["selector"]

    await app.set_image(V2)
    text = (
        f"patchPodTemplateMetadata.labels changes a label by which Deployment {NAME} selects its pods: "
        "leave that label out"
    )
    await app.wait("rollouts", says(text))

    assert (await app.get("services"))["spec"]["selector"] == wide
    assert await app.find("services", CANARY) is None
