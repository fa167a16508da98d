"""Pinned Services: the selector follows the reconciler's pin in the same write, whoever writes."""

import json
from typing import Any

import msgspec
import pytest

from rollout import names
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import POLICY, RECONCILER
from webhook import review, services

Json = dict[str, Any]
_DECODER = msgspec.json.Decoder(review.Review[services.Service])
PIN = {names.PIN: "abc", names.PINNED_BY: "web"}
WIDE = {"app": "web"}
PINNED = {"app": "web", "pod-template-hash": "abc"}


def service(annotations: Json | None = None, selector: Json | None = None) -> Json:
    """Build a Service."""
    metadata: Json = {"name": "web", "namespace": "shop"}
    if annotations is not None:
        metadata["annotations"] = annotations
    spec = {"ports": [{"port": 80}]} if selector is None else {"ports": [{"port": 80}], "selector": selector}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def answer(old: Json | None, new: Json, *, in_use: bool = True, **request: Any) -> bytes:
    """Give the webhook's answer, over the wire format."""
    body = reviews.review(old, new, resource=("", "v1", "services"), **request)
    asked = review.decode(_DECODER, body, services.GROUP, services.PLURAL)
    return review.encode(asked.uid, services.admit(asked, POLICY, in_use=in_use))


def said(found: bytes) -> list[str]:
    """Read the warnings of an answer."""
    lines: list[str] = json.loads(found)["response"].get("warnings", [])
    return lines


def test_selector_is_pinned_in_the_write_that_brings_the_pin() -> None:
    """The reconciler writes the annotation alone."""
    new = service(PIN, WIDE)

    assert reviews.patched(new, answer(service(None, WIDE), new, user=RECONCILER)) == service(PIN, PINNED)


def test_first_pin_of_a_rollout_that_is_gone_leaves_the_selector_alone() -> None:
    """It arrives late: what it would hold the Service to may not run any more."""
    new = service(PIN, WIDE)

    assert reviews.operations(answer(service(None, WIDE), new, user=RECONCILER, in_use=False)) == []


def test_selector_is_widened_in_the_write_that_takes_the_pin() -> None:
    """And only of the hash that the pin had set."""
    new, foreign = service({}, PINNED), service({}, {"app": "web", "pod-template-hash": "other"})

    assert reviews.patched(new, answer(service(PIN, PINNED), new, user=RECONCILER)) == service({}, WIDE)
    assert reviews.patched(foreign, answer(service(PIN, PINNED), foreign, user=RECONCILER)) == foreign


def test_pin_moves_with_the_reconciler() -> None:
    """Another revision becomes the stable one."""
    new = service({**PIN, names.PIN: "def"}, PINNED)

    result = reviews.patched(new, answer(service(PIN, PINNED), new, user=RECONCILER))

    assert result["spec"]["selector"] == {"app": "web", "pod-template-hash": "def"}


def test_selector_reset_by_server_side_apply_stays_pinned_without_a_word() -> None:
    """The map is atomic, so every apply of the manifest resets it: nobody has asked for anything."""
    new = service(PIN, WIDE)

    found = answer(service(PIN, PINNED), new)

    assert reviews.patched(new, found) == service(PIN, PINNED)
    assert said(found) == []


@pytest.mark.parametrize(
    "new",
    [
        service(None, WIDE),
        service({}, WIDE),
        service({**PIN, names.PIN: "other"}, WIDE),
        service(PIN, {"app": "web", "pod-template-hash": "other"}),
    ],
    ids=["replace", "annotations emptied", "another pin", "another hash"],
)
def test_pin_is_carried_over_and_said_so(new: Json) -> None:
    """Whoever is not the reconciler cannot unpin while a release needs it."""
    found = answer(service(PIN, PINNED), new)

    assert reviews.patched(new, found) == service(PIN, PINNED)
    assert "stays pinned" in said(found)[0]


def test_other_edits_of_the_selector_pass() -> None:
    """The pin adds its key and touches no other."""
    new = service(PIN, {"app": "shop"})

    assert reviews.patched(new, answer(service(PIN, PINNED), new)) == service(
        PIN, {"app": "shop", "pod-template-hash": "abc"}
    )


@pytest.mark.parametrize("old", [None, service(None, WIDE)], ids=["create", "update"])
def test_pin_of_an_exported_manifest_is_left_out(old: Json | None) -> None:
    """Applied after the release, it would select pods that are long gone."""
    new = service(PIN, PINNED)

    found = answer(old, new)

    assert reviews.patched(new, found) == service({}, WIDE)
    assert "remove it" in said(found)[0]


def test_service_of_a_vanished_rollout_can_be_unpinned() -> None:
    """Dropping the annotation is enough, and nothing is carried."""
    dropped, kept = service({}, PINNED), service(PIN, WIDE)

    assert reviews.patched(dropped, answer(service(PIN, PINNED), dropped, in_use=False)) == service({}, WIDE)
    assert reviews.patched(kept, answer(service(PIN, PINNED), kept, in_use=False)) == kept


@pytest.mark.parametrize(
    ("old", "new"),
    [(service(PIN, PINNED), service({}, PINNED)), (service({}, WIDE), service({names.PIN: "zzz"}, WIDE))],
    ids=["taken", "planted"],
)
def test_status_is_no_way_round_to_the_pin(old: Json, new: Json) -> None:
    """Its writers cannot change the selector, but annotations; what else they report passes."""
    found = json.loads(answer(old, new, sub_resource="status"))["response"]

    assert found["status"]["message"].startswith("Service shop/web: sluice.dev/pin")
    assert found["status"]["message"].endswith("cannot be changed through /status")
    assert reviews.operations(answer(old, new, sub_resource="status", user=RECONCILER)) == []
    assert json.loads(answer(old, old, sub_resource="status"))["response"]["allowed"] is True


def test_what_belongs_to_the_pin_is_carried_over_with_it() -> None:
    """Whose pin it is and of which release: another name there would hold up its release."""
    pinned = {**PIN, names.RELEASE: "k4x9d"}
    old, new = service(pinned, PINNED), service({**pinned, names.PINNED_BY: "other"}, PINNED)
    replaced = service({}, WIDE)

    assert reviews.patched(new, answer(old, new)) == old
    assert "stays pinned" in said(answer(old, new))[0]
    assert reviews.patched(replaced, answer(old, replaced)) == old


def test_service_without_selector_gets_none() -> None:
    """With endpoints by hand, or of type ExternalName: a selector of ours would take it over."""
    new = service(PIN)

    assert reviews.patched(new, answer(service(None), new, user=RECONCILER)) == new


def test_service_without_pin_is_left_alone() -> None:
    """Also if its own selector names a hash."""
    new = service({"a": "b"}, PINNED)

    assert reviews.operations(answer(service(None, WIDE), new)) == []


@pytest.mark.parametrize("user", ["jane", RECONCILER])
def test_patched_service_needs_no_patch(user: str) -> None:
    """Asked again within the same request, the webhook has nothing to add."""
    olds = [None, service(None, WIDE), service(PIN, PINNED)]
    news = [service(None, WIDE), service(PIN, WIDE), service(PIN, PINNED), service({}, PINNED), service(PIN)]
    for old in olds:
        for new in news:
            result = reviews.patched(new, answer(old, new, user=user))

            assert reviews.operations(answer(old, result, user=user)) == []
