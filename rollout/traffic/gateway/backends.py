"""Backends of an HTTPRoute's rules: which lead to the stable Service, which to the canary's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.names import CANARY_SUFFIX
from rollout.wire import JsonObject

_SERVICE = ("", "Service")
MOST_WEIGHT = 1_000_000  # of one backend: a limit of the API

Rules = Sequence[JsonObject]
"""``spec.rules`` or the ``backendRefs`` of one of them, fully defaulted."""


@dataclass(frozen=True)
class Backends:
    """The Services of which a release moves requests, in the route's namespace; each has its canary's."""

    namespace: str
    stable: frozenset[str]

    def is_stable(self, ref: JsonObject) -> bool:
        """Tell whether a backendRef is a stable Service."""
        return self._is_service(ref) and ref["name"] in self.stable

    def is_canary(self, ref: JsonObject) -> bool:
        """Tell whether a backendRef is a canary Service."""
        name: str = ref["name"]
        stable = name.removesuffix(CANARY_SUFFIX)
        return self._is_service(ref) and name != stable and stable in self.stable

    def _is_service(self, ref: JsonObject) -> bool:
        kind = (ref.get("group", ""), ref.get("kind", "Service"))
        return kind == _SERVICE and ref.get("namespace") in {None, self.namespace}


def readable(rules: Any) -> bool:
    """Tell whether JSON that nobody has checked is a list of rules whose backends the API allows."""
    if not isinstance(rules, list) or not all(isinstance(rule, Mapping) for rule in rules):
        return False
    return all(_is_readable(ref) for rule in rules for ref in _listed(rule.get("backendRefs")))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_readable(ref: Any) -> bool:
    if not isinstance(ref, Mapping) or not isinstance(ref.get("name"), str):
        return False
    weight = ref.get("weight", 1)
    return isinstance(weight, int) and not isinstance(weight, bool) and 0 <= weight <= MOST_WEIGHT


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
