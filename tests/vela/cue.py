"""CUE, evaluated by its own tool in the version that KubeVela embeds."""

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from sandbox import assets

_SECONDS = 30


class CueError(Exception):
    """What is given does not fit; the text is CUE's own."""


@functools.cache
def evaluate(expression: str, *texts: str) -> Any:
    """Give the value of an expression in a package that is made of these files; of none, all of it."""
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / f"{number}.cue" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        asked = ["-e", expression] if expression else []
        command = [str(assets.client("cue")), "export", *asked, *map(str, files)]
        done = subprocess.run(  # noqa: S603  a fixed command
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    if done.returncode:
        raise CueError(done.stderr.replace(f"{directory}/", ""))
    return json.loads(done.stdout)


def value(name: str, found: Any) -> str:
    """Write a field with a value."""
    return f"{name}: {json.dumps(found)}\n"
