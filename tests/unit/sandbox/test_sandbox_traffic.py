"""The meter counts as lost all that a user would miss."""

import pytest

from sandbox.data_plane import Response, Traffic

_GOOD = Response(200, pod="p", image="i")


@pytest.mark.parametrize(
    "bad",
    [
        Response(503, text="no available server"),
        Response(500, pod="p", image="i"),
        Response(200, text="a page"),
    ],
    ids=["no server", "failing pod", "not a demo pod"],
)
def test_bad_answer_is_lost(bad: Response) -> None:
    """Anything but a 200 of a demo pod is a lost request."""
    traffic = Traffic()
    traffic.answers.update({_GOOD: 3, bad: 2})

    assert (traffic.sent, traffic.lost) == (5, 2)
    assert traffic.by_image == {"i": 3}


def test_unanswered_request_is_lost() -> None:
    """A connection that breaks is a lost request."""
    traffic = Traffic()
    traffic.errors["broken"] += 1

    assert (traffic.sent, traffic.lost) == (1, 1)
