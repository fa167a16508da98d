"""What the present version of an object cannot say, kept in one annotation.

JSON ``{"<version whose fields these are>": {"<piece>": {"of", "set", "drop"}}}``: for each piece
the members to set and to drop after its natural conversion, and the digest of the piece for which
that is right. Written in a fixed order, so that converting twice gives the same bytes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from rollout import names
from rollout.conversion.pieces import Piece, Version, is_plain
from rollout.wire import JsonObject

_MOST_ENTRIES = 1000  # the most pieces of a readable object are some 400; more is hand-made
_DIGEST_LENGTH = 12  # 48 bits: tells the pieces of one object apart; what is applied is checked besides


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to do to one piece after its natural conversion."""

    of: str
    set: dict[str, Any] = {}
    drop: tuple[str, ...] = ()

    def suits(self, piece: Piece) -> bool:
        """Tell whether this is something that a conversion can have left for such a piece."""
        may_be = piece.kind.remembers
        return all(key in may_be for key in self.drop) and all(
            key in may_be and may_be[key](value) for key, value in self.set.items()
        )

    def applied_to(self, natural: Mapping[str, Any]) -> dict[str, Any]:
        """Complete a naturally converted piece."""
        return {key: value for key, value in natural.items() if key not in self.drop} | self.set


Stash = dict[str, Entry]
_DECODER = msgspec.json.Decoder(dict[str, Stash])


def read(obj: JsonObject, version: Version) -> Stash:
    """Read the fields of ``version`` that an object of the other version carries; empty if it is not ours."""
    text = (obj["metadata"].get("annotations") or {}).get(names.CONVERSION_STASH)
    if not isinstance(text, str):
        return {}
    try:
        found = _DECODER.decode(text).get(version.value, {})
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):  # hand-made: as good as none
        return {}
    if len(found) > _MOST_ENTRIES:
        return {}
    return found if all(is_plain(entry.set) for entry in found.values()) else {}


def write(built: dict[str, Any], version: Version, left: Stash) -> dict[str, Any]:
    """Put what is left of ``version`` into a built object's annotation, in place of any other."""
    metadata = dict(built["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(names.CONVERSION_STASH, None)
    if left:
        annotations[names.CONVERSION_STASH] = canonical({version.value: msgspec.to_builtins(left)})
    if annotations:
        metadata["annotations"] = annotations
    elif metadata.get("annotations"):
        del metadata["annotations"]
    return {**built, "metadata": metadata}


class Memory:
    """What was left for the pieces of one object. Every piece is read once, however many there are."""

    def __init__(self, remembered: Stash, present: Mapping[str, Piece]) -> None:
        self._remembered = remembered
        pieces = present if remembered else {}
        self._digests = {name: digest_of(piece) for name, piece in pieces.items()}
        self._twins = Counter((_list(name), of) for name, of in self._digests.items())
        self._left: dict[tuple[str, str], list[Entry]] = {}
        for name, entry in remembered.items():
            self._left.setdefault((_list(name), entry.of), []).append(entry)

    def find(self, piece: Piece) -> Entry | None:
        """Find what was left for exactly this piece: at its place, or, moved in its list, by its digest."""
        of = self._digests.get(piece.name)
        if of is None:
            return None
        here = self._remembered.get(piece.name)
        if here is not None and here.of == of:
            return here
        alike = (_list(piece.name), of)
        elsewhere = self._left.get(alike, [])
        return elsewhere[0] if len(elsewhere) == 1 and self._twins[alike] == 1 else None


def difference(natural: Mapping[str, Any], wanted: Mapping[str, Any], of: str) -> Entry | None:
    """Tell what makes ``wanted`` out of ``natural``; None for nothing."""
    to_set = {
        key: value
        for key, value in wanted.items()
        if key not in natural or canonical(natural[key]) != canonical(value)
    }
    to_drop = tuple(sorted(key for key in natural if key not in wanted))
    return Entry(of, to_set, to_drop) if to_set or to_drop else None


def digest_of(piece: Piece) -> str:
    """Name a piece by what it says."""
    said = canonical([piece.content, piece.context])
    return hashlib.sha256(said.encode()).hexdigest()[:_DIGEST_LENGTH]


def canonical(value: object) -> str:
    """Write a JSON value with equal text for equal values: 1, 1.0 and true differ, order does not matter."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _list(name: str) -> str:
    return name.partition("[")[0]
