"""The addon's definitions, evaluated as KubeVela does: a template, what a user gives, and what vela knows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.addon import ADDON
from tests.vela import cue

JsonObject = dict[str, Any]

_TEMPLATE = "\ntemplate: {\n"
_VELAS = '\t"vela/op"\n'
_STEPS = """
op: {
	#Deploy: {...}
	#List: {
		#do: "list"
		#provider: "kube"
		resource: {apiVersion: string, kind: string}
		filter?: {namespace?: string, matchingLabels?: {...}}
		list?: {...}
		...
	}
	#ConditionalWait: {
		#do: "wait"
		continue: bool
		message?: string
	}
}
"""
"""What only vela can import: steps of a workflow, as far as their own fields go."""


@dataclass(frozen=True)
class Definition:
    """A file of `definitions/`: what it says of itself, and its template."""

    name: str
    imports: str
    header: str
    template: str

    @property
    def attributes(self) -> JsonObject:
        """What vela does with it."""
        found: JsonObject = cue.evaluate("", self.header)[self.name]
        return found

    def render(self, part: str, parameter: object, context: JsonObject, **found: Any) -> Any:
        """Evaluate one part of the template, with what parts before it found.

        Raises CueError where the parameter does not fit.
        """
        known = {"parameter": parameter, "context": context, **found}
        given = "".join(cue.value(name, each) for name, each in known.items())
        both = f"{{given: parameter, made: {part}}}"  # vela looks at the whole for what does not fit
        return cue.evaluate(both, f"{self.imports}\n{self.template}\n{given}")["made"]

    def is_healthy(self, context: JsonObject) -> bool:
        """Evaluate the health rule; what cannot be evaluated is not healthy."""
        return self._told(context).get("isHealth") is True

    def message(self, context: JsonObject) -> str:
        """Evaluate the message; empty where that cannot be."""
        return str(self._told(context).get("message") or "")

    def _told(self, context: JsonObject) -> JsonObject:
        """Evaluate both rules, at once where both can be."""
        status = self.attributes["attributes"]["status"]
        rules = {"isHealth": status["healthPolicy"], "message": status["customStatus"]}
        try:
            return _evaluated(rules, context)
        except cue.CueError:
            found: JsonObject = {}
            for name, rule in rules.items():
                with suppress(cue.CueError):
                    found |= _evaluated({name: rule}, context)
            return found


def _evaluated(rules: Mapping[str, str], context: JsonObject) -> JsonObject:
    """Give the named field of each rule, every rule in a scope of its own."""
    texts = "".join(f"rule_{name}: {{\n{rule}\n}}\n" for name, rule in rules.items())
    asked = ", ".join(f"{name}: rule_{name}.{name}" for name in rules)
    found: JsonObject = cue.evaluate(f"{{{asked}}}", texts + cue.value("context", context))
    return found


@cache
def definition(name: str) -> Definition:
    """Read a definition of the addon."""
    text = (ADDON / "definitions" / f"{name}.cue").read_text(encoding="utf-8")
    header, _, rest = text.partition(_TEMPLATE)
    imports, end, header = header.rpartition("\n)\n")
    imports += end
    steps = _STEPS if _VELAS in imports else ""
    return Definition(name, imports.replace(_VELAS, ""), header, steps + rest.removesuffix("}\n"))


def addon(parameter: Mapping[str, Any]) -> tuple[JsonObject, JsonObject]:
    """Render the addon's Application and the objects beside it, for what a user says when enabling it."""
    templates = [ADDON / "template.cue", *sorted((ADDON / "resources").glob("*.cue"))]
    given = (ADDON / "parameter.cue").read_text(encoding="utf-8")
    known = cue.value("context", {"metadata": {"name": ADDON.name}}) + cue.value("parameter", dict(parameter))
    texts = [each.read_text(encoding="utf-8") for each in templates]
    parts = (cue.evaluate(part, *texts, f"package main\n{given}\n{known}") for part in ("output", "outputs"))
    application, beside = parts
    return application, beside
