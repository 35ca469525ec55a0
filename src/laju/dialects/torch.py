"""PyTorch: the schedulers of `torch.optim.lr_scheduler` and `SWALR`, stepped once after every update (or epoch).

The most surprising behaviour:

- `CosineAnnealingLR` does not stop at `T_max`: the learning rate climbs back to its base and falls again, indefinitely.
- `OneCycleLR` reaches its last value at `total_steps - 1`; the next step overshoots, and the step after that raises.
- `CyclicLR` and `OneCycleLR` ignore the optimizer's learning rate, and change the base rate of schedulers constructed later.
- A part of `SequentialLR` begins with its own first value at its milestone, whatever the last value of the previous part.
- `ChainedScheduler` is a product only of schedulers that multiply; a scheduler that sets the rate overrides earlier schedulers.
- Most schedulers compute each rate from the previous rate, so rounding errors accumulate; `laju.trace` records the exact values
  of a real run.

Where torch takes an optimizer, the functions of this module take its learning rate, `lr`. `last_epoch` must be -1, because a
schedule begins at 0.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from laju.core.algebra import Chain, Product, Sum
from laju.core.checks import is_number, number, shown
from laju.core.clocks import Take
from laju.core.pieces import Constant, Ramp, Table
from laju.core.schedule import Schedule
from laju.dialects._torch_rules import Group, InChain, InSequence, TorchRule, made, rule_of
from laju.dialects.base import DialectError, System, powers, replayed
from laju.dialects.declared import Above0, From0, Made, NoClosedForm, Rate, exactly, fixed, integer, listed, real

# --- schedulers that multiply the rate -----------------------------------------------------------------------------


NotZero = Annotated[int, integer("torch divides by it", nonzero=True)]
Int1 = Annotated[int, exactly(int, "torch requires it", least=1)]
Share = Annotated[float, real("torch requires it", least=0, most=1)]
Divisor = Annotated[float, real("torch divides by it", nonzero=True)]
Milestones = Annotated[list[float], listed(real())]
Anneal = Literal["cos", "linear"]

SYSTEM = System(
    name="torch",
    title="PyTorch",
    package="torch",
    releases=("2.13.0",),
    also={"last_epoch": -1, "verbose": False},
    counts="calls of step(), after every update or every epoch",
    unit="either",
    refused={
        "ReduceLROnPlateau": "it follows a metric; laju.adaptive.Plateau does the same as a factor, recorded and replayable"
    },
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as torch."""


@SYSTEM.declare
def LambdaLR(lr: Rate, lr_lambda: Schedule | Sequence[float]) -> Schedule | Made:
    """The optimizer's learning rate times a function of the step: lr·lr_lambda(t) at step t.

    Args:
        lr: the optimizer's learning rate.
        lr_lambda: the factors: a schedule, or a sequence with a factor for each step, whose last factor holds. A Python function
            is not accepted; `laju.Function("module:name")` is the schedule of an importable function.

    Raises:
        DialectError: if `lr_lambda` is a Python function or a list of functions.

    >>> from laju import linear
    >>> LambdaLR(0.1, linear(1, 0, total=4)).values(3)
    array([0.1  , 0.075, 0.05 ])
    """
    factors = factors_of(lr_lambda)
    rule = TorchRule(
        "LambdaLR",
        lr,
        lambda group, base, t, initial: base * factors(t),
        lambda base: Product((Constant(base), factors)),
        sets=True,
    )
    return made(rule)


@SYSTEM.declare
def MultiplicativeLR(lr: Rate, lr_lambda: float | Schedule | Sequence[float]) -> Schedule | Made:
    """Learning rate that each step multiplies by a factor: lr·f(1)·f(2)·…·f(t) at step t; f(0) is never used.

    As a later part of `SequentialLR` the scheduler continues from the current rate, and multiplies by f(0) as well.

    Args:
        lr: the optimizer's learning rate.
        lr_lambda: a constant factor; or a sequence f(0), f(1), …, after whose end the rate holds; or a schedule of factors, whose
            products have no closed form and are computed step by step.

    Raises:
        DialectError: if `lr_lambda` is a Python function.

    >>> MultiplicativeLR(0.8, [9, 0.5, 0.5]).values(4)
    array([0.8, 0.4, 0.2, 0.2])
    """
    if is_number(lr_lambda):
        gamma = number("lr_lambda", lr_lambda)
        rule = TorchRule(
            "MultiplicativeLR",
            lr,
            lambda group, base, t, initial: group.lr if initial else group.lr * gamma,
            lambda base: powers(base, gamma),
            follows=lambda base, before: powers(before * gamma, gamma),
            multiplies=True,
        )
        return made(rule)
    factors = factors_of(lr_lambda)
    listed: Any = getattr(factors, "entries", None)

    def factor(t: int) -> float:
        return float(factors(t)) if listed is None else listed[t] if t < len(listed) else 1.0

    def products(start: float) -> Schedule:
        if listed is None:
            raise NoClosedForm("MultiplicativeLR's product over all steps of a schedule of factors has no closed form")
        return replayed(start, lambda t, now: now * listed[t], len(listed))

    rule = TorchRule(
        "MultiplicativeLR",
        lr,
        lambda group, base, t, initial: group.lr if initial else group.lr * factor(t),
        products,
        follows=lambda base, before: products(before * factor(0)),
        multiplies=True,
    )
    return made(rule)


@SYSTEM.declare
def StepLR(lr: Rate, step_size: NotZero, gamma: float = 0.1) -> Schedule | Made:
    """Learning rate that is multiplied by γ every `step_size` steps: lr·γ^⌊t/step_size⌋ at step t.

    torch multiplies the previous rate, so its n-th drop may be n ulp off; the value here is within n + 2 ulp of torch's.

    Args:
        lr: the optimizer's learning rate.
        step_size: steps between two drops.
        gamma: γ; torch also accepts 0 and negative factors.

    >>> StepLR(0.1, step_size=30)(60)
    0.001...
    """
    every = abs(step_size)
    rule = TorchRule(
        "StepLR",
        lr,
        lambda group, base, t, initial: group.lr if t == 0 or t % every else group.lr * gamma,
        lambda base: powers(base, gamma, every),
        zero=lambda base: base,
        multiplies=True,
    )
    return made(rule)


@SYSTEM.declare
def MultiStepLR(lr: Rate, milestones: Milestones, gamma: float = 0.1) -> Schedule | Made:
    """Learning rate that is multiplied by γ at every milestone: lr·γ^(number of milestones ≤ t) at step t.

    The values equal torch's bit for bit. A milestone that is listed twice counts twice; a milestone at 0 applies from the first
    step. torch silently ignores negative and fractional milestones.

    Args:
        lr: the optimizer's learning rate.
        milestones: steps, in any order.
        gamma: γ.

    >>> MultiStepLR(0.1, [30, 80], gamma=0.5).values(81)[[29, 30, 80]]
    array([0.1  , 0.05 , 0.025])
    """
    at = Counter(milestones)
    # torch asks `last_epoch in milestones`, a Counter: epochs are whole and begin at 0, so other milestones are never asked
    # for.
    come = sorted(m for m in at if m >= 0 and m == int(m))
    missed = sum(count for m, count in at.items() if m < 0)

    def steps(base: float) -> Schedule:
        parts: list[Schedule] = []
        begin, value = 0, base
        for m in come:
            if m > begin:
                parts.append(Constant(value, int(m) - begin))
            begin, value = int(m), value * gamma ** at[m]
        return Chain((*parts, Constant(value))) if parts else Constant(value)

    rule = TorchRule(
        "MultiStepLR",
        lr,
        lambda group, base, t, initial: group.lr * gamma ** at[t] if t in at else group.lr,
        steps,
        zero=lambda base: base * gamma ** (missed + at[0]),
        follows=lambda base, before: steps(base * gamma**missed if missed else base),
        multiplies=True,
    )
    return made(rule)


@SYSTEM.declare
def ConstantLR(lr: Rate, factor: Share = 1.0 / 3, total_iters: int = 5) -> Schedule | Made:
    """Learning rate lr·factor for `total_iters` steps, then lr; the values equal torch's bit for bit.

    torch restores the rate by a multiplication by 1/factor, which may miss `lr` by an ulp. If `total_iters` is 0 or less, the
    factor stays indefinitely, except in a later part of `SequentialLR`, which then has no factor at all.

    Args:
        lr: the optimizer's learning rate.
        factor: in (0, 1]; 0 is accepted only if `total_iters` is 0 or less.
        total_iters: number of steps with the factor.

    Raises:
        DialectError: if the factor is outside [0, 1], or is 0 while torch would divide by it at t = total_iters.

    >>> ConstantLR(0.1, factor=0.5, total_iters=2).values(4)
    array([0.05, 0.05, 0.1 , 0.1 ])
    """
    n = total_iters
    if factor == 0 and n > 0:
        raise DialectError(f"factor must be above 0: torch divides by it at step {n} to come back")

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        return group.lr * factor if t == 0 else group.lr * (1.0 / factor) if t == n else group.lr

    def steps(base: float) -> Schedule:
        low = base * factor
        return Constant(low, n) >> Constant(low * (1.0 / factor), 0) if n > 0 else Constant(low)

    rule = TorchRule(
        "ConstantLR",
        lr,
        advance,
        steps,
        zero=lambda base: base * (factor + (n <= 0) * (1 - factor)),
        follows=lambda base, before: steps(base) if n > 0 else Constant(base * (factor + (1 - factor))),
        multiplies=True,
    )
    return made(rule)


@SYSTEM.declare
def LinearLR(
    lr: Rate,
    start_factor: Annotated[float, real("torch requires it", above=0, most=1)] = 1.0 / 3,
    end_factor: Share = 1.0,
    total_iters: int = 5,
) -> Schedule | Made:
    """The optimizer's learning rate times a linear factor: lr·(s + (e - s)·min(t, n)/n) at step t.

    torch multiplies the previous rate, so its rounding errors accumulate: values are within 1 + t/2 ulp of torch's, relative to
    the larger end of the line. If `total_iters` is 0 or less, the factor stays at `start_factor` indefinitely.

    Args:
        lr: the optimizer's learning rate.
        start_factor: s, the factor at t = 0, in (0, 1].
        end_factor: e, the factor at t = n, in [0, 1].
        total_iters: n, number of steps.

    Raises:
        DialectError: if a factor is outside its bounds.

    >>> LinearLR(0.1, start_factor=0.5, total_iters=4).values(6)
    array([0.05  , 0.0625, 0.075 , 0.0875, 0.1   , 0.1   ])
    """
    s, e, n = start_factor, end_factor, total_iters

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        if t == 0:
            return group.lr * s
        return group.lr if initial or t > n else group.lr * (1.0 + (e - s) / (n * s + (t - 1) * (e - s)))

    def follows(base: float, before: float) -> Schedule:
        if n == 0:
            raise DialectError(
                "LinearLR as a later part of SequentialLR must have a total_iters: torch divides by it there"
            )
        return line(base) if n > 0 else Constant(base * (s + (e - s)))

    def line(base: float) -> Schedule:
        return Ramp(base * s, base * e, n) if n > 0 else Constant(base * s)

    def zero(base: float) -> float:
        return base * (s + (e - s) * min(n, 0) / _divisor("LinearLR", n))

    return made(TorchRule("LinearLR", lr, advance, line, zero=zero, follows=follows, multiplies=True))


@SYSTEM.declare
def ExponentialLR(lr: Rate, gamma: float) -> Schedule | Made:
    """Learning rate that every step multiplies by γ: lr·γᵗ at step t.

    torch multiplies the previous rate, so its rounding errors accumulate: the value here is within t + 2 ulp of torch's.

    Args:
        lr: the optimizer's learning rate.
        gamma: γ; torch also accepts 0 and negative factors.

    >>> ExponentialLR(0.1, gamma=0.5).values(4)
    array([0.1   , 0.05  , 0.025 , 0.0125])
    """
    rule = TorchRule(
        "ExponentialLR",
        lr,
        lambda group, base, t, initial: group.lr if initial else group.lr * gamma,
        lambda base: powers(base, gamma),
        zero=lambda base: base,
        multiplies=True,
    )
    return made(rule)


@SYSTEM.declare
def PolynomialLR(lr: Rate, total_iters: int = 5, power: float = 1.0) -> Schedule | Made:
    """Polynomial decay of the learning rate to 0: lr·(1 - min(t, n)/n)^p at step t.

    torch multiplies the previous rate, so its rounding errors accumulate: values are within 2·(1 + p)·(2 + t) ulp of torch's,
    relative to the rate at t = 0. If `total_iters` is 0 or less, or the power is 0, the rate never changes.

    Args:
        lr: the optimizer's learning rate.
        total_iters: n, number of steps.
        power: p, at least 0.

    Raises:
        DialectError: if the power is negative, because torch then divides by 0 at step n.

    >>> PolynomialLR(0.1, total_iters=4, power=2).values(5)
    array([0.1    , 0.05625, 0.025  , 0.00625, 0.     ])
    """
    n = total_iters
    if power < 0 and n > 0:
        raise DialectError(f"power must be at least 0: torch divides by 0 at step {n}, got {power!r}")

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        if initial or t > n:
            return group.lr
        return float(group.lr * ((1.0 - t / n) / (1.0 - (t - 1) / n)) ** power)

    def curve(base: float) -> Schedule:
        if n <= 0 or power == 0:
            return Constant(base)
        return Ramp(base, 0.0, n, "linear" if power == 1 else f"power({power!r})")

    def zero(base: float) -> float:
        divisor = _divisor("PolynomialLR", n)
        if n < 0 and power < 0:
            raise DialectError(f"power must be at least 0 here: torch raises 0 to it, got {power!r}")
        return float(base * (1.0 - min(n, 0) / divisor) ** power)

    rule = TorchRule(
        "PolynomialLR",
        lr,
        advance,
        curve,
        zero=zero,
        follows=lambda base, before: curve(base) if n > 0 else Constant(zero(base)),
        multiplies=True,
    )
    return made(rule)


# --- curves --------------------------------------------------------------------------------------------------------


@SYSTEM.declare
def CosineAnnealingLR(
    lr: Rate, T_max: Annotated[float, real("torch divides by it", nonzero=True)], eta_min: float = 0.0
) -> Schedule | Made:
    """Cosine wave between `lr` and `eta_min`, without end: eta_min + (lr - eta_min)·(1 + cos(π·t/T_max))/2 at step t.

    The learning rate reaches `eta_min` at t = T_max and then climbs back in as many steps. torch computes each rate from the
    previous rate, and starts afresh after every minimum; near a minimum its rounding errors are large relative to the small rate,
    and the argument of its cosine loses digits as it grows. In half-wave c = 0, 1, … values are within (4 + T_max)·(1 + 4·c) ulp
    of torch's, relative to the larger end.

    Args:
        lr: the optimizer's learning rate.
        T_max: number of steps from the maximum to the minimum. A fractional `T_max` has no closed form, except multiples of 1/2
            up to 1000: at a minimum between two steps torch multiplies by the quotient of two small numbers, and its rounding
            errors grow.
        eta_min: the minimum.

    Raises:
        DialectError: if `T_max` is 0, because torch divides by `T_max`.

    >>> CosineAnnealingLR(0.1, T_max=2).values(6).round(3)
    array([0.1 , 0.05, 0.  , 0.05, 0.1 , 0.05])
    """
    low, n = eta_min, int(abs(T_max)) if T_max == int(T_max) else abs(T_max)

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        if initial:
            return group.lr
        # The step after a minimum: the quotient below would be 0/0 there, so torch begins anew from the difference of the
        # cosines.
        if (t - 1 - n) % (2 * n) == 0:
            return group.lr + (base - low) * (1 - math.cos(math.pi / n)) / 2
        return (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n)) * (group.lr - low) + low

    def wave(base: float) -> Schedule:
        if n != int(n) and (2 * n != int(2 * n) or n > 1000):
            raise NoClosedForm(
                f"torch's CosineAnnealingLR with a T_max of {n!r}, whose rounding errors grow, has no closed form"
            )
        return Ramp(base, low, n, "cosine").repeat(mirror=True)

    rule = TorchRule(
        "CosineAnnealingLR",
        lr,
        advance,
        wave,
        direct=lambda base, t: low + (base - low) * (1 + math.cos(t * math.pi / n)) / 2,
        zero=lambda base: low + (base - low) * (1 + math.cos(math.pi * 0 / n)) / 2,
    )
    return made(rule)


@SYSTEM.declare
def CosineAnnealingWarmRestarts(lr: Rate, T_0: Int1, T_mult: Int1 = 1, eta_min: float = 0.0) -> Schedule | Made:
    """Cosine decay with warm restarts: eta_min + (lr - eta_min)·(1 + cos(π·u/Tᵢ))/2 at step u of cycle i.

    Cycle i lasts Tᵢ = T_0·T_multⁱ steps. The learning rate never reaches `eta_min`: the last step of a cycle is u = Tᵢ - 1.
    torch's 1 + cos loses digits near the minimum; values are within 4 ulp of torch's, relative to the larger end.

    Args:
        lr: the optimizer's learning rate.
        T_0: number of steps of the first cycle.
        T_mult: ratio of the lengths of successive cycles, a whole number.
        eta_min: the minimum.

    >>> CosineAnnealingWarmRestarts(0.1, T_0=2, T_mult=2).values(6).round(3)
    array([0.1  , 0.05 , 0.1  , 0.085, 0.05 , 0.015])
    """
    low = eta_min

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        length = T_0
        if T_mult == 1:
            t %= length
        while t >= length:
            t, length = t - length, length * T_mult
        return low + (base - low) * (1 + math.cos(math.pi * t / length)) / 2

    rule = TorchRule(
        "CosineAnnealingWarmRestarts",
        lr,
        advance,
        lambda base: Ramp(base, low, T_0, "cosine").repeat(growth=T_mult),
        sets=True,
    )
    return made(rule)


@SYSTEM.declare
def CyclicLR(
    base_lr: float,
    max_lr: float,
    step_size_up: Above0 = 2000,
    step_size_down: From0 | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
    scale_fn: Annotated[None, fixed(None, "a Python function is not accepted; use torch's modes")] = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
) -> Schedule | Made:
    """Triangular cycles between two learning rates: base_lr + (max_lr - base_lr)·triangle(t)·scale at step t.

    triangle(t) rises linearly from 0 to 1 in `step_size_up` steps and falls back in `step_size_down`. The scale is 1 in mode
    "triangular", (1/2)^(number of completed cycles) in "triangular2", and γᵗ in "exp_range". The optimizer's own learning rate
    has no effect. torch computes the position in a cycle as a difference of numbers near the number of cycles c, which costs
    digits: values are within 4 + 2·(2 + c)·(up + down)/min(up, down) ulp of torch's, relative to the largest value.

    Args:
        base_lr: the minimum.
        max_lr: the maximum of the first cycle.
        step_size_up: number of rising steps.
        step_size_down: number of falling steps; `step_size_up` by default. With 0 the rate rises to a step short of the maximum
            and then drops to the minimum.
        mode: "triangular", "triangular2" or "exp_range".
        gamma: γ of "exp_range".
        scale_fn: must be None; a Python function is not accepted.
        scale_mode: the argument of `scale_fn`; no effect here.
        cycle_momentum, base_momentum, max_momentum: ignored; torch also cycles the momentum, opposite to the rate, by default.

    >>> CyclicLR(0.1, 0.5, step_size_up=2, cycle_momentum=False).values(5)
    array([0.1, 0.3, 0.5, 0.3, 0.1])
    """
    low, high, up = base_lr, max_lr, step_size_up
    down = up if step_size_down is None else step_size_down
    total = up + down
    ratio = up / total

    def scale(t: int, cycle: int) -> float:
        return 1.0 if mode == "triangular" else 1 / 2.0 ** (cycle - 1) if mode == "triangular2" else gamma**t

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        cycle = math.floor(1 + t / total)
        x = 1.0 + t / total - cycle
        # torch's own arithmetic, to the bit: played values are compared with the package's.
        height = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
        return base + (high - base) * height * scale(t, cycle)

    def curve(base: float) -> Schedule:
        if mode == "triangular":
            return (Ramp(base, high, up) >> Ramp(high, base, down)).repeat()
        triangle = Ramp(0.0, high - base, up) >> Ramp(high - base, 0.0, down)
        if mode == "triangular2":
            return Sum((Constant(base), triangle.repeat(decay=0.5)))
        return Sum((Constant(base), Product((triangle.repeat(), powers(1.0, gamma)))))

    def take_over(group: Group) -> None:
        group.lr = low

    return made(TorchRule("CyclicLR", None, advance, curve, sets=True, enters=take_over, own=low))


@SYSTEM.declare
def OneCycleLR(
    max_lr: float,
    total_steps: Int1 | None = None,
    epochs: Any = None,
    steps_per_epoch: Any = None,
    pct_start: Annotated[float, exactly(float, "torch requires it", least=0, most=1)] = 0.3,
    anneal_strategy: Anneal = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: Divisor = 25.0,
    final_div_factor: Divisor = 1e4,
    three_phase: bool = False,
) -> Schedule | Made:
    """A single learning-rate cycle: from max_lr/div_factor up to `max_lr`, then down to max_lr/(div_factor·final_div_factor).

    With T steps in all, the maximum is at t = pct_start·T - 1, which need not be a whole number, and the minimum at T - 1; with
    `three_phase` the fall to the first rate ends at 2·pct_start·T - 2. If the maximum is before 0, the run begins with the fall.
    At t = T torch continues along the same curve for one more step: up again with the cosine, or below the minimum (even below 0)
    with the line. torch raises at t = T + 1; here the value of t = T holds. Values are within 4 ulp of torch's, relative to
    `max_lr`, as torch's 1 + cos loses digits near the minimum.

    Args:
        max_lr: the maximum. The optimizer's own learning rate has no effect.
        total_steps: T; by default `epochs` times `steps_per_epoch`.
        epochs, steps_per_epoch: epochs of the run, and steps per epoch; only used if `total_steps` is not given.
        pct_start: fraction of the steps in which the rate rises, a float.
        anneal_strategy: "cos" or "linear".
        cycle_momentum, base_momentum, max_momentum: ignored; torch also cycles the momentum, opposite to the rate, by default.
            `laju.one_cycle_momentum` is the schedule of the momentum.
        div_factor: ratio of the maximum to the first rate.
        final_div_factor: ratio of the first rate to the last rate.
        three_phase: whether the rate falls to the first rate in as many steps as it rose, and then on to the minimum.

    Raises:
        DialectError: if the number of steps is not given, or torch refuses the arguments, such as pct_start·T = 1, for which
            torch divides by 0.

    >>> OneCycleLR(1.0, total_steps=10, anneal_strategy="linear").values(10).round(2)
    array([0.04, 0.52, 1.  , 0.86, 0.71, 0.57, 0.43, 0.29, 0.14, 0.  ])
    """
    high = max_lr
    given = (
        {"total_steps": total_steps}
        if total_steps is not None
        else {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    )
    for name, value in given.items():
        if value is None:
            raise DialectError("OneCycleLR needs total_steps, or both epochs and steps_per_epoch")
        if not isinstance(value, int) or value <= 0:
            raise DialectError(f"{name} must be an int of at least 1, as torch requires, got {shown(value)}")
    steps = math.prod(given.values())
    first = high / div_factor
    last = first / final_div_factor
    ends, rates = [float(pct_start * steps) - 1, float(steps - 1)], [first, high, last]
    if three_phase:
        ends, rates = [ends[0], float(2 * pct_start * steps) - 2, ends[1]], [first, high, first, last]
    if ends[0] == 0:
        raise DialectError(
            f"pct_start·total_steps must not be 1: torch divides by 0 for a way up of no steps, got {pct_start!r}·{steps}"
        )

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        if t > steps:
            raise DialectError(f"torch's OneCycleLR of {steps} steps raises at step {t}")
        assert group.initial is not None
        i = next((i for i, end in enumerate(ends) if t <= end), len(ends) - 1)
        begin = ends[i - 1] if i else 0.0
        p = (t - begin) / (ends[i] - begin)
        a = (group.initial, group.high, group.initial)[i]
        b = group.bottom if i == len(ends) - 1 else (group.high, group.initial)[i]
        return b + (a - b) / 2.0 * (math.cos(math.pi * p) + 1) if anneal_strategy == "cos" else (b - a) * p + a

    def take_over(group: Group) -> None:
        group.initial, group.high, group.bottom = first, high, last

    shape = "cosine" if anneal_strategy == "cos" else "linear"

    def curve(base: float) -> Schedule:
        ramps: list[Schedule] = []
        begin = 0.0
        for end, a, b in zip(ends, rates, rates[1:], strict=False):
            if end >= 0 and end > begin:
                ramp: Schedule = Ramp(a, b, end - begin, shape)
                # A phase that began before 0 is joined on its way.
                ramps.append(ramp if begin >= 0 else ramp.shift(begin))  # type: ignore[arg-type]
            begin = end
        # torch's step at T goes on along the last phase, once; then it raises. The value of that step is computed by the rule
        # itself, and holds.
        cycle = Chain(tuple(ramps)) if len(ramps) > 1 else ramps[0] if ramps else Constant(last)
        try:
            group = Group(first)
            take_over(group)
            after = advance(group, first, steps, False)
        except ZeroDivisionError:  # torch's next step raises
            return Take(cycle, steps - 1)
        return Take(cycle, steps) >> Constant(after, 0)

    return made(TorchRule("OneCycleLR", None, advance, curve, sets=True, enters=take_over, end=steps))


@SYSTEM.declare
def SWALR(
    lr: Rate,
    swa_lr: float,
    anneal_epochs: Annotated[int, exactly(int, "torch requires it", least=0)] = 10,
    anneal_strategy: Anneal = "cos",
) -> Schedule | Made:
    """Annealing from the current learning rate to the constant rate of stochastic weight averaging in `anneal_epochs` steps.

    A training loop as in the documentation of `torch.optim.swa_utils` steps `SWALR` instead of the previous scheduler from the
    first epoch after `swa_start` on, so the schedule of the whole run is
    `before.take(swa_start + 1) >> SWALR(before(swa_start + 1), …)`. torch recomputes the initial rate in each step, so rounding
    errors accumulate: values are within 4 + 2·anneal_epochs ulp of torch's, relative to the larger end.

    Args:
        lr: the optimizer's learning rate at the first step of the scheduler.
        swa_lr: the rate from t = anneal_epochs on.
        anneal_epochs: number of steps of the annealing; with 0 the rate changes when the scheduler is constructed.
        anneal_strategy: "cos" or "linear".

    >>> SWALR(0.1, swa_lr=0.05, anneal_epochs=4, anneal_strategy="linear").values(5)
    array([0.1   , 0.0875, 0.075 , 0.0625, 0.05  ])
    """
    high, n = swa_lr, anneal_epochs

    def share(step: int) -> float:
        p = max(0, min(1, step / max(1, n)))
        return (1 - math.cos(math.pi * p)) / 2 if anneal_strategy == "cos" else p

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        step = max(1, t) if n == 0 else t
        done, before = share(step), share(step - 1)
        origin = group.swa if before == 1 else (group.lr - before * group.swa) / (1 - before)
        return group.swa * done + origin * (1 - done)

    def take_over(group: Group) -> None:
        group.swa = high

    def curve(start: float) -> Schedule:
        shape = "cosine" if anneal_strategy == "cos" else "linear"
        return Ramp(start, high, n, shape) if n else Constant(high)

    rule = TorchRule(
        "SWALR", lr, advance, curve, follows=lambda base, before: curve(before), finds=True, enters=take_over
    )
    return made(rule)


# --- schedulers made of other schedulers ---------------------------------------------------------------------------


@SYSTEM.declare
def SequentialLR(lr: Rate, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> Schedule | Made:
    """Schedulers in sequence: scheduler k sets the learning rate for mₖ ≤ t < mₖ₊₁ and counts its own steps from milestone mₖ.

    Every scheduler begins with its own first value, computed from the optimizer's learning rate, not with the last value of the
    previous scheduler; only `MultiplicativeLR` and `SWALR` continue from the current rate. The step of the milestone is t = 0 of
    the scheduler, so no value is skipped or repeated. Constructing a `OneCycleLR` changes the optimizer's rate for the first
    scheduler and for all schedulers constructed later; so does a `CyclicLR` that is constructed first.

    Args:
        lr: the optimizer's learning rate.
        schedulers: schedules made by functions of this module, in the order in which torch's schedulers are constructed.
        milestones: the steps at which the second scheduler and each later scheduler begins.

    Raises:
        DialectError: if the number of milestones is not one less than the number of schedulers, if milestones decrease, if the
            schedulers could not share an optimizer, or if torch fails with the combination.

    >>> warmup = LinearLR(0.1, start_factor=0.5, total_iters=2)
    >>> SequentialLR(0.1, [warmup, ExponentialLR(0.1, 0.9)], milestones=[2]).values(4)
    array([0.05 , 0.075, 0.1  , 0.09 ])
    """
    rules = _rules("SequentialLR", schedulers, lr)
    at = milestones
    if len(at) != len(rules) - 1:
        raise DialectError(f"milestones must be one fewer than the schedulers, so {len(rules) - 1}, got {len(at)}")
    if any(b < a for a, b in itertools.pairwise(at)):
        raise DialectError(f"milestones must not decrease: torch would look up the wrong scheduler, got {shown(at)}")
    return made(InSequence("SequentialLR", lr, tuple(rules), tuple(at)))


@SYSTEM.declare
def ChainedScheduler(schedulers: Sequence[Schedule], *, lr: Rate | None = None) -> Schedule | Made:
    """Schedulers that all step at every step, in order, each changing the learning rate that the previous scheduler left.

    Schedulers that multiply (`StepLR`, `MultiStepLR`, `ConstantLR`, `LinearLR`, `ExponentialLR`, `PolynomialLR`,
    `MultiplicativeLR`) give a product. `LambdaLR`, `CosineAnnealingWarmRestarts`, `CyclicLR` and `OneCycleLR` set the rate, so
    earlier schedulers have no effect, and later schedulers contribute only the change of the single step. `CosineAnnealingLR`
    with `eta_min=0` multiplies up to `T_max` and adds after `T_max`.

    Args:
        schedulers: schedules made by functions of this module, in the order in which torch's schedulers are constructed and
            stepped.
        lr: the optimizer's learning rate; only needed if no scheduler in the list has a learning rate.

    Raises:
        DialectError: if the schedulers could not share an optimizer.

    >>> ChainedScheduler([ConstantLR(1.0, factor=0.1, total_iters=2), ExponentialLR(1.0, 0.9)]).values(5).round(4)
    array([0.1   , 0.09  , 0.81  , 0.729 , 0.6561])
    """
    rules = _rules("ChainedScheduler", schedulers, lr)
    known = [rule.lr for rule in rules if rule.lr is not None]
    return made(InChain("ChainedScheduler", known[0] if known else lr, tuple(rules)))


# --- their arguments ------------------------------------------------------------------------------------------------


def _rules(name: str, schedulers: Any, lr: float | None) -> list[Any]:
    if isinstance(schedulers, Schedule | str) or not isinstance(schedulers, Sequence):
        raise TypeError(f"schedulers must be a list of schedules of this module's functions, got {shown(schedulers)}")
    if not schedulers:
        raise DialectError(f"{name} needs at least one scheduler, as torch requires, got none")
    rules = []
    for i, schedule in enumerate(schedulers):
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedulers[{i}] must be a schedule of this module's functions, got {shown(schedule)}")
        rules.append(rule_of(schedule))
    rates = {rule.lr for rule in rules if rule.lr is not None} | ({lr} if lr is not None else set())
    if len(rates) > 1:
        raise DialectError(
            f"{name}'s schedulers share one optimizer and so one lr, got {', '.join(map(repr, sorted(rates)))}"
        )
    return rules


def _divisor(name: str, n: int) -> int:
    if n == 0:
        raise DialectError(f"{name} as a later part of SequentialLR must have a total_iters: torch divides by it there")
    return n


def factors_of(given: Any) -> Schedule:
    if isinstance(given, Schedule):
        return given
    if callable(given):
        raise DialectError(
            f"lr_lambda must be a schedule or a sequence of factors, got the function {shown(given)}; "
            "laju.Function('module:name') is the schedule of an importable function"
        )
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"lr_lambda must be a schedule or a sequence of factors, got {shown(given)}")
    given = list(given)
    if any(callable(item) for item in given):
        raise DialectError(
            "lr_lambda must be for a single parameter group: a schedule, or a sequence with a factor for each step"
        )
    return Table(tuple(number(f"lr_lambda[{i}]", f) for i, f in enumerate(given)))
