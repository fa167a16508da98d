"""The update strategy of a Deployment: its limits, and the narrower one of a release that goes on inside it.

    sluice.dev/strategy: {"declared": {...}, "held": {...}}       while the release lasts: held is in force
    sluice.dev/strategy: {"declared": {...}, "replaces": {...}}   at its end: declared is given back

A paused Deployment keeps its revisions at replicas and maxSurge together, whatever is ready. Narrowed,
what one revision gets the other gives. It stays a rolling update: were nothing of ours there any more,
resuming it is an ordinary one, within its owner's limits.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, TypeGuard

from rollout.wire import JsonObject

_DEFAULT_LIMIT = "25%"  # of maxSurge and maxUnavailable alike
_LIMITS = ("maxSurge", "maxUnavailable")
_PERCENT = re.compile(r"[0-9]{1,9}%", re.ASCII)
_NONE = (0, "0%")


@dataclass(frozen=True, slots=True)
class Kept:
    """The strategy that a Deployment's owner declared, and the one that is held instead, if any."""

    declared: JsonObject
    held: JsonObject | None = None
    replaces: JsonObject | None = None
    """The one of ours that was in force when this was said: it still is until a webhook has followed."""

    @property
    def in_force(self) -> JsonObject:
        """The strategy that the Deployment is to have."""
        return self.declared if self.held is None else self.held

    def has(self, strategy: JsonObject) -> bool:
        """Tell whether a strategy is one that was held here: whoever wrote another one meant it."""
        return strategy in (self.held, self.replaces)

    def instead_of(self, strategy: JsonObject, held: JsonObject | None = None) -> "Kept":
        """Hold another strategy, or none, in the place of the one that is in force."""
        return Kept(self.declared, held, strategy if self.has(strategy) else None)

    def annotation(self) -> str:
        """Write it as the Deployment's annotation."""
        said = {"declared": self.declared, "held": self.held, "replaces": self.replaces}
        said = {key: value for key, value in said.items() if value is not None}
        return json.dumps(said, separators=(",", ":"), sort_keys=True)


def kept(annotation: str | None) -> Kept | None:
    """Read the annotation of a Deployment; None where there is none, or none that was written by us."""
    try:
        value = json.loads(annotation or "")
    except (ValueError, RecursionError):
        return None
    said: dict[str, Any] = value if isinstance(value, dict) else {}
    declared, held, replaces = said.get("declared"), said.get("held"), said.get("replaces")
    if not is_valid(declared) or not all(each is None or is_valid(each) for each in (held, replaces)):
        return None
    return Kept(declared, held, replaces)


def is_valid(strategy: object) -> TypeGuard[JsonObject]:
    """Tell whether the API server would accept a strategy; what is left out is a default."""
    if not isinstance(strategy, Mapping):
        return False
    kind, rolling = strategy.get("type", "RollingUpdate"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        return rolling is None
    limits = {} if rolling is None else rolling
    if kind != "RollingUpdate" or not isinstance(limits, Mapping):
        return False
    surge, unavailable = (limits.get(key, _DEFAULT_LIMIT) for key in _LIMITS)
    sound = _is_limit(surge) and _is_limit(unavailable) and not _is_more_than_all(unavailable)
    return sound and not (surge in _NONE and unavailable in _NONE)


def _is_limit(value: object) -> bool:
    if isinstance(value, str):
        return bool(_PERCENT.fullmatch(value))
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_more_than_all(unavailable: int | str) -> bool:
    return isinstance(unavailable, str) and int(unavailable.removesuffix("%")) > 100  # noqa: PLR2004 - percent


def redeclared(before: Kept, written: JsonObject) -> JsonObject | None:
    """Say what the owner wants who wrote a strategy over the one that is held; None for no valid one.

    A patch of one limit is merged with the held one: what is as it is held, was not written.
    """
    held, own, new = (_limits_of(each) for each in (before.in_force, before.declared, written))
    said = {key: value if value != held.get(key) else own.get(key, value) for key, value in new.items()}
    merged = {**written, "rollingUpdate": said} if said else written
    return next((each for each in (merged, written) if is_valid(each)), None)


def _limits_of(strategy: JsonObject) -> JsonObject:
    rolling = strategy.get("rollingUpdate")
    return rolling if isinstance(rolling, Mapping) else {}


def recreates(strategy: JsonObject) -> bool:
    """Tell whether a strategy allows no two revisions at once."""
    return strategy.get("type") == "Recreate"


def limits(strategy: JsonObject, replicas: int) -> tuple[int, int]:
    """Resolve ``maxSurge`` and ``maxUnavailable`` as the Deployment controller does, in pods.

    A percentage is rounded up for the surge, down for what may be missing; where both come to nothing,
    one pod may be missing.
    """
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", _DEFAULT_LIMIT), replicas, ceil)
    unavailable = _share(rolling.get("maxUnavailable", _DEFAULT_LIMIT), replicas, floor)
    return surge, min(replicas, 1 if surge == unavailable == 0 else unavailable)


def narrowed(declared: JsonObject, replicas: int, batch: int, extra: int = 0) -> JsonObject:
    """Narrow a strategy to hardly more pods than the replicas.

    Where none of these may be missing, it leaves as many more as ``batch``, as far as the owner allows that;
    else none. ``extra`` is added in any case.
    """
    own = declared.get("rollingUpdate") or {}
    surge, unavailable = limits(declared, max(1, replicas))  # of none, no limit leaves any: that is not valid
    most = min(surge, max(1, batch)) if unavailable == 0 else 0
    missing = 0 if unavailable == 0 else own.get("maxUnavailable", _DEFAULT_LIMIT)
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": most + extra, "maxUnavailable": missing},
    }


def merge(strategy: JsonObject) -> JsonObject:
    """Build the merge patch by which a Deployment gets a strategy, whatever it has."""
    rolling = strategy.get("rollingUpdate")
    parts = {key: (rolling or {}).get(key) for key in _LIMITS}
    return {"type": strategy.get("type"), "rollingUpdate": parts if rolling else None}


def _share(value: int | str, replicas: int, rounded: Callable[[float], int]) -> int:
    return value if isinstance(value, int) else rounded(replicas * int(value.removesuffix("%")) / 100)
