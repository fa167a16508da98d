"""The resource definitions accept what clients write, and promise what the product relies on."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given

from rollout import names
from rollout.conversion import convert
from rollout.parsing import parse
from rollout.problems import Problem
from rollout.spec import DEFAULT_GRACE_SECONDS
from rollout.status import Release, Status, StepState, write_status
from tests.unit.rollout.recorded import whole_objects, writes
from tests.unit.rollout.rollout_objects import (
    Json,
    alpha,
    alpha_objects,
    beta,
    beta_objects,
    with_status,
)

_DIRECTORY = Path(__file__).parents[3] / "charts" / "sluice" / "crds"
ROUTING = {"service": "echoserver", "ingress": {"name": "echoserver"}}


@cache
def definition(plural: str) -> Json:
    """Load a resource definition."""
    loaded: Json = yaml.safe_load((_DIRECTORY / f"{plural}.yaml").read_text())
    return loaded


def versions(plural: str = "rollouts") -> dict[str, Json]:
    """Return the versions of a resource by name."""
    return {each["name"]: each for each in definition(plural)["spec"]["versions"]}


def strict(schema: Any) -> Any:
    """Translate a structural schema to JSON Schema that refuses unknown fields, as kubectl does."""
    if not isinstance(schema, dict):
        return schema
    translated = {
        key: value
        for key, value in schema.items()
        if not key.startswith("x-kubernetes") and key != "nullable"
    }
    if schema.get("nullable"):
        translated["type"] = [schema["type"], "null"]
    if "properties" in schema:
        translated["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        translated["additionalProperties"] = False
    if "items" in schema:
        translated["items"] = strict(schema["items"])
    return translated


@cache
def validator(plural: str, version: str) -> jsonschema.Draft202012Validator:
    """Prepare the check against a version's schema."""
    return jsonschema.Draft202012Validator(strict(versions(plural)[version]["schema"]["openAPIV3Schema"]))


def errors(obj: Json, plural: str = "rollouts") -> list[str]:
    """Check an object against the schema of its version."""
    found = validator(plural, obj["apiVersion"].rpartition("/")[2]).iter_errors(obj)
    return [f"{error.json_path}: {error.message}" for error in found]


def schemas(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Go through a schema and all schemas in it."""
    yield path, schema
    for key, each in schema.get("properties", {}).items():
        yield from schemas(each, f"{path}.{key}")
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")


ALL_VERSIONS = [(plural, name) for plural in ("rollouts", "trafficroutings") for name in versions(plural)]
all_versions = pytest.mark.parametrize(("plural", "version"), ALL_VERSIONS)


def test_versions_are_served_and_one_is_stored() -> None:
    """KubeVela speaks v1alpha1 only, kubectl prefers v1beta1."""
    served = {name: (each["served"], each["storage"]) for name, each in versions().items()}

    assert served == {"v1beta1": (True, True), "v1alpha1": (True, False)}
    assert names.STORAGE_VERSION == "v1beta1"


def test_names_are_those_of_the_existing_api() -> None:
    """No short names: ``ro`` and the like belong to others."""
    found = [definition(plural)["spec"]["names"] for plural in ("rollouts", "trafficroutings")]

    assert [each["kind"] for each in found] == ["Rollout", "TrafficRouting"]
    assert not any("shortNames" in each or "categories" in each for each in found)


@all_versions
def test_nothing_is_defaulted(plural: str, version: str) -> None:
    """A default is a field that nobody wrote: clients that compare would write for ever."""
    schema = versions(plural)[version]["schema"]["openAPIV3Schema"]

    assert [path for path, each in schemas(schema) if "default" in each] == []


@all_versions
def test_every_field_is_explained(plural: str, version: str) -> None:
    """What kubectl explain says is the manual that is always at hand."""
    schema = versions(plural)[version]["schema"]["openAPIV3Schema"]
    silent = [path for path, each in schemas(schema) if not path.endswith("[]") and "description" not in each]

    assert silent == [".metadata"]


@all_versions
def test_status_is_a_subresource(plural: str, version: str) -> None:
    """Approvals and the spec have different writers."""
    assert versions(plural)[version]["subresources"] == {"status": {}}


@all_versions
def test_no_status_field_is_required_of_typed_clients(plural: str, version: str) -> None:
    """Older typed clients lack the newer fields and repeat the rest."""
    status = versions(plural)[version]["schema"]["openAPIV3Schema"]["properties"]["status"]
    required = {path: each["required"] for path, each in schemas(status) if "required" in each}

    assert required in ({}, {".conditions[]": ["type", "status"]})


@pytest.mark.parametrize(
    ("version", "step"),
    [("v1beta1", ".status"), ("v1alpha1", ".status.canaryStatus")],
    ids=["v1beta1", "v1alpha1"],
)
def test_printer_columns_are_those_that_people_know(version: str, step: str) -> None:
    """The table of kubectl get rollouts."""
    columns = [
        (each["name"], each["type"], each["jsonPath"])
        for each in versions()[version]["additionalPrinterColumns"]
    ]

    assert columns == [
        ("STATUS", "string", ".status.phase"),
        ("CANARY_STEP", "integer", f"{step}.currentStepIndex"),
        ("CANARY_STATE", "string", f"{step}.currentStepState"),
        ("MESSAGE", "string", ".status.message"),
        ("AGE", "date", ".metadata.creationTimestamp"),
    ]


@pytest.mark.parametrize(
    "body", whole_objects(), ids=lambda body: body["metadata"].get("resourceVersion", "new")
)
def test_recorded_objects_are_accepted_in_both_versions(body: Json) -> None:
    """All that KubeVela sent, and what is stored of it."""
    stored = convert(body, "v1beta1")
    assert not isinstance(stored, Problem)

    assert errors(body) == []
    assert errors(dict(stored)) == []


def test_recorded_patches_are_accepted() -> None:
    """Merged into an object of their version, each gives an object that fits."""
    for write in writes():
        if write["verb"] == "patch":
            obj = alpha() if "v1alpha1" in write["uri"] else beta()
            assert errors(_merged(obj, write["body"])) == []


def test_manifests_of_all_generations_are_accepted() -> None:
    """Fields that were once required and mean nothing today must not break a manifest."""
    first = alpha(
        {"steps": [{"weight": 20}], "trafficRoutings": [ROUTING | {"type": "nginx"}]}, rolloutID="1"
    )
    first["spec"]["objectRef"]["type"] = "workloadRef"
    first["spec"]["strategy"] |= {"type": "canary", "paused": False}
    alb = {
        "service": "echoserver",
        "type": "aliyun-alb",
        "ingress": {"name": "echoserver", "classType": "aliyun-alb"},
    }
    second = alpha(
        {"steps": [{"replicas": "50%", "pause": {"duration": 0}}], "trafficRoutings": [alb]}, disabled=False
    )

    assert errors(first) == errors(second) == []


@pytest.mark.parametrize(
    ("canary", "fits"),
    [
        ({"steps": [{"replicas": 1}] * 50}, True),
        ({"steps": [{"replicas": 1}] * 51}, False),
        ({"steps": [{"replicas": 1, "matches": [{"path": {"value": "/"}}] * 17}]}, False),
        ({"steps": [{"replicas": 1, "matches": [{"path": {"type": "Glob"}}]}]}, False),
        ({"steps": [{"replicas": 1, "matches": [{"headers": [{"name": "a b", "value": "x"}]}]}]}, False),
        ({"steps": [{"replicas": 1, "matches": [{"headers": [{"name": "a", "value": ""}]}]}]}, False),
        ({"steps": [{"replicas": 1, "traffic": 20}]}, False),
        ({"steps": [{"replicas": 1.5}]}, False),
        ({"steps": [{"replicas": 1}], "trafficRoutings": [{"ingress": {"name": "x"}}]}, False),
        ({"steps": [{"replicas": 1}], "trafficRoutings": [{"service": "x", "ingress": {}}]}, False),
        ({"steps": [{"replicas": 1}], "unknown": 1}, False),
    ],
    ids=lambda value: str(value)[:60],
)
def test_limits_of_the_schema(canary: Json, fits: bool) -> None:  # noqa: FBT001 - a case
    """The API server refuses what no code should have to look at."""
    assert (errors(beta(canary)) == []) is fits


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1"])
def test_every_status_field_that_is_written_exists(version: str) -> None:
    """The API server drops unknown fields without a word."""
    release = Release(digest="a", id="bcdfg", step=1, state=StepState.STEP_PAUSED)
    stored = with_status(beta(), **write_status(Status(release=release)))
    seen = convert(stored, version)
    assert not isinstance(seen, Problem)

    assert errors(dict(seen)) == []


def test_grace_period_that_is_explained_is_the_one_that_is_used() -> None:
    """The default lives in the code; the schema only tells of it."""
    routing = versions()["v1beta1"]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][
        "strategy"
    ]
    text = routing["properties"]["canary"]["properties"]["trafficRoutings"]["items"]["properties"][
        "gracePeriodSeconds"
    ]

    assert f"{DEFAULT_GRACE_SECONDS} when left out" in text["description"]


@given(alpha_objects)
def test_what_v1alpha1_allows_is_stored_as_what_v1beta1_allows(obj: Json) -> None:
    """Conversion does not carry an object out of the schema, but for a missing workload, which is refused."""
    if obj["spec"]["objectRef"].get("workloadRef"):
        _stays_inside(obj, "v1beta1")


@given(beta_objects)
def test_what_v1beta1_allows_is_seen_as_what_v1alpha1_allows(obj: Json) -> None:
    """Nor on the way back."""
    _stays_inside(obj, "v1alpha1")


def test_parsed_examples_fit_the_schema() -> None:
    """The examples that the tests are built from are real ones."""
    for obj in (alpha(), beta()):
        assert errors(obj) == []
    assert not isinstance(parse(beta()), tuple)


def _stays_inside(obj: Json, version: str) -> None:
    there = convert(obj, version)
    assert not isinstance(there, Problem)
    if errors(obj) == []:
        assert errors(dict(there)) == []


def _merged(obj: Any, patch: Any) -> Any:
    """Apply a JSON merge patch."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
