"""What is known of one kind of object: the newest state that the API server told us.

Decides how objects are found (key, index), who hears of a change, and whether a write of our own is in it
yet. Fed by one `kube.watch.Watch`; refuses to know of requests. All on one event loop: every change is
complete before anybody can look, and callbacks run in the order of the changes.

Versions. The API server numbers the changes of one kind of object in one rising sequence (promised to clients
since Kubernetes 1.33), and a watch delivers them in that order. So the newest number heard, `position`, tells
for any write of that kind, deletions included, whether it is in the cache: no need to remember it by object.
A cache of a selection hears only of objects that are or were in it: outside, `position` moves on with the
bookmarks, about once a minute.

Objects are shared by all who look: never change one.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, overload

import msgspec

from kube.resources import Resource
from kube.wire import Envelope, JsonObject, Key, without_managed_fields

T = TypeVar("T")
log = logging.getLogger(__name__)

Indexer = Callable[[T], Iterable[str]]
"""Names the index values under which an object is found; pure, and total over whatever decodes."""

Listener = Callable[[Key, T | None, T | None], None]
"""Hears of a change: key, old, new. Must not raise; an exception is a bug, logged."""

_ENVELOPE = msgspec.json.Decoder(Envelope)


class Entry(NamedTuple, Generic[T]):
    """One object, with what tells it from its namesakes and its own other versions."""

    value: T
    uid: str
    version: int


class Cache(Generic[T]):
    """Objects of one kind, by key and by index."""

    @overload
    def __init__(
        self: "Cache[JsonObject]",
        resource: Resource,
        *,
        decode: None = None,
        indexers: Mapping[str, Indexer[JsonObject]] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        resource: Resource,
        *,
        decode: Callable[[bytes], T],
        indexers: Mapping[str, Indexer[T]] | None = None,
    ) -> None: ...
    def __init__(
        self,
        resource: Resource,
        *,
        decode: Callable[[bytes], Any] | None = None,
        indexers: Mapping[str, Indexer[Any]] | None = None,
    ) -> None:
        """Start empty and unsynced.

        `decode` keeps of an object's JSON what its users need, which decides the memory of a large cluster;
        by default that is the whole object but for `metadata.managedFields`.
        """
        self.resource = resource
        self._decode: Callable[[bytes], T] = decode or _whole(resource)
        self._indexers: dict[str, Indexer[T]] = dict(indexers or {})
        self._entries: dict[Key, Entry[T]] = {}
        self._indexes: dict[str, dict[str, dict[Key, None]]] = {name: {} for name in self._indexers}
        self._listeners: list[Listener[T]] = []
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._position = 0
        self._synced = False

    # Looking

    def get(self, namespace: str, name: str) -> T | None:
        """Find one object; `namespace` is empty for what is cluster-scoped."""
        entry = self._entries.get(Key(namespace, name))
        return None if entry is None else entry.value

    def keys(self) -> Iterable[Key]:
        """Give all keys, as a view: do not hold it across an await."""
        return self._entries.keys()

    def items(self) -> list[T]:
        """Give all objects."""
        return [entry.value for entry in self._entries.values()]

    def by_index(self, index: str, value: str) -> list[T]:
        """Give the objects that `index` files under `value`, in no promised order."""
        return [self._entries[key].value for key in self._indexes[index].get(value, ())]

    def index_values(self, index: str) -> Iterable[str]:
        """Give every value under which `index` files anything, as a view: do not hold it across an await."""
        return self._indexes[index].keys()

    def version(self, key: Key) -> str | None:
        """Give the resourceVersion of an object, for a guarded write."""
        entry = self._entries.get(key)
        return None if entry is None else str(entry.version)

    def uid(self, key: Key) -> str | None:
        """Give the uid of an object, for a guarded delete."""
        entry = self._entries.get(key)
        return None if entry is None else entry.uid

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    # Waiting

    @property
    def synced(self) -> bool:
        """Whether everything that existed at some moment since the start is in."""
        return self._synced

    @property
    def position(self) -> int:
        """The newest resourceVersion heard; 0 before the first list."""
        return self._position

    def has_seen(self, resource_version: str) -> bool:
        """Tell whether a write that was answered with this resourceVersion (of this kind) is in the cache."""
        return self._synced and self._position >= int(resource_version)

    def lacks(self, key: Key, uid: str) -> bool:
        """Tell whether the object of this uid is gone; a namesake created since does not count as it."""
        return self._synced and self.uid(key) != uid

    async def wait_synced(self, seconds: float) -> None:
        """Wait for the first complete list; raises TimeoutError."""
        await self.until(lambda: self._synced, seconds)

    async def seen(self, resource_version: str, seconds: float) -> None:
        """Wait for our own write; raises TimeoutError."""
        await self.until(lambda: self.has_seen(resource_version), seconds)

    async def gone(self, key: Key, uid: str, seconds: float) -> None:
        """Wait for a deletion; raises TimeoutError, for instance while a finalizer holds the object."""
        await self.until(lambda: self.lacks(key, uid), seconds)

    async def until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition on this cache holds, looking after each change; raises TimeoutError."""
        if condition():
            return
        waiter = (condition, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter[1]
        finally:
            self._waiting.remove(waiter)

    def subscribe(self, listener: Listener[T]) -> Callable[[], None]:
        """Have a listener called after each change; returns how to end it. What is in already is not told."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # Feeding: for the watch alone

    def read(self, raw: bytes | msgspec.Raw) -> tuple[Key, Entry[T]]:
        """Decode one object, changing nothing."""
        envelope = _ENVELOPE.decode(raw)
        metadata = envelope.metadata
        entry = Entry(self._decode(bytes(raw)), metadata.uid, int(metadata.resource_version))
        return metadata.key, entry

    def replace(self, entries: Mapping[Key, Entry[T]], resource_version: str) -> None:
        """Become exactly what a list showed; what is not in it was deleted while nobody looked."""
        changes: list[tuple[Key, Entry[T] | None, Entry[T] | None]]
        changes = [(key, old, None) for key, old in self._entries.items() if key not in entries]
        changes += [
            (key, old, new)
            for key, new in entries.items()
            if (old := self._entries.get(key)) is None or (old.uid, old.version) != (new.uid, new.version)
        ]
        for key, old, new in changes:
            self._store(key, old, new)
        self._synced = True
        self._position = int(resource_version)
        for change in changes:
            self._tell(*change)
        self._wake()

    def put(self, key: Key, entry: Entry[T]) -> None:
        """Take in an object that was added or modified."""
        old = self._entries.get(key)
        self._store(key, old, entry)
        self._position = entry.version
        self._tell(key, old, entry)
        self._wake()

    def remove(self, key: Key, entry: Entry[T]) -> None:
        """Drop an object; `entry` is its last state, whose version is that of the deletion."""
        old = self._entries.get(key)
        self._store(key, old, None)
        self._position = entry.version
        self._tell(key, old, None)
        self._wake()

    def advance(self, resource_version: str) -> None:
        """Take note that nothing happened up to a bookmark's version but what was told."""
        self._position = int(resource_version)
        self._wake()

    def _store(self, key: Key, old: Entry[T] | None, new: Entry[T] | None) -> None:
        """Change entries and indexes together; an indexer that raises has changed nothing."""
        moves = [
            (self._indexes[name], _filed(indexer, old), _filed(indexer, new))
            for name, indexer in self._indexers.items()
        ]
        for index, before, after in moves:
            for value in before - after:
                del index[value][key]
                if not index[value]:
                    del index[value]
            for value in after - before:
                index.setdefault(value, {})[key] = None
        if new is not None:
            self._entries[key] = new
        elif old is not None:
            del self._entries[key]

    def _tell(self, key: Key, old: Entry[T] | None, new: Entry[T] | None) -> None:
        """Tell a change; one that hides a deletion (another uid under the same name) is told as two."""
        if old is not None and new is not None and old.uid != new.uid:
            self._tell(key, old, None)
            old = None
        if old is None and new is None:
            return
        for listener in tuple(self._listeners):
            try:
                listener(key, None if old is None else old.value, None if new is None else new.value)
            except Exception:  # a bug of one listener: the others hear, and the watch goes on
                facts = {"resource": self.resource.plural, "key": "/".join(key)}
                log.exception("a listener failed", extra=facts)

    def _wake(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)


def _filed(indexer: Indexer[T], entry: Entry[T] | None) -> set[str]:
    return set() if entry is None else set(indexer(entry.value))


def _whole(resource: Resource) -> Callable[[bytes], Any]:
    """Keep whole objects; apiVersion and kind are put back in, as lists leave them out."""
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}

    def decode(raw: bytes) -> JsonObject:
        return without_managed_fields(raw) | kind

    return decode
