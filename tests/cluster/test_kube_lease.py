"""Election on the real API server."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from kube.client import Client
from kube.lease import Election, LeadershipLost, Timing
from kube.login import Login, log_in
from kube.owners import owner_reference
from kube.resources import CONFIG_MAPS, LEASES, Ref
from sandbox.cluster import Cluster
from tests.cluster.faults import faulty

# Ends a test that would hang; a takeover takes under five seconds on an idle machine.
PATIENCE = 30.0
CANDIDATE = Path(__file__).with_name("lease_candidate.py")


@pytest_asyncio.fixture(loop_scope="session")
async def login(cluster: Cluster) -> Login:
    """Log in as the cluster's administrator."""
    return await log_in(environ={}, kubeconfig=str(cluster.kubeconfig))


@pytest_asyncio.fixture(loop_scope="session")
async def client(login: Login) -> AsyncIterator[Client]:
    """Speak to the cluster."""
    async with Client(login, user_agent="test") as client:
        yield client


@pytest.fixture
def lease(namespace: str) -> Ref:
    """Name a lease of this test's own."""
    return LEASES.ref(namespace, "leader")


class Work:
    """Work that goes on until it is cancelled, and says when it began and ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self) -> None:
        """Work."""
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def soon(event: asyncio.Event) -> None:
    """Wait for an event, but not for ever."""
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def stop(task: asyncio.Task[None]) -> None:
    """Shut down as a process does."""
    task.cancel()
    await asyncio.wait({task})


@asynccontextmanager
async def candidate(cluster: Cluster, lease: Ref) -> AsyncIterator[Process]:
    """Run another process that stands for election."""
    arguments = [str(CANDIDATE), str(cluster.kubeconfig), lease.namespace or "", lease.name]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told(process: Process, word: str) -> float:
    """Wait until a candidate says a word; gives the moment it did."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while True:
            moment, said = (await process.stdout.readline()).decode().split()
            if said == word:
                return float(moment)


async def test_first_candidate_leads_and_the_second_waits(client: Client, lease: Ref) -> None:
    """One at a time; the lease says who."""
    first, second = Work(), Work()
    leading = asyncio.create_task(Election(client, lease, "first").lead(first))
    await soon(first.began)
    waiting = asyncio.create_task(Election(client, lease, "second").lead(second))
    done, _ = await asyncio.wait({leading, waiting}, timeout=2 * Timing().look_every)

    assert not done
    assert not second.began.is_set()
    assert (await client.get(lease))["spec"]["holderIdentity"] == "first"
    await stop(waiting)
    await stop(leading)


async def test_lease_belongs_to_the_owner_of_the_moment_in_which_it_is_made(
    client: Client, lease: Ref
) -> None:
    """An owner that is made again is another: what bears the old uid is collected at once."""
    owner = CONFIG_MAPS.ref(lease.namespace, "owner")
    election = Election(client, lease, "only", owner=partial(owner_reference, client, owner))
    owners = []
    for _ in range(2):
        made = await client.create(CONFIG_MAPS, {"metadata": {"name": "owner"}}, namespace=lease.namespace)
        work = Work()
        leading = asyncio.create_task(election.lead(work))
        await soon(work.began)
        (found,) = (await client.get(lease))["metadata"]["ownerReferences"]
        owners.append((found["uid"], made["metadata"]["uid"]))
        await stop(leading)
        await client.delete(lease)
        await client.delete(owner)

    assert all(found == made for found, made in owners)


async def test_leader_that_shuts_down_hands_over_after_its_work_ended(client: Client, lease: Ref) -> None:
    """Nobody waits for the lease to run out, and the two do not work at once."""
    first, second = Work(), Work()
    leading = asyncio.create_task(Election(client, lease, "first").lead(first))
    await soon(first.began)
    waiting = asyncio.create_task(Election(client, lease, "second").lead(second))
    began = time.monotonic()
    leading.cancel()
    await soon(second.began)

    assert first.ended.is_set()
    assert time.monotonic() - began < Timing().duration
    await stop(waiting)


async def test_lease_is_free_after_the_work_is_done(client: Client, lease: Ref) -> None:
    """What the work gives is given; the lease has no holder."""

    async def answer() -> int:
        return 42

    assert await Election(client, lease, "first").lead(answer) == 42
    assert "holderIdentity" not in (await client.get(lease))["spec"]


async def test_failure_of_the_work_is_told_and_frees_the_lease(client: Client, lease: Ref) -> None:
    """A crash of the work is not a hidden hold on the lease."""

    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Election(client, lease, "first").lead(broken)
    assert "holderIdentity" not in (await client.get(lease))["spec"]


async def test_lease_taken_by_force_ends_the_work(client: Client, lease: Ref) -> None:
    """Loudly: the work is cancelled and the caller is told by whom."""
    work = Work()
    election = Election(client, lease, "first")
    leading = asyncio.create_task(election.lead(work))
    await soon(work.began)
    led = election.leading
    await client.patch(lease, {"spec": {"holderIdentity": "thief"}})

    with pytest.raises(LeadershipLost, match="thief"):
        await asyncio.wait_for(leading, PATIENCE)
    assert work.ended.is_set()
    assert (led, election.leading) == (True, False)
    assert (await client.get(lease))["spec"]["holderIdentity"] == "thief"


async def test_deleted_lease_ends_the_work(client: Client, lease: Ref) -> None:
    """Somebody else may create it, so it is not ours any more."""
    work = Work()
    leading = asyncio.create_task(Election(client, lease, "first").lead(work))
    await soon(work.began)
    await client.delete(lease)

    with pytest.raises(LeadershipLost, match="deleted"):
        await asyncio.wait_for(leading, PATIENCE)


async def test_other_writes_to_the_lease_do_not_end_the_work(client: Client, lease: Ref) -> None:
    """A label costs one look and no leadership, and is kept."""
    work = Work()
    election = Election(client, lease, "first")
    leading = asyncio.create_task(election.lead(work))
    await soon(work.began)
    await client.patch(lease, {"metadata": {"labels": {"team": "shop"}}})
    done, _ = await asyncio.wait({leading}, timeout=2 * Timing().renew_every)

    assert not done
    assert election.leading
    assert (await client.get(lease))["metadata"]["labels"] == {"team": "shop"}
    await stop(leading)


async def test_leader_without_api_server_stops_before_the_lease_is_over(login: Login, lease: Ref) -> None:
    """It cannot know whether somebody else leads by then."""
    work = Work()
    async with faulty(login) as server, Client(server.login, user_agent="test") as client:
        election = Election(client, lease, "first")
        leading = asyncio.create_task(election.lead(work))
        await soon(work.began)
        server.down = True
        server.hang_up()
        began = time.monotonic()
        with pytest.raises(LeadershipLost, match="not renewed"):
            await asyncio.wait_for(leading, PATIENCE)

    assert work.ended.is_set()
    assert not election.leading
    assert time.monotonic() - began < Timing().duration + Timing().request


async def test_killed_leader_is_replaced(cluster: Cluster, client: Client, lease: Ref) -> None:
    """After kill -9, which hands nothing over."""
    work = Work()
    async with candidate(cluster, lease) as killed:
        await told(killed, "acting")
        waiting = asyncio.create_task(Election(client, lease, "second").lead(work))
        killed.kill()
        await soon(work.began)

    await stop(waiting)


async def test_frozen_leader_does_not_act_when_it_thaws(cluster: Cluster, client: Client, lease: Ref) -> None:
    """Suspended while leading and replaced meanwhile, it finds itself out before it does anything."""
    work = Work()
    async with candidate(cluster, lease) as frozen:
        await told(frozen, "acting")
        waiting = asyncio.create_task(Election(client, lease, "second").lead(work))
        frozen.send_signal(signal.SIGSTOP)
        await soon(work.began)
        replaced = time.monotonic()
        frozen.send_signal(signal.SIGCONT)
        out, _ = await asyncio.wait_for(frozen.communicate(), PATIENCE)

    words = [line.split() for line in out.decode().splitlines()]
    assert words[-1][1] == "lost"
    assert all(float(moment) < replaced for moment, word in words if word == "acting")
    await stop(waiting)
