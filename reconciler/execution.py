"""Carrying out a plan: the status first, then its actions in order, each guarded, the first failure ends it.

Whatever was written is then awaited in the caches, so that the next plan for the same Rollout is
never made from a view older than its own writes.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from kube.cache import Cache
from kube.client import Client
from kube.errors import Conflict, NotFound
from kube.resources import ROLLOUTS, Ref
from kube.wire import JsonObject, Key
from reconciler.ownership import leave_to_owner
from reconciler.world import World
from rollout.actions import Action, Confirm, Create, Delete, Patch
from rollout.dating import changed_at, dated, is_dated, redated
from rollout.release.plan import Plan
from rollout.status import write_status
from runtime.logs import Log

# A watch event follows a write within milliseconds; a cache that lags longer than this is stalled, and the
# next plan is guarded by resourceVersions anyway.
_SEEN_SECONDS = 10.0

# A write of a route that takes no longer is taken as made when it was sent.
_PROMPT = timedelta(milliseconds=250)
# A Gateway's controller answers each change of a route with a write to its status.
_ATTEMPTS = 5

Leading = Callable[[], bool]


class NotLeading(Exception):  # noqa: N818  the orderly end of a replica's turn, not an error
    """Another replica may be acting by now: nothing more is written."""


@dataclass(frozen=True)
class Executor:
    """Writes plans of one reconciler."""

    client: Client
    world: World
    leading: Leading
    clock: Callable[[], datetime]
    log: Log

    async def execute(self, rollout: JsonObject, plan: Plan) -> bool:
        """Carry out a plan; returns whether anything was written. Raises KubeError, NotLeading."""
        namespace, name = rollout["metadata"]["namespace"], rollout["metadata"]["name"]
        log = self.log.bind(rollout=f"{namespace}/{name}")
        wrote = await self._write_status(rollout, plan, log)
        for action in plan.actions:
            if not await self._act(namespace, action, log):
                break  # the rest would be written, and confirmed, long after it was decided
        return wrote or bool(plan.actions)

    async def oblige(self, rollout: JsonObject, plan: Plan) -> bool:
        """Make the writes that nothing waits for; returns whether any. Raises as ``execute`` does."""
        namespace, name = rollout["metadata"]["namespace"], rollout["metadata"]["name"]
        log = self.log.bind(rollout=f"{namespace}/{name}")
        for action in plan.courtesies:
            if not await self._act(namespace, action, log):
                break  # the rest can wait; what the next look may find cannot
        return bool(plan.courtesies)

    async def _write_status(self, rollout: JsonObject, plan: Plan, log: Log) -> bool:
        metadata, status = rollout["metadata"], write_status(plan.status)
        if carries(rollout.get("status"), status) or not status["phase"]:
            return False
        self._check_leading()
        for action in plan.actions:
            if isinstance(action, Confirm):  # what is said rests on it as well
                await self._confirm(metadata["namespace"], action)
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        ref = ROLLOUTS.ref(metadata["namespace"], metadata["name"])
        written = await self.client.patch(ref, {"metadata": guard, "status": status}, subresource="status")
        log.info(
            "status written",
            phase=status["phase"],
            step=status["currentStepIndex"],
            message=status["message"],
        )
        await self._seen(self.world.rollouts, written)
        return True

    async def _act(self, namespace: str, action: Action, log: Log) -> bool:
        """Make a write; returns whether our own caches have shown it."""
        self._check_leading()
        match action:
            case Confirm():
                await self._confirm(namespace, action)
                return True
            case Create() | Patch():
                return await self._write(namespace, action, log)
            case Delete():
                return await self._delete(namespace, action, log)
            case _:
                assert_never(action)

    async def _write(self, namespace: str, action: Create | Patch, log: Log) -> bool:
        sent = self.clock()
        cache, written = await self._send(namespace, action, sent)
        name = written["metadata"]["name"]
        verb = "created" if isinstance(action, Create) else "patched"
        log.info(verb, kind=cache.resource.kind, name=name, why=action.why)
        if is_dated(action) and self.clock() - sent > _PROMPT:
            # Nobody knows when in that time the route changed: its data plane may only now notice it.
            written = await self._date_anew(cache.resource.ref(namespace, name), written)
        seen = await self._seen(cache, written)
        if isinstance(action, Create):
            return seen
        left = await leave_to_owner(self.client, cache.resource.ref(namespace, name), written)
        return seen and (left is written or await self._seen(cache, left))

    async def _date_anew(self, ref: Ref, written: JsonObject) -> JsonObject:
        """Say that a route was changed now, for as long as the change is ours; others may write meanwhile."""
        ours = changed_at(written)
        for _ in range(_ATTEMPTS):
            with suppress(Conflict):
                return await self.client.patch(ref, redated(written, self.clock()))
            written = await self.client.get(ref)
            if changed_at(written) != ours:
                return written
        self.log.warning("a route is dated as it was sent, some time before it changed", route=str(ref))
        return written

    async def _send(
        self, namespace: str, action: Create | Patch, now: datetime
    ) -> tuple[Cache[JsonObject], JsonObject]:
        if isinstance(action, Create):
            cache = self.world.cache_of(action.kind)
            manifest = dated(action, now).manifest
            return cache, await self.client.create(cache.resource, manifest, namespace=namespace)
        target = action.target
        cache = self.world.cache_of(target.kind, target.api_version)
        ref = cache.resource.ref(namespace, target.name)
        return cache, await self.client.patch(ref, dated(action, now).merge)

    async def _confirm(self, namespace: str, action: Confirm) -> None:
        for each in action.targets:
            cache = self.world.cache_of(each.kind, each.api_version)
            try:
                found = await self.client.get(cache.resource.ref(namespace, each.name))
            except NotFound:
                if not each.resource_version:
                    continue
                await self._wait(cache.gone(Key(namespace, each.name), each.uid, _SEEN_SECONDS), cache)
            else:
                if found["metadata"]["resourceVersion"] == each.resource_version:
                    continue
                await self._seen(cache, found)
            raise Conflict(f"{each.kind} {each.name} is not as it was observed")

    async def _delete(self, namespace: str, action: Delete, log: Log) -> bool:
        target = action.target
        cache = self.world.cache_of(target.kind, target.api_version)
        answer = await self.client.delete(
            cache.resource.ref(namespace, target.name),
            uid=target.uid,
            resource_version=target.resource_version,
            propagation=action.propagation.value,
        )
        log.info("deleted", kind=target.kind, name=target.name, why=action.why)
        if answer.get("kind") == target.kind and "deletionTimestamp" in answer.get("metadata", {}):
            return await self._seen(cache, answer)  # finalizers hold it: it shows as being deleted
        return await self._wait(cache.gone(Key(namespace, target.name), target.uid, _SEEN_SECONDS), cache)

    async def _seen(self, cache: Cache[JsonObject], written: JsonObject) -> bool:
        version = written["metadata"]["resourceVersion"]
        return await self._wait(cache.seen(version, _SEEN_SECONDS), cache)

    async def _wait(self, waiting: Any, cache: Cache[JsonObject]) -> bool:
        try:
            await waiting
        except TimeoutError:
            kind = cache.resource.kind
            self.log.warning("cache lags behind the API server", kind=kind, seconds=_SEEN_SECONDS)
            return False
        return True

    def _check_leading(self) -> None:
        if not self.leading():
            raise NotLeading


def carries(found: Any, wanted: Any) -> bool:
    """Tell whether a JSON value already says what is wanted; members that are not mentioned do not count."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            carries(found.get(key), value) for key, value in wanted.items()
        )
    return bool(found == wanted)
