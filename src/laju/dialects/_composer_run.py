"""Composer's Trainer: the facts of a run, the conversion of times, and how the Trainer steps a scheduler."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from laju.core.checks import flag, number, shown, whole
from laju.core.clocks import Clock
from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError


class Time(NamedTuple):
    """A time in Composer's form: a number and a unit of "ep", "ba", "sp", "tok" or "dur"."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value}{self.unit}"


class Whole(NamedTuple):
    """A time in whole batches, samples or tokens."""

    value: int
    unit: str

    def __str__(self) -> str:
        return f"{self.value}{self.unit}"


_TEXT = re.compile(r"(.+?)(iter|ep|ba|sp|tok|dur|sec)", re.IGNORECASE | re.DOTALL)
_CLOCK = re.compile(r"(\d+h)?(\d+m)?(\d+s)?", re.IGNORECASE)
_VALID = "such as '10ep', '500ba', '1000sp', '2e6tok' or '0.1dur'"


def time(name: str, text: object) -> Time:
    """Read a time in Composer's syntax.

    Raises:
        DialectError: if the text is not a time, or its unit is wall-clock time or iterations.

    >>> time("t_warmup", "3e4tok")
    Time(value=30000, unit='tok')
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a text {_VALID}, got {shown(text)}")
    if text and _CLOCK.fullmatch(text):
        raise DialectError(
            f"{name} must be a time {_VALID}, got the wall-clock time {shown(text)}, which Composer refuses"
        )
    found = _TEXT.fullmatch(text)
    try:
        value = float(found[1]) if found else math.nan
    except ValueError:
        value = math.nan
    if found is None or not math.isfinite(value):
        raise DialectError(f"{name} must be a time {_VALID}, got {shown(text)}")
    unit = found[2].lower()
    if unit == "sec":
        raise DialectError(
            f"{name} must be a time {_VALID}, got the wall-clock time {shown(text)}, which Composer refuses"
        )
    if unit == "iter":
        raise DialectError(
            f"{name} must be a time {_VALID}, got {shown(text)}: laju knows no length of Composer's iterations"
        )
    if value < 0:
        raise DialectError(f"{name} must be 0 or more, got {shown(text)}")
    if unit == "dur":
        return Time(value, unit)
    if value != int(value):
        raise DialectError(f"{name} must be a whole number of {unit!r}, as Composer requires, got {shown(text)}")
    return Time(int(value), unit)


@dataclass(frozen=True)
class Run:
    """Facts of a Trainer's run; `scale` multiplies the scheduler's times, and `duration` may already be scaled."""

    lr: float
    duration: Whole
    batches_per_epoch: int | None
    batch_size: int | None
    tokens_per_batch: int | None
    scale: float
    every_batch: bool

    def fact(self, name: str, what: str) -> int:
        value: int | None = getattr(self, name)
        if value is None:
            raise DialectError(f"{name} must be given to convert {what}")
        return value

    def per(self, unit: str) -> int:
        """Return the number of units per batch."""
        if unit == "ba":
            return 1
        return self.fact(*(("batch_size", "samples") if unit == "sp" else ("tokens_per_batch", "tokens")))

    def time(self, name: str, text: str, scaled: bool = True) -> Whole:
        """Convert a time to batches, samples or tokens with Composer's arithmetic."""
        value, unit = time(name, text)
        if unit == "dur":
            if self.duration.unit == "ep":
                return Whole(
                    int(value * self.fact("batches_per_epoch", f"{name} {text!r}") * self.duration.value), "ba"
                )
            return Whole(int(value * self.duration.value), self.duration.unit)
        if unit == "ep":
            value, unit = value * self.fact("batches_per_epoch", f"{name} {text!r}"), "ba"
        return Whole(int(value * (self.scale if scaled else 1.0)), unit)

    def span(self, name: str, text: str) -> Whole:
        """Convert a time that must be above 0, because Composer divides by the time."""
        found = self.time(name, text)
        if found.value == 0:
            raise DialectError(f"{name} must be above 0, got {text!r}, which is {found} here: Composer divides by it")
        return found

    def first_batch(self, at: Whole) -> int:
        """Return the first batch that the Trainer counts at a time or later."""
        return -(-at.value // self.per(at.unit))

    def clocked(self, schedule: Schedule, unit: str) -> Schedule:
        """Convert a schedule that counts a unit to a schedule that counts batches."""
        each = self.per(unit)
        return schedule if each == 1 or schedule.level is not None else Clock(schedule, ((0, 0, each),))

    @property
    def scaled(self) -> Run:
        """The run after the Trainer has scaled its duration by `scale_schedule_ratio`."""
        value, unit = self.duration
        return dataclasses.replace(self, duration=Whole(int(value * self.scale), unit))

    @property
    def batches(self) -> int:
        """Number of batches of the run."""
        if self.duration.unit == "ep":
            return self.duration.value * self.fact("batches_per_epoch", f"max_duration '{self.duration}'")
        return self.first_batch(self.duration)


def run_of(
    *,
    lr: float,
    max_duration: str | int,
    batches_per_epoch: int | None = None,
    batch_size: int | None = None,
    tokens_per_batch: int | None = None,
    scale_schedule_ratio: float = 1.0,
    step_schedulers_every_batch: bool = True,
) -> Run:
    """Return the facts of a run that the Trainer knows.

    Args:
        lr: the optimizer's learning rate.
        max_duration: length of the run before scaling: a time such as "500ba", or an int of epochs.
        batches_per_epoch: only needed for times in epochs, and for "dur" if the run is in epochs.
        batch_size: samples per batch, on all devices together; only needed for times in samples.
        tokens_per_batch: tokens per batch, on all devices together; only needed for times in tokens.
        scale_schedule_ratio: factor of the length of the run and of the scheduler's times.
        step_schedulers_every_batch: whether the scheduler is stepped after every batch (the default) or after every epoch.
    """
    if not isinstance(max_duration, str):
        max_duration = f"{whole('max_duration', max_duration, least=1)}ep"
    value, unit = time("max_duration", max_duration)
    if unit == "dur" or value == 0:
        raise DialectError(f"max_duration must be a time above 0 such as '10ep' or '500ba', got {max_duration!r}")
    scale = number("scale_schedule_ratio", scale_schedule_ratio, above=0)
    if int(value * scale) == 0:
        raise DialectError(
            f"scale_schedule_ratio={scale!r} reduces max_duration {max_duration!r} to 0, which Composer refuses"
        )

    def known(name: str, count: int | None) -> int | None:
        return None if count is None else whole(name, count, least=1)

    return Run(
        number("lr", lr),
        Whole(int(value), unit),
        known("batches_per_epoch", batches_per_epoch),
        known("batch_size", batch_size),
        known("tokens_per_batch", tokens_per_batch),
        scale,
        flag("step_schedulers_every_batch", step_schedulers_every_batch),
    )


def stepped(rates: Callable[[Run], Schedule], run: Run) -> Schedule:
    """Return the learning rate of each batch, from `rates(run)`, a schedule of the batches that the Trainer has counted."""
    start = rates(run)(0)  # the scheduler is constructed before the run is scaled
    after = rates(run.scaled)
    if after.level == start:
        return after
    # The Trainer counts a batch after stepping: batch t has the rate of count t - 1, and batch 0 the initial rate.
    if run.every_batch:
        return after.shift(1) if after(0) == start else Constant(start, 1) >> after
    # By epoch no step is late, but epoch 0 has the initial rate.
    each = run.fact("batches_per_epoch", "batches into epochs")
    held = after.staircase(each)
    return held if after(0) == start else Constant(start, each) >> held.shift(-each)
