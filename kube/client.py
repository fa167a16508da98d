"""Requests to the API server: one method per verb, one error tree, nothing hidden.

Decides how a request is written and how its answer is read. Refuses to know what the objects mean and never
retries: whether the same intent still holds is for the caller to see, so each failure says how to go on
(`kube.errors`). The one repetition below us is aiohttp's: a GET, PUT or DELETE whose pooled connection turns
out to have been closed is sent once more on a new one. That does no harm: those verbs are idempotent, and one
that arrives twice with a precondition is answered Conflict the second time.
"""

import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar, assert_never

import aiohttp
import msgspec
from multidict import CIMultiDict

from kube.errors import Conflict, ConnectionFailed, Invalid, KubeError, from_answer, from_transport
from kube.login import Login
from kube.resources import SELF_SUBJECT_REVIEWS, Ref, Resource
from kube.wire import JsonObject, RawList, encode

# The API server gives up on ordinary requests after 60 s (--request-timeout), of which a slow admission
# webhook may take 30. Waiting half as long bounds how long a release stands on a lost answer; a write that
# was done in spite of it is seen by observing.
REQUEST_TIMEOUT_SECONDS = 30.0
# Opening TCP and TLS to a healthy API server takes milliseconds; longer means nobody is there.
CONNECT_TIMEOUT_SECONDS = 5.0
# Objects a page, as client-go has it: bounds the memory of one answer without many round trips.
PAGE_SIZE = 500
# Watches, workers and the lease share the pool: a process has about ten watches and tens of workers. For
# more workers it has to be larger, or the lease waits for theirs.
CONNECTIONS = 100
# A peer that vanished without a word is noticed after 10 + 3 * 5 s, where the kernel's default is two hours.
KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES = 10, 5, 3

T = TypeVar("T")
Propagation = Literal["Background", "Foreground", "Orphan"]


class RequestObserver(Protocol):
    """Hears of every finished request; `code` is 0 when there was no answer."""

    def __call__(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """Take note; must neither block nor raise."""


def _unobserved(verb: str, resource: str, code: int, seconds: float) -> None:
    """Take no note."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Which objects of a collection; empty strings select all."""

    labels: str = ""
    fields: str = ""

    def query(self) -> dict[str, str]:
        """As URL parameters."""
        named = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in named.items() if value}


EVERYTHING = Selector()


@dataclass(frozen=True, slots=True)
class JsonPatch:
    """A list of operations after RFC 6902; `test` operations make it conditional (Invalid when they fail)."""

    operations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Apply:
    """A server-side apply: `body` is all that the client's field manager wants; `force` takes fields over."""

    body: Mapping[str, Any]
    force: bool = False


Change = Mapping[str, Any] | JsonPatch | Apply
"""What a patch does; a plain mapping is a JSON merge patch."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a collection at one moment."""

    items: list[JsonObject]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the API server takes us for."""

    username: str
    groups: tuple[str, ...]
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `resource` names it in metrics."""

    method: str
    path: str
    verb: str
    resource: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"


class Client:
    """An open connection pool to one cluster under one identity; use as an async context manager."""

    def __init__(
        self,
        login: Login,
        *,
        user_agent: str,
        field_manager: str = "sluice",
        observer: RequestObserver = _unobserved,
        request_seconds: float = REQUEST_TIMEOUT_SECONDS,
        connections: int = CONNECTIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._login = login
        self._user_agent = user_agent
        self.field_manager = field_manager
        self._observer = observer
        self._request_seconds = request_seconds
        self._connections = connections
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self._connections,
            ssl=self._login.tls if self._login.tls is not None else True,
            socket_factory=_lively_socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=True,
            trust_env=False,  # it would send a ~/.netrc's passwords; proxies are in the login
            headers={"User-Agent": self._user_agent, "Accept": "application/json"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, ref: Ref, *, subresource: str | None = None) -> JsonObject:
        """Read one object as it is now (a quorum read)."""
        return await self._object(Request("GET", ref.path(subresource), "get", ref.resource.plural))

    async def list(
        self, resource: Resource, *, namespace: str | None = None, selector: Selector = EVERYTHING
    ) -> Listing:
        """Read a collection as it was at one moment; raises Expired if the paging took too long."""
        items: list[JsonObject] = []
        resource_version = ""
        async for page in self.pages(resource, namespace=namespace, selector=selector):
            for raw in page.items or ():
                item: JsonObject = msgspec.json.decode(raw, type=JsonObject)
                items.append(item | {"apiVersion": resource.api_version, "kind": resource.kind})
            resource_version = page.metadata.resource_version
        return Listing(items, resource_version)

    async def pages(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        selector: Selector = EVERYTHING,
        page_size: int = PAGE_SIZE,
    ) -> AsyncGenerator[RawList, None]:
        """Read a collection page by page, objects left undecoded; all pages show the same moment.

        No resourceVersion is sent: the answer is the newest state, never one from before what we have seen.
        `page_size` 0 asks for all at once, which cannot expire half way.
        """
        query = selector.query() | ({"limit": str(page_size)} if page_size else {})
        while True:
            body = await self.send(Request("GET", resource.path(namespace), "list", resource.plural, query))
            page = _decode(body, RawList)
            yield page
            if not page.metadata.continue_:
                return
            query = query | {"continue": page.metadata.continue_}

    async def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        dry_run: bool = False,
    ) -> JsonObject:
        """Create an object; raises AlreadyExists."""
        query = self._write(dry_run=dry_run)
        request = Request("POST", resource.path(namespace), "create", resource.plural, query, encode(body))
        return await self._object(request)

    async def create_subresource(self, ref: Ref, subresource: str, body: Mapping[str, Any]) -> JsonObject:
        """Post to a subresource that is an action: `token`, `eviction`, `binding`."""
        name = f"{ref.resource.plural}/{subresource}"
        request = Request("POST", ref.path(subresource), "create", name, self._write(), encode(body))
        return await self._object(request)

    async def patch(
        self, ref: Ref, change: Change, *, subresource: str | None = None, dry_run: bool = False
    ) -> JsonObject:
        """Change an object.

        A merge patch that names `metadata.resourceVersion` or `metadata.uid` is done only on exactly that
        version or object, and raises Conflict otherwise.
        """
        query = self._write(dry_run=dry_run)
        match change:
            case JsonPatch(operations):
                content_type, body = "application/json-patch+json", encode(list(operations))
            case Apply(desired, force):
                content_type, body = "application/apply-patch+yaml", encode(desired)
                query |= {"force": "true"} if force else {}
            case Mapping():
                content_type, body = "application/merge-patch+json", encode(change)
            case _:
                assert_never(change)
        path = ref.path(subresource)
        request = Request("PATCH", path, "patch", ref.resource.plural, query, body, content_type)
        try:
            return await self._object(request)
        except Invalid as error:
            if any(cause.field == "metadata.uid" for cause in error.details.causes):
                raise _another_object(error) from error
            raise

    async def replace(
        self, ref: Ref, body: Mapping[str, Any], *, subresource: str | None = None, dry_run: bool = False
    ) -> JsonObject:
        """Write a whole object; with a `metadata.resourceVersion` in it, only over exactly that version."""
        query = self._write(dry_run=dry_run)
        path = ref.path(subresource)
        return await self._object(Request("PUT", path, "update", ref.resource.plural, query, encode(body)))

    async def delete(
        self,
        ref: Ref,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation | None = None,
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> JsonObject:
        """Delete an object, or ask for it where finalizers hold it.

        `uid` and `resource_version` are preconditions: raises Conflict when the object is another one by now.
        Answers with the object's last state, or with a Status.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": _present(preconditions) or None,
            "propagationPolicy": propagation,
            "gracePeriodSeconds": grace_seconds,
            "dryRun": ["All"] if dry_run else None,
        }
        request = Request("DELETE", ref.path(), "delete", ref.resource.plural, body=encode(_present(options)))
        return await self._object(request)

    async def whoami(self) -> Identity:
        """Ask the API server who it takes us for."""
        resource = SELF_SUBJECT_REVIEWS
        body = {"apiVersion": resource.api_version, "kind": resource.kind}
        review = await self.create(resource, body)
        user = review.get("status", {}).get("userInfo", {})
        return Identity(user.get("username", ""), tuple(user.get("groups", ())), user.get("uid", ""))

    async def raw(self, method: str, path: str) -> JsonObject:
        """Ask for what is not an object of a known kind, such as `/version`."""
        return await self._object(Request(method, path, method.lower(), "raw"))

    async def send(self, request: Request) -> bytes:
        """Make one ordinary request and read the whole answer; raises KubeError for anything but success."""
        limits = aiohttp.ClientTimeout(total=self._request_seconds, sock_connect=CONNECT_TIMEOUT_SECONDS)
        async with self._answer(request, limits) as (response, _):
            return await response.read()

    @asynccontextmanager
    async def stream(
        self, request: Request, *, silence_seconds: float
    ) -> AsyncGenerator[aiohttp.StreamReader, None]:
        """Make a request whose answer has no end; reading it raises TimedOut after that much silence.

        The observer hears of it when the answer begins, as its length says nothing.
        """
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_SECONDS, sock_read=silence_seconds
        )
        async with self._answer(request, limits) as (response, observe):
            observe(response.status)
            yield response.content

    @asynccontextmanager
    async def _answer(
        self, request: Request, limits: aiohttp.ClientTimeout
    ) -> AsyncGenerator[tuple[aiohttp.ClientResponse, Callable[[int], None]], None]:
        """Send, let only a successful answer through, and have each request observed once."""
        if self._session is None:
            raise RuntimeError("the client is not open: use `async with`")
        headers = CIMultiDict(
            [*await self._login.credentials.headers(), ("Content-Type", request.content_type)]
        )
        observe = self._observation(request)
        code = 0
        try:
            async with self._session.request(
                request.method,
                self._login.server + request.path,
                params=dict(request.query),
                data=request.body,
                headers=headers,
                timeout=limits,
                allow_redirects=False,
                server_hostname=self._login.tls_server_name,
                proxy=self._login.proxy,
            ) as response:
                if not 200 <= response.status < 300:  # noqa: PLR2004  the range is HTTP's own
                    code = response.status
                    raise await self._refusal(response)
                yield response, observe
                code = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise from_transport(error, request.method, request.path) from error
        finally:
            observe(code)

    def _observation(self, request: Request) -> Callable[[int], None]:
        """Start the clock of a request; of what is then observed, the first counts."""
        began = self._clock()
        waiting = [self._observer]

        def observe(code: int) -> None:
            while waiting:
                waiting.pop()(request.verb, request.resource, code, self._clock() - began)

        return observe

    async def _refusal(self, response: aiohttp.ClientResponse) -> KubeError:
        if response.status == 401:  # noqa: PLR2004  the name of this number is the next line
            self._login.credentials.refused()
        return from_answer(response.status, await response.read(), response.headers.get("Retry-After"))

    async def _object(self, request: Request) -> JsonObject:
        return _decode(await self.send(request), JsonObject)

    def _write(self, *, dry_run: bool = False) -> dict[str, str]:
        query = {"fieldManager": self.field_manager}
        return query | {"dryRun": "All"} if dry_run else query


def _another_object(error: Invalid) -> Conflict:
    """Take "metadata.uid is immutable" for what it means: a namesake of the object that the patch was for."""
    return Conflict(error.message, code=error.code, reason=error.reason, details=error.details)


def _present(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _decode(body: bytes, cls: type[T]) -> T:
    """Read a successful answer; what is not JSON of this shape did not come from an API server."""
    try:
        return msgspec.json.decode(body, type=cls)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConnectionFailed(f"a successful answer is not what the API promises: {error}") from error


def _lively_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Open a socket whose peer's silent death is noticed by the kernel."""
    family, kind, protocol, _, _ = address
    lively = socket.socket(family, kind, protocol)
    lively.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        lively.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
        lively.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
        lively.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    return lively
