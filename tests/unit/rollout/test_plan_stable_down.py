"""The stable pods fail while a release is under way, or go in its course."""

import pytest

from rollout import names
from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.partitions import governed
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP, BY_HTTP_ROUTE, BY_INGRESS, Setting
from tests.unit.rollout.model.world import World

every_route = pytest.mark.parametrize("setting", [BY_INGRESS, BY_HTTP_ROUTE], ids=["Ingress", "HTTPRoute"])


@every_route
@pytest.mark.parametrize("weight", [50, 100])
def test_no_more_than_approved_goes_to_the_canary_when_the_stable_side_is_down(
    setting: Setting, weight: int
) -> None:
    """The stable Service keeps to its revision, and the condition says that nothing is behind it."""
    world = World(replicas=3, setting=setting)
    world.store.create(rollout([step(weight, "100%"), step(100, "100%")], setting=setting))
    settle(world)
    world.apply_template("v2")
    settle(world)
    for name in [name for name, each in world.store.pods.items() if each.tag == "v1"]:
        world.store.stick(name)
    settle(world)

    assert world.canary_weight() == weight
    assert not world.ready_pods(APP)
    assert names.POD_TEMPLATE_HASH in world.store.objects["Service", APP]["spec"]["selector"]
    assert f"no stable pod behind Service {APP}" in world.condition_message


@every_route
@pytest.mark.parametrize("limits", [None, {"maxSurge": 1, "maxUnavailable": 0}], ids=["default", "one more"])
def test_stable_service_has_endpoints_at_any_moment_while_requests_are_divided(
    setting: Setting, limits: dict[str, int] | None
) -> None:
    """ingress-nginx answers 503 to every request, the canary's too, where the stable Service has none.

    Inside the Deployment the last step leaves no stable pod: the division ends before these go.
    """
    world = governed(step(50, "60%"), step(100, "100%"), replicas=5, limits=limits, setting=setting)
    world.apply_template("v2")
    moments = []
    for approvals in range(3):
        while controllers.run_one(world.store) or reconcile(world, writes=1):
            moments.append((world.canary_weight(), len(world.ready_pods(APP))))
        settle(world)
        if approvals < 2:
            world.approve_present_step()

    assert world.status["phase"] == "Healthy"
    assert any(weight for weight, _ in moments)
    assert all(ready for _, ready in moments)
