"""What an image does in the sandbox is decided by its name alone."""

import pytest

from sandbox.names import READY_AFTER, READY_AFTER_VARIABLE
from sandbox.node.images import Behaviour, Command, Demo, Unpullable, behaviour


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"image": "cilium/echoserver:1.10.2"}, Demo(0.3)),
        ({"image": "cilium/echoserver:1.10.3-unready"}, Demo(0.3, serves=False)),
        ({"image": "cilium/echoserver:1.10.3-crashing"}, Demo(0.3, crashes=True)),
        ({"image": "cilium/echoserver:1.10.3-failing"}, Demo(0.3, failing=True)),
        ({"image": "cilium/echoserver:1.10.3-unpullable", "command": ["true"]}, Unpullable()),
        ({"image": "sluice:0.1.0", "args": ["-m", "webhook"]}, Command(("python", "-m", "webhook"))),
        ({"image": "r.example.com:5000/x/sluice@sha256:00"}, Command(("python",))),
        ({"image": "not-sluice:1"}, Demo(0.3)),
        ({"image": "busybox", "command": ["sh"], "args": ["-c", "true"]}, Command(("sh", "-c", "true"))),
    ],
)
def test_image_decides_behaviour(container: dict[str, object], expected: Behaviour) -> None:
    """A command is run, this project's image is python, all else is the echo server."""
    assert expected == behaviour(container, {}, {})


def test_variable_wins_over_annotation() -> None:
    """A container's own readiness delay wins over its pod's."""
    container = {"image": "demo:1"}

    assert behaviour(container, {READY_AFTER: "2"}, {}) == Demo(2.0)
    assert behaviour(container, {READY_AFTER: "2"}, {READY_AFTER_VARIABLE: "0"}) == Demo(0.0)
