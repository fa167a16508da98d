"""A Deployment, its templates and its Rollout, as a user of the model writes them."""

from typing import Any

from rollout import names
from rollout.wire import JsonObject
from tests.unit.rollout.model.routing import APP, BY_INGRESS, UNROUTED, Setting

GROUP_VERSION = f"{names.GROUP}/{names.STORAGE_VERSION}"


def template(tag: str) -> dict[str, Any]:
    """Return the pod template of a version."""
    return {
        "metadata": {"labels": {"app": APP}},
        "spec": {"containers": [{"name": APP, "image": f"web:{tag}"}]},
    }


def step(
    weight: int | None, replicas: str | int, pause: int | None = None, headers: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return one step of a Rollout's spec; each of ``headers`` is what a request may carry to match."""
    value: dict[str, Any] = {"replicas": replicas, "pause": {} if pause is None else {"duration": pause}}
    if headers:
        value["matches"] = [{"headers": [{"name": each, "value": "beta"}]} for each in headers]
    return value if weight is None else {**value, "traffic": f"{weight}%"}


def deployment(tag: str, replicas: int, limits: JsonObject | None = None) -> dict[str, Any]:
    """Return a Deployment as a user writes it, perhaps with limits of its rolling update."""
    strategy = {"strategy": {"rollingUpdate": limits}} if limits else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": APP}},
            "template": template(tag),
            **strategy,
        },
    }


def rollout(
    steps: list[dict[str, Any]],
    *,
    grace: int = 3,
    routed: bool = True,
    setting: Setting = BY_INGRESS,
    **more: Any,
) -> dict[str, Any]:
    """Return a Rollout as a user writes it; ``more`` is added to its canary strategy."""
    said = (setting if routed else UNROUTED).strategy(grace)
    canary: dict[str, Any] = {"enableExtraWorkloadForCanary": True, "steps": steps, **said, **more}
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "Rollout",
        "metadata": {"name": APP},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "strategy": {"canary": canary},
        },
    }
