"""Logs of earlier runs beside a comparison: curves and last figures, without a part in rankings, intervals or verdicts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laju.core.checks import shown
from laju.core.units import RunPlan
from laju.lab.statistics import number
from laju.logs import Log, Series, completed, names, read

_TEST = frozenset({"val", "valid", "validation", "eval", "test"})
_TRAIN = frozenset({"train", "training"})
_ACCURACIES = frozenset({"acc", "accuracy", "top1"})

FIGURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class LoggedRun:
    """The curves and figures in the log of an earlier run.

    Args:
        name: the name of the log.
        unit: the unit of the positions: "update", "epoch", "sample", "token" or "row".
        columns: by "rate" or the name of a figure, such as "train_loss": the column of the log. Accuracies are shares of 1.
        notes: the remarks of the reader of the log.
    """

    name: str
    unit: str
    columns: dict[str, Series]
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name in legends and tables."""
        return f"{self.name} (not paired)"

    def last(self, figure: str) -> float | None:
        """The last value of a figure; None if the log has no such column."""
        column = self.columns.get(figure)
        return None if column is None else float(column.values[-1])

    def at(self) -> float:
        """The last position of the log's figures."""
        return max(float(column.at[-1]) for column in self.columns.values())

    def curve(self, figure: str, plan: RunPlan) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The curve (epochs, values) of a figure; updates and samples are converted to epochs by the comparison's plan.

        The result is None if the log has no such column, or counts tokens or rows, which cannot be converted. Figures of whole
        epochs that are counted from 0 are figures at the end of each epoch.
        """
        column = self.columns.get(figure)
        per = {"epoch": 1.0, "update": float(plan.updates_per_epoch), "sample": float(plan.samples)}.get(self.unit)
        if column is None or per is None:
            return None
        return (column.at if figure == "rate" else completed(self.unit, column.at)) / per, column.values

    def sentence(self) -> str:
        """The line below the table: the last figures, and the column of each."""
        figures = [
            f"{figure.replace('_', ' ')} {number(float(column.values[-1]))} ({column.name!r})"
            for figure in FIGURES
            if (column := self.columns.get(figure)) is not None
        ]
        return f"{self.label}: {', '.join(figures)} at {self.unit} {self.at():,.12g}"

    def to_json(self) -> dict[str, Any]:
        return {
            "log": self.name,
            "paired": False,
            "unit": self.unit,
            "at": self.at(),
            "columns": {figure: column.name for figure, column in self.columns.items()},
            **{figure: self.last(figure) for figure in FIGURES},
            "notes": list(self.notes),
        }


def logged(log: str | os.PathLike[str] | Log, loss: str | None = None) -> LoggedRun:
    """The curves of a log for `Comparison.with_logs`: its training and test loss, its accuracies, and its rates.

    A column whose name contains "val", "eval" or "test" has test figures, any further column training figures. Accuracies above 1
    are percentages.

    Args:
        log: a file or folder, or a log that `laju.logs.read` has read.
        loss: the column of losses, if several columns could be the loss.

    Raises:
        OSError: the file cannot be read.
        LogError: not a log, no loss, or several columns of which none is clearly the loss.

    >>> import io
    >>> run = logged(read(io.StringIO("epoch,loss,val_accuracy\\n0,2.5,31\\n1,0.5,85\\n")))
    >>> run.sentence()
    "the log (not paired): train loss 0.500 ('loss'), test accuracy 0.850 ('val_accuracy') at epoch 1"
    """
    log = log if isinstance(log, Log) else read(log, loss=loss)
    columns = {f"{side}_loss": column for side, column in _losses(log, loss).items()}
    for name in log.others:
        side = _accuracy_of(name)
        if side is not None and f"{side}_accuracy" not in columns and name in log.columns:
            column = log.series(name)
            if len(column.at):
                columns[f"{side}_accuracy"] = _as_share(column)
    if log.rates and len((rates := log.series(log.rates[0])).at):
        columns["rate"] = rates
    return LoggedRun(log.path, log.unit, columns, log.notes)


def read_beside(beside: Iterable[str | os.PathLike[str] | Log | LoggedRun]) -> tuple[LoggedRun, ...]:
    """The logs of `compare`'s argument.

    Raises:
        TypeError: `beside` is a single path, or contains a value that is not a log.
        ValueError: a log is given twice, or cannot be read as a log with a loss.
    """
    if isinstance(beside, str | os.PathLike | Log | LoggedRun):
        raise TypeError(f"beside must be a list of logs, such as [{shown(beside)}]")
    runs: list[LoggedRun] = []
    for log in beside if isinstance(beside, Iterable) else [beside]:
        if not isinstance(log, str | os.PathLike | Log | LoggedRun):
            raise TypeError(f"beside must be a list of files, folders or logs, got {shown(log)}")
        run = log if isinstance(log, LoggedRun) else logged(log)
        if any(run.name == other.name for other in runs):
            raise ValueError(f"beside has the log {run.name!r} twice")
        runs.append(run)
    return tuple(runs)


def _losses(log: Log, loss: str | None) -> dict[str, Series]:
    sides: dict[str, list[str]] = {"train": [], "test": []}
    for name in log.losses:
        sides[_side(name)].append(name)
    chosen = {side: best for side, several in sides.items() if (best := _plainest(several)) is not None}
    if loss is not None or not chosen or (sides["train"] and "train" not in chosen):
        column = log.loss(loss).name  # raises where the names do not tell
        chosen[_side(column)] = column
    return {side: series for side, name in chosen.items() if len((series := log.series(name)).at)}


def _side(loss: str) -> str:
    return "test" if _TEST & {*names.words(loss)} else "train"


def _plainest(several: list[str]) -> str | None:
    """The only name, or the only name that is clearly the loss."""
    plain = [name for name in several if names.own(name) in (("loss",), ("total", "loss"), ("lm", "loss"))]
    return several[0] if len(several) == 1 else plain[0] if len(plain) == 1 else None


def _accuracy_of(name: str) -> str | None:
    """The figure that a column of accuracies holds, of training or of the test; None if its name does not say."""
    every, own = {*names.words(name)}, names.own(name)
    if not _ACCURACIES & every or names.kind(name) != "metric":
        return None
    if _TEST & every:
        return "test"
    return "train" if _TRAIN & every or own in (("acc",), ("accuracy",)) else None


def _as_share(column: Series) -> Series:
    high = float(np.nanmax(column.values, initial=0.0))
    return column._replace(values=column.values / 100) if 1 < high <= 100 and math.isfinite(high) else column
