"""Users' own objects of any kind, changed by a script for the time of a release and given back after it.

What an object was before stands on the object itself, and so does what tells our writing from that of
others: the generation that our write led to (what the API server fills in by default is ours too), and a
digest of what was written. To give an object back, nothing else is needed, least of all the script.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rollout import names
from rollout.fields import MISSHAPEN
from rollout.spec import HeaderMatch, HeaderModifier, Match, MatchType, PathMatch, PathMatchType, QueryMatch
from rollout.traffic import lua
from rollout.traffic.lua import Failure, Script
from rollout.traffic.routing import ALL_STABLE, Routing
from rollout.wire import JsonObject

MARKS = (
    names.ORIGINAL_SPEC,
    names.ROUTED_BY,
    names.RELEASE,
    names.ROUTING,
    names.CHANGED_AT,
    names.ASKED,
)
# The API server takes 256 KiB of annotations an object; what else stands there needs some of it.
LARGEST_ORIGINAL = 200 * 1024
# Written by clients for themselves with each apply: neither shown to a script nor given back.
_CLIENTS_OWN = ("kubectl.kubernetes.io/last-applied-configuration",)
_MAPS = ("labels", "annotations")


@dataclass(frozen=True)
class Data:
    """What a script may change of an object."""

    spec: Any
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        """As scripts and the annotation have it."""
        return {"spec": self.spec, "labels": dict(self.labels), "annotations": dict(self.annotations)}


@dataclass(frozen=True)
class Backends:
    """The Services between which a script divides requests, and what else it may ask for."""

    namespace: str
    stable: str
    canary: str
    canary_hash: str | None = None
    """The pod-template-hash by which a canary without a Service of its own is told from the stable pods."""
    stable_hash: str | None = None

    @property
    def mark(self) -> str:
        """What betrays that something in an object comes from a release; empty where nothing does."""
        return self.canary if self.canary != self.stable else ""


@dataclass(frozen=True)
class Record:
    """What we wrote on an object when we changed it last."""

    routing: Routing
    digest: str
    generation: int
    mark: str
    """The canary Service's name, where it occurs in what we wrote."""
    touched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Labels and annotations that the script changed, added or removed."""

    @property
    def text(self) -> str:
        """As the annotation has it."""
        said = {
            **routing_json(self.routing),
            "digest": self.digest,
            "generation": self.generation,
            "mark": self.mark,
            **{key: list(each) for key, each in self.touched.items() if each},
        }
        return json.dumps(said, sort_keys=True, separators=(",", ":"))


# --- reading ----------------------------------------------------------------------------------------


def data_of(manifest: JsonObject) -> Data:
    """Read what a script may change, without our marks."""
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations") or {}
    hidden = {*MARKS, *_CLIENTS_OWN}
    kept = {key: value for key, value in annotations.items() if key not in hidden}
    return Data(manifest.get("spec"), dict(metadata.get("labels") or {}), kept)


def original_of(manifest: JsonObject) -> Data | None:
    """Read what an object was before we changed it; None when that cannot be read."""
    found = _json(manifest, names.ORIGINAL_SPEC)
    if not isinstance(found, dict) or "spec" not in found:
        return None
    labels, annotations = (found.get(key) or {} for key in _MAPS)
    if not isinstance(labels, dict) or not isinstance(annotations, dict):
        return None
    return Data(found["spec"], labels, annotations)


def record_of(manifest: JsonObject) -> Record | None:
    """Read what we wrote last; None when that cannot be read."""
    found = _json(manifest, names.ROUTING)
    try:
        routing = routing_of(found)
        touched = {key: tuple(str(each) for each in found.get(key, ())) for key in _MAPS}
        return Record(routing, str(found["digest"]), int(found["generation"]), str(found["mark"]), touched)
    except MISSHAPEN:
        return None


def is_ours(manifest: JsonObject, record: Record) -> bool:
    """Tell whether nobody has changed the spec since we wrote it."""
    return record.generation == generation_of(manifest) or record.digest == digest(manifest.get("spec"))


def is_new_original(manifest: JsonObject, record: Record) -> bool:
    """Tell whether somebody has put a spec of their own, with nothing of a release in it, in our place."""
    if is_ours(manifest, record):
        return False
    return not _occurs(record.mark, manifest.get("spec")) if record.mark else record.routing == ALL_STABLE


def mentions(mark: str, data: Data) -> bool:
    """Tell whether something of a release is in an object already."""
    return _occurs(mark, data.spec)


def remembered(original: Data) -> str:
    """Write what an object was as the annotation has it."""
    return json.dumps(original.json, sort_keys=True, separators=(",", ":"))


def generation_of(manifest: JsonObject) -> int:
    """Read the number of the spec's present version."""
    return int(manifest["metadata"].get("generation", 0))


def digest(spec: Any) -> str:
    """Name a spec by what it says."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


# --- writing ----------------------------------------------------------------------------------------


def render(original: Data, routing: Routing, script: Script | Failure, backends: Backends) -> Data | Failure:
    """Say a routing by the script; everything to the stable Service is what the object was before."""
    if routing == ALL_STABLE:
        return original
    if isinstance(script, Failure):
        return script
    result = lua.run(script, _obj(original, routing, backends))
    if isinstance(result, Failure):
        return result
    fitted = lua.fit(result, original.json)
    if not isinstance(fitted.get("spec"), dict):
        return Failure(f"{script.name}: returns no table spec")
    maps = {key: fitted.get(key) or {} for key in _MAPS}
    for key, each in maps.items():
        if not isinstance(each, dict) or not all(isinstance(value, str) for value in each.values()):
            return Failure(f"{script.name}: returns {key} that are not texts by name")
    return Data(fitted["spec"], **maps)


def change(live: JsonObject, original: Data, wanted: Data, record: Record | None) -> dict[str, Any]:
    """Build the merge patch that makes an object say what is wanted; empty when it does.

    Of labels and annotations only those are written that the script changes, or had changed: others are
    nobody's business but their owners'.
    """
    now = data_of(live)
    patch: dict[str, Any] = {}
    if (difference := merge_patch(now.spec, wanted.spec)) is not None:
        patch["spec"] = difference
    for key in _MAPS:
        was, wants, has = getattr(original, key), getattr(wanted, key), getattr(now, key)
        theirs = {*_touched(was, wants), *(record.touched.get(key, ()) if record else ())}
        changed = {name: wants.get(name) for name in sorted(theirs) if has.get(name) != wants.get(name)}
        if changed:
            patch.setdefault("metadata", {})[key] = changed
    return patch


def record(live: JsonObject, original: Data, wanted: Data, routing: Routing, backends: Backends) -> Record:
    """Describe a write, as it will have been done."""
    moves = merge_patch(live.get("spec"), wanted.spec) is not None
    mark = backends.mark if routing == ALL_STABLE or _occurs(backends.mark, wanted.spec) else ""
    return Record(
        routing,
        digest(wanted.spec),
        generation_of(live) + moves,
        mark,
        {key: _touched(getattr(original, key), getattr(wanted, key)) for key in _MAPS},
    )


def given_back(manifest: JsonObject) -> dict[str, Any] | None:
    """Build the merge patch that makes an object its owner's again; None when what it was is not known.

    A spec that somebody put in the place of ours is theirs already.
    """
    original, written = original_of(manifest), record_of(manifest)
    patch: dict[str, Any] = {"metadata": {"annotations": dict.fromkeys(MARKS)}}
    if written and is_new_original(manifest, written):
        return patch
    if original is None:
        return None
    restored = change(manifest, original, original, written)
    metadata = restored.get("metadata", {})
    annotations = {**metadata.get("annotations", {}), **patch["metadata"]["annotations"]}
    return {**restored, "metadata": {**metadata, "annotations": annotations}}


def merge_patch(live: Any, wanted: Any) -> Any:
    """Build the JSON merge patch from one value to another; None when they are equal."""
    if not isinstance(live, Mapping) or not isinstance(wanted, Mapping):
        return None if _equal(live, wanted) else wanted
    patch: dict[str, Any] = {key: None for key in live if key not in wanted}
    for key, value in wanted.items():
        if key not in live:
            patch[key] = value
        elif (inner := merge_patch(live[key], value)) is not None:
            patch[key] = inner
    return patch or None


# --- parts ------------------------------------------------------------------------------------------


def _equal(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _touched(was: Mapping[str, str], wants: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(key for key in was.keys() | wants.keys() if was.get(key) != wants.get(key)))


def _occurs(name: str, value: Any) -> bool:
    return bool(name) and any(name in each for each in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, each in value.items():
                yield key
                yield from _texts(each)
        case list():
            for each in value:
                yield from _texts(each)
        case _:
            pass


def _json(manifest: JsonObject, key: str) -> Any:
    try:
        return json.loads((manifest["metadata"].get("annotations") or {}).get(key, "null"))
    except (ValueError, RecursionError):
        return None


def _obj(original: Data, routing: Routing, backends: Backends) -> dict[str, Any]:
    """Give a script its world; a routing by matches alone has no weight, which scripts know as -1."""
    weightless = routing.weight == 0
    said: dict[str, Any] = {
        "data": original.json,
        "canaryWeight": -1 if weightless else routing.weight,
        "stableWeight": 101 if weightless else 100 - routing.weight,
        "canaryService": backends.canary,
        "stableService": backends.stable,
        "namespace": backends.namespace,
    }
    if routing.matches:
        said["matches"] = [match_json(each) for each in routing.matches]
    if routing.modifier:
        said["requestHeaderModifier"] = modifier_json(routing.modifier)
    hashes = {
        "canaryPodTemplateHash": backends.canary_hash,
        "stablePodTemplateHash": backends.stable_hash,
    }
    return {**said, **{key: each for key, each in hashes.items() if each}}


def routing_json(routing: Routing) -> dict[str, Any]:
    """Write a routing for ourselves."""
    return {
        "weight": routing.weight,
        "matches": [match_json(each) for each in routing.matches],
        "requestHeaderModifier": modifier_json(routing.modifier),
    }


def routing_of(said: JsonObject) -> Routing:
    """Read a routing; raises what reading JSON of another shape raises."""
    matches = tuple(_match(each) for each in said["matches"])
    return Routing(int(said["weight"]), matches, _modifier(said["requestHeaderModifier"]))


def match_json(match: Match) -> dict[str, Any]:
    """Write a match as the API has it."""
    said: dict[str, Any] = {}
    if match.path:
        said["path"] = {"type": match.path.type.value, "value": match.path.value}
    for key, each in (("headers", match.headers), ("queryParams", match.query)):
        if each:
            said[key] = [{"type": one.type.value, "name": one.name, "value": one.value} for one in each]
    return said


def modifier_json(modifier: HeaderModifier | None) -> dict[str, Any] | None:
    """Write a header modifier as the API has it."""
    if modifier is None:
        return None
    pairs = (("set", modifier.set), ("add", modifier.add))
    said: dict[str, Any] = {
        key: [{"name": name, "value": value} for name, value in each] for key, each in pairs if each
    }
    return {**said, "remove": list(modifier.remove)} if modifier.remove else said


def _modifier(said: JsonObject | None) -> HeaderModifier | None:
    if said is None:
        return None
    return HeaderModifier(
        set=_pairs(said, "set"),
        add=_pairs(said, "add"),
        remove=tuple(str(each) for each in said.get("remove", ())),
    )


def _pairs(said: JsonObject, key: str) -> tuple[tuple[str, str], ...]:
    return tuple((str(one["name"]), str(one["value"])) for one in said.get(key, ()))


def _match(said: JsonObject) -> Match:
    path = said.get("path")
    return Match(
        PathMatch(str(path["value"]), PathMatchType(path["type"])) if path else None,
        tuple(HeaderMatch(*_condition(each)) for each in said.get("headers", ())),
        tuple(QueryMatch(*_condition(each)) for each in said.get("queryParams", ())),
    )


def _condition(said: JsonObject) -> tuple[str, str, MatchType]:
    return str(said["name"]), str(said["value"]), MatchType(said["type"])
