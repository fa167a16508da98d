"""Releases under KubeVela: its commands, its state keeping, and what is done to an Application meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sandbox import manifests
from sandbox.names import JsonObject
from sandbox.resources import path
from tests.cluster import inventory
from tests.cluster.application import (
    ALPHA,
    NAME,
    ROLLED_BACK,
    V1,
    V2,
    V3,
    Application,
    image_of,
    is_paused,
    message,
    phase,
    state,
)
from tests.cluster.kubevela import QUICK, UnderVela, deployed, published, waiting, with_traits
from tests.vela import cli, walkthrough, writing
from tests.vela.applications import render
from tests.vela.core import BUSY, RUNNING, SUSPENDED, Vela, beside

pytestmark = pytest.mark.long

_PAUSED = "Rollout has been paused, you can resume it by kube-cli"
_STORM = 20


async def versions(app: Application) -> dict[str, str]:
    """Give the version of every object in the namespace."""
    return {key: each["metadata"]["resourceVersion"] for key, each in (await inventory.take(app)).items()}


async def gone(app: Application, *names: str) -> None:
    """Wait until nothing of these names is left, canary objects included."""
    for resource in ("deployments", "services", "ingresses", "rollouts"):
        await app.wait_for_all(
            resource, lambda found: not any(each["metadata"]["name"].startswith(names) for each in found)
        )


# --- commands ----------------------------------------------------------------------------------------


async def test_suspended_workflow_pauses_the_release_and_resumed_approves_it(app: Application) -> None:
    """`vela workflow suspend`, then `resume`: one write takes the pause away, another one approves."""
    async with waiting(app, V2) as under:
        await _suspended(under)
        await cli.resume(under.vela)
        await app.completes()
        await under.runs(V2)


async def test_workflow_rollback_takes_the_release_back(app: Application) -> None:
    """`vela workflow suspend` and `rollback`: the old image comes by state keeping, not by a workflow."""
    async with waiting(app, V2, published(with_traits(app, QUICK))) as under:
        await cli.suspend(under.vela)
        await cli.roll_back(under.vela)
        await app.rolled_back()
        await under.runs(V1)


async def test_workflow_rollback_without_a_published_version_changes_nothing(app: Application) -> None:
    """KubeVela then applies the latest revision again: the release is held as it was."""
    async with waiting(app, V2) as under:
        await _suspended(under)
        await cli.roll_back(under.vela)
        await app.waits(1, 1)
        assert await under.by_image() == {V1: 5, V2: 1}


async def test_undo_while_suspended_is_undone_by_state_keeping_and_stays_held(app: Application) -> None:
    """Old template and new within a second, again and again: it stays held, and completes when approved."""
    async with waiting(app, V2) as under:
        await _suspended(under)
        for _ in range(3):
            await app.set_image(V1)
            await app.wait("deployments", lambda found: image_of(found) == V2)
        assert is_paused(await app.get("deployments"))
        await cli.resume(under.vela)
        await app.waits(1, 1)
        await cli.resume(under.vela)
        await under.runs(V2)


async def test_roll_back_wins_over_an_approval_at_the_same_moment(app: Application) -> None:
    """Three times: whichever write comes first, the old version serves and nothing is left."""
    async with deployed(app) as under:
        for _ in range(3):
            await under.up(V2)
            await app.waits(1, 1)
            await asyncio.gather(cli.resume(under.vela), under.up(V1))
            await under.runs(V1)
            await app.wait("rollouts", lambda found: phase(found) == "Healthy")


async def test_resume_while_a_release_is_taken_back_is_nothing(app: Application) -> None:
    """The step still says StepPaused then: the proxies get their time, and the old version serves."""
    trait = walkthrough.rollout(grace=2)
    async with waiting(app, V2, with_traits(app, trait)) as under:
        await under.up(V1)
        await cli.resume(under.vela)
        await app.wait("rollouts", lambda found: (phase(found), message(found)) == ("Healthy", ROLLED_BACK))
        await under.runs(V1)


async def test_resume_after_a_roll_back_approves_nothing(app: Application) -> None:
    """The step still says StepPaused: the command writes StepReady, and the next release waits even so."""
    async with waiting(app, V2) as under:
        await under.up(V1)
        await app.rolled_back()
        await under.runs(V1)
        await cli.resume(under.vela)
        await under.up(V2)
        await app.waits(1, 1)


# --- state keeping -----------------------------------------------------------------------------------


async def _suspended(under: UnderVela) -> None:
    await cli.suspend(under.vela)
    await under.app.wait("rollouts", lambda found: message(found) == _PAUSED)


async def _as_it_waits(_: UnderVela) -> None:
    """Do nothing to a release that waits for its approval."""


async def _completed(under: UnderVela) -> None:
    await cli.resume(under.vela)
    await under.runs(V2)


async def _rolled_back(under: UnderVela) -> None:
    await under.up(V1)
    await under.app.rolled_back()
    await under.runs(V1)


@pytest.mark.parametrize("style", ["canary", "batch"])
@pytest.mark.parametrize("state", [_as_it_waits, _suspended, _completed, _rolled_back])
async def test_resync_storm_at_rest_costs_no_request_of_anybody(
    app: Application, state: Any, style: str
) -> None:
    """What was applied is what is read: vela has nothing to restore, and we nothing to answer."""
    trait = walkthrough.rollout(grace=0, releaseMode=style)
    async with waiting(app, V2, with_traits(app, trait)) as under:
        await state(under)
        await under.vela.looked(app.patience)
        await inventory.settled(app)
        await app.passes(1)  # what was under way is written by then
        before, sent = await versions(app), len(under.vela.requests)
        for _ in range(_STORM):
            await under.vela.keep_state()

        assert under.vela.requests[sent:] == []
        assert await versions(app) == before


@pytest.mark.parametrize("style", ["canary", "batch"])
async def test_resync_storm_in_motion_finds_nothing_to_restore(app: Application, style: str) -> None:
    """From the new image to the end, state is kept without a pause: no request is needed for it."""
    trait = walkthrough.rollout({"weight": 20, "duration": 1}, {"weight": 100}, grace=0, releaseMode=style)
    async with deployed(app, with_traits(app, trait)) as under:
        await under.up(V2)
        sent = len(under.vela.requests)
        async with beside(_storm(under.vela)):
            await app.completes(2)
            await under.runs(V2)

        assert under.vela.requests[sent:] == []


async def _storm(vela: Vela) -> None:
    while True:
        await vela.keep_state()


@pytest.mark.parametrize("style", ["canary", "batch"])
async def test_strategy_that_is_declared_and_restored_all_the_time_holds_nothing_up(
    app: Application, style: str
) -> None:
    """Objects of the user's own, kept as they are while a release goes on and ends: nothing stays paused."""
    trait = walkthrough.rollout({"weight": 20}, {"weight": 100}, grace=0, releaseMode=style)
    declared = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    async with deployed(app, objects(app, trait, strategy=declared)) as under:
        await under.up(V2)
        await app.waits(1, 2)
        async with beside(_storm(under.vela)):
            await cli.resume(under.vela)
            await app.completes(2)
        await under.runs(V2)
        found = await app.get("deployments")

        assert found["spec"]["strategy"] == declared
        assert not is_paused(found)


async def test_rollout_reads_back_as_it_was_written(app: Application) -> None:
    """In every form that the trait writes, before a release and after: or vela would send it for ever."""
    steps = (
        {"weight": 20, "replicas": 1},
        {"replicas": "50%", "duration": 1},
        {"weight": 60, "matches": [{"headers": [{"type": "Exact", "name": "a", "value": "b"}]}]},
    )
    trait = walkthrough.rollout(*steps, grace=0, stepPartition=3)
    async with deployed(app, with_traits(app, trait)) as under:
        await under.up(V2)
        await app.completes(3)
        (written,) = (each for each in under.vela.tracked.values() if each["kind"] == "Rollout")
        found = await app.cluster.api.get(path(ALPHA, app.namespace, NAME))

        assert found["spec"] == written["spec"]
        assert written["metadata"]["annotations"].items() <= found["metadata"]["annotations"].items()


# --- what else may be in an Application -----------------------------------------------------------------


def objects(
    app: Application, *traits: JsonObject, strategy: JsonObject | None = None
) -> Callable[[str], Any]:
    """Build an Application of the user's own manifests."""

    def build(image: str) -> dict[str, Any]:
        deployment = manifests.deployment(image=image)
        if strategy:
            deployment["spec"]["strategy"] = strategy
        given = [deployment, manifests.service(), manifests.ingress(host=app.host)]
        component = {
            "name": NAME,
            "type": "k8s-objects",
            "properties": {"objects": given},
            "traits": list(traits),
        }
        return walkthrough.of(component, namespace=app.namespace)

    return build


async def test_workload_of_the_users_own_objects_is_held(app: Application) -> None:
    """Its component has no rule of health and its Deployment no label: the release waits, as vela tells."""
    async with deployed(app, objects(app, QUICK)) as under:
        await under.up(V2)
        await app.waits(1, 1)
        await under.vela.looked(app.patience)
        assert under.vela.columns[1] == "false"
        assert await under.by_image() == {V1: 5, V2: 1}
        await cli.resume(under.vela)
        await under.runs(V2)


async def test_workload_that_helm_makes_is_held(app: Application) -> None:
    """The trait names the Deployment that is called like the component; vela never writes it."""
    component = {"name": NAME, "type": "helm", "properties": {}, "traits": [QUICK]}
    await app.create(manifests.service(), manifests.ingress(host=app.host), manifests.deployment(image=V1))
    async with deployed(app, lambda _: walkthrough.of(component, namespace=app.namespace)) as under:
        await app.governed()
        await app.set_image(V2)
        await app.waits(1, 1)
        await under.vela.looked(app.patience)
        await cli.resume(under.vela)
        await app.completes()
        await app.serves(V2)


@pytest.mark.parametrize("first", ["Rollout", "Deployment"])
async def test_rollout_may_come_before_its_deployment_or_after(app: Application, first: str) -> None:
    """It is healthy within seconds either way, and the next version is held."""
    build = with_traits(app, QUICK)
    (component,) = render(build(V1), 1)
    for each in component.objects():
        if (each["kind"] == "Rollout") == (first == "Rollout"):
            await app.create(writing.created(each))
    if first == "Rollout":
        await app.wait("rollouts", lambda found: phase(found) == "Initial")
    else:
        await app.wait("deployments", manifests.available(5))
    async with waiting(app, V2, build) as under:
        assert await under.by_image() == {V1: 5, V2: 1}


def two(app: Application, *names: str) -> Callable[[str], Any]:
    """Build an Application of several components, each with its own host, release style and version."""

    def build(image: str) -> dict[str, Any]:
        components = []
        for number, name in enumerate(names):
            trait = walkthrough.rollout(grace=0, releaseMode=("canary", "batch")[number % 2])
            one = walkthrough.application(
                image, trait, namespace=app.namespace, host=f"{name}.{app.host}", name=name
            )
            components += one["spec"]["components"]
        return walkthrough.of(*components, namespace=app.namespace)

    return build


async def _waits(app: Application, name: str) -> None:
    await app.wait("rollouts", lambda found: state(found) == "StepPaused", name)


async def test_components_are_released_together_each_in_its_own_style(app: Application) -> None:
    """One command approves all of them; the Application runs when the last one is out."""
    vela = Vela(app.cluster.api)
    build = two(app, "front", "back")
    async with vela.running():
        await vela.up(build(V1))
        await vela.reaches(RUNNING, app.patience)
        await vela.up(build(V2))
        for name in ("front", "back"):
            await _waits(app, name)
        await cli.resume(vela)
        await vela.reaches(RUNNING, app.patience)
        for name in ("front", "back"):
            found = await app.get("deployments", name)
            assert (image_of(found), found["status"]["updatedReplicas"]) == (V2, 5)
    assert vela.refused == []


async def test_component_that_is_removed_in_its_release_leaves_nothing(app: Application) -> None:
    """Its four objects are deleted at the same moment, when the workflow of the rest has succeeded."""
    vela = Vela(app.cluster.api)
    async with vela.running():
        await vela.up(two(app, "front", "back")(V1))
        await vela.reaches(RUNNING, app.patience)
        await vela.up(two(app, "front", "back")(V2))
        for name in ("front", "back"):
            await _waits(app, name)
        await vela.up(two(app, "front")(V2))
        await cli.resume(vela)
        await vela.reaches(RUNNING, app.patience)
        await gone(app, "back")
        assert image_of(await app.get("deployments", "front")) == V2
    assert vela.refused == []


@pytest.mark.parametrize("way_out", ["approve", "delete"])
async def test_trait_that_is_removed_in_a_release_goes_when_that_has_ended(
    app: Application, way_out: str
) -> None:
    """Vela collects the Rollout when its workflow has succeeded, which waits for the release to end."""
    async with waiting(app, V2) as under:
        await under.vela.up(with_traits(app)(V2))
        await under.vela.looked(app.patience)
        assert under.vela.phase == BUSY
        if way_out == "approve":
            await app.approve()
        else:
            await app.cluster.delete("rollouts", app.namespace, NAME)
        await under.runs(V2)
        await app.cluster.wait_gone("rollouts", app.namespace, NAME)
        found = await app.get("deployments")

        assert not is_paused(found)
        assert not [key for key in found["metadata"]["annotations"] if key.startswith(("sluice", "rollouts"))]


@pytest.mark.parametrize("style", ["canary", "batch"])
async def test_application_that_is_deleted_in_a_release_leaves_nothing(app: Application, style: str) -> None:
    """Deployment, Service, Ingress and Rollout are deleted at the same moment."""
    before = await inventory.take(app)
    trait = walkthrough.rollout(grace=0, releaseMode=style)
    async with waiting(app, V2, with_traits(app, trait)) as under:
        await under.vela.delete()
        await gone(app, NAME)

    assert inventory.leftovers(before, await inventory.settled(app)) == []


async def test_annotations_of_an_application_reach_all_objects_and_approve_once(app: Application) -> None:
    """An approval among them, asserted again for ever after, counts for its own release and no later one."""
    async with waiting(app, V2) as under:
        release, step = await app.position()
        asked = {"sluice.dev/approve": f"{release}/{step}", "example.com/team": "shop"}
        await under.up(V2, asked=asked)
        await under.runs(V2)
        for resource in ("deployments", "services", "ingresses", "rollouts"):
            assert asked.items() <= (await app.get(resource))["metadata"]["annotations"].items()
        await under.up(V3, asked=asked)
        await app.waits(1, 1)
        await under.vela.looked(app.patience)
        await app.waits(1, 1)
        assert await under.by_image() == {V2: 5, V3: 1}


async def test_old_image_with_another_change_is_a_release(app: Application) -> None:
    """Equality of templates decides, not the image: the user goes from v1 to v2 to v3."""
    async with waiting(app, V2) as under:
        application = under.build(V1)
        application["spec"]["components"][0]["properties"]["annotations"] = {"example.com/since": "2"}
        await under.vela.up(application)
        await app.waits(1, 1)
        assert phase(await app.get("rollouts")) == "Progressing"
        await cli.resume(under.vela)
        await under.runs(V1)


# --- workflow step canary-deploy -----------------------------------------------------------------------

_SHARES = {
    "partition": ({V1: 4, V2: 1}, {V1: 2, V2: 3}),
    "canary": ({V1: 5, V2: 1}, {V1: 5, V2: 3}),
}


def _workflow(style: str) -> JsonObject:
    shares = [
        {"type": "canary-deploy", "properties": {"weight": each, "rolloutType": style}}
        for each in (20, 50, 100)
    ]
    wait = {"type": "suspend"}
    return {"steps": [shares[0], wait, shares[1], wait, shares[2]]}


@pytest.mark.parametrize("style", _SHARES)
async def test_canary_deploy_goes_from_share_to_share(app: Application, style: str) -> None:
    """The Rollout comes with the first share; its one step is rewritten from 20 to 50 to 100 %."""
    async with deployed(app, with_traits(app)) as under:
        await under.up(V2, workflow=_workflow(style))
        for share in _SHARES[style]:
            await under.vela.reaches(SUSPENDED, app.patience)
            assert await under.by_image() == share
            await cli.resume(under.vela)
        await under.runs(V2)
        await app.completes()


@pytest.mark.parametrize("style", _SHARES)
async def test_share_of_a_third_version_is_reached_by_itself(app: Application, style: str) -> None:
    """The Rollout waits at the same share already, for the version before, and is not written again."""
    share = _SHARES[style][0]
    async with deployed(app, with_traits(app)) as under:
        for image in (V2, V3):
            await under.up(image, workflow=_workflow(style))
            await under.vela.reaches(SUSPENDED, app.patience)
            assert await under.by_image() == {V1: share[V1], image: share[V2]}


@pytest.mark.parametrize("style", _SHARES)
async def test_ordinary_deployment_after_a_workflow_goes_through(app: Application, style: str) -> None:
    """The Rollout of the last share is still there, asks for all at once, and is collected afterwards."""
    async with deployed(app, with_traits(app)) as under:
        await under.up(V2, workflow={"steps": [_workflow(style)["steps"][-1]]})
        await under.runs(V2)
        await under.up(V3)
        await under.runs(V3)
        await app.cluster.wait_gone("rollouts", app.namespace, NAME)
        assert not is_paused(await app.get("deployments"))


@pytest.mark.parametrize("style", _SHARES)
async def test_first_deploy_may_be_by_canary_deploy(app: Application, style: str) -> None:
    """There is nothing to release: every share is reached at once."""
    vela = Vela(app.cluster.api)
    build = with_traits(app)
    application = build(V1)
    application["spec"]["workflow"] = _workflow(style)
    async with vela.running():
        await vela.up(application)
        for _ in range(2):
            await vela.reaches(SUSPENDED, app.patience)
            await cli.resume(vela)
        await vela.reaches(RUNNING, app.patience)
        await app.serves(V1)
    assert vela.refused == []


async def test_failing_version_of_a_workflow_is_replaced_by_an_ordinary_deployment(app: Application) -> None:
    """Its share is never reached, so no step of the workflow would write the mended one."""
    async with deployed(app, with_traits(app)) as under:
        await under.up(f"{V2}-unpullable", workflow=_workflow("partition"))
        await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")
        await under.up(V3)
        await _waits(app, NAME)
        await app.approve()
        await under.runs(V3)
        await app.cluster.wait_gone("rollouts", app.namespace, NAME)
