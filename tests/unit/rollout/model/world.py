"""The world around one Rollout: what users, admission and the data plane do, and what is remembered of it.

``World`` is what the state machine drives. Users' writes pass the webhook unless it is away; the
reconciler's writes pass only the Service hook, as in the product. Past states are kept, so that
a pass can be made from a view that is some events old, for each kind of object by itself.
"""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout import names
from rollout.actions import Event
from rollout.revision import template_digest
from rollout.traffic import nginx
from rollout.wire import JsonObject
from tests.unit.rollout.model import admission, controllers
from tests.unit.rollout.model.controllers import tag_of
from tests.unit.rollout.model.store import Key, Store, maker_of, owner_of

APP = "web"
HOST = "web.example.com"
HISTORY = 12  # how many events back a stale view can reach
NOTHING: JsonObject = {"metadata": {}}
GROUP_VERSION = f"{names.GROUP}/{names.STORAGE_VERSION}"


def template(tag: str) -> dict[str, Any]:
    """Return the pod template of a version."""
    return {
        "metadata": {"labels": {"app": APP}},
        "spec": {"containers": [{"name": APP, "image": f"web:{tag}"}]},
    }


def step(weight: int | None, replicas: str | int, pause: int | None = None) -> dict[str, Any]:
    """Return one step of a Rollout's spec."""
    value: dict[str, Any] = {"replicas": replicas, "pause": {} if pause is None else {"duration": pause}}
    return value if weight is None else {**value, "traffic": f"{weight}%"}


def deployment(tag: str, replicas: int) -> dict[str, Any]:
    """Return a Deployment as a user writes it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": APP}},
            "template": template(tag),
        },
    }


def service() -> dict[str, Any]:
    """Return a Service as a user writes it."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": APP},
        "spec": {"selector": {"app": APP}, "ports": [{"port": 8080}]},
    }


def ingress() -> dict[str, Any]:
    """Return an Ingress as a user writes it."""
    backend = {"service": {"name": APP, "port": {"number": 8080}}}
    paths = [{"path": "/", "pathType": "ImplementationSpecific", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": APP, "annotations": {"kubernetes.io/ingress.class": "nginx"}},
        "spec": {"rules": [{"host": HOST, "http": {"paths": paths}}]},
    }


def rollout(steps: list[dict[str, Any]], *, grace: int = 3, routed: bool = True) -> dict[str, Any]:
    """Return a Rollout as a user writes it."""
    routing = {"service": APP, "gracePeriodSeconds": grace, "ingress": {"name": APP}}
    canary: dict[str, Any] = {"enableExtraWorkloadForCanary": True, "steps": steps}
    if routed:
        canary["trafficRoutings"] = [routing]
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "Rollout",
        "metadata": {"name": APP},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "strategy": {"canary": canary},
        },
    }


class World:
    """A store, a clock, a webhook that may be away, and what the users of the world did to it."""

    def __init__(self, *, tag: str = "v1", replicas: int = 5) -> None:
        self.store = Store()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.webhook_away = False
        self.broken_tags: set[str] = set()
        self.released: set[str] = {template_digest(template(tag))}
        """Templates that the stable Deployment may run: let out by a release, or never gated."""
        self.torn = False
        """A user went past the webhook: what follows from that is not held against the engine."""
        self.hand_on_route = False
        """A user changed or deleted the canary Ingress: its timing is theirs."""
        self.hand_on_service = False
        """A user deleted or re-created the stable Service."""
        self.approved_weight: dict[str, int] = {}
        """By release: the highest weight of any step that it entered."""
        self.last_weight_at: datetime | None = None
        """When a weight was last seen on the canary's route."""
        self.lowered_at: datetime | None = None
        """When that weight last went down."""
        self.weight_before = 0
        self.void_approvals: frozenset[str] = frozenset()
        """Those that were there when the present release last jumped back: they do not count any more."""
        self.events: list[Event] = []
        """What was told to people, in order."""
        self.grace_seconds = 3
        self.held_up: frozenset[str] = frozenset()
        """Controllers that do nothing at present: ``endpoints``, ``garbage``, ``pods``, ``deployments``."""
        self.foreign: set[str] = {APP}
        """Names of objects that are the user's own."""
        self.past: list[dict[Key, JsonObject]] = []
        self.store.create(deployment(tag, replicas))
        self.store.create(service())
        self.store.create(ingress())

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
    def canary_route(self) -> JsonObject | None:
        """The canary Ingress, if the one of that name is ours."""
        found, rollout = self.store.get("Ingress", f"{APP}-canary"), self.rollout
        owners = {rollout["metadata"]["uid"]} if rollout else {maker_of(found or NOTHING)} - {""}
        return found if found and maker_of(found) in owners else None

    # --- writes ----------------------------------------------------------------------------------

    def user_patch(self, kind: str, name: str, merge: JsonObject) -> None:
        """Write as a user does, through the webhook unless it is away."""
        old, new = self.store.merged(kind, name, merge)
        if not self.webhook_away:
            new = self._admitted(old, new)
        self._note(old, new)
        self.store.put(new)

    def engine_patch(self, kind: str, name: str, merge: JsonObject) -> None:
        """Write as the reconciler does: only the Service hook looks at it."""
        old, new = self.store.merged(kind, name, merge)
        hooked = kind == "Service" and (self._carries_pin(old) or self._carries_pin(new))
        if hooked and not self.webhook_away:
            new = admission.admit_service(new)
        self.store.put(new)

    def _admitted(self, old: JsonObject, new: JsonObject) -> JsonObject:
        match new["kind"]:
            case "Deployment" if names.WORKLOAD_TYPE in (old["metadata"].get("labels") or {}):
                return admission.admit_deployment(old, new, self.rollout)
            case "Service" if self._carries_pin(old) or self._carries_pin(new):
                return admission.admit_service(new)
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
        elif tag_of(new["spec"]["template"]) not in self.tags_asked_for(old) | self.stable_tags():
            self.released.discard(digest)

    # --- users -----------------------------------------------------------------------------------

    def apply_template(self, tag: str) -> None:
        """Change the version, as ``kubectl set image`` does."""
        merge = {"spec": {"template": {"spec": template(tag)["spec"]}}}
        self.user_patch("Deployment", APP, merge)

    def scale(self, replicas: int) -> None:
        """Change the number of pods; nothing of ours is called for that."""
        self.store.patch("Deployment", APP, {"spec": {"replicas": replicas}})

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

    def create_workload(self, tag: str, replicas: int) -> None:
        """Create the Deployment anew: nothing gates a first deploy."""
        self.released.add(template_digest(template(tag)))
        self.store.create(deployment(tag, replicas))

    def delete_or_create(self, kind: str) -> None:
        """Delete one of the user's objects, or create it anew when it is gone."""
        self.hand_on_service = self.hand_on_service or kind == "Service"
        if self.store.get(kind, APP) is not None:
            self.store.delete(kind, APP)
        elif kind == "Deployment":
            self.create_workload("v3", 5)
        else:
            steps = [step(20, "20%")]
            self.store.create(
                {
                    "Rollout": rollout(steps, grace=self.grace_seconds),
                    "Service": service(),
                    "Ingress": ingress(),
                }[kind]
            )

    def meddle_with_canary_route(self, weight: str | None) -> None:
        """Set the weight of the canary Ingress by hand, or delete it."""
        if self.canary_route is None:
            return
        self.hand_on_route = True
        if weight is None:
            self.store.delete("Ingress", f"{APP}-canary")
            return
        annotations = {"nginx.ingress.kubernetes.io/canary-weight": weight}
        self.store.patch("Ingress", f"{APP}-canary", {"metadata": {"annotations": annotations}})

    def mend(self) -> None:
        """Put right everything that only people can: what is missing, broken, switched off or away."""
        self.webhook_away = False
        self.broken_tags.clear()
        if self.workload is None:
            self.create_workload("v1", 5)
        if self.store.get("Service", APP) is None:
            self.store.create(service())
        if self.store.get("Ingress", APP) is None:
            self.store.create(ingress())
        if self.rollout is not None and "deletionTimestamp" not in self.rollout["metadata"]:
            self.change_spec({"disabled": False, "strategy": {"paused": False}})
        if (self.workload or {})["spec"].get("replicas") == 0:
            self.scale(5)

    # --- what is there ---------------------------------------------------------------------------

    def ready_pods(self, service_name: str) -> set[str]:
        """Return the pods that a Service's EndpointSlice shows ready."""
        found = self.store.get("EndpointSlice", f"{service_name}-slice")
        endpoints = found["endpoints"] if found else ()
        return {each["targetRef"]["name"] for each in endpoints if each["conditions"]["ready"]}

    def canary_weight(self) -> int:
        """Return the share of requests that goes to the canary, in percent; 100 when it cannot be told."""
        return weight_of(self.canary_route)

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
        if self.gate_closed or (self.workload or {"spec": {}})["spec"].get("paused"):
            found.append("gate")
        return found

    def _is_ours(self, kind: str, name: str) -> bool:
        return kind in {"Deployment", "Service", "Ingress"} and name not in self.foreign

    def run_controllers(self) -> int:
        """Let every controller of the cluster come to rest, but for those that are held up."""
        return controllers.run_controllers(self.store, self.broken_tags, self.held_up)


def weight_of(route: JsonObject | None) -> int:
    """Return the share of requests that a canary Ingress sends to the canary; 100 when it cannot be told."""
    if route is None or not nginx.may_reach_canary(route, "nginx"):
        return 0
    found = nginx.read(route, "nginx")
    return found.weight if found and not found.matches else 100
