"""The user's own id of a release, and the labels by which tools group a canary's pods."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.names import JsonObject
from tests.cluster.application import COMPLETED, NAME, ROLLED_BACK, V1, V2, Application, is_paused, shows
from tests.cluster.plans import plan, step
from tests.cluster.policies import refusing

ROLLOUT_ID, BATCH_ID = "rollouts.kruise.io/rollout-id", "rollouts.kruise.io/rollout-batch-id"


def named(value: str, field: str = "annotations", image: str = "") -> JsonObject:
    """Return a patch of the Deployment that gives a release its id, and a new image if one is given."""
    metadata = {"metadata": {field: {ROLLOUT_ID: value}}}
    container = {"name": NAME, "image": image}
    template = {"spec": {"template": {"spec": {"containers": [container]}}}} if image else {}
    return {**metadata, **template}


def batches(pods: list[JsonObject]) -> list[tuple[str, str]]:
    """Return id and batch of pods, in order."""
    labels = [pod["metadata"]["labels"] for pod in pods]
    return sorted((each.get(ROLLOUT_ID, ""), each.get(BATCH_ID, "")) for each in labels)


async def labelled(app: Application, *expected: tuple[str, str]) -> None:
    """Wait until the second version's pods have these labels."""
    await app.wait_for_all(
        "pods",
        lambda found: (
            batches([pod for pod in found if pod["spec"]["containers"][0]["image"] == V2]) == list(expected)
        ),
    )


def observed(rollout: JsonObject) -> str:
    """Return the id that the Rollout shows."""
    return str(rollout["status"]["canaryStatus"]["observedRolloutID"])


@pytest_asyncio.fixture(loop_scope="session")
async def no_labels(app: Application) -> AsyncIterator[None]:
    """Forbid our labels on the pods of the namespace."""
    name = f"no-labels-{app.namespace}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}
    ours = {"matchLabels": {"kubernetes.io/metadata.name": app.namespace}}
    expression = f"!('{BATCH_ID}' in object.metadata.?labels.orValue({{}}))"
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": ours},
        "validations": [{"expression": expression}],
    }
    async with refusing(app.cluster, name, policy):
        yield


async def test_canary_pods_say_which_step_brought_them(app: Application) -> None:
    """Two by the first step, one by the second; one that replaces another takes its batch; they keep it."""
    await app.deploy(plan(step(20, 2), step(40, "60%")))
    await app.change(named("r1", image=V2))
    await app.waits(1, 2)
    await labelled(app, ("r1", "1"), ("r1", "1"))
    await app.approve()
    await app.waits(2, 2)
    await labelled(app, ("r1", "1"), ("r1", "1"), ("r1", "2"))

    first = next(pod for pod in await app.pods(V2) if pod["metadata"]["labels"][BATCH_ID] == "1")
    await app.cluster.delete("pods", app.namespace, first["metadata"]["name"])
    await app.cluster.wait_gone("pods", app.namespace, first["metadata"]["name"], 30)
    await labelled(app, ("r1", "1"), ("r1", "1"), ("r1", "2"))

    status = (await app.get("rollouts"))["status"]["canaryStatus"]
    selector = f"pod-template-hash={status['podTemplateHash']},{BATCH_ID}={status['currentStepIndex']}"
    shown = await app.cluster.list("pods", app.namespace, selector)  # as kubectl-kruise describe asks
    assert batches(shown) == [("r1", "2")]
    await app.approve()
    await app.completes(2)
    assert batches(await app.pods()) == [("", "")] * 2 + [("r1", "1")] * 2 + [("r1", "2")]


async def test_release_without_an_id_goes_by_its_revision(app: Application) -> None:
    """Whoever waits for an id has one, on the Rollout and on the pods."""
    await app.deploy(plan(step(20, 1)))
    await app.set_image(V2)
    await app.waits(1, 1)
    status = (await app.get("rollouts"))["status"]["canaryStatus"]

    assert status["observedRolloutID"] == status["canaryRevision"]
    await labelled(app, (status["canaryRevision"], "1"))


async def test_labels_that_are_refused_hold_nothing_up(app: Application, no_labels: None) -> None:
    """A policy forbids them: every step goes on as if nobody had asked for labels."""
    del no_labels
    await app.deploy(plan(step(20, 1), step(40, 2)))
    await app.set_image(V2)
    for number in (1, 2):
        await app.waits(number, 2)
        assert batches(await app.pods(V2)) == [("", "")] * number
        await app.approve()
    await app.completes(2)

    await app.serves(V2)


async def test_id_changed_during_a_step_moves_nothing(app: Application) -> None:
    """The release goes by its new name, its pods too; it waits where it was."""
    await app.deploy(plan(step(20, 1), step(40, 2)))
    await app.change(named("r1", "labels", V2))
    await app.waits(1, 2)
    release = await app.release()

    await app.change(named("r2", "labels"))
    await app.wait("rollouts", lambda found: found["status"]["canaryStatus"]["observedRolloutID"] == "r2")
    await labelled(app, ("r2", "1"))

    await app.waits(1, 2)
    assert await app.release() == release


@pytest.mark.parametrize("field", ["labels", "annotations"])
async def test_new_id_without_a_new_template_is_completed_at_once(app: Application, field: str) -> None:
    """Nothing is rolled out and nothing to approve: the terminal says so, and the id is completed."""
    await app.deploy(plan(step(20, 1)))
    pods = {pod["metadata"]["uid"] for pod in await app.pods()}

    verb = "label" if field == "labels" else "annotate"
    printed = await app.kubectl(verb, "deployment", NAME, f"{ROLLOUT_ID}=r1")
    await app.wait("rollouts", lambda found: found["status"]["canaryStatus"]["observedRolloutID"] == "r1")
    await app.wait("rollouts", shows("Healthy", 1, "Completed", COMPLETED))
    deployment = await app.wait("deployments", lambda found: not is_paused(found))

    assert "there is nothing to roll out and nothing to approve" in printed
    assert "rollouts.kruise.io/in-progressing" not in deployment["metadata"]["annotations"]
    assert {pod["metadata"]["uid"] for pod in await app.pods()} == pods


async def test_new_id_after_a_roll_back_is_completed(app: Application) -> None:
    """What became of the release before does not keep the new id from being completed."""
    await app.deploy(plan(step(20, 1)))
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.set_image(V1)
    await app.wait("rollouts", shows("Healthy", 1, "StepPaused", ROLLED_BACK))

    await app.change(named("r3"))
    await app.wait("rollouts", shows("Healthy", 1, "Completed", COMPLETED))

    assert observed(await app.get("rollouts")) == "r3"


async def test_new_id_while_the_version_is_let_out_takes_nothing_back(app: Application) -> None:
    """The gate closes once more on an approved version: it opens again, and the release succeeds."""
    await app.deploy(plan(step(20, 1)))
    await app.change(named("r1", image=V2))
    await app.waits(1, 1)

    await app.approve()
    await app.wait("deployments", lambda found: not is_paused(found))
    await app.change(named("r2"))
    await app.wait("rollouts", lambda found: observed(found) == "r2")

    await app.completes()
    await app.serves(V2)
