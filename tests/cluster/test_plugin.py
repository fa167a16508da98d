"""What `kubectl sluice status` and `approve` say and do, typed as a user types them."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from sandbox import manifests
from sandbox.cluster import Cluster
from tests.cluster.application import APPROVE, NAME, V2, Application
from tests.cluster.plans import three_steps
from tests.cluster.test_crds_served import BETA, place, plain, served
from tests.unit.rollout.rollout_objects import beta

__all__ = ["place", "served"]

_RESUME = "kubectl patch rollout {name} -n {namespace} --type merge -p "


async def _typed(cluster: Cluster, *words: str) -> tuple[int, Sequence[str]]:
    """Type it; return the exit code and the lines of both streams."""
    done = await cluster.run(sys.executable, "-m", "cli", *words, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


async def test_status_of_a_step_that_waits_gives_one_command_and_it_approves(app: Application) -> None:
    """Whatever else the status of the Rollout says to those who have kubectl alone."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)

    _, lines = await _typed(app.cluster, "status", f"rollout/{NAME}", "-n", app.namespace)
    (command,) = [each.partition(": kubectl sluice ")[2] for each in lines if "approve" in each]
    code, said = await _typed(app.cluster, *command.split())
    await app.completes()

    assert (code, len(said)) == (0, 1)
    assert said[0].startswith(f"rollout.rollouts.kruise.io/{NAME} approved: release ")


async def test_paused_release_is_said_to_be_resumed_before_anything_else(app: Application) -> None:
    """An approval is taken, and counts once it is."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    await app.change_rollout({"spec": {"strategy": {"paused": True}}})
    await app.wait("rollouts", lambda found: "paused" in found["status"]["message"])

    _, shown = await _typed(app.cluster, "-n", app.namespace, "status", NAME)
    code, said = await _typed(app.cluster, "approve", NAME, "-n", app.namespace)
    await app.change_rollout({"spec": {"strategy": {"paused": False}}})
    await app.completes()

    resume = _RESUME.format(name=NAME, namespace=app.namespace)
    assert [each for each in shown if resume in each and "to resume" in each]
    assert not [each for each in shown if "approve" in each]
    assert code == 0
    assert "counts once it is resumed" in said[1]


async def test_approvals_that_do_not_count_any_more_are_told_at_the_step_they_name(app: Application) -> None:
    """Gone back to its first step, a release waits there although it is approved."""
    await app.deploy(three_steps())
    await app.set_image(V2)
    await app.waits(1, 3)
    await app.approve()
    await app.waits(2, 3)
    _, before = await _typed(app.cluster, "status", NAME, "-n", app.namespace)
    await app.jump(1)
    await app.waits(1, 3)

    _, after = await _typed(app.cluster, "status", NAME, "-n", app.namespace)
    await _typed(app.cluster, "approve", NAME, "-n", app.namespace)
    await app.waits(2, 3)

    assert not [each for each in before if "do not count any more" in each]
    assert [each for each in after if "do not count any more" in each]


async def test_deployment_that_is_not_there_is_named(app: Application) -> None:
    """MESSAGE, whose words are others' too, does not say which."""
    rollout = manifests.rollout(grace_period_seconds=0)
    rollout["spec"]["workloadRef"]["name"] = "elsewhere"
    await app.create(rollout)
    await app.wait("rollouts", lambda found: bool(found.get("status", {}).get("message")))

    _, lines = await _typed(app.cluster, "status", NAME, "-n", app.namespace)

    assert f"Deployment {app.namespace}/elsewhere (spec.workloadRef) does not exist" in lines


async def test_approval_that_nobody_stamps_is_no_approval(served: Cluster, place: str) -> None:
    """In a cluster out of which Sluice was taken by force the status says for ever that a step waits."""
    await served.create(BETA, place, plain(beta(), place))
    waiting = {"currentStepIndex": 1, "currentStepState": "StepPaused", "canaryRevision": "5f8d9-k9k2f"}
    status = {"phase": "Progressing", "canaryStatus": waiting}
    await served.kubectl(
        *("-n", place, "patch", "rollout", NAME, "--subresource=status", "--type=merge"),
        *("-p", json.dumps({"status": status})),
    )

    code, said = await _typed(served, "approve", NAME, "-n", place)

    assert code == 1
    assert (
        f"Rollout {place}/{NAME} is not approved: {APPROVE}=k9k2f/1 was written, but does not count"
        in said[0]
    )


@pytest.mark.parametrize(
    ("words", "namespace"),
    [((), "shop"), (("--context", "play"), "default"), (("-n", "other"), "other")],
    ids=["current-context", "other-context", "given"],
)
async def test_namespace_is_that_of_the_context_unless_given(
    cluster: Cluster, tmp_path: Path, words: tuple[str, ...], namespace: str
) -> None:
    """As with kubectl: the same Rollout is meant, wherever the options stand."""
    path = _with_contexts(cluster.kubeconfig, tmp_path / "config")

    before = await _typed(cluster, "--kubeconfig", str(path), *words, "status", "web")
    after = await _typed(cluster, "status", "web", "--kubeconfig", str(path), *words)

    assert before == after == (1, [f"error: Rollout {namespace}/web not found: check the name and -n"])


def _with_contexts(kubeconfig: Path, path: Path) -> Path:
    """Write a kubeconfig whose current context names a namespace, and another names none."""
    content = yaml.safe_load(kubeconfig.read_text())
    (context,) = content["contexts"]
    bare = {key: value for key, value in context["context"].items() if key != "namespace"}
    work = {"name": "work", "context": {**bare, "namespace": "shop"}}
    content |= {"contexts": [work, {"name": "play", "context": bare}], "current-context": "work"}
    path.write_text(yaml.safe_dump(content))
    return path
