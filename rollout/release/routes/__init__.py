"""The routes of a release: the only objects that send requests to the canary.

When a route was last changed stands on the route itself, in the same write, so that the grace
of the data plane is counted right after any crash.
"""

from collections.abc import Iterator
from datetime import timedelta

from rollout import messages
from rollout.actions import Delete, Target
from rollout.release.facts import Facts
from rollout.release.outcome import DONE, Doing, Outcome, together
from rollout.release.routes.custom import CustomRoute
from rollout.release.routes.http_route import HTTPRoute
from rollout.release.routes.ingress import IngressRoute
from rollout.release.routes.returning import changed, give_back, unseen
from rollout.release.routes.route import Route
from rollout.snapshot import Snapshot
from rollout.spec import TrafficRoutingRef
from rollout.status import parse_time
from rollout.traffic.routing import ALL_STABLE, Routing, wanted

__all__ = [
    "carry",
    "grace",
    "left",
    "observed",
    "reaches_canary",
    "remove",
    "restrict",
    "route",
    "silence",
    "suitable",
    "unseen",
    "wanted",
]

# Sending everything to the stable Service must not depend for ever on a data plane that says it has noticed:
# one that has not said so in this time is away, and so are the requests that it would have sent.
_LONGEST_NOTICE = timedelta(seconds=60)


def routes_of(facts: Facts, ref: TrafficRoutingRef) -> tuple[Route, ...]:
    """Give the routes of an entry of trafficRoutings, in the order in which the canary's share rises."""
    return (
        *(CustomRoute(facts, ref, each) for each in ref.custom),
        *((HTTPRoute(facts, ref, ref.http_route),) if ref.http_route else ()),
        *((IngressRoute(facts, ref, ref.ingress_name),) if ref.ingress_name else ()),
    )


def suitable(facts: Facts, ref: TrafficRoutingRef) -> Outcome:
    """Refuse a route that is missing or does not lead to the stable Service."""
    routes = routes_of(facts, ref)
    if not routes:
        return Doing(messages.route_unsupported(ref.service), blocked=True)
    problems = (route.problem for route in routes)
    return together(Doing(problem, blocked=True) for problem in problems if problem)


def reaches_canary(facts: Facts, ref: TrafficRoutingRef) -> bool:
    """Tell whether any request can arrive at the canary through these routes now."""
    return any(route.reaches_canary for route in routes_of(facts, ref))


def send(facts: Facts, ref: TrafficRoutingRef, routing: Routing) -> bool:
    """Tell whether these routes send the canary as much as a routing says, or more."""
    asked = ((route.said_by(routing), route.live) for route in routes_of(facts, ref))
    return all(live is not None and wants.within(live) == wants for wants, live in asked)


def carry(facts: Facts, ref: TrafficRoutingRef) -> bool:
    """Tell whether there is anything of ours on these routes."""
    return any(route.carries for route in routes_of(facts, ref))


def restrict(facts: Facts, ref: TrafficRoutingRef, limit: Routing) -> Outcome:
    """Bring routes down to ``limit`` where they send more to the canary, and undo edits by others.

    Never raises a weight: raising is ``route``'s, after pods and endpoints were seen.
    """
    return together(_restrict(route, limit) for route in reversed(routes_of(facts, ref)))


def _restrict(route: Route, limit: Routing) -> Outcome:
    if not route.carries or route.leaving:
        return DONE
    live = route.live
    if live is None:  # somebody else's hand is in it: nothing, until pods and endpoints were seen
        return route.say(ALL_STABLE)
    return route.say(live.within(limit))


def route(facts: Facts, ref: TrafficRoutingRef, routing: Routing) -> Outcome:
    """Write a routing, see it written, and give the data plane its grace.

    A route begins without traffic and is raised by a guarded write: what arrives late, from a reconciler
    that no longer leads, must not send requests to a canary that is gone.
    """
    return together(_route(facts, each, routing) for each in routes_of(facts, ref)) or grace(facts, ref)


def _route(facts: Facts, route: Route, routing: Routing) -> Outcome:
    if not route.carries:
        return route.begin() if routing.reaches_canary else DONE
    if route.leaving:
        return Doing(route.leaving)
    # What names the canary has to be known before requests are sent there by it.
    if routing.reaches_canary and not route.reaches_canary and route.unnoticed:
        return Doing(route.unnoticed, blocked=facts.spec.strict)
    return route.say(routing)


def silence(facts: Facts, ref: TrafficRoutingRef) -> Outcome:
    """Send everything to the stable Service, whatever else is wrong, and give the data plane its grace."""
    loud = (each for each in reversed(routes_of(facts, ref)) if each.reaches_canary and not each.leaving)
    return together(each.silence() for each in loud) or grace(facts, ref, at_most=_LONGEST_NOTICE)


def grace(facts: Facts, ref: TrafficRoutingRef, at_most: timedelta | None = None) -> Outcome:
    """Wait until the data plane has noticed the last change of each route, or had its time to.

    ``at_most`` limits the wait for a data plane that has to say so itself.
    """
    return together(_grace(facts, route, at_most) for route in routes_of(facts, ref) if route.carries)


def _grace(facts: Facts, route: Route, at_most: timedelta | None) -> Outcome:
    seconds, now = route.ref.grace_seconds, facts.snapshot.now
    changed = parse_time(route.changed_at)
    if route.unnoticed:
        last = changed + at_most if changed and at_most else None
        if at_most is None or (last and now < last):
            return Doing(route.unnoticed, until=last, blocked=facts.spec.strict)
    if seconds <= 0 or changed is None:
        return DONE
    if changed > now:  # written under a clock that was ahead: counted from now
        return route.restamp()
    until = changed + timedelta(seconds=seconds)
    return DONE if now >= until else Doing(messages.waits_for_grace(seconds), until=until)


def observed(facts: Facts) -> Iterator[Target | None]:
    """Give what was observed of every object that may carry a share of the canary's."""
    return (route.observed for ref in facts.spec.routings for route in routes_of(facts, ref))


def left(snapshot: Snapshot) -> bool:
    """Tell whether anything of ours is on any route, or may be on one that cannot be seen."""
    return any(each.owned for each in snapshot.ingresses.values()) or bool(changed(snapshot))


def remove(snapshot: Snapshot) -> Outcome:
    """Give every changed object back, delete every canary Ingress, and wait until they are gone."""
    return give_back(snapshot) or _remove_ingresses(snapshot)


def _remove_ingresses(snapshot: Snapshot) -> Outcome:
    for each in snapshot.ingresses.values():
        if each.owned:
            waits = messages.waits_for_removal("Ingress", each.target.name)
            actions = (
                () if each.deleting else (Delete(each.target, why="no traffic is routed by it any more"),)
            )
            return Doing(waits, actions)
    return DONE
