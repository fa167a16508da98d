"""The Ingress annotation family of ingress-nginx: a second Ingress carries the canary's share.

Understood by ingress-nginx, Traefik (from 3.7), Higress and MSE under the nginx prefix, and by
ALB under a prefix of its own (``rollout.traffic.ingress_classes``).
"""

import re
from collections.abc import Mapping
from typing import Any

from rollout import names
from rollout.manifests import copied_metadata
from rollout.spec import HeaderMatch, HeaderModifier, Match, MatchType, QueryMatch
from rollout.traffic.ingress_classes import CLASSES, COOKIE_HEADER, IngressClass
from rollout.traffic.routing import Routing
from rollout.wire import JsonObject

_WEIGHT = re.compile(r"0|[1-9][0-9]?|100")
_ROUTING_KEYS = (
    "canary",
    "canary-weight",
    # Never written: with a total of its own, a weight would be another share than the one approved.
    "canary-weight-total",
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
    "canary-by-cookie",
)
_QUERY_KEYS = ("canary-by-query", "canary-by-query-value", "canary-by-query-pattern")
_SPEC_FIELDS = ("rules", "tls", "ingressClassName", "defaultBackend")
"""All that a spec can have: the canary's has the first three only."""


def routes_to(ingress: JsonObject, service: str) -> bool:
    """Tell whether any path of the Ingress leads to the Service."""
    return bool(_rules(ingress, {service: service}))


def falls_back_to(ingress: JsonObject, service: str) -> bool:
    """Tell whether what no path of the Ingress matches goes to the Service."""
    return _service(ingress.get("spec", {}).get("defaultBackend")).get("name") == service


def render(
    stable: JsonObject, backends: Mapping[str, str], classtype: str, routing: Routing
) -> dict[str, Any]:
    """Render the canary Ingress: the stable one's paths to ``backends``' keys, sent to their values.

    Class (annotation or ``ingressClassName``), TLS and every other annotation are copied, so that the
    two Ingresses are served by the same controller under the same settings.
    """
    manifest = copy(stable, backends)
    metadata = manifest["metadata"]
    metadata["annotations"] = _annotations(metadata["annotations"], classtype, routing)
    return manifest


def copy(stable: JsonObject, backends: Mapping[str, str]) -> dict[str, Any]:
    """Copy the stable Ingress, sent to the canary's Services; which requests it takes it does not say."""
    metadata = {"annotations": {}, **copied_metadata(stable["metadata"])}
    metadata["name"] = stable["metadata"]["name"] + names.CANARY_SUFFIX
    spec: dict[str, Any] = {"rules": _rules(stable, backends)}
    for field in ("ingressClassName", "tls"):
        if field in stable.get("spec", {}):
            spec[field] = stable["spec"][field]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def spec_change(live: JsonObject, wanted: JsonObject) -> dict[str, Any]:
    """Give the fields of a canary Ingress's spec that are not as wanted, with None for those to remove."""
    fields = {key: wanted["spec"].get(key) for key in _SPEC_FIELDS}
    return {key: value for key, value in fields.items() if live["spec"].get(key) != value}


def may_reach_canary(ingress: JsonObject, classtype: str) -> bool:
    """Tell whether the canary Ingress, as it is, can send any request to the canary.

    Whatever is not plainly "nothing" counts as reaching: a hand-edited weight must never be read as none.
    """
    return _said(ingress, classtype) != {"canary": "true", "canary-weight": "0"}


def read(ingress: JsonObject, classtype: str) -> Routing | None:
    """Read back a routing that ``render`` wrote; None when somebody else's hand is in it."""
    found: Mapping[str, str] = ingress["metadata"].get("annotations") or {}
    said, spelled = _said(ingress, classtype), _spelled(classtype)
    weight = said.get("canary-weight", "0")
    if not _WEIGHT.fullmatch(weight):
        return None
    routing = Routing(int(weight), _matches(said), _modifier(found.get(spelled.sets_headers)))
    known = routing_keys(classtype)
    plainly = {key: value for key, value in annotations(routing, classtype).items() if key in known}
    return routing if plainly == {key: found[key] for key in known if key in found} else None


def routing_keys(classtype: str) -> frozenset[str]:
    """Name every annotation that decides which requests the canary Ingress takes."""
    spelled = _spelled(classtype)
    query = {prefix + key for prefix in spelled.query_prefixes for key in _QUERY_KEYS}
    return frozenset(spelled.prefix + key for key in _ROUTING_KEYS) | query


def annotations(routing: Routing, classtype: str) -> dict[str, str]:
    """Say a routing in annotations."""
    spelled, said, query = _spelled(classtype), {"canary": "true"}, dict[str, str]()
    if routing.weight or not routing.matches:
        said["canary-weight"] = str(routing.weight)
    for match in routing.matches:
        if match.query:
            query |= _query(match.query[0])
        elif match.headers:
            said |= _header(match.headers[0])
    written = {spelled.prefix + key: value for key, value in said.items()}
    written |= {prefix + key: value for prefix in spelled.query_prefixes for key, value in query.items()}
    if routing.modifier and spelled.sets_headers:
        written[spelled.sets_headers] = "\n".join(f"{name} {value}" for name, value in routing.modifier.set)
    return {**written, **spelled.always}


def _annotations(stable: Mapping[str, str], classtype: str, routing: Routing) -> dict[str, str]:
    """Copy the stable Ingress's annotations but for those that say a routing, and say the canary's."""
    spelled, own = _spelled(classtype), routing_keys(classtype)
    kept = {key: spelled.replaces.get(key, value) for key, value in stable.items() if key not in own}
    return {**kept, **annotations(routing, classtype)}


def _spelled(classtype: str) -> IngressClass:
    """Give a class; one that is not known (of a Rollout that only has to be let go) is read like most."""
    return CLASSES.get(classtype, CLASSES["nginx"])


def _said(ingress: JsonObject, classtype: str) -> dict[str, str]:
    """Collect the routing annotations, without their prefix."""
    found = ingress["metadata"].get("annotations") or {}
    spelled = _spelled(classtype)
    keys = {key: spelled.prefix + key for key in _ROUTING_KEYS}
    keys |= {key: prefix + key for prefix in reversed(spelled.query_prefixes) for key in _QUERY_KEYS}
    return {short: found[key] for short, key in keys.items() if key in found}


def _matches(said: Mapping[str, str]) -> tuple[Match, ...]:
    matches = []
    if condition := _condition(said, "canary-by-header"):
        matches.append(Match(headers=(HeaderMatch(*condition),)))
    if cookie := said.get("canary-by-cookie"):
        matches.append(Match(headers=(HeaderMatch(COOKIE_HEADER, cookie),)))
    if condition := _condition(said, "canary-by-query"):
        matches.append(Match(query=(QueryMatch(*condition),)))
    return tuple(matches)


def _condition(said: Mapping[str, str], key: str) -> tuple[str, str, MatchType] | None:
    """Read a name and what its value must be."""
    name, pattern = said.get(key), said.get(f"{key}-pattern")
    if not name:
        return None
    if pattern is None:
        return name, said.get(f"{key}-value", ""), MatchType.EXACT
    return name, pattern, MatchType.REGULAR_EXPRESSION


def _header(header: HeaderMatch) -> dict[str, str]:
    if header.name == COOKIE_HEADER:
        return {"canary-by-cookie": header.value}
    return _spelled_condition("canary-by-header", header)


def _query(query: QueryMatch) -> dict[str, str]:
    return _spelled_condition("canary-by-query", query)


def _spelled_condition(key: str, condition: HeaderMatch | QueryMatch) -> dict[str, str]:
    kind = "pattern" if condition.type is MatchType.REGULAR_EXPRESSION else "value"
    return {key: condition.name, f"{key}-{kind}": condition.value}


def _modifier(said: str | None) -> HeaderModifier | None:
    """Read headers that are set, one a line."""
    if said is None:
        return None
    lines = (line.partition(" ") for line in said.split("\n"))
    return HeaderModifier(set=tuple((name, value) for name, _, value in lines))


def _rules(ingress: JsonObject, backends: Mapping[str, str]) -> list[dict[str, Any]]:
    """Keep the rules and paths that lead to one of ``backends``, sent to its canary at the same port."""
    kept = []
    for rule in ingress.get("spec", {}).get("rules") or ():
        paths = (rule.get("http") or {}).get("paths") or ()
        moved = [_moved(path, backends) for path in paths if _service_of(path).get("name") in backends]
        if moved:
            kept.append({**rule, "http": {"paths": moved}})
    return kept


def _moved(path: JsonObject, backends: Mapping[str, str]) -> dict[str, Any]:
    service = _service_of(path)
    return {**path, "backend": {"service": {**service, "name": backends[service["name"]]}}}


def _service_of(path: JsonObject) -> JsonObject:
    return _service(path.get("backend"))


def _service(backend: JsonObject | None) -> JsonObject:
    found: JsonObject = (backend or {}).get("service") or {}
    return found
