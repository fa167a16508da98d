"""How answers become errors."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.errors import (
    LONGEST_RETRY_AFTER,
    AlreadyExists,
    BadRequest,
    Conflict,
    ConnectionFailed,
    Expired,
    Forbidden,
    Invalid,
    KubeError,
    NotFound,
    Retry,
    ServerError,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    from_answer,
    from_transport,
)


def status(code: int, reason: str, **details: object) -> bytes:
    """Write a Status as the API server does."""
    body = {"kind": "Status", "message": "m", "reason": reason, "code": code, "details": details}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("code", "reason", "cls", "retry"),
    [
        (400, "BadRequest", BadRequest, Retry.WHEN_CHANGED),
        (401, "Unauthorized", Unauthorized, Retry.BACKOFF),
        (403, "Forbidden", Forbidden, Retry.WHEN_CHANGED),
        (404, "NotFound", NotFound, Retry.AFTER_OBSERVING),
        (405, "MethodNotAllowed", BadRequest, Retry.WHEN_CHANGED),
        (409, "AlreadyExists", AlreadyExists, Retry.AFTER_OBSERVING),
        (409, "Conflict", Conflict, Retry.AFTER_OBSERVING),
        (410, "Expired", Expired, Retry.AFTER_OBSERVING),
        (410, "Gone", Expired, Retry.AFTER_OBSERVING),
        (422, "Invalid", Invalid, Retry.WHEN_CHANGED),
        (429, "TooManyRequests", TooManyRequests, Retry.AFTER),
        (500, "InternalError", ServerError, Retry.BACKOFF),
        (503, "ServiceUnavailable", Unavailable, Retry.BACKOFF),
        (504, "Timeout", ServerError, Retry.BACKOFF),
        (302, "", BadRequest, Retry.WHEN_CHANGED),
    ],
)
def test_answer_becomes_the_error_that_says_how_to_go_on(
    code: int, reason: str, cls: type[KubeError], retry: Retry
) -> None:
    """Every refusal of the API server has exactly one class."""
    error = from_answer(code, status(code, reason))

    assert type(error) is cls
    assert retry is error.retry
    assert (code, reason, "m") == (error.code, error.reason, error.message)


def test_code_alone_names_the_error() -> None:
    """Proxies in between answer without a Status."""
    error = from_answer(503, b"<html>no upstream</html>")

    assert type(error) is Unavailable
    assert error.message == "<html>no upstream</html>"


def test_retry_after_is_the_servers_word() -> None:
    """The header wins over the body; either is capped so that nothing stands still for ever."""
    from_header = from_answer(429, status(429, "TooManyRequests", retryAfterSeconds=7), "3")
    from_body = from_answer(503, status(503, "ServiceUnavailable", retryAfterSeconds=7))
    unreadable = from_answer(429, b"", "Wed, 21 Oct 2026 07:28:00 GMT")
    endless = from_answer(429, b"", "999999")

    assert from_header.retry_after == 3
    assert from_body.retry_after == 7
    assert unreadable.retry_after == 1
    assert endless.retry_after == LONGEST_RETRY_AFTER


def test_causes_are_kept() -> None:
    """The field that is wrong is in the causes, and callers ask for them by reason."""
    causes = [{"reason": "FieldValueInvalid", "field": "spec.replicas", "message": "no"}]
    error = from_answer(422, status(422, "Invalid", name="web", kind="Deployment", causes=causes))

    assert error.has_cause("FieldValueInvalid")
    assert not error.has_cause("NamespaceTerminating")
    assert error.details.causes[0].field == "spec.replicas"
    assert error.details.name == "web"


@pytest.mark.parametrize("error", [ServerError("x"), Unavailable("x"), ConnectionFailed("x"), TimedOut("x")])
def test_write_without_a_clear_answer_may_have_been_done(error: KubeError) -> None:
    """The caller has to observe before it writes again."""
    assert error.outcome_unknown


@pytest.mark.parametrize("error", [NotFound("x"), Conflict("x"), Forbidden("x"), TooManyRequests("x")])
def test_write_that_was_refused_has_not_been_done(error: KubeError) -> None:
    """A refusal is an outcome."""
    assert not error.outcome_unknown


def test_timeout_is_told_from_refusal() -> None:
    """Both are failed connections; only one of them waited."""
    assert type(from_transport(TimeoutError(), "GET", "/api")) is TimedOut
    assert type(from_transport(ConnectionRefusedError("no"), "GET", "/api")) is ConnectionFailed
    assert "GET /api" in str(from_transport(ConnectionRefusedError("no"), "GET", "/api"))


@given(st.integers(300, 599), st.binary(max_size=300), st.none() | st.text(max_size=20))
def test_any_body_is_survived(code: int, body: bytes, header: str | None) -> None:
    """Whatever stands between us and the cluster, the caller gets an error of the tree."""
    error = from_answer(code, body, header)

    assert error.code == code
    assert error.retry_after is None or 0 <= error.retry_after <= LONGEST_RETRY_AFTER


def test_deeply_nested_body_is_survived() -> None:
    """A body made to exhaust the stack is only a body."""
    assert type(from_answer(500, b'{"a":' * 100_000)) is ServerError
