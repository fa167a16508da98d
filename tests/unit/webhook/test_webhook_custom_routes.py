"""Users' own objects of a release: changed in the write that asks for it, held whoever else writes."""

import json
from typing import Any

import msgspec
import pytest

from rollout import names
from rollout.traffic import asked, custom
from rollout.traffic.custom import Backends, Data
from rollout.traffic.routing import Routing
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import POLICY, RECONCILER
from webhook import custom_routes, review

Json = dict[str, Any]
_DECODER = msgspec.json.Decoder(review.Review[custom_routes.Object])
_RESOURCE = ("mesh.example.com", "v1", "lanes")
OWN: Json = {"to": "web"}
SHARED: Json = {"to": "web", "also": "web-canary"}
LABELS = {"team": "shop"}


def lane(spec: Any, annotations: Json | None = None, labels: Json | None = None, generation: int = 4) -> Json:
    """Build an object."""
    metadata: Json = {"name": "web", "namespace": "shop", "generation": generation}
    if annotations is not None:
        metadata["annotations"] = annotations
    if labels is not None:
        metadata["labels"] = labels
    return {"apiVersion": "mesh.example.com/v1", "kind": "Lane", "metadata": metadata, "spec": spec}


def marked(spec: Any, original: Any = OWN, **labels: str) -> Json:
    """Build our annotations on an object that a script has made this spec of, and these labels."""
    was, now = Data(original, LABELS), Data(spec, {**LABELS, **labels})
    written = custom.record(lane(original), was, now, Routing(20), Backends("shop", "web", "web-canary"))
    return {
        names.ORIGINAL_SPEC: custom.remembered(was),
        names.ROUTED_BY: "web",
        names.RELEASE: "abcde",
        names.ROUTING: written.text,
    }


def held(spec: Any = None, **labels: str) -> Json:
    """Build the object in the middle of a release."""
    found = SHARED if spec is None else spec
    return lane(found, marked(found, **labels), {**LABELS, **labels}, generation=5)


def answer(old: Json | None, new: Json, *, in_use: bool = True, **request: Any) -> bytes:
    """Give the webhook's answer, over the wire format."""
    found = review.read(_DECODER, reviews.review(old, new, resource=_RESOURCE, **request))
    return review.encode(found.uid, custom_routes.admit(found, POLICY, in_use=in_use))


def said(found: bytes) -> list[str]:
    """Read the warnings of an answer."""
    lines: list[str] = json.loads(found)["response"].get("warnings", [])
    return lines


def test_change_is_made_in_the_write_that_asks_for_it() -> None:
    """The reconciler writes one annotation: spec, labels and marks follow, and nothing asks any more."""
    old = lane(OWN, marked(OWN), LABELS)
    annotations = {**marked(SHARED, share="20"), "note": "new"}
    change: Json = {"spec": {"also": "web-canary"}, "metadata": {"labels": {"share": "20"}}}
    change["metadata"]["annotations"] = annotations
    asking = asked.asking(old, change)["metadata"]["annotations"]
    new = lane(OWN, {**marked(OWN), **asking}, LABELS)

    found = answer(old, new, user=RECONCILER)

    assert list(asking) == [names.ASKED]
    assert reviews.patched(new, found) == lane(SHARED, annotations, {**LABELS, "share": "20"})


def test_write_of_the_reconciler_that_asks_nothing_new_is_left_alone() -> None:
    """What it asked for in vain it makes itself, and a stamp changes nothing."""
    asking = {names.ASKED: json.dumps({"spec": {"to": "x"}, "metadata": {"annotations": {}}})}
    old, new = lane(OWN, {**marked(OWN), **asking}), lane(SHARED, {**marked(SHARED), **asking})

    assert reviews.operations(answer(old, new, user=RECONCILER)) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"metadata": 1}', '{"metadata": {"annotations": 1}}'])
def test_asking_that_cannot_be_read_changes_nothing(text: str) -> None:
    """The reconciler makes the change itself then."""
    new = lane(OWN, {**marked(OWN), names.ASKED: text})

    assert reviews.operations(answer(lane(OWN, marked(OWN)), new, user=RECONCILER)) == []


def test_asking_by_anybody_else_changes_nothing() -> None:
    """Requests are moved by the reconciler alone."""
    asking = {names.ASKED: json.dumps({"spec": {"to": "x"}, "metadata": {"annotations": {}}})}

    found = answer(held(), lane(SHARED, {**marked(SHARED), **asking}, LABELS, 5))

    assert names.ASKED not in reviews.patched(lane(SHARED, asking), found)["metadata"]["annotations"]
    assert "were kept" in said(found)[0]


@pytest.mark.parametrize(
    "annotations", [marked(SHARED), {}, None], ids=["apply", "replace", "no annotations"]
)
def test_manifest_applied_anew_changes_nothing_without_a_word(annotations: Json | None) -> None:
    """Every second, if need be: neither the share nor the memory of the original moves."""
    new = lane(OWN, annotations, LABELS, 5)

    found = answer(held(), new)

    assert reviews.patched(new, found) == held()
    assert said(found) == []


def test_labels_of_the_script_are_held_too() -> None:
    """What it added, changed or removed; others are their owner's."""
    new = lane(OWN, {}, {**LABELS, "more": "1"}, 5)

    result = reviews.patched(new, answer(held(share="20"), new))

    assert result == lane(
        SHARED, marked(SHARED, share="20"), {**LABELS, "share": "20", "more": "1"}, generation=5
    )


@pytest.mark.parametrize("spec", [{"to": "other"}, {"to": "web", "also": "elsewhere"}, None, []])
def test_spec_that_is_neither_is_left_for_the_reconciler_to_look_at(spec: Any) -> None:
    """A new original, or another hand: only the script can say what becomes of it."""
    new = lane(spec, marked(SHARED), LABELS, 5)

    assert reviews.operations(answer(held(), new)) == []


def test_original_applied_over_another_hands_spec_stands() -> None:
    """What was there before was not ours to hold."""
    old = lane({"to": "other"}, marked(SHARED), LABELS, generation=6)

    assert reviews.operations(answer(old, lane(OWN, marked(SHARED), LABELS, 6))) == []


@pytest.mark.parametrize("key", [names.ROUTED_BY, names.ROUTING, names.ORIGINAL_SPEC, names.CHANGED_AT])
def test_marks_changed_by_hand_are_kept_and_said_so(key: str) -> None:
    """Whoever is not the reconciler cannot move requests by them."""
    old = held()
    new = lane(SHARED, {**marked(SHARED), key: "x"}, LABELS, 5)

    found = answer(old, new)

    assert reviews.patched(new, found) == old
    assert "were kept" in said(found)[0]


@pytest.mark.parametrize("old", [None, lane(OWN)], ids=["create", "update"])
def test_marks_of_an_exported_manifest_are_left_out(old: Json | None) -> None:
    """They would have the object given back to what it once was."""
    new = lane(SHARED, {**marked(SHARED), "note": "keep"})

    found = answer(old, new)

    assert reviews.patched(new, found) == lane(SHARED, {"note": "keep"})
    assert "left out" in said(found)[0]


def test_object_of_a_rollout_that_is_gone_is_its_owners() -> None:
    """Nothing is held for nobody."""
    assert reviews.operations(answer(held(), lane(OWN, {}, LABELS, 5), in_use=False)) == []


def test_object_that_is_being_deleted_is_let_go() -> None:
    """Finalizers have to come off."""
    new = lane(OWN, {}, LABELS)
    new["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert reviews.operations(answer(held(), new)) == []


def test_marks_of_another_hook_are_left_to_it() -> None:
    """An HTTPRoute that is routed by its rules may be of a listed kind as well."""
    old = lane(SHARED, {names.ROUTED_BY: "web", names.ORIGINAL: "[]", names.ROUTING: "{}"})

    assert reviews.operations(answer(old, lane(OWN, {}))) == []
