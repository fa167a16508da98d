"""Log lines: constant message, variables as keys, always one JSON object, never a secret."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.logs import JsonLines, Log, TextLines


class Lines(logging.Handler):
    """Collects formatted lines."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(self.format(record))


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Collect JSON lines."""
    yield from _listening(JsonLines())


@pytest.fixture
def text_lines() -> Iterator[Lines]:
    """Collect text lines."""
    yield from _listening(TextLines())


def _listening(formatter: logging.Formatter) -> Iterator[Lines]:
    handler = Lines(formatter)
    logger = logging.getLogger("sluice.example")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.propagate = True


def formatted(**fields: Any) -> dict[str, Any]:
    """Return the decoded JSON line of one record with these variables."""
    record = logging.LogRecord("sluice.example", logging.INFO, "file", 1, "%s", ("Constant",), None)
    record.sluice_fields = fields
    line = JsonLines().format(record)
    assert "\n" not in line
    decoded: dict[str, Any] = json.loads(line)
    return decoded


def test_line_has_message_variables_level_and_utc_time(lines: Lines) -> None:
    """The message stays constant; what varies stands in keys."""
    Log("example").bind(rollout="ns/echo").info("Weight was raised", weight=20)

    line = json.loads(lines.lines[0])
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "example",
        "message": "Weight was raised",
        "rollout": "ns/echo",
        "weight": 20,
    }


def test_percent_sign_in_a_message_is_text(lines: Lines) -> None:
    """A message is never a format string."""
    Log("example").info("100% done")

    assert json.loads(lines.lines[0])["message"] == "100% done"


def test_exception_is_one_line_with_a_traceback_field(lines: Lines) -> None:
    """A failure is one line: its type and text in ``error``, the stack in ``traceback``."""
    try:
        dict[str, str]()["missing"]
    except KeyError:
        Log("example").exception("A task ended", task="x")

    line = json.loads(lines.lines[0])
    assert len(lines.lines) == 1
    assert line["error"] == "KeyError: 'missing'"
    assert "test_exception_is_one_line" in line["traceback"]


def test_variable_cannot_take_the_place_of_a_standard_key() -> None:
    """A variable named like a standard key is kept beside it."""
    line = formatted(level="high", message="theirs")

    assert (line["level"], line["message"]) == ("info", "Constant")
    assert (line["level_"], line["message_"]) == ("high", "theirs")


def test_extra_of_a_plain_logger_becomes_variables() -> None:
    """A package that knows only the standard library's logging has its variables as keys, too."""
    record = logging.getLogger("kube.watch").makeRecord(
        "kube.watch",
        logging.WARNING,
        "file",
        1,
        "Watch failed",
        (),
        None,
        extra={"resource": "pods", "error": "x"},
    )

    line = json.loads(JsonLines().format(record))
    assert {"message": "Watch failed", "resource": "pods", "error": "x"}.items() <= line.items()


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMHcCAQEE",
        "Authorization: Bearer MHcCAQEE",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJNSGNDQVFFRSJ9.MHcCAQEE",
    ],
)
def test_secrets_are_blanked_wherever_they_stand(secret: str) -> None:
    """Keys and tokens do not reach a line, be it in text, in a structure or in an exception."""
    record = logging.LogRecord("lib", logging.INFO, "file", 1, secret, None, (None, ValueError(secret), None))  # type: ignore[arg-type]  # only [1] is read
    record.sluice_fields = {"plain": secret, "nested": {"deep": [secret]}, "object": ValueError(secret)}

    for formatter in (JsonLines(), TextLines()):
        line = formatter.format(record)
        assert "MHcCAQEE" not in line
        assert "[secret removed]" in line


def test_long_values_are_cut() -> None:
    """A hostile value does not make a line that the container runtime tears apart."""
    line = formatted(text="x" * 100_000, structure=["y" * 100_000])

    assert len(line["text"]) < 3000
    assert len(line["structure"]) < 3000


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.tuples(st.text()), inner)
        ),
    )
)
def test_any_value_makes_one_valid_json_line(value: Any) -> None:
    """No value breaks a line: NaN, bytes, surrogates, odd keys."""
    assert "value" in formatted(value=value)


def test_circular_and_deep_values_make_a_line() -> None:
    """What JSON cannot say is said some other way."""
    circular: list[Any] = []
    circular.append(circular)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    assert formatted(circular=circular)["circular"] == "[[...]]"
    assert formatted(deep=deep)["deep"] == "<list, too deep>"


def test_text_lines_keep_values_on_one_line(text_lines: Lines) -> None:
    """At a terminal a forged line break stays visible as one."""
    Log("example").info("Weight was raised", rollout="ns/echo", reason="a\nb c")

    line = text_lines.lines[0]
    assert line.endswith('INFO    example: Weight was raised rollout=ns/echo reason="a\\nb c"')
