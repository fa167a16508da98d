"""HTTPRoute rules: who gets which requests during a release, and that the user's own rules come back."""

from typing import Any

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from rollout import names
from rollout.spec import HeaderMatch, HeaderModifier, Match, MatchType, PathMatch, PathMatchType, QueryMatch
from rollout.traffic.gateway import marks
from rollout.traffic.gateway.backends import Backends
from rollout.traffic.gateway.marks import Marks
from rollout.traffic.gateway.matches import Unsayable, asked, overlaps
from rollout.traffic.gateway.recovery import recover
from rollout.traffic.gateway.rules import render
from rollout.traffic.routing import ALL_STABLE, Routing
from tests.unit.rollout.http_routes import (
    NAMESPACE,
    Request,
    backend,
    fits,
    header,
    http_route,
    match,
    requests,
    routings,
    rule,
    rule_lists,
    step_matches,
    taker,
)
from tests.unit.search import dear

BACKENDS = Backends(NAMESPACE, frozenset({"web"}))
Rules = list[dict[str, Any]]


def by_header(*names: str) -> Routing:
    """Return a routing by headers."""
    return Routing(matches=(Match(headers=tuple(HeaderMatch(name, "1") for name in names)),))


def shares(refs: Rules) -> dict[str, float]:
    """Return each backend's share of a rule's requests."""
    total = sum(ref["weight"] for ref in refs)
    return {ref["name"]: ref["weight"] / total for ref in refs} if total else {}


# --- weights ---------------------------------------------------------------------------------------


def test_canary_is_named_before_and_after_it_gets_requests() -> None:
    """Envoy answers 503 where it has a route and not yet, or no more, the cluster that the route names."""
    (found,) = render([rule(backend("web", 1))], BACKENDS, ALL_STABLE)

    assert [(each["name"], each["weight"]) for each in found["backendRefs"]] == [
        ("web", 100),
        ("web-canary", 0),
    ]


def test_silence_can_always_be_said() -> None:
    """Also on a rule that has no room for another backend: by the user's own rules."""
    full = [rule(*(backend(name, 1) for name in ("web", *(f"other-{number}" for number in range(15)))))]

    assert render(full, BACKENDS, ALL_STABLE) == full
    with pytest.raises(Unsayable):
        render(full, BACKENDS, Routing(20))


@pytest.mark.parametrize(
    ("refs", "weight", "expected"),
    [
        ([("web", 1)], 20, [("web", 80), ("web-canary", 20)]),
        ([("web", 1)], 100, [("web", 0), ("web-canary", 100)]),
        ([("web", 90), ("api", 10)], 50, [("web", 4500), ("web-canary", 4500), ("api", 1000)]),
        ([("web", 0), ("api", 1)], 50, [("web", 0), ("api", 1)]),
        ([("web", 1_000_000)], 33, [("web", 670_000), ("web-canary", 330_000)]),
        ([("web", 3), ("api", 1_000_000)], 50, [("web", 2), ("web-canary", 1), ("api", 1_000_000)]),
    ],
)
def test_canary_gets_its_share_of_the_stable_backends_own(
    refs: list[tuple[str, int]], weight: int, expected: list[tuple[str, int]]
) -> None:
    """Other backends keep what they have; what is no whole number is rounded in favour of the stable one."""
    rendered = render([rule(*(backend(*each) for each in refs))], BACKENDS, Routing(weight))

    assert [(ref["name"], ref["weight"]) for ref in rendered[0]["backendRefs"]] == expected


@dear(30)
@given(rule_lists(), st.integers(1, 100))
def test_no_backend_of_the_users_gains_or_loses_by_a_weight(rules: Rules, weight: int) -> None:
    """Whatever the weights are, the canary's percent is out of the stable backend's share and never more."""
    rendered = render(rules, BACKENDS, Routing(weight))

    assert len(rendered) == len(rules)
    for before, after in zip(rules, rendered, strict=True):
        had, has = shares(before["backendRefs"]), shares(list(after["backendRefs"]))
        canary = has.pop("web-canary", 0)
        assert canary <= had.get("web", 0) * weight / 100 + 1e-9
        assert abs(canary - had.get("web", 0) * weight / 100) < 1e-5
        for name, share in had.items():
            expected = share - canary if name == "web" else share
            assert abs(has[name] - expected) < 1e-9
        assert {**after, "backendRefs": 0} == {**before, "backendRefs": 0}
        assert all(0 <= ref["weight"] <= 1_000_000 for ref in after["backendRefs"])


# --- matches ---------------------------------------------------------------------------------------


@given(rule_lists(), st.lists(step_matches(), min_size=1, max_size=2, unique=True), st.data())
def test_who_gets_a_request(rules: Rules, wanted: list[Match], data: st.DataObject) -> None:
    """What the stable Service gets goes to the canary where a match fits; all else goes where it went."""
    said = [asked(each) for each in wanted]
    request = data.draw(requests([*said, *(one for each in rules for one in each["matches"])]))
    before = taker(rules, request)
    served = [one for each in rules if leads(each) for one in each["matches"]]
    assume(all(any(overlaps(one, each) for one in served) for each in said))
    try:
        rendered = render(rules, BACKENDS, Routing(matches=tuple(wanted)))
    except Unsayable:
        event("beyond the limits")
        return
    after = taker(rendered, request)

    if before is None or not leads(before):
        assert _served_by(after) == _served_by(before)
    elif any(fits(each, request) for each in said):
        event("to the canary")
        assert after is not None
        assert {ref["name"] for ref in after["backendRefs"]} == {"web-canary"}
    else:
        assert _served_by(after) == _served_by(before)


def leads(found: Any) -> bool:
    """Tell whether a rule leads to the stable Service."""
    return any(ref["name"] == "web" and ref["weight"] for ref in found["backendRefs"])


def _served_by(found: Any) -> Any:
    return found and {key: value for key, value in found.items() if key not in {"matches", "name"}}


def test_rule_of_the_users_that_a_match_would_beat_is_shielded() -> None:
    """Two headers beat one: without the shield, testers would lose the service that the route gives them."""
    admin = rule(backend("admin"), matches=[match(headers=[header("x-admin")])], filters=[{"type": "CORS"}])
    rules = [rule(), admin]
    rendered = render(rules, BACKENDS, by_header("x-beta", "x-team"))
    both = {"x-admin": "1", "x-beta": "1", "x-team": "1"}
    found = taker(rendered, Request(headers=both))

    assert found is not None
    assert found["backendRefs"] == admin["backendRefs"]
    assert len(rendered) == 4


def test_tie_with_another_rule_of_the_users_is_the_users() -> None:
    """As specific as theirs, ours stands behind it: no rule has to be repeated."""
    admin = rule(backend("admin"), matches=[match(headers=[header("x-admin")])])
    rendered = render([rule(), admin], BACKENDS, by_header("x-beta"))

    assert rendered[:2] == [rule(), admin]
    assert [each["backendRefs"][0]["name"] for each in rendered] == ["web", "admin", "web-canary"]


def test_path_alone_stands_before_the_rule_that_it_ties_with() -> None:
    """Behind it, the stable rule would go on taking what the step wants for the canary."""
    routing = Routing(matches=(Match(path=PathMatch("/")),))
    rendered = render([rule()], BACKENDS, routing)

    assert [each["backendRefs"][0]["name"] for each in rendered] == ["web-canary", "web"]


def test_path_of_a_step_narrows_the_rules_that_serve_it() -> None:
    """A step's path never widens what the stable Service gets."""
    rules = [rule(matches=[match("/shop")]), rule(matches=[match("/api/v1")])]
    routing = Routing(matches=(Match(path=PathMatch("/shop/cart")),))
    rendered = render(rules, BACKENDS, routing)

    assert rendered == [*rules, rule(backend("web-canary"), matches=[match("/shop/cart")])]


def test_path_that_no_rule_serves_is_taken_as_it_is_asked_for() -> None:
    """A path that only the new version has: its rule is the first stable one's, with the step's match."""
    rules = [rule(matches=[match("/api")], timeouts={"request": "5s"}), rule(matches=[match("/shop")])]
    routing = Routing(matches=(Match(path=PathMatch("/v2", PathMatchType.EXACT)),))
    rendered = render(rules, BACKENDS, routing)

    added = rule(backend("web-canary"), matches=[match("/v2", "Exact")], timeouts={"request": "5s"})
    assert rendered == [*rules, added]


def test_matches_win_over_a_weight_in_the_same_step() -> None:
    """As users of this API know it for the Gateway API: the weight is not written at all."""
    routing = by_header("x-beta")
    with_weight = Routing(20, routing.matches)

    assert render([rule()], BACKENDS, with_weight) == render([rule()], BACKENDS, routing)


@pytest.mark.parametrize(
    "routing",
    [
        Routing(20),
        by_header("x-beta"),
        Routing(matches=(Match(query=(QueryMatch("v", "2"),)),)),
    ],
)
def test_rule_without_the_stable_service_is_left_alone(routing: Routing) -> None:
    """Names, kinds, groups and namespaces that are not quite the stable Service's are somebody else's."""
    others = [
        rule(backend("web-canary-2")),
        rule(backend("web", kind="Bucket")),
        rule(backend("web", group="storage.example.com")),
        rule(backend("web", namespace="other")),
        {"matches": [match()], "filters": [{"type": "RequestRedirect", "requestRedirect": {"port": 1}}]},
    ]

    assert render(others, BACKENDS, routing) == others
    assert [each for each in render([rule(), *others], BACKENDS, routing) if each in others] == others


def test_rewriting_rule_gets_one_rule_for_each_match() -> None:
    """The API allows a prefix to be replaced only beside a single match."""
    rewrite = {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
    }
    rules = [rule(matches=[match("/shop")], filters=[rewrite], name="shop")]
    routing = Routing(matches=(*by_header("a").matches, *by_header("b").matches))
    rendered = render(rules, BACKENDS, routing)

    assert [len(each["matches"]) for each in rendered] == [1, 1, 1]
    assert [each.get("name") for each in rendered] == ["shop", None, None]
    with pytest.raises(Unsayable, match="ReplacePrefixMatch"):
        render(rules, BACKENDS, Routing(matches=(Match(path=PathMatch("/shop/x", PathMatchType.EXACT)),)))


def test_what_one_match_cannot_say_is_refused() -> None:
    """Two different patterns for one header: neither may be dropped in silence."""
    rules = [rule(matches=[match(headers=[header("X-User", "a.*", "RegularExpression")])])]
    pattern = HeaderMatch("x-user", ".*b", MatchType.REGULAR_EXPRESSION)
    with pytest.raises(Unsayable, match="matched twice"):
        render(rules, BACKENDS, Routing(matches=(Match(headers=(pattern,)),)))


def test_limits_of_the_api_are_refused_with_what_to_do() -> None:
    """What the API server would refuse is said in our words, before anything is written."""
    many = [rule(matches=[match(f"/{number}")]) for number in range(9)]
    backends = [backend(f"b{number}") for number in range(15)]
    with pytest.raises(Unsayable, match="18 rules"):
        render(many, BACKENDS, by_header("a"))
    with pytest.raises(Unsayable, match="17 backendRefs"):
        render([rule(backend(), *backends)], BACKENDS, Routing(20))


# --- header modifiers ------------------------------------------------------------------------------

MODIFIER = HeaderModifier(set=(("X-Version", "2"),), add=(("X-Trace", "1"),), remove=("x-old",))
FILTER = {
    "type": "RequestHeaderModifier",
    "requestHeaderModifier": {
        "set": [{"name": "X-Version", "value": "2"}],
        "add": [{"name": "X-Trace", "value": "1"}],
        "remove": ["x-old"],
    },
}


def test_header_modifier_is_on_the_canarys_requests_alone() -> None:
    """On the canary's backend for a weight, on the rule for a match."""
    weighted = render([rule()], BACKENDS, Routing(20, modifier=MODIFIER))
    matched = render([rule()], BACKENDS, Routing(0, by_header("a").matches, MODIFIER))

    assert [ref.get("filters") for ref in weighted[0]["backendRefs"]] == [None, [FILTER]]
    assert "filters" not in weighted[0]
    assert [each.get("filters") for each in matched] == [None, [FILTER]]


def test_users_own_header_filter_is_kept_and_the_steps_wins() -> None:
    """The API allows one such filter: both are joined, and of two for one name the step's counts."""
    own = {"set": [{"name": "x-version", "value": "1"}, {"name": "A", "value": "a"}], "remove": ["X-Trace"]}
    filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": own}]
    rendered = render([rule(backend(filters=filters))], BACKENDS, Routing(20, modifier=MODIFIER))

    stable, canary = rendered[0]["backendRefs"]
    assert stable["filters"] == filters
    assert canary["filters"][0]["requestHeaderModifier"] == {
        "set": [{"name": "A", "value": "a"}, {"name": "X-Version", "value": "2"}],
        "add": [{"name": "X-Trace", "value": "1"}],
        "remove": ["x-old"],
    }


# --- and back --------------------------------------------------------------------------------------


@dear(30)
@given(rule_lists(), routings)
def test_what_was_rendered_is_recovered(rules: Rules, routing: Routing) -> None:
    """From untouched rules of ours the user's own come back, to the byte."""
    try:
        rendered = render(rules, BACKENDS, routing)
    except Unsayable:
        return

    assert recover(rendered, BACKENDS, rules, rendered) == rules


@dear(30)
@given(rule_lists(), rule_lists(), routings)
def test_rules_that_a_user_writes_anew_are_theirs(old: Rules, new: Rules, routing: Routing) -> None:
    """Somebody who applies their own rules mid-release, changed or not, gets just these back."""
    try:
        rendered = render(old, BACKENDS, routing)
    except Unsayable:
        return

    assert recover(new, BACKENDS, old, rendered) == new


@dear(30)
@given(rule_lists(), routings, st.integers(0, 5))
def test_edit_beside_our_changes_is_kept(rules: Rules, routing: Routing, where: int) -> None:
    """Who edits a rule as it is shown mid-release keeps the edit, and the weights from before."""
    try:
        rendered = render(rules, BACKENDS, routing)
    except Unsayable:
        return
    own = [each for each in rendered if each in rules or len(rendered) == len(rules)]
    edited = own[where % len(own)]
    live = [{**each, "timeouts": {"request": "99s"}} if each is edited else each for each in rendered]
    found = recover(live, BACKENDS, rules, rendered)

    assert [{**each, "timeouts": 0} for each in found] == [{**each, "timeouts": 0} for each in rules]
    assert sum(each.get("timeouts") == {"request": "99s"} for each in found) == 1


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ([("web", 50), ("web-canary", 50)], [("web", 1)]),
        ([("web", 80)], [("web", 80)]),
        ([("web", 80), ("web-canary", 20), ("api", 100)], [("web", 100), ("api", 100)]),
        ([("web-canary", 20), ("api", 5)], [("api", 5)]),
    ],
    ids=["split by hand", "canary taken out", "backend added", "stable taken out"],
)
def test_weights_changed_by_hand(live: list[tuple[str, int]], expected: list[tuple[str, int]]) -> None:
    """Only how stable and canary share is ours; everything else about the weights is the user's."""
    original = [rule()]
    rendered = render(original, BACKENDS, Routing(20))
    found = recover([rule(*(backend(*each) for each in live))], BACKENDS, original, rendered)

    assert [(ref["name"], ref["weight"]) for ref in found[0]["backendRefs"]] == expected


def test_rule_for_the_canary_alone_does_not_outlive_a_release() -> None:
    """The canary's Service goes at the end: a rule that leads nowhere else would lose its requests."""
    added = rule(backend("web-canary"), matches=[match("/preview")])

    assert recover([rule(), added], BACKENDS, [rule()], [rule()]) == [rule()]


# --- marks -----------------------------------------------------------------------------------------


@dear(30)
@given(rule_lists(), routings | st.just(ALL_STABLE))
def test_marks_read_back(rules: Rules, routing: Routing) -> None:
    """What is remembered on the route survives the way through an annotation."""
    written = Marks("web", "abcde", ("web",), routing, ALL_STABLE, rules)
    route = http_route(*rules)
    route["metadata"]["annotations"] |= written.annotations()

    assert marks.read(route) == written


_ENDLESS = '{"services":["web"],"routing":{"weight":1e999},"before":{"weight":0}}'


@given(
    st.sampled_from(marks.KEYS),
    st.none() | st.text(max_size=8) | st.sampled_from(["{}", "[]", "null", "7"]),
)
@example(names.ROUTING, _ENDLESS)
def test_marks_changed_by_hand_are_not_believed(key: str, value: str | None) -> None:
    """Whatever is put in their place: no crash, and nothing made up."""
    route = http_route()
    written = Marks("web", "abcde", ("web",), Routing(20), Routing(10), [rule()])
    annotations = {**written.annotations(), key: value}
    route["metadata"]["annotations"] = {name: each for name, each in annotations.items() if each is not None}
    found = marks.read(route)

    assert found is None or found.annotations().items() <= route["metadata"]["annotations"].items()
