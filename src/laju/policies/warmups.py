"""Warmups: before any schedule, or as factors that any schedule can be multiplied by."""

from __future__ import annotations

import math
from fractions import Fraction

from laju.core import joins
from laju.core.algebra import Sum
from laju.core.checks import flag, number
from laju.core.pieces import Constant, Exponential, Ramp, Rectification
from laju.core.policy import policy
from laju.core.schedule import Schedule
from laju.core.units import Span, span

warmup = policy(joins.warmup)


@policy
def exponential_warmup(peak: float, timescale: Span, first: bool = False) -> Schedule:
    """Exponential approach to the peak, without end: peak·(1 - e^(-t/timescale)).

    The error is at most 4 ulp of the peak, so small values have a larger relative error.

    Source: Ma & Yarats, arXiv 1910.04209. Elsewhere: pytorch_warmup `ExponentialWarmup` (with `first`).

    Args:
        peak: value that is approached; 1 gives a factor for a schedule.
        timescale: updates after which 1 - 1/e of the peak is reached.
        first: use t + 1 instead of t, so that no update is spent at 0.

    >>> (0.1 * exponential_warmup(1.0, 10)).values(4).round(4)
    array([0.    , 0.0095, 0.0181, 0.0259])
    """
    peak, timescale = number("peak", peak), span("timescale", timescale)
    missing: Schedule = Exponential(-peak, math.exp(-1), timescale)
    return Sum((Constant(peak), missing.shift(-1) if flag("first", first) else missing))


@policy
def untuned_linear(peak: float = 1.0, beta2: float = 0.999) -> Schedule:
    """A linear warmup for Adam without parameters to tune: peak·min(1, (t + 1)·(1 - β₂)/2), so 2/(1 - β₂) updates.

    Source: Ma & Yarats, arXiv 1910.04209. Elsewhere: pytorch_warmup `UntunedLinearWarmup`.

    Args:
        peak: value at the end; the default, 1, gives a factor for a schedule.
        beta2: Adam's β₂, in [0, 1), taken as its decimal text: 0.999 is exactly 999/1000.

    >>> untuned_linear(beta2=0.5).values(5)
    array([0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    length = 2 / (1 - _decimal(beta2))
    return Ramp(0.0, number("peak", peak), length if length.denominator == 1 else float(length), first=True)


@policy
def untuned_exponential(peak: float = 1.0, beta2: float = 0.999) -> Schedule:
    """An exponential warmup for Adam without parameters to tune: peak·(1 - e^(-(1 - β₂)·(t + 1))).

    The error is at most 4 ulp of the peak.

    Source: Ma & Yarats, arXiv 1910.04209. Elsewhere: pytorch_warmup `UntunedExponentialWarmup`.

    Args:
        peak: value that is approached; the default, 1, gives a factor for a schedule.
        beta2: Adam's β₂, in [0, 1), taken as its decimal text: 0.999 is exactly 999/1000.

    >>> untuned_exponential(beta2=0.5).values(3).round(3)
    array([0.393, 0.632, 0.777])
    """
    peak, timescale = number("peak", peak), 1 / (1 - _decimal(beta2))
    missing = Exponential(-peak, math.exp(-1), int(timescale) if timescale.denominator == 1 else float(timescale))
    return Sum((Constant(peak), missing.shift(-1)))


@policy
def radam_warmup(peak: float = 1.0, beta2: float = 0.999) -> Schedule:
    """RAdam's rectification as a warmup for Adam: peak·√((ρ(n) - 4)(ρ(n) - 2)ρ∞ / ((ρ∞ - 4)(ρ∞ - 2)ρ(n))).

    ρ(n) = ρ∞ - 2n·β₂ⁿ/(1 - β₂ⁿ), ρ∞ = 2/(1 - β₂) - 1 and n = t + m, where m is the smallest number with ρ(m) > 4
    (5 for every β₂ from 0.8 up), so that no update is spent at 0. The error is at most 8 ulp for β₂ ≥ 0.7; for smaller β₂, where
    ρ∞ approaches 4, no bound is promised.

    Source: Liu et al., arXiv 1908.03265. Elsewhere: inside torch `RAdam`; pytorch_warmup `RAdamWarmup`.

    Args:
        peak: value that is approached; the default, 1, gives a factor for a schedule.
        beta2: Adam's β₂, above 0.6 and below 1, taken as its decimal text: 0.999 is exactly 999/1000.

    >>> radam_warmup(beta2=0.9).values(4).round(3)
    array([0.156, 0.255, 0.33 , 0.392])
    """
    peak, rectification = number("peak", peak), Rectification(beta2)
    return rectification if peak == 1 else peak * rectification


def _decimal(beta2: float) -> Fraction:
    return Fraction(repr(number("beta2", beta2, least=0, below=1)))
