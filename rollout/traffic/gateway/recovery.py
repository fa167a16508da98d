"""The way back: the user's own rules out of whatever became of those that we had written."""

from collections.abc import Iterable
from typing import Any

from rollout.traffic.gateway.backends import MOST_WEIGHT, Backends, Rules, refs_of, weight_of
from rollout.wire import JsonObject


def recover(live: Rules, backends: Backends, original: Rules | None, rendered: Rules) -> list[JsonObject]:
    """Find what the user's rules are now, whatever was done to those that we had written.

    What we added goes: rules that lead to the canary alone, copies made to shield others, and the canary's
    backendRefs. A rule that still is as we divided it gets back the weights that it had; in one whose weights
    were changed, the canary's share returns to the stable backend.
    """
    before = original or ()
    divided = len(rendered) == len(before)  # matches only ever add rules, weights never do
    added = [] if divided else [each for each in rendered if each not in before]
    pairs = list(zip(rendered, before, strict=True)) if divided else []
    kept = [rule for rule in live if rule not in added and not _is_canary_rule(rule, backends)]
    return [_undivided(rule, backends, pairs) for rule in kept]


def _is_canary_rule(rule: JsonObject, backends: Backends) -> bool:
    refs = refs_of(rule)
    return bool(refs) and all(backends.is_canary(ref) for ref in refs)


def _undivided(
    rule: JsonObject, backends: Backends, pairs: Iterable[tuple[JsonObject, JsonObject]]
) -> JsonObject:
    refs = refs_of(rule)
    if not any(backends.is_canary(ref) for ref in refs):
        return rule
    shape = _shape(refs, backends)
    for ours, theirs in pairs:
        if _shape(refs_of(ours), backends) == shape:
            return {**rule, "backendRefs": list(refs_of(theirs))}
    return {**rule, "backendRefs": _returned(refs, backends)}


def _shape(refs: Rules, backends: Backends) -> list[JsonObject]:
    """Describe backends but for how requests are divided between stable and canary."""
    return [
        {**ref, "weight": None} if backends.is_stable(ref) else ref
        for ref in refs
        if not backends.is_canary(ref)
    ]


def _returned(refs: Rules, backends: Backends) -> list[JsonObject]:
    """Give the canary's shares to the stable backends before them, or to the first."""
    kept: list[dict[str, Any]] = []
    homeless = 0
    for ref in refs:
        if not backends.is_canary(ref):
            kept.append(dict(ref))
        elif kept and backends.is_stable(kept[-1]):
            kept[-1]["weight"] = min(MOST_WEIGHT, weight_of(kept[-1]) + weight_of(ref))
        else:
            homeless += weight_of(ref)
    for ref in kept:
        if homeless and backends.is_stable(ref):
            ref["weight"] = min(MOST_WEIGHT, weight_of(ref) + homeless)
            break
    return list(kept)
