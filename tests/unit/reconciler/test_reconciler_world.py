"""How the reconciler finds what belongs together in its caches."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from kube.cache import Cache
from kube.wire import JsonObject, Key
from reconciler.world import World

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
    return obj("Rollout", "web", spec=spec, metadata={"uid": ROLLOUT_UID}, **more)


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
    put(world.deployments, obj("Deployment", "web"))
    put(world.deployments, obj("Deployment", "web-abcde", metadata=owned_by("Rollout", "web", ROLLOUT_UID)))
    put(world.deployments, obj("Deployment", "other"))
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
        ("Pod", "web-1-abcde"),
        ("Service", "web"),
        ("Service", "web-canary"),
        ("Service", "once"),
        ("Ingress", "front"),
        ("Ingress", "front-canary"),
        ("EndpointSlice", "web-x"),
        ("EndpointSlice", "web-canary-x"),
    }


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Deployment", "web"),
        ("Deployment", "web-abcde"),
        ("ReplicaSet", "web-1"),
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
