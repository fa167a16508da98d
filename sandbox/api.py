"""A small client of the API server for the sandbox's own needs: requests, lists, watches.

It is not the product's client, on purpose: the sandbox must be able to observe
and accuse the product without sharing its mistakes.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

import aiohttp

from sandbox.names import JsonObject

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_REQUEST_TIMEOUT = 60.0
"""Seconds; the API server itself gives up on a request after 60."""

_RECONNECT_DELAY = 0.2
"""Seconds between attempts while the API server is away: it is being restarted on purpose."""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


class ApiError(Exception):
    """The API server answered a request with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


def client_tls(authority: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the TLS settings of an identity that the files hold."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(certificate, key)
    return context


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object, as a watch reports it."""

    type: EventType
    object: JsonObject


class Api:
    """One identity's connection to one API server. An async context manager."""

    def __init__(self, server: str, tls: ssl.SSLContext) -> None:
        self._server = server
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(self._server, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        body: JsonObject | list[JsonObject] | None = None,
        *,
        content_type: str = JSON,
        query: Mapping[str, str] | None = None,
    ) -> JsonObject:
        """Send one request and return the decoded answer; an answer of 400 and above raises ApiError."""
        async with self._open.request(
            method,
            path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            params=query,
            timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT),
        ) as response:
            return _decode(response.status, await response.read())

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> JsonObject:
        """Read an object or a list."""
        return await self.request("GET", path, query=query)

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        """Create an object in a collection."""
        return await self.request("POST", path, body)

    async def put(self, path: str, body: JsonObject) -> JsonObject:
        """Replace an object."""
        return await self.request("PUT", path, body)

    async def patch(self, path: str, body: JsonObject, content_type: str = MERGE_PATCH) -> JsonObject:
        """Patch an object, by default with a JSON merge patch."""
        return await self.request("PATCH", path, body, content_type=content_type)

    async def delete(self, path: str, options: JsonObject | None = None) -> JsonObject:
        """Delete an object, with DeleteOptions when given."""
        return await self.request("DELETE", path, options)

    async def watch(
        self, path: str, resource_version: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[Event]:
        """Yield changes after a resourceVersion until the server ends the watch; 410 raises ApiError."""
        parameters = {**(query or {}), "watch": "1", "resourceVersion": resource_version}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_REQUEST_TIMEOUT)
        async with self._open.get(path, params=parameters, timeout=timeout) as response:
            if response.status != HTTPStatus.OK:
                _decode(response.status, await response.read())
            async for line in _lines(response.content):
                decoded = json.loads(line)
                if decoded["type"] == "ERROR":
                    raise _error(decoded["object"])
                yield Event(decoded["type"], decoded["object"])

    async def follow(
        self, path: str, query: Mapping[str, str] | None = None, listed: Callable[[], None] | None = None
    ) -> AsyncIterator[Event]:
        """Yield all objects, then every change, for ever: through ended watches, 410 and restarts.

        `listed` is called each time all objects that exist have been yielded.
        """
        known: dict[str, JsonObject] = {}
        while True:
            try:
                found = await self.get(path, query)
                for event in _differences(known, found):
                    yield event
                if listed is not None:
                    listed()
                version = str(found["metadata"]["resourceVersion"])
                while True:
                    async for event in self.watch(path, version, query):
                        version = event.object["metadata"]["resourceVersion"]
                        _remember(known, event)
                        yield event
            except ApiError as error:
                if error.status not in {HTTPStatus.GONE, HTTPStatus.TOO_MANY_REQUESTS} and error.status < 500:  # noqa: PLR2004  the server-error class
                    raise
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(_RECONNECT_DELAY)

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the Api is used outside its context")
        return self._session


def _remember(known: dict[str, JsonObject], event: Event) -> None:
    uid = event.object["metadata"]["uid"]
    if event.type == "DELETED":
        known.pop(uid, None)
    else:
        known[uid] = event.object


def _differences(known: dict[str, JsonObject], listed: JsonObject) -> list[Event]:
    """Turn a list into the events that lead there from what was known, and know it."""
    current = {item["metadata"]["uid"]: item for item in listed["items"]}
    events = [Event("DELETED", known[uid]) for uid in known.keys() - current.keys()]
    for uid, item in current.items():
        if uid not in known:
            events.append(Event("ADDED", item))
        elif known[uid]["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            events.append(Event("MODIFIED", item))
    known.clear()
    known.update(current)
    return events


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a stream at newlines, without the stream reader's own limit of 64 KiB a line."""
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


def _decode(status: int, payload: bytes) -> JsonObject:
    try:
        decoded = json.loads(payload) if payload else {}
    except ValueError:
        decoded = {"message": payload.decode(errors="replace")}
    if status >= HTTPStatus.BAD_REQUEST:
        raise _error({"code": status, **(decoded if isinstance(decoded, dict) else {})})
    return cast("JsonObject", decoded)


def _error(status: JsonObject) -> ApiError:
    return ApiError(int(status.get("code", 0)), str(status.get("reason", "")), str(status.get("message", "")))
