"""The gate: what closes it, who holds it closed, and what it looks like on a Deployment.

Pure decisions over the old and the new Deployment of one update and the Rollouts that refer to it.
Knows nothing of admission reviews, patches or users: whoever may open the gate never gets here.
Level-based: the closed gate of the *old* object is held whatever the new one says about it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import assert_never

import msgspec

from rollout import approval, names
from rollout.parsing import parse
from rollout.revision import release_id, same_template, template_digest
from rollout.strategy import Kept, declared, kept, redeclared
from rollout.strategy import recreates as allows_no_two
from rollout.support import unsupported
from rollout.wire import JsonObject

GOVERNED = "deployment"
"""Value of the label ``names.WORKLOAD_TYPE`` on a governed Deployment."""


class Metadata(msgspec.Struct, rename="camel"):
    """The part of an object's metadata that decides something here."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Spec(msgspec.Struct, rename="camel"):
    """The part of a Deployment's spec that decides something here; the rest stays undecoded."""

    template: msgspec.Raw = msgspec.Raw(b"{}")
    strategy: msgspec.Raw = msgspec.Raw(b"{}")
    replicas: int | None = None
    paused: bool | None = None


class _Strategy(msgspec.Struct):
    type: str | None = None


_STRATEGY = msgspec.json.Decoder(_Strategy)


class Deployment(msgspec.Struct):
    """A Deployment as one side of an update."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)


class Standing(Enum):
    """Whether a Rollout gates its Deployment. In order of preference, should several refer to it."""

    ACTIVE = 0
    DISABLED = 1
    DELETING = 2
    INERT = 3
    """The reconciler does nothing by it, so it would never open a gate."""


@dataclass(frozen=True)
class Governor:
    """A Rollout that refers to the Deployment: what its updates need to know of it."""

    name: str
    namespace: str
    uid: str
    standing: Standing
    created: str
    position: approval.Position | None
    """Where its release stands, as far as its status says."""
    inert: str = ""
    """Why the reconciler does nothing by it."""


class Reason(Enum):
    """Why a change of a Deployment that a Rollout refers to is not gated."""

    DISABLED = "disabled"
    DELETING = "deleting"
    INERT = "inert"
    NO_REPLICAS = "no replicas"
    RECREATES = "recreates"


@dataclass(frozen=True)
class Close:
    """The gate closes: this update starts a release."""

    governor: Governor
    release: str
    empty: bool = False
    """Whether it has nothing to bring: the user's own id of a release changed, and the template did not."""


@dataclass(frozen=True)
class Hold:
    """The gate is closed and stays so. ``starts`` tells that the update brings another template."""

    governor: Governor
    holder: str
    """The value of the annotation that holds it, as it stands."""
    release: str | None
    starts: bool


@dataclass(frozen=True)
class Release:
    """The update starts a release that nothing gates, though a Rollout refers to the Deployment."""

    governor: Governor
    reason: Reason


@dataclass(frozen=True)
class Stranded:
    """The gate is closed and no Rollout is left that would ever open it: whoever may edit it may open it.

    ``governor`` is the Rollout that would have to be mended, where there is one.
    """

    governor: Governor | None = None


@dataclass(frozen=True)
class Pass:
    """Nothing to gate. ``governor`` is None where no Rollout refers to the Deployment."""

    governor: Governor | None


Decision = Close | Hold | Release | Stranded | Pass


def decide(old: Deployment, new: Deployment, governors: Iterable[Governor]) -> Decision:
    """Judge one update of a Deployment, given every Rollout that refers to it."""
    holder = holder_of(old.metadata)
    governor = choose(governors, holder)
    if old.metadata.deletion_timestamp or new.metadata.deletion_timestamp:
        return Pass(None)  # its pods are going away; holding it would only be in the way
    if governor is None or (holder and governor.standing is Standing.INERT):
        return Stranded(governor) if holder else Pass(None)
    template = _new_template(old.spec, new.spec)
    if holder:
        return _hold(old, template, governor, holder)
    if template is None and not rollout_ids(new.metadata) - rollout_ids(old.metadata):
        return Pass(governor)
    reason = _exemption(new.spec, governor)
    if reason:
        return Release(governor, reason)
    starting = template if template is not None else _decoded(new.spec.template)
    return Close(governor, _release_of(starting, old, governor), empty=template is None)


def annotations(decision: Decision, old: Deployment, new: Deployment) -> dict[str, str | None]:
    """Return the gate annotations that the new object must have: None means absent."""
    match decision:
        case Close(governor, release):
            return {names.IN_PROGRESSING: held_by(governor.name), names.RELEASE: release}
        case Hold(_, holder, release):
            return {names.IN_PROGRESSING: holder, names.RELEASE: release}
        case Stranded():
            return {} if new.spec.paused else {names.IN_PROGRESSING: None, names.RELEASE: None}
        case Release() | Pass():
            return _without_forgery(old.metadata, new.metadata)
        case _:
            assert_never(decision)


def labels(decision: Decision, old: Deployment) -> dict[str, str | None]:
    """Return the labels that the new object must have: a governed Deployment stays visible to the webhook."""
    match decision:
        case Close() | Hold():
            return {names.WORKLOAD_TYPE: GOVERNED}
        case Release(governor) | Pass(Governor() as governor):
            was_labelled = names.WORKLOAD_TYPE in (old.metadata.labels or {})
            stays = was_labelled and governor.standing not in {Standing.DELETING, Standing.INERT}
            return {names.WORKLOAD_TYPE: GOVERNED} if stays else {}
        case Stranded() | Pass():
            return {}
        case _:
            assert_never(decision)


def strategy(decision: Decision, old: Deployment, new: Deployment) -> Kept | None:
    """Say what the new object must say of a strategy that is held for a release; None where none is.

    What somebody writes meanwhile is the one that is given back at the end.
    """
    said = _said(old, new)
    if said is None:
        return None
    wrote = _decoded(new.spec.strategy)
    match decision:
        case Stranded() if not new.spec.paused:
            return _ended(old, wrote)
        case Hold() | Stranded():
            return replace(said, declared=declared(said, wrote))
        case Close() | Release() | Pass():  # left from a release that is over: it may be its owner's again
            return said if said.has(wrote) else None
        case _:
            assert_never(decision)


def redeclares(decision: Decision, old: Deployment, new: Deployment) -> JsonObject | None:
    """Give what somebody writes over a held strategy, to be given back at the end; None for nothing."""
    said, then = _said(old, new), strategy(decision, old, new)
    held = said is not None and then is not None and then.held is not None
    return then.declared if held and then and then != said else None


def spoils_strategy(decision: Decision, old: Deployment, new: Deployment) -> bool:
    """Tell whether what is written over a held strategy is none: it could not be given back at the end."""
    said = _said(old, new)
    if said is None or not isinstance(decision, Hold | Stranded):
        return False
    wrote = _decoded(new.spec.strategy)
    return not said.has(wrote) and redeclared(said, wrote) is None


def _ended(old: Deployment, wrote: JsonObject) -> Kept | None:
    """Give back what was declared, unless whoever resumes the Deployment writes a strategy with it."""
    before = kept((old.metadata.annotations or {}).get(names.STRATEGY))
    return Kept(before.declared if before.has(wrote) else wrote) if before else None


def _said(old: Deployment, new: Deployment) -> Kept | None:
    """Read what is said of a held strategy: as it stood, with what its owner was understood to want since.

    The owner may say so himself; and asked again within one request, the webhook reads its own answer.
    """
    before, after = (kept((each.metadata.annotations or {}).get(names.STRATEGY)) for each in (old, new))
    if before is None or after is None or allows_no_two(after.declared):
        return before
    return after if (after.held, after.replaces) == (before.held, before.replaces) else before


def follow(old: Deployment, new: Deployment) -> Kept | None:
    """Say which strategy the reconciler asks for by its annotation; None where it asks for nothing new."""
    before, after = (each.metadata.annotations or {} for each in (old, new))
    moved = before.get(names.STRATEGY) != after.get(names.STRATEGY)
    return kept(after.get(names.STRATEGY)) if moved else None


def restores_strategy(decision: Decision, old: Deployment, new: Deployment) -> bool:
    """Tell whether a switch to Recreate has to wait: behind a closed gate it would end every pod at once."""
    return isinstance(decision, Hold) and recreates(new.spec) and not recreates(old.spec)


def choose(governors: Iterable[Governor], holder: str | None) -> Governor | None:
    """Pick the Rollout that counts: the one that holds the gate, then one in force, then the oldest.

    One that nothing is done by holds nothing either: any other comes first.
    """
    name = holder_name(holder) if holder else ""
    return min(
        governors,
        key=lambda each: (
            each.standing is Standing.INERT,
            each.name != name,
            each.standing.value,
            each.created,
            each.name,
        ),
        default=None,
    )


def held_by(rollout: str) -> str:
    """Write the annotation that holds the gate (contract, 1.7)."""
    return json.dumps({"rolloutName": rollout}, separators=(",", ":"))


def holder_of(metadata: Metadata) -> str | None:
    """Return the annotation that holds the gate; None when the gate is open."""
    return (metadata.annotations or {}).get(names.IN_PROGRESSING) or None


def holder_name(holder: str) -> str:
    """Read which Rollout holds the gate; empty when the annotation does not say."""
    try:
        value = json.loads(holder)
    except (ValueError, RecursionError):
        return ""
    name = value.get("rolloutName") if isinstance(value, dict) else None
    return name if isinstance(name, str) else ""


def refers_to(rollout: JsonObject) -> str | None:
    """Return the name of the Deployment that a v1beta1 Rollout refers to, by whatever version of apps."""
    reference = (rollout.get("spec") or {}).get("workloadRef") or {}
    group = str(reference.get("apiVersion") or "").partition("/")[0]
    if group != "apps" or reference.get("kind") != "Deployment":
        return None
    return str(reference.get("name") or "") or None


def governor_of(rollout: JsonObject) -> Governor:
    """Read from a v1beta1 Rollout what the updates of its Deployment need to know."""
    metadata = rollout["metadata"]
    standing, inert = _standing(rollout)
    return Governor(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        standing=standing,
        created=metadata.get("creationTimestamp") or "",
        position=approval.position(rollout),
        inert=inert,
    )


def _standing(rollout: JsonObject) -> tuple[Standing, str]:
    """Ask what the reconciler asks before it acts: what it does nothing by must not hold anything."""
    if rollout["metadata"].get("deletionTimestamp"):
        return Standing.DELETING, ""
    if (rollout.get("spec") or {}).get("disabled") is True:
        return Standing.DISABLED, ""
    spec = parse(rollout)
    why = str(spec[0]) if isinstance(spec, tuple) else unsupported(spec)
    return (Standing.INERT, why) if why else (Standing.ACTIVE, "")


def declares(deployment: Deployment) -> JsonObject:
    """Return the strategy that a Deployment says."""
    return _decoded(deployment.spec.strategy)


def recreates(spec: Spec) -> bool:
    """Tell whether the Deployment's strategy allows no two revisions at once."""
    return _STRATEGY.decode(spec.strategy).type == "Recreate"


def _hold(old: Deployment, template: JsonObject | None, governor: Governor, holder: str) -> Hold:
    if template is not None:
        return Hold(governor, holder, _release_of(template, old, governor), starts=True)
    return Hold(governor, holder, (old.metadata.annotations or {}).get(names.RELEASE), starts=False)


def _exemption(new: Spec, governor: Governor) -> Reason | None:
    if governor.standing is Standing.DELETING:
        return Reason.DELETING
    if governor.standing is Standing.DISABLED:
        return Reason.DISABLED
    if governor.standing is Standing.INERT:
        return Reason.INERT
    if recreates(new):
        return Reason.RECREATES
    return Reason.NO_REPLICAS if new.replicas == 0 else None


def _new_template(old: Spec, new: Spec) -> JsonObject | None:
    """Return the new template if it is another revision. Equal bytes, the usual case, are not decoded."""
    if old.template == new.template:
        return None
    template = _decoded(new.template)
    return None if same_template(_decoded(old.template), template) else template


def rollout_ids(metadata: Metadata) -> frozenset[str]:
    """Collect the user's own release ids: tools write them as a label, an annotation, or both."""
    found = (
        (metadata.labels or {}).get(names.ROLLOUT_ID),
        (metadata.annotations or {}).get(names.ROLLOUT_ID),
    )
    return frozenset(each for each in found if each)


def _release_of(template: JsonObject, old: Deployment, governor: Governor) -> str:
    return release_id(governor.uid, old.metadata.uid, template_digest(template), old.metadata.generation)


def _without_forgery(old: Metadata, new: Metadata) -> dict[str, str | None]:
    """Keep an open gate open: neither it nor a release's name comes from who changes the Deployment."""
    before: Mapping[str, str] = old.annotations or {}
    after: Mapping[str, str] = new.annotations or {}
    wanted: dict[str, str | None] = {names.IN_PROGRESSING: None}
    if after.get(names.RELEASE) not in {None, before.get(names.RELEASE)}:
        wanted[names.RELEASE] = before.get(names.RELEASE)
    return wanted


def _decoded(raw: msgspec.Raw) -> JsonObject:
    return msgspec.json.decode(raw) or {}
