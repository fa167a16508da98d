"""The image's recipe, as far as it can be read without building it."""

import json
import tomllib
from collections.abc import Iterator

from tests.unit.charts.rendered_chart import ROOT, pod_templates

CONTAINERFILE = (ROOT / "Containerfile").read_text()


def _instructions() -> Iterator[tuple[str, str]]:
    lines = (line for line in CONTAINERFILE.splitlines() if line and not line.startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest.strip()


def test_the_image_runs_as_the_user_that_the_chart_names() -> None:
    """By number: the kubelet cannot check a name against runAsNonRoot."""
    [user] = [rest for word, rest in _instructions() if word == "USER"]

    expected = {template["spec"]["securityContext"]["runAsUser"] for _, template in pod_templates()}
    assert {user} == {f"{uid}:{uid}" for uid in expected}


def test_dependencies_are_installed_by_hash_only() -> None:
    """Nothing that no hash is known of, and nothing that runs code in order to be built."""
    [install] = [json.loads(rest) for word, rest in _instructions() if word == "RUN" and "install" in rest]

    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(install)
    assert "/build/runtime.txt" in install


def test_no_step_is_interpreted_by_a_shell() -> None:
    """Every RUN and CMD is a list of arguments."""
    steps = [rest for word, rest in _instructions() if word in {"RUN", "CMD", "ENTRYPOINT"}]

    assert all(isinstance(json.loads(step), list) for step in steps)


def test_the_image_holds_every_package_of_the_product_and_no_other() -> None:
    """What pyproject.toml packages is what is copied, and what .containerignore lets through."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    copied = {
        rest.split()[0] for word, rest in _instructions() if word == "COPY" and not rest.startswith("--from")
    }
    passed = {
        line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")
    }

    others = {"LICENSE", "requirements/runtime.txt"}
    assert copied == packages | others
    assert passed == packages | others


def test_chart_project_and_image_agree_about_the_version() -> None:
    """One version: of the package, of the application in the chart, of the image's label."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert f'appVersion: "{version}"' in (ROOT / "charts" / "sluice" / "Chart.yaml").read_text()
    assert f"ARG VERSION={version}" in CONTAINERFILE
