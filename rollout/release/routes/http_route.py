"""The user's own HTTPRoute: changed for the time of a release, and given back as it was.

Whatever others make of it meanwhile is followed: their rules are found again in what they wrote, and the
canary's share is written into these.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rollout import messages, names
from rollout.actions import Patch, Target
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome
from rollout.route_kinds import HTTP_ROUTE, RouteRef, Unseen
from rollout.snapshot import RouteObject
from rollout.spec import TrafficRoutingRef
from rollout.status import format_instant
from rollout.traffic.gateway import acceptance, marks, route
from rollout.traffic.gateway.backends import (
    Backends,
    Rules,
    leads_to_stable,
    names_canary,
    reaches_canary,
)
from rollout.traffic.gateway.marks import Marks
from rollout.traffic.gateway.matches import Unsayable
from rollout.traffic.gateway.rules import render
from rollout.traffic.routing import ALL_STABLE, Routing, wanted


@dataclass(frozen=True)
class HTTPRoute:
    """An HTTPRoute of the Gateway API v1.

    All traffic routings that name it are said on it together, by whichever of them looks at it.
    """

    facts: Facts
    ref: TrafficRoutingRef
    name: str

    @property
    def problem(self) -> str | None:
        """Say what is missing, does not fit, is refused by a Gateway, or cannot be said on it."""
        if self._unseen:
            return self._unseen.why
        if self._object is None or self._object.deleting:
            return messages.route_missing("HTTPRoute", self.name)
        holder = self._object.routed_by
        if holder not in {None, self._rollout}:
            return messages.routed_elsewhere("HTTPRoute", self.name, str(holder))
        return self._unfit or self._refused or self._beyond

    @property
    def observed(self) -> Target | None:
        """Give the HTTPRoute."""
        if self._unseen:
            return None
        kind = HTTP_ROUTE
        return self._object.target if self._object else Target.absent(kind.kind, self.name, kind.api_version)

    @property
    def carries(self) -> bool:
        """Whether it bears our marks."""
        return self._object is not None and self._object.routed_by == self._rollout

    @property
    def leaving(self) -> str | None:
        """Nothing of ours is ever deleted; an HTTPRoute that goes is the user's, and written to its end."""
        return None

    @property
    def reaches_canary(self) -> bool:
        """Whether its rules can send any request to the canary.

        A backend of that name on a route without our marks counts when the Service is ours: it got there
        during a release, by whatever way.
        """
        if self._unseen:
            return self._canary_is_ours and not self._unseen.absent
        return reaches_canary(self._live, self._backends) and (self.carries or self._canary_is_ours)

    @property
    def live(self) -> Routing | None:
        """Read it from our marks, where the rules are what we made of them."""
        if not self.carries:
            return ALL_STABLE
        found = route.said(self._marks, self._backends, self._live) if self._marks else None
        return self.said_by(found) if found else None

    @property
    def changed_at(self) -> str | None:
        """Read the stamp, written together with the rules."""
        return self._annotations.get(names.CHANGED_AT) if self.carries else None

    @property
    def unnoticed(self) -> str | None:
        """Name a Gateway that has not accepted the present generation."""
        lags = acceptance.lagging(self._object.manifest) if self._object else None
        return messages.http_route_unnoticed(self.name, lags) if lags else None

    def said_by(self, routing: Routing) -> Routing:
        """Leave matches without the weight beside them: on an HTTPRoute they take precedence."""
        return replace(routing, weight=0) if routing.matches else routing

    def begin(self) -> Outcome:
        """Write our marks, which change nothing yet."""
        return self.say(ALL_STABLE)

    def say(self, routing: Routing) -> Outcome:
        """Make the rules say a routing, from what the user's own rules are now.

        The marks alone are written first, so that the webhook can let the rules follow in the same write;
        where they did not, they are written here. After another hand both are written at once.
        """
        if self._object is None:
            return DONE
        routing = self.said_by(routing)
        own, now = self._theirs, self.live if self._marks else None
        try:
            rules = render(own, self._backends, routing)
        except Unsayable as reason:
            return Doing(messages.http_route_beyond(self.name, str(reason)), blocked=True)
        if now is None and self.carries:
            return self._written(self._marked(routing, routing, own), rules)
        found = self._marks or self._marked(ALL_STABLE, ALL_STABLE, own)
        if now == routing:  # it says so, whatever our marks ask for next
            return self._written(replace(found, release=self.facts.release), None)
        if found.routing == routing and self.carries:
            return self._written(found, rules)
        return self._written(self._marked(routing, now or ALL_STABLE, own), None)

    def silence(self) -> Outcome:
        """Write the user's own rules; what cannot be seen cannot be silenced."""
        if self._unseen:
            return DONE if self._unseen.absent else Doing(self._unseen.why, blocked=True)
        return self.say(ALL_STABLE)

    def restamp(self) -> Outcome:
        """Write the stamp alone."""
        return self._patched({names.CHANGED_AT: self._now}, None, "its time of change lies ahead")

    # --- judging -------------------------------------------------------------------------------------

    @property
    def _unfit(self) -> str | None:
        if not leads_to_stable(
            self._theirs, route.backends(self.facts.rollout.namespace, (self.ref.service,))
        ):
            return messages.http_route_unrelated(self.name, self.ref.service)
        foreign = not self.carries and not self._canary_is_ours
        if foreign and names_canary(self._live, self._backends):
            return messages.route_occupied("HTTPRoute", self.name, self._canary_service)
        return None

    @property
    def _refused(self) -> str | None:
        manifest = self._object.manifest if self._object else {}
        if not acceptance.parents(manifest):
            return messages.http_route_orphaned(self.name)
        refusal = acceptance.refusal(manifest)
        return messages.http_route_refused(self.name, *refusal) if refusal else None

    @property
    def _beyond(self) -> str | None:
        """Try every step now: a release must not begin that cannot be finished."""
        try:
            for step in self.facts.spec.steps:
                render(self._theirs, self._backends, wanted(step))
        except Unsayable as reason:
            return messages.http_route_beyond(self.name, str(reason))
        written = Marks("", "", self._services, ALL_STABLE, ALL_STABLE, self._theirs).annotations()
        size = sum(len(text.encode()) for text in written.values())
        if size > marks.LARGEST:
            return messages.http_route_beyond(self.name, messages.marks_too_large(size, marks.LARGEST))
        return None

    # --- parts ---------------------------------------------------------------------------------------

    @cached_property
    def _object(self) -> RouteObject | None:
        return self.facts.snapshot.route_objects.get(RouteRef(*HTTP_ROUTE, self.name))

    @property
    def _unseen(self) -> Unseen | None:
        return self.facts.snapshot.unseen.get(HTTP_ROUTE)

    @property
    def _rollout(self) -> str:
        return self.facts.rollout.target.name

    @property
    def _services(self) -> tuple[str, ...]:
        found = {each.service for each in self.facts.spec.routings if each.http_route == self.name}
        return tuple(sorted(found))

    @property
    def _backends(self) -> Backends:
        return route.backends(self.facts.rollout.namespace, self._services)

    @property
    def _canary_service(self) -> str:
        return self.ref.service + names.CANARY_SUFFIX

    @property
    def _canary_is_ours(self) -> bool:
        found = (self.facts.snapshot.services.get(name + names.CANARY_SUFFIX) for name in self._services)
        return any(each and each.owned for each in found)

    @property
    def _live(self) -> Rules:
        return route.rules_of(self._object.manifest) if self._object else ()

    @cached_property
    def _marks(self) -> Marks | None:
        found = marks.read(self._object.manifest) if self._object and self.carries else None
        return found if found and found.services == self._services else None

    @cached_property
    def _theirs(self) -> Rules:
        """Find what the user's own rules are now."""
        if not self.carries and not self._canary_is_ours:
            return self._live
        return route.theirs(self._marks, self._backends, self._live)

    def _marked(self, routing: Routing, before: Routing, own: Rules) -> Marks:
        return Marks(self._rollout, self.facts.release, self._services, routing, before, own)

    @property
    def _annotations(self) -> dict[str, str]:
        return dict(self._object.manifest["metadata"].get("annotations") or {}) if self._object else {}

    @property
    def _now(self) -> str:
        return format_instant(self.facts.snapshot.now)

    def _written(self, wants: Marks, rules: Rules | None) -> Outcome:
        """Write what of marks and rules is not so; the stamp goes along when requests are sent elsewhere."""
        has = self._annotations
        annotations: dict[str, str] = {
            key: value for key, value in wants.annotations().items() if has.get(key) != value
        }
        changed = list(rules) if rules is not None and list(rules) != list(self._live) else None
        if not annotations and changed is None:
            return DONE
        if changed is not None or names.ROUTING in annotations:
            annotations[names.CHANGED_AT] = self._now
        why = f"send {wants.routing.weight} % to the canary"
        return self._patched(annotations, changed, why)

    def _patched(self, annotations: dict[str, str], rules: Rules | None, why: str) -> Outcome:
        if self._object is None:
            return DONE
        change: dict[str, Any] = {"metadata": {"annotations": annotations}}
        if rules is not None:
            change["spec"] = {"rules": list(rules)}
        target = self._object.target
        return Doing(
            f"changes HTTPRoute {self.name}: {why}", (Patch(target, guarded(target, change), why=why),)
        )
