"""Where the API server keeps which kind of object.

A resource is named `deployments` when it is in the table, or in full as
`apps/v1/deployments` (`v1/pods` for the core group).
"""

_GROUP_VERSIONS = {
    "v1": "pods services secrets configmaps events serviceaccounts endpoints replicationcontrollers",
    "apps/v1": "deployments replicasets statefulsets daemonsets controllerrevisions",
    "batch/v1": "jobs cronjobs",
    "autoscaling/v2": "horizontalpodautoscalers",
    "coordination.k8s.io/v1": "leases",
    "discovery.k8s.io/v1": "endpointslices",
    "networking.k8s.io/v1": "ingresses networkpolicies",
    "policy/v1": "poddisruptionbudgets",
    "rbac.authorization.k8s.io/v1": "roles rolebindings",
    "rollouts.kruise.io/v1beta1": "rollouts",
    "rollouts.kruise.io/v1alpha1": "trafficroutings",
    "gateway.networking.k8s.io/v1": "httproutes gateways",
}

_CLUSTER_SCOPED = {
    "v1": "nodes namespaces persistentvolumes",
    "networking.k8s.io/v1": "ingressclasses",
    "rbac.authorization.k8s.io/v1": "clusterroles clusterrolebindings",
    "admissionregistration.k8s.io/v1": "mutatingwebhookconfigurations validatingwebhookconfigurations",
    "apiextensions.k8s.io/v1": "customresourcedefinitions",
    "gateway.networking.k8s.io/v1": "gatewayclasses",
}

_KNOWN = {
    resource: group_version
    for table in (_GROUP_VERSIONS, _CLUSTER_SCOPED)
    for group_version, resources in table.items()
    for resource in resources.split()
}


def path(resource: str, namespace: str | None = None, name: str | None = None) -> str:
    """Return the URL path of a collection, or of one object in it."""
    group_version, plural = _split(resource)
    root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
    scope = f"/namespaces/{namespace}" if namespace is not None else ""
    return f"{root}{scope}/{plural}" + (f"/{name}" if name is not None else "")


def _split(resource: str) -> tuple[str, str]:
    group_version, separator, plural = resource.rpartition("/")
    if separator:
        return group_version, plural
    if resource not in _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        raise ValueError(f"unknown resource {resource!r}: use group/version/plural, or one of {known}")
    return _KNOWN[resource], resource
