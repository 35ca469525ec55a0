"""Compare the rows of a log with a schedule or a second log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from laju.core.schedule import Schedule
from laju.logs import Log, LogError

Array = npt.NDArray[np.float64]
RELATIVE = 2e-7
"""Relative change of a learning rate by float32 rounding and by sums of many steps."""


def rates_at(schedule: Schedule, positions: Array) -> Array:
    """The rates of a schedule at real positions; before 0, the first rate."""
    with np.errstate(all="ignore"):
        return np.asarray(schedule(np.maximum(positions, 0.0)), float)


@dataclass(frozen=True)
class Case:
    """The planned schedule and the rows of a log: positions, learning rates, and half a unit of the rates' last digits."""

    schedule: Schedule
    t: Array
    y: Array
    half: Array

    @cached_property
    def tolerance(self) -> Array:
        return self.half * 1.001 + RELATIVE * np.abs(self.y) + 1e-9 * max(float(np.abs(self.y).max()), 1e-300)

    def meant(self, positions: Array) -> Array:
        """The planned learning rates at real positions; before 0 the first rate."""
        return rates_at(self.schedule, positions)

    def explains(self, predicted: Array) -> bool:
        return bool((np.abs(predicted - self.y) <= self.tolerance).all())

    def begin(self) -> int:
        """The index of the first row that differs from the plan."""
        return int(np.argmax(np.abs(self.meant(self.t) - self.y) > self.tolerance))


Rows = list[tuple[int, float, float]]


def beside(log: Log, schedule: Schedule, rate: str | None = None) -> Rows:
    """Rows (update, learning rate of the log, of the schedule) that differ by more than the log's digits explain."""
    series = log.rate(rate)
    case = Case(schedule, series.at, series.values, series.precision())
    return _different(case.t, case.y, case.meant(case.t), case.tolerance)


def apart(a: Log, b: Log) -> tuple[Rows, int]:
    """Rows (update, rate of a, rate of b) that differ by more than the logs' digits explain, and the number of common rows.

    Raises:
        LogError: if the logs have no update in common.
    """
    one, two = a.rate(), b.rate()
    at, i, j = np.intersect1d(one.at, two.at, return_indices=True)
    if not at.size:
        raise LogError(f"{a.path} and {b.path} have no update in common")
    slack = one.precision()[i] + two.precision()[j] + RELATIVE * np.abs(one.values[i])
    return _different(at, one.values[i], two.values[j], slack), len(at)


def _different(at: Array, x: Array, y: Array, slack: Array) -> Rows:
    return [(int(at[i]), float(x[i]), float(y[i])) for i in np.flatnonzero(np.abs(x - y) > slack)]
