"""The reference scenario stage by stage: what people see, what the cluster carries, what it costs."""

import pytest

from rollout import messages
from tests.unit.rollout.model import controllers
from tests.unit.rollout.model.drills import paused_at
from tests.unit.rollout.model.objects import rollout, step
from tests.unit.rollout.model.reconciling import look, reconcile, settle, settle_without_waiting
from tests.unit.rollout.model.routing import APP, HOST
from tests.unit.rollout.model.world import World

MOST_WRITES = 20  # the budget of one release


@pytest.fixture
def world() -> World:
    """Return the walkthrough's Deployment under its Rollout, before anything was released."""
    world = World(tag="1.10.2", replicas=5)
    world.store.create(rollout([step(20, "20%")]))
    settle(world)
    return world


def seen(world: World) -> tuple[str, int, str, str]:
    """Return what ``kubectl get rollouts`` shows."""
    status = world.status
    return status["phase"], status["currentStepIndex"], status["currentStepState"], status["message"]


def test_first_deploy_releases_nothing(world: World) -> None:
    """A fresh Deployment is healthy at once; its last step counts as completed for platforms that poll."""
    assert seen(world) == ("Healthy", 1, "Completed", messages.SEEDED)
    assert world.leftovers() == []


def test_second_version_waits_beside_the_first(world: World) -> None:
    """Stage 3: paused, one canary pod of five, a fifth of the requests, and the message that people know."""
    world.apply_template("1.10.3")
    settle(world)

    workload, route = world.workload, world.canary_route
    assert workload is not None
    assert route is not None
    assert seen(world) == (
        "Progressing",
        1,
        "StepPaused",
        "Rollout is in step(1/1), and you need manually confirm to enter the next step",
    )
    assert (workload["status"]["readyReplicas"], workload["status"]["updatedReplicas"]) == (5, 0)
    canary = world.store.get("Deployment", f"{APP}-{world.release_id}")
    assert canary is not None
    assert canary["status"]["readyReplicas"] == 1
    assert len(world.ready_pods(APP)) == 5
    assert len(world.ready_pods(f"{APP}-canary")) == 1


def test_canary_ingress_is_the_one_of_the_walkthrough(world: World) -> None:
    """Class, weight and the one path to the canary Service; nothing that another tool tracks objects by."""
    world.store.patch("Ingress", APP, {"metadata": {"labels": {"app.oam.dev/name": "shop", "team": "a"}}})
    world.apply_template("1.10.3")
    settle(world)

    route = world.canary_route
    assert route is not None
    labels, annotations = (
        {k: v for k, v in route["metadata"][field].items() if not k.startswith("sluice.dev/")}
        for field in ("labels", "annotations")
    )
    assert annotations == {
        "kubernetes.io/ingress.class": "nginx",
        "nginx.ingress.kubernetes.io/canary": "true",
        "nginx.ingress.kubernetes.io/canary-weight": "20",
    }
    assert labels == {"team": "a"}
    backend = {"service": {"name": f"{APP}-canary", "port": {"number": 8080}}}
    path = {"path": "/", "pathType": "ImplementationSpecific", "backend": backend}
    assert route["spec"]["rules"] == [{"host": HOST, "http": {"paths": [path]}}]


def test_approval_completes_the_release(world: World) -> None:
    """Stage 4a: every pod new, nothing of ours left, the message of the walkthrough."""
    world.apply_template("1.10.3")
    settle(world)
    world.approve_present_step()
    settle(world)

    assert seen(world) == ("Healthy", 1, "Completed", "Rollout has been completed, and succeed")
    assert world.ready_by_tag() == {"1.10.3": 5}
    assert world.leftovers() == []


def test_release_keeps_to_its_budget_of_writes(world: World) -> None:
    """The whole release, with a grace before and after, costs the API server no more than its budget."""
    world.apply_template("1.10.3")
    writes = settle(world)
    world.approve_present_step()

    assert writes + settle(world) <= MOST_WRITES


def test_old_version_again_rolls_back_without_restarting_a_pod(world: World) -> None:
    """Stage 4b: by itself, with the message of the walkthrough, and with the very pods that served before."""
    before = set(world.store.pods)
    world.apply_template("1.10.3")
    settle(world)
    world.apply_template("1.10.2")
    settle(world)

    text = "The workload has been rolled back and the rollout process will be cancelled"
    assert seen(world) == ("Healthy", 1, "StepPaused", text)
    assert set(world.store.pods) == before
    assert world.leftovers() == []


def test_number_of_writes_does_not_depend_on_the_number_of_pods() -> None:
    """Of many pods that come up three quarters are told on the way; each one would be a load on everybody."""
    assert writes_of_a_release(replicas=20) == writes_of_a_release(replicas=50)
    assert writes_of_a_release(replicas=20) <= writes_of_a_release(replicas=1) + 3


def writes_of_a_release(replicas: int) -> int:
    """Count the writes of a release while pods become ready one by one."""
    world = World(replicas=replicas)
    world.grace_seconds = 0
    world.store.create(rollout([step(20, "100%")], grace=0))
    settle(world)
    world.apply_template("v2")
    writes = 0
    for _ in range(3000):
        made = reconcile(world)
        writes += made
        if not made and not controllers.run_one(world.store):
            break
    assert world.status["phase"] == "Healthy"
    return writes


def test_conditions_say_how_it_ended(world: World) -> None:
    """Succeeded is absent during a release, True after it; Progressing turns False with the final text."""
    world.apply_template("1.10.3")
    settle(world)
    during = {each["type"]: (each["status"], each["reason"]) for each in world.status["conditions"]}
    world.approve_present_step()
    settle(world)
    after = {each["type"]: (each["status"], each["reason"]) for each in world.status["conditions"]}

    assert during == {"Progressing": ("True", "InRolling")}
    assert after == {"Progressing": ("False", "Completed"), "Succeeded": ("True", "")}


def test_event_carries_the_command_that_approves(world: World) -> None:
    """Whoever looks at the events can copy the approval from there."""
    world.apply_template("1.10.3")
    settle(world)

    command = f"kubectl annotate rollout {APP} -n default sluice.dev/approve={world.release_id}/1 --overwrite"
    assert any(command in each.note for each in world.events)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Service", f"Service {APP} not found"),
        ("Ingress", f"Ingress {APP} not found"),
    ],
)
def test_missing_object_is_named_where_people_look(world: World, kind: str, text: str) -> None:
    """A release that cannot go on says what it lacks in the MESSAGE column, and goes on when it comes."""
    world.store.delete(kind, APP)
    world.apply_template("1.10.3")
    settle(world)

    assert text in world.status["message"]
    assert world.canary_weight() == 0


def test_foreign_object_of_the_canary_name_is_left_alone(world: World) -> None:
    """Somebody else's Ingress of that name stops the release with its name, and is not touched."""
    foreign = {"kind": "Ingress", "metadata": {"name": f"{APP}-canary"}, "spec": {"rules": []}}
    created = world.store.create(foreign)
    world.apply_template("1.10.3")
    settle_without_waiting(world)

    assert f"Ingress {APP}-canary exists and is not owned" in world.status["message"]
    assert world.store.get("Ingress", f"{APP}-canary") == created


def test_pause_of_the_strategy_freezes_the_release() -> None:
    """While paused nothing moves, not even with an approval; after it the approval counts."""
    world = paused_at(1)
    world.change_spec({"strategy": {"paused": True}})
    world.approve_present_step()
    settle(world)
    frozen = (world.status["message"], world.release["currentStepIndex"])
    world.change_spec({"strategy": {"paused": False}})
    settle(world)

    assert frozen == (messages.PAUSED, 1)
    assert world.release["currentStepIndex"] == 2


def test_timed_pause_ends_by_itself() -> None:
    """A step with a duration waits for it from the moment it was reached, and asks to be looked at then."""
    world = World()
    world.store.create(rollout([step(20, "20%", 60), step(50, "50%")], grace=0))
    settle(world)
    world.apply_template("v2")
    for _ in range(30):
        world.run_controllers()
        reconcile(world)
    waiting = look(world)
    assert waiting is not None
    assert "wait duration(60 seconds)" in world.status["message"]
    assert waiting.plan.look_again_at is not None
    world.now = waiting.plan.look_again_at
    settle(world)

    assert (world.release["currentStepIndex"], world.canary_weight()) == (2, 50)
