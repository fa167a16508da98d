"""The addon for KubeVela enabled, used, and disabled at every step of a release: no hook runs there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import product

import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.control_plane import Options
from sandbox.names import READY_AFTER, JsonObject
from tests.addon import NAMESPACE
from tests.cluster.application import ALPHA, NAME, V1, V2, V3, Application, image_of, is_paused
from tests.cluster.chart_install import PROCESSES, available, fully_available
from tests.cluster.kubevela import UnderVela, deployed, with_traits
from tests.vela import cli, walkthrough
from tests.vela.core import RUNNING, Vela
from tests.vela.definitions import addon

_OURS = ("sluice.dev/", "rollouts.kruise.io/")
_CLUSTER_WIDE = (
    "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
)
_SLOW = {READY_AFTER: "4"}
"""Pods that take so many seconds that a release stands still while they start."""
_USERS_OWN = {"rollouts.kruise.io/rolling-style", "sluice.dev/unconverted"}
"""Annotations of a Rollout: a style, and what its user wrote that only one version of the API can say."""


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


async def _at_rest(_: UnderVela) -> None:
    """Do nothing: no release was ever begun."""


async def _starting(under: UnderVela) -> None:
    """Begin a release whose pods do not become ready for a while."""
    application = under.build(V2)
    application["spec"]["components"][0]["properties"]["annotations"] = _SLOW
    await under.vela.up(application)
    await under.app.wait("rollouts", lambda found: found["status"]["currentStepState"] == "StepUpgrade")


async def _waiting(under: UnderVela) -> None:
    """Have the first step wait for its approval."""
    await under.up(V2)
    await under.app.waits(1, 2)


async def _paused(under: UnderVela) -> None:
    """Have the release paused by the user."""
    await _waiting(under)
    await cli.suspend(under.vela)


async def _approved(under: UnderVela) -> None:
    """Have the last step, or the promotion, under way."""
    await _waiting(under)
    await cli.resume(under.vela)


async def _going_back(under: UnderVela) -> None:
    """Have a roll-back under way."""
    await _waiting(under)
    await under.up(V1)


State = Callable[[UnderVela], Awaitable[None]]

_STATES: dict[State, str] = {
    _at_rest: V1,
    _starting: V2,
    _waiting: V2,
    _paused: V2,
    _approved: V2,
    _going_back: V1,
}
"""What is disabled in the middle of, and the version that is out afterwards: the user's last word."""


def _forgive(vela: Vela) -> None:
    """Forget what was refused while the webhook came or went: for a moment nobody answers about Rollouts."""
    assert [str(each) for each in vela.refused if 'service "sluice-webhook"' not in str(each)] == []
    vela.refused.clear()


async def test_disabled_in_any_state_everything_is_whole_and_enabled_again_governed(bare: Cluster) -> None:
    """All of the addon's objects are deleted at the same moment; Rollouts and their definitions stay."""
    vela = await _enabled(bare)
    async with AsyncExitStack() as stack:
        released = {}
        for number, (state, style) in enumerate(product(_STATES, ("canary", "batch"))):
            app = Application(bare, f"shop-{number}", patience=60)
            await bare.create_namespace(app.namespace)
            trait = walkthrough.rollout({"weight": 20}, {"weight": 100}, grace=1, releaseMode=style)
            under = await stack.enter_async_context(deployed(app, with_traits(app, trait)))
            released[app] = (state, under)
        await asyncio.gather(*(state(under) for state, under in released.values()))
        await vela.delete()
        await _assert_nothing_is_left(bare)
        await asyncio.gather(*(_assert_whole(app, _STATES[state]) for app, (state, _) in released.items()))
        await _enabled(bare)
        await asyncio.gather(*(app.governed() for app in released))
        for _, under in released.values():
            _forgive(under.vela)
        app, (_, under) = next(iter(released.items()))
        await under.up(V3)
        await app.waits(1, 2)
