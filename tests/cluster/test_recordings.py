"""The very requests that KubeVela and the kruise plugin send have their effect.

The whole recorded walkthrough is sent once, in its order; each test looks at one effect.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest_asyncio

from sandbox import manifests
from sandbox.names import JsonObject
from sandbox.resources import path
from tests.cluster import inventory
from tests.cluster.application import ALPHA, NAME, Application, image_of, is_paused, message, phase, state
from tests.cluster.product import Product, application
from tests.cluster.recordings import Write, moved, recorded, replay

_PAUSED = "Rollout has been paused, you can resume it by kube-cli"


@dataclass
class Story:
    """What became of the recorded requests, in their order."""

    written: JsonObject = field(default_factory=dict)
    read_back: JsonObject = field(default_factory=dict)
    resent: list[JsonObject] = field(default_factory=list)
    """The Rollout but for its status, which is ours, around each request of a re-sync of vela's."""
    images: dict[str, str] = field(default_factory=dict)
    columns: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    gate_after_undo: bool = True
    leftovers: list[str] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(product: Product) -> AsyncIterator[Story]:
    """Play the recorded walkthrough."""
    async with application(product) as app:
        yield await _play(app, Story())


async def _play(app: Application, story: Story) -> Story:
    empty = await inventory.take(app)
    await _first_deploy(app, story)
    await _update(app, "vela up 1.10.3")
    (resume, *_) = recorded("vela workflow resume")
    await replay(app, resume)
    await _end(app, story, "vela workflow resume")
    await _update(app, "vela up 1.10.4")
    await _pause_and_resume(app, story)
    await _up(app, "vela up 1.10.3 again: roll-back")
    await _end(app, story, "vela up 1.10.3 again: roll-back")
    await _update(app, "vela up 1.10.5")
    await replay(app, recorded("kubectl-kruise rollout approve")[0])
    await _end(app, story, "kubectl-kruise rollout approve")
    await _update(app, "vela up 1.10.6")
    await _undo(app, story)
    await _delete(app)
    story.leftovers = inventory.leftovers(empty, await inventory.settled(app))
    return story


async def _first_deploy(app: Application, story: Story) -> None:
    creations = [write for write in recorded("vela up, first deploy 1.10.2") if write.verb == "create"]
    resyncs = [write for write in recorded("vela up, first deploy 1.10.2") if write.verb == "patch"]
    await asyncio.gather(*(replay(app, write) for write in creations))
    await _resync(app, story, creations, resyncs)


async def _resync(
    app: Application, story: Story, creations: Sequence[Write], resyncs: Sequence[Write]
) -> None:
    story.written = next(moved(app, each.body) for each in creations if each.body["kind"] == "Rollout")
    await app.wait("deployments", manifests.available(5))
    await app.governed()
    story.read_back = await app.cluster.api.get(path(ALPHA, app.namespace, NAME))
    for write in resyncs:
        story.resent += [_writes(await app.get("rollouts"))]
        await replay(app, write)
    story.resent += [_writes(await app.get("rollouts"))]


def _writes(rollout: JsonObject) -> JsonObject:
    """Give all of a Rollout but its status, which the reconciler may write at any time, and the version."""
    metadata = {key: value for key, value in rollout["metadata"].items() if key != "resourceVersion"}
    metadata["managedFields"] = [
        each for each in metadata["managedFields"] if each.get("subresource") != "status"
    ]
    return {**metadata, "spec": rollout["spec"]}


async def _up(app: Application, during: str) -> None:
    """Send all objects of a `vela up` at once, as vela does: in any order, within 100 ms."""
    await asyncio.gather(*(replay(app, write) for write in recorded(during)))


async def _update(app: Application, during: str) -> None:
    await _up(app, during)
    await app.waits(1, 1)


async def _end(app: Application, story: Story, during: str) -> None:
    rollout = await app.wait("rollouts", lambda found: phase(found) == "Healthy")
    await app.wait("deployments", manifests.available(5))
    await _note(app, story, during, rollout)


async def _note(app: Application, story: Story, during: str, rollout: JsonObject) -> None:
    story.columns[during] = (phase(rollout), state(rollout), message(rollout))
    story.images[during] = image_of(await app.get("deployments"))


async def _pause_and_resume(app: Application, story: Story) -> None:
    (pause,) = recorded("kubectl-kruise rollout pause")
    (resume,) = recorded("kubectl-kruise rollout resume")
    await replay(app, pause)
    paused = await app.wait("rollouts", lambda found: message(found) == _PAUSED)
    await _note(app, story, pause.during, paused)
    await replay(app, resume)
    await _note(app, story, resume.during, await app.waits(1, 1))


async def _undo(app: Application, story: Story) -> None:
    """Go back by the plugin while vela keeps its state: old and new template within a second."""
    suspend = recorded("vela workflow suspend")[0]
    undo, keep, *_ = recorded("kubectl-kruise rollout undo")
    await replay(app, suspend)
    await app.wait("rollouts", lambda found: message(found) == _PAUSED)
    await replay(app, undo)
    story.gate_after_undo = is_paused(await replay(app, keep))
    resume, approve = recorded("vela workflow resume (after undo)")
    await replay(app, resume)
    await app.waits(1, 1)
    await replay(app, approve)
    await _end(app, story, "kubectl-kruise rollout undo")


async def _delete(app: Application) -> None:
    deletions = recorded("vela delete")
    await asyncio.gather(*(replay(app, write) for write in deletions))
    for resource in ("deployments", "services", "ingresses", "rollouts"):
        await app.cluster.wait_gone(resource, app.namespace, NAME)
    await app.wait_for_all("deployments", lambda found: not found)


async def test_v1alpha1_object_reads_back_as_it_was_written(story: Story) -> None:
    """Nothing is added to the spec or the annotations that vela wrote, or vela would re-send it for ever."""
    assert story.read_back["spec"] == story.written["spec"]
    for part in ("annotations", "labels"):
        assert story.read_back["metadata"][part] == story.written["metadata"][part]


async def test_resync_of_vela_changes_nothing(story: Story) -> None:
    """What vela re-sends on every re-sync is what is there already: the object is not written."""
    changes = [
        (key, before.get(key), after.get(key))
        for before, after in pairwise(story.resent)
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]

    assert len(story.resent) > 1
    assert changes == []


async def test_workflow_resume_approves(story: Story) -> None:
    """Vela's PUT of /status, with the fields it knows, ends in the new version."""
    during = "vela workflow resume"

    assert story.columns[during] == ("Healthy", "Completed", "Rollout has been completed, and succeed")
    assert story.images[during] == "cilium/echoserver:1.10.3"


async def test_plugin_pauses_and_resumes(story: Story) -> None:
    """`kubectl-kruise rollout pause` and `resume` do what they say."""
    waiting = "Rollout is in step(1/1), and you need manually confirm to enter the next step"

    assert story.columns["kubectl-kruise rollout pause"][2] == _PAUSED
    assert story.columns["kubectl-kruise rollout resume"] == ("Progressing", "StepPaused", waiting)


async def test_vela_up_of_the_old_image_rolls_back(story: Story) -> None:
    """Whichever of its writes comes first, `vela up` of the old image takes the release back."""
    during = "vela up 1.10.3 again: roll-back"
    text = "The workload has been rolled back and the rollout process will be cancelled"

    assert story.columns[during] == ("Healthy", "StepPaused", text)
    assert story.images[during] == "cilium/echoserver:1.10.3"


async def test_plugin_approves(story: Story) -> None:
    """`kubectl-kruise rollout approve` ends in the new version."""
    during = "kubectl-kruise rollout approve"

    assert story.columns[during] == ("Healthy", "Completed", "Rollout has been completed, and succeed")
    assert story.images[during] == "cilium/echoserver:1.10.5"


async def test_undo_against_a_state_keeping_client_stays_held_and_ends_clean(story: Story) -> None:
    """Undone by the plugin and put back by vela at once, the release is held, and completes when approved."""
    during = "kubectl-kruise rollout undo"

    assert story.gate_after_undo
    assert story.columns[during] == ("Healthy", "Completed", "Rollout has been completed, and succeed")
    assert story.images[during] == "cilium/echoserver:1.10.6"


async def test_vela_delete_leaves_nothing(story: Story) -> None:
    """`vela delete` deletes the four objects at once; the namespace is then as empty as it was."""
    assert story.leftovers == []
