"""Backends of an HTTPRoute's rules: which lead to the stable Service, which to the canary's."""

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.names import CANARY_SUFFIX
from rollout.wire import JsonObject

_SERVICE = ("", "Service")
MOST_WEIGHT = 1_000_000  # of one backend: a limit of the API

Rules = Sequence[JsonObject]
"""``spec.rules`` or the ``backendRefs`` of one of them, fully defaulted."""


@dataclass(frozen=True)
class Backends:
    """The two Services between which requests are divided; both in the route's namespace."""

    namespace: str
    stable: str
    canary: str

    def is_stable(self, ref: JsonObject) -> bool:
        """Tell whether a backendRef is the stable Service."""
        return self._is(ref, self.stable)

    def is_canary(self, ref: JsonObject) -> bool:
        """Tell whether a backendRef is the canary Service."""
        return self._is(ref, self.canary)

    def _is(self, ref: JsonObject, name: str) -> bool:
        kind = (ref.get("group", ""), ref.get("kind", "Service"))
        return kind == _SERVICE and ref["name"] == name and ref.get("namespace") in {None, self.namespace}


def leads_to_stable(rules: Rules, backends: Backends) -> bool:
    """Tell whether any rule sends requests to the stable Service."""
    return any(shares(rule, backends) for rule in rules)


def names_canary(rules: Rules, backends: Backends) -> bool:
    """Tell whether any rule names the canary Service."""
    return any(backends.is_canary(ref) for rule in rules for ref in refs_of(rule))


def reaches_canary(rules: Rules, backends: Backends) -> bool:
    """Tell whether any rule can send a request to the canary Service."""
    return any(backends.is_canary(ref) and weight_of(ref) > 0 for rule in rules for ref in refs_of(rule))


def split_services(rules: Rules) -> set[str]:
    """Name the Services whose canary's is a backend."""
    found = {str(ref["name"]) for rule in rules for ref in refs_of(rule)}
    return {name.removesuffix(CANARY_SUFFIX) for name in found if name.endswith(CANARY_SUFFIX)}


def refs_of(rule: JsonObject) -> Rules:
    """Give the backends of a rule."""
    refs: Rules = rule.get("backendRefs") or ()
    return refs


def weight_of(ref: JsonObject) -> int:
    """Give the weight of a backend."""
    return int(ref.get("weight", 1))


def shares(rule: JsonObject, backends: Backends) -> bool:
    """Tell whether a rule sends any request to the stable Service."""
    return any(backends.is_stable(ref) and weight_of(ref) > 0 for ref in refs_of(rule))
