"""Rollouts of several steps, as manifests."""

from typing import Any

from sandbox import manifests
from sandbox.names import JsonObject


def step(traffic: int | None, replicas: int | str, pause: int | None = None) -> JsonObject:
    """Return a step: traffic in percent, a pause in seconds or until approval."""
    share: dict[str, Any] = {} if traffic is None else {"traffic": f"{traffic}%"}
    return {**share, "replicas": replicas, "pause": {} if pause is None else {"duration": pause}}


def plan(*steps: JsonObject, **strategy: Any) -> JsonObject:
    """Return the walkthrough's Rollout with these steps, and no grace period."""
    rollout = manifests.rollout(grace_period_seconds=0)
    canary = {**rollout["spec"]["strategy"]["canary"], "steps": list(steps)}
    return {**rollout, "spec": {**rollout["spec"], "strategy": {"canary": canary, **strategy}}}


def three_steps() -> JsonObject:
    """Return a plan that asks three times, with pods as number and as share."""
    return plan(step(20, 1), step(40, "40%"), step(60, 3))
