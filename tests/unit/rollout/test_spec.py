"""Amounts of pods and references to workloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.spec import Amount, Step, WorkloadRef


@pytest.mark.parametrize(
    ("amount", "total", "expected"),
    [
        pytest.param(Amount(20, percent=True), 5, 1, id="an exact share"),
        pytest.param(Amount(21, percent=True), 5, 2, id="a share rounded up"),
        pytest.param(Amount(1, percent=True), 5, 1, id="any share is a pod"),
        pytest.param(Amount(100, percent=True), 5, 5, id="all"),
        pytest.param(Amount(3), 5, 3, id="a number"),
        pytest.param(Amount(7), 5, 5, id="no more than there are"),
        pytest.param(Amount(50, percent=True), 0, 0, id="nothing of nothing"),
        pytest.param(Amount(3), 0, 0, id="scaled to zero"),
    ],
)
def test_amount_counts_pods(amount: Amount, total: int, expected: int) -> None:
    """Percent are rounded up, and nothing exceeds the total."""
    assert amount.of(total) == expected


@given(st.integers(-5, 200), st.booleans(), st.integers(0, 10_000))
def test_amount_never_leaves_the_total(value: int, percent: bool, total: int) -> None:  # noqa: FBT001 - drawn
    """No amount asks for fewer than no pods or more than all."""
    assert 0 <= Amount(value, percent).of(total) <= total


@pytest.mark.parametrize("amount", [Amount(20, percent=True), Amount(3)], ids=str)
def test_amount_is_written_as_it_is_read(amount: Amount) -> None:
    """Messages show an amount as users write it."""
    assert str(amount) == ("20%" if amount.percent else "3")


def test_workload_is_the_same_in_any_version_of_its_api() -> None:
    """The version in an apiVersion is a spelling, not another object."""
    ref = WorkloadRef("apps/v1", "Deployment", "x")

    assert ref.same_object(WorkloadRef("apps/v1beta2", "Deployment", "x"))
    assert not ref.same_object(WorkloadRef("apps.kruise.io/v1", "Deployment", "x"))
    assert not ref.same_object(WorkloadRef("v1", "Deployment", "x"))


def test_step_without_weight_and_matches_routes_no_traffic() -> None:
    """Weight 0 is a wish about traffic, none is not."""
    assert not Step(Amount(1)).routes_traffic
    assert Step(Amount(1), weight=0).routes_traffic
