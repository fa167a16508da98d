"""A v1beta1 object is read in full, or refused with every problem where it is."""

from typing import Any

import pytest
from hypothesis import event, given

from rollout import names
from rollout.parsing import parse
from rollout.problems import Problem, ProblemKind
from rollout.route_kinds import RouteRef
from rollout.spec import (
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
from tests.unit.rollout.rollout_objects import (
    WORKLOAD,
    Json,
    annotated,
    beta,
    beta_objects,
    hostile_objects,
    json_values,
)

STEP = {"replicas": 1}
ROUTING = {"service": "echoserver", "ingress": {"name": "echoserver"}}


def read(obj: Json) -> RolloutSpec:
    """Parse an object that is right."""
    spec = parse(obj)
    assert isinstance(spec, RolloutSpec), spec
    return spec


def refused(obj: Json) -> list[str]:
    """Parse an object that is wrong; return its problems as users see them."""
    problems = parse(obj)
    assert isinstance(problems, tuple)
    return [str(problem) for problem in problems]


def test_the_walkthrough_is_read() -> None:
    """Weight, pods and a pause without a duration: a step that waits for approval."""
    spec = read(
        beta({"steps": [{"traffic": "20%", "replicas": "20%", "pause": {}}], "trafficRoutings": [ROUTING]})
    )

    assert spec == RolloutSpec(
        workload=WorkloadRef("apps/v1", "Deployment", "echoserver"),
        style=Style.CANARY,
        steps=(Step(Amount(20, percent=True), weight=20, pause_seconds=None),),
        routings=(
            TrafficRoutingRef(
                "echoserver", grace_seconds=3, ingress_name="echoserver", ingress_class="nginx"
            ),
        ),
    )


def test_every_field_is_read() -> None:
    """Nothing that a user may write is lost on the way."""
    step = {
        "replicas": 3,
        "traffic": "050%",
        "pause": {"duration": 60},
        "matches": [
            {
                "path": {"type": "Exact", "value": "/beta"},
                "headers": [{"name": "user", "value": "a.*", "type": "RegularExpression"}],
                "queryParams": [{"name": "q", "value": "1"}],
            },
            {"path": {}},
        ],
        "requestHeaderModifier": {
            "set": [{"name": "a", "value": "1"}],
            "add": [{"name": "b", "value": "2"}],
            "remove": ["c"],
        },
    }
    custom = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "name": "mesh"}
    routings = [
        {"service": "a", "gracePeriodSeconds": 0, "ingress": {"name": "b", "classType": "mse"}},
        {"service": "c", "gateway": {"httpRouteName": "d"}, "customNetworkRefs": [custom]},
    ]
    canary = {
        "steps": [step],
        "trafficRoutings": routings,
        "failureThreshold": "30%",
        "patchPodTemplateMetadata": {"labels": {"l": "1"}, "annotations": {"a": "2"}},
        "disableGenerateCanaryService": True,
        "trafficRoutingRef": "shared",
    }
    obj = beta(canary, disabled=True)
    obj["spec"]["strategy"]["paused"] = True

    assert read(obj) == RolloutSpec(
        workload=WorkloadRef("apps/v1", "Deployment", "echoserver"),
        style=Style.CANARY,
        steps=(
            Step(
                replicas=Amount(3),
                weight=50,
                matches=(
                    Match(
                        PathMatch("/beta", PathMatchType.EXACT),
                        (HeaderMatch("user", "a.*", MatchType.REGULAR_EXPRESSION),),
                        (QueryMatch("q", "1", MatchType.EXACT),),
                    ),
                    Match(PathMatch("/", PathMatchType.PREFIX)),
                ),
                request_header_modifier=HeaderModifier((("a", "1"),), (("b", "2"),), ("c",)),
                pause_seconds=60,
            ),
        ),
        routings=(
            TrafficRoutingRef("a", 0, "b", "mse"),
            TrafficRoutingRef(
                "c", http_route="d", custom=(RouteRef("networking.istio.io/v1", "VirtualService", "mesh"),)
            ),
        ),
        disabled=True,
        paused=True,
        failure_threshold=Amount(30, percent=True),
        pod_template_patch=PodTemplatePatch({"l": "1"}, {"a": "2"}),
        disable_generate_canary_service=True,
        traffic_routing_ref="shared",
    )


@pytest.mark.parametrize(
    ("strategy", "style"),
    [
        ({"canary": {"steps": [STEP], "enableExtraWorkloadForCanary": True}}, Style.CANARY),
        ({"canary": {"steps": [STEP], "enableExtraWorkloadForCanary": False}}, Style.PARTITION),
        ({"canary": {"steps": [STEP]}}, Style.PARTITION),
        ({"blueGreen": {"steps": [STEP]}}, Style.BLUE_GREEN),
    ],
    ids=["extra workload", "no extra workload", "unsaid", "blue-green"],
)
def test_style_is_what_v1beta1_says(strategy: Json, style: Style) -> None:
    """Without enableExtraWorkloadForCanary partition is meant, never canary."""
    assert read(beta() | {"spec": {"workloadRef": WORKLOAD, "strategy": strategy}}).style is style


def test_traffic_routing_is_named_by_field_or_annotation() -> None:
    """Both are in use for the same thing."""
    by_field = read(beta({"steps": [STEP], "trafficRoutingRef": "shared"}))
    by_annotation = read(annotated(beta({"steps": [STEP]}), TRAFFIC_ROUTING="shared"))

    assert by_field.traffic_routing_ref == by_annotation.traffic_routing_ref == "shared"


def test_two_different_traffic_routings_are_refused() -> None:
    """Nobody can tell which of the two was meant."""
    obj = annotated(beta({"steps": [STEP], "trafficRoutingRef": "one"}), TRAFFIC_ROUTING="other")

    assert refused(obj) == [
        (
            'Spec.Strategy.Canary.TrafficRoutingRef: Invalid value: "one": '
            f"trafficRoutingRef differs from annotation {names.TRAFFIC_ROUTING}"
        )
    ]


def test_strictness_is_asked_for_by_annotation() -> None:
    """Without it nothing is asked for; emptied, as an installer's template leaves it, it is not either."""
    assert read(annotated(beta(), VERIFY="gateway-status")).strict
    assert not read(beta()).strict
    assert not read(annotated(beta(), VERIFY="")).strict


@pytest.mark.parametrize("word", ["true", "probe", "Gateway-Status"])
def test_strictness_that_does_not_exist_is_refused(word: str) -> None:
    """Read as none, it would be a promise that nobody keeps."""
    (problem,) = refused(annotated(beta(), VERIFY=word))

    assert problem == (
        f'Metadata.Annotations[sluice.dev/verify]: Invalid value: "{word}": '
        "must be gateway-status, or be left out"
    )


UNCONDITIONAL = "a match without conditions would send every request to the canary"
THRESHOLD = (
    'failureThreshold must be a number of pods, or a percentage with "0%" <= failureThreshold <= "100%"'
)
REPLICAS = 'replicas must be positive number, or a percentage with "0%" < canaryReplicas <= "100%"'
TRAFFIC = 'traffic must be percentage with "0%" < traffic <= "100%" in canary strategy'


@pytest.mark.parametrize(
    ("canary", "path", "message"),
    [
        ({}, "Steps", "The number of Canary.Steps cannot be empty"),
        ({"steps": []}, "Steps", "The number of Canary.Steps cannot be empty"),
        ({"steps": {}}, "Steps", "must be a list"),
        ({"steps": [STEP, {}]}, "Steps[1].steps", "replicas cannot be empty"),
        ({"steps": [{"replicas": 0}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [{"replicas": -1}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [{"replicas": "0%"}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [{"replicas": "101%"}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [{"replicas": "5"}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [{"replicas": True}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [{"replicas": 2**31}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [{"replicas": float("nan")}]}, "Steps[0].Replicas", REPLICAS),
        ({"steps": [STEP | {"traffic": "101%"}]}, "Steps[0].steps", TRAFFIC),
        ({"steps": [STEP | {"traffic": "-1%"}]}, "Steps[0].steps", TRAFFIC),
        ({"steps": [STEP | {"traffic": "20"}]}, "Steps[0].steps", TRAFFIC),
        ({"steps": [STEP | {"traffic": 20}]}, "Steps[0].steps", TRAFFIC),
        ({"steps": [STEP | {"traffic": "\u0662%"}]}, "Steps[0].steps", TRAFFIC),
        (
            {"steps": [STEP | {"pause": {"duration": -1}}]},
            "Steps[0].Pause.Duration",
            "pause.duration must be a number of seconds, not negative",
        ),
        (
            {"steps": [STEP | {"matches": [{"headers": []}]}]},
            "Steps[0].Matches[0]",
            UNCONDITIONAL,
        ),
        (
            {"steps": [STEP | {"matches": [{"headers": [{"value": "x"}]}]}]},
            "Steps[0].Matches[0].Headers[0].Name",
            "cannot be empty",
        ),
        (
            {"steps": [STEP | {"matches": [{"path": {"type": "Glob"}}]}]},
            "Steps[0].Matches[0].Path.Type",
            "must be one of Exact, PathPrefix, RegularExpression",
        ),
        (
            {"steps": [STEP], "trafficRoutings": [ROUTING | {"gracePeriodSeconds": -1}]},
            "TrafficRouting.GracePeriodSeconds",
            "TrafficRouting.GracePeriodSeconds cannot be negative",
        ),
        (
            {"steps": [STEP], "trafficRoutings": [ROUTING | {"service": ""}]},
            "TrafficRouting.Service",
            "TrafficRouting.Service cannot be empty",
        ),
        (
            {"steps": [STEP], "trafficRoutings": [ROUTING | {"service": "../secrets"}]},
            "TrafficRouting.Service",
            "must be the name of an object: lower case letters, digits, '-' and '.'",
        ),
        (
            {"steps": [STEP], "trafficRoutings": [{"service": "x"}]},
            "TrafficRouting.TrafficRoutings",
            "TrafficRoutings are not set",
        ),
        (
            {"steps": [STEP], "trafficRoutings": [ROUTING, {"service": "x"}]},
            "TrafficRouting[1].TrafficRoutings",
            "TrafficRoutings are not set",
        ),
        (
            {"steps": [STEP], "trafficRoutings": [{"service": "x", "ingress": {"name": ""}}]},
            "TrafficRouting.Ingress",
            "TrafficRouting.Ingress.Ingress cannot be empty",
        ),
        (
            {"steps": [STEP], "trafficRoutings": [{"service": "x", "gateway": {}}]},
            "TrafficRouting.Gateway",
            "TrafficRouting.Gateway must set the name of HTTPRoute or HTTPsRoute",
        ),
        (
            {"steps": [STEP], "failureThreshold": "200%"},
            "FailureThreshold",
            THRESHOLD,
        ),
        (
            {"steps": [STEP], "patchPodTemplateMetadata": {"labels": {"a": 1}}},
            "PatchPodTemplateMetadata.Labels.a",
            "must be a string",
        ),
        (
            {"steps": [STEP], "enableExtraWorkloadForCanary": "yes"},
            "EnableExtraWorkloadForCanary",
            "must be true or false",
        ),
    ],
)
def test_a_mistake_is_named_where_it_is(canary: Json, path: str, message: str) -> None:
    """One mistake, one problem, with the path and the words that users know."""
    problems = parse(beta(canary))

    assert isinstance(problems, tuple)
    assert [(problem.path, problem.message) for problem in problems] == [
        (f"Spec.Strategy.Canary.{path}", message)
    ]


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (
            {"strategy": {"canary": {"steps": [STEP]}}},
            "Spec.ObjectRef.WorkloadRef",
            "WorkloadRef is required",
        ),
        (
            {"workloadRef": WORKLOAD | {"name": ""}, "strategy": {"canary": {"steps": [STEP]}}},
            "Spec.ObjectRef.WorkloadRef",
            "WorkloadRef must have apiVersion, kind and name",
        ),
        (
            {"workloadRef": WORKLOAD, "strategy": {}},
            "Spec.Strategy",
            "Canary and BlueGreen cannot both be empty",
        ),
        ({"workloadRef": WORKLOAD}, "Spec.Strategy", "Canary and BlueGreen cannot both be empty"),
        (
            {
                "workloadRef": WORKLOAD,
                "strategy": {"canary": {"steps": [STEP]}, "blueGreen": {"steps": [STEP]}},
            },
            "Spec.Strategy",
            "Canary and BlueGreen cannot both be set",
        ),
        (
            {"workloadRef": WORKLOAD, "strategy": {"blueGreen": {"steps": [STEP | {"traffic": "101%"}]}}},
            "Spec.Strategy.BlueGreen.Steps[0].steps",
            'traffic must be percentage with "0%" <= traffic <= "100%" in blueGreen strategy',
        ),
        (
            {"workloadRef": WORKLOAD, "strategy": {"canary": {"steps": [STEP]}}, "disabled": 1},
            "Spec.Disabled",
            "must be true or false",
        ),
    ],
)
def test_a_mistake_above_the_plan_is_named(spec: Json, path: str, message: str) -> None:
    """The workload and the choice of a strategy."""
    problems = parse(beta() | {"spec": spec})

    assert isinstance(problems, tuple)
    assert [(problem.path, problem.message) for problem in problems] == [(path, message)]


def test_all_mistakes_are_told_at_once() -> None:
    """A user corrects a manifest once, not once per field."""
    obj = beta({"steps": [{"replicas": 0}, {"traffic": "x", "replicas": 1}]})

    assert len(refused(obj)) == 2


def test_problem_reads_as_a_field_error() -> None:
    """The text has the form of Kubernetes field errors, the hint at its end."""
    invalid = Problem("Spec.X", "a", "is wrong", "Do that")
    forbidden = Problem("Spec.X", None, "is immutable", kind=ProblemKind.FORBIDDEN)

    assert str(invalid) == 'Spec.X: Invalid value: "a": is wrong. Do that'
    assert str(forbidden) == "Spec.X: Forbidden: is immutable"


@pytest.mark.parametrize(
    "found", ["x" * 5000, [[]] * 5000, 10**5000, {1, 2}], ids=["text", "list", "number", "no JSON"]
)
def test_problem_is_one_short_line_whatever_was_found(found: Any) -> None:
    """A hostile value does not flood the terminal or the log."""
    assert len(str(Problem("Spec.X", found, "is wrong"))) < 300


def test_problem_with_a_value_too_deep_to_write_is_still_told() -> None:
    """Depth is no way out of a refusal."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    assert refused(beta({"steps": [{"replicas": deep}]})) == [
        f"Spec.Strategy.Canary.Steps[0].Replicas: Invalid value: <list>: {REPLICAS}"
    ]


@given(hostile_objects())
def test_any_json_is_read_or_refused(obj: Json) -> None:
    """Nothing that a client can store makes the reading raise."""
    result = parse(obj)
    event(f"refused: {isinstance(result, tuple)}")

    assert isinstance(result, RolloutSpec) or all(str(problem) for problem in result)


@given(beta_objects)
def test_what_is_read_makes_sense(obj: Json) -> None:
    """Whoever gets a RolloutSpec need not check it again."""
    spec = parse(obj)
    if isinstance(spec, RolloutSpec):
        assert spec.steps
        assert all(step.weight is None or 0 <= step.weight <= 100 for step in spec.steps)
        assert all(step.replicas.value > 0 for step in spec.steps)


@given(json_values)
def test_any_spec_gets_an_answer(spec: object) -> None:
    """Not even an object is needed."""
    parse({"spec": spec, "metadata": spec})
