"""Logs that are tables: lines of cells separated by commas, semicolons or tabs, with or without a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from laju.core.checks import shown
from laju.logs import names
from laju.logs.columns import parse, pivoted
from laju.logs.log import LogError, Row

DELIMITERS = ",;\t"


def delimiter(sample: str) -> str | None:
    """The delimiter of a text that begins like a table; None for any other text.

    A line of a table has at least one cell with a bare number.

    >>> delimiter("step;lr\\n0;0.1\\n"), delimiter("0.1\\n0.2\\n"), delimiter("iter 0: loss 10.9, time 3 ms")
    (';', ',', None)
    """
    lines = [line for line in sample.splitlines() if line.strip() and not line.startswith("#")][:20]
    best = max(
        DELIMITERS, key=lambda each: (min((line.count(each) for line in lines[:2]), default=0), -DELIMITERS.index(each))
    )
    rows = list(csv.reader(lines, delimiter=best))
    if not rows or any(len(row) > len(rows[0]) for row in rows[1:2]):
        return None
    numbers = sum(any(_is_number(cell) for cell in row) for row in rows)
    if numbers * 2 >= len(rows):
        return best
    # A header alone, or a table whose first rows are text.
    header = len(rows[0]) > 1 and all(re.fullmatch(r"[\w./ -]{1,60}", cell.strip()) for cell in rows[0])
    return best if header and all(len(row) == len(rows[0]) for row in rows) else None


def parted(line: str) -> str:
    """Replace the blanks between the cells of a line by tabs, for tables of NumPy's savetxt and pandas' to_string."""
    return "\t".join(line.strip().lstrip("#").split()) + line[len(line.rstrip("\r\n")) :]


def is_spaced(sample: str) -> bool:
    """Whether the lines of a text have the same number of cells, separated by blanks.

    >>> is_spaced("# iter lr\\n0 0.1\\n10 0.05\\n"), is_spaced("hello world\\nthis is\\n")
    (True, False)
    """
    lines = [parted(line).split("\t") for line in sample.splitlines() if line.strip()][:20]
    same = len({len(cells) for cells in lines}) == 1 and len(lines[0]) > 1
    return (
        same
        and len(lines) > 1
        and not any("=" in cell for cell in lines[0])
        and all(any(_is_number(cell) for cell in cells) for cells in lines[1:])
    )


def rows(lines: Iterator[str], path: str, between: str, notes: list[str], tag: str | None = None) -> Iterator[Row]:
    """The rows of a table, without repeated headers and without a last line that is cut.

    Args:
        lines: lines of the file, with their line ends.
        path: path of the file, for messages.
        between: the delimiter.
        notes: list to which a note is appended for each omission.
        tag: the name for a column called "Value", if the file's name has the tag.

    Raises:
        LogError: if a row has more or fewer cells than the header.
    """
    watched = _Watched(lines, between + " \r\n")
    reader = csv.reader(watched, delimiter=between, skipinitialspace=True)
    header: tuple[str, ...] | None = None

    def plain() -> Iterator[Row]:
        nonlocal header
        previous: list[str] | None = None
        try:
            for cells in reader:
                if watched.blanks:
                    cells = [cell.strip() for cell in cells]
                if header is None:
                    if all(_is_number(cell) for cell in cells):
                        header = _headerless(len(cells))
                    else:
                        header = _column_names(cells, tag)
                        continue
                if cells[0] == header[0] and tuple(cells) == header:
                    notes.append("a header in the middle of the file was left out")
                    continue
                # A row is passed on once the next has come: whether a row is the last, and so may be cut, is known only then.
                if previous is not None:
                    yield _checked(Row(watched.line - 1, header, previous), path, between)
                previous = cells
        except csv.Error as error:
            raise LogError(f"{path} is no table: {error}") from None
        if previous is not None and header is not None:
            if watched.cut and len(previous) != len(header):
                notes.append("the last line is cut, as of a file that is being written, and was left out")
            else:
                yield _checked(Row(watched.line, header, previous), path, between)

    source = plain()
    first = next(source, None)
    if first is None:
        return
    long = _long(first)
    chained = _chain(first, source)
    yield from (pivoted(chained, *long) if long else chained)


def _chain(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


class _Watched:
    """Lines with cells, counted; with whether the last line had no end, and whether any cell may have blanks around it."""

    def __init__(self, lines: Iterator[str], empty: str) -> None:
        self._lines, self._empty = lines, empty
        self.line = 0
        self.cut = self.blanks = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if not line.strip(self._empty) or line.startswith("#"):
                continue
            self.line += 1
            bare = line.rstrip("\r\n")
            self.cut = bare == line
            self.blanks = self.blanks or bare.split() != [bare] or '"' in bare
            if "\0" in line:
                raise LogError("a file with zero bytes is no table")
            yield line


def _checked(row: Row, path: str, between: str) -> Row:
    if len(row.cells) != len(row.names):
        raise LogError(
            f"{path}, line {row.line}: a row must have {len(row.names)} cells like the header, got {len(row.cells)}: "
            f"{shown(between.join(row.cells))}"
        )
    if between == ";" and any("," in cell for cell in row.cells):  # decimal commas
        return row._replace(
            cells=[re.sub(r"^([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)$", r"\1.\2", cell) for cell in row.cells]
        )
    return row


def _headerless(width: int) -> tuple[str, ...]:
    return (
        ("value",)
        if width == 1
        else tuple(f"column {i + 1}" for i in range(width))
        if width > 2
        else ("column 1", "value")
    )


def _column_names(cells: list[str], tag: str | None) -> tuple[str, ...]:
    """The names in a header; a name that comes twice gets a number."""
    result: list[str] = []
    for cell in cells:
        name = tag if tag and cell.lower() == "value" else cell
        result.append(name if name not in result else f"{name} ({result.count(name) + 1})")
    return tuple(result)


def _long(row: Row) -> tuple[str, str, list[str]] | None:
    """The columns of names, of values and of positions, where a table has a row for each value: MLflow's, tbparse's."""
    lower = {name.lower(): name for name in row.names}
    key = next((lower[name] for name in ("metric", "key", "tag", "name", "metric_name") if name in lower), None)
    value = next((lower[name] for name in ("value", "metric_value") if name in lower), None)
    if key is None or value is None or parse(dict(zip(row.names, row.cells, strict=True))[key]) is not None:
        return None
    keep = [name for name in row.names if names.kind(name) in ("update", "epoch", "sample", "token")]
    return key, value, keep


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ".", 1))
    except ValueError:
        return False
    return True
