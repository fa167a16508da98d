"""What routes in the model's world: the users' own objects, and what each of them sends to the canary.

What an object sends is read from it here, not by the engine's eyes: from backends, from annotations, from
what the script of the model writes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rollout import names
from rollout.traffic import nginx
from rollout.wire import JsonObject

APP, ADMIN = "web", "admin"
REFERRED = "routes"
"""The TrafficRouting to which Rollouts refer."""
HOST = "web.example.com"
SPLIT_API = "mesh.example.com/v1"
SPLIT_SCRIPT = """
local spec = obj.data.spec
spec.canary = {service = obj.canaryService, weight = math.max(obj.canaryWeight, 0), matches = obj.matches}
return {spec = spec, labels = obj.data.labels, annotations = obj.data.annotations}
"""
SCRIPTS = {f"{names.ROUTE_SCRIPT}Split.{SPLIT_API.partition('/')[0]}": SPLIT_SCRIPT}
USERS_KINDS = frozenset({"HTTPRoute", "Split"})
"""Kinds of which the users' own object is changed; an Ingress gets another beside it."""


class Share(NamedTuple):
    """What is sent to the canary: a part of all requests, and those that match."""

    weight: int = 0
    matches: frozenset[str] = frozenset()

    @property
    def reaches(self) -> bool:
        """Whether any request can get there."""
        return self != NOTHING

    def within(self, limit: "Share") -> bool:
        """Tell whether this is no more than a limit."""
        return self.weight <= limit.weight and self.matches <= limit.matches

    def exceeds(self, other: "Share") -> bool:
        """Tell whether any request is sent to the canary here that the other does not send there."""
        return not self.within(other)

    def joined(self, other: "Share") -> "Share":
        """Give what at least one of both sends."""
        return Share(max(self.weight, other.weight), self.matches | other.matches)


NOTHING = Share()
ANYTHING = Share(100, frozenset({"anything"}))


def joined(shares: Iterable[Share]) -> Share:
    """Give what at least one of them sends."""
    found = NOTHING
    for each in shares:
        found = found.joined(each)
    return found


class Routing(NamedTuple):
    """One entry of ``trafficRoutings``: a Service, and its routes as kind and name."""

    service: str
    routes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Setting:
    """By what a Rollout routes."""

    routings: tuple[Routing, ...] = ()
    shared: bool = False
    """Whether the canary's pods stay behind the stable Service (``disableGenerateCanaryService``)."""
    by_reference: bool = False
    """Whether the Rollout refers to a TrafficRouting that says it."""

    @property
    def services(self) -> tuple[str, ...]:
        """The stable Services."""
        return tuple(dict.fromkeys(each.service for each in self.routings))

    @property
    def routes(self) -> tuple[tuple[str, str], ...]:
        """The users' own routes, as kind and name."""
        return tuple(dict.fromkeys(route for each in self.routings for route in each.routes))

    def behind(self, kind: str, name: str) -> tuple[str, ...]:
        """Name the stable Services to which a route leads; a canary Ingress is called as the user's."""
        own = (kind, name.removesuffix(names.CANARY_SUFFIX) if kind == "Ingress" else name)
        return tuple(each.service for each in self.routings if own in each.routes)

    def strategy(self, grace: int) -> dict[str, Any]:
        """Say it as a Rollout does."""
        said: dict[str, Any] = {}
        if self.by_reference:
            said["trafficRoutingRef"] = REFERRED
        elif self.routings:
            said["trafficRoutings"] = self.references(grace)
        return {**said, "disableGenerateCanaryService": True} if self.shared else said

    def references(self, grace: int) -> list[dict[str, Any]]:
        """Give the entries of ``trafficRoutings``, or of a TrafficRouting's ``objectRef``."""
        return [_reference(each, grace) for each in self.routings]

    def own_objects(self) -> Iterator[dict[str, Any]]:
        """Give the users' Services and routes; there are some of each that nothing is released by."""
        for name in dict.fromkeys((APP, *self.services)):
            yield service(name)
        for kind, name in self.routes or (("Ingress", APP),):
            yield self.own_object(kind, name)

    def own_object(self, kind: str, name: str) -> dict[str, Any]:
        """Give one of the users' routes."""
        match kind:
            case "Ingress":
                return ingress(name, self.behind(kind, name) or (APP,))
            case "HTTPRoute":
                return http_route()
            case _:
                return split(name)


def _reference(routing: Routing, grace: int) -> dict[str, Any]:
    said: dict[str, Any] = {"service": routing.service, "gracePeriodSeconds": grace}
    for kind, name in routing.routes:
        match kind:
            case "Ingress":
                said["ingress"] = {"name": name}
            case "HTTPRoute":
                said["gateway"] = {"httpRouteName": name}
            case _:
                said["customNetworkRefs"] = [{"apiVersion": SPLIT_API, "kind": kind, "name": name}]
    return said


UNROUTED = Setting()
BY_INGRESS = Setting((Routing(APP, (("Ingress", APP),)),))
BY_HTTP_ROUTE = Setting((Routing(APP, (("HTTPRoute", APP),)),))
BY_SPLIT = Setting((Routing(APP, (("Split", APP),)),))
SHARED = Setting((Routing(APP, (("Split", APP),)),), shared=True)
TWO_SERVICES = Setting((Routing(APP, (("Ingress", APP),)), Routing(ADMIN, (("Ingress", APP),))))
TWO_INGRESSES = Setting((Routing(APP, (("Ingress", APP),)), Routing(ADMIN, (("Ingress", ADMIN),))))
ONE_BY_TWO = Setting((Routing(APP, (("Ingress", APP),)), Routing(APP, (("Ingress", ADMIN),))))
INGRESS_AND_SPLIT = Setting((Routing(APP, (("Ingress", APP), ("Split", APP))),))

INGRESS_BY_REFERENCE = Setting(BY_INGRESS.routings, by_reference=True)
TWO_BY_REFERENCE = Setting(INGRESS_AND_SPLIT.routings, by_reference=True)


# --- the users' objects ------------------------------------------------------------------------------


def service(name: str = APP) -> dict[str, Any]:
    """Return a Service as a user writes it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": APP}, "ports": [{"port": 8080}]},
    }


def ingress(name: str = APP, services: Iterable[str] = (APP,)) -> dict[str, Any]:
    """Return an Ingress as a user writes it."""
    paths = [
        {
            "path": "/" if each == APP else f"/{each}",
            "pathType": "ImplementationSpecific",
            "backend": {"service": {"name": each, "port": {"number": 8080}}},
        }
        for each in services
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": {"kubernetes.io/ingress.class": "nginx"}},
        "spec": {"rules": [{"host": HOST, "http": {"paths": paths}}]},
    }


def http_route() -> dict[str, Any]:
    """Return an HTTPRoute as a user writes it, as an API server gives it back."""
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": APP},
        "spec": {"parentRefs": [parent], "hostnames": [HOST], "rules": OWN_RULES},
    }


def http_rule(path: str, **weights: int) -> dict[str, Any]:
    """Return a rule of an HTTPRoute; underscores in the names of backends stand for dashes."""
    refs = [
        {"group": "", "kind": "Service", "name": name.replace("_", "-"), "port": 8080, "weight": weight}
        for name, weight in weights.items()
    ]
    return {"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": refs}


OWN_RULES = [http_rule("/", web=1), http_rule("/api", api=1, web=3)]


def traffic_routing(refs: Iterable[JsonObject], **strategy: Any) -> dict[str, Any]:
    """Return a TrafficRouting as a user writes it."""
    return {
        "apiVersion": f"{names.GROUP}/v1alpha1",
        "kind": "TrafficRouting",
        "metadata": {"name": REFERRED},
        "spec": {"objectRef": list(refs), "strategy": strategy},
    }


def split(name: str = APP) -> dict[str, Any]:
    """Return an object of a kind that only its own script knows."""
    return {
        "apiVersion": SPLIT_API,
        "kind": "Split",
        "metadata": {"name": name},
        "spec": {"hosts": [HOST], "timeout": "5s"},
    }


# --- what is sent ------------------------------------------------------------------------------------


def sent_by(route: JsonObject | None) -> Share:
    """Read what a route sends to the canary; what cannot be told may be anything."""
    if route is None:
        return NOTHING
    match route["kind"]:
        case "HTTPRoute":
            return joined(_sent_by_rule(each) for each in route["spec"]["rules"])
        case "Split":
            return _sent_by_split(route["spec"].get("canary"))
        case _:
            return _sent_by_ingress(route)


def _sent_by_ingress(route: JsonObject) -> Share:
    if not nginx.may_reach_canary(route, "nginx"):
        return NOTHING
    found = nginx.read(route, "nginx")
    if found is None:
        return ANYTHING
    headers = (header for match in found.matches for header in match.headers)
    return Share(found.weight, frozenset(f"{each.name}={each.value}" for each in headers))


def _sent_by_split(canary: Any) -> Share:
    if canary is None:
        return NOTHING
    return Share(int(canary["weight"]), matched(canary))


def _sent_by_rule(rule: JsonObject) -> Share:
    """Read a rule: of requests that match it by a header, or of the stable Service's, rounded up."""
    weights = {ref["name"]: ref["weight"] for ref in rule["backendRefs"]}
    stable, canary = weights.get(APP, 0), weights.get(APP + names.CANARY_SUFFIX, 0)
    if not canary:
        return NOTHING
    if not stable and (headers := matched(rule)):
        return Share(0, headers)
    return Share(-(-100 * canary // (stable + canary)))


def matched(said: Mapping[str, Any]) -> frozenset[str]:
    """Name the headers in the matches of a step, a rule or a Split."""
    matches: Iterable[JsonObject] = said.get("matches") or ()
    headers = (header for match in matches for header in match.get("headers") or ())
    return frozenset(f"{each['name']}={each['value']}" for each in headers)


def asked_by(step: JsonObject, kind: str = "") -> Share:
    """Say what a step asks of a route of some kind: an HTTPRoute carries matches or weights, not both."""
    matches, weight = matched(step), int(step.get("traffic", "0%").removesuffix("%"))
    return Share(0 if matches and kind == "HTTPRoute" else weight, matches)
