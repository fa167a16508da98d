"""Which Rollouts are allowed, in the version they were sent in, and which updates of them.

What an object means is ``rollout.parsing``'s; here is what may be meant. Paths and messages are
those that users of this API know (contract, 2.3). Total: any JSON gets an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rollout import names
from rollout.conversion import convert, version_of
from rollout.conversion.pieces import Version
from rollout.parsing import parse, traffic_message
from rollout.problems import Problem, ProblemKind
from rollout.spec import RolloutSpec, Style, TrafficRoutingRef, WorkloadRef
from rollout.support import Feature, Missing, is_deployment, missing, unsupported
from rollout.traffic.ingress_classes import CLASSES
from rollout.validation_alpha import alpha_problems
from rollout.validation_gateway import gateway_problems
from rollout.wire import JsonObject

_MAX_LABEL = 63  # names of Services, values of labels
_MAX_NAME = 253  # names of other objects
_IN_RELEASE = ("Progressing", "Terminating")  # phases in which the release relies on what it began with

_NAMES = {Feature.BLUE_GREEN: "blueGreen style"}
_ALPHA_NAMES = {Feature.ROUTED_TWICE: f"annotation {names.TRAFFIC_ROUTING} beside trafficRoutings"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What can be chosen about validation."""

    single_traffic_routing: bool = False
    """Allow one entry of trafficRoutings only."""
    partition_percent_limit: int | None = None
    """Most percent of the pods that a step of partition style may have when it routes traffic."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What else is in the namespace."""

    rollouts: Sequence[JsonObject] = ()
    """All Rollouts, of either version; the judged one may be among them."""
    traffic_routings: Mapping[str, JsonObject] | None = None
    """All TrafficRoutings by name; None where nobody knows, and then none is missed."""


def validate_create(new: JsonObject, neighbours: Neighbours, rules: Rules) -> tuple[Problem, ...]:
    """Judge a new Rollout."""
    spec = understood(new, rules)
    if isinstance(spec, tuple):
        return spec
    found = [
        *_workload(spec),
        *_missing(new, spec),
        *_steps(new, spec, rules),
        *_routing_limit(spec, rules),
        *_lengths(spec),
        *gateway_problems(spec, f"{_plan_path(spec)}.Steps"),
        *_conflict(new, spec, neighbours),
    ]
    return tuple(found)


def validate_update(
    old: JsonObject, new: JsonObject, neighbours: Neighbours, rules: Rules
) -> tuple[Problem, ...]:
    """Judge an update of the main resource.

    A problem that the old object had already, unchanged, is no reason to refuse: it may be somebody
    else's field, and a finalizer must come off whatever the spec is.
    """
    found = validate_create(new, neighbours, rules)
    before = validate_create(old, neighbours, rules) if found else ()
    return (*(problem for problem in found if problem not in before), *_immutable(old, new))


def scripted_classes(obj: JsonObject) -> tuple[str, ...]:
    """Name the classes of Ingress that only a script of the users' can know."""
    spec = understood(obj, Rules())
    if isinstance(spec, tuple):
        return ()
    named = {each.ingress_class for each in spec.routings if each.ingress_name}
    return tuple(sorted(named - CLASSES.keys()))


# --- what is meant -------------------------------------------------------------------------------


def understood(obj: JsonObject, rules: Rules) -> RolloutSpec | tuple[Problem, ...]:
    """Read the object through the version it is in."""
    if _is_alpha(obj) and (found := alpha_problems(obj, rules.partition_percent_limit)):
        return found
    stored = convert(obj, Version.BETA.value)
    return (stored,) if isinstance(stored, Problem) else parse(stored)


def _is_alpha(obj: JsonObject) -> bool:
    return version_of(obj.get("apiVersion")) is Version.ALPHA


# --- what is allowed -----------------------------------------------------------------------------


def _workload(spec: RolloutSpec) -> Iterator[Problem]:
    ref = spec.workload
    if not is_deployment(spec):
        hint = "Only Deployments of API group apps are"
        yield Problem("Spec.ObjectRef.WorkloadRef", _shown(ref), "WorkloadRef kind is not supported", hint)


def _missing(obj: JsonObject, spec: RolloutSpec) -> Iterator[Problem]:
    """Refuse what does not exist yet, by its name in the version that was sent."""
    for found in missing(spec):
        path, shown = _place(obj, spec, found)
        name = (_ALPHA_NAMES if _is_alpha(obj) else _NAMES).get(found.feature, found.feature.value)
        yield Problem(path, shown, found.why(name), found.hint[:1].upper() + found.hint[1:])


def _place(obj: JsonObject, spec: RolloutSpec, found: Missing) -> tuple[str, Any]:
    """Name the field that asks for a feature, and what it says."""
    plan = _plan_path(spec)
    if found.limit:
        return f"{plan}.Steps[{found.step}].{found.limit.field}", found.classtype
    if found.routing is not None:
        path, routing = list(_placed(spec, _routing_path(spec)))[found.routing]
        return f"{path}.Ingress", routing.ingress_class
    match found.feature:
        case Feature.ROUTED_TWICE:
            return _routing_ref_path(obj, spec), spec.traffic_routing_ref
        case Feature.UNVERIFIABLE:
            return f"Metadata.Annotations[{names.VERIFY}]", names.BY_GATEWAY
        case Feature.NO_CANARY_SERVICE:
            return f"{plan}.DisableGenerateCanaryService", True
        case _:
            return plan, None


def _steps(obj: JsonObject, spec: RolloutSpec, rules: Rules) -> Iterator[Problem]:
    path = f"{_plan_path(spec)}.Steps"
    limit = rules.partition_percent_limit
    for index, step in enumerate(spec.steps):
        # v1alpha1 has always allowed a step without traffic to be written as weight 0 with replicas
        if step.weight == 0 and spec.style is not Style.BLUE_GREEN and not _is_alpha(obj):
            yield Problem(f"{path}[{index}].steps", "0%", traffic_message(spec.style))
        if (
            limit is not None
            and spec.style is Style.PARTITION
            and step.routes_traffic
            and step.replicas.percent
            and step.replicas.value > limit
        ):
            message = (
                "For partition style rollout: step[x].replicas must not greater than "
                "partition-percent-limit if traffic specified"
            )
            yield Problem(f"{path}[{index}].steps", str(step.replicas), message)
    for one, other in pairwise(step.replicas for step in spec.steps):
        if one.percent == other.percent and other.value < one.value:
            found = [str(step.replicas) for step in spec.steps]
            yield Problem(
                f"{path}.CanaryReplicas", found, "Steps.CanaryReplicas must be a non decreasing sequence"
            )
            return


def _routing_limit(spec: RolloutSpec, rules: Rules) -> Iterator[Problem]:
    if rules.single_traffic_routing and len(spec.routings) > 1:
        found = [routing.service for routing in spec.routings]
        yield Problem(_plan_path(spec), found, "Rollout currently only support single TrafficRouting.")


def _lengths(spec: RolloutSpec) -> Iterator[Problem]:
    """Refuse names from which we could not make the names of canary objects."""
    yield from _too_long("Spec.ObjectRef.WorkloadRef", spec.workload.name, "", _MAX_LABEL)
    yield from _routed_lengths(spec, _routing_path(spec))


def routed_problems(spec: RolloutSpec, path: str) -> Iterator[Problem]:
    """Judge routes that come from elsewhere as if the Rollout named them; ``path`` says from where."""
    yield from _routed_lengths(spec, path)
    yield from gateway_problems(spec, f"{_plan_path(spec)}.Steps")


def _routed_lengths(spec: RolloutSpec, place: str) -> Iterator[Problem]:
    for path, routing in _placed(spec, place):
        suffix = "" if spec.disable_generate_canary_service else names.CANARY_SUFFIX
        yield from _too_long(f"{path}.Service", routing.service, suffix, _MAX_LABEL)
        if routing.ingress_name:
            yield from _too_long(f"{path}.Ingress", routing.ingress_name, names.CANARY_SUFFIX, _MAX_NAME)


def _too_long(path: str, name: str, suffix: str, limit: int) -> Iterator[Problem]:
    longest = limit - len(suffix)
    if len(name) > longest:
        used = f"{name}{suffix}" if suffix else "a label value"
        message = f"name must be no more than {longest} characters"
        yield Problem(path, name, message, f"It is used for {used}, which may have {limit}")


def _conflict(obj: JsonObject, spec: RolloutSpec, neighbours: Neighbours) -> Iterator[Problem]:
    name = _metadata(obj).get("name")
    for other in neighbours.rollouts:
        metadata = _metadata(other)
        if metadata.get("name") == name:
            continue
        ref = _workload_of(other)
        if ref is not None and ref.same_object(spec.workload):
            full_name = f"{metadata.get('namespace')}/{metadata.get('name')}"
            ending = "one workload only have less than one Rollout"
            yield Problem(
                "Conflict Checker", name, f"This rollout conflict with Rollout({full_name}), {ending}"
            )
            return


def _workload_of(obj: JsonObject) -> WorkloadRef | None:
    """Read the reference alone: a Rollout that cannot be read otherwise still claims its workload."""
    spec = obj.get("spec")
    holder = spec.get("objectRef") if isinstance(spec, Mapping) and _is_alpha(obj) else spec
    ref = holder.get("workloadRef") if isinstance(holder, Mapping) else None
    if not isinstance(ref, Mapping):
        return None
    return WorkloadRef(*(str(ref.get(key)) for key in ("apiVersion", "kind", "name")))


# --- what may change -----------------------------------------------------------------------------


def _immutable(old: JsonObject, new: JsonObject) -> Iterator[Problem]:
    """Hold what a release relies on while it is under way."""
    status = old.get("status")
    stored = [convert(each, Version.BETA.value) for each in (old, new)]
    specs = [parse(each) for each in stored if not isinstance(each, Problem)]
    if not isinstance(status, Mapping) or status.get("phase") not in _IN_RELEASE or len(specs) != len(stored):
        return
    before, after = specs
    if isinstance(before, tuple) or isinstance(after, tuple):
        return
    if before.workload != after.workload:
        yield _forbidden("Spec.ObjectRef", "Rollout 'ObjectRef' field is immutable")
    plan = "Canary" if _is_alpha(new) else "Canary|BlueGreen"
    if unsupported(before):
        return  # nothing is done by it, so nothing relies on it: it must be possible to correct
    if (before.routings, before.traffic_routing_ref) != (after.routings, after.traffic_routing_ref):
        field = f"Strategy.{plan}.TrafficRoutings"
        yield _forbidden(f"Spec.{field}", f"Rollout '{field}' field is immutable")
    if before.style is not after.style and _is_alpha(new):
        yield _forbidden("Metadata.Annotation", "Rollout 'Rolling-Style' annotation is immutable")
    elif before.style is not after.style:
        message = "Rollout style and enableExtraWorkloadForCanary are immutable"
        yield _forbidden(f"Spec.Strategy.{plan}", message)
    # clients of v1alpha1 rely on changing it: they rewrite the plan as the release goes on
    if len(before.steps) != len(after.steps) and not _is_alpha(new):
        yield _forbidden(f"Spec.Strategy.{plan}", "Amount of Rollout steps are immutable")


def _forbidden(path: str, message: str) -> Problem:
    return Problem(path, None, message, kind=ProblemKind.FORBIDDEN)


# --- places --------------------------------------------------------------------------------------


def _plan_path(spec: RolloutSpec) -> str:
    return f"Spec.Strategy.{'BlueGreen' if spec.style is Style.BLUE_GREEN else 'Canary'}"


def _routing_ref_path(obj: JsonObject, spec: RolloutSpec) -> str:
    if _is_alpha(obj):
        return f"Metadata.Annotations[{names.TRAFFIC_ROUTING}]"
    return f"{_plan_path(spec)}.TrafficRoutingRef"


def _routing_path(spec: RolloutSpec) -> str:
    return f"{_plan_path(spec)}.TrafficRouting"


def _placed(spec: RolloutSpec, path: str) -> Iterator[tuple[str, TrafficRoutingRef]]:
    """Go through the routings with their paths; messages have always named a single one without an index."""
    for index, routing in enumerate(spec.routings):
        yield (path if len(spec.routings) == 1 else f"{path}[{index}]"), routing


def _metadata(obj: JsonObject) -> Mapping[str, Any]:
    metadata = obj.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _shown(ref: WorkloadRef) -> Mapping[str, str]:
    return {"apiVersion": ref.api_version, "kind": ref.kind, "name": ref.name}
