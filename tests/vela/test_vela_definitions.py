"""The addon's definitions take what those of upstream versions 1.0.0 to 1.5.2 took, and say what is wrong."""

import re
from typing import Any

import pytest

from tests.vela.cue import CueError
from tests.vela.definitions import definition

JsonObject = dict[str, Any]

_WORKLOAD = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "echoserver"}}
_CONTEXT = {"name": "echoserver", "namespace": "shop", "output": _WORKLOAD, "components": [{"name": "other"}]}
_APPLICATION = {"name": "shop", "namespace": "shop"}
"""What a step of a workflow knows."""
_DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "echoserver"}


def rendered(kind: str, parameter: JsonObject, **context: Any) -> JsonObject:
    """Render the Rollout of a trait."""
    found: JsonObject = definition(kind).render("outputs.rollout", parameter, _CONTEXT | context)
    return found


def plan(canary: JsonObject, **more: Any) -> JsonObject:
    """Render the strategy of trait kruise-rollout."""
    found: JsonObject = rendered("kruise-rollout", {"canary": canary, **more})["spec"]["strategy"]["canary"]
    return found


def steps(*given: JsonObject, **more: Any) -> list[JsonObject]:
    """Render the steps of trait kruise-rollout."""
    found: list[JsonObject] = plan({"steps": list(given)}, **more)["steps"]
    return found


def routing(**given: Any) -> JsonObject:
    """Render the one traffic routing of trait kruise-rollout."""
    (found,) = plan({"steps": [{"weight": 20}], "trafficRoutings": [given]})["trafficRoutings"]
    rendered: JsonObject = found
    return rendered


# --- trait kruise-rollout ----------------------------------------------------------------------------


def test_walkthroughs_trait_makes_the_rollout_that_was_recorded() -> None:
    """With the type that upstream's later versions refuse."""
    canary = {"steps": [{"weight": 20}], "trafficRoutings": [{"type": "nginx"}]}

    assert rendered("kruise-rollout", {"canary": canary}) == {
        "apiVersion": "rollouts.kruise.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "echoserver", "namespace": "shop"},
        "spec": {
            "objectRef": {"workloadRef": _DEPLOYMENT},
            "strategy": {
                "canary": {
                    "steps": [{"weight": 20, "pause": {}}],
                    "trafficRoutings": [
                        {"service": "echoserver", "gracePeriodSeconds": 5, "ingress": {"name": "echoserver"}}
                    ],
                }
            },
        },
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"ingress": {"name": "echoserver"}}),
        ({"type": "ingress"}, {"ingress": {"name": "echoserver"}}),
        ({"type": "nginx", "ingressName": "way-in"}, {"ingress": {"name": "way-in"}}),
        ({"type": "nginx", "ingress": {"name": "way-in"}}, {"ingress": {"name": "way-in"}}),
        ({"ingressName": "a", "ingress": {"name": "a"}}, {"ingress": {"name": "a"}}),
        ({"ingressName": "", "ingress": {}}, {"ingress": {"name": "echoserver"}}),
        ({"ingress": {"name": ""}, "service": ""}, {"ingress": {"name": "echoserver"}}),
        ({"type": "aliyun-alb"}, {"ingress": {"name": "echoserver", "classType": "aliyun-alb"}}),
        ({"type": "alb"}, {"ingress": {"name": "echoserver", "classType": "aliyun-alb"}}),
        ({"type": "higress"}, {"ingress": {"name": "echoserver", "classType": "higress"}}),
        ({"type": "mse"}, {"ingress": {"name": "echoserver", "classType": "mse"}}),
        ({"type": "gateway"}, {"gateway": {"httpRouteName": "echoserver"}}),
        ({"type": "gateway", "gatewayHTTPRouteName": "r"}, {"gateway": {"httpRouteName": "r"}}),
        ({"service": "web", "gracePeriodSeconds": 0}, {"ingress": {"name": "echoserver"}}),
    ],
)
def test_requests_are_routed_by_what_is_named(given: JsonObject, expected: JsonObject) -> None:
    """By the component's own name where nothing is."""
    service, grace = given.get("service") or "echoserver", given.get("gracePeriodSeconds", 5)

    assert routing(**given) == {"service": service, "gracePeriodSeconds": grace, **expected}


def test_pauses_say_who_lets_the_next_step_begin() -> None:
    """Nothing said: an approval. A duration: time. auto, and the first steps of stepPartition: nothing."""
    given = ({"weight": 20}, {"weight": 50, "duration": 60}, {"replicas": "80%", "duration": 9})

    assert [each["pause"] for each in steps(*given)] == [{}, {"duration": 60}, {"duration": 9}]
    assert [each["pause"] for each in steps(*given, auto=True)] == [{"duration": 0}] * 3
    assert [each["pause"] for each in steps(*given, stepPartition=2)] == [*[{"duration": 0}] * 2, {}]
    assert [each["pause"] for each in steps(*given, stepPartition=0)] == [{}] * 3


@pytest.mark.parametrize("replicas", [5, "50%"])
def test_pods_of_a_step_are_a_number_or_a_percentage(replicas: int | str) -> None:
    """As a Rollout has it."""
    assert steps({"replicas": replicas}) == [{"replicas": replicas, "pause": {}}]


@pytest.mark.parametrize("spelled", [str.lower, str.capitalize])
def test_headers_are_written_small_or_with_capitals(spelled: Any) -> None:
    """Upstream documents the one and declares the other."""
    header = {"type": "Exact", "name": "User-Agent", "value": "iOS"}
    given = {spelled(key): value for key, value in header.items()}

    assert steps({"matches": [{"headers": [given]}]}) == [{"matches": [{"headers": [header]}], "pause": {}}]


@pytest.mark.parametrize(("mode", "style"), [(None, None), ("canary", None), ("batch", "partition")])
def test_release_mode_is_the_style(mode: str | None, style: str | None) -> None:
    """Without an annotation it is canary style."""
    more = {} if mode is None else {"releaseMode": mode}
    annotations = rendered("kruise-rollout", {"canary": {"steps": [{"weight": 5}]}, **more})["metadata"].get(
        "annotations", {}
    )

    assert annotations.get("rollouts.kruise.io/rolling-style") == style


@pytest.mark.parametrize("kind", ["kruise-rollout", "rolling-release"])
def test_workload_is_the_components_own_or_what_is_said(kind: str) -> None:
    """What Helm releases stands behind a repository; what has no name is named like its component."""
    parameter: JsonObject = {"canary": {"steps": []}} if kind == "kruise-rollout" else {"weight": 20}

    def workload(output: JsonObject, **more: Any) -> JsonObject:
        found = rendered(kind, parameter | more, output=output)
        ref: JsonObject = found["spec"]["objectRef"]["workloadRef"]
        return ref

    other = {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet"}
    repository = {"apiVersion": "source.toolkit.fluxcd.io/v1beta2", "kind": "HelmRepository"}
    unnamed = {"apiVersion": "apps/v1", "kind": "Deployment"}
    assert workload({**_WORKLOAD, "metadata": {"name": "web"}}) == _DEPLOYMENT | {"name": "web"}
    assert workload(repository) == _DEPLOYMENT
    assert workload(unnamed) == _DEPLOYMENT
    assert workload(_WORKLOAD, workloadType=other) == {**other, "name": "echoserver"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"canary": {"steps": [{"weight": "20%"}]}}, "canary.steps.0.weight"),
        ({"canary": {"steps": [{"weigth": 20}]}}, "weigth: field not allowed"),
        ({"canary": {"steps": [{"pause": {"duration": 5}}]}}, "pause: field not allowed"),
        ({"canary": {"steps": []}, "stepPartion": 1}, "stepPartion: field not allowed"),
        ({"canary": {"steps": []}, "releaseMode": "blueGreen"}, "releaseMode"),
        ({"canary": {"steps": [], "trafficRoutings": [{"type": "nginxx"}]}}, "trafficRoutings.0.type"),
        ({"canary": {"steps": [], "trafficRoutings": [{"ingress": "web"}]}}, "trafficRoutings.0.ingress"),
        (
            {"canary": {"steps": [], "trafficRoutings": [{"ingressName": "a", "ingress": {"name": "b"}}]}},
            "ingress.name: conflicting values",
        ),
        (
            {"canary": {"steps": [{"matches": [{"headers": [{"name": "a", "valu": "b"}]}]}]}},
            "valu: field not allowed",
        ),
        ({"canary": {"steps": [], "trafficRoutings": {"type": "nginx"}}}, "canary.trafficRoutings"),
        ({"canary": {"steps": []}, "workloadType": {"kind": "Deployment", "name": "x"}}, "workloadType.name"),
    ],
)
def test_what_is_no_release_is_refused_by_name(given: JsonObject, said: str) -> None:
    """Nothing that somebody wrote is ignored."""
    with pytest.raises(CueError, match=re.escape(said)):
        rendered("kruise-rollout", given)


# --- trait rolling-release, and the step that adds it ---------------------------------------------------


def test_share_of_the_workflow_step_is_the_only_step() -> None:
    """The workflow resumes by itself: the Rollout is hidden from `vela workflow resume`."""
    found = rendered("rolling-release", {"weight": 20})

    assert found["spec"]["strategy"]["canary"] == {"steps": [{"weight": 20, "pause": {}}]}
    assert found["metadata"]["annotations"] == {
        "rollouts.kruise.io/rolling-style": "partition",
        "controller.core.oam.dev/skip-resume": "true",
    }


@pytest.mark.parametrize(
    ("parameter", "step"),
    [
        ({"weight": 100}, {"weight": 100, "pause": {"duration": 0}}),
        ({"replicas": "50%"}, {"replicas": "50%", "pause": {}}),
        ({"replicas": 5, "final": True}, {"replicas": 5, "pause": {"duration": 0}}),
        ({}, {"pause": {}}),
    ],
)
def test_last_share_waits_for_nobody(parameter: JsonObject, step: JsonObject) -> None:
    """All requests, or pods of which it is said that they are all."""
    assert rendered("rolling-release", parameter)["spec"]["strategy"]["canary"]["steps"] == [step]


@pytest.mark.parametrize(
    ("traits", "expected"),
    [
        ([], None),
        ([{"type": "scaler", "properties": {"replicas": 5}}], None),
        ([{"type": "gateway", "properties": {}}], ("echoserver", {"ingress": {"name": "echoserver"}})),
        (
            [{"type": "gateway", "properties": {"name": "x"}}],
            ("echoserver-x", {"ingress": {"name": "echoserver-x"}}),
        ),
        ([{"type": "http-route"}], ("echoserver", {"gateway": {"httpRouteName": "echoserver"}})),
        ([{"type": "https-route"}], ("echoserver", {"gateway": {"httpRouteName": "echoserver-ssl"}})),
        ([{"type": "tcp-route"}], None),
    ],
)
def test_traits_beside_it_say_how_requests_are_routed(
    traits: list[JsonObject], expected: tuple[str, JsonObject] | None
) -> None:
    """As they name what they make."""
    component = {"name": "echoserver", **({"traits": traits} if traits else {})}
    canary = rendered("rolling-release", {"weight": 20}, components=[{"name": "other"}, component])["spec"][
        "strategy"
    ]["canary"]

    found = canary.get("trafficRoutings")
    assert found == (expected and [{"service": expected[0], "gracePeriodSeconds": 5, **expected[1]}])


def test_routing_that_is_said_replaces_what_traits_say() -> None:
    """The step's parameter trafficRoutingType gives it."""
    component = {"name": "echoserver", "traits": [{"type": "gateway"}]}
    parameter = {"weight": 20, "trafficRoutings": [{"type": "aliyun-alb"}]}
    canary = rendered("rolling-release", parameter, components=[component])["spec"]["strategy"]["canary"]

    ingress = {"name": "echoserver", "classType": "aliyun-alb"}
    assert canary["trafficRoutings"] == [
        {"service": "echoserver", "gracePeriodSeconds": 5, "ingress": ingress}
    ]


def test_workload_in_the_middle_of_a_batch_is_judged_by_its_rollout() -> None:
    """Its own health rule wants all pods of one version."""
    patch = definition("rolling-release").render("patch", {"weight": 20}, _CONTEXT)

    assert patch == {"metadata": {"annotations": {"app.oam.dev/disable-health-check": "true"}}}


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ({"weight": 20}, {"weight": 20, "rolloutType": "partition"}),
        ({"weight": 100, "rolloutType": "canary"}, {"weight": 100, "rolloutType": "canary"}),
        (
            {"weight": 20, "trafficRoutingType": "gateway"},
            {"weight": 20, "rolloutType": "partition", "trafficRoutings": [{"type": "gateway"}]},
        ),
    ],
)
def test_workflow_step_adds_the_trait(parameter: JsonObject, expected: JsonObject) -> None:
    """To the components that it names, or to all."""
    found = definition("canary-deploy").render("deploy", parameter, _APPLICATION)
    (policy,) = found["inlinePolicies"]
    (component,) = policy["properties"]["components"]

    assert (found["parallelism"], found["ignoreTerraformComponent"]) == (5, True)
    assert component == {"traits": [{"type": "rolling-release", "properties": expected}]}
    assert rendered("rolling-release", expected)["kind"] == "Rollout"


def test_workflow_step_is_limited_to_components_and_policies_that_it_names() -> None:
    """An empty list names all."""
    some = definition("canary-deploy").render(
        "deploy", {"weight": 5, "components": ["a"], "policies": ["p"]}, _APPLICATION
    )
    every = definition("canary-deploy").render("deploy", {"weight": 5, "components": []}, _APPLICATION)

    assert (some["inlinePolicies"][0]["properties"]["selector"], some["policies"]) == (["a"], ["p"])
    assert "selector" not in every["inlinePolicies"][0]["properties"]


def _rolling(reason: str) -> list[JsonObject]:
    """Give the conditions of a Rollout that does what this reason says."""
    return [{"type": "Succeeded", "reason": "Completed"}, {"type": "Progressing", "reason": reason}]


def _rollout(name: str, generation: int, phase: str, state: str, reason: str = "InRolling") -> JsonObject:
    """Give a Rollout that was made for a component of this name."""
    told = {"observedWorkloadGeneration": generation, "currentStepState": state}
    return {
        "metadata": {"name": name},
        "spec": {"objectRef": {"workloadRef": {"name": name}}},
        "status": {"phase": phase, "canaryStatus": told, "conditions": _rolling(reason)},
    }


_REACHED = _rollout("a", 3, "Progressing", "StepPaused")
_ALL_OUT = _rollout("a", 3, "Healthy", "Completed", "Completed")
_STARTS = _rollout("a", 3, "Progressing", "StepUpgrade")
_UNTOLD = {key: _REACHED[key] for key in ("metadata", "spec")}


def _found(rollouts: list[JsonObject] | None, deployments: list[JsonObject] | None) -> JsonObject:
    """Give what a step has listed; None where that went wrong, which newer ones tell with an empty list."""
    lists = {"rollouts": rollouts, "deployments": deployments}
    return {
        name: {"list": {"items": each or []}} | ({"err": {}} if each is None else {})
        for name, each in lists.items()
    }


def _deployments(*names: str) -> list[JsonObject]:
    """Give Deployments as they are after their third change."""
    return [{"metadata": {"name": name, "generation": 3}} for name in names]


@pytest.mark.parametrize(
    ("rollouts", "behind"),
    [
        ([_REACHED], ""),
        ([_ALL_OUT], ""),
        ([_rollout("a", 2, "Progressing", "StepPaused")], "a"),
        ([_rollout("a", 9, "Progressing", "StepPaused")], "a"),
        ([_rollout("a", 2, "Healthy", "Completed", "Completed")], "a"),
        ([_STARTS], "a"),
        ([_rollout("a", 3, "Progressing", "StepPaused", "Paused")], "a"),
        ([_rollout("a", 3, "Progressing", "StepPaused", "Cancelling")], "a"),
        ([_rollout("a", 3, "Progressing", "Completed", "Finalising")], "a"),
        ([_rollout("a", 3, "Disabled", "StepPaused", "Disabled")], "a"),
        ([_UNTOLD], "a"),
        ([{**_UNTOLD, "status": {}}], "a"),
        ([_rollout("b", 3, "Progressing", "StepPaused"), _STARTS], "a"),
        ([_rollout("of another workload", 1, "Progressing", "StepUpgrade")], ""),
        ([], ""),
    ],
)
def test_share_is_reached_when_that_is_said_of_the_deployment_as_it_is(
    rollouts: list[JsonObject], behind: str
) -> None:
    """A Rollout that has not looked at what was just written says nothing of it."""
    found = _found(rollouts, _deployments("a", "b"))

    waiting = definition("canary-deploy").render("wait", {"weight": 20}, _APPLICATION, **found)

    assert waiting["continue"] is not bool(behind)
    assert waiting["message"].endswith(f" by {behind}")


def test_share_waits_for_no_component_that_its_step_does_not_name() -> None:
    """Another one may be in the middle of a release of its own."""
    found, step = _found([_STARTS], _deployments("a")), definition("canary-deploy")

    for components, expected in ((["b"], True), (["b", "a"], False), ([], False)):
        parameter = {"weight": 20, "components": components}
        assert step.render("wait", parameter, _APPLICATION, **found)["continue"] is expected


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"rollouts": _found([_REACHED], [])["rollouts"]},
        {"deployments": _found([], _deployments("a"))["deployments"]},
        _found(None, _deployments("a")),
        _found([_REACHED], None),
    ],
)
def test_share_waits_while_nothing_can_be_listed(found: JsonObject) -> None:
    """What could not be read is read again at the next look."""
    waiting = definition("canary-deploy").render("wait", {"weight": 20}, _APPLICATION, **found)

    assert waiting["continue"] is False


_ORDER = ["deploy", "rollouts", "deployments", "wait"]


def test_workflow_step_is_written_for_every_engine_that_runs_it() -> None:
    """Older ones look each field up by its name, which a hidden one has not; newer ones list ``value``."""
    step = definition("canary-deploy")
    own = step.template.partition("template: {")[0] or step.template

    fields = re.findall(r"^\t(\w+): *(?:op\.#\w+ &|[^{\s]|\[)", own, re.MULTILINE)
    lists = [step.render(each, {"weight": 20}, _APPLICATION) for each in ("rollouts", "deployments")]

    assert [each for each in fields if each in _ORDER] == _ORDER
    assert [each for each in fields if each.startswith("_")] == []
    assert [each["value"] for each in lists] == [each["resource"] for each in lists]
    assert [each["filter"]["matchingLabels"] for each in lists] == [
        {"app.oam.dev/name": "shop", "trait.oam.dev/type": "rolling-release"},
        {"app.oam.dev/name": "shop"},
    ]


@pytest.mark.parametrize(
    ("kind", "part", "given"),
    [
        ("rolling-release", "outputs", {"weight": 20, "rolloutType": "batch"}),
        ("rolling-release", "outputs", {"wieght": 20}),
        ("canary-deploy", "deploy", {"weight": "20%"}),
        ("canary-deploy", "deploy", {}),
        ("canary-deploy", "deploy", {"weight": 20, "rollouType": "canary"}),
    ],
)
def test_workflow_that_says_something_else_is_refused(kind: str, part: str, given: JsonObject) -> None:
    """Before anything is written."""
    with pytest.raises(CueError):
        definition(kind).render(part, given, _CONTEXT)


# --- health ------------------------------------------------------------------------------------------


def _live(
    observed: int | None = 3,
    weight: int = 20,
    replicas: int | str | None = None,
    asked: JsonObject | None = None,
    **status: Any,
) -> JsonObject:
    told = status | ({} if observed is None else {"observedGeneration": observed})
    share: JsonObject = {"weight": weight} if replicas is None else {"replicas": replicas}
    spec: JsonObject = {"strategy": {"canary": {"steps": [{**share, "pause": {}}]}}}
    found = {"metadata": {"generation": 3}, "spec": spec} | ({"status": told} if told else {})
    return {"outputs": {"rollout": found}, "parameter": asked or {"weight": 20}}


def _waiting(reason: str = "InRolling", **said: Any) -> JsonObject:
    """Give one that waits at its step."""
    told: JsonObject = {"canaryStatus": {"currentStepState": "StepPaused"}, "conditions": _rolling(reason)}
    return _live(phase="Progressing", **said, **told)


@pytest.mark.parametrize(
    ("live", "healthy"),
    [
        (_live(observed=None), False),
        (_live(phase="Initial"), False),
        (_live(phase="Progressing"), False),
        (_live(phase="Healthy"), True),
        (_live(phase="Healthy", observed=2), False),
        (_live(phase="Healthy", observed=None), False),
        ({"outputs": {}}, False),
    ],
)
def test_trait_is_healthy_when_its_rollout_is_and_that_was_said_of_it_as_it_is(
    *, live: JsonObject, healthy: bool
) -> None:
    """Anything else, and what cannot be read, is not."""
    assert definition("kruise-rollout").is_healthy(live) is healthy


@pytest.mark.parametrize(
    ("live", "healthy"),
    [
        (_live(observed=None), False),
        (_live(phase="Progressing"), False),
        (_live(phase="Progressing", canaryStatus={"currentStepState": "StepUpgrade"}), False),
        (_waiting(), True),
        (_waiting("Paused"), False),
        (_waiting("Cancelling"), False),
        (_live(phase="Progressing", canaryStatus={"currentStepState": "StepPaused"}), False),
        (_waiting(observed=2), False),
        (_waiting(weight=50), False),
        (_live(phase="Initial", message="Workload Not Found"), True),
        (_live(phase="Initial", message="spec.strategy: nothing that we know"), False),
        (_live(phase="Healthy"), True),
        (_live(phase="Healthy", observed=2), False),
        (_live(phase="Healthy", weight=50), False),
        (_live(phase="Healthy", replicas="50%", asked={"replicas": "50%"}), True),
        (_live(phase="Healthy", replicas=5, asked={"replicas": "50%"}), False),
        (_live(phase="Healthy", asked={"replicas": "50%"}), False),
        (_live(phase="Healthy", replicas="50%"), False),
        ({"outputs": {}, "parameter": {"weight": 20}}, False),
    ],
)
def test_share_is_reached_when_the_rollout_waits_at_it(*, live: JsonObject, healthy: bool) -> None:
    """A status of the share before says nothing of this one."""
    assert definition("rolling-release").is_healthy(live) is healthy


@pytest.mark.parametrize("kind", ["kruise-rollout", "rolling-release"])
def test_message_is_the_rollouts_own(kind: str) -> None:
    """And none as long as there is none."""
    assert definition(kind).message(_live(message="Rollout is in Progressing")) == "Rollout is in Progressing"
    assert definition(kind).message(_live(observed=None)) == ""
