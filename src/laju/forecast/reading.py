"""Read loss curves from logs.

A row (n, rate, loss) is interpreted as training loops log: after n completed updates, with the learning rate of the next update.
Loggers that count differently are off by one update, which does not matter for forecasts.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from laju.core.schedule import Schedule
from laju.forecast.blocks import Array
from laju.forecast.curves import Curve, ForecastWarning, Rates, between_rows
from laju.logs import Log, LogError, completed, read

MOST = 1000
"""The most losses that are kept of a curve; a longer curve is reduced to means of neighbours, to save time."""

Point = tuple[int, float]


def read_curve(
    log: str | os.PathLike[str] | Log,
    rates: Rates | None = None,
    name: str | None = None,
    *,
    loss: str | None = None,
    rate: str | None = None,
    update: str | None = None,
    run: int | None = None,
    warmup: int | None = None,
    updates_per_epoch: int | None = None,
) -> Curve:
    """Read the loss curve of a training log.

    A loss at update 0 is left out, and more than 1,000 losses are reduced to means of neighbours. `Curve` explains the learning
    rates between logged rows and before the first row.

    Args:
        log: a file or folder that `laju.logs.read` reads, or the log that `laju.logs.read` returned.
        rates: the run's schedule, or a learning rate for each update from 0. The log then needs no learning rates; logged
            learning rates are compared with `rates`.
        name: name of the curve; by default the name of the file without its ending, or of the folder.
        loss, rate, update: names of the columns; by default recognised as `laju.logs.read` does.
        run: the run to read, if the log has several.
        warmup: updates of a warmup before the first logged learning rate, as for `Curve`.
        updates_per_epoch: number of updates per epoch, for a log that counts epochs; by default an epoch counts as an update.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is not a log, a column is missing or ambiguous, a loss is not finite, or `Curve` refuses values.

    Warns:
        ForecastWarning: for irregularities in the log, unknown learning rates before the first row, or a schedule that the
            logged learning rates contradict.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name, "run1.csv")
    >>> _ = path.write_text("step,lr,loss\\n10,0.5,4.2\\n20,0.5,3.9\\n30,0.25,3.5\\n")
    >>> curve = read_curve(path, warmup=5)
    >>> curve, curve.rates[[0, 4, 5, 20, 25]].tolist()
    (Curve('run1', 3 losses up to update 30), [0.0, 0.4, 0.5, 0.5, 0.375])
    >>> folder.cleanup()
    """
    if not isinstance(log, Log):
        log = read(log, update=update, rate=rate, loss=loss, run=run)
        loss, rate = loss and log.losses[0], rate and log.rates[0]
    if log.position is None:
        raise LogError(
            f"{log.path} has no column of updates: {log.has()}; name the column: update=, or --update-column"
        )
    if rates is None and rate is None and not log.rates:
        raise LogError(
            f"{log.path} has no column of rates: {log.has()}; give the run's schedule, or name the column: rate=, "
            "or --rate-column"
        )
    notes = list(log.notes)
    measured = log.loss(loss)
    logged = log.rate(rate) if log.rates or rates is None else None
    scale = 1.0
    if log.unit == "epoch":
        scale = float(updates_per_epoch or 1)
        if updates_per_epoch is None:
            notes.append(
                f"{log.path} counts epochs, and an epoch counts as one update; pass updates_per_epoch to convert"
            )
    for note in notes:
        warnings.warn(note, ForecastWarning, stacklevel=2)
    where = Path(log.path)
    if name is None:
        folder = where.is_dir()
        name = where.name if folder else where.parent.name if "tfevents" in where.name else where.stem
    losses = [
        (round(at * scale), float(value))
        for at, value in zip(completed(log.unit, measured.at), measured.values, strict=True)
    ]
    used = (
        []
        if logged is None
        else [(round(at * scale), float(v)) for at, v in zip(logged.at, logged.values, strict=True)]
    )
    return _curve(log.path, name, losses, used, rates, warmup)


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
            f"{path}: the loss is {loss[bad][0]} at update {at[bad][0]}, so the run diverged; cut the log before, or leave it out"
        )
    last = int(at[-1])
    at, loss = _means(at, loss)
    if rates is None:
        if not logged:
            raise ValueError(f"{path} has no rates")
        rows, used = zip(*logged, strict=True)
        rates = between_rows(rows, used, last, path, warmup, stacklevel=4)
    elif warmup is not None:
        raise ValueError(f"{path}: the schedule includes its warmup, so leave out the argument warmup")
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
    """Warn of a schedule that differs from the rates in the file."""
    n = logged[-1][0] + 1
    planned = schedule.values(n + 1)
    for at, rate in logged:
        # Logged before or after the update.
        off = min(abs(rate - planned[at]), abs(rate - planned[max(at - 1, 0)]), abs(rate - planned[at + 1]))
        if off > 0.02 * max(rate, float(planned.max())):
            warnings.warn(
                f"{path} has the rate {rate:g} at update {at:,}, but its schedule has {planned[at]:g}; the schedule is used",
                ForecastWarning,
                stacklevel=4,
            )
            return
