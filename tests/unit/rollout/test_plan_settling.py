"""A change while the Deployment still rolls natively: one revision is left, whoever acts in between."""

import pytest

from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.partitions import events, lowest, ready
from tests.unit.rollout.model.reconciling import settle
from tests.unit.rollout.model.routing import UNROUTED
from tests.unit.rollout.model.world import World

_LIMITS: tuple[JsonObject, ...] = (
    {"maxSurge": "25%", "maxUnavailable": "25%"},
    {"maxSurge": 1, "maxUnavailable": 1},
    {"maxSurge": 1, "maxUnavailable": 0},
    {"maxSurge": 0, "maxUnavailable": 1},
    {"maxSurge": 2, "maxUnavailable": 0},
    {"maxSurge": "100%"},
)


def _rolling(replicas: int, limits: JsonObject, moment: int) -> World | None:
    """Return a Deployment in the middle of the roll that ends a release, or None when it is over by then."""
    world = World(replicas=replicas, limits=limits, setting=UNROUTED)
    world.store.create(rollout([step(None, 1)], setting=UNROUTED))
    settle(world)
    world.apply_template("v2")
    settle(world)
    world.approve_present_step()
    since = 0
    for _ in events(world):
        since += not world.gate_closed
        if since > moment:
            return world
    return None


@pytest.mark.parametrize("limits", _LIMITS, ids=str)
@pytest.mark.parametrize("replicas", [2, 3, 6, 10])
def test_deployment_is_settled_by_single_writes_within_its_limits(replicas: int, limits: JsonObject) -> None:
    """Its controller acts after each of ours: nothing is undone for ever, and the limits hold."""
    allowed = controllers.limits({"rollingUpdate": limits}, replicas)[1]
    moments = (_rolling(replicas, limits, moment) for moment in range(0, 40, 3))
    for world in filter(None, moments):
        world.apply_template("v3")
        least = min(ready(world), replicas - allowed)

        assert lowest(world) >= least
        if world.status["phase"] == "Progressing":
            assert len(world.tags_asked_for(world.workload or {})) == 1
            assert world.release["currentStepState"] == "StepPaused"
