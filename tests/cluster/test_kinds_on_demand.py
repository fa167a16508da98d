"""Kinds that a cluster may not have, against the real API server: watched while a Rollout asks for them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest_asyncio

from kube.client import Client
from kube.login import Login, log_in
from kube.service_account import act_as
from kube.wire import Key
from reconciler.demand import Demand
from reconciler.world import World
from rollout import names
from rollout.route_kinds import RouteKind
from runtime.logs import Log
from sandbox.cluster import Cluster
from tests.cluster import custom_kinds

# Discovery is repeated after 0.5, 1, 2, ... seconds; this only ends a test that would hang.
PATIENCE = 30.0
GROUP = "mesh.example.com"
LANE = RouteKind(f"{GROUP}/v1", "Lane")
LANES = custom_kinds.definition(GROUP, "Lane", "lanes", "v1")


@dataclass
class Demanded:
    """A world whose optional kinds are looked for under some identity."""

    world: World
    requests: list[tuple[str, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: int = 1_000_000

    def put(self, namespace: str, name: str, *lanes: str, api_version: str = LANE.api_version) -> None:
        """Let the world hear of a Rollout that refers to these objects."""
        refs = [{"apiVersion": api_version, "kind": "Lane", "name": each} for each in lanes]
        canary = {"trafficRoutings": [{"service": name, "customNetworkRefs": refs}]}
        self.numbers += 1
        metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": str(self.numbers)}
        value = {"metadata": metadata, "spec": {"strategy": {"canary": canary}}}
        cache = self.world.rollouts
        cache.put(*cache.read(msgspec.json.encode(value)))

    def forget(self, namespace: str, name: str) -> None:
        """Let the world hear that a Rollout is gone."""
        cache = self.world.rollouts
        value = cache.get(namespace, name)
        cache.remove(*cache.read(msgspec.json.encode(value)))

    def lanes(self, namespace: str, name: str) -> list[str]:
        """Name what is found around a Rollout."""
        rollout = self.world.rollouts.get(namespace, name)
        assert rollout is not None
        return [each["metadata"]["name"] for each in self.world.routes_around(rollout)]

    def why(self, kind: RouteKind = LANE) -> str | None:
        """Say why a kind is not seen."""
        unseen = self.world.kinds.unseen(kind)
        return unseen and unseen.why

    def observe(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """Write a request down."""
        del code, seconds
        self.requests.append((verb, resource))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on what is seen holds, looking after each change."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def demanding(login: Login) -> AsyncIterator[tuple[Demanded, Demand]]:
    """Look for what is asked for, for the time of the block."""
    world = World()
    world.rollouts.replace({}, "1")
    demanded = Demanded(world)
    world.subscribe(lambda _: demanded.news.set())
    async with Client(login, user_agent="test", observer=demanded.observe) as client:
        demand = Demand(client, world, Log("test"))
        world.kinds.subscribe(lambda *_: demanded.news.set(), lambda _: demanded.news.set())
        task = asyncio.create_task(demand.run())
        try:
            yield demanded, demand
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()


@pytest_asyncio.fixture(loop_scope="session")
async def login(cluster: Cluster) -> Login:
    """Log in as the cluster's administrator."""
    return await log_in(environ={}, kubeconfig=str(cluster.kubeconfig))


async def create_lane(cluster: Cluster, namespace: str, name: str, *, marked_by: str | None = None) -> None:
    """Create an object of the kind."""
    annotations = {names.ROUTED_BY: marked_by} if marked_by else {}
    metadata = {"name": name, "annotations": annotations}
    manifest = {"apiVersion": LANE.api_version, "kind": "Lane", "metadata": metadata, "spec": {"to": "v1"}}
    await cluster.create(f"{GROUP}/v1/lanes", namespace, manifest)


async def test_nothing_is_asked_of_the_api_server_where_no_rollout_refers_to_such_a_kind(
    cluster: Cluster, login: Login
) -> None:
    """A cluster without customNetworkRefs costs neither a watch nor a discovery."""
    async with custom_kinds.installed(cluster, LANES), demanding(login) as (demanded, demand):
        await demand.settle(PATIENCE)

        assert demanded.requests == []


async def test_kind_is_seen_while_a_rollout_refers_to_it(
    cluster: Cluster, namespace: str, login: Login
) -> None:
    """Objects, and their changes, reach the Rollout that names them; once nobody does, the watch ends."""
    async with custom_kinds.installed(cluster, LANES), demanding(login) as (demanded, demand):
        await create_lane(cluster, namespace, "fast")
        demanded.put(namespace, "web", "fast", "slow")
        await demand.settle(PATIENCE)
        found = demanded.lanes(namespace, "web")
        woken: list[Key] = []
        demanded.world.subscribe(woken.extend)
        await create_lane(cluster, namespace, "slow")
        await create_lane(cluster, namespace, "other")
        await demanded.until(lambda: demanded.world.kinds.get(LANE, namespace, "other") is not None)
        both = demanded.lanes(namespace, "web")
        demanded.forget(namespace, "web")
        await demanded.until(lambda: LANE not in demanded.world.kinds.caches)

        assert found == ["fast"]
        assert sorted(both) == ["fast", "slow"]
        assert set(woken) == {Key(namespace, "web")}


async def test_missing_kind_is_said_and_found_when_it_is_installed_and_said_again_when_it_goes(
    cluster: Cluster, namespace: str, login: Login
) -> None:
    """A CRD may come after its Rollout, and go before it."""
    async with demanding(login) as (demanded, demand):
        demanded.put(namespace, "web", "fast")
        await demand.settle(PATIENCE)
        missing = demanded.world.kinds.unseen(LANE)
        async with custom_kinds.installed(cluster, LANES):
            await create_lane(cluster, namespace, "fast")
            await demanded.until(lambda: demanded.lanes(namespace, "web") == ["fast"])
            seen = demanded.world.kinds.unseen(LANE)
        await demanded.until(lambda: demanded.why() is not None)
        gone = demanded.world.kinds.unseen(LANE)

        assert missing is not None
        assert missing == gone
        assert missing.absent
        assert seen is None
        assert missing.why == (
            "Lane (mesh.example.com/v1) is not known to the API server: install its CRD, or correct "
            "trafficRoutings[]"
        )


async def test_kind_that_is_served_at_another_version_is_said_to_be(
    cluster: Cluster, namespace: str, login: Login
) -> None:
    """A version that does not exist is no proof that there are no objects."""
    other = RouteKind(f"{GROUP}/v2", "Lane")
    async with custom_kinds.installed(cluster, LANES), demanding(login) as (demanded, demand):
        demanded.put(namespace, "web", "fast", api_version=other.api_version)
        await demand.settle(PATIENCE)
        unseen = demanded.world.kinds.unseen(other)

        assert unseen is not None
        assert not unseen.absent
        assert unseen.why == (
            "Lane (mesh.example.com/v2) is served at v1 only: name that version in trafficRoutings[]"
        )


async def test_kind_of_the_whole_cluster_is_refused(cluster: Cluster, namespace: str, login: Login) -> None:
    """A Rollout changes what is in its own namespace."""
    wide = custom_kinds.definition(GROUP, "Lane", "lanes", "v1", scope="Cluster")
    async with custom_kinds.installed(cluster, wide), demanding(login) as (demanded, demand):
        demanded.put(namespace, "web", "fast")
        await demand.settle(PATIENCE)

        assert "is cluster-scoped" in str(demanded.why())


async def test_kind_that_may_not_be_read_is_said_and_seen_when_the_right_is_given(
    cluster: Cluster, namespace: str, login: Login
) -> None:
    """The message names what to add to the chart's values."""
    account = await act_as(login, namespace, "default")
    role = f"lanes-of-{namespace}"
    async with custom_kinds.installed(cluster, LANES), demanding(account) as (demanded, demand):
        demanded.put(namespace, "web", "fast")
        await demand.settle(PATIENCE)
        forbidden = demanded.world.kinds.unseen(LANE)
        await cluster.kubectl(
            "create", "clusterrole", role, "--verb=get,list,watch", f"--resource=lanes.{GROUP}"
        )
        await cluster.kubectl(
            "create",
            "clusterrolebinding",
            role,
            f"--clusterrole={role}",
            f"--serviceaccount={namespace}:default",
        )
        await demanded.until(lambda: demanded.why() is None)
        await cluster.kubectl("delete", "clusterrole,clusterrolebinding", role)

        assert forbidden is not None
        assert not forbidden.absent
        assert forbidden.why == (
            "Lane (mesh.example.com/v1) may not be listed and watched: add apiGroups [mesh.example.com], "
            "resources [lanes] to the chart's customNetworkResources"
        )


async def test_kind_stays_watched_while_an_object_bears_a_mark(
    cluster: Cluster, namespace: str, login: Login
) -> None:
    """A Rollout that no longer names what it changed still finds it, to give it back."""
    async with custom_kinds.installed(cluster, LANES), demanding(login) as (demanded, demand):
        await create_lane(cluster, namespace, "fast", marked_by="web")
        demanded.put(namespace, "web", "fast")
        await demand.settle(PATIENCE)
        demanded.put(namespace, "web")
        await demanded.until(lambda: not demanded.world.kinds_asked_for)
        marked = demanded.lanes(namespace, "web")
        unmark = {"metadata": {"annotations": {names.ROUTED_BY: None}}}
        await cluster.patch(f"{GROUP}/v1/lanes", namespace, "fast", unmark)
        await demanded.until(lambda: LANE not in demanded.world.kinds.caches)

        assert marked == ["fast"]
