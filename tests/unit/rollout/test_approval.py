"""An approval names one step of one release; its stamp says who gave it and cannot be chosen."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout import approval, names
from rollout.approval import Approval, Position, Stamp

NOW = datetime(2026, 11, 23, 6, 22, 44, tzinfo=UTC)
JANES = '{"approval":"k4x9d/2","user":"jane","at":"2026-11-23T06:22:44.000Z"}'


def approved(value: str = "k4x9d/2", stamp: str | None = None) -> dict[str, str]:
    """Annotations with an approval."""
    return {names.APPROVE: value, **({names.APPROVED_BY: stamp} if stamp else {})}


@pytest.mark.parametrize("value", ["k4x9d/2", "bcdfg/1", "24569/50"])
def test_approval_reads_back_as_written(value: str) -> None:
    """``<release>/<step>``."""
    assert str(approval.parse(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "true",
        "k4x9d",
        "k4x9d/",
        "k4x9d/0",
        "k4x9d/02",
        "k4x9d/-1",
        "k4x/1",
        "K4X9D/1",
        "k4x9d/1\n",
        "k4x9d/100",
    ],
)
def test_other_forms_are_no_approval(value: str) -> None:
    """A boolean above all: it would approve the next release too."""
    assert approval.parse(value) is None


def test_new_approval_is_stamped_with_who_gives_it() -> None:
    """User and time come from the request."""
    assert approval.stamped(None, approved(), "jane", NOW) == JANES


def test_approval_put_again_by_another_keeps_its_stamp() -> None:
    """A GitOps client that re-applies the annotation, with or without the stamp, did not approve anything."""
    old = approved(stamp=JANES)

    assert approval.stamped(old, approved(), "flux", NOW + timedelta(hours=1)) == JANES
    assert approval.stamped(old, approved(stamp="forged"), "flux", NOW) == JANES


def test_changed_approval_gets_a_new_stamp() -> None:
    """The next step is another approval."""
    stamp = approval.parse_stamp(
        approval.stamped(approved(stamp=JANES), approved("k4x9d/3", JANES), "joe", NOW)
    )

    assert stamp == Stamp("k4x9d/3", "joe", "2026-11-23T06:22:44.000Z")


def test_approval_that_goes_takes_its_stamp_along() -> None:
    """No stamp without an approval."""
    assert approval.stamped(approved(stamp=JANES), {names.APPROVED_BY: JANES}, "jane", NOW) is None
    assert approval.stamped(None, None, "jane", NOW) is None


def test_malformed_approval_gets_no_stamp() -> None:
    """It counts for nothing, and is denied elsewhere."""
    assert approval.stamped(None, approved("true"), "jane", NOW) is None


def test_second_pass_of_one_request_leaves_the_first_stamp() -> None:
    """The API server may ask again within a request; the answer must not change with the clock."""
    first = approval.stamped(None, approved(), "jane", NOW)

    assert approval.stamped(None, approved(stamp=first), "jane", NOW + timedelta(seconds=2)) == first


def test_stale_stamp_in_the_request_is_replaced() -> None:
    """An approval cannot be dated back: one's own old stamp on a new approval is renewed."""
    later = NOW + timedelta(hours=1)

    stamp = approval.parse_stamp(approval.stamped(None, approved(stamp=JANES), "jane", later))

    assert stamp == Stamp("k4x9d/2", "jane", "2026-11-23T07:22:44.000Z")


@pytest.mark.parametrize(
    ("old", "new", "user", "forged"),
    [
        (None, approved(stamp=JANES), "jane", False),
        (None, approved(stamp=JANES), "joe", True),
        (None, approved("k4x9d/3", JANES), "jane", True),
        (None, approved(stamp="{}"), "jane", True),
        (None, {names.APPROVED_BY: JANES}, "jane", True),
        (approved(stamp=JANES), approved(stamp=JANES), "joe", False),
        (approved(stamp=JANES), approved(), "joe", False),
    ],
    ids=["own", "of another", "of another step", "empty", "without approval", "kept", "dropped"],
)
def test_forged_stamp_is_recognised(
    old: dict[str, str] | None, new: dict[str, str], user: str, *, forged: bool
) -> None:
    """A stamp is right if the webhook would have written it, or did."""
    assert approval.stamp_is_forged(old, new, user, NOW) is forged


def test_approval_is_granted_only_with_its_own_stamp() -> None:
    """Bound to release and step; unstamped, or stamped for another, it does not count."""
    wanted = Approval("k4x9d", 2)

    assert approval.granted(approved(stamp=JANES), wanted) == Stamp(
        "k4x9d/2", "jane", "2026-11-23T06:22:44.000Z"
    )
    assert approval.granted(approved(), wanted) is None
    assert approval.granted(approved(stamp=JANES), Approval("k4x9d", 3)) is None
    assert approval.granted(approved(stamp=JANES), Approval("other", 2)) is None
    assert approval.granted(approved("k4x9d/3", JANES), Approval("k4x9d", 3)) is None


def test_same_value_again_is_no_new_approval() -> None:
    """Level-based: only another value asks for the right to approve."""
    assert approval.changed({}, approved())
    assert not approval.changed(approved(), approved())
    assert not approval.changed(approved(), {})


def test_position_is_read_from_the_status() -> None:
    """Release from the canary revision, step and count for the command."""
    canary = {"canaryRevision": "bcdfgbcdfg-k4x9d", "currentStepIndex": 2, "currentStepState": "StepPaused"}
    rollout = {
        "spec": {"strategy": {"canary": {"steps": [{}, {}, {}]}}},
        "status": {"phase": "Progressing", "canaryStatus": canary},
    }

    assert approval.position(rollout) == Position("k4x9d", 2, 3, "StepPaused")


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        {"phase": "Healthy", "canaryStatus": {"canaryRevision": "b-k4x9d", "currentStepIndex": 1}},
        {"phase": "Progressing"},
        {"phase": "Progressing", "canaryStatus": []},
        {"phase": "Progressing", "canaryStatus": {"canaryRevision": 5, "currentStepIndex": "x"}},
    ],
)
def test_no_position_where_nothing_is_in_progress(status: Any) -> None:
    """Whatever a client wrote into the status."""
    assert approval.position({"spec": {"strategy": []}, "status": status}) is None
