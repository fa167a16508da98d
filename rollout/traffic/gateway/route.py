"""An HTTPRoute with its marks: what it says now, what its rules follow, and the way back.

Our marks say where requests are to go; the rules follow them. Where the webhook is up it lets them follow
in the very write that changes the marks, or the rules: so the rules stay their owner's for server-side apply,
and a client that applies them anew changes nothing. Where it is not, the reconciler writes the rules next.
"""

from collections.abc import Iterable
from typing import Any

from rollout.traffic.gateway import marks
from rollout.traffic.gateway.backends import Backends, Rules, readable, split_services
from rollout.traffic.gateway.marks import Marks
from rollout.traffic.gateway.matches import Unsayable
from rollout.traffic.gateway.recovery import recover
from rollout.traffic.gateway.rules import render
from rollout.traffic.routing import Routing
from rollout.wire import JsonObject


def backends(namespace: str, services: Iterable[str]) -> Backends:
    """Name the Services of which requests are moved."""
    return Backends(namespace, frozenset(services))


def rules_of(manifest: JsonObject) -> list[JsonObject]:
    """Give the rules as they are."""
    return list((manifest.get("spec") or {}).get("rules") or ())


def rendered(found: Marks, between: Backends, routing: Routing) -> Rules:
    """Give what the rules are when they say a routing; nothing when it cannot be said."""
    try:
        return render(found.original, between, routing)
    except Unsayable:
        return ()


def said(found: Marks, between: Backends, live: Rules) -> Routing | None:
    """Tell which routing the rules say, of those that our marks know; None when others changed them."""
    for routing in (found.routing, found.before):
        if list(live) == list(rendered(found, between, routing)):
            return routing
    return None


def theirs(found: Marks | None, between: Backends, live: Rules) -> Rules:
    """Find what the user's own rules are now."""
    if found is None:
        return recover(live, between, (), ())
    if said(found, between, live) is not None:
        return found.original
    return recover(live, between, found.original, rendered(found, between, found.routing))


def followed(found: Marks, between: Backends, before: Rules, after: Rules) -> tuple[Rules, Rules] | None:
    """Let rules that somebody writes go on saying what they said: as they are then, and as they were meant.

    None where that is not known, or cannot be said: what was written then stands until it is looked at.
    """
    routing = said(found, between, before)
    if routing is None or not readable(list(after)):
        return None
    own = after if list(after) == list(found.original) else _meant(found, between, routing, after)
    try:
        return render(own, between, routing), own
    except Unsayable:
        return None


def _meant(found: Marks, between: Backends, routing: Routing, after: Rules) -> Rules:
    ours = rendered(found, between, routing)
    return found.original if list(after) == list(ours) else recover(after, between, found.original, ours)


def given_back(manifest: JsonObject) -> dict[str, Any]:
    """Build the merge patch that takes our marks, and all we wrote into the rules, from an HTTPRoute."""
    change: dict[str, Any] = {"metadata": {"annotations": dict.fromkeys(marks.KEYS)}}
    live, found = rules_of(manifest), marks.read(manifest)
    # With marks that somebody changed, what is left is the name that the canary's backends have.
    services = found.services if found else split_services(live)
    own = list(theirs(found, backends(manifest["metadata"]["namespace"], services), live))
    return {**change, "spec": {"rules": own}} if own != live else change
