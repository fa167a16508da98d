"""TrafficRouting objects: what routes stands in an object of its own, and Rollouts refer to it."""

import pytest

from sandbox import manifests
from sandbox.commands import CommandError
from sandbox.names import JsonObject
from sandbox.observation import Predicate
from tests.cluster import inventory
from tests.cluster.application import NAME, V1, V2, V3, Application, message
from tests.cluster.gateways import RESOURCE, http_route, rule
from tests.cluster.plans import step
from tests.cluster.test_scenarios_traffic import CANARY, HEADER, annotations_of, arrives, path, share, shares
from tests.cluster.traffic_routings import RESOURCE as ROUTING
from tests.cluster.traffic_routings import SHARED, referring, routing

HELD = ["rollouts.kruise.io/trafficrouting", f"progressing.rollouts.kruise.io/{NAME}"]


def phased(phase: str, text: str = "") -> Predicate:
    """Return whether a TrafficRouting's two columns are so."""
    expected = (phase, text or f"TrafficRouting is {phase}")
    return lambda found: (
        (found.get("status", {}).get("phase"), found.get("status", {}).get("message")) == expected
    )


def told(reason: str) -> Predicate:
    """Return whether a Rollout's condition on its TrafficRouting has a reason; "" for no such condition."""

    def decide(found: JsonObject) -> bool:
        conditions = found.get("status", {}).get("conditions", ())
        return {each["reason"] for each in conditions if each["type"] == "TrafficRouting"} == (
            {reason} if reason else set()
        )

    return decide


async def is_free(app: Application, phase: str = "Healthy") -> None:
    """Wait until no release goes through the TrafficRouting."""
    rested = phased(phase)
    await app.wait(ROUTING, lambda found: rested(found) and not found["metadata"].get("finalizers"), SHARED)


@pytest.mark.parametrize("by", ["field", "annotation", "v1alpha1"])
async def test_release_goes_through_a_traffic_routing(app: Application, by: str) -> None:
    """Named by field, by annotation or in v1alpha1: its routes, the steps' weights; held, then let go of."""
    await app.create(routing())
    await app.deploy(referring(by=by))
    await app.serves_requests()
    await app.wait(ROUTING, phased("Healthy"), SHARED)
    before = await inventory.settled(app)

    await app.set_image(V2)
    await app.waits(1, 1)
    during = await app.wait(ROUTING, phased("Progressing"), SHARED)
    await arrives(app, V2)
    seen = await shares(app)
    columns = await app.kubectl("get", "trafficrouting")
    await app.approve()
    await app.completes()
    await is_free(app)
    await app.serves(V2)
    await app.annotate(None)
    await app.set_image(V1)
    await app.waits(1, 1)
    await app.approve()
    await app.completes()
    await app.serves(V1)
    await app.annotate(None)

    assert seen == share(20)
    assert during["metadata"]["finalizers"] == HELD
    assert columns.split()[:7] == [
        "NAME",
        "STATUS",
        "MESSAGE",
        "AGE",
        SHARED,
        "Progressing",
        "TrafficRouting",
    ]
    await is_free(app)
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_http_route_is_found_through_a_traffic_routing(app: Application) -> None:
    """A kind that no Rollout names itself is watched for one that goes through a TrafficRouting."""
    await app.cluster.gateway()
    await app.create(manifests.service(), http_route(app.host, rule()), manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    gateway = {"service": NAME, "gateway": {"httpRouteName": NAME}, "gracePeriodSeconds": 0}
    await app.create(routing(gateway), referring())
    await app.governed()
    before = await app.get(RESOURCE)
    await app.set_image(V2)
    await app.waits(1, 1)
    during = await app.get(RESOURCE)
    await app.approve()
    await app.completes()
    await is_free(app)

    refs = during["spec"]["rules"][0]["backendRefs"]
    assert {each["name"]: each["weight"] for each in refs} == {NAME: 80, CANARY: 20}
    assert (await app.get(RESOURCE))["spec"] == before["spec"]


async def test_phases_of_a_traffic_routing_follow_the_release(app: Application) -> None:
    """Healthy, Progressing, Finalizing while the traffic is given back, Healthy again."""
    slow = {"service": NAME, "ingress": {"name": NAME}, "gracePeriodSeconds": 1}
    await app.create(routing(slow))
    await app.deploy(referring())
    await app.wait(ROUTING, phased("Healthy"), SHARED)

    async with app.cluster.record(ROUTING, app.namespace) as record:
        await app.set_image(V2)
        await app.waits(1, 1)
        await app.approve()
        await app.completes()
        await is_free(app)
        shown = [event.object.get("status", {}).get("phase", "") for event in record.events]

    assert list(dict.fromkeys(shown[1:])) == ["Healthy", "Progressing", "Finalizing"]
    assert shown[-1] == "Healthy"


async def test_strategy_of_a_traffic_routing_routes_a_plan_that_leaves_it_to_it(app: Application) -> None:
    """Steps without traffic: the TrafficRouting's matches and weight are those of every step, also edited."""
    await app.create(routing(weight=30, matches=[{"headers": [HEADER]}]))
    await app.deploy(referring(step(None, 1), step(None, 2)))
    await app.serves_requests()

    await app.set_image(V2)
    await app.waits(1, 2)
    await arrives(app, V2, {"x-team": "blue"})
    written = annotations_of(await app.get("ingresses", CANARY))
    seen = await shares(app)
    await app.approve()
    await app.waits(2, 2)
    weight = await app.weight()
    await app.cluster.patch(ROUTING, app.namespace, SHARED, {"spec": {"strategy": {"weight": 10}}})
    await app.wait(
        "ingresses",
        lambda found: annotations_of(found)["nginx.ingress.kubernetes.io/canary-weight"] == "10",
        CANARY,
    )
    await app.waits(2, 2)
    await app.set_image(V1)
    await app.rolled_back(2)

    assert seen == share(30)
    assert weight == 30
    assert written["nginx.ingress.kubernetes.io/canary-by-header"] == "x-team"
    await is_free(app)


async def test_steps_with_traffic_win_over_the_strategy(app: Application) -> None:
    """A Rollout whose steps say what goes to the canary is told that the strategy is not used."""
    await app.create(routing(weight=90))
    said = await app.kubectl("apply", "--dry-run=server", "-f", "-", stdin=referring())
    await app.deploy(referring())
    await app.set_image(V2)
    await app.waits(1, 1)

    assert "spec.strategy of TrafficRouting shared is not used" in said
    assert await app.weight() == 20


async def test_missing_traffic_routing_is_named_and_waited_for(app: Application) -> None:
    """Warned of when the Rollout is applied, named in MESSAGE when a release needs it, gone on with then."""
    await app.create(manifests.service(), manifests.ingress(host=app.host), manifests.deployment())
    await app.wait("deployments", manifests.available(5))
    said = await app.kubectl("apply", "-f", "-", stdin=referring())
    await app.governed()
    await app.set_image(V2)
    await app.wait("rollouts", lambda found: message(found).startswith("TrafficRouting shared not found"))
    plain = await app.get("services")
    await app.create(routing())
    await app.waits(1, 1)

    assert "Warning: TrafficRouting shared not found" in said
    assert plain["spec"]["selector"] == {"app": NAME}
    assert await app.weight() == 20


async def test_deleted_traffic_routing_stays_until_the_traffic_is_given_back(app: Application) -> None:
    """Deleted while a step waits: both objects say so, the release goes on, then it goes."""
    await app.create(routing())
    await app.deploy(referring(step(20, 1), step(40, 2)))
    await app.set_image(V2)
    await app.waits(1, 2)

    await app.cluster.delete(ROUTING, app.namespace, SHARED)
    waits = f"TrafficRouting is Terminating: waits until Rollout {NAME} has given its traffic back"
    await app.wait(ROUTING, phased("Terminating", waits), SHARED)
    await app.wait("rollouts", told("Deleted"))
    await app.approve()
    await app.waits(2, 2)
    weight = await app.weight()
    await app.approve()
    await app.completes(2)
    await app.cluster.wait_gone(ROUTING, app.namespace, SHARED, 30)
    await app.wait("rollouts", told(""))

    assert weight == 40
    assert await app.find("ingresses", CANARY) is None


async def test_traffic_routing_torn_away_leaves_the_release_its_routes(app: Application) -> None:
    """Its finalizers removed by hand: requests go where they went, no step is entered; rolling back works."""
    await app.create(routing())
    await app.deploy(referring(step(20, 1), step(40, 2)))
    await app.serves_requests()
    before = await inventory.settled(app)
    await app.set_image(V2)
    await app.waits(1, 2)
    await arrives(app, V2)

    await app.cluster.delete(ROUTING, app.namespace, SHARED)
    await app.cluster.patch(ROUTING, app.namespace, SHARED, {"metadata": {"finalizers": None}})
    await app.cluster.wait_gone(ROUTING, app.namespace, SHARED, 30)
    await app.wait("rollouts", told("Missing"))
    await app.approve()
    await app.wait("rollouts", lambda found: message(found).startswith("TrafficRouting shared not found"))
    seen, weight = await shares(app), await app.weight()
    await app.set_image(V1)
    await app.wait("rollouts", lambda found: found["status"]["phase"] == "Healthy")
    await app.annotate(None)
    await app.create(routing())
    await app.wait(ROUTING, phased("Healthy"), SHARED)

    assert seen == share(20)
    assert weight == 20
    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_changed_routes_wait_for_the_next_release(app: Application) -> None:
    """The release keeps the routes that it began with and says so; the next one takes the new ones."""
    await app.create(routing())
    other = manifests.ingress("other", host=f"other.{app.host}")
    await app.create(other)
    await app.deploy(referring(step(20, 1), step(40, 2)))
    await app.set_image(V2)
    await app.waits(1, 2)

    moved = routing({"service": NAME, "ingress": {"name": "other"}, "gracePeriodSeconds": 0})
    said = await app.kubectl("apply", "-f", "-", stdin=moved)
    await app.wait("rollouts", told("Changed"))
    await app.approve()
    await app.waits(2, 2)
    weight, elsewhere = await app.weight(), await app.find("ingresses", "other-canary")
    await app.approve()
    await app.completes(2)
    await app.wait("rollouts", told(""))
    await app.annotate(None)
    await app.set_image(V3)
    await app.waits(1, 2)
    later = await app.find("ingresses", "other-canary")

    assert "this release keeps the routes that it began with" in said
    assert (weight, elsewhere) == (40, None)
    assert later is not None
    assert await app.weight() is None


async def _second(app: Application, rollout: JsonObject) -> None:
    """Deploy another workload with a Service of its own, and its Rollout."""
    await app.create(manifests.service("second", "second"), manifests.deployment("second", replicas=2))
    await app.wait("deployments", manifests.available(2), "second")
    await app.create(rollout)
    await app.wait("rollouts", lambda found: found.get("status", {}).get("phase") == "Healthy", "second")
    await app.wait(
        "deployments",
        lambda found: "rollouts.kruise.io/workload-type" in found["metadata"].get("labels", {}),
        "second",
    )


async def test_traffic_routing_is_progressing_until_the_last_of_its_rollouts_has_ended(
    app: Application,
) -> None:
    """A Rollout whose pods are behind none of its Services holds it too, and says that it routes nothing."""
    await app.create(routing(weight=20))
    await app.deploy(referring(step(None, 1)))
    await _second(app, referring(step(None, 1), name="second"))

    await app.set_image(V2)
    await app.waits(1, 1)
    await app.kubectl("set", "image", "deployment/second", f"*={V2}")
    attended = await app.wait(
        "rollouts", lambda found: found["status"]["currentStepState"] == "StepPaused", "second"
    )
    both = await app.get(ROUTING, SHARED)
    await app.approve()
    await app.completes()
    alone = await app.wait(
        ROUTING, lambda found: HELD[1] not in found["metadata"].get("finalizers", ()), SHARED
    )
    plain = await app.get("services", "second")
    await app.kubectl("annotate", "deployment", "second", f"sluice.dev/approve={await _release(app)}/1")
    await is_free(app)

    assert told("NotRouted")(attended)
    assert sorted(both["metadata"]["finalizers"]) == sorted([*HELD, "progressing.rollouts.kruise.io/second"])
    assert alone["status"]["phase"] == "Progressing"
    assert plain["spec"]["selector"] == {"app": "second"}


async def _release(app: Application) -> str:
    annotations = (await app.get("deployments", "second"))["metadata"]["annotations"]
    return str(annotations["sluice.dev/release"])


async def test_route_that_another_rollout_uses_is_waited_for(app: Application) -> None:
    """Two Services behind one Ingress, named by one TrafficRouting: each Rollout takes its own, in turn."""
    refs = [
        {"service": name, "ingress": {"name": NAME}, "gracePeriodSeconds": 0} for name in (NAME, "second")
    ]
    await app.create(routing(*refs))
    await app.deploy(referring())
    ingress = await app.get("ingresses")
    paths = [path("/second", "second"), *ingress["spec"]["rules"][0]["http"]["paths"]]
    rule = {"host": app.host, "http": {"paths": paths}}
    await app.cluster.patch("ingresses", app.namespace, NAME, {"spec": {"rules": [rule]}})
    await _second(app, referring(name="second"))

    await app.set_image(V2)
    await app.waits(1, 1)
    await app.kubectl("set", "image", "deployment/second", f"*={V2}")
    text = f"Ingress {CANARY} belongs to Rollout {NAME}"
    await app.wait("rollouts", lambda found: message(found).startswith(text), "second")
    await app.approve()
    await app.completes()
    await app.wait("rollouts", lambda found: found["status"]["currentStepState"] == "StepPaused", "second")
    canary = await app.get("ingresses", CANARY)

    assert canary["metadata"]["ownerReferences"][0]["name"] == "second"
    assert [each["path"] for each in canary["spec"]["rules"][0]["http"]["paths"]] == ["/second"]


async def test_finalizer_of_a_rollout_that_is_gone_is_taken_away(app: Application) -> None:
    """Left by a Rollout whose own finalizer was removed by hand, or by another product: nobody else would."""
    held = routing()
    held["metadata"]["finalizers"] = [*HELD, "example.com/theirs"]
    await app.create(held)

    found = await app.wait(
        ROUTING, lambda found: found["metadata"]["finalizers"] == ["example.com/theirs"], SHARED
    )
    await app.wait(ROUTING, phased("Healthy"), SHARED)
    await app.cluster.patch(ROUTING, app.namespace, SHARED, {"metadata": {"finalizers": None}})

    assert found["metadata"]["name"] == SHARED


@pytest.mark.parametrize("ending", ["disable", "delete", "workload"])
async def test_traffic_routing_is_let_go_of_however_a_release_ends(app: Application, ending: str) -> None:
    """Disabled, deleted, or left without its workload: nothing is held."""
    await app.create(routing())
    await app.deploy(referring())
    await app.set_image(V2)
    await app.waits(1, 1)

    if ending == "disable":
        await app.change_rollout({"spec": {"disabled": True}})
    elif ending == "delete":
        await app.cluster.delete("rollouts", app.namespace, NAME)
    else:
        await app.cluster.delete("deployments", app.namespace, NAME)
    await is_free(app)

    assert await app.find("ingresses", CANARY) is None
    assert (await app.get("services"))["spec"]["selector"] == {"app": NAME}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"objectRef": []}, "TrafficRoutings are not set"),
        (
            {"objectRef": [{"service": "", "ingress": {"name": NAME}}]},
            "TrafficRouting.Service cannot be empty",
        ),
        ({"objectRef": [{"service": NAME}]}, "TrafficRoutings are not set"),
        (
            {"objectRef": [{"service": NAME, "ingress": {"name": ""}}]},
            "TrafficRouting.Ingress.Ingress cannot be empty",
        ),
        (
            {"objectRef": [{"service": NAME, "gateway": {}}]},
            "TrafficRouting.Gateway must set the name of HTTPRoute or HTTPsRoute",
        ),
        (
            {"objectRef": [{"service": NAME, "ingress": {"name": NAME}, "gracePeriodSeconds": -1}]},
            "TrafficRouting.GracePeriodSeconds cannot be negative",
        ),
        ({"strategy": {"weight": 101}}, "strategy.weight must be percentage with 0 <= weight <= 100"),
    ],
    ids=["empty", "no-service", "no-route", "no-ingress", "no-http-route", "grace", "weight"],
)
async def test_traffic_routing_that_has_no_meaning_is_denied(
    app: Application, changed: JsonObject, text: str
) -> None:
    """The rules of trafficRoutings hold where they are written into an object of their own."""
    given = routing()
    given["spec"].update(changed)

    assert text in await refused(app, given)
    await app.create(routing())
    assert text in await refused(app, given)


async def refused(app: Application, manifest: JsonObject) -> str:
    """Apply what is not allowed; return what kubectl says."""
    with pytest.raises(CommandError) as denied:
        await app.kubectl("apply", "-f", "-", stdin=manifest)
    return str(denied.value)
