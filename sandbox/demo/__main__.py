"""`python -m sandbox.demo`: the walkthrough on a real cluster, with real requests; run it by scripts/demo.

Exit code 0 when all was as the walkthrough has it, 1 when anything differed, 130 after Ctrl-C.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from sandbox import shell
from sandbox.cluster import Cluster
from sandbox.commands import CommandError
from sandbox.demo.expectations import PRODUCT_NAMESPACE
from sandbox.demo.narration import Narration
from sandbox.demo.scenario import Choices, Figures, Scenario
from sandbox.names import JsonObject
from sandbox.namespace import NamespaceError

_CHART = Path(__file__).parents[2] / "charts" / "sluice"
_EXIT_DIFFERENT = 1
_EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

_LOG_LINES = 15
"""Of each of the product's pods, when the play breaks off."""


def main() -> int:
    """Play, and return the exit code."""
    arguments = _parser().parse_args()
    choices = Choices(arguments.chart, arguments.grace_period_seconds, arguments.requests, arguments.rate)
    try:
        return asyncio.run(_demo(choices, keep=arguments.keep))
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except NamespaceError as error:
        sys.stderr.write(f"{error}\n")
        return _EXIT_DIFFERENT


async def _demo(choices: Choices, *, keep: bool) -> int:
    narration = Narration()
    narration.heading("A cluster on this machine")
    narration.say("Starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler and two nodes.")
    async with Cluster() as cluster:
        data_plane = await cluster.data_plane()
        narration.say("The cluster is up; Traefik is its ingress controller.")
        try:
            _conclude(narration, await Scenario(cluster, data_plane, narration, choices).play())
        except* (AssertionError, CommandError, TimeoutError) as group:
            narration.check("the play", [str(error) for error in _leaves(group)])
            _show_logs(narration, cluster, await cluster.list("pods", PRODUCT_NAMESPACE))
        if keep:
            await _keep(narration, cluster)
    return _EXIT_DIFFERENT if narration.differences else os.EX_OK


def _conclude(narration: Narration, figures: Figures) -> None:
    narration.heading("Figures")
    narration.say(f"update → StepPaused    {figures.waiting:6.2f} s")
    narration.say(f"approval → Healthy     {figures.completed:6.2f} s")
    narration.say(f"roll-back → Healthy    {figures.rolled_back:6.2f} s")
    narration.say(f"requests sent {figures.sent}, lost {figures.losses.total()}")
    for why, count in figures.losses.items():
        narration.say(f"   lost {count}: {why}")
    if narration.differences:
        narration.heading("This run differs from the walkthrough")
        for difference in narration.differences:
            narration.say(difference)
    else:
        narration.say("All was as the walkthrough has it.")


async def _keep(narration: Narration, cluster: Cluster) -> None:
    narration.heading("The cluster stays up until Ctrl-C")
    narration.say("Open a shell in it, from another terminal:")
    narration.output(f"\n    {shell.command(cluster)}\n")
    await asyncio.Event().wait()


def _show_logs(narration: Narration, cluster: Cluster, pods: list[JsonObject]) -> None:
    for pod in pods:
        name = pod["metadata"]["name"]
        for container in pod["spec"]["containers"]:
            log = cluster.container_log(PRODUCT_NAMESPACE, name, container["name"])
            narration.output("\n".join([f"log of {name}:", *log.splitlines()[-_LOG_LINES:]]))


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Play the walkthrough on a real cluster on this machine, and compare what is visible.",
        allow_abbrev=False,
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster up until Ctrl-C")
    parser.add_argument(
        "--grace-period-seconds",
        type=int,
        default=0,
        metavar="SECONDS",
        help="what the data plane gets to notice a change of routing (default: %(default)s)",
    )
    parser.add_argument(
        "--requests",
        type=int,
        default=1000,
        metavar="N",
        help="sent to show the split (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=100.0,
        metavar="R",
        help="steady requests a second (default: %(default)s)",
    )
    parser.add_argument(
        "--chart", type=Path, default=_CHART, help="chart to install (default: this project's)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
