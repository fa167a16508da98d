"""The addon's definitions, evaluated as KubeVela does: a template, what a user gives, and what vela knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.addon import ADDON
from tests.vela import cue

JsonObject = dict[str, Any]

_TEMPLATE = "\ntemplate: {\n"
_IMPORT = 'import (\n\t"vela/op"\n)\n'
_STEPS = "op: #Deploy: {...}\n"
"""What only vela can import: a step of a workflow, as far as its own fields go."""


@dataclass(frozen=True)
class Definition:
    """A file of `definitions/`: what it says of itself, and its template."""

    name: str
    header: str
    template: str

    @property
    def attributes(self) -> JsonObject:
        """What vela does with it."""
        found: JsonObject = cue.evaluate("", self.header)[self.name]
        return found

    def render(self, part: str, parameter: object, context: JsonObject) -> Any:
        """Evaluate one part of the template. Raises CueError where the parameter does not fit."""
        given = cue.value("parameter", parameter) + cue.value("context", context)
        both = f"{{given: parameter, made: {part}}}"  # vela looks at the whole for what does not fit
        return cue.evaluate(both, f"{self.template}\n{given}")["made"]

    def is_healthy(self, context: JsonObject) -> bool:
        """Evaluate the health rule; what cannot be evaluated is not healthy."""
        return self._status("healthPolicy", "isHealth", context) is True

    def message(self, context: JsonObject) -> str:
        """Evaluate the message; empty where that cannot be."""
        return str(self._status("customStatus", "message", context) or "")

    def _status(self, rule: str, part: str, context: JsonObject) -> Any:
        try:
            return cue.evaluate(
                part, self.attributes["attributes"]["status"][rule] + "\n" + cue.value("context", context)
            )
        except cue.CueError:
            return None


@cache
def definition(name: str) -> Definition:
    """Read a definition of the addon."""
    text = (ADDON / "definitions" / f"{name}.cue").read_text(encoding="utf-8")
    header, _, rest = text.partition(_TEMPLATE)
    steps = _STEPS if _IMPORT in header else ""
    return Definition(name, header.replace(_IMPORT, ""), steps + rest.removesuffix("}\n"))


def addon(parameter: Mapping[str, Any]) -> tuple[JsonObject, JsonObject]:
    """Render the addon's Application and the objects beside it, for what a user says when enabling it."""
    templates = [ADDON / "template.cue", *sorted((ADDON / "resources").glob("*.cue"))]
    given = (ADDON / "parameter.cue").read_text(encoding="utf-8")
    known = cue.value("context", {"metadata": {"name": ADDON.name}}) + cue.value("parameter", dict(parameter))
    texts = [each.read_text(encoding="utf-8") for each in templates]
    parts = (cue.evaluate(part, *texts, f"package main\n{given}\n{known}") for part in ("output", "outputs"))
    application, beside = parts
    return application, beside
