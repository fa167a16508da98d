"""The nginx annotation family: what each step says on the canary Ingress, and what is read back from it."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rollout.spec import HeaderMatch, Match, MatchType, PathMatch, QueryMatch
from rollout.traffic import nginx
from rollout.traffic.routing import ALL_STABLE, Routing
from tests.unit.rollout.model.world import HOST, ingress

NGINX, ALB = "nginx.ingress.kubernetes.io/", "alb.ingress.kubernetes.io/"


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
        {"canary-weight": "0", "canary-by-header": "x-team", "canary-by-header-value": "a"},
        id="header",
    ),
    pytest.param(
        Routing(0, (header("x-team", "a|b", REGULAR),)),
        {"canary-weight": "0", "canary-by-header": "x-team", "canary-by-header-pattern": "a|b"},
        id="header pattern",
    ),
    pytest.param(
        Routing(0, (header("canary-by-cookie", "beta"),)),
        {"canary-weight": "0", "canary-by-cookie": "beta"},
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


@pytest.mark.parametrize(
    ("classtype", "prefix"), [("nginx", NGINX), ("higress", NGINX), ("mse", NGINX), ("aliyun-alb", ALB)]
)
@pytest.mark.parametrize(("routing", "said"), SAID)
def test_annotations_of_each_class(
    classtype: str, prefix: str, routing: Routing, said: dict[str, str]
) -> None:
    """The table of the contract: one set of keys, spelled with the class's prefix."""
    expected = {prefix + key: value for key, value in {"canary": "true", **said}.items()}

    assert nginx.annotations(routing, classtype) == expected


@pytest.mark.parametrize(("routing", "said"), SAID)
def test_rendered_routing_reads_back(routing: Routing, said: dict[str, str]) -> None:
    """What was rendered is read as what was meant, and rendering it again changes nothing."""
    rendered = nginx.render(ingress(), "web", "web-canary", "nginx", routing)

    assert said
    assert nginx.read(rendered, "nginx") == routing
    assert nginx.may_reach_canary(rendered, "nginx") == routing.reaches_canary


@given(st.dictionaries(st.sampled_from(sorted(nginx.routing_keys("nginx"))), st.text(max_size=5)))
def test_only_what_plainly_says_nothing_counts_as_nothing(annotations: dict[str, str]) -> None:
    """However they were edited: no routing is read that they do not say, and doubt counts as traffic."""
    live = {"metadata": {"annotations": annotations}}
    read = nginx.read(live, "nginx")

    assert read is None or nginx.annotations(read, "nginx") == annotations
    nothing = annotations == nginx.annotations(ALL_STABLE, "nginx")
    assert nginx.may_reach_canary(live, "nginx") is not nothing


@pytest.mark.parametrize("match", [Match(path=PathMatch("/x")), Match(query=(QueryMatch("a", "b"),))])
def test_match_that_annotations_cannot_say_is_never_widened(match: Match) -> None:
    """Paths and query parameters have no annotation: such a match sends nobody to the canary."""
    assert nginx.annotations(Routing(0, (match,)), "nginx") == nginx.annotations(ALL_STABLE, "nginx")


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
    rendered = nginx.render(stable, "web", "web-canary", "nginx", Routing(20))

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
    rendered = nginx.render(stable, "web", "web-canary", "nginx", Routing(20))

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
    nginx.render(stable, "web", "web-canary", "nginx", Routing(20))

    assert stable == ingress()
