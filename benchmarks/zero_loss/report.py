"""The table of docs/zero-loss.md, from what the trials came to."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.zero_loss.planes import PLANES
from benchmarks.zero_loss.runs import Result
from benchmarks.zero_loss.scenarios import SCENARIOS
from benchmarks.zero_loss.trial import GRACE, PRE_STOP, STREAMS

FILE = Path(__file__).parents[2] / "docs" / "zero-loss.md"
_BEGIN, _END = "<!-- begin: {} -->", "<!-- end: {} -->"


def write(part: str, lines: Iterable[str], file: Path = FILE) -> None:
    """Put a generated part in the place of the one that the document has."""
    text = file.read_text(encoding="utf-8")
    begin, end = _BEGIN.format(part), _END.format(part)
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    file.write_text(f"{head}{begin}\n{chr(10).join(lines)}\n{end}{tail}", encoding="utf-8")


def releases(results: Sequence[Result]) -> Iterator[str]:
    """Render what became of the requests of every scenario, by style and data plane."""
    columns = [(style, plane.name) for style in ("canary", "partition") for plane in PLANES]
    found = {(each.scenario, each.style, each.plane): each for each in results}
    yield f"| scenario | {' | '.join(f'{style}: {plane}' for style, plane in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for scenario in SCENARIOS:
        cells = (_cell(found.get((scenario.name, *column))) for column in columns)
        yield f"| {scenario.text} | {' | '.join(cells)} |"
    yield ""
    yield _totals(results)


def experiments(results: Sequence[tuple[str, Result]]) -> Iterator[str]:
    """Render single experiments, each with what is told of it."""
    yield "| what | data plane | style | lost |"
    yield "|---|---|---|---|"
    for text, each in results:
        yield f"| {text} | {each.plane} | {each.style} | {_cell(each)} |"


def conditions() -> str:
    """Say how the trials were made."""
    rates = ", ".join(f"{each.rate:g} {each.name}" for each in STREAMS)
    return f"Requests a second: {rates}. `gracePeriodSeconds` {GRACE}, preStop {PRE_STOP} s, five replicas."


def _cell(result: Result | None) -> str:
    if result is None:
        return "not run"
    wrong = len(result.misrouted) + len(result.late) + sum(not each.right for each in result.shares)
    return f"{result.account.lost} of {result.account.total:,}" + (f"; {wrong} wrong" if wrong else "")


def _totals(results: Sequence[Result]) -> str:
    sent = sum(each.account.total for each in results)
    lost = sum(each.account.lost for each in results)
    shares = [share for each in results for share in each.shares]
    right = sum(each.right for each in shares)
    misrouted = sum(len(each.misrouted) for each in results)
    late = sum(len(each.late) for each in results)
    return (
        f"Together {sent:,} requests, {lost} lost; {right} of {len(shares)} counted shares as they should; "
        f"{misrouted} answered by a pod of the other revision than the Service's; {late} sent to a version "
        "after its roll-back was visible."
    )
