"""Conversion loses nothing and invents nothing, whatever comes in."""

import copy
import json
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from rollout import names
from rollout.conversion import convert, pieces, stash
from rollout.problems import Problem
from tests.unit.rollout.rollout_objects import (
    ALPHA,
    BETA,
    Json,
    alpha_objects,
    alpha_step,
    beta_objects,
    beta_step,
    hostile_objects,
    json_values,
    objects,
    text,
)


def other(api_version: str) -> str:
    """Name the other served version."""
    return BETA if api_version == ALPHA else ALPHA


def converted(obj: Json, to_version: str) -> Json:
    """Convert an object that can be."""
    result = convert(obj, to_version)
    assert not isinstance(result, Problem), str(result)
    return dict(result)


def exact(value: object) -> str:
    """Tell 1, 1.0 and true apart, as JSON does."""
    return json.dumps(value, sort_keys=True)


def without_stash(obj: Json) -> Json:
    """Leave our own annotation out, and an annotations map that held nothing else."""
    plain = copy.deepcopy(obj)
    plain["metadata"].get("annotations", {}).pop(names.CONVERSION_STASH, None)
    if not plain["metadata"].get("annotations"):
        plain["metadata"].pop("annotations", None)
    return plain


@given(objects)
def test_an_object_reads_back_through_its_version_exactly_as_it_was_written(obj: Json) -> None:
    """There and back is the same object, to the last annotation."""
    there = converted(obj, other(obj["apiVersion"]))

    assert exact(obj) == exact(converted(there, obj["apiVersion"]))


@given(objects)
def test_an_object_in_its_other_version_can_be_sent_back_unchanged(obj: Json) -> None:
    """A client of the other version that writes what it read changes nothing, however often."""
    there = converted(obj, other(obj["apiVersion"]))
    back = converted(there, obj["apiVersion"])

    assert exact(there) == exact(converted(back, there["apiVersion"]))


@given(objects)
def test_the_input_is_not_touched(obj: Json) -> None:
    """Conversion shares structure with its input, and so must never write into it."""
    before = copy.deepcopy(obj)
    convert(obj, other(obj["apiVersion"]))

    assert exact(before) == exact(obj)


@given(objects, st.one_of(text, st.just('{"v1beta1":5}'), json_values.map(json.dumps)))
def test_a_forged_stash_changes_nothing_that_the_object_says(obj: Json, forged: str) -> None:
    """The other version of the object is the one that it would have without the annotation."""
    plain = without_stash(obj)
    marked = copy.deepcopy(plain)
    marked["metadata"].setdefault("annotations", {})[names.CONVERSION_STASH] = forged

    assert exact(converted(plain, other(obj["apiVersion"]))) == exact(
        converted(marked, other(obj["apiVersion"]))
    )


@given(objects, objects)
def test_the_stash_of_another_object_never_changes_what_is_written(one: Json, another: Json) -> None:
    """A stash copied from elsewhere, or kept from before an edit, still converts to the present spec."""
    target = other(one["apiVersion"])
    there = converted(another, one["apiVersion"])
    copied = there["metadata"].get("annotations", {}).get(names.CONVERSION_STASH)
    marked = without_stash(one)
    if copied is not None:
        marked["metadata"].setdefault("annotations", {})[names.CONVERSION_STASH] = copied
    event(f"stash: {copied is not None}")

    back = converted(converted(marked, target), one["apiVersion"])

    assert exact(without_stash(one)["spec"]) == exact(back["spec"])
    assert exact(one.get("status")) == exact(back.get("status"))


@given(objects, st.data())
def test_a_stash_forged_for_exactly_this_object_still_says_the_same(obj: Json, data: Any) -> None:
    """With the right digests and any contents, the other version still means the object as it is written."""
    forged = {
        name: {
            "of": stash.digest_of(piece),
            "set": data.draw(
                st.dictionaries(st.sampled_from([*piece.content, "weight", "type"]), json_values, max_size=2)
            ),
            "drop": data.draw(st.lists(st.sampled_from([*piece.content, "weight", "replicas"]), max_size=2)),
        }
        for name, piece in pieces.split(obj).items()
    }
    marked = copy.deepcopy(obj)
    stashed = json.dumps({other(obj["apiVersion"]).rpartition("/")[2]: forged})
    marked["metadata"].setdefault("annotations", {})[names.CONVERSION_STASH] = stashed

    back = converted(converted(marked, other(obj["apiVersion"])), obj["apiVersion"])

    assert exact(without_stash(obj)) == exact(without_stash(back))


class _Edits:
    """Edits that a client can make without knowing which other fields exist."""

    @staticmethod
    def pause(draw: st.DrawFn, obj: Json) -> None:
        obj["spec"]["strategy"]["paused"] = draw(st.booleans())

    @staticmethod
    def drop_stash(_: st.DrawFn, obj: Json) -> None:
        obj["metadata"].get("annotations", {}).pop(names.CONVERSION_STASH, None)
        if not obj["metadata"].get("annotations"):
            obj["metadata"].pop("annotations", None)

    @staticmethod
    def annotate(draw: st.DrawFn, obj: Json) -> None:
        key = draw(st.sampled_from([names.ROLLING_STYLE, names.TRAFFIC_ROUTING, "other"]))
        obj["metadata"].setdefault("annotations", {})[key] = draw(
            st.sampled_from(["partition", "canary", "x"])
        )

    @staticmethod
    def rewrite_steps(draw: st.DrawFn, obj: Json) -> None:
        canary = obj["spec"]["strategy"].setdefault("canary", {})
        step = alpha_step if obj["apiVersion"] == ALPHA else beta_step
        canary["steps"] = draw(st.permutations([*canary.get("steps", []), draw(step)]))

    @staticmethod
    def drop_step(_: st.DrawFn, obj: Json) -> None:
        if steps := obj["spec"]["strategy"].get("canary", {}).get("steps"):
            steps.pop(0)

    @staticmethod
    def write_status(draw: st.DrawFn, obj: Json) -> None:
        step = {"currentStepIndex": draw(st.integers(0, 5)), "currentStepState": "StepReady"}
        obj["status"] = {"canaryStatus": step} | (step if obj["apiVersion"] == BETA else {})

    ALL = (pause, drop_stash, annotate, rewrite_steps, drop_step, write_status)


@given(objects, st.data())
def test_after_any_edits_through_either_version_each_reads_what_was_last_written(
    obj: Json, data: Any
) -> None:
    """The API server stores v1beta1: what is written through v1alpha1 passes through it and reads back."""
    stored = converted(obj, BETA)
    for _ in range(data.draw(st.integers(1, 4))):
        version = data.draw(st.sampled_from([ALPHA, BETA]))
        seen = copy.deepcopy(converted(stored, version))
        data.draw(st.sampled_from(_Edits.ALL))(data.draw, seen)
        stored = converted(seen, BETA)
        back = converted(stored, version)

        assert exact(without_stash(seen)) == exact(without_stash(back))


@given(hostile_objects())
def test_any_json_is_converted_or_refused_with_a_reason(obj: Json) -> None:
    """Nothing that a client can send makes the conversion raise; what it converts, it converts back."""
    there = convert(obj, other(str(obj.get("apiVersion"))))
    event(f"refused: {isinstance(there, Problem)}")

    assert isinstance(there, Problem) or not isinstance(convert(there, str(obj.get("apiVersion"))), Problem)


@given(json_values)
def test_any_json_value_gets_an_answer(value: object) -> None:
    """Not even an object is needed."""
    assert isinstance(convert(value, BETA), Problem)


@given(alpha_objects)
def test_only_the_pieces_that_differ_are_kept(obj: Json) -> None:
    """What both versions say is not kept a second time: annotations have a budget."""
    stored = converted(obj, BETA)
    kept = stored["metadata"].get("annotations", {}).get(names.CONVERSION_STASH, "")

    assert len(kept) <= len(json.dumps(obj["spec"])) * 3 + 200


@given(beta_objects)
def test_v1alpha1_never_shows_a_match_that_is_wider_than_the_stored_one(obj: Json) -> None:
    """Without its annotation a written-back view must not send more requests to the canary."""
    view = without_stash(converted(obj, ALPHA))
    canary, shown = (each["spec"]["strategy"].get("canary", {}) for each in (obj, view))

    for step, seen in zip(canary.get("steps", []), shown.get("steps", []), strict=True):
        assert all(match in step.get("matches", []) for match in seen.get("matches", []))
