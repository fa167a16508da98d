"""What is not an approval: other words, other releases, other people's names."""

import asyncio
import json

from sandbox.commands import Completed
from sandbox.names import JsonObject
from tests.cluster.application import APPROVE, NAME, V2, Application, is_paused, state
from tests.cluster.approvals import by_annotation
from tests.cluster.plans import plan, step


async def _annotate(app: Application, *annotations: str) -> Completed:
    words = ("-n", app.namespace, "annotate", "rollout", NAME, *annotations, "--overwrite")
    return await app.cluster.kubectl(*words, check=False)


async def test_other_words_are_denied_with_the_right_value(app: Application) -> None:
    """A value that is not release/step is refused, and the message holds the command that works."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, number = await app.position()

    values = ("true", "yes", "1", "abcde", "abcde/0", "ABCDE/1", "abcde/1/2")
    refused = await asyncio.gather(*(_annotate(app, f"{APPROVE}={value}") for value in values))

    assert [each.returncode for each in refused] == [1] * len(values)
    for each in refused:
        assert "must be <release>/<step>" in each.stderr
        assert f"{APPROVE}={release}/{number}" in each.stderr
    assert is_paused(await app.get("deployments"))


async def test_approval_of_another_release_approves_nothing_and_says_so(app: Application) -> None:
    """A well-formed value for another release is taken, with a warning that holds the right command."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, number = await app.position()

    printed = await _annotate(app, f"{APPROVE}=zzzzz/1")

    assert f"{APPROVE}={release}/{number}" in printed.stderr
    assert is_paused(await app.get("deployments"))


async def test_approval_is_stamped_with_who_gave_it(app: Application) -> None:
    """The webhook writes the approver's name beside the approval."""
    await app.deploy()
    await app.set_image(V2)
    await app.waits(1, 1)
    release, number = await app.position()

    await by_annotation(app)
    await app.completes()

    stamp = await _stamp(app)
    assert (stamp["approval"], stamp["user"]) == (f"{release}/{number}", "sandbox-admin")


async def test_stamp_cannot_be_forged(app: Application) -> None:
    """Whoever approves in another name, or renames a stamp, ends up with their own name, or refused."""
    await app.deploy(plan(step(20, 1), step(40, 2)))
    await app.set_image(V2)
    await app.waits(1, 2)
    release, number = await app.position()
    forged = {"approval": f"{release}/{number}", "user": "alice", "at": "2026-01-01T00:00:00Z"}
    stamp = f"sluice.dev/approved-by={json.dumps(forged)}"

    await _annotate(app, f"{APPROVE}={release}/{number}", stamp)
    first = await _stamp(app)
    renamed = await _annotate(app, stamp)
    second = await _stamp(app)

    assert first["user"] == second["user"] == "sandbox-admin"
    assert renamed.returncode == 0 or "is written by admission only" in renamed.stderr


async def _stamp(app: Application) -> JsonObject:
    annotations = (await app.get("rollouts"))["metadata"]["annotations"]
    found: JsonObject = json.loads(annotations["sluice.dev/approved-by"])
    return found


async def test_step_ready_outside_a_release_is_ignored(app: Application) -> None:
    """`StepReady` written while nothing waits approves nothing of the release that comes next."""
    await app.deploy()

    await app.write_status({"currentStepState": "StepReady"})
    await app.set_image(V2)
    await app.waits(1, 1)

    assert is_paused(await app.get("deployments"))


async def test_step_that_has_not_been_reached_is_not_approved(app: Application) -> None:
    """`StepReady` for a step whose pods are still to come (a second click) is refused, with its state."""
    await app.deploy()
    await app.set_image(f"{V2}-unready")
    await app.wait("rollouts", lambda found: state(found) == "StepUpgrade")

    refused = await _write_state(app, "StepReady")

    assert "step 1 has not been reached yet (StepUpgrade)" in refused.stderr
    assert state(await app.get("rollouts")) == "StepUpgrade"


async def test_unknown_step_state_is_denied(app: Application) -> None:
    """A state that does not exist is refused with the list of those that do."""
    await app.deploy()

    refused = await _write_state(app, "Approved")

    assert refused.returncode != 0
    assert "StepReady" in refused.stderr


async def _write_state(app: Application, step_state: str) -> Completed:
    body = json.dumps({"status": {"canaryStatus": {"currentStepState": step_state}}})
    patch = ("patch", "rollout", NAME, "--subresource=status", "--type=merge", "-p", body)
    return await app.cluster.kubectl("-n", app.namespace, *patch, check=False)
