"""The status of a Rollout as values, and its JSON in the storage version.

Reading is total: whatever a client wrote through ``/status`` becomes a value, never an
exception. Fields that we do not know are dropped, as every typed client would.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

from rollout.wire import JsonObject


class Phase(Enum):
    """``status.phase``."""

    NONE = ""
    INITIAL = "Initial"
    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    TERMINATING = "Terminating"
    DISABLING = "Disabling"
    DISABLED = "Disabled"


class StepState(Enum):
    """``status.canaryStatus.currentStepState``."""

    NONE = ""
    BEFORE_STEP_UPGRADE = "BeforeStepUpgrade"
    STEP_UPGRADE = "StepUpgrade"
    STEP_TRAFFIC_ROUTING = "StepTrafficRouting"
    STEP_METRICS_ANALYSIS = "StepMetricsAnalysis"
    STEP_PAUSED = "StepPaused"
    STEP_READY = "StepReady"
    COMPLETED = "Completed"


class Reason(Enum):
    """Reason of the Progressing condition: where a release stands."""

    NONE = ""
    INITIALIZING = "Initializing"
    IN_ROLLING = "InRolling"
    PAUSED = "Paused"
    FINALISING = "Finalising"
    CANCELLING = "Cancelling"
    COMPLETED = "Completed"


_Member = TypeVar("_Member", bound=Enum)

_YEARS = (1970, 9000)

APPROVALS_RESET = "ApprovalsReset"
"""Condition of a release that went back: the approvals that its message names do not count."""

NO_NEXT_STEP = -1
NEXT_STEP_UNSET = 0


@dataclass(frozen=True)
class Condition:
    """One entry of ``status.conditions``; times in UTC, seconds."""

    type: str
    status: bool
    reason: str
    message: str
    last_update: datetime
    last_transition: datetime


@dataclass(frozen=True)
class Release:
    """``status.canaryStatus``: one release, and how far it is."""

    digest: str = ""
    """Template digest of the new revision; with ``id`` it is written as ``canaryRevision``."""
    id: str = ""
    stable_hash: str = ""
    canary_hash: str = ""
    step: int = 0
    next_step: int = NEXT_STEP_UNSET
    state: StepState = StepState.NONE
    since: datetime | None = None
    """When the present state was entered (``lastUpdateTime``)."""
    plan_digest: str = ""
    rollout_id: str = ""
    workload_generation: int = 0
    canary_replicas: int = 0
    canary_ready: int = 0
    finalising: str = ""
    message: str = ""
    """What it waits for, in detail."""

    @property
    def revision(self) -> str:
        """``canaryRevision``: what is released, and by which release."""
        return f"{self.digest}-{self.id}" if self.id else self.digest

    def known_as(self, rollout_id: str) -> "Release":
        """Go by the user's own id of a release; one without goes by what it releases (contract, 1.8)."""
        return replace(self, rollout_id=rollout_id or self.revision)


@dataclass(frozen=True)
class Status:
    """``status`` of a Rollout."""

    observed_generation: int = 0
    phase: Phase = Phase.NONE
    message: str = ""
    release: Release = field(default_factory=Release)
    conditions: tuple[Condition, ...] = ()

    @property
    def reason(self) -> Reason:
        """Where the release stands, by the Progressing condition."""
        found = self.condition("Progressing")
        return _enum(Reason, found.reason if found else "", Reason.NONE)

    @property
    def silent(self) -> "Status":
        """The same, with nothing said of a release that waits for nobody any more."""
        return replace(self, release=replace(self.release, message=""))

    def condition(self, kind: str) -> Condition | None:
        """Find a condition by type."""
        return next((each for each in self.conditions if each.type == kind), None)

    def with_condition(
        self, kind: str, *, status: bool, reason: str, message: str, now: datetime
    ) -> "Status":
        """Set a condition; its times move only when it does."""
        old = self.condition(kind)
        if old and (old.status, old.reason, old.message) == (status, reason, message):
            return self
        at = whole_second(now)
        since = old.last_transition if old and old.status == status else at
        new = Condition(kind, status, reason, message, at, since)
        others = tuple(each for each in self.conditions if each.type != kind)
        return replace(self, conditions=tuple(sorted((*others, new), key=lambda each: each.type)))

    def without_condition(self, kind: str) -> "Status":
        """Drop a condition."""
        return replace(self, conditions=tuple(each for each in self.conditions if each.type != kind))


def whole_second(moment: datetime) -> datetime:
    """Round up to the second, the precision of Kubernetes: a wait counted from it is never short."""
    return (moment + timedelta(microseconds=999_999)).replace(microsecond=0)


def format_time(moment: datetime) -> str:
    """Write a time as Kubernetes does."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_instant(moment: datetime) -> str:
    """Write a time to the millisecond: what a short wait is counted from."""
    return moment.isoformat(timespec="milliseconds")


def parse_time(value: object) -> datetime | None:
    """Read a time as Kubernetes writes it, in UTC; anything else is None."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        moment = parsed.astimezone(UTC) if parsed.tzinfo else None
    except (ValueError, OverflowError):
        return None
    # Whoever wrote a year outside these did not mean a time, and sums with it would overflow.
    return moment if moment and _YEARS[0] <= moment.year <= _YEARS[1] else None


# --- JSON ----------------------------------------------------------------------------------------


def read_status(value: object) -> Status:
    """Read ``status`` of a v1beta1 Rollout."""
    raw = _mapping(value)
    conditions = raw.get("conditions")
    read = [_read_condition(each) for each in conditions] if isinstance(conditions, list) else []
    return Status(
        observed_generation=_integer(raw.get("observedGeneration")),
        phase=_enum(Phase, raw.get("phase"), Phase.NONE),
        message=_text(raw.get("message")),
        release=_read_release(_mapping(raw.get("canaryStatus"))),
        conditions=tuple(each for each in read if each),
    )


def write_status(status: Status) -> dict[str, Any]:
    """Write ``status`` of a v1beta1 Rollout; the top-level step fields mirror it for printer columns."""
    return {
        "observedGeneration": status.observed_generation,
        "phase": status.phase.value,
        "message": status.message,
        "currentStepIndex": status.release.step,
        "currentStepState": status.release.state.value,
        "canaryStatus": _write_release(status.release),
        "conditions": [_write_condition(each) for each in status.conditions],
    }


def _read_release(raw: Mapping[str, Any]) -> Release:
    digest, _, release = _text(raw.get("canaryRevision")).partition("-")
    return Release(
        digest=digest,
        id=release,
        stable_hash=_text(raw.get("stableRevision")),
        canary_hash=_text(raw.get("podTemplateHash")),
        step=_integer(raw.get("currentStepIndex")),
        next_step=_integer(raw.get("nextStepIndex")),
        state=_enum(StepState, raw.get("currentStepState"), StepState.NONE),
        since=parse_time(raw.get("lastUpdateTime")),
        plan_digest=_text(raw.get("rolloutHash")),
        rollout_id=_text(raw.get("observedRolloutID")),
        workload_generation=_integer(raw.get("observedWorkloadGeneration")),
        canary_replicas=_integer(raw.get("canaryReplicas")),
        canary_ready=_integer(raw.get("canaryReadyReplicas")),
        finalising=_text(raw.get("finalisingStep")),
        message=_text(raw.get("message")),
    )


def _write_release(release: Release) -> dict[str, Any]:
    written: dict[str, Any] = {
        "canaryRevision": release.revision,
        "stableRevision": release.stable_hash,
        "podTemplateHash": release.canary_hash,
        "currentStepIndex": release.step,
        "nextStepIndex": release.next_step,
        "currentStepState": release.state.value,
        "rolloutHash": release.plan_digest,
        "observedRolloutID": release.rollout_id,
        "observedWorkloadGeneration": release.workload_generation,
        "canaryReplicas": release.canary_replicas,
        "canaryReadyReplicas": release.canary_ready,
        "finalisingStep": release.finalising,
        "message": release.message,
    }
    if release.since:
        written["lastUpdateTime"] = format_time(release.since)
    return written


def _read_condition(value: object) -> Condition | None:
    raw = _mapping(value)
    updated, since = parse_time(raw.get("lastUpdateTime")), parse_time(raw.get("lastTransitionTime"))
    if not (kind := _text(raw.get("type"))) or updated is None or since is None:
        return None
    texts = _text(raw.get("reason")), _text(raw.get("message"))
    return Condition(kind, raw.get("status") == "True", *texts, updated, since)


def _write_condition(condition: Condition) -> JsonObject:
    return {
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "reason": condition.reason,
        "message": condition.message,
        "lastUpdateTime": format_time(condition.last_update),
        "lastTransitionTime": format_time(condition.last_transition),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _enum(kind: type[_Member], value: object, otherwise: _Member) -> _Member:
    return next((member for member in kind if member.value == value), otherwise)
