"""When a status needs no write."""

import pytest

from reconciler.execution import carries


@pytest.mark.parametrize(
    ("found", "wanted", "carried"),
    [
        pytest.param({"phase": "Healthy"}, {"phase": "Healthy"}, True, id="equal"),
        pytest.param(
            {"phase": "Healthy", "extra": 1}, {"phase": "Healthy"}, True, id="foreign-field-is-left-alone"
        ),
        pytest.param({"phase": "Healthy"}, {"phase": "Disabled"}, False, id="differs"),
        pytest.param({}, {"phase": ""}, False, id="missing"),
        pytest.param(None, {"phase": ""}, False, id="no-status"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True, id="nested"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": 2}}, False, id="nested-differs"),
        pytest.param({"a": [1, 2]}, {"a": [1]}, False, id="lists-are-whole"),
        pytest.param("text", {"a": 1}, False, id="not-an-object"),
    ],
)
def test_a_status_is_written_only_when_it_would_change_something(
    found: object, wanted: object, *, carried: bool
) -> None:
    """A write that changes nothing would still wake every watcher of Rollouts."""
    assert carried == carries(found, wanted)
