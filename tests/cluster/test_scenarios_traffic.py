"""Which requests a canary gets through Ingresses: by weight, header and cookie, by host and path."""

from typing import Any

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster import inventory
from tests.cluster.application import COMPLETED, NAME, SECONDS, V1, V2, Application, message, says
from tests.cluster.plans import plan, step

CANARY = f"{NAME}-canary"
NGINX, MSE = "nginx.ingress.kubernetes.io/", "mse.ingress.kubernetes.io/"
ALB = "alb.ingress.kubernetes.io/"
Headers = dict[str, str]
HEADER = {"name": "x-team", "value": "blue"}
PATTERN = {"name": "x-team", "value": "^(blue|green)$", "type": "RegularExpression"}
COOKIE = {"name": "canary-by-cookie", "value": "beta"}
LANE = {"name": "lane", "value": "beta"}


def matching(*headers: JsonObject, traffic: int | None = None, **more: Any) -> JsonObject:
    """Return a step that sends the requests with any of these headers to the canary."""
    matches = {"matches": [{"headers": [each]} for each in headers]} if headers else {}
    return {**step(traffic, 1), **matches, **more}


def routed(rollout: JsonObject, *routings: JsonObject) -> JsonObject:
    """Return a Rollout with these trafficRoutings."""
    rollout["spec"]["strategy"]["canary"]["trafficRoutings"] = list(routings)
    return rollout


def routing(service: str = NAME, ingress: str = NAME, classtype: str = "") -> JsonObject:
    """Return one entry of trafficRoutings."""
    given = {"name": ingress, **({"classType": classtype} if classtype else {})}
    return {"service": service, "ingress": given, "gracePeriodSeconds": 0}


def path(value: str, service: str = NAME) -> JsonObject:
    """Return one path of an Ingress."""
    backend = {"service": {"name": service, "port": {"number": manifests.PORT}}}
    return {"path": value, "pathType": "Prefix", "backend": backend}


async def shares(
    app: Application, headers: Headers | None = None, *, count: int = 100, at: str = "/"
) -> dict[str, int]:
    """Send requests and count who answered; all of them must be answered."""
    traffic = await (await app.cluster.data_plane()).send(app.host, count, at, headers=headers)
    assert traffic.lost == 0
    return dict(traffic.by_image)


async def arrives(
    app: Application, image: str, headers: Headers | None = None, *, at: str = "/", host: str = ""
) -> None:
    """Wait until a request is answered by an image: the data plane tells nobody when it is ready."""
    data_plane = await app.cluster.data_plane()
    for _ in range(int(SECONDS / 0.05)):
        if (await data_plane.request(host or app.host, at, headers or {})).image == image:
            return
    raise AssertionError(f"{image} did not answer at {at} with {headers}")


def share(percent: int) -> dict[str, Any]:
    """Return what a hundred requests come to at a weight: the data plane begins its round anywhere."""
    return {V1: pytest.approx(100 - percent, abs=3), V2: pytest.approx(percent, abs=3)}


def annotations_of(ingress: JsonObject) -> dict[str, str]:
    """Return the annotations of an Ingress, less our own."""
    found = ingress["metadata"]["annotations"]
    return {key: value for key, value in found.items() if not key.startswith("sluice.dev/")}


async def released(app: Application, steps: int = 1) -> JsonObject:
    """Release the second version up to its first step; return the canary Ingress."""
    await app.set_image(V2)
    await app.waits(1, steps)
    return await app.get("ingresses", CANARY)


async def finished(app: Application) -> None:
    """Approve the only step, and see the end."""
    await app.approve()
    await app.completes()
    await app.serves(V2)


@pytest.mark.parametrize(
    ("match", "sent", "not_sent", "written"),
    [
        (
            HEADER,
            {"x-team": "blue"},
            {"x-team": "green"},
            {"canary-by-header": "x-team", "canary-by-header-value": "blue"},
        ),
        (
            PATTERN,
            {"x-team": "green"},
            {"x-team": "greenish"},
            {"canary-by-header": "x-team", "canary-by-header-pattern": "^(blue|green)$"},
        ),
        (COOKIE, {"Cookie": "beta=always"}, {"Cookie": "beta=never"}, {"canary-by-cookie": "beta"}),
    ],
    ids=["header", "pattern", "cookie"],
)
async def test_only_requests_that_match_reach_the_canary(
    app: Application,
    match: JsonObject,
    sent: dict[str, str],
    not_sent: dict[str, str],
    written: dict[str, str],
) -> None:
    """A/B testing: every request with the header or cookie is the canary's, and no other one."""
    await app.deploy(plan(matching(match)))
    await app.serves_requests()

    canary = await released(app)
    await arrives(app, V2, sent)

    assert await shares(app, sent, count=40) == {V2: 40}
    assert await shares(app, not_sent, count=40) == {V1: 40}
    assert await shares(app, count=40) == {V1: 40}
    found = {
        key.removeprefix(NGINX): value
        for key, value in annotations_of(canary).items()
        if key.startswith(NGINX)
    }
    assert found == {"canary": "true", **written}


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
async def test_match_and_weight_go_together(app: Application, version: str) -> None:
    """In one step: whoever has the header gets the canary, and a fifth of all others."""
    rollout = plan(matching(HEADER, COOKIE, traffic=20))
    if version == "v1alpha1":
        rollout = manifests.rollout_v1alpha1(grace_period_seconds=0)
        matches = [{"headers": [HEADER]}, {"headers": [COOKIE]}]
        rollout["spec"]["strategy"]["canary"]["steps"][0]["matches"] = matches
    await app.deploy(rollout)
    await app.serves_requests()

    await released(app)
    await arrives(app, V2, {"x-team": "blue"})

    assert await shares(app, {"x-team": "blue"}) == {V2: 100}
    assert await shares(app, {"Cookie": "beta=always"}) == {V2: 100}
    assert await shares(app) == share(20)


async def test_header_step_gives_way_to_a_weight_step(app: Application) -> None:
    """First testers by header, then a share of everybody: the header no longer decides."""
    await app.deploy(plan(matching(HEADER), step(40, 2)))
    await app.serves_requests()
    await released(app, 2)

    await app.approve()
    await app.waits(2, 2)
    found = annotations_of(await app.get("ingresses", CANARY))
    await arrives(app, V2)

    assert {key for key in found if key.startswith(NGINX)} == {NGINX + "canary", NGINX + "canary-weight"}
    assert await shares(app, {"x-team": "blue"}) == share(40)


@pytest.mark.parametrize(
    ("classtype", "given", "written"),
    [
        (
            "higress",
            matching(HEADER, traffic=20),
            {
                NGINX + "canary-weight": "20",
                NGINX + "canary-by-header": "x-team",
                NGINX + "canary-by-header-value": "blue",
            },
        ),
        (
            "aliyun-alb",
            matching(PATTERN, COOKIE, traffic=20),
            {
                ALB + "order": "1",
                ALB + "canary": "true",
                ALB + "canary-weight": "20",
                ALB + "canary-by-header": "x-team",
                ALB + "canary-by-header-pattern": "^(blue|green)$",
                ALB + "canary-by-cookie": "beta",
            },
        ),
        (
            "mse",
            {
                **matching(traffic=20, requestHeaderModifier={"set": [LANE, HEADER]}),
                "matches": [{"queryParams": [LANE]}],
            },
            {
                NGINX + "canary-weight": "20",
                NGINX + "canary-by-query": "lane",
                NGINX + "canary-by-query-value": "beta",
                MSE + "canary-by-query": "lane",
                MSE + "canary-by-query-value": "beta",
                MSE + "request-header-control-update": "lane beta\nx-team blue",
                MSE + "service-subset": "gray",
            },
        ),
    ],
    ids=["higress", "aliyun-alb", "mse"],
)
async def test_class_writes_its_own_annotations(
    app: Application, classtype: str, given: JsonObject, written: dict[str, str]
) -> None:
    """Each class's canary Ingress carries what that class understands."""
    ingress = manifests.ingress(host=app.host)
    ingress["metadata"]["annotations"] |= {MSE + "service-subset": "base", ALB + "order": "7"}
    await app.create(manifests.service(), ingress, manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(routed(plan(given), routing(classtype=classtype)))
    await app.governed()

    found = annotations_of(await released(app))

    expected = {"kubernetes.io/ingress.class": "nginx", MSE + "service-subset": "base", ALB + "order": "7"}
    if classtype != "aliyun-alb":
        expected[NGINX + "canary"] = "true"
    assert found == expected | written


async def test_every_rule_that_leads_to_the_service_gets_its_canary(app: Application) -> None:
    """Several hosts and paths, a wildcard, TLS, a class by name; other backends are not ours to move."""
    await app.deploy()
    resource = {"resource": {"apiGroup": "example.com", "kind": "Bucket", "name": "files"}}
    rules = [
        {"host": app.host, "http": {"paths": [path("/"), path("/other", "other"), path("/named")]}},
        {"host": f"*.{app.host}", "http": {"paths": [{**path("/exact"), "pathType": "Exact"}]}},
        {"host": f"other.{app.host}", "http": {"paths": [path("/", "other")]}},
        {"host": f"files.{app.host}", "http": {"paths": [{**path("/files"), "backend": resource}]}},
        {"host": f"empty.{app.host}"},
        {"http": {"paths": [path("/anywhere")]}},
    ]
    tls = [{"hosts": [app.host], "secretName": "certificate"}]
    default = {"service": {"name": NAME, "port": {"number": manifests.PORT}}}
    spec = {"ingressClassName": "nginx", "rules": rules, "tls": tls, "defaultBackend": default}
    annotations = {"kubernetes.io/ingress.class": None, NGINX + "ssl-redirect": "false"}
    change = {"metadata": {"annotations": annotations}, "spec": spec}
    await app.cluster.patch("ingresses", app.namespace, NAME, change)

    canary = (await released(app))["spec"]

    assert canary == {
        "ingressClassName": "nginx",
        "tls": tls,
        "rules": [
            {"host": app.host, "http": {"paths": [path("/", CANARY), path("/named", CANARY)]}},
            {"host": f"*.{app.host}", "http": {"paths": [{**path("/exact", CANARY), "pathType": "Exact"}]}},
            {"http": {"paths": [path("/anywhere", CANARY)]}},
        ],
    }
    await arrives(app, V2, at="/named/x")
    await arrives(app, V2, at="/exact", host=f"any.{app.host}")


async def test_one_ingress_routes_to_several_services(app: Application) -> None:
    """`/` to one Service and `/api` to another, both in the Rollout: one canary Ingress has the two paths."""
    api = manifests.service("api")
    ingress = manifests.ingress(host=app.host)
    ingress["spec"]["rules"][0]["http"]["paths"] = [path("/"), path("/api", "api")]
    await app.create(manifests.service(), api, ingress, manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(routed(plan(step(20, 1)), routing(), routing("api")))
    await app.governed()
    await app.serves_requests()
    before = await inventory.take(app)

    canary = await released(app)
    await arrives(app, V2)
    await arrives(app, V2, at="/api")

    paths = canary["spec"]["rules"][0]["http"]["paths"]
    assert paths == [path("/", CANARY), path("/api", "api-canary")]
    assert await shares(app) == share(20)
    assert await shares(app, at="/api") == share(20)
    await finished(app)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_one_service_is_routed_by_several_ingresses(app: Application) -> None:
    """Each Ingress of a Service gets a canary, of its own class and host, with the step's weight."""
    second = manifests.ingress("second", host=f"second.{app.host}")
    await app.create(second)
    await app.deploy(routed(plan(step(20, 1)), routing(), routing(ingress="second")))
    before = await inventory.take(app)

    await released(app)
    found = await app.get("ingresses", "second-canary")
    await arrives(app, V2)
    await arrives(app, V2, host=f"second.{app.host}")

    assert found["spec"]["rules"][0]["host"] == f"second.{app.host}"
    assert found["metadata"]["annotations"][NGINX + "canary-weight"] == "20"
    await finished(app)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_what_is_removed_from_the_stable_ingress_goes_from_the_canary(app: Application) -> None:
    """Annotations, labels, TLS and hosts taken away mid-release; what others put on the canary stays."""
    ingress = manifests.ingress(host=app.host)
    ingress["metadata"]["annotations"]["example.com/team"] = "blue"
    ingress["metadata"]["labels"] = {"example.com/lane": "beta"}
    ingress["spec"]["tls"] = [{"hosts": [app.host], "secretName": "certificate"}]
    await app.create(manifests.service(), ingress, manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(plan(step(20, 1)))
    await app.governed()
    first = await released(app)
    own = {"metadata": {"annotations": {"example.com/other": "theirs"}}}
    await app.cluster.patch("ingresses", app.namespace, CANARY, own)

    removed = {"annotations": {"example.com/team": None}, "labels": {"example.com/lane": None}}
    change = {"metadata": removed, "spec": {"tls": None}}
    await app.cluster.patch("ingresses", app.namespace, NAME, change)
    found = await app.wait("ingresses", lambda found: "tls" not in found["spec"], name=CANARY)

    ours = {"sluice.dev/made-by": (await app.get("rollouts"))["metadata"]["uid"]}
    assert first["metadata"]["labels"] == {"example.com/lane": "beta", **ours}
    assert found["metadata"]["labels"] == ours
    assert {key: value for key, value in annotations_of(found).items() if key.startswith("example")} == {
        "example.com/other": "theirs"
    }
    assert await app.weight() == 20


async def test_canary_ingress_deleted_or_edited_by_hand_is_restored(app: Application) -> None:
    """Whoever meddles with the canary's route mid-release finds it as it was, with the same weight."""
    await app.deploy()
    canary = await released(app)

    await app.cluster.delete("ingresses", app.namespace, CANARY)
    restored = await app.wait(
        "ingresses",
        lambda found: (
            found["metadata"]["uid"] != canary["metadata"]["uid"]
            and found["metadata"]["annotations"].get(NGINX + "canary-weight") == "20"
        ),
        name=CANARY,
    )
    rules = [{"host": f"evil.{app.host}", "http": {"paths": [path("/", CANARY)]}}]
    edit = {"metadata": {"annotations": {NGINX + "canary-weight": "90"}}, "spec": {"rules": rules}}
    edited = await app.cluster.patch("ingresses", app.namespace, CANARY, edit)
    mended = await app.wait(
        "ingresses",
        lambda found: (
            int(found["metadata"]["resourceVersion"]) > int(edited["metadata"]["resourceVersion"])
            and found["metadata"]["annotations"].get(NGINX + "canary-weight") == "20"
        ),
        name=CANARY,
    )

    assert restored["spec"] == canary["spec"]
    assert mended["spec"] == canary["spec"]
    await app.waits(1, 1)


@pytest.mark.parametrize("kind", ["Ingress", "Service"])
async def test_object_of_the_canarys_name_that_is_not_ours_is_left_alone(app: Application, kind: str) -> None:
    """The release says whose place it needs, begins nothing, and goes on when the other is gone."""
    resource = {"Ingress": "ingresses", "Service": "services"}[kind]
    foreign = {
        "Ingress": manifests.ingress(CANARY, host=f"foreign.{app.host}"),
        "Service": manifests.service(CANARY, "somebody-else"),
    }[kind]
    await app.deploy()
    await app.create(foreign)
    before = await app.get(resource, CANARY)
    wide = (await app.get("services"))["spec"]["selector"]

    await app.set_image(V2)
    text = f"{kind} {CANARY} exists and is not owned by this Rollout: rename or delete it to go on"
    await app.wait("rollouts", says(text))
    deployments = await app.cluster.list("deployments", app.namespace)
    kept = await app.get(resource, CANARY)

    assert kept == before
    assert [each["metadata"]["name"] for each in deployments] == [NAME]
    assert (await app.get("services"))["spec"]["selector"] == wide
    await app.cluster.delete(resource, app.namespace, CANARY)
    await app.waits(1, 1)


async def test_ingress_with_a_default_backend_alone_is_refused_with_a_reason(app: Application) -> None:
    """A canary Ingress cannot share it: MESSAGE says so, and a rule with a path lets the release go on."""
    await app.deploy()
    default = {"service": {"name": NAME, "port": {"number": manifests.PORT}}}
    change = {"spec": {"rules": None, "defaultBackend": default}}
    await app.cluster.patch("ingresses", app.namespace, NAME, change)

    await app.set_image(V2)
    await app.wait("rollouts", lambda found: "by its defaultBackend alone" in message(found))
    rules = [{"host": app.host, "http": {"paths": [path("/")]}}]
    await app.cluster.patch("ingresses", app.namespace, NAME, {"spec": {"rules": rules}})
    await app.waits(1, 1)

    assert await app.weight() == 20


async def test_two_rollouts_behind_one_ingress_release_one_after_the_other(app: Application) -> None:
    """The second says whose release it waits for, and goes on by itself when that has ended."""
    other = manifests.deployment("api", replicas=2)
    rollout = routed(plan(step(20, 1)), routing("api"))
    rollout["metadata"] = {"name": "api"}
    rollout["spec"]["workloadRef"] = {**rollout["spec"]["workloadRef"], "name": "api"}
    await app.deploy(plan(step(20, 1)))
    rules = [{"host": app.host, "http": {"paths": [path("/"), path("/api", "api")]}}]
    await app.cluster.patch("ingresses", app.namespace, NAME, {"spec": {"rules": rules}})
    await app.create(manifests.service("api", "api"), other, rollout)
    await app.wait("deployments", manifests.available(2), name="api")
    await app.wait("rollouts", lambda found: found.get("status", {}).get("phase") == "Healthy", name="api")
    await released(app)

    await app.cluster.patch("deployments", app.namespace, "api", {"spec": {"template": V2_TEMPLATE}})
    text = f"Ingress {CANARY} belongs to Rollout {NAME}: waits for its release to end"
    await app.wait("rollouts", says(text), name="api")
    await app.approve()
    await app.wait("rollouts", says(COMPLETED))
    found = await app.wait("ingresses", lambda found: leads_to(found, "api-canary"), name=CANARY)

    assert found["spec"]["rules"][0]["http"]["paths"] == [path("/api", "api-canary")]


V2_TEMPLATE = {
    "spec": {"containers": manifests.deployment("api", V2)["spec"]["template"]["spec"]["containers"]}
}


def leads_to(ingress: JsonObject, service: str) -> bool:
    """Whether an Ingress's first path leads to a Service."""
    return bool(ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] == service)
