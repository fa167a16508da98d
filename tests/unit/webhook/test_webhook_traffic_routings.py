"""Admission of TrafficRoutings, over the wire format: what has no meaning is denied, by its field."""

import json
from typing import Any

import msgspec
import pytest

from rollout import names
from tests.unit.webhook import reviews
from webhook import review, traffic_routings

Json = dict[str, Any]
_DECODER = msgspec.json.Decoder(review.Review[traffic_routings.Object])
_RESOURCE = (names.GROUP, "v1alpha1", "trafficroutings")
GOOD = {"service": "web", "ingress": {"name": "web"}}
BAD = {"service": "web"}


def routing(*refs: Json, **metadata: Any) -> Json:
    """Build a TrafficRouting."""
    return {
        "apiVersion": f"{names.GROUP}/v1alpha1",
        "kind": "TrafficRouting",
        "metadata": {"name": "shared", "namespace": "shop", **metadata},
        "spec": {"objectRef": list(refs), "strategy": {}},
    }


def validated(old: Json | None, new: Json | None, **request: Any) -> Json:
    """Give the webhook's response."""
    body = reviews.review(old, new, resource=_RESOURCE, **request)
    asked = review.decode(_DECODER, body, names.GROUP, traffic_routings.PLURAL)
    found: Json = json.loads(review.encode(asked.uid, traffic_routings.validate(asked)))["response"]
    return found


def test_good_one_is_allowed_without_a_word() -> None:
    """New, and changed."""
    assert validated(None, routing(GOOD)) == {"uid": reviews_uid(), "allowed": True}
    assert validated(routing(BAD), routing(GOOD)) == {"uid": reviews_uid(), "allowed": True}


@pytest.mark.parametrize("old", [None, routing(GOOD)], ids=["new", "changed"])
def test_one_without_a_meaning_is_denied_by_its_field(old: Json | None) -> None:
    """In the words that a Rollout's trafficRoutings would get."""
    found = validated(old, routing(BAD))

    assert not found["allowed"]
    assert found["status"]["code"] == 422
    assert "Spec.ObjectRef[0].TrafficRoutings" in found["status"]["message"]
    assert "TrafficRoutings are not set" in found["status"]["message"]


@pytest.mark.parametrize(
    ("old", "new", "request_of"),
    [
        (routing(BAD), routing(BAD), {}),
        (routing(GOOD), routing(BAD, deletionTimestamp="2026-01-01T00:00:00Z"), {}),
        (routing(GOOD), routing(BAD), {"sub_resource": "status"}),
    ],
    ids=["was so before", "on its way out", "status"],
)
def test_what_is_not_at_fault_is_let_through(old: Json, new: Json, request_of: Json) -> None:
    """A finalizer must come off whatever the spec is."""
    assert validated(old, new, **request_of)["allowed"]


def test_change_of_routes_in_a_release_is_allowed_with_a_warning() -> None:
    """It waits for the next release."""
    held = {"finalizers": [f"{names.USED_BY}web"]}
    found = validated(routing(GOOD, **held), routing({**GOOD, "service": "other"}, **held))

    assert found["allowed"]
    assert "this release keeps the routes that it began with" in found["warnings"][0]


def reviews_uid() -> str:
    """Return the uid that every review of these tests has."""
    return str(json.loads(reviews.review(None, routing(GOOD)))["request"]["uid"])
