"""The TrafficRouting that a release goes through: taken before anything is routed, let go when nothing is.

    what it says is noted on the Rollout -> the TrafficRouting bears our finalizer
      -> the release, by what was noted -> finalizer gone -> note gone

The finalizer keeps the object alive; the note keeps the release on its routes whatever becomes of the
object. Both are found by what they are, not by what the Rollout says by now. Several Rollouts may hold one
TrafficRouting: each takes the routes to its own Services, and no two can change one route at a time.
"""

from collections.abc import Iterator
from dataclasses import replace

from rollout import messages, names
from rollout.actions import Patch
from rollout.release import routes
from rollout.release.facts import Facts, guarded, pinned_services
from rollout.release.outcome import DONE, Doing, Outcome, together
from rollout.shared_routing import Engaged, leaves_routing, remembered, taken
from rollout.shared_routing_status import LONGEST_USER
from rollout.snapshot import Service, Snapshot, TrafficRouting
from rollout.spec import RolloutSpec, SharedRouting, TrafficRoutingRef
from rollout.status import Phase, Status
from rollout.validation_shared import misfit

_CONDITION = "TrafficRouting"


def resolved(snapshot: Snapshot, spec: RolloutSpec) -> RolloutSpec:
    """Give the spec with the routes that the present release has, or the next one would get."""
    shared = _shared(snapshot, spec)
    if shared is None:
        return spec
    own = _own(snapshot, shared)
    return taken(spec, replace(shared, routings=own)) if own else replace(spec, routings=())


def engage(facts: Facts) -> Outcome:
    """Take the TrafficRouting for this release, or say why that cannot be."""
    name = _name(facts.snapshot, facts.spec)
    if name is None:
        return DONE
    found = facts.snapshot.traffic_routings.get(name)
    if found is None:
        return Doing(messages.traffic_routing_missing(name), blocked=True)
    if reason := _refused(facts, found):
        return Doing(reason, blocked=True)
    return _note(facts, found) or _unfit(facts, name) or _claim(facts, found)


def disengage(snapshot: Snapshot) -> Outcome:
    """Let every TrafficRouting go that the Rollout holds, then forget what it said."""
    own = snapshot.rollout.target
    held = (each for each in snapshot.traffic_routings.values() if own.name in each.users)
    if outcome := together(_let_go(each, own.name) for each in held):
        return outcome
    if not snapshot.rollout.noted:
        return DONE
    change = guarded(own, {"metadata": {"annotations": {names.ENGAGED: None}}})
    forget = Patch(own, change, why="nothing is routed through a TrafficRouting any more")
    return Doing("forgets what the TrafficRouting said", (forget,))


def left(snapshot: Snapshot) -> bool:
    """Tell whether any TrafficRouting is held, or noted."""
    name = snapshot.rollout.target.name
    held = any(name in each.users for each in snapshot.traffic_routings.values())
    return held or snapshot.rollout.noted


def told(snapshot: Snapshot, status: Status) -> Status:
    """Say in a condition what a person should know of the TrafficRouting while a release goes through it."""
    news = next(_news(snapshot), None) if status.phase is Phase.PROGRESSING else None
    if news is None:
        return status.without_condition(_CONDITION)
    reason, message = news
    return status.with_condition(_CONDITION, status=True, reason=reason, message=message, now=snapshot.now)


# --- which, and what of it -------------------------------------------------------------------------


def _name(snapshot: Snapshot, spec: RolloutSpec) -> str | None:
    """Name the TrafficRouting: of a release under way the one that it began with."""
    engaged = snapshot.rollout.engaged
    return engaged.name if engaged and _begun(snapshot) else spec.traffic_routing_ref


def _shared(snapshot: Snapshot, spec: RolloutSpec) -> SharedRouting | None:
    """Give the routes that a release began with; the strategy can be edited meanwhile, as steps can."""
    engaged, name = snapshot.rollout.engaged, _name(snapshot, spec)
    found = snapshot.traffic_routings.get(name) if name else None
    live = found.shared if found and isinstance(found.shared, SharedRouting) else None
    if engaged and _begun(snapshot):
        return replace(live or engaged.shared, routings=engaged.shared.routings)
    return live


def _own(snapshot: Snapshot, shared: SharedRouting) -> tuple[TrafficRoutingRef, ...]:
    """Leave out routes to Services of other workloads."""
    return tuple(each for each in shared.routings if _is_own(snapshot, each.service))


def _is_own(snapshot: Snapshot, name: str) -> bool:
    """Tell whether a Service selects the workload's pods; one that is missing or held by us counts."""
    service, workload = snapshot.services.get(name), snapshot.workload
    if service is None or workload is None or service.pinned_by == snapshot.rollout.target.name:
        return True
    labels = (workload.manifest["spec"]["template"].get("metadata") or {}).get("labels") or {}
    return _selector(service).items() <= labels.items()


def _selector(service: Service) -> dict[str, str]:
    selector = service.manifest["spec"].get("selector") or {}
    return {key: value for key, value in selector.items() if key != names.POD_TEMPLATE_HASH}


def _begun(snapshot: Snapshot) -> bool:
    """Tell whether anything depends on what was noted: a route, a Service of the canary's, a pin."""
    return (
        routes.left(snapshot)
        or any(each.owned for each in snapshot.services.values())
        or bool(pinned_services(snapshot, ()))
    )


# --- taking it -------------------------------------------------------------------------------------


def _refused(facts: Facts, found: TrafficRouting) -> str | None:
    """Say why a release cannot go through a TrafficRouting; one that it has begun with it goes on with."""
    name, own = found.target.name, facts.rollout.target.name
    if len(own) > LONGEST_USER:
        return messages.rollout_name_too_long(own, LONGEST_USER)
    if found.deleting and own not in found.users:
        return messages.traffic_routing_leaves(name)
    if isinstance(found.shared, tuple) and not (facts.rollout.engaged and _begun(facts.snapshot)):
        return messages.traffic_routing_unreadable(name, found.shared)
    return None


def _note(facts: Facts, found: TrafficRouting) -> Outcome:
    """Write down what the TrafficRouting says, while nothing depends on an earlier note."""
    engaged, target = facts.rollout.engaged, facts.rollout.target
    current = engaged and (engaged.name, engaged.spec) == (found.target.name, found.spec)
    if current or (engaged and _begun(facts.snapshot)):
        return DONE
    note = {names.ENGAGED: remembered(found.target.name, found.spec)}
    change = guarded(target, {"metadata": {"annotations": note}})
    write = Patch(target, change, why="keep to these routes, whatever becomes of the TrafficRouting")
    return Doing(f"notes what TrafficRouting {found.target.name} says", (write,))


def _unfit(facts: Facts, name: str) -> Outcome:
    """Refuse routes that admission would not let a Rollout name itself, and traffic without any route."""
    if not facts.spec.routings and not leaves_routing(facts.spec):
        deployment = facts.workload.target.name
        return Doing(messages.traffic_routing_foreign(name, deployment), blocked=True)
    why = misfit(facts.spec, f"TrafficRouting {name}")
    return Doing(messages.traffic_routing_unfit(name, why), blocked=True) if why else DONE


def _claim(facts: Facts, found: TrafficRouting) -> Outcome:
    own = facts.rollout.target.name
    marks = (names.TRAFFIC_ROUTING_FINALIZER, names.USED_BY + own)
    missing = [each for each in marks if each not in found.finalizers]
    if not missing or found.deleting:  # what is on its way out takes no new finalizer
        return DONE
    return _marked(found, [*found.finalizers, *missing], "keep it while this release goes through it")


def _let_go(found: TrafficRouting, rollout: str) -> Outcome:
    rest = [each for each in found.finalizers if each != names.USED_BY + rollout]
    if not any(each.startswith(names.USED_BY) for each in rest):
        rest = [each for each in rest if each != names.TRAFFIC_ROUTING_FINALIZER]
    return _marked(found, rest, "this release is not routed through it any more")


def _marked(found: TrafficRouting, finalizers: list[str], why: str) -> Outcome:
    change = guarded(found.target, {"metadata": {"finalizers": finalizers}})
    waits = f"marks TrafficRouting {found.target.name}: {why}"
    return Doing(waits, (Patch(found.target, change, why=why),))


# --- what became of it -----------------------------------------------------------------------------


def _news(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    engaged = snapshot.rollout.engaged
    if engaged is None:
        return
    found, name = snapshot.traffic_routings.get(engaged.name), engaged.name
    if found is not None and found.deleting:
        yield "Deleted", messages.traffic_routing_deleted(name)
    if _begun(snapshot):
        yield from _changes(found, engaged)
    if not _own(snapshot, engaged.shared):
        yield "NotRouted", messages.traffic_routing_attended(name)


def _changes(found: TrafficRouting | None, engaged: Engaged) -> Iterator[tuple[str, str]]:
    if found is None:
        yield "Missing", messages.traffic_routing_gone(engaged.name)
    elif isinstance(found.shared, tuple):
        yield "Unreadable", messages.traffic_routing_unreadable(engaged.name, found.shared)
    elif found.shared.routings != engaged.shared.routings:
        yield "Changed", messages.traffic_routing_changed(engaged.name)
