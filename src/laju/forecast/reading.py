"""Reading loss curves from files: CSV and TensorBoard's event files.

A row (n, rate, loss) is read as training loops log it: after n completed updates, of which the next one uses that rate. Loggers
that count an update earlier or later are off by one update, which no forecast notices.
"""

from __future__ import annotations

import csv
import math
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from laju.core.checks import nearest, shown
from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.forecast.blocks import Array
from laju.forecast.curves import Curve, ForecastWarning, Rates, between_rows

MOST = 1000
"""Losses that are kept of a longer curve: means of neighbours, since more would cost time and tell nothing."""

_EXACT = {
    "update": ("update", "updates", "step", "steps", "iteration", "iterations", "global_step"),
    "loss": ("loss",),
    "rate": ("lr", "rate", "learning_rate"),
}
_PLURAL = {"update": "updates", "loss": "losses", "rate": "rates"}
_LAST = frozenset({"update", "updates", "step", "steps", "iteration", "iterations", "iter"})

Point = tuple[int, float]


def read_csv(
    path: str | os.PathLike[str],
    rates: Rates | None = None,
    name: str | None = None,
    *,
    loss: str | None = None,
    rate: str | None = None,
    update: str | None = None,
    warmup: int | None = None,
) -> Curve:
    """A loss curve from a CSV file: a row a measurement, with a header.

    The columns are found by their names: `update`, `step`, `iteration` or `global_step`; `loss` or a name with that word in it,
    such as `train/loss` or `val_loss`; `lr`, `rate` or `learning_rate`. Commas, semicolons or tabs may part them. A cell may be
    empty where losses and rates are logged at different updates. A loss at update 0 belongs to no training and is left out, and
    of more than 1,000 losses the means of neighbours are kept.

    What the rates were between two logged ones, and before the first, is said at `Curve`.

    Args:
        path: the file.
        rates: the run's schedule, or one rate an update from 0; then no rate column is needed, and one that is there is compared.
        name: of the curve; the file's name without its ending when left out.
        loss, rate, update: names of the columns, where they cannot be told by themselves.
        warmup: updates of a warmup before the first logged rate, as `Curve` takes it.

    Raises:
        OSError: the file cannot be read.
        ValueError: a column that is missing or could be several, a cell that is no number, updates that go back, no rows, or what
            `Curve` refuses; the message names the file, and the line and column.

    Warns:
        ForecastWarning: rates before the first logged one that are not known, or a schedule that the rate column contradicts.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "run1.csv")
    >>> _ = path.write_text("step,lr,loss\\n10,0.5,4.2\\n20,0.5,3.9\\n30,0.25,3.5\\n")
    >>> curve = read_csv(path, warmup=5)
    >>> curve, curve.rates[[0, 4, 5, 20, 25]].tolist()
    (Curve('run1', 3 losses up to update 30), [0.0, 0.4, 0.5, 0.5, 0.375])
    >>> folder.cleanup()
    """
    where = Path(path)
    try:
        with where.open(newline="", encoding="utf-8-sig") as file:
            losses, logged = _rows(file, str(path), {"update": update, "loss": loss, "rate": rate}, rates is None)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8, so it is not a CSV file ({error.reason})") from None
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV file: {error}") from None
    return _curve(str(path), where.stem if name is None else name, losses, logged, rates, warmup)


def read_tensorboard(
    path: str | os.PathLike[str],
    rates: Rates | None = None,
    name: str | None = None,
    *,
    loss: str | None = None,
    rate: str | None = None,
    warmup: int | None = None,
) -> Curve:
    """A loss curve from TensorBoard's event files: one of them, or a run's folder.

    Tags are found by their names as `read_csv` finds columns. Where a run was resumed from an earlier checkpoint, the later
    values of an update count, as in TensorBoard.

    Args:
        path: a folder with `events.out.tfevents…` files, or one such file.
        rates: the run's schedule, or one rate an update from 0; then no tag of rates is needed.
        name: of the curve; the folder's name (or the file's) when left out.
        loss, rate: tags, where they cannot be told by themselves, such as "train/loss" and "train/lr".
        warmup: as in `read_csv`.

    Raises:
        ModuleNotFoundError: the package tensorboard is not installed.
        OSError: no such file or folder.
        ValueError: no event files, a tag that is missing or could be several, or what `Curve` refuses.

    Warns:
        ForecastWarning: as `read_csv`.
    """
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"{path} is neither a folder with TensorBoard's event files nor such a file")
    if not is_tensorboard(where):
        raise ValueError(f"{path} has no event files of TensorBoard in it (events.out.tfevents…)")
    with needed_by("reading TensorBoard's event files"):
        from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]
        from tensorboard.util import tensor_util  # type: ignore[import-untyped]
    events: Any = event_accumulator.EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    scalars, tensors = events.Tags()["scalars"], events.Tags()["tensors"]

    def points(tag: str) -> list[Point]:
        if tag in scalars:
            return _latest((int(e.step), float(e.value)) for e in events.Scalars(tag))
        return _latest(
            (int(e.step), float(tensor_util.make_ndarray(e.tensor_proto).reshape(-1)[0])) for e in events.Tensors(tag)
        )

    tags = [*scalars, *tensors]
    chosen = _choose(tags, "loss", loss, str(path), "tag", needed=True)
    rate_tag = _choose(tags, "rate", rate, str(path), "tag", needed=rates is None)
    assert chosen is not None
    return _curve(
        str(path),
        (where.name if where.is_dir() else where.parent.name) if name is None else name,
        points(chosen),
        points(rate_tag) if rate_tag is not None else [],
        rates,
        warmup,
    )


def is_tensorboard(path: Path) -> bool:
    """Whether it is an event file, or a folder that holds one.

    >>> is_tensorboard(Path("runs/events.out.tfevents.1700000000.host"))
    True
    """
    if path.is_dir():
        return any("tfevents" in each.name for each in path.iterdir())
    return "tfevents" in path.name


# --- columns -----------------------------------------------------------------------------------------------------------


def _rows(
    file: Iterable[str], path: str, given: dict[str, str | None], need_rate: bool
) -> tuple[list[Point], list[Point]]:
    """Losses and rates by update."""
    lines = iter(file)
    first = next(lines, "")
    if not first.strip():
        raise ValueError(f"{path} is empty: it must begin with a line of column names, such as update,lr,loss")
    delimiter = max(",;\t", key=first.count)
    columns = [cell.strip() for cell in next(csv.reader([first], delimiter=delimiter))]
    place: dict[str, int] = {}
    for kind in ("update", "loss", "rate"):
        column = _choose(columns, kind, given[kind], path, "column", needed=kind != "rate" or need_rate)
        if column is not None:
            place[kind] = columns.index(column)

    reader = csv.reader(lines, delimiter=delimiter)
    losses: list[Point] = []
    logged: list[Point] = []
    last = -1
    for row in reader:
        line = reader.line_num + 1
        cells = {kind: row[i].strip() if i < len(row) else "" for kind, i in place.items()}
        if not any(cells.get(kind) for kind in ("loss", "rate")):
            continue
        numbers = {
            kind: _number(cell, f"{path}, line {line}, column {columns[place[kind]]!r}")
            for kind, cell in cells.items()
            if cell or kind == "update"
        }
        where = f"{path}, line {line}"
        if not float(numbers["update"]).is_integer() or numbers["update"] < 0:
            raise ValueError(f"{where}: updates are whole numbers of 0 or more, got {cells['update']}")
        n = int(numbers["update"])
        if n < last:
            raise ValueError(
                f"{where}: update {n} follows {last}, but updates must rise; of a run that was resumed from an earlier "
                "checkpoint keep the later part where two overlap"
            )
        if "loss" in numbers:
            if losses and losses[-1][0] == n:
                if losses[-1][1] != numbers["loss"]:
                    raise ValueError(f"{where}: another loss at update {n}; keep one")
                continue  # some loggers write a line twice
            losses.append((n, numbers["loss"]))
            if not math.isfinite(numbers["loss"]):
                raise ValueError(
                    f"{where}: the loss is {cells['loss']}, so the run diverged; cut it before, or leave it out"
                )
        if "rate" in numbers and not (logged and logged[-1][0] == n):
            if not (math.isfinite(numbers["rate"]) and numbers["rate"] >= 0):
                raise ValueError(f"{where}: a rate must be finite and not negative, got {cells['rate']}")
            logged.append((n, numbers["rate"]))
        last = n
    return losses, logged


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{where}: {shown(cell)} is not a number" if cell else f"{where} is empty") from None


def _choose(names: Sequence[str], kind: str, given: str | None, path: str, what: str, needed: bool) -> str | None:
    """The column or tag of a kind: the one that is given, or else the only one that it can be."""
    has = f"it has {', '.join(map(repr, names)) or 'none'}"
    if given is not None:
        if given not in names:
            raise ValueError(f"{path} has no {what} {given!r}{nearest(given, names)}; {has}")
        return given
    found = [name for name in names if _is(kind, name)]
    exact = [name for name in found if name.lower() in _EXACT[kind]]
    if len(exact) == 1 or len(found) == 1:
        return (exact if len(exact) == 1 else found)[0]
    if found:
        several = ", ".join(map(repr, found))
        raise ValueError(
            f"{path} has several {what}s of {_PLURAL[kind]}: {several}; say which one by {kind}=, or --{kind}-column"
        )
    if needed:
        instead = f"; give the run's schedule, or name the {what}" if kind == "rate" else f"; name the {what}"
        raise ValueError(f"{path} has no {what} of {_PLURAL[kind]} ({', '.join(_EXACT[kind])}): {has}{instead}")
    return None


def _is(kind: str, name: str) -> bool:
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    if kind == "loss":
        return "loss" in words
    if kind == "rate":
        return bool({"lr", "learningrate"} & {*words}) or words[-2:] == ["learning", "rate"] or words == ["rate"]
    return words[-1:] != [] and words[-1] in _LAST and "loss" not in words and "lr" not in words


# --- a curve -----------------------------------------------------------------------------------------------------------


def _curve(
    path: str, name: str, losses: list[Point], logged: list[Point], rates: Rates | None, warmup: int | None
) -> Curve:
    measured = [(n, value) for n, value in losses if n > 0]
    if not measured:
        raise ValueError(f"{path} has no losses" + (" after update 0" if losses else ""))
    at, loss = np.array([n for n, _ in measured]), np.array([value for _, value in measured])
    bad = ~np.isfinite(loss)
    if bad.any():
        raise ValueError(
            f"{path}: the loss is {loss[bad][0]} at update {at[bad][0]}, so the run diverged; cut it before, or leave it out"
        )
    last = int(at[-1])
    at, loss = _means(at, loss)
    if rates is None:
        if not logged:
            raise ValueError(f"{path} has no rates")
        rows, used = zip(*logged, strict=True)
        rates = between_rows(rows, used, last, path, warmup, stacklevel=4)
    elif warmup is not None:
        raise ValueError(f"{path}: a schedule says how it warms up, so leave the warmup out")
    elif logged and isinstance(rates, Schedule):
        _compare(path, logged, rates)
    return Curve(at, loss, rates, name)


def _means(at: Any, loss: Array) -> tuple[Any, Array]:
    """Means of neighbours, where there are more losses than `MOST`."""
    if len(at) <= MOST:
        return at, loss
    parts = np.array_split(np.arange(len(at)), MOST)
    return np.array([round(float(at[p].mean())) for p in parts]), np.array([float(loss[p].mean()) for p in parts])


def _compare(path: str, logged: list[Point], schedule: Schedule) -> None:
    """Warn of a schedule that is not the one in the file."""
    n = logged[-1][0] + 1
    planned = schedule.values(n + 1)
    for at, rate in logged:
        # Logged before the update or after it.
        off = min(abs(rate - planned[at]), abs(rate - planned[max(at - 1, 0)]), abs(rate - planned[at + 1]))
        if off > 0.02 * max(rate, float(planned.max())):
            warnings.warn(
                f"{path} has the rate {rate:g} at update {at:,}, where its schedule has {planned[at]:g}; the schedule is used",
                ForecastWarning,
                stacklevel=4,
            )
            return


def _latest(events: Iterable[Point]) -> list[Point]:
    """In order; an event at an update that was passed already takes the place of what was logged from there on."""
    kept: list[Point] = []
    for n, value in events:
        while kept and kept[-1][0] >= n:
            kept.pop()
        kept.append((n, value))
    return kept
