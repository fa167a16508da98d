"""One leader among the replicas of a process, by a Lease object.

Decides who may act, and when one who leads has to stop. Refuses to know what leading is for.

No clock is ever compared with another machine's. A challenger takes a lease over only when it has itself
watched the record stay the same for the whole duration; `renewTime` is there for people to read. A leader
counts from before it sent its last successful renewal.

    t=0    the leader's renewal is sent (its own count starts)
    t>0    the challenger sees the record change (its count starts, later than the leader's)
    t=3    the leader, not having renewed since, stops: work is cancelled, `leading` is false
    t=4+   the challenger's count is over: it takes the lease, by an update that fails if anybody was quicker

So the old leader has stopped a second before a new one starts. Killed with -9, a leader is replaced within 4
s + one look of the challenger (0.5 s) after its last renewal. client-go's defaults are 15 s, 10 s and 2 s;
ours are shorter as a release stands still in between, and not shorter still as an etcd election takes one to
two seconds and should not cost the lease. A leader that shuts down hands the lease back, and waits for
nobody.

A lease cannot stop a request that is already on its way: what is written must be safe for two writers on
stale observations, by resourceVersion and uid. The lease makes that rare, not impossible.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol, TypeVar, assert_never

import msgspec

from kube.client import Client
from kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from kube.resources import Ref
from kube.wire import JsonObject

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; see the module docstring for why these."""

    duration: int = 4  # how long an unchanged record is respected; the API wants a whole number
    deadline: float = 3.0  # how long a leader goes on without a renewal
    renew_every: float = 1.0  # three renewals fit into the deadline: one lost answer costs nothing
    look_every: float = 0.5  # how often a challenger reads the record
    request: float = 2.0  # an etcd that elects a leader of its own answers within that

    def __post_init__(self) -> None:
        if not 0 < self.renew_every < self.deadline < self.duration:
            raise ValueError(f"a leader could outlive its lease: {self}")


class LeadershipLost(Exception):  # noqa: N818  a fact about the world, told loudly
    """The lease could not be renewed in time, or somebody else holds it."""


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """A Lease's spec."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """A lease as last read (None: there is none), and since when, on our clock, it has been exactly this."""

    record: Record | None
    resource_version: str
    since: float


@dataclass(frozen=True, slots=True)
class Create:
    """There is no lease: make one."""


@dataclass(frozen=True, slots=True)
class Take:
    """The lease is free, ours, or its holder is gone: write ourselves into it."""

    transitions: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody holds it; look again at `until` at the latest."""

    until: float


Decision = Create | Take | Wait


def decide(identity: str, observed: Observed, now: float, default_duration: float) -> Decision:
    """Decide what one who does not lead does about a lease; the holder's own duration is respected."""
    record = observed.record
    if record is None:
        return Create()
    transitions = (record.lease_transitions or 0) + 1
    if not record.holder_identity or record.holder_identity == identity:
        return Take(transitions)
    free_at = observed.since + (record.lease_duration_seconds or default_duration)
    return Take(transitions) if now >= free_at else Wait(free_at)


def observe(before: Observed | None, record: Record | None, resource_version: str, now: float) -> Observed:
    """Take note of a reading; `since` moves only when the record itself changed, not with, say, a label."""
    unchanged = before is not None and before.record == record
    return Observed(record, resource_version, before.since if before is not None and unchanged else now)


class ElectionObserver(Protocol):
    """Hears when leading begins and ends."""

    def __call__(self, *, leading: bool) -> None:
        """Take note; must neither block nor raise."""


def _unobserved(*, leading: bool) -> None:
    """Take no note."""


async def _nobody() -> None:
    """Own nothing."""


class Election:
    """One candidate for one lease. `identity` must be new with every start of the process."""

    def __init__(
        self,
        client: Client,
        lease: Ref,
        identity: str,
        *,
        owner: Callable[[], Awaitable[JsonObject | None]] = _nobody,
        timing: Timing | None = None,
        observer: ElectionObserver = _unobserved,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Stand for a lease; one that we create gets what `owner` gives then as its owner reference."""
        self._client = client
        self._owner = owner
        self._lease = lease
        self._identity = identity
        self._timing = timing or Timing()
        self._observer = observer
        self._clock = clock
        self._resource_version = ""
        self._renewed_at = float("-inf")

    @property
    def leading(self) -> bool:
        """Whether we may act, judged by the clock, so also right after a freeze: ask before a write."""
        return self._clock() < self._renewed_at + self._timing.deadline

    async def lead(self, work: Callable[[], Awaitable[T]]) -> T:
        """Wait until elected, do the work, hand the lease back; give what the work gave.

        When the lease is lost, the work is cancelled and, once it has ended, LeadershipLost raised. When this
        is cancelled, so is the work; the lease is held until the work has ended.
        """
        await self._acquire()
        self._observer(leading=True)
        try:
            return await self._hold(work)
        finally:
            self._renewed_at = float("-inf")
            self._observer(leading=False)
            await self._release()

    async def _hold(self, work: Callable[[], Awaitable[T]]) -> T:
        """Work and renew side by side; renewing goes on until the work has ended."""
        keeper = asyncio.ensure_future(self._keep())
        worker = asyncio.ensure_future(work())
        try:
            await asyncio.wait({keeper, worker}, return_when=asyncio.FIRST_COMPLETED)
            if worker.done():
                return worker.result()
            await _end(worker)
            return keeper.result()  # never a result: raises why we no longer lead
        finally:
            await _end(worker)
            await _end(keeper)

    async def _acquire(self) -> None:
        observed: Observed | None = None
        while True:
            pause = self._timing.look_every
            try:
                async with asyncio.timeout(self._timing.request):
                    observed = await self._look(observed)
                    decision = decide(self._identity, observed, self._clock(), self._timing.duration)
                    if isinstance(decision, Wait):
                        pause = min(pause, max(0.0, decision.until - self._clock()))
                    else:
                        await self._become(decision, observed)
                        return
            except (Conflict, AlreadyExists):
                pass  # somebody was quicker
            except (KubeError, TimeoutError) as error:
                self._warn("lease cannot be acquired", error)
            await asyncio.sleep(pause)

    async def _look(self, before: Observed | None) -> Observed:
        try:
            lease = await self._client.get(self._lease)
        except NotFound:
            return observe(before, None, "", self._clock())
        record = msgspec.convert(lease.get("spec", {}), Record)
        return observe(before, record, lease["metadata"]["resourceVersion"], self._clock())

    async def _become(self, decision: Create | Take, observed: Observed) -> None:
        """Write ourselves into the lease, on the condition that it is as we saw it."""
        match decision:
            case Create():
                await self._write({"acquireTime": _now(), "leaseTransitions": 0}, "")
            case Take(transitions):
                change = {"acquireTime": _now(), "leaseTransitions": transitions}
                await self._write(change, observed.resource_version)
            case _:
                assert_never(decision)

    async def _keep(self) -> NoReturn:
        """Renew for ever; raises LeadershipLost well before anybody else can lead."""
        while True:
            try:
                async with asyncio.timeout(self._renewed_at + self._timing.deadline - self._clock()):
                    await asyncio.sleep(self._timing.renew_every)
                    await self._renew()
            except TimeoutError as error:
                raise LeadershipLost(f"{self._lease}: not renewed in {self._timing.deadline} s") from error

    async def _renew(self) -> None:
        """Renew once, however many attempts that takes."""
        while True:
            try:
                async with asyncio.timeout(self._timing.request):
                    await self._renew_or_look()
            except (KubeError, TimeoutError) as error:
                self._warn("lease cannot be renewed", error)
            else:
                return
            await asyncio.sleep(self._timing.look_every)

    async def _renew_or_look(self) -> None:
        """Renew; where somebody else wrote to the lease, see whether it is still ours."""
        try:
            await self._write({}, self._resource_version)
        except NotFound as error:
            raise LeadershipLost(f"{self._lease} was deleted") from error
        except Conflict:
            observed = await self._look(None)
            holder = observed.record.holder_identity if observed.record else None
            if holder != self._identity:
                raise LeadershipLost(f"{self._lease} is held by {holder}") from None
            await self._write({}, observed.resource_version)

    async def _write(self, change: JsonObject, resource_version: str) -> None:
        """Write ourselves as holder, counting our time from before the request; no version: create."""
        sent = self._clock()
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._timing.duration,
            "renewTime": _now(),
        }
        lease = await self._send(spec | change, resource_version)
        self._resource_version = lease["metadata"]["resourceVersion"]
        self._renewed_at = sent

    async def _send(self, spec: JsonObject, resource_version: str) -> JsonObject:
        if resource_version:
            guarded = {"metadata": {"resourceVersion": resource_version}, "spec": spec}
            return await self._client.patch(self._lease, guarded)
        resource, owner = self._lease.resource, await self._owner()
        lease = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": self._lease.name} | ({"ownerReferences": [owner]} if owner else {}),
            "spec": spec,
        }
        return await self._client.create(resource, lease, namespace=self._lease.namespace)

    async def _release(self) -> None:
        """Hand the lease back, if it is still as we wrote it; failing that it runs out by itself."""
        free = {"holderIdentity": None, "leaseDurationSeconds": 1, "renewTime": _now()}
        try:
            async with asyncio.timeout(self._timing.request):
                await self._send(free, self._resource_version)
        except (Conflict, NotFound):
            pass  # somebody else's already
        except (KubeError, TimeoutError) as error:
            self._warn("lease cannot be released", error)

    def _warn(self, message: str, error: Exception) -> None:
        facts = {"lease": str(self._lease), "error": f"{type(error).__name__}: {error}"}
        log.warning(message, extra=facts)


async def _end(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait until it has ended, however it ends."""
    task.cancel()
    if not task.done():
        await asyncio.wait({task})


def _now() -> str:
    """Give the time as the API writes it, with microseconds; for people only."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
