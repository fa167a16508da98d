"""The canary Ingresses: the only objects that send requests to the canary.

When a routing was last changed stands on the Ingress itself, in the same write, so that the
grace of the data plane is counted right after any crash.
"""

from datetime import datetime, timedelta
from typing import Any

from rollout import messages, names
from rollout.actions import Create, Delete, Patch
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome
from rollout.snapshot import Ingress, Snapshot
from rollout.spec import Step, TrafficRoutingRef
from rollout.status import parse_time
from rollout.traffic import nginx
from rollout.traffic.routing import ALL_STABLE, Routing
from rollout.wire import JsonObject


def suitable(facts: Facts, ref: TrafficRoutingRef) -> Outcome:
    """Refuse an Ingress that is missing or does not lead to the stable Service."""
    name = ref.ingress_name
    if ref.http_route or ref.custom or name is None:
        return Doing(messages.route_unsupported(ref.service), blocked=True)
    stable = facts.snapshot.ingresses.get(name)
    if stable is None or stable.deleting:
        return Doing(messages.ingress_missing(name), blocked=True)
    if not nginx.routes_to(stable.manifest, ref.service):
        return Doing(messages.ingress_unrelated(name, ref.service), blocked=True)
    canary = facts.snapshot.ingresses.get(name + names.CANARY_SUFFIX)
    if canary and not canary.owned:
        return Doing(messages.not_ours("Ingress", canary.target.name), blocked=True)
    return DONE


def wanted(step: Step) -> Routing:
    """Say where a step sends requests; a step without traffic sends the canary none."""
    return Routing(weight=step.weight or 0, matches=step.matches)


def reaches_canary(snapshot: Snapshot, ref: TrafficRoutingRef) -> bool:
    """Tell whether any request can arrive at the canary through this route now."""
    canary = owned_canary(snapshot, ref)
    return canary is not None and nginx.may_reach_canary(canary.manifest, ref.ingress_class)


def restrict(facts: Facts, ref: TrafficRoutingRef, limit: Routing) -> Outcome:
    """Bring a route down to ``limit`` where it sends more to the canary, and undo edits by others.

    Never raises a weight: raising is ``route``'s, after pods and endpoints were seen.
    """
    canary = owned_canary(facts.snapshot, ref)
    if canary is None or canary.deleting:
        return DONE
    live = nginx.read(canary.manifest, ref.ingress_class)
    if live is None:  # somebody else's hand is in it: nothing, until pods and endpoints were seen
        return _apply(facts, ref, canary, ALL_STABLE)
    return _apply(facts, ref, canary, live if _within(live, limit) else limit)


def route(facts: Facts, ref: TrafficRoutingRef, routing: Routing) -> Outcome:
    """Write a routing, see it written, and give the data plane its grace.

    The canary Ingress is created without traffic and raised by a guarded write: a creation that arrives
    late must not send requests to a canary that is gone.
    """
    if ref.ingress_name is None:
        return DONE
    canary = owned_canary(facts.snapshot, ref)
    if canary is None:
        if not routing.reaches_canary:
            return DONE
        manifest = _render(facts, ref, ALL_STABLE)
        return Doing(
            f"creates Ingress {manifest['metadata']['name']}",
            (Create(manifest, why="carry the canary's share, none yet"),),
        )
    if canary.deleting:
        return Doing(messages.waits_for_removal("Ingress", canary.target.name))
    return _apply(facts, ref, canary, routing) or grace(facts.snapshot, ref)


def silence(snapshot: Snapshot, ref: TrafficRoutingRef) -> Outcome:
    """Send everything to the stable Service, whatever else is wrong, and give the data plane its grace."""
    canary = owned_canary(snapshot, ref)
    if canary is None:
        return DONE
    if canary.deleting or not nginx.may_reach_canary(canary.manifest, ref.ingress_class):
        return grace(snapshot, ref)
    annotations: dict[str, Any] = {
        **dict.fromkeys(nginx.routing_keys(ref.ingress_class)),
        **nginx.annotations(ALL_STABLE, ref.ingress_class),
        names.CHANGED_AT: _stamp(snapshot.now),
    }
    change = {"metadata": {"annotations": annotations}}
    patch = Patch(canary.target, guarded(canary.target, change), why="send everything to the stable Service")
    return Doing(f"takes all traffic from Ingress {canary.target.name}", (patch,))


def grace(snapshot: Snapshot, ref: TrafficRoutingRef) -> Outcome:
    """Wait until the data plane had its time to notice the last change of a route."""
    canary = owned_canary(snapshot, ref)
    if canary is None or ref.grace_seconds <= 0:
        return DONE
    changed = parse_time((canary.manifest["metadata"].get("annotations") or {}).get(names.CHANGED_AT))
    if changed is None:
        return DONE
    if changed > snapshot.now:  # written under a clock that was ahead: counted from now
        change = {"metadata": {"annotations": {names.CHANGED_AT: _stamp(snapshot.now)}}}
        patch = Patch(canary.target, guarded(canary.target, change), why="its time of change lies ahead")
        return Doing(messages.waits_for_grace(ref.grace_seconds), (patch,))
    until = changed + timedelta(seconds=ref.grace_seconds)
    if snapshot.now >= until:
        return DONE
    return Doing(messages.waits_for_grace(ref.grace_seconds), until=until)


def remove(snapshot: Snapshot) -> Outcome:
    """Delete every canary Ingress of the Rollout and wait until they are gone."""
    for each in snapshot.ingresses.values():
        if each.owned:
            waits = messages.waits_for_removal("Ingress", each.target.name)
            actions = (
                () if each.deleting else (Delete(each.target, why="no traffic is routed by it any more"),)
            )
            return Doing(waits, actions)
    return DONE


def owned_canary(snapshot: Snapshot, ref: TrafficRoutingRef) -> Ingress | None:
    """Find the canary Ingress of a route, if it is ours."""
    if ref.ingress_name is None:
        return None
    found = snapshot.ingresses.get(ref.ingress_name + names.CANARY_SUFFIX)
    return found if found and found.owned else None


def _within(live: Routing, limit: Routing) -> bool:
    return live.weight <= limit.weight and set(live.matches) <= set(limit.matches)


def _render(facts: Facts, ref: TrafficRoutingRef, routing: Routing) -> dict[str, Any]:
    stable = facts.snapshot.ingresses[str(ref.ingress_name)]
    manifest = nginx.render(
        stable.manifest, ref.service, ref.service + names.CANARY_SUFFIX, ref.ingress_class, routing
    )
    metadata = manifest["metadata"]
    # As on the stable Service: what was planned for an earlier release must not fit this one.
    metadata["annotations"][names.RELEASE] = facts.release
    metadata["annotations"][names.CHANGED_AT] = _stamp(facts.snapshot.now)
    metadata["ownerReferences"] = [facts.owner]
    return manifest


def _apply(facts: Facts, ref: TrafficRoutingRef, canary: Ingress, routing: Routing) -> Outcome:
    """Make the canary Ingress what the stable one and the routing say; foreign annotations stay."""
    change = _difference(canary.manifest, _render(facts, ref, routing), nginx.routing_keys(ref.ingress_class))
    if change is None:
        return DONE
    patch = Patch(canary.target, guarded(canary.target, change), why=f"send {routing.weight} % to the canary")
    return Doing(f"routes {routing.weight} % to the canary by Ingress {canary.target.name}", (patch,))


def _difference(live: JsonObject, wanted: JsonObject, routing_keys: frozenset[str]) -> dict[str, Any] | None:
    """Build the merge patch that makes ``live`` carry ``wanted``; None when it does.

    The time stamp goes along only when the routing itself changes: a copied annotation is no reason to wait.
    """
    has: JsonObject = live["metadata"].get("annotations") or {}
    wants: JsonObject = wanted["metadata"]["annotations"]
    annotations: dict[str, Any] = {
        key: value for key, value in wants.items() if key != names.CHANGED_AT and has.get(key) != value
    }
    annotations |= {key: None for key in routing_keys if key in has and key not in wants}
    spec = {key: wanted["spec"].get(key) for key in ("rules", "tls", "ingressClassName")}
    changed_spec = {key: value for key, value in spec.items() if live["spec"].get(key) != value}
    if not annotations and not changed_spec:
        return None
    if annotations.keys() & routing_keys or "rules" in changed_spec:
        annotations[names.CHANGED_AT] = wants[names.CHANGED_AT]
    return {
        **({"metadata": {"annotations": annotations}} if annotations else {}),
        **({"spec": changed_spec} if changed_spec else {}),
    }


def _stamp(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds")
