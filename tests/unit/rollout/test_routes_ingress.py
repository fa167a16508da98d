"""Canary Ingresses of a release: what one has, what it follows, and what is none of ours."""

from typing import Any

import pytest

from rollout import messages, names
from rollout.observation import observe
from rollout.release.plan import plan
from tests.unit.rollout.model.objects import deployment, rollout, step
from tests.unit.rollout.model.reconciling import look, settle
from tests.unit.rollout.model.routing import APP, HOST, Routing, Setting, ingress, service
from tests.unit.rollout.model.world import World

API = "api"  # a second Service, of the same pods
CANARY = f"{APP}-canary"
NGINX = "nginx.ingress.kubernetes.io/"


def path(value: str, backend: str) -> dict[str, Any]:
    """Return one path of an Ingress."""
    return {
        "path": value,
        "pathType": "Prefix",
        "backend": {"service": {"name": backend, "port": {"number": 8080}}},
    }


def routing(backend: str, name: str, **more: Any) -> dict[str, Any]:
    """Return one entry of trafficRoutings."""
    return {"service": backend, "gracePeriodSeconds": 0, "ingress": {"name": name}, **more}


def world_of(*routings: dict[str, Any], **ingresses: dict[str, Any]) -> World:
    """Return a world at rest with these trafficRoutings, a second Service, and Ingresses beside the usual."""
    world = World()
    world.setting = Setting(
        tuple(Routing(each["service"], (("Ingress", each["ingress"]["name"]),)) for each in routings)
    )
    world.foreign |= {API, *ingresses}
    world.grace_seconds = 0
    world.store.create({**service(), "metadata": {"name": API}})
    for name, manifest in ingresses.items():
        world.store.create({**manifest, "metadata": {**manifest["metadata"], "name": name}})
    value = rollout([step(20, "40%"), step(50, "60%")], grace=0)
    value["spec"]["strategy"]["canary"]["trafficRoutings"] = list(routings)
    world.store.create(value)
    settle(world)
    return world


def released(world: World) -> World:
    """Begin a release and come to its first step."""
    world.apply_template("v2")
    settle(world)
    return world


def paths_of(world: World, name: str = CANARY) -> dict[str, str]:
    """Return which path of a canary Ingress leads to which Service."""
    found = world.store.get("Ingress", name)
    assert found is not None
    rules = found["spec"]["rules"]
    return {
        each["path"]: each["backend"]["service"]["name"] for rule in rules for each in rule["http"]["paths"]
    }


def weight_on(world: World, name: str) -> str:
    """Return the weight that a canary Ingress says."""
    found = world.store.get("Ingress", name)
    assert found is not None
    return str(found["metadata"]["annotations"][NGINX + "canary-weight"])


def shared() -> World:
    """Return a world whose one Ingress leads to two Services, each in an entry of its own."""
    world = world_of(routing(APP, APP), routing(API, APP))
    rules = [{"host": HOST, "http": {"paths": [path("/", APP), path("/api", API), path("/x", "other")]}}]
    world.store.patch("Ingress", APP, {"spec": {"rules": rules}})
    return world


def finish(world: World) -> None:
    """Approve both steps."""
    for _ in range(2):
        world.approve_present_step()
        settle(world)


def test_one_canary_ingress_has_the_paths_of_all_routings_that_name_it() -> None:
    """`/` of one Service and `/api` of another: each path leads to its canary, with one weight for both."""
    world = released(shared())

    assert paths_of(world) == {"/": CANARY, "/api": f"{API}-canary"}
    assert weight_on(world, CANARY) == "20"
    finish(world)
    assert world.leftovers() == []


def test_ingress_of_several_services_is_not_said_by_a_script() -> None:
    """A script is told one canary Service: asked for each in turn, it would undo what it said before."""
    world = released(shared())
    own = world.rollout
    assert own is not None
    around = [each for (kind, _), each in world.store.objects.items() if kind != "Rollout"]
    scripts = {names.INGRESS_SCRIPT + "nginx": "return { service = obj.canaryService }"}
    made = plan(observe(own, around, world.now, scripts=scripts))

    assert made.actions == ()
    assert made.status.message == messages.ingress_shared(APP, "nginx")


def test_shared_canary_ingress_is_silent_while_one_of_its_canaries_has_no_endpoints() -> None:
    """It has one weight: what holds for the path without pods holds for all of them."""
    world = released(shared())
    world.held_up = frozenset({"endpoints"})
    found = world.store.get("EndpointSlice", f"{API}-canary-slice")
    assert found is not None
    world.store.put({**found, "endpoints": []})
    one = look(world)
    assert one is not None
    next(one.writes)

    assert weight_on(world, CANARY) == "0"


def test_write_to_a_shared_canary_ingress_is_asked_for_once() -> None:
    """Two entries ask for the same: a second, guarded by the same version, would fail."""
    world = released(shared())
    world.store.patch("Ingress", APP, {"metadata": {"annotations": {"team": "a"}}})
    one = look(world)

    assert one is not None
    assert len(one.plan.actions) == 1


def test_one_service_may_be_routed_by_several_ingresses() -> None:
    """Each Ingress gets a canary of its own, and both have the weight."""
    world = released(world_of(routing(APP, APP), routing(APP, "second"), second=ingress()))

    assert [weight_on(world, name) for name in (CANARY, "second-canary")] == ["20", "20"]
    finish(world)
    assert world.leftovers() == []


def test_services_may_have_ingresses_of_their_own() -> None:
    """Two Services, two Ingresses: every canary leads to its own Service."""
    second = ingress()
    second["spec"]["rules"][0]["http"]["paths"] = [path("/", API)]
    world = released(world_of(routing(APP, APP), routing(API, "second"), second=second))

    assert paths_of(world, "second-canary") == {"/": f"{API}-canary"}
    finish(world)
    assert world.leftovers() == []


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_what_is_removed_from_the_stable_ingress_goes_from_the_canary(field: str) -> None:
    """An annotation that was copied goes with its original; one that somebody else added stays."""
    world = world_of(routing(APP, APP))
    world.store.patch("Ingress", APP, {"metadata": {field: {"example.com/a": "1", "example.com/b": "2"}}})
    released(world)
    world.store.patch("Ingress", CANARY, {"metadata": {field: {"example.com/other": "3"}}})
    world.store.patch("Ingress", APP, {"metadata": {field: {"example.com/a": None, "example.com/b": "4"}}})
    settle(world)

    found = world.store.get("Ingress", CANARY)
    assert found is not None
    kept = {key: value for key, value in found["metadata"][field].items() if key.startswith("example.com/")}
    assert kept == {"example.com/b": "4", "example.com/other": "3"}


@pytest.mark.parametrize("value", ["nonsense", "{}", '{"annotations":5}', "[]", None])
def test_record_of_what_was_copied_may_be_spoilt(value: str | None) -> None:
    """What cannot be told apart stays, the record is made anew, and the release goes on."""
    world = released(world_of(routing(APP, APP)))
    world.store.patch("Ingress", CANARY, {"metadata": {"annotations": {names.COPIED: value}}})
    finish(world)

    assert world.leftovers() == []


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"rules": [{"host": "evil.example.com"}]}},
        {"spec": {"defaultBackend": {"service": {"name": CANARY, "port": {"number": 8080}}}}},
        {"spec": {"tls": [{"hosts": ["evil.example.com"]}]}},
        {"spec": {"ingressClassName": "other"}},
        {"metadata": {"annotations": {"kubernetes.io/ingress.class": None}}},
        {"metadata": {"annotations": {NGINX + "canary": None}}},
        {"metadata": {"annotations": {NGINX + "canary-weight-total": "10"}}},
        {"metadata": {"annotations": {NGINX + "canary-by-header": "x"}}},
    ],
)
def test_canary_ingress_edited_by_hand_is_put_right(change: dict[str, Any]) -> None:
    """Whatever a release has said on it, it says again."""
    world = released(world_of(routing(APP, APP)))
    before = world.store.get("Ingress", CANARY)
    world.store.patch("Ingress", CANARY, change)
    settle(world)

    after = world.store.get("Ingress", CANARY)
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    annotations = {**before["metadata"]["annotations"], names.CHANGED_AT: ""}
    assert {**after["metadata"]["annotations"], names.CHANGED_AT: ""} == annotations


def test_ingress_that_routes_by_default_backend_alone_is_refused_with_a_reason() -> None:
    """A canary Ingress cannot share a default backend: nothing is begun, and MESSAGE says what to do."""
    backend = {"service": {"name": APP, "port": {"number": 8080}}}
    world = world_of(routing(APP, APP))
    world.store.patch("Ingress", APP, {"spec": {"rules": None, "defaultBackend": backend}})
    released(world)

    assert world.status["message"] == messages.ingress_unrelated(APP, APP, by_default=True)
    assert "defaultBackend" in world.status["message"]
    assert world.canary_route is None


@pytest.mark.parametrize("kind", ["Ingress", "Service"])
def test_object_of_the_canarys_name_that_is_not_ours_is_not_touched(kind: str) -> None:
    """Nothing half done: no pin, no canary, a clear message; when it is gone, the release goes on."""
    world = world_of(routing(APP, APP))
    manifest = ingress() if kind == "Ingress" else service()
    world.store.create({**manifest, "metadata": {"name": CANARY}})
    before = world.store.get(kind, CANARY)
    released(world)

    assert world.store.get(kind, CANARY) == before
    assert world.status["message"] == messages.not_ours(kind, CANARY)
    assert [each["metadata"]["name"] for each in world.store.of_kind("Deployment")] == [APP]
    found = world.store.get("Service", APP)
    assert found is not None
    assert names.POD_TEMPLATE_HASH not in found["spec"]["selector"]
    world.store.delete(kind, CANARY)
    settle(world)
    assert world.release["currentStepState"] == "StepPaused"
    finish(world)
    assert world.leftovers() == []


def test_deployment_of_the_canarys_name_that_is_not_ours_is_not_touched() -> None:
    """Seen before the stable Service is pinned: nothing is half done, and the release goes on without it."""
    world = world_of(routing(APP, APP))
    world.apply_template("v2")
    assert world.workload is not None
    name = f"{APP}-{world.workload['metadata']['annotations'][names.RELEASE]}"
    other = deployment("v9", 1)
    labels = {"app": "other"}
    other["metadata"] = {"name": name}
    other["spec"] |= {"selector": {"matchLabels": labels}}
    other["spec"]["template"]["metadata"]["labels"] = labels
    before = world.store.create(other)
    settle(world)

    after, found = world.store.get("Deployment", name), world.store.get("Service", APP)
    assert after is not None
    assert found is not None
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert world.status["message"] == messages.not_ours("Deployment", name)
    assert names.POD_TEMPLATE_HASH not in found["spec"]["selector"]
    world.store.delete("Deployment", name)
    settle(world)
    assert world.release["currentStepState"] == "StepPaused"


def test_patched_label_by_which_the_deployment_selects_is_refused_with_a_reason() -> None:
    """The canary's pods would not be its own: the API server would refuse it for ever."""
    world = world_of(routing(APP, APP))
    patch = {"patchPodTemplateMetadata": {"labels": {"app": "other"}}}
    world.change_spec({"strategy": {"canary": patch}})
    released(world)

    assert world.status["message"] == messages.patch_unselected(APP)
    assert not world.store.get("Deployment", f"{APP}-{world.release_id}")


def test_canary_ingress_of_another_rollout_is_waited_for() -> None:
    """Two Rollouts behind one Ingress release one after the other, and the second says what it waits for."""
    world = world_of(routing(APP, APP))
    owner = {"kind": "Rollout", "name": "shop", "uid": "uid-1", "controller": True}
    world.store.create({**ingress(), "metadata": {"name": CANARY, "ownerReferences": [owner]}})
    released(world)

    assert (
        world.status["message"] == "Ingress web-canary belongs to Rollout shop: waits for its release to end"
    )


def test_service_that_takes_the_place_of_the_canarys_gets_no_requests() -> None:
    """Somebody replaces the canary Service by one of their own, with ready pods: the route falls silent."""
    world = released(world_of(routing(APP, APP)))
    world.store.delete("Service", CANARY)
    world.foreign.add(CANARY)
    world.store.create({**service(), "metadata": {"name": CANARY}})
    settle(world)

    assert weight_on(world, CANARY) == "0"
    assert world.status["message"] == messages.not_ours("Service", CANARY)
