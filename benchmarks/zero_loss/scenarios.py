"""What is done to an application under load. Each is played with every style on every data plane."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.zero_loss.trial import STEPS, WEIGHTS, Trial
from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster.application import NAME, V2, V3, phase
from tests.cluster.chart_install import NAMESPACE, install
from tests.cluster.plans import step
from tests.cluster.product import Product

Play = Callable[[Sequence[Trial]], Awaitable[None]]

BLUE = {"name": "X-Team", "value": "blue"}
COOKIE = {"name": "canary-by-cookie", "value": "beta"}


@dataclass(frozen=True)
class Scenario:
    """A course of events; ``play`` gets the trials of several data planes, which share one cluster."""

    name: str
    text: str
    play: Play
    steps: tuple[JsonObject, ...] = STEPS
    steps_by_header: tuple[JsonObject, ...] = ()
    """In place of these where no cookie can be asked for."""


def each(play: Callable[[Trial], Awaitable[None]]) -> Play:
    """Play with every trial on its own, all at a time."""

    async def together(trials: Sequence[Trial]) -> None:
        async with asyncio.TaskGroup() as group:
            for trial in trials:
                group.create_task(_awaited(play(trial)))

    return together


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def all_of(trials: Sequence[Trial], work: Callable[[Trial], Awaitable[object]]) -> None:
    """Do something with every trial, and wait until it is done with all."""
    await asyncio.gather(*(work(each) for each in trials))


# -- one application at a time ---------------------------------------------------------------------------


async def promote(trial: Trial) -> None:
    """Go through all steps."""
    await trial.release()
    for number, weight in enumerate(WEIGHTS, 1):
        await trial.share_is(weight)
        await trial.approve(number)


async def roll_back(trial: Trial) -> None:
    """Go back from every step that waits, and then while the last one is being let out."""
    for number, weight in enumerate(WEIGHTS, 1):
        await trial.reach(number)
        await trial.share_is(weight)
        await trial.take_back()
        await trial.share_is(0)
    await trial.reach(len(WEIGHTS))
    await trial.let_out()
    await trial.app.wait("rollouts", lambda found: found["status"]["currentStepIndex"] == len(STEPS))
    # Let out, it serves behind the user's own Service, and goes as in any rolling update: a data plane
    # notices the end of its last pods when they have ended.
    await trial.take_back(quiet=False)


async def third_version(trial: Trial) -> None:
    """Replace the version at every step by a third one, whose own first step follows."""
    for number in range(1, len(WEIGHTS) + 1):
        await trial.reach(number)
        await trial.release(V3)
        await trial.share_is(WEIGHTS[0])
        await trial.take_back()
    await trial.reach(len(WEIGHTS), V3)
    await trial.approve(len(WEIGHTS))


async def scale(trial: Trial) -> None:
    """Scale up and down at every step; its share stays."""
    await trial.release()
    for number, weight in enumerate(WEIGHTS, 1):
        for replicas in (8, 4, 5):
            await trial.app.scale(replicas)
            await trial.app.wait("deployments", _has(replicas))
            await trial.waits(number)
        await trial.share_is(weight)
        await trial.approve(number)


def _has(replicas: int) -> Callable[[JsonObject], bool]:
    """Tell whether so many are available, and no more there than those with which pods are exchanged."""

    def decide(found: JsonObject) -> bool:
        status = found["status"]
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        there, available = status.get("replicas", 0), status.get("availableReplicas", 0)
        return bool(seen and replicas <= available and there <= replicas + 1)

    return decide


async def scale_away(trial: Trial) -> None:
    """Scale down to where the new version's share of the pods, in proportion, is none."""
    await trial.release()
    await trial.app.scale(8)
    await trial.app.wait("deployments", _has(8))
    await trial.waits(1)
    await trial.app.scale(3)
    await trial.app.wait("deployments", _has(3))
    await trial.waits(1)


async def jump_back(trial: Trial) -> None:
    """Go from the third step to the first, and on to the end."""
    await trial.reach(len(WEIGHTS))
    await trial.app.jump(1)
    await trial.waits(1)
    await trial.share_is(WEIGHTS[0])
    for number in range(1, len(WEIGHTS) + 1):
        await trial.approve(number)


async def by_header(trial: Trial) -> None:
    """Send those who carry a header or a cookie to the new version, all of them and nobody else."""
    await trial.release()
    await _divided(trial, {"X-Team": "blue"})
    await trial.approve(1)
    await _divided(trial, {"Cookie": "beta=always"} if trial.plane.by_cookie else {"X-Team": "blue"})
    await trial.let_out()
    await trial.completes()


async def _divided(trial: Trial, headers: dict[str, str]) -> None:
    async with trial.load.paused():
        chosen = await trial.data_plane.send(trial.app.host, 50, headers=headers)
        others = await trial.data_plane.send(trial.app.host, 50)
    trial.counted(100, chosen)
    trial.counted(0, others)


async def delete_rollout(trial: Trial) -> None:
    """Delete the Rollout at the second step: the Deployment rolls out natively."""
    await trial.reach(2)
    trial.is_let_out()
    await trial.app.kubectl("delete", "rollout", NAME, "--timeout=90s")
    await trial.app.wait("deployments", manifests.available(5))


async def disable(trial: Trial) -> None:
    """Disable the Rollout at the second step."""
    await trial.reach(2)
    trial.is_let_out()
    await trial.app.change_rollout({"spec": {"disabled": True}})
    await trial.app.wait("rollouts", lambda found: phase(found) == "Disabled")
    await trial.app.wait("deployments", manifests.available(5))


# -- the whole cluster -----------------------------------------------------------------------------------


async def uninstall(trials: Sequence[Trial]) -> None:
    """Uninstall the chart at the second step; it is installed again afterwards."""
    await all_of(trials, partial(Trial.reach, number=2))
    for trial in trials:
        trial.is_let_out()
    cluster = trials[0].product.cluster
    await cluster.helm("uninstall", "sluice", "-n", NAMESPACE, "--wait", "--timeout", "4m")
    await all_of(trials, lambda trial: trial.app.serves(V2))
    await cluster.kubectl("wait", "--for=delete", "pods", "--all", "-n", NAMESPACE, "--timeout=60s")
    await install(cluster)


def at_each_step(fault: Callable[[Product], Awaitable[None]]) -> Play:
    """Promote through all steps, with a fault while they wait and another while they go on."""

    async def play(trials: Sequence[Trial]) -> None:
        product = trials[0].product
        await all_of(trials, lambda each: each.release())
        for number in range(1, len(WEIGHTS) + 1):
            await fault(product)
            await all_of(trials, partial(Trial.waits, number=number))
            await all_of(trials, Trial.let_out if number == len(WEIGHTS) else Trial.only_approve)
            await fault(product)
            if number < len(WEIGHTS):
                await all_of(trials, partial(Trial.waits, number=number + 1))
        await all_of(trials, Trial.completes)

    return play


async def kill_leader(product: Product) -> None:
    """Kill the reconciler that leads; another one takes over."""
    await product.replace_leader()


async def kill_webhooks(product: Product) -> None:
    """Kill every webhook at one moment; they are started again."""
    await product.kill_webhooks()


async def kill_apiserver(product: Product) -> None:
    """Kill the API server; it is started again."""
    await product.cluster.kill("kube-apiserver")
    await product.cluster.restart("kube-apiserver")


async def native(trial: Trial) -> None:
    """Roll out natively, as Kubernetes does without us."""
    trial.is_let_out()
    await trial.app.kubectl("delete", "rollout", NAME, "--timeout=30s")
    await trial.app.set_image(V2)
    await trial.app.wait("deployments", manifests.available(5))
    await trial.app.serves(V2)


def _matching(*headers: JsonObject) -> JsonObject:
    return {"replicas": "20%", "matches": [{"headers": list(headers)}], "pause": {}}


AB_STEPS = (_matching(BLUE), _matching(COOKIE), step(100, "100%"))
ONLY_HEADERS = (_matching(BLUE), _matching(BLUE), step(100, "100%"))

SCENARIOS = (
    Scenario("promote", "promoted through 5, 20, 50 and 100 %", each(promote)),
    Scenario("roll-back", "rolled back at every step, and while it is let out", each(roll_back)),
    Scenario("third-version", "replaced by a third version at every step", each(third_version)),
    Scenario("scale", "scaled up and down at every step", each(scale)),
    Scenario("jump-back", "jump from the third step to the first", each(jump_back)),
    Scenario("header", "by header, then by cookie, then for all", each(by_header), AB_STEPS, ONLY_HEADERS),
    Scenario("delete", "Rollout deleted at the second step", each(delete_rollout)),
    Scenario("disable", "Rollout disabled at the second step", each(disable)),
    Scenario("kill-leader", "leading reconciler killed, twice a step", at_each_step(kill_leader)),
    Scenario("kill-webhooks", "every webhook killed, twice a step", at_each_step(kill_webhooks)),
    Scenario("kill-apiserver", "API server killed, twice a step", at_each_step(kill_apiserver)),
    Scenario("uninstall", "chart uninstalled at the second step", uninstall),
)


SCALE_AWAY = Scenario("scale-away", "scaled from 8 to 3 with one new pod", each(scale_away))
NATIVE = Scenario("native", "native rolling update without preStop: the control", each(native))
