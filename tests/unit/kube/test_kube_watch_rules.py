"""When a watch resumes, when it lists again, and how it reads its lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.errors import (
    ConnectionFailed,
    Expired,
    Forbidden,
    KubeError,
    NotFound,
    ServerError,
    TimedOut,
    TooManyRequests,
)
from kube.watch import BACKOFF, FAILURES_BEFORE_LISTING, LONGEST_LINE, Attempt, Lines, Standing, judge, pause
from kube.wire import StatusCause, StatusDetails

FOLLOWING = Standing(resume=True)


def attempt(
    error: KubeError | None = None, *, opened: bool = True, moved: bool = False, seconds: float = 300.0
) -> Attempt:
    """Describe a watch that went on from a known place."""
    return Attempt(error, listed=False, opened=opened, moved=moved, seconds=seconds)


def too_large() -> KubeError:
    """Give the API server's answer to a version from its future."""
    return ServerError("", details=StatusDetails(causes=(StatusCause(reason="ResourceVersionTooLarge"),)))


@pytest.mark.parametrize(
    "end",
    [
        attempt(),
        attempt(ConnectionFailed("cut"), seconds=2.0),
        attempt(ConnectionFailed("refused"), opened=False, seconds=0.0),
        attempt(TimedOut("connect"), opened=False, seconds=5.0),
        attempt(ServerError("etcd"), opened=False, seconds=0.1),
        attempt(TooManyRequests("later", retry_after=2), opened=False),
        attempt(Forbidden("no"), opened=False),
    ],
    ids=lambda end: f"{end.error}",
)
def test_watch_resumes_where_it_was(end: Attempt) -> None:
    """A listing of everything is not the answer to a lost connection."""
    assert judge(FOLLOWING, end).resume


@pytest.mark.parametrize(
    "end",
    [
        attempt(Expired("410"), opened=False),
        attempt(Expired("410 in the stream"), moved=True),
        attempt(TimedOut("silence"), seconds=90.0),
        attempt(too_large(), opened=False),
        attempt(NotFound("the kind went away"), opened=False),
    ],
    ids=lambda end: f"{end.error}",
)
def test_watch_lists_again_when_its_place_is_lost(end: Attempt) -> None:
    """Going on from there would leave a gap or never hear anything again."""
    assert not judge(FOLLOWING, end).resume


def test_stream_that_breaks_at_the_same_place_is_not_tried_for_ever() -> None:
    """An event that cannot be read is got round by listing."""
    standing = FOLLOWING
    for _ in range(FAILURES_BEFORE_LISTING):
        assert standing.resume
        standing = judge(standing, attempt(ConnectionFailed("unreadable"), seconds=0.1))

    assert not standing.resume


def test_stream_that_moves_on_may_break_as_often_as_it_likes() -> None:
    """Each time it got further, so nothing is stuck."""
    standing = FOLLOWING
    for _ in range(FAILURES_BEFORE_LISTING * 2):
        standing = judge(standing, attempt(ConnectionFailed("cut"), moved=True, seconds=0.1))

    assert standing.resume


def test_api_server_out_of_reach_costs_no_place() -> None:
    """However long it is away: hundreds of clients that list at once would not help it up."""
    standing = FOLLOWING
    for _ in range(100):
        standing = judge(standing, attempt(ConnectionFailed("refused"), opened=False, seconds=0.0))

    assert standing.resume


def test_failed_list_is_listed_again() -> None:
    """Nothing is followed before a list is complete."""
    failed = Attempt(ServerError("x"), listed=False, opened=False, moved=False, seconds=0.1)

    assert not judge(Standing(), failed).resume


def test_completed_list_is_kept_though_the_watch_after_it_failed() -> None:
    """A watch that could not be opened starts from the list that is already in."""
    failed = Attempt(ServerError("x"), listed=True, opened=False, moved=False, seconds=0.1)

    assert judge(Standing(), failed).resume


def test_orderly_end_is_followed_at_once() -> None:
    """API servers close watches every few minutes; nobody should wait for that."""
    end = attempt(seconds=300.0)

    assert pause(judge(FOLLOWING, end), end, 0.5) == 0


def test_orderly_end_without_any_life_is_not_a_hot_loop() -> None:
    """Something in between that closes at once is not hammered."""
    end = attempt(seconds=0.01)

    assert pause(judge(FOLLOWING, end), end, 0.5) > 0


def test_pauses_grow_and_start_over_after_a_healthy_watch() -> None:
    """The tenth failure in a row is not the first one after an hour."""
    standing, pauses = FOLLOWING, []
    refused = attempt(ConnectionFailed("refused"), opened=False, seconds=0.0)
    for _ in range(10):
        standing = judge(standing, refused)
        pauses.append(pause(standing, refused, 1.0))
    cut = attempt(ConnectionFailed("cut"), moved=True, seconds=3600.0)
    standing = judge(standing, cut)

    assert pauses == sorted(pauses)
    assert pauses[-1] == BACKOFF.cap
    assert pause(standing, cut, 1.0) == BACKOFF.first


def test_server_that_asks_for_patience_gets_it() -> None:
    """The delay named in a 429 is the least."""
    end = attempt(TooManyRequests("later", retry_after=7.0), opened=False)

    assert pause(judge(FOLLOWING, end), end, 0.0) == 7.0


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_are_the_same_however_the_bytes_arrive(expected: list[bytes], data: st.DataObject) -> None:
    """Neither chunking nor a cut at the end makes, loses or changes a line."""
    stream = b"".join(line + b"\n" for line in expected) + b"cut in the mid"
    lines, found = Lines(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += lines.push(stream[:size])
        stream = stream[size:]

    assert found == expected


def test_line_without_end_is_refused() -> None:
    """Memory is bounded, whatever the other side sends."""
    lines = Lines()
    lines.push(b"x" * LONGEST_LINE)
    with pytest.raises(ConnectionFailed):
        lines.push(b"x")
