"""A change while the Deployment still rolls natively: one revision is left, whoever acts in between."""

from itertools import product

import pytest

from rollout.revision import template_digest
from rollout.wire import JsonObject
from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.objects import rollout, step, template
from tests.unit.rollout.model.partitions import events, lowest, ready, revision, sizes
from tests.unit.rollout.model.reconciling import reconcile, settle
from tests.unit.rollout.model.routing import APP, UNROUTED
from tests.unit.rollout.model.world import World

_LIMITS: tuple[JsonObject, ...] = (
    {"maxSurge": "25%", "maxUnavailable": "25%"},
    {"maxSurge": 1, "maxUnavailable": 1},
    {"maxSurge": 1, "maxUnavailable": 0},
    {"maxSurge": 0, "maxUnavailable": 1},
    {"maxSurge": 2, "maxUnavailable": 0},
    {"maxSurge": "100%"},
)

_THREE, _OFTEN = 3, 10  # revisions with pods, and in how many of the cases there are to be so many


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


def _in_trouble(replicas: int, limits: JsonObject, moment: int, style: str) -> World:
    """Return a Deployment that rolled from v1 to v2 and then to v3, whose pods never start; then governed."""
    world = World(replicas=replicas, limits=limits, setting=UNROUTED)
    world.broken_tags = {"v3"}
    world.released |= {template_digest(template(tag)) for tag in ("v2", "v3")}  # nothing held them
    world.run_controllers()
    world.apply_template("v2")
    for _ in zip(range(moment), events(world), strict=False):
        pass
    world.apply_template("v3")
    lowest(world)
    world.more = {"enableExtraWorkloadForCanary": style == "canary"}
    world.store.create(rollout([step(None, 1)], setting=UNROUTED, **world.more))
    lowest(world)
    return world


@pytest.mark.parametrize("style", ["canary", "partition"])
@pytest.mark.parametrize("replicas", [2, 3, 6])
def test_version_that_never_starts_does_not_hold_up_its_fix(replicas: int, style: str) -> None:
    """Among three revisions, its pods have to go, though another one has more."""
    tried = 0
    for limits, moment in product(_LIMITS, range(2, 40, 4)):
        world = _in_trouble(replicas, limits, moment, style)
        if sum(size > 0 for size in sizes(world).values()) < _THREE:
            continue
        tried += 1
        least = min(ready(world), replicas - controllers.limits({"rollingUpdate": limits}, replicas)[1])
        world.apply_template("v4")

        assert lowest(world) >= least
        assert world.release["currentStepState"] == "StepPaused"
    assert tried >= _OFTEN


def test_nothing_grows_without_end_where_the_controller_gives_no_places() -> None:
    """Under Recreate, written while the webhook was away, a paused Deployment's sets stay as they are."""
    world = _rolling(5, {"maxSurge": "100%"}, 6)
    assert world is not None
    world.torn = True
    world.apply_template("v3")
    world.store.patch("Deployment", APP, {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}})
    least = ready(world)

    assert lowest(world) >= min(least, 5)
    assert sum(sizes(world).values()) <= 11


@pytest.mark.parametrize(
    ("replicas", "limits", "divided", "broken"),
    [
        (7, {}, {"v1": 3, "v2": 3, "v3": 3}, {"v2"}),
        (3, {"maxSurge": 1, "maxUnavailable": 0}, {"v1": 1, "v2": 2, "v3": 1}, {"v2", "v3"}),
    ],
    ids=["equal", "none missing"],
)
def test_revision_goes_for_good_though_another_one_that_has_to_go_grows_by_it(
    replicas: int, limits: JsonObject, divided: dict[str, int], broken: set[str]
) -> None:
    """Three that hands have divided: where the controller gives places to the third one, they get fewer."""
    world = World(replicas=replicas, limits=limits, setting=UNROUTED)
    world.released |= {template_digest(template(tag)) for tag in ("v2", "v3")}
    for tag in ("v2", "v3"):
        world.run_controllers()
        world.apply_template(tag)
    world.run_controllers()
    world.store.create(rollout([step(None, 1)], setting=UNROUTED))
    settle(world)
    world.broken_tags = broken
    world.apply_template("v4")
    for tag, size in divided.items():
        found = revision(world, tag)["metadata"]["name"]
        world.store.patch("ReplicaSet", found, {"spec": {"replicas": size}})
    lowest(world)

    assert world.release["currentStepState"] == "StepPaused"
    assert len(world.tags_asked_for(world.workload or {})) == 1


@pytest.mark.parametrize("style", ["canary", "partition"])
def test_settling_says_which_trouble_it_waits_for(style: str) -> None:
    """Clients show this message, and an event tells it."""
    world = _rolling(6, {"maxSurge": 1, "maxUnavailable": 0}, 6)
    assert world is not None
    world.broken_tags = {"v1"}
    if style == "partition":
        world.change_spec({"strategy": {"canary": {"enableExtraWorkloadForCanary": False}}})
    world.apply_template("v3")
    lowest(world)
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "too many"}
    name = revision(world, "v1")["metadata"]["name"]
    world.store.patch("ReplicaSet", name, {"status": {"conditions": [failure]}})
    while reconcile(world):
        pass

    assert world.release["currentStepState"] == "BeforeStepUpgrade"
    assert world.release["message"].endswith("(FailedCreate: too many)")
    assert any(each.note.endswith("(FailedCreate: too many)") for each in world.events)
