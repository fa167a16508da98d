"""The sandbox's Gateway routes as the Gateway API says: what the scenarios lean on."""

from http import HTTPStatus

import pytest

from sandbox import gateway, manifests
from sandbox.cluster import Cluster
from tests.cluster.gateways import RESOURCE, accepted, backend, http_route, rule

V1, V2 = manifests.STABLE_IMAGE, manifests.CANARY_IMAGE
_FIVE_DEVIATIONS = 31  # of 200 requests of which each goes there by a chance of a quarter: Envoy deals so
HEADER = {
    "type": "RequestHeaderModifier",
    "requestHeaderModifier": {"set": [{"name": "X-Test-Version", "value": "two"}]},
}


@pytest.mark.parametrize("kind", [gateway.TRAEFIK, gateway.CONTOUR], ids=["Traefik", "Contour"])
async def test_gateway_routes_by_weight_header_query_and_path(
    cluster: Cluster, namespace: str, kind: gateway.Gateway
) -> None:
    """Real requests through a real Gateway, with header filters on rules and on single backends."""
    data_plane = await (cluster.gateway() if kind is gateway.TRAEFIK else cluster.contour())
    host = f"{namespace}.example.com"
    for name, image in (("one", V1), ("two", V2)):
        await cluster.create("deployments", namespace, manifests.deployment(name, image, 1))
        await cluster.create("services", namespace, manifests.service(name, name))
        await cluster.wait_for("deployments", namespace, name, manifests.available(1))
    by = [
        {"headers": [{"name": "X-Team", "value": "blue"}]},
        {"queryParams": [{"name": "team", "value": "blue"}]},
        {"path": {"type": "PathPrefix", "value": "/blue"}},
    ]
    route = http_route(
        host,
        rule(backend("one", 75), backend("two", 25, filters=[HEADER])),
        rule(backend("two"), matches=by, filters=[HEADER]),
        name="both",
        parent=kind.name,
    )
    await cluster.create(RESOURCE, namespace, route)
    await cluster.wait_for(RESOURCE, namespace, "both", accepted)
    for headers in ({}, {"X-Team": "blue"}):  # to each of the Services: their endpoints come one by one
        await data_plane.answers(host, lambda found: found.status == HTTPStatus.OK, headers=headers)

    split = (await data_plane.send(host, 200)).by_image
    found = [
        await data_plane.request(host, headers={"X-Team": "blue"}),
        await data_plane.request(host, "/?team=blue"),
        await data_plane.request(host, "/blue/sky"),
    ]
    told = {
        (answer.image, answer.received)
        for answer in (await data_plane.send(host, 40)).answers
        if answer.status == HTTPStatus.OK
    }

    assert split.total() == 200
    assert abs(split[V2] - 50) <= (0 if kind is gateway.TRAEFIK else _FIVE_DEVIATIONS)
    assert [answer.image for answer in found] == [V2] * 3
    assert {answer.received for answer in found} == {frozenset({("X-Test-Version", "two")})}
    assert told == {(V1, frozenset()), (V2, frozenset({("X-Test-Version", "two")}))}
