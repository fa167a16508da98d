"""JSON Patch (RFC 6902) operations that bring a few fields to wanted values. Knows no field by name."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Operation(msgspec.Struct, frozen=True):
    """One operation; ``value`` is left out of a removal."""

    op: str
    path: str
    value: Any = msgspec.UNSET


def add(path: str, value: Any) -> Operation:
    """Set a member, present or not."""
    return Operation("add", path, value)


def remove(path: str) -> Operation:
    """Remove a member, which must be present."""
    return Operation("remove", path)


def entries(
    path: str, present: Mapping[str, str] | None, wanted: Mapping[str, str | None]
) -> list[Operation]:
    """Bring entries of a string map to the wanted values, None meaning absent; all others are left alone.

    A map that is missing altogether is written whole: an operation below it would have no parent.
    """
    if present is None:
        missing = {key: value for key, value in wanted.items() if value is not None}
        return [add(path, missing)] if missing else []
    operations = []
    for key, value in wanted.items():
        if value is None and key in present:
            operations.append(remove(f"{path}/{_escaped(key)}"))
        elif value is not None and present.get(key) != value:
            operations.append(add(f"{path}/{_escaped(key)}", value))
    return operations


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
