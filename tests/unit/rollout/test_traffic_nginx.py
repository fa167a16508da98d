"""The nginx annotation family: what each step says on the canary Ingress, and what is read back from it."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rollout.spec import (
    Amount,
    HeaderMatch,
    HeaderModifier,
    Match,
    MatchType,
    PathMatch,
    QueryMatch,
    Step,
)
from rollout.traffic import nginx
from rollout.traffic.ingress_classes import CLASSES, limits
from rollout.traffic.routing import ALL_STABLE, Routing
from tests.unit.rollout.model.routing import HOST, ingress

NGINX, ALB = "nginx.ingress.kubernetes.io/", "alb.ingress.kubernetes.io/"
MSE = "mse.ingress.kubernetes.io/"


def header(name: str, value: str, kind: MatchType = MatchType.EXACT) -> Match:
    """Return a match of one header."""
    return Match(headers=(HeaderMatch(name, value, kind),))


REGULAR = MatchType.REGULAR_EXPRESSION
SAID = [
    pytest.param(Routing(0), {"canary-weight": "0"}, id="nothing"),
    pytest.param(Routing(20), {"canary-weight": "20"}, id="weight"),
    pytest.param(Routing(100), {"canary-weight": "100"}, id="all"),
    pytest.param(
        Routing(0, (header("x-team", "a"),)),
        {"canary-by-header": "x-team", "canary-by-header-value": "a"},
        id="header",
    ),
    pytest.param(
        Routing(0, (header("x-team", "a|b", REGULAR),)),
        {"canary-by-header": "x-team", "canary-by-header-pattern": "a|b"},
        id="header pattern",
    ),
    pytest.param(
        Routing(0, (header("canary-by-cookie", "beta"),)),
        {"canary-by-cookie": "beta"},
        id="cookie",
    ),
    pytest.param(
        Routing(5, (header("x-team", "a"), header("canary-by-cookie", "beta"))),
        {
            "canary-weight": "5",
            "canary-by-header": "x-team",
            "canary-by-header-value": "a",
            "canary-by-cookie": "beta",
        },
        id="header, cookie and weight",
    ),
]


ALWAYS = {"aliyun-alb": {ALB + "order": "1"}}


@pytest.mark.parametrize(
    ("classtype", "prefix"), [("nginx", NGINX), ("higress", NGINX), ("mse", NGINX), ("aliyun-alb", ALB)]
)
@pytest.mark.parametrize(("routing", "said"), SAID)
def test_annotations_of_each_class(
    classtype: str, prefix: str, routing: Routing, said: dict[str, str]
) -> None:
    """The table of the contract: one set of keys, spelled with the class's prefix."""
    expected = {prefix + key: value for key, value in {"canary": "true", **said}.items()}

    assert nginx.annotations(routing, classtype) == expected | ALWAYS.get(classtype, {})


def query(name: str, value: str, kind: MatchType = MatchType.EXACT) -> Match:
    """Return a match of one query parameter."""
    return Match(query=(QueryMatch(name, value, kind),))


SAID_BY_MSE = [
    pytest.param(
        Routing(0, (query("lane", "beta"),)),
        {NGINX + "canary-by-query": "lane", NGINX + "canary-by-query-value": "beta"}
        | {MSE + "canary-by-query": "lane", MSE + "canary-by-query-value": "beta"},
        id="query parameter",
    ),
    pytest.param(
        Routing(10, (query("lane", "b.*", REGULAR),)),
        {
            NGINX + "canary-weight": "10",
            NGINX + "canary-by-query": "lane",
            NGINX + "canary-by-query-pattern": "b.*",
            MSE + "canary-by-query": "lane",
            MSE + "canary-by-query-pattern": "b.*",
        },
        id="query parameter pattern",
    ),
    pytest.param(
        Routing(10, (), HeaderModifier(set=(("x-lane", "beta"),))),
        {NGINX + "canary-weight": "10", MSE + "request-header-control-update": "x-lane beta"},
        id="one header set",
    ),
    pytest.param(
        Routing(10, (), HeaderModifier(set=(("x-lane", "a b"), ("x-team", "c")))),
        {NGINX + "canary-weight": "10", MSE + "request-header-control-update": "x-lane a b\nx-team c"},
        id="two headers set, one a line",
    ),
]


@pytest.mark.parametrize(("routing", "said"), SAID_BY_MSE)
def test_annotations_that_mse_has_besides(routing: Routing, said: dict[str, str]) -> None:
    """Query parameters in both spellings (users know one, the gateway one), and headers that are set."""
    assert nginx.annotations(routing, "mse") == {NGINX + "canary": "true", **said}


READ = [(each.values, name) for each in SAID for name in CLASSES] + [(e.values, "mse") for e in SAID_BY_MSE]


@pytest.mark.parametrize(("given", "classtype"), READ)
def test_rendered_routing_reads_back(given: tuple[Routing, dict[str, str]], classtype: str) -> None:
    """What was rendered is read as what was meant, and rendering it again changes nothing."""
    routing = given[0]
    rendered = nginx.render(ingress(), {"web": "web-canary"}, classtype, routing)

    assert nginx.read(rendered, classtype) == routing
    assert nginx.may_reach_canary(rendered, classtype) == routing.reaches_canary


def test_subset_of_mse_is_the_gray_one() -> None:
    """Where the stable Ingress names a subset of its Service's pods, the canary's names its own."""
    stable = ingress()
    stable["metadata"]["annotations"][MSE + "service-subset"] = "base"

    rendered = nginx.render(stable, {"web": "web-canary"}, "mse", Routing(20))
    bare = nginx.render(ingress(), {"web": "web-canary"}, "mse", Routing(20))

    assert rendered["metadata"]["annotations"][MSE + "service-subset"] == "gray"
    assert MSE + "service-subset" not in bare["metadata"]["annotations"]


def test_headers_that_the_stable_ingress_sets_are_set_for_the_canary_too() -> None:
    """Unless the step sets its own, the canary is asked just as the stable version is."""
    stable = ingress()
    stable["metadata"]["annotations"][MSE + "request-header-control-update"] = "x-site a"

    rendered = nginx.render(stable, {"web": "web-canary"}, "mse", Routing(20))

    assert rendered["metadata"]["annotations"][MSE + "request-header-control-update"] == "x-site a"


A_COOKIE = header("canary-by-cookie", "beta")
BEYOND = [
    pytest.param("nginx", (query("a", "b"),), "match a query parameter", id="query"),
    pytest.param("higress", (query("a", "b"),), "match a query parameter", id="query higress"),
    pytest.param("aliyun-alb", (query("a", "b"),), "match a query parameter", id="query alb"),
    pytest.param("mse", (Match(path=PathMatch("/x")),), "match a path", id="path"),
    pytest.param(
        "mse",
        (Match(headers=header("a", "b").headers, query=query("a", "b").query),),
        "match several conditions at once",
        id="header and query",
    ),
    pytest.param(
        "nginx",
        (header("a", "1"), header("a", "2")),
        "have two matches by header in one step",
        id="two headers",
    ),
    pytest.param("nginx", (A_COOKIE, A_COOKIE), "have two matches by cookie in one step", id="two cookies"),
    pytest.param(
        "mse",
        (query("a", "1"), query("a", "2")),
        "have two matches by query parameter in one step",
        id="two queries",
    ),
    pytest.param(
        "nginx",
        (header("canary-by-cookie", "b.*", REGULAR),),
        "match a cookie by regular expression",
        id="cookie pattern",
    ),
]


@pytest.mark.parametrize(("classtype", "matches", "what"), BEYOND)
def test_match_that_a_class_cannot_say_is_named(
    classtype: str, matches: tuple[Match, ...], what: str
) -> None:
    """Written in part, or one over the other, it would send other requests to the canary than were meant."""
    assert [each.what for each in limits(classtype, Step(Amount(1), matches=matches))] == [what]


@pytest.mark.parametrize("classtype", sorted(CLASSES))
def test_matches_of_different_kinds_go_together(classtype: str) -> None:
    """A header and a cookie are two ways in, with a weight besides."""
    step = Step(Amount(1), weight=5, matches=(header("a", "b.*", REGULAR), A_COOKIE))

    assert list(limits(classtype, step)) == []


MODIFIERS = [
    ("nginx", HeaderModifier(set=(("a", "b"),)), "change headers for the canary alone"),
    ("aliyun-alb", HeaderModifier(set=(("a", "b"),)), "change headers for the canary alone"),
    ("mse", HeaderModifier(add=(("a", "b"),)), "add or remove headers, only set them"),
    ("mse", HeaderModifier(remove=("a",)), "add or remove headers, only set them"),
    (
        "mse",
        HeaderModifier(set=(("a", "b\nx-admin yes"),)),
        "set a header whose name has a space or whose value has a line break",
    ),
]


@pytest.mark.parametrize(("classtype", "modifier", "what"), MODIFIERS)
def test_change_of_headers_that_a_class_cannot_make_is_named(
    classtype: str, modifier: HeaderModifier, what: str
) -> None:
    """Nothing that was asked for is left out in silence, and no line is smuggled in."""
    step = Step(Amount(1), weight=5, request_header_modifier=modifier)

    assert [each.what for each in limits(classtype, step)] == [what]


@pytest.mark.parametrize("classtype", sorted(CLASSES))
def test_total_of_weights_is_never_copied(classtype: str) -> None:
    """With a total of 10, a weight of 5 would be half of all requests."""
    stable, prefix = ingress(), ALB if classtype == "aliyun-alb" else NGINX
    stable["metadata"]["annotations"][prefix + "canary-weight-total"] = "10"

    rendered = nginx.render(stable, {"web": "web-canary"}, classtype, Routing(5))

    assert prefix + "canary-weight-total" not in rendered["metadata"]["annotations"]


@given(st.dictionaries(st.sampled_from(sorted(nginx.routing_keys("nginx"))), st.text(max_size=5)))
def test_only_what_plainly_says_nothing_counts_as_nothing(annotations: dict[str, str]) -> None:
    """However they were edited: no routing is read that they do not say, and doubt counts as traffic."""
    live = {"metadata": {"annotations": annotations}}
    read = nginx.read(live, "nginx")

    assert read is None or nginx.annotations(read, "nginx") == annotations
    nothing = annotations == nginx.annotations(ALL_STABLE, "nginx")
    assert nginx.may_reach_canary(live, "nginx") is not nothing


def test_only_paths_to_the_stable_service_are_copied() -> None:
    """Other backends, and rules without one of ours, stay out of the canary Ingress; ports stay."""
    stable = ingress()
    path = stable["spec"]["rules"][0]["http"]["paths"][0]
    other = {**path, "path": "/other", "backend": {"service": {"name": "other", "port": {"name": "http"}}}}
    resource = {**path, "path": "/files", "backend": {"resource": {"kind": "Bucket", "name": "files"}}}
    named = {**path, "path": "/named", "backend": {"service": {"name": "web", "port": {"name": "http"}}}}
    stable["spec"]["rules"] = [
        {"host": HOST, "http": {"paths": [path, other, resource, named]}},
        {"host": "other.example.com", "http": {"paths": [other]}},
        {"host": "empty.example.com"},
    ]
    rendered = nginx.render(stable, {"web": "web-canary"}, "nginx", Routing(20))

    rules = rendered["spec"]["rules"]
    assert [each["host"] for each in rules] == [HOST]
    assert [each["path"] for each in rules[0]["http"]["paths"]] == ["/", "/named"]
    backends = [each["backend"]["service"] for each in rules[0]["http"]["paths"]]
    assert backends == [
        {"name": "web-canary", "port": {"number": 8080}},
        {"name": "web-canary", "port": {"name": "http"}},
    ]


def test_class_tls_and_settings_are_copied_and_trackers_are_not() -> None:
    """The same controller serves both under the same settings; no pruning tool takes our copy for its own."""
    stable: dict[str, Any] = ingress()
    stable["spec"] |= {
        "ingressClassName": "public",
        "tls": [{"hosts": [HOST], "secretName": "cert"}],
        "defaultBackend": {"service": {"name": "web", "port": {"number": 8080}}},
    }
    stable["metadata"]["annotations"] |= {
        NGINX + "proxy-body-size": "1m",
        NGINX + "canary-weight": "99",
        "argocd.argoproj.io/tracking-id": "x",
        "meta.helm.sh/release-name": "x",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    rendered = nginx.render(stable, {"web": "web-canary"}, "nginx", Routing(20))

    assert rendered["spec"].keys() == {"rules", "ingressClassName", "tls"}
    assert rendered["metadata"]["annotations"] == {
        "kubernetes.io/ingress.class": "nginx",
        NGINX + "proxy-body-size": "1m",
        NGINX + "canary": "true",
        NGINX + "canary-weight": "20",
    }


def test_rendering_leaves_the_users_ingress_as_it_was() -> None:
    """The stable Ingress is read, never written."""
    stable = ingress()
    nginx.render(stable, {"web": "web-canary"}, "nginx", Routing(20))

    assert stable == ingress()
