"""Users' own objects changed by a script: rendered, recognised, and given back exactly."""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import names
from rollout.route_kinds import RouteKind
from rollout.spec import HeaderMatch, HeaderModifier, Match, MatchType, PathMatch, QueryMatch
from rollout.traffic import custom, script_book
from rollout.traffic.custom import Backends, Data
from rollout.traffic.lua import Failure, Script
from rollout.traffic.routing import ALL_STABLE, Routing

VIRTUAL_SERVICE = RouteKind("networking.istio.io/v1", "VirtualService")
DESTINATION_RULE = RouteKind("networking.istio.io/v1beta1", "DestinationRule")
WEB = Backends("shop", "web", "web-canary", "abc12")
SAME = Backends("shop", "web", "web", "abc12", "old34")
BETA = Match(headers=(HeaderMatch("X-User", "beta"),))
RICH = Match(
    PathMatch("/cart"),
    (HeaderMatch("x-user", "a.*", MatchType.REGULAR_EXPRESSION),),
    (QueryMatch("lang", "de"),),
)
ROUTINGS = (
    Routing(20),
    Routing(100),
    Routing(0, (BETA, RICH)),
    Routing(5, (BETA,), HeaderModifier(set=(("a", "b"),), add=(("c", "d"),), remove=("e",))),
)


def built_in(kind: RouteKind) -> Script:
    """Give the script that comes with the product."""
    found = script_book.for_kind(kind, {})
    assert isinstance(found, Script)
    return found


def http(*routes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Make one HTTP route."""
    return {"route": list(routes), **more}


def to(host: str, weight: int | None = None, **more: Any) -> dict[str, Any]:
    """Make one destination of a route."""
    weighted = {} if weight is None else {"weight": weight}
    return {"destination": {"host": host, **more}, **weighted}


def rendered(
    routing: Routing, *routes: Mapping[str, Any], backends: Backends = WEB, protocol: str = "http"
) -> list[Any]:
    """Render a VirtualService with these routes; gives its routes."""
    original = Data({"hosts": ["web"], protocol: list(routes)})
    found = custom.render(original, routing, built_in(VIRTUAL_SERVICE), backends)
    assert isinstance(found, Data), found
    assert found.spec["hosts"] == ["web"]
    routes_found: list[Any] = found.spec[protocol]
    return routes_found


# --- the built-in scripts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["web", "web.shop", "web.shop.svc.cluster.local"], ids=["short", "namespaced", "full"]
)
def test_weight_divides_the_route_to_the_stable_service(host: str) -> None:
    """However the host is written, the canary's is written the same way."""
    (route,) = rendered(Routing(20), http(to(host, subset="v1"), timeout="5s"))

    canary = host.replace("web", "web-canary", 1)
    assert route == http(to(host, 80, subset="v1"), to(canary, 20), timeout="5s")


@pytest.mark.parametrize("host", ["webshop", "web.other", "web.other.svc.cluster.local", "web.example.com"])
def test_route_to_elsewhere_is_left_alone(host: str) -> None:
    """A namesake in another namespace, or a host that only begins the same, is somebody else's."""
    given_ = [http(to(host)), {"redirect": {"uri": "/"}}]

    assert rendered(Routing(20), *given_) == given_


def test_share_of_the_stable_destination_is_what_is_divided() -> None:
    """Of requests that its owner sends elsewhere the canary gets none."""
    (route,) = rendered(Routing(10), http(to("other", 60), to("web", 40)))

    assert route == http(to("other", 60), to("web", 36), to("web-canary", 4))


@pytest.mark.parametrize("protocol", ["http", "tcp", "tls"])
def test_weights_are_for_every_protocol(protocol: str) -> None:
    """What goes to the Service goes to its canary by the same share."""
    (route,) = rendered(Routing(25), http(to("web")), protocol=protocol)

    assert route == http(to("web", 75), to("web-canary", 25))


def test_matches_stand_before_the_route_that_they_narrow() -> None:
    """All that its owner asks for still has to hold."""
    theirs = [{"uri": {"prefix": "/shop"}, "headers": {"x-team": {"exact": "a"}}}, {"port": 80}]
    first, second = rendered(Routing(0, (BETA,)), http(to("web"), match=theirs, name="all"))

    assert second == http(to("web"), match=theirs, name="all")
    assert first == {
        "name": "all-canary",
        "match": [
            {
                "uri": {"prefix": "/shop"},
                "headers": {"x-team": {"exact": "a"}, "x-user": {"exact": "beta"}},
            },
            {"port": 80, "headers": {"x-user": {"exact": "beta"}}},
        ],
        "route": [to("web-canary")],
    }


def test_match_says_path_headers_and_query() -> None:
    """Every condition of the API has one of Istio's."""
    first, _ = rendered(Routing(0, (RICH,)), http(to("web")))

    assert first["match"] == [
        {
            "uri": {"prefix": "/cart"},
            "headers": {"x-user": {"regex": "a.*"}},
            "queryParams": {"lang": {"exact": "de"}},
        }
    ]


def test_weight_and_match_together_keep_the_matching_route_whole() -> None:
    """Requests that match go to the canary; of the others its share."""
    first, second = rendered(ROUTINGS[3], http(to("web")))

    assert first["route"] == [to("web-canary")]
    assert first["headers"] == {"request": {"set": {"a": "b"}, "add": {"c": "d"}, "remove": ["e"]}}
    assert second == http(to("web", 95), to("web-canary", 5))


def test_canary_behind_the_stable_service_is_its_subset() -> None:
    """Without a Service of its own the canary is told apart by the DestinationRule."""
    first, second = rendered(ROUTINGS[3], http(to("web")), backends=SAME)
    _, owned = rendered(ROUTINGS[3], http(to("web", subset="v1")), backends=SAME)
    rule = Data({"host": "web.shop.svc.cluster.local", "subsets": [{"name": "v1"}]})
    ruled = custom.render(rule, Routing(20), built_in(DESTINATION_RULE), SAME)

    assert first["route"] == [to("web", subset="canary")]
    assert second == http(to("web", 95, subset="stable"), to("web", 5, subset="canary"))
    assert owned == http(to("web", 95, subset="v1"), to("web", 5, subset="canary"))
    assert isinstance(ruled, Data)
    assert ruled.spec["subsets"] == [
        {"name": "v1"},
        {"name": "stable", "labels": {"pod-template-hash": "old34"}},
        {"name": "canary", "labels": {"pod-template-hash": "abc12"}},
    ]


@pytest.mark.parametrize(("backends", "host"), [(WEB, "web"), (SAME, "other")])
def test_destination_rule_is_left_alone_where_the_canary_is_no_subset_of_it(
    backends: Backends, host: str
) -> None:
    """A canary with a Service of its own is a host of its own."""
    rule = Data({"host": host})

    assert custom.render(rule, Routing(20), built_in(DESTINATION_RULE), backends) == rule


# --- whatever a script does -------------------------------------------------------------------------

CHANGING = Script(
    "test",
    """
    obj.data.spec.share = obj.canaryWeight
    obj.data.spec.to = obj.canaryService
    obj.data.spec.old = nil
    obj.data.spec.nested = {inner = {obj.stableService}}
    obj.data.labels = {canary = "yes"}
    obj.data.annotations.extra = "1"
    return obj.data
    """,
)
TEXTS = st.text("abc-/", min_size=1, max_size=4)
JSON = st.recursive(
    st.booleans() | st.integers(-1000, 1000) | st.text("ab ü", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.builds(
    lambda spec, labels, annotations: {
        "metadata": {"generation": 1, "labels": labels, "annotations": annotations},
        "spec": spec,
    },
    st.dictionaries(TEXTS | st.sampled_from(["old", "nested", "share"]), JSON, max_size=4),
    st.dictionaries(TEXTS | st.just("canary"), TEXTS, max_size=3),
    st.dictionaries(TEXTS | st.just("extra"), TEXTS, max_size=3),
)


def merged(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def written(live: Mapping[str, Any], routing: Routing, script: Script | Failure = CHANGING) -> dict[str, Any]:
    """Do what the route does: render, and write with the marks; the generation counts changes of the spec."""
    original = custom.original_of(live) or custom.data_of(live)
    wanted = custom.render(original, routing, script, WEB)
    assert isinstance(wanted, Data)
    change = custom.change(live, original, wanted, custom.record_of(live))
    record = custom.record(live, original, wanted, routing, WEB)
    marks = {
        names.ORIGINAL_SPEC: custom.remembered(original),
        names.ROUTING: record.text,
        names.ROUTED_BY: "web",
    }
    after = merged(merged(live, change), {"metadata": {"annotations": marks}})
    assert isinstance(after, dict)
    return counted(live, after)


def counted(before: Mapping[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Count a change of the spec as the API server does."""
    moved = json.dumps(before["spec"], sort_keys=True) != json.dumps(after["spec"], sort_keys=True)
    after["metadata"] = {**after["metadata"], "generation": before["metadata"]["generation"] + moved}
    return after


def plain(live: Mapping[str, Any]) -> str:
    """Write all but the generation, as bytes compare."""
    metadata = {key: live["metadata"].get(key) or {} for key in ("labels", "annotations")}
    return json.dumps([live["spec"], metadata], sort_keys=True)


@given(OBJECTS, st.lists(st.sampled_from([*ROUTINGS, ALL_STABLE]), max_size=4))
def test_object_is_given_back_exactly(before: dict[str, Any], routings: list[Routing]) -> None:
    """Whatever was routed in between, and however often."""
    live = before
    for routing in [ALL_STABLE, *routings]:
        live = written(live, routing)
    patch = custom.given_back(live)

    assert patch is not None
    assert plain(merged(live, patch)) == plain(before)


@given(OBJECTS, st.sampled_from(ROUTINGS))
def test_silence_needs_no_script(before: dict[str, Any], routing: Routing) -> None:
    """A script that is gone or broken cannot keep traffic on the canary."""
    live = written(written(before, ALL_STABLE), routing)
    silent = written(live, ALL_STABLE, Failure("gone"))

    assert silent["spec"] == before["spec"]
    assert plain(merged(silent, custom.given_back(silent))) == plain(before)


@given(OBJECTS, st.sampled_from(ROUTINGS))
def test_what_we_wrote_is_recognised(before: dict[str, Any], routing: Routing) -> None:
    """Also when the API server has filled in defaults; not when somebody changed it after."""
    live = written(written(before, ALL_STABLE), routing)
    record = custom.record_of(live)
    defaulted = {**live, "spec": {**live["spec"], "defaulted": True}}
    edited = counted(live, {**deepcopy(live), "spec": {**live["spec"], "edited": True}})

    assert record is not None
    assert record.routing == routing
    assert custom.is_ours(live, record)
    assert custom.is_ours(defaulted, record)
    assert not custom.is_ours(edited, record)


def test_edit_with_the_canary_in_it_is_no_new_original() -> None:
    """Somebody changed what we wrote: it goes back to what it was before."""
    before = {"metadata": {"generation": 1}, "spec": {"a": 1}}
    live = written(written(before, ALL_STABLE), Routing(20))
    edited = counted(live, {**deepcopy(live), "spec": {**live["spec"], "share": 90}})
    record = custom.record_of(edited)

    assert record is not None
    assert not custom.is_new_original(edited, record)
    assert merged(edited, custom.given_back(edited))["spec"] == {"a": 1}


def test_spec_without_the_canary_is_a_new_original() -> None:
    """Its owner has put another one in its place, and keeps it."""
    before = {"metadata": {"generation": 1}, "spec": {"a": 1}}
    live = written(written(before, ALL_STABLE), Routing(20))
    replaced = counted(live, {**deepcopy(live), "spec": {"a": 2}})
    record = custom.record_of(replaced)

    assert record is not None
    assert custom.is_new_original(replaced, record)
    assert merged(replaced, custom.given_back(replaced))["spec"] == {"a": 2}


def test_label_that_somebody_else_adds_meanwhile_stays() -> None:
    """Only what the script touched is ours to take away."""
    before = {"metadata": {"generation": 1, "labels": {"team": "shop"}}, "spec": {}}
    live = written(written(before, ALL_STABLE), Routing(20))
    live["metadata"]["labels"]["added"] = "meanwhile"

    back = merged(live, custom.given_back(live))

    assert back["metadata"]["labels"] == {"team": "shop", "added": "meanwhile"}


def test_script_hears_no_weight_where_only_matches_route() -> None:
    """As this API has always said it: -1 for the canary, 101 for the stable side."""
    source = "obj.data.spec.said = {obj.canaryWeight, obj.stableWeight, #obj.matches} return obj.data"

    found = custom.render(Data({}), Routing(0, (BETA,)), Script("test", source), WEB)

    assert isinstance(found, Data)
    assert found.spec["said"] == [-1, 101, 1]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("return {labels = {}}", "test: returns no table spec"),
        ("return {spec = {a = 1}, labels = {a = 1}}", "test: returns labels that are not texts by name"),
        (
            "return {spec = {a = 1}, annotations = {'a'}}",
            "test: returns annotations that are not texts by name",
        ),
    ],
)
def test_result_that_is_no_object_is_refused(source: str, why: str) -> None:
    """Nothing is written that the API server, or the mesh, would have to make sense of."""
    assert custom.render(Data({}), Routing(20), Script("test", source), WEB) == Failure(why)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"weight": 5}',
        '{"weight": "x", "matches": [{}], "digest": 1}',
        "[" * 10_000,
    ],
)
def test_mark_that_cannot_be_read_is_none(text: str) -> None:
    """Annotations are anybody's to write."""
    manifest = {
        "metadata": {"annotations": {names.ROUTING: text, names.ORIGINAL_SPEC: text}},
        "spec": {"a": 1},
    }

    assert custom.record_of(manifest) is None
    assert custom.original_of(manifest) is None
    assert custom.given_back(manifest) is None


def test_users_script_comes_before_the_one_built_in() -> None:
    """And a kind without either says where to put one."""
    key = "lua.traffic.routing.VirtualService.networking.istio.io"

    assert script_book.for_kind(VIRTUAL_SERVICE, {key: "mine"}) == Script(key, "mine")
    assert script_book.for_kind(RouteKind("a.example.com/v1", "Lane"), {}) == Failure(
        "no script: put one into ConfigMap kruise-rollout-configuration, key "
        "lua.traffic.routing.Lane.a.example.com, in the reconciler's namespace"
    )
