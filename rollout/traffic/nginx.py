"""The Ingress annotation family of ingress-nginx: a second Ingress carries the canary's share.

Understood by ingress-nginx, Traefik (from 3.7), Higress and MSE under the nginx prefix, and by
ALB under a prefix of its own. Only the first header of each match can be said in annotations;
paths and query parameters cannot.
"""

import re
from collections.abc import Mapping
from typing import Any

from rollout import names
from rollout.manifests import copied_metadata
from rollout.spec import HeaderMatch, Match, MatchType
from rollout.traffic.routing import Routing
from rollout.wire import JsonObject

_PREFIXES: Mapping[str, str] = {"aliyun-alb": "alb.ingress.kubernetes.io/"}
_DEFAULT_PREFIX = "nginx.ingress.kubernetes.io/"
_COOKIE_HEADER = "canary-by-cookie"  # a header match of this name means: match the cookie of that value
_WEIGHT = re.compile(r"0|[1-9][0-9]?|100")
_ROUTING_KEYS = (
    "canary",
    "canary-weight",
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
    "canary-by-cookie",
)


def routes_to(ingress: JsonObject, service: str) -> bool:
    """Tell whether any path of the Ingress leads to the Service."""
    return bool(_rules(ingress, service, service))


def render(stable: JsonObject, service: str, canary: str, classtype: str, routing: Routing) -> dict[str, Any]:
    """Render the canary Ingress: the stable one's paths to ``service``, sent to ``canary`` by ``routing``.

    Class (annotation or ``ingressClassName``), TLS and every other annotation are copied, so that the
    two Ingresses are served by the same controller under the same settings.
    """
    metadata = copied_metadata(stable["metadata"])
    own = routing_keys(classtype)
    kept = {key: value for key, value in metadata.get("annotations", {}).items() if key not in own}
    metadata["annotations"] = {**kept, **annotations(routing, classtype)}
    metadata["name"] = stable["metadata"]["name"] + names.CANARY_SUFFIX
    spec: dict[str, Any] = {"rules": _rules(stable, service, canary)}
    for field in ("ingressClassName", "tls"):
        if field in stable.get("spec", {}):
            spec[field] = stable["spec"][field]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def may_reach_canary(ingress: JsonObject, classtype: str) -> bool:
    """Tell whether the canary Ingress, as it is, can send any request to the canary.

    Whatever is not plainly "nothing" counts as reaching: a hand-edited weight must never be read as none.
    """
    return _said(ingress, classtype) != {"canary": "true", "canary-weight": "0"}


def read(ingress: JsonObject, classtype: str) -> Routing | None:
    """Read back a routing that ``render`` wrote; None when somebody else's hand is in it."""
    said = _said(ingress, classtype)
    weight = said.get("canary-weight", "")
    if not _WEIGHT.fullmatch(weight):
        return None
    routing = Routing(int(weight), _matches(said))
    return routing if annotations(routing, classtype) == _prefixed(said, classtype) else None


def routing_keys(classtype: str) -> frozenset[str]:
    """Name every annotation that decides where the canary Ingress sends requests."""
    return frozenset(_prefix(classtype) + key for key in _ROUTING_KEYS)


def annotations(routing: Routing, classtype: str) -> dict[str, str]:
    """Say a routing in annotations."""
    said = {"canary": "true", "canary-weight": str(routing.weight)}
    for match in routing.matches:
        said.update(_match(match))
    return _prefixed(said, classtype)


def _prefixed(said: Mapping[str, str], classtype: str) -> dict[str, str]:
    return {_prefix(classtype) + key: value for key, value in said.items()}


def _said(ingress: JsonObject, classtype: str) -> dict[str, str]:
    """Collect the routing annotations, without their prefix."""
    found = ingress["metadata"].get("annotations") or {}
    prefix = _prefix(classtype)
    return {key: found[prefix + key] for key in _ROUTING_KEYS if prefix + key in found}


def _matches(said: Mapping[str, str]) -> tuple[Match, ...]:
    matches = []
    if name := said.get("canary-by-header"):
        pattern = said.get("canary-by-header-pattern")
        if pattern is None:
            header = HeaderMatch(name, said.get("canary-by-header-value", ""))
        else:
            header = HeaderMatch(name, pattern, MatchType.REGULAR_EXPRESSION)
        matches.append(Match(headers=(header,)))
    if cookie := said.get("canary-by-cookie"):
        matches.append(Match(headers=(HeaderMatch(_COOKIE_HEADER, cookie),)))
    return tuple(matches)


def _match(match: Match) -> dict[str, str]:
    if not match.headers:
        return {}
    header = match.headers[0]
    if header.name == _COOKIE_HEADER:
        return {"canary-by-cookie": header.value}
    regular = header.type is MatchType.REGULAR_EXPRESSION
    kind = "canary-by-header-pattern" if regular else "canary-by-header-value"
    return {"canary-by-header": header.name, kind: header.value}


def _rules(ingress: JsonObject, service: str, backend: str) -> list[dict[str, Any]]:
    """Keep the rules and paths that lead to ``service``, sent to ``backend`` at the same port."""
    kept = []
    for rule in ingress.get("spec", {}).get("rules") or ():
        paths = (rule.get("http") or {}).get("paths") or ()
        moved = [_moved(path, backend) for path in paths if _service(path).get("name") == service]
        if moved:
            kept.append({**rule, "http": {"paths": moved}})
    return kept


def _moved(path: JsonObject, backend: str) -> dict[str, Any]:
    return {**path, "backend": {"service": {**_service(path), "name": backend}}}


def _service(path: JsonObject) -> JsonObject:
    found: JsonObject = (path.get("backend") or {}).get("service") or {}
    return found


def _prefix(classtype: str) -> str:
    return _PREFIXES.get(classtype, _DEFAULT_PREFIX)
