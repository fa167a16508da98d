"""A container's environment, command and arguments from its specification, as kubelet expands them.

Pure: objects that are referred to are handed in.
"""

import re
from collections.abc import Mapping
from typing import Any

from sandbox.names import JsonObject

Reference = tuple[str, str]
"""A resource ("secrets" or "configmaps") and the name of an object in the pod's namespace."""

Sources = Mapping[Reference, Mapping[str, str]]
"""The decoded data of what is referred to; what does not exist is absent."""

_KINDS = {
    "secretKeyRef": "secrets",
    "configMapKeyRef": "configmaps",
    "secretRef": "secrets",
    "configMapRef": "configmaps",
}
_VARIABLE = re.compile(r"\$(\$|\(([A-Za-z_.\-][A-Za-z0-9_.\-]*)\))")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


class MissingReferenceError(LookupError):
    """A Secret or ConfigMap, or a key in it, that a container needs does not exist (yet)."""


def references(container: JsonObject) -> set[Reference]:
    """Return the objects a container's environment is taken from."""
    found = {
        (_KINDS[kind], str(reference["name"]))
        for variable in container.get("env", ())
        for kind, reference in variable.get("valueFrom", {}).items()
        if kind in _KINDS
    }
    whole = {
        (_KINDS[kind], str(reference["name"]))
        for source in container.get("envFrom", ())
        for kind, reference in source.items()
        if kind in _KINDS
    }
    return found | whole


def variables(container: JsonObject, pod: JsonObject, sources: Sources) -> dict[str, str]:
    """Return the variables a container's specification asks for; `pod` carries its addresses in status."""
    result: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        result.update(_whole(source, sources))
    for variable in container.get("env", ()):
        value = _value(variable, container, pod, sources)
        if value is not None:
            result[variable["name"]] = expand(value, result)
    return result


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; $$ is a dollar sign; an unknown name stays as it is."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(2)
        return "$" if name is None else known.get(name, match.group(0))

    return _VARIABLE.sub(replacement, text)


def expanded(container: JsonObject, known: Mapping[str, str]) -> JsonObject:
    """Return the container with its command and arguments expanded."""
    texts = {key: [expand(text, known) for text in container.get(key, ())] for key in ("command", "args")}
    return {**container, **texts}


def pod_field(pod: JsonObject, path: str) -> str:
    """Return a field of the pod as the downward API gives it."""
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        entries: Mapping[str, str] = pod["metadata"].get(subscript.group(1), {})
        return entries.get(subscript.group(2), "")
    if path in {"metadata.labels", "metadata.annotations"}:
        entries = pod["metadata"].get(path.removeprefix("metadata."), {})
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    if path == "status.podIPs":
        return ",".join(address["ip"] for address in pod["status"].get("podIPs", ()))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "")
    return str(value)


def _whole(source: JsonObject, sources: Sources) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for kind, reference in source.items():
        if kind in _KINDS:
            data = sources.get((_KINDS[kind], reference["name"]))
            if data is None and not reference.get("optional"):
                raise MissingReferenceError(f"{_KINDS[kind]} {reference['name']} does not exist")
            return {prefix + key: value for key, value in (data or {}).items()}
    return {}


def _value(variable: JsonObject, container: JsonObject, pod: JsonObject, sources: Sources) -> str | None:
    for kind, reference in variable.get("valueFrom", {}).items():
        if kind == "fieldRef":
            return pod_field(pod, reference["fieldPath"])
        if kind == "resourceFieldRef":
            return _resource(container, reference["resource"])
        data = sources.get((_KINDS[kind], reference["name"]), {})
        if reference["key"] not in data and not reference.get("optional"):
            message = f"{_KINDS[kind]} {reference['name']} has no key {reference['key']}"
            raise MissingReferenceError(message)
        return data.get(reference["key"])
    return str(variable.get("value", ""))


def _resource(container: JsonObject, resource: str) -> str:
    kind, _, name = resource.partition(".")
    return str(container.get("resources", {}).get(kind, {}).get(name, "0"))
