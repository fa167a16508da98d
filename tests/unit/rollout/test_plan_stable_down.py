"""The stable pods fail while a release is under way."""

import pytest

from rollout import names
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import settle
from tests.unit.rollout.model.routing import APP, BY_HTTP_ROUTE, BY_INGRESS, Setting
from tests.unit.rollout.model.world import World

every_route = pytest.mark.parametrize("setting", [BY_INGRESS, BY_HTTP_ROUTE], ids=["Ingress", "HTTPRoute"])


def released(setting: Setting, weight: int) -> World:
    """Return a world in which so much goes to the canary, and every stable pod has failed."""
    world = World(replicas=3, setting=setting)
    world.store.create(rollout([step(weight, "100%"), step(100, "100%")], setting=setting))
    settle(world)
    world.apply_template("v2")
    settle(world)
    assert world.canary_weight() == weight
    for name in [name for name, each in world.store.pods.items() if each.tag == "v1"]:
        world.store.stick(name)
    settle(world)
    return world


def served(world: World) -> set[str]:
    """Name the versions behind the user's own Service."""
    behind = world.ready_pods(APP)
    return {each.tag for name, each in world.store.pods.items() if name in behind}


@every_route
def test_service_leads_to_the_canary_that_gets_everything_when_the_stable_side_is_down(
    setting: Setting,
) -> None:
    """ingress-nginx answers 503 where the stable Service has no endpoint, whatever the canary's weight."""
    world = released(setting, 100)

    assert served(world) == {"v2"}
    assert world.release["currentStepState"] == "StepPaused"


@every_route
def test_service_is_pinned_again_when_the_stable_side_is_back(setting: Setting) -> None:
    """And the release goes on to its end."""
    world = released(setting, 100)

    world.store.mend_pods()
    settle(world)

    assert served(world) == {"v1"}
    world.approve_present_step()
    settle(world)
    world.approve_present_step()
    settle(world)
    assert world.status["phase"] == "Healthy"


@every_route
def test_no_more_than_approved_goes_to_the_canary_when_the_stable_side_is_down(setting: Setting) -> None:
    """Half of the requests were approved: the other half is not sent there because the rest fails."""
    world = released(setting, 50)

    assert served(world) == set()
    selector = world.store.objects["Service", APP]["spec"]["selector"]
    assert names.POD_TEMPLATE_HASH in selector
