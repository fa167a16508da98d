"""What the vela CLI does to the Rollouts of an Application: it reads, changes and replaces typed objects.

Its types are older than ours: what they do not know, it drops.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sandbox.api import ApiError
from tests.vela.core import BUSY, Vela

JsonObject = dict[str, Any]

_WAITS = (0.01, 0.05, 0.25)
"""Seconds between its attempts when somebody wrote between."""

_STEP = {"weight": None, "replicas": None, "pause": {"duration": None}, "matches": None}
_ROUTING = {
    "service": None,
    "gracePeriodSeconds": None,
    "ingress": {"classType": None, "name": None},
    "gateway": {"httpRouteName": None},
}
_SPEC = {
    "disabled": None,
    "rolloutID": None,
    "objectRef": {"workloadRef": {"apiVersion": None, "kind": None, "name": None}},
    "strategy": {
        "paused": None,
        "canary": {"steps": [_STEP], "trafficRoutings": [_ROUTING], "failureThreshold": None},
    },
}
_CANARY_STATUS = dict.fromkeys(
    (
        "observedWorkloadGeneration",
        "observedRolloutID",
        "rolloutHash",
        "stableRevision",
        "canaryRevision",
        "podTemplateHash",
        "canaryReplicas",
        "canaryReadyReplicas",
        "currentStepIndex",
        "currentStepState",
        "message",
        "lastUpdateTime",
    )
)
_STATUS = {
    "observedGeneration": None,
    "canaryStatus": _CANARY_STATUS,
    "conditions": None,
    "phase": None,
    "message": None,
}
_ROLLOUT = {"apiVersion": None, "kind": None, "metadata": None, "spec": _SPEC, "status": _STATUS}
"""The fields that it knows; None stands for all that is below."""


async def suspend(vela: Vela) -> None:
    """`vela workflow suspend`."""
    for place in _rollouts(vela):
        await _change(vela, place, _pause)
    vela.suspend()


async def resume(vela: Vela) -> None:
    """`vela workflow resume`: what was paused goes on, and a step that waits is approved."""
    for place in _rollouts(vela):
        await _change(vela, place, _unpause)
        await _change(vela, place, _approve, part="/status")
    vela.resume()


async def roll_back(vela: Vela) -> None:
    """`vela workflow rollback`: refused while the workflow runs."""
    if vela.phase == BUSY:
        raise RuntimeError("suspend the workflow first")
    await vela.roll_back()
    for place in _rollouts(vela):
        await _change(vela, place, _unpause)


def _rollouts(vela: Vela) -> list[str]:
    """Name the Rollouts that it looks at: of one version, and not hidden from it."""
    hidden = "controller.core.oam.dev/skip-resume"
    return [
        place
        for place, each in vela.tracked.items()
        if (each["apiVersion"], each["kind"]) == ("rollouts.kruise.io/v1alpha1", "Rollout")
        and each["metadata"].get("annotations", {}).get(hidden) != "true"
    ]


def _pause(found: JsonObject) -> bool:
    strategy = found["spec"]["strategy"]
    if strategy.get("paused") or found.get("status", {}).get("phase") != "Progressing":
        return False
    strategy["paused"] = True
    return True


def _unpause(found: JsonObject) -> bool:
    return bool(found["spec"]["strategy"].pop("paused", False))


def _approve(found: JsonObject) -> bool:
    canary = found.get("status", {}).get("canaryStatus", {})
    if canary.get("currentStepState") != "StepPaused":
        return False
    canary["currentStepState"] = "StepReady"
    return True


async def _change(vela: Vela, place: str, change: Any, part: str = "") -> None:
    """Read, change and replace; somebody else's write between is met by trying again, three times."""
    for wait in (*_WAITS, None):
        found = typed(await vela.api.get(place))
        if not change(found):
            return
        try:
            await vela.api.put(place + part, found)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT or wait is None:
                raise
            await asyncio.sleep(wait)
        else:
            return


def typed(rollout: JsonObject) -> JsonObject:
    """Give a Rollout as its types hold it: the fields that they do not know are dropped."""
    return {key: _known(each, _ROLLOUT[key]) for key, each in rollout.items() if key in _ROLLOUT}


def _known(found: Any, known: Any) -> Any:
    if isinstance(known, list):
        return [_known(each, known[0]) for each in found]
    if not isinstance(known, Mapping) or not isinstance(found, Mapping):
        return found
    return {key: _known(each, known[key]) for key, each in found.items() if key in known}
