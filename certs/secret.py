"""The Secret that all replicas share: read, and written only over exactly what was read.

Two replicas that decide at the same time both write; the API server lets one win, and the other is told so
and looks again. Thus all end up with one bundle, without a lock.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from certs.bundle import Bundle, read, write
from kube.client import Change
from kube.errors import AlreadyExists, Conflict, NotFound
from kube.resources import Ref, Resource


class Requests(Protocol):
    """What certificates need of ``kube.client.Client``."""

    async def get(self, ref: Ref) -> dict[str, Any]:
        """Read an object."""
        ...

    async def create(
        self, resource: Resource, body: Mapping[str, Any], *, namespace: str | None = None
    ) -> dict[str, Any]:
        """Create an object."""
        ...

    async def patch(self, ref: Ref, change: Change) -> dict[str, Any]:
        """Change an object."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """What was in the Secret when it was read; without a resourceVersion there was none."""

    bundle: Bundle
    resource_version: str = ""


class SecretStore:
    """The bundle's place in the cluster."""

    def __init__(self, requests: Requests, ref: Ref, owner: Mapping[str, Any] | None = None) -> None:
        """``owner``: the reference that a new Secret gets, so that it goes with the installation."""
        self._requests = requests
        self._ref = ref
        self._owner = owner

    async def read(self) -> Stored:
        """Return what is there now."""
        try:
            return _stored(await self._requests.get(self._ref))
        except NotFound:
            return Stored(Bundle())

    async def write(self, bundle: Bundle, over: Stored) -> Stored | None:
        """Put the bundle in the place of what was read; None when somebody else changed that meanwhile."""
        try:
            if not over.resource_version:
                return _stored(await self._create(bundle))
            guard = {"resourceVersion": over.resource_version}
            # keys and labels that are not ours stay; the type of an existing Secret cannot be changed
            change = {"metadata": guard, "data": write(bundle)}
            return _stored(await self._requests.patch(self._ref, change))
        except (AlreadyExists, Conflict, NotFound):
            return None

    async def _create(self, bundle: Bundle) -> dict[str, Any]:
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self._ref.name,
                "namespace": self._ref.namespace,
                "labels": {
                    "app.kubernetes.io/part-of": "sluice",
                    "app.kubernetes.io/managed-by": "sluice-webhook",
                },
                **({"ownerReferences": [self._owner]} if self._owner else {}),
            },
            # known to tools that look for certificates and their expiry
            "type": "kubernetes.io/tls",
            "data": write(bundle),
        }
        return await self._requests.create(self._ref.resource, body, namespace=self._ref.namespace)


def _stored(secret: Mapping[str, Any]) -> Stored:
    return Stored(read(secret.get("data") or {}), str(secret["metadata"]["resourceVersion"]))
