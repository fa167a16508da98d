"""From Kubernetes JSON to the values of a snapshot.

Objects come from an API server that validated them, so their required fields are relied on;
optional ones are given the defaults that Kubernetes documents.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from rollout import names, shared_routing
from rollout.actions import Target
from rollout.approval import Stamp, parse_stamp
from rollout.fields import natural
from rollout.parsing import parse, parse_routings
from rollout.revision import template_digest
from rollout.route_kinds import RouteKind, RouteRef, Unseen
from rollout.shared_routing_status import users
from rollout.snapshot import (
    Deployment,
    Gate,
    Ingress,
    Pod,
    ReplicaSet,
    RolloutObject,
    RouteObject,
    Service,
    Snapshot,
    TrafficRouting,
)
from rollout.status import parse_time, read_status
from rollout.strategy import declared, kept, limits, recreates
from rollout.wire import JsonObject

_STARTING = ("ContainerCreating", "PodInitializing")  # kubelet's reasons for a wait that is no trouble
_DIGEST = "digest"  # beside metadata and spec of a ReplicaSet that was digested
_LONGEST_TROUBLE = 200  # of a message: it stands in a status, a condition and an event's note


def observe(
    rollout: JsonObject,
    objects: Iterable[JsonObject],
    now: datetime,
    routed: Iterable[JsonObject] = (),
    unseen: Mapping[RouteKind, Unseen] | None = None,
    scripts: Mapping[str, str] | None = None,
) -> Snapshot:
    """Build the snapshot of one Rollout from the objects around it.

    ``objects`` are Deployments, ReplicaSets, Pods in trouble or of canaries, Services, Ingresses,
    EndpointSlices and TrafficRoutings of the Rollout's namespace; more than needed does no harm. ``routed``
    are objects of other kinds, which may be called the same.
    """
    by_kind: dict[str, list[JsonObject]] = {}
    for each in objects:
        by_kind.setdefault(each["kind"], []).append(each)
    own = read_rollout(rollout)
    deployments = {each["metadata"]["name"]: each for each in by_kind.get("Deployment", ())}
    workload = deployments.pop(own.workload, None)
    return Snapshot(
        now=now,
        rollout=own,
        workload=read_deployment(workload) if workload else None,
        deployments={name: read_deployment(each) for name, each in deployments.items()},
        replica_sets=tuple(read_replica_set(each) for each in by_kind.get("ReplicaSet", ())),
        services={
            each["metadata"]["name"]: read_service(each, own.target.uid)
            for each in by_kind.get("Service", ())
        },
        ingresses={
            each["metadata"]["name"]: read_ingress(each, own.target.uid)
            for each in by_kind.get("Ingress", ())
        },
        troubles=read_troubles(by_kind.get("Pod", ())),
        pods=tuple(read_pod(each) for each in by_kind.get("Pod", ()) if _lives(each)),
        ready_pods=read_ready_pods(by_kind.get("EndpointSlice", ())),
        route_objects={_route_ref(each): read_route_object(each) for each in routed},
        unseen=unseen or {},
        traffic_routings={
            each["metadata"]["name"]: read_traffic_routing(each) for each in by_kind.get("TrafficRouting", ())
        },
        scripts=scripts or {},
    )


def read_rollout(value: JsonObject) -> RolloutObject:
    """Read a v1beta1 Rollout."""
    metadata = value["metadata"]
    return RolloutObject(
        target=_target("Rollout", metadata),
        namespace=metadata["namespace"],
        generation=metadata.get("generation", 0),
        deleting="deletionTimestamp" in metadata,
        disabled=_spec(value).get("disabled") is True,
        workload=_workload_name(value),
        finalizers=tuple(metadata.get("finalizers") or ()),
        approval=_approval(_annotations(metadata)),
        spec=parse(value),
        status=read_status(value.get("status")),
        routings=parse_routings(value),
        engaged=shared_routing.engaged(_annotations(metadata).get(names.ENGAGED)),
        noted=names.ENGAGED in _annotations(metadata),
    )


def read_traffic_routing(value: JsonObject) -> TrafficRouting:
    """Read a TrafficRouting."""
    metadata = value["metadata"]
    finalizers = tuple(metadata.get("finalizers") or ())
    return TrafficRouting(
        target=_target("TrafficRouting", metadata),
        deleting="deletionTimestamp" in metadata,
        finalizers=finalizers,
        users=users(finalizers),
        shared=shared_routing.parse(value),
        spec=_spec(value),
    )


def _workload_name(rollout: JsonObject) -> str:
    """Name the workload even when the rest of the spec cannot be read: it may have to be let go."""
    reference = _spec(rollout).get("workloadRef")
    name = reference.get("name") if isinstance(reference, Mapping) else None
    return name if isinstance(name, str) else ""


def _spec(rollout: JsonObject) -> Mapping[str, Any]:
    spec = rollout.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def read_deployment(value: JsonObject) -> Deployment:
    """Read a Deployment."""
    metadata, spec, status = value["metadata"], value["spec"], value.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, _annotations(metadata)
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    held_back = kept(annotations.get(names.STRATEGY))
    surge, _ = limits(strategy, replicas)
    _, unavailable = limits(declared(held_back, strategy), replicas)
    return Deployment(
        target=_target("Deployment", metadata),
        owner_uid=_maker(metadata, "-" + annotations.get(names.RELEASE, "")),
        generation=metadata.get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        deleting="deletionTimestamp" in metadata,
        governed=labels.get(names.WORKLOAD_TYPE) == "deployment",
        gate=read_gate(annotations),
        approval=_approval(annotations),
        rollout_id=annotations.get(names.ROLLOUT_ID) or labels.get(names.ROLLOUT_ID) or "",
        paused=bool(spec.get("paused")),
        recreates=recreates(strategy),
        strategy=strategy,
        kept=held_back,
        replicas=replicas,
        max_surge=surge,
        max_unavailable=unavailable,
        digest=template_digest(spec["template"]),
        status_replicas=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        stuck=_stuck(status.get("conditions") or ()),
        manifest=value,
    )


def _approval(annotations: Mapping[str, str]) -> Stamp | None:
    """Read an approval that came by way of the webhook, which checked it and stamped who gave it."""
    stamp = parse_stamp(annotations.get(names.APPROVED_BY))
    return stamp if stamp and stamp.approval == annotations.get(names.APPROVE) else None


def read_gate(annotations: Mapping[str, str]) -> Gate | None:
    """Read the gate annotations of a Deployment; None when the gate is open."""
    raw = annotations.get(names.IN_PROGRESSING)
    if not raw:
        return None
    try:
        held = json.loads(raw)
    except (ValueError, RecursionError):
        held = None
    name = held.get("rolloutName") if isinstance(held, dict) else None
    return Gate(rollout=name if isinstance(name, str) else "", release=annotations.get(names.RELEASE))


def digested(replica_set: JsonObject) -> dict[str, Any]:
    """Put the digest of a ReplicaSet's template in its place: of a whole history nothing else is asked."""
    spec = dict(replica_set.get("spec") or {})
    template = spec.pop("template", None) or {}
    return {**replica_set, "spec": spec, _DIGEST: template_digest(template)}


def read_replica_set(value: JsonObject) -> ReplicaSet:
    """Read a ReplicaSet of a Deployment."""
    metadata, spec, status = value["metadata"], value["spec"], value.get("status") or {}
    return ReplicaSet(
        target=_target("ReplicaSet", metadata),
        owner_uid=_owner(metadata, "uid"),
        owner_name=_owner(metadata, "name"),
        created=metadata.get("creationTimestamp") or "",
        hash=(metadata.get("labels") or {}).get(names.POD_TEMPLATE_HASH, ""),
        digest=value.get(_DIGEST) or template_digest(spec.get("template") or {}),
        replicas=spec.get("replicas", 1),
        observed=status.get("observedGeneration", 0) >= metadata.get("generation", 0),
        present=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        stuck=_stuck(status.get("conditions") or ()),
        labels=metadata.get("labels") or {},
        scaled_for=_scaled_for(_annotations(metadata)),
    )


def read_pod(value: JsonObject) -> Pod:
    """Read a pod."""
    metadata = value["metadata"]
    labels = metadata.get("labels") or {}
    return Pod(
        target=_target("Pod", metadata),
        owner_uid=_owner(metadata, "uid"),
        ready=is_ready(value),
        unready_since=None if is_ready(value) else _running_since(value),
        unready=_unready(value),
        rollout_id=labels.get(names.ROLLOUT_ID, ""),
        batch=labels.get(names.ROLLOUT_BATCH_ID, ""),
    )


def _running_since(pod: JsonObject) -> datetime | None:
    containers = (pod.get("status") or {}).get("containerStatuses") or ()
    states = [(each.get("state") or {}).get("running") or {} for each in containers]
    times = [parse_time(each.get("startedAt")) for each in states]
    return max((each for each in times if each), default=None) if all(times) else None


def _unready(pod: JsonObject) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next(
        (_said(each) for each in conditions if (each.get("type"), each.get("status")) == ("Ready", "False")),
        "",
    )


def is_ready(pod: JsonObject) -> bool:
    """Tell whether a pod's own condition says that it is ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any((each.get("type"), each.get("status")) == ("Ready", "True") for each in conditions)


def _lives(pod: JsonObject) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return "deletionTimestamp" not in pod["metadata"] and phase not in {"Succeeded", "Failed"}


def _scaled_for(annotations: Mapping[str, str]) -> tuple[int | None, int | None]:
    desired, most = (annotations.get(key, "") for key in (names.DESIRED_REPLICAS, names.MAX_REPLICAS))
    return natural(desired), natural(most)


def read_service(value: JsonObject, rollout_uid: str) -> Service:
    """Read a Service."""
    metadata = value["metadata"]
    return Service(
        target=_target("Service", metadata),
        owned=_maker(metadata, names.CANARY_SUFFIX) == rollout_uid,
        deleting="deletionTimestamp" in metadata,
        pin=_annotations(metadata).get(names.PIN),
        pinned_by=_annotations(metadata).get(names.PINNED_BY),
        release=_annotations(metadata).get(names.RELEASE),
        selected_hash=(value["spec"].get("selector") or {}).get(names.POD_TEMPLATE_HASH),
        manifest=value,
    )


def read_ingress(value: JsonObject, rollout_uid: str) -> Ingress:
    """Read an Ingress."""
    metadata = value["metadata"]
    return Ingress(
        target=_target("Ingress", metadata),
        owned=_maker(metadata, names.CANARY_SUFFIX) == rollout_uid,
        deleting="deletionTimestamp" in metadata,
        manifest=value,
    )


def read_route_object(value: JsonObject) -> RouteObject:
    """Read a user's own route, of whatever kind."""
    metadata = value["metadata"]
    target = _target(value["kind"], metadata)
    return RouteObject(
        target=replace(target, api_version=value["apiVersion"]),
        deleting="deletionTimestamp" in metadata,
        routed_by=_annotations(metadata).get(names.ROUTED_BY),
        manifest=value,
    )


def _route_ref(value: JsonObject) -> RouteRef:
    return RouteRef(value["apiVersion"], value["kind"], value["metadata"]["name"])


def read_ready_pods(slices: Iterable[JsonObject]) -> dict[str, frozenset[str]]:
    """Collect, for each Service, the pods that its EndpointSlices show ready."""
    ready: dict[str, set[str]] = {}
    for each in slices:
        service = (each["metadata"].get("labels") or {}).get(names.KUBERNETES_SERVICE_NAME, "")
        pods = ready.setdefault(service, set())
        for endpoint in each.get("endpoints") or ():
            # A missing condition means ready (API reference, EndpointConditions).
            if (endpoint.get("conditions") or {}).get("ready", True) and (pod := _pod_name(endpoint)):
                pods.add(pod)
    return {service: frozenset(pods) for service, pods in ready.items()}


def read_troubles(pods: Iterable[JsonObject]) -> dict[str, str]:
    """Collect, for each ReplicaSet, what keeps one of its pods from running; of several the first by name."""
    found: dict[str, str] = {}
    for pod in sorted(pods, key=lambda each: str(each["metadata"]["name"]), reverse=True):
        if trouble := read_trouble(pod):
            found[_owner(pod["metadata"], "uid")] = f"pod {pod['metadata']['name']}: {trouble}"
    return found


def read_trouble(pod: JsonObject) -> str | None:
    """Say what keeps a pod from running, in the words of kubelet and scheduler; None while nothing does."""
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for each in status.get(kind) or ():
            waiting = (each.get("state") or {}).get("waiting") or {}
            if waiting.get("reason", _STARTING[0]) not in _STARTING:
                return _said(waiting)
    for each in status.get("conditions") or ():
        if (each.get("type"), each.get("status")) == ("PodScheduled", "False"):
            return _said(each)
    return None


def _said(why: JsonObject) -> str:
    text = f"{why.get('reason', '')}: {why.get('message', '')}".removesuffix(": ")
    return text if len(text) <= _LONGEST_TROUBLE else f"{text[:_LONGEST_TROUBLE]}..."


def _pod_name(endpoint: JsonObject) -> str | None:
    reference = endpoint.get("targetRef") or {}
    return reference.get("name") if reference.get("kind") == "Pod" else None


def _target(kind: str, metadata: JsonObject) -> Target:
    return Target(kind, metadata["name"], metadata.get("uid", ""), metadata.get("resourceVersion", ""))


def _annotations(metadata: JsonObject) -> Mapping[str, str]:
    found: Mapping[str, str] = metadata.get("annotations") or {}
    return found


def _owner(metadata: JsonObject, field: str) -> str:
    """Give the uid or name of the controlling owner, "" for none."""
    references: Iterable[Mapping[str, Any]] = metadata.get("ownerReferences") or ()
    return next((str(each[field]) for each in references if each.get("controller")), "")


def _maker(metadata: JsonObject, ending: str) -> str:
    """Give the uid of the controlling owner or, where its reference is gone, of whoever made an object.

    What was copied from ours under another name, and does not end as the names that we give, is its owner's.
    """
    labels = metadata.get("labels") or {}
    made_by = labels.get(names.MADE_BY, "") if metadata["name"].endswith(ending) and len(ending) > 1 else ""
    return _owner(metadata, "uid") or made_by


def _stuck(conditions: Iterable[JsonObject]) -> str | None:
    """Say what the controller of a Deployment or ReplicaSet reports as failing, if anything."""
    for each in conditions:
        failing = (each.get("type"), each.get("status")) in {
            ("ReplicaFailure", "True"),
            ("Progressing", "False"),
        }
        if failing and each.get("reason") != "DeploymentPaused":
            return f"{each.get('reason', '')}: {each.get('message', '')}"
    return None
