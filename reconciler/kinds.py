"""The caches of kinds that not every cluster has, each there only while somebody asks for the kind.

Knows what is seen of a kind, or why nothing is. Who asks for it and who fills
its cache is ``reconciler.demand``'s.
"""

from collections.abc import Callable, Iterable

from kube.cache import Cache
from kube.cache import Listener as CacheListener
from kube.resources import Resource
from kube.wire import JsonObject, Key
from rollout import messages, names
from rollout.route_kinds import RouteKind, Unseen

_MARKED_BY = "marked-by"  # index: namespace/name of the Rollout that changed the object

KindListener = Callable[[RouteKind], None]


class Kinds:
    """What is seen of each kind that is asked for."""

    def __init__(self) -> None:
        self.caches: dict[RouteKind, Cache[JsonObject]] = {}
        self._unseen: dict[RouteKind, Unseen] = {}
        self._listeners: list[CacheListener[JsonObject]] = []
        self._kind_listeners: list[KindListener] = []
        self._ends: dict[CacheListener[JsonObject], dict[RouteKind, Callable[[], None]]] = {}

    # Looking

    def get(self, kind: RouteKind, namespace: str, name: str) -> JsonObject | None:
        """Find one object."""
        return self.caches[kind].get(namespace, name) if kind in self.caches else None

    def marked_by(self, rollout: Key) -> list[JsonObject]:
        """Find every object that a Rollout has changed, whether it still names it or not."""
        caches = self.caches.values()
        return [each for cache in caches for each in cache.by_index(_MARKED_BY, "/".join(rollout))]

    def all_marked(self) -> list[JsonObject]:
        """Find every object that any Rollout has changed."""
        caches = self.caches.values()
        values = ((cache, value) for cache in caches for value in cache.index_values(_MARKED_BY))
        return [each for cache, value in values for each in cache.by_index(_MARKED_BY, value)]

    def marked(self, kind: RouteKind) -> bool:
        """Tell whether any object of a kind bears a Rollout's mark."""
        return kind in self.caches and any(self.caches[kind].index_values(_MARKED_BY))

    def unseen(self, kind: RouteKind) -> Unseen | None:
        """Say why objects of a kind cannot be seen; None when they can."""
        if kind in self.caches and self.caches[kind].synced:
            return None
        return self._unseen.get(kind) or Unseen(messages.kind_not_read_yet(kind))

    def subscribe(
        self, changed: CacheListener[JsonObject], seen: KindListener | None = None
    ) -> Callable[[], None]:
        """Have a listener hear of every object of every kind, and one of what is seen or not any more.

        Returns how to end the first.
        """
        self._listeners.append(changed)
        if seen is not None:
            self._kind_listeners.append(seen)
        self._ends[changed] = {kind: cache.subscribe(changed) for kind, cache in self.caches.items()}

        def end() -> None:
            self._listeners.remove(changed)
            for each in self._ends.pop(changed).values():
                each()

        return end

    # Changing: for the demand alone

    def open(self, kind: RouteKind, resource: Resource) -> Cache[JsonObject]:
        """Begin a cache."""
        cache: Cache[JsonObject] = Cache(resource, indexers={_MARKED_BY: marked_by})
        for listener in self._listeners:
            self._ends[listener][kind] = cache.subscribe(listener)
        self.caches[kind] = cache
        return cache

    def close(self, kind: RouteKind) -> None:
        """Forget a kind; nothing is seen of it any more."""
        self.caches.pop(kind, None)
        self._unseen.pop(kind, None)
        for ends in self._ends.values():
            if end := ends.pop(kind, None):
                end()
        self._tell(kind)

    def explain(self, kind: RouteKind, why: Unseen | None) -> None:
        """Take note of why nothing is seen of a kind, or that it is seen now."""
        before = self._unseen.pop(kind, None)
        if why is not None:
            self._unseen[kind] = why
        if why != before or why is None:
            self._tell(kind)

    def _tell(self, kind: RouteKind) -> None:
        for listener in self._kind_listeners:
            listener(kind)

    def answered(self, kind: RouteKind) -> bool:
        """Tell whether a kind has been looked for, whatever was found."""
        return kind in self._unseen or self.unseen(kind) is None


def route_marker(value: JsonObject) -> Key | None:
    """Name the Rollout that has changed a user's own route; None when none has."""
    name = (value["metadata"].get("annotations") or {}).get(names.ROUTED_BY)
    return Key(value["metadata"].get("namespace", ""), name) if name else None


def marked_by(value: JsonObject) -> Iterable[str]:
    """File a user's own route under the Rollout that has changed it."""
    marker = route_marker(value)
    return ["/".join(marker)] if marker else []
