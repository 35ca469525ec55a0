"""fvcore and Detectron2: the schedulers of `fvcore.common.param_scheduler`, and `LRMultiplier` and `WarmupParamScheduler`.

fvcore's schedulers are functions of the progress of the run, `where`, from 0 to 1; `LRMultiplier` evaluates a scheduler at
where = t/max_iter in update t. The most surprising behaviour:

- A boundary comes up to 1e-6 of the run too early: 5 updates in a run of 5,000,000.
- `CosineParamScheduler` climbs again past the end; `LinearParamScheduler` continues along its line, even below 0.
- `StepParamScheduler` never uses its argument `num_updates`; its last step fails in the last millionth of the run.
- `MultiStepParamScheduler` without `num_updates` ends with its last milestone, so that there is no drop at that milestone.
- `WarmupParamScheduler` leads to the scheduler's value at the end of the warmup, not to the scheduler's first value, and skips
  the beginning of the scheduler, unless `rescale_interval=True`.
- `CompositeParamScheduler` changes the last of its lengths, also in the caller's list, to make their sum 1.

All functions but `LRMultiplier` take an additional argument `max_iter`, the number of updates of the run. Without `max_iter` the
schedule's argument t is the progress `where` itself.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from laju.core import limits
from laju.core.algebra import Chain, Product, Sum
from laju.core.checks import whole
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects import _detectron2
from laju.dialects._progress import ProgressCurve, curve_of, first, joined
from laju.dialects.base import DialectError, System
from laju.dialects.declared import Above0, Count1, From0, Made, exactly, real

_EPSILON = 1e-6
"""What fvcore adds to `where` before it compares."""


Int1 = Annotated[int, exactly(int, "fvcore requires it", least=1)]

SYSTEM = System(
    name="fvcore",
    title="fvcore",
    package="fvcore",
    releases=("0.1.5.post20221221",),
    counts="updates, of max_iter",
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as fvcore, Detectron2's four classes included."""


@SYSTEM.declare
def ConstantParamScheduler(value: float, *, max_iter: int | None = None) -> Schedule | Made:
    """A constant value; fvcore raises from where = 1 on, where the value holds here.

    Args:
        value: the value at every update.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    >>> ConstantParamScheduler(0.1)(0.5)
    0.1
    """
    level = value

    def at(where: float) -> float:
        if where >= 1.0:
            raise _past_end("ConstantParamScheduler", where)
        return level

    return _made(ProgressCurve(at, lambda n: Constant(level)), max_iter)


@SYSTEM.declare
def CosineParamScheduler(start_value: float, end_value: float, *, max_iter: int | None = None) -> Schedule | Made:
    """Cosine decay: end + (start - end)·(1 + cos(π·where))/2; after the end of the run the cosine wave continues.

    Args:
        start_value, end_value: values at where = 0 and where = 1.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    >>> CosineParamScheduler(1.0, 0.0, max_iter=4).values(7).round(3)
    array([1.   , 0.854, 0.5  , 0.146, 0.   , 0.146, 0.5  ])
    """
    start, end = start_value, end_value

    def at(where: float) -> float:
        return end + 0.5 * (start - end) * (1 + math.cos(math.pi * where))

    return _made(ProgressCurve(at, lambda n: Ramp(start, end, n or 1, "cosine").repeat(mirror=True)), max_iter)


@SYSTEM.declare
def ExponentialParamScheduler(start_value: float, decay: Above0, *, max_iter: int | None = None) -> Schedule | Made:
    """Exponential decay: start·decay^where, which continues after the end of the run.

    Args:
        start_value: value at where = 0.
        decay: ratio of the values at the end and at the start of the run, above 0.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    >>> ExponentialParamScheduler(2.0, 0.25, max_iter=2).values(4)
    array([2.  , 1.  , 0.5 , 0.25])
    """
    start, factor = start_value, decay
    return _made(
        ProgressCurve(lambda where: start * (factor**where), lambda n: Exponential(start, factor, n or 1)), max_iter
    )


@SYSTEM.declare
def LinearParamScheduler(start_value: float, end_value: float, *, max_iter: int | None = None) -> Schedule | Made:
    """Linear change from start to end, which continues after the end of the run: end·where + start·(1 - where).

    Args:
        start_value, end_value: values at where = 0 and where = 1.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    >>> LinearParamScheduler(1.0, 0.0, max_iter=4).values(7)
    array([ 1.  ,  0.75,  0.5 ,  0.25,  0.  , -0.25, -0.5 ])
    """
    start, end = start_value, end_value
    return _made(
        ProgressCurve(
            lambda where: end * where + start * (1 - where),
            lambda n: Ramp(start, end, n or 1) >> _endless_line(end, end - start, n or 1),
        ),
        max_iter,
    )


@SYSTEM.declare
def PolynomialDecayParamScheduler(base_value: float, power: From0, *, max_iter: int | None = None) -> Schedule | Made:
    """Polynomial decay: base·(1 - where)^power.

    After the end of the run the formula continues for a whole power. For a fractional power fvcore's value is complex, and the
    value here is 0.

    Args:
        base_value: value at where = 0.
        power: exponent, at least 0; with a negative power fvcore divides by 0 at the end.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    >>> PolynomialDecayParamScheduler(1.0, 2, max_iter=4).values(6)
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    , 0.0625])
    """
    base = base_value

    def at(where: float) -> float:
        if where > 1 and power != int(power):
            raise DialectError(f"PolynomialDecayParamScheduler's values past the end, here at {where:g}, are complex")
        return float(base * (1 - where) ** (int(power) if power == int(power) else power))

    def over(n: int | None) -> Schedule:
        if power == 0:
            return Constant(base)
        fall = Ramp(base, 0.0, n or 1, "linear" if power == 1 else f"power({power!r})")
        if power == 1:
            return fall >> _endless_line(0.0, -base, n or 1)
        if power != int(power) or n is None:
            return fall
        # Its own clock begins an update past the end, as an offset of 0 is none.
        return Chain((fall, Constant(0.0, 1), Power(-base if power % 2 else base, -power, 1 / n, n)))

    return _made(ProgressCurve(at, over), max_iter)


@SYSTEM.declare
def MultiStepParamScheduler(
    values: Sequence[float],
    num_updates: float | None = None,
    milestones: Sequence[int] | None = None,
    *,
    max_iter: int | None = None,
) -> Schedule | Made:
    """Piecewise constant values: values[i] with i = number of milestones ≤ ⌊(where + 1e-6)·num_updates⌋.

    Args:
        values: the values; one more than milestones, or as many as milestones if `num_updates` is not given.
        num_updates: length of the run in the unit of the milestones, which may be epochs; by default the last milestone, which
            then only marks the end of the run.
        milestones: counts at which the next value begins, in increasing order; by default the values divide `num_updates` evenly.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    Raises:
        DialectError: if neither `milestones` nor `num_updates` is given, the numbers of values and milestones do not match, or
            the milestones do not increase between 0 and `num_updates`.

    >>> MultiStepParamScheduler([1.0, 0.5, 0.1], num_updates=6, milestones=[2, 4], max_iter=6).values(6)
    array([1. , 1. , 0.5, 0.5, 0.1, 0.1])
    """
    levels = _levels(values)
    if num_updates is None and milestones is None:
        raise DialectError("num_updates and milestones must not both be left out, as fvcore requires")
    if milestones is None:
        width = math.ceil(num_updates / float(len(levels)))  # type: ignore[operator]
        at = [width * (i + 1) for i in range(len(levels) - 1)]
    else:
        wanted = len(levels) - (num_updates is not None)
        if len(milestones) != wanted:
            raise DialectError(f"milestones must be {wanted} for {len(levels)} values, got {len(milestones)}")
        at = list(milestones)
    if num_updates is None:
        num_updates, at = at[-1], at[:-1]
    n = num_updates
    if n < len(levels):
        raise DialectError(f"num_updates must be at least the number of values, {len(levels)}, got {num_updates!r}")
    for before, milestone in zip([0, *at], at, strict=False):
        if not before < milestone < n:
            raise DialectError(
                f"milestones must increase between 0 and num_updates, {n:g}, got {milestone:g} after {before:g}"
            )

    def index(where: float) -> int:
        return bisect_right(at, int((where + _EPSILON) * n))

    def value(where: float) -> float:
        if where > 1.0:
            raise _past_end("MultiStepParamScheduler", where)
        return levels[index(where)]

    # The next value comes with the first whole count at or after a milestone.
    return _made(ProgressCurve(value, lambda m: _stairs(levels, index, [math.ceil(a) / n for a in at], m)), max_iter)


@SYSTEM.declare
def StepParamScheduler(
    num_updates: Annotated[float, real("fvcore requires it", above=0)],
    values: Sequence[float],
    *,
    max_iter: int | None = None,
) -> Schedule | Made:
    """Piecewise constant values, each for an equal part of the run: values[⌊(where + 1e-6)·len(values)⌋].

    From where = 1 - 1e-6 on fvcore's index exceeds the list and fvcore raises; here the last value holds.

    Args:
        num_updates: a number above 0; no effect.
        values: the values, at least one.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    >>> StepParamScheduler(4, [1.0, 0.5], max_iter=4).values(5)
    array([1. , 1. , 0.5, 0.5, 0.5])
    """
    levels = _levels(values)
    return _made(_steps("StepParamScheduler", levels), max_iter)


@SYSTEM.declare
def StepWithFixedGammaParamScheduler(
    base_value: Annotated[float, real("fvcore requires it", above=0)],
    num_decays: Annotated[int, exactly(int, "fvcore requires it", least=1, most=limits.ITEMS)],
    gamma: Annotated[float, real("fvcore requires it", above=0)],
    num_updates: Int1,
    *,
    max_iter: int | None = None,
) -> Schedule | Made:
    """Values base, base·γ, base·γ², … with `num_decays` drops, each value for an equal part of the run.

    From where = 1 - 1e-6 on fvcore raises; here the last value holds.

    Args:
        base_value: value at where = 0.
        num_decays: number of drops, at most a million.
        gamma: γ, the factor of a drop.
        num_updates: a number of at least 1; no effect.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    >>> StepWithFixedGammaParamScheduler(1.0, 2, 0.5, 6, max_iter=6).values(6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    """
    levels = [base_value]
    for _ in range(num_decays):
        levels.append(levels[-1] * gamma)
    return _made(_steps("StepWithFixedGammaParamScheduler", levels), max_iter)


@SYSTEM.declare
def CompositeParamScheduler(
    schedulers: Sequence[Schedule],
    lengths: Sequence[From0],
    interval_scaling: Sequence[Literal["rescaled", "fixed"]],
    *,
    max_iter: int | None = None,
) -> Schedule | Made:
    """Schedulers in sequence, each for a fraction of the run.

    A "rescaled" scheduler runs from its beginning to its end within its fraction; a "fixed" scheduler is evaluated at the
    progress of the whole run. The next scheduler takes over when `where` + 1e-6 exceeds the sum of the previous lengths. In the
    last 1e-6 before that sum fvcore evaluates a "rescaled" scheduler before its beginning; here the scheduler's first value
    holds.

    Args:
        schedulers: schedules made by functions of this module.
        lengths: the fraction of the run of each scheduler; the sum must be 1 within 1e-3, and the last fraction is corrected.
        interval_scaling: "rescaled" or "fixed" for each scheduler.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    Raises:
        DialectError: if the lists differ in length, the sum of the lengths is not 1, or a scaling is unknown.

    >>> parts = [ConstantParamScheduler(0.4), CosineParamScheduler(0.4, 0.0)]
    >>> CompositeParamScheduler(parts, [0.5, 0.5], ["rescaled", "rescaled"], max_iter=8).values(9).round(3)
    array([0.4  , 0.4  , 0.4  , 0.4  , 0.4  , 0.341, 0.2  , 0.059, 0.   ])
    """
    curves = [curve_of(f"schedulers[{i}]", s, "fvcore") for i, s in enumerate(schedulers)]
    return _made(_composite(curves, lengths, interval_scaling), max_iter)


@SYSTEM.declare
def WarmupParamScheduler(
    scheduler: Schedule,
    warmup_factor: float,
    warmup_length: Annotated[float, real(least=0, most=1)],
    warmup_method: Literal["linear", "constant"] = "linear",
    rescale_interval: bool = False,
    *,
    max_iter: int | None = None,
) -> Schedule | Made:
    """Detectron2's warmup before a scheduler: from `warmup_factor` times the first value to the value at the end of the warmup.

    Args:
        scheduler: a schedule made by a function of this module. Its first part, of length `warmup_length`, is replaced, unless
            `rescale_interval`.
        warmup_factor: initial value of the warmup, relative to the scheduler's first value.
        warmup_length: length of the warmup as a fraction of the run.
        warmup_method: "linear", or "constant" for the initial value throughout and a jump at the end.
        rescale_interval: whether the scheduler runs from its beginning to its end in the rest of the run, so that the warmup
            leads to the scheduler's first value; Detectron2 0.6 does not have this option.
        max_iter: number of updates of the run; without `max_iter` the schedule's argument is the progress `where`.

    Raises:
        DialectError: if the method is unknown, or the scheduler was not made by this module.

    >>> WarmupParamScheduler(CosineParamScheduler(1.0, 0.0), 0.0, 0.5, max_iter=8).values(9).round(3)
    array([0.   , 0.125, 0.25 , 0.375, 0.5  , 0.309, 0.146, 0.038, 0.   ])
    """
    curve = curve_of("scheduler", scheduler, "fvcore")
    length = warmup_length
    start = warmup_factor * curve.at(0.0)
    end = curve.at(0.0 if rescale_interval else length)
    warmup = ConstantParamScheduler(start) if warmup_method == "constant" else LinearParamScheduler(start, end)
    scaling = ["rescaled", "rescaled" if rescale_interval else "fixed"]
    both = [curve_of("warmup", warmup, "fvcore"), curve]
    return _made(_composite(both, [length, 1 - length], scaling), max_iter)


@SYSTEM.declare
def LRMultiplier(lr: float, multiplier: Schedule, max_iter: Count1, last_iter: int = -1) -> Schedule | Made:
    """Detectron2's scheduler: the optimizer's learning rate times the value of an fvcore scheduler at where = t/max_iter.

    Args:
        lr: the optimizer's learning rate.
        multiplier: a schedule made by another function of this module.
        max_iter: number of updates of the run.
        last_iter: no effect; a schedule begins at 0.

    Raises:
        DialectError: if the multiplier was not made by this module.

    >>> LRMultiplier(0.1, CosineParamScheduler(1.0, 0.0), max_iter=4).values(5).round(4)
    array([0.1   , 0.0854, 0.05  , 0.0146, 0.    ])
    """
    base, curve = lr, curve_of("multiplier", multiplier, "fvcore")
    times = ProgressCurve(lambda where: base * curve.at(where), lambda n: Product((Constant(base), curve.over(n))))
    return _made(times, max_iter)


# --- for the functions above -------------------------------------------------------------------------------------------


def _made(curve: ProgressCurve, max_iter: int | None) -> Made:
    return Made(curve.over(None if max_iter is None else whole("max_iter", max_iter, least=1)), curve)


def _past_end(name: str, where: float) -> DialectError:
    return DialectError(f"fvcore's {name} raises at a progress of {where:g}, past its end")


def _levels(values: Sequence[float]) -> list[float]:
    if not values:
        raise DialectError("values must have at least one value, got none")
    return list(values)


def _endless_line(start: float, change: float, n: int) -> Schedule:
    """Line start + change·t/n without end."""
    return Sum((Constant(start - change), Power(change, -1.0, 1.0, n)))


def _steps(name: str, levels: list[float]) -> ProgressCurve:
    def index(where: float) -> int:
        return int((where + _EPSILON) * len(levels))

    def at(where: float) -> float:
        i = index(where)
        if i >= len(levels):
            raise _past_end(name, where)
        return levels[i]

    edges = [i / len(levels) for i in range(1, len(levels))]
    return ProgressCurve(at, lambda n: _stairs(levels, index, edges, n))


def _stairs(levels: list[float], index: Callable[[float], int], edges: list[float], n: int | None) -> Schedule:
    """Levels that change at fractions of the run, or at the updates at which the system's own index changes."""
    begins: list[float] = [0, *(edge - _EPSILON for edge in edges)]
    # Searched in fvcore's own arithmetic, since rounding decides the update of an edge.
    if n is not None:
        begins = [0, *(first(lambda t, i=i: index(t / n) >= i, edge * n) for i, edge in enumerate(edges, 1))]  # type: ignore[misc]
    return joined([(Constant(level), begin) for level, begin in zip(levels, begins, strict=True)], begins)


def _composite(curves: list[ProgressCurve], lengths: Sequence[float], scaling: Sequence[str]) -> ProgressCurve:
    shares = list(lengths)
    if len(curves) != len(shares) or not curves:
        raise DialectError(
            f"schedulers and lengths must have the same length, at least 1, got {len(curves)} and {len(shares)}"
        )
    if abs(sum(shares) - 1.0) >= 1e-3:
        raise DialectError(f"lengths must have a sum of 1, as fvcore requires, got {sum(shares):g}")
    # As fvcore does: the last share takes what rounding has left.
    if sum(shares) != 1.0:
        shares[-1] = 1.0 - sum(shares[:-1])
    if len(scaling) < len(curves):
        raise DialectError(
            f"interval_scaling must have an entry for each of {len(curves)} schedulers, got {len(scaling)}"
        )
    totals = [shares[0]]
    for share in shares[1:]:
        totals.append(totals[-1] + share)

    def index(where: float) -> int:
        return next((i for i, total in enumerate(totals[:-1]) if where + _EPSILON <= total), len(totals) - 1)

    def at(where: float) -> float:
        i = index(where)
        if scaling[i] == "rescaled":
            if not shares[i]:
                raise DialectError(f"lengths[{i}] must be above 0: fvcore divides by it")
            where = (where - (totals[i] - shares[i])) / shares[i]
        return curves[i].at(where)

    def over(n: int | None) -> Schedule:
        whole_run = n or 1
        edges: list[float] = [total - _EPSILON for total in totals[:-1]]
        if n is not None:
            edges = [first(lambda t, i=i: index(t / n) > i, total * n) for i, total in enumerate(totals[:-1])]  # type: ignore[misc]
        parts: list[tuple[Schedule, float]] = []
        for i, curve in enumerate(curves):
            begin = (totals[i] - shares[i]) * whole_run
            if scaling[i] == "fixed":
                parts.append((curve.over(n), 0))
            else:
                parts.append((_over(curve, n, shares[i]), round(begin) if abs(begin - round(begin)) < 1e-9 else begin))
        return joined(parts, [0, *edges])

    return ProgressCurve(at, over)


def _over(curve: ProgressCurve, n: int | None, share: float) -> Schedule:
    """A curve over a fraction of the run, whose boundaries are in updates of the run."""
    from laju.core.joins import stretch

    if not share:
        return Constant(0.0)  # never in force
    length = (n or 1) * share
    if n is not None and abs(length - round(length)) < 1e-9 and round(length):
        return curve.over(round(length))
    return stretch(curve.over(None), length)


WarmupMultiStepLR = SYSTEM.declare(_detectron2.WarmupMultiStepLR)
WarmupCosineLR = SYSTEM.declare(_detectron2.WarmupCosineLR)
