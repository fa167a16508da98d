"""Label selectors."""

from typing import Any

import pytest

from rollout.selection import selects

LABELS = {"app": "web", "tier": "front"}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    """Return a selector of one expression."""
    return {
        "matchExpressions": [{"key": key, "operator": operator, **({"values": values} if values else {})}]
    }


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "web", "tier": "back"}}, False),
        (expression("app", "In", "web", "api"), True),
        (expression("app", "In", "api"), False),
        (expression("none", "In", "api"), False),
        (expression("app", "NotIn", "api"), True),
        (expression("none", "NotIn", "api"), True),
        (expression("app", "NotIn", "web"), False),
        (expression("app", "Exists"), True),
        (expression("none", "Exists"), False),
        (expression("none", "DoesNotExist"), True),
        (expression("app", "DoesNotExist"), False),
        ({"matchLabels": {"app": "web"}, **expression("tier", "In", "back")}, False),
    ],
)
def test_a_selector_matches_when_every_part_of_it_does(selector: dict[str, Any], *, expected: bool) -> None:
    """Labels and all four operators, as the API server evaluates them."""
    assert selects(selector, LABELS) is expected
