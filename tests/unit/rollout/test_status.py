"""Status as values and as JSON: nothing is lost that we wrote, and nothing that a client wrote breaks us."""

from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rollout.status import (
    Condition,
    Phase,
    Release,
    Status,
    StepState,
    format_time,
    parse_time,
    read_status,
    whole_second,
    write_status,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
times = st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1), timezones=st.just(UTC)).map(whole_second)  # noqa: DTZ001 - bounds of aware times
words = st.text(st.characters(codec="utf-8", exclude_characters="-"), max_size=8)
numbers = st.integers(-(2**31), 2**31)
statuses = st.builds(
    Status,
    observed_generation=numbers,
    phase=st.sampled_from(Phase),
    message=st.text(max_size=20),
    release=st.builds(
        Release,
        digest=words,
        id=words,
        stable_hash=words,
        canary_hash=words,
        step=numbers,
        next_step=numbers,
        state=st.sampled_from(StepState),
        since=st.none() | times,
        plan_digest=words,
        rollout_id=st.text(max_size=8),
        workload_generation=numbers,
        canary_replicas=numbers,
        canary_ready=numbers,
        finalising=words,
        message=st.text(max_size=20),
    ),
    conditions=st.lists(
        st.builds(
            Condition,
            type=st.sampled_from(["Progressing", "Succeeded", "Terminating"]),
            status=st.booleans(),
            reason=words,
            message=words,
            last_update=times,
            last_transition=times,
        ),
        max_size=3,
    ).map(tuple),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = tuple(write_status(Status()))
RELEASE_FIELDS = (*write_status(Status())["canaryStatus"], "lastUpdateTime")


@given(statuses)
def test_status_reads_back_as_written(status: Status) -> None:
    """Everything that we keep in the status survives the API server."""
    assert read_status(write_status(status)) == status


@given(
    st.dictionaries(st.sampled_from(FIELDS), json_values),
    st.dictionaries(st.sampled_from(RELEASE_FIELDS), json_values),
    json_values,
)
def test_whatever_a_client_wrote_becomes_a_value(
    top: dict[str, Any], release: dict[str, Any], conditions: Any
) -> None:
    """Garbage in any field reads as a status that can be written and read again, the same."""
    read = read_status({**top, "canaryStatus": release, "conditions": conditions})

    assert read_status(write_status(read)) == read


@pytest.mark.parametrize(
    "value",
    [
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "2026-01-01T00:00:00",
        "yesterday",
        "",
        5,
        None,
        [],
    ],
)
def test_time_that_cannot_be_reckoned_with_is_none(value: object) -> None:
    """A time that would overflow a sum, or says nothing of its zone, is no time."""
    assert parse_time(value) is None


def test_time_is_written_in_whole_seconds_of_utc() -> None:
    """Kubernetes keeps seconds; rounding up, a wait counted from there is never short."""
    moment = NOW + timedelta(microseconds=1)

    assert format_time(whole_second(moment)) == "2026-01-01T12:00:01Z"
    assert parse_time("2026-01-01T14:00:00+02:00") == NOW


def test_top_level_step_mirrors_the_release() -> None:
    """The printer columns show what the release says."""
    written = write_status(Status(release=Release(step=2, state=StepState.STEP_PAUSED)))

    assert (written["currentStepIndex"], written["currentStepState"]) == (2, "StepPaused")


@pytest.mark.parametrize(
    ("status", "reason", "updated", "transitioned"),
    [
        pytest.param(True, "Same", 0, 0, id="nothing changed"),
        pytest.param(True, "Other", 5, 0, id="the reason changed"),
        pytest.param(False, "Same", 5, 5, id="the status changed"),
    ],
)
def test_condition_times_move_only_when_it_does(
    *, status: bool, reason: str, updated: int, transitioned: int
) -> None:
    """The times of a condition are truthful."""
    before = Status().with_condition("Progressing", status=True, reason="Same", message="", now=NOW)
    later = NOW + timedelta(seconds=5)
    after = before.with_condition("Progressing", status=status, reason=reason, message="", now=later)

    found = after.condition("Progressing")
    assert found is not None
    assert found.last_update == NOW + timedelta(seconds=updated)
    assert found.last_transition == NOW + timedelta(seconds=transitioned)
