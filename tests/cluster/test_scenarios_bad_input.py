"""Every Rollout that is not allowed, as `kubectl apply` meets it: denied, with its message.

The rows are those of the contract's tables for the styles that exist, in both versions.
"""

import json
from typing import Any

import pytest

from sandbox import manifests
from sandbox.commands import Completed
from sandbox.names import JsonObject
from tests.cluster.application import NAME, V2, Application
from tests.cluster.plans import plan, step, three_steps

_REPLICAS = 'replicas must be positive number, or a percentage with "0%" < canaryReplicas <= "100%"'
_TRAFFIC = 'traffic must be percentage with "0%" < traffic <= "100%" in canary strategy'
_STEP = step(20, "20%")
_BETA_LANE = {"name": "lane", "value": "beta"}
_GOOD = manifests.rollout()
_ALPHA = manifests.rollout_v1alpha1()


def _with(manifest: JsonObject, path: str, value: Any) -> JsonObject:
    """Return a manifest with one field replaced; `path` is dotted, a number is an index, None removes."""
    changed: JsonObject = json.loads(json.dumps(manifest))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target: Any = changed
    for parent in parents:
        target = target[parent]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return changed


_CANARY = "spec.strategy.canary"
_ROUTING = f"{_CANARY}.trafficRoutings.0"
_BETA = [
    ("kind", _with(_GOOD, "spec.workloadRef.kind", "StatefulSet"), "WorkloadRef kind is not supported"),
    (
        "clone-set",
        _with(
            _GOOD,
            "spec.workloadRef",
            {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "name": NAME},
        ),
        "WorkloadRef kind is not supported",
    ),
    ("no-style", _with(_GOOD, _CANARY, None), "Canary and BlueGreen cannot both be empty"),
    (
        "two-styles",
        _with(_GOOD, "spec.strategy.blueGreen", {"steps": [_STEP]}),
        "Canary and BlueGreen cannot both be set",
    ),
    ("no-steps", _with(_GOOD, f"{_CANARY}.steps", []), "The number of Canary.Steps cannot be empty"),
    ("no-replicas", _with(_GOOD, f"{_CANARY}.steps.0.replicas", None), "replicas cannot be empty"),
    ("zero-replicas", plan(step(20, 0)), _REPLICAS),
    ("zero-percent-replicas", plan(step(20, "0%")), _REPLICAS),
    ("too-many-percent-replicas", plan(step(20, "101%")), _REPLICAS),
    ("zero-traffic", plan(step(0, 1)), _TRAFFIC),
    ("too-much-traffic", plan(step(101, 1)), _TRAFFIC),
    (
        "decreasing-percent",
        plan(step(20, "40%"), step(40, "20%")),
        "Steps.CanaryReplicas must be a non decreasing sequence",
    ),
    (
        "decreasing-number",
        plan(step(20, 3), step(40, 2)),
        "Steps.CanaryReplicas must be a non decreasing sequence",
    ),
    (
        "negative-grace",
        _with(_GOOD, f"{_ROUTING}.gracePeriodSeconds", -1),
        "TrafficRouting.GracePeriodSeconds cannot be negative",
    ),
    ("no-service", _with(_GOOD, f"{_ROUTING}.service", ""), "TrafficRouting.Service cannot be empty"),
    ("no-route", _with(_GOOD, f"{_ROUTING}.ingress", None), "TrafficRoutings are not set"),
    (
        "path-by-ingress",
        plan({**_STEP, "matches": [{"path": {"value": "/beta"}}]}),
        "classType nginx cannot match a path. Leave it out",
    ),
    (
        "query-by-nginx",
        plan({**_STEP, "matches": [{"queryParams": [_BETA_LANE]}]}),
        "classType nginx cannot match a query parameter. Match by a header or a cookie instead",
    ),
    (
        "two-headers-at-once",
        plan({**_STEP, "matches": [{"headers": [_BETA_LANE, {**_BETA_LANE, "name": "other"}]}]}),
        "classType nginx cannot match several conditions at once. Give each match one condition",
    ),
    (
        "two-header-matches",
        plan({**_STEP, "matches": [{"headers": [_BETA_LANE]}, {"headers": [_BETA_LANE]}]}),
        "classType nginx cannot have two matches by header in one step",
    ),
    (
        "headers-changed-by-nginx",
        plan({**_STEP, "requestHeaderModifier": {"set": [{"name": "lane", "value": "beta"}]}}),
        "classType nginx cannot change headers for the canary alone",
    ),
    (
        "nameless-ingress",
        _with(_GOOD, f"{_ROUTING}.ingress.name", ""),
        "TrafficRouting.Ingress.Ingress cannot be empty",
    ),
    (
        "nameless-gateway",
        _with(_with(_GOOD, f"{_ROUTING}.ingress", None), f"{_ROUTING}.gateway", {}),
        "TrafficRouting.Gateway must set the name of HTTPRoute or HTTPsRoute",
    ),
    (
        "path-of-no-http-route",
        _with(
            _with(
                plan({**_STEP, "matches": [{"path": {"value": "v2"}}]}),
                f"{_ROUTING}.ingress",
                None,
            ),
            f"{_ROUTING}.gateway",
            {"httpRouteName": "web"},
        ),
        "an HTTPRoute cannot match this path by type PathPrefix. Begin it with /",
    ),
    (
        "partition-style",
        _with(_GOOD, f"{_CANARY}.enableExtraWorkloadForCanary", None),
        "enableExtraWorkloadForCanary: true",
    ),
    (
        "blue-green-style",
        _with(_GOOD, "spec.strategy", {"blueGreen": {"steps": [_STEP]}}),
        "blueGreen style is not supported yet",
    ),
]
_V1ALPHA1 = [
    ("alpha-no-canary", _with(_ALPHA, "spec.strategy", {}), "Canary cannot be empty"),
    (
        "alpha-style",
        _with(_ALPHA, "metadata.annotations", {"rollouts.kruise.io/rolling-style": "rainbow"}),
        "Rolling style must be 'Canary', 'Partition' or empty",
    ),
    (
        "alpha-neither",
        _with(_ALPHA, f"{_CANARY}.steps.0.weight", None),
        "weight and replicas cannot be empty at the same time",
    ),
    ("alpha-too-much", _with(_ALPHA, f"{_CANARY}.steps.0.weight", 101), "weight must be positive number"),
    (
        "alpha-decreasing",
        _with(_ALPHA, f"{_CANARY}.steps", [{"weight": 40, "pause": {}}, {"weight": 20, "pause": {}}]),
        "must be a non decreasing sequence",
    ),
]
_CASES = [*_BETA, *_V1ALPHA1]


async def _apply(app: Application, manifest: JsonObject) -> Completed:
    words = ("-n", app.namespace, "apply", "-f", "-")
    return await app.cluster.kubectl(*words, stdin=json.dumps(manifest), check=False)


@pytest.mark.parametrize(
    ("manifest", "message"), [case[1:] for case in _CASES], ids=[case[0] for case in _CASES]
)
async def test_rollout_that_is_not_allowed_is_denied(
    app: Application, manifest: JsonObject, message: str
) -> None:
    """The manifest is refused by our webhook, and kubectl prints the contract's message."""
    refused = await _apply(app, manifest)

    assert refused.returncode != 0
    assert message in refused.stderr
    assert await app.find("rollouts", NAME) is None


async def test_second_rollout_for_one_workload_is_denied(app: Application) -> None:
    """One workload has one Rollout."""
    await app.create(_GOOD)

    refused = await _apply(app, manifests.rollout_v1alpha1() | {"metadata": {"name": "other"}})

    assert refused.returncode != 0
    assert (
        f"This rollout conflict with Rollout({app.namespace}/{NAME}), one workload only have "
        "less than one Rollout" in refused.stderr
    )


_WHILE_RELEASING = [
    (
        "workload",
        {"spec": {"workloadRef": {"name": "other"}}},
        "Rollout 'ObjectRef' field is immutable",
    ),
    (
        "routings",
        {
            "spec": {
                "strategy": {"canary": {"trafficRoutings": [{"service": "other", "ingress": {"name": "x"}}]}}
            }
        },
        "Rollout 'Strategy.Canary|BlueGreen.TrafficRoutings' field is immutable",
    ),
    (
        "steps",
        {"spec": {"strategy": {"canary": {"steps": three_steps()["spec"]["strategy"]["canary"]["steps"]}}}},
        "Amount of Rollout steps are immutable",
    ),
]


async def test_what_a_release_relies_on_cannot_be_changed_meanwhile(app: Application) -> None:
    """Mid-release, workload, routings and number of steps are refused, each with the contract's message."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)

    said = {}
    for name, patch, _ in _WHILE_RELEASING:
        words = ("-n", app.namespace, "patch", "rollout", NAME, "--type=merge", "-p", json.dumps(patch))
        said[name] = await app.cluster.kubectl(*words, check=False)

    for name, _, message in _WHILE_RELEASING:
        assert message in said[name].stderr
        assert said[name].returncode != 0


async def test_step_count_may_change_mid_release_in_v1alpha1(app: Application) -> None:
    """Existing users of v1alpha1 rewrite the plan as the release goes on."""
    await app.deploy(manifests.rollout_v1alpha1(grace_period_seconds=0))
    await app.set_image(V2)
    await app.waits(1, 1)

    steps = [{"weight": 20, "pause": {}}, {"weight": 40, "pause": {}}]
    patch = json.dumps({"spec": {"strategy": {"canary": {"steps": steps}}}})
    await app.kubectl("patch", "rollouts.v1alpha1.rollouts.kruise.io", NAME, "--type=merge", "-p", patch)
    await app.waits(1, 2)
    await app.approve()
    await app.waits(2, 2)

    assert await app.weight() == 40
