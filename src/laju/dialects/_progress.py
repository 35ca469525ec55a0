"""Schedulers that are functions of progress from 0 to 1, for the dialects of fvcore and fastai."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from laju.core.algebra import Chain
from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.dialects.declared import DialectError, SystemSchedule


@dataclass(frozen=True)
class ProgressCurve:
    """A scheduler as a function of progress.

    Args:
        at: function of the progress that returns the value in the system's own arithmetic, and raises `DialectError` if the
            system raises.
        over: function of the number of updates that returns the schedule; None for a schedule of progress itself.
    """

    at: Callable[[float], float]
    over: Callable[[int | None], Schedule]


def curve_of(name: str, schedule: Any, system: str) -> ProgressCurve:
    """Return the curve from which a schedule of the system was made.

    Raises:
        TypeError: if the argument is not a schedule.
        DialectError: if the schedule was not made by the system's dialect.
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"{name} must be one of {system}'s schedulers, got {shown(schedule)}")
    curve = schedule.rule if isinstance(schedule, SystemSchedule) and schedule.system == system else None
    if not isinstance(curve, ProgressCurve):
        raise DialectError(f"{name} must be made by a function of laju's dialect of {system}, got {shown(schedule)}")
    return curve


def first(reached: Callable[[int], bool], near: float) -> int:
    """Return the first update at which a condition holds that holds from then on; the search begins at `near`."""
    # A bracket by doubled steps, then bisection: `near` is usually off by rounding alone.
    low = high = max(math.floor(near), 0)
    step = 1
    while low > 0 and reached(low):
        low, step = max(low - step, 0), step * 2
    step = 1
    while not reached(high):
        high, step = high + step, step * 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low


def joined(parts: Sequence[tuple[Schedule, float]], begins: Sequence[float]) -> Schedule:
    """Join schedules in sequence: each has the time at which its own clock is 0, and `begins` has its first update."""
    placed: list[Schedule] = []
    for i, (part, zero) in enumerate(parts):
        begin = begins[i]
        end = begins[i + 1] if i + 1 < len(parts) else None
        if end is not None and end <= begin:
            continue
        local = part.shift(zero - begin) if zero != begin else part  # type: ignore[arg-type]
        placed.append(local if end is None else local.take(end - begin))
    return Chain(tuple(placed)) if len(placed) > 1 else placed[0]
