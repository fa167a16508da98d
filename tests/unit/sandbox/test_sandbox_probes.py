"""Probes count towards their thresholds as kubelet's do."""

from collections.abc import Iterator, Sequence

import aiohttp

from sandbox.names import JsonObject
from sandbox.node.probes import Target, verdicts


async def _verdicts(results: Sequence[bool], count: int, *, initially: bool, **probe: int) -> list[bool]:
    """Return the first verdicts of an exec probe with the given results; the last result stays."""
    left: Iterator[bool] = iter(results)

    async def execute(_: Sequence[str]) -> int:
        return 0 if next(left) else 1

    complete: JsonObject = {"exec": {"command": ["x"]}, "periodSeconds": 0, **probe}
    found = []
    async with aiohttp.ClientSession() as session:
        async for verdict in verdicts(complete, Target("", {}, execute, session), initially=initially):
            found.append(verdict)
            if len(found) == count:
                break
    assert list(left) == []
    return found


async def test_one_success_makes_ready_by_default() -> None:
    """The default success threshold is one."""
    assert await _verdicts([True], 1, initially=False) == [True]


async def test_failures_must_follow_each_other() -> None:
    """A success in between starts the count of failures anew."""
    results = [False, False, True, False, False, False]

    assert await _verdicts(results, 1, initially=True, failureThreshold=3) == [False]


async def test_lasting_failure_condemns_again() -> None:
    """A container that goes on failing is condemned each time the threshold is reached."""
    assert await _verdicts([False] * 4, 2, initially=True, failureThreshold=2) == [False, False]


async def test_lasting_success_is_told_once() -> None:
    """Readiness is news once, not with every probe."""
    results = [True, True, True, False]

    assert await _verdicts(results, 2, initially=False, failureThreshold=1) == [True, False]
