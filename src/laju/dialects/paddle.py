"""PaddlePaddle: the schedulers of `paddle.optimizer.lr`, stepped after every update or epoch.

Making a scheduler steps it once, so value t is the value after t more steps. The most surprising behaviour:

- `NoamDecay` counts from 0: the first rate is 0, and the peak is at t = warmup_steps.
- `CosineAnnealingDecay` climbs again after `T_max`, as torch's does; inside a `LinearWarmup` a second formula gives different
  last digits.
- `OneCycleLR` counts the steps of its phases from 0, and raises at the step after `total_steps`; the value of that last step is
  past the bottom.
- `PolynomialDecay` ends at 0.0001 by default, whatever its first rate, and with a smaller first rate the rate climbs.
- `LinearWarmup` takes `end_lr` and the rate afterwards separately: nothing makes the two meet.
- `CosineAnnealingWarmRestarts` in a `LinearWarmup` finds its cycle by a logarithm, which can fall short: the update of a restart
  then has `eta_min`.

Of `last_epoch` only -1 is taken, since a schedule begins at 0.
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

Int1 = Annotated[int, exactly(int, "Paddle asks for it", least=1)]


Rate0 = Annotated[float, real("Paddle asks for it", least=0)]
Below1 = Annotated[float, real("Paddle asks for it", least=0, below=1)]

SYSTEM = System(
    name="paddle",
    title="PaddlePaddle",
    package="paddlepaddle",
    releases=("3.3.1",),
    also={"last_epoch": -1, "verbose": False},
    counts="calls of step(), after every update or every epoch",
    refused={
        "ReduceOnPlateau": "it follows a metric; laju.adaptive.Plateau does the same as a factor, recorded and replayable"
    },
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as paddle."""


@SYSTEM.declare
def NoamDecay(
    d_model: Annotated[int, integer("Paddle asks for it", least=1)],
    warmup_steps: Annotated[int, integer("Paddle divides by it", least=1)],
    learning_rate: Rate0 = 1.0,
) -> Schedule:
    """learning_rate·d_model^-1/2·min(t^-1/2, t·warmup_steps^-3/2), which is 0 at t = 0.

    Args:
        d_model: width of the model, at least 1.
        warmup_steps: t of the peak, at least 1.
        learning_rate: a factor.

    >>> NoamDecay(1, 4).values(6).round(3)
    array([0.   , 0.125, 0.25 , 0.375, 0.5  , 0.447])
    """
    return Chain((Constant(0.0, 1), noam(d_model, warmup_steps, learning_rate)))


@SYSTEM.declare
def PiecewiseDecay(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """Given values: the value of the first boundary that t is below; past all, the last.

    Args:
        boundaries: at least one; a boundary that does not rise above all before gives its value no update.
        values: more values than boundaries; surplus values before the last are passed over.

    Raises:
        DialectError: no boundary, or too few values, as Paddle asks.

    >>> PiecewiseDecay([2, 4], [1.0, 0.5, 0.1]).values(5)
    array([1. , 1. , 0.5, 0.5, 0.1])
    """
    at, levels = boundaries, values
    if not at:
        raise DialectError("boundaries must not be empty, as Paddle asks")
    if len(levels) <= len(at):
        raise DialectError(
            f"values must be one more than the {len(at)} boundaries, as Paddle asks, got {len(levels)}: {shown(levels)}"
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
    """learning_rate·exp(-gamma·t).

    Args:
        learning_rate: at t = 0.
        gamma: above 0.

    >>> NaturalExpDecay(1.0, 0.5).values(3).round(4)
    array([1.    , 0.6065, 0.3679])
    """
    base = learning_rate
    return natural_exponential(base, gamma)


@SYSTEM.declare
def InverseTimeDecay(learning_rate: Rate0, gamma: From0) -> Schedule:
    """learning_rate/(1 + gamma·t).

    Args:
        learning_rate: at t = 0.
        gamma: of at least 0.

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
    """(learning_rate - end)·(1 - t/T)^power + end until T = decay_steps; then end.

    With `cycle`, T is the first multiple of decay_steps that is not below t, so that the rate jumps up after each. That has no
    closed form and is computed step by step.

    Args:
        learning_rate: at t = 0.
        decay_steps: T, at least 1.
        end_lr: at T; not 0 by default.
        power: above 0.
        cycle: see above.

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
    """A line from `start_lr` at t = 0 to `end_lr` at t = warmup_steps, where `learning_rate` begins.

    Args:
        learning_rate: the rate after the warmup, or a schedule of this module, from its own t = 0 on.
        warmup_steps: at least 1.
        start_lr, end_lr: ends of the line; `end_lr` itself is never used.

    Raises:
        DialectError: steps that Paddle refuses, or an `end_lr` that is not above `start_lr`, as Paddle asserts.

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
    """learning_rate·gamma^t.

    Args:
        learning_rate: at t = 0.
        gamma: between 0 and 1.

    >>> ExponentialDecay(1.0, 0.5).values(3)
    array([1.  , 0.5 , 0.25])
    """
    base = learning_rate
    return Exponential(base, gamma)


@SYSTEM.declare
def MultiStepDecay(learning_rate: Rate0, milestones: Sequence[int], gamma: Below1 = 0.1) -> Schedule:
    """learning_rate·gamma^(number of milestones ≤ t).

    Args:
        learning_rate: before the first milestone.
        milestones: a list that rises.
        gamma: from 0 to below 1.

    Raises:
        DialectError: milestones that do not rise, or a gamma of 1 or more, as Paddle asks; a negative gamma is refused here.

    >>> MultiStepDecay(1.0, [2, 4], 0.5).values(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    base = learning_rate
    at = milestones
    if any(b <= a for a, b in itertools.pairwise(at)):
        raise DialectError(f"milestones must rise, as Paddle asks, got {shown(milestones)}")
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
    """learning_rate·gamma^⌊t/step_size⌋.

    Args:
        learning_rate: of the first step.
        step_size: at least 1.
        gamma: from 0 to below 1.

    >>> StepDecay(1.0, 2, 0.5).values(5)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    base, every = learning_rate, step_size
    return factor(base, gamma, every) if gamma else Chain((Constant(base, every), Constant(0.0)))


@SYSTEM.declare
def LambdaDecay(learning_rate: Rate0, lr_lambda: Schedule | Sequence[float]) -> Schedule:
    """The rate times a function of the epoch: learning_rate·lr_lambda(t).

    Args:
        learning_rate: the rate.
        lr_lambda: the factors, as a schedule or a factor for each step, the last of which holds. A Python function has no text;
            `laju.Function("module:name")` is the schedule of a function that can be imported.

    Raises:
        DialectError: a function.

    >>> LambdaDecay(0.5, [1.0, 0.5]).values(3)
    array([0.5 , 0.25, 0.25])
    """
    base, factors = learning_rate, _torch.factors_of(lr_lambda)
    return Product((Constant(base), factors))


@SYSTEM.declare
def MultiplicativeDecay(learning_rate: Rate0, lr_lambda: float | Schedule | Sequence[float]) -> Schedule:
    """Multiplied at every step: learning_rate·f(1)·…·f(t); the factor of epoch 0 is never asked for.

    Args:
        learning_rate: at t = 0.
        lr_lambda: a factor for every step, a sequence f(0), f(1), … after whose end the rate holds, or a schedule
            of factors, whose products are computed step by step.

    Raises:
        DialectError: a function.

    >>> MultiplicativeDecay(0.8, [9, 0.5, 0.5]).values(4)
    array([0.8, 0.4, 0.2, 0.2])
    """
    return _torch.MultiplicativeLR(learning_rate, lr_lambda)


@SYSTEM.declare
def CosineAnnealingDecay(learning_rate: Rate0, T_max: Int1, eta_min: float = 0) -> Schedule:
    """eta_min + (learning_rate - eta_min)·(1 + cos(πt/T_max))/2, for ever: the rate climbs again after T_max.

    Paddle computes each value from the previous value, as torch does, and its errors add up; see torch's `CosineAnnealingLR`. In
    a `LinearWarmup` Paddle uses the formula.

    Args:
        learning_rate: the top.
        T_max: steps down, at least 1.
        eta_min: the bottom.

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
    phase_pct: Annotated[float, exactly(float, "Paddle asks for it", least=0, most=1)] = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
) -> Schedule:
    """From max/divide_factor up to the maximum at t = phase_pct·T - 1, then down to `end_learning_rate` at T - 1.

    This is torch's `OneCycleLR` with the last rate given by itself: in three phases the rate first goes down to its beginning,
    and a step more, at T, is past the bottom; then Paddle raises, and here that value holds.

    Args:
        max_learning_rate: the top.
        total_steps: T, at least 1.
        divide_factor: from the top to the first rate.
        end_learning_rate: the last rate, not negative.
        phase_pct: share of the steps that rise, a float.
        anneal_strategy: "cos" or "linear".
        three_phase: see above; `phase_pct` must then be below 0.5.

    Raises:
        DialectError: arguments that Paddle refuses, such as a phase of no steps, for which Paddle divides by 0.

    >>> OneCycleLR(1.0, 10, end_learning_rate=0.0, anneal_strategy="linear").values(10).round(2)
    array([0.04, 0.52, 1.  , 0.86, 0.71, 0.57, 0.43, 0.29, 0.14, 0.  ])
    """
    top, last = max_learning_rate, end_learning_rate
    steps, divide = total_steps, divide_factor
    if three_phase and phase_pct >= 0.5:
        raise DialectError(f"phase_pct must be below 0.5 with three_phase=True, as Paddle asks, got {phase_pct!r}")
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
    exp_gamma: Annotated[float, exactly(float, "Paddle asks for it")] = 1.0,
    scale_fn: None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
) -> Schedule:
    """Triangles between two rates, `step_size_up` steps up and `step_size_down` down, as torch's `CyclicLR`.

    Paddle and torch subtract the cycle's number from the time, so that digits are lost with every cycle: exactly on a triangle
    here.

    Args:
        base_learning_rate, max_learning_rate: bottom and top.
        step_size_up, step_size_down: at least 1; the second is the first by default.
        mode: "triangular"; "triangular2", half as high each time; "exp_range", lower by exp_gamma^t.
        exp_gamma: see above, a float.
        scale_fn, scale_mode: a Python function has no text, so `scale_fn` must be None, and `scale_mode` changes nothing then.

    Raises:
        DialectError: arguments that Paddle refuses, or a `scale_fn`.

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
    start_factor: Annotated[float, real("Paddle asks for it", above=0, most=1)] = 1.0 / 3,
    end_factor: Annotated[float, real("Paddle asks for it", least=0, most=1)] = 1.0,
) -> Schedule:
    """A line of factors from `start_factor` to `end_factor` at t = total_steps, which holds.

    Paddle computes each value from the previous value, as torch's `LinearLR` does, and its errors add up.

    Args:
        learning_rate: the rate that the factors multiply.
        total_steps: at least 1.
        start_factor: above 0 and at most 1.
        end_factor: from 0 to 1.

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
    """Half a cosine down to `eta_min` in T_0 steps, begun anew at the top each time, `T_mult` times as long as before.

    Args:
        learning_rate: the top.
        T_0: steps of the first cycle, at least 1.
        T_mult: ratio of the lengths of successive cycles, at least 1.
        eta_min: the bottom, which no step reaches.

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
