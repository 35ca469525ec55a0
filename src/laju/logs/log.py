"""A log: series of learning rates and losses by update, epoch, sample or token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from laju.core.checks import nearest
from laju.core.extras import needed_by
from laju.logs import names

if TYPE_CHECKING:
    import pandas

Array = npt.NDArray[np.float64]

_FEW = 8
"""Number of losses below which a column is ranked behind columns with more losses."""


class LogError(ValueError):
    """Error of a file that is not a log, or a log without the requested column; the message names the columns and the option."""


class Row(NamedTuple):
    """A record of a file: the line at which the record ends, the names of its cells, and the cells."""

    line: int
    names: tuple[str, ...]
    cells: Sequence[Any]


class Series(NamedTuple):
    """A column without its blanks: positions in the log's unit, numbers, and the numbers as written in the file."""

    name: str
    at: Array
    values: Array
    texts: tuple[str, ...]

    def precision(self) -> Array:
        """Half a unit of each number's last digit; 0 if the numbers have more than nine digits."""
        return _halves(self.texts, self.values)


@dataclass(frozen=True)
class Format:
    """The writer of a log, and the writer's convention of positions.

    Args:
        name: name of the format, in messages.
        shifts: possible shifts, the usual shift first: in a healthy run, row k has the learning rate s(k + shift).
        known: whether the writer is known, so that the shifts are the writer's and not all shifts in use.
    """

    name: str
    shifts: tuple[int, ...] = (0, -1, 1)
    known: bool = False


def completed(unit: str, at: Array) -> Array:
    """Positions at which losses and metrics were measured: if whole epochs are counted from 0, at the end of each epoch.

    >>> completed("epoch", np.array([0.0, 1.0])).tolist(), completed("epoch", np.array([0.0, 0.5])).tolist()
    ([1.0, 2.0], [0.0, 0.5])
    """
    return at + 1 if unit == "epoch" and at.size and at[0] == 0 and not (at % 1).any() else at


@dataclass(frozen=True)
class Log:
    """The rows that a run has logged in a file.

    Args:
        path: path of the file.
        format: the writer of the file, and the writer's convention of positions.
        columns: the numbers of each column, an entry for each row and NaN for a blank cell; rows are sorted by position.
        rates, losses, others: the names of the columns of learning rates, of losses, and of all further columns; by default, the
            first column of learning rates and the first column of losses are used.
        unit: unit of the positions: "update", "epoch", "sample", "token", or "row" if the file has no counts.
        position: name of the column of positions; None if rows are counted.
        at: the positions; shape (rows,).
        notes: observations of the reader: several runs, repeated rows, cut lines, an unusual encoding.
        runs: the logs of all runs in the file, including this log.

    >>> import io
    >>> from laju.logs import read
    >>> log = read(io.StringIO("Step,train/lr,loss\\n0,0.1,3.5\\n10,0.05,3.25\\n"))
    >>> log.rates, log.losses, log.unit, log.at.tolist()
    (('train/lr',), ('loss',), 'update', [0.0, 10.0])
    >>> print(log)
    rates: 'train/lr', updates: 'Step' 0 … 10; also: 'loss'
    """

    path: str
    format: Format
    columns: dict[str, Array]
    rates: tuple[str, ...]
    losses: tuple[str, ...]
    others: tuple[str, ...]
    unit: str
    position: str | None
    at: Array
    notes: tuple[str, ...] = ()
    runs: tuple[Log, ...] = field(default=(), repr=False, compare=False)
    _texts: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    def until(self, position: float) -> Log:
        """The log as it was when the run reached a position: without the rows after the position.

        >>> import io
        >>> from laju.logs import read
        >>> read(io.StringIO("step,lr,loss\\n0,0.1,3.5\\n10,0.1,3.25\\n20,0.1,3.2\\n")).until(10).loss().values.tolist()
        [3.5, 3.25]
        """
        rows = np.flatnonzero(self.at <= position)
        columns = {name: values[rows] for name, values in self.columns.items()}
        texts = {name: [column[i] for i in rows] for name, column in self._texts.items()}
        return replace(self, columns=columns, at=self.at[rows], _texts=texts)

    def series(self, name: str) -> Series:
        """A column without its blank cells.

        Raises:
            LogError: if there is no such column.
        """
        if name not in self.columns:
            raise LogError(f"{self.path} has no column {name!r}{nearest(name, self.columns)}; {self.has()}")
        rows = self._texts[name]
        there = [i for i, text in enumerate(rows) if text]
        return Series(name, self.at[there], self.columns[name][there], tuple(rows[i] for i in there))

    def rate(self, name: str | None = None) -> Series:
        """The learning rates in the named column, or by default in the first column of learning rates.

        Raises:
            LogError: if there is no such column, or a learning rate is negative or not finite.
        """
        found = self._chosen("rate", name, self.rates)
        bad = np.flatnonzero(~(np.isfinite(found.values) & (found.values >= 0)))
        if bad.size:
            i = int(bad[0])
            raise LogError(
                f"{self.path}, {self.unit} {found.at[i]:g}, column {found.name!r}: a rate must be finite and not negative, "
                f"got {found.texts[i]}"
            )
        return found

    def loss(self, name: str | None = None) -> Series:
        """The losses in the named column, or by default in the first column of losses.

        Held-out losses are ranked before training losses, raw losses before smoothed losses, and a total loss before its
        components; a column with fewer than eight values is ranked behind columns with more values.

        Raises:
            LogError: if there is no such column, or several columns cannot be distinguished by their names.
        """
        if name is None and len(self.losses) > 1:
            first, second = (loss_rank(each, len(self.series(each).at)) for each in self.losses[:2])
            if first == second:
                several = ", ".join(map(repr, self.losses))
                raise LogError(
                    f"{self.path} has several columns of losses: {several}; name the column by loss=, or --loss-column"
                )
        return self._chosen("loss", name, self.losses)

    def pairs(self, rate: str | None = None, updates_per_epoch: int | None = None) -> list[tuple[int, str]]:
        """(update, learning rate) of each row, with the learning rate as text; updates follow the writer's convention if known.

        Args:
            rate: name of the column; by default the first column of learning rates.
            updates_per_epoch: number of updates per epoch, to convert fractions of epochs to updates.

        Raises:
            LogError: if there are no learning rates, or positions are fractions of epochs and `updates_per_epoch` is None.

        >>> import io
        >>> from laju.logs import read
        >>> read(io.StringIO("step,lr\\n0,0.1\\n10,0.05\\n")).pairs()
        [(0, '0.1'), (10, '0.05')]
        """
        found = self.rate(rate)
        at = found.at
        if self.unit == "epoch" and (at % 1).any():
            if updates_per_epoch is None:
                raise LogError(
                    f"{self.path} counts epochs alone, in {self.position!r}, and parts of epochs are no updates: "
                    "give --updates-per-epoch, or name a column of updates, --update-column"
                )
            at = (at * updates_per_epoch).round()
        shift = self.format.shifts[0] if self.format.known else 0
        moved = [(int(t) + shift, text) for t, text in zip(at, found.texts, strict=True)]
        return [pair for pair in moved if pair[0] >= 0]

    def _chosen(self, kind: str, name: str | None, of: tuple[str, ...]) -> Series:
        if name is not None:
            return self.series(name)
        if not of:
            raise LogError(
                f"{self.path} has no column of {kind if kind == 'rate' else 'losse'}s: {self.has()}; "
                f"name the column: {kind}=, or --{kind}-column"
            )
        found = self.series(of[0])
        if not len(found.at):
            raise LogError(f"{self.path} has no {kind if kind == 'rate' else 'losse'}s in column {of[0]!r}")
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """The columns as a pandas table whose index is the position.

        Raises:
            ModuleNotFoundError: if pandas is not installed.
        """
        with needed_by("a log as a table", "logs"):
            import pandas
        return pandas.DataFrame(self.columns, index=pandas.Index(self.at, name=self.position or self.unit))

    def taken(self, *kinds: str) -> str:
        """A description of the columns that were used, such as `rates: 'lr', updates: 'step' 0 … 990, every 10th`.

        Args:
            kinds: the kinds of columns that were used, "rate" or "loss"; by default rates if the log has any, else losses.
        """
        parts = []
        for kind, several in (("rate", self.rates), ("loss", self.losses)):
            if several and (not kinds or kind in kinds) and (kind == "rate" or kinds or not self.rates):
                parts.append(f"{kind if kind == 'rate' else 'losse'}s: {several[0]!r}")
        took = {
            several[0]
            for kind, several in (("rate", self.rates), ("loss", self.losses))
            if several and any(part.endswith(repr(several[0])) for part in parts)
        }
        parts.append(self._times())
        rest = [name for name in (*self.rates, *self.losses, *self.others) if name not in took]
        more = f", and {len(rest) - 8} more" if len(rest) > 8 else ""
        return ", ".join(parts) + (f"; also: {', '.join(map(repr, rest[:8]))}{more}" if rest else "")

    def _times(self) -> str:
        at = self.series(self.rates[0]).at if self.rates else self.at
        if self.position is None:
            return f"updates: rows, counted from 0 to {len(self.at) - 1:,}"
        span = f"{at[0]:,.12g} … {at[-1]:,.12g}" if len(at) > 1 else f"{at[0]:,.12g}" if len(at) else "none"
        gaps = np.diff(at)
        every = f", every {ordinal(int(gaps[0]))}" if len(gaps) > 1 and gaps[0] > 1 and (gaps == gaps[0]).all() else ""
        return f"{self.unit}s: {self.position!r} {span}{every}"

    def has(self) -> str:
        """The names of the columns, for messages."""
        there = [name for name in (self.position, *self.columns) if name is not None]
        return f"it has {', '.join(map(repr, there)) or 'none'}"

    def __str__(self) -> str:
        return self.taken()


def loss_rank(name: str, count: int) -> tuple[int, ...]:
    return (int(count < _FEW), *names.rank(name, "loss"))


def _halves(texts: Sequence[str], values: Array) -> Array:
    most, places = 0, 0
    for text in texts:
        mantissa, _, exponent = text.lower().lstrip("+-").partition("e")
        most = max(most, len(mantissa.replace(".", "").lstrip("0")))
        if most > 9:
            break
        places = max(places, len(mantissa.partition(".")[2]) - int(exponent or 0))
    if most > 9 or not len(values):
        return np.zeros(len(values))
    with np.errstate(divide="ignore"):
        decades = np.floor(np.log10(np.abs(values)))
    own = np.where(values != 0, 0.5 * 10.0 ** (np.where(values != 0, decades, 0.0) + 1 - most), 0.0)
    # 0.1 is exactly a tenth, and no number between 0.05 and 0.15: no log has fewer than three digits.
    result: Array = np.minimum(np.maximum(own, 0.5 * 10.0**-places), 0.005 * np.abs(values).max())
    return result


def ordinal(n: int) -> str:
    ending = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"
