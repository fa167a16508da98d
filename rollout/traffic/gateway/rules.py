"""The canary's share, written into a user's own rules.

Weights divide the stable backend's own share, so that other backends of a rule keep theirs. Matches become
rules of their own; where these stand, and what shields the user's other rules from them:

* The route decides first, the step second: a request goes to the canary when the rule that takes it today
  leads to the stable Service *and* the step's match fits. So each match is joined with the rule's own.
* What is joined is more specific than the rule's own match and wins wherever it stands. It stands at the
  end, because ties are won by the first rule, and a tie with another rule of the user's is the user's.
* Only a match that says no more than the rule's own (a path alone) ties with it, and stands right before it.
* Where a joined match would beat a rule of the user's that has beaten the stable rules so far, that rule is
  repeated with the joined match. What is repeated stands in the order in which the user's own have won.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from rollout import messages
from rollout.names import CANARY_SUFFIX
from rollout.spec import HeaderModifier
from rollout.traffic.gateway.backends import MOST_WEIGHT, Backends, Rules, refs_of, shares, weight_of
from rollout.traffic.gateway.filters import modified, replaces_prefix
from rollout.traffic.gateway.matches import Unsayable, asked, both, covers, matches_of, overlaps, precedence
from rollout.traffic.routing import Routing
from rollout.wire import JsonObject

# Limits of the API (HTTPRoute v1): what is beyond them is refused by the API server.
_MOST_RULES, _MOST_MATCHES, _MOST_MATCHES_IN_ALL = 16, 64, 128
_MOST_BACKENDS = 16
_FINEST = 100  # a percentage of any whole weight is whole when all weights are taken a hundredfold


def render(rules: Rules, backends: Backends, routing: Routing) -> list[JsonObject]:
    """Write a routing into the user's rules. Raises Unsayable.

    Matches take precedence where a step has both, as users of this API know it for the Gateway API.

    A routing that sends the canary nothing names it with weight 0, where that can be said: proxies that learn
    of routes, and of what these lead to, in two pieces have the latter as long as any request may need it.
    """
    if not any(shares(rule, backends) for rule in rules):
        return list(rules)
    if not routing.reaches_canary:
        with suppress(Unsayable):
            return _checked(_with_weight(rules, backends, routing))
        return list(rules)
    return _checked(
        _with_matches(rules, backends, routing) if routing.matches else _with_weight(rules, backends, routing)
    )


def _with_weight(rules: Rules, backends: Backends, routing: Routing) -> list[JsonObject]:
    return [
        {**rule, "backendRefs": _divided(refs_of(rule), backends, routing)}
        if shares(rule, backends)
        else rule
        for rule in rules
    ]


def _divided(refs: Rules, backends: Backends, routing: Routing) -> list[JsonObject]:
    """Take the canary's share out of the stable backend's, in whole numbers, never more than asked for."""
    scale = min(_FINEST, MOST_WEIGHT // max(weight_of(ref) for ref in refs))
    divided: list[JsonObject] = []
    for ref in refs:
        whole = weight_of(ref) * scale
        if not backends.is_stable(ref):
            divided.append({**ref, "weight": whole})
            continue
        share = whole * routing.weight // 100
        divided.append({**ref, "weight": whole - share})
        divided.append(_canary(ref, share, routing.modifier))
    return divided


def _canary(ref: JsonObject, weight: int, modifier: HeaderModifier | None) -> JsonObject:
    return modified({**ref, "name": ref["name"] + CANARY_SUFFIX, "weight": weight}, modifier)


def _with_matches(rules: Rules, backends: Backends, routing: Routing) -> list[JsonObject]:
    stable = [_Served(index, own) for index, rule in enumerate(rules) for own in _served(rule, backends)]
    canaries = {each.index: _canary_rule(rules[each.index], backends, routing.modifier) for each in stable}
    before: dict[int, list[JsonObject]] = {}
    after: list[_Added] = []
    shielding = False
    for each in _joined(stable, [asked(match) for match in routing.matches]):
        if each.equal:
            before.setdefault(each.source.index, []).append(each.match)
            continue
        shields = list(_shields(rules, backends, each, stable))
        after += [*shields, _Added(each.source, canaries[each.source.index], each.match)]
        shielding = shielding or bool(shields)
    if shielding:  # of two that tie, the one whose rule has won so far stands first
        after.sort(key=lambda added: _rank(added.source), reverse=True)
    placed = {index: list(_rules_for(canaries[index], matches)) for index, matches in before.items()}
    own = [each for index, rule in enumerate(rules) for each in (*placed.get(index, ()), rule)]
    return own + [rule for added in _grouped(after) for rule in added]


@dataclass(frozen=True)
class _Added:
    """A match with the rule that it gets, and the match of the user's that it comes from."""

    source: "_Served"
    rule: JsonObject
    match: JsonObject


def _rank(source: "_Served") -> tuple[tuple[int, int, bool, int, int], int]:
    """Order the user's matches as the API does: the greater wins."""
    return precedence(source.match) or (0, 0, False, 0, 0), -source.index


def _grouped(added: Iterable[_Added]) -> Iterator[Iterator[JsonObject]]:
    """Give matches that stand beside each other and get the same rule one rule together."""
    for _, group in groupby(added, key=lambda each: id(each.rule)):
        found = list(group)
        yield _rules_for(found[0].rule, [each.match for each in found])


@dataclass(frozen=True)
class _Served:
    """A match of the user's, and the index of its rule."""

    index: int
    match: JsonObject


@dataclass(frozen=True)
class _Joined:
    """A match for the canary, and the match of the stable Service that it comes from."""

    source: _Served
    match: JsonObject
    equal: bool
    """Whether it says no more than the rule's own, or whether the API does not say which of them wins."""
    new: bool = False
    """Whether it takes requests that no rule of the stable Service has taken so far."""


def _joined(stable: Sequence[_Served], wanted: Sequence[JsonObject]) -> Iterator[_Joined]:
    """Join the step's matches with each match that leads to the stable Service."""
    seen: list[tuple[int, JsonObject]] = []
    for served in stable:
        own = precedence(served.match)
        for each in wanted:
            match = both(served.match, each)
            if match is not None and (served.index, match) not in seen:
                seen.append((served.index, match))
                yield _Joined(served, match, equal=precedence(match) in {None, own} or own is None)
    for each in wanted:
        if not any(overlaps(served.match, each) for served in stable):
            # A path that no rule serves is new with this version: taken as it is asked for.
            yield _Joined(stable[0], each, equal=False, new=True)


def _shields(rules: Rules, backends: Backends, above: _Joined, stable: Sequence[_Served]) -> Iterator[_Added]:
    """Repeat the rules that a joined match would beat, and that have beaten the stable rules so far."""
    so_far = [_rank(each) for each in stable if covers(each.match, above.match)]
    for index, rule in enumerate(rules):
        if above.new or shares(rule, backends):
            continue
        repeated = _unnamed(rule)
        for theirs in matches_of(rule):
            source = _Served(index, theirs)
            if _beaten(theirs, above.match) and _rank(source) > max(so_far):
                shield = both(theirs, above.match)
                if shield is not None:
                    yield _Added(source, repeated, shield)


def _beaten(theirs: JsonObject, match: JsonObject) -> bool:
    """Tell whether a joined match at the end of the list wins over one of the user's."""
    a, b = precedence(theirs), precedence(match)
    return a is not None and b is not None and a < b


def _served(rule: JsonObject, backends: Backends) -> Sequence[JsonObject]:
    """Give the matches by which a rule sends requests to the stable Service."""
    return matches_of(rule) if shares(rule, backends) else ()


def _canary_rule(rule: JsonObject, backends: Backends, modifier: HeaderModifier | None) -> JsonObject:
    """Make the rule that sends everything to the canary, with the filters of the user's."""
    refs = [ref for ref in refs_of(rule) if backends.is_stable(ref)]
    sole = len(refs) == 1
    canaries = [_canary(ref, 1 if sole else weight_of(ref), None) for ref in refs]
    return {**modified(_unnamed(rule), modifier), "backendRefs": canaries}


def _rules_for(rule: JsonObject, matches: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Give a rule its matches: all in one, but one each where a prefix is replaced (a rule of the API)."""
    if not replaces_prefix(rule):
        if matches:
            yield {**rule, "matches": list(matches)}
        return
    for match in matches:
        if match.get("path", {}).get("type", "PathPrefix") != "PathPrefix":
            raise Unsayable(messages.prefix_replaced(match["path"]["type"]))
        yield {**rule, "matches": [match]}


def _unnamed(rule: JsonObject) -> JsonObject:
    """Leave out the name, which is one rule's alone."""
    return {key: value for key, value in rule.items() if key != "name"}


def _checked(rules: list[JsonObject]) -> list[JsonObject]:
    """Say what the API server would refuse. Raises Unsayable."""
    counts = [len(matches_of(rule)) for rule in rules]
    backends = max(len(refs_of(rule)) for rule in rules)
    for found, most, what in (
        (len(rules), _MOST_RULES, "rules"),
        (max(counts), _MOST_MATCHES, "matches in a rule"),
        (sum(counts), _MOST_MATCHES_IN_ALL, "matches"),
        (backends, _MOST_BACKENDS, "backendRefs in a rule"),
    ):
        if found > most:
            raise Unsayable(messages.route_too_large(found, what, most))
    return rules
