"""What every route has to do, whatever its API: each kind runs through the same claims."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rollout.actions import Create, Delete, Patch
from rollout.observation import observe
from rollout.release import routes
from rollout.release.facts import Facts
from rollout.release.outcome import DONE, Outcome
from rollout.release.routes.route import Route
from rollout.spec import HeaderMatch, Match, RolloutSpec
from rollout.traffic.routing import ALL_STABLE, Routing
from rollout.wire import JsonObject
from tests.unit.rollout.http_routes import http_route, routings, rule_lists
from tests.unit.rollout.model.objects import deployment, rollout, step
from tests.unit.rollout.model.routing import APP, OWN_RULES, Share, ingress, joined, sent_by, service
from tests.unit.rollout.model.store import NAMESPACE, Store, merge_patch
from tests.unit.search import dear
from tests.unit.webhook import reviews
from tests.unit.webhook.reviews import POLICY, RECONCILER
from webhook import custom_routes, http_routes, review

INGRESS, HTTP_ROUTE, CUSTOM = "Ingress", "HTTPRoute", "VirtualService"
HTTP_ROUTES = ("gateway.networking.k8s.io", "v1", "httproutes")
CUSTOM_ROUTES = ("networking.istio.io", "v1", "virtualservices")
_DECODER = msgspec.json.Decoder(review.Review[http_routes.HTTPRoute])
_CUSTOM_DECODER = msgspec.json.Decoder(review.Review[custom_routes.Object])
ROUNDS = 6  # begin, say, and the writes of others in between


@dataclass
class Scene:
    """A user's route, what routes by it, and a clock."""

    store: Store
    kind: str
    hooked: bool = False
    """Whether the webhook is up: what is routed by is then changed in the write that asks for it."""
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    written: list[Patch] = field(default_factory=list)
    """What the reconciler has changed."""

    @property
    def facts(self) -> Facts:
        """Observe everything."""
        rollouts = self.store.of_kind("Rollout")
        others = {"Rollout", HTTP_ROUTE, CUSTOM}
        objects = [each for (kind, _), each in self.store.objects.items() if kind not in others]
        routed = [*self.store.of_kind(HTTP_ROUTE), *self.store.of_kind(CUSTOM)]
        snapshot = observe(rollouts[0], objects, self.now, routed)
        spec = snapshot.rollout.spec
        assert isinstance(spec, RolloutSpec)
        assert snapshot.workload
        return Facts(snapshot, snapshot.rollout, spec, snapshot.workload)

    @property
    def route(self) -> Route:
        """The one route."""
        facts = self.facts
        (found,) = routes.routes_of(facts, facts.spec.routings[0])
        return found

    @property
    def users_own(self) -> JsonObject:
        """What the user wrote, without what an API server counts."""
        found = self.store.get(self.kind, APP)
        assert found
        counted = {"resourceVersion", "generation"}
        metadata = {key: value for key, value in found["metadata"].items() if key not in counted}
        return {key: value for key, value in found.items() if key != "status"} | {"metadata": metadata}

    @property
    def sent(self) -> Share:
        """What its objects send to the canary, as others read them."""
        return joined(sent_by(each) for each in self.store.of_kind(self.kind) if self.route.carries)

    def execute(self, outcome: Outcome) -> bool:
        """Make the writes of an outcome, guards included; tell whether it was done already."""
        for action in outcome.actions if outcome else ():
            match action:
                case Create(manifest):
                    self.store.create(manifest)
                case Patch(target, merge):
                    self.written.append(action)
                    self.write(target.kind, *self.store.merged(target.kind, target.name, merge), RECONCILER)
                case Delete(target):
                    self.store.delete(target.kind, target.name)
                case _:
                    pytest.fail(f"a route alone asks for {action}")
        self._accept()
        self.now += timedelta(seconds=60)
        return outcome is DONE

    def write(self, kind: str, old: JsonObject, new: JsonObject, user: str = "jane") -> None:
        """Write as an API server does, with the webhook where it is up."""
        if self.hooked and kind == HTTP_ROUTE:
            body = reviews.review(dict(old), dict(new), user=user, resource=HTTP_ROUTES)
            asked = review.decode(_DECODER, body, http_routes.GROUP, http_routes.PLURAL)
            answer = review.encode(asked.uid, http_routes.admit(asked, POLICY, in_use=True))
            new = reviews.patched(dict(new), answer)
        if self.hooked and kind == CUSTOM:
            body = reviews.review(dict(old), dict(new), user=user, resource=CUSTOM_ROUTES)
            found = review.read(_CUSTOM_DECODER, body)
            answer = review.encode(found.uid, custom_routes.admit(found, POLICY, in_use=True))
            new = reviews.patched(dict(new), answer)
        self.store.put(new)

    def apply(self, merge: JsonObject) -> None:
        """Change the route as a user does."""
        self.write(self.kind, *self.store.merged(self.kind, APP, merge))

    def _accept(self) -> None:
        """Accept every HTTPRoute as it is now, as its Gateway does."""
        for each in self.store.of_kind(HTTP_ROUTE):
            (parent,) = each["status"]["parents"]
            (condition,) = parent["conditions"]
            accepted = {**condition, "observedGeneration": each["metadata"]["generation"]}
            self.store.write_status(HTTP_ROUTE, APP, {"parents": [{**parent, "conditions": [accepted]}]})

    def reach(self, routing: Routing) -> None:
        """Route as a step does, until it is so."""
        for _ in range(ROUNDS):
            facts = self.facts
            if self.execute(routes.route(facts, facts.spec.routings[0], routing)):
                return
        raise AssertionError(f"{routing} is never reached")

    def restrict(self, limit: Routing) -> None:
        """Restrict as a step does, until it is so."""
        for _ in range(ROUNDS):
            facts = self.facts
            if self.execute(routes.restrict(facts, facts.spec.routings[0], limit)):
                return
        raise AssertionError(f"never within {limit}")

    def silence(self) -> None:
        """Silence, until it is so."""
        for _ in range(ROUNDS):
            facts = self.facts
            if self.execute(routes.silence(facts, facts.spec.routings[0])):
                return
        raise AssertionError("never silent")

    def remove(self) -> None:
        """Take everything of ours away."""
        for _ in range(ROUNDS):
            if self.execute(routes.remove(self.facts.snapshot)):
                return
        raise AssertionError("never gone")


def scene(kind: str, own: JsonObject, *, hooked: bool = False) -> Scene:
    """Set a scene with the user's own route."""
    store = Store()
    made = rollout([step(20, 1)])
    routing = made["spec"]["strategy"]["canary"]["trafficRoutings"][0]
    if kind == HTTP_ROUTE:
        del routing["ingress"]
        routing["gateway"] = {"httpRouteName": APP}
    if kind == CUSTOM:
        del routing["ingress"]
        ref = {"apiVersion": "networking.istio.io/v1", "kind": CUSTOM, "name": APP}
        routing["customNetworkRefs"] = [ref]
    for each in (deployment("v1", 5), service(), own, made):
        store.create(each)
    return Scene(store, kind, hooked)


SAYABLE = st.builds(
    Routing,
    st.integers(0, 100),
    st.just(()) | st.sampled_from(["a", "b"]).map(lambda v: (Match(headers=(HeaderMatch("x-team", v),)),)),
)
"""What every kind can say."""


def virtual_service(*timeouts: str) -> JsonObject:
    """Make a VirtualService with a route to the stable Service for each of these timeouts."""
    http = [{"timeout": each, "route": [{"destination": {"host": APP}}]} for each in timeouts]
    metadata = {"name": APP, "namespace": NAMESPACE, "annotations": {"note": "keep"}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": CUSTOM,
        "metadata": metadata,
        "spec": {"hosts": [APP], "http": http},
    }


TIMEOUTS = st.lists(st.sampled_from(["1s", "2s", "3s"]), min_size=1, max_size=3)

OBJECTS = {
    INGRESS: st.sampled_from(["1m", "2m"]).map(
        lambda size: merge_patch(ingress(), {"metadata": {"annotations": {"example.com/size": size}}})
    ),
    HTTP_ROUTE: rule_lists().map(lambda rules: http_route(*rules)),
    CUSTOM: TIMEOUTS.map(lambda timeouts: virtual_service(*timeouts)),
}


@st.composite
def scenes(draw: st.DrawFn, kind: str, number: int = 1) -> tuple[Any, ...]:
    """Draw a scene, and routings that its route can say."""
    drawn = scene(kind, draw(OBJECTS[kind]), hooked=draw(st.booleans()))
    able = SAYABLE | routings if kind == HTTP_ROUTE else SAYABLE
    asked = [draw(able) for _ in range(number)]
    probe = drawn.route
    assume(not any((said := probe.say(each)) and said.blocked for each in asked))  # beyond the API's limits
    return drawn, *asked


kinds = pytest.mark.parametrize("kind", [INGRESS, HTTP_ROUTE, CUSTOM])
few = dear(15)
"""Each example is a release of its own; the long profile is for more."""


@kinds
@few
@given(st.data())
def test_route_says_what_it_was_told(kind: str, data: st.DataObject) -> None:
    """What was written is read back as it was meant; said again, nothing is written."""
    on, routing = data.draw(scenes(kind))
    on.reach(routing)

    assert on.route.carries == routing.reaches_canary
    if routing.reaches_canary:
        assert on.route.live == on.route.said_by(routing)
        assert on.route.say(routing) is DONE


@kinds
@few
@given(st.data())
def test_route_goes_from_any_routing_to_any_other(kind: str, data: st.DataObject) -> None:
    """A weight after a match, a match after a weight: nothing of the first is left, nothing is lost."""
    on, first, second = data.draw(scenes(kind, 2))
    own = on.store.get(kind, APP)
    assert own
    direct = scene(kind, own)
    on.reach(first)
    on.reach(second)
    direct.reach(second)

    if first.reaches_canary and second.reaches_canary:
        assert on.route.live == on.route.said_by(second)
        assert _said(on) == _said(direct)


def _said(on: Scene) -> Any:
    """Return the whole spec of whatever carries the canary's share."""
    return [each["spec"] for (kind, _), each in on.store.objects.items() if kind == on.kind]


@kinds
@few
@given(st.data())
def test_users_own_route_is_as_it_was(kind: str, data: st.DataObject) -> None:
    """After a release the user's own object is equal to what it was, annotations included."""
    on, first, second = data.draw(scenes(kind, 2))
    before = on.users_own
    for routing in (first, second):
        on.reach(routing)
    on.silence()
    on.remove()

    assert on.users_own == before
    assert len(on.store.of_kind(kind)) == 1


@kinds
@few
@given(st.data())
def test_silence_sends_nothing_to_the_canary(kind: str, data: st.DataObject) -> None:
    """Silenced from whatever it said; silenced again, nothing is written."""
    on, routing = data.draw(scenes(kind))
    on.reach(routing)
    on.silence()

    written = dict(on.store.objects)
    on.silence()

    assert not on.route.reaches_canary
    assert on.store.objects == written


@kinds
@few
@given(st.data())
def test_restricting_never_raises_anything(kind: str, data: st.DataObject) -> None:
    """Between two steps nothing is sent to the canary that was not before, nothing over the limit."""
    on, before, limit = data.draw(scenes(kind, 2))
    on.reach(before)
    was = on.route.live or ALL_STABLE
    on.restrict(limit)
    live = on.route.live

    assert live is not None
    assert live.weight <= min(was.weight, limit.weight)
    assert set(live.matches) <= set(was.matches) & set(limit.matches)


@kinds
def test_weight_that_gave_way_to_matches_is_not_raised_by_restricting(kind: str) -> None:
    """Of weight and matches an HTTPRoute says the matches: on the way to a weight there is none yet."""
    own = ingress() if kind == INGRESS else http_route(OWN_RULES[0])
    on = scene(kind, own, hooked=True)
    on.reach(Routing(5, (Match(headers=(HeaderMatch("x-team", "a"),)),)))
    before = on.sent.weight
    on.restrict(Routing(20))

    assert on.sent.weight <= before


@kinds
@few
@given(st.data())
def test_another_hand_is_taken_for_nothing_until_it_was_looked_at(kind: str, data: st.DataObject) -> None:
    """Whatever somebody makes of what we wrote: nothing goes to the canary, then what was asked for does."""
    on, routing = data.draw(scenes(kind))
    assume(routing.reaches_canary)
    on.reach(routing)
    _meddle(on, data)
    on.restrict(routing)

    assert not on.route.reaches_canary
    on.reach(routing)
    assert on.route.live == on.route.said_by(routing)


def _meddle(on: Scene, data: st.DataObject) -> None:
    """Change what carries the canary's share."""
    if on.kind == INGRESS:
        annotations = {
            "nginx.ingress.kubernetes.io/canary-weight": data.draw(st.sampled_from(["x", "77 ", ""]))
        }
        on.store.patch(INGRESS, f"{APP}-canary", {"metadata": {"annotations": annotations}})
        return
    if on.kind == CUSTOM:
        before = on.store.get(CUSTOM, APP)
        assert before
        edited = [{**each, "timeout": "77s"} for each in before["spec"]["http"]]
        on.store.patch(CUSTOM, APP, {"spec": {"http": edited}})
        return
    before = on.store.get(HTTP_ROUTE, APP)
    assert before
    rules = list(before["spec"]["rules"])
    index = data.draw(st.integers(0, len(rules) - 1))
    rules[index] = {**rules[index], "timeouts": {"request": "77s"}}
    on.store.patch(HTTP_ROUTE, APP, {"spec": {"rules": rules}})  # while the webhook was away


# --- an HTTPRoute is the user's own --------------------------------------------------------------------


@few
@given(st.data())
def test_rules_applied_anew_are_followed_and_given_back(data: st.DataObject) -> None:
    """A client that applies its manifest mid-release, changed or not, finds it so at the end."""
    on, routing = data.draw(scenes(HTTP_ROUTE))
    fresh = data.draw(rule_lists())
    wanted = scene(HTTP_ROUTE, http_route(*fresh))
    assume(not ((said := wanted.route.say(routing)) and said.blocked))
    on.reach(routing)
    on.apply({"spec": {"rules": fresh}})
    followed = _said(on)
    on.restrict(routing)
    on.reach(routing)
    wanted.reach(routing)

    assert _said(on) == _said(wanted)
    assert followed == _said(wanted) or not on.hooked or not routing.reaches_canary
    on.silence()
    on.remove()
    assert on.users_own["spec"]["rules"] == fresh


# --- an object that a script changes is the user's own too -----------------------------------------------


@few
@given(st.data())
def test_spec_applied_anew_is_routed_by_and_given_back(data: st.DataObject) -> None:
    """A client that applies its manifest mid-release, changed or not, finds it so at the end.

    Unchanged, and with the webhook up, its write changes nothing at all.
    """
    on, routing = data.draw(scenes(CUSTOM))
    own = on.store.get(CUSTOM, APP)
    assert own
    fresh = virtual_service(*data.draw(TIMEOUTS))["spec"]
    wanted = scene(CUSTOM, virtual_service())
    wanted.apply({"spec": fresh})
    on.reach(routing)
    wanted.reach(routing)
    before = _said(on)
    on.apply({"spec": fresh})
    held = _said(on)
    on.restrict(routing)
    on.reach(routing)

    assert _said(on) == _said(wanted)
    assert held == before or not on.hooked or fresh != own["spec"]
    on.silence()
    on.remove()
    assert on.users_own["spec"] == fresh


@given(st.data())
@few
def test_spec_is_written_by_nobody_but_its_owner_while_the_webhook_is_up(data: st.DataObject) -> None:
    """The reconciler asks, in annotations alone: the spec stays its owner's for server-side apply."""
    on, *asked = data.draw(scenes(CUSTOM, 3))
    on.hooked = True
    for routing in asked:
        on.reach(routing)
    on.silence()
    on.remove()

    assert [each for each in on.written if each.target.kind == CUSTOM and "spec" in each.merge] == []


@pytest.mark.parametrize("how", ["all", "routed-by", "routing", "original"])
def test_marks_taken_away_by_hand_lose_no_rule(how: str) -> None:
    """Whoever strips our annotations still gets rules back that lead nowhere but to their own Services."""
    on = scene(HTTP_ROUTE, http_route())
    before = on.users_own
    on.reach(Routing(20))
    canary = {**service(), "metadata": {"name": f"{APP}-canary", "ownerReferences": [on.facts.owner]}}
    on.store.create(canary)
    keys = [key for key in on.users_own["metadata"]["annotations"] if key.startswith("sluice.dev/")]
    gone = keys if how == "all" else [f"sluice.dev/{how}"]
    on.store.patch(HTTP_ROUTE, APP, {"metadata": {"annotations": dict.fromkeys(gone)}})

    loud = on.route.reaches_canary
    on.silence()
    silent = not on.route.reaches_canary
    on.remove()

    assert loud
    assert silent
    found = on.users_own
    assert found["metadata"]["annotations"] == before["metadata"]["annotations"]
    names = [ref["name"] for each in found["spec"]["rules"] for ref in each["backendRefs"]]
    assert names == [APP]
