"""The addon for KubeVela enabled, used, and disabled at every step of a release: no hook runs there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import product

import pytest
import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from sandbox.names import READY_AFTER, JsonObject
from tests.addon import NAMESPACE
from tests.cluster.application import ALPHA, NAME, V1, V2, V3, Application, image_of, is_paused, phase, state
from tests.cluster.chart_install import PROCESSES, available, fully_available
from tests.cluster.kubevela import UnderVela, deployed, with_traits
from tests.vela import cli, walkthrough
from tests.vela.core import RUNNING, Vela
from tests.vela.definitions import addon

pytestmark = pytest.mark.long

_OURS = ("sluice.dev/", "rollouts.kruise.io/")
_CLUSTER_WIDE = (
    "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
)
_SLOW = {READY_AFTER: "10"}
"""Pods that take so many seconds that a release, or a promotion, stands still while they start."""
_GRACE = {"going back": 30}
"""Seconds for the proxies to notice: so long that a roll-back is under way until the addon is deleted.

Of the others 3: a promotion waits for them before its pods begin to start.
"""
_USERS_OWN = {
    "rollouts.kruise.io/rolling-style",
    "sluice.dev/approve",
    "sluice.dev/approved-by",
    "sluice.dev/unconverted",
}
"""Annotations of a Rollout: style, approval and stamp, and what only one version of the API can say."""


@pytest_asyncio.fixture(loop_scope="session")
async def bare() -> AsyncIterator[Cluster]:
    """Run a cluster in which nothing of ours is."""
    async with Cluster(Options(ordinal=1)) as running:
        yield running


async def _enabled(bare: Cluster) -> Vela:
    """Enable the addon; the definitions may stand there from before."""
    application, _ = addon({})
    vela = Vela(bare.api)
    await vela.up({**application, "metadata": {"name": "addon-kruise-rollout", "namespace": "vela-system"}})
    assert vela.phase == RUNNING
    for process in PROCESSES:
        await available(bare, process)
    return vela


def _marks(found: JsonObject) -> set[str]:
    """Name what we wrote on an object."""
    metadata = found["metadata"]
    keys = (*metadata.get("labels", ()), *metadata.get("annotations", ()), *metadata.get("finalizers", ()))
    return {key for key in keys if key.startswith(_OURS)}


async def _assert_whole(app: Application, image: str) -> None:
    """Check that every pod serves a version, and that of ours only the Rollout is left."""
    deployment = await app.wait("deployments", fully_available, seconds=60)
    service, rollout = await app.get("services"), await app.get("rollouts")
    for kind in ("deployments", "services", "ingresses"):
        assert [each["metadata"]["name"] for each in await app.cluster.list(kind, app.namespace)] == [NAME]
    assert image_of(deployment) == image
    assert not is_paused(deployment)
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert "pod-template-hash" not in service["spec"]["selector"]
    assert _marks(deployment) | _marks(service) == set()
    assert _marks(rollout) <= _USERS_OWN
    assert (await app.get(ALPHA))["metadata"]["uid"] == rollout["metadata"]["uid"]


async def _assert_nothing_is_left(cluster: Cluster) -> None:
    """Check that the namespace is gone, and everything cluster-wide but the definitions.

    Its controller looks again after half of the time that the pods in it might have taken to end, or a few
    seconds after somebody changed the namespace.
    """
    for kind in ("deployments", "serviceaccounts"):
        for process in PROCESSES:
            await cluster.wait_gone(kind, NAMESPACE, process, 60)
    await Application(cluster, NAMESPACE).wait_for_all("pods", lambda found: not found, 60)
    await cluster.patch("namespaces", None, NAMESPACE, {"metadata": {"annotations": {"looked-at": "again"}}})
    await cluster.wait_gone("namespaces", None, NAMESPACE)
    for kind in ("clusterroles", "clusterrolebindings"):
        for process in PROCESSES:
            await cluster.wait_gone(f"rbac.authorization.k8s.io/v1/{kind}", None, process, 60)
    found = await cluster.kubectl("get", _CLUSTER_WIDE, "-l", "app.kubernetes.io/name=sluice", "-o", "name")
    assert found.stdout.split() == []
    assert await cluster.get("customresourcedefinitions", None, "rollouts.rollouts.kruise.io")


# --- the states in which it is disabled ---------------------------------------------------------------


async def _nothing(_: UnderVela) -> None:
    """Leave it as it is."""


async def _waits(under: UnderVela) -> None:
    """Have the first step wait for its approval."""
    await under.up(V2)
    await under.app.waits(1, 2)


async def _waits_again(under: UnderVela) -> None:
    """Have the last step wait; further pods of this version take a while to start."""
    application = under.build(V2)
    application["spec"]["components"][0]["properties"]["annotations"] = _SLOW
    await under.vela.up(application)
    await under.app.waits(1, 2)
    await under.app.approve()
    await under.app.waits(2, 2)


async def _starts(under: UnderVela) -> None:
    """Have the first pods of a release start."""
    application = under.build(V2)
    application["spec"]["components"][0]["properties"]["annotations"] = _SLOW
    await under.vela.up(application)
    await under.app.wait("rollouts", lambda found: state(found) == "StepUpgrade")


async def _is_promoted(under: UnderVela) -> None:
    """Have an approved version go out."""
    await under.app.approve()
    await under.app.wait("deployments", lambda found: not is_paused(found) and image_of(found) == V2)


async def _is_paused(under: UnderVela) -> None:
    """Have the user pause the release."""
    await cli.suspend(under.vela)


async def _goes_back(under: UnderVela) -> None:
    """Have the proxies get their time to notice a roll-back."""
    await under.up(V1)


Step = Callable[[UnderVela], Awaitable[None]]

_STATES: dict[str, tuple[Step, Step, str]] = {
    "at rest": (_nothing, _nothing, V1),
    "starting": (_nothing, _starts, V2),
    "waiting at the first step": (_waits, _nothing, V2),
    "waiting at the last step": (_waits_again, _nothing, V2),
    "paused": (_waits, _is_paused, V2),
    "promoted": (_waits_again, _is_promoted, V2),
    "going back": (_waits, _goes_back, V1),
}
"""How a state is prepared, what is done at the last moment, and which version is out after the addon: the
user's last word."""


def _forgive(vela: Vela) -> None:
    """Forget what was refused while the webhook came or went: for a moment nobody answers about Rollouts."""
    assert [str(each) for each in vela.refused if 'service "sluice-webhook"' not in str(each)] == []
    vela.refused.clear()


async def test_disabled_in_any_state_everything_is_whole_and_enabled_again_governed(bare: Cluster) -> None:
    """All of the addon's objects are deleted at the same moment; Rollouts and their definitions stay."""
    vela = await _enabled(bare)
    async with AsyncExitStack() as stack:
        releases: list[tuple[str, UnderVela]] = []
        for number, (name, style) in enumerate(product(_STATES, ("canary", "batch"))):
            app = Application(bare, f"shop-{number}", patience=60)
            await bare.create_namespace(app.namespace)
            grace = _GRACE.get(name, 3)
            trait = walkthrough.rollout({"weight": 20}, {"weight": 50}, grace=grace, releaseMode=style)
            under = await stack.enter_async_context(deployed(app, with_traits(app, trait)))
            releases.append((name, under))
        await asyncio.gather(*(_STATES[name][0](under) for name, under in releases))
        await asyncio.gather(*(_STATES[name][1](under) for name, under in releases))
        under_way = [each.app for name, each in releases if name != "at rest"]
        phases = [phase(await app.get("rollouts")) for app in under_way]
        await vela.delete()

        assert phases == ["Progressing"] * len(under_way)
        await _assert_nothing_is_left(bare)
        await asyncio.gather(*(_assert_whole(under.app, _STATES[name][2]) for name, under in releases))
        await _enabled(bare)
        await asyncio.gather(*(under.app.governed() for _, under in releases))
        for _, under in releases:
            _forgive(under.vela)
        _, under = releases[0]
        await under.up(V3)
        await under.app.waits(1, 2)
