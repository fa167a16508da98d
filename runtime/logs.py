"""Log lines: one JSON object a line on standard error, or text for a person at a terminal.

The message is constant, variables are keys beside it, so that lines can be searched and counted.
Secrets do not reach a log: callers do not pass them, and whatever looks like a private key or a
bearer token is blanked all the same. Libraries are never logged below ``info``, whatever the
level: at ``debug`` an API client prints whole response bodies, Secrets included.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

_OURS = "sluice"
_FIELDS = "sluice_fields"
_RESERVED = frozenset({"time", "level", "logger", "message"})
# What every record has of its own; any other attribute is a variable that somebody passed as ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {_FIELDS, "message", "asctime", "taskName"}
# Container runtimes cut lines at 16 KiB; a value and a traceback of these sizes leave room for the rest.
_VALUE_CHARACTERS = 2048
_TRACEBACK_CHARACTERS = 8192

_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?i:\bbearer\s+)[\w.~+/=-]+"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]+\.[\w-]*",  # a JSON web token, as service accounts carry
    re.DOTALL,
)
_BLANKED = "[secret removed]"


class Log:
    """A named source of lines, with variables it adds to each: ``Log("webhook").bind(rollout="ns/name")``."""

    def __init__(self, name: str, fields: Mapping[str, Any] | None = None) -> None:
        self._name = name
        self._logger = logging.getLogger(f"{_OURS}.{name}")
        self._bound = dict(fields or {})

    def bind(self, **fields: Any) -> "Log":
        """Return a log that adds these variables to every line."""
        return Log(self._name, {**self._bound, **fields})

    def debug(self, message: str, /, **fields: Any) -> None:
        """Log what only somebody reading this code needs."""
        self._write(logging.DEBUG, message, fields, None)

    def info(self, message: str, /, **fields: Any) -> None:
        """Log what happened as it should."""
        self._write(logging.INFO, message, fields, None)

    def warning(self, message: str, /, *, exception: BaseException | None = None, **fields: Any) -> None:
        """Log what somebody may have to look at."""
        self._write(logging.WARNING, message, fields, exception)

    def error(self, message: str, /, *, exception: BaseException | None = None, **fields: Any) -> None:
        """Log what somebody has to look at."""
        self._write(logging.ERROR, message, fields, exception)

    def exception(self, message: str, /, **fields: Any) -> None:
        """Log the exception that is being handled: somebody has to look at it."""
        self._write(logging.ERROR, message, fields, sys.exception())

    def _write(
        self, level: int, message: str, fields: Mapping[str, Any], exception: BaseException | None
    ) -> None:
        if self._logger.isEnabledFor(level):
            extra = {_FIELDS: {**self._bound, **fields}}
            self._logger.log(level, "%s", message, exc_info=exception, extra=extra)


def configure(level: str, log_format: str, stream: TextIO = sys.stderr) -> None:
    """Send all logging of this interpreter to ``stream``; ``log_format`` is json, text or auto."""
    as_text = log_format == "text" or (log_format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextLines() if as_text else JsonLines())
    chosen = getattr(logging, level.upper())
    logging.basicConfig(level=max(chosen, logging.INFO), handlers=[handler], force=True)
    logging.getLogger(_OURS).setLevel(chosen)
    logging.captureWarnings(capture=True)


class JsonLines(logging.Formatter):
    """One JSON object a line, whatever is in it: a line never fails and never spans two lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name.removeprefix(_OURS + "."),
            "message": _clean(record.getMessage()),
            **_variables(record),
        }
        return json.dumps(line, ensure_ascii=True, allow_nan=False)


class TextLines(logging.Formatter):
    """The same for a person's eyes; only a traceback takes lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = _variables(record)
        trace = fields.pop("traceback", None)
        words = [f"{key}={value if _is_word(value) else json.dumps(value)}" for key, value in fields.items()]
        head = f"{_time(record)} {record.levelname:<7} {record.name.removeprefix(_OURS + '.')}: "
        message = _clean(record.getMessage()).replace("\n", "\\n")
        return " ".join([head + message, *words]) + (f"\n{trace}" if trace else "")


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _variables(record: logging.LogRecord) -> dict[str, Any]:
    """Return what varies: the fields of a ``Log``, a library's ``extra``, an exception."""
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    error = _error(record)
    taken = _RESERVED | error.keys()
    given = {**extra, **getattr(record, _FIELDS, {})}
    return {f"{key}_" if key in taken else key: _plain(value) for key, value in given.items()} | error


def _error(record: logging.LogRecord) -> dict[str, str]:
    exception = record.exc_info[1] if record.exc_info else None
    if exception is None:
        return {}
    # the end of a traceback says most
    trace = _clean("".join(traceback.format_exception(exception)), -1)[-_TRACEBACK_CHARACTERS:]
    return {"error": _clean(f"{type(exception).__name__}: {exception}"), "traceback": trace}


def _plain(value: Any) -> Any:
    """Return something that JSON can surely say."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return _clean(value)
        case _:
            return _plain_structure(value)


def _plain_structure(value: Any) -> Any:
    try:
        said = json.dumps(value, ensure_ascii=True, allow_nan=False, default=str)
        if len(said) <= _VALUE_CHARACTERS and not _SECRET.search(said):
            return json.loads(said)
        return _clean(said)
    except (TypeError, ValueError, RecursionError):
        return _clean(_representation(value))


def _representation(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return f"<{type(value).__name__}, too deep>"


def _clean(text: str, most: int = _VALUE_CHARACTERS) -> str:
    blanked = _SECRET.sub(_BLANKED, text)
    return blanked if most < 0 or len(blanked) <= most else blanked[:most] + "…"


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and " " not in value and '"' not in value
