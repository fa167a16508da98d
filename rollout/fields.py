"""Reading JSON that nobody has checked: a value of the expected type, or a noted problem.

Absent and ``null`` are the same, as in every typed Kubernetes client. Knows no field by name.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeGuard, TypeVar

from rollout.problems import Problem
from rollout.spec import Amount

MAX_INT32 = 2**31 - 1  # the API's integers are int32 where they are not statuses
_PERCENT = re.compile(r"([+-]?[0-9]{1,10})%", re.ASCII)  # what Go's strconv.Atoi takes, within int32
_WHOLE_PERCENT = 100
_PART = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)  # of a name, between dots
_MAX_SUBDOMAIN = 253  # RFC 1123, as Kubernetes checks it: the length of the whole, not of its parts

_Member = TypeVar("_Member", bound=Enum)


MISSHAPEN = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What reading JSON of another shape raises: 1e999 is a number, and no integer."""

_MOST_DIGITS = 18


def natural(text: str) -> int | None:
    """Read a whole number written as a text; None for all else, more digits than ours have included."""
    fits = text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS
    return int(text) if fits else None


def percentage(value: object) -> int | None:
    """Read ``"20%"`` as 20 (also ``"+20%"``, ``"020%"``); None for all else and beyond int32."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    number = int(match[1]) if match else None
    return number if number is not None and abs(number) <= MAX_INT32 else None


def is_integer(value: object) -> TypeGuard[int]:
    """Tell whether a JSON value is an integer; ``true`` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(value: object) -> int | None:
    """Read a whole number within int32, also written as ``20.0``; None for all else."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    return number if is_integer(number) and abs(number) <= MAX_INT32 else None


def is_object_name(value: str) -> bool:
    """Tell whether a name is safe to use for any object: an RFC 1123 subdomain."""
    return len(value) <= _MAX_SUBDOMAIN and all(_PART.fullmatch(part) for part in value.split("."))


class Field:
    """One place in an object: its path, what is there, and the list that takes the problems."""

    def __init__(self, path: str, value: object, problems: list[Problem]) -> None:
        self.path = path
        self.value = value
        self.problems = problems

    @property
    def is_absent(self) -> bool:
        """Whether there is nothing here."""
        return self.value is None

    def refuse(self, message: str, hint: str = "") -> None:
        """Note a problem with what is here."""
        self.problems.append(Problem(self.path, self.value, message, hint))

    def child(self, key: str, spelled: str | None = None) -> "Field":
        """Go to a member; ``spelled`` where messages spell the path otherwise than the JSON."""
        member = self.value.get(key) if isinstance(self.value, Mapping) else None
        return Field(f"{self.path}.{spelled or key[:1].upper() + key[1:]}", member, self.problems)

    def same_place(self, name: str) -> "Field":
        """Name the same value by a further part of the path, for messages that do so."""
        return Field(f"{self.path}.{name}", self.value, self.problems)

    def items(self) -> Iterator["Field"]:
        """Go through the elements of a list; anything else is noted and has none."""
        if not (self.is_absent or isinstance(self.value, list)):
            self.refuse("must be a list")
        elements = self.value if isinstance(self.value, list) else []
        return (Field(f"{self.path}[{i}]", each, self.problems) for i, each in enumerate(elements))

    def is_object(self) -> bool:
        """Tell whether an object is here; anything else that is present is noted (ask once)."""
        if not (self.is_absent or isinstance(self.value, Mapping)):
            self.refuse("must be an object")
        return isinstance(self.value, Mapping)

    def text(self) -> str:
        """Read a string, "" when absent."""
        if not (self.is_absent or isinstance(self.value, str)):
            self.refuse("must be a string")
        return self.value if isinstance(self.value, str) else ""

    def required_text(self) -> str:
        """Read a string that must not be empty."""
        if self.value in (None, ""):
            self.refuse("cannot be empty")
        return self.text()

    def object_name(self) -> str:
        """Read the name of an object, "" when absent."""
        name = self.text()
        if name and not is_object_name(name):
            self.refuse("must be the name of an object: lower case letters, digits, '-' and '.'")
        return name

    def flag(self) -> bool:
        """Read a boolean, False when absent."""
        if not (self.is_absent or isinstance(self.value, bool)):
            self.refuse("must be true or false")
        return self.value is True

    def count(self, message: str) -> int | None:
        """Read an integer from 0 to the API's largest, None when absent; ``message`` refuses others."""
        if self.is_absent:
            return None
        if is_integer(self.value) and 0 <= self.value <= MAX_INT32:
            return self.value
        self.refuse(message)
        return None

    def amount(self, least: int, message: str) -> Amount | None:
        """Read an integer or a percentage up to 100 %, at least ``least``; None when absent or refused."""
        percent = percentage(self.value)
        if percent is not None and least <= percent <= _WHOLE_PERCENT:
            return Amount(percent, percent=True)
        if is_integer(self.value) and least <= self.value <= MAX_INT32:
            return Amount(self.value)
        if not self.is_absent:
            self.refuse(message)
        return None

    def choice(self, kind: type[_Member], otherwise: _Member) -> _Member:
        """Read one of an enumeration's values, ``otherwise`` when absent."""
        if self.is_absent:
            return otherwise
        found = next((each for each in kind if each.value == self.value), None)
        if found is None:
            self.refuse(f"must be one of {', '.join(str(each.value) for each in kind)}")
        return found or otherwise

    def texts(self) -> dict[str, str]:
        """Read a map of strings, empty when absent."""
        members = self.value if self.is_object() and isinstance(self.value, Mapping) else {}
        return {key: self.child(key, spelled=key).text() for key in members}
