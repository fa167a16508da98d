"""Waiting for the cluster, and recording everything that happens to an object.

Nothing here polls and nothing is missed: both stand on one list and the watch
that continues it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from sandbox.api import Api, Event
from sandbox.names import JsonObject

Predicate = Callable[[JsonObject], bool]

_SHOWN = 6000
"""Characters of an object that an error shows."""


class WaitError(AssertionError):
    """What was waited for did not happen in time."""


async def wait_for_event(
    api: Api, collection: str, name: str, decide: Callable[[Event], bool], seconds: float
) -> JsonObject:
    """Return the object of the first event, the present state included, of which `decide` is true."""
    last: Event | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in api.follow(collection, {"fieldSelector": f"metadata.name={name}"}):
                last = event
                if decide(event):
                    return event.object
    raise WaitError(_complaint(collection, name, last, seconds))


def _complaint(collection: str, name: str, last: Event | None, seconds: float) -> str:
    if last is None:
        return f"{collection}/{name}: no such object within {seconds:g} s"
    seen = f"last seen ({last.type}):\n{show(last.object)}"
    return f"{collection}/{name}: not as expected within {seconds:g} s; {seen}"


def show(found: JsonObject) -> str:
    """Render an object for a person who has to find out what is wrong: no managed fields, status last."""
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key != "managedFields"}
    ordered = {**found, "metadata": metadata}
    ordered["status"] = ordered.pop("status", None)
    text = json.dumps(ordered, indent=1)
    return text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"


class Record:
    """Every event of one object, or of all objects of a collection, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._arrived = asyncio.Condition()

    @property
    def objects(self) -> list[JsonObject]:
        """Every form the objects had, in order."""
        return [event.object for event in self.events]

    async def append(self, event: Event) -> None:
        """Take an event in."""
        async with self._arrived:
            self.events.append(event)
            self._arrived.notify_all()

    async def wait_for(self, decide: Callable[[Event], bool], seconds: float = 30) -> Event:
        """Return the first recorded event, past or to come, of which `decide` is true."""
        seen = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._arrived:
                while True:
                    for event in self.events[seen:]:
                        if decide(event):
                            return event
                    seen = len(self.events)
                    await self._arrived.wait()
        last = show(self.events[-1].object) if self.events else "nothing"
        raise WaitError(f"no such event within {seconds:g} s among {len(self.events)}; last:\n{last}")


@asynccontextmanager
async def recording(api: Api, collection: str, query: Mapping[str, str]) -> AsyncIterator[Record]:
    """Record events from now on; at the end, wait until all that had happened by then is recorded."""
    record = Record()
    listed = asyncio.Event()

    async def collect() -> None:
        async for event in api.follow(collection, query, listed.set):
            await record.append(event)

    task = asyncio.create_task(collect())
    try:
        async with asyncio.timeout(30):
            await listed.wait()
        yield record
        await _catch_up(api, collection, query, record)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _catch_up(api: Api, collection: str, query: Mapping[str, str], record: Record) -> None:
    """Wait until the record has the present form of every object, and the end of those that are gone."""
    # Before the list: what is recorded while it is on its way may be younger than it.
    known = {event.object["metadata"]["uid"] for event in record.events}
    listed = await api.get(collection, query)
    versions = {item["metadata"]["uid"]: int(item["metadata"]["resourceVersion"]) for item in listed["items"]}
    for uid, version in versions.items():
        await record.wait_for(_reaches(uid, version))
    for uid in known - versions.keys():
        await record.wait_for(_ends(uid))


def _reaches(uid: str, version: int) -> Callable[[Event], bool]:
    def decide(event: Event) -> bool:
        metadata = event.object["metadata"]
        return metadata["uid"] == uid and int(metadata["resourceVersion"]) >= version

    return decide


def _ends(uid: str) -> Callable[[Event], bool]:
    return lambda event: event.type == "DELETED" and event.object["metadata"]["uid"] == uid
