"""The objects a release adds to the cluster, rendered from the user's own.

Labels and annotations by which other tools track what they manage never go onto our copies:
a pruning tool would delete them (contract with KubeVela, 2.6).
"""

from typing import Any

from rollout import names
from rollout.spec import PodTemplatePatch
from rollout.wire import JsonObject

_TRACKER_PREFIXES = (
    "app.oam.dev/",
    "oam.dev/",
    "trait.oam.dev/",
    "workload.oam.dev/",
    "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/",
    "helm.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "kubectl.kubernetes.io/",
    "deployment.kubernetes.io/",
    "objectset.rio.cattle.io/",
    "field.cattle.io/",
    "rollouts.kruise.io/",
    "sluice.dev/",
)
_TRACKER_KEYS = frozenset(
    {
        "app.kubernetes.io/instance",
        "app.kubernetes.io/managed-by",
        "helm.sh/chart",
    }
)
_SERVICE_FIELDS_LEFT_OUT = frozenset(
    {
        # What belongs to one Service alone; the API server allots it anew for the copy.
        "clusterIP",
        "clusterIPs",
        "externalIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        # Of a load balancer, of which the copy has none.
        "loadBalancerIP",
        "loadBalancerClass",
        "loadBalancerSourceRanges",
        "allocateLoadBalancerNodePorts",
        "healthCheckNodePort",
        # A pod that is not ready must not count as one of the canary's endpoints.
        "publishNotReadyAddresses",
        # A canary has no pod on most nodes: requests that may not leave theirs would be lost.
        "internalTrafficPolicy",
    }
)
# By these, others give a Service's pods a name of their own: the canary's would get its share of that name's
# requests at once, approved or not.
_SERVICE_NAMERS = ("external-dns.alpha.kubernetes.io/", "consul.hashicorp.com/service-")
FOLLOWED_SERVICE_FIELDS = ("ports", "sessionAffinity", "sessionAffinityConfig")
"""What a canary Service has as the stable one has it now, whatever else was copied once."""


def copied_metadata(metadata: JsonObject) -> dict[str, Any]:
    """Copy labels and annotations, less those by which other tools, or we, track an object."""
    copied: dict[str, Any] = {}
    for field in ("labels", "annotations"):
        kept = {key: value for key, value in (metadata.get(field) or {}).items() if not _tracks(key)}
        if kept:
            copied[field] = kept
    return copied


def _tracks(key: str) -> bool:
    return key in _TRACKER_KEYS or key.startswith(_TRACKER_PREFIXES)


def canary_name(workload: str, release: str) -> str:
    """Name the canary Deployment of a release."""
    return f"{workload}-{release}"


def workload_name(canary: str) -> str:
    """Name the Deployment of which another could be the canary, by its name."""
    return canary.rpartition("-")[0]


def owner_reference(rollout: str, uid: str) -> dict[str, Any]:
    """Own an object for a Rollout, so that it cannot outlive it."""
    return {
        "apiVersion": f"{names.GROUP}/{names.STORAGE_VERSION}",
        "kind": "Rollout",
        "name": rollout,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def made_by(metadata: JsonObject, owner: JsonObject) -> dict[str, Any]:
    """Say on an object whose it is: by reference, and by a label that outlives the reference."""
    labels = {**metadata.get("labels", {}), names.MADE_BY: owner["uid"]}
    return {**metadata, "labels": labels, "ownerReferences": [owner]}


def owning_rollout(manifest: JsonObject) -> str | None:
    """Name the Rollout that owns an object, if one does."""
    references = manifest["metadata"].get("ownerReferences") or ()
    owners = (each for each in references if each.get("controller") and each.get("kind") == "Rollout")
    return next((str(each["name"]) for each in owners), None)


_NO_DEADLINE = 2**31 - 1
"""Kubernetes' word for none. A Deployment that was once complete, with no pods, has no deadline any more."""


def canary_size(workload: JsonObject, replicas: int) -> dict[str, Any]:
    """Render what gives a canary Deployment pods, and with the first of them the workload's deadline."""
    deadline = workload["spec"].get("progressDeadlineSeconds", 600)
    return {"spec": {"replicas": replicas, "progressDeadlineSeconds": deadline}}


def canary_deployment(
    workload: JsonObject, release: str, patch: PodTemplatePatch, owner: JsonObject
) -> dict[str, Any]:
    """Render the canary Deployment, without pods: the same selector, and template but for ``patch``."""
    stable = workload["metadata"]["name"]
    metadata = copied_metadata(workload["metadata"])
    labels = {**metadata.get("labels", {}), names.CANARY_DEPLOYMENT: stable[:63].rstrip("-._")}
    # Without history, what the canary ran before somebody edited it could not be told any more.
    left_out = ("paused", "revisionHistoryLimit")
    spec = {key: value for key, value in workload["spec"].items() if key not in left_out}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": made_by(
            {
                **metadata,
                "name": canary_name(stable, release),
                "labels": labels,
                "annotations": {**metadata.get("annotations", {}), names.RELEASE: release},
            },
            owner,
        ),
        "spec": {
            **spec,
            "replicas": 0,
            "template": _patched(spec["template"], patch),
            "progressDeadlineSeconds": _NO_DEADLINE,
        },
    }


def _patched(template: JsonObject, patch: PodTemplatePatch) -> JsonObject:
    if not patch.labels and not patch.annotations:
        return template
    metadata = dict(template.get("metadata") or {})
    for field, added in (("labels", patch.labels), ("annotations", patch.annotations)):
        if added:
            metadata[field] = {**(metadata.get(field) or {}), **added}
    return {**template, "metadata": metadata}


def canary_service(
    stable: JsonObject, pod_template_hash: str, patch: PodTemplatePatch, owner: JsonObject
) -> dict[str, Any]:
    """Render the canary Service: the stable one's ports, selecting one revision's pods.

    A label that canary pods get in place of the stable ones' is followed (contract, 4.1).
    """
    metadata = copied_metadata(stable["metadata"])
    if found := metadata.get("annotations"):
        kept = {key: value for key, value in found.items() if not key.startswith(_SERVICE_NAMERS)}
        metadata["annotations"] = kept
    spec = _reached(stable["spec"])
    stable_selector = spec.get("selector") or {}
    patched = {key: value for key, value in patch.labels.items() if key in stable_selector}
    selector = {**stable_selector, **patched, names.POD_TEMPLATE_HASH: pod_template_hash}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": made_by({**metadata, "name": stable["metadata"]["name"] + names.CANARY_SUFFIX}, owner),
        "spec": {**spec, "ports": bare_ports(spec), "selector": selector},
    }


def bare_ports(spec: JsonObject) -> list[dict[str, Any]]:
    """Give the ports of a Service, less what the API server allots to each."""
    return [
        {key: value for key, value in port.items() if key != "nodePort"} for port in spec.get("ports", ())
    ]


def _reached(spec: JsonObject) -> dict[str, Any]:
    """Copy a Service's spec, without a load balancer of its own (docs/decisions/010)."""
    copied = {key: value for key, value in spec.items() if key not in _SERVICE_FIELDS_LEFT_OUT}
    if spec.get("type") != "LoadBalancer":
        return copied
    if spec.get("allocateLoadBalancerNodePorts", True):
        return {**copied, "type": "NodePort"}
    copied.pop("externalTrafficPolicy", None)
    return {**copied, "type": "ClusterIP"}
