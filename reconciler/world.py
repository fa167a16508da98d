"""What the reconciler sees: one cache a kind, and how the objects around a Rollout are found in them.

Kinds that not every cluster has are cached while a Rollout refers to them (``reconciler.kinds``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from kube.cache import Cache
from kube.errors import NotFound
from kube.projection import keep
from kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    INGRESSES,
    PODS,
    REPLICA_SETS,
    ROLLOUTS,
    SERVICES,
    TRAFFIC_ROUTINGS,
)
from kube.wire import JsonObject, Key
from reconciler import projections, references
from reconciler.kinds import Kinds, marked_by
from rollout import manifests, names
from rollout.observation import is_ready, observe, read_trouble
from rollout.route_kinds import RouteKind
from rollout.snapshot import Snapshot

_OWNER = "owner"  # index: namespace/uid of the controlling owner
_WORKLOAD = "workload"  # index of Rollouts: namespace/name of the Deployment
_SERVICE = "service"  # index of Rollouts and EndpointSlices: namespace/name of the Service
_INGRESS = "ingress"  # index of Rollouts: namespace/name of the Ingress
_MADE_FOR = "made-for"  # index of ReplicaSets: namespace/name of the Deployment that made it
_SELECTOR = "selector"  # index of Deployments: namespace and one label that it selects
_PINNED_BY = "pinned-by"  # index of Services: namespace/name of the Rollout
_ROUTE = "route"  # index of Rollouts: apiVersion/kind/namespace/name of an object that routes for them
_ROUTE_KIND = "route-kind"  # index of Rollouts: apiVersion/kind of such an object
_ROUTED = (_SERVICE, _INGRESS, _ROUTE, _ROUTE_KIND)  # of TrafficRoutings as well
_TRAFFIC_ROUTING = "traffic-routing"  # index of Rollouts: namespace/name of a TrafficRouting they go through
_USER = "user"  # index of TrafficRoutings: namespace/name of a Rollout whose release goes through it

Listener = Callable[[Iterable[Key]], None]
"""Hears which Rollouts' next move may have changed."""


class World:
    """The caches of one reconciler."""

    def __init__(self) -> None:
        self.rollouts: Cache[JsonObject] = Cache(
            ROLLOUTS,
            indexers={
                _WORKLOAD: references.workloads,
                _SERVICE: references.services,
                _INGRESS: references.ingresses,
                _ROUTE: references.routes,
                _ROUTE_KIND: references.route_kinds,
                _TRAFFIC_ROUTING: references.traffic_routings,
            },
        )
        self.traffic_routings: Cache[JsonObject] = Cache(
            TRAFFIC_ROUTINGS,
            indexers={
                _SERVICE: references.services,
                _INGRESS: references.ingresses,
                _ROUTE: references.routes,
                _ROUTE_KIND: references.route_kinds,
                _USER: references.users,
            },
        )
        self.deployments: Cache[JsonObject] = Cache(
            DEPLOYMENTS, indexers={_OWNER: references.owners, _SELECTOR: references.selectors}
        )
        self.replica_sets: Cache[JsonObject] = Cache(
            REPLICA_SETS,
            decode=projections.revision,
            indexers={_OWNER: references.owners, _MADE_FOR: references.makers},
        )
        self.pods: Cache[JsonObject] = Cache(
            PODS, decode=keep(PODS, projections.POD), indexers={_OWNER: references.owners}
        )
        self.services: Cache[JsonObject] = Cache(
            SERVICES, indexers={_OWNER: references.owners, _PINNED_BY: references.pinned_by}
        )
        self.ingresses: Cache[JsonObject] = Cache(INGRESSES, indexers={_OWNER: references.owners})
        self.endpoint_slices: Cache[JsonObject] = Cache(
            ENDPOINT_SLICES,
            decode=keep(ENDPOINT_SLICES, projections.ENDPOINT_SLICE),
            indexers={_SERVICE: references.sliced_services},
        )
        self.configuration: Cache[JsonObject] = Cache(CONFIG_MAPS)
        self.kinds = Kinds()

    @property
    def caches(self) -> Mapping[str, Cache[JsonObject]]:
        """The caches that are there all the time, by the kind they hold."""
        caches = (
            self.rollouts,
            self.traffic_routings,
            self.deployments,
            self.replica_sets,
            self.pods,
            self.services,
            self.ingresses,
            self.endpoint_slices,
        )
        return {cache.resource.kind: cache for cache in caches}

    @property
    def synced(self) -> bool:
        """Whether everything has been seen once; a kind that may not exist is never waited for."""
        return all(cache.synced for cache in (*self.caches.values(), self.configuration))

    @property
    def scripts(self) -> Mapping[str, str]:
        """The users' Lua scripts, by their key."""
        found = self.configuration.items()
        return (found[0].get("data") or {}) if found else {}

    @property
    def kinds_asked_for(self) -> Mapping[RouteKind, set[str]]:
        """The kinds, of those that may not exist, that Rollouts refer to, and the namespaces of these."""
        named = {*self.rollouts.index_values(_ROUTE_KIND), *self.traffic_routings.index_values(_ROUTE_KIND)}
        asked = {text: {key.namespace for key in self._referring(_ROUTE_KIND, text)} for text in named}
        return {RouteKind(*text.rsplit("/", 1)): where for text, where in asked.items() if where}

    def cache_of(self, kind: str, api_version: str = "") -> Cache[JsonObject]:
        """Give the cache of a kind; raises NotFound for one that went away since it was observed."""
        if not api_version:
            return self.caches[kind]
        found = self.kinds.caches.get(RouteKind(api_version, kind))
        if found is None:
            raise NotFound(f"{kind} ({api_version}) is not watched any more")
        return found

    def subscribe(self, listener: Listener) -> None:
        """Have a listener called after each change of anything, of whatever kind, now or later."""
        for kind, cache in self.caches.items():
            cache.subscribe(partial(self._changed, listener, partial(self.rollouts_near, kind)))
        # A script can be any Rollout's.
        self.configuration.subscribe(lambda *_: listener(tuple(self.rollouts.keys())))
        self.kinds.subscribe(
            partial(self._changed, listener, self.rollouts_routed_by),
            lambda kind: listener(self._referring(_ROUTE_KIND, "/".join(kind))),
        )

    def _changed(
        self,
        listener: Listener,
        near: Callable[[JsonObject], Iterable[Key]],
        key: Key,
        old: JsonObject | None,
        new: JsonObject | None,
    ) -> None:
        del key
        for value in (old, new):
            if value is not None:
                listener(near(value))

    def observe(self, rollout: JsonObject, now: datetime) -> Snapshot:
        """Take the snapshot of everything around a Rollout."""
        refs = references.route_refs(self._routings_of(rollout))
        unseen = ((kind, self.kinds.unseen(kind)) for kind in {each.of_kind for each in refs})
        return observe(
            rollout,
            self.around(rollout),
            now,
            self.routes_around(rollout),
            {kind: why for kind, why in unseen if why is not None},
            self.scripts,
        )

    def routes_around(self, rollout: JsonObject) -> list[JsonObject]:
        """Collect the users' own routes: those that a Rollout names, in order, then others with its mark."""
        namespace, name = rollout["metadata"]["namespace"], rollout["metadata"]["name"]
        refs = references.route_refs(self._routings_of(rollout))
        named = (self.kinds.get(ref.of_kind, namespace, ref.name) for ref in refs)
        found = [*(each for each in named if each is not None), *self.kinds.marked_by(Key(namespace, name))]
        by_uid: dict[str, JsonObject] = {}
        for each in found:
            # One object can be seen at several versions of its API: the one that is asked for counts.
            by_uid.setdefault(each["metadata"]["uid"], each)
        return list(by_uid.values())

    def around(self, rollout: JsonObject) -> list[JsonObject]:
        """Collect the objects that matter to a Rollout."""
        namespace, uid = rollout["metadata"]["namespace"], rollout["metadata"]["uid"]
        deployments = self._deployments(rollout, namespace, uid)
        routings = self._routings_of(rollout)
        services = self._named(
            self.services, namespace, references.with_canary(references.service_names(routings))
        )
        services |= references.by_name(self.services.by_index(_OWNER, f"{namespace}/{uid}"))
        services |= references.by_name(
            self.services.by_index(_PINNED_BY, f"{namespace}/{rollout['metadata']['name']}")
        )
        ingresses = self._named(
            self.ingresses, namespace, references.with_canary(references.ingress_names(routings))
        )
        ingresses |= references.by_name(self.ingresses.by_index(_OWNER, f"{namespace}/{uid}"))
        sets = self._replica_sets(rollout, deployments.values())
        deployments |= self._rivals(namespace, deployments.values())
        canaries = self.deployments.by_index(_OWNER, f"{namespace}/{uid}")
        divided = (each for each in deployments.values() if _is_divided(each))
        own = {f"{namespace}/{each['metadata']['uid']}" for each in (*canaries, *divided)}
        pods = (self._pods(each, whole=bool(own.intersection(references.owners(each)))) for each in sets)
        slices = (self.endpoint_slices.by_index(_SERVICE, f"{namespace}/{name}") for name in services)
        found: list[JsonObject] = [*deployments.values(), *sets, *services.values(), *ingresses.values()]
        found += self._traffic_routings_of(rollout)
        for group in (*pods, *slices):
            found.extend(group)
        return found

    def _pods(self, revision: JsonObject, *, whole: bool) -> list[JsonObject]:
        """Give the pods of a ReplicaSet that are in trouble, or all of them."""
        found = self.pods.by_index(_OWNER, references.place(revision))
        return found if whole else [each for each in found if read_trouble(each)]

    def _traffic_routings_of(self, rollout: JsonObject) -> list[JsonObject]:
        """Give the TrafficRoutings that a Rollout refers to, goes through or holds."""
        namespace, name = rollout["metadata"]["namespace"], rollout["metadata"]["name"]
        named = self._named(self.traffic_routings, namespace, references.traffic_routing_names(rollout))
        held = references.by_name(self.traffic_routings.by_index(_USER, f"{namespace}/{name}"))
        return list((named | held).values())

    def _routings_of(self, rollout: JsonObject) -> list[Any]:
        """Give what routes for a Rollout: by its own word, and by that of TrafficRoutings."""
        shared = (references.routings(each) for each in self._traffic_routings_of(rollout))
        return [*references.routings(rollout), *(routing for group in shared for routing in group)]

    def users_of(self, routing: JsonObject) -> list[JsonObject]:
        """Give the Rollouts that refer to a TrafficRouting or go through it."""
        metadata = routing["metadata"]
        return self.rollouts.by_index(_TRAFFIC_ROUTING, f"{metadata['namespace']}/{metadata['name']}")

    def held_by(self, rollout: Key) -> list[JsonObject]:
        """Give the TrafficRoutings through which a Rollout's release goes."""
        return self.traffic_routings.by_index(_USER, "/".join(rollout))

    def bearers_of(self, rollout: Key, workloads: Iterable[Key]) -> Iterator[JsonObject]:
        """Give what may bear the marks of a Rollout: its workloads, and what it has pinned or changed."""
        found = (self.deployments.get(*each) for each in workloads)
        yield from (each for each in found if each is not None)
        yield from self.services.by_index(_PINNED_BY, "/".join(rollout))
        yield from self.kinds.marked_by(rollout)

    def governors_of(self, deployment: JsonObject) -> list[JsonObject]:
        """Give the Rollouts that refer to a Deployment."""
        metadata = deployment["metadata"]
        return self.rollouts.by_index(_WORKLOAD, f"{metadata['namespace']}/{metadata['name']}")

    def rollouts_near(self, kind: str, value: JsonObject) -> Iterator[Key]:
        """Give the Rollouts whose next move may depend on an object."""
        yield from self._by_owner(kind, value)
        yield from self._by_reference(kind, value)

    def _by_owner(self, kind: str, value: JsonObject) -> Iterator[Key]:
        namespace = value["metadata"].get("namespace", "")
        owners = references.owner_names(value["metadata"])
        if kind == "Pod" and not read_trouble(value):
            # Pods that are well are seen in counts and endpoints; a canary's are waited for, and labelled.
            labelled = names.ROLLOUT_BATCH_ID in (value["metadata"].get("labels") or {})
            if not (is_ready(value) and labelled):
                yield from self._releasing(namespace, value)
            return
        if kind == "ReplicaSet":  # whoever owned it may be gone from the cache already
            yield from self._awaiting(value)
        for owner_kind, name in owners:
            match owner_kind:
                case "Rollout":
                    yield Key(namespace, name)
                case "Deployment":
                    yield from self._rollouts_of_deployment(namespace, name)
                case "ReplicaSet" if revision := self.replica_sets.get(namespace, name):
                    yield from self._by_owner("ReplicaSet", revision)
                case _:
                    pass

    def _releasing(self, namespace: str, pod: JsonObject) -> Iterator[Key]:
        """Give the Rollout whose canary Deployment, or divided one, runs a pod."""
        for _, name in references.owner_names(pod["metadata"]):
            revision = self.replica_sets.get(namespace, name)
            for _, owner in references.owner_names(revision["metadata"]) if revision else ():
                deployment = self.deployments.get(namespace, owner)
                if deployment and _is_divided(deployment):
                    yield from self._rollouts_of_deployment(namespace, owner)
                for kind, rollout in references.owner_names(deployment["metadata"]) if deployment else ():
                    if kind == "Rollout":
                        yield Key(namespace, rollout)

    def _awaiting(self, left_behind: JsonObject) -> Iterator[Key]:
        """Give the Rollouts whose canary may have left a ReplicaSet behind, by its name."""
        for maker in references.makers(left_behind):
            yield from self._referring(_WORKLOAD, maker.rpartition("-")[0])

    def _by_reference(self, kind: str, value: JsonObject) -> Iterator[Key]:
        metadata = value["metadata"]
        namespace = metadata.get("namespace", "")
        match kind:
            case "Rollout":
                yield Key(namespace, metadata["name"])
            case "Deployment":
                yield from self._referring(_WORKLOAD, f"{namespace}/{metadata['name']}")
                # Whoever owns it: one of a canary's name is in the way, until it goes.
                yield from self._referring(
                    _WORKLOAD, f"{namespace}/{manifests.workload_name(metadata['name'])}"
                )
            case "Service":
                yield from self._referring(_SERVICE, f"{namespace}/{metadata['name']}")
                yield from (references.key(pinner) for pinner in references.pinned_by(value))
            case "TrafficRouting":
                yield from (references.rollout_key(each) for each in self.users_of(value))
                yield from (references.key(user) for user in references.users(value))
            case "Ingress":
                yield from self._referring(_INGRESS, f"{namespace}/{metadata['name']}")
            case "EndpointSlice":
                for service in references.sliced_services(value):
                    yield from self._referring(_SERVICE, service)
            case _:  # ReplicaSets and Pods are near by their owner alone
                pass

    def rollouts_routed_by(self, value: JsonObject) -> Iterator[Key]:
        """Give the Rollouts whose next move may depend on a user's own route."""
        metadata = value["metadata"]
        path = f"{value['apiVersion']}/{value['kind']}/{metadata.get('namespace', '')}/{metadata['name']}"
        yield from self._referring(_ROUTE, path)
        yield from (references.key(marker) for marker in marked_by(value))

    def _replica_sets(self, rollout: JsonObject, deployments: Iterable[JsonObject]) -> list[JsonObject]:
        """Collect the revisions of Deployments, and those that canaries left behind to be adopted."""
        namespace = rollout["metadata"]["namespace"]
        owned = (self.replica_sets.by_index(_OWNER, references.place(each)) for each in deployments)
        canaries = (f"{namespace}/{name}" for name in references.canaries(rollout, deployments))
        made = (self.replica_sets.by_index(_MADE_FOR, path) for path in canaries)
        found = {each["metadata"]["uid"]: each for group in (*owned, *made) for each in group}
        return list(found.values())

    def _rivals(self, namespace: str, deployments: Iterable[JsonObject]) -> dict[str, JsonObject]:
        """Collect the namespace's other Deployments that may select the same pods."""
        labels = {
            f"{namespace}/{key}={value}"
            for each in deployments
            for key, value in (references.at(each, "spec", "template", "metadata", "labels") or {}).items()
        }
        places = (*sorted(labels), f"{namespace}/")
        return {
            name: each
            for place in places
            for name, each in references.by_name(self.deployments.by_index(_SELECTOR, place)).items()
        }

    def _deployments(self, rollout: JsonObject, namespace: str, uid: str) -> dict[str, JsonObject]:
        found = self._named(self.deployments, namespace, references.workload_names(rollout))
        for name, workload in tuple(found.items()):
            release = (workload["metadata"].get("annotations") or {}).get(names.RELEASE, "")
            found |= self._named(self.deployments, namespace, [manifests.canary_name(name, release)])
        return found | references.by_name(self.deployments.by_index(_OWNER, f"{namespace}/{uid}"))

    def _named(
        self, cache: Cache[JsonObject], namespace: str, wanted: Iterable[str]
    ) -> dict[str, JsonObject]:
        found = ((name, cache.get(namespace, name)) for name in wanted)
        return {name: value for name, value in found if value is not None}

    def _referring(self, index: str, value: str) -> Iterator[Key]:
        yield from (references.rollout_key(each) for each in self.rollouts.by_index(index, value))
        for routing in self.traffic_routings.by_index(index, value) if index in _ROUTED else ():
            yield from (references.rollout_key(each) for each in self.users_of(routing))

    def _rollouts_of_deployment(self, namespace: str, name: str) -> Iterator[Key]:
        yield from self._referring(_WORKLOAD, f"{namespace}/{name}")
        deployment = self.deployments.get(namespace, name)
        for kind, owner in references.owner_names(deployment["metadata"]) if deployment else ():
            if kind == "Rollout":
                yield Key(namespace, owner)


def _is_divided(deployment: JsonObject) -> bool:
    """Tell whether a release goes on inside a Deployment: some of its own pods are the new version's."""
    return names.STRATEGY in (deployment["metadata"].get("annotations") or {})
