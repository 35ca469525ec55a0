"""Keras 3: `keras.optimizers.schedules`, called by the optimizer with the number of completed updates.

The most surprising behaviour:

- Values are float32 on every backend; these are the same formulas in float64.
- A boundary of `PiecewiseConstantDecay` belongs to the value before: the next value begins an update later.
- `decay_steps` of `CosineDecay` does not include the warmup, and `warmup_steps` does nothing without a `warmup_target`.
- `PolynomialDecay(cycle=True)` is no repetition: each cycle is longer than all cycles before, and begins lower.
- `alpha` is a share of the first value (of the warmup's target), `end_learning_rate` is absolute and 0.0001 by default.
- Where `initial_learning_rate` is an int, Keras computes in whole numbers: `CosineDecay(0, 90, warmup_target=0.001, …)` stays
  at 0. An int is refused here.
- `CosineDecayRestarts` finds its cycle by logarithms in float32, and may be an update late; here cycles are on time. So may be a
  stair or a restart where `decay_steps` is a fraction that float32 rounds, such as 0.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Annotated, Any

from laju.core.algebra import Chain
from laju.core.checks import number, shown
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import From0, Made, by_steps, real

Steps = Annotated[float, real("Keras refuses it", above=0)]


def _initial(name: str, value: Any) -> float:
    """The first rate, whose type is that of all that Keras computes: an int makes 0 of a warmup_target of 0.001."""
    found = number(name, value)
    if isinstance(value, Integral):
        raise DialectError(
            f"{name} must be a float, such as {found!r}, got {shown(value)}: with an int, Keras computes in whole numbers"
        )
    return found


Initial = Annotated[float, _initial]

SYSTEM = System(
    name="keras",
    title="Keras",
    package="keras",
    releases=("3.15.1",),
    counts="completed updates",
    refused={
        "ReduceLROnPlateau": "it follows a metric; laju.adaptive.Plateau does the same as a factor",
        "LearningRateScheduler": "it calls a function of yours with the epoch and the rate; a laju.Table takes its values",
    },
)


@SYSTEM.declare
def ExponentialDecay(
    initial_learning_rate: Initial,
    decay_steps: Steps,
    decay_rate: Annotated[float, real("the powers are no numbers", least=0)],
    staircase: bool = False,
) -> Schedule:
    """initial·rate^(t/steps), or with a staircase initial·rate^⌊t/steps⌋, without end.

    Args:
        initial_learning_rate: at t = 0.
        decay_steps: updates in which the rate falls by the factor.
        decay_rate: the factor, not negative.
        staircase: the whole fall at once.

    >>> ExponentialDecay(0.1, 10, 0.5)(20)
    0.025
    """
    initial, steps = initial_learning_rate, decay_steps
    rate = decay_rate
    if rate == 0:
        return Constant(initial, math.ceil(steps) if staircase else 1) >> 0.0
    decay: Schedule = Exponential(initial, rate, steps)
    return decay.staircase(steps) if staircase else decay


@SYSTEM.declare
def PiecewiseConstantDecay(boundaries: Sequence[float], values: Sequence[float]) -> Schedule:
    """values[i] for boundaries[i - 1] < t ≤ boundaries[i].

    Raises:
        DialectError: not one value more than boundaries, which Keras refuses; no boundaries, or boundaries that fall, with which
            Keras fails or adds values up.

    >>> PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.1]).values(6)
    array([1. , 1. , 1. , 0.5, 0.5, 0.1])
    """
    if len(boundaries) != len(values) - 1:
        raise DialectError(
            f"boundaries must be one fewer than the {len(values)} values, got {len(boundaries)}; Keras refuses it"
        )
    if not boundaries or any(a > b for a, b in pairwise(boundaries)):
        raise DialectError(f"boundaries must be at least one, and not fall, got {shown(boundaries)}")
    begins = [0, *(max(math.trunc(boundary) + 1, 0) for boundary in boundaries)]
    parts = [Constant(value, b - a) for value, (a, b) in zip(values, pairwise(begins), strict=False) if b > a]
    return Chain((*parts, Constant(values[-1])))


@SYSTEM.declare
def PolynomialDecay(
    initial_learning_rate: Initial,
    decay_steps: Steps,
    end_learning_rate: float = 0.0001,
    power: Annotated[float, real("Keras' last value is then infinite", least=0)] = 1.0,
    cycle: bool = False,
) -> Schedule | Made:
    """(initial - end)·(1 - t/T)^power + end until T = decay_steps; then end.

    With `cycle`, T is the first multiple of decay_steps that is not below t. That has no closed form and is
    computed step by step.

    Args:
        initial_learning_rate: at t = 0.
        decay_steps: T.
        end_learning_rate: at T.
        power: of the decay; 0 leaves the first value.
        cycle: begin again at every multiple of decay_steps, lower and with a longer way down.

    >>> PolynomialDecay(1.0, 4, 0.0).values(6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    initial, steps = initial_learning_rate, decay_steps
    end = end_learning_rate

    if cycle:

        def at(t: int) -> float:
            length = steps * (1.0 if t == 0 else math.ceil(t / steps))
            return float((initial - end) * (1 - t / length) ** power + end)

        return by_steps("a decay with cycle=True has no closed form", at)
    if power == 0:
        return Constant(initial)
    return Ramp(initial, end, steps, "linear" if power == 1 else f"power({power!r})")


@SYSTEM.declare
def InverseTimeDecay(
    initial_learning_rate: Initial,
    decay_steps: Steps,
    decay_rate: Annotated[float, real("it divides by zero on the way", least=0)],
    staircase: bool = False,
) -> Schedule:
    """initial/(1 + rate·t/steps), or with a staircase initial/(1 + rate·⌊t/steps⌋), without end.

    >>> InverseTimeDecay(1.0, 1, 1.0).values(3).round(3)
    array([1.   , 0.5  , 0.333])
    """
    initial, steps = initial_learning_rate, decay_steps
    rate = decay_rate
    if rate == 0:
        return Constant(initial)
    decay: Schedule = Power(initial, 1.0, 1.0, steps / rate)
    return decay.staircase(steps) if staircase else decay


@SYSTEM.declare
def CosineDecay(
    initial_learning_rate: Initial,
    decay_steps: Steps,
    alpha: float = 0.0,
    warmup_target: float | None = None,
    warmup_steps: From0 = 0,
) -> Schedule:
    """initial·((1 - α)·(1 + cos πt/T)/2 + α), and α·initial after T; a warmup rises linearly to warmup_target, the new initial.

    Args:
        initial_learning_rate: at t = 0.
        decay_steps: T, of the cosine alone.
        alpha: the share that is left.
        warmup_target: the peak; None for no warmup.
        warmup_steps: updates of the warmup.

    >>> CosineDecay(0.0, 4, warmup_target=1.0, warmup_steps=2).values(8).round(3)
    array([0.   , 0.5  , 1.   , 0.854, 0.5  , 0.146, 0.   , 0.   ])
    """
    initial, steps = initial_learning_rate, decay_steps
    if warmup_target is None:
        return Ramp(initial, alpha * initial, steps, "cosine")
    peak, warmup = warmup_target, warmup_steps
    decay = Ramp(peak, alpha * peak, steps, "cosine")
    return Ramp(initial, peak, warmup) >> decay if warmup else decay


@SYSTEM.declare
def CosineDecayRestarts(
    initial_learning_rate: Initial,
    first_decay_steps: Steps,
    t_mul: Annotated[float, real("shorter and shorter cycles come to an end", least=1)] = 2.0,
    m_mul: From0 = 1.0,
    alpha: float = 0.0,
) -> Schedule:
    """Cosines without end: cycle i lasts first_decay_steps·t_mulⁱ and falls from initial·((1 - α)·m_mulⁱ + α) to α·initial.

    Args:
        initial_learning_rate: at t = 0.
        first_decay_steps: length of cycle 0.
        t_mul: ratio of the lengths of successive cycles, at least 1. With a fraction cycles begin between two updates; these
            cycles are laid out up to update 10⁹.
        m_mul: ratio of the heights; with 0 nothing is left after the first cycle.
        alpha: the share that is left at the end of each.

    Source: Loshchilov and Hutter, arXiv 1608.03983.

    >>> CosineDecayRestarts(1.0, 2, t_mul=2.0).values(7).round(3)
    array([1.   , 0.5  , 1.   , 0.854, 0.5  , 0.146, 1.   ])
    """
    height, low = (1 - alpha) * initial_learning_rate, alpha * initial_learning_rate
    cycle = Ramp(height, 0.0, first_decay_steps, "cosine")
    if m_mul == 0:
        wave: Schedule = cycle.take(first_decay_steps) >> 0.0
    elif t_mul == int(t_mul):
        wave = cycle.repeat(growth=t_mul, decay=m_mul)
    else:
        wave = _uneven(height, first_decay_steps, t_mul, m_mul)
    return wave + low if alpha else wave


_FAR = 10**9  # updates up to which cycles are laid out, as no formula finds the cycle of an update
_MOST_CYCLES = 300


def _uneven(height: float, first: float, growth: float, decay: float) -> Schedule:
    """Cycles that begin between two updates, up to update 10⁹, where the last cycle's end holds."""
    parts: list[Schedule] = []
    begin, length = 0.0, float(first)
    while begin < _FAR:
        if len(parts) == _MOST_CYCLES:
            raise DialectError(
                f"t_mul must be a whole number, or let at most {_MOST_CYCLES} cycles begin before update 10⁹, got {growth!r}"
            )
        at, end = math.ceil(begin), math.ceil(begin + length)
        if end > at:
            cycle = Ramp(height, 0.0, length, "cosine")
            cycle_here = cycle.shift(begin - at) if begin != at else cycle  # type: ignore[arg-type]
            parts.append(cycle_here.take(end - at))
        begin, length, height = begin + length, length * growth, height * decay
    return Chain(tuple(parts))
