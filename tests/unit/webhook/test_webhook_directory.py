"""The directory answers from caches who governs a Deployment and who routes through a Service."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from kube.cache import Cache
from kube.client import Listing
from kube.resources import ROLLOUTS, Resource
from webhook.directory import CachedDirectory, rollout_cache, traffic_routing_cache

Json = dict[str, Any]


def rollout(name: str, deployment: str = "web", annotations: Json | None = None, **canary: Any) -> Json:
    """Build a v1beta1 Rollout."""
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": name,
            "resourceVersion": "1",
            "annotations": annotations or {},
        },
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
            "strategy": {"canary": canary},
        },
    }


def put(cache: Cache[Json], *objects: Json) -> None:
    """Feed objects as a watch would."""
    for each in objects:
        cache.put(*cache.read(json.dumps(each).encode()))


@dataclass
class Server:
    """An API server with these objects."""

    objects: list[Json] = field(default_factory=list)

    async def list(self, resource: Resource, *, namespace: str | None = None) -> Listing:
        """List what is there."""
        assert resource == ROLLOUTS
        return Listing([each for each in self.objects if each["metadata"]["namespace"] == namespace], "1")


@pytest.fixture
def client() -> Server:
    """Give an API server without objects."""
    return Server()


def test_governors_are_found_by_namespace_and_deployment(client: Server) -> None:
    """And by nothing else."""
    rollouts = rollout_cache()
    directory = CachedDirectory(rollouts, traffic_routing_cache(), client)
    put(rollouts, rollout("a"), rollout("b"), rollout("c", deployment="other"))

    assert sorted(each.name for each in directory.governors("shop", "web")) == ["a", "b"]
    assert list(directory.governors("elsewhere", "web")) == []
    assert len(directory.rollouts("shop")) == 3
    assert list(directory.rollouts("elsewhere")) == []


def test_service_is_needed_by_who_routes_through_it(client: Server) -> None:
    """Named in the Rollout itself."""
    rollouts = rollout_cache()
    directory = CachedDirectory(rollouts, traffic_routing_cache(), client)
    put(rollouts, rollout("a", trafficRoutings=[{"service": "web"}]))

    assert directory.needs_pin("shop", "web", None)
    assert not directory.needs_pin("shop", "other", None)
    assert not directory.needs_pin("elsewhere", "web", None)


@pytest.mark.parametrize("ended", ["deleted", "disabled"])
@pytest.mark.parametrize("by", ["itself", "a TrafficRouting"])
def test_service_is_not_needed_by_who_begins_nothing_any_more(client: Server, ended: str, by: str) -> None:
    """A pin that it asks for now comes late."""
    rollouts, routings = rollout_cache(), traffic_routing_cache()
    directory = CachedDirectory(rollouts, routings, client)
    metadata = {"name": "routing", "namespace": "shop", "uid": "r", "resourceVersion": "1"}
    put(routings, {"metadata": metadata, "spec": {"objectRef": [{"service": "web"}]}})
    routed = {"trafficRoutings": [{"service": "web"}]} if by == "itself" else {"trafficRoutingRef": "routing"}
    found = rollout("a", **routed)
    if ended == "disabled":
        found["spec"]["disabled"] = True
    else:
        found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    put(rollouts, found)

    assert not directory.needs_pin("shop", "web", None)
    assert directory.needs_pin("shop", "web", "a")


@pytest.mark.parametrize(
    "reference",
    [
        rollout("a", annotations={"rollouts.kruise.io/trafficrouting": "routing"}),
        rollout("a", trafficRoutingRef="routing"),
    ],
    ids=["annotation", "field"],
)
def test_service_is_needed_through_a_traffic_routing(client: Server, reference: Json) -> None:
    """Only if a Rollout refers to it."""
    rollouts, routings = rollout_cache(), traffic_routing_cache()
    directory = CachedDirectory(rollouts, routings, client)
    metadata = {"name": "routing", "namespace": "shop", "uid": "r", "resourceVersion": "1"}
    put(routings, {"metadata": metadata, "spec": {"objectRef": [{"service": "web"}]}})

    assert not directory.needs_pin("shop", "web", None)
    put(rollouts, reference)
    assert directory.needs_pin("shop", "web", None)
    assert list(directory.traffic_routings("shop")) == ["routing"]


def test_service_is_needed_by_who_pinned_it(client: Server) -> None:
    """Also when that Rollout does not name it any more: it has to take the pin away."""
    rollouts = rollout_cache()
    directory = CachedDirectory(rollouts, traffic_routing_cache(), client)
    put(rollouts, rollout("a"))

    assert directory.needs_pin("shop", "web", "a")
    assert not directory.needs_pin("shop", "web", "gone")


async def test_live_read_asks_for_the_namespace_and_keeps_who_refers(client: Server) -> None:
    """The same answer as from the cache, from the API server."""
    directory = CachedDirectory(rollout_cache(), traffic_routing_cache(), client)
    client.objects = [rollout("a"), rollout("b", deployment="other")]

    assert [each.name for each in await directory.read_governors("shop", "web")] == ["a"]
    assert list(await directory.read_governors("elsewhere", "web")) == []
