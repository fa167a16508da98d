"""Conversion case by case: what each version shows of what the other said."""

import json
import sys
from typing import Any

import pytest

from rollout import names
from rollout.conversion import convert, forgotten
from rollout.problems import Problem
from tests.unit.rollout.recorded import whole_objects
from tests.unit.rollout.rollout_objects import (
    ALPHA,
    BETA,
    WORKLOAD,
    Json,
    alpha,
    annotated,
    beta,
    with_status,
)

ROUTING = {"service": "echoserver", "ingress": {"name": "echoserver"}}


def to(version: str, obj: Json) -> Json:
    """Convert an object that can be."""
    result = convert(obj, version)
    assert not isinstance(result, Problem), str(result)
    return dict(result)


def canary(obj: Json) -> Json:
    """Return the plan."""
    plan: Json = obj["spec"]["strategy"]["canary"]
    return plan


def annotations(obj: Json) -> Json:
    """Return the annotations but for the stash."""
    found = obj["metadata"].get("annotations", {})
    return {key: value for key, value in found.items() if key != names.CONVERSION_STASH}


def stashed(obj: Json) -> Any:
    """Read the stash as JSON."""
    return json.loads(obj["metadata"].get("annotations", {}).get(names.CONVERSION_STASH, "{}"))


# --- what each version shows ---------------------------------------------------------------------


def test_the_walkthrough_is_stored_as_an_extra_canary_workload() -> None:
    """Weight becomes traffic and pods, and canary style is said."""
    stored = to(
        BETA,
        alpha({"steps": [{"weight": 20, "pause": {}}], "trafficRoutings": [ROUTING | {"type": "nginx"}]}),
    )

    assert stored["apiVersion"] == BETA
    assert stored["spec"] == {
        "workloadRef": WORKLOAD,
        "strategy": {
            "canary": {
                "steps": [{"traffic": "20%", "replicas": "20%", "pause": {}}],
                "trafficRoutings": [ROUTING],
                "enableExtraWorkloadForCanary": True,
            }
        },
    }


def test_weight_without_replicas_reads_back_without_replicas() -> None:
    """KubeVela compares what it reads with what it renders, and would write for ever."""
    obj = alpha({"steps": [{"weight": 20, "pause": {}}]})
    stored = to(BETA, obj)

    assert canary(stored)["steps"] == [{"traffic": "20%", "replicas": "20%", "pause": {}}]
    assert to(ALPHA, stored) == obj


def test_an_object_that_both_versions_can_say_gets_no_annotation() -> None:
    """Nothing is kept that need not be."""
    obj = alpha({"steps": [{"weight": 20, "replicas": "20%"}]})

    assert "annotations" not in to(BETA, obj)["metadata"]
    assert "annotations" not in to(ALPHA, to(BETA, obj))["metadata"]


def test_v1beta1_is_seen_with_weight_and_replicas() -> None:
    """Traffic is a number there."""
    seen = to(ALPHA, beta({"steps": [{"traffic": "20%", "replicas": 3}]}))

    assert canary(seen) == {"steps": [{"weight": 20, "replicas": 3}]}
    assert seen["spec"]["objectRef"] == {"workloadRef": WORKLOAD}


@pytest.mark.parametrize("value", ["020%", "+20%", "x", "", "99999999999%", "20.5%"])
def test_traffic_in_any_spelling_survives_v1alpha1(value: str) -> None:
    """A number cannot say how it was spelled."""
    obj = beta({"steps": [{"traffic": value, "replicas": 1}]})

    assert to(BETA, to(ALPHA, obj)) == obj


@pytest.mark.parametrize(
    ("style", "extra"),
    [(None, True), ("", True), ("canary", True), ("CANARY", True), ("partition", None), ("Partition", None)],
)
def test_rolling_style_annotation_decides_about_the_extra_workload(style: str | None, extra: object) -> None:
    """Any letter case means the same, and is kept as it was written."""
    obj = alpha() if style is None else annotated(alpha(), ROLLING_STYLE=style)
    stored = to(BETA, obj)

    assert canary(stored).get("enableExtraWorkloadForCanary") is extra
    assert to(ALPHA, stored) == obj


@pytest.mark.parametrize("extra", [None, False])
def test_partition_is_seen_as_an_annotation_that_is_not_stored(extra: object) -> None:
    """v1alpha1 has no other way to say it, and v1beta1 no need for it."""
    obj = beta({"steps": [{"replicas": 1}]})
    if extra is None:
        del canary(obj)["enableExtraWorkloadForCanary"]
    else:
        canary(obj)["enableExtraWorkloadForCanary"] = extra
    seen = to(ALPHA, obj)

    assert annotations(seen) == {names.ROLLING_STYLE: "partition"}
    assert to(BETA, seen) == obj


def test_canary_is_seen_without_an_annotation() -> None:
    """It is what v1alpha1 means without one."""
    assert annotations(to(ALPHA, beta())) == {}


def test_annotation_that_contradicts_v1beta1_is_not_seen_in_v1alpha1() -> None:
    """A left-over annotation must not turn a canary into a partition for one of two readers."""
    obj = annotated(beta(), ROLLING_STYLE="partition")
    seen = to(ALPHA, obj)

    assert annotations(seen) == {}
    assert to(BETA, seen) == obj


def test_style_corrected_through_v1beta1_is_seen_in_v1alpha1() -> None:
    """The fix that a refusal names works also for an object that was written through v1alpha1."""
    stored = to(BETA, annotated(alpha(), ROLLING_STYLE="partition"))
    canary(stored)["enableExtraWorkloadForCanary"] = True

    assert annotations(to(ALPHA, stored)) == {}
    assert canary(to(BETA, to(ALPHA, stored)))["enableExtraWorkloadForCanary"] is True


def test_traffic_routing_is_an_annotation_in_v1alpha1() -> None:
    """The field of v1beta1 and the annotation name the same thing."""
    stored = to(BETA, annotated(alpha(), TRAFFIC_ROUTING="shared"))
    seen = to(ALPHA, beta({"steps": [{"replicas": 1}], "trafficRoutingRef": "shared"}))

    assert canary(stored)["trafficRoutingRef"] == "shared"
    assert annotations(seen) == {names.TRAFFIC_ROUTING: "shared"}


def test_match_that_v1alpha1_cannot_say_in_full_is_not_shown() -> None:
    """Shown without its path it would match more, once written back by a client that drops annotations."""
    headers = [{"name": "user", "value": "me"}]
    matches = [
        {"headers": headers},
        {"headers": headers, "path": {"value": "/beta"}},
        {"queryParams": headers},
    ]
    obj = beta({"steps": [{"replicas": 1, "matches": matches}]})
    seen = to(ALPHA, obj)

    assert canary(seen)["steps"] == [{"replicas": 1, "matches": [{"headers": headers}]}]
    assert to(BETA, seen) == obj


def test_blue_green_survives_v1alpha1_unseen() -> None:
    """v1alpha1 has no word for it."""
    obj = beta() | {
        "spec": {"workloadRef": WORKLOAD, "strategy": {"blueGreen": {"steps": [{"replicas": 1}]}}}
    }
    seen = to(ALPHA, obj)

    assert seen["spec"]["strategy"] == {}
    assert to(BETA, seen) == obj


def test_rollout_id_and_old_types_survive_v1beta1_unseen() -> None:
    """Old manifests still carry them."""
    obj = alpha({"steps": [{"weight": 20}], "trafficRoutings": [ROUTING | {"type": "nginx"}]}, rolloutID="7")
    obj["spec"]["objectRef"]["type"] = "workloadRef"
    obj["spec"]["strategy"]["type"] = "canary"
    stored = to(BETA, obj)

    assert set(stored["spec"]) == {"workloadRef", "strategy"}
    assert set(stored["spec"]["strategy"]) == {"canary"}
    assert to(ALPHA, stored) == obj


def test_step_is_repeated_at_the_top_of_the_status_in_v1beta1_alone() -> None:
    """For its printer columns; v1alpha1 reads them from the sub-status."""
    step = {"currentStepIndex": 1, "currentStepState": "StepPaused", "message": "x"}
    obj = with_status(alpha(), phase="Progressing", canaryStatus=step)
    stored = to(BETA, obj)

    assert stored["status"] == obj["status"] | {"currentStepIndex": 1, "currentStepState": "StepPaused"}
    assert to(ALPHA, stored)["status"] == obj["status"]


def test_approval_through_v1alpha1_is_repeated_at_the_top() -> None:
    """A stale repetition is written anew."""
    stored = with_status(
        beta(), canaryStatus={"currentStepState": "StepPaused"}, currentStepState="StepPaused"
    )
    seen = to(ALPHA, stored)
    seen["status"]["canaryStatus"]["currentStepState"] = "StepReady"

    assert to(BETA, seen)["status"]["currentStepState"] == "StepReady"


def test_status_cannot_be_written_by_way_of_the_annotation() -> None:
    """A right to write Rollouts is not a right to write their status."""
    forged = {
        "v1beta1": {
            "status.canaryStatus": {"of": "", "set": {"canaryStatus": {"currentStepState": "StepReady"}}}
        }
    }
    obj = annotated(with_status(alpha(), phase="Progressing"), CONVERSION_STASH=json.dumps(forged))

    assert to(BETA, obj)["status"] == {"phase": "Progressing"}


@pytest.mark.parametrize(
    "body", whole_objects(), ids=lambda body: body["metadata"].get("resourceVersion", "new")
)
def test_recorded_objects_read_back_as_written(body: Json) -> None:
    """All that real clients sent."""
    assert to(ALPHA, to(BETA, body)) == body


# --- edits ---------------------------------------------------------------------------------------


def test_pausing_through_v1alpha1_forgets_nothing() -> None:
    """An edit elsewhere leaves what v1alpha1 cannot see alone."""
    obj = beta(
        {"steps": [{"replicas": 1, "matches": [{"path": {"value": "/beta"}}]}], "trafficRoutingRef": "x"}
    )
    seen = to(ALPHA, obj)
    seen["spec"]["strategy"]["paused"] = True
    back = to(BETA, seen)

    assert canary(back) == canary(obj)
    assert forgotten(to(ALPHA, obj), seen) == ()


def test_moved_step_keeps_what_v1alpha1_cannot_see() -> None:
    """A step put before it does not make it another step."""
    hidden = {"replicas": 2, "matches": [{"path": {"value": "/beta"}}]}
    seen = to(ALPHA, beta({"steps": [hidden]}))
    canary(seen)["steps"].insert(0, {"replicas": 1})

    assert canary(to(BETA, seen))["steps"] == [{"replicas": 1}, hidden]


def test_rewritten_step_forgets_what_v1alpha1_cannot_see_and_says_so() -> None:
    """The client re-declared the step; that it could not see a part of it, it is told."""
    obj = beta({"steps": [{"replicas": 2, "matches": [{"path": {"value": "/beta"}}]}]})
    seen = to(ALPHA, obj)
    edited = to(ALPHA, obj)
    canary(edited)["steps"] = [{"weight": 30, "replicas": 2}]

    assert canary(to(BETA, edited))["steps"] == [{"traffic": "30%", "replicas": 2}]
    assert forgotten(seen, edited) == ("strategy.canary.steps[0]",)


def test_step_taken_out_is_not_forgotten() -> None:
    """What a client removes on purpose needs no words."""
    hidden = {"replicas": 2, "matches": [{"path": {"value": "/beta"}}]}
    obj = beta({"steps": [{"replicas": 1}, hidden]})
    seen, edited = to(ALPHA, obj), to(ALPHA, obj)
    canary(edited)["steps"].pop()

    assert forgotten(seen, edited) == ()


def test_replicas_changed_through_v1beta1_are_seen_in_v1alpha1() -> None:
    """What was remembered is of another step now."""
    stored = to(BETA, alpha({"steps": [{"weight": 20}, {"weight": 40}]}))
    canary(stored)["steps"][0]["replicas"] = 3

    assert canary(to(ALPHA, stored))["steps"] == [{"weight": 20, "replicas": 3}, {"weight": 40}]


def test_canary_written_over_blue_green_through_v1alpha1_replaces_it() -> None:
    """Both at once would mean nothing."""
    obj = beta() | {
        "spec": {"workloadRef": WORKLOAD, "strategy": {"blueGreen": {"steps": [{"replicas": 1}]}}}
    }
    seen = to(ALPHA, obj)
    seen["spec"]["strategy"]["canary"] = {"steps": [{"weight": 20}]}

    assert "blueGreen" not in to(BETA, seen)["spec"]["strategy"]


def test_two_steps_that_look_the_same_keep_what_tells_them_apart() -> None:
    """Each is found at its place."""
    obj = alpha({"steps": [{"weight": 20}, {"weight": 20, "replicas": "20%"}]})

    assert to(ALPHA, to(BETA, obj)) == obj


def test_stash_without_the_annotation_of_the_user_leaves_no_empty_map() -> None:
    """An annotations map that we added goes with our annotation."""
    obj = alpha()

    assert stashed(to(BETA, obj))
    assert "annotations" not in to(ALPHA, to(BETA, obj))["metadata"]


def test_stash_is_small() -> None:
    """Fifty steps of a person's length stay far below the annotations' budget of 256 KiB."""
    steps = [{"weight": weight, "pause": {}} for weight in range(1, 51)]

    assert len(json.dumps(stashed(to(BETA, alpha({"steps": steps}))))) < 8_000


# --- refusals ------------------------------------------------------------------------------------


def test_same_version_is_the_same_object() -> None:
    """Nothing is touched."""
    obj = annotated(beta(), CONVERSION_STASH="mine")

    assert convert(obj, BETA) is obj


@pytest.mark.parametrize("version", ["v1beta1", "rollouts.kruise.io/v1beta1"])
def test_version_may_be_written_with_its_group(version: str) -> None:
    """A ConversionReview does."""
    assert to(version, alpha())["apiVersion"] == BETA


@pytest.mark.parametrize(
    ("obj", "version"),
    [
        (alpha(), "v1"),
        (alpha(), "apps/v1beta1"),
        (alpha() | {"apiVersion": "apps/v1alpha1"}, "v1beta1"),
        (alpha() | {"apiVersion": None}, "v1beta1"),
        (alpha() | {"kind": "BatchRelease"}, "v1beta1"),
        (alpha() | {"metadata": None}, "v1beta1"),
        (alpha() | {"metadata": {"annotations": "x"}}, "v1beta1"),
        (alpha() | {"spec": {"x": 2**63}}, "v1beta1"),
        ("alpha", "v1beta1"),
    ],
    ids=str,
)
def test_what_is_no_rollout_is_refused(obj: object, version: str) -> None:
    """With a reason, never with an exception."""
    assert isinstance(convert(obj, version), Problem)


@pytest.mark.parametrize("key", ["spec", "status"])
def test_an_object_too_deep_is_refused(key: str) -> None:
    """However deep, the answer is a reason."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}

    assert isinstance(convert(alpha() | {key: deep}, BETA), Problem)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"v1alpha1":' + '{"a":' * 500 + "1" + "}" * 501, "{", "5", "\ud800"]
)
def test_hostile_annotation_is_as_good_as_none(text: str) -> None:
    """It is text that anybody may write."""
    assert to(ALPHA, annotated(beta(), CONVERSION_STASH=text)) == to(ALPHA, beta())


def test_stash_puts_nothing_where_typed_clients_would_stumble() -> None:
    """One object that cannot be decoded breaks a typed client's list of all."""
    stored = to(BETA, alpha(rolloutID="7"))
    kept = stashed(stored)
    kept["v1alpha1"]["rolloutID"]["set"]["rolloutID"] = {"not": "text"}
    kept["v1alpha1"]["strategy.canary.steps[0]"]["set"] = {"pause": 5}
    seen = to(ALPHA, annotated(stored, CONVERSION_STASH=json.dumps(kept)))

    assert "rolloutID" not in seen["spec"]
    assert canary(seen)["steps"] == [{"weight": 20, "replicas": "20%", "pause": {}}]


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["steps", "trafficRoutings"])
def test_object_with_more_pieces_than_anybody_writes_is_refused(key: str) -> None:
    """Each costs time in a process that everybody's admission waits for."""
    elements = [{"replicas": 1}] * 200

    assert not isinstance(convert(beta({key: elements}), ALPHA), Problem)
    refused = convert(beta({key: [*elements, {}]}), ALPHA)
    assert str(refused).startswith(f"spec.strategy.canary.{key}: Invalid value: null: has 201 elements")


def test_stash_with_more_entries_than_an_object_has_pieces_is_as_good_as_none() -> None:
    """Nobody but a forger writes one."""
    routed = {"steps": [{"replicas": 1}], "trafficRoutingRef": "shared"}
    shown = to(ALPHA, beta({"enableExtraWorkloadForCanary": None} | routed))

    def padded(entries: int) -> Json:
        stash = json.loads(shown["metadata"]["annotations"][names.CONVERSION_STASH])["v1beta1"]
        padding = {f"padding[{i}]": {"of": "x"} for i in range(entries - len(stash))}
        return annotated(shown, CONVERSION_STASH=json.dumps({"v1beta1": stash | padding}))

    assert to(BETA, padded(1000)) == to(BETA, shown)
    assert to(BETA, padded(1001)) == to(BETA, without_stash(shown)) != to(BETA, shown)


def without_stash(obj: Json) -> Json:
    """Drop what was left for the other version."""
    kept = {
        key: each for key, each in obj["metadata"]["annotations"].items() if key != names.CONVERSION_STASH
    }
    return obj | {"metadata": obj["metadata"] | {"annotations": kept}}


def calls_of_conversion(obj: Json) -> int:
    """Count the calls that one conversion takes: unlike seconds, the same on every machine."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        to(BETA, obj)
    finally:
        sys.setprofile(None)
    return calls


def moved(steps: int) -> Json:
    """Build an object whose steps all went to another place than the one where their stash is."""
    path = {"path": {"value": "/beta"}}
    shown = to(ALPHA, beta({"steps": [{"replicas": i + 1, "matches": [path]} for i in range(steps)]}))
    turned = shown["spec"]["strategy"]["canary"]["steps"][::-1]
    assert all("path" in str(each["matches"]) for each in canary(to(BETA, shown))["steps"])
    return shown | {"spec": shown["spec"] | {"strategy": {"canary": {"steps": turned}}}}


def test_cost_of_a_stash_grows_with_its_entries_and_no_faster() -> None:
    """Twice the steps, twice the work, also where each is found by its digest alone."""
    assert calls_of_conversion(moved(200)) < 3 * calls_of_conversion(moved(100))
