"""TrafficRoutings, and Rollouts that refer to one, as manifests."""

from typing import Any

from sandbox import manifests
from sandbox.names import JsonObject
from tests.cluster.application import NAME
from tests.cluster.plans import step

RESOURCE = "rollouts.kruise.io/v1alpha1/trafficroutings"
SHARED = "shared"


def routing(*refs: JsonObject, name: str = SHARED, **strategy: Any) -> JsonObject:
    """Return a TrafficRouting; without refs one to the walkthrough's Service, by its Ingress."""
    plain = {"service": NAME, "ingress": {"name": NAME}, "gracePeriodSeconds": 0}
    return {
        "apiVersion": "rollouts.kruise.io/v1alpha1",
        "kind": "TrafficRouting",
        "metadata": {"name": name},
        "spec": {"objectRef": list(refs) or [plain], "strategy": strategy},
    }


def referring(*steps: JsonObject, name: str = NAME, by: str = "field") -> JsonObject:
    """Return a Rollout that refers to the TrafficRouting, by field, by annotation, or as v1alpha1."""
    if by == "v1alpha1":
        rollout = manifests.rollout_v1alpha1(name)
        steps = steps or ({"weight": 20, "pause": {}},)
    else:
        rollout = manifests.rollout(name)
        steps = steps or (step(20, "20%"),)
    canary = rollout["spec"]["strategy"]["canary"]
    del canary["trafficRoutings"]
    canary["steps"] = list(steps)
    if by == "field":
        canary["trafficRoutingRef"] = SHARED
    else:
        rollout["metadata"]["annotations"] = {"rollouts.kruise.io/trafficrouting": SHARED}
    return rollout
