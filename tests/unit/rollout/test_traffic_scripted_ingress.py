"""Canary Ingresses whose annotations a users' script says."""

import pytest

from rollout import names
from rollout.spec import HeaderMatch, HeaderModifier, Match
from rollout.traffic import scripted_ingress
from rollout.traffic.lua import Failure, Script
from rollout.traffic.routing import ALL_STABLE, Routing
from rollout.wire import JsonObject

SCRIPT = Script(
    "lua.traffic.routing.ingress.house",
    """
    local annotations = obj.annotations
    annotations["house/weight"] = nil
    annotations["house/lane"] = obj.canaryService
    if obj.weight ~= "-1" then
        annotations["house/weight"] = obj.weight
    end
    for _, match in ipairs(obj.matches or {}) do
        annotations["house/" .. match.headers[1].name] = match.headers[1].value
    end
    if obj.requestHeaderModifier then
        annotations["house/set"] = obj.requestHeaderModifier.set[1].name
    end
    annotations["copied/gone"] = nil
    return annotations
    """,
)
COPIED = {"copied/kept": "1", "copied/gone": "1"}
BETA = Match(headers=(HeaderMatch("user", "beta"),))


def ingress(routing: Routing) -> JsonObject:
    """Make the canary Ingress as the script says it."""
    said = scripted_ingress.annotations(SCRIPT, COPIED, routing, "web-canary")
    assert not isinstance(said, Failure), said
    return {"metadata": {"annotations": said}}


def annotations(value: JsonObject) -> dict[str, str]:
    """Give the annotations but our record."""
    return {key: each for key, each in value["metadata"]["annotations"].items() if key != names.ROUTING}


@pytest.mark.parametrize(
    ("routing", "said"),
    [
        (ALL_STABLE, {"house/weight": "0"}),
        (Routing(20), {"house/weight": "20"}),
        (Routing(0, (BETA,)), {"house/user": "beta"}),
        (
            Routing(5, (BETA,), HeaderModifier(set=(("a", "b"),))),
            {"house/weight": "5", "house/user": "beta", "house/set": "a"},
        ),
    ],
)
def test_script_says_the_routing_in_annotations(routing: Routing, said: dict[str, str]) -> None:
    """It gets what this API has always given it, the weight as text, -1 where there is none."""
    found = ingress(routing)

    assert annotations(found) == {"copied/kept": "1", "house/lane": "web-canary", **said}
    assert scripted_ingress.read(found) == routing


@pytest.mark.parametrize("routing", [Routing(20), Routing(0, (BETA,)), Routing(5, (BETA,))])
def test_silenced_is_what_it_was_without_traffic(routing: Routing) -> None:
    """No script is asked for that."""
    found = ingress(routing)
    change = scripted_ingress.silencing(found)
    assert change is not None
    merged = {**found["metadata"]["annotations"], **change}
    silent = {"metadata": {"annotations": {key: each for key, each in merged.items() if each is not None}}}

    assert annotations(silent) == annotations(ingress(ALL_STABLE))
    assert scripted_ingress.read(silent) == ALL_STABLE


@pytest.mark.parametrize("change", [{"house/weight": "90"}, {"copied/gone": "1"}])
def test_edit_of_what_the_script_said_is_seen(change: dict[str, str]) -> None:
    """More than was approved must not be read as what was."""
    found = ingress(Routing(20))

    edited = {"metadata": {"annotations": {**found["metadata"]["annotations"], **change}}}

    assert scripted_ingress.read(edited) is None


def test_annotation_of_others_is_not_ours_to_judge() -> None:
    """Controllers write annotations of their own."""
    found = ingress(Routing(20))

    annotated = {"metadata": {"annotations": {**found["metadata"]["annotations"], "other": "1"}}}

    assert scripted_ingress.read(annotated) == Routing(20)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight": 1, "matches": [], "now": 1}', "[" * 10_000])
def test_record_that_cannot_be_read_is_none(text: str) -> None:
    """Annotations are anybody's to write."""
    value = {"metadata": {"annotations": {names.ROUTING: text}}}

    assert scripted_ingress.said_on(value) is None
    assert scripted_ingress.silencing(value) is None


def test_result_that_is_no_annotations_is_refused() -> None:
    """The API server would not take it, or take it for something else."""
    found = scripted_ingress.annotations(Script("test", "return {a = 1}"), {}, Routing(20), "web-canary")

    assert found == Failure("test: returns annotations that are not texts by name")
