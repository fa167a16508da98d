"""The sandbox's programs and CRDs: found, or built from the Go module proxy into the user's cache.

    python -m sandbox.assets        builds what is missing

SLUICE_SANDBOX_ASSETS names a directory with ready `controlplane` and `helm`
binaries, and a directory `gateway-api` of CRDs, for machines without the network
or the patience.
"""
# ruff: noqa: T201  it speaks to a terminal
# ruff: noqa: S603  its commands are written here, without a shell

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ASSETS_VARIABLE = "SLUICE_SANDBOX_ASSETS"

_KUBERNETES = "v1.36.3"
_HELM = "v4.3.1"
_GATEWAY_API, _GATEWAY_API_SUM = "v1.5.1", "h1:RqVRIlkhLhUO8wOHKTLnTJA6o/1un4po4/6M1nRzdd0="
"""The CRDs that the sandbox's Traefik knows; they are files in the module, by which nothing is built."""
_GO_MINIMUM = (1, 26)
_SOURCES = Path(__file__).parent / "controlplane"
_REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "go.txt"

_TAGS = "selinux,notest,grpcnotrace"
_QUIET_INTERVAL = 30.0
"""Seconds between progress lines where no terminal shows a moving one."""


class AssetError(RuntimeError):
    """A program of the sandbox is missing and cannot be had."""


@dataclass(frozen=True, slots=True)
class Assets:
    """The programs' files."""

    controlplane: Path
    helm: Path
    gateway_api: Path
    """The directory of the Gateway API's CRDs, of which only some clusters have need."""


def find(environment: Mapping[str, str] = os.environ) -> Assets:
    """Return the programs' files, which must exist."""
    assets = places(environment)
    for path in (assets.controlplane, assets.helm):
        if not os.access(path, os.X_OK):
            raise AssetError(f"{path} is not there: run scripts/bootstrap, which builds it")
    return assets


def build(environment: Mapping[str, str] = os.environ) -> Assets:
    """Build the programs that are missing; returns at once when none is."""
    assets = places(environment)
    if ASSETS_VARIABLE in environment:
        return find(environment)
    everything = (assets.controlplane, assets.helm, assets.gateway_api)
    if not all(path.exists() for path in everything):
        with _lock(_cache(environment)):
            go = _find_go()
            if not assets.controlplane.exists():
                print("Building the sandbox's Kubernetes: 5 to 8 minutes, this once.", flush=True)
                _build_control_plane(go, assets.controlplane, environment)
            if not assets.helm.exists():
                print("Building Helm: 1 to 2 minutes, this once.", flush=True)
                _build_helm(go, assets.helm, environment)
            if not assets.gateway_api.exists():
                _fetch_gateway_api(go, assets.gateway_api, environment)
    return find(environment)


def places(environment: Mapping[str, str]) -> Assets:
    """Return where the programs belong, whether they are there or not."""
    given = environment.get(ASSETS_VARIABLE)
    if given is not None:
        directory = Path(given).absolute()
        return Assets(directory / "controlplane", directory / "helm", directory / "gateway-api")
    cache = _cache(environment)
    key = hashlib.sha256()
    for source in (_SOURCES / "go.mod", _SOURCES / "go.sum", _SOURCES / "main.go"):
        key.update(source.read_bytes())
    key.update(f"{_TAGS} {_linker_flags()}".encode())
    controlplane = cache / f"controlplane-{key.hexdigest()[:16]}" / "controlplane"
    definitions = cache / f"gateway-api-{_GATEWAY_API}" / "standard"
    return Assets(controlplane, cache / f"helm-{_HELM}" / "helm", definitions)


def _cache(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "sluice"


def _linker_flags() -> str:
    """Return -ldflags: an unstamped API server calls itself v0.0.0, which Helm refuses."""
    stamps = {
        "gitVersion": _KUBERNETES,
        "gitMajor": _KUBERNETES.removeprefix("v").split(".")[0],
        "gitMinor": _KUBERNETES.split(".")[1],
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    flags = [f"-X {package}.{name}={value}" for package in packages for name, value in stamps.items()]
    return " ".join(["-s -w", *flags])


def _build_control_plane(go: Path, target: Path, environment: Mapping[str, str]) -> None:
    with _replaced(target) as fresh:
        flags = ["-trimpath", "-buildvcs=false", "-tags", _TAGS, "-ldflags", _linker_flags()]
        _run([str(go), "build", "-v", *flags, "-o", str(fresh / "controlplane"), "."], _SOURCES, environment)


def _build_helm(go: Path, target: Path, environment: Mapping[str, str]) -> None:
    with _replaced(target) as fresh:
        command = [str(go), "install", "-v", "-trimpath", f"helm.sh/helm/v4/cmd/helm@{_HELM}"]
        _run(command, fresh, {**environment, "GOBIN": str(fresh)})


def _fetch_gateway_api(go: Path, target: Path, environment: Mapping[str, str]) -> None:
    with _replaced(target) as fresh:
        command = [str(go), "mod", "download", "-json", f"sigs.k8s.io/gateway-api@{_GATEWAY_API}"]
        complete = {**environment, "GOTOOLCHAIN": "local"}
        done = subprocess.run(command, cwd=fresh, env=complete, capture_output=True, text=True, check=False)
        module = json.loads(done.stdout or "{}")
        if done.returncode != 0 or module.get("Sum") != _GATEWAY_API_SUM:
            raise AssetError(f"`{' '.join(command)}` failed:\n{module.get('Error', done.stderr)}")
        (fresh / target.name).mkdir()
        for file in (Path(module["Dir"]) / "config" / "crd" / "standard").glob("gateway*.yaml"):
            if "_vap_" not in file.name:  # a policy against other releases of the same CRDs
                shutil.copyfile(file, fresh / target.name / file.name)


def _run(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
    """Run a Go build and show that it moves: modules fetched, packages compiled, seconds gone by."""
    complete = {**environment, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    lines: list[str] = []
    progress = _Progress()
    with subprocess.Popen(
        command, cwd=directory, env=complete, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        for line in process.stderr or ():
            lines.append(line)
            progress.show(line)
    progress.end()
    if process.returncode != 0:
        raise AssetError(f"`{' '.join(command[:2])}` failed:\n{''.join(lines[-30:])}")


class _Progress:
    """Turns the Go command's lines into one moving line, or a line now and then without a terminal."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._began = self._shown = time.monotonic()
        self._fetched = self._compiled = 0

    def show(self, line: str) -> None:
        """Count a line and show the counts."""
        if line.startswith("go: downloading"):
            self._fetched += 1
        else:
            self._compiled += 1
        now = time.monotonic()
        if self._terminal:
            print(f"\r\033[K  {self._text()}", end="", flush=True)
        elif now - self._shown >= _QUIET_INTERVAL:
            self._shown = now
            print(f"  {self._text()}", flush=True)

    def end(self) -> None:
        """Show the final counts."""
        print(f"\r\033[K  {self._text()}" if self._terminal else f"  {self._text()}", flush=True)

    def _text(self) -> str:
        seconds = int(time.monotonic() - self._began)
        clock = f"{seconds // 60}:{seconds % 60:02}"
        return f"{clock}  {self._fetched} modules fetched, {self._compiled} packages compiled"


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Give a fresh directory that becomes the target's directory when the block succeeds."""
    fresh = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        shutil.rmtree(target.parent, ignore_errors=True)
        fresh.rename(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """Let one build run at a time; the second one finds its work done."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another build of the sandbox's programs.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _find_go() -> Path:
    """Return a new enough go command; the project's own environment gets one when there is none."""
    own = Path(sys.executable).parent / "go"
    for candidate in (shutil.which("go"), str(own) if own.exists() else None):
        if candidate is not None and _go_version(candidate) >= _GO_MINIMUM:
            return Path(candidate)
    print("No Go of 1.26 or newer on PATH: installing one into the project's environment.", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--require-hashes", "-r", str(_REQUIREMENTS)], check=True)
    return own


def _go_version(go: str) -> tuple[int, ...]:
    command = [go, "env", "GOVERSION"]
    done = subprocess.run(
        command,
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def main() -> int:
    """Build what is missing."""
    try:
        build()
    except (AssetError, subprocess.CalledProcessError, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
