"""A user's mistake as a value: where, what was found, what is wrong, what to do.

The text has the form that users of this API know from the Kubernetes field errors. Which
mistakes exist is decided elsewhere (``rollout.parsing``, ``rollout.validation``).
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

_SHOWN_CHARACTERS = 200  # of the value found: enough to recognise it, one line in a terminal


class ProblemKind(Enum):
    """The class of a field error, as Kubernetes names it."""

    INVALID = "Invalid value"
    FORBIDDEN = "Forbidden"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in an object."""

    path: str
    """The field, in the spelling that this API's messages always had (``Spec.Strategy.Canary``)."""
    found: Any
    message: str
    hint: str = ""
    """What to do about it; a full sentence without the final full stop."""
    kind: ProblemKind = ProblemKind.INVALID

    def __str__(self) -> str:
        found = f": {shown(self.found)}" if self.kind is ProblemKind.INVALID else ""
        hint = f". {self.hint}" if self.hint else ""
        return f"{self.path}: {self.kind.value}{found}: {self.message}{hint}"


def shown(found: Any) -> str:
    """Write a found JSON value on one short line, whatever it is."""
    try:
        text = json.dumps(found, sort_keys=True)
    except (TypeError, ValueError, RecursionError):  # not JSON, too long a number, too deep
        text = f"<{type(found).__name__}>"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
