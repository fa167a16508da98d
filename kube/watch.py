"""Keeping a cache the same as the cluster: list once, then follow every change, without a gap.

Decides when to go on from where a watch broke off and when to list again. Refuses to know what the objects
mean.

    list all, consistent ──> watch from that version ──> each event, in order, into the cache
          ^                        ^            │
          │                        └── closed, cut, failed: resume from the newest version heard
          └── 410, silence, or three failures without a step forward: the place to resume from is lost

Why there is never a gap: the place to resume from moves only with an event or bookmark that is completely in
the cache; a line that was cut is dropped and comes again; a list replaces everything, and what it lacks is
deleted from the cache.

The list names no resourceVersion, so it is the newest state. ("0" would be cheaper for the API server, and
may be older than what we had: a reconciler would act on a past that it has already left.)
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Literal, NoReturn, Protocol, TypeVar

import msgspec

from kube.backoff import Backoff
from kube.cache import Cache, Entry
from kube.client import EVERYTHING, PAGE_SIZE, Client, Request, Selector
from kube.errors import ConnectionFailed, Expired, Forbidden, KubeError, NotFound, TimedOut, from_status
from kube.wire import Envelope, Key, Status, WatchEvent

T = TypeVar("T")
log = logging.getLogger(__name__)

# The API server sends a bookmark every minute, changes or not; half as much again without a byte is a dead
# peer, or one whose history was set back behind ours (etcd restored), which also keeps silent.
SILENCE_SECONDS = 90.0
# Asked of the server, drawn at random so that the watches of one process do not all end together; the API
# server's own default is 30 to 60 minutes, which would leave them on one of its replicas for long.
SHORTEST_WATCH_SECONDS, LONGEST_WATCH_SECONDS = 300, 600
# A watch that lived this long was healthy: the next failure is the first one again.
HEALTHY_SECONDS = 10.0
# An API server that comes back is found again within the cap, at a few requests a minute while it is away.
BACKOFF = Backoff(first=0.2, cap=8.0)
# A stream that ends in good order but sooner than this is a proxy's doing: without a pause it would be a hot
# loop.
SHORTEST_ORDERLY_SECONDS = 1.0
# Twice may be chance; then whatever stands at this version will not get better by asking for it again.
FAILURES_BEFORE_LISTING = 3
# How long a kind that is optional and not served is left alone; CRDs are installed by people.
ABSENT_SECONDS = 15.0
# etcd takes 1.5 MiB a request by default; its JSON is larger. Beyond this it is no watch event, and memory is
# ours.
LONGEST_LINE = 16 * 2**20

Ended = Literal["closed", "expired", "silent", "failed", "absent", "forbidden"]


class WatchObserver(Protocol):
    """Hears how each list-or-watch attempt of a kind ended."""

    def __call__(self, resource: str, ended: Ended) -> None:
        """Take note; must neither block nor raise."""


def _unobserved(resource: str, ended: Ended) -> None:
    """Take no note."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a watch takes from the world besides the cluster."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    silence_seconds: float = SILENCE_SECONDS
    observer: WatchObserver = _unobserved


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one list-and-watch went: how far it came, what ended it, and whether anything new was heard."""

    error: KubeError | None
    listed: bool
    opened: bool
    moved: bool
    seconds: float

    @property
    def ended(self) -> Ended:
        """Name the end, for metrics and for the rules below."""
        match self.error:
            case None:
                return "closed"
            case NotFound():
                return "absent"
            case Forbidden():
                return "forbidden"
            case Expired():
                return "expired"
            case TimedOut() if self.opened:
                return "silent"
            case KubeError() as error:
                return "expired" if error.has_cause("ResourceVersionTooLarge") else "failed"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a watch remembers from attempt to attempt."""

    resume: bool = False  # whether there is a place to go on from
    failures: int = 0  # in a row; decides the pause
    stalled: int = 0  # in a row, of streams that opened and broke without a step forward


def judge(standing: Standing, attempt: Attempt) -> Standing:
    """Decide where the next attempt begins; an API server out of reach does not cost us our place."""
    orderly = attempt.error is None and attempt.seconds >= SHORTEST_ORDERLY_SECONDS
    healthy = attempt.seconds >= HEALTHY_SECONDS
    failures = 0 if orderly else 1 if healthy else standing.failures + 1
    broken = attempt.opened and attempt.error is not None and not attempt.moved
    stalled = standing.stalled + 1 if broken else 0 if attempt.opened else standing.stalled
    lost = attempt.ended in {"absent", "expired", "silent"} or stalled >= FAILURES_BEFORE_LISTING
    if lost or not (standing.resume or attempt.listed):
        return Standing(resume=False, failures=failures)
    return Standing(resume=True, failures=failures, stalled=stalled)


def pause(standing: Standing, attempt: Attempt, fraction: float) -> float:
    """Give the seconds to wait before the next attempt."""
    if standing.failures == 0:
        return 0.0
    asked = attempt.error.retry_after if attempt.error is not None else None
    return max(BACKOFF.delay(standing.failures, fraction), asked or 0.0)


class Watch(Generic[T]):
    """Follows one kind of object (of one namespace, of one selection) into a cache."""

    def __init__(
        self,
        client: Client,
        cache: Cache[T],
        *,
        namespace: str | None = None,
        selector: Selector = EVERYTHING,
        optional: bool = False,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Prepare; `optional` takes a kind that the cluster does not serve as one without objects."""
        self._client = client
        self._cache = cache
        self._resource = cache.resource
        self._namespace = namespace
        self._selector = selector
        self._optional = optional
        self._world = surroundings or Surroundings()
        self._heard_at = float("-inf")

    @property
    def silent_seconds(self) -> float:
        """How long nothing was heard, bookmarks included; beyond SILENCE_SECONDS the cache is stale."""
        return self._world.clock() - self._heard_at

    async def run(self) -> NoReturn:
        """List and watch for ever; ends only by being cancelled, or by a bug."""
        standing = Standing()
        while True:
            attempt = await self._attempt(resume=standing.resume)
            standing = judge(standing, attempt)
            self._report(attempt)
            if attempt.ended == "absent" and self._optional:
                self._cache.replace({}, "0")
                await self._world.sleep(ABSENT_SECONDS)
            else:
                await self._world.sleep(pause(standing, attempt, self._world.random()))

    async def _attempt(self, *, resume: bool) -> Attempt:
        """List if need be, then watch to the end."""
        began, position = self._world.clock(), self._cache.position
        progress = _Progress()
        error: KubeError | None = None
        try:
            if not resume:
                await self._list()
                progress.listed, position = True, self._cache.position
            await self._watch(progress)
        except KubeError as failure:
            error = failure
        moved = self._cache.position != position
        return Attempt(error, progress.listed, progress.opened, moved, self._world.clock() - began)

    async def _list(self) -> None:
        """Replace the cache's content; a list whose pages expired half way is asked for in one piece."""
        try:
            entries, resource_version = await self._pages(PAGE_SIZE)
        except Expired:
            entries, resource_version = await self._pages(0)
        self._heard_at = self._world.clock()
        self._cache.replace(entries, resource_version)

    async def _pages(self, page_size: int) -> tuple[dict[Key, Entry[T]], str]:
        """Decode page by page, so that requests of others get their turn in between."""
        entries: dict[Key, Entry[T]] = {}
        resource_version = ""
        pages = self._client.pages(
            self._resource, namespace=self._namespace, selector=self._selector, page_size=page_size
        )
        async with aclosing(pages):
            async for page in pages:
                entries.update(self._read(raw) for raw in page.items or ())
                resource_version = page.metadata.resource_version
        return entries, resource_version

    def _read(self, raw: bytes) -> tuple[Key, Entry[T]]:
        try:
            return self._cache.read(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ConnectionFailed(f"list of {self._resource.plural}: unreadable object: {error}") from error

    async def _watch(self, progress: "_Progress") -> None:
        """Follow from the cache's position until the server ends it."""
        lines = Lines()
        async with self._client.stream(
            self._request(), silence_seconds=self._world.silence_seconds
        ) as content:
            progress.opened = True
            async for chunk in content.iter_any():
                self._heard_at = self._world.clock()
                for line in lines.push(chunk):
                    self._take(line)

    def _request(self) -> Request:
        span = LONGEST_WATCH_SECONDS - SHORTEST_WATCH_SECONDS
        query = self._selector.query() | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(self._cache.position),
            "timeoutSeconds": str(SHORTEST_WATCH_SECONDS + round(span * self._world.random())),
        }
        return Request("GET", self._resource.path(self._namespace), "watch", self._resource.plural, query)

    def _take(self, line: bytes) -> None:
        """Bring one event into the cache; what cannot be read is a broken stream, never skipped."""
        try:
            event = _EVENT.decode(line)
            match event.type:
                case "ADDED" | "MODIFIED":
                    self._cache.put(*self._cache.read(event.object))
                case "DELETED":
                    self._cache.remove(*self._cache.read(event.object))
                case "BOOKMARK":
                    self._cache.advance(_ENVELOPE.decode(event.object).metadata.resource_version)
                case "ERROR":
                    raise from_status(_STATUS.decode(event.object))
                case unknown:
                    raise ConnectionFailed(f"watch of {self._resource.plural}: unknown event {unknown!r}")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ConnectionFailed(f"watch of {self._resource.plural}: unreadable event: {error}") from error

    def _report(self, attempt: Attempt) -> None:
        self._world.observer(self._resource.plural, attempt.ended)
        if attempt.ended in {"failed", "absent", "forbidden"} and not (
            attempt.ended == "absent" and self._optional
        ):
            facts = {"resource": self._resource.plural, "error": str(attempt.error)}
            log.warning("watch failed, trying again", extra=facts)


@dataclass(slots=True)
class _Progress:
    listed: bool = False
    opened: bool = False


class Lines:
    """Cuts a stream of bytes into lines, however it was chunked; what follows the last newline waits."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def push(self, chunk: bytes) -> list[bytes]:
        """Take bytes in, give the lines that are complete, without newlines and without empty ones."""
        if b"\n" not in chunk:
            self._rest += chunk
            if len(self._rest) > LONGEST_LINE:
                raise ConnectionFailed(f"a line of more than {LONGEST_LINE} bytes is no watch event")
            return []
        first, *others = chunk.split(b"\n")
        lines = [bytes(self._rest) + first, *others]
        self._rest = bytearray(lines.pop())
        return [line for line in lines if line]


_EVENT = msgspec.json.Decoder(WatchEvent)
_ENVELOPE = msgspec.json.Decoder(Envelope)
_STATUS = msgspec.json.Decoder(Status)
