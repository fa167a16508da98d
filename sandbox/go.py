"""The Go command: found or installed, run so that one sees it move, its results put in place whole.

Knows nothing of what is built.
"""
# ruff: noqa: T201  it speaks to a terminal
# ruff: noqa: S603  its commands are written by its callers, without a shell

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_MINIMUM = (1, 26)
_REQUIREMENTS = Path(__file__).parent.parent / "requirements" / "go.txt"
_QUIET_INTERVAL = 30.0
"""Seconds between progress lines where no terminal shows a moving one."""


class AssetError(RuntimeError):
    """A program of the sandbox is missing and cannot be had."""


def run(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
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


def directory(command: Path, module: str, of: Path, environment: Mapping[str, str]) -> Path:
    """Return where the files of a module lie, in the version that the module in `of` requires."""
    done = subprocess.run(
        [str(command), "list", "-m", "-f", "{{.Dir}}", module],
        cwd=of,
        env={**environment, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


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
def replaced(target: Path) -> Iterator[Path]:
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
def lock(cache: Path) -> Iterator[None]:
    """Let one build run at a time; the second one finds its work done."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another build of the sandbox's programs.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find() -> Path:
    """Return a new enough go command; the project's own environment gets one when there is none."""
    own = Path(sys.executable).parent / "go"
    for candidate in (shutil.which("go"), str(own) if own.exists() else None):
        if candidate is not None and _version(candidate) >= _MINIMUM:
            return Path(candidate)
    print("No Go of 1.26 or newer on PATH: installing one into the project's environment.", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--require-hashes", "-r", str(_REQUIREMENTS)], check=True)
    return own


def _version(go: str) -> tuple[int, ...]:
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
