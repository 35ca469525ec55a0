"""PaddlePaddle: the schedulers of `paddle.optimizer.lr`, stepped after every update or epoch.

Constructing a scheduler steps the scheduler once, so value t is the value after t further steps. The most surprising behaviour:

- `NoamDecay` counts from 0: the first learning rate is 0, and the peak is at t = warmup_steps.
- `CosineAnnealingDecay` climbs again after `T_max`, as in torch; inside a `LinearWarmup` Paddle uses a second formula, whose last
  digits differ.
- `OneCycleLR` counts the steps of its phases from 0, and raises at the step after `total_steps`; the value at step `total_steps`
  is beyond the minimum.
- `PolynomialDecay` ends at 0.0001 by default, independent of its first rate; if the first rate is smaller, the rate rises.
- `LinearWarmup` takes `end_lr` and the rate afterwards as separate arguments, which need not be equal.
- `CosineAnnealingWarmRestarts` in a `LinearWarmup` computes its cycle with a logarithm, which can be too small: the update of a
  restart then has `eta_min`.

`last_epoch` must be -1, because a schedule begins at 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from laju.core.algebra import Chain, Product
from laju.core.checks import is_number, number, shown
from laju.core.pieces import Constant, Exponential, Ramp
from laju.core.schedule import Schedule
from laju.dialects import torch as _torch
from laju.dialects.base import DialectError, System
from laju.dialects.declared import From0, Made, SystemSchedule, by_steps, exactly, integer, real
from laju.policies import factor, inverse_time, multi_factor, natural_exponential, noam, piecewise_constant

Int1 = Annotated[int, exactly(int, "Paddle requires it", least=1)]


Rate0 = Annotated[float, real("Paddle requires it", least=0)]
Below1 = Annotated[float, real("Paddle requires it", least=0, below=1)]

SYSTEM = System(
    name="paddle",
    title="PaddlePaddle",
    package="paddlepaddle",
    releases=("3.3.1",),
    also={"last_epoch": -1, "verbose": False},
    counts="calls of step(), after every update or every epoch",
    unit="either",
    refused={
        "ReduceOnPlateau": "it follows a metric; laju.adaptive.Plateau does the same as a factor, recorded and replayable"
    },
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as paddle."""


@SYSTEM.declare
def NoamDecay(
    d_model: Annotated[int, integer("Paddle requires it", least=1)],
    warmup_steps: Annotated[int, integer("Paddle divides by it", least=1)],
    learning_rate: Rate0 = 1.0,
) -> Schedule:
    """Transformer schedule of Vaswani et al.: learning_rate·d_model^-1/2·min(t^-1/2, t·warmup_steps^-3/2) at step t, 0 at t = 0.

    Args:
        d_model: width of the model, at least 1.
        warmup_steps: step of the peak, at least 1.
        learning_rate: factor of the schedule.

    >>> NoamDecay(1, 4).values(6).round(3)
    array([0.   , 0.125, 0.25 , 0.375, 0.5  , 0.447])
    """
    return Chain((Constant(0.0, 1), noam(d_model, warmup_steps, learning_rate)))


@SYSTEM.declare
def PiecewiseDecay(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """Piecewise constant learning rate: values[i] for the first boundary i with t < boundaries[i], and the last value afterwards.

    Args:
        boundaries: steps at which values change, at least one; the value of a boundary that is not above all previous boundaries
            is never used.
        values: learning rates, at least one more than boundaries; surplus values before the last are ignored.

    Raises:
        DialectError: if there is no boundary, or there are too few values, as Paddle requires.

    >>> PiecewiseDecay([2, 4], [1.0, 0.5, 0.1]).values(5)
    array([1. , 1. , 0.5, 0.5, 0.1])
    """
    at, levels = boundaries, values
    if not at:
        raise DialectError("boundaries must not be empty, as Paddle requires")
    if len(levels) <= len(at):
        raise DialectError(
            f"values must be more than the {len(at)} boundaries, as Paddle requires, got {len(levels)}: {shown(levels)}"
        )
    edges: list[int] = []
    kept: list[float] = []
    for boundary, level in zip(at, levels, strict=False):
        if boundary > (edges[-1] if edges else 0):
            edges.append(boundary)
            kept.append(level)
    return piecewise_constant(edges, [*kept, levels[-1]])


@SYSTEM.declare
def NaturalExpDecay(learning_rate: Rate0, gamma: Annotated[float, real("Paddle asserts it", above=0)]) -> Schedule:
    """Exponential decay of the learning rate: learning_rate·exp(-gamma·t) at step t.

    Args:
        learning_rate: learning rate at t = 0.
        gamma: decay rate per step, above 0.

    >>> NaturalExpDecay(1.0, 0.5).values(3).round(4)
    array([1.    , 0.6065, 0.3679])
    """
    base = learning_rate
    return natural_exponential(base, gamma)


@SYSTEM.declare
def InverseTimeDecay(learning_rate: Rate0, gamma: From0) -> Schedule:
    """Inverse-time decay of the learning rate: learning_rate/(1 + gamma·t) at step t.

    Args:
        learning_rate: learning rate at t = 0.
        gamma: strength of the decay, at least 0.

    >>> InverseTimeDecay(1.0, 0.5).values(3).round(4)
    array([1.    , 0.6667, 0.5   ])
    """
    base = learning_rate
    return inverse_time(base, gamma) if gamma else Constant(base)


@SYSTEM.declare
def PolynomialDecay(
    learning_rate: Rate0,
    decay_steps: Int1,
    end_lr: float = 0.0001,
    power: Annotated[float, real("Paddle asserts it", above=0)] = 1.0,
    cycle: bool = False,
) -> Schedule | Made:
    """Polynomial decay: (learning_rate - end_lr)·(1 - t/T)^power + end_lr until step T, then end_lr.

    With `cycle`, T is the smallest multiple of decay_steps that is at least t, so the learning rate jumps up after every
    multiple; such a schedule has no closed form and is computed step by step.

    Args:
        learning_rate: learning rate at t = 0.
        decay_steps: T, number of steps, at least 1.
        end_lr: learning rate at T; 0.0001 by default.
        power: exponent of the decay, above 0.
        cycle: whether the decay begins again at every multiple of decay_steps.

    >>> PolynomialDecay(1.0, 4, 0.0).values(6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    base, end = learning_rate, end_lr
    steps = decay_steps

    if cycle:

        def at(t: int) -> float:
            length = steps * max(math.ceil(t / steps), 1)
            return float((base - end) * (1 - float(t) / float(length)) ** power + end)

        return by_steps("a decay with cycle=True has no closed form", at)
    return Ramp(base, end, steps, "linear" if power == 1 else f"power({power!r})")


@SYSTEM.declare
def LinearWarmup(
    learning_rate: float | Schedule,
    warmup_steps: Int1,
    start_lr: Rate0,
    end_lr: float,
) -> Schedule | Made:
    """Linear warmup from `start_lr` towards `end_lr`; from t = warmup_steps on, the rate or schedule `learning_rate` applies.

    Args:
        learning_rate: learning rate after the warmup, or a schedule made by a function of this module, which begins at its t = 0.
        warmup_steps: number of steps of the warmup, at least 1.
        start_lr: learning rate at t = 0.
        end_lr: end of the line, at t = warmup_steps, where `learning_rate` already applies.

    Raises:
        DialectError: if Paddle refuses the number of steps, or `end_lr` is not above `start_lr`, as Paddle asserts.

    >>> LinearWarmup(CosineAnnealingDecay(1.0, 4), 2, 0.0, 1.0).values(7).round(3)
    array([0.   , 0.5  , 1.   , 0.854, 0.5  , 0.146, 0.   ])
    """
    steps = warmup_steps
    start, end = start_lr, end_lr
    if end <= start:
        raise DialectError(f"end_lr must be above start_lr={start!r}, as Paddle asserts, got {end!r}")
    if isinstance(learning_rate, Schedule):
        then: Schedule = learning_rate
    elif is_number(learning_rate):
        then = Constant(number("learning_rate", learning_rate))
    else:
        raise TypeError(
            f"learning_rate must be a number or a schedule of this module's functions, got {shown(learning_rate)}"
        )
    if isinstance(then, SystemSchedule) and (then.rule or then.closed is None):
        asked = then.rule or then

        def at(t: int) -> float:
            return float((end - start) * float(t) / float(steps) + start if t < steps else asked(t - steps))

        return by_steps(f"a LinearWarmup of Paddle's {then.name} has no closed form", at)
    return Chain((Ramp(start, end, steps), then))


@SYSTEM.declare
def ExponentialDecay(
    learning_rate: Rate0, gamma: Annotated[float, real("Paddle asserts it", above=0, below=1)]
) -> Schedule:
    """Exponential decay of the learning rate: learning_rate·gamma^t at step t.

    Args:
        learning_rate: learning rate at t = 0.
        gamma: factor per step, between 0 and 1.

    >>> ExponentialDecay(1.0, 0.5).values(3)
    array([1.  , 0.5 , 0.25])
    """
    base = learning_rate
    return Exponential(base, gamma)


@SYSTEM.declare
def MultiStepDecay(learning_rate: Rate0, milestones: Sequence[int], gamma: Below1 = 0.1) -> Schedule:
    """Step decay at milestones: learning_rate·gamma^(number of milestones ≤ t) at step t.

    Args:
        learning_rate: learning rate before the first milestone.
        milestones: steps, in increasing order.
        gamma: factor of a drop, in [0, 1).

    Raises:
        DialectError: if the milestones do not increase or gamma is 1 or more, as Paddle requires; a negative gamma is also
            refused.

    >>> MultiStepDecay(1.0, [2, 4], 0.5).values(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    base = learning_rate
    at = milestones
    if any(b <= a for a, b in itertools.pairwise(at)):
        raise DialectError(f"milestones must increase, as Paddle requires, got {shown(milestones)}")
    passed, later = sum(m <= 0 for m in at), [m for m in at if m > 0]
    first = base * gamma**passed
    closed: Schedule
    if not later:
        closed = Constant(first)
    else:
        closed = multi_factor(first, later, gamma) if gamma else Chain((Constant(first, later[0]), Constant(0.0)))
    return closed


@SYSTEM.declare
def StepDecay(learning_rate: Rate0, step_size: Int1, gamma: Below1 = 0.1) -> Schedule:
    """Step decay of the learning rate: learning_rate·gamma^⌊t/step_size⌋ at step t.

    Args:
        learning_rate: learning rate at t = 0.
        step_size: number of steps between two drops, at least 1.
        gamma: factor of a drop, in [0, 1).

    >>> StepDecay(1.0, 2, 0.5).values(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    base, every = learning_rate, step_size
    return factor(base, gamma, every) if gamma else Chain((Constant(base, every), Constant(0.0)))


@SYSTEM.declare
def LambdaDecay(learning_rate: Rate0, lr_lambda: Schedule | Sequence[float]) -> Schedule:
    """Learning rate times a function of the step: learning_rate·lr_lambda(t) at step t.

    Args:
        learning_rate: the learning rate that the factors multiply.
        lr_lambda: the factors: a schedule, or a sequence with a factor for each step, whose last factor holds. A Python function
            is not accepted; `laju.Function("module:name")` is the schedule of an importable function.

    Raises:
        DialectError: if `lr_lambda` is a Python function.

    >>> LambdaDecay(0.5, [1.0, 0.5]).values(3)
    array([0.5 , 0.25, 0.25])
    """
    base, factors = learning_rate, _torch.factors_of(lr_lambda)
    return Product((Constant(base), factors))


@SYSTEM.declare
def MultiplicativeDecay(learning_rate: Rate0, lr_lambda: float | Schedule | Sequence[float]) -> Schedule:
    """Learning rate that each step multiplies by a factor: learning_rate·f(1)·…·f(t) at step t; f(0) is never used.

    Args:
        learning_rate: learning rate at t = 0.
        lr_lambda: a constant factor; or a sequence f(0), f(1), …, after whose end the rate holds; or a schedule of factors, whose
            products are computed step by step.

    Raises:
        DialectError: if `lr_lambda` is a Python function.

    >>> MultiplicativeDecay(0.8, [9, 0.5, 0.5]).values(4)
    array([0.8, 0.4, 0.2, 0.2])
    """
    return _torch.MultiplicativeLR(learning_rate, lr_lambda)


@SYSTEM.declare
def CosineAnnealingDecay(learning_rate: Rate0, T_max: Int1, eta_min: float = 0) -> Schedule:
    """Cosine wave without end: eta_min + (learning_rate - eta_min)·(1 + cos(πt/T_max))/2 at step t.

    The learning rate climbs again after T_max. Paddle computes each value from the previous value, as torch does, so rounding
    errors accumulate; see `laju.dialects.torch.CosineAnnealingLR` for bounds. In a `LinearWarmup` Paddle uses the formula.

    Args:
        learning_rate: the maximum.
        T_max: number of steps from the maximum to the minimum, at least 1.
        eta_min: the minimum.

    >>> CosineAnnealingDecay(1.0, 2).values(5).round(3)
    array([1. , 0.5, 0. , 0.5, 1. ])
    """
    base, low, steps = learning_rate, eta_min, T_max

    return _torch.CosineAnnealingLR(base, steps, low)


@SYSTEM.declare
def OneCycleLR(
    max_learning_rate: Rate0,
    total_steps: Int1,
    divide_factor: Annotated[float, real("Paddle refuses a negative rate", above=0)] = 25.0,
    end_learning_rate: Rate0 = 0.0001,
    phase_pct: Annotated[float, exactly(float, "Paddle requires it", least=0, most=1)] = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
) -> Schedule:
    """A single learning-rate cycle: from max/divide_factor up to max at t = phase_pct·T - 1, then down to the end at T - 1.

    The schedule is torch's `OneCycleLR` with an absolute last learning rate. At step T the value is beyond the minimum; Paddle
    then raises, and here the value of step T holds.

    Args:
        max_learning_rate: max, the peak.
        total_steps: T, at least 1.
        divide_factor: ratio of the peak to the first learning rate.
        end_learning_rate: the last learning rate, at least 0.
        phase_pct: fraction of the steps in which the rate rises, a float.
        anneal_strategy: "cos" or "linear".
        three_phase: whether the rate falls to the first learning rate in as many steps as it rose, and then on to the last;
            `phase_pct` must then be below 0.5.

    Raises:
        DialectError: if Paddle refuses the arguments, or a phase has no steps, for which Paddle divides by 0.

    >>> OneCycleLR(1.0, 10, end_learning_rate=0.0, anneal_strategy="linear").values(10).round(2)
    array([0.04, 0.52, 1.  , 0.86, 0.71, 0.57, 0.43, 0.29, 0.14, 0.  ])
    """
    top, last = max_learning_rate, end_learning_rate
    steps, divide = total_steps, divide_factor
    if three_phase and phase_pct >= 0.5:
        raise DialectError(f"phase_pct must be below 0.5 with three_phase=True, as Paddle requires, got {phase_pct!r}")
    first = top / divide
    if three_phase:
        ends, rates = [phase_pct * steps - 1, 2 * phase_pct * steps - 2, steps - 1.0], [first, top, first, last]
    else:
        ends, rates = [phase_pct * steps - 1, steps - 1.0], [first, top, last]
    begins = [0.0, *ends[:-1]]

    shape = "cosine" if anneal_strategy == "cos" else "linear"
    parts: list[Schedule] = []
    for begin, end, a, b in zip(begins, ends, rates, rates[1:], strict=False):
        if end >= 0 and end > begin:
            ramp: Schedule = Ramp(a, b, end - begin, shape)
            parts.append(ramp if begin >= 0 else ramp.shift(begin))  # type: ignore[arg-type]
    # Paddle divides by a phase without steps at the phase's own end, and for the last phase a step later, too.
    if any(begin == end and end >= 0 for begin, end in zip(begins, ends, strict=True)):
        raise DialectError(
            f"phase_pct·total_steps must leave no phase without steps, got {phase_pct!r}·{steps}: Paddle divides by 0"
        )
    done = (steps - begins[-1]) / (ends[-1] - begins[-1])
    high, low = rates[-2:]
    after = (
        low + (high - low) / 2.0 * (math.cos(math.pi * done) + 1) if shape == "cosine" else (low - high) * done + high
    )
    cycle: Schedule = Chain(tuple(parts)) if len(parts) > 1 else parts[0]
    return Chain((cycle.take(steps), Constant(after)))


@SYSTEM.declare
def CyclicLR(
    base_learning_rate: Rate0,
    max_learning_rate: Rate0,
    step_size_up: Int1,
    step_size_down: Int1 | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    exp_gamma: Annotated[float, exactly(float, "Paddle requires it")] = 1.0,
    scale_fn: None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
) -> Schedule:
    """Triangular cycles between two learning rates, `step_size_up` steps up and `step_size_down` steps down.

    Paddle subtracts the number of the cycle from the time, which loses digits with every cycle; the values here are exactly on
    the triangle.

    Args:
        base_learning_rate, max_learning_rate: minimum, and maximum of the first cycle.
        step_size_up, step_size_down: number of rising and of falling steps, at least 1; `step_size_up` for both by default.
        mode: "triangular"; "triangular2", which halves the height of each cycle; or "exp_range", with a height times exp_gamma^t.
        exp_gamma: factor per step of "exp_range", a float.
        scale_fn: must be None; a Python function is not accepted.
        scale_mode: no effect.

    Raises:
        DialectError: if Paddle refuses the arguments, or `scale_fn` is given.

    >>> CyclicLR(0.0, 1.0, 2).values(5)
    array([0. , 0.5, 1. , 0.5, 0. ])
    """
    low, top = base_learning_rate, max_learning_rate
    up = step_size_up
    down = up if step_size_down is None else step_size_down
    return _torch.CyclicLR(low, top, up, down, mode, exp_gamma, scale_fn)


@SYSTEM.declare
def LinearLR(
    learning_rate: Rate0,
    total_steps: Int1,
    start_factor: Annotated[float, real("Paddle requires it", above=0, most=1)] = 1.0 / 3,
    end_factor: Annotated[float, real("Paddle requires it", least=0, most=1)] = 1.0,
) -> Schedule:
    """Learning rate times a linear factor, from `start_factor` at t = 0 to `end_factor` at t = total_steps, which then holds.

    Paddle computes each value from the previous value, as torch's `LinearLR` does, so rounding errors accumulate.

    Args:
        learning_rate: the learning rate that the factors multiply.
        total_steps: number of steps of the change, at least 1.
        start_factor: factor at t = 0, in (0, 1].
        end_factor: factor from t = total_steps on, in [0, 1].

    >>> LinearLR(1.0, 4, start_factor=0.2).values(6)
    array([0.2, 0.4, 0.6, 0.8, 1. , 1. ])
    """
    base, steps = learning_rate, total_steps
    first, last = start_factor, end_factor

    return _torch.LinearLR(base, first, last, steps)


@SYSTEM.declare
def CosineAnnealingWarmRestarts(
    learning_rate: Rate0, T_0: Int1, T_mult: Int1 = 1, eta_min: float = 0
) -> Schedule | Made:
    """Cosine decay to `eta_min` with warm restarts; each cycle is `T_mult` times as long as the previous.

    Args:
        learning_rate: the maximum.
        T_0: number of steps of the first cycle, at least 1.
        T_mult: ratio of the lengths of successive cycles, at least 1.
        eta_min: the minimum, which no step reaches.

    >>> CosineAnnealingWarmRestarts(1.0, 2).values(5)
    array([1. , 0.5, 1. , 0.5, 1. ])
    """
    base, low = learning_rate, eta_min
    first, mult = T_0, T_mult

    def at(done: float, length: float) -> float:
        return low + (base - low) * (1 + math.cos(math.pi * done / length)) / 2

    def asked(t: int) -> float:
        if t < first:
            return at(t, first)
        n = int(math.log(t / first * (mult - 1) + 1, mult))
        return at(t - first * (mult**n - 1) / (mult - 1), first * mult**n)

    # In a LinearWarmup Paddle finds the cycle by a logarithm.
    return Made(_torch.CosineAnnealingWarmRestarts(base, first, mult, low).schedule, asked if mult > 1 else None)


# --- for the functions above -------------------------------------------------------------------------------------------
