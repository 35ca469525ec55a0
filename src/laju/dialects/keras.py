"""Keras 3: `keras.optimizers.schedules`, called by the optimizer with the number of completed updates.

The most surprising behaviour:

- Keras computes float32 values on every backend; the functions here have the same formulas in float64.
- A boundary of `PiecewiseConstantDecay` belongs to the previous value: the next value begins an update later.
- `decay_steps` of `CosineDecay` does not include the warmup, and `warmup_steps` has no effect without a `warmup_target`.
- `PolynomialDecay(cycle=True)` does not repeat: each cycle is longer than all previous cycles, and begins lower.
- `alpha` is relative to the first value (or to the warmup's target); `end_learning_rate` is absolute and 0.0001 by default.
- If `initial_learning_rate` is an int, Keras computes in whole numbers: `CosineDecay(0, 90, warmup_target=0.001, …)` stays at 0.
  An int is refused here.
- `CosineDecayRestarts` computes its cycle with logarithms in float32, and may restart an update late; here restarts are on time.
  Keras may also be late if `decay_steps` is a fraction that float32 rounds, such as 0.1.
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
    """Check a first rate, whose type Keras uses for all values: with an int, a warmup_target of 0.001 would become 0."""
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
    decay_rate: Annotated[float, real("powers of a negative rate are not real numbers", least=0)],
    staircase: bool = False,
) -> Schedule:
    """Exponential decay of the learning rate: initial·decay_rate^(t/decay_steps) in update t, without end.

    Args:
        initial_learning_rate: learning rate at t = 0.
        decay_steps: updates in which the learning rate is multiplied by decay_rate.
        decay_rate: the factor, at least 0.
        staircase: whether the exponent is ⌊t/decay_steps⌋, so that the learning rate falls in steps.

    >>> ExponentialDecay(0.1, 10, 0.5)(20)
    0.025
    """
    initial, steps = initial_learning_rate, decay_steps
    rate = decay_rate
    if rate == 0:
        # 0⁰ is 1: the initial rate holds as long as the exponent is 0.
        return Constant(initial, math.ceil(steps) if staircase else 1) >> 0.0
    decay: Schedule = Exponential(initial, rate, steps)
    return decay.staircase(steps) if staircase else decay


@SYSTEM.declare
def PiecewiseConstantDecay(boundaries: Sequence[float], values: Sequence[float]) -> Schedule:
    """Piecewise constant learning rate: values[i] for boundaries[i - 1] < t ≤ boundaries[i].

    Args:
        boundaries: the last update of each value but the last, in increasing order.
        values: learning rates, one more than boundaries.

    Raises:
        DialectError: if the number of values is not the number of boundaries plus 1; if there are no boundaries, or boundaries
            decrease, with which Keras fails or adds up values.

    >>> PiecewiseConstantDecay([2, 4], [1.0, 0.5, 0.1]).values(6)
    array([1. , 1. , 1. , 0.5, 0.5, 0.1])
    """
    if len(boundaries) != len(values) - 1:
        raise DialectError(
            f"boundaries must be one fewer than the {len(values)} values, as Keras requires, got {len(boundaries)}"
        )
    if not boundaries or any(a > b for a, b in pairwise(boundaries)):
        raise DialectError(f"boundaries must have at least one update and must not decrease, got {shown(boundaries)}")
    # Keras casts boundaries to the type of the step, a whole number; an update at a boundary has the earlier value still.
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
    """Polynomial decay of the learning rate: (initial - end)·(1 - t/T)^power + end until update T, then end.

    With `cycle`, T is the smallest multiple of decay_steps that is at least t: after every multiple the learning rate jumps up,
    to a smaller value each time. Such a schedule has no closed form and is computed step by step.

    Args:
        initial_learning_rate: learning rate at t = 0.
        decay_steps: T, number of updates.
        end_learning_rate: learning rate at T.
        power: exponent of the decay; with 0 the first value holds.
        cycle: whether the decay begins again at every multiple of decay_steps.

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
    decay_rate: Annotated[float, real("Keras would divide by zero", least=0)],
    staircase: bool = False,
) -> Schedule:
    """Inverse-time decay of the learning rate: initial/(1 + decay_rate·t/decay_steps) in update t, without end.

    Args:
        initial_learning_rate: learning rate at t = 0.
        decay_steps: updates in which the denominator grows by decay_rate.
        decay_rate: strength of the decay, at least 0.
        staircase: whether ⌊t/decay_steps⌋ replaces t/decay_steps, so that the learning rate falls in steps.

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
    """Cosine decay of the learning rate: initial·((1 - α)·(1 + cos πt/T)/2 + α) in update t, and α·initial after T.

    A warmup rises linearly from the first learning rate to warmup_target, which then replaces the initial rate in the formula.

    Args:
        initial_learning_rate: learning rate at t = 0.
        decay_steps: T, length of the decay without the warmup, in updates.
        alpha: α, the last learning rate relative to the initial learning rate (or to warmup_target).
        warmup_target: learning rate at the end of the warmup; None for no warmup.
        warmup_steps: length of the warmup in updates.

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
    t_mul: Annotated[float, real("ever shorter cycles come to an end", least=1)] = 2.0,
    m_mul: From0 = 1.0,
    alpha: float = 0.0,
) -> Schedule:
    """Cosine decay with warm restarts: cycle i falls from initial·((1 - α)·m_mulⁱ + α) to α·initial.

    Cycle i lasts first_decay_steps·t_mulⁱ updates; the cycles have no end.

    Args:
        initial_learning_rate: learning rate at t = 0.
        first_decay_steps: length of cycle 0 in updates.
        t_mul: ratio of the lengths of successive cycles, at least 1. With a fractional ratio, cycles begin between two updates;
            such cycles are computed up to update 10⁹.
        m_mul: ratio of the heights of successive cycles; with 0 the rate is α·initial after the first cycle.
        alpha: α, the learning rate at the end of a cycle relative to the initial learning rate.

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
    """Cycles that begin between two updates, up to update 10⁹; afterwards the last cycle's end value holds."""
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
