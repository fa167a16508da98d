"""What `kubectl sluice status` and `approve` say and write, before an API server that holds one Rollout."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from aiohttp import web

from cli.commands import COMMANDS, CommandError
from kube.client import Client
from kube.login import Headers, Login
from rollout import names
from rollout.approval import stamped
from rollout.messages import approve_event
from tests.unit.loadtest.test_load import serving
from tests.unit.rollout.rollout_objects import Json, annotated, beta, with_status

WAITING: Json = {
    "phase": "Progressing",
    "canaryStatus": {
        "canaryRevision": "5f8d9-k9k2f",
        "currentStepIndex": 1,
        "currentStepState": "StepPaused",
        "canaryReplicas": 1,
        "canaryReadyReplicas": 1,
    },
}
STAMP = json.dumps({"approval": "k9k2f/1", "user": "jane", "at": "2026-01-01T00:00:00.000Z"})
RESET = "earlier approvals do not count any more (k9k2f/1 of 2026-01-01T00:00:00.000Z)"
_BEGUN = "2026-01-01T00:00:00Z"


def waiting() -> Json:
    """Return a Rollout whose release waits at step 1."""
    return with_status(beta(), **WAITING)


def paused() -> Json:
    """Return one that is paused meanwhile."""
    found = waiting()
    found["spec"]["strategy"]["paused"] = True
    return found


def gone_back() -> Json:
    """Return one that has gone back to the step that was approved."""
    approved = annotated(waiting(), APPROVE="k9k2f/1", APPROVED_BY=STAMP)
    reset = condition("ApprovalsReset", message=RESET)
    return with_status(approved, **WAITING, conditions=[reset])


def condition(kind: str, **texts: str) -> Json:
    """Return a condition that stands."""
    return {"type": kind, "status": "True", "lastUpdateTime": _BEGUN, "lastTransitionTime": _BEGUN, **texts}


@dataclass
class ApiServer:
    """Answers for one Rollout, and stamps approvals as the webhook does while that is there."""

    rollout: Json = field(default_factory=waiting)
    webhook: bool = True
    approvals: list[str | None] = field(default_factory=list)
    """What was written into the annotation, in turn."""

    @property
    def annotations(self) -> Json:
        """Those of the Rollout."""
        found: Json = self.rollout["metadata"].get("annotations", {})
        return found

    async def answer(self, request: web.Request) -> web.Response:
        """Read or merge."""
        if request.method == "PATCH":
            self._annotate((await request.json())["metadata"]["annotations"])
        return web.json_response(self.rollout)

    def _annotate(self, change: Json) -> None:
        self.approvals.append(change[names.APPROVE])
        old = self.annotations
        new = {key: value for key, value in {**old, **change}.items() if value is not None}
        if self.webhook:
            new[names.APPROVED_BY] = stamped(old, new, "jane", datetime.now(UTC))
        self.rollout["metadata"]["annotations"] = {key: value for key, value in new.items() if value}

    async def run(self, command: str) -> Sequence[str]:
        """Run one command; return what it prints."""
        async with serving(self.answer) as url:
            login = Login(url, tls=None, anonymous_tls=None, credentials=_Nobody())
            async with Client(login, user_agent="test") as client:
                return await COMMANDS[command].run(client, "default", "echoserver")


class _Nobody:
    async def headers(self) -> Headers:
        return []

    def refused(self) -> None:
        raise AssertionError("nobody is refused here")


async def test_step_that_waits_is_approved_in_one_write() -> None:
    """By the annotation; release and step are said."""
    server = ApiServer()

    said = await server.run("approve")

    assert said == ["rollout.rollouts.kruise.io/echoserver approved: release k9k2f, step 1"]
    assert server.approvals == ["k9k2f/1"]


async def test_approval_that_does_not_count_any_more_is_given_anew() -> None:
    """Written over itself it would change nothing."""
    server = ApiServer(gone_back())

    await server.run("approve")

    assert server.approvals == [None, "k9k2f/1"]
    assert server.annotations[names.APPROVED_BY] != STAMP


async def test_approval_that_was_never_stamped_is_given_anew() -> None:
    """It was written while no webhook was there."""
    server = ApiServer(annotated(waiting(), APPROVE="k9k2f/1"))

    await server.run("approve")

    assert server.approvals == [None, "k9k2f/1"]
    assert names.APPROVED_BY in server.annotations


async def test_approval_that_counts_is_not_taken_away() -> None:
    """Whoever may not approve must not undo it; and it stays whose it is."""
    server = ApiServer(annotated(waiting(), APPROVE="k9k2f/1", APPROVED_BY=STAMP))

    await server.run("approve")

    assert None not in server.approvals
    assert server.annotations[names.APPROVED_BY] == STAMP


@pytest.mark.parametrize("before", ["waiting", "gone back", "approved"])
async def test_approval_that_nobody_stamps_is_an_error(before: str) -> None:
    """Sluice was uninstalled: the annotation alone moves nothing, whatever stamp was there."""
    approved = annotated(waiting(), APPROVE="k9k2f/1", APPROVED_BY=STAMP)
    rollout = {"waiting": waiting(), "gone back": gone_back(), "approved": approved}[before]
    server = ApiServer(rollout, webhook=False)

    with pytest.raises(CommandError) as caught:
        await server.run("approve")

    said = str(caught.value)
    assert said.startswith("Rollout default/echoserver is not approved: sluice.dev/approve=k9k2f/1 ")
    assert "kubectl get pods -A -l app.kubernetes.io/name=sluice" in said


RESUME = (
    "kubectl patch rollout echoserver -n default "
    """--type merge -p '{"spec":{"strategy":{"paused":false}}}'"""
)


async def test_status_says_how_to_approve() -> None:
    """And how to go back."""
    said = await ApiServer().run("status")

    assert said[-2:] == [
        "to approve: kubectl sluice approve echoserver -n default",
        "to roll back: apply the previous version again",
    ]


@pytest.mark.parametrize("replacing", [False, True])
async def test_status_gives_one_command_that_approves(*, replacing: bool) -> None:
    """The one for `kubectl` alone stands in the status as well, also while an approval would move nothing."""
    how = approve_event("echoserver", "default", "k9k2f", 1, replacing=replacing)
    canary = WAITING["canaryStatus"] | {"message": how}

    for rollout in (waiting(), paused()):
        said = await ApiServer(with_status(rollout, phase="Progressing", canaryStatus=canary)).run("status")
        assert how not in said


async def test_status_says_what_a_waiting_step_lacks() -> None:
    """Something it needs may have gone since."""
    canary = WAITING["canaryStatus"] | {"message": "Service echoserver not found"}

    said = await ApiServer(with_status(waiting(), phase="Progressing", canaryStatus=canary)).run("status")

    assert "Service echoserver not found" in said


async def test_status_says_which_approvals_do_not_count_any_more() -> None:
    """Who has approved already is told why that moved nothing; the command moves it."""
    said = await ApiServer(gone_back()).run("status")

    assert said[-3:-1] == [RESET, "to approve: kubectl sluice approve echoserver -n default"]


async def test_status_of_a_paused_release_says_how_to_resume_it() -> None:
    """An approval would move nothing; a roll-back needs no resume."""
    said = await ApiServer(paused()).run("status")

    assert said[-2:] == [f"to resume: {RESUME}", "to roll back: apply the previous version again"]


async def test_status_of_a_paused_release_that_ends_has_nothing_to_resume() -> None:
    """It goes on to its end all the same."""
    ending: Json = {"conditions": [condition("Progressing", reason="Finalising")]}
    ending |= {"phase": "Progressing", "canaryStatus": {"currentStepState": "Completed"}}

    said = await ApiServer(with_status(paused(), **ending)).run("status")

    assert "to resume" not in "\n".join(said)


async def test_approval_of_a_paused_release_says_when_it_counts() -> None:
    """It is given, and stays."""
    said = await ApiServer(paused()).run("approve")

    assert said == [
        "rollout.rollouts.kruise.io/echoserver approved: release k9k2f, step 1",
        f"it is paused: the approval counts once it is resumed: {RESUME}",
    ]


async def test_status_names_the_deployment_that_is_not_there() -> None:
    """Its name is where it was mistyped."""
    said = await ApiServer(with_status(beta(), phase="Initial", message="Workload Not Found")).run("status")

    assert said == [
        "default/echoserver: Initial: Workload Not Found",
        "Deployment default/echoserver (spec.workloadRef) does not exist",
    ]
