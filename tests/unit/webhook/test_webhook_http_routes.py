"""HTTPRoutes of a release: the rules follow the reconciler's marks in the same write, whoever writes."""

import json
from typing import Any

import msgspec
import pytest

from rollout import names
from rollout.traffic import asked
from rollout.traffic.gateway import route
from rollout.traffic.gateway.marks import Marks
from rollout.traffic.routing import ALL_STABLE, Routing
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import POLICY, RECONCILER
from webhook import http_routes, review

Json = dict[str, Any]
_DECODER = msgspec.json.Decoder(review.Review[http_routes.HTTPRoute])
_RESOURCE = ("gateway.networking.k8s.io", "v1", "httproutes")


def backend(name: str, weight: int) -> Json:
    """Build a backendRef."""
    return {"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight}


def rule(*weights: tuple[str, int], path: str = "/") -> Json:
    """Build a rule."""
    match = {"path": {"type": "PathPrefix", "value": path}}
    return {"matches": [match], "backendRefs": [backend(*each) for each in weights]}


TWENTY = Routing(20)
OWN = [rule(("web", 1))]
SPLIT = [rule(("web", 80), ("web-canary", 20))]


def marked(routing: Routing = TWENTY, before: Routing = ALL_STABLE, own: list[Json] | None = None) -> Json:
    """Build our annotations."""
    return Marks("web", "abcde", ("web",), routing, before, OWN if own is None else own).annotations()


def http_route(rules: list[Json], annotations: Json | None = None) -> Json:
    """Build an HTTPRoute."""
    metadata: Json = {"name": "web", "namespace": "shop"}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {"rules": rules},
    }


def answer(old: Json | None, new: Json, *, in_use: bool = True, **more: Any) -> bytes:
    """Give the webhook's answer, over the wire format."""
    body = reviews.review(old, new, resource=_RESOURCE, **more)
    request = review.decode(_DECODER, body, http_routes.GROUP, http_routes.PLURAL)
    return review.encode(request.uid, http_routes.admit(request, POLICY, in_use=in_use))


def said(found: bytes) -> list[str]:
    """Read the warnings of an answer."""
    lines: list[str] = json.loads(found)["response"].get("warnings", [])
    return lines


def test_rules_follow_in_the_write_that_brings_the_marks() -> None:
    """The reconciler writes annotations alone: the rules stay their owner's."""
    new = http_route(OWN, marked())

    found = answer(http_route(OWN, marked(ALL_STABLE)), new, user=RECONCILER)

    assert reviews.patched(new, found) == http_route(SPLIT, marked())


def test_route_is_given_back_in_the_write_that_asks_for_it() -> None:
    """What admission changes is nobody's: the next apply of its owner's may change the rules."""
    empty = [rule(("web", 100), ("web-canary", 0))]
    old = http_route(empty, {**marked(ALL_STABLE), "team": "shop"})
    asking = asked.asking(old, route.given_back(old))["metadata"]["annotations"]
    new = http_route(empty, {**marked(ALL_STABLE), "team": "shop", **asking})

    assert reviews.patched(new, answer(old, new, user=RECONCILER)) == http_route(OWN, {"team": "shop"})
    assert reviews.patched(new, answer(old, new)) == old


def test_what_a_script_asks_for_on_an_http_route_is_left_to_the_hook_that_makes_all_of_it() -> None:
    """It may want hostnames as well: made in part and taken away, it would be asked for for ever."""
    marks = {names.ROUTED_BY: "web", names.ORIGINAL_SPEC: '{"spec": {}}'}
    change = json.dumps({"metadata": {"annotations": {}}, "spec": {"rules": SPLIT, "hostnames": ["a"]}})
    new = http_route(OWN, {**marks, names.ASKED: change})

    assert reviews.operations(answer(http_route(OWN, marks), new, user=RECONCILER)) == []


def test_marks_that_go_take_no_rule_along() -> None:
    """Where no webhook has heard the asking, the reconciler gives a route back by what it sends."""
    new = http_route(OWN, {})

    assert reviews.operations(answer(http_route(OWN, marked(ALL_STABLE)), new, user=RECONCILER)) == []


def test_write_of_the_reconciler_that_moves_nothing_changes_no_rule() -> None:
    """A stamp alone must not bring into force what was not in force."""
    new = http_route(OWN, {**marked(), names.CHANGED_AT: "2026-01-01T00:00:00Z"})

    assert reviews.operations(answer(http_route(OWN, marked()), new, user=RECONCILER)) == []


@pytest.mark.parametrize("annotations", [marked(), {}, None], ids=["apply", "replace", "no annotations"])
def test_manifest_applied_anew_changes_nothing_without_a_word(annotations: Json | None) -> None:
    """Every second, if need be: neither the share nor the memory of the user's own rules moves."""
    new = http_route(OWN, annotations)

    found = answer(http_route(SPLIT, marked()), new)

    assert reviews.patched(new, found) == http_route(SPLIT, marked())
    assert said(found) == []


def test_edit_is_followed_and_remembered() -> None:
    """A rule added mid-release carries the share at once, and is the user's own afterwards."""
    own = [*OWN, rule(("web", 2), path="/new")]
    new = http_route(own, marked())

    result = reviews.patched(new, answer(http_route(SPLIT, marked()), new))

    added = rule(("web", 160), ("web-canary", 40), path="/new")
    assert result == http_route([*SPLIT, added], marked(own=own))


def test_asked_again_about_what_it_wrote_it_neither_writes_nor_warns() -> None:
    """Another webhook behind this one makes the API server ask twice in one request."""
    old = http_route(SPLIT, marked())
    new = http_route([*OWN, rule(("web", 2), path="/new")], marked())
    written = reviews.patched(new, answer(old, new))

    again = answer(old, written)

    assert reviews.operations(again) == []
    assert said(again) == []


def test_share_set_by_hand_is_the_steps_again() -> None:
    """Nobody approved it."""
    new = http_route([rule(("web", 1), ("web-canary", 99))], marked())

    assert reviews.patched(new, answer(http_route(SPLIT, marked()), new)) == http_route(SPLIT, marked())


def test_rules_that_are_not_what_the_marks_say_pass() -> None:
    """Written while the webhook was away: the reconciler looks at them first."""
    other = [rule(("web", 7), path="/x")]
    new = http_route(OWN, marked())

    assert reviews.operations(answer(http_route(other, marked()), new)) == []


def test_rules_not_yet_in_force_do_not_come_into_force_by_an_apply() -> None:
    """The marks ask for 20 %, the rules send nothing yet: whoever applies keeps it so."""
    new = http_route([*OWN, rule(("api", 1), path="/api")], marked())

    result = reviews.patched(new, answer(http_route(OWN, marked()), new))

    assert result["spec"] == new["spec"]


@pytest.mark.parametrize("key", [names.ROUTED_BY, names.ROUTING, names.ORIGINAL, names.CHANGED_AT])
def test_marks_changed_by_hand_are_kept_and_said_so(key: str) -> None:
    """Whoever is not the reconciler cannot move requests by them."""
    old = http_route(SPLIT, {**marked(), names.CHANGED_AT: "2026-01-01T00:00:00Z"})
    new = http_route(SPLIT, {**old["metadata"]["annotations"], key: "x"})

    found = answer(old, new)

    assert reviews.patched(new, found) == old
    assert "were kept" in said(found)[0]


@pytest.mark.parametrize("old", [None, http_route(OWN)], ids=["create", "update"])
def test_marks_of_an_exported_manifest_are_left_out(old: Json | None) -> None:
    """Applied after the release, they would send requests to a canary that is gone."""
    new = http_route(OWN, marked())

    found = answer(old, new)

    assert reviews.patched(new, found) == http_route(OWN, {})
    assert "remove them" in said(found)[0]


@pytest.mark.parametrize("old", [None, http_route(OWN)], ids=["create", "update"])
def test_manifest_taken_in_a_release_is_given_back_as_its_owners(old: Json | None) -> None:
    """A backup, restored: with its marks alone gone, a fifth would go for ever to a Service that is gone."""
    new = http_route(SPLIT, marked())

    assert reviews.patched(new, answer(old, new)) == http_route(OWN, {})


@pytest.mark.parametrize(
    "ref", [{"name": "web", "weight": 2_000_000}, {"name": "web", "weight": "x"}, {"weight": 1}, {}, "web"]
)
def test_rules_that_the_api_refuses_pass_as_they_are(ref: Any) -> None:
    """Made to fit, they would be let in: the API server says what is wrong with them."""
    new = http_route([{"backendRefs": [ref]}], marked())

    result = reviews.patched(new, answer(http_route(SPLIT, marked()), new))

    assert result["spec"] == new["spec"]


def test_route_of_a_vanished_rollout_is_its_owners() -> None:
    """Nothing is carried and nothing rendered."""
    new = http_route(OWN, {})

    assert reviews.operations(answer(http_route(SPLIT, marked()), new, in_use=False)) == []


def test_marks_of_a_script_are_not_ours() -> None:
    """An HTTPRoute that a customNetworkRef names is changed by a script, which has its own memory."""
    theirs = {names.ROUTED_BY: "web", names.ROUTING: "{}", names.ORIGINAL_SPEC: "{}"}

    assert reviews.operations(answer(http_route(SPLIT, theirs), http_route(OWN, {}))) == []


@pytest.mark.parametrize("user", ["jane", RECONCILER])
def test_answered_route_needs_no_patch(user: str) -> None:
    """Asked again within the same request, the webhook has nothing to add."""
    states = [http_route(OWN), http_route(OWN, marked(ALL_STABLE)), http_route(SPLIT, marked())]
    for old in (None, *states):
        for new in states:
            result = reviews.patched(new, answer(old, new, user=user))

            assert reviews.operations(answer(old, result, user=user)) == []
