"""Find a file's columns of updates, learning rates and losses, and build the log from these columns."""

from __future__ import annotations

import gc
import math
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from laju.core.checks import nearest, shown
from laju.logs import names
from laju.logs.log import Array, Format, Log, LogError, Row, loss_rank, ordinal

MOST_CELLS = 1 << 20
"""The most cells that are kept of a log; of a larger log, every 2nd, 4th, … row of each kind is kept."""

PER_EPOCH = "updates per epoch"
"""Name of the column for the updates per epoch that printed lines contain, as in `epoch: 1/10, iter: 20/300`."""

BLANKS = frozenset({"", "none", "null", "na", "n/a", "-", "--", "<na>"})
_RUNS = (("run",), ("run", "id"), ("run", "name"), ("experiment",), ("seed",))
"""Names of columns that identify the run of a row."""

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d+)?")

UNITS = ("update", "epoch", "sample", "token")


class ChosenColumns(NamedTuple):
    """The columns that the user names."""

    update: str | None = None
    rate: str | None = None
    loss: str | None = None
    run: int | None = None


def build(path: str, writer: Format, rows: Iterable[Row], given: ChosenColumns, notes: Iterable[str] = ()) -> Log:
    """Build the log from a file's rows.

    Raises:
        LogError: if there are no rows, a named column is missing, a chosen column contains a text instead of a number, or rows
            have no recognisable positions.
    """
    with _uncollected():
        kept, stride, count = bounded(rows)
    told = list(notes)  # the reading of the rows adds its own
    if not kept:
        raise LogError(f"{path} has no rows" if not told else f"{path} has no rows ({'; '.join(told)})")
    if stride > 1:
        told.append(f"of {count:,} rows every {ordinal(stride)} was kept")
    columns = list(dict.fromkeys(name for names_ in dict.fromkeys(row.names for row in kept) for name in names_))
    columns = [name for name in columns if not names.is_derived(name)]
    for kind, name in (("update", given.update), ("rate", given.rate), ("loss", given.loss)):
        if name is not None and name not in columns:
            has = ", ".join(map(repr, columns))
            raise LogError(
                f"{path} has no column {name!r}{nearest(name, columns)}; it has {has} ({kind}=, or --{kind}-column)"
            )
    table = _Table(path, kept, columns)
    unit, position = _position(table, given)
    rates = _of_kind(table, "rate", given.rate, position)
    losses = _of_kind(table, "loss", given.loss, position)
    if not rates and given.rate is None and not losses:
        rates = tuple(n for n in columns if n != position and names.is_neutral(n) and table.filled(n))[:1]
    chosen = {name for name in (position, *rates, *losses) if name is not None}
    for name in (*((position,) if position else ()), *rates[:1], *losses[:1]):
        table.must_be_numbers(name)
    others = tuple(name for name in columns if name not in (*chosen, PER_EPOCH) and table.filled(name))
    numeric = [name for name in columns if name != position and table.numeric(name)]
    if position is None:
        at = np.arange(len(kept), dtype=float)
    else:
        at = table.numbers(position)
        bad = np.flatnonzero(np.isfinite(at) & (at < 0))
        if bad.size or np.isinf(at).any():
            i = int(bad[0]) if bad.size else int(np.flatnonzero(np.isinf(at))[0])
            raise LogError(f"{path}, line {kept[i].line}: {unit}s are numbers of 0 or more, got {at[i]:g}")
        if unit == "update":
            broken = np.flatnonzero(np.isfinite(at) & (at != np.floor(at)))
            if broken.size:
                i = int(broken[0])
                raise LogError(f"{path}, line {kept[i].line}: updates are whole numbers of 0 or more, got {at[i]:g}")
        lost = int(np.isnan(at).sum())
        if lost == len(at):
            raise LogError(f"{path} has no {unit}s in column {position!r}")
        if lost:
            with_data = sum(
                1 for i in np.flatnonzero(np.isnan(at)) if any(table.text(n, int(i)) for n in (*rates, *losses))
            )
            if with_data:
                told.append(f"{with_data:,} row{'s' if with_data > 1 else ''} without {position!r} left out")
    if unit == "update" and position is not None and given.run is None:
        at = _whole_run(table, position, at, told)
    by = next((name for name in columns if names.own(name) in _RUNS and len({*table.cells[name]}) > 1), None)
    if by is None:
        runs, more = _runs(at)
    else:
        parts = [
            _runs(np.where([cell == key for cell in table.cells[by]], at, np.nan))
            for key in dict.fromkeys(table.cells[by])
        ]
        runs = [rows for found, _ in parts for rows in found if len(rows)]
        more = [note for _, notes_ in parts for note in notes_]
    told += more
    base = Log(path, writer, {}, rates, losses, others, unit, position, at, tuple(told))
    logs = [_one(base, table, numeric, order) for order in runs]
    which = len(logs) if given.run is None else given.run
    if not 1 <= which <= len(logs):
        raise LogError(f"run must be one of 1 … {len(logs)}, the runs in {path}, got {which}")
    if len(logs) > 1:
        spans = "; ".join(
            f"{i + 1}: {log.unit}s {log.at[0]:,.12g} … {log.at[-1]:,.12g}" for i, log in enumerate(logs[:6])
        )
        told.append(f"{len(logs)} runs in this file ({spans}); run {which} was taken, another by run=, or --run")
        logs = [replace(log, notes=(*told, *log.notes[len(base.notes) :])) for log in logs]
    # Each run refers to all runs, which only exist once all are made; the class is frozen.
    for log in logs:
        object.__setattr__(log, "runs", tuple(logs))
    return logs[which - 1]


class _Uncollected:
    """Pause the garbage collector, whose visits to the rows read so far take half of the time; rows are in no cycle.

    Pauses of several threads may overlap: the last to end restores what the first found.
    """

    def __init__(self) -> None:
        self._lock, self._pauses, self._enabled = threading.Lock(), 0, False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._pauses == 0:
                self._enabled = gc.isenabled()
            self._pauses += 1
            gc.disable()
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1
                if self._pauses == 0 and self._enabled:
                    gc.enable()


_uncollected = _Uncollected()


def bounded(rows: Iterable[Row]) -> tuple[list[Row], int, int]:
    """Rows with at most `MOST_CELLS` cells, the stride at which each kind of row was kept, and the number of rows.

    Rows of a kind have the same cells filled. Loggers write learning rates and losses in separate rows, so that every 2nd row of
    all rows would contain only learning rates.
    """
    kept: list[tuple[Row, int]] = []
    counts: dict[tuple[Any, ...], int] = {}
    stride, cells, count = 1, 0, 0
    last: Row | None = None
    for row in rows:
        count += 1
        # Rows of a logger alternate (a row of rates, a row of losses), so that a stride over all rows could keep one kind
        # alone; each kind is thinned by itself. While nothing is thinned, the names of many columns stand for the kind, which
        # saves a look at every cell.
        kind: tuple[Any, ...] = row.names
        if (stride > 1 or len(kind) < 64) and ("" in row.cells or None in row.cells):
            kind = (kind, *(cell not in ("", None) for cell in row.cells))
        number = counts.get(kind, 0)
        counts[kind] = number + 1
        last = row
        if number % stride:
            continue
        kept.append((row, number))
        cells += len(row.names)
        # Halve the rows whenever the limit is reached, so that memory is bounded for a file of any length.
        if cells > MOST_CELLS:
            stride *= 2
            kept = [pair for pair in kept if pair[1] % stride == 0]
            cells = sum(len(pair[0].names) for pair in kept)
    result = [row for row, _ in kept]
    if last is not None and result and result[-1] is not last:
        result.append(last)
    return result, stride, count


class _Table:
    """Cells by column."""

    def __init__(self, path: str, rows: list[Row], columns: list[str]) -> None:
        self.path, self.rows = path, rows
        self.cells: dict[str, list[Any]] = {name: [""] * len(rows) for name in columns}
        for i, row in enumerate(rows):
            for name, cell in zip(row.names, row.cells, strict=False):
                if name in self.cells:
                    self.cells[name][i] = cell
        self._parsed: dict[str, tuple[Array, list[int]]] = {}

    def parsed(self, name: str) -> tuple[Array, list[int]]:
        """Numbers, NaN where a cell is blank or a text, and the rows that have texts."""
        if name not in self._parsed:
            wrong: list[int] = []
            values = np.full(len(self.rows), np.nan)
            for i, cell in enumerate(self.cells[name]):
                value = parse(cell)
                if value is None:
                    wrong.append(i)
                else:
                    values[i] = value
            self._parsed[name] = values, wrong
        return self._parsed[name]

    def numbers(self, name: str) -> Array:
        return self.parsed(name)[0]

    def text(self, name: str, i: int) -> str:
        cell = self.cells[name][i]
        text = cell.strip() if isinstance(cell, str) else "" if cell is None else repr(cell)
        return "" if text.lower() in BLANKS else text

    def filled(self, name: str) -> bool:
        return any(self.text(name, i) for i in range(len(self.rows)))

    def numeric(self, name: str) -> bool:
        """Whether a column has numbers, and more numbers than texts."""
        values, wrong = self.parsed(name)
        return int((~np.isnan(values)).sum()) > len(wrong) or (not wrong and self.filled(name))

    def must_be_numbers(self, name: str) -> None:
        wrong = self.parsed(name)[1]
        if wrong:
            line, cell = self.rows[wrong[0]].line, self.cells[name][wrong[0]]
            raise LogError(f"{self.path}, line {line}, column {name!r}: {shown(cell)} is not a number")


def parse(cell: Any) -> float | None:
    """The number in a cell; NaN if the cell is blank, None if the cell is a text."""
    if isinstance(cell, str):
        text = cell.strip()
        if text.lower() in BLANKS:
            return math.nan
        # Printed lines group digits as 1,000; a float literal of Python such as 1_000 is no number of a log.
        if _THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        try:
            return float(text) if "_" not in text else None
        except ValueError:
            return None
    if cell is None:
        return math.nan
    return float(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else None


def _of_kind(table: _Table, kind: str, given: str | None, position: str | None) -> tuple[str, ...]:
    found = [name for name in table.cells if name != position and names.kind(name) == kind and table.filled(name)]
    # A summary of the whole run has a single value; a curve beside the summary is the wanted column.
    count = {name: int((~np.isnan(table.numbers(name))).sum()) for name in found}
    curves = [name for name in found if count[name] > 1]
    summaries = [name for name in found if name not in curves] if curves else []
    found = sorted(
        curves or found, key=lambda name: loss_rank(name, count[name]) if kind == "loss" else names.rank(name, kind)
    )
    if given is not None:
        return (given, *(name for name in found if name != given))
    return tuple(found + (summaries if kind == "rate" else []))


def _position(table: _Table, given: ChosenColumns) -> tuple[str, str | None]:
    """The unit and the column of the positions: by name, then by content, else the rows are counted."""
    if given.update is not None:
        kind = names.kind(given.update)
        return (kind if kind in UNITS else "update"), given.update
    for unit in UNITS:
        found = [
            n for n in table.cells if names.kind(n) == unit and table.filled(n) and n not in (given.rate, given.loss)
        ]
        found.sort(key=lambda name: names.rank(name, unit))
        if found:
            return unit, found[0]
    rising = [name for name in table.cells if name not in (given.rate, given.loss) and _counts(table, name)]
    if len(rising) == 1:
        return "update", rising[0]
    if len(rising) > 1 and len(table.rows) > 2:
        several = ", ".join(map(repr, rising))
        raise LogError(
            f"{table.path} has several columns that could be updates: {several}; name the column by update=, or --update-column"
        )
    return "row", None


def _counts(table: _Table, name: str) -> bool:
    """Whether a column of no known kind rises in whole numbers."""
    if names.kind(name) != "metric" or len(table.rows) < 2:
        return False
    values, wrong = table.parsed(name)
    return not wrong and bool(
        np.isfinite(values).all()
        and (values >= 0).all()
        and (values == np.floor(values)).all()
        and (np.diff(values) > 0).all()
    )


def _whole_run(table: _Table, position: str, at: Array, notes: list[str]) -> Array:
    """Updates counted through all epochs, where a column restarts its count in each epoch.

    Raises:
        LogError: such a column, and how many updates an epoch has is not known.
    """
    epoch = next((name for name in table.cells if names.kind(name) == "epoch" and table.filled(name)), None)
    rows = np.flatnonzero(np.isfinite(at))
    if epoch is None or len(rows) < 2:
        return at
    epochs, steps = table.numbers(epoch)[rows], np.diff(at[rows])
    rises = np.diff(epochs)
    stated = table.numbers(PER_EPOCH)[rows] if PER_EPOCH in table.cells else np.array([])
    length = float(stated[0]) if stated.size and (stated == stated[0]).all() and stated[0] >= at[rows].max() else None
    # Every fall is the start of the next epoch, and each epoch begins with a fall, or, of rows at the ends, with the same count.
    anew = rises == 1
    if (
        not (np.isfinite(epochs).all() and (epochs % 1 == 0).all() and anew.any() and (rises[~anew] == 0).all())
        or (steps[~anew] < 0).any()
        or (steps[anew] >= (0 if length is None else 1)).any()
    ):
        return at
    begin = np.flatnonzero(anew) + 1
    begins, ends = at[rows][[0, *begin]], at[rows][[*(begin - 1), len(rows) - 1]]
    if length is None and (steps[~anew] == 1).all() and (begins == begins[0]).all() and (ends[:-1] == ends[0]).all():
        length = float(ends[0] - begins[0] + 1)
    if length is None:
        raise LogError(
            f"{table.path} counts the updates of each epoch anew, in {position!r}, and does not say how many updates an epoch "
            f"has; name a column that counts the whole run, update=, or --update-column, or take one epoch, run=, or --run"
        )
    notes.append(
        f"{position!r} counts the updates of each epoch anew: {length:,g} per epoch, from {epoch!r} {epochs[0]:g} on"
    )
    whole = at.copy()
    first = 0 if (epochs == 0).any() else 1
    whole[rows] += (epochs - first) * length
    return whole


def _runs(at: Array) -> tuple[list[npt.NDArray[np.intp]], list[str]]:
    """The rows of each run in the order of positions, with notes on rows out of order.

    A new run begins where the position falls to or below the run's first position. A position that falls less is a resumed run,
    whose later rows count, or rows out of order, where single rows fall.
    """
    rows = np.flatnonzero(~np.isnan(at))
    falls = np.flatnonzero(np.diff(at[rows]) < 0) + 1
    if not falls.size:
        return [rows], []
    if falls.size > max(8, len(rows) // 8):  # no run restarts so often
        return [rows[np.argsort(at[rows], kind="stable")]], ["the rows are not in the order of updates and were sorted"]
    starts = [0]
    for fall in falls:
        if at[rows[fall]] <= at[rows[starts[-1]]] and (fall == falls[-1] or fall - starts[-1] > 0):
            starts.append(int(fall))
    notes: list[str] = []
    runs = []
    for begin, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        runs.append(_resumed(at, rows[begin:end], notes))
    return runs, notes


def resumed(last: float, first: float) -> str:
    """The note about a log whose positions go back."""
    return f"after {last:,.12g} the log goes on from {first:,.12g}: a resumed run, of which the later rows count"


def _resumed(at: Array, rows: npt.NDArray[np.intp], notes: list[str]) -> npt.NDArray[np.intp]:
    kept: list[int] = []
    for i, row in enumerate(rows):
        if kept and at[row] < at[kept[-1]]:
            after = at[rows[i + 1]] if i + 1 < len(rows) else math.inf
            if after > at[kept[-1]]:
                notes.append(
                    f"the row of {at[row]:,.12g} followed the row of {at[kept[-1]]:,.12g} and was put in order"
                )
            else:
                notes.append(resumed(float(at[kept[-1]]), float(at[row])))
                kept = [k for k in kept if at[k] < at[row]]
        kept.append(int(row))
    found = np.array(kept, dtype=np.intp)
    return found[np.argsort(at[found], kind="stable")]


def _one(base: Log, table: _Table, columns: Sequence[str], order: npt.NDArray[np.intp]) -> Log:
    """The log of a single run, with the rows of a position merged."""
    at = base.at[order]
    first = np.flatnonzero(np.diff(at, prepend=-1.0) != 0)
    merged: dict[str, Array] = {}
    texts: dict[str, list[str]] = {}
    notes = list(base.notes)
    for name in columns:
        values = table.numbers(name)[order]
        column = [table.text(name, int(i)) for i in order]
        if len(first) < len(at):
            group = np.searchsorted(first, np.arange(len(at)), side="right") - 1
            out, out_texts = np.full(len(first), np.nan), [""] * len(first)
            for i, text in enumerate(column):
                if text:
                    g = int(group[i])
                    if out_texts[g] and out[g] != values[i] and name in (*base.rates[:1], *base.losses[:1]):
                        note = f"{name!r} has more than one value at some positions, such as {at[i]:,.12g}; the last one counts"
                        if note.partition(",")[0] not in [n.partition(",")[0] for n in notes]:
                            notes.append(note)
                    out[g], out_texts[g] = values[i], text
            values, column = out, out_texts
        merged[name], texts[name] = values, column
    return replace(base, columns=merged, at=at[first], notes=tuple(notes), _texts=texts)


def pivoted(rows: Iterable[Row], name: str, value: str, keep: Sequence[str]) -> Iterator[Row]:
    """Convert a long table, with a row for each value of each name, to rows with a column for each name."""
    for row in rows:
        cells = dict(zip(row.names, row.cells, strict=False))
        yield Row(row.line, (*keep, str(cells[name])), [*(cells[k] for k in keep), cells[value]])
