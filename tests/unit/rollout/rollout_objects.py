"""Rollout objects for tests: plain examples, and everything that the schemas allow."""

from typing import Any

from hypothesis import strategies as st

from rollout import names

Json = dict[str, Any]

ALPHA, BETA = f"{names.GROUP}/v1alpha1", f"{names.GROUP}/v1beta1"
WORKLOAD = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "echoserver"}


def alpha(canary: Json | None = None, **spec: Any) -> Json:
    """Build a v1alpha1 Rollout as a person writes it."""
    steps = {"steps": [{"weight": 20, "pause": {}}]}
    strategy = {"canary": steps if canary is None else canary}
    return _object(ALPHA, {"objectRef": {"workloadRef": WORKLOAD}, "strategy": strategy} | spec)


def beta(canary: Json | None = None, **spec: Any) -> Json:
    """Build a v1beta1 Rollout as a person writes it, with an extra workload for the canary."""
    steps = {"steps": [{"traffic": "20%", "replicas": "20%", "pause": {}}]}
    plan = {"enableExtraWorkloadForCanary": True} | (steps if canary is None else canary)
    return _object(BETA, {"workloadRef": WORKLOAD, "strategy": {"canary": plan}} | spec)


def annotated(obj: Json, **annotations: str) -> Json:
    """Add annotations, by the names of their constants."""
    added = {getattr(names, key): value for key, value in annotations.items()}
    metadata = obj["metadata"]
    return obj | {"metadata": metadata | {"annotations": metadata.get("annotations", {}) | added}}


def with_status(obj: Json, **status: Any) -> Json:
    """Add a status."""
    return obj | {"status": status}


def _object(api_version: str, spec: Json) -> Json:
    metadata = {"name": "echoserver", "namespace": "default"}
    return {"apiVersion": api_version, "kind": "Rollout", "metadata": metadata, "spec": spec}


# --- everything that the schemas allow -----------------------------------------------------------

text = st.text(max_size=6)
integers = st.integers(-(2**31), 2**31 - 1)
int_or_string = st.one_of(integers, st.integers(0, 120).map(lambda n: f"{n}%"), text)


def some(
    required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[Json]:
    """Draw an object with any subset of its optional members."""
    return st.fixed_dictionaries(required, optional=optional)


def lists(element: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    """Draw a short list."""
    return st.lists(element, max_size=most)


conditions = lists(
    some({"name": text, "value": text}, type=st.sampled_from(["Exact", "RegularExpression"])), 2
)
alpha_match = some({}, headers=conditions)
beta_match = some({}, headers=conditions, queryParams=conditions, path=some({}, type=text, value=text))
header_modifier = some({}, set=conditions, remove=lists(text))
pause = some({}, duration=integers)
alpha_step = some(
    {},
    weight=st.one_of(st.integers(0, 100), integers),
    replicas=int_or_string,
    matches=lists(alpha_match),
    requestHeaderModifier=header_modifier,
    pause=pause,
)
beta_step = some(
    {},
    traffic=st.one_of(
        st.integers(-5, 105).map(lambda n: f"{n}%"), st.sampled_from(["020%", "+5%", "9999999999%"]), text
    ),
    replicas=int_or_string,
    matches=lists(beta_match),
    requestHeaderModifier=header_modifier,
    pause=pause,
)
beta_routing = some(
    {"service": text},
    gracePeriodSeconds=integers,
    ingress=some({"name": text}, classType=text),
    gateway=some({}, httpRouteName=text),
    customNetworkRefs=lists(st.just({"apiVersion": "a/v1", "kind": "B", "name": "c"}), 1),
)
alpha_routing = st.one_of(
    beta_routing, st.tuples(beta_routing, text).map(lambda pair: pair[0] | {"type": pair[1]})
)
shared_plan: dict[str, st.SearchStrategy[Any]] = {
    "failureThreshold": int_or_string,
    "patchPodTemplateMetadata": some({}, labels=st.dictionaries(text, text, max_size=2)),
    "disableGenerateCanaryService": st.booleans(),
}
alpha_canary = some({}, steps=lists(alpha_step, 4), trafficRoutings=lists(alpha_routing, 2), **shared_plan)
beta_plan = shared_plan | {
    "steps": lists(beta_step, 4),
    "trafficRoutings": lists(beta_routing, 2),
    "trafficRoutingRef": text,
}
beta_canary = some({}, enableExtraWorkloadForCanary=st.booleans(), **beta_plan)
workload = st.just(WORKLOAD)
alpha_spec = some(
    {
        "objectRef": some({}, workloadRef=workload, type=text),
        "strategy": some({}, paused=st.booleans(), type=text, canary=alpha_canary),
    },
    rolloutID=text,
    disabled=st.booleans(),
)
beta_spec = some(
    {
        "workloadRef": workload,
        "strategy": some({}, paused=st.booleans(), canary=beta_canary, blueGreen=some({}, **beta_plan)),
    },
    disabled=st.booleans(),
)
sub_status = some(
    {"currentStepIndex": integers, "currentStepState": text},
    nextStepIndex=integers,
    message=text,
    finalisingStep=text,
)
status = some({}, canaryStatus=sub_status, phase=text, message=text, observedGeneration=integers)
styles = st.sampled_from(["", "canary", "Canary", "partition", "PARTITION", "sideways"])
annotations = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"app.oam.dev/last-applied-configuration": text},
        optional={names.ROLLING_STYLE: styles, names.TRAFFIC_ROUTING: text},
    ),
)


@st.composite
def _objects(draw: st.DrawFn, api_version: str, spec: st.SearchStrategy[Json]) -> Json:
    drawn = _object(api_version, draw(spec))
    if (found := draw(annotations)) is not None:
        drawn["metadata"]["annotations"] = found
    if draw(st.booleans()):
        drawn["status"] = draw(status)
    if api_version == BETA and "canaryStatus" in drawn.get("status", {}):
        step = drawn["status"]["canaryStatus"]
        drawn["status"] |= {key: step[key] for key in ("currentStepIndex", "currentStepState")}
    return drawn


alpha_objects = _objects(ALPHA, alpha_spec)
beta_objects = _objects(BETA, beta_spec)
objects = st.one_of(alpha_objects, beta_objects)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=12,
)
_KEYS = [
    "metadata", "annotations", "spec", "status", "objectRef", "workloadRef", "strategy", "canary",
    "blueGreen", "steps", "trafficRoutings", "weight", "traffic", "replicas", "matches", "headers",
    "queryParams", "path", "pause", "duration", "service", "ingress", "gateway", "name", "value",
    "type", "disabled", "paused", "failureThreshold", "trafficRoutingRef",
    "enableExtraWorkloadForCanary", "canaryStatus", "blueGreenStatus", "currentStepIndex",
    "nextStepIndex", "currentStepState", "rolloutID", "requestHeaderModifier", "set",
    "customNetworkRefs",
]  # fmt: skip


@st.composite
def hostile_objects(draw: st.DrawFn) -> Json:
    """Draw a good object in which some places have been replaced by anything."""
    drawn: Json = draw(objects)
    for _ in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from(["metadata", "spec", "spec", "status"]))
        drawn = drawn | {key: _spoilt(draw, drawn.get(key))}
    return drawn


def _spoilt(draw: st.DrawFn, value: Any) -> Any:
    deeper = draw(st.integers(0, 9)) > 0
    match value:
        case dict() if value and deeper:
            key = draw(st.sampled_from(sorted(value)))
            return value | {key: _spoilt(draw, value[key])}
        case list() if value and deeper:
            index = draw(st.integers(0, len(value) - 1))
            return [*value[:index], _spoilt(draw, value[index]), *value[index + 1 :]]
        case dict() if draw(st.booleans()):
            return value | {draw(st.sampled_from(_KEYS)): draw(json_values)}
        case _:
            return draw(json_values)
