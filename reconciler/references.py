"""How objects refer to each other: the fields by which the ones around a Rollout are found.

Total: whatever stands there is taken, and what cannot be read refers to nothing. A Rollout that cannot be
parsed still has to be found when its objects change.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kube.wire import JsonObject, Key
from rollout import manifests, names, shared_routing_status
from rollout.route_kinds import HTTP_ROUTE, RouteRef
from rollout.shared_routing import Engaged, engaged


def owners(value: JsonObject) -> Iterable[str]:
    """Give what an object is filed under: the place of its controlling owner, or of whoever made it."""
    metadata = value["metadata"]
    controllers = [each["uid"] for each in metadata.get("ownerReferences") or () if each.get("controller")]
    made_by = (metadata.get("labels") or {}).get(names.MADE_BY)
    return [f"{metadata['namespace']}/{uid}" for uid in controllers or ([made_by] if made_by else [])]


def place(owner: JsonObject) -> str:
    """Give what an owner's objects are filed under: a copy of them in another namespace is not its own."""
    return f"{owner['metadata']['namespace']}/{owner['metadata']['uid']}"


def makers(replica_set: JsonObject) -> Iterable[str]:
    """Name the Deployment after which a ReplicaSet is named, and which made it, whoever owns it now."""
    metadata = replica_set["metadata"]
    return [f"{metadata['namespace']}/{metadata['name'].rpartition('-')[0]}"]


def selectors(deployment: JsonObject) -> Iterable[str]:
    """Give one label that every pod of a Deployment has; "" where its selector names none."""
    selector = at(deployment, "spec", "selector") or {}
    one = min((f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()), default="")
    return [f"{deployment['metadata']['namespace']}/{one}"] if selector else []


def canaries(rollout: JsonObject, deployments: Iterable[JsonObject]) -> Iterator[str]:
    """Name the canary Deployments that the releases known of a Rollout have or had."""
    recorded = str(at(rollout, "status", "canaryStatus", "canaryRevision") or "").rpartition("-")[2]
    for workload in workload_names(rollout):
        for each in deployments:
            if stamped := (each["metadata"].get("annotations") or {}).get(names.RELEASE):
                yield manifests.canary_name(workload, stamped)
        if recorded:
            yield manifests.canary_name(workload, recorded)


def owner_names(metadata: JsonObject) -> list[tuple[str, str]]:
    """Give kind and name of the controlling owner."""
    references = metadata.get("ownerReferences") or ()
    return [(each["kind"], each["name"]) for each in references if each.get("controller")]


def workload_keys(rollout: JsonObject) -> list[Key]:
    """Name the Deployment that a Rollout refers to; none when it cannot be read."""
    return [key(path) for path in workloads(rollout)]


def pinned_by_key(service: JsonObject) -> Key | None:
    """Name the Rollout that pinned a Service; None when none did."""
    return next((key(path) for path in pinned_by(service)), None)


def workloads(rollout: JsonObject) -> Iterable[str]:
    """Name the Deployment of a Rollout, with its namespace."""
    return [f"{rollout['metadata']['namespace']}/{name}" for name in workload_names(rollout)]


def services(rollout: JsonObject) -> Iterable[str]:
    """Name the Services that a Rollout or TrafficRouting routes, and their canaries."""
    return [
        f"{rollout['metadata']['namespace']}/{name}" for name in with_canary(service_names(routings(rollout)))
    ]


def ingresses(rollout: JsonObject) -> Iterable[str]:
    """Name the Ingresses that route, and their canaries."""
    return [
        f"{rollout['metadata']['namespace']}/{name}" for name in with_canary(ingress_names(routings(rollout)))
    ]


def routes(rollout: JsonObject) -> Iterable[str]:
    """Name the objects, of kinds that may not exist, that route."""
    namespace = rollout["metadata"]["namespace"]
    return [f"{'/'.join(ref.of_kind)}/{namespace}/{ref.name}" for ref in route_refs(routings(rollout))]


def route_kinds(rollout: JsonObject) -> Iterable[str]:
    """Name their kinds."""
    return ["/".join(ref.of_kind) for ref in route_refs(routings(rollout))]


def route_refs(routings: Iterable[Any]) -> list[RouteRef]:
    """Name the objects, of kinds that may not exist, that route."""
    entries = list(routings)
    gateways = texts(at(each, "gateway", "httpRouteName") for each in entries)
    listed = [at(each, "customNetworkRefs") for each in entries]
    custom = [ref for refs in listed if isinstance(refs, list) for ref in refs]
    fields = [[at(ref, key) for key in ("apiVersion", "kind", "name")] for ref in custom]
    named = [RouteRef(*texts(each)) for each in fields if len(texts(each)) == len(each) and all(each)]
    return [RouteRef(*HTTP_ROUTE, name) for name in gateways if name] + named


def sliced_services(value: JsonObject) -> Iterable[str]:
    """Name the Service of an EndpointSlice."""
    name = (value["metadata"].get("labels") or {}).get(names.KUBERNETES_SERVICE_NAME)
    return [f"{value['metadata']['namespace']}/{name}"] if name else []


def pinned_by(service: JsonObject) -> Iterable[str]:
    """Name the Rollout that pinned a Service."""
    name = (service["metadata"].get("annotations") or {}).get(names.PINNED_BY)
    return [f"{service['metadata']['namespace']}/{name}"] if name else []


def workload_names(rollout: JsonObject) -> list[str]:
    """Name the Deployment of a Rollout."""
    return texts([at(rollout, "spec", "workloadRef", "name")])


def service_names(routings: Iterable[Any]) -> list[str]:
    """Name the Services of routings."""
    return texts(at(each, "service") for each in routings)


def ingress_names(routings: Iterable[Any]) -> list[str]:
    """Name the Ingresses of routings."""
    return texts(at(each, "ingress", "name") for each in routings)


def routings(value: JsonObject) -> list[Any]:
    """List what a Rollout says, or a TrafficRouting, or did when a release began to go through it."""
    noted = engagement(value)
    said = (
        at(value, "spec", "strategy", "canary", "trafficRoutings"),
        at(value, "spec", "objectRef"),
        at(noted.spec, "objectRef") if noted else None,
    )
    return [each for listed in said if isinstance(listed, list) for each in listed]


def engagement(rollout: JsonObject) -> Engaged | None:
    """Read which TrafficRouting a release goes through."""
    return engaged((rollout["metadata"].get("annotations") or {}).get(names.ENGAGED))


def traffic_routing_names(rollout: JsonObject) -> list[str]:
    """Name the TrafficRoutings that a Rollout refers to, by annotation or field, and goes through."""
    annotated = at(rollout, "metadata", "annotations", names.TRAFFIC_ROUTING)
    noted = engagement(rollout)
    named = (annotated, at(rollout, "spec", "strategy", "canary", "trafficRoutingRef"))
    return texts((*named, noted.name if noted else None))


def traffic_routings(rollout: JsonObject) -> Iterable[str]:
    """Name the TrafficRoutings of a Rollout, with their namespace."""
    return [f"{rollout['metadata']['namespace']}/{name}" for name in traffic_routing_names(rollout)]


def users(routing: JsonObject) -> Iterable[str]:
    """Name the Rollouts that hold a TrafficRouting by a finalizer."""
    metadata = routing["metadata"]
    return [
        f"{metadata['namespace']}/{name}"
        for name in shared_routing_status.users(metadata.get("finalizers") or ())
    ]


def rollout_key(rollout: JsonObject) -> Key:
    """Give the key of a Rollout."""
    return Key(rollout["metadata"]["namespace"], rollout["metadata"]["name"])


def at(value: Any, *path: str) -> Any:
    """Follow a path into JSON that nobody has checked; None where it ends."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def texts(values: Iterable[Any]) -> list[str]:
    """Leave out what is no text."""
    return [value for value in values if isinstance(value, str)]


def with_canary(stable: Iterable[str]) -> Iterator[str]:
    """Give each name and its canary's."""
    for name in stable:
        yield name
        yield name + names.CANARY_SUFFIX


def by_name(values: Iterable[JsonObject]) -> dict[str, JsonObject]:
    """File objects of one namespace by name."""
    return {value["metadata"]["name"]: value for value in values}


def key(path: str) -> Key:
    """Read namespace/name."""
    namespace, _, name = path.partition("/")
    return Key(namespace, name)
