"""The demo images' server understands requests however they are cut."""

import json

import pytest

from sandbox.node.echo import Connection, answer

_GET = b"GET /x HTTP/1.1\r\nHost: a.example.com\r\n\r\n"


def _connection() -> Connection:
    return Connection(None)  # type: ignore[arg-type]  # nothing is sent or received here


def test_pipelined_requests_are_all_taken() -> None:
    """Two requests in one piece are two requests."""
    assert len(_connection().receive(_GET + _GET)) == 2


def test_request_in_pieces_is_taken_once_complete() -> None:
    """Byte by byte, a request is one request, and only with its last byte."""
    connection = _connection()
    post = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"

    found = [connection.receive(post[index : index + 1]) for index in range(len(post))]

    assert [len(requests) for requests in found] == [0] * (len(post) - 1) + [1]


def test_endless_request_is_cut_off() -> None:
    """A client cannot fill the memory."""
    with pytest.raises(ConnectionError):
        _connection().receive(b"x" * (2 << 20))


def test_answer_tells_who_and_what() -> None:
    """The answer holds the pod's identity and the request's headers."""
    (request,) = _connection().receive(_GET)

    head, _, body = answer(request, {"pod": "p", "image": "i"}, "200 OK").partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {
        "pod": "p",
        "image": "i",
        "method": "GET",
        "path": "/x",
        "headers": {"Host": "a.example.com"},
    }
