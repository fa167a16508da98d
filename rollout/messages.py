"""Every text that a release shows to people, in one place; admission texts stand in ``rollout.warnings``.

The strings of the rollout's MESSAGE column are those that existing tools and habits know
(contract, 1.4), with the two end states of the reference walkthrough.
"""

from collections.abc import Iterable

from rollout import names
from rollout.actions import Event
from rollout.problems import Problem
from rollout.route_kinds import RouteKind

WORKLOAD_NOT_FOUND = "Workload Not Found"
HEALTHY = "rollout is healthy"
SEEDED = "workload deployment is completed"
PROGRESSING = "Rollout is in Progressing"
PAUSED = "Rollout has been paused, you can resume it by kube-cli"
FINALISING = "Rollout has been completed and some closing work is being done"
COMPLETED = "Rollout has been completed, and succeed"
ROLLED_BACK = "The workload has been rolled back and the rollout process will be cancelled"
DISABLING = "Disabling rollout, release resources"
DISABLED = "Rollout is disabled"
TERMINATING = "rollout is in terminating"
UNINSTALLED = "Sluice was uninstalled: changes of the workload are not held any more"
ROUTING_HEALTHY = "TrafficRouting is Healthy"
ROUTING_PROGRESSING = "TrafficRouting is Progressing"
ROUTING_FINALIZING = "TrafficRouting is Finalizing"
ROUTING_UNINSTALLED = "Sluice was uninstalled: nothing is routed by this any more"


def step_upgrade(step: int, steps: int) -> str:
    """Say that the canary pods of a step are being brought up."""
    return f"Rollout is in step({step}/{steps}), and upgrade workload to new version"


def step_routing(step: int, steps: int) -> str:
    """Say that the traffic of a step is being set."""
    return f"Rollout is in step({step}/{steps}), and route traffic to new version"


def step_confirm(step: int, steps: int) -> str:
    """Say that a step waits for a person."""
    return f"Rollout is in step({step}/{steps}), and you need manually confirm to enter the next step"


def step_wait(step: int, steps: int, seconds: int) -> str:
    """Say that a step waits for its pause to end."""
    return f"Rollout is in step({step}/{steps}), and wait duration({seconds} seconds) to enter the next step"


def step_done(step: int) -> str:
    """Note in an event: the pods of a step are up."""
    return f"upgrade step({step}) canary pods with new versions done"


CONTINUOUS_EVENT = "workload continuous publishing canaryRevision, then restart publishing"
IN_VAIN = Event(
    "WritesUndone",
    "our changes are undone as soon as they are made: another controller or a policy may be writing the same "
    "objects; the reconciler's log names them",
    key="in-vain",
    warning=True,
)
ROLLED_BACK_EVENT = "workload has been rollback, then rollout is canceled"


def approve_event(name: str, namespace: str, release: str, step: int, *, replacing: bool = False) -> str:
    """Note in an event: a step waits, and this is how it is approved.

    ``replacing``: the value stands there from before, and writing it again would change nothing.
    """
    annotate = f"kubectl annotate rollout {name} -n {namespace}"
    first = f"{annotate} {names.APPROVE}- && " if replacing else ""
    return (
        f"step {step} of release {release} waits for approval: "
        f"{first}{annotate} {names.APPROVE}={release}/{step} --overwrite"
    )


def approvals_reset(release: str, step: int, at: str, reason: str, void: Iterable[str]) -> str:
    """Say that a step waits for a new approval: the release went back to it, or the plan was changed.

    The approvals that do not count any more are told one by one: the others count.
    """
    named = ", ".join(void)
    what = f"went back to step {step}" if reason == "WentBack" else f"is at step {step} of a changed plan"
    return (
        f"release {release} {what} since {at}: earlier approvals do not count any more"
        f"{f' ({named})' if named else ''}; "
        f"to approve again remove the annotation {names.APPROVE} first"
    )


def nothing_new(rollout_id: str) -> str:
    """Note in an event: a release that brings nothing."""
    return f"release {rollout_id} has the template that serves already: there was nothing to roll out"


def gate_without_rollout(name: str) -> str:
    """Note in an event: nobody could have opened this gate any more."""
    return f"the Rollout that held Deployment {name} is gone: its gate was opened and it rolls out by itself"


def service_missing(name: str) -> str:
    """Say: a routed Service does not exist."""
    return (
        f"Service {name} not found: create it, or correct trafficRoutings[].service; until then nothing moves"
    )


def ingress_missing(name: str) -> str:
    """Say: a routed Ingress does not exist."""
    return (
        f"Ingress {name} not found: create it, or correct trafficRoutings[].ingress; until then nothing moves"
    )


def ingress_unrelated(ingress: str, service: str, *, by_default: bool) -> str:
    """Say: the Ingress has no path that leads to the stable Service."""
    if by_default:
        return (
            f"Ingress {ingress} routes to Service {service} by its defaultBackend alone, of which a canary "
            "cannot get a share: add a rule with a path"
        )
    return f"Ingress {ingress} has no path with backend Service {service}: correct either"


def route_unsupported(service: str) -> str:
    """Say: a kind of route that cannot be moved yet."""
    return f"trafficRoutings of Service {service}: only ingress is supported yet"


def http_route_unrelated(route: str, service: str) -> str:
    """Say: the HTTPRoute sends no request to the stable Service."""
    return f"HTTPRoute {route} has no rule that sends requests to backend Service {service}: correct either"


def http_route_beyond(route: str, why: str) -> str:
    """Say: a step that the HTTPRoute cannot carry."""
    return f"HTTPRoute {route} cannot carry this release: {why}"


def http_route_refused(route: str, parent: str, why: str) -> str:
    """Say: a Gateway does not serve the HTTPRoute."""
    return (
        f"HTTPRoute {route} is not accepted by its parent {parent} ({why}): correct spec.parentRefs, "
        "the Gateway or its listeners; until then nothing moves"
    )


def http_route_orphaned(route: str) -> str:
    """Say: the HTTPRoute belongs to no Gateway."""
    return f"HTTPRoute {route} has no spec.parentRefs: no Gateway serves it; until then nothing moves"


def http_route_unnoticed(route: str, parent: str) -> str:
    """Say: a Gateway has not taken in the last change of the HTTPRoute."""
    return f"waits until the parent {parent} of HTTPRoute {route} has accepted its present generation"


def matched_twice(name: str, one: str, other: str) -> str:
    """Say: two conditions on one header or query parameter, which one match cannot hold."""
    return (
        f"{name} is matched twice, by {one!r} and by {other!r}, which one match cannot say: "
        "use another name in steps[].matches"
    )


def prefix_replaced(kind: str) -> str:
    """Say: a path type that a rewriting rule cannot have."""
    return (
        "a rule with a ReplacePrefixMatch filter can be narrowed only by steps[].matches with a path of type "
        f"PathPrefix, not {kind}"
    )


def route_too_large(found: int, what: str, most: int) -> str:
    """Say: beyond the limits of the Gateway API."""
    return (
        f"it would have {found} {what} with the canary's, and the Gateway API allows {most}: use fewer "
        "steps[].matches, or divide the route"
    )


def too_many_headers(what: str, found: int, most: int) -> str:
    """Say: a header filter beyond the limits of the Gateway API."""
    return (
        f"its header filter would {what} {found} headers with the step's, and the Gateway API allows {most}"
    )


def marks_too_large(size: int, most: int) -> str:
    """Say: the rules are too large to be remembered in an annotation."""
    return f"its rules take {size} bytes in an annotation, and {most} are allowed: divide the route"


def kind_not_read_yet(kind: RouteKind) -> str:
    """Say: the first list of a kind is still under way."""
    return f"waits until every {kind} has been read"


def kind_unknown(kind: RouteKind, versions: Iterable[str]) -> str:
    """Say: the API server does not serve a kind that a Rollout refers to."""
    if known := ", ".join(versions):
        return f"{kind} is served at {known} only: name that version in trafficRoutings[]"
    return f"{kind} is not known to the API server: install its CRD, or correct trafficRoutings[]"


def kind_too_many(kind: RouteKind, most: int) -> str:
    """Say: so many other kinds are referred to that this one is not looked at."""
    return f"{kind} is not looked at: Rollouts of this namespace refer to {most} other kinds already"


def kind_no_route(kind: RouteKind) -> str:
    """Say: a kind of Kubernetes' own, or of ours, which no data plane is told its routes by."""
    return f"{kind} does not route by customNetworkRefs: name an Ingress in ingress, an HTTPRoute in gateway"


def kind_not_namespaced(kind: RouteKind) -> str:
    """Say: a kind whose objects belong to no namespace."""
    return f"{kind} is cluster-scoped: trafficRoutings[] can name objects of the Rollout's namespace only"


def kind_forbidden(kind: RouteKind, plural: str) -> str:
    """Say: we may not read a kind that a Rollout refers to."""
    group = kind.api_version.rpartition("/")[0]
    return (
        f"{kind} may not be listed and watched: add apiGroups [{group}], resources [{plural}] to the chart's "
        "customNetworkResources"
    )


def kind_unreadable(kind: RouteKind, error: str) -> str:
    """Say: the API server fails to tell about a kind."""
    return f"{kind} cannot be read: {error}"


def route_missing(kind: str, name: str) -> str:
    """Say: an object that routes does not exist."""
    return f"{kind} {name} not found: create it, or correct trafficRoutings[]; until then nothing moves"


def routed_elsewhere(kind: str, name: str, rollout: str) -> str:
    """Say: another Rollout's release goes through the same object."""
    return (
        f"{kind} {name} is being changed by Rollout {rollout}: this release goes on when that one has ended"
    )


def route_occupied(kind: str, name: str, canary: str) -> str:
    """Say: an object mentions the canary before any release has changed it."""
    return (
        f"{kind} {name} mentions {canary}, which a release adds and takes away: remove it from {kind} {name}"
    )


def object_too_large(kind: str, name: str, most: int) -> str:
    """Say: an object cannot be remembered in an annotation."""
    return f"{kind} {name} is larger than {most} bytes and cannot be remembered beside itself: split it"


def original_lost(kind: str, name: str) -> str:
    """Say: we changed an object and what it was is gone."""
    return (
        f"{kind} {name}: annotation {names.ORIGINAL_SPEC} is missing or broken, so what it was is not known: "
        f"write its spec as it was before the release, and remove the annotation {names.ROUTED_BY}"
    )


def traffic_routing_missing(name: str) -> str:
    """Say: the TrafficRouting does not exist."""
    return (
        f"TrafficRouting {name} not found: create it, or correct the Rollout's reference; until then nothing "
        "moves"
    )


def traffic_routing_leaves(name: str) -> str:
    """Say: the TrafficRouting is being deleted before this release has begun to use it."""
    return f"TrafficRouting {name} is being deleted: create it anew; until then nothing moves"


def traffic_routing_foreign(name: str, deployment: str) -> str:
    """Say: none of its Services is the workload's."""
    return (
        f"TrafficRouting {name} names no Service that selects the pods of Deployment {deployment}, and the "
        "steps have traffic: correct either"
    )


def traffic_routing_attended(name: str) -> str:
    """Say: a release goes by without traffic of its own."""
    return (
        f"TrafficRouting {name} names no Service that selects the pods of this Deployment: they come up step "
        "by step, and no request is sent to them by a route"
    )


def traffic_routing_unreadable(name: str, problems: Iterable[Problem]) -> str:
    """Say: what the TrafficRouting asks for has no meaning."""
    found = "; ".join(str(each) for each in problems)
    return f"TrafficRouting {name} cannot be used: {found}"


def traffic_routing_unfit(name: str, why: str) -> str:
    """Say: what the TrafficRouting and the steps ask for together cannot be done."""
    return f"TrafficRouting {name} cannot carry this release: {why}"


def rollout_name_too_long(rollout: str, most: int) -> str:
    """Say: the name cannot stand in the finalizer by which a TrafficRouting is held."""
    return (
        f"Rollout {rollout} cannot go through a TrafficRouting: its name has more than {most} characters; "
        "use a shorter one, or trafficRoutings"
    )


def traffic_routing_gone(name: str) -> str:
    """Say: a release goes through a TrafficRouting that does not exist any more."""
    return (
        f"TrafficRouting {name} is gone, though a release goes through it: requests go where they went, and "
        "rolling back works; create it again to go on"
    )


def traffic_routing_deleted(name: str) -> str:
    """Say: a TrafficRouting is deleted while a release goes through it."""
    return f"TrafficRouting {name} is being deleted: it goes when this release has given its traffic back"


def traffic_routing_changed(name: str) -> str:
    """Say: the routes of a TrafficRouting were changed while a release goes through it."""
    return (
        f"spec.objectRef of TrafficRouting {name} was changed: this release keeps the routes that it began "
        "with, the next one takes the change"
    )


def routing_terminating(rollouts: Iterable[str]) -> str:
    """Say on a TrafficRouting: it is being deleted, and what for it waits."""
    waits = ", ".join(sorted(rollouts))
    text = "TrafficRouting is Terminating"
    return f"{text}: waits until Rollout {waits} has given its traffic back" if waits else text


def routing_unreadable(problems: Iterable[Problem]) -> str:
    """Say on a TrafficRouting: it has no meaning."""
    return f"TrafficRouting is Initializing: {'; '.join(str(each) for each in problems)}"


def script_missing(key: str) -> str:
    """Say: there is no script for a kind."""
    return (
        f"no script: put one into ConfigMap {names.CONFIGURATION}, key {key}, in the reconciler's namespace"
    )


def ingress_class_unknown(name: str, known: Iterable[str]) -> str:
    """Say: nothing is known of how a class of Ingress says a canary."""
    return (
        f"classType {name} is not built in: use one of {', '.join(known)}, or put a script for it into "
        f"ConfigMap {names.CONFIGURATION}, key {names.INGRESS_SCRIPT}{name}, in the reconciler's namespace"
    )


def ingress_shared(name: str, classtype: str) -> str:
    """Say: several Services behind one Ingress, whose class is said by a script."""
    return (
        f"Ingress {name} is named by trafficRoutings of several Services, and classType {classtype} is said "
        "by a script, which knows of one: use an Ingress for each Service"
    )


def script_failed(kind: str, name: str, why: str) -> str:
    """Say: a script gives no usable result."""
    return f"{kind} {name} cannot be routed: {why}"


def route_edited(kind: str, name: str) -> str:
    """Note in an event: an edit of what we wrote is undone."""
    return (
        f"{kind} {name} was edited while a release routes through it: it is written again from what it was "
        "before the release; change it after the release, or replace its spec by one without the canary"
    )


def route_replaced(kind: str, name: str) -> str:
    """Note in an event: a new spec was put in the place of ours."""
    return (
        f"{kind} {name} has a new spec: the release goes on from it, and it is what stays after the release"
    )


def not_ours(kind: str, name: str, rollout: str | None = None) -> str:
    """Say: an object of the canary's name exists and is somebody else's, perhaps another Rollout's."""
    if rollout:
        return f"{kind} {name} belongs to Rollout {rollout}: waits for its release to end"
    return f"{kind} {name} exists and is not owned by this Rollout: rename or delete it to go on"


def patch_unselected(deployment: str) -> str:
    """Say: the canary's pods would not belong to the Deployment that is to run them."""
    return (
        f"patchPodTemplateMetadata.labels changes a label by which Deployment {deployment} selects its pods: "
        "leave that label out"
    )


def service_unsuitable(name: str, reason: str) -> str:
    """Say: a Service that cannot be pinned to one revision."""
    return f"Service {name} cannot route by revision: {reason}"


def stable_is_down(service: str) -> str:
    """Say: the step waits for a person, and nobody serves the larger part of the requests."""
    return (
        f"no stable pod behind Service {service} is ready, and requests are held to these: "
        "approve the step, or take the new version back"
    )


def waits_for_pods(need: int, deployment: str, stuck: str | None) -> str:
    """Say: the new version's pods are not available yet."""
    text = f"waits until {need} new pods of Deployment {deployment} are available"
    return f"{text} ({stuck})" if stuck else text


def waits_for_endpoints(service: str, need: int) -> str:
    """Say: a Service's EndpointSlices do not show the pods yet."""
    return f"waits until the EndpointSlices of Service {service} show {need} ready pods"


def waits_for_count(deployment: str) -> str:
    """Say: what its status counts are not the pods of the ReplicaSets that it has."""
    return f"waits until Deployment {deployment} has counted its pods"


def waits_for_workload(name: str, stuck: str | None) -> str:
    """Say: the native rolling update is under way."""
    text = f"waits until Deployment {name} is rolled out"
    return f"{text} ({stuck})" if stuck else text


def waits_for_adoption(deployment: str, replica_set: str) -> str:
    """Say: the approved pods are being handed over."""
    return f"waits until Deployment {deployment} has taken over ReplicaSet {replica_set}"


def waits_for_scaling(name: str) -> str:
    """Say: the Deployment's own controller is taking pods away that are too many."""
    return f"waits until Deployment {name} has as many pods as its replicas and maxSurge allow"


def waits_to_move(deployment: str, replica_set: str, stuck: str | None = None) -> str:
    """Say that a pod more must be available before another may be replaced."""
    text = f"waits until Deployment {deployment} has enough available pods"
    text = f"{text} to move the next ones to ReplicaSet {replica_set}"
    return f"{text} ({stuck})" if stuck else text


def waits_for_grace(seconds: int) -> str:
    """Say: the data plane gets time to notice a change of routing."""
    return f"waits until the data plane had {seconds} s (gracePeriodSeconds) to notice the change of routing"


def waits_for_removal(kind: str, name: str) -> str:
    """Say: something is being deleted."""
    return f"waits for {kind} {name} to be gone"


def settles(name: str, stuck: str | None = None) -> str:
    """Say that two revisions serve behind the gate, and one of them is being replaced by the other."""
    text = f"waits until Deployment {name}, which was still rolling out when it changed, serves one revision"
    return f"{text} ({stuck})" if stuck else text


def service_shared(name: str, pod: str) -> str:
    """Say that a Service has endpoints which a release would take from it."""
    return (
        f"Service {name} also selects pods of others (such as {pod}), which would get no requests during a "
        "release: route by a Service that selects this Deployment's pods alone"
    )


def pinned_elsewhere(name: str, rollout: str) -> str:
    """Say that another Rollout holds the Service."""
    return (
        f"Service {name} is pinned by Rollout {rollout}: wait for its release to end; "
        "if that Rollout does not exist, remove the annotations sluice.dev/pin and sluice.dev/pinned-by"
    )


def gated_late(name: str) -> str:
    """Note in an event: a change that went past the webhook was held afterwards."""
    return f"Deployment {name} changed without the webhook: the gate was closed late"


def let_out_elsewhere(name: str) -> str:
    """Note in an event: the gate was opened by somebody else, and most pods are new already."""
    return f"the gate of Deployment {name} was opened by somebody else and the new version is out"


def released_uncontrolled(name: str) -> str:
    """Note in an event: a change that went past the webhook is already out."""
    return f"Deployment {name} was rolled out without the webhook: nothing was left to hold"


def recreates(name: str) -> str:
    """Say: condition: the strategy allows no two revisions."""
    return f"Deployment {name} has strategy Recreate, which allows no two revisions: its changes are not held"
