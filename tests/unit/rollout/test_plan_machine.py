"""The release engine against everything that can happen around it, in any order.

Each run starts with a healthy, governed Deployment, lets hypothesis choose events, controller
steps and reconciler passes (whole, crashed half way, from stale views, two at a time), checks
the rules of ``model.invariants`` at every write, and at its end takes one of the ways out: the
release must complete, roll back, or leave nothing behind. One machine routes by Ingresses, another
by objects of the users' own that are changed for a release.
"""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rollout import names
from tests.unit.rollout.model import controllers, invariants
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import (
    Pass,
    look,
    reconcile,
    settle,
    settle_without_waiting,
    stale_view,
)
from tests.unit.rollout.model.routing import (
    APP,
    BY_HTTP_ROUTE,
    BY_INGRESS,
    BY_SPLIT,
    INGRESS_AND_SPLIT,
    INGRESS_BY_REFERENCE,
    ONE_BY_TWO,
    SHARED,
    TWO_BY_REFERENCE,
    TWO_INGRESSES,
    TWO_SERVICES,
    UNROUTED,
    Setting,
)
from tests.unit.rollout.model.world import World
from tests.unit.search import dear

TAGS = ("v1", "v2", "v3", "v4")
ENDINGS = ("complete", "roll back", "disable", "delete", "delete the workload")
MOST_APPROVALS = 12  # three steps, each perhaps begun anew once or twice by what happened before

WATCHED = ("Rollout", "Deployment", "ReplicaSet", "Service", "EndpointSlice", "Ingress", "HTTPRoute", "Split")
steps_of_a_plan = st.lists(
    st.builds(
        step,
        st.sampled_from([None, 5, 20, 50, 100]),
        st.sampled_from([1, 3, "20%", "50%", "100%"]),
        st.sampled_from([None, None, 0, 7]),
        st.sampled_from([(), (), ("x-user",), ("canary-by-cookie",), ("x-user", "canary-by-cookie")]),
    ),
    min_size=1,
    max_size=4,
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "failureThreshold": st.sampled_from([1, "50%"]),
        "patchPodTemplateMetadata": st.sampled_from(
            [{"labels": {"track": "canary"}}, {"annotations": {"track": "canary"}}]
        ),
    },
)
limits = st.sampled_from(
    [
        None,
        None,
        {"maxSurge": 1, "maxUnavailable": 0},
        {"maxSurge": 0, "maxUnavailable": 1},
        {"maxSurge": "100%"},
    ]
)


class ReleaseMachine(RuleBasedStateMachine):
    """One Rollout, its world, and everybody who acts on it."""

    settings_of_routes: tuple[Setting, ...] = (BY_INGRESS,)
    style: Mapping[str, Any] = MappingProxyType({})
    """What a Rollout says of its style, beside what every canary release does."""
    world: World
    passes: list[Pass]
    ending: str

    @initialize(
        setting=st.runner().flatmap(lambda self: st.sampled_from(self.settings_of_routes)),
        steps=steps_of_a_plan,
        size=st.sampled_from([(1, 3), (2, 0), (5, 3), (5, 0), (20, 3)]),
        limits=limits,
        more=extras,
        ending=st.sampled_from(ENDINGS),
        way=st.tuples(st.integers(0, 14), st.integers(0, 3), st.integers(0, 12)),
        history=st.sampled_from([10, 10, 0]),
    )
    def begin(
        self,
        *,
        setting: Setting,
        steps: list[dict[str, Any]],
        size: tuple[int, int],
        limits: dict[str, Any] | None,
        more: dict[str, Any],
        ending: str,
        way: tuple[int, int, int],
        history: int,
    ) -> None:
        """Start anywhere in a release, so that short runs reach its end as often as its beginning.

        ``size`` is replicas and grace; ``way``: writes, then approvals, then writes again; ``history``: how
        many empty revisions the Deployment keeps.
        """
        replicas, grace = size
        more = {**more, **self.style}
        first, approvals, second = way
        self.world = World(replicas=replicas, setting=setting, limits=limits)
        self.world.store.patch("Deployment", APP, {"spec": {"revisionHistoryLimit": history}})
        self.world.grace_seconds, self.world.more = grace, more
        self.world.store.create(rollout(steps, grace=grace, setting=setting, **more))
        if setting.by_reference:
            self.world.meddle_with_traffic_routing("create")
            self.world.meddle_with_traffic_routing("30")
        self.passes, self.ending = [], ending
        settle(self.world)
        if first:
            self.world.apply_template("v2")
            self.some_writes(first)
        for _ in range(approvals):
            settle(self.world)
            self.approve()
        self.some_writes(second)

    def has_workload(self) -> bool:
        """Whether there is a Deployment to act on."""
        return self.world.workload is not None and "deletionTimestamp" not in self.world.workload["metadata"]

    def has_rollout(self) -> bool:
        """Whether there is a Rollout to act on."""
        return self.world.rollout is not None and "deletionTimestamp" not in self.world.rollout["metadata"]

    # --- users -----------------------------------------------------------------------------------

    @precondition(has_workload)
    @rule(tag=st.sampled_from(TAGS))
    def change_template(self, tag: str) -> None:
        """Release, or roll back."""
        self.world.apply_template(tag)
        self.happened()

    @precondition(has_workload)
    @rule(value=st.sampled_from(["r1", "r2", None]))
    def name_release(self, value: str | None) -> None:
        """Change the user's own id of a release, and no template."""
        metadata = {"annotations": {names.ROLLOUT_ID: value}}
        self.world.user_patch("Deployment", APP, {"metadata": metadata})
        self.happened()

    @precondition(has_workload)
    @rule(choice=st.integers(0, 5))
    def delete_revision(self, choice: int) -> None:
        """Delete one of the Deployment's ReplicaSets, and with it its pods."""
        self.world.delete_revision(choice)
        self.happened()

    @precondition(has_workload)
    @rule(replicas=st.sampled_from([0, 1, 2, 3, 5, 8, 20]))
    def scale(self, replicas: int) -> None:
        """Change the number of pods."""
        self.world.scale(replicas)
        self.happened()

    @precondition(has_rollout)
    @rule(steps=steps_of_a_plan)
    def edit_plan(self, steps: list[dict[str, Any]]) -> None:
        """Change the steps."""
        self.world.change_spec({"strategy": {"canary": {"steps": steps}}})
        self.happened()

    @precondition(has_rollout)
    @rule()
    def approve(self) -> None:
        """Approve the present step by annotation, whether it waits or not."""
        self.world.approve_present_step()
        self.happened()

    @precondition(has_rollout)
    @rule(value=st.sampled_from(["zzzzz/1", "zzzzz/2", "{}/1", "{}/2", "{}/3", "{}", "nonsense"]))
    def approve_something_else(self, value: str) -> None:
        """Give an approval of another step or release."""
        self.world.approve(value.format(self.world.release_id))
        self.happened()

    @precondition(has_rollout)
    @rule(number=st.sampled_from([None, None, -1, 0, 1, 2, 3, 4]))
    def write_status(self, number: int | None) -> None:
        """Approve or jump through ``/status`` as kubectl-kruise does."""
        if number is not None:
            self.world.write_release({"nextStepIndex": number})
        elif self.world.release.get("currentStepState") == "StepPaused":
            self.world.write_release({"currentStepState": "StepReady"})
        self.happened()

    @precondition(has_rollout)
    @rule(
        change=st.sampled_from(
            [
                {"strategy": {"paused": True}},
                {"strategy": {"paused": False}},
                {"disabled": True},
                {"disabled": False},
            ]
        )
    )
    def switch(self, change: dict[str, Any]) -> None:
        """Pause, resume, disable or enable the Rollout."""
        self.world.change_spec(change)
        self.happened()

    @precondition(has_rollout)
    @rule(name=st.sampled_from(["elsewhere", APP, APP]))
    def repoint(self, name: str) -> None:
        """Let the Rollout refer to another Deployment, or to this one again."""
        self.world.repoint(name)
        self.happened()

    @rule(what=st.sampled_from(["Rollout", "Deployment", "Service", "Route"]))
    def delete_or_create(self, what: str) -> None:
        """Delete one of the user's own objects, or create it anew."""
        self.world.delete_or_create(what)
        self.happened()

    # --- other hands -----------------------------------------------------------------------------

    @rule(weight=st.sampled_from(["0", "90", "nonsense", None]), which=st.integers(0, 1))
    def meddle_with_canary_route(self, weight: str | None, which: int) -> None:
        """Edit what carries the canary's share by hand, or delete it."""
        self.world.meddle_with_canary_route(weight, which)
        self.happened()

    @rule(
        what=st.sampled_from(
            [
                "delete the canary",
                "scale the canary",
                "delete the canary Service",
                "widen the canary Service",
                "unpin",
            ]
        ),
        amount=st.sampled_from([0, 1, 2, 5]),
    )
    def meddle_with_canary(self, what: str, amount: int) -> None:
        """Delete or change by hand what is ours, or what we hold."""
        self.world.meddle_with_canary(what, amount)
        self.happened()

    @rule(variant=st.integers(0, 2))
    def apply_route(self, variant: int) -> None:
        """Apply the manifest of a route of the users' own that is changed for a release."""
        self.world.apply_route(variant)
        self.happened()

    @rule(value=st.sampled_from(["1m", "2m", None]))
    def edit_stable_ingress(self, value: str | None) -> None:
        """Change or remove an annotation that the canary Ingress copies."""
        if self.world.store.get("Ingress", APP) is not None:
            annotations = {"nginx.ingress.kubernetes.io/proxy-body-size": value}
            self.world.store.patch("Ingress", APP, {"metadata": {"annotations": annotations}})
        self.happened()

    @rule(how=st.sampled_from(["away", "back", "back", "tear"]))
    def move_webhook(self, how: str) -> None:
        """Take the webhook away or bring it back; open the gate by hand while it is away."""
        if how == "tear" and self.world.webhook_away and self.has_workload():
            self.world.tear_gate_open()
        elif how != "tear":
            self.world.webhook_away = how == "away"
        self.happened()

    # --- the cluster -----------------------------------------------------------------------------

    @rule(choices=st.lists(st.integers(0, 30), min_size=1, max_size=6))
    def some_controllers(self, choices: list[int]) -> None:
        """Let controllers make single steps."""
        for choice in choices:
            controllers.one_event(self.world.store, self.world.broken_tags, choice)
            self.happened()

    @rule()
    def controllers_rest(self) -> None:
        """Let the cluster come to rest without us."""
        self.world.run_controllers()
        self.happened()

    @rule(tag=st.sampled_from(TAGS), broken=st.booleans())
    def break_version(self, tag: str, *, broken: bool) -> None:
        """Make every pod of a version fail, or mend it."""
        (self.world.broken_tags.add if broken else self.world.broken_tags.discard)(tag)
        self.happened()

    @rule(choice=st.integers(0, 40))
    def fail_pod(self, choice: int) -> None:
        """Make one pod not ready until the kubelet's next step."""
        pods = list(self.world.store.pods)
        if pods:
            self.world.store.set_ready(pods[choice % len(pods)], ready=False)
        self.happened()

    @rule(choice=st.integers(0, 40), sticks=st.booleans())
    def stick_pod(self, choice: int, *, sticks: bool) -> None:
        """Make one pod fail for good, or mend all."""
        pods = list(self.world.store.pods)
        if not sticks:
            self.world.store.mend_pods()
        elif pods:
            self.world.store.stick(pods[choice % len(pods)])
        self.happened()

    @rule(seconds=st.sampled_from([1, 3, 10]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.world.wait(seconds)
        self.happened()

    # --- reconcilers -----------------------------------------------------------------------------

    @rule()
    def pass_whole(self) -> None:
        """Make a whole pass."""
        reconcile(self.world)

    @rule(writes=st.integers(1, 2))
    def pass_that_crashes(self, writes: int) -> None:
        """Crash after a write or two."""
        reconcile(self.world, writes=writes)

    @rule(
        ages=st.dictionaries(
            st.sampled_from(
                [
                    "Rollout",
                    "Deployment",
                    "ReplicaSet",
                    "Service",
                    "EndpointSlice",
                    "Ingress",
                    "HTTPRoute",
                    "Split",
                ]
            ),
            st.integers(1, 11),
        )
    )
    def pass_from_stale_view(self, ages: dict[str, int]) -> None:
        """Make a pass from caches of different ages."""
        reconcile(self.world, stale_view(self.world, ages))

    @rule()
    def pass_begins(self) -> None:
        """Let a reconciler plan, and stall before its first write."""
        if (one := look(self.world)) is not None:
            self.passes.append(one)

    @precondition(lambda self: bool(self.passes))
    @rule(choice=st.integers(0, 5))
    def pass_goes_on(self, choice: int) -> None:
        """Let a stalled reconciler make its next write."""
        one = self.passes[choice % len(self.passes)]
        if not next(one.writes, False):
            self.passes.remove(one)

    @rule(writes=st.integers(1, 12))
    def some_writes(self, writes: int) -> None:
        """Let the release go on by single writes, the cluster at rest between them."""
        for _ in range(writes):
            self.world.run_controllers()
            self.happened()
            reconcile(self.world, writes=1)

    @rule()
    def rest(self) -> None:
        """Let everybody come to rest while the clock stands."""
        settle_without_waiting(self.world)
        self.happened()

    def happened(self) -> None:
        """Check what holds at any moment, and keep the moment for stale views."""
        invariants.world_is_sound(self.world)
        self.world.remember()

    # --- the end ---------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Mend the world, take the way out, and look at what is left."""
        if sys.exc_info()[0] is None and hasattr(self, "world"):
            self.world.mend()
            self.world.remember()
            settle(self.world)
            if self.world.rollout is None:
                self.world.delete_or_create("Rollout")
                settle(self.world)
            Ending(self.world).take(self.ending)


class Ending:
    """The ways out of a release, and what each leaves behind."""

    def __init__(self, world: World) -> None:
        self.world = world

    def take(self, ending: str) -> None:
        """Take a way out and check what it leaves."""
        match ending:
            case "complete":
                self._complete()
            case "roll back":
                self._roll_back()
            case "disable":
                self.world.change_spec({"disabled": True})
            case "delete":
                self.world.store.delete("Rollout", APP)
            case _:
                self.world.store.delete("Deployment", APP)
        settle(self.world)
        settle(self.world)  # a second rest: nothing moves any more
        self._nothing_is_left(ending)

    def _complete(self) -> None:
        for _ in range(MOST_APPROVALS):
            if self.world.status["phase"] == "Healthy":
                return
            self.world.approve_present_step()
            settle(self.world)
        invariants.fail("liveness", f"never completes: {self.world.status}")

    def _roll_back(self) -> None:
        workload = self.world.workload
        assert workload is not None
        tags = self.world.stable_tags() if self.world.parts else self.world.tags_running(workload)
        if len(tags) == 1 and self.world.status["phase"] == "Progressing":
            self.world.apply_template(tags.pop())
            settle(self.world)
            phase = self.world.status["phase"]
            invariants.expect("rolls-back", holds=phase == "Healthy", text=f"{self.world.status}")
        else:
            self._complete()

    def _nothing_is_left(self, ending: str) -> None:
        invariants.expect("nothing-left", holds=not self.world.leftovers(), text=f"{self.world.leftovers()}")
        one = look(self.world)
        invariants.expect("fixpoint", holds=one is None or one.is_empty, text=f"{one}")
        if ending == "delete":
            invariants.expect("deleted", holds=self.world.rollout is None, text="the finalizer stays")
            labels = (self.world.workload or {"metadata": {}})["metadata"].get("labels") or {}
            invariants.expect("unlabelled", holds=names.WORKLOAD_TYPE not in labels, text=f"{labels}")
        if self.world.workload is not None:
            wanted = controllers.tag_of(self.world.workload["spec"]["template"])
            running = self.world.tags_running(self.world.workload)
            invariants.expect(
                "let-out", holds=running <= {wanted}, text=f"runs {running}, asked for {wanted}"
            )


class IngressMachine(ReleaseMachine):
    """By one Ingress, several, or none."""

    settings_of_routes = (BY_INGRESS, BY_INGRESS, UNROUTED, TWO_SERVICES, TWO_INGRESSES, ONE_BY_TWO)


class OwnRouteMachine(ReleaseMachine):
    """By an HTTPRoute, or by an object that a script changes, with or without a canary Service."""

    settings_of_routes = (BY_HTTP_ROUTE, BY_HTTP_ROUTE, BY_SPLIT, SHARED, INGRESS_AND_SPLIT)


class PartitionMachine(ReleaseMachine):
    """Inside the Deployment itself, routed or not."""

    settings_of_routes = (UNROUTED, BY_INGRESS, BY_INGRESS, BY_HTTP_ROUTE)
    style = MappingProxyType({"enableExtraWorkloadForCanary": False})


class ReferenceMachine(ReleaseMachine):
    """Routes that a TrafficRouting names, which may change and go."""

    settings_of_routes = (INGRESS_BY_REFERENCE, INGRESS_BY_REFERENCE, TWO_BY_REFERENCE)

    @rule(
        how=st.sampled_from(
            ["create", "create", "delete", "tear", "replace", "reroute", "spoil", "", "10", "60"]
        )
    )
    def meddle_with_traffic_routing(self, how: str) -> None:
        """Edit, delete, tear away or create the TrafficRouting."""
        self.world.meddle_with_traffic_routing(how)
        self.happened()

    @rule(ages=st.dictionaries(st.sampled_from(["Rollout", "TrafficRouting", "Ingress"]), st.integers(1, 11)))
    def pass_from_old_traffic_routing(self, ages: dict[str, int]) -> None:
        """Make a pass from a cache that lags behind what was done to it."""
        reconcile(self.world, stale_view(self.world, ages))


TestPartitionMachine = PartitionMachine.TestCase
TestPartitionMachine.settings = dear(30, long=7000)
TestIngressMachine = IngressMachine.TestCase
TestOwnRouteMachine = OwnRouteMachine.TestCase
TestReferenceMachine = ReferenceMachine.TestCase
TestIngressMachine.settings = dear(30, long=7000)
TestOwnRouteMachine.settings = dear(30, long=7000)
TestReferenceMachine.settings = dear(30, long=7000)
