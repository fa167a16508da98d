"""What the sandbox does for an image: it pulls none, it knows a few by name.

An explicit command wins: it is run as a process of this machine. `sluice` is this
very project, run by the interpreter that runs the sandbox. Every other image is a
demo image, an HTTP server that tells who it is; the end of its tag may make it fail.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sandbox.names import DEFAULT_READY_AFTER, DRAINS_VARIABLE, READY_AFTER, READY_AFTER_VARIABLE, JsonObject


@dataclass(frozen=True, slots=True)
class Demo:
    """The echo server; `serves` False never listens, `crashes` True exits with status 1 at once."""

    ready_after: float
    serves: bool = True
    crashes: bool = False
    failing: bool = False
    drains: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A real command of this machine."""

    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unpullable:
    """An image that does not exist."""


Behaviour = Demo | Command | Unpullable

UNPULLABLE_SUFFIX = "-unpullable"
UNREADY_SUFFIX = "-unready"
CRASHING_SUFFIX = "-crashing"
FAILING_SUFFIX = "-failing"
"""Ready, but every request is answered with 500."""


def behaviour(
    container: JsonObject, annotations: Mapping[str, str], environment: Mapping[str, str]
) -> Behaviour:
    """Decide how a container is run. `command` and `args` are those after expansion."""
    tag = str(container.get("image", ""))
    if tag.endswith(UNPULLABLE_SUFFIX):
        return Unpullable()
    command = tuple(container.get("command", ()))
    arguments = tuple(container.get("args", ()))
    if command:
        return Command((*command, *arguments))
    if _repository(tag) == "sluice":
        return Command(("python", *arguments))
    delay = environment.get(READY_AFTER_VARIABLE, annotations.get(READY_AFTER))
    return Demo(
        ready_after=DEFAULT_READY_AFTER if delay is None else float(delay),
        serves=not tag.endswith(UNREADY_SUFFIX),
        crashes=tag.endswith(CRASHING_SUFFIX),
        failing=tag.endswith(FAILING_SUFFIX),
        drains=bool(environment.get(DRAINS_VARIABLE)),
    )


def _repository(image: str) -> str:
    """Return an image's last name: "sluice" for registry.example.com:5000/a/sluice:1.0@sha256:..."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]
