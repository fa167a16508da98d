"""Who may lead, as seen by one candidate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.lease import Create, Observed, Record, Take, Timing, Wait, decide, observe

TIMING = Timing()


def held(by: str, renewal: str = "1", duration: int | None = 4, transitions: int = 3) -> Record:
    """Describe a lease."""
    return Record(by, duration, "0", renewal, transitions)


def test_missing_lease_is_created() -> None:
    """The first candidate ever makes it."""
    assert decide("me", Observed(None, "", 0.0), 0.0, 4) == Create()


@pytest.mark.parametrize("holder", ["", None, "me"])
def test_free_or_own_lease_is_taken_at_once(holder: str | None) -> None:
    """Handed back, or ours because an answer to our own write was lost."""
    assert decide("me", Observed(Record(holder, 4), "7", 100.0), 100.0, 4) == Take(1)


def test_held_lease_is_respected_for_its_duration_as_observed() -> None:
    """Counted from when we saw the record change, not from what is written in it."""
    observed = Observed(held("other"), "7", since=100.0)

    assert decide("me", observed, 103.9, 4) == Wait(104.0)
    assert decide("me", observed, 104.0, 4) == Take(4)


def test_holders_own_duration_is_respected() -> None:
    """During an upgrade the holder may have another one than we."""
    observed = Observed(held("other", duration=15), "7", since=100.0)

    assert decide("me", observed, 110.0, 4) == Wait(115.0)


def test_lease_without_duration_gets_ours() -> None:
    """The field is optional in the API."""
    assert decide("me", Observed(held("other", duration=None), "7", 100.0), 101.0, 4) == Wait(104.0)


def test_renewal_starts_the_count_again() -> None:
    """A renewed record is a sign of life."""
    before = observe(None, held("other", "1"), "7", 100.0)
    after = observe(before, held("other", "2"), "8", 103.0)

    assert after.since == 103.0


def test_other_changes_do_not_start_the_count_again() -> None:
    """A label written to the lease is no sign of life of its holder."""
    before = observe(None, held("other"), "7", 100.0)
    after = observe(before, held("other"), "8", 103.0)

    assert (after.since, after.resource_version) == (100.0, "8")


@given(
    skew=st.floats(-1e6, 1e6),
    renewals=st.lists(st.floats(0.1, 2.9), max_size=20),
    looks=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=200),
)
def test_nobody_leads_while_the_leader_renews_in_time(
    skew: float, renewals: list[float], looks: list[float]
) -> None:
    """However the clocks differ and whenever the challenger looks, it never counts a living leader as gone.

    And once the leader has stopped renewing, the leader's own deadline is over before the challenger decides.
    """
    times = [0.0]
    for gap in renewals:
        times.append(times[-1] + gap)
    stops = times[-1] + TIMING.deadline
    now, observed = 0.0, None
    for gap in looks:
        now += gap
        latest = max(time for time in times if time <= now)
        observed = observe(observed, held("other", str(latest)), str(latest), now + skew)
        if isinstance(decide("me", observed, now + skew, TIMING.duration), Take):
            assert now > stops
            return


@pytest.mark.parametrize(
    ("duration", "deadline", "renew_every"), [(4, 4.0, 1.0), (4, 5.0, 1.0), (4, 1.0, 2.0), (4, 3.0, 0.0)]
)
def test_timing_under_which_two_could_lead_is_refused(
    duration: int, deadline: float, renew_every: float
) -> None:
    """The leader must stop before another may start."""
    with pytest.raises(ValueError, match="outlive"):
        Timing(duration=duration, deadline=deadline, renew_every=renew_every)


def test_failover_is_under_five_seconds() -> None:
    """Worst case after kill -9: seen one look late, then the whole duration, then one request."""
    assert TIMING.look_every + TIMING.duration < 5
