"""What a cluster's own policy refuses, as its administrator can write one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox.cluster import Cluster
from sandbox.names import JsonObject

_GROUP = "admissionregistration.k8s.io/v1"


@asynccontextmanager
async def refusing(cluster: Cluster, name: str, policy: JsonObject) -> AsyncIterator[None]:
    """Hold a ValidatingAdmissionPolicy with this spec over the cluster while the block runs."""
    binding = {"policyName": name, "validationActions": ["Deny"]}
    made = {"validatingadmissionpolicies": policy, "validatingadmissionpolicybindings": binding}
    for resource, spec in made.items():
        await cluster.create(f"{_GROUP}/{resource}", None, {"metadata": {"name": name}, "spec": spec})
    try:
        yield
    finally:
        for resource in reversed(made):
            await cluster.delete(f"{_GROUP}/{resource}", None, name)
