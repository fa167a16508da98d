"""Our own installation: what it consists of, whether it is being removed, and how it lets go of itself.

The owners (ServiceAccount, roles) are handed to the garbage collector, which holds them until their
bindings are gone: the last request of all needs all of them alive. Why it is done so, and in this
order, is docs/decisions/008.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kube.cache import Cache
from kube.client import Client
from kube.errors import Forbidden, KubeError, NotFound
from kube.managed_fields import disowned, owns_spec
from kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Ref,
    Resource,
)
from kube.wire import JsonObject
from rollout import names

NAME = "sluice-reconciler"
WEBHOOK_NAME = "sluice-webhook"
DEFINITION = CUSTOM_RESOURCE_DEFINITIONS.ref(None, "rollouts.rollouts.kruise.io")
HOOKS = (
    MUTATING_WEBHOOK_CONFIGURATIONS.ref(None, "sluice-mutating"),
    VALIDATING_WEBHOOK_CONFIGURATIONS.ref(None, "sluice-validating"),
)
REQUESTED, DONE = "requested", "done"
_REFRESH_SECONDS = 5.0  # one request and one watch event
_WATCHED = (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, ROLES, ROLE_BINDINGS, SERVICE_ACCOUNTS, NAMESPACES)


class Installation:
    """The objects that the reconciler needs to finish its work, as they are seen now."""

    def __init__(self, namespace: str, deployments: Cache[JsonObject], *, in_cluster: bool) -> None:
        """Look at the installation in ``namespace``; ``in_cluster`` says that we run as a pod of it."""
        self.namespace = namespace
        self._in_cluster = in_cluster
        self._deployments = deployments
        self.caches: Mapping[Ref, Cache[JsonObject]] = {self.ref(each): Cache(each) for each in _WATCHED}
        self.deployment = DEPLOYMENTS.ref(namespace, NAME)

    def ref(self, resource: Resource) -> Ref:
        """Name the installation's object of a kind."""
        if resource is NAMESPACES:
            return NAMESPACES.ref(None, self.namespace)
        return Ref(resource, self.namespace if resource.namespaced else None, NAME)

    @property
    def guarded(self) -> tuple[Ref, ...]:
        """What has to outlive its own deletion, in the order in which it is let go."""
        return (
            self.deployment,
            self.ref(CLUSTER_ROLES),
            self.ref(CLUSTER_ROLE_BINDINGS),
            self.ref(ROLES),
            self.ref(SERVICE_ACCOUNTS),
            self.ref(ROLE_BINDINGS),
        )

    def find(self, ref: Ref) -> JsonObject | None:
        """Give an object of the installation as it was last seen."""
        cache = self._deployments if ref == self.deployment else self.caches[ref]
        return cache.get(ref.namespace or "", ref.name)

    @property
    def request(self) -> str | None:
        """What the leave annotation says."""
        found = self.find(self.deployment)
        return (found["metadata"].get("annotations") or {}).get(names.LEAVE) if found else None

    @property
    def namespace_deleted(self) -> bool:
        """Whether our namespace is being deleted."""
        return _deleted(self.find(self.ref(NAMESPACES)))

    @property
    def leaving(self) -> bool:
        """Whether we are asked to leave, or are being deleted in part or as a whole."""
        return self.request is not None or self.namespace_deleted or self.deleted

    @property
    def deleted(self) -> bool:
        """Whether any of our own objects is being deleted, or our pod has outlived its Deployment."""
        orphaned = self._in_cluster and self.find(self.deployment) is None
        return orphaned or any(_deleted(self.find(ref)) for ref in self.guarded)

    @property
    def released(self) -> bool:
        """Whether we hold on to none of our objects any more."""
        found = (self.find(ref) for ref in self.guarded)
        return not any(each and names.LEAVING_FINALIZER in _finalizers(each) for each in found)

    async def refresh(self, client: Client) -> None:
        """Look at our namespace now: a process that is told to stop may know less than who stopped it."""
        ref = self.ref(NAMESPACES)
        cache = self.caches[ref]
        try:
            found = await client.get(ref)
            await cache.seen(found["metadata"]["resourceVersion"], _REFRESH_SECONDS)
        except (KubeError, TimeoutError):
            return  # what the watch has shown has to do

    @property
    def versions(self) -> tuple[str, ...]:
        """What changes whenever a guarded object does."""
        found = (self.find(ref) for ref in self.guarded)
        return tuple(each["metadata"]["resourceVersion"] if each else "" for each in found)


@dataclass(frozen=True)
class Caretaker:
    """Changes the installation's own objects."""

    client: Client
    installation: Installation

    async def claim(self) -> None:
        """Keep what we need alive until we let it go; what does not exist needs no keeping."""
        for ref in self.installation.guarded:
            found = self.installation.find(ref)
            if found and not _deleted(found) and names.LEAVING_FINALIZER not in _finalizers(found):
                await self._patch(ref, found, {"finalizers": [*_finalizers(found), names.LEAVING_FINALIZER]})

    async def withdraw_webhook(self) -> None:
        """Have nobody ask the webhook any more: first about changes, then about versions of Rollouts."""
        for ref in HOOKS:
            await self._delete(ref)
        try:
            change = {"conversion": {"strategy": "None", "webhook": None}}
            found = await self.client.patch(DEFINITION, {"spec": change})
        except NotFound:
            return
        # What we own of the definition, whoever applies it later would have to take from us by force: Helm 4
        # does not, and could not install the chart again.
        if owns_spec(found, self.client.field_manager):
            with suppress(NotFound):
                await self.client.patch(DEFINITION, disowned(found, self.client.field_manager))

    async def tie_to_namespace(self) -> None:
        """Have the garbage collector remove what is cluster-wide after our namespace is gone."""
        namespace = await self._get(NAMESPACES.ref(None, self.installation.namespace))
        if namespace is None:
            return
        owner = _owner(NAMESPACES.api_version, NAMESPACES.kind, namespace, blocking=False)
        for name in (NAME, WEBHOOK_NAME):
            for resource in (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS):
                await self._own(Ref(resource, None, name), owner)

    async def hand_over(self) -> None:
        """Make owners that are being deleted wait for their bindings."""
        at = self.installation
        pairs = (
            (CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES),
            (ROLE_BINDINGS, ROLES),
            (ROLE_BINDINGS, SERVICE_ACCOUNTS),
        )
        for dependent, owner in pairs:
            found = await self._sight(at.ref(owner))
            if found and _deleted(found):
                reference = _owner(owner.api_version, owner.kind, found, blocking=True)
                await self._own(at.ref(dependent), reference)

    async def let_go(self) -> None:
        """Lift our finalizers, our rights last; whoever began may begin again from any point."""
        for ref in self.installation.guarded:
            found = await self._sight(ref)
            if found is None or names.LEAVING_FINALIZER not in _finalizers(found):
                continue
            if _deleted(found) and ref.resource in {CLUSTER_ROLES, ROLES, SERVICE_ACCOUNTS}:
                await self.client.delete(ref, uid=found["metadata"]["uid"], propagation="Foreground")
                found = await self.client.get(ref)
            kept = [each for each in _finalizers(found) if each != names.LEAVING_FINALIZER]
            await self._patch(ref, found, {"finalizers": kept})

    async def ask(self) -> None:
        """Ask on our Deployment, if there is one, that we leave."""
        await self._say(REQUESTED, lambda _: True)

    async def answer(self) -> None:
        """Say there that it is done, if somebody asked and has not taken it back."""
        await self._say(DONE, lambda annotations: names.LEAVE in annotations)

    async def _say(self, word: str, suits: Callable[[JsonObject], bool]) -> None:
        found = await self._get(self.installation.deployment)
        if found and suits(found["metadata"].get("annotations") or {}):
            await self._patch(self.installation.deployment, found, {"annotations": {names.LEAVE: word}})

    async def _own(self, ref: Ref, owner: JsonObject) -> None:
        found = await self._get(ref)
        if found is None:
            return
        owners = found["metadata"].get("ownerReferences") or []
        if owner["uid"] not in {each["uid"] for each in owners}:
            await self._patch(ref, found, {"ownerReferences": [*owners, owner]})

    async def _sight(self, ref: Ref) -> JsonObject | None:
        """Read what we have held; what we may not read any more was let go before our right to."""
        try:
            return await self._get(ref)
        except Forbidden:
            return None

    async def _get(self, ref: Ref) -> JsonObject | None:
        try:
            return await self.client.get(ref)
        except NotFound:
            return None

    async def _delete(self, ref: Ref) -> None:
        try:
            await self.client.delete(ref)
        except NotFound:
            return

    async def _patch(self, ref: Ref, found: JsonObject, metadata: JsonObject) -> None:
        version = {"uid": found["metadata"]["uid"], "resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            await self.client.patch(ref, {"metadata": {**metadata, **version}})
        except NotFound:
            return


def _deleted(value: JsonObject | None) -> bool:
    return value is not None and "deletionTimestamp" in value["metadata"]


def _finalizers(value: JsonObject) -> list[str]:
    return list(value["metadata"].get("finalizers") or ())


def _owner(api_version: str, kind: str, value: JsonObject, *, blocking: bool) -> dict[str, Any]:
    owner: dict[str, Any] = {
        "apiVersion": api_version,
        "kind": kind,
        "name": value["metadata"]["name"],
        "uid": value["metadata"]["uid"],
    }
    return {**owner, "blockOwnerDeletion": True} if blocking else owner
