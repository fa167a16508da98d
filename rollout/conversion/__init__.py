"""One Rollout object in the other served version, losing nothing and inventing nothing.

v1alpha1 and v1beta1 each can say things that the other cannot. Every piece of an object has a
*natural* conversion (``natural``), a total function in both directions. Where going there and back
does not give the piece as it was, the difference is left in an annotation (``stash``) of the
converted object: hidden in the version whose fields it holds, visible in the other, so that
clients of the other version carry it along without understanding it.

A stashed difference is used for a piece only while two things hold: the piece is exactly the one
that it was left for (a digest says so), and with the difference applied it still converts to
exactly that piece. A dropped, stale or forged stash can thus never change what an object means in
the version in which it was last written; it only stops to remember. A piece is small (one step, one
field), so an edit through one version forgets nothing about the pieces that it does not touch.

The status needs no stash, and must not have one: a write to ``/status`` cannot carry annotations, and
a write to the main resource could forge a status with them. Both versions have the same fields but
for ``currentStepIndex`` and ``currentStepState`` at the top of v1beta1's, which repeat the sub-status
for the printer columns and are written anew.
"""

from collections.abc import Mapping
from typing import Any

from rollout import names
from rollout.conversion import pieces, stash
from rollout.conversion.pieces import Piece, Version
from rollout.problems import Problem
from rollout.wire import JsonObject

_KIND = "Rollout"


def convert(obj: object, to_version: str) -> JsonObject | Problem:
    """Give any JSON object in ``to_version`` (``v1beta1`` or ``rollouts.kruise.io/v1beta1``)."""
    if not isinstance(obj, Mapping):
        return Problem("", obj, "must be an object")
    source, target = version_of(obj.get("apiVersion")), version_of(to_version)
    if source is None or target is None or obj.get("kind") != _KIND:
        found = [obj.get("apiVersion"), obj.get("kind"), to_version]
        return Problem(
            "apiVersion", found, f"only {_KIND}s of {names.GROUP} are converted, v1alpha1 and v1beta1"
        )
    problem = pieces.unreadable(obj)
    if problem is not None or source is target:
        return problem or obj
    return _converted(obj, source, target)


def forgotten(old: JsonObject, new: JsonObject) -> tuple[str, ...]:
    """Name what an update of a v1alpha1 object drops because only v1beta1 can say it.

    Such a drop is what the client asked for only in the sense of the API: it rewrote a step, say,
    whose v1beta1 part it could not see.
    """
    before, after = _hidden(old), _hidden(new)
    parts = pieces.split(new) if pieces.unreadable(new) is None else {}
    return tuple(name for name, entry in before.items() if entry.set and name in parts and name not in after)


def version_of(api_version: object) -> Version | None:
    """Read ``v1beta1`` or ``rollouts.kruise.io/v1beta1``; None for any other group or version."""
    if not isinstance(api_version, str):
        return None
    group, _, version = api_version.rpartition("/")
    return next((each for each in Version if each.value == version and group in ("", names.GROUP)), None)


def _converted(obj: JsonObject, source: Version, target: Version) -> dict[str, Any]:
    present = pieces.split(obj)
    memory = stash.Memory(stash.read(obj, target), present)
    restored = {name: _restored(piece, memory, target) for name, piece in present.items()}
    left = {
        name: difference
        for name, piece in present.items()
        if (difference := _difference(piece, restored[name], target)) is not None
    }
    return stash.write(pieces.join(obj, restored, target), source, left)


def _restored(piece: Piece, memory: stash.Memory, target: Version) -> dict[str, Any]:
    """Convert one piece, with what was remembered of it if that still converts to exactly the piece."""
    natural = piece.kind.to(target)(piece.content)
    entry = memory.find(piece)
    if entry is None or not entry.suits(piece):
        return natural
    complete = entry.applied_to(natural)
    back = piece.kind.to(target.other)(complete)
    return complete if stash.canonical(back) == stash.canonical(piece.content) else natural


def _difference(piece: Piece, converted: dict[str, Any], target: Version) -> stash.Entry | None:
    """Tell what the converted piece does not say about the piece; None for nothing."""
    natural = piece.kind.to(target.other)(converted)
    of = stash.digest_of(Piece(piece.kind, piece.name, converted, piece.context))
    return stash.difference(natural, piece.content, of)


def _hidden(obj: JsonObject) -> dict[str, stash.Entry]:
    """Read what a v1alpha1 object carries along of v1beta1 and would still get back."""
    stored = convert(obj, Version.BETA.value)
    shown = stored if isinstance(stored, Problem) else convert(stored, Version.ALPHA.value)
    return {} if isinstance(shown, Problem) else stash.read(shown, Version.BETA)
