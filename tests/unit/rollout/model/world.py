"""The world around one Rollout: what users, admission and the data plane do, and what is remembered of it.

``World`` is what the state machine drives. Users' writes pass the webhook unless it is away; the
reconciler's writes pass only the Service hook, as in the product. Past states are kept, so that
a pass can be made from a view that is some events old, for each kind of object by itself.
"""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from math import gcd
from typing import Any

from reconciler.strays import freed
from rollout import names
from rollout.actions import Event
from rollout.revision import template_digest
from rollout.route_kinds import RouteKind, Unseen
from rollout.status import Reason, read_status
from rollout.wire import JsonObject
from tests.unit.rollout.model import admission, controllers
from tests.unit.rollout.model.controllers import tag_of
from tests.unit.rollout.model.objects import deployment, rollout, step, template
from tests.unit.rollout.model.routing import (
    ADMIN,
    APP,
    BY_INGRESS,
    NOTHING,
    OWN_RULES,
    REFERRED,
    USERS_KINDS,
    Setting,
    Share,
    http_rule,
    joined,
    sent_by,
    service,
    split,
    traffic_routing,
)
from tests.unit.rollout.model.store import ORPHAN_FINALIZER, Key, Store, maker_of, owner_of

HISTORY = 12  # how many events back a stale view can reach


class World:
    """A store, a clock, a webhook that may be away, and what the users of the world did to it."""

    def __init__(
        self,
        *,
        tag: str = "v1",
        replicas: int = 5,
        setting: Setting = BY_INGRESS,
        limits: JsonObject | None = None,
    ) -> None:
        self.store = Store()
        self.setting = setting
        self.own_specs: dict[Key, JsonObject] = {}
        """What the users have last given those of their routes that are changed for a release."""
        self.more: dict[str, Any] = {}
        """What else a Rollout that is created anew says in its canary strategy."""
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.webhook_away = False
        self.broken_tags: set[str] = set()
        self.released: set[str] = {template_digest(template(tag))}
        """Templates that the stable Deployment may run: let out by a release, or never gated."""
        self.torn = False
        """A user went past the webhook: what follows from that is not held against the engine."""
        self.woken = False
        """The version that the gate holds may be woken, until we rest: by scaling, or for one deleted."""
        self.hand_on_route = False
        """A user changed or deleted the canary Ingress: its timing is theirs."""
        self.hand_on_service = False
        """A user deleted or re-created the stable Service."""
        self.hand_on_canary = False
        """A user changed or deleted the canary Deployment or its Service."""
        self.forsaken: set[str] = set()
        """Uids of Deployments deleted by their user, and of canaries deleted since: their pods end."""
        self.approved: dict[str, Share] = {}
        """By release: the most that any step asks for which it entered."""
        self.last_weight_at: datetime | None = None
        """When anything was last seen to be sent to the canary."""
        self.lowered_at: datetime | None = None
        """When that last became less."""
        self.sent_before = NOTHING
        self.void_approvals: frozenset[str] = frozenset()
        """Those that were there when the present release last jumped back: they do not count any more."""
        self.events: list[Event] = []
        """What was told to people, in order."""
        self.grace_seconds = 3
        self.held_up: frozenset[str] = frozenset()
        """Controllers that do nothing at present: ``endpoints``, ``garbage``, ``pods``, ``deployments``."""
        self.unseen: dict[RouteKind, Unseen] = {}
        """Kinds of which the reconciler is shown no object."""
        self.foreign: set[str] = {APP, ADMIN}
        """Names of objects that are the user's own."""
        self.looks = 0
        """How often a reconciler has looked at it."""
        self.past: list[dict[Key, JsonObject]] = []
        self.store.create(deployment(tag, replicas, limits))
        for each in setting.own_objects():
            self._create_own(each)

    # --- time ------------------------------------------------------------------------------------

    def remember(self) -> None:
        """Keep the present state as one that a stale view may show later."""
        if not self.past or self.past[-1] != self.store.objects:
            self.past.append(dict(self.store.objects))
            del self.past[:-HISTORY]

    def wait(self, seconds: float) -> None:
        """Let the clock go on."""
        self.now += timedelta(seconds=seconds)

    # --- objects of interest ---------------------------------------------------------------------

    @property
    def rollout(self) -> JsonObject | None:
        """The Rollout."""
        return self.store.get("Rollout", APP)

    @property
    def workload(self) -> JsonObject | None:
        """The stable Deployment."""
        return self.store.get("Deployment", APP)

    @property
    def parts(self) -> bool:
        """Whether releases go on inside the Deployment."""
        asked = self.more.get("enableExtraWorkloadForCanary") is False
        return asked and "patchPodTemplateMetadata" not in self.more

    @property
    def gate_closed(self) -> bool:
        """Whether the workload's gate is closed."""
        found = self.workload
        return found is not None and names.IN_PROGRESSING in (found["metadata"].get("annotations") or {})

    @property
    def status(self) -> JsonObject:
        """Status of the Rollout, empty while there is none."""
        found = self.rollout
        return (found.get("status") or {}) if found else {}

    @property
    def release(self) -> JsonObject:
        """``canaryStatus`` of the Rollout."""
        found: JsonObject = self.status.get("canaryStatus") or {}
        return found

    @property
    def release_id(self) -> str:
        """The id of the recorded release."""
        return str(self.release.get("canaryRevision", "")).rpartition("-")[2]

    @property
    def condition_reason(self) -> str:
        """Reason of the Progressing condition."""
        conditions = self.status.get("conditions") or ()
        return next((each["reason"] for each in conditions if each["type"] == "Progressing"), "")

    @property
    def condition_message(self) -> str:
        """Message of the Progressing condition."""
        conditions = self.status.get("conditions") or ()
        return next((each["message"] for each in conditions if each["type"] == "Progressing"), "")

    @property
    def canary_routes(self) -> list[JsonObject]:
        """What carries the canary's share: the users' own objects, and the canary Ingresses that are ours."""
        owner = self.rollout
        owned = [
            each
            for each in self.store.of_kind("Ingress")
            if maker_of(each) and (owner is None or maker_of(each) == owner["metadata"]["uid"])
        ]
        return [*owned, *(each for kind in USERS_KINDS for each in self.store.of_kind(kind))]

    @property
    def canary_route(self) -> JsonObject | None:
        """What carries the canary's share where there is one route."""
        return next(iter(self.canary_routes), None)

    @property
    def governs(self) -> bool:
        """Whether there is a Rollout that refers to the Deployment."""
        return self.rollout is not None and self.rollout["spec"]["workloadRef"]["name"] == APP

    # --- writes ----------------------------------------------------------------------------------

    def user_patch(self, kind: str, name: str, merge: JsonObject) -> None:
        """Write as a user does, through the webhook unless it is away."""
        old, new = self.store.merged(kind, name, merge)
        if not self.webhook_away:
            new = self._admitted(old, new)
        self._note(old, new)
        self.store.put(new)

    def engine_patch(self, kind: str, name: str, merge: JsonObject) -> None:
        """Write as the reconciler does: only the hooks on Services and routes look at it."""
        old, new = self.store.merged(kind, name, merge)
        if kind == "Deployment" and not self.webhook_away:
            new = admission.follow_strategy(old, new)
        if kind == "Split" and not self.webhook_away:
            new = admission.admit_split(old, new, reconciler=True)
        if kind == "HTTPRoute" and not self.webhook_away:
            new = admission.admit_http_route(old, new, reconciler=True)
        hooked = kind == "Service" and (self._carries_pin(old) or self._carries_pin(new))
        if hooked and not self.webhook_away:
            new = admission.admit_service(old, new, self.rollout)
        self.store.put(new)

    def _admitted(self, old: JsonObject, new: JsonObject) -> JsonObject:
        match new["kind"]:
            case "Deployment" if names.WORKLOAD_TYPE in (old["metadata"].get("labels") or {}):
                return admission.admit_deployment(old, new, self.rollout if self.governs else None)
            case "Service" if self._carries_pin(old) or self._carries_pin(new):
                return admission.admit_service(old, new, self.rollout)
            case "HTTPRoute" if self.rollout is not None:
                return admission.admit_http_route(old, new, reconciler=False)
            case "Split" if self.rollout is not None:
                return admission.admit_split(old, new, reconciler=False)
            case _:
                return new

    @staticmethod
    def _carries_pin(value: JsonObject) -> bool:
        return names.PIN in (value["metadata"].get("annotations") or {})

    def _note(self, old: JsonObject, new: JsonObject) -> None:
        """Remember which templates are held back, and which nobody held."""
        if new["kind"] != "Deployment" or old["spec"]["template"] == new["spec"]["template"]:
            return
        digest = template_digest(new["spec"]["template"])
        held = names.IN_PROGRESSING in (new["metadata"].get("annotations") or {})
        self.torn = self.torn or self.webhook_away
        if not held or self.webhook_away or not self.tags_asked_for(old):
            self.released.add(digest)
        elif tag_of(new["spec"]["template"]) not in self._let_out(old) and not self._finalises(digest):
            self.released.discard(digest)

    def _finalises(self, digest: str) -> bool:
        """Tell whether a version is being let out, and perhaps nobody has seen that it was replaced."""
        status = read_status(self.status)
        return status.reason is Reason.FINALISING and status.release.digest == digest

    def _let_out(self, workload: JsonObject) -> set[str]:
        """Return the versions that the Deployment runs, or is about to have by a promotion that was begun."""
        leaving = {
            each["metadata"]["uid"]
            for each in self.store.of_kind("Deployment")
            if ORPHAN_FINALIZER in (each["metadata"].get("finalizers") or ())
        }
        sets = self.store.of_kind("ReplicaSet")
        given = {tag_of(each["spec"]["template"]) for each in sets if owner_of(each) in {"", *leaving}}
        return given | self.tags_asked_for(workload) | self.stable_tags()

    # --- users -----------------------------------------------------------------------------------

    def apply_template(self, tag: str) -> None:
        """Change the version, as ``kubectl set image`` does."""
        merge = {"spec": {"template": {"spec": template(tag)["spec"]}}}
        self.user_patch("Deployment", APP, merge)

    def scale(self, replicas: int) -> None:
        """Change the number of pods; nothing of ours is called for that.

        Scaled up from zero, a paused Deployment wakes an empty ReplicaSet of its present template, if it has
        one. What happens before a reconciler has looked can only be put right by it.
        """
        found = self.workload
        if found and found["spec"].get("replicas") == 0 and replicas:
            tag = tag_of(found["spec"]["template"])
            own = (
                each
                for each in self.store.of_kind("ReplicaSet")
                if owner_of(each) == found["metadata"]["uid"]
            )
            self.woken = self.woken or any(tag_of(each["spec"]["template"]) == tag for each in own)
        self.store.patch("Deployment", APP, {"spec": {"replicas": replicas}})

    def delete_revision(self, choice: int) -> None:
        """Delete a ReplicaSet of the Deployment; its controller may wake any other in its place."""
        uid = (self.workload or {})["metadata"]["uid"]
        own = [each for each in self.store.of_kind("ReplicaSet") if owner_of(each) == uid]
        if own:
            found = sorted(each["metadata"]["name"] for each in own)
            self.store.delete("ReplicaSet", found[choice % len(own)])
            self.woken = True

    def approve(self, value: str) -> None:
        """Write the approval annotation: the webhook stamps it, and while it is away the write fails."""
        if self.webhook_away:
            return
        # Another clock than the reconciler's, and not a good one.
        at = f"2025-06-01T00:00:00.{self.store.tick() % 1000:03}Z"
        stamp = {"approval": value, "user": "jane", "at": at}
        annotations = {names.APPROVE: value, names.APPROVED_BY: json.dumps(stamp)}
        self.store.patch("Rollout", APP, {"metadata": {"annotations": annotations}})

    def approve_present_step(self) -> None:
        """Approve what waits, as the printed command does."""
        self.approve(f"{self.release_id}/{self.release.get('currentStepIndex')}")

    def write_release(self, change: JsonObject) -> None:
        """Change ``status.canaryStatus`` as kubectl-kruise does."""
        status = self.status
        changed = {**status, "canaryStatus": {**(status.get("canaryStatus") or {}), **change}}
        self.store.write_status("Rollout", APP, changed)

    def change_spec(self, merge: JsonObject) -> None:
        """Change the Rollout's spec."""
        self.store.patch("Rollout", APP, {"spec": merge})

    def tear_gate_open(self) -> None:
        """Resume the Deployment by hand and take our annotations away, past the webhook."""
        annotations = {names.IN_PROGRESSING: None, names.RELEASE: None}
        self.torn = True
        found = self.store.patch(
            "Deployment", APP, {"metadata": {"annotations": annotations}, "spec": {"paused": None}}
        )
        self.released.add(template_digest(found["spec"]["template"]))

    def free_strays(self) -> bool:
        """Let go of the Deployment where it bears our marks and no Rollout refers to it."""
        found = self.workload
        patch = freed(dict(found)) if found and not self.governs else None
        if found is None or patch is None:
            return False
        self.released.add(template_digest(found["spec"]["template"]))
        self.store.patch("Deployment", APP, patch)
        return True

    def repoint(self, name: str) -> None:
        """Point the Rollout to another Deployment; while a release is under way that is refused."""
        held = self.status.get("phase") in {"Progressing", "Terminating"} and not self.webhook_away
        self.hand_on_route = self.hand_on_route or self.webhook_away
        if not held:
            self.change_spec({"workloadRef": {"name": name}})

    def create_workload(self, tag: str, replicas: int) -> None:
        """Create the Deployment anew: nothing gates a first deploy."""
        self.released.add(template_digest(template(tag)))
        self.store.create(deployment(tag, replicas))

    def delete_or_create(self, kind: str) -> None:
        """Delete one of the user's objects, or create it anew; a route is the last of the setting's."""
        if kind == "Route":
            for found, name in self.setting.routes[-1:]:
                self._toggle(found, name, self.setting.own_object(found, name))
        elif kind == "Service":
            self.hand_on_service = True
            name = (self.setting.services or (APP,))[-1]
            self._toggle(kind, name, service(name))
        elif (present := self.store.get(kind, APP)) is not None:
            if kind == "Deployment":
                self.forsaken.add(present["metadata"]["uid"])
            self.store.delete(kind, APP)
        elif kind == "Deployment":
            self.create_workload("v3", 5)
        else:
            self.store.create(self._new_rollout())

    def _new_rollout(self) -> dict[str, Any]:
        return rollout([step(20, "20%")], grace=self.grace_seconds, setting=self.setting, **self.more)

    def _toggle(self, kind: str, name: str, manifest: dict[str, Any]) -> None:
        self.hand_on_route = self.hand_on_route or kind in USERS_KINDS
        if self.store.get(kind, name) is not None:
            self.store.delete(kind, name)
        else:
            self._create_own(manifest)

    def _create_own(self, manifest: dict[str, Any]) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        if manifest["kind"] in USERS_KINDS:
            self.own_specs.setdefault(key, manifest["spec"])
            manifest = {**manifest, "spec": self.own_specs[key]}
        self.hand_on_route = self.hand_on_route or self.rollout is not None
        self.store.create(manifest)

    def meddle_with_canary_route(self, weight: str | None, which: int = 0) -> None:
        """Set the weight of a route by hand; or delete the canary Ingress, or take our marks away."""
        found = self.canary_routes
        if not found:
            return
        self.hand_on_route = True
        route = found[which % len(found)]
        match route["kind"]:
            case "HTTPRoute":
                self._divide_by_hand(route, weight)
            case "Split":
                self._split_by_hand(route, weight)
            case _ if weight is None:
                self.store.delete("Ingress", route["metadata"]["name"])
            case _:
                annotations = {"nginx.ingress.kubernetes.io/canary-weight": weight}
                self.store.patch(
                    "Ingress", route["metadata"]["name"], {"metadata": {"annotations": annotations}}
                )

    def _split_by_hand(self, route: JsonObject, weight: str | None) -> None:
        if "canary" in route["spec"]:
            changed = {"weight": int(weight) if weight and weight.isdigit() else 100}
            self.store.patch("Split", route["metadata"]["name"], {"spec": {"canary": changed}})

    def _divide_by_hand(self, route: JsonObject, weight: str | None) -> None:
        """Divide the rules of the HTTPRoute by hand, past the webhook or not; or take our marks away.

        Past the webhook the marks stay: without them the weights come back in proportion, not to the digit.
        """
        if weight is None:
            if not self.webhook_away:
                self.user_patch("HTTPRoute", APP, {"metadata": {"annotations": None}})
            return
        share = int(weight) if weight.isdigit() else 100
        own = self.own_specs["HTTPRoute", APP]["rules"]
        rules = [http_rule("/", web=100 - share, web_canary=share), *own[1:]]
        if self.carries_canary(route):
            self.user_patch("HTTPRoute", APP, {"spec": {"rules": rules}})

    def apply_route(self, variant: int) -> None:
        """Apply the manifest of a route that is changed for a release, itself changed or not.

        What nobody can tell from our own writing is left out: a Split without a trace of a release in it.
        """
        for kind in USERS_KINDS:
            if self.store.get(kind, APP) is None or self.setting.shared:
                continue
            self.hand_on_route = True
            own = APPLIED[kind][variant % len(APPLIED[kind])]
            self.own_specs[kind, APP] = {**self.own_specs[kind, APP], **own}
            gone = {"canary": None} if kind == "Split" else {}
            self.user_patch(kind, APP, {"spec": {**own, **gone}})

    @staticmethod
    def carries_canary(route: JsonObject) -> bool:
        """Tell whether any rule of an HTTPRoute leads to the canary."""
        names_of = [ref["name"] for each in route["spec"]["rules"] for ref in each["backendRefs"]]
        return f"{APP}-canary" in names_of

    def meddle_with_canary(self, what: str, amount: int) -> None:
        """Change what is ours, or what we hold, by hand: every controller of ours has to live with that."""
        self.hand_on_canary = self.hand_on_route = True
        ours = [(kind, name) for kind, name in self.store.objects if name not in self.foreign]
        canaries = [name for kind, name in ours if kind == "Deployment"]
        services = [name for kind, name in ours if kind == "Service"]
        match what:
            case "delete the canary" if canaries:
                self.store.delete("Deployment", canaries[0])
            case "scale the canary" if canaries:
                self.store.patch("Deployment", canaries[0], {"spec": {"replicas": amount}})
            case "delete the canary Service" if services:
                self.store.delete("Service", services[amount % len(services)])
            case "widen the canary Service" if services:
                change = {"spec": {"selector": {names.POD_TEMPLATE_HASH: None}}}
                self.store.patch("Service", services[amount % len(services)], change)
            case "unpin" if self.store.get("Service", APP):
                self.hand_on_service = True
                self.store.patch("Service", APP, {"spec": {"selector": {names.POD_TEMPLATE_HASH: None}}})
            case _:
                return

    def meddle_with_traffic_routing(self, how: str) -> None:
        """Do to the TrafficRouting what a user may, or nothing where there is none."""
        found, kind = self.store.get("TrafficRouting", REFERRED), "TrafficRouting"
        match how:
            case "create":
                if found is None:
                    self.store.create(traffic_routing(self.setting.references(self.grace_seconds)))
            case _ if found is None:
                return
            case "delete":
                self.store.delete(kind, REFERRED)
            case "tear":
                self.store.patch(kind, REFERRED, {"metadata": {"finalizers": []}})
                if self.store.get(kind, REFERRED) is not None:
                    self.store.delete(kind, REFERRED)
            case "replace":
                self.store.patch(kind, REFERRED, {"metadata": {"finalizers": None}})
            case "reroute":
                refs = self.setting.references(self.grace_seconds + 2)
                self.store.patch(kind, REFERRED, {"spec": {"objectRef": refs}})
            case "spoil":
                self.store.patch(kind, REFERRED, {"spec": {"objectRef": []}})
            case _:
                weight = {"weight": int(how) if how else None}
                self.store.patch(kind, REFERRED, {"spec": {"strategy": weight}})

    def _mend_traffic_routing(self) -> None:
        found = self.store.get("TrafficRouting", REFERRED)
        if found is not None and "deletionTimestamp" in found["metadata"]:
            self.meddle_with_traffic_routing("tear")
        self.meddle_with_traffic_routing("create")
        refs = {"objectRef": self.setting.references(self.grace_seconds)}
        self.store.patch("TrafficRouting", REFERRED, {"spec": refs})

    def mend(self) -> None:
        """Put right everything that only people can: what is missing, broken, switched off or away."""
        self.webhook_away = False
        self.broken_tags.clear()
        self.store.mend_pods()
        if self.setting.by_reference:
            self._mend_traffic_routing()
        if self.workload is None:
            self.create_workload("v1", 5)
        for each in self.setting.own_objects():
            if self.store.get(each["kind"], each["metadata"]["name"]) is None:
                self._create_own(each)
        if self.rollout is not None and "deletionTimestamp" not in self.rollout["metadata"]:
            self.change_spec({"disabled": False, "strategy": {"paused": False}})
            self.change_spec({"workloadRef": {"name": APP}})
        if (self.workload or {})["spec"].get("replicas") == 0:
            self.scale(5)

    # --- what is there ---------------------------------------------------------------------------

    def ready_pods(self, service_name: str) -> set[str]:
        """Return the pods that a Service's EndpointSlice shows ready."""
        found = self.store.get("EndpointSlice", f"{service_name}-slice")
        endpoints = found["endpoints"] if found else ()
        return {each["targetRef"]["name"] for each in endpoints if each["conditions"]["ready"]}

    def sent(self, service_name: str | None = None) -> Share:
        """Return what is sent to the canary, of the requests to one Service or to any."""
        return joined(
            sent_by(each)
            for each in self.canary_routes
            if service_name in {None, *self.setting.behind(each["kind"], each["metadata"]["name"])}
        )

    def canary_weight(self) -> int:
        """Return the share of requests that goes to the canary, in percent."""
        return self.sent().weight

    def tags_running(self, owner: JsonObject) -> set[str]:
        """Return the versions of the pods that a Deployment's ReplicaSets run."""
        uid = owner["metadata"]["uid"]
        sets = {each["metadata"]["uid"] for each in self.store.of_kind("ReplicaSet") if owner_of(each) == uid}
        return {each.tag for each in self.store.pods.values() if each.owner in sets}

    def pods_of(self, owner: JsonObject) -> set[str]:
        """Return the names of the pods of a Deployment."""
        uid = owner["metadata"]["uid"]
        sets = {each["metadata"]["uid"] for each in self.store.of_kind("ReplicaSet") if owner_of(each) == uid}
        return {each.name for each in self.store.pods.values() if each.owner in sets}

    def ready_by_tag(self) -> Counter[str]:
        """Count the ready pods of the workload by version."""
        own = self.pods_of(self.workload) if self.workload else set()
        return Counter(each.tag for each in self.store.pods.values() if each.ready and each.name in own)

    def tags_asked_for(self, owner: JsonObject) -> set[str]:
        """Return the versions of which a Deployment's ReplicaSets are asked to run pods."""
        uid = owner["metadata"]["uid"]
        sets = [each for each in self.store.of_kind("ReplicaSet") if owner_of(each) == uid]
        return {tag_of(each["spec"]["template"]) for each in sets if each["spec"]["replicas"] > 0}

    def stable_tags(self) -> set[str]:
        """Return the version that the status calls stable, even when it is scaled to nothing."""
        recorded = self.release.get("stableRevision")
        sets = self.store.of_kind("ReplicaSet")
        return {
            tag_of(each["spec"]["template"])
            for each in sets
            if each["metadata"]["labels"][names.POD_TEMPLATE_HASH] == recorded
        }

    def leftovers(self) -> list[str]:
        """List everything of ours in the cluster, but for the Rollout, its finalizer and the label."""
        found = [f"{kind} {name}" for kind, name in self.store.objects if self._is_ours(kind, name)]
        for each in self.store.of_kind("Service"):
            pinned = self._carries_pin(each) or names.PINNED_BY in (each["metadata"].get("annotations") or {})
            if pinned or names.POD_TEMPLATE_HASH in each["spec"]["selector"]:
                found.append(f"pin of Service {each['metadata']['name']}")
        for key, own in self.own_specs.items():
            route = self.store.get(*key)
            if route and any("/" in name for name in route["metadata"].get("annotations") or {}):
                found.append(f"marks of {key}")
            if route and _in_proportion(route["spec"]) != _in_proportion(own):
                found.append(f"spec of {key}: {route['spec']}")
        found += [
            f"ReplicaSet {each['metadata']['name']}"
            for each in self.store.of_kind("ReplicaSet")
            if not owner_of(each)
        ]
        found += [
            f"finalizer of TrafficRouting {each['metadata']['name']}"
            for each in self.store.of_kind("TrafficRouting")
            if names.USED_BY + APP in (each["metadata"].get("finalizers") or ())
        ]
        if names.ENGAGED in ((self.rollout or {"metadata": {}})["metadata"].get("annotations") or {}):
            found.append("note of the TrafficRouting")
        if self.gate_closed or (self.workload or {"spec": {}})["spec"].get("paused"):
            found.append("gate")
        if names.STRATEGY in ((self.workload or {"metadata": {}})["metadata"].get("annotations") or {}):
            found.append("strategy")
        return found

    def _is_ours(self, kind: str, name: str) -> bool:
        return kind in {"Deployment", "Service", "Ingress"} and name not in self.foreign

    def run_controllers(self) -> int:
        """Let every controller of the cluster come to rest, but for those that are held up."""
        return controllers.run_controllers(self.store, self.broken_tags, self.held_up)


def _in_proportion(spec: JsonObject) -> JsonObject:
    """Take the weights of each rule by their proportion: after a hand that has divided them that is all."""
    rules = []
    for rule in spec.get("rules") or ():
        whole = gcd(*(each["weight"] for each in rule["backendRefs"])) or 1
        refs = [{**each, "weight": each["weight"] // whole} for each in rule["backendRefs"]]
        rules.append({**rule, "backendRefs": refs})
    return {**spec, "rules": rules}


APPLIED: dict[str, tuple[dict[str, Any], ...]] = {
    "HTTPRoute": (
        {"rules": OWN_RULES},
        {"rules": [http_rule("/", web=1)]},
        {"rules": [*OWN_RULES, http_rule("/x", web=7)]},
    ),
    "Split": (split()["spec"], {**split()["spec"], "timeout": "9s"}),
}
"""What the users give their routes by applying a manifest, by kind."""
