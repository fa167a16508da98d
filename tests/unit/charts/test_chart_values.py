"""What may be set: everything is documented, anything else is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.unit.charts.rendered_chart import CHART, RenderError, render_text

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())


def _objects(
    schema: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if "properties" in schema:
        yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _objects(child, (*path, name))


def _at(path: tuple[str, ...], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _default(path: tuple[str, ...]) -> Any:
    value: Any = DEFAULTS
    for key in path:
        value = value[key]
    return value


LEVELS = [path for path, _ in _objects(SCHEMA)]


def test_the_schema_is_one() -> None:
    """It is valid JSON Schema and accepts the defaults."""
    Draft202012Validator.check_schema(SCHEMA)

    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(DEFAULTS)] == []


@pytest.mark.parametrize("path", LEVELS, ids=".".join)
def test_an_unknown_value_is_refused_at_every_level(path: tuple[str, ...]) -> None:
    """A typing error is told to the user and never passes as a setting."""
    errors = Draft202012Validator(SCHEMA).iter_errors(_at((*path, "replicaz"), 3))

    assert any("replicaz" in error.message for error in errors)


@pytest.mark.parametrize(
    "values",
    [
        {"webhook": {"replica": 3}},
        {"webhook": {"replicas": 0}},
        {"webhook": {"replicas": "2"}},
        {"webhook": {"antiAffinity": "hard"}},
        {"webhook": {"extraArgs": ["port=1"]}},
        {"reconciler": {"workers": 0}},
        {"image": {"digest": "latest"}},
        {"logLevel": "verbose"},
        {"leaving": {"timeoutSeconds": 1}},
        {"fullnameOverride": "other"},
    ],
    ids=str,
)
def test_helm_refuses_a_wrong_value(values: dict[str, Any]) -> None:
    """Helm itself enforces the schema, before anything reaches a cluster."""
    with pytest.raises(RenderError, match=r"values don't meet the specifications|don't meet the spec"):
        render_text(values)


def test_every_value_is_described() -> None:
    """In the schema, for editors and for Helm's own error texts."""
    missing = [
        ".".join((*path, name))
        for path, schema in _objects(SCHEMA)
        for name, child in schema["properties"].items()
        if not child.get("description")
    ]

    assert missing == []


@pytest.mark.parametrize("path", [path for path in LEVELS if path != ("global",)], ids=".".join)
def test_every_value_that_may_be_set_stands_in_values_yaml(path: tuple[str, ...]) -> None:
    """A reader of values.yaml sees all there is, with its default."""
    schema = dict(_objects(SCHEMA))[path]

    assert set(_default(path)) == set(schema["properties"]) - {"global"}
