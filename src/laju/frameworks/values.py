"""What adapters share: the values of consecutive updates, and a schedule that is a factor of each group's own base."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laju.core.checks import shown
from laju.core.schedule import Schedule

_BLOCK = 4096


@dataclass(frozen=True)
class Factor:
    """A schedule that multiplies the base of each parameter group, so that every group keeps its ratio, its floor too.

    >>> import laju
    >>> Factor(laju.linear(1, 0.1, total=10)).schedule(10)
    0.1
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"schedule must be a laju schedule, got {shown(self.schedule)}")


class Values:
    """The values of a schedule, computed some thousand at a time, so that a step costs a look into a list.

    Blocks begin at multiples of their size, so that a value is computed alike wherever a run was resumed.
    """

    __slots__ = ("begin", "block", "end", "schedule")

    def __init__(self, schedule: Schedule) -> None:
        schedule.require_resolved()
        self.schedule = schedule
        self.begin = self.end = 0
        self.block: list[float] = []

    def at(self, t: int) -> float:
        if not self.begin <= t < self.end:
            self.begin = t - t % _BLOCK
            self.end = self.begin + _BLOCK
            self.block = self.schedule.values(_BLOCK, start=self.begin).tolist()
        return self.block[t - self.begin]

    def __reduce__(self) -> tuple[type[Values], tuple[Schedule]]:
        return Values, (self.schedule,)


def first(schedule: Schedule, n: int) -> npt.NDArray[np.float64]:
    """The values of the first `n` updates, the very ones that adapters write."""
    schedule.require_resolved()
    blocks = [schedule.values(_BLOCK, start=start) for start in range(0, n, _BLOCK)]
    return np.concatenate(blocks)[:n] if blocks else np.empty(0)
