"""Runs that become longer or shorter than planned: hold, extend, cool down. Each change lists its jumps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from laju.core.algebra import Chain
from laju.core.checks import number, shown, whole
from laju.core.clocks import Take
from laju.core.joins import stretch
from laju.core.pieces import Ramp
from laju.core.schedule import Schedule
from laju.inspect.description import Jump, jumps


@dataclass(frozen=True)
class Change:
    """A changed schedule, and its jumps from update `at` on; the values before `at` are those of the original schedule."""

    schedule: Schedule
    at: int
    jumps: tuple[Jump, ...]

    def __str__(self) -> str:
        if not self.jumps:
            return f"{self.schedule}: nothing jumps"
        steps = ", ".join(f"{j.by:+g} at update {j.at} (from {j.before:g} to {j.after:g})" for j in self.jumps)
        return f"{self.schedule}: jumps by {steps}"


def _change(schedule: Schedule, at: int) -> Change:
    until = max(at + 1, -(-int(schedule.length or 0) // 1)) + 1
    return Change(schedule, at, tuple(jump for jump in jumps(schedule, until) if jump.at >= at))


def _resolved(schedule: Schedule) -> None:
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a laju schedule, got {shown(schedule)}")
    schedule.require_resolved()


def hold(schedule: Schedule, at: int) -> Change:
    """Hold the schedule's value at update `at` from then on: s(min(t, at)).

    >>> from laju import linear
    >>> hold(linear(1, 0, total=10), at=4).schedule.values(7)
    array([1. , 0.9, 0.8, 0.7, 0.6, 0.6, 0.6])
    """
    _resolved(schedule)
    at = whole("at", at)
    return _change(Take(schedule, at), at)


def cooldown(schedule: Schedule, at: int, length: int, shape: str = "linear", final: float = 0.0) -> Change:
    """Follow the schedule up to update `at`, then decay from s(at) to `final` over `length` updates.

    The original schedule is not changed, so several cooldowns can branch from the same run.

    >>> from laju import constant
    >>> cooldown(constant(1.0), at=2, length=4).schedule.values(7)
    array([1.  , 1.  , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    _resolved(schedule)
    at, length = whole("at", at), whole("length", length, least=1)
    return _change(Chain((Take(schedule, at), Ramp(schedule(at), number("final", final), length, shape))), at)


def extend(schedule: Schedule, total: int, keep: Literal["value", "phase"] = "value", at: int = 0) -> Change:
    """Lengthen or shorten the schedule of a run after `at` updates, to `total` updates instead of the schedule's length L.

    - `value`: the rest of the schedule is stretched over the rest of the new run: s(at + (t - at)·(L - at)/(total - at)).
      The value does not jump.
    - `phase`: the schedule continues as if planned for `total` updates from the start: s(t·L/total). The value jumps at `at`.

    Args:
        schedule: a schedule that ends, at update L.
        total: updates of the whole run, including the updates already made; a total below L shortens the run.
        keep: "value" or "phase".
        at: number of updates already made; 0 by default.

    Raises:
        ValueError: if the schedule has no end, or `total` is not above `at`.

    >>> from laju import linear
    >>> extend(linear(1, 0, total=10), total=20, at=5).schedule(20)
    0.0
    >>> extend(linear(1, 0, total=10), total=20, keep="phase", at=5).jumps
    (Jump(at=5, before=0.5, after=0.75),)
    """
    _resolved(schedule)
    at = whole("at", at)
    total = whole("total", total, least=1)
    length = schedule.length
    if length is None:
        raise ValueError(f"schedule must have an end, but {shown(schedule)} has none; it needs no extension")
    if total <= at:
        raise ValueError(f"total must be above the {at} updates made already, got {total}")
    if keep not in ("value", "phase"):
        raise ValueError(f"keep must be 'value' or 'phase', got {shown(keep)}")
    if keep == "phase":
        rest = stretch(schedule, float(Fraction(total) / Fraction(length)))
        rest = rest.shift(-at) if at else rest
    elif at >= length:
        rest = schedule.shift(-at)  # the schedule is over: the last value goes on holding
    else:
        rest = stretch(schedule.shift(-at) if at else schedule, float(Fraction(total - at) / Fraction(length - at)))
    return _change(Chain((Take(schedule, at), rest)) if at else rest, at)
