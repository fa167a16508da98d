"""What can be typed behind `kubectl sluice`, and what is said of it; as a process, with no Rollout there."""

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from cli.__main__ import rollout_name, told
from cli.commands import CommandError
from kube.errors import KubeError, LoginFailed, from_answer


async def ran(*arguments: str) -> tuple[int | None, str]:
    """Run the plugin; return its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    return process.returncode, (output + errors).decode()


@pytest.mark.parametrize(
    "kind",
    ["rollout", "rollouts", "Rollout", "rollout.rollouts.kruise.io", "rollouts.rollouts.kruise.io"],
)
def test_kind_may_stand_before_the_name(kind: str) -> None:
    """As kubectl prints and takes it, and as `approve` prints it."""
    assert rollout_name(f"{kind}/web") == rollout_name("web") == "web"


@pytest.mark.parametrize("name", ["", "rollout/", "deployment/web", "a/b/c", "/web", "..", "Web"])
async def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    """Before anything is asked for, with what to give."""
    code, said = await ran("status", name)

    assert code == 2
    assert f"{name!r} names no Rollout: give the name alone, or rollout/NAME" in said


@pytest.mark.parametrize("command", [(), ("status",), ("approve",), ("loadtest",)])
async def test_help_holds_no_markup(command: tuple[str, ...]) -> None:
    """It is read in a terminal."""
    code, said = await ran(*command, "--help")

    assert code == 0
    assert "``" not in said


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LoginFailed("no kubeconfig at /x"), "no kubeconfig at /x"),
        (from_answer(500, b'{"message": "no webhook", "reason": "InternalError"}'), "no webhook"),
        (from_answer(403, b'{"message": "not you", "reason": "Forbidden"}'), "not you (403 Forbidden)"),
        (from_answer(502, b"<html>"), "<html> (502 ServerError)"),
        (CommandError("not approved"), "not approved"),
    ],
    ids=["no answer", "internal", "refused", "proxy", "command"],
)
def test_failure_is_told_with_its_code_where_that_helps(error: CommandError | KubeError, text: str) -> None:
    """A proxy's page, or a refusal, is recognised by it; `0 LoginFailed` tells a user nothing."""
    assert told(error) == text
