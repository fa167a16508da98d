"""What is allowed of a Rollout, in both versions, with the paths and words that users know."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import names
from rollout.conversion import convert
from rollout.problems import Problem
from rollout.validation import Neighbours, Rules, validate_create, validate_update
from tests.unit.rollout.rollout_objects import (
    BETA,
    WORKLOAD,
    Json,
    alpha,
    annotated,
    beta,
    hostile_objects,
    objects,
    with_status,
)

NOBODY = Neighbours()
STEP = {"replicas": 1}
ROUTING = {"service": "echoserver", "ingress": {"name": "echoserver"}}
OTHER = {"service": "other", "ingress": {"name": "other"}}


def created(obj: Json, neighbours: Neighbours = NOBODY, rules: Rules | None = None) -> list[str]:
    """Judge a new object; return path and message of each problem."""
    return [told(problem) for problem in validate_create(obj, neighbours, rules or Rules())]


def updated(old: Json, new: Json, rules: Rules | None = None) -> list[str]:
    """Judge an update; return path and message of each problem."""
    return [told(problem) for problem in validate_update(old, new, NOBODY, rules or Rules())]


def told(problem: Problem) -> str:
    """Leave out what was found and the hint."""
    return f"{problem.path}: {problem.message}"


def of_workload(obj: Json, **ref: str) -> Json:
    """Point a v1beta1 object at another workload."""
    return obj | {"spec": obj["spec"] | {"workloadRef": WORKLOAD | ref}}


def named(obj: Json, name: str) -> Json:
    """Rename an object."""
    return obj | {"metadata": obj["metadata"] | {"name": name}}


# --- creation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "obj",
    [
        pytest.param(alpha(), id="v1alpha1 without anything optional"),
        pytest.param(beta(), id="v1beta1 without anything optional"),
        pytest.param(annotated(alpha(), ROLLING_STYLE="Canary"), id="v1alpha1 with the annotation"),
        pytest.param(alpha({"steps": [{"replicas": 2}, {"replicas": "1%"}]}), id="counts of different kinds"),
        pytest.param(alpha({"steps": [{"weight": 0, "replicas": 1}]}), id="v1alpha1 pods without traffic"),
        pytest.param(beta({"steps": [STEP], "trafficRoutings": [ROUTING, OTHER]}), id="several routings"),
        pytest.param(
            alpha({"steps": [{"weight": 20}], "trafficRoutings": [ROUTING | {"type": "nginx"}]}),
            id="a type of routing",
        ),
        pytest.param(
            beta({"steps": [STEP | {"traffic": "60%"}, {"replicas": 2, "traffic": "5%"}]}),
            id="traffic that falls",
        ),
        pytest.param(beta({"steps": [{"replicas": 300}]}), id="more pods than percent"),
        pytest.param(beta({"steps": [STEP | {"traffic": "100%"}]}), id="all traffic"),
        pytest.param(of_workload(beta(), name="n" * 63), id="the longest workload name"),
        pytest.param(
            beta({"steps": [STEP], "trafficRoutings": [ROUTING | {"service": "s" * 56}]}),
            id="the longest service name",
        ),
    ],
)
def test_what_works_is_allowed(obj: Json) -> None:
    """No check refuses what a release can do."""
    assert created(obj) == []


@pytest.mark.parametrize(
    ("ref", "allowed"),
    [
        ({}, True),
        ({"apiVersion": "apps/v1beta2"}, True),
        ({"kind": "StatefulSet"}, False),
        ({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet"}, False),
        ({"apiVersion": "v1"}, False),
    ],
    ids=str,
)
def test_only_deployments_are_governed(ref: dict[str, str], allowed: bool) -> None:  # noqa: FBT001 - a case
    """All other workloads are refused, not ignored."""
    expected = [] if allowed else ["Spec.ObjectRef.WorkloadRef: WorkloadRef kind is not supported"]

    assert created(of_workload(beta(), **ref)) == expected


@pytest.mark.parametrize("said", [{}, {"enableExtraWorkloadForCanary": False}], ids=["left out", "false"])
def test_partition_is_accepted_in_v1beta1(said: Json) -> None:
    """Left out, enableExtraWorkloadForCanary means partition."""
    assert created(beta({"steps": [STEP], **said})) == []


@pytest.mark.parametrize("value", ["partition", "Partition"])
def test_partition_is_accepted_in_v1alpha1(value: str) -> None:
    """There the annotation asks for it, in any letter case."""
    assert created(annotated(alpha(), ROLLING_STYLE=value)) == []


def test_blue_green_is_refused_by_name() -> None:
    """It is part of the API, but not yet of the product."""
    obj = beta() | {
        "spec": {"workloadRef": WORKLOAD, "strategy": {"blueGreen": {"steps": [STEP | {"traffic": "0%"}]}}}
    }

    assert created(obj) == ["Spec.Strategy.BlueGreen: blueGreen style is not supported yet"]


def test_canary_traffic_of_zero_is_refused_in_v1beta1() -> None:
    """There a step without traffic is one that does not mention it."""
    assert created(beta({"steps": [STEP | {"traffic": "0%"}]})) == [
        (
            "Spec.Strategy.Canary.Steps[0].steps: "
            'traffic must be percentage with "0%" < traffic <= "100%" in canary strategy'
        )
    ]


@pytest.mark.parametrize("replicas", [[2, 1], ["50%", "20%"], ["20%", "20%", "19%"]], ids=str)
def test_pods_must_not_become_fewer(replicas: list[int | str]) -> None:
    """Compared between neighbours of the same kind."""
    assert created(beta({"steps": [{"replicas": each} for each in replicas]})) == [
        "Spec.Strategy.Canary.Steps.CanaryReplicas: Steps.CanaryReplicas must be a non decreasing sequence"
    ]


def test_several_traffic_routings_can_be_forbidden_again() -> None:
    """A setting brings the old limit back."""
    obj = beta({"steps": [STEP], "trafficRoutings": [ROUTING, OTHER]})

    assert created(obj, rules=Rules(single_traffic_routing=True)) == [
        "Spec.Strategy.Canary: Rollout currently only support single TrafficRouting."
    ]


LANE = {"apiVersion": "a.example.com/v1", "kind": "Lane", "name": "c"}
CUSTOM = {"service": "x", "customNetworkRefs": [LANE]}
GATEWAY = {"service": "x", "gateway": {"httpRouteName": "x"}}


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        (
            {"trafficRoutingRef": "shared", "trafficRoutings": [ROUTING]},
            (
                'Spec.Strategy.Canary.TrafficRoutingRef: Invalid value: "shared": '
                "trafficRoutingRef beside trafficRoutings is not supported yet. "
                "Write all of the routing into one of them"
            ),
        ),
        (
            {"trafficRoutings": [ROUTING], "disableGenerateCanaryService": True},
            (
                "Spec.Strategy.Canary.DisableGenerateCanaryService: Invalid value: true: "
                "disableGenerateCanaryService with ingress or gateway is not supported yet. "
                "Leave it out, or route by customNetworkRefs alone"
            ),
        ),
    ],
    ids=["trafficRoutingRef", "disableGenerateCanaryService"],
)
def test_feature_that_does_not_exist_yet_is_refused_by_name(canary: Json, expected: str) -> None:
    """At admission, not when a release waits behind the gate; new ones and changes that bring it alike."""
    obj = beta({"steps": [STEP]} | canary)

    assert [str(each) for each in validate_create(obj, NOBODY, Rules())] == [expected]
    assert [str(each) for each in validate_update(beta(), obj, NOBODY, Rules())] == [expected]
    assert updated(obj, obj) == []  # it was there before


def test_traffic_routing_annotation_is_refused_by_name_in_v1alpha1() -> None:
    """There it is an annotation that asks for it."""
    obj = alpha(canary={"steps": [{"weight": 20}], "trafficRoutings": [ROUTING]})
    (problem,) = validate_create(annotated(obj, TRAFFIC_ROUTING="shared"), NOBODY, Rules())

    assert told(problem) == (
        f"Metadata.Annotations[{names.TRAFFIC_ROUTING}]: "
        f"annotation {names.TRAFFIC_ROUTING} beside trafficRoutings is not supported yet"
    )


@pytest.mark.parametrize("version", [alpha, beta])
@pytest.mark.parametrize("routing", [ROUTING, CUSTOM])
def test_strictness_is_refused_where_no_data_plane_speaks(
    version: Callable[..., Json], routing: Json
) -> None:
    """Said of the annotation, which is what has to go, or to get a route that can be verified."""
    steps = [STEP] if version is beta else [{"weight": 20}]
    obj = annotated(version({"steps": steps, "trafficRoutings": [routing]}), VERIFY="gateway-status")

    (problem,) = validate_create(obj, NOBODY, Rules())
    strict = annotated(version({"steps": steps, "trafficRoutings": [GATEWAY]}), VERIFY="gateway-status")

    assert str(problem) == (
        'Metadata.Annotations[sluice.dev/verify]: Invalid value: "gateway-status": annotation '
        "sluice.dev/verify beside a route other than gateway is a promise that nobody can keep. Only a "
        "Gateway says what it has accepted: route by gateway, or leave it out"
    )
    assert validate_create(strict, NOBODY, Rules()) == ()


def test_what_nothing_is_done_by_can_be_corrected_in_a_release() -> None:
    """Stored from before, it keeps its release waiting; with the fields immutable it would do so for ever."""
    canary = {"steps": [STEP], "trafficRoutingRef": "shared", "trafficRoutings": [ROUTING]}
    stuck = with_status(beta(canary), phase="Progressing")

    assert (
        updated(
            stuck, with_status(beta({"steps": [STEP], "trafficRoutings": [ROUTING]}), phase="Progressing")
        )
        == []
    )


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ({"value": "/v2/cart%20x"}, True),
        ({"value": "/v2/", "type": "Exact"}, True),
        ({"type": "Exact"}, True),
        ({"value": "v2|v3", "type": "RegularExpression"}, True),
        ({"value": "v2"}, False),
        ({"value": "/a//b", "type": "Exact"}, False),
        ({"value": "/a/../b"}, False),
        ({"value": "/a/.."}, False),
        ({"value": "/a%2Fb"}, False),
        ({"value": "/a#b"}, False),
        ({"value": "/a%zz"}, False),
        ({"value": "/" + "a" * 1024}, False),
    ],
)
def test_path_that_no_http_route_can_have_is_refused(path: Json, allowed: bool) -> None:  # noqa: FBT001
    """The Gateway API would refuse it when the release is at that step; nothing else is bound by it."""
    step = {**STEP, "matches": [{"path": path}]}
    kind = path.get("type", "PathPrefix")
    expected = (
        f"Spec.Strategy.Canary.Steps[0].Matches[0].Path: an HTTPRoute cannot match this path by type {kind}"
    )

    assert created(beta({"steps": [step], "trafficRoutings": [GATEWAY]})) == ([] if allowed else [expected])
    assert created(beta({"steps": [step], "trafficRoutings": [CUSTOM]})) == []


@pytest.mark.parametrize(
    ("routing", "path", "longest"),
    [
        ({"service": "s" * 57}, "TrafficRouting.Service", 56),
        ({"ingress": {"name": ".".join(["i" * 49] * 5)}}, "TrafficRouting.Ingress", 246),
    ],
    ids=["service", "ingress"],
)
def test_names_that_leave_no_room_for_the_canary_are_refused(routing: Json, path: str, longest: int) -> None:
    """The canary's Service and Ingress are named after the stable ones."""
    obj = beta({"steps": [STEP], "trafficRoutings": [ROUTING | routing]})

    assert created(obj) == [f"Spec.Strategy.Canary.{path}: name must be no more than {longest} characters"]


def test_workload_name_that_fits_no_label_is_refused() -> None:
    """The canary Deployment is labelled with it."""
    assert created(of_workload(beta(), name="n" * 64)) == [
        "Spec.ObjectRef.WorkloadRef: name must be no more than 63 characters"
    ]


def test_service_without_a_canary_of_its_own_may_have_any_name() -> None:
    """No Service is made, so none needs a name."""
    canary = {
        "steps": [STEP],
        "trafficRoutings": [CUSTOM | {"service": "s" * 60}],
        "disableGenerateCanaryService": True,
    }

    assert created(beta(canary)) == []


# --- one workload, one Rollout -------------------------------------------------------------------


@pytest.mark.parametrize("make", [alpha, beta], ids=["v1alpha1", "v1beta1"])
@pytest.mark.parametrize(
    "other",
    [beta(), alpha(), of_workload(beta(), apiVersion="apps/v1beta2"), of_workload(beta({}))],
    ids=["v1beta1", "v1alpha1", "another spelling", "one that is wrong otherwise"],
)
def test_a_workload_has_one_rollout(make: type[Json], other: Json) -> None:
    """Two would fight over it, whatever version or spelling names it."""
    assert created(make(), Neighbours([named(other, "first")])) == [
        (
            "Conflict Checker: This rollout conflict with Rollout(default/first), "
            "one workload only have less than one Rollout"
        )
    ]


@pytest.mark.parametrize(
    "other",
    [
        named(of_workload(beta(), name="another"), "first"),
        named(of_workload(beta(), kind="StatefulSet"), "first"),
        beta(),
        named(beta() | {"spec": 5}, "first"),
    ],
    ids=["another name", "another kind", "the object itself", "no spec"],
)
def test_rollouts_of_other_workloads_do_not_conflict(other: Json) -> None:
    """Nor does the judged object with itself."""
    assert created(beta(), Neighbours([other])) == []


# --- v1alpha1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        ({"steps": [{}]}, "Steps[0].steps: weight and replicas cannot be empty at the same time"),
        ({"steps": []}, "Steps: The number of Canary.Steps cannot be empty"),
        *[
            (
                {"steps": [{"weight": weight}]},
                "Steps[0].Weight: weight must be positive number, and less than or equal to 100",
            )
            for weight in (0, -1, 101, "20%", 20.5)
        ],
        (
            {"steps": [{"weight": 101, "replicas": 1}]},
            "Steps[0].Weight: weight must be positive number, and less than or equal to 100",
        ),
        (
            {
                "steps": [{"weight": 20, "replicas": 2}, {"weight": 10, "replicas": 3}],
                "trafficRoutings": [ROUTING],
            },
            "Steps.Weight: Steps.Weight must be a non decreasing sequence",
        ),
        (
            {"steps": [{"weight": 20}, {"weight": 10}]},
            "Steps.CanaryReplicas: Steps.CanaryReplicas must be a non decreasing sequence",
        ),
        (
            {"steps": [{"weight": 20}], "trafficRoutings": [{"service": "x"}]},
            "TrafficRouting.TrafficRoutings: TrafficRoutings are not set",
        ),
    ],
    ids=str,
)
def test_v1alpha1_plan_is_judged_in_its_own_words(canary: Json, expected: str) -> None:
    """Nobody is told about a v1beta1 field that they did not write."""
    assert created(alpha(canary)) == [f"Spec.Strategy.Canary.{expected}"]


def test_v1alpha1_needs_a_canary_block() -> None:
    """It knows no other style."""
    obj = alpha() | {"spec": {"objectRef": {"workloadRef": WORKLOAD}, "strategy": {}}}

    assert created(obj) == ["Spec.Strategy.Canary: Canary cannot be empty"]


def test_v1alpha1_needs_a_workload() -> None:
    """The reference is optional in its schema only."""
    obj = alpha() | {"spec": alpha()["spec"] | {"objectRef": {}}}

    assert created(obj) == ["Spec.ObjectRef.WorkloadRef: WorkloadRef is required"]


def test_unknown_rolling_style_is_refused() -> None:
    """A slip of the pen must not release by another style."""
    assert created(annotated(alpha(), ROLLING_STYLE="canry")) == [
        "RollingStyle: Rolling style must be 'Canary', 'Partition' or empty"
    ]


def test_weight_of_thirty_percent_and_more_is_allowed() -> None:
    """The old limit on pods with traffic does not apply to canary style."""
    assert created(alpha({"steps": [{"weight": 90}], "trafficRoutings": [ROUTING]})) == []


PARTITION_LIMIT = Rules(partition_percent_limit=30)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            {"weight": 31},
            (
                "For patition style rollout: step[x].weight must not greater than replicasLimitWithTraffic "
                "if replicas is not specified"
            ),
        ),
        (
            {"replicas": "31%", "weight": 5},
            (
                "For patition style rollout: step[x].replicas must not greater than replicasLimitWithTraffic "
                "if traffic or matches specified"
            ),
        ),
        ({"weight": 30}, None),
        ({"replicas": "31%"}, None),
    ],
    ids=str,
)
def test_limit_on_partition_steps_can_be_brought_back_in_v1alpha1(step: Json, expected: str | None) -> None:
    """A setting limits its pods with traffic."""
    obj = annotated(alpha({"steps": [step]}), ROLLING_STYLE="partition")

    assert created(obj, rules=PARTITION_LIMIT) == (
        [f"Spec.Strategy.Canary.Steps[0].steps: {expected}"] if expected else []
    )
    assert created(alpha({"steps": [step]}), rules=PARTITION_LIMIT) == []


@pytest.mark.parametrize(("replicas", "allowed"), [("31%", False), ("30%", True), (31, True)], ids=str)
def test_limit_on_partition_steps_can_be_brought_back_in_v1beta1(replicas: int | str, allowed: bool) -> None:  # noqa: FBT001 - a case
    """Only percentages are compared, and only where the step routes traffic."""
    step = {"replicas": replicas, "traffic": "5%"}
    partition = beta({"steps": [step], "enableExtraWorkloadForCanary": False})
    without_traffic = beta({"steps": [{"replicas": replicas}], "enableExtraWorkloadForCanary": False})
    message = (
        "Spec.Strategy.Canary.Steps[0].steps: For partition style rollout: step[x].replicas must not greater "
        "than partition-percent-limit if traffic specified"
    )

    assert created(partition, rules=PARTITION_LIMIT) == ([] if allowed else [message])
    assert created(without_traffic, rules=PARTITION_LIMIT) == []


def test_what_v1alpha1_carries_of_v1beta1_is_judged_too() -> None:
    """The stash of a v1alpha1 object becomes part of the stored object, and nothing gets in unseen."""
    obj = beta({"steps": [STEP | {"matches": [{"path": {"type": "Glob"}}]}]})
    view = convert(obj, "v1alpha1")
    assert not isinstance(view, Problem)

    assert created(dict(view)) == [
        (
            "Spec.Strategy.Canary.Steps[0].Matches[0].Path.Type: "
            "must be one of Exact, PathPrefix, RegularExpression"
        )
    ]


# --- updates -------------------------------------------------------------------------------------

TWO_STEPS = {"steps": [{"traffic": "20%", "replicas": "20%"}, {"traffic": "50%", "replicas": "50%"}]}


def rewritten(obj: Json, **canary: object) -> Json:
    """Change members of the plan."""
    strategy = obj["spec"]["strategy"]
    plan = {key: value for key, value in (strategy["canary"] | canary).items() if value is not None}
    return obj | {"spec": obj["spec"] | {"strategy": strategy | {"canary": plan}}}


ROUTED = rewritten(beta(), trafficRoutings=[ROUTING])
ROUTED_ALPHA = rewritten(alpha(), trafficRoutings=[ROUTING])

FORBIDDEN = [
    pytest.param(
        of_workload(ROUTED, name="another"),
        "Spec.ObjectRef: Rollout 'ObjectRef' field is immutable",
        id="workload",
    ),
    pytest.param(
        rewritten(ROUTED, trafficRoutings=[ROUTING | {"service": "another"}]),
        "Spec.Strategy.Canary|BlueGreen.TrafficRoutings: "
        "Rollout 'Strategy.Canary|BlueGreen.TrafficRoutings' field is immutable",
        id="routing",
    ),
    pytest.param(
        rewritten(ROUTED, enableExtraWorkloadForCanary=False),
        "Spec.Strategy.Canary|BlueGreen: Rollout style and enableExtraWorkloadForCanary are immutable",
        id="style",
    ),
    pytest.param(
        rewritten(ROUTED, **TWO_STEPS),
        "Spec.Strategy.Canary|BlueGreen: Amount of Rollout steps are immutable",
        id="steps",
    ),
]
FORBIDDEN_ALPHA = [
    pytest.param(
        ROUTED_ALPHA
        | {"spec": ROUTED_ALPHA["spec"] | {"objectRef": {"workloadRef": WORKLOAD | {"name": "another"}}}},
        "Spec.ObjectRef: Rollout 'ObjectRef' field is immutable",
        id="workload",
    ),
    pytest.param(
        rewritten(ROUTED_ALPHA, trafficRoutings=[ROUTING | {"service": "another"}]),
        "Spec.Strategy.Canary.TrafficRoutings: Rollout 'Strategy.Canary.TrafficRoutings' field is immutable",
        id="routing",
    ),
    pytest.param(
        annotated(ROUTED_ALPHA, ROLLING_STYLE="partition"),
        "Metadata.Annotation: Rollout 'Rolling-Style' annotation is immutable",
        id="style",
    ),
]


@pytest.mark.parametrize("phase", ["Progressing", "Terminating"])
@pytest.mark.parametrize(("new", "expected"), FORBIDDEN)
def test_what_a_release_relies_on_is_held_in_v1beta1(new: Json, expected: str, phase: str) -> None:
    """While a release is under way, its ground does not move."""
    old = with_status(ROUTED, phase=phase)

    assert updated(old, with_status(new, phase=phase)) == [expected]


@pytest.mark.parametrize("phase", ["Progressing", "Terminating"])
@pytest.mark.parametrize(("new", "expected"), FORBIDDEN_ALPHA)
def test_what_a_release_relies_on_is_held_in_v1alpha1(new: Json, expected: str, phase: str) -> None:
    """The same, in the words of that version."""
    old = with_status(ROUTED_ALPHA, phase=phase)

    assert updated(old, with_status(new, phase=phase)) == [expected]


@pytest.mark.parametrize("phase", ["Healthy", "Initial", "Disabled", "", None, 5])
@pytest.mark.parametrize(("new", "_expected"), FORBIDDEN)
def test_between_releases_everything_may_change(new: Json, _expected: str, phase: object) -> None:
    """Only the phase that is stored decides."""
    assert updated(with_status(ROUTED, phase=phase), new) == []


def test_phase_is_that_of_the_stored_object() -> None:
    """What a client says about the phase in the same request means nothing."""
    new = with_status(rewritten(ROUTED, **TWO_STEPS), phase="Progressing")

    assert updated(with_status(ROUTED, phase="Healthy"), new) == []


def test_v1alpha1_step_may_be_rewritten_during_a_release() -> None:
    """KubeVela's canary-deploy step rewrites the single step from 20 over 50 to 100, and may add some."""
    old = with_status(alpha(), phase="Progressing")

    assert updated(old, rewritten(old, steps=[{"weight": 50}])) == []
    assert updated(old, rewritten(old, steps=[{"weight": 20}, {"weight": 50}])) == []


def test_a_spelled_out_default_is_no_change() -> None:
    """Saying the grace period that was meant anyway moves nothing."""
    old = with_status(ROUTED, phase="Progressing")

    assert updated(old, rewritten(old, trafficRoutings=[ROUTING | {"gracePeriodSeconds": 3}])) == []


def test_an_old_problem_does_not_stop_an_update_of_something_else() -> None:
    """A stored object that would be refused today can be paused, labelled, and lose its finalizer."""
    old = beta({"steps": [{"replicas": 0}]})
    paused = old | {"spec": old["spec"] | {"disabled": True}}

    assert created(old) != []
    assert updated(old, paused) == []


def test_a_new_problem_is_refused_beside_an_old_one() -> None:
    """Only what was there already is let through."""
    old = beta({"steps": [{"replicas": 0}, {"replicas": 1}]})

    assert updated(old, rewritten(old, steps=[{"replicas": 0}, {"replicas": -1}])) == [
        (
            "Spec.Strategy.Canary.Steps[1].Replicas: "
            'replicas must be positive number, or a percentage with "0%" < canaryReplicas <= "100%"'
        )
    ]


# --- totality ------------------------------------------------------------------------------------


@given(hostile_objects(), st.one_of(hostile_objects(), objects), st.lists(hostile_objects(), max_size=2))
def test_any_json_is_judged(old: Json, new: Json, others: list[Json]) -> None:
    """Nothing that a client can send makes the validation raise."""
    neighbours = Neighbours(others, traffic_routings={"a": {}})

    assert all(str(problem) for problem in validate_create(new, neighbours, Rules()))
    assert all(str(problem) for problem in validate_update(old, new, neighbours, Rules()))


@given(objects)
def test_an_unchanged_object_is_never_refused(obj: Json) -> None:
    """A re-sent object, or a metadata change, passes whatever the spec is."""
    old = with_status(obj, phase="Progressing")

    assert updated(old, old) == []


def test_an_object_of_another_api_is_refused() -> None:
    """Nothing is guessed about what is not a Rollout."""
    (problem,) = validate_create(beta() | {"apiVersion": BETA.replace("v1beta1", "v9")}, NOBODY, Rules())

    assert problem.path == "apiVersion"


def test_custom_network_refs_are_accepted_with_and_without_a_canary_service() -> None:
    """Whether the kind exists, and may be changed, the Rollout's message says."""
    canary = {"steps": [STEP], "trafficRoutings": [CUSTOM]}

    assert created(beta(canary)) == []
    assert created(beta(canary | {"disableGenerateCanaryService": True})) == []


@pytest.mark.parametrize(
    ("refs", "expected"),
    [
        ([LANE | {"name": ""}], "[0]: CustomNetworkRefs must have apiVersion, kind and name"),
        ([LANE | {"apiVersion": "v1"}], "[0]: CustomNetworkRefs must name a kind of an API group"),
        ([LANE | {"apiVersion": "../v1"}], "[0]: CustomNetworkRefs must name a kind of an API group"),
        ([LANE | {"kind": "lanes/status"}], "[0]: CustomNetworkRefs must name a kind of an API group"),
        ([LANE, LANE | {"apiVersion": "a.example.com/v2"}], "CustomNetworkRefs name Lane c twice"),
    ],
)
def test_reference_that_can_name_nothing_is_refused(refs: list[Json], expected: str) -> None:
    """Two scripts' results cannot stand on one object, and a script is found by group and kind."""
    (problem,) = created(beta({"steps": [STEP], "trafficRoutings": [CUSTOM | {"customNetworkRefs": refs}]}))

    assert expected in problem
