"""The Services of a release: the stable one held to its revision, the canary's beside it."""

from typing import Any

from rollout import manifests, messages, names
from rollout.actions import Create, Delete, Patch
from rollout.release.facts import Facts, guarded
from rollout.release.outcome import DONE, Doing, Outcome, resting_on, together
from rollout.snapshot import ReplicaSet, Service, Snapshot
from rollout.spec import TrafficRoutingRef
from rollout.wire import JsonObject


def suitable(facts: Facts, routing: TrafficRoutingRef) -> Outcome:
    """Refuse a Service that is missing or cannot select one revision."""
    service = facts.snapshot.services.get(routing.service)
    if service is None or service.deleting:
        return Doing(messages.service_missing(routing.service), blocked=True)
    return DONE if facts.spec.disable_generate_canary_service else _pinnable(facts, service)


def _pinnable(facts: Facts, service: Service) -> Outcome:
    name = service.target.name
    if reason := _unselective(service.manifest["spec"]):
        return Doing(messages.service_unsuitable(name, reason), blocked=True)
    if service.pinned_by not in {None, facts.rollout.target.name}:
        return Doing(messages.pinned_elsewhere(name, str(service.pinned_by)), blocked=True)
    strangers = facts.strangers_behind(name) if service.selected_hash is None else None
    if strangers:
        return Doing(messages.service_shared(name, min(strangers)), blocked=True)
    canary = facts.snapshot.services.get(name + names.CANARY_SUFFIX)
    if canary and not canary.owned:
        owner = manifests.owning_rollout(canary.manifest)
        return Doing(messages.not_ours("Service", canary.target.name, owner), blocked=True)
    return DONE


def _unselective(spec: JsonObject) -> str | None:
    """Say why a Service cannot be made to select one revision."""
    if spec.get("type") == "ExternalName":
        return "its type is ExternalName"
    if spec.get("clusterIP") == "None":
        return "it is headless"
    return None if spec.get("selector") else "it has no selector"


def pin(facts: Facts, routing: TrafficRoutingRef) -> Outcome:
    """Hold the stable Service to the stable revision and see that it kept its endpoints.

    The annotation alone is written first: the webhook sets the selector in the same write, so that
    the field stays its owner's under server-side apply. Only if it did not, the selector is written here.
    The release's id is written along: what was planned for an earlier release, and arrives late, then
    meets an object that has changed.
    """
    service, stable = facts.snapshot.services[routing.service], facts.stable
    if stable is None or facts.spec.disable_generate_canary_service:
        return DONE
    target = service.target
    ready = facts.snapshot.ready_pods.get(target.name)
    # Held to another revision, as by an earlier release, it cannot show the pods of this one.
    unseen = service.selected_hash not in {None, stable.hash} and stable.ready > 0
    if ready and not facts.ready_behind(target.name, stable) and not unseen:
        # Whatever we take for stable, it is not what serves: pinned to it, the Service would be empty.
        return Doing(messages.waits_for_endpoints(target.name, max(stable.ready, 1)))
    rollout, release = facts.rollout.target.name, facts.release
    wanted = {names.PIN: stable.hash, names.PINNED_BY: rollout, names.RELEASE: release}
    if (service.pin, service.pinned_by, service.release) != (stable.hash, rollout, release):
        change = {"metadata": {"annotations": wanted}}
        patch = Patch(target, guarded(target, change), why="keep the stable Service on the stable revision")
        pinning = Doing(f"pins Service {target.name} to revision {stable.hash}", (patch,))
        # By an old view of the gate or of the revision, the Service would be held to pods that are gone; with
        # no ready pod of it in sight, an old view of the Rollout would take the last other ones away.
        asleep = () if facts.ready_behind(target.name, stable) else (facts.rollout.target,)
        return resting_on((facts.workload.target, stable.target, *asleep), pinning)
    if service.selected_hash != stable.hash:
        change = {"spec": {"selector": {names.POD_TEMPLATE_HASH: stable.hash}}}
        patch = Patch(target, guarded(target, change), why="the webhook did not set the pinned selector")
        pinning = Doing(f"pins Service {target.name} to revision {stable.hash}", (patch,))
        return resting_on((facts.workload.target, stable.target), pinning)
    # A stable side of which nothing is ready has nothing to keep: the release may be its cure.
    if facts.ready_behind(target.name, stable) < stable.ready:
        return Doing(messages.waits_for_endpoints(target.name, stable.ready))
    return DONE


def move_on(facts: Facts) -> Outcome:
    """Hold what is held to a stable revision that is gone to the one that serves in its place."""
    mine = facts.rollout.target.name
    found = ((ref, facts.snapshot.services.get(ref.service)) for ref in facts.spec.routings)
    held = (ref for ref, service in found if service and service.pinned_by == mine)
    return together(pin(facts, ref) for ref in held)


def widen(snapshot: Snapshot, service: Service) -> Outcome:
    """Let a stable Service select every revision again."""
    target = service.target
    if service.pin is not None or service.pinned_by is not None:
        change = {"metadata": {"annotations": dict.fromkeys((names.PIN, names.PINNED_BY, names.RELEASE))}}
        return Doing(
            f"widens Service {target.name}", (Patch(target, guarded(target, change), why="release the pin"),)
        )
    if service.selected_hash is not None:
        change = {"spec": {"selector": {names.POD_TEMPLATE_HASH: None}}}
        patch = Patch(target, guarded(target, change), why="the webhook did not release the pinned selector")
        return Doing(f"widens Service {target.name}", (patch,))
    beside = snapshot.services.get(target.name + names.CANARY_SUFFIX)
    # With patched labels the canary's pods may be others than those the stable Service can ever select.
    if beside is None or not beside.owned or _selector(beside) != _selector(service):
        return DONE
    own = snapshot.ready_pods.get(target.name, frozenset())
    canary = snapshot.ready_pods.get(beside.target.name, frozenset())
    if canary - own:
        return Doing(messages.waits_for_endpoints(target.name, len(canary)))
    return DONE


def _selector(service: Service) -> JsonObject:
    selector = service.manifest["spec"].get("selector") or {}
    return {key: value for key, value in selector.items() if key != names.POD_TEMPLATE_HASH}


def canary_name(facts: Facts, routing: TrafficRoutingRef) -> str:
    """Name the Service behind which the canary's pods are: their own, or the stable one if so asked."""
    alone = not facts.spec.disable_generate_canary_service
    return routing.service + names.CANARY_SUFFIX if alone else routing.service


def provide_canary(facts: Facts, routing: TrafficRoutingRef, need: int) -> Outcome:
    """Give the canary a Service of its own and see ``need`` of its pods ready there."""
    name = canary_name(facts, routing)
    revision = facts.canary_set
    if revision is None:
        return Doing(f"waits for the ReplicaSet of Deployment {facts.canary_name}")
    if facts.spec.disable_generate_canary_service:
        return _endpoints(facts, name, revision, need)
    manifest = manifests.canary_service(
        facts.snapshot.services[routing.service].manifest,
        revision.hash,
        facts.spec.pod_template_patch,
        facts.owner,
    )
    service = facts.snapshot.services.get(name)
    if service is None:
        return Doing(f"creates Service {name}", (Create(manifest, why="address the canary's pods"),))
    if service.deleting:
        return Doing(messages.waits_for_removal("Service", name))
    if change := _difference(service.manifest["spec"], manifest["spec"]):
        why = "follow the canary's revision and the stable Service"
        patch = Patch(service.target, guarded(service.target, {"spec": change}), why=why)
        return Doing(f"points Service {name} to revision {revision.hash}", (patch,))
    return _endpoints(facts, name, revision, need)


def _endpoints(facts: Facts, name: str, revision: ReplicaSet, need: int) -> Outcome:
    if facts.ready_behind(name, revision) < need:
        return Doing(messages.waits_for_endpoints(name, need))
    return DONE


def _difference(live: JsonObject, wanted: JsonObject) -> JsonObject:
    """Build the merge patch of a canary Service's spec; empty when it is as wanted."""
    has, wants = live.get("selector") or {}, wanted["selector"]
    change: dict[str, Any] = {}
    if has != wants:
        change["selector"] = {**{key: None for key in has if key not in wants}, **wants}
    bare = {**live, "ports": manifests.bare_ports(live)}
    for field in manifests.FOLLOWED_SERVICE_FIELDS:
        if bare.get(field) != wanted.get(field):
            change[field] = wanted.get(field)
    return change


def moves(facts: Facts, routing: TrafficRoutingRef) -> bool:
    """Tell whether the canary Service selects another revision than the canary's present one."""
    service = facts.snapshot.services.get(routing.service + names.CANARY_SUFFIX)
    revision = facts.canary_set
    return bool(service and revision and service.selected_hash != revision.hash)


def canary_ready(facts: Facts, routing: TrafficRoutingRef) -> bool:
    """Tell whether the canary Service is ours and has any ready pod, of whatever revision it selects."""
    if facts.spec.disable_generate_canary_service:
        return facts.ready_behind(routing.service, facts.canary_set) > 0
    name = routing.service + names.CANARY_SUFFIX
    service = facts.snapshot.services.get(name)
    return service is not None and service.owned and bool(facts.snapshot.ready_pods.get(name))


def stable_is_down(facts: Facts) -> str | None:
    """Say that a Service is held to stable pods of which none is ready, though there should be some."""
    stable = facts.stable
    for service in dict.fromkeys(each.service for each in facts.spec.routings):
        found = facts.snapshot.services.get(service)
        held = found is not None and stable is not None and found.selected_hash == stable.hash
        if held and stable and stable.replicas and not facts.ready_behind(service, stable):
            return messages.stable_is_down(service)
    return None


def remove_canaries(snapshot: Snapshot) -> Outcome:
    """Delete every canary Service of the Rollout and wait until they are gone."""
    return together(_remove(each) for each in snapshot.services.values() if each.owned)


def _remove(service: Service) -> Doing:
    waits = messages.waits_for_removal("Service", service.target.name)
    if service.deleting:
        return Doing(waits)
    return Doing(waits, (Delete(service.target, why="no route leads to it any more"),))
