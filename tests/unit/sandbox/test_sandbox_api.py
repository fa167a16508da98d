"""The sandbox's own client sees every change, whatever happens to its watch."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox.api import Api, ApiError, Event, client_tls
from sandbox.certificates import create_authority
from sandbox.names import JsonObject
from sandbox.observation import Record, recording
from sandbox.resources import path

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[Api]]


@pytest.fixture
async def serve(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serve]:
    """Return a function that starts a server with one handler and gives a client of it."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = create_authority(directory, "ca")
    pair = authority.issue("client", "someone")
    servers: list[TestServer] = []
    clients: list[Api] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Api:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", handler)
        server = TestServer(application)
        await server.start_server()
        servers.append(server)
        api = Api(str(server.make_url("/")), client_tls(authority.file, pair.certificate, pair.key))
        clients.append(await api.__aenter__())
        return api

    yield start
    for api in clients:
        await api.__aexit__(None, None, None)
    for server in servers:
        await server.close()


def _item(name: str, version: int) -> JsonObject:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}


def _list(version: int, *items: JsonObject) -> web.Response:
    return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": list(items)})


async def _watch(request: web.Request, *events: JsonObject) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for event in events:
        await response.write(json.dumps(event).encode() + b"\n")
    return response


async def _take(events: AsyncIterator[Event], count: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    async for event in events:
        found.append((event.type, event.object["metadata"]["name"]))
        if len(found) == count:
            break
    return found


async def test_expired_watch_is_bridged_by_a_new_list(serve: Serve) -> None:
    """After 410 the differences between what was known and what is there are told as events."""
    lists = iter([_list(1, _item("a", 1), _item("b", 1)), _list(9, _item("b", 5), _item("c", 6))])

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return next(lists)
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        return await _watch(request, {"type": "ERROR", "object": gone})

    api = await serve(handle)
    found = await _take(api.follow("/api/v1/pods"), 5)

    assert found == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("MODIFIED", "b"), ("ADDED", "c")]


async def test_ended_watch_goes_on_from_the_last_version(serve: Serve) -> None:
    """A watch that the server ends is continued where it stopped, without a new list."""
    versions = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return _list(1)
        versions.append(request.query["resourceVersion"])
        number = len(versions) + 1
        return await _watch(request, {"type": "ADDED", "object": _item(f"p{number}", number)})

    api = await serve(handle)
    await _take(api.follow("/api/v1/pods"), 3)

    assert versions == ["1", "2", "3"]


async def test_record_ends_though_an_object_comes_up_meanwhile(serve: Serve) -> None:
    """What is created after the last list is no object whose end would have to be waited for."""
    records: list[Record] = []
    ending = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            await ending.wait()
            return await _watch(request, {"type": "ADDED", "object": _item("late", 2)})
        if records:
            ending.set()
            await records[0].wait_for(lambda event: event.object["metadata"]["name"] == "late")
        return _list(1, _item("early", 1))

    api = await serve(handle)
    async with asyncio.timeout(10), recording(api, "/api/v1/pods", {}) as record:
        records.append(record)

    assert [event.object["metadata"]["name"] for event in record.events] == ["early", "late"]


async def test_line_of_any_length_is_read(serve: Serve) -> None:
    """An object larger than a stream reader's usual limit arrives whole."""
    large = {**_item("large", 2), "data": "x" * 1_000_000}

    async def handle(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return _list(1)
        return await _watch(request, {"type": "ADDED", "object": large})

    api = await serve(handle)
    async for event in api.follow("/api/v1/configmaps"):
        assert event.object == large
        break


async def test_refusal_is_raised_with_its_reason(serve: Serve) -> None:
    """An error of the API server keeps its status, reason and message."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.json_response({"code": 409, "reason": "Conflict", "message": "changed"}, status=409)

    api = await serve(handle)
    with pytest.raises(ApiError, match="409 Conflict: changed"):
        await api.put("/api/v1/pods/x", {})


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("/api/v1/namespaces/n/pods/p", ("pods", "n", "p")),
        ("/apis/apps/v1/deployments", ("deployments",)),
        (
            "/apis/rollouts.kruise.io/v1alpha1/namespaces/n/rollouts",
            ("rollouts.kruise.io/v1alpha1/rollouts", "n"),
        ),
        ("/api/v1/nodes/x", ("v1/nodes", None, "x")),
    ],
)
def test_resource_is_found_by_its_name(expected: str, arguments: tuple[str | None, ...]) -> None:
    """A known plural is enough; a full name always works."""
    assert expected == path(*arguments)  # type: ignore[arg-type]  # the first one is never None


def test_unknown_resource_is_refused_with_the_known_ones() -> None:
    """A misspelt resource is a programming error that shows what would be right."""
    with pytest.raises(ValueError, match="deployments"):
        path("deployment")
