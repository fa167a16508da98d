"""The reconciler process: opens its parts in order, then leads when it is elected."""

import os
import socket
import sys
from functools import partial
from typing import NoReturn

from kube.client import Client
from kube.events import EventWriter
from kube.lease import Election
from kube.login import Login, log_in
from kube.resources import LEASES
from kube.service_account import act_as
from kube.watch import Watch
from reconciler.controller import Controller
from reconciler.execution import Executor
from reconciler.reporting import Reporter
from reconciler.settings import ReconcilerSettings
from reconciler.world import World
from runtime.metrics import product_version
from runtime.process import Process, load_or_exit, run

# Large clusters list for seconds, not minutes; without synced caches nothing may be decided.
_SYNC_SECONDS = 300.0
_CLOSE_SECONDS = 5.0


def main() -> NoReturn:
    """Run the reconciler until it is told to stop."""
    settings = load_or_exit(ReconcilerSettings, "sluice-reconciler", sys.argv[1:], os.environ)
    sys.exit(run("reconciler", settings, partial(start, settings)))


async def start(settings: ReconcilerSettings, process: Process) -> None:
    """Open everything, in the reverse of the order in which it is closed."""
    client = Client(
        await _login(settings),
        user_agent=f"sluice-reconciler/{product_version()}",
        observer=process.metrics.observe_api_request,
    )
    await client.__aenter__()
    process.on_stop("client", partial(client.__aexit__, None, None, None), _CLOSE_SECONDS)
    identity = await client.whoami()
    process.log.info("logged in", user=identity.username)
    world = World()
    process.health.add_ready("caches", lambda: None if world.synced else "not all caches are synced")
    for kind, cache in world.caches.items():
        process.start_task(f"watch {kind}", Watch(client, cache).run)
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
    for cache in world.caches.values():
        await cache.wait_synced(_SYNC_SECONDS)
    election = Election(
        client, LEASES.ref(settings.namespace, settings.lease_name), f"{replica}_{os.urandom(4).hex()}"
    )
    executor = Executor(client, world.caches, lambda: election.leading, process.log)
    controller = Controller(
        world, executor, Reporter(writer), clock=process.clock.now, registry=process.metrics.registry
    )

    async def lead() -> None:
        process.log.info("waiting to lead", lease=settings.lease_name)
        await election.lead(lambda: controller.work(settings.workers))

    process.start_task("lead", lead)


async def _login(settings: ReconcilerSettings) -> Login:
    login = await log_in(kubeconfig=settings.kubeconfig or None, environ=os.environ)
    if not settings.service_account:
        return login
    return await act_as(login, settings.namespace, settings.service_account)


if __name__ == "__main__":
    main()
