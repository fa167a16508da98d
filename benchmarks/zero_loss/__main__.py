"""Play every scenario in both styles on every data plane, then the experiments.

    python -m sandbox.namespace python -m benchmarks.zero_loss [--only NAME ...] [--style STYLE ...] [--write]

It takes about an hour. With --write it puts what it saw into docs/zero-loss.md: two tables, that of the
scenarios (play all of them then) and that of the experiments. Exit code 1 when a request was lost, misrouted
or late or a share was wrong where that must not be.
"""
# ruff: noqa: T201  it speaks to a terminal

import argparse
import asyncio
import sys
from collections.abc import Collection, Sequence

from benchmarks.zero_loss import report
from benchmarks.zero_loss.experiments import EXPERIMENTS, LATE_EXPERIMENTS, Experiment, late_contour, perform
from benchmarks.zero_loss.planes import PLANES
from benchmarks.zero_loss.runs import Result, installed, play
from benchmarks.zero_loss.scenarios import NATIVE, SCENARIOS
from tests.cluster.product import Product

STYLES = ("canary", "partition")
EXPERIMENTS_NAME = "experiments"


def main() -> int:
    """Play, and return the exit code."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="zero_loss", description=__doc__, formatter_class=raw)
    names = [*(each.name for each in SCENARIOS), EXPERIMENTS_NAME]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="play these (default: all)")
    parser.add_argument("--style", nargs="+", choices=STYLES, default=STYLES, help="in these (default: both)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/zero-loss.md")
    arguments = parser.parse_args()
    results, experiments = asyncio.run(_played(arguments.only, arguments.style, write=arguments.write))
    if arguments.write and experiments:
        told = [(each.text, result) for each, result in experiments]
        report.write("experiments", report.experiments(told))
    must_hold = [*results, *(result for each, result in experiments if not each.loses)]
    blind = [result for each, result in experiments if each.scenario is NATIVE and not result.account.lost]
    for each in blind:
        print(f"{each.plane}: the control lost nothing, so that losses would not be seen here", flush=True)
    return 1 if blind or any(each.problems for each in must_hold) else 0


async def _played(
    names: Collection[str], styles: Sequence[str], *, write: bool
) -> tuple[list[Result], list[tuple[Experiment, Result]]]:
    results: list[Result] = []
    experiments: list[tuple[Experiment, Result]] = []
    async with installed() as product:
        for style in styles:
            for scenario in (each for each in SCENARIOS if each.name in names):
                for result in await play(product, scenario, style, PLANES):
                    results.append(result)
                    _tell(result, result.scenario)
        if write and results:  # at once: what comes next may not come to its end
            report.write("releases", [report.conditions(), "", *report.releases(results)])
        if EXPERIMENTS_NAME in names:
            experiments += await _performed(product, EXPERIMENTS)
    if EXPERIMENTS_NAME in names:
        async with installed() as product, late_contour(product):
            experiments += await _performed(product, LATE_EXPERIMENTS)
    return results, experiments


async def _performed(product: Product, experiments: Sequence[Experiment]) -> list[tuple[Experiment, Result]]:
    found = []
    for each in experiments:
        result = await perform(product, each)
        found.append((each, result))
        _tell(result, each.text)
    return found


def _tell(result: Result, name: str) -> None:
    where = f"{result.style:9} {name:14} {result.plane:28}"
    counts = f"sent {result.account.total}, lost {result.account.lost}"
    print(f"{where} {counts}, {result.seconds:.0f} s", flush=True)
    for problem in result.problems:
        print(f"    {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
