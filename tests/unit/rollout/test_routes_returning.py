"""Users' own routes given back at the end, also when they cannot be seen."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from rollout import names
from rollout.actions import Patch
from rollout.observation import observe
from rollout.release.outcome import DONE
from rollout.release.routes import returning
from rollout.route_kinds import RouteKind, Unseen
from rollout.snapshot import Snapshot

LANE = RouteKind("mesh.example.com/v1", "Lane")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def snapshot(*objects: dict[str, Any], routed: Any = (), unseen: Unseen | None = None) -> Snapshot:
    """Observe a Rollout with these objects around it."""
    metadata = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1"}
    rollout = {"kind": "Rollout", "metadata": metadata, "spec": {}}
    return observe(rollout, objects, NOW, routed, {LANE: unseen} if unseen else {})


def canary_service() -> dict[str, Any]:
    """Make a Service that the release has created."""
    owner = {"kind": "Rollout", "name": "web", "uid": "u", "controller": True}
    return {"kind": "Service", "metadata": {"name": "web-canary", "ownerReferences": [owner]}, "spec": {}}


def lane(name: str, **annotations: str) -> dict[str, Any]:
    """Make a user's own route with annotations."""
    metadata = {
        "name": name,
        "generation": 2,
        "uid": name,
        "resourceVersion": "7",
        "annotations": annotations,
    }
    return {"apiVersion": LANE.api_version, "kind": LANE.kind, "metadata": metadata, "spec": {"a": 2}}


def test_release_is_not_ended_while_a_changed_route_may_be_out_of_sight() -> None:
    """Ended, it would leave a route to a canary that is gone."""
    outcome = returning.give_back(snapshot(canary_service(), unseen=Unseen("Lane may not be listed")))

    assert outcome is not None
    assert outcome.blocked
    assert outcome.waits_for == "Lane may not be listed"


@pytest.mark.parametrize(
    ("objects", "unseen"),
    [((), Unseen("forbidden")), ((canary_service(),), Unseen("no such kind", absent=True))],
    ids=["nothing-begun", "kind-is-gone"],
)
def test_release_ends_where_no_route_can_have_been_changed(objects: Any, unseen: Unseen) -> None:
    """A kind that cannot be seen holds nobody's Deployment for ever."""
    assert returning.give_back(snapshot(*objects, unseen=unseen)) is DONE


def test_every_route_with_our_mark_is_given_back_the_last_named_first() -> None:
    """Guarded, and those of another Rollout are left alone."""
    marked = {names.ROUTED_BY: "web", names.ORIGINAL_SPEC: '{"spec": {"a": 1}}'}
    routes = [lane("one", **marked), lane("two", **marked), lane("other", **{names.ROUTED_BY: "shop"})]

    outcome = returning.give_back(snapshot(routed=routes))

    assert outcome is not None
    patches = [each for each in outcome.actions if isinstance(each, Patch)]
    assert [each.target.name for each in patches] == ["two", "one"]
    asked = [json.loads(each.merge["metadata"]["annotations"][names.ASKED]) for each in patches]
    assert [each["spec"] for each in asked] == [{"a": 1}, {"a": 1}]
    assert "spec" not in patches[0].merge
    assert patches[0].merge["metadata"]["resourceVersion"] == "7"
    assert patches[0].target.api_version == LANE.api_version


def test_what_nobody_gave_back_when_it_was_asked_for_is_given_back_by_the_reconciler() -> None:
    """The asking is still there: no webhook has heard it, and none of it is left on the route."""
    marks = {names.ROUTED_BY: "web", names.ORIGINAL_SPEC: '{"spec": {"a": 1}}'}
    first = returning.given_back(lane("one", **marks))
    assert first is not None
    asked = first["metadata"]["annotations"]

    patch = returning.given_back(lane("one", **marks, **asked))

    assert patch is not None
    assert patch["spec"] == {"a": 1}
    assert {*patch["metadata"]["annotations"]} >= {names.ASKED, names.ROUTED_BY, names.ORIGINAL_SPEC}
    assert not any(patch["metadata"]["annotations"].values())


def test_route_whose_original_is_lost_is_named_and_left_alone() -> None:
    """What it was can only be said by its owner."""
    outcome = returning.give_back(snapshot(routed=[lane("one", **{names.ROUTED_BY: "web"})]))

    assert outcome is not None
    assert outcome.blocked
    assert outcome.actions == ()
    assert "remove the annotation sluice.dev/routed-by" in outcome.waits_for
