"""HTTPRoutes for tests: a plain example, everything that the API allows in little, and who gets a request.

``taker`` is a second, small statement of the API's own text on precedence, so that tests do not lean on
the code whose data plane it plays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from rollout.spec import HeaderMatch, HeaderModifier, Match, PathMatch, PathMatchType, QueryMatch
from rollout.traffic.routing import Routing
from rollout.wire import JsonObject

Json = dict[str, Any]

NAMESPACE = "default"
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}


def backend(name: str = "web", weight: int = 1, **more: Any) -> Json:
    """Return a backendRef as an API server gives it back."""
    return {"group": "", "kind": "Service", "name": name, "port": 8080, "weight": weight, **more}


def match(path: str = "/", kind: str = "PathPrefix", **more: Any) -> Json:
    """Return a match as an API server gives it back."""
    return {"path": {"type": kind, "value": path}, **more}


def rule(*backends: Json, matches: Iterable[Json] = (match(),), **more: Any) -> Json:
    """Return a rule."""
    return {"matches": list(matches), "backendRefs": list(backends) or [backend()], **more}


def header(name: str, value: str = "1", kind: str = "Exact") -> Json:
    """Return a condition on a header or query parameter."""
    return {"type": kind, "name": name, "value": value}


def http_route(*rules: Json, name: str = "web", accepted: bool = True) -> Json:
    """Return an HTTPRoute; a Gateway has accepted it."""
    condition = {"type": "Accepted", "status": "True", "reason": "Accepted", "observedGeneration": 1}
    parents = [{"parentRef": GATEWAY, "controllerName": "example.com/x", "conditions": [condition]}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "annotations": {"example.com/team": "blue"}},
        "spec": {"parentRefs": [GATEWAY], "hostnames": ["web.example.com"], "rules": list(rules) or [rule()]},
        "status": {"parents": parents if accepted else []},
    }


# --- everything that the API allows, in little -------------------------------------------------------

_PATHS = ["/", "/a", "/a/b", "/a/b/c", "/b", "/ab"]
_NAMES = ["x", "y", "z"]
_VALUES = ["1", "2"]


def _conditions(names: list[str], most: int = 2) -> st.SearchStrategy[list[Json]]:
    drawn = st.dictionaries(st.sampled_from(names), st.sampled_from(_VALUES), max_size=most)
    return drawn.map(lambda found: [header(name, value) for name, value in found.items()])


@st.composite
def matches(draw: st.DrawFn) -> Json:
    """Draw a match of a rule."""
    drawn = match(draw(st.sampled_from(_PATHS)), draw(st.sampled_from(["PathPrefix", "PathPrefix", "Exact"])))
    if draw(st.integers(0, 3)) == 0:
        drawn["method"] = draw(st.sampled_from(["GET", "POST"]))
    for key in ("headers", "queryParams"):
        if conditions := draw(_conditions(_NAMES)):
            drawn[key] = conditions
    return drawn


_FILTERS: list[Json] = [
    {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "a", "value": "b"}]}},
    {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Own", "value": "1"}]}},
    {"type": "RequestMirror", "requestMirror": {"backendRef": {"group": "", "kind": "Service", "name": "m"}}},
]
_filters = st.lists(st.sampled_from(_FILTERS), max_size=2, unique_by=lambda each: each["type"])


@st.composite
def rules(draw: st.DrawFn, *, leads: bool | None = None) -> Json:
    """Draw a rule; ``leads`` says whether to the stable Service."""
    others = draw(st.lists(st.sampled_from(["api", "static"]), max_size=2, unique=True))
    stable = draw(st.booleans()) if leads is None else leads
    services = [*(["web"] if stable else []), *others] or ["api"]
    weights = st.sampled_from([1, 1, 2, 50, 100, 7, 333_333, 1_000_000])
    refs = [backend(name, draw(weights)) for name in draw(st.permutations(services))]
    if filters := draw(_filters):
        refs[0]["filters"] = filters
    drawn = rule(*refs, matches=draw(st.lists(matches(), min_size=1, max_size=2)))
    if filters := draw(_filters):
        drawn["filters"] = filters
    if draw(st.booleans()):
        drawn["timeouts"] = {"request": "10s"}
    return drawn


@st.composite
def rule_lists(draw: st.DrawFn) -> list[Json]:
    """Draw the rules of a route, of which one at least leads to the stable Service."""
    drawn = [draw(rules(leads=True)), *draw(st.lists(rules(), max_size=3))]
    return list(draw(st.permutations(drawn)))


@st.composite
def step_matches(draw: st.DrawFn) -> Match:
    """Draw a match of a step."""
    kinds = st.sampled_from([PathMatchType.PREFIX, PathMatchType.EXACT])
    path = draw(st.none() | st.builds(PathMatch, st.sampled_from(_PATHS), kinds))
    headers = tuple(HeaderMatch(e["name"], e["value"]) for e in draw(_conditions(["x", "canary", "user"])))
    query = tuple(QueryMatch(e["name"], e["value"]) for e in draw(_conditions(["y", "version"], 1)))
    drawn = Match(path, headers, query)
    return drawn if drawn != Match() else Match(headers=(HeaderMatch("canary", "1"),))


modifiers = st.builds(
    HeaderModifier,
    set=st.just((("X-Own", "2"),)) | st.just(()),
    add=st.just((("X-Canary", "yes"),)) | st.just(()),
    remove=st.just(("X-Gone",)) | st.just(()),
)
routings = st.builds(
    Routing,
    st.integers(1, 100),
    st.lists(step_matches(), max_size=2, unique=True).map(tuple),
    st.none() | modifiers,
)


# --- who gets a request ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What an HTTPRoute can look at."""

    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@st.composite
def requests(draw: st.DrawFn, said: list[JsonObject]) -> Request:
    """Draw a request that tries to satisfy several matches at once."""
    tried = draw(st.lists(st.sampled_from(said), min_size=1, max_size=3))
    found: dict[str, dict[str, str]] = {
        key: {each["name"]: each["value"] for one in tried for each in one.get(key, ())}
        for key in ("headers", "queryParams")
    }
    path = max((one.get("path", {}).get("value", "/") for one in tried), key=len)
    deeper = draw(st.sampled_from(["", "", "/d"]))
    method = next((one["method"] for one in tried if "method" in one), "GET")
    return Request(path.rstrip("/") + deeper or "/", method, found["headers"], found["queryParams"])


def taker(found: Iterable[JsonObject], request: Request) -> JsonObject | None:
    """Return the rule that takes a request."""
    best: tuple[tuple[Any, ...], JsonObject] | None = None
    for each in found:
        for one in each["matches"]:
            rank = _rank(one)
            if fits(one, request) and (best is None or rank > best[0]):
                best = (rank, each)
    return best[1] if best else None


def fits(one: JsonObject, request: Request) -> bool:
    """Tell whether a request satisfies a match."""
    path = one.get("path", {"type": "PathPrefix", "value": "/"})
    whole, prefix = request.path.split("/"), path["value"].rstrip("/").split("/")
    exact = path["type"] == "Exact"
    return (
        (request.path == path["value"] if exact else whole[: len(prefix)] == prefix)
        and one.get("method", request.method) == request.method
        and all(request.headers.get(each["name"]) == each["value"] for each in one.get("headers", ()))
        and all(request.query.get(each["name"]) == each["value"] for each in one.get("queryParams", ()))
    )


def _rank(one: JsonObject) -> tuple[Any, ...]:
    exact = one["path"]["type"] == "Exact"
    counts = [len(one.get(key, ())) for key in ("headers", "queryParams")]
    return (exact, 0 if exact else len(one["path"]["value"]), "method" in one, *counts)
