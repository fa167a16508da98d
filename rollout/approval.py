"""An approval: what it names, who gave it, and when it counts.

An approval is a value on an object, never an event: ``<release>/<step>`` in an annotation. It
names one step of one release, so that a client that puts the same value back for ever approves
nothing else. The stamp beside it says who gave it; the webhook alone writes stamps, and a stamp
for another approval is worth nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from rollout import names
from rollout.status import Condition, parse_time
from rollout.wire import JsonObject

_FORM = re.compile(
    r"([a-z0-9]{5})/([1-9][0-9]?)"
)  # a release id (rollout.revision), a step: the API allows 50
_REINVOCATION = timedelta(seconds=60)
"""How old a stamp in the request itself may be: one request passes the webhook up to three times within
the API server's own limit of 60 s, and each pass must leave the stamp of the first alone."""


@dataclass(frozen=True)
class Approval:
    """One step of one release, counted from 1."""

    release: str
    step: int

    def __str__(self) -> str:
        return f"{self.release}/{self.step}"


@dataclass(frozen=True)
class Position:
    """Where a release stands: all that somebody needs who wants to approve it."""

    release: str
    step: int
    steps: int
    state: str

    @property
    def approval(self) -> Approval:
        """The approval that the release waits for, or will."""
        return Approval(self.release, self.step)


class Stamp(msgspec.Struct, frozen=True):
    """Who approved what, and when (RFC 3339, UTC, to the millisecond)."""

    approval: str
    user: str
    at: str

    @property
    def identity(self) -> str:
        """Tell it from another one for the same step: by which clock its time was taken does not matter."""
        return f"{self.approval} of {self.at}"


_STAMP = msgspec.json.Decoder(Stamp)


def parse(value: str) -> Approval | None:
    """Read ``<release>/<step>``; None for anything of another form."""
    match = _FORM.fullmatch(value)
    return Approval(match[1], int(match[2])) if match else None


def parse_stamp(value: str | None) -> Stamp | None:
    """Read a stamp; None for anything of another form."""
    try:
        return _STAMP.decode(value or "")
    except (msgspec.DecodeError, RecursionError):
        return None


def granted(annotations: JsonObject, wanted: Approval) -> Stamp | None:
    """Return the stamp of the wanted approval; None while it is not given, or not by way of the webhook."""
    stamp = parse_stamp(annotations.get(names.APPROVED_BY))
    if annotations.get(names.APPROVE) == str(wanted) and stamp and stamp.approval == str(wanted):
        return stamp
    return None


def counts(stamp: Stamp, reset: Condition | None) -> bool:
    """Tell whether an approval still counts: the condition ``ApprovalsReset`` names those that do not."""
    return reset is None or stamp.identity not in reset.message


def stamped(old: JsonObject | None, new: JsonObject | None, user: str, now: datetime) -> str | None:
    """Return the stamp that the new annotations must carry; None for none.

    Level-based: the same approval put again, by whomever, keeps the stamp of who gave it.
    """
    old, new = old or {}, new or {}
    value = new.get(names.APPROVE)
    if not value or parse(value) is None:
        return None
    kept = parse_stamp(old.get(names.APPROVED_BY))
    if old.get(names.APPROVE) == value and kept and kept.approval == value:
        return str(old[names.APPROVED_BY])
    given = parse_stamp(new.get(names.APPROVED_BY))
    if given and (given.approval, given.user) == (value, user) and _is_recent(given.at, now):
        return str(new[names.APPROVED_BY])
    return msgspec.json.encode(Stamp(value, user, _timestamp(now))).decode()


def changed(old: JsonObject | None, new: JsonObject | None) -> bool:
    """Tell whether an update gives an approval that was not there before."""
    value = (new or {}).get(names.APPROVE)
    return bool(value) and value != (old or {}).get(names.APPROVE)


def stamp_is_forged(old: JsonObject | None, new: JsonObject | None, user: str, now: datetime) -> bool:
    """Tell whether the new annotations carry a stamp that the webhook would not have written."""
    written = (new or {}).get(names.APPROVED_BY)
    if not written or written == (old or {}).get(names.APPROVED_BY):
        return False
    return bool(written != stamped(old, new, user, now))


def position(rollout: JsonObject) -> Position | None:
    """Read from a Rollout (either version) where its release stands; None while there is none to approve."""
    status = _mapping(rollout.get("status"))
    canary = _mapping(status.get("canaryStatus"))
    release = str(canary.get("canaryRevision") or "").rpartition("-")[2]
    step = canary.get("currentStepIndex") or 0
    approval = parse(f"{release}/{step}")
    if status.get("phase") != "Progressing" or approval is None:
        return None
    plan = _mapping(_mapping(_mapping(rollout.get("spec")).get("strategy")).get("canary")).get("steps")
    steps = len(plan) if isinstance(plan, list) else 0
    return Position(
        approval.release, approval.step, max(steps, approval.step), str(canary.get("currentStepState") or "")
    )


def _mapping(value: object) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _is_recent(at: str, now: datetime) -> bool:
    given = parse_time(at)
    return given is not None and abs(now - given) <= _REINVOCATION


def _timestamp(now: datetime) -> str:
    return now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
