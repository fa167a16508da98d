"""Releases by HTTPRoute: the user's own rules, changed for the time of a release and given back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
import pytest_asyncio

from kube.managed_fields import owns_spec
from sandbox import manifests
from sandbox.data_plane import DataPlane
from sandbox.names import JsonObject
from sandbox.observation import Predicate
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, V3, Application, message, phase, state
from tests.cluster.gateways import DEFINITION, RESOURCE, accepted, backend, by_gateway, http_route, rule
from tests.cluster.plans import plan, step
from tests.cluster.product import Product

CANARY = f"{NAME}-canary"
SECONDS = 30.0


@pytest_asyncio.fixture(loop_scope="session")
async def routed(app: Application) -> Application:
    """Give a test the application in a cluster with a Gateway."""
    await app.cluster.gateway()
    return app


async def deploy(
    app: Application, *rules: JsonObject, rollout: JsonObject | None = None, parent: str = ""
) -> None:
    """Deploy the first version behind an HTTPRoute, and wait until it is at rest."""
    await app.create(manifests.service(), http_route(app.host, *rules, parent=parent), manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    await app.create(by_gateway(rollout or manifests.rollout(grace_period_seconds=0)))
    await app.governed()
    if not parent:
        await app.wait(RESOURCE, accepted)


async def serves(app: Application) -> DataPlane:
    """Return the Gateway's data plane when it knows the host."""
    data_plane = await app.cluster.gateway()
    await data_plane.answers(app.host, lambda found: found.status == HTTPStatus.OK)
    return data_plane


async def weights(app: Application) -> list[dict[str, int]]:
    """Return the weights of each rule."""
    found = await app.get(RESOURCE)
    return [split(each) for each in found["spec"]["rules"]]


def split(found: JsonObject) -> dict[str, int]:
    """Return the weights of a rule's backends."""
    return {ref["name"]: ref["weight"] for ref in found["backendRefs"]}


def sends(share: int) -> Predicate:
    """Return whether the first rule sends so many percent to the canary."""
    return lambda found: split(found["spec"]["rules"][0]) == {NAME: 100 - share, CANARY: share}


def theirs(found: JsonObject) -> JsonObject:
    """Return what of a route is its owner's."""
    metadata = {key: found["metadata"].get(key) for key in ("labels", "annotations")}
    return {**metadata, "spec": found["spec"]}


def step_of(matches: list[JsonObject] | None = None, **more: Any) -> JsonObject:
    """Return a step with matches."""
    return {"replicas": 1, "pause": {}, **({"matches": matches} if matches else {}), **more}


async def divided(data_plane: DataPlane, host: str, share: int) -> None:
    """Wait until so many of a hundred counted requests go to the new version, the others to the old."""
    shares = {V1: 100 - share, V2: share}
    await data_plane.divides(host, 100, lambda found: found.by_image == shares, "/only")


# --- weights -------------------------------------------------------------------------------------------


async def test_each_step_divides_the_requests_and_the_route_is_given_back(routed: Application) -> None:
    """20 and 60 % of counted requests; other backends and rules keep theirs; afterwards all is as before."""
    rollout = plan(step(20, 1), step(60, 3))
    await deploy(
        routed,
        rule(matches=[{"path": {"type": "PathPrefix", "value": "/only"}}]),
        rule(backend(NAME, 3), backend("elsewhere", 1), timeouts={"request": "10s"}),
        rollout=rollout,
    )
    before = await inventory.take(routed)
    own = await routed.get(RESOURCE)
    data_plane = await serves(routed)
    seen = []

    await routed.set_image(V2)
    for number, share in ((1, 20), (2, 60)):
        await routed.waits(number, 2)
        seen.append(await weights(routed))
        await divided(data_plane, routed.host, share)
        await routed.approve()
    await routed.completes(steps=2)

    assert seen == [
        [{NAME: 80, CANARY: 20}, {NAME: 240, CANARY: 60, "elsewhere": 100}],
        [{NAME: 40, CANARY: 60}, {NAME: 120, CANARY: 180, "elsewhere": 100}],
    ]
    assert theirs(await routed.get(RESOURCE)) == theirs(own)
    await routed.serves(V2)
    assert inventory.leftovers(before, await inventory.settled(routed)) == []


async def test_release_by_gateway_loses_no_request(routed: Application) -> None:
    """With grace and pods that drain, a release under load loses nothing up to its end."""
    await routed.create(manifests.service(), http_route(routed.host))
    await routed.create(manifests.deployment(pre_stop_seconds=3))
    await routed.wait("deployments", manifests.available(5))
    await routed.create(by_gateway(manifests.rollout(grace_period_seconds=2)))
    await routed.governed()
    data_plane = await serves(routed)

    async with data_plane.load(routed.host, rate=50) as account:
        await routed.set_image(V2)
        await routed.waits(1, 1)
        await data_plane.wait_for(routed.host, V2)
        await routed.approve()
        await routed.completes()
        await routed.serves(V2)

    assert account.answered[V2] > 0
    assert account.lost == 0


# --- matches and headers -------------------------------------------------------------------------------

BLUE = {"headers": [{"name": "X-Team", "value": "blue"}]}
TOLD = {"set": [{"name": "X-Test-Version", "value": "two"}]}


@pytest.mark.parametrize(
    ("match", "path", "headers"),
    [
        (BLUE, "/", {"X-Team": "blue"}),
        (
            {"headers": [{"name": "X-User", "value": "[0-4].*", "type": "RegularExpression"}]},
            "/",
            {"X-User": "3"},
        ),
        ({"queryParams": [{"name": "team", "value": "blue"}]}, "/shop?team=blue", {}),
        ({"path": {"value": "/v2"}}, "/v2/cart", {}),
        ({"path": {"type": "Exact", "value": "/v2"}, **BLUE}, "/v2", {"X-Team": "blue"}),
    ],
    ids=["header", "pattern", "query", "path", "path and header"],
)
async def test_match_sends_its_requests_and_no_others(
    routed: Application, match: JsonObject, path: str, headers: dict[str, str]
) -> None:
    """Whoever matches gets the new version each time, with the step's header; nobody else does."""
    elsewhere = rule(backend("elsewhere"), matches=[{"path": {"type": "PathPrefix", "value": "/api"}}])
    await deploy(routed, elsewhere, rule(), rollout=plan(step_of([match], requestHeaderModifier=TOLD)))
    own = await routed.get(RESOURCE)
    data_plane = await serves(routed)

    await routed.set_image(V2)
    await routed.waits(1, 1)
    await data_plane.answers(routed.host, lambda found: found.image == V2, path, headers)
    matching = await data_plane.send(routed.host, 40, path, headers=headers)
    others = await data_plane.send(routed.host, 40)
    foreign = await data_plane.request(routed.host, "/api", headers)
    await routed.approve()
    await routed.completes()

    assert set(matching.by_image) == {V2}
    assert {answer.received for answer in matching.answers} == {frozenset({("X-Test-Version", "two")})}
    assert set(others.by_image) == {V1}
    assert {answer.received for answer in others.answers} == {frozenset()}
    assert foreign.status != HTTPStatus.OK
    assert theirs(await routed.get(RESOURCE)) == theirs(own)


async def test_weight_after_matches_and_matches_after_weight(routed: Application) -> None:
    """Each step is written into the user's own rules: no stable rule is ever lost, no match stays behind."""
    steps = (step_of([BLUE]), step(40, 2), step_of([BLUE], replicas=3, traffic="60%"))
    await deploy(routed, rollout=plan(*steps))
    seen = []

    await routed.set_image(V2)
    for number in (1, 2, 3):
        await routed.waits(number, 3)
        seen.append(await weights(routed))
        await routed.approve()
    await routed.completes(steps=3)

    matched = [{NAME: 1}, {CANARY: 1}]
    assert seen == [matched, [{NAME: 60, CANARY: 40}], matched]


async def test_header_modifier_reaches_the_canarys_requests_alone(routed: Application) -> None:
    """Beside a weight: what the canary answers had the header, what the stable pods answer had not."""
    await deploy(routed, rollout=plan({**step(50, 1), "requestHeaderModifier": TOLD}))
    data_plane = await serves(routed)

    await routed.set_image(V2)
    await routed.waits(1, 1)
    await data_plane.wait_for(routed.host, V2)
    told = {(each.image, each.received) for each in (await data_plane.send(routed.host, 40)).answers}

    assert told == {(V1, frozenset()), (V2, frozenset({("X-Test-Version", "two")}))}


# --- ways out --------------------------------------------------------------------------------------------


async def _releasing(app: Application) -> JsonObject:
    """Have a release wait at 20 %; return the route from before."""
    await deploy(app)
    own = await app.get(RESOURCE)
    await app.set_image(V2)
    await app.waits(1, 1)
    return own


async def test_rollback_gives_the_route_back(routed: Application) -> None:
    """The old template back: the route is what it was, and every request is answered by the old version."""
    own = await _releasing(routed)

    await routed.set_image(V1)
    await routed.rolled_back()

    assert theirs(await routed.get(RESOURCE)) == theirs(own)
    data_plane = await serves(routed)
    assert set((await data_plane.send(routed.host, 40)).by_image) == {V1}


async def test_third_version_begins_again_on_the_users_own_rules(routed: Application) -> None:
    """v3 while v2 has a share: what is remembered is still what the user wrote."""
    own = await _releasing(routed)

    await routed.set_image(V3)
    await routed.waits(1, 1)
    during = await weights(routed)
    await routed.approve()
    await routed.completes()

    assert during == [{NAME: 80, CANARY: 20}]
    assert theirs(await routed.get(RESOURCE)) == theirs(own)


@pytest.mark.parametrize("how", ["disabled", "deleted", "forced away"])
async def test_route_is_given_back_when_the_rollout_lets_go(routed: Application, how: str) -> None:
    """Disabled, deleted, or deleted past its finalizer: the route is what it was."""
    own = await _releasing(routed)

    if how == "disabled":
        await routed.change_rollout({"spec": {"disabled": True}})
        await routed.wait("rollouts", lambda found: phase(found) == "Disabled")
    else:
        if how == "forced away":
            await routed.change_rollout({"metadata": {"finalizers": None}})
        await routed.kubectl("delete", "rollout", NAME, "--timeout=30s")
    found = await routed.wait(RESOURCE, lambda each: theirs(each) == theirs(own))

    assert found["spec"] == own["spec"]
    await routed.serves(V2)


# --- others' hands -----------------------------------------------------------------------------------------


async def test_edited_route_is_followed_and_the_edit_stays(routed: Application) -> None:
    """A rule added and a timeout set mid-release: the share goes on beside them, and they stay."""
    await _releasing(routed)
    shown = (await routed.get(RESOURCE))["spec"]["rules"]
    added = rule(matches=[{"path": {"type": "PathPrefix", "value": "/new"}}])
    edited = [{**shown[0], "timeouts": {"request": "7s"}}, added]

    await routed.cluster.patch(RESOURCE, routed.namespace, NAME, {"spec": {"rules": edited}})
    during = await routed.wait(
        RESOURCE,
        lambda found: [split(each) for each in found["spec"]["rules"]] == [{NAME: 80, CANARY: 20}] * 2,
    )
    await routed.waits(1, 1)
    await routed.approve()
    await routed.completes()
    after = (await routed.get(RESOURCE))["spec"]["rules"]

    assert during["spec"]["rules"][0]["timeouts"] == {"request": "7s"}
    assert [split(each) for each in after] == [{NAME: 1}, {NAME: 1}]
    assert [each.get("timeouts") for each in after] == [{"request": "7s"}, None]


async def test_share_raised_by_hand_is_taken_back(routed: Application) -> None:
    """Nobody approved 90 %: the step's share is written again, the user's own weights are still known."""
    own = await _releasing(routed)
    rules = [rule(backend(NAME, 10), backend(CANARY, 90))]

    await routed.cluster.patch(RESOURCE, routed.namespace, NAME, {"spec": {"rules": rules}})
    await routed.wait(RESOURCE, lambda found: split(found["spec"]["rules"][0]) == {NAME: 80, CANARY: 20})
    await routed.waits(1, 1)
    await routed.approve()
    await routed.completes()

    assert theirs(await routed.get(RESOURCE)) == theirs(own)


@pytest.mark.parametrize(
    "verb",
    [("apply",), ("apply", "--server-side", "--field-manager=gitops")],
    ids=["client-side", "server-side"],
)
async def test_route_applied_every_second_does_not_flap(routed: Application, verb: tuple[str, ...]) -> None:
    """A GitOps client applies its manifest through a whole release: no conflict, no flapping, given back."""
    route = http_route(routed.host)
    await routed.create(manifests.service(), manifests.deployment())
    await routed.kubectl(*verb, "-f", "-", stdin=route)
    await routed.wait("deployments", manifests.available(5))
    await routed.create(by_gateway(plan(step(20, 1), step(60, 3))))
    await routed.governed()
    await routed.wait(RESOURCE, accepted)
    own = await routed.get(RESOURCE)
    said: list[str] = []
    applied = asyncio.Semaphore(0)

    async def apply() -> None:
        while True:
            said.append(await routed.kubectl(*verb, "-f", "-", stdin=route))
            applied.release()
            await asyncio.sleep(1)

    before = 0
    async with routed.cluster.record(RESOURCE, routed.namespace) as record:
        applying = asyncio.ensure_future(apply())
        try:
            await routed.set_image(V2)
            for number in (1, 2):
                await routed.waits(number, 2)
                async with asyncio.timeout(SECONDS):
                    for _ in range(len(said) - before + 3):
                        await applied.acquire()
                before = len(said)
                await routed.approve()
            await routed.completes(steps=2)
        finally:
            applying.cancel()
            await asyncio.wait({applying})
    shares = [split(event.object["spec"]["rules"][0]).get(CANARY, 0) for event in record.events]
    changes = [share for index, share in enumerate(shares) if index == 0 or share != shares[index - 1]]

    assert applying.cancelled(), applying.exception()
    assert changes == [0, 20, 60, 0]
    assert not any("arning" in each or "onflict" in each for each in said)
    assert theirs(await routed.get(RESOURCE))["spec"] == theirs(own)["spec"]


async def test_rules_stay_their_owners_after_a_release(routed: Application) -> None:
    """Who applies on the server's side changes them, and goes through the next release without a conflict."""
    apply = ("apply", "--server-side", "--field-manager=gitops", "-f", "-")
    await routed.create(manifests.service(), manifests.deployment())
    await routed.kubectl(*apply, stdin=http_route(routed.host))
    await routed.wait("deployments", manifests.available(5))
    await routed.create(by_gateway(plan(step(20, 1))))
    await routed.governed()
    await routed.wait(RESOURCE, accepted)
    await routed.set_image(V2)
    await routed.waits(1, 1)
    await routed.approve()
    await routed.completes()
    changed = http_route(routed.host, rule(timeouts={"request": "10s"}))

    await routed.kubectl(*apply, stdin=changed)
    own = await routed.get(RESOURCE)
    await routed.set_image(V3)
    await routed.waits(1, 1)
    await routed.kubectl(*apply, stdin=changed)
    await routed.wait(RESOURCE, sends(20))
    await routed.approve()
    await routed.completes()

    assert theirs(await routed.get(RESOURCE))["spec"] == theirs(own)["spec"]
    assert not owns_spec(own, "sluice")


async def test_release_by_gateway_goes_on_while_no_webhook_answers(
    routed: Application, product: Product
) -> None:
    """Marks first, rules next: what the webhook did not do in the write, the reconciler does after it."""
    await deploy(routed, rollout=plan(step(20, 1, pause=8), step(60, 3, pause=8)))
    own = await routed.get(RESOURCE)
    await routed.set_image(V2)
    await routed.wait(RESOURCE, sends(20))

    await product.scale("sluice-webhook", 0)
    try:
        await routed.wait(RESOURCE, sends(60))
        # Somebody's apply sends everything to the stable pods, until the reconciler writes the share again.
        rules = {"spec": {"rules": own["spec"]["rules"]}}
        applied = await routed.cluster.patch(RESOURCE, routed.namespace, NAME, rules)
        await routed.wait(RESOURCE, sends(60))
        await routed.completes(steps=2)
    finally:
        await product.scale("sluice-webhook", 2)

    assert split(applied["spec"]["rules"][0]) == {NAME: 1}
    after = await routed.get(RESOURCE)
    assert theirs(after) == theirs(own)
    assert not owns_spec(after, "sluice")


# --- what stands in the way ------------------------------------------------------------------------------


async def test_missing_route_is_named_and_waited_for(routed: Application) -> None:
    """Said in MESSAGE, and gone on with when it comes."""
    await routed.create(manifests.service(), manifests.deployment())
    await routed.wait("deployments", manifests.available(5))
    await routed.create(by_gateway(manifests.rollout(grace_period_seconds=0)))
    await routed.governed()

    await routed.set_image(V2)
    await routed.wait("rollouts", lambda found: message(found).startswith(f"HTTPRoute {NAME} not found"))
    await routed.create(http_route(routed.host))
    await routed.waits(1, 1)

    assert await weights(routed) == [{NAME: 80, CANARY: 20}]


async def test_route_that_no_gateway_accepts_is_named_and_waited_for(routed: Application) -> None:
    """A release does not go on behind a Gateway that does not serve the route; corrected, it does."""
    await deploy(routed, parent="nowhere")

    await routed.set_image(V2)
    said = await routed.wait("rollouts", lambda found: "is not accepted by its parent" in message(found))
    parents = http_route(routed.host)["spec"]["parentRefs"]
    await routed.cluster.patch(RESOURCE, routed.namespace, NAME, {"spec": {"parentRefs": parents}})
    await routed.waits(1, 1)

    assert "Gateway nowhere" in message(said)
    assert await weights(routed) == [{NAME: 80, CANARY: 20}]


async def test_route_with_marks_that_nobody_wrote_stops_no_release(
    routed: Application, product: Product
) -> None:
    """Looked at as a stray, it cannot be given back; that must not cost the leader its turn."""
    await deploy(routed)
    leader = await product.leader()
    strange = http_route("strange.example.com")
    routing = '{"services":["web"],"routing":{"weight":1e999},"before":{"weight":0}}'
    marks = {"routed-by": "nobody", "release": "abcde", "original": "[]", "routing": routing}
    strange["metadata"]["name"] = "strange"
    strange["metadata"]["annotations"] = {f"sluice.dev/{key}": value for key, value in marks.items()}
    await routed.create(strange)

    await routed.passes(8)
    await routed.set_image(V2)
    await routed.waits(1, 1)

    assert await product.leader() == leader


async def test_step_is_reached_when_the_gateway_has_said_so(routed: Application) -> None:
    """Until it has, the message says what is waited for; a strict Rollout asks for no less."""
    strict = manifests.rollout(grace_period_seconds=0)
    strict["metadata"] = {**strict["metadata"], "annotations": {"sluice.dev/verify": "gateway-status"}}
    await deploy(routed, rollout=strict)

    routed.cluster.freeze("gateway")
    try:
        await routed.set_image(V2)
        waiting = await routed.wait("rollouts", lambda found: "has accepted its present" in message(found))
    finally:
        routed.cluster.thaw("gateway")
    await routed.waits(1, 1)

    assert await weights(routed) == [{NAME: 80, CANARY: 20}]
    assert f"the parent Gateway public of HTTPRoute {NAME}" in message(waiting)
    assert state(waiting) == "StepTrafficRouting"


async def test_route_that_leads_elsewhere_is_named(routed: Application) -> None:
    """The Service of the Rollout is no backend of the route."""
    await deploy(routed, rule(backend("elsewhere")))

    await routed.set_image(V2)
    said = await routed.wait("rollouts", lambda found: "has no rule that sends" in message(found))

    assert f"backend Service {NAME}" in message(said)


async def test_users_own_rule_for_the_canarys_name_is_not_touched(routed: Application) -> None:
    """A backend of that name would be taken away at the end of a release: it is named, and nothing begins."""
    await deploy(routed, rule(), rule(backend(CANARY), matches=[BLUE]))
    own = await routed.get(RESOURCE)

    await routed.set_image(V2)
    await routed.wait("rollouts", lambda found: f"mentions {CANARY}" in message(found))

    assert theirs(await routed.get(RESOURCE)) == theirs(own)


@asynccontextmanager
async def _without_gateway_api(app: Application) -> AsyncIterator[None]:
    await app.cluster.delete("customresourcedefinitions", None, DEFINITION)
    await app.cluster.wait_gone("customresourcedefinitions", None, DEFINITION)
    try:
        yield
    finally:
        await app.cluster.install_gateway_api()


async def test_missing_gateway_api_is_named_and_waited_for(routed: Application) -> None:
    """A cluster without the CRDs: said in MESSAGE, and gone on with when they are installed."""
    async with _without_gateway_api(routed):
        await routed.create(manifests.service(), manifests.deployment())
        await routed.wait("deployments", manifests.available(5))
        await routed.create(by_gateway(manifests.rollout(grace_period_seconds=0)))
        await routed.governed()
        await routed.set_image(V2)
        said = await routed.wait("rollouts", lambda found: message(found).startswith("HTTPRoute ("))
    await routed.create(http_route(routed.host))
    await routed.wait(
        "rollouts", lambda found: "waits" in message(found) or "step" in message(found), seconds=60
    )
    await routed.waits(1, 1)

    assert "install its CRD" in message(said)
    assert await weights(routed) == [{NAME: 80, CANARY: 20}]
