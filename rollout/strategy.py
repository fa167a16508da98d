"""The update strategy of a Deployment: its limits, and the narrower one of a release that goes on inside it.

    sluice.dev/strategy: {"declared": {...}, "held": {...}}       while the release lasts: held is in force
    sluice.dev/strategy: {"declared": {...}, "replaces": {...}}   at its end: declared is given back

A paused Deployment keeps its revisions at replicas and maxSurge together, whatever is ready. Narrowed,
what one revision gets the other gives. It stays a rolling update: were nothing of ours there any more,
resuming it is an ordinary one. No more pods are missing than its owner allows, and at most one is beside
those that he allows: while pods go back to an older revision (``extra``).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from rollout.wire import JsonObject

_DEFAULT_LIMIT = "25%"  # of maxSurge and maxUnavailable alike
_LIMITS = ("maxSurge", "maxUnavailable")
_PERCENT = re.compile(r"([0-9]{1,4000})%", re.ASCII)  # Python reads no number of more digits
_ALL = 100  # percent


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
    amounts = (_amount(surge), _amount(unavailable))
    too_many = isinstance(unavailable, str) and (amounts[1] or 0) > _ALL
    return None not in amounts and any(amounts) and not too_many


def _amount(limit: object) -> int | None:
    """Read the number of a limit, of pods or percent; None where the API server would not."""
    if isinstance(limit, str):
        found = _PERCENT.fullmatch(limit)
        return int(found[1]) if found else None
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0 else None


def declared(said: Kept | None, in_force: JsonObject) -> JsonObject:
    """Give the strategy that a Deployment's owner wants, of what is said to be held and what is in force.

    Whoever wrote another one over the held one meant it; Recreate has to wait for the end.
    """
    if said is None:
        return in_force
    if said.has(in_force) or recreates(in_force):
        return said.declared
    return redeclared(said, in_force) or said.declared


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
    surge = _share(rolling.get("maxSurge", _DEFAULT_LIMIT), replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", _DEFAULT_LIMIT), replicas)
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


def _share(limit: int | str, replicas: int, *, up: bool = False) -> int:
    if isinstance(limit, int):
        return limit
    share = replicas * int(limit.removesuffix("%"))
    return -(-share // _ALL) if up else share // _ALL
