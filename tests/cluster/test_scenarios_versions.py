"""One plan in v1alpha1 and in v1beta1, worked with through its own version alone: the same release."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from sandbox import manifests
from sandbox.names import JsonObject
from sandbox.resources import path
from tests.cluster import inventory
from tests.cluster.application import ALPHA, NAME, V2, V3, Application, message, says, state
from tests.cluster.plans import plan, step
from tests.cluster.product import Product, application

_BETA = "rollouts"
_PAUSED = "Rollout has been paused, you can resume it by kube-cli"
_LABELS = {"labels": {"track": "canary"}}
_ID = "rollouts.kruise.io/rollout-id"


def _beta() -> JsonObject:
    rollout = plan(step(20, "20%"), step(40, 2, pause=1), step(60, "60%"), step(80, 4))
    rollout["spec"]["strategy"]["canary"] |= {"patchPodTemplateMetadata": _LABELS, "failureThreshold": "10%"}
    return rollout


def _alpha() -> JsonObject:
    rollout = manifests.rollout_v1alpha1(grace_period_seconds=0)
    rollout["spec"]["strategy"]["canary"] |= {
        "patchPodTemplateMetadata": _LABELS,
        "failureThreshold": "10%",
        "steps": [
            {"weight": 20, "pause": {}},
            {"weight": 40, "replicas": 2, "pause": {"duration": 1}},
            {"weight": 60, "pause": {}},
            {"weight": 80, "replicas": 4, "pause": {}},
        ],
    }
    return rollout


@dataclass
class _Story:
    """What was seen at each rest, without the ids of this release."""

    app: Application
    resource: str
    seen: list[Any] = field(default_factory=list)

    async def read(self) -> JsonObject:
        """Read the Rollout through its version."""
        return await self.app.cluster.api.get(path(self.resource, self.app.namespace, NAME))

    async def change(self, patch: JsonObject) -> None:
        """Change it through its version."""
        await self.app.cluster.patch(self.resource, self.app.namespace, NAME, patch)

    async def write_status(self, canary_status: JsonObject) -> None:
        """Write its status through its version, as the plugins do."""
        place = path(self.resource, self.app.namespace, NAME) + "/status"
        await self.app.cluster.api.patch(place, {"status": {"canaryStatus": canary_status}})

    async def rests(self) -> None:
        """Note how the release is."""
        found = (await self.read())["status"]
        canary = found["canaryStatus"]
        numbers = [canary.get(key) for key in ("currentStepIndex", "nextStepIndex", "canaryReplicas")]
        conditions = [(each["type"], each["status"], each["reason"]) for each in found["conditions"]]
        pods = await self.app.pods(V2)
        marks = sorted((each["metadata"]["labels"].get("track"), _batch(each)) for each in pods)
        state_of = canary["currentStepState"]
        columns = (found["phase"], found["message"], state_of, canary["observedRolloutID"])
        self.seen.append((columns, numbers, conditions, marks, await self.app.weight()))


def _batch(pod: JsonObject) -> str:
    return str(pod["metadata"]["labels"].get("rollouts.kruise.io/rollout-batch-id"))


async def _tell(product: Product, resource: str, rollout: JsonObject) -> list[Any]:
    """Release by approval, time, jump, pause, edit and roll-back; return what was seen."""
    async with application(product) as app:
        story = _Story(app, resource)
        await app.deploy(rollout)
        before = await inventory.take(app)
        container = {"name": NAME, "image": V2}
        named = {"annotations": {_ID: "r-1"}}
        await app.change({"metadata": named, "spec": {"template": {"spec": {"containers": [container]}}}})
        await app.waits(1, 4)
        await _labelled(app, 1)
        await story.rests()
        await story.write_status({"currentStepState": "StepReady"})
        await app.waits(3, 4)
        await _labelled(app, 3)
        await story.rests()
        await story.write_status({"nextStepIndex": 1})
        await app.waits(1, 4)
        await app.canary_has(1)
        await story.change({"spec": {"strategy": {"paused": True}}})
        await app.wait("rollouts", says(_PAUSED))
        await story.change({"spec": {"strategy": {"paused": None}}})
        await app.waits(1, 4)
        await story.write_status({"nextStepIndex": 4})
        await app.waits(4, 4)
        await _labelled(app, 4)
        await story.rests()
        await story.write_status({"currentStepState": "StepReady"})
        await app.completes(steps=4)
        await app.serves(V2)
        await story.rests()
        await app.set_image(V3)
        await app.waits(1, 4)
        await app.set_image(V2)
        await app.rolled_back()
        await story.rests()
        await story.change({"spec": {"disabled": True}})
        found = await app.wait("rollouts", lambda found: "disabled" in message(found))
        return [*story.seen, state(found), inventory.leftovers(before, await inventory.settled(app))]


async def _labelled(app: Application, pods: int) -> None:
    """Wait until the canary's pods carry the number of their step; that is no part of the release."""
    await app.wait_for_all(
        "pods",
        lambda found: sum(_batch(each) != "None" for each in found) == pods == len(found) - 5,
    )


async def test_both_versions_release_alike(product: Product) -> None:
    """Ids, labels, approvals, times, jumps, pauses and roll-backs: each rest is the same in every field."""
    beta, alpha = await asyncio.gather(
        _tell(product, _BETA, _beta()),
        _tell(product, ALPHA, _alpha()),
    )

    assert alpha == beta
    assert [columns[0] for columns, *_ in beta[:-2]] == [*["Progressing"] * 3, "Healthy", "Healthy"]
