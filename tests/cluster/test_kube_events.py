"""Events on the real API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest_asyncio

from kube.client import Client, Selector
from kube.errors import KubeError
from kube.events import LONGEST_QUEUE, Event, EventWriter, Regarding
from kube.login import log_in
from kube.resources import CONFIG_MAPS, EVENTS
from kube.wire import JsonObject
from sandbox.cluster import Cluster

PATIENCE = 30.0


@pytest_asyncio.fixture(loop_scope="session")
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    """Speak to the cluster."""
    login = await log_in(environ={}, kubeconfig=str(cluster.kubeconfig))
    async with Client(login, user_agent="test") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def paused(client: Client, namespace: str) -> Event:
    """Have something to tell about an object that exists."""
    made = await client.create(CONFIG_MAPS, {"metadata": {"name": "web"}}, namespace=namespace)
    return Event(Regarding.of(made), "Normal", "StepPaused", "Release", "step 1 waits", key="abcde/1")


Failures = list[tuple[Event, KubeError | None]]


@asynccontextmanager
async def writing(client: Client) -> AsyncIterator[tuple[EventWriter, Failures]]:
    """Write events for the time of the block, and note what failed."""
    failures: Failures = []
    writer = EventWriter(
        client,
        controller="sluice.dev/reconciler",
        instance="sluice-reconciler-1",
        on_failure=lambda event, error: failures.append((event, error)),
    )
    task = asyncio.create_task(writer.run())
    try:
        yield writer, failures
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()


async def told(client: Client, namespace: str) -> list[JsonObject]:
    """Read the events that are there."""
    selector = Selector(fields="reportingController=sluice.dev/reconciler")
    return (await client.list(EVENTS, namespace=namespace, selector=selector)).items


async def test_event_is_beside_its_object(client: Client, namespace: str, paused: Event) -> None:
    """As `kubectl describe` finds it: by uid, with reason and note."""
    async with writing(client) as (writer, failures):
        writer.record(paused)
        await writer.flush(PATIENCE)
    (event,) = await told(client, namespace)

    assert event["regarding"]["uid"] == paused.regarding.uid
    assert (event["reason"], event["note"], event["type"]) == ("StepPaused", "step 1 waits", "Normal")
    assert event["reportingInstance"] == "sluice-reconciler-1"
    assert failures == []


async def test_event_told_again_is_one(client: Client, namespace: str, paused: Event) -> None:
    """By the same process, and by one that was restarted and remembers nothing."""
    for _ in range(2):
        async with writing(client) as (writer, failures):
            writer.record(paused)
            writer.record(paused)
            await writer.flush(PATIENCE)
            assert failures == []

    assert len(await told(client, namespace)) == 1


async def test_longest_texts_are_accepted(client: Client, namespace: str, paused: Event) -> None:
    """What is too long is cut, not lost."""
    async with writing(client) as (writer, failures):
        writer.record(replace(paused, note="ü" * 3000, reason="R" * 300, action="A" * 300))
        await writer.flush(PATIENCE)

    assert failures == []
    assert len(await told(client, namespace)) == 1


async def test_event_that_cannot_be_written_is_counted_and_can_be_told_again(
    client: Client, namespace: str, paused: Event
) -> None:
    """A failure goes to the callback; the writer goes on."""
    elsewhere = replace(paused, regarding=replace(paused.regarding, namespace=f"{namespace}-missing"))
    async with writing(client) as (writer, failures):
        for _ in range(2):
            writer.record(elsewhere)
            await writer.flush(PATIENCE)
        writer.record(paused)
        await writer.flush(PATIENCE)

    assert [event for event, _ in failures] == [elsewhere, elsewhere]
    assert len(await told(client, namespace)) == 1


async def test_full_queue_drops_and_tells(client: Client, paused: Event) -> None:
    """Nobody waits for an event, and memory is bounded."""
    failures: Failures = []
    writer = EventWriter(
        client,
        controller="sluice.dev/reconciler",
        instance="x",
        on_failure=lambda event, error: failures.append((event, error)),
    )
    for number in range(LONGEST_QUEUE + 1):
        writer.record(replace(paused, key=str(number)))

    assert failures == [(replace(paused, key=str(LONGEST_QUEUE)), None)]
