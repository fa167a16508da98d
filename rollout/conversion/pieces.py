"""The pieces of a Rollout that differ between the versions, and how each converts by itself.

A piece is converted without looking at any other, so that field ownership and edits stay local.
All else of an object is the same in both versions and is copied untouched.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rollout import names
from rollout.conversion import natural
from rollout.conversion.natural import Content
from rollout.problems import Problem
from rollout.wire import JsonObject

Natural = Callable[[Mapping[str, Any]], Content]

_MAX_DEPTH = 64  # of spec and status; the schemas need 12, and beyond some 900 Python could not follow
_MAX_INTEGER = 2**63 - 1  # what Kubernetes JSON holds
_MOST_ELEMENTS = 200  # of a list of pieces; the schemas allow 50 steps


class Version(Enum):
    """The served versions."""

    ALPHA = "v1alpha1"
    BETA = "v1beta1"

    @property
    def other(self) -> "Version":
        """The version that this one is converted to."""
        return Version.BETA if self is Version.ALPHA else Version.ALPHA


@dataclass(frozen=True)
class Kind:
    """A kind of piece: where its fields are and its natural conversion."""

    name: str
    fields: tuple[tuple[tuple[str, ...], str], ...]
    """(path to the parent, key); a piece exists where all its parents do. Empty for list elements."""
    to_alpha: Natural
    to_beta: Natural
    remembers: Mapping[str, Callable[[Any], bool]]
    """The members that a stash may change, and what they may be: a forged one must not put anything
    else where typed clients read."""
    context: tuple[tuple[str, ...], str] | None = None
    """A field whose presence belongs to what the piece means."""

    def to(self, version: Version) -> Natural:
        """Choose the conversion to a version."""
        return self.to_beta if version is Version.BETA else self.to_alpha


@dataclass(frozen=True)
class Piece:
    """One piece of one object."""

    kind: Kind
    name: str
    content: Mapping[str, Any]
    context: bool = False


_ANNOTATIONS = ("metadata", "annotations")
_SPEC = ("spec",)
_STRATEGY = ("spec", "strategy")
_CANARY = ("spec", "strategy", "canary")
_STATUS = ("status",)
_MIRROR = ("currentStepIndex", "currentStepState")

_KINDS = (
    Kind(
        "objectRef",
        ((_SPEC, "objectRef"), (_SPEC, "workloadRef")),
        natural.workload_to_alpha,
        natural.workload_to_beta,
        {"objectRef": natural.is_object_ref},
    ),
    Kind(
        "rolloutID", ((_SPEC, "rolloutID"),), natural.nothing, natural.nothing, {"rolloutID": natural.is_text}
    ),
    Kind(
        "strategy.type", ((_STRATEGY, "type"),), natural.nothing, natural.nothing, {"type": natural.is_text}
    ),
    Kind(
        "strategy.blueGreen",
        ((_STRATEGY, "blueGreen"),),
        natural.nothing,
        natural.nothing,
        {"blueGreen": natural.is_mapping},
        context=(_STRATEGY, "canary"),
    ),
    Kind(
        f"strategy.canary.{natural.ENABLE}",
        ((_ANNOTATIONS, names.ROLLING_STYLE), (_CANARY, natural.ENABLE)),
        natural.style_to_alpha,
        natural.style_to_beta,
        {names.ROLLING_STYLE: natural.is_text, natural.ENABLE: natural.is_flag},
    ),
    Kind(
        f"strategy.canary.{natural.REF}",
        ((_ANNOTATIONS, names.TRAFFIC_ROUTING), (_CANARY, natural.REF)),
        natural.routing_ref_to_alpha,
        natural.routing_ref_to_beta,
        {names.TRAFFIC_ROUTING: natural.is_text, natural.REF: natural.is_text},
    ),
)
_STEPS = Kind(
    "strategy.canary.steps",
    (),
    natural.step_to_alpha,
    natural.step_to_beta,
    {
        "weight": natural.is_number,
        "traffic": natural.is_text,
        "replicas": natural.is_int_or_text,
        "matches": natural.is_list_of_mappings,
    },
)
_ROUTINGS = Kind(
    "strategy.canary.trafficRoutings",
    (),
    natural.routing_without_type,
    natural.routing_without_type,
    {"type": natural.is_text},
)
_LISTS = ((_STEPS, "steps"), (_ROUTINGS, "trafficRoutings"))


def unreadable(obj: JsonObject) -> Problem | None:
    """Refuse JSON that no Kubernetes API server sends: it could not be worked on safely."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, Mapping):
        return Problem("metadata", metadata, "must be an object")
    if not isinstance(metadata.get("annotations") or {}, Mapping):
        return Problem("metadata.annotations", metadata["annotations"], "must be an object")
    for key in ("spec", "status"):
        if not is_plain(obj.get(key)):
            return Problem(
                key, None, f"is nested deeper than {_MAX_DEPTH} levels or holds too large an integer"
            )
    for _, key in _LISTS:
        elements = _at(obj, _CANARY).get(key)
        if isinstance(elements, list) and len(elements) > _MOST_ELEMENTS:
            message = f"has {len(elements)} elements, more than the {_MOST_ELEMENTS} that are converted"
            return Problem(".".join((*_CANARY, key)), None, message)
    return None


def is_plain(value: object) -> bool:
    """Tell whether a JSON value is no deeper and no larger than can be worked on, without recursion."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        if any(isinstance(each, int) and abs(each) > _MAX_INTEGER for each in level):
            return False
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return True
    return False


def split(obj: JsonObject) -> dict[str, Piece]:
    """Take the pieces out of an object of either version; names are the same in both."""
    singles = {
        kind.name: Piece(kind, kind.name, _content(obj, kind), _is_set(obj, kind))
        for kind in _KINDS
        if _exists(obj, kind)
    }
    return singles | {piece.name: piece for kind, key in _LISTS for _, piece in _elements(obj, kind, key)}


def join(obj: JsonObject, contents: Mapping[str, Content], version: Version) -> dict[str, Any]:
    """Build the object of the other version from the same object and the converted pieces."""
    built: dict[str, Any] = {**obj, "apiVersion": f"{names.GROUP}/{version.value}"}
    for kind, key in _LISTS:
        converted = {index: contents[piece.name] for index, piece in _elements(obj, kind, key)}
        if converted:
            elements = _at(obj, _CANARY)[key]
            parent = _open(built, _CANARY)
            parent[key] = [converted.get(index, each) for index, each in enumerate(elements)]
    for kind in _KINDS:
        if kind.name in contents:
            _place(built, kind, contents[kind.name])
    _mirror(built, version)
    return built


def _elements(obj: JsonObject, kind: Kind, key: str) -> Iterator[tuple[int, Piece]]:
    elements = _at(obj, _CANARY).get(key)
    for index, each in enumerate(elements if isinstance(elements, list) else ()):
        if isinstance(each, Mapping):
            yield index, Piece(kind, f"{kind.name}[{index}]", each)


def _exists(obj: JsonObject, kind: Kind) -> bool:
    """Annotations may be added to any object; all other parents must be there."""
    return all(path == _ANNOTATIONS or _is_object(obj, path) for path, _ in kind.fields)


def _content(obj: JsonObject, kind: Kind) -> Content:
    return {key: _at(obj, path)[key] for path, key in kind.fields if key in _at(obj, path)}


def _is_set(obj: JsonObject, kind: Kind) -> bool:
    return kind.context is not None and _at(obj, kind.context[0]).get(kind.context[1]) is not None


def _place(built: dict[str, Any], kind: Kind, content: Content) -> None:
    for path, key in kind.fields:
        if key in content:
            _open(built, path)[key] = content[key]
        elif key in _at(built, path):
            del _open(built, path)[key]


def _mirror(built: dict[str, Any], version: Version) -> None:
    """Repeat the step at the top of the status, where v1beta1 has its printer columns."""
    status = _at(built, _STATUS)
    if not status:
        return
    step = status.get("canaryStatus") or status.get("blueGreenStatus")
    mirrored = step if version is Version.BETA and isinstance(step, Mapping) else {}
    rest = {key: value for key, value in status.items() if key not in _MIRROR}
    built["status"] = rest | {key: mirrored[key] for key in _MIRROR if key in mirrored}


def _at(obj: JsonObject, path: tuple[str, ...]) -> Mapping[str, Any]:
    """Find the object at a path, empty if there is none."""
    found: Any = obj
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_object(obj: JsonObject, path: tuple[str, ...]) -> bool:
    return isinstance(_at(obj, path[:-1]).get(path[-1]), Mapping)


def _open(built: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Copy the objects along a path, so that they can be changed without touching the original's."""
    found = built
    for key in path:
        found[key] = dict(found.get(key) or {})
        found = found[key]
    return found


def _inside(value: object) -> list[Any]:
    match value:
        case Mapping():
            return list(value.values())
        case list():
            return value
        case _:
            return []
