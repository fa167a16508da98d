"""The user's own HTTPRoute: changed for the time of a release, and given back as it was.

Whatever others make of it meanwhile is followed: their rules are found again in what they wrote, and the
canary's share is written into these.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rollout import messages, names
from rollout.actions import Patch
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome
from rollout.route_kinds import HTTP_ROUTE, RouteRef, Unseen
from rollout.snapshot import RouteObject
from rollout.spec import TrafficRoutingRef
from rollout.status import format_instant
from rollout.traffic.gateway import acceptance, marks
from rollout.traffic.gateway.backends import (
    Backends,
    Rules,
    leads_to_stable,
    names_canary,
    reaches_canary,
    split_services,
)
from rollout.traffic.gateway.marks import Marks
from rollout.traffic.gateway.matches import Unsayable
from rollout.traffic.gateway.recovery import recover
from rollout.traffic.gateway.rules import render
from rollout.traffic.routing import ALL_STABLE, Routing, wanted
from rollout.wire import JsonObject


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
        return self._marks.routing if self._marks and self._rendered == self._live else None

    @property
    def changed_at(self) -> str | None:
        """Read the stamp, written together with the rules."""
        return self._annotations.get(names.CHANGED_AT) if self.carries else None

    @property
    def unnoticed(self) -> str | None:
        """Name a Gateway that has not accepted the present generation."""
        lags = acceptance.lagging(self._object.manifest) if self._object else None
        return messages.http_route_unnoticed(self.name, lags) if lags else None

    def begin(self) -> Outcome:
        """Write our marks alone."""
        return self.say(ALL_STABLE)

    def say(self, routing: Routing) -> Outcome:
        """Make the rules say a routing, from what the user's own rules are now."""
        if self._object is None:
            return DONE
        original = self._theirs
        try:
            rules = render(original, self._backends, routing)
        except Unsayable as reason:
            return Doing(messages.http_route_beyond(self.name, str(reason)), blocked=True)
        return self._written(
            Marks(self._rollout, self.facts.release, self._services, routing, original), rules
        )

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
        if not leads_to_stable(self._theirs, backends(self.facts.rollout.namespace, (self.ref.service,))):
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
        written = Marks("", "", self._services, ALL_STABLE, self._theirs).annotations()
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
        return backends(self.facts.rollout.namespace, self._services)

    @property
    def _canary_service(self) -> str:
        return self.ref.service + names.CANARY_SUFFIX

    @property
    def _canary_is_ours(self) -> bool:
        found = (self.facts.snapshot.services.get(name + names.CANARY_SUFFIX) for name in self._services)
        return any(each and each.owned for each in found)

    @property
    def _live(self) -> Rules:
        return rules_of(self._object.manifest) if self._object else ()

    @cached_property
    def _marks(self) -> Marks | None:
        found = marks.read(self._object.manifest) if self._object and self.carries else None
        return found if found and found.services == self._services else None

    @cached_property
    def _rendered(self) -> Rules:
        """Give what our marks say that the rules should be."""
        return rendered(self._marks, self._backends) if self._marks else ()

    @cached_property
    def _theirs(self) -> Rules:
        """Find what the user's own rules are now."""
        if self._marks and self._live == self._rendered:
            return self._marks.original
        if not self.carries and not self._canary_is_ours:
            return self._live
        return recover(
            self._live, self._backends, self._marks.original if self._marks else (), self._rendered
        )

    @property
    def _annotations(self) -> dict[str, str]:
        return dict(self._object.manifest["metadata"].get("annotations") or {}) if self._object else {}

    @property
    def _now(self) -> str:
        return format_instant(self.facts.snapshot.now)

    def _written(self, wants: Marks, rules: Rules) -> Outcome:
        """Write marks and rules at once; the stamp goes along when requests are sent elsewhere by it."""
        annotations: dict[str, str] = {
            key: value for key, value in wants.annotations().items() if self._annotations.get(key) != value
        }
        changed = list(rules) if list(rules) != list(self._live) else None
        if not annotations and changed is None:
            return DONE
        if changed is not None or not self.carries:
            annotations[names.CHANGED_AT] = self._now
        why = (
            f"send {wants.routing.weight} % to the canary" if changed is not None else "mark what is changed"
        )
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


def backends(namespace: str, services: Iterable[str]) -> Backends:
    """Name the Services of which requests are moved."""
    return Backends(namespace, frozenset(services))


def rules_of(manifest: JsonObject) -> list[JsonObject]:
    """Give the rules as they are."""
    return list(manifest["spec"].get("rules") or ())


def rendered(found: Marks, between: Backends) -> Rules:
    """Give what marks say that the rules should be; nothing when they say what cannot be said."""
    try:
        return render(found.original, between, found.routing)
    except Unsayable:
        return ()


def given_back(manifest: JsonObject) -> dict[str, Any]:
    """Build the merge patch that takes our marks, and all we wrote into the rules, from an HTTPRoute."""
    change: dict[str, Any] = {"metadata": {"annotations": dict.fromkeys(marks.KEYS)}}
    namespace, live = manifest["metadata"]["namespace"], rules_of(manifest)
    if found := marks.read(manifest):
        between = backends(namespace, found.services)
        ours = rendered(found, between)
        theirs = list(found.original) if live == ours else recover(live, between, found.original, ours)
    else:  # somebody changed our marks: what is left is the name that the canary's backends have
        theirs = recover(live, backends(namespace, split_services(live)), (), ())
    return {**change, "spec": {"rules": theirs}} if theirs != live else change
