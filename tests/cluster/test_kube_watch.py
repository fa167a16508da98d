"""A cache against the real API server, with everything in between that can go wrong."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from kube import watch as watching
from kube.cache import Cache
from kube.client import Client, Selector
from kube.errors import KubeError, NotFound
from kube.login import Login, log_in
from kube.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, Resource
from kube.watch import Ended, Surroundings, Watch
from kube.wire import JsonObject, Key
from sandbox.cluster import Cluster
from tests.cluster.faults import Fault, everything, faulty, further_pages, lists, watches

# A cluster on a busy machine answers within seconds; this only ends a test that would hang.
PATIENCE = 30.0
# Short, so that a silent connection is noticed within a test.
SILENCE = 0.5
OURS = Selector(labels="test=kube")


@pytest_asyncio.fixture(loop_scope="session")
async def login(cluster: Cluster) -> Login:
    """Log in as the cluster's administrator."""
    return await log_in(environ={}, kubeconfig=str(cluster.kubeconfig))


@pytest_asyncio.fixture(loop_scope="session")
async def writer(login: Login) -> AsyncIterator[Client]:
    """Write to the cluster, undisturbed."""
    async with Client(login, user_agent="test") as client:
        yield client


async def hurried(seconds: float) -> None:
    """Sleep a hundredth of what is asked for: pauses are tested elsewhere."""
    await asyncio.sleep(seconds / 100)


@dataclass
class Followed:
    """A cache that is being fed, a mirror built only from what its listener heard, and how attempts ended."""

    cache: Cache[JsonObject]
    mirror: dict[Key, JsonObject] = field(default_factory=dict)
    ends: list[Ended] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def observe(self, resource: str, ended: Ended) -> None:
        """Write down how an attempt ended."""
        assert resource == self.cache.resource.plural
        self.ends.append(ended)
        self.news.set()

    def reflect(self, key: Key, old: JsonObject | None, new: JsonObject | None) -> None:
        """Apply one change; each must begin where the last one ended."""
        assert self.mirror.pop(key, None) == old
        if new is not None:
            self.mirror[key] = new

    async def ended(self, how: Ended) -> None:
        """Wait until an attempt ended like this."""
        async with asyncio.timeout(PATIENCE):
            while how not in self.ends:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def following(
    login: Login,
    namespace: str | None,
    *,
    resource: Resource = CONFIG_MAPS,
    selector: Selector = OURS,
    optional: bool = False,
    silence: float = SILENCE,
) -> AsyncIterator[Followed]:
    """Feed a cache for the time of the block."""
    followed = Followed(Cache(resource))
    followed.cache.subscribe(followed.reflect)
    surroundings = Surroundings(sleep=hurried, silence_seconds=silence, observer=followed.observe)
    async with Client(login, user_agent="test") as client:
        watch = Watch(
            client,
            followed.cache,
            namespace=namespace,
            selector=selector,
            optional=optional,
            surroundings=surroundings,
        )
        task = asyncio.create_task(watch.run())
        try:
            yield followed
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()


async def write(client: Client, namespace: str, name: str, value: str) -> str:
    """Create or change a ConfigMap; gives the version of the write."""
    ref = CONFIG_MAPS.ref(namespace, name)
    body = {"metadata": {"name": name, "labels": {"test": "kube"}}, "data": {"value": value}}
    try:
        made = await client.patch(ref, body)
    except NotFound:
        made = await client.create(CONFIG_MAPS, body, namespace=namespace)
    return str(made["metadata"]["resourceVersion"])


async def agrees(followed: Followed, client: Client, namespace: str) -> None:
    """Compare cache and mirror with what the API server says now."""
    listing = await client.list(CONFIG_MAPS, namespace=namespace, selector=OURS)
    await followed.cache.until(lambda: followed.cache.position >= newest(listing.items), PATIENCE)
    expected = {name(item): item["data"] for item in listing.items}

    def agree() -> bool:
        return {name(item): item["data"] for item in followed.cache.items()} == expected

    await followed.cache.until(agree, PATIENCE)
    assert {name(item): item["data"] for item in followed.mirror.values()} == expected


def name(found: JsonObject) -> str:
    """Read an object's name."""
    return str(found["metadata"]["name"])


def newest(items: list[JsonObject]) -> int:
    """Give the newest version among objects."""
    return max((int(item["metadata"]["resourceVersion"]) for item in items), default=0)


async def test_cache_has_what_was_there_and_what_came(login: Login, writer: Client, namespace: str) -> None:
    """List, then watch."""
    await write(writer, namespace, "before", "1")
    async with following(login, namespace) as followed:
        await followed.cache.wait_synced(PATIENCE)
        assert len(followed.cache) == 1

        version = await write(writer, namespace, "after", "1")
        await followed.cache.seen(version, PATIENCE)
        assert Key(namespace, "after") in followed.cache


async def test_own_deletion_is_seen(login: Login, writer: Client, namespace: str) -> None:
    """By uid, whatever the API server answers to a delete."""
    await write(writer, namespace, "a", "1")
    async with following(login, namespace) as followed:
        await followed.cache.wait_synced(PATIENCE)
        key = Key(namespace, "a")
        uid = followed.cache.uid(key) or ""
        await writer.delete(CONFIG_MAPS.ref(namespace, "a"), uid=uid)
        await followed.cache.gone(key, uid, PATIENCE)

    assert followed.mirror == {}


async def test_object_that_leaves_the_selection_leaves_the_cache(
    login: Login, writer: Client, namespace: str
) -> None:
    """The write that takes it out is seen as its deletion, at that write's version."""
    await write(writer, namespace, "a", "1")
    async with following(login, namespace) as followed:
        await followed.cache.wait_synced(PATIENCE)
        changed = await writer.patch(
            CONFIG_MAPS.ref(namespace, "a"), {"metadata": {"labels": {"test": "other"}}}
        )
        await followed.cache.seen(changed["metadata"]["resourceVersion"], PATIENCE)

    assert len(followed.cache) == 0


async def test_write_that_changes_nothing_is_seen_at_once(
    login: Login, writer: Client, namespace: str
) -> None:
    """There is no event for it, and its version is one that we had."""
    await write(writer, namespace, "a", "1")
    async with following(login, namespace) as followed:
        await followed.cache.wait_synced(PATIENCE)
        version = await write(writer, namespace, "a", "1")

        assert followed.cache.has_seen(version)


async def test_closed_watch_is_resumed_without_a_list(login: Login, writer: Client, namespace: str) -> None:
    """API servers end watches all the time."""
    async with faulty(login) as server, following(server.login, namespace, silence=PATIENCE) as followed:
        server.add(Fault(watches, query={"timeoutSeconds": "1"}))
        await followed.ended("closed")
        await followed.cache.seen(await write(writer, namespace, "a", "1"), PATIENCE)

        assert server.count("limit=") == 1


async def test_watch_cut_in_the_middle_of_an_event_gets_it_again(
    login: Login, writer: Client, namespace: str
) -> None:
    """Half an event is none, and is not lost either."""
    async with faulty(login) as server:
        server.add(Fault(watches, stop_after=300))
        async with following(server.login, namespace, silence=PATIENCE) as followed:
            await followed.cache.wait_synced(PATIENCE)
            for turn in range(5):
                await write(writer, namespace, f"a-{turn}", "x" * 500)
            version = await write(writer, namespace, "last", "1")
            await followed.cache.seen(version, PATIENCE)
            await agrees(followed, writer, namespace)

        assert "failed" in followed.ends
        assert server.count("limit=") == 1


async def test_silent_watch_is_given_up(login: Login, writer: Client, namespace: str) -> None:
    """A connection that is open and dead is noticed, and a list fills in what it kept back."""
    async with faulty(login) as server:
        server.add(Fault(watches, stop_after=1, silently=True))
        async with following(server.login, namespace) as followed:
            await followed.cache.wait_synced(PATIENCE)
            version = await write(writer, namespace, "a", "1")
            await followed.cache.seen(version, PATIENCE)

        assert followed.ends[0] == "silent"


async def test_expired_event_in_the_stream_lists_again(login: Login, writer: Client, namespace: str) -> None:
    """The same news as an ERROR event, with the code that it comes with."""
    status = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"}
    line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
    async with faulty(login) as server:
        server.add(Fault(watches, before=line))
        async with following(server.login, namespace, silence=PATIENCE) as followed:
            await followed.ended("expired")
            await followed.cache.seen(await write(writer, namespace, "a", "1"), PATIENCE)


async def test_unreadable_event_is_got_round_by_listing(login: Login, writer: Client, namespace: str) -> None:
    """An event that is broken each time it comes does not stop the cache for ever."""
    async with faulty(login) as server:
        server.add(Fault(watches, before=b'{"type":"ADDED","object":{"metadata"\n', times=3))
        async with following(server.login, namespace, silence=PATIENCE) as followed:
            await followed.cache.wait_synced(PATIENCE)
            await followed.cache.seen(await write(writer, namespace, "a", "1"), PATIENCE)

        assert followed.ends == ["failed"] * 3
        assert server.count("limit=") == 2


async def test_list_whose_pages_expire_is_asked_for_whole(
    login: Login, writer: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large collections on slow connections outlive their own pages."""
    for turn in range(5):
        await write(writer, namespace, f"a-{turn}", "1")
    monkeypatch.setattr(watching, "PAGE_SIZE", 2)
    async with faulty(login) as server:
        server.add(Fault(further_pages, status=410, reason="Expired", times=10))
        async with following(server.login, namespace) as followed:
            await followed.cache.wait_synced(PATIENCE)
            await agrees(followed, writer, namespace)


async def test_server_that_is_away_is_waited_for(login: Login, writer: Client, namespace: str) -> None:
    """Throttled, failing, not there: the cache keeps what it has, and catches up without a list."""
    async with faulty(login) as server, following(server.login, namespace, silence=PATIENCE) as followed:
        await followed.cache.wait_synced(PATIENCE)
        server.down = True
        for status in (429, 500, 503, 504):
            server.add(Fault(watches, status=status))
        server.add(Fault(watches, query={"timeoutSeconds": "1"}))
        version = await write(writer, namespace, "a", "1")
        server.down = False
        await followed.cache.seen(version, PATIENCE)


async def test_kind_that_is_not_served_is_empty_when_optional(
    login: Login, writer: Client, namespace: str
) -> None:
    """Gateway API may be installed later, and taken away again."""
    kind = Resource(f"{namespace}.example.com", "v1", "things", "Thing")
    async with following(login, None, resource=kind, selector=Selector(), optional=True) as followed:
        await followed.cache.wait_synced(PATIENCE)
        assert len(followed.cache) == 0

        await writer.create(CUSTOM_RESOURCE_DEFINITIONS, definition(kind))
        made = await until_served(writer, kind, namespace)
        await followed.cache.seen(made["metadata"]["resourceVersion"], PATIENCE)
        assert len(followed.cache) == 1

        await writer.delete(CUSTOM_RESOURCE_DEFINITIONS.ref(None, f"{kind.plural}.{kind.group}"))
        await followed.cache.until(lambda: len(followed.cache) == 0, PATIENCE)


def definition(kind: Resource) -> JsonObject:
    """Write the smallest CustomResourceDefinition."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": kind.version, "served": True, "storage": True, "schema": schema}]
    names = {"plural": kind.plural, "kind": kind.kind}
    return {
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {"group": kind.group, "scope": "Namespaced", "names": names, "versions": versions},
    }


async def until_served(client: Client, kind: Resource, namespace: str) -> JsonObject:
    """Create an object as soon as its kind is served."""
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "a"}}
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await client.create(kind, body, namespace=namespace)
            except KubeError:
                await asyncio.sleep(0.05)  # a CRD has no event that says "served by this API server"


async def test_cache_follows_through_any_weather(login: Login, writer: Client, namespace: str) -> None:
    """Hundreds of writes under random faults: never a gap, never a change told twice, never one left out."""
    weather = random.Random(20261123)  # noqa: S311  a reproducible storm, no secret
    async with faulty(login) as server, following(server.login, namespace, silence=0.05) as followed:
        async with asyncio.timeout(120):
            for turn in range(500):
                if turn % 10 == 0:
                    server.add(storm(weather))
                    server.hang_up()
                target = f"a-{weather.randrange(20)}"
                if weather.random() < 0.3:
                    await remove(writer, namespace, target)
                else:
                    await write(writer, namespace, target, f"{turn}")
            server.faults.clear()
            await agrees(followed, writer, namespace)

    assert len(followed.ends) > 20


def storm(weather: random.Random) -> Fault:
    """Draw a fault."""
    return weather.choice(
        [
            Fault(watches, stop_after=weather.randrange(1, 3000)),
            Fault(watches, stop_after=weather.randrange(1, 3000), silently=True),
            Fault(watches, before=b"<html>\n"),
            Fault(lists, stop_after=weather.randrange(1, 3000)),
            Fault(everything, status=weather.choice([429, 500, 503]), times=2),
        ]
    )


async def remove(client: Client, namespace: str, target: str) -> None:
    """Delete a ConfigMap that may not be there."""
    with suppress(NotFound):
        await client.delete(CONFIG_MAPS.ref(namespace, target))


async def test_cache_outlives_the_api_server(
    cluster: Cluster, login: Login, writer: Client, namespace: str
) -> None:
    """Restarted under the watch; what was written before and after is all in."""
    await write(writer, namespace, "before", "1")
    async with following(login, namespace, silence=PATIENCE) as followed:
        await followed.cache.wait_synced(PATIENCE)
        await cluster.restart("kube-apiserver")
        await followed.cache.seen(await write(writer, namespace, "after", "1"), PATIENCE)
        await agrees(followed, writer, namespace)


async def test_expired_watch_lists_again(
    cluster: Cluster, login: Login, writer: Client, namespace: str
) -> None:
    """A fresh API server's own 410 to a version from long ago; what was deleted unseen is gone."""
    await write(writer, namespace, "kept", "1")
    await write(writer, namespace, "deleted", "1")
    await cluster.restart("kube-apiserver")
    async with faulty(login) as server:
        server.add(Fault(watches, query={"timeoutSeconds": "1"}))
        async with following(server.login, namespace, silence=PATIENCE) as followed:
            await followed.cache.wait_synced(PATIENCE)
            server.add(Fault(watches, query={"resourceVersion": "1"}))
            await followed.ended("expired")
            await writer.delete(CONFIG_MAPS.ref(namespace, "deleted"))
            await agrees(followed, writer, namespace)

    assert {key.name for key in followed.mirror} == {"kept"}
