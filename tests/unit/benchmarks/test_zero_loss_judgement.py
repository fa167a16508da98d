"""The judgements of benchmarks/zero_loss find what they are for."""

import pytest

from benchmarks.zero_loss.judgement import Course, Share, late, misrouted
from loadtest.account import Request
from tests.cluster.application import V1, V2, V3

STABLE, CANARY = "web", "web-canary"


def answered(revision: str, began: float = 1.0) -> Request:
    """Return a request that took a tenth of a second."""
    return Request("kept", "id", began, began + 0.1, 200, revision, "pod")


@pytest.mark.parametrize(
    ("revision", "service", "let_out_at", "wrong"),
    [
        (V1, STABLE, None, False),
        (V2, CANARY, None, False),
        (V2, STABLE, None, True),
        (V1, CANARY, None, True),
        (V2, STABLE, 0.5, False),
        (V2, STABLE, 1.5, True),
        (V1, CANARY, 0.5, True),
    ],
)
def test_answer_of_the_other_revision_is_found(
    revision: str, service: str, let_out_at: float | None, *, wrong: bool
) -> None:
    """A new pod may answer behind the user's own Service from when it was let out."""
    found = list(misrouted([answered(revision)], {"id": service}, Course(let_out_at)))

    assert bool(found) is wrong


@pytest.mark.parametrize(
    ("revision", "began", "wrong"),
    [
        (V2, 2.0, False),
        (V3, 2.0, True),
        (V2, 4.5, False),
        (V3, 4.5, False),
        (V2, 6.0, True),
        (V3, 6.0, False),
    ],
)
def test_answer_of_a_version_that_was_replaced_is_found(revision: str, began: float, *, wrong: bool) -> None:
    """While one new version replaces another, either may answer."""
    course = Course(released=((1.0, V2), (4.0, None), (5.0, V3)))

    assert bool(list(misrouted([answered(revision, began)], {"id": CANARY}, course))) is wrong


def test_request_that_no_proxy_noted_is_found() -> None:
    """Nothing is known of it, so nothing was judged."""
    assert list(misrouted([answered(V1)], {}, Course())) == [
        "not in the access log: request id, answered by pod"
    ]


def test_request_to_a_version_that_was_taken_back_is_found() -> None:
    """Those that were sent before it was visible, or after the next release began, are well."""
    requests = [answered(V2, 1.0), answered(V2, 3.0), answered(V1, 3.0), answered(V2, 9.0)]

    assert list(late(requests, 2.0, 8.0)) == [f"sent to {V2} 1.00 s after the roll-back was visible"]


@pytest.mark.parametrize(
    ("found", "weight", "in_turns", "right"),
    [
        (20, 20, True, True),
        (21, 20, True, True),
        (22, 20, True, False),
        (0, 0, True, True),
        (1, 0, True, False),
        (99, 100, True, False),
        (35, 20, False, True),
        (45, 20, False, False),
        (1, 0, False, False),
    ],
)
def test_share_is_exact_in_turns_and_likely_by_chance(
    found: int, weight: int, *, in_turns: bool, right: bool
) -> None:
    """Nobody and everybody are exact in either way."""
    assert Share(weight, found, 100, in_turns).right is right
