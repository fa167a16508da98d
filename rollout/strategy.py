"""The update strategy of a Deployment: its limits, and the narrower one of a release that goes on inside it.

    sluice.dev/strategy: {"declared": {...}, "held": {...}}   while the release lasts: held is in force
    sluice.dev/strategy: {"declared": {...}}                  at its end: declared is given back

A paused Deployment keeps its revisions at replicas and maxSurge together, whatever is ready. Narrowed,
what one revision gets the other gives. It stays a rolling update: were nothing of ours there any more,
resuming it is an ordinary one, within its owner's limits.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor

from rollout.wire import JsonObject

_DEFAULT_LIMIT = "25%"  # of maxSurge and maxUnavailable alike


@dataclass(frozen=True, slots=True)
class Kept:
    """The strategy that a Deployment's owner declared, and the one that is held instead, if any."""

    declared: JsonObject
    held: JsonObject | None = None

    @property
    def in_force(self) -> JsonObject:
        """The strategy that the Deployment is to have."""
        return self.declared if self.held is None else self.held

    def annotation(self) -> str:
        """Write it as the Deployment's annotation."""
        held = {} if self.held is None else {"held": self.held}
        return json.dumps({"declared": self.declared, **held}, separators=(",", ":"), sort_keys=True)


def kept(annotation: str | None) -> Kept | None:
    """Read the annotation of a Deployment; None where there is none, or none that was written by us."""
    try:
        value = json.loads(annotation or "")
    except (ValueError, RecursionError):
        return None
    declared, held = (value.get(key) for key in ("declared", "held")) if isinstance(value, dict) else (0, 0)
    if not isinstance(declared, Mapping) or not isinstance(held, Mapping | None):
        return None
    return Kept(declared, held)


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
    surge, unavailable = limits(declared, replicas)
    most = min(surge, max(1, batch)) if unavailable == 0 else 0
    missing = 0 if unavailable == 0 else own.get("maxUnavailable", _DEFAULT_LIMIT)
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": most + extra, "maxUnavailable": missing},
    }


def merge(strategy: JsonObject) -> JsonObject:
    """Build the merge patch by which a Deployment gets a strategy, whatever it has."""
    rolling = strategy.get("rollingUpdate")
    parts = {key: (rolling or {}).get(key) for key in ("maxSurge", "maxUnavailable")}
    return {"type": strategy.get("type"), "rollingUpdate": parts if rolling else None}


def _share(value: int | str, replicas: int, rounded: Callable[[float], int]) -> int:
    return value if isinstance(value, int) else rounded(replicas * int(value.removesuffix("%")) / 100)
