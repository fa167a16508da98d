"""Every Rollout that is not allowed, as the API server's clients meet it: denied, with path and message.

The rows are those of the contract's tables for the styles that exist, in both versions; each is
tried as a new object and as a change of one that is right.
"""

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest

from sandbox import manifests
from sandbox.api import ApiError
from sandbox.names import JsonObject
from sandbox.resources import path as resource_path
from tests.cluster.application import ALPHA, NAME, V2, Application, phase
from tests.cluster.plans import plan, step, three_steps

_BETA = "rollouts"
_JSON_PATCH = "application/json-patch+json"
_STEP = step(20, "20%")
_PLANS = {_BETA: manifests.rollout(), ALPHA: manifests.rollout_v1alpha1()}
"""What is right, by the version in which it is written."""

_CANARY = "spec.strategy.canary"
_STEPS = f"{_CANARY}.steps"
_ROUTING = f"{_CANARY}.trafficRoutings.0"
_REPLICAS = 'replicas must be positive number, or a percentage with "0%" < canaryReplicas <= "100%"'
_TRAFFIC = 'traffic must be percentage with "0%" < traffic <= "100%" in canary strategy'
_DECREASING = "Steps.CanaryReplicas must be a non decreasing sequence"
_KIND = ("Spec.ObjectRef.WorkloadRef", "WorkloadRef kind is not supported")
_WEIGHT = "weight must be positive number, and less than or equal to 100"


@dataclass(frozen=True)
class Row:
    """A manifest that is right but for one field, and how it is denied."""

    name: str
    resource: str
    field: str
    value: Any
    path: str
    message: str

    @property
    def manifest(self) -> JsonObject:
        """The manifest, in its own version."""
        return _with(_PLANS[self.resource], self.field, self.value)


def _with(manifest: JsonObject, field: str, value: Any) -> JsonObject:
    """Return a manifest with one field replaced; a number is an index, the value None removes."""
    changed: JsonObject = json.loads(json.dumps(manifest))
    *parents, last = [int(part) if part.isdigit() else part for part in field.split(".")]
    target: Any = changed
    for parent in parents:
        target = target[parent]
    if value is None:
        del target[last]
    else:
        target[last] = value
    return changed


def _in_both(name: str, field: str, value: Any, path: str, message: str) -> list[Row]:
    """Return a row for each version, for what both say in the same words."""
    return [
        Row(f"{name}-v1beta1", _BETA, field, value, path, message),
        Row(f"{name}-v1alpha1", ALPHA, field, value, path, message),
    ]


def _beta(name: str, field: str, value: Any, path: str, message: str) -> Row:
    return Row(f"{name}-v1beta1", _BETA, field, value, path, message)


def _alpha(name: str, field: str, value: Any, path: str, message: str) -> Row:
    return Row(f"{name}-v1alpha1", ALPHA, field, value, path, message)


_BETA_LANE = {"name": "lane", "value": "beta"}
_NGINX_MATCHES = (
    ("path-by-nginx", [{"path": {"value": "/beta"}}], "match a path. Leave it out"),
    (
        "query-by-nginx",
        [{"queryParams": [_BETA_LANE]}],
        "match a query parameter. Match by a header or a cookie instead",
    ),
    (
        "two-headers-at-once",
        [{"headers": [_BETA_LANE, {**_BETA_LANE, "name": "other"}]}],
        "match several conditions at once. Give each match one condition",
    ),
    (
        "two-header-matches",
        [{"headers": [_BETA_LANE]}, {"headers": [_BETA_LANE]}],
        "have two matches by header in one step",
    ),
)
_CLONE_SET = {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "name": NAME}
_PATH = "Spec.Strategy.Canary"
_BLUE_GREEN = "Spec.Strategy.BlueGreen"
_ROWS = [
    _beta("stateful-set", "spec.workloadRef.kind", "StatefulSet", *_KIND),
    _beta("clone-set", "spec.workloadRef", _CLONE_SET, *_KIND),
    _alpha("stateful-set", "spec.objectRef.workloadRef.kind", "StatefulSet", *_KIND),
    _alpha("clone-set", "spec.objectRef.workloadRef", _CLONE_SET, *_KIND),
    _beta("daemon-set", "spec.workloadRef.kind", "DaemonSet", *_KIND),
    _beta("foreign-group", "spec.workloadRef.apiVersion", "example.com/v1", *_KIND),
    _beta(
        "nameless",
        "spec.workloadRef.name",
        "",
        "Spec.ObjectRef.WorkloadRef",
        "WorkloadRef must have apiVersion, kind and name",
    ),
    _beta(
        "blue-green-stateful-set",
        "spec",
        {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": NAME},
            "strategy": {"blueGreen": {"steps": [_STEP]}},
        },
        *_KIND,
    ),
    _beta("no-style", _CANARY, None, "Spec.Strategy", "Canary and BlueGreen cannot both be empty"),
    _alpha("no-style", _CANARY, None, _PATH, "Canary cannot be empty"),
    _beta(
        "two-styles",
        "spec.strategy.blueGreen",
        {"steps": [_STEP]},
        "Spec.Strategy",
        "Canary and BlueGreen cannot both be set",
    ),
    *_in_both("no-steps", _STEPS, [], f"{_PATH}.Steps", "The number of Canary.Steps cannot be empty"),
    _beta("no-replicas", f"{_STEPS}.0.replicas", None, f"{_PATH}.Steps[0].steps", "replicas cannot be empty"),
    _alpha(
        "neither",
        f"{_STEPS}.0.weight",
        None,
        f"{_PATH}.Steps[0].steps",
        "weight and replicas cannot be empty at the same time",
    ),
    *[
        row
        for value in (0, -1, "0%", "101%", "some", "5")
        for row in _in_both(
            f"replicas-{value}", f"{_STEPS}.0.replicas", value, f"{_PATH}.Steps[0].Replicas", _REPLICAS
        )
    ],
    *[
        _beta(f"traffic-{value}", f"{_STEPS}.0.traffic", value, f"{_PATH}.Steps[0].steps", _TRAFFIC)
        for value in ("0%", "101%", "-5%", "20", "some")
    ],
    *[
        _alpha(f"weight-{value}", f"{_STEPS}.0.weight", value, f"{_PATH}.Steps[0].Weight", _WEIGHT)
        for value in (0, -1, 101)
    ],
    *[
        row
        for value in ([3, 2], ["40%", "20%"])
        for row in _in_both(
            f"replicas-decrease-{value}",
            _STEPS,
            [{"replicas": each, "pause": {}} for each in value],
            f"{_PATH}.Steps.CanaryReplicas",
            _DECREASING,
        )
    ],
    _alpha(
        "weights-decrease",
        _STEPS,
        [{"weight": 40, "replicas": 1, "pause": {}}, {"weight": 20, "replicas": 2, "pause": {}}],
        f"{_PATH}.Steps.Weight",
        "Steps.Weight must be a non decreasing sequence",
    ),
    *_in_both(
        "grace",
        f"{_ROUTING}.gracePeriodSeconds",
        -1,
        f"{_PATH}.TrafficRouting.GracePeriodSeconds",
        "TrafficRouting.GracePeriodSeconds cannot be negative",
    ),
    *_in_both(
        "service",
        f"{_ROUTING}.service",
        "",
        f"{_PATH}.TrafficRouting.Service",
        "TrafficRouting.Service cannot be empty",
    ),
    *_in_both(
        "no-route",
        f"{_ROUTING}.ingress",
        None,
        f"{_PATH}.TrafficRouting.TrafficRoutings",
        "TrafficRoutings are not set",
    ),
    *_in_both(
        "ingress",
        f"{_ROUTING}.ingress.name",
        "",
        f"{_PATH}.TrafficRouting.Ingress",
        "TrafficRouting.Ingress.Ingress cannot be empty",
    ),
    *_in_both(
        "gateway",
        _ROUTING,
        {"service": NAME, "gateway": {}},
        f"{_PATH}.TrafficRouting.Gateway",
        "TrafficRouting.Gateway must set the name of HTTPRoute or HTTPsRoute",
    ),
    *[
        _beta(
            name,
            f"{_STEPS}.0.matches",
            matches,
            f"{_PATH}.Steps[0].Matches",
            f"classType nginx cannot {message}",
        )
        for name, matches, message in _NGINX_MATCHES
    ],
    _beta(
        "headers-changed-by-nginx",
        f"{_STEPS}.0.requestHeaderModifier",
        {"set": [_BETA_LANE]},
        f"{_PATH}.Steps[0].RequestHeaderModifier",
        "classType nginx cannot change headers for the canary alone",
    ),
    _beta(
        "path-of-no-http-route",
        _CANARY,
        {
            "enableExtraWorkloadForCanary": True,
            "steps": [{**_STEP, "matches": [{"path": {"value": "v2"}}]}],
            "trafficRoutings": [{"service": NAME, "gateway": {"httpRouteName": "web"}}],
        },
        f"{_PATH}.Steps[0].Matches[0].Path",
        "an HTTPRoute cannot match this path by type PathPrefix. Begin it with /",
    ),
    *_in_both(
        "strict-by-ingress",
        "metadata.annotations",
        {"sluice.dev/verify": "gateway-status"},
        "Metadata.Annotations[sluice.dev/verify]",
        "annotation sluice.dev/verify beside a route other than gateway is a promise that nobody can keep",
    ),
    *_in_both(
        "strict-by-another-word",
        "metadata.annotations",
        {"sluice.dev/verify": "probe"},
        "Metadata.Annotations[sluice.dev/verify]",
        "must be gateway-status, or be left out",
    ),
    _alpha(
        "style",
        "metadata.annotations",
        {"rollouts.kruise.io/rolling-style": "rainbow"},
        "RollingStyle",
        "Rolling style must be 'Canary', 'Partition' or empty",
    ),
    _beta(
        "blue-green",
        "spec.strategy",
        {"blueGreen": {"steps": [_STEP]}},
        "Spec.Strategy.BlueGreen",
        "blueGreen style is not supported yet",
    ),
    _beta(
        "blue-green-no-steps",
        "spec.strategy",
        {"blueGreen": {"steps": []}},
        f"{_BLUE_GREEN}.Steps",
        "The number of Canary.Steps cannot be empty",
    ),
    _beta(
        "blue-green-traffic",
        "spec.strategy",
        {"blueGreen": {"steps": [step(101, "100%")]}},
        f"{_BLUE_GREEN}.Steps[0].steps",
        'traffic must be percentage with "0%" <= traffic <= "100%" in blueGreen strategy',
    ),
    _beta(
        "no-canary-service-by-ingress",
        f"{_CANARY}.disableGenerateCanaryService",
        value=True,
        path=f"{_PATH}.DisableGenerateCanaryService",
        message="disableGenerateCanaryService with ingress or gateway is not supported yet",
    ),
    *_in_both(
        "service-too-long",
        f"{_ROUTING}.service",
        "s" * 57,
        f"{_PATH}.TrafficRouting.Service",
        "name must be no more than 56 characters",
    ),
]


async def _denial(app: Application, resource: str, manifest: JsonObject) -> ApiError:
    """Create a manifest; return how it was denied."""
    with pytest.raises(ApiError) as raised:
        await app.cluster.create(resource, app.namespace, manifest)
    return raised.value


async def _denial_of_change(app: Application, resource: str, manifest: JsonObject) -> ApiError:
    """Make the existing object what a manifest says; return how it was denied."""
    place = resource_path(resource, app.namespace, NAME)
    annotations = manifest["metadata"].get("annotations", {})
    patch: list[JsonObject] = [
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
        {"op": "replace", "path": "/spec", "value": manifest["spec"]},
    ]
    with pytest.raises(ApiError) as raised:
        await app.cluster.api.request("PATCH", place, patch, content_type=_JSON_PATCH)
    return raised.value


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
async def test_rollout_that_is_not_allowed_is_denied(app: Application, row: Row) -> None:
    """Created or made of one that was right, it is refused with the contract's path and message."""
    created = await _denial(app, row.resource, row.manifest)
    absent = await app.find("rollouts", NAME)
    await app.create(_PLANS[row.resource])
    updated = await _denial_of_change(app, row.resource, row.manifest)

    assert absent is None
    for denial in (created, updated):
        assert denial.status == HTTPStatus.UNPROCESSABLE_ENTITY
        assert f"{row.path}: Invalid value: " in denial.message
        assert f": {row.message}" in denial.message


async def test_kubectl_shows_where_and_why(app: Application) -> None:
    """What a person reads: who refused, which field, what was found, what is wrong with it."""
    words = ("-n", app.namespace, "apply", "-f", "-")
    refused = await app.cluster.kubectl(*words, stdin=json.dumps(plan(step(20, 0))), check=False)

    assert refused.returncode != 0
    assert "denied the request: " in refused.stderr
    assert f"{_PATH}.Steps[0].Replicas: Invalid value: 0: {_REPLICAS}" in refused.stderr


async def test_more_than_fifty_steps_are_denied(app: Application) -> None:
    """The schema's own limit, the same in both versions."""
    for resource in (_BETA, ALPHA):
        steps = _PLANS[resource]["spec"]["strategy"]["canary"]["steps"] * 51
        denial = await _denial(app, resource, _with(_PLANS[resource], _STEPS, steps))

        assert denial.status == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "must have at most 50 items" in denial.message


_ALLOWED = [
    (_BETA, _STEPS, [step(60, 1), step(20, 2)]),
    (_BETA, _STEPS, [step(20, 300)]),
    (_BETA, _STEPS, [step(20, 4), step(40, "10%")]),
    (_BETA, f"{_CANARY}.trafficRoutings", [{"service": each, "ingress": {"name": each}} for each in "ab"]),
    (ALPHA, _STEPS, [{"weight": 90, "pause": {}}]),
    (ALPHA, _STEPS, [{"weight": 0, "replicas": 1, "pause": {}}]),
]


async def test_what_the_contract_allows_is_allowed(app: Application) -> None:
    """Less traffic, pods beyond all, other kinds of numbers, several routings, weights of 0 and 90."""
    for resource, field, value in _ALLOWED:
        await app.cluster.create(resource, app.namespace, _with(_PLANS[resource], field, value))
        await app.cluster.delete(resource, app.namespace, NAME)
        await app.cluster.wait_gone("rollouts", app.namespace, NAME)


async def test_workload_has_one_rollout_in_any_spelling(app: Application) -> None:
    """A second one is refused in either version, under another version of the API, and by an update."""
    await app.create(_PLANS[_BETA])
    # Admission knows what its watch has told it, as the reconciler that writes a status does.
    await app.wait("rollouts", lambda found: bool(phase(found)))
    message = (
        f"This rollout conflict with Rollout({app.namespace}/{NAME}), "
        "one workload only have less than one Rollout"
    )
    spelled = _with(_PLANS[_BETA], "spec.workloadRef.apiVersion", "apps/v1beta2")
    for resource, manifest in ((_BETA, _PLANS[_BETA]), (ALPHA, _PLANS[ALPHA]), (_BETA, spelled)):
        denial = await _denial(app, resource, manifest | {"metadata": {"name": "second"}})
        assert f'Conflict Checker: Invalid value: "second": {message}' in denial.message

    second = _with(_PLANS[_BETA], "spec.workloadRef.name", "another") | {"metadata": {"name": "second"}}
    await app.create(second)
    with pytest.raises(ApiError, match="Conflict Checker") as raised:
        await app.cluster.patch(
            "rollouts", app.namespace, "second", {"spec": {"workloadRef": {"name": NAME}}}
        )
    assert message in raised.value.message


def _strategy(**canary: Any) -> JsonObject:
    return {"spec": {"strategy": {"canary": canary}}}


_ELSEWHERE = [{"service": "other", "ingress": {"name": "other"}}]
_MORE_STEPS = three_steps()["spec"]["strategy"]["canary"]["steps"]
_STYLE = "Rollout style and enableExtraWorkloadForCanary are immutable"
_HELD = [
    (
        _BETA,
        {"spec": {"workloadRef": {"name": "other"}}},
        "Spec.ObjectRef",
        "Rollout 'ObjectRef' field is immutable",
    ),
    (
        _BETA,
        _strategy(trafficRoutings=_ELSEWHERE),
        "Spec.Strategy.Canary|BlueGreen.TrafficRoutings",
        "Rollout 'Strategy.Canary|BlueGreen.TrafficRoutings' field is immutable",
    ),
    (_BETA, _strategy(enableExtraWorkloadForCanary=False), "Spec.Strategy.Canary|BlueGreen", _STYLE),
    (
        _BETA,
        {"spec": {"strategy": {"canary": None, "blueGreen": {"steps": [_STEP]}}}},
        "Spec.Strategy.Canary|BlueGreen",
        _STYLE,
    ),
    (
        _BETA,
        _strategy(steps=_MORE_STEPS),
        "Spec.Strategy.Canary|BlueGreen",
        "Amount of Rollout steps are immutable",
    ),
    (
        ALPHA,
        {"spec": {"objectRef": {"workloadRef": {"name": "other"}}}},
        "Spec.ObjectRef",
        "Rollout 'ObjectRef' field is immutable",
    ),
    (
        ALPHA,
        _strategy(trafficRoutings=_ELSEWHERE),
        "Spec.Strategy.Canary.TrafficRoutings",
        "Rollout 'Strategy.Canary.TrafficRoutings' field is immutable",
    ),
    (
        ALPHA,
        {"metadata": {"annotations": {"rollouts.kruise.io/rolling-style": "partition"}}},
        "",
        "Rollout 'Rolling-Style' annotation is immutable",
    ),
]


async def test_what_a_release_relies_on_cannot_be_changed_meanwhile(app: Application) -> None:
    """While a release is under way, and while its Rollout is being deleted, its ground does not move."""
    await app.deploy()
    await app.change_rollout({"metadata": {"finalizers": ["example.com/keep", "rollouts.kruise.io/rollout"]}})
    await app.set_image(V2)
    await app.waits(1, 1)
    said = [await _held(app)]
    await app.cluster.delete("rollouts", app.namespace, NAME)
    await app.wait("rollouts", lambda found: phase(found) == "Terminating")
    said.append(await _held(app))
    await app.change_rollout({"metadata": {"finalizers": None}})

    for messages in said:
        for (_, _, path, message), found in zip(_HELD, messages, strict=True):
            assert found.startswith(f"{HTTPStatus.UNPROCESSABLE_ENTITY} ")
            assert f"{path}: Forbidden: {message}" in found


async def _held(app: Application) -> list[str]:
    """Try every change; return how each was denied."""
    messages = []
    for resource, patch, *_ in _HELD:
        try:
            await app.cluster.patch(resource, app.namespace, NAME, patch)
        except ApiError as error:
            messages.append(f"{error.status} {error.message}")
        else:
            messages.append("was taken")
    return messages


async def test_step_count_may_change_mid_release_in_v1alpha1(app: Application) -> None:
    """Existing users of v1alpha1 rewrite the plan as the release goes on."""
    await app.deploy(manifests.rollout_v1alpha1(grace_period_seconds=0))
    await app.set_image(V2)
    await app.waits(1, 1)

    await app.rewrite({"weight": 20, "pause": {}}, {"weight": 40, "pause": {}}, resource=ALPHA)
    await app.waits(1, 2)
    await app.write_status({"currentStepState": "StepReady"})
    await app.waits(2, 2)

    assert await app.weight() == 40
