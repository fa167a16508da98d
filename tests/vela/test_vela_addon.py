"""The addon's own Application: what the chart installs, definitions first, no network needed."""

from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from tests import addon
from tests.unit.charts.rendered_chart import render_in
from tests.vela import definitions
from tests.vela.cue import CueError

JsonObject = dict[str, Any]


_DEFINITIONS = sorted((addon.ADDON / "definitions").iterdir())


def _components(**parameter: Any) -> dict[str, list[JsonObject]]:
    application, _ = definitions.addon(parameter)
    return {each["name"]: each["properties"]["objects"] for each in application["spec"]["components"]}


def _named(objects: list[JsonObject]) -> set[tuple[str, str]]:
    return {(each["kind"], each["metadata"]["name"]) for each in objects}


def _images(objects: Iterable[addon.JsonObject]) -> set[str]:
    pods = (each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment")
    return {container["image"] for pod in pods for container in pod["containers"]}


def test_objects_are_those_of_the_chart() -> None:
    """`python -m tests.addon` writes them anew."""
    for path, text in addon.files().items():
        assert path.read_text(encoding="utf-8") == text


def test_directory_is_named_like_the_addon_and_asks_for_nothing() -> None:
    """`vela addon enable` waits for `addon-<directory>`, and refuses where a dependency is missing."""
    metadata = yaml.safe_load((addon.ADDON / "metadata.yaml").read_text(encoding="utf-8"))

    assert metadata["name"] == addon.ADDON.name == "kruise-rollout"
    assert not metadata.keys() & {"dependencies", "system", "needNamespace"}
    assert tuple(map(int, metadata["version"].split("."))) > (1, 5, 2)


def test_addon_brings_every_definition_that_its_users_name() -> None:
    """What an Application names and the addon lacks is an error of the Application."""
    found = {path.stem: definitions.definition(path.stem).attributes["type"] for path in _DEFINITIONS}

    assert found == {"kruise-rollout": "trait", "rolling-release": "trait", "canary-deploy": "workflow-step"}


def test_definitions_and_namespace_come_first() -> None:
    """A dry run of what is in them would fail before."""
    application, _ = definitions.addon({})
    first, second = application["spec"]["components"]

    kinds = {kind for kind, _ in _named(first["properties"]["objects"])}
    assert kinds == {"Namespace", "CustomResourceDefinition"}
    assert second["dependsOn"] == [first["name"]]
    assert {each["type"] for each in (first, second)} == {"k8s-objects"}
    assert not {"Namespace", "CustomResourceDefinition", "Job"} & {
        kind for kind, _ in _named(second["properties"]["objects"])
    }


def test_definitions_of_rollouts_outlive_the_addon() -> None:
    """With them every Rollout of every user would be deleted."""
    application, _ = definitions.addon({})
    policies = {each["type"]: each["properties"] for each in application["spec"]["policies"]}

    assert policies["garbage-collect"] == {
        "rules": [{"selector": {"resourceTypes": ["CustomResourceDefinition"]}, "strategy": "never"}]
    }
    assert policies["take-over"] == {"rules": [{"selector": {"resourceTypes": ["CustomResourceDefinition"]}}]}


def test_settings_reach_both_processes() -> None:
    """The image, by which Secrets it is pulled, and how many there are."""
    found = _components(image="registry.example.com/sluice:1", imagePullSecrets=["regcred"], replicas=3)
    deployments = [each for each in found["kruise-rollout"] if each["kind"] == "Deployment"]

    assert _images(deployments) == {"registry.example.com/sluice:1"}
    assert [each["spec"]["replicas"] for each in deployments] == [3, 3]
    for each in deployments:
        assert each["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "regcred"}]


def test_image_is_the_charts_where_none_is_said() -> None:
    """Both are built from the same file, under the same name."""
    assert _images(_components()["kruise-rollout"]) == _images(render_in(addon.NAMESPACE, {}))


def test_settings_of_earlier_versions_are_taken() -> None:
    """Clusters are those named, or all; definitions are brought up to date in any case."""
    some, _ = definitions.addon({"clusters": ["local", "edge"], "upgradeCRD": True})
    every, _ = definitions.addon({})

    def clusters(application: JsonObject) -> Any:
        return next(
            each["properties"] for each in application["spec"]["policies"] if each["type"] == "topology"
        )

    assert clusters(some) == {"clusters": ["local", "edge"]}
    assert clusters(every) == {"clusterLabelSelector": {}}


def test_wrong_setting_is_refused() -> None:
    """By name."""
    with pytest.raises(CueError, match="replicas"):
        definitions.addon({"replicas": "two"})


def test_tree_of_an_application_shows_what_a_rollout_made() -> None:
    """`vela status --tree` looks for children by what this says."""
    _, beside = definitions.addon({})
    (found,) = beside.values()

    (rule,) = yaml.safe_load(found["data"]["rules"])
    assert (found["kind"], found["metadata"]["namespace"]) == ("ConfigMap", "vela-system")
    assert found["metadata"]["labels"]["rules.oam.dev/resources"] == "true"
    assert rule["parentResourceType"] == {"group": "rollouts.kruise.io", "kind": "Rollout"}
    assert {each["kind"] for each in rule["childrenResourceType"]} == {"Deployment", "Service", "Ingress"}
