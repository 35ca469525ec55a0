"""Warmups: before any schedule, or as factors that any schedule can be multiplied by."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

from laju.algebra import Chain, Overlay, Per, Product, Repeat, Staircase, Sum, Take
from laju.arguments import number
from laju.pieces import Constant, Exponential, Ramp, Rectification
from laju.policies._parts import choice, flag, span
from laju.schedule import Duration, Schedule
from laju.shapes import shape as _shape
from laju.units import Length, Span, UnresolvedError


def warmup(
    schedule: Schedule | float,
    length: Span,
    start: float | None = None,
    *,
    how: Literal["then", "overlay", "times"] = "then",
    shape: str = "linear",
    first: bool = False,
) -> Schedule:
    """A warmup joined to any schedule, in one of three senses.

    With W = length and s the schedule:

    - `then`: from `start` to s(0) over W updates, after which s begins: at t ≥ W the value is s(t - W).
    - `overlay`: s runs from t = 0, covered by a ramp from `start` to s(W) and uncovered at t = W.
    - `times`: s runs from t = 0, multiplied by a ramp from `start` (a factor, here) to 1.

    Args:
        schedule: what comes after, under, or is multiplied.
        length: updates of the warmup; 0 gives the schedule itself.
        start: value (for `times`: factor) at t = 0; by default 0. A warmup of shape "constant" needs one.
        how: "then", "overlay" or "times".
        shape: "constant" holds `start` during the warmup; else a name from `laju.shapes`.
        first: values (t+1)/W, so that no update is spent at `start`.

    Raises:
        ValueError: an unknown sense, or a constant warmup without a start.

    >>> from laju import linear
    >>> warmup(linear(1, 0, total=4), 2).values(6)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25])
    >>> warmup(linear(1, 0, total=4), 2, how="overlay").values(6)
    array([0.  , 0.25, 0.5 , 0.25, 0.  , 0.  ])
    >>> warmup(linear(1, 0, total=4), 2, how="times").values(6)
    array([0.   , 0.375, 0.5  , 0.25 , 0.   , 0.   ])
    """
    schedule = schedule if isinstance(schedule, Schedule) else Constant(number("schedule", schedule))
    length = span("length", length, zero=True)
    choice("how", how, ("then", "overlay", "times"))
    first = flag("first", first)
    if start is not None:
        start = number("start", start)
    elif shape == "constant":
        raise ValueError("start must be given for a constant warmup: the value that it holds, got None")
    if shape != "constant":
        shape = _shape(shape).name
    if length == 0:
        return schedule
    until = 1.0 if how == "times" else value_at(schedule, 0 if how == "then" else length, "length")
    start = start or 0.0
    top: Schedule = Constant(start, length) if shape == "constant" else Ramp(start, until, length, shape, first)
    if how == "then":
        return Chain((top, schedule))
    if how == "overlay":
        return Overlay(top, schedule)
    return Product((top >> 1.0 if shape == "constant" else top, schedule))


def exponential_warmup(peak: float, timescale: Span, first: bool = False) -> Schedule:
    """An approach that never ends: peak·(1 - e^(-t/timescale)).

    The error is at most 4 ulp of the peak, which shows where the value itself is small.

    Source: Ma & Yarats, arXiv 1910.04209. Elsewhere: pytorch_warmup `ExponentialWarmup` (with `first`).

    Args:
        peak: value that is approached; 1 makes a factor.
        timescale: updates after which 1 - 1/e of the peak is reached.
        first: t + 1 takes the place of t, so that no update is spent at 0.

    >>> (0.1 * exponential_warmup(1.0, 10)).values(4).round(4)
    array([0.    , 0.0095, 0.0181, 0.0259])
    """
    peak, timescale = number("peak", peak), span("timescale", timescale)
    missing: Schedule = Exponential(-peak, math.exp(-1), timescale)
    return Sum((Constant(peak), missing.shift(-1) if flag("first", first) else missing))


def untuned_linear(peak: float = 1.0, beta2: float = 0.999) -> Schedule:
    """A linear warmup for Adam with nothing to tune: peak·min(1, (t + 1)·(1 - β₂)/2), so 2/(1 - β₂) updates.

    Source: Ma & Yarats, arXiv 1910.04209. Elsewhere: pytorch_warmup `UntunedLinearWarmup`.

    Args:
        peak: value at the end; 1 makes a factor.
        beta2: Adam's β₂, in [0, 1), taken as the decimal that it is written as.

    >>> untuned_linear(beta2=0.5).values(5)
    array([0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    length = 2 / (1 - _decimal(beta2))
    return Ramp(0.0, number("peak", peak), length if length.denominator == 1 else float(length), first=True)


def untuned_exponential(peak: float = 1.0, beta2: float = 0.999) -> Schedule:
    """An exponential warmup for Adam with nothing to tune: peak·(1 - e^(-(1 - β₂)·(t + 1))).

    The error is at most 4 ulp of the peak.

    Source: Ma & Yarats, arXiv 1910.04209. Elsewhere: pytorch_warmup `UntunedExponentialWarmup`.

    Args:
        peak: value that is approached; 1 makes a factor.
        beta2: Adam's β₂, in [0, 1), taken as the decimal that it is written as.

    >>> untuned_exponential(beta2=0.5).values(3).round(3)
    array([0.393, 0.632, 0.777])
    """
    peak, timescale = number("peak", peak), 1 / (1 - _decimal(beta2))
    missing = Exponential(-peak, math.exp(-1), int(timescale) if timescale.denominator == 1 else float(timescale))
    return Sum((Constant(peak), missing.shift(-1)))


def radam_warmup(peak: float = 1.0, beta2: float = 0.999) -> Schedule:
    """RAdam's rectification as a warmup for Adam: peak·√((ρ(n) - 4)(ρ(n) - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρ(n))).

    ρ(n) = ρ∞ - 2n·β₂ⁿ/(1 - β₂ⁿ), ρ∞ = 2/(1 - β₂) - 1 and n = t + m, where m is the smallest number with ρ(m) > 4
    (5 for every β₂ from 0.8 up), so that no update is spent at 0. The error is at most 8 ulp for β₂ of 0.7 and more; less
    certain below, where ρ∞ comes close to 4.

    Source: Liu et al., arXiv 1908.03265. Elsewhere: inside torch `RAdam`; pytorch_warmup `RAdamWarmup`.

    Args:
        peak: value that is approached; 1 makes a factor.
        beta2: Adam's β₂, above 0.6 and below 1, taken as the decimal that it is written as.

    >>> radam_warmup(beta2=0.9).values(4).round(3)
    array([0.156, 0.255, 0.33 , 0.392])
    """
    peak, rectification = number("peak", peak), Rectification(beta2)
    return rectification if peak == 1 else peak * rectification


def _decimal(beta2: float) -> Fraction:
    return Fraction(repr(number("beta2", beta2, least=0, below=1)))


def value_at(schedule: Schedule, at: Duration, name: str) -> float:
    """A value that no plan can change, or the error that asks for the plan; `name` is the argument that says where."""
    if isinstance(schedule, Constant):
        return schedule.value
    if isinstance(at, Length):
        raise UnresolvedError(
            f"{name} must be in updates, got {str(at)!r}: the schedule's value there depends on the run, unless it is constant"
        )
    if at == 0 and schedule.units:
        match schedule:
            case Chain(parts=parts):
                return value_at(next(part for part in parts if part.length != 0), at, name)
            case Per(child=child) | Repeat(child=child) | Staircase(child=child) | Take(child=child):
                return value_at(child, at, name)
            case Ramp(start=start, first=False) | Exponential(start=start):
                return start
    value: float = schedule(at)
    return value
