"""The objects of the KubeVela addon, made from the chart.

python -m tests.addon            writes them anew
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.unit.charts.rendered_chart import CHART, render_in

ADDON = Path(__file__).parent.parent / "addons" / "kruise-rollout"
NAMESPACE = "kruise-rollout"

_HELMS_OWN = ("helm.sh/chart", "app.kubernetes.io/managed-by")
_HEAD = """package main

// Made from charts/sluice by `python -m tests.addon`: change it there.

"""
_EXPRESSION = re.compile(r'"\{\{(.*?)\}\}"')
"""A value that is no string but an expression of CUE."""

JsonObject = Mapping[str, Any]


def files() -> dict[Path, str]:
    """Give every file that is made, with its text."""
    definitions = [each for path in sorted((CHART / "crds").glob("*.yaml")) for each in _objects(path)]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    # Nobody runs a chart's hooks here; what has to outlive its own deletion holds itself.
    rendered = render_in(NAMESPACE, {"leaving": {"hook": False}})
    return {
        ADDON / "resources" / "prerequisites.cue": _text("prerequisites", [namespace, *definitions]),
        ADDON / "resources" / "installation.cue": _text("installation", map(_adapted, rendered)),
    }


def _objects(path: Path) -> Iterator[JsonObject]:
    yield from filter(None, yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _adapted(found: JsonObject) -> JsonObject:
    """Take what Helm says of itself away, and leave open what the addon's parameters say."""
    labels = {key: value for key, value in found["metadata"]["labels"].items() if key not in _HELMS_OWN}
    adapted = {**found, "metadata": {**found["metadata"], "labels": labels}}
    if found["kind"] != "Deployment":
        return adapted
    template = found["spec"]["template"]
    pod = template["spec"]
    containers = [{**each, "image": "{{parameter.image}}"} for each in pod["containers"]]
    secrets = "{{[for each in parameter.imagePullSecrets {name: each}]}}"
    opened = {**template, "spec": {**pod, "containers": containers, "imagePullSecrets": secrets}}
    return {**adapted, "spec": {**found["spec"], "replicas": "{{parameter.replicas}}", "template": opened}}


def _text(name: str, objects: Iterable[JsonObject]) -> str:
    written = _EXPRESSION.sub(r"\1", json.dumps(list(objects), indent="\t", ensure_ascii=False))
    return f"{_HEAD}{name}: {written}\n"


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
