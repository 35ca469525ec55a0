"""What adapters share: schedules as they are given, their values of consecutive updates, and factors of each group's base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import SpecError, shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, Scale
from laju.text.spec import parse

_BLOCK = 4096


def given(
    name: str, value: Any, plan: RunPlan | Scale | None = None, *, hint: str = "", resolved: bool = True
) -> Schedule:
    """The schedule of an argument in updates: a `Schedule` or the text of a schedule, resolved by the plan of the run.

    Args:
        name: of the argument, for errors.
        value: what was given.
        plan: of the run, or the lengths of its units in updates; a schedule in updates needs no plan.
        resolved: whether lengths in units need a plan here.
        hint: what to write instead of a `Factor`, where the framework has no base that a factor could multiply.

    Raises:
        TypeError: neither a schedule nor a text.
        SpecError: the text is not a schedule's.
        UnresolvedError: lengths in units, and no plan.

    >>> given("lr", "cosine(0.3, total='100%')", RunPlan(samples=40, batch_size=2, epochs=1))
    cosine(0.3, total=20)
    """
    if isinstance(value, Factor) and hint:
        raise TypeError(f"{name} must be a laju schedule of absolute values, got {shown(value)}: {hint}")
    try:
        schedule = parse(value) if isinstance(value, str) else value
    except SpecError as error:
        raise SpecError(f"{name} must be a laju schedule or its text: {error}") from None
    if not isinstance(schedule, Schedule):
        raise TypeError(f"{name} must be a laju schedule or its text, got {shown(value)}")
    if plan is not None:
        return schedule.in_updates(plan) if isinstance(plan, Scale) else schedule.resolve(plan)
    if resolved:
        schedule.require_resolved()
    return schedule


@dataclass(frozen=True)
class Factor:
    """A schedule that multiplies the base of each parameter group, so that every group keeps its ratio, its floor too.

    >>> import laju
    >>> Factor(laju.linear(1, 0.1, total=10)).schedule(10)
    0.1
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        if isinstance(self.schedule, str):
            object.__setattr__(self, "schedule", parse(self.schedule))
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"schedule must be a laju schedule or its text, got {shown(self.schedule)}")


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
