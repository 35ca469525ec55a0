"""The common base of adapters: schedules as arguments, values of consecutive updates, and factors of each group's base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import SpecError, is_number, shown
from laju.core.schedule import Schedule
from laju.core.units import Length, RunPlan, Scale, UnresolvedError, as_length
from laju.text.spec import parse

_BLOCK = 4096
_AN_UPDATE_AN_EPOCH = RunPlan(samples=1, batch_size=1, epochs=1)
_FOREIGN = {
    **dict.fromkeys(
        ("learning_rate", "schedule", "scheduler", "lr_schedule"), "the schedule of the learning rate is lr=…"
    ),
    **dict.fromkeys(
        ("T_max", "total_steps", "num_training_steps", "total_iters", "max_steps", "total", "epochs"),
        "the length is the schedule's own: lr=laju.cosine(0.1, total=1000)",
    ),
    **dict.fromkeys(
        ("warmup_ratio", "warmup_steps", "num_warmup_steps", "warmup", "warmup_t", "warmup_epochs"),
        "the warmup is the schedule's own: lr=laju.cosine(0.1, total=1000, warmup='3%')",
    ),
    **dict.fromkeys(
        ("eta_min", "min_lr", "final"),
        "the last value is the schedule's own: lr=laju.cosine(0.1, total=9, final=0.01)",
    ),
}
"""Arguments of other schedulers' constructors, and the same in laju."""


def given(
    name: str, value: Any, plan: RunPlan | Scale | None = None, *, hint: str = "", resolved: bool = True
) -> Schedule:
    """Return the schedule of an argument, a `Schedule` or its text, with lengths resolved to updates by the plan of the run.

    Args:
        name: name of the argument, for errors.
        value: value of the argument.
        plan: plan of the run, or the lengths of units in updates; not needed for a schedule in updates.
        hint: advice in the error about a `Factor`, for frameworks without a base that a factor could multiply.
        resolved: whether lengths in other units than updates are an error without a plan.

    Raises:
        TypeError: if the value is neither a schedule nor text.
        SpecError: if the text is not a schedule.
        UnresolvedError: if lengths are not in updates and there is no plan.

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
    """A schedule that multiplies the base value of each parameter group, so the ratios between groups stay constant.

    Args:
        schedule: the schedule of the factor, or its text.

    >>> import laju
    >>> Factor(laju.linear(1, 0.1, total=10)).schedule(10)
    0.1
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", given("schedule", self.schedule, resolved=False))


Driven = Schedule | Factor | float | str
"""An argument for a hyper-parameter: absolute values as a schedule or its text, a factor of each group's base, or a number."""


def driven(
    name: str, value: Any, plan: RunPlan | Scale | None = None, *, resolved: bool = True
) -> Schedule | Factor | float:
    """Return the argument for a hyper-parameter: a number, a schedule or a `Factor`, with lengths resolved to updates.

    Raises:
        TypeError: if the value is not a schedule, its text, a `Factor` or a number.

    >>> driven("lr", Factor("cosine(1, total='100%')"), RunPlan(samples=40, batch_size=2, epochs=1))
    Factor(schedule=cosine(1, total=20))
    """
    if isinstance(value, Factor):
        return Factor(given(name, value.schedule, plan, resolved=resolved))
    if isinstance(value, Schedule | str):
        return given(name, value, plan, resolved=resolved)
    if is_number(value):
        return value
    raise TypeError(f"{name} must be a schedule, its text, a Factor or a number, got {shown(value)}")


def by_epoch(schedule: Schedule, plan: RunPlan | Scale | None = None) -> tuple[Schedule, int]:
    """Return a schedule for a clock that counts epochs, and the number of the schedule's updates per epoch.

    Lengths in epochs, or numbers without a unit if no length is in epochs, are counts of the clock. Lengths in other units need
    the plan of the run.

    Raises:
        UnresolvedError: if lengths are in units other than epochs, or in both updates and epochs, and there is no plan.

    >>> from laju import linear
    >>> by_epoch(linear(1, 0, total="4 epochs"))
    (linear(1, 0, total=4), 1)
    """
    counts = not schedule.units or not _in_updates(schedule)
    if counts and schedule.units <= {"epochs"}:
        return schedule.resolve(_AN_UPDATE_AN_EPOCH), 1
    if plan is None:
        units = sorted({*schedule.units, *(() if counts else ("updates",))})
        raise UnresolvedError(
            f"{shown(schedule)} has lengths in {', '.join(units)}, which cannot be converted to epochs. Describe the "
            "run, plan=RunPlan(samples=…, batch_size=…, epochs=…), or give every length in epochs"
        )
    scale = plan if isinstance(plan, Scale) else plan.scale
    if counts:
        return schedule.in_updates(scale.counted_in("epochs")), 1
    each = scale.updates(as_length("1 epoch"))
    if each.denominator > 1:
        raise UnresolvedError(f"an epoch of the plan must be a whole number of updates, got {each}")
    return schedule.in_updates(scale), int(each)


def _in_updates(schedule: Schedule) -> bool:
    """Return whether a length has a number of updates, also in a sum such as 10 epochs - 500 updates."""
    found = False

    def length(value: Any, kind: str) -> Any:
        nonlocal found
        if isinstance(value, Length):
            found = found or any(unit == "updates" for unit, _ in value.terms)
        elif value and value - value == 0:
            found = True
        return value

    def child(part: Schedule) -> Schedule:
        part.rebuild(child, length)
        return part

    child(schedule)
    return found


def foreign(word: str) -> str:
    """Return the end of an error message with laju's equivalent for an argument of another library's scheduler."""
    return f"; {_FOREIGN[word]}" if word in _FOREIGN else ""


class Values:
    """Values of a schedule, computed in blocks of some thousand, so that a step only reads from a list.

    Blocks begin at multiples of their size, so a value does not depend on where a run was resumed.

    Args:
        schedule: a schedule in updates.
        stride: updates of the schedule per position, for a clock that counts epochs.
    """

    __slots__ = ("begin", "block", "end", "schedule", "stride")

    def __init__(self, schedule: Schedule, stride: int = 1) -> None:
        schedule.require_resolved()
        self.schedule, self.stride = schedule, stride
        self.begin = self.end = 0
        self.block: list[float] = []

    def at(self, t: int) -> float:
        if not self.begin <= t < self.end:
            if t < 0:
                return float(self.schedule(t))  # refused, with the step that was asked
            # NumPy's vector loops and their scalar tails may differ in the last digit, so a block never moves.
            self.begin = t - t % _BLOCK
            self.end = self.begin + _BLOCK
            if self.stride == 1:
                self.block = self.schedule.values(_BLOCK, start=self.begin).tolist()
            else:
                self.block = self.schedule(np.arange(self.begin, self.end) * self.stride).tolist()
        return self.block[t - self.begin]

    def __reduce__(self) -> tuple[Callable[..., Values], tuple[Schedule, int]]:
        return Values, (self.schedule, self.stride)


def first(schedule: Schedule, n: int) -> npt.NDArray[np.float64]:
    """Return the values of the first `n` updates, exactly as adapters write them."""
    schedule.require_resolved()
    blocks = [schedule.values(_BLOCK, start=start) for start in range(0, n, _BLOCK)]
    return np.concatenate(blocks)[:n] if blocks else np.empty(0)
