"""The sandbox's programs are found where they should be, or the error says what to do."""

from pathlib import Path

import pytest

from sandbox import assets
from sandbox.assets import ASSETS_VARIABLE, MINOR_VARIABLE, AssetError


def _install(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="ascii")
    path.chmod(0o755)


def test_given_directory_is_used(tmp_path: Path) -> None:
    """Binaries a user brings are taken as they are, and nothing is built."""
    for name in ("controlplane", "helm"):
        _install(tmp_path / name)

    found = assets.build({ASSETS_VARIABLE: str(tmp_path)})

    names = ("controlplane", "helm", "gateway-api", "helm3", "kustomize-controller", "contour", "cue")
    assert found == assets.Assets(*(tmp_path / each for each in names))


@pytest.mark.parametrize("variable", [ASSETS_VARIABLE, "XDG_CACHE_HOME"])
def test_missing_program_names_the_remedy(tmp_path: Path, variable: str) -> None:
    """Whoever starts a cluster too early is told to run the bootstrap."""
    with pytest.raises(AssetError, match="scripts/bootstrap"):
        assets.find({variable: str(tmp_path)})


def test_missing_client_names_the_remedy(tmp_path: Path) -> None:
    """What only some tests run is built when it is asked for."""
    with pytest.raises(AssetError, match="scripts/bootstrap --clients"):
        assets.client("helm3", {"XDG_CACHE_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("minor", "expected"), [("", None), ("1.36", None), ("1.33", "controller-manager-1.33")]
)
def test_controller_manager_of_another_minor_is_its_own_program(
    tmp_path: Path, minor: str, expected: str | None
) -> None:
    """That of the control plane's own minor is part of it."""
    given = assets.places({ASSETS_VARIABLE: str(tmp_path), MINOR_VARIABLE: minor}).controller_manager
    built = assets.places({"XDG_CACHE_HOME": str(tmp_path), MINOR_VARIABLE: minor}).controller_manager

    assert given == (tmp_path / expected if expected else None)
    assert (built.parent.name.rpartition("-")[0] if built else None) == expected


def test_minor_that_is_not_supported_is_refused(tmp_path: Path) -> None:
    """With the ones that are."""
    with pytest.raises(AssetError, match=r"'1\.2', which is none of 1\.33, .*, 1\.37 and that of v1\.36"):
        assets.places({"XDG_CACHE_HOME": str(tmp_path), MINOR_VARIABLE: "1.2"})


def test_finished_build_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cache that has everything is used without a word and without Go."""
    places = assets.places({"XDG_CACHE_HOME": str(tmp_path)})
    for path in (places.controlplane, places.helm, places.gateway_api):
        _install(path)

    alone = assets.build({"XDG_CACHE_HOME": str(tmp_path)})
    for path in (places.helm3, places.kustomize_controller, places.contour, places.cue):
        _install(path)
    with_clients = assets.build({"XDG_CACHE_HOME": str(tmp_path)}, clients=True)

    assert [alone, with_clients] == [places, places]
    assert capsys.readouterr().out == ""
