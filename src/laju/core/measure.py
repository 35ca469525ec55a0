"""What a schedule comes to over a run: how long the run is, and its peak."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.arrays import namespace
from laju.core.checks import shown, whole
from laju.core.schedule import Schedule

_BLOCK = 1 << 20


def run_length(schedule: Schedule, updates: int | None = None) -> int:
    """The updates of a run: as given, else those until the schedule ends."""
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a laju schedule, got {shown(schedule)}")
    schedule.require_resolved()
    if updates is not None:
        return whole("updates", updates, least=1)
    length: Any = schedule.length
    if length is None:
        raise ValueError(f"{shown(schedule)} has no end, so say how many updates to look at")
    return int(max(1, math.ceil(length)))


def peak(schedule: Schedule) -> float:
    """The largest value of a schedule that ends.

    Raises:
        ValueError: the schedule has no end.
    """
    n = run_length(schedule)
    return max(float(schedule.values(min(_BLOCK, n - begin), begin).max()) for begin in range(0, n, _BLOCK))


def unchecked(schedule: Schedule, at: int | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The values of so many updates, or at an array of positions, infinite or NaN where these leave the floats.

    A schedule itself raises an error there; who looks for such values asks here.
    """
    schedule.require_resolved()
    with np.errstate(all="ignore"):
        if isinstance(at, int):
            return schedule._range(0, at)
        result: npt.NDArray[np.float64] = schedule._array(*namespace(at))
        return result
