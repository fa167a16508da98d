"""The labels on a canary's pods: which step brought each, and that nothing waits for them."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from rollout import names
from rollout.actions import Target
from rollout.release.batches import assigned
from rollout.snapshot import Pod
from tests.unit.rollout.model.drills import governed, paused_at
from tests.unit.rollout.model.reconciling import look, settle
from tests.unit.rollout.model.routing import APP
from tests.unit.rollout.model.world import World

RELEASE = "r1"


def batches(world: World) -> list[tuple[str, str]]:
    """Return id and batch of every canary pod, in order."""
    pods = (dict(each.labels) for each in world.store.pods.values() if each.tag == "v2")
    return sorted((each.get(names.ROLLOUT_ID, ""), each.get(names.ROLLOUT_BATCH_ID, "")) for each in pods)


def test_pods_are_labelled_by_the_step_that_brought_them() -> None:
    """Two pods for the first step, one more for the second; the id is that of the revision."""
    world = paused_at(1)
    first, revision = batches(world), world.release["canaryRevision"]
    world.approve_present_step()
    settle(world)

    assert first == [(revision, "1")] * 2
    assert batches(world) == [(revision, "1"), (revision, "1"), (revision, "2")]


def test_id_of_the_user_is_the_label() -> None:
    """And one that is given or changed later is, too."""
    world = paused_at(2)
    world.user_patch("Deployment", APP, {"metadata": {"labels": {names.ROLLOUT_ID: "r7"}}})
    settle(world)

    assert batches(world) == [("r7", "1"), ("r7", "1"), ("r7", "2")]


@pytest.mark.parametrize("value", ["with a space", "x" * 64, "-", "ümlaut"])
def test_id_that_is_no_label_is_replaced_by_the_revision(value: str) -> None:
    """An annotation may be anything; a pod whose label the API server refuses would have none."""
    world = paused_at(1)
    world.user_patch("Deployment", APP, {"metadata": {"annotations": {names.ROLLOUT_ID: value}}})
    settle(world)

    assert world.release["observedRolloutID"] == value
    assert batches(world) == [(world.release["canaryRevision"], "1")] * 2


def test_pod_that_replaces_another_takes_its_batch() -> None:
    """A pod of the first step ends: the one that comes instead belongs to the first step."""
    world = paused_at(2)
    ended = next(
        name
        for name, pod in world.store.pods.items()
        if dict(pod.labels).get(names.ROLLOUT_BATCH_ID) == "1" and pod.tag == "v2"
    )
    del world.store.pods[ended]
    settle(world)

    assert [batch for _, batch in batches(world)] == ["1", "1", "2"]


def test_labels_are_written_when_nothing_else_is() -> None:
    """While a step is on its way every plan is free of them: pods, endpoints and traffic come first."""
    world = governed(grace=0)
    world.apply_template("v2")
    one = look(world)
    while one and not one.plan.courtesies:
        while next(one.writes, False):
            pass
        assert world.release.get("currentStepState") != "StepPaused" or one.plan.actions == ()
        world.run_controllers()
        one = look(world)

    assert one is not None
    assert one.plan.actions == ()
    assert one.plan.status.release.state.value == "StepPaused"
    assert world.canary_weight() == 20


def test_labels_fill_the_time_of_grace() -> None:
    """A last step that needs no approval is over after its grace: its pods have their labels by then."""
    world = governed(grace=3)
    steps = [{"replicas": "100%", "traffic": "50%"}]
    world.change_spec({"strategy": {"canary": {"steps": steps}}})
    world.apply_template("v2")
    seen = list[tuple[str, str]]()
    for _ in range(200):
        world.run_controllers()
        one = look(world)
        assert one is not None
        while next(one.writes, False):
            pass
        seen = max(seen, batches(world), key=lambda each: sum(bool(batch) for _, batch in each))
        if one.is_empty and one.plan.look_again_at:
            world.now = one.plan.look_again_at

    assert [batch for _, batch in seen] == ["1"] * 5


SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=5)
CREW = st.lists(
    st.tuples(st.sampled_from([RELEASE, "r0", ""]), st.sampled_from(["", "0", "1", "2", "9", "x"]))
)


def pods_of(crew: list[tuple[str, str]]) -> list[Pod]:
    """Return pods with these labels."""
    return [
        Pod(Target("Pod", f"p{number}", "", ""), "", ready=True, rollout_id=rollout_id, batch=batch)
        for number, (rollout_id, batch) in enumerate(crew)
    ]


@given(CREW, SIZES)
def test_every_pod_has_one_batch_and_earlier_ones_are_full_first(
    crew: list[tuple[str, str]], sizes: list[int]
) -> None:
    """However they were labelled: no batch is too full but the last, and given again it is the same."""
    given_out = {pod.target.name: batch for pod, batch in assigned(pods_of(crew), RELEASE, sizes)}
    counts = [list(given_out.values()).count(str(number)) for number in range(1, len(sizes) + 1)]

    assert len(given_out) == len(crew)
    assert sum(counts) == len(crew)
    assert all(count <= size for count, size in list(zip(counts, sizes, strict=True))[:-1])
    assert counts[-1] <= sizes[-1] or all(c == s for c, s in list(zip(counts, sizes, strict=True))[:-1])
    again = pods_of([(RELEASE, given_out[f"p{number}"]) for number in range(len(crew))])
    assert {pod.target.name: batch for pod, batch in assigned(again, RELEASE, sizes)} == given_out


@given(st.integers(0, 12), SIZES)
def test_unlabelled_pods_fill_batches_from_the_first(count: int, sizes: list[int]) -> None:
    """The first batch is full before the second has any."""
    given_out = [batch for _, batch in assigned(pods_of([("", "")] * count), RELEASE, sizes)]
    in_order = [str(number) for number, size in enumerate(sizes, 1) for _ in range(size)]
    surplus = [str(len(sizes))] * max(0, count - len(in_order))

    assert given_out == [*in_order[:count], *surplus]
