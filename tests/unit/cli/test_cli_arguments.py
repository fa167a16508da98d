"""What can be typed behind `kubectl sluice`, and what is said of it; as a process, with no Rollout there."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from cli.__main__ import told
from cli.commands import CommandError
from kube.errors import KubeError, LoginFailed, from_answer
from tests.unit.loadtest.test_load import serving


async def ran(*arguments: str) -> tuple[int | None, str]:
    """Run the plugin; return its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    return process.returncode, (output + errors).decode()


async def nothing(_: web.Request) -> web.Response:
    """Answer that it is not there."""
    return web.json_response({"kind": "Status", "reason": "NotFound", "code": 404}, status=404)


@pytest_asyncio.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[str]:
    """Serve the cluster; return the path of a kubeconfig whose current context names a namespace."""
    path = tmp_path / "config"
    async with serving(nothing) as url:
        content = {
            "current-context": "work",
            "contexts": [
                {"name": "work", "context": {"cluster": "one", "user": "me", "namespace": "shop"}},
                {"name": "play", "context": {"cluster": "one", "user": "me"}},
            ],
            "clusters": [{"name": "one", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "secret"}}],
        }
        path.write_text(json.dumps(content))
        yield str(path)


@pytest.mark.parametrize(
    ("arguments", "namespace"),
    [((), "shop"), (("--context", "play"), "default"), (("-n", "other"), "other")],
    ids=["current-context", "other-context", "given"],
)
async def test_namespace_is_that_of_the_context_unless_given(
    kubeconfig: str, arguments: tuple[str, ...], namespace: str
) -> None:
    """As with kubectl: the same Rollout is meant."""
    code, said = await ran("status", "web", "--kubeconfig", kubeconfig, *arguments)

    assert (code, said) == (1, f"error: Rollout {namespace}/web not found: check the name and -n\n")


@pytest.mark.parametrize(
    "kind",
    ["rollout", "rollouts", "Rollout", "rollout.rollouts.kruise.io", "rollouts.rollouts.kruise.io"],
)
async def test_kind_may_stand_before_the_name(kubeconfig: str, kind: str) -> None:
    """As kubectl prints and takes it, and as `approve` prints it."""
    code, said = await ran("status", f"{kind}/web", "--kubeconfig", kubeconfig)

    assert (code, said) == (1, "error: Rollout shop/web not found: check the name and -n\n")


@pytest.mark.parametrize("name", ["", "rollout/", "deployment/web", "a/b/c", "/web", "..", "Web"])
async def test_what_cannot_be_a_name_is_refused(kubeconfig: str, name: str) -> None:
    """Before anything is asked for, with what to give."""
    code, said = await ran("status", name, "--kubeconfig", kubeconfig)

    assert code == 2
    assert f"{name!r} names no Rollout: give the name alone, or rollout/NAME" in said


@pytest.mark.parametrize("command", [(), ("status",), ("approve",), ("loadtest",)])
async def test_help_holds_no_markup(command: tuple[str, ...]) -> None:
    """It is read in a terminal."""
    code, said = await ran(*command, "--help")

    assert code == 0
    assert "``" not in said


async def test_options_may_stand_before_the_command(kubeconfig: str) -> None:
    """Those behind it win."""
    place = ("--kubeconfig", kubeconfig, "-n", "other")

    first, second = await ran(*place, "status", "web"), await ran(*place, "status", "web", "-n", "third")

    assert first == (1, "error: Rollout other/web not found: check the name and -n\n")
    assert second == (1, "error: Rollout third/web not found: check the name and -n\n")


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
