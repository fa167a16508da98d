"""What a cache knows after what it was told."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.cache import Cache, Entry
from kube.resources import PODS
from kube.wire import JsonObject, Key

Pods = Cache[JsonObject]
Change = tuple[Key, str | None, str | None]


def pod(name: str, version: int, uid: str = "", **labels: str) -> bytes:
    """Write a pod as a watch does."""
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "labels": labels,
        "managedFields": [{"manager": "kubectl"}],
    }
    return json.dumps({"metadata": metadata}).encode()


def app(found: JsonObject) -> list[str]:
    """Index by the app label."""
    labels: dict[str, str] = found["metadata"]["labels"]
    return [labels["app"]] if "app" in labels else []


def key(name: str) -> Key:
    """Name a pod of the tests' namespace."""
    return Key("shop", name)


@pytest.fixture
def pods() -> Pods:
    """Give an empty cache with one index."""
    return Cache(PODS, indexers={"app": app})


def replace(cache: Pods, version: int, *objects: bytes) -> None:
    """Feed a list."""
    cache.replace(dict(cache.read(raw) for raw in objects), str(version))


def listen(cache: Pods) -> list[Change]:
    """Write down the changes that a listener hears of, by version."""
    heard: list[Change] = []

    def version(found: JsonObject | None) -> str | None:
        return None if found is None else found["metadata"]["resourceVersion"]

    cache.subscribe(lambda key, old, new: heard.append((key, version(old), version(new))))
    return heard


def test_object_is_found_by_key_and_index(pods: Pods) -> None:
    """Both ways give the same object."""
    pods.put(*pods.read(pod("a", 1, app="web")))

    assert pods.get("shop", "a") is pods.by_index("app", "web")[0]
    assert key("a") in pods
    assert pods.version(key("a")) == "1"


def test_object_is_kept_whole_but_for_managed_fields(pods: Pods) -> None:
    """Ownership book-keeping is dropped; apiVersion and kind are there though lists leave them out."""
    pods.put(*pods.read(pod("a", 1)))

    found = pods.get("shop", "a")
    assert found is not None
    assert "managedFields" not in found["metadata"]
    assert (found["apiVersion"], found["kind"]) == ("v1", "Pod")


def test_index_follows_a_change_and_a_deletion(pods: Pods) -> None:
    """An object is filed under what it says now."""
    pods.put(*pods.read(pod("a", 1, app="web")))
    pods.put(*pods.read(pod("a", 2, app="api")))
    assert pods.by_index("app", "web") == []
    assert len(pods.by_index("app", "api")) == 1

    pods.remove(*pods.read(pod("a", 3, app="api")))
    assert pods.by_index("app", "api") == []
    assert pods.get("shop", "a") is None
    assert pods._indexes == {"app": {}}  # noqa: SLF001  a leak shows nowhere else


def test_list_deletes_what_it_lacks(pods: Pods) -> None:
    """What went away while nobody watched is gone, and listeners hear of it."""
    replace(pods, 5, pod("a", 1), pod("b", 2))
    heard = listen(pods)
    replace(pods, 9, pod("b", 7))

    assert heard == [(key("a"), "1", None), (key("b"), "2", "7")]
    assert len(pods) == 1


def test_list_of_what_is_known_already_is_silent(pods: Pods) -> None:
    """A relist does not make everybody work again."""
    replace(pods, 5, pod("a", 1))
    before = pods.get("shop", "a")
    heard = listen(pods)
    replace(pods, 9, pod("a", 1))

    assert heard == []
    assert before is not None
    assert pods.position == 9


def test_hidden_deletion_is_told(pods: Pods) -> None:
    """Deleted and created anew between two lists, an object is another one: uid decides."""
    replace(pods, 5, pod("a", 1, uid="first"))
    heard = listen(pods)
    replace(pods, 9, pod("a", 8, uid="second"))

    assert heard == [(key("a"), "1", None), (key("a"), None, "8")]


def test_listener_sees_the_cache_after_the_change(pods: Pods) -> None:
    """Also during a list, a listener never looks at a half-replaced cache."""
    replace(pods, 5, pod("a", 1, app="web"))
    seen: list[tuple[int, int]] = []
    pods.subscribe(lambda *_: seen.append((len(pods), len(pods.by_index("app", "web")))))
    replace(pods, 9, pod("b", 6, app="web"), pod("c", 7, app="web"))

    assert seen == [(2, 2)] * 3


def test_listener_that_raises_keeps_nobody_else_from_hearing(pods: Pods) -> None:
    """Nor the cache from what comes next: a change that was not told would never be told again."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    pods.subscribe(broken)
    heard = listen(pods)
    pods.put(*pods.read(pod("a", 1)))
    replace(pods, 5, pod("b", 2))

    assert heard == [(key("a"), None, "1"), (key("a"), "1", None), (key("b"), None, "2")]


def test_deletion_of_what_was_never_known_is_silent(pods: Pods) -> None:
    """Listeners hear of changes only; the position moves all the same."""
    heard = listen(pods)
    pods.remove(*pods.read(pod("a", 3)))

    assert heard == []
    assert pods.position == 3


def test_ended_subscription_is_silent(pods: Pods) -> None:
    """A listener that left hears nothing."""
    heard: list[Key] = []
    end = pods.subscribe(lambda key, *_: heard.append(key))
    end()
    pods.put(*pods.read(pod("a", 1)))

    assert heard == []


def test_indexer_that_raises_changes_nothing() -> None:
    """A bug in an indexer is loud, and leaves the cache as it was."""

    def broken(found: JsonObject) -> list[str]:
        return [found["metadata"]["labels"]["app"]]

    cache = Cache(PODS, indexers={"whole": lambda _: ["x"], "app": broken})
    with pytest.raises(KeyError):
        cache.put(*cache.read(pod("a", 1)))

    assert len(cache) == 0
    assert cache.by_index("whole", "x") == []
    assert cache.position == 0


def test_own_write_is_seen_by_version_only_when_synced(pods: Pods) -> None:
    """Versions compare as numbers: "9" is older than "10"."""
    assert not pods.has_seen("0")
    replace(pods, 9)

    assert pods.has_seen("9")
    assert not pods.has_seen("10")
    pods.advance("10")
    assert pods.has_seen("10")


async def test_write_is_waited_for(pods: Pods) -> None:
    """The event of our own write ends the wait, whatever object it was."""
    replace(pods, 1)
    waiting = asyncio.create_task(pods.seen("4", 5))
    await asyncio.sleep(0)
    pods.put(*pods.read(pod("a", 3)))
    await asyncio.sleep(0)
    assert not waiting.done()
    pods.remove(*pods.read(pod("a", 4)))

    await waiting


async def test_deletion_is_waited_for_by_uid(pods: Pods) -> None:
    """A namesake created since is not the object that we deleted."""
    replace(pods, 1, pod("a", 1, uid="first"))
    waiting = asyncio.create_task(pods.gone(key("a"), "first", 5))
    await asyncio.sleep(0)
    assert not waiting.done()
    replace(pods, 9, pod("a", 8, uid="second"))

    await waiting


async def test_wait_has_an_end(pods: Pods) -> None:
    """A write that never shows up is the caller's to judge; nothing is left waiting."""
    replace(pods, 1)
    with pytest.raises(TimeoutError):
        await pods.seen("2", 0.01)

    assert pods._waiting == []  # noqa: SLF001  a leak shows nowhere else


async def test_sync_is_waited_for(pods: Pods) -> None:
    """An empty list is a complete one."""
    waiting = asyncio.create_task(pods.wait_synced(5))
    await asyncio.sleep(0)
    assert not pods.synced
    replace(pods, 1)

    await waiting
    assert pods.synced


def test_projection_decides_what_is_kept() -> None:
    """Memory is the caller's choice."""
    cache = Cache(PODS, decode=len)
    raw = pod("a", 1)
    cache.put(*cache.read(raw))

    assert cache.get("shop", "a") == len(raw)


names = st.sampled_from("abcd")
labels = st.sampled_from(["", "web", "api"])
histories = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "recreate", "relist", "bookmark"]), names, labels),
    max_size=30,
)


@given(histories)
def test_cache_is_the_cluster_however_it_was_told(history: list[tuple[str, str, str]]) -> None:
    """After any events and lists: same objects, right indexes, and listeners could rebuild it all."""
    cache: Pods = Cache(PODS, indexers={"app": app})
    world: dict[Key, bytes] = {}
    mirror: dict[Key, Any] = {}

    def reflect(key: Key, old: JsonObject | None, new: JsonObject | None) -> None:
        assert mirror.pop(key, None) == old
        if new is not None:
            mirror[key] = new

    cache.subscribe(reflect)
    cache.replace({}, "0")
    for version, (action, name, label) in enumerate(history, start=1):
        made = {"app": label} if label else {}
        known = json.loads(world[key(name)])["metadata"]["uid"] if key(name) in world else f"{version}"
        match action:
            case "put":
                world[key(name)] = pod(name, version, known, **made)
                cache.put(*cache.read(world[key(name)]))
            case "delete":
                world.pop(key(name), None)
                cache.remove(*cache.read(pod(name, version)))
            case "recreate":
                world[key(name)] = pod(name, version, f"{version}", **made)  # unseen until the next list
                cache.replace(entries(cache, world), str(version))
            case "relist":
                world.pop(key(name), None)
                cache.replace(entries(cache, world), str(version))
            case _:
                cache.advance(str(version))

    expected = {found: entry.value for found, entry in entries(cache, world).items()}
    assert {found: cache.get(*found) for found in cache.keys()} == expected  # noqa: SIM118  a view, not a dict
    assert mirror == expected
    assert cache.position == len(history)
    for label in ("web", "api"):
        filed = [value for value in expected.values() if app(value) == [label]]
        assert sorted(map(str, cache.by_index("app", label))) == sorted(map(str, filed))


def entries(cache: Pods, world: dict[Key, bytes]) -> dict[Key, Entry[JsonObject]]:
    """Read everything, as a list does."""
    return dict(cache.read(raw) for raw in world.values())
