"""What a TrafficRouting asks for, how a Rollout takes it as its own, and what both are told at admission."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import names
from rollout.problems import Problem
from rollout.shared_routing import engaged, leaves_routing, parse, remembered, taken
from rollout.shared_routing_status import LONGEST_USER, status, unheld, users
from rollout.spec import (
    Amount,
    HeaderMatch,
    HeaderModifier,
    Match,
    RolloutSpec,
    SharedRouting,
    Step,
    Style,
    TrafficRoutingRef,
    WorkloadRef,
)
from rollout.status import Condition, Phase, Reason, Status
from rollout.validation import Neighbours
from rollout.validation_shared import doubts, routing_doubts, validate_routing
from tests.unit.rollout.rollout_objects import Json, annotated, beta

AT = datetime(2026, 1, 1, tzinfo=UTC)
REF = {"service": "web", "ingress": {"name": "web"}, "gracePeriodSeconds": 0}
WEB = TrafficRoutingRef("web", 0, "web")
BETA = {"headers": [{"name": "lane", "value": "beta"}]}
LANE = Match(headers=(HeaderMatch("lane", "beta"),))
SPEC = RolloutSpec(
    WorkloadRef("apps/v1", "Deployment", "web"), Style.CANARY, (Step(Amount(1)), Step(Amount(2)))
)
SHARED = SharedRouting((WEB,), 30, (LANE,), HeaderModifier(set=(("a", "1"),)))
STEP = {"replicas": 1, "pause": {}}

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["objectRef", "strategy", "service", "ingress", "name", "weight", "matches", "headers"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


def routing(*refs: Json, finalizers: tuple[str, ...] = (), **strategy: Any) -> Json:
    """Return a TrafficRouting as it is stored."""
    return {
        "metadata": {"name": "shared", "namespace": "shop", "generation": 4, "finalizers": [*finalizers]},
        "spec": {"objectRef": list(refs), "strategy": strategy},
    }


# --- what it asks for ------------------------------------------------------------------------------


def test_routes_and_strategy_are_read() -> None:
    """Routes as in trafficRoutings, the strategy as a step's traffic, its weight a number."""
    modifier = {"set": [{"name": "a", "value": "1"}]}

    assert parse(routing(REF, weight=30, matches=[BETA], requestHeaderModifier=modifier)) == SHARED
    assert parse(routing(REF)) == SharedRouting((WEB,))


@pytest.mark.parametrize(
    ("given_routing", "path", "message"),
    [
        ({}, "Spec.ObjectRef", "TrafficRoutings are not set"),
        (routing(), "Spec.ObjectRef", "TrafficRoutings are not set"),
        (routing({"service": "web"}), "Spec.ObjectRef[0].TrafficRoutings", "TrafficRoutings are not set"),
        (
            routing(REF, {**REF, "service": ""}),
            "Spec.ObjectRef[1].Service",
            "TrafficRouting.Service cannot be empty",
        ),
        (
            routing({**REF, "gracePeriodSeconds": -1}),
            "Spec.ObjectRef[0].GracePeriodSeconds",
            "TrafficRouting.GracePeriodSeconds cannot be negative",
        ),
        (
            routing(REF, weight=101),
            "Spec.Strategy.Weight",
            "strategy.weight must be percentage with 0 <= weight <= 100",
        ),
        (
            routing(REF, weight=-1),
            "Spec.Strategy.Weight",
            "strategy.weight must be percentage with 0 <= weight <= 100",
        ),
        (routing(REF, matches=[{}]), "Spec.Strategy.Matches[0]", "a match without conditions would send"),
        ({"spec": 7}, "Spec", "must be an object"),
    ],
    ids=["nothing", "no refs", "no route", "no service", "grace", "weight", "below", "match", "no spec"],
)
def test_mistake_is_named_where_it_is(given_routing: Json, path: str, message: str) -> None:
    """In the words that the same mistake has in a Rollout."""
    found = parse(given_routing)

    assert isinstance(found, tuple)
    assert any(each.path == path and each.message.startswith(message) for each in found)


@given(json)
def test_anything_is_read_or_refused(spec: Any) -> None:
    """Whatever the JSON: an answer, never an exception; and what could be read can be remembered."""
    read = parse({"spec": spec})

    if isinstance(read, SharedRouting):
        again = engaged(remembered("shared", spec))
        assert again is not None
        assert (again.name, again.shared, again.spec) == ("shared", read, spec)
    else:
        assert all(isinstance(each, Problem) for each in read)
        assert engaged(remembered("shared", spec)) is None


@pytest.mark.parametrize(
    "note", [None, "", "{", "[]", '{"name": 1, "spec": {}}', '{"name": "x"}', "[" * 100_000]
)
def test_note_that_is_not_ours_is_none(note: str | None) -> None:
    """Somebody may have written anything there."""
    assert engaged(note) is None


# --- taken by a Rollout ----------------------------------------------------------------------------


def test_plan_without_traffic_takes_the_strategy_at_every_step() -> None:
    """It leaves the routing to the TrafficRouting."""
    took = taken(SPEC, SHARED)

    assert took.routings == (WEB,)
    assert [(each.weight, each.matches) for each in took.steps] == [(30, (LANE,))] * 2
    assert [each.replicas for each in took.steps] == [Amount(1), Amount(2)]
    assert all(each.request_header_modifier == SHARED.request_header_modifier for each in took.steps)


@pytest.mark.parametrize(
    "said", [{"weight": 20}, {"matches": (LANE,)}, {"weight": 0}], ids=["weight", "match", "none"]
)
def test_plan_with_traffic_at_any_step_keeps_its_own(said: Json) -> None:
    """Steps without traffic after steps with it mean none, whatever the strategy says."""
    plan = replace(SPEC, steps=(replace(SPEC.steps[0], **said), SPEC.steps[1]))

    assert not leaves_routing(plan)
    assert taken(plan, SHARED) == replace(plan, routings=(WEB,))


# --- how it shows ----------------------------------------------------------------------------------


def progressing(reason: Reason) -> Status:
    """Return the status of a Rollout whose release is under way."""
    condition = Condition("Progressing", True, reason.value, "", AT, AT)  # noqa: FBT003 - a condition's status
    return Status(phase=Phase.PROGRESSING, conditions=(condition,))


RUNS, ENDS, BACK = (progressing(each) for each in (Reason.IN_ROLLING, Reason.FINALISING, Reason.CANCELLING))
LEAVES = Status(phase=Phase.TERMINATING)


@pytest.mark.parametrize(
    ("using", "deleted", "phase", "message"),
    [
        ({}, False, "Healthy", "TrafficRouting is Healthy"),
        ({"a": RUNS}, False, "Progressing", "TrafficRouting is Progressing"),
        ({"a": RUNS, "b": ENDS}, False, "Progressing", "TrafficRouting is Progressing"),
        ({"a": BACK, "b": ENDS, "c": LEAVES}, False, "Finalizing", "TrafficRouting is Finalizing"),
        (
            {"b": RUNS, "a": ENDS},
            True,
            "Terminating",
            "TrafficRouting is Terminating: waits until Rollout a, b has given its traffic back",
        ),
        ({}, True, "Terminating", "TrafficRouting is Terminating"),
    ],
)
def test_phase_says_who_goes_through_it(
    using: dict[str, Status], phase: str, message: str, *, deleted: bool
) -> None:
    """Progressing while any release does, Finalizing when all of them are giving back what they routed."""
    value = routing(REF)
    if deleted:
        value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert status(value, using).written() == {"phase": phase, "message": message, "observedGeneration": 4}


def test_traffic_routing_without_a_meaning_is_not_healthy() -> None:
    """It never becomes so by itself."""
    shown = status(routing(), {})

    assert shown.phase.value == "Initial"
    assert "TrafficRoutings are not set" in shown.message


OWN, A, B, THEIRS = names.TRAFFIC_ROUTING_FINALIZER, f"{names.USED_BY}a", f"{names.USED_BY}b", "example.com/x"


@pytest.mark.parametrize(
    ("present", "holders", "left"),
    [
        ([THEIRS], [], None),
        ([OWN, A], ["a"], None),
        ([OWN, A, THEIRS, B], ["b"], [OWN, THEIRS, B]),
        ([THEIRS, OWN], [], [THEIRS]),
        ([OWN, A], [], []),
        ([A], ["a"], None),
        ([OWN, A], ["b"], []),
    ],
)
def test_finalizers_of_nobody_are_taken_away(
    present: list[str], holders: list[str], left: list[str] | None
) -> None:
    """A Rollout that is gone lets go of nothing; another product's finalizers are its own business."""
    assert unheld(present, holders) == left


@given(st.lists(st.sampled_from([OWN, A, B, THEIRS]), unique=True), st.sets(st.sampled_from(["a", "b"])))
def test_taking_away_is_done_at_once(present: list[str], holders: set[str]) -> None:
    """What is left needs no second write, and still names exactly the holders that were there."""
    left = unheld(present, holders)
    kept = present if left is None else left

    assert unheld(kept, holders) is None
    assert set(users(kept)) == set(users(present)) & holders
    assert (THEIRS in kept) == (THEIRS in present)


# --- at admission ----------------------------------------------------------------------------------


def referring(*steps: Json) -> Json:
    """Return a Rollout that refers to the TrafficRouting."""
    return beta({"steps": list(steps or [{**STEP, "traffic": "20%"}]), "trafficRoutingRef": "shared"})


@pytest.mark.parametrize(
    ("obj", "routings", "said"),
    [
        (referring(), {}, "TrafficRouting shared not found"),
        (annotated(beta({"steps": [STEP]}), TRAFFIC_ROUTING="shared"), {}, "TrafficRouting shared not found"),
        (referring(), {"shared": routing()}, "TrafficRouting shared cannot be used: Spec.ObjectRef"),
        (
            referring({**STEP, "matches": [{"path": {"value": "/x"}}]}),
            {"shared": routing(REF)},
            "TrafficRouting shared cannot carry this release: classType nginx cannot match a path",
        ),
        (
            referring(),
            {"shared": routing({**REF, "service": "s" * 60})},
            "TrafficRouting shared cannot carry this release: TrafficRouting shared.Service",
        ),
        (
            annotated(referring(), VERIFY="gateway-status"),
            {"shared": routing(REF)},
            "TrafficRouting shared cannot carry this release: annotation sluice.dev/verify beside a ro",
        ),
        (
            referring(),
            {"shared": routing(REF, weight=5)},
            "spec.strategy of TrafficRouting shared is not used",
        ),
        (
            referring() | {"metadata": {"name": "r" * 64}},
            {"shared": routing(REF)},
            f"Rollout {'r' * 64} cannot go through a TrafficRouting: its name has more than {LONGEST_USER}",
        ),
    ],
    ids=["missing", "by annotation", "unreadable", "beyond the class", "long", "strict", "unused", "name"],
)
def test_doubtful_reference_is_warned_of(obj: Json, routings: dict[str, Json], said: str) -> None:
    """Not refused: the two objects come in any order."""
    (told,) = doubts(obj, Neighbours(traffic_routings=routings))

    assert told.startswith(said)


@pytest.mark.parametrize(
    ("obj", "known"),
    [
        (referring(), {"shared": routing(REF)}),
        (referring(STEP), {"shared": routing(REF, weight=5)}),
        (referring(), None),
        (beta(), {}),
        (beta({}), {}),
    ],
    ids=["fits", "leaves it to it", "nobody knows", "refers to none", "has no meaning"],
)
def test_nothing_is_said_where_nothing_is_doubtful(obj: Json, known: dict[str, Json] | None) -> None:
    """A warning that is always there is not read."""
    assert list(doubts(obj, Neighbours(traffic_routings=known))) == []


def test_traffic_routing_is_judged_with_the_strategy_that_it_brings() -> None:
    """As a Rollout's own trafficRoutings are, with the steps."""
    good = routing(REF, weight=20)
    twice = routing(REF, {**REF, "ingress": {"name": "web", "classType": "mse"}})
    by_headers = routing(REF, matches=[{"headers": [{"name": x, "value": "1"} for x in "ab"]}])

    assert validate_routing(None, good) == ()
    assert "one Ingress with several classTypes" in str(validate_routing(good, twice)[0])
    assert "classType nginx cannot match several conditions" in str(validate_routing(None, by_headers)[0])
    assert validate_routing(by_headers, by_headers) == ()


def test_change_of_routes_in_a_release_is_told() -> None:
    """It waits for the next one; a change of anything else does not."""
    before = routing(REF, finalizers=(OWN, A))

    assert list(routing_doubts(before, routing({**REF, "service": "b"}, finalizers=(OWN, A))))
    assert not list(routing_doubts(before, routing(REF, finalizers=(OWN, A), weight=3)))
    assert not list(routing_doubts(routing(REF), routing({**REF, "service": "b"})))
    assert not list(routing_doubts(None, routing(REF)))
