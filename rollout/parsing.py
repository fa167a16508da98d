"""From a v1beta1 Rollout object to a RolloutSpec, or to every problem that prevents it.

Total: whatever JSON comes in, the answer is a value, never an exception. Refused is only what
has no meaning; what has one but is not allowed (styles, limits, conflicts) is
``rollout.validation``'s. Paths and messages are those that users of this API know.
"""

import re
from collections.abc import Iterable, Mapping

from rollout import names
from rollout.fields import Field, percentage
from rollout.problems import Problem
from rollout.route_kinds import RouteRef
from rollout.spec import (
    DEFAULT_GRACE_SECONDS,
    DEFAULT_INGRESS_CLASS,
    Amount,
    HeaderMatch,
    HeaderModifier,
    Match,
    MatchType,
    PathMatch,
    PathMatchType,
    PodTemplatePatch,
    QueryMatch,
    RolloutSpec,
    Step,
    Style,
    TrafficRoutingRef,
    WorkloadRef,
)
from rollout.wire import JsonObject

_REPLICAS = 'replicas must be positive number, or a percentage with "0%" < canaryReplicas <= "100%"'
_TRAFFIC = {
    Style.CANARY: 'traffic must be percentage with "0%" < traffic <= "100%" in canary strategy',
    Style.PARTITION: 'traffic must be percentage with "0%" < traffic <= "100%" in canary strategy',
    Style.BLUE_GREEN: 'traffic must be percentage with "0%" <= traffic <= "100%" in blueGreen strategy',
}
_THRESHOLD = (
    'failureThreshold must be a number of pods, or a percentage with "0%" <= failureThreshold <= "100%"'
)
_DURATION = "pause.duration must be a number of seconds, not negative"
# A group, which scripts are found by, a version, and nothing that could lead to another path.
_API_VERSION = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/v[0-9][a-z0-9]*")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_ONE_POD = Amount(1)  # stands in for a refused number of replicas; such a spec is never returned


def parse(rollout: JsonObject) -> RolloutSpec | tuple[Problem, ...]:
    """Read what the object asks for; the problems come in the order of the fields."""
    problems: list[Problem] = []
    spec = Field("Spec", rollout.get("spec"), problems)
    spec.is_object()
    workload = _workload(spec.child("workloadRef", spelled="ObjectRef.WorkloadRef"))
    strategy = spec.child("strategy")
    style, plan = _plan(strategy)
    read = RolloutSpec(
        workload=workload,
        style=style,
        steps=_steps(plan, style),
        routings=_routings(plan),
        disabled=spec.child("disabled").flag(),
        paused=strategy.child("paused").flag(),
        failure_threshold=plan.child("failureThreshold").amount(0, _THRESHOLD),
        pod_template_patch=_pod_template_patch(plan.child("patchPodTemplateMetadata")),
        disable_generate_canary_service=plan.child("disableGenerateCanaryService").flag(),
        traffic_routing_ref=_traffic_routing_ref(plan.child("trafficRoutingRef"), rollout),
        strict=_strict(rollout, problems),
    )
    return tuple(problems) or read


def parse_routings(rollout: JsonObject) -> tuple[TrafficRoutingRef, ...]:
    """Read where a Rollout routes that cannot be read as a whole: what it has begun still has to be ended."""
    problems: list[Problem] = []
    _, plan = _plan(Field("Spec", rollout.get("spec"), problems).child("strategy"))
    found = []
    for entry in plan.child("trafficRoutings").items():
        known = len(problems)
        routing = read_routing(entry)
        if len(problems) == known:
            found.append(routing)
    return tuple(found)


def traffic_message(style: Style) -> str:
    """Say what a step's traffic must be."""
    return _TRAFFIC[style]


def _workload(field: Field) -> WorkloadRef:
    if field.is_absent:
        field.refuse("WorkloadRef is required")
    else:
        field.is_object()
    ref = WorkloadRef(
        field.child("apiVersion").text(), field.child("kind").text(), field.child("name").object_name()
    )
    if not field.is_absent and not (ref.api_version and ref.kind and ref.name):
        field.refuse("WorkloadRef must have apiVersion, kind and name")
    return ref


def _plan(strategy: Field) -> tuple[Style, Field]:
    """Find the style and the block that describes it."""
    strategy.is_object()
    canary, blue_green = strategy.child("canary"), strategy.child("blueGreen")
    if canary.is_absent and blue_green.is_absent:
        strategy.refuse("Canary and BlueGreen cannot both be empty")
    elif not (canary.is_absent or blue_green.is_absent):
        strategy.refuse("Canary and BlueGreen cannot both be set")
    plan = canary if blue_green.is_absent else blue_green
    plan.is_object()
    if plan is blue_green:
        return Style.BLUE_GREEN, plan
    extra = canary.child("enableExtraWorkloadForCanary").flag()
    return (Style.CANARY if extra else Style.PARTITION), plan


def _traffic_routing_ref(field: Field, rollout: JsonObject) -> str | None:
    """Read the name from field or annotation, which mean the same; two different names mean nothing."""
    annotated = _annotation(rollout, names.TRAFFIC_ROUTING)
    named = field.object_name()
    if named and annotated and named != annotated:
        field.refuse(f"trafficRoutingRef differs from annotation {names.TRAFFIC_ROUTING}")
    elif not named:
        Field(field.path, annotated, field.problems).object_name()
    return named or annotated or None


def _strict(rollout: JsonObject, problems: list[Problem]) -> bool:
    """Read whether strictness is asked for; a word that means nothing must not pass for it."""
    asked = _annotation(rollout, names.VERIFY)
    if asked not in {"", names.BY_GATEWAY}:
        path, message = f"Metadata.Annotations[{names.VERIFY}]", f"must be {names.BY_GATEWAY}, or be left out"
        problems.append(Problem(path, asked, message))
    return bool(asked)


def _annotation(rollout: JsonObject, name: str) -> str:
    """Read an annotation; "" where there is none."""
    metadata = rollout.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    found = annotations.get(name) if isinstance(annotations, Mapping) else None
    return found if isinstance(found, str) else ""


# --- steps ---------------------------------------------------------------------------------------


def _steps(plan: Field, style: Style) -> tuple[Step, ...]:
    field = plan.child("steps")
    if isinstance(plan.value, Mapping) and field.value in (None, []):
        field.refuse("The number of Canary.Steps cannot be empty")
    return tuple(_step(each, style) for each in field.items())


def _step(field: Field, style: Style) -> Step:
    field.is_object()
    replicas = field.child("replicas")
    if replicas.is_absent:
        field.same_place("steps").refuse("replicas cannot be empty")
    pause = field.child("pause")
    pause.is_object()
    return Step(
        replicas=replicas.amount(1, _REPLICAS) or _ONE_POD,
        weight=_weight(field, style),
        matches=tuple(read_match(each) for each in field.child("matches").items()),
        request_header_modifier=read_header_modifier(field.child("requestHeaderModifier")),
        pause_seconds=pause.child("duration").count(_DURATION),
    )


def _weight(step: Field, style: Style) -> int | None:
    """Read ``traffic``; "0%" is a meaning, though not allowed everywhere."""
    traffic = step.child("traffic")
    weight = percentage(traffic.value)
    if not traffic.is_absent and (weight is None or not 0 <= weight <= 100):  # noqa: PLR2004 - percent
        step.same_place("steps").refuse(traffic_message(style))
        return None
    return weight


def read_match(field: Field) -> Match:
    """Read one of the alternatives of ``matches``."""
    field.is_object()
    path = field.child("path")
    match = Match(
        path=_path_match(path) if path.is_object() else None,
        headers=tuple(HeaderMatch(*_condition(each)) for each in field.child("headers").items()),
        query=tuple(QueryMatch(*_condition(each)) for each in field.child("queryParams").items()),
    )
    if match == Match():
        field.refuse(
            "a match without conditions would send every request to the canary",
            "Give it a path, headers or queryParams, or set the step's traffic instead",
        )
    return match


def _path_match(field: Field) -> PathMatch:
    kind = field.child("type").choice(PathMatchType, PathMatchType.PREFIX)
    return PathMatch(field.child("value").text() or "/", kind)


def _condition(field: Field) -> tuple[str, str, MatchType]:
    """Read the name, value and type that header and query parameter matches share."""
    field.is_object()
    return (
        field.child("name").required_text(),
        field.child("value").required_text(),
        field.child("type").choice(MatchType, MatchType.EXACT),
    )


def read_header_modifier(field: Field) -> HeaderModifier | None:
    """Read ``requestHeaderModifier``."""
    if not field.is_object():
        return None
    return HeaderModifier(
        set=tuple(_header(each) for each in field.child("set").items()),
        add=tuple(_header(each) for each in field.child("add").items()),
        remove=tuple(each.text() for each in field.child("remove").items()),
    )


def _header(field: Field) -> tuple[str, str]:
    field.is_object()
    return field.child("name").required_text(), field.child("value").text()


# --- traffic and pods ----------------------------------------------------------------------------


def _routings(plan: Field) -> tuple[TrafficRoutingRef, ...]:
    """Messages have always said ``TrafficRouting`` without an index; with several they need one."""
    field = plan.child("trafficRoutings", spelled="TrafficRouting")
    entries = tuple(field.items())
    if len(entries) == 1:
        entries = (Field(field.path, entries[0].value, entries[0].problems),)
    routings = tuple(read_routing(each) for each in entries)
    refuse_repeated(field, routings)
    return routings


def read_routing(field: Field) -> TrafficRoutingRef:
    """Read an entry of ``trafficRoutings``, or of a TrafficRouting's ``objectRef``."""
    field.is_object()
    grace = field.child("gracePeriodSeconds").count("TrafficRouting.GracePeriodSeconds cannot be negative")
    service = field.child("service")
    service_name = service.object_name()
    if service.value in (None, ""):
        service.refuse("TrafficRouting.Service cannot be empty")
    ingress, gateway, custom = (
        field.child("ingress"),
        field.child("gateway"),
        tuple(field.child("customNetworkRefs").items()),
    )
    if ingress.is_absent and gateway.is_absent and not custom:
        field.same_place("TrafficRoutings").refuse("TrafficRoutings are not set")
    return TrafficRoutingRef(
        service=service_name,
        grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else grace,
        ingress_name=_ingress_name(ingress),
        ingress_class=ingress.child("classType").text() or DEFAULT_INGRESS_CLASS,
        http_route=_http_route(gateway),
        custom=tuple(_custom(each) for each in custom),
    )


def refuse_repeated(field: Field, routings: Iterable[TrafficRoutingRef]) -> None:
    """One object cannot be changed by two scripts' results at once."""
    seen: set[tuple[str, str, str]] = set()
    for ref in (each for routing in routings for each in routing.custom):
        group = ref.api_version.rpartition("/")[0]
        if ref.name and (group, ref.kind, ref.name) in seen:
            field.refuse(f"CustomNetworkRefs name {ref.kind} {ref.name} twice")
        seen.add((group, ref.kind, ref.name))


def _ingress_name(field: Field) -> str | None:
    if not field.is_object():
        return None
    name = field.child("name").object_name()
    if field.child("name").value in (None, ""):
        field.refuse("TrafficRouting.Ingress.Ingress cannot be empty")
    return name


def _http_route(field: Field) -> str | None:
    if not field.is_object():
        return None
    name = field.child("httpRouteName").object_name()
    if field.child("httpRouteName").value in (None, ""):
        field.refuse("TrafficRouting.Gateway must set the name of HTTPRoute or HTTPsRoute")
    return name


def _custom(field: Field) -> RouteRef:
    field.is_object()
    ref = RouteRef(
        field.child("apiVersion").text(), field.child("kind").text(), field.child("name").object_name()
    )
    if not (ref.api_version and ref.kind and ref.name):
        field.refuse("CustomNetworkRefs must have apiVersion, kind and name")
    elif not (_API_VERSION.fullmatch(ref.api_version) and _KIND.fullmatch(ref.kind)):
        field.refuse(
            "CustomNetworkRefs must name a kind of an API group",
            "Write for example apiVersion: networking.istio.io/v1 and kind: VirtualService",
        )
    return ref


def _pod_template_patch(field: Field) -> PodTemplatePatch:
    field.is_object()
    return PodTemplatePatch(
        labels=field.child("labels").texts(), annotations=field.child("annotations").texts()
    )
