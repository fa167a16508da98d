"""``kubectl sluice``: what a release waits for, and how to approve it, without knowing any annotation."""

import argparse
import asyncio
import os
import re
import sys
from typing import NoReturn

from cli import loadtest
from cli.commands import COMMANDS, CommandError
from kube.client import Client
from kube.errors import KubeError
from kube.login import log_in
from kube.resources import ROLLOUTS

EXIT_FAILED = 1

_DESCRIPTION = "Say what a release waits for, and approve it, without knowing any annotation."
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""As Kubernetes takes it (a DNS subdomain), but for its length."""
_KINDS = {ROLLOUTS.kind.lower(), ROLLOUTS.plural}


def main() -> NoReturn:
    """Run one command; exit code 1 with one line on standard error when it cannot be done."""
    unset = argparse.Namespace(namespace=None, kubeconfig=None, context=None)
    arguments = _parser().parse_args(namespace=unset)
    if arguments.command == "loadtest":
        sys.exit(loadtest.run(arguments))
    try:
        asyncio.run(_run(arguments))
    except (CommandError, KubeError) as error:
        sys.stderr.write(f"error: {told(error)}\n")
        sys.exit(EXIT_FAILED)
    sys.exit(0)


def told(error: CommandError | KubeError) -> str:
    """Leave out the code behind a text where nobody answered, or where it says nothing more."""
    if isinstance(error, KubeError) and (not error.code or error.reason == "InternalError"):
        return error.message
    return str(error)


async def _run(arguments: argparse.Namespace) -> None:
    login = await log_in(kubeconfig=arguments.kubeconfig, context=arguments.context, environ=os.environ)
    async with Client(login, user_agent="kubectl-sluice") as client:
        command = COMMANDS[arguments.command]
        lines = await command.run(client, arguments.namespace or login.namespace, arguments.name)
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    # Before the command or behind it: what is not given here must not undo what was given there.
    place = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    place.add_argument("-n", "--namespace", help="of the Rollout (default: the context's, else default)")
    place.add_argument("--kubeconfig", help="path of the kubeconfig (default: as kubectl)")
    place.add_argument("--context", help="context in the kubeconfig (default: the current one)")
    parser = argparse.ArgumentParser(
        prog="kubectl sluice", description=_DESCRIPTION, parents=[place], allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name, help=command.summary, description=command.summary, parents=[place], allow_abbrev=False
        )
        sub.add_argument("name", type=rollout_name, metavar="ROLLOUT", help="name of the Rollout")
    loadtest.add_to(commands)
    return parser


def rollout_name(text: str) -> str:
    """Read a name alone, or with the kind before it in the ways in which kubectl prints and takes it."""
    kind, slash, name = text.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and kind.lower().removesuffix(f".{ROLLOUTS.group}") not in _KINDS):
        raise argparse.ArgumentTypeError(f"{text!r} names no Rollout: give the name alone, or rollout/NAME")
    return name


if __name__ == "__main__":
    main()
