"""Kinds that a cluster gets for one test: CustomResourceDefinitions that take any object."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox.cluster import Cluster
from sandbox.names import JsonObject

_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(group: str, kind: str, plural: str, *versions: str, scope: str = "Namespaced") -> JsonObject:
    """Return a definition whose objects may hold anything; the first version is the stored one."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "schema": {"openAPIV3Schema": _ANYTHING},
                }
                for version in versions
            ],
        },
    }


async def install(cluster: Cluster, manifest: JsonObject) -> None:
    """Create a definition and wait until its kind is served."""
    await cluster.create("customresourcedefinitions", None, manifest)
    await cluster.wait_for(
        "customresourcedefinitions",
        None,
        manifest["metadata"]["name"],
        lambda found: _is(found, "Established"),
    )


async def uninstall(cluster: Cluster, manifest: JsonObject) -> None:
    """Delete a definition with all objects of its kind, and wait until it is gone."""
    name = manifest["metadata"]["name"]
    await cluster.delete("customresourcedefinitions", None, name)
    await cluster.wait_gone("customresourcedefinitions", None, name)


@asynccontextmanager
async def installed(cluster: Cluster, manifest: JsonObject) -> AsyncIterator[None]:
    """Have a kind for the time of the block."""
    await install(cluster, manifest)
    try:
        yield
    finally:
        await uninstall(cluster, manifest)


def _is(found: JsonObject, condition: str) -> bool:
    conditions = found.get("status", {}).get("conditions") or ()
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)
