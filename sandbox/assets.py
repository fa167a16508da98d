"""The sandbox's programs and CRDs: found, or built from the Go module proxy into the user's cache.

    python -m sandbox.assets              builds what is missing of what every cluster needs
    python -m sandbox.assets --clients    and the deployment tools that only some tests run

SLUICE_SANDBOX_ASSETS names a directory with ready `controlplane` and `helm`
binaries, and what else is asked for (`Assets`), for machines without the network
or the patience. SLUICE_SANDBOX_MINOR asks for the controller manager of another
minor of Kubernetes, which is built too.
"""
# ruff: noqa: T201  it speaks to a terminal
# ruff: noqa: S603  its commands are written here, without a shell

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from sandbox import go
from sandbox.go import AssetError

__all__ = ["ASSETS_VARIABLE", "AssetError", "Assets", "build", "find", "places"]

ASSETS_VARIABLE = "SLUICE_SANDBOX_ASSETS"
MINOR_VARIABLE = "SLUICE_SANDBOX_MINOR"

_KUBERNETES = "v1.36.3"
_OTHER_MINORS = {"1.33": "v1.33.13", "1.34": "v1.34.11", "1.35": "v1.35.4", "1.37": "v1.37.2"}
"""The newest patch of each minor that the product supports, beside that of the control plane."""
_HELM = "v4.3.1"
_GATEWAY_API, _GATEWAY_API_SUM = "v1.5.1", "h1:RqVRIlkhLhUO8wOHKTLnTJA6o/1un4po4/6M1nRzdd0="
"""The CRDs that the sandbox's Traefik knows; they are files in the module, by which nothing is built."""
_HELM_3 = "helm.sh/helm/v3/cmd/helm"
_CONTROLLER_MANAGER = "k8s.io/kubernetes/cmd/kube-controller-manager"
_KUSTOMIZE_CONTROLLER = "github.com/fluxcd/kustomize-controller"
_CONTOUR = "github.com/projectcontour/contour/cmd/contour"
_CONTOUR_CRDS = "examples/contour/01-crds.yaml"
_CUE = "cuelang.org/go/cmd/cue"

_TAGS = "selinux,notest,grpcnotrace"
_CLIENTS = "--clients"
_MODULES = Path(__file__).parent / "modules"


@dataclass(frozen=True, slots=True)
class Assets:
    """The programs' files."""

    controlplane: Path
    helm: Path
    gateway_api: Path
    """The directory of the Gateway API's CRDs, of which only some clusters have need."""
    helm3: Path
    """Helm 3: a client of its own kind, which merges where Helm 4 has the server apply. For tests only."""
    kustomize_controller: Path
    """Flux's kustomize-controller. For tests only."""
    contour: Path
    """Contour, which steers Envoy; its CRDs lie beside it. For tests only."""
    cue: Path
    """CUE, in the version that KubeVela evaluates definitions with. For tests only."""
    controller_manager: Path | None = None
    """The controller manager of another minor; None for that of the control plane."""


def find(environment: Mapping[str, str] = os.environ) -> Assets:
    """Return the files, of which those that every cluster needs must exist."""
    assets = places(environment)
    for path in (assets.controlplane, assets.helm, assets.controller_manager):
        if path and not os.access(path, os.X_OK):
            raise AssetError(f"{path} is not there: run scripts/bootstrap, which builds it")
    return assets


def client(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file of a program that only some tests run; it must exist."""
    path: Path = getattr(places(environment), name)
    if not os.access(path, os.X_OK):
        raise AssetError(f"{path} is not there: run scripts/bootstrap {_CLIENTS}, which builds it")
    return path


def build(environment: Mapping[str, str] = os.environ, *, clients: bool = False) -> Assets:
    """Build the programs that are missing; returns at once when none is."""
    assets = places(environment)
    if ASSETS_VARIABLE in environment:
        return find(environment)
    wanted = [assets.controlplane, assets.helm, assets.gateway_api]
    if assets.controller_manager:
        wanted.append(assets.controller_manager)
    if clients:
        wanted += [assets.helm3, assets.kustomize_controller, assets.contour, assets.cue]
    if not all(path.exists() for path in wanted):
        with go.lock(_cache(environment)):
            _build(assets, [path for path in wanted if not path.exists()], environment)
    return find(environment)


def _build(assets: Assets, missing: list[Path], environment: Mapping[str, str]) -> None:
    command = go.find()
    if assets.controlplane in missing:
        print("Building the sandbox's Kubernetes: 5 to 8 minutes, this once.", flush=True)
        _build_control_plane(command, assets.controlplane, environment)
    if assets.controller_manager in missing:
        minor = environment[MINOR_VARIABLE]
        print(
            f"Building the controller manager of Kubernetes {minor}: 3 to 6 minutes, this once.", flush=True
        )
        _build_controller_manager(command, assets.controller_manager, minor, environment)
    if assets.helm in missing:
        print("Building Helm: 1 to 2 minutes, this once.", flush=True)
        _build_helm(command, assets.helm, environment)
    if assets.gateway_api in missing:
        _fetch_gateway_api(command, assets.gateway_api, environment)
    if assets.helm3 in missing:
        print("Building Helm 3: less than a minute, this once.", flush=True)
        _build_tool(command, _HELM_3, assets.helm3, environment)
    if assets.kustomize_controller in missing:
        print("Building Flux's kustomize-controller: 3 to 5 minutes, this once.", flush=True)
        _build_tool(command, _KUSTOMIZE_CONTROLLER, assets.kustomize_controller, environment)
    if assets.contour in missing:
        print("Building Contour: 1 to 2 minutes, this once.", flush=True)
        _build_tool(command, _CONTOUR, assets.contour, environment, beside=_CONTOUR_CRDS)
    if assets.cue in missing:
        print("Building CUE: less than a minute, this once.", flush=True)
        _build_tool(command, _CUE, assets.cue, environment)


def places(environment: Mapping[str, str]) -> Assets:
    """Return where the programs belong, whether they are there or not."""
    given = environment.get(ASSETS_VARIABLE)
    if given is not None:
        directory = Path(given).absolute()
        names = [each.name for each in fields(Assets) if each.name != "controller_manager"]
        ready = {name: directory / name.replace("_", "-") for name in names}
        return Assets(**ready, controller_manager=_controller_manager(environment, directory))
    cache = _cache(environment)
    main = _MODULES / "controlplane" / "main.go"
    controlplane = _module("controlplane", f"{_TAGS} {_linker_flags(_KUBERNETES)}", main)
    return Assets(
        cache / controlplane / "controlplane",
        cache / f"helm-{_HELM}" / "helm",
        cache / f"gateway-api-{_GATEWAY_API}" / "standard",
        cache / _module("helm3") / "helm3",
        cache / _module("kustomize-controller") / "kustomize-controller",
        cache / _module("contour") / "contour",
        cache / _module("cue") / "cue",
        _controller_manager(environment),
    )


def _controller_manager(environment: Mapping[str, str], directory: Path | None = None) -> Path | None:
    """Return where the controller manager of the minor that is asked for belongs, if it is another one."""
    minor = environment.get(MINOR_VARIABLE, "")
    if not minor or _KUBERNETES.startswith(f"v{minor}."):
        return None
    if minor not in _OTHER_MINORS:
        known = ", ".join(_OTHER_MINORS)
        raise AssetError(f"{MINOR_VARIABLE} is {minor!r}, which is none of {known} and that of {_KUBERNETES}")
    name = f"controller-manager-{minor}"
    return directory / name if directory else _cache(environment) / _module(name) / "kube-controller-manager"


def _module(name: str, flags: str = "", *sources: Path) -> str:
    """Name what a module of ours is built into after all that it is built from."""
    key = hashlib.sha256()
    for source in (_MODULES / name / "go.mod", _MODULES / name / "go.sum", *sources):
        key.update(source.read_bytes())
    key.update(flags.encode())
    return f"{name}-{key.hexdigest()[:16]}"


def _cache(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "sluice"


def _linker_flags(version: str) -> str:
    """Return -ldflags: an unstamped API server calls itself v0.0.0, which Helm refuses."""
    stamps = {
        "gitVersion": version,
        "gitMajor": version.removeprefix("v").split(".")[0],
        "gitMinor": version.split(".")[1],
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = [f"-X {package}.{name}={value}" for package in packages for name, value in stamps.items()]
    return " ".join(["-s -w", *flags])


def _build_control_plane(command: Path, target: Path, environment: Mapping[str, str]) -> None:
    with go.replaced(target) as fresh:
        flags = ["-trimpath", "-buildvcs=false", "-tags", _TAGS, "-ldflags", _linker_flags(_KUBERNETES)]
        line = [str(command), "build", "-v", *flags, "-o", str(fresh / "controlplane"), "."]
        go.run(line, _MODULES / "controlplane", environment)


def _build_controller_manager(
    command: Path, target: Path, minor: str, environment: Mapping[str, str]
) -> None:
    with go.replaced(target) as fresh:
        stamps = _linker_flags(_OTHER_MINORS[minor])
        flags = ["-trimpath", "-buildvcs=false", "-tags", _TAGS, "-ldflags", stamps]
        line = [str(command), "build", "-v", *flags, "-o", str(fresh / target.name), _CONTROLLER_MANAGER]
        go.run(line, _MODULES / f"controller-manager-{minor}", environment)


def _build_helm(command: Path, target: Path, environment: Mapping[str, str]) -> None:
    with go.replaced(target) as fresh:
        line = [str(command), "install", "-v", "-trimpath", f"helm.sh/helm/v4/cmd/helm@{_HELM}"]
        go.run(line, fresh, {**environment, "GOBIN": str(fresh)})


def _build_tool(
    command: Path, package: str, target: Path, environment: Mapping[str, str], *, beside: str = ""
) -> None:
    """Build a program of another module, as the go.mod and go.sum of ours pin it and all it is made of.

    ``beside`` names a file of that module that is put beside the program.
    """
    with go.replaced(target) as fresh:
        flags = ["-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]
        line = [str(command), "build", "-v", *flags, "-o", str(fresh / target.name), package]
        go.run(line, _MODULES / target.name, environment)
        if beside:
            module = package.partition("/cmd/")[0]
            source = go.directory(command, module, _MODULES / target.name, environment) / beside
            shutil.copyfile(source, fresh / source.name)


def _fetch_gateway_api(command: Path, target: Path, environment: Mapping[str, str]) -> None:
    with go.replaced(target) as fresh:
        line = [str(command), "mod", "download", "-json", f"sigs.k8s.io/gateway-api@{_GATEWAY_API}"]
        complete = {**environment, "GOTOOLCHAIN": "local"}
        done = subprocess.run(line, cwd=fresh, env=complete, capture_output=True, text=True, check=False)
        module = json.loads(done.stdout or "{}")
        if done.returncode != 0 or module.get("Sum") != _GATEWAY_API_SUM:
            raise AssetError(f"`{' '.join(line)}` failed:\n{module.get('Error', done.stderr)}")
        (fresh / target.name).mkdir()
        for file in (Path(module["Dir"]) / "config" / "crd" / "standard").glob("gateway*.yaml"):
            if "_vap_" not in file.name:  # a policy against other releases of the same CRDs
                shutil.copyfile(file, fresh / target.name / file.name)


def main() -> int:
    """Build what is missing."""
    try:
        build(clients=_CLIENTS in sys.argv[1:])
    except (AssetError, subprocess.CalledProcessError, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
