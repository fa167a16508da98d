"""The ways in which people and their tools approve a step."""

import sys
from collections.abc import Awaitable, Callable

from sandbox.names import JsonObject
from sandbox.resources import path
from tests.cluster.application import ALPHA, APPROVE, NAME, Application

Approve = Callable[[Application], Awaitable[str]]
"""Approves the step that waits; returns what the client printed, if it prints."""

_VELA_STATUS = (
    "canaryReadyReplicas",
    "canaryReplicas",
    "canaryRevision",
    "currentStepIndex",
    "currentStepState",
    "lastUpdateTime",
    "message",
    "observedRolloutID",
    "observedWorkloadGeneration",
    "podTemplateHash",
    "rolloutHash",
    "stableRevision",
)
"""All that vela's typed client knows of `canaryStatus`: what it does not know, it drops."""


async def by_kubectl_kruise(app: Application) -> str:
    """Send the request of `kubectl-kruise rollout approve`: a merge patch of /status in v1beta1."""
    await app.write_status({"currentStepState": "StepReady"})
    return ""


async def by_vela(app: Application) -> str:
    """Send the request of `vela workflow resume`: the whole object to /status in v1alpha1."""
    found = await app.cluster.api.get(path(ALPHA, app.namespace, NAME))
    await app.cluster.api.put(path(ALPHA, app.namespace, NAME) + "/status", as_vela_writes(found))
    return ""


def as_vela_writes(rollout: JsonObject) -> JsonObject:
    """Return a v1alpha1 object as it comes out of vela's types, with the step approved."""
    status = rollout["status"]
    canary = {key: value for key, value in status["canaryStatus"].items() if key in _VELA_STATUS}
    known = ("canaryStatus", "conditions", "message", "observedGeneration", "phase")
    typed = {key: value for key, value in status.items() if key in known}
    return {**rollout, "status": {**typed, "canaryStatus": {**canary, "currentStepState": "StepReady"}}}


async def by_annotation(app: Application) -> str:
    """Annotate the Rollout with kubectl."""
    release, step = await app.position()
    return await app.kubectl("annotate", "rollout", NAME, f"{APPROVE}={release}/{step}", "--overwrite")


async def by_annotation_of_the_deployment(app: Application) -> str:
    """Annotate the Deployment with kubectl."""
    release, step = await app.position()
    return await app.kubectl("annotate", "deployment", NAME, f"{APPROVE}={release}/{step}", "--overwrite")


async def by_plugin(app: Application) -> str:
    """Run `kubectl sluice approve`."""
    words = (sys.executable, "-m", "cli", "approve", NAME, "-n", app.namespace)
    completed = await app.cluster.run(*words)
    return completed.stderr + completed.stdout


WAYS: dict[str, Approve] = {
    "kubectl-kruise": by_kubectl_kruise,
    "vela": by_vela,
    "annotation": by_annotation,
    "annotation-of-deployment": by_annotation_of_the_deployment,
    "plugin": by_plugin,
}
