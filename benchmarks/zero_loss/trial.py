"""One application under load while it is released: what is done to it, and what became of its requests."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf

from benchmarks.zero_loss.judgement import Course, Share, late, misrouted
from benchmarks.zero_loss.planes import Plane
from loadtest.account import Account, Request
from loadtest.load import Load, Stream, Target, running
from sandbox import manifests
from sandbox.data_plane import DataPlane, Traffic
from sandbox.names import JsonObject
from tests.cluster.application import V1, V2, Application, phase
from tests.cluster.plans import step
from tests.cluster.product import Product, application

STEPS = (step(5, "5%"), step(20, "20%"), step(50, "50%"), step(100, "100%"))
WEIGHTS = (5, 20, 50)
"""Of the steps that wait for approval; the last one does not."""

GRACE = 3
"""Seconds of gracePeriodSeconds: Traefik takes up to 1.8 s to notice a change."""

PRE_STOP = 4
"""Seconds that pods go on serving when they are to end: the grace, and what the endpoints take."""

STREAMS = (
    Stream("kept", 20),
    Stream("fresh", 6, fresh=True),
    Stream("slow", 3, "/?seconds=2"),
    Stream("post", 6, method="POST", body_size=4096),
)

_COUNTED = 100
"""Requests by which a share is counted."""

_SECONDS = 120.0
"""For any step: after an API server was killed, Kubernetes' own controllers take half a minute to return."""


@dataclass
class Trial:
    """An application that is being released under load."""

    product: Product
    app: Application
    plane: Plane
    data_plane: DataPlane
    load: Load
    account: Account
    requests: list[Request]
    style: str
    steps: int
    shares: list[Share] = field(default_factory=list)
    _let_out_at: float | None = None
    _released: list[tuple[float, str | None]] = field(default_factory=list)
    _back_at: list[tuple[float, float]] = field(default_factory=list)
    """From when to when no request may reach another version than the stable one."""

    # -- what is done -----------------------------------------------------------------------------

    async def release(self, image: str = V2) -> None:
        """Change the image; the release waits at its first step."""
        self._begin()
        self._released.append((time.monotonic(), None))
        await self.app.set_image(image)
        await self.waits(1)
        self._released.append((time.monotonic(), image))

    async def waits(self, number: int) -> None:
        """Wait until a step waits for approval."""
        await self.app.waits(number, self.steps)

    async def approve(self, number: int) -> None:
        """Approve a step and wait for the next, which is the last one's end after the last approval."""
        if number == self.steps - 1:
            await self.let_out()
            await self.completes()
        else:
            await self.app.approve()
            await self.waits(number + 1)

    async def only_approve(self) -> None:
        """Approve the step that waits, and wait for nothing."""
        await self.app.approve()

    async def reach(self, number: int, image: str = V2) -> None:
        """Release an image up to a step."""
        await self.release(image)
        for each in range(1, number):
            await self.approve(each)

    async def let_out(self) -> None:
        """Give the last approval: from now on any pod may serve behind the user's own Service."""
        self.is_let_out()
        await self.app.approve()

    def is_let_out(self) -> None:
        """Note that from now on the new version may serve anywhere."""
        self._let_out_at = time.monotonic()

    async def completes(self) -> None:
        """Wait until the release has succeeded."""
        await self.app.completes(self.steps)

    async def take_back(self, *, quiet: bool = True) -> None:
        """Apply the stable version again; ``quiet``: no request reaches the other when that is visible."""
        self._released.append((time.monotonic(), None))
        await self.app.set_image(V1)
        await self.app.wait("rollouts", lambda found: phase(found) == "Healthy")
        if quiet:
            self._back_at.append((time.monotonic(), inf))

    def _begin(self) -> None:
        """Note that a version may get requests again after one was taken back."""
        if self._back_at and self._back_at[-1][1] == inf:
            self._back_at[-1] = (self._back_at[-1][0], time.monotonic())

    # -- what is looked at --------------------------------------------------------------------------

    async def share_is(self, weight: int) -> None:
        """Count what share of the requests goes to the new version, with the load at rest."""
        async with self.load.paused(), asyncio.timeout(_SECONDS):
            while True:
                traffic = await self.data_plane.send(self.app.host, _COUNTED)
                # After each configuration that it loads, a proxy deals its turns from the first again.
                if not traffic.loaded:
                    break
                self._lost(traffic)
        self.counted(weight, traffic)

    def counted(self, weight: int, traffic: Traffic) -> None:
        """Note what share of some requests went to the new version."""
        found = traffic.by_image.total() - traffic.by_image[V1]
        self.shares.append(Share(weight, found, traffic.sent, self.plane.in_turns))
        self._lost(traffic)

    def _lost(self, traffic: Traffic) -> None:
        self.account.sent["counted"] += traffic.sent
        for why, count in traffic.losses.items():
            self.account.losses["counted", why] += count

    async def misrouted(self) -> list[str]:
        """Name requests that were answered by a pod of the revision that they were not routed to."""
        log = self.data_plane.access_log
        if log is None:
            raise LookupError("the data planes of this cluster keep no access logs")
        routings = await self.plane.routings(log, [each.id for each in self._answered])
        return list(misrouted(self._answered, routings, Course(self._let_out_at, tuple(self._released))))

    def late(self) -> list[str]:
        """Name requests that were sent to a version after it was visible that it had been taken back."""
        return [text for window in self._back_at for text in late(self._answered, *window)]

    @property
    def _answered(self) -> list[Request]:
        return [each for each in self.requests if not each.loss]

    def told_of_losses(self) -> list[str]:
        """Give what the proxy noted of requests that were lost: whose fault it was shows there."""
        log = self.data_plane.access_log
        return [self.plane.told_of(log, each.id) for each in self.account.lost_requests] if log else []


def rollout(style: str, steps: Sequence[JsonObject], grace: int) -> JsonObject:
    """Return a Rollout of a style."""
    found = manifests.rollout(grace_period_seconds=grace)
    canary = {**found["spec"]["strategy"]["canary"], "steps": list(steps)}
    canary["enableExtraWorkloadForCanary"] = style == "canary"
    return {**found, "spec": {**found["spec"], "strategy": {"canary": canary}}}


@asynccontextmanager
async def trial(
    product: Product,
    plane: Plane,
    style: str,
    *,
    steps: Sequence[JsonObject] = STEPS,
    grace: int = GRACE,
    pre_stop: int = PRE_STOP,
) -> AsyncIterator[Trial]:
    """Deploy an application and put it under load."""
    data_plane = await plane.start(product.cluster)
    async with application(product) as found:
        app = replace(found, patience=_SECONDS)
        workload = manifests.deployment(pre_stop_seconds=pre_stop, drains=pre_stop > 0)
        await app.create(manifests.service(), plane.route(app.host), workload)
        await app.wait("deployments", manifests.available(5))
        await app.create(plane.routed(rollout(style, steps, grace)))
        await app.governed()
        await data_plane.wait_for(app.host, V1)
        requests: list[Request] = []
        account = Account(requests.append)
        target = Target(data_plane.url, app.host, "X-Image", "X-Pod")
        async with running(target, STREAMS, account) as load:
            yield Trial(product, app, plane, data_plane, load, account, requests, style, len(steps))
