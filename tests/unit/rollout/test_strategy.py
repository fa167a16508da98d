"""A Deployment's limits, and the narrower strategy of a release inside it."""

from typing import Any

import pytest

from rollout.strategy import Kept, is_valid, kept, limits, merge, narrowed

Json = dict[str, Any]


def rolling(surge: int | str, unavailable: int | str) -> Json:
    """Build a rolling update's strategy."""
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


@pytest.mark.parametrize(
    ("strategy", "replicas", "expected"),
    [
        ({}, 5, (2, 1)),
        (rolling("25%", "25%"), 3, (1, 0)),
        (rolling(0, "25%"), 3, (0, 1)),
        (rolling(0, 7), 3, (0, 3)),
        (rolling("100%", 0), 4, (4, 0)),
    ],
)
def test_limits_are_those_of_the_deployment_controller(
    strategy: Json, replicas: int, expected: tuple[int, int]
) -> None:
    """Surge rounded up, what may be missing down; both nothing means one may be missing."""
    assert limits(strategy, replicas) == expected


@pytest.mark.parametrize(
    ("declared", "replicas", "batch", "extra", "expected"),
    [
        (rolling("25%", "25%"), 8, 4, 0, rolling(0, "25%")),
        (rolling("25%", "25%"), 3, 2, 0, rolling(1, 0)),
        (rolling("50%", 0), 10, 2, 0, rolling(2, 0)),
        (rolling("50%", 0), 10, 9, 0, rolling(5, 0)),
        (rolling(1, 1), 5, 1, 1, rolling(1, 1)),
    ],
)
def test_strategy_is_narrowed_to_what_the_plan_needs(
    declared: Json, replicas: int, batch: int, extra: int, expected: Json
) -> None:
    """Pods go one for the other where some may be missing; else there are more, as far as that is allowed."""
    assert narrowed(declared, replicas, batch, extra) == expected


@pytest.mark.parametrize("replicas", [0, 1, 2, 5, 100])
def test_narrowed_strategy_is_one_that_the_api_server_accepts(replicas: int) -> None:
    """Of no replicas, no limit leaves any: both come to nothing, but must not say so."""
    for declared in (
        {},
        rolling("25%", "25%"),
        rolling(1, 0),
        rolling(0, 1),
        rolling("1%", "1%"),
        rolling(0, "9%"),
    ):
        assert is_valid(narrowed(declared, replicas, 1))


def test_narrowed_strategy_never_lets_more_pods_be_missing() -> None:
    """Resumed by hand, the Deployment rolls within its owner's limits."""
    for replicas in range(1, 30):
        for declared in (rolling("25%", "25%"), rolling(1, 0), rolling(0, 1), rolling("10%", "50%")):
            surge, missing = limits(narrowed(declared, replicas, 3), replicas)
            assert missing <= limits(declared, replicas)[1]
            assert surge <= max(1, limits(declared, replicas)[0])


@pytest.mark.parametrize("value", [Kept(rolling(1, 0), rolling(0, 1)), Kept({"type": "Recreate"})])
def test_what_is_kept_is_read_as_it_was_written(value: Kept) -> None:
    """In force is what is held, and at the end what was declared."""
    assert kept(value.annotation()) == value
    assert value.in_force == (value.held or value.declared)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "1",
        "{}",
        '{"declared":1}',
        '{"declared":{},"held":1}',
        '{"declared":{"rollingUpdate":{"maxSurge":"x%"}}}',
        '{"declared":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":"0%"}}}',
        '{"declared":{"type":"Recreate","rollingUpdate":{}}}',
        "[" * 9999,
    ],
)
def test_what_we_did_not_write_is_nothing(text: str | None) -> None:
    """Whoever wrote it, it is not given to the Deployment."""
    assert kept(text) is None


def test_merge_patch_leaves_nothing_of_another_strategy() -> None:
    """Recreate has no limits; a rolling update may say one of two."""
    assert merge({"type": "Recreate"}) == {"type": "Recreate", "rollingUpdate": None}
    assert merge({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}) == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": None},
    }
