"""The chart, rendered by the real Helm. Knows nothing of what it should contain."""

import functools
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sandbox import assets

JsonObject = Mapping[str, Any]

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "sluice"
NAMESPACE = "somewhere"
"""Not the documented default, so that a namespace written into a template shows."""

_TIMEOUT = 30
"""Seconds; a render takes a fifth of one."""


class RenderError(Exception):
    """Helm refused; the text is what a user would read."""


def render_text(values: JsonObject | None = None, *flags: str, namespace: str = NAMESPACE) -> str:
    """Return what ``helm template`` prints for the values."""
    helm = str(assets.find().helm)
    command = [helm, "template", "sluice", str(CHART), "-n", namespace, "-f", "-", *flags]
    done = subprocess.run(  # noqa: S603  a fixed command
        command, input=json.dumps(values or {}), capture_output=True, text=True, check=False, timeout=_TIMEOUT
    )
    if done.returncode:
        raise RenderError(done.stderr)
    return done.stdout


@functools.cache
def _render(values: str) -> tuple[JsonObject, ...]:
    return render_in(NAMESPACE, json.loads(values))


def render_in(namespace: str, values: JsonObject) -> tuple[JsonObject, ...]:
    """Return every object that is rendered for a namespace."""
    return tuple(filter(None, yaml.safe_load_all(render_text(values, namespace=namespace))))


def render(values: JsonObject | None = None) -> tuple[JsonObject, ...]:
    """Return every rendered object, hooks included."""
    return _render(json.dumps(values or {}, sort_keys=True))


def the(kind: str, name: str, values: JsonObject | None = None) -> JsonObject:
    """Return the one object of that kind and name."""
    [found] = [item for item in render(values) if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def pod_templates(values: JsonObject | None = None) -> Iterator[tuple[str, JsonObject]]:
    """Yield the name and pod template of everything that starts pods."""
    for item in render(values):
        if "template" in item.get("spec", {}):
            yield item["metadata"]["name"], item["spec"]["template"]
