"""Releases through a TrafficRouting, in the model: its routes, its strategy, and what becomes of it."""

from typing import Any

import pytest

from rollout import names
from rollout.observation import observe
from rollout.release.engagement import engage
from rollout.release.facts import Facts
from rollout.spec import RolloutSpec
from rollout.wire import JsonObject
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP, Routing, Setting, ingress, service
from tests.unit.rollout.model.world import World

SHARED = "shared"
HELD = [names.TRAFFIC_ROUTING_FINALIZER, names.USED_BY + APP]
TWO_STEPS = [step(20, "40%"), step(50, "60%")]
LEAVING_IT = [step(None, "40%"), step(None, "60%")]


def ref(service_name: str = APP, ingress_name: str = APP, grace: int = 0) -> dict[str, Any]:
    """Return one entry of objectRef."""
    return {"service": service_name, "gracePeriodSeconds": grace, "ingress": {"name": ingress_name}}


def routing(*refs: dict[str, Any], **strategy: Any) -> dict[str, Any]:
    """Return a TrafficRouting; without refs one that routes to the workload's Service."""
    return {
        "apiVersion": f"{names.GROUP}/v1alpha1",
        "kind": "TrafficRouting",
        "metadata": {"name": SHARED},
        "spec": {"objectRef": list(refs) or [ref()], "strategy": strategy},
    }


def governed(steps: list[dict[str, Any]], *others: dict[str, Any]) -> World:
    """Return a world with a Rollout at rest that refers to the TrafficRouting."""
    world = World()
    world.grace_seconds = 0
    referring = rollout(steps, routed=False)
    referring["spec"]["strategy"]["canary"]["trafficRoutingRef"] = SHARED
    for each in (referring, *others):
        world.foreign.add(each["metadata"]["name"])
        world.store.create(each)
    settle(world)
    return world


def released(steps: list[dict[str, Any]], *others: dict[str, Any]) -> World:
    """Return a world whose release of v2 has gone as far as it goes without approval."""
    world = governed(steps, *others)
    world.apply_template("v2")
    settle(world)
    return world


def shared(world: World) -> JsonObject:
    """Return the TrafficRouting."""
    found = world.store.get("TrafficRouting", SHARED)
    assert found is not None
    return found


def held(world: World) -> list[str]:
    """Return its finalizers."""
    return list(shared(world)["metadata"].get("finalizers") or ())


def noted(world: World) -> bool:
    """Return whether the Rollout notes what it goes through."""
    assert world.rollout is not None
    return names.ENGAGED in (world.rollout["metadata"].get("annotations") or {})


def told(world: World) -> str:
    """Return the reason of the condition on the TrafficRouting; "" for none."""
    conditions = world.status["conditions"]
    return next((each["reason"] for each in conditions if each["type"] == "TrafficRouting"), "")


def is_through(world: World) -> bool:
    """Return whether the release has ended well and nothing is held, noted or left."""
    rested = world.status["phase"] == "Healthy" and not world.leftovers()
    return rested and not held(world) and not noted(world) and not told(world)


def approved(world: World) -> None:
    """Approve the present step, and let everybody come to rest."""
    world.approve_present_step()
    settle(world)


def test_release_takes_routes_from_the_object_and_weights_from_the_steps() -> None:
    """Held while it lasts, let go of at its end."""
    world = governed(TWO_STEPS, routing(weight=90))
    before = held(world)
    world.apply_template("v2")
    settle(world)
    weights, during = [world.canary_weight()], held(world)
    approved(world)
    weights.append(world.canary_weight())
    approved(world)

    assert (before, during) == ([], HELD)
    assert weights == [20, 50]
    assert is_through(world)


def test_plan_that_leaves_it_to_the_object_is_routed_by_its_strategy() -> None:
    """The same weight at each step; an edit of the strategy is followed, as one of a step is."""
    world = released(LEAVING_IT, routing(weight=30))
    weights = [world.canary_weight()]
    world.store.patch("TrafficRouting", SHARED, {"spec": {"strategy": {"weight": 10}}})
    settle(world)
    weights.append(world.canary_weight())
    approved(world)
    weights.append(world.canary_weight())
    approved(world)

    assert weights == [30, 10, 10]
    assert is_through(world)


def test_higher_weight_in_the_strategy_needs_a_new_approval() -> None:
    """What was approved was the lower one."""
    world = released(LEAVING_IT, routing(weight=30))
    world.store.patch("TrafficRouting", SHARED, {"spec": {"strategy": {"weight": 60}}})
    world.wait(1)
    settle(world)

    assert world.release["currentStepIndex"] == 1
    assert "ApprovalsReset" in {each["type"] for each in world.status["conditions"]}


@pytest.mark.parametrize("steps", [TWO_STEPS, LEAVING_IT], ids=["own traffic", "left to it"])
def test_missing_object_holds_the_release_before_any_pod(steps: list[dict[str, Any]]) -> None:
    """Said where a person looks, nothing is touched; gone on with when it comes."""
    world = released(steps)
    message, pods = world.status["message"], world.ready_by_tag()
    plain = (world.store.get("Service", APP) or {})["spec"]["selector"]
    world.store.create(routing(weight=20))
    settle(world)

    assert message.startswith("TrafficRouting shared not found")
    assert pods == {"v1": 5}
    assert plain == {"app": APP}
    assert world.canary_weight() == 20


@pytest.mark.parametrize(
    ("refs", "why"),
    [
        ([{"service": APP}], "TrafficRouting shared cannot be used: Spec.ObjectRef[0]"),
        (
            [ref(), {**ref(), "ingress": {"name": APP, "classType": "mse"}}],
            "TrafficRouting shared cannot carry this release: one Ingress with several classTypes",
        ),
        ([ref("other")], "TrafficRouting shared names no Service that selects the pods of Deployment web"),
        ([ref("missing")], "Service missing not found"),
    ],
    ids=["unreadable", "unfit", "foreign", "no service"],
)
def test_object_that_cannot_carry_the_release_is_named_until_it_can(
    refs: list[dict[str, Any]], why: str
) -> None:
    """Behind the gate, without a pod; corrected, the release goes on with what it says then."""
    other = service()
    other["metadata"]["name"], other["spec"]["selector"] = "other", {"app": "other"}
    world = released(TWO_STEPS, other, routing(*refs))
    message, pods = world.status["message"], world.ready_by_tag()
    world.store.patch("TrafficRouting", SHARED, {"spec": {"objectRef": [ref()]}})
    settle(world)

    assert message.startswith(why)
    assert pods == {"v1": 5}
    assert world.canary_weight() == 20


def test_deleted_object_stays_until_the_traffic_is_given_back() -> None:
    """The release goes on through it."""
    world = released(TWO_STEPS, routing())
    world.store.delete("TrafficRouting", SHARED)
    settle(world)
    reason = told(world)
    approved(world)
    weight = world.canary_weight()
    approved(world)

    assert reason == "Deleted"
    assert weight == 50
    assert world.store.get("TrafficRouting", SHARED) is None
    assert world.status["phase"] == "Healthy"
    assert not world.leftovers()


def test_object_on_its_way_out_takes_no_new_release() -> None:
    """Another product's finalizer may hold it for days."""
    given = routing()
    given["metadata"]["finalizers"] = ["example.com/theirs"]
    world = governed(TWO_STEPS, given)
    world.store.delete("TrafficRouting", SHARED)
    world.apply_template("v2")
    settle(world)

    assert world.status["message"].startswith("TrafficRouting shared is being deleted: create it anew")
    assert held(world) == ["example.com/theirs"]


def torn_away(world: World) -> None:
    """Remove the TrafficRouting by force."""
    world.store.patch("TrafficRouting", SHARED, {"metadata": {"finalizers": []}})
    world.store.delete("TrafficRouting", SHARED)
    settle(world)


def test_object_torn_away_leaves_routes_and_safety_as_they_were() -> None:
    """No step is entered, requests go where they went, and an empty canary still gets none."""
    world = released(TWO_STEPS, routing())
    torn_away(world)
    reason, weight = told(world), world.canary_weight()
    approved(world)
    step_index = world.release["currentStepIndex"]
    world.broken_tags.add("v2")
    settle(world)

    assert (reason, weight, step_index) == ("Missing", 20, 1)
    assert world.canary_weight() == 0


@pytest.mark.parametrize("ending", ["back", "disable", "delete", "workload"])
@pytest.mark.parametrize("torn", [False, True], ids=["there", "torn away"])
def test_every_end_gives_everything_back(ending: str, *, torn: bool) -> None:
    """With the TrafficRouting there to the end or not."""
    world = released(TWO_STEPS, routing())
    if torn:
        torn_away(world)
    match ending:
        case "back":
            world.apply_template("v1")
        case "disable":
            world.change_spec({"disabled": True})
        case "delete":
            world.store.delete("Rollout", APP)
        case _:
            world.store.delete("Deployment", APP)
    settle(world)

    assert not world.leftovers()
    assert torn or held(world) == []
    assert ending == "delete" or not noted(world)


def test_changed_routes_wait_for_the_next_release() -> None:
    """Changed in the middle they would leave the old ones without a hand on them."""
    other = ingress()
    other["metadata"]["name"] = "other"
    world = released(TWO_STEPS, routing(), other)
    world.store.patch("TrafficRouting", SHARED, {"spec": {"objectRef": [ref(ingress_name="other")]}})
    settle(world)
    reason = told(world)
    approved(world)
    kept = (world.canary_weight(), world.store.get("Ingress", "other-canary"))
    approved(world)
    rested = is_through(world)
    world.setting = Setting((Routing(APP, (("Ingress", "other"),)),))
    world.apply_template("v3")
    settle(world)

    assert reason == "Changed"
    assert kept == (50, None)
    assert rested
    assert world.store.get("Ingress", "other-canary") is not None
    assert world.store.get("Ingress", f"{APP}-canary") is None


def test_reference_taken_from_the_rollout_in_a_release_waits_for_its_end() -> None:
    """Past the webhook, which refuses it: the release still ends on the routes that it began with."""
    world = released(TWO_STEPS, routing())
    world.change_spec({"strategy": {"canary": {"trafficRoutingRef": None}}})
    settle(world)
    approved(world)
    weight = world.canary_weight()
    approved(world)

    assert weight == 50
    assert is_through(world)


def test_finalizers_dropped_by_a_replace_are_put_back() -> None:
    """A client that sends the whole object without them means no harm."""
    world = released(TWO_STEPS, routing())
    world.store.patch("TrafficRouting", SHARED, {"metadata": {"finalizers": None}})
    settle(world)

    assert held(world) == HELD


def test_release_without_a_service_of_its_own_holds_the_object_and_routes_nothing() -> None:
    """As one of several workloads that are released together: another's Service is not its to pin."""
    other = service()
    other["metadata"]["name"], other["spec"]["selector"] = "other", {"app": "other"}
    world = released(LEAVING_IT, other, routing(ref("other"), weight=20))
    reason, during = told(world), held(world)
    untouched = world.store.get("Service", "other")
    approved(world)
    approved(world)

    assert (reason, during) == ("NotRouted", HELD)
    assert (untouched or {})["spec"]["selector"] == {"app": "other"}
    assert world.store.get("Service", "other-canary") is None
    assert is_through(world)


def test_others_finalizers_stay() -> None:
    """Another Rollout's claim, and what other products hold."""
    given = routing()
    theirs = ["example.com/theirs", names.USED_BY + "other"]
    given["metadata"]["finalizers"] = theirs
    world = released(TWO_STEPS, given)
    during = held(world)
    approved(world)
    approved(world)

    assert sorted(during) == sorted([*theirs, *HELD])
    assert held(world) == [*theirs, names.TRAFFIC_ROUTING_FINALIZER]
    assert not noted(world)


def test_long_name_of_the_rollout_is_said() -> None:
    """It cannot stand in a finalizer; nothing is begun that could not be held."""
    world = governed(TWO_STEPS, routing())
    assert world.rollout is not None
    named = {**world.rollout, "metadata": {**world.rollout["metadata"], "name": "r" * 64}}
    snapshot = observe(named, world.store.objects.values(), world.now)
    assert isinstance(snapshot.rollout.spec, RolloutSpec)
    assert snapshot.workload is not None
    outcome = engage(Facts(snapshot, snapshot.rollout, snapshot.rollout.spec, snapshot.workload))

    assert outcome is not None
    assert outcome.blocked
    assert outcome.waits_for.startswith(f"Rollout {'r' * 64} cannot go through a TrafficRouting")


@pytest.mark.parametrize("writes", range(1, 30))
def test_crash_between_any_two_writes_leaves_nothing(writes: int) -> None:
    """A reconciler that stops after any number of writes, begins anew, and is rolled back."""
    world = governed(TWO_STEPS, routing())
    world.apply_template("v2")
    for _ in range(writes):
        world.run_controllers()
        reconcile(world, writes=1)
    world.apply_template("v1")
    settle(world)

    assert is_through(world)
