"""How the reconciler finds what belongs together in its caches."""

import gc
import weakref
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from kube.cache import Cache
from kube.resources import HTTP_ROUTES, Resource
from kube.wire import JsonObject, Key
from reconciler.world import World
from rollout import names
from rollout.route_kinds import HTTP_ROUTE, RouteKind
from rollout.shared_routing import remembered

NAMESPACE = "shop"
ROLLOUT_UID = "uid-rollout"


def obj(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """Make an object as an API server would return it."""
    metadata = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{kind}-{name}", "resourceVersion": "1"}
    metadata |= more.pop("metadata", {})
    return {"kind": kind, "metadata": metadata, **more}


def rollout(**more: Any) -> dict[str, Any]:
    """Make a Rollout of the walkthrough."""
    canary = {"trafficRoutings": [{"service": "web", "ingress": {"name": "front"}}]}
    spec = {"workloadRef": {"name": "web"}, "strategy": {"canary": canary}}
    status = {"canaryStatus": {"canaryRevision": "digest-abcde"}}
    return obj("Rollout", "web", spec=spec, status=status, metadata={"uid": ROLLOUT_UID}, **more)


def deployment(name: str, selector: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Make a Deployment whose pods have two labels."""
    template = {"metadata": {"labels": {"app": "web", "tier": "front"}}}
    return obj("Deployment", name, spec={"selector": selector, "template": template}, **more)


def owned_by(kind: str, name: str, uid: str) -> dict[str, Any]:
    """Make metadata with a controlling owner."""
    return {"ownerReferences": [{"kind": kind, "name": name, "uid": uid, "controller": True}]}


def put(cache: Cache[JsonObject], value: Mapping[str, Any]) -> None:
    """Let a cache hear of an object."""
    cache.put(*cache.read(msgspec.json.encode(value)))


@pytest.fixture
def world() -> World:
    """Return a world with one release and, beside it, objects of others."""
    world = World()
    put(world.rollouts, rollout())
    put(world.deployments, deployment("web", {"matchLabels": {"app": "web", "tier": "front"}}))
    put(world.deployments, obj("Deployment", "web-abcde", metadata=owned_by("Rollout", "web", ROLLOUT_UID)))
    put(world.deployments, deployment("other", {"matchLabels": {"app": "other"}}))
    put(world.replica_sets, obj("ReplicaSet", "web-abcde-2"))
    put(world.replica_sets, obj("ReplicaSet", "web-zzzzz-2"))
    put(
        world.replica_sets,
        obj("ReplicaSet", "web-1", metadata=owned_by("Deployment", "web", "uid-Deployment-web")),
    )
    put(
        world.replica_sets,
        obj("ReplicaSet", "other-1", metadata=owned_by("Deployment", "other", "uid-other")),
    )
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    pods = owned_by("ReplicaSet", "web-1", "uid-ReplicaSet-web-1")
    put(world.pods, obj("Pod", "web-1-abcde", metadata=pods, status=waiting))
    put(world.pods, obj("Pod", "web-1-fghij", metadata=pods, status={}))
    for name in ("web", "web-canary", "other"):
        put(world.services, obj("Service", name))
    put(world.services, obj("Service", "once", metadata={"annotations": {"sluice.dev/pinned-by": "web"}}))
    for name in ("front", "front-canary", "other"):
        put(world.ingresses, obj("Ingress", name))
    for service in ("web", "web-canary", "other"):
        labels = {"kubernetes.io/service-name": service}
        put(world.endpoint_slices, obj("EndpointSlice", f"{service}-x", metadata={"labels": labels}))
    return world


def test_around_a_rollout_is_what_it_names_owns_or_pinned_and_nothing_else(world: World) -> None:
    """A snapshot gets every object that matters, and none of another release."""
    found = {(each["kind"], each["metadata"]["name"]) for each in world.around(rollout())}

    assert found == {
        ("Deployment", "web"),
        ("Deployment", "web-abcde"),
        ("ReplicaSet", "web-1"),
        ("ReplicaSet", "web-abcde-2"),
        ("Pod", "web-1-abcde"),
        ("Service", "web"),
        ("Service", "web-canary"),
        ("Service", "once"),
        ("Ingress", "front"),
        ("Ingress", "front-canary"),
        ("EndpointSlice", "web-x"),
        ("EndpointSlice", "web-canary-x"),
    }


def test_what_may_bear_the_marks_of_a_rollout_is_found_without_looking_at_all_others(world: World) -> None:
    """Its workload and what it pinned; also when the Rollout itself is gone."""
    found = world.bearers_of(Key(NAMESPACE, "web"), [Key(NAMESPACE, "web"), Key(NAMESPACE, "gone")])

    assert [each["metadata"]["name"] for each in found] == ["web", "once"]


def test_kind_that_is_closed_is_forgotten_whole(world: World) -> None:
    """Its cache with it, however often one comes and goes: who listens to all kinds holds none of them."""
    world.kinds.subscribe(lambda *_: None)
    cache = weakref.ref(world.kinds.open(HTTP_ROUTE, HTTP_ROUTES))

    world.kinds.close(HTTP_ROUTE)
    gc.collect()

    assert cache() is None


@pytest.mark.parametrize("kind", ["Deployment", "Service", "Ingress"])
def test_copy_in_another_namespace_is_not_around(world: World, kind: str) -> None:
    """A namespace restored under another name has our labels with the uid of a Rollout elsewhere."""
    metadata = {"namespace": "staging", "labels": {names.MADE_BY: ROLLOUT_UID}}
    copy = obj(kind, {"Deployment": "web-abcde", "Service": "web-canary"}.get(kind, "front-canary"))
    put(world.caches[kind], {**copy, "metadata": {**copy["metadata"], **metadata, "uid": "uid-copy"}})

    found = world.around(rollout())

    assert {each["metadata"]["namespace"] for each in found} == {NAMESPACE}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Deployment", "web"),
        ("Deployment", "web-abcde"),
        ("ReplicaSet", "web-1"),
        ("ReplicaSet", "web-abcde-2"),
        ("Pod", "web-1-abcde"),
        ("Service", "web"),
        ("Service", "web-canary"),
        ("Service", "once"),
        ("Ingress", "front"),
        ("Ingress", "front-canary"),
        ("EndpointSlice", "web-x"),
        ("EndpointSlice", "web-canary-x"),
        ("Rollout", "web"),
    ],
)
def test_a_change_of_any_object_around_wakes_the_rollout(world: World, kind: str, name: str) -> None:
    """Nothing that a plan looks at can change without a new plan."""
    value = world.caches[kind].get(NAMESPACE, name)

    assert value is not None
    assert set(world.rollouts_near(kind, value)) == {Key(NAMESPACE, "web")}


@pytest.fixture
def canary_pod(world: World) -> dict[str, Any]:
    """Add a ready pod of the canary, without labels of ours, to the world and return it."""
    revision = owned_by("Deployment", "web-abcde", "uid-Deployment-web-abcde")
    put(world.replica_sets, obj("ReplicaSet", "web-abcde-1", metadata=revision))
    owner = owned_by("ReplicaSet", "web-abcde-1", "uid-ReplicaSet-web-abcde-1")
    return ready_pod("web-abcde-1-klmno", owner)


def ready_pod(name: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Make a pod that is well."""
    return obj("Pod", name, metadata=metadata, status={"conditions": [{"type": "Ready", "status": "True"}]})


def test_every_pod_of_a_canary_is_around(world: World, canary_pod: dict[str, Any]) -> None:
    """A canary's pods are labelled, so they are looked at when they are well, too."""
    put(world.pods, canary_pod)

    pods = {each["metadata"]["name"] for each in world.around(rollout()) if each["kind"] == "Pod"}
    assert pods == {"web-1-abcde", "web-abcde-1-klmno"}


@pytest.mark.parametrize("labels", [{}, {names.ROLLOUT_BATCH_ID: "1"}])
def test_pod_of_a_canary_wakes_its_rollout_until_it_is_labelled(
    world: World, canary_pod: dict[str, Any], labels: dict[str, str]
) -> None:
    """Afterwards it is like any other pod: what it does is seen elsewhere."""
    canary_pod["metadata"]["labels"] = labels

    woken = set(world.rollouts_near("Pod", canary_pod))
    assert woken == (set() if labels else {Key(NAMESPACE, "web")})


def test_deployment_in_the_place_of_a_canary_wakes_the_rollout(world: World) -> None:
    """It is nobody's that we know, and its end lets the release go on."""
    foreign = obj("Deployment", "web-zzzzz")

    assert set(world.rollouts_near("Deployment", foreign)) == {Key(NAMESPACE, "web")}


def test_pod_of_the_stable_side_that_is_well_wakes_nobody(world: World) -> None:
    """Pods come and go by the thousand."""
    pod = ready_pod("web-1-fghij", owned_by("ReplicaSet", "web-1", "uid-ReplicaSet-web-1"))

    assert list(world.rollouts_near("Pod", pod)) == []


@pytest.mark.parametrize("kind", ["Deployment", "Service", "Ingress"])
def test_a_change_of_an_unrelated_object_wakes_nobody(world: World, kind: str) -> None:
    """A busy cluster costs nothing where no Rollout looks."""
    value = world.caches[kind].get(NAMESPACE, "other")

    assert value is not None
    assert list(world.rollouts_near(kind, value)) == []


@pytest.mark.parametrize(
    "spec",
    [None, 7, [], {}, {"workloadRef": "web"}, {"strategy": {"canary": {"trafficRoutings": {"service": 1}}}}],
)
def test_a_rollout_that_says_nothing_readable_is_still_cached(spec: object) -> None:
    """A malformed Rollout is no reason for a watch to fail."""
    world = World()

    put(world.rollouts, obj("Rollout", "odd", spec=spec))

    assert world.around(obj("Rollout", "odd", spec=spec)) == []


def test_route_of_a_kind_called_like_one_of_kubernetes_is_not_taken_for_it(world: World) -> None:
    """Two API groups may call different things a Service."""
    kind = RouteKind("serving.example.com/v1", "Service")
    cache = world.kinds.open(kind, Resource("serving.example.com", "v1", "services", "Service"))
    put(cache, obj("Service", "web", metadata={"uid": "theirs"}))
    ref = {"apiVersion": kind.api_version, "kind": kind.kind, "name": "web"}
    canary = {"trafficRoutings": [{"service": "web", "customNetworkRefs": [ref]}]}
    value = obj("Rollout", "web", spec={"strategy": {"canary": canary}}, metadata={"uid": ROLLOUT_UID})
    put(world.rollouts, value)

    around = world.around(value)
    routes = world.routes_around(value)

    assert "theirs" not in {each["metadata"]["uid"] for each in around}
    assert [each["metadata"]["uid"] for each in routes] == ["theirs"]
    assert list(world.rollouts_routed_by(routes[0])) == [Key(NAMESPACE, "web")]


def test_http_route_is_found_by_the_field_that_names_it(world: World) -> None:
    """A Rollout with a gateway asks for the one kind of the Gateway API."""
    cache = world.kinds.open(HTTP_ROUTE, HTTP_ROUTES)
    put(cache, obj("HTTPRoute", "front"))
    canary = {"trafficRoutings": [{"service": "web", "gateway": {"httpRouteName": "front"}}]}
    value = obj("Rollout", "web", spec={"strategy": {"canary": canary}}, metadata={"uid": ROLLOUT_UID})
    put(world.rollouts, value)

    assert world.kinds_asked_for == {HTTP_ROUTE: {NAMESPACE}}
    assert [each["metadata"]["name"] for each in world.routes_around(value)] == ["front"]


def test_object_that_bears_the_mark_is_found_though_it_is_not_named(world: World) -> None:
    """Whatever a Rollout changed it gives back, also after it was pointed elsewhere."""
    cache = world.kinds.open(HTTP_ROUTE, HTTP_ROUTES)
    put(cache, obj("HTTPRoute", "old", metadata={"annotations": {"sluice.dev/routed-by": "web"}}))
    put(cache, obj("HTTPRoute", "other", metadata={"annotations": {"sluice.dev/routed-by": "shop"}}))

    found = world.routes_around(rollout())

    assert [each["metadata"]["name"] for each in found] == ["old"]
    assert list(world.rollouts_routed_by(found[0])) == [Key(NAMESPACE, "web")]


@pytest.mark.parametrize(
    "refs",
    [
        None,
        7,
        [7],
        [{}],
        [{"apiVersion": "a/v1", "kind": "B"}],
        [{"apiVersion": 1, "kind": "B", "name": "c"}],
    ],
)
def test_reference_that_says_nothing_readable_asks_for_nothing(refs: object) -> None:
    """A malformed reference is said by the parser, and costs no watch."""
    world = World()
    canary = {"trafficRoutings": [{"customNetworkRefs": refs, "gateway": {"httpRouteName": ""}}]}

    put(world.rollouts, obj("Rollout", "odd", spec={"strategy": {"canary": canary}}))

    assert world.kinds_asked_for == {}


@pytest.mark.parametrize(
    "selector",
    [
        {"matchLabels": {"app": "web"}},
        {"matchLabels": {"tier": "front"}},
        {"matchLabels": {"app": "web", "tier": "front"}},
        {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
    ],
    ids=["one label", "another", "both", "expressions"],
)
def test_around_a_rollout_is_every_deployment_that_could_take_its_pods(
    world: World, selector: Mapping[str, Any]
) -> None:
    """A ReplicaSet that is left behind is adopted by whoever selects its labels."""
    put(world.deployments, deployment("rival", selector))

    assert "rival" in {each["metadata"]["name"] for each in world.around(rollout())}


def test_routes_come_in_the_order_in_which_they_are_named(world: World) -> None:
    """They are given back the other way round; a mark on one changes nothing of that."""
    kind = RouteKind("mesh.example.com/v1", "Lane")
    cache = world.kinds.open(kind, Resource("mesh.example.com", "v1", "lanes", "Lane"))
    mark = {"annotations": {"sluice.dev/routed-by": "web"}}
    for name in ("a", "b", "c", "unnamed"):
        put(cache, obj("Lane", name, metadata=mark if name != "c" else {}))
    refs = [{"apiVersion": kind.api_version, "kind": kind.kind, "name": each} for each in "cba"]
    canary = {"trafficRoutings": [{"service": "web", "customNetworkRefs": refs}]}
    value = obj("Rollout", "web", spec={"strategy": {"canary": canary}}, metadata={"uid": ROLLOUT_UID})

    found = [each["metadata"]["name"] for each in world.routes_around(value)]

    assert found == ["c", "b", "a", "unnamed"]


def test_end_of_a_replica_set_wakes_whoever_waits_for_it(world: World) -> None:
    """Its canary Deployment may be gone from the cache before it."""
    left = obj("ReplicaSet", "web-zzzzz-2", metadata=owned_by("Deployment", "web-zzzzz", "uid-gone"))

    assert Key(NAMESPACE, "web") in set(world.rollouts_near("ReplicaSet", left))


# --- through a TrafficRouting ----------------------------------------------------------------------

LANE = RouteKind("mesh.example.com/v1", "Lane")


def traffic_routing(**metadata: Any) -> dict[str, Any]:
    """Make a TrafficRouting that leads to everything that the walkthrough's Rollout names, and to more."""
    lanes = [{"apiVersion": LANE.api_version, "kind": LANE.kind, "name": "fast"}]
    ref = {"service": "web", "ingress": {"name": "front"}, "customNetworkRefs": lanes}
    return obj("TrafficRouting", "shared", spec={"objectRef": [ref]}, metadata=metadata)


def referring(*, by: str = "field", note: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make a Rollout that routes by a TrafficRouting alone."""
    canary = {"trafficRoutingRef": "shared"} if by == "field" else {}
    annotations = {names.TRAFFIC_ROUTING: "shared"} if by == "annotation" else {}
    if note is not None:
        annotations[names.ENGAGED] = remembered("shared", note)
    metadata = {"uid": ROLLOUT_UID, "annotations": annotations, "resourceVersion": "2"}
    spec = {"workloadRef": {"name": "web"}, "strategy": {"canary": canary}}
    return obj("Rollout", "web", spec=spec, metadata=metadata)


def shared_world(world: World, value: Mapping[str, Any], routing: Mapping[str, Any] | None) -> World:
    """Let a world hear of a Rollout and its TrafficRouting, and of a Lane."""
    put(world.rollouts, value)
    if routing is not None:
        put(world.traffic_routings, routing)
    cache = world.kinds.open(LANE, Resource("mesh.example.com", "v1", "lanes", "Lane"))
    put(cache, obj("Lane", "fast"))
    return world


@pytest.mark.parametrize(
    ("value", "routing"),
    [
        (referring(), traffic_routing()),
        (referring(by="annotation"), traffic_routing()),
        (referring(note=traffic_routing()["spec"]), None),
        (referring(by="", note=traffic_routing()["spec"]), None),
    ],
    ids=["by field", "by annotation", "gone, noted", "noted alone"],
)
def test_objects_of_a_traffic_routing_are_around_the_rollouts_that_go_through_it(
    world: World, value: dict[str, Any], routing: dict[str, Any] | None
) -> None:
    """Found for a snapshot, and their changes wake the Rollout; also when the object itself is gone."""
    shared_world(world, value, routing)
    found = {(each["kind"], each["metadata"]["name"]) for each in world.around(value)}
    near = {
        kind: Key(NAMESPACE, "web") in set(world.rollouts_near(kind, obj(kind, name)))
        for kind, name in (("Service", "web-canary"), ("Ingress", "front"), ("TrafficRouting", "shared"))
    }
    slices = {"labels": {"kubernetes.io/service-name": "web"}}

    assert {("Service", "web"), ("Service", "web-canary"), ("Ingress", "front-canary")} <= found
    assert (("TrafficRouting", "shared") in found) == (routing is not None)
    assert all(near.values())
    assert list(world.rollouts_near("EndpointSlice", obj("EndpointSlice", "x", metadata=slices)))
    assert [each["metadata"]["name"] for each in world.routes_around(value)] == ["fast"]
    lane = obj("Lane", "fast", apiVersion=LANE.api_version)
    assert list(world.rollouts_routed_by(lane)) == [Key(NAMESPACE, "web")]
    assert world.kinds_asked_for == {LANE: {NAMESPACE}}


def test_kind_that_only_an_unused_traffic_routing_names_is_not_asked_for(world: World) -> None:
    """A watch of what no release can need."""
    put(world.traffic_routings, traffic_routing())

    assert world.kinds_asked_for == {}


def test_held_traffic_routing_is_found_though_it_is_not_named(world: World) -> None:
    """Whatever a Rollout holds it lets go of, also after it was pointed elsewhere."""
    held = traffic_routing(finalizers=[f"{names.USED_BY}web", f"{names.USED_BY}other"])
    put(world.traffic_routings, held)
    found = [each["metadata"]["name"] for each in world.around(rollout()) if each["kind"] == "TrafficRouting"]

    assert found == ["shared"]
    assert set(world.rollouts_near("TrafficRouting", held)) == {
        Key(NAMESPACE, "web"),
        Key(NAMESPACE, "other"),
    }
    assert [each["metadata"]["name"] for each in world.held_by(Key(NAMESPACE, "other"))] == ["shared"]
