"""What `kubectl get` prints, read back into cells, and compared with what was expected of it.

Pure: knows how kubectl sets a table, not what is in it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_GAP = re.compile(r" {3,}")
"""kubectl puts at least three spaces between columns; a cell holds no more than one."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows by name, each with its cells by column."""

    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    @property
    def names(self) -> tuple[str, ...]:
        """The rows' names, in the order printed."""
        return tuple(self.rows)


@dataclass(frozen=True, slots=True)
class Row:
    """A row that must be there: its name as a regular expression, and the cells that matter."""

    name: str
    cells: Mapping[str, str]


def parse(text: str) -> Table:
    """Read a table with a header line; kubectl prints no line at all when there is nothing to show."""
    header, *lines = text.splitlines() or [""]
    columns = tuple(_GAP.split(header.strip()))
    starts = _starts(header, columns)
    cells = (_cells(line, starts) for line in lines if line.strip())
    return Table(columns, {row[0]: dict(zip(columns, row, strict=True)) for row in cells})


def differences(table: Table, expected: Sequence[Row], ignored: Sequence[str] = ()) -> Iterator[str]:
    """Name each cell that is not as expected, each row that is missing and each that is too many."""
    left = [name for name in table.names if name not in ignored]
    for row in expected:
        name = next((name for name in left if re.fullmatch(row.name, name)), None)
        if name is None:
            yield f"there is no row {row.name}"
            continue
        left.remove(name)
        found = table.rows[name]
        for column, value in row.cells.items():
            if found.get(column) != value:
                yield f"{name}: {column} is {found.get(column)!r} instead of {value!r}"
    for name in left:
        yield f"{name} should not be there"


def _starts(header: str, columns: Sequence[str]) -> tuple[int, ...]:
    starts: list[int] = []
    end = 0
    for column in columns:
        starts.append(header.index(column, end))
        end = starts[-1] + len(column)
    return tuple(starts)


def _cells(line: str, starts: Sequence[int]) -> tuple[str, ...]:
    ends = (*starts[1:], len(line))
    return tuple(line[start:end].strip() for start, end in zip(starts, ends, strict=True))
