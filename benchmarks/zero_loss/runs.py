"""Playing a scenario on several data planes at a time, and what it came to on each."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from benchmarks.zero_loss.judgement import Share
from benchmarks.zero_loss.planes import Plane
from benchmarks.zero_loss.scenarios import Scenario
from benchmarks.zero_loss.trial import GRACE, PRE_STOP, Trial, trial
from loadtest.account import Account
from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from sandbox.names import JsonObject
from tests.cluster.chart_install import install
from tests.cluster.product import Product

_ORDINAL = 3
_SHOWN = 5


@dataclass(frozen=True)
class Result:
    """What one trial came to."""

    scenario: str
    style: str
    plane: str
    account: Account
    shares: Sequence[Share]
    misrouted: Sequence[str]
    late: Sequence[str]
    told_of_losses: Sequence[str]
    """What the proxy noted of requests that were lost."""
    seconds: float

    @property
    def problems(self) -> list[str]:
        """Say in words what is wrong; nothing where all is well."""
        lost = [f"lost {count} of {stream}: {why}" for (stream, why), count in self.account.losses.items()]
        shares = [
            f"{each.found} of {each.of} at weight {each.weight}" for each in self.shares if not each.right
        ]
        wrong = (self.told_of_losses, self.misrouted, self.late)
        return [*lost, *shares, *(text for each in wrong for text in each[:_SHOWN])]


@asynccontextmanager
async def installed() -> AsyncIterator[Product]:
    """Run a cluster whose data planes note every request, with the chart installed."""
    async with Cluster(Options(ordinal=_ORDINAL, access_logs=True)) as cluster:
        await cluster.data_plane()
        await install(cluster)
        yield Product(cluster)


async def play(
    product: Product,
    scenario: Scenario,
    style: str,
    planes: Sequence[Plane],
    *,
    grace: int = GRACE,
    pre_stop: int = PRE_STOP,
) -> list[Result]:
    """Play a scenario on every data plane at a time; return what it came to on each."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        trials = [
            await stack.enter_async_context(
                trial(product, each, style, steps=_steps(scenario, each), grace=grace, pre_stop=pre_stop)
            )
            for each in planes
        ]
        await scenario.play(trials)
    seconds = time.monotonic() - began
    return list(await asyncio.gather(*(_result(scenario, each, seconds) for each in trials)))


def _steps(scenario: Scenario, plane: Plane) -> Sequence[JsonObject]:
    return scenario.steps if plane.by_cookie or not scenario.steps_by_header else scenario.steps_by_header


async def _result(scenario: Scenario, trial: Trial, seconds: float) -> Result:
    return Result(
        scenario.name,
        trial.style,
        trial.plane.name,
        trial.account,
        trial.shares,
        await trial.misrouted(),
        trial.late(),
        trial.told_of_losses(),
        seconds,
    )
