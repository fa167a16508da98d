"""The parts of a reconciler, opened in order and with warm caches."""

import asyncio
import os
import socket
from dataclasses import dataclass
from functools import partial
from typing import Any

from kube.cache import Cache
from kube.client import CONNECTIONS, Client, Selector
from kube.discovery import NotServed, discover
from kube.events import EventWriter
from kube.lease import Election
from kube.login import Login, log_in
from kube.owners import owner_reference
from kube.patience import answered
from kube.resources import LEASES, ROLE_BINDINGS
from kube.service_account import act_as
from kube.watch import Watch
from reconciler.controller import Controller
from reconciler.demand import Demand
from reconciler.execution import Executor
from reconciler.installation import NAME, REQUESTED, Caretaker, Installation
from reconciler.leaving import Leaver
from reconciler.reporting import Reporter
from reconciler.routing_keeper import RoutingKeeper
from reconciler.settings import ReconcilerSettings
from reconciler.strays import Strays
from reconciler.world import World
from rollout import names
from runtime.metrics import product_version
from runtime.process import Process

# Large clusters list for seconds, not minutes; without synced caches nothing may be decided.
_SYNC_SECONDS = 300.0
_CLOSE_SECONDS = 5.0
# An API server that has just started serves the kinds of CRDs some seconds later.
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Assembly:
    """Everything that a turn as leader needs."""

    process: Process
    client: Client
    installation: Installation
    caretaker: Caretaker
    leaver: Leaver
    controller: Controller
    strays: Strays
    keeper: RoutingKeeper
    election: Election
    workers: int

    async def turn(self) -> None:
        """Release while we are installed, leave when we are being removed; ends by cancellation."""
        while True:
            if not self.installation.leaving:
                await self.leaver.unless(lambda: self.installation.leaving, self._release())
            await self.leaver.leave(self.controller, self.workers)
            # Whoever changes their mind takes the annotation away; whoever asks again sets it again.
            await self.leaver.until(
                lambda: not self.installation.leaving or self.installation.request == REQUESTED
            )

    async def _release(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.controller.work(self.workers))
            group.create_task(self.strays.work())
            group.create_task(self.keeper.work())
            # Beside the work: where a policy refuses it, releases go on; only leaving is less safe then.
            group.create_task(self.leaver.persist(self.caretaker.claim, "leaving is not safe yet: refused"))

    async def finish(self) -> None:
        """Let the work of leaving end before the process does, where our pods are stopped by a removal."""
        await self.installation.refresh(self.client)
        if self.installation.leaving:
            self.process.log.info("stopping while leaving: finishing first")
            await self.leaver.until(lambda: self.installation.released or not self.installation.leaving)


async def assemble(settings: ReconcilerSettings, process: Process) -> Assembly:
    """Open everything; what is opened first is closed last."""
    client = await _open_client(settings, process)
    world = World()
    for cache in world.caches.values():
        _follow(process, cache.resource.plural, Watch(client, cache))
    # As for our own objects below: by its name alone.
    selector = Selector(fields=f"metadata.name={names.CONFIGURATION}")
    watch = Watch(client, world.configuration, namespace=settings.namespace, selector=selector)
    process.start_task("watch configuration", watch.run)
    demand = Demand(client, world, process.log)
    process.start_task("watch what Rollouts refer to", demand.run)
    in_cluster = not settings.kubeconfig and not settings.service_account
    installation = Installation(settings.namespace, world.deployments, in_cluster=in_cluster)
    for ref, cache in installation.caches.items():
        # RBAC allows these by name only, and a watch of one name is allowed by that name.
        selector = Selector(fields=f"metadata.name={ref.name}")
        watch = Watch(client, cache, namespace=ref.namespace, selector=selector)
        process.start_task(f"watch {ref}", watch.run)
    process.health.add_ready("caches", lambda: None if world.synced else "not all caches are synced")
    replica = settings.identity or f"{socket.gethostname()}_{os.getpid()}"
    writer = EventWriter(
        client,
        controller="sluice.dev/reconciler",
        instance=replica,
        on_failure=lambda event, error: process.log.warning(
            "an event was lost", reason=event.reason, note=event.note, error=str(error or "too many at once")
        ),
    )
    process.start_task("events", writer.run)
    async with asyncio.TaskGroup() as warming:
        for each in (*world.caches.values(), world.configuration, *installation.caches.values()):
            warming.create_task(_wait_synced(client, each))
    await demand.settle(_SYNC_SECONDS)
    election = Election(
        client,
        LEASES.ref(settings.namespace, settings.lease_name),
        f"{replica}_{os.urandom(4).hex()}",
        # What goes last of all when we leave: that has to lead to its end. Not the ServiceAccount, which is
        # deleted in foreground: everything that it owns is deleted before it.
        owner=partial(owner_reference, client, installation.ref(ROLE_BINDINGS)),
    )
    executor = Executor(client, world, lambda: election.leading, process.clock.now, process.log)
    controller = Controller(
        world, executor, Reporter(writer), clock=process.clock.now, registry=process.metrics.registry
    )
    caretaker = Caretaker(client, installation)
    leaver = Leaver(client, world, caretaker, process.clock.now, process.log)
    strays = Strays(client, world, writer, lambda: election.leading, process.log)
    keeper = RoutingKeeper(client, world, lambda: election.leading, process.log)
    return Assembly(
        process,
        client,
        installation,
        caretaker,
        leaver,
        controller,
        strays,
        keeper,
        election,
        settings.workers,
    )


def _follow(process: Process, plural: str, watch: Watch[Any]) -> None:
    process.start_task(f"watch {plural}", watch.run)
    process.metrics.watch(plural, lambda: watch.silent_seconds)


async def _wait_synced(client: Client, cache: Cache[Any]) -> None:
    """Wait until a cache is warm; what the API server does not serve is taken as none.

    So that we can be taken out of a cluster from which the definitions of our own kinds have been removed.
    """
    try:
        await cache.wait_synced(_PATIENCE_SECONDS)
    except TimeoutError:
        where = await answered(partial(discover, client, cache.resource.api_version, cache.resource.kind))
        if isinstance(where, NotServed) and not where.versions and not cache.synced:
            cache.replace({}, "0")
        await cache.wait_synced(_SYNC_SECONDS)


async def _open_client(settings: ReconcilerSettings, process: Process) -> Client:
    client = Client(
        await _login(settings),
        user_agent=f"sluice-reconciler/{product_version()}",
        connections=CONNECTIONS + settings.workers,
        observer=process.metrics.observe_api_request,
    )
    await client.__aenter__()
    process.on_stop("client", partial(client.__aexit__, None, None, None), _CLOSE_SECONDS)
    identity = await answered(client.whoami)
    process.log.info("logged in", user=identity.username)
    expected = f"system:serviceaccount:{settings.namespace}:{NAME}"
    if identity.username != expected:
        raise IdentityError(identity.username, expected)
    return client


class IdentityError(Exception):
    """We are logged in as somebody for whom the webhook does not open the gate."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(
            f"logged in as {found!r}, but the gate opens for {expected!r} alone: "
            f"outside the cluster give --service-account {NAME} and the namespace of the installation"
        )


async def _login(settings: ReconcilerSettings) -> Login:
    login = await log_in(kubeconfig=settings.kubeconfig or None, environ=os.environ)
    if not settings.service_account:
        return login
    return await act_as(login, settings.namespace, settings.service_account)
