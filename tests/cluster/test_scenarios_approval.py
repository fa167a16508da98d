"""What is not an approval: other words, other releases, other people's names."""

import json

import pytest

from sandbox.commands import Completed
from tests.cluster.application import APPROVE, NAME, V2, Application, is_paused
from tests.cluster.approvals import by_annotation


async def _annotate(app: Application, *annotations: str) -> Completed:
    words = ("-n", app.namespace, "annotate", "rollout", NAME, *annotations, "--overwrite")
    return await app.cluster.kubectl(*words, check=False)


@pytest.mark.parametrize("value", ["true", "yes", "1", "abcde", "abcde/0", "ABCDE/1", "abcde/1/2"])
async def test_other_words_are_denied_with_the_right_value(app: Application, value: str) -> None:
    """A value that is not release/step is refused, and the message holds the command that works."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, step = await app.position()

    refused = await _annotate(app, f"{APPROVE}={value}")

    assert refused.returncode != 0
    assert "must be <release>/<step>" in refused.stderr
    assert f"{APPROVE}={release}/{step}" in refused.stderr


async def test_approval_of_another_release_approves_nothing_and_says_so(app: Application) -> None:
    """A well-formed value for another release is taken, with a warning that holds the right command."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, step = await app.position()

    printed = await _annotate(app, f"{APPROVE}=zzzzz/1")

    assert f"{APPROVE}={release}/{step}" in printed.stderr
    assert is_paused(await app.get("deployments"))


async def test_approval_is_stamped_with_who_gave_it(app: Application) -> None:
    """The webhook writes the approver's name beside the approval."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, step = await app.position()

    await by_annotation(app)
    await app.completes()

    stamp = json.loads((await app.get("rollouts"))["metadata"]["annotations"]["sluice.dev/approved-by"])
    assert (stamp["approval"], stamp["user"]) == (f"{release}/{step}", "sandbox-admin")


async def test_stamp_cannot_be_forged(app: Application) -> None:
    """Whoever writes the stamp in somebody else's name is refused."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, step = await app.position()
    stamp = json.dumps({"approval": f"{release}/{step}", "user": "alice", "at": "2026-01-01T00:00:00Z"})

    refused = await _annotate(app, f"{APPROVE}={release}/{step}", f"sluice.dev/approved-by={stamp}")

    assert refused.returncode != 0
    assert "is written by admission only" in refused.stderr
    assert is_paused(await app.get("deployments"))


async def test_step_ready_outside_a_release_is_ignored(app: Application) -> None:
    """`StepReady` written while nothing waits approves nothing of the release that comes next."""
    await app.deploy()

    await app.write_status({"currentStepState": "StepReady"})
    await app.set_image(V2)
    await app.waits(1, 1)

    assert is_paused(await app.get("deployments"))


async def test_unknown_step_state_is_denied(app: Application) -> None:
    """A state that does not exist is refused with the list of those that do."""
    await app.deploy()
    body = json.dumps({"status": {"canaryStatus": {"currentStepState": "Approved"}}})

    words = (
        "-n",
        app.namespace,
        "patch",
        "rollout",
        NAME,
        "--subresource=status",
        "--type=merge",
        "-p",
        body,
    )
    refused = await app.cluster.kubectl(*words, check=False)

    assert refused.returncode != 0
    assert "StepReady" in refused.stderr
