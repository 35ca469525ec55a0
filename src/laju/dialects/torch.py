"""PyTorch: the schedulers of `torch.optim.lr_scheduler` and `SWALR`, stepped once after every update (or epoch).

The most surprising behaviour:

- `CosineAnnealingLR` does not stop at `T_max`: the rate climbs back to the base and falls again, for ever.
- `OneCycleLR` reaches its last value at `total_steps - 1`; the next step overshoots, and the step after that raises.
- `CyclicLR` and `OneCycleLR` ignore the optimizer's rate, and change the base rate of schedulers made later.
- A part of `SequentialLR` begins at its own first value at its milestone, whatever the part before ended with.
- `ChainedScheduler` is a product only of schedulers that multiply; a scheduler that sets the rate undoes all before it.
- Most schedulers compute each rate from the previous rate, so rounding errors add up; `laju.trace` has the bits of real runs.

Where torch takes an optimizer, these functions take its rate, `lr`. Of `last_epoch` only -1 is taken: a schedule begins at 0.
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
from laju.dialects._torch_rules import Group, InSequence, Rule, Together, made, rule_of
from laju.dialects.base import DialectError, System, powers, replayed
from laju.dialects.declared import Above0, From0, Made, NoClosedForm, Rate, exactly, fixed, integer, listed, real

# --- multiplied now and then ---------------------------------------------------------------------------------------


NotZero = Annotated[int, integer("torch divides by it", nonzero=True)]
Int1 = Annotated[int, exactly(int, "torch asks for it", least=1)]
Share = Annotated[float, real("torch asks for it", least=0, most=1)]
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
    refused={
        "ReduceLROnPlateau": "it follows a metric; laju.adaptive.Plateau does the same as a factor, recorded and replayable"
    },
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as torch."""


@SYSTEM.declare
def LambdaLR(lr: Rate, lr_lambda: Schedule | Sequence[float]) -> Schedule | Made:
    """The optimizer's rate times a function of the epoch: lr·lr_lambda(t).

    Args:
        lr: the optimizer's rate.
        lr_lambda: the factors, as a schedule or a factor for each step, the last of which holds. A Python function has no text;
            `laju.Function("module:name")` is the schedule of a function that can be imported.

    Raises:
        DialectError: a Python function, or several functions.

    >>> from laju import linear
    >>> LambdaLR(0.1, linear(1, 0, total=4)).values(3)
    array([0.1  , 0.075, 0.05 ])
    """
    factors = factors_of(lr_lambda)
    rule = Rule(
        "LambdaLR",
        lr,
        lambda group, base, t, initial: base * factors(t),
        lambda base: Product((Constant(base), factors)),
        sets=True,
    )
    return made(rule)


@SYSTEM.declare
def MultiplicativeLR(lr: Rate, lr_lambda: float | Schedule | Sequence[float]) -> Schedule | Made:
    """Multiplied at every step by a factor: lr·f(1)·f(2)·…·f(t); the factor of epoch 0 is never asked for.

    As a later part of `SequentialLR` the scheduler goes on from the current rate, and multiplies by f(0) as well.

    Args:
        lr: the optimizer's rate.
        lr_lambda: a factor for every step, or a sequence f(0), f(1), …, after whose end the rate holds, or a schedule of
            factors, whose products have no closed form and are computed step by step.

    Raises:
        DialectError: a function.

    >>> MultiplicativeLR(0.8, [9, 0.5, 0.5]).values(4)
    array([0.8, 0.4, 0.2, 0.2])
    """
    if is_number(lr_lambda):
        gamma = number("lr_lambda", lr_lambda)
        rule = Rule(
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

    rule = Rule(
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
    """Multiplied by γ every `step_size` steps: lr·γ^⌊t/step_size⌋.

    torch multiplies the previous rate, so its n-th drop may be n ulp off; the value here is within n + 2 ulp of torch's.

    Args:
        lr: the optimizer's rate.
        step_size: steps between two drops.
        gamma: γ; 0 and negative factors are torch's too.

    >>> StepLR(0.1, step_size=30)(60)
    0.001...
    """
    every = abs(step_size)
    rule = Rule(
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
    """Multiplied by γ at every milestone: lr·γ^(number of milestones ≤ t); the values are torch's to the last digit.

    A milestone that is listed twice counts twice; a milestone at 0 counts at once. torch passes over negative milestones and
    fractions without a word.

    Args:
        lr: the optimizer's rate.
        milestones: steps, in any order.
        gamma: γ.

    >>> MultiStepLR(0.1, [30, 80], gamma=0.5).values(81)[[29, 30, 80]]
    array([0.1  , 0.05 , 0.025])
    """
    at = Counter(milestones)
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

    rule = Rule(
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
    """The rate times a factor for `total_iters` steps, then the rate itself; the values are torch's to the last digit.

    torch comes back by a product with 1/factor, which may miss the rate by an ulp. With `total_iters` of 0 or less the factor
    stays for ever, except in a later part of `SequentialLR`, which then has no factor at all.

    Args:
        lr: the optimizer's rate.
        factor: in (0, 1]; 0 only where torch never comes back.
        total_iters: steps.

    Raises:
        DialectError: a factor outside [0, 1], or 0, by which torch divides at t = total_iters.

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

    rule = Rule(
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
    start_factor: Annotated[float, real("torch asks for it", above=0, most=1)] = 1.0 / 3,
    end_factor: Share = 1.0,
    total_iters: int = 5,
) -> Schedule | Made:
    """The rate times a line: lr·(s + (e - s)·min(t, n)/n).

    torch multiplies the previous rate, so its errors add up: the value here is within 1 + t/2 ulp of the larger end. With
    `total_iters` of 0 or less the rate stays at `start_factor` for ever.

    Args:
        lr: the optimizer's rate.
        start_factor: s, the factor at t = 0, in (0, 1].
        end_factor: e, the factor at t = n, in [0, 1].
        total_iters: n, steps.

    Raises:
        DialectError: a factor outside these bounds.

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

    return made(Rule("LinearLR", lr, advance, line, zero=zero, follows=follows, multiplies=True))


@SYSTEM.declare
def ExponentialLR(lr: Rate, gamma: float) -> Schedule | Made:
    """Multiplied by γ at every step: lr·γᵗ.

    torch multiplies the previous rate, so its errors add up: the value here is within t + 2 ulp of torch's.

    Args:
        lr: the optimizer's rate.
        gamma: γ; 0 and negative factors are torch's too.

    >>> ExponentialLR(0.1, gamma=0.5).values(4)
    array([0.1   , 0.05  , 0.025 , 0.0125])
    """
    rule = Rule(
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
    """Polynomial decay to 0: lr·(1 - min(t, n)/n)^p.

    torch multiplies the rate before, so its errors add up: this is within 2·(1 + p)·(2 + t) ulp of the rate at t = 0. With
    `total_iters` of 0 or less, or a power of 0, the rate never changes.

    Args:
        lr: the optimizer's rate.
        total_iters: n, steps.
        power: p, of at least 0.

    Raises:
        DialectError: a negative power, for which torch divides by 0 at step n.

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

    rule = Rule(
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
    """Cosines down and up again without end: eta_min + (lr - eta_min)·(1 + cos(π·t/T_max))/2.

    The rate reaches `eta_min` at t = T_max and then climbs back, in as many steps. torch computes each rate from the previous
    rate, anew after every minimum; near a minimum its rounding errors are large in proportion to the small rate, and its cosine's
    argument loses digits as the argument grows. In half-wave c = 0, 1, … this is within (4 + T_max)·(1 + 4·c) ulp of the larger
    end.

    Args:
        lr: the optimizer's rate.
        T_max: steps from the top to the bottom. A fraction has no closed form but for halves up to 1000: torch
            multiplies by the quotient of two small numbers at a minimum between two steps, and its rounding errors grow.
        eta_min: the bottom.

    Raises:
        DialectError: a `T_max` of 0, by which torch divides.

    >>> CosineAnnealingLR(0.1, T_max=2).values(6).round(3)
    array([0.1 , 0.05, 0.  , 0.05, 0.1 , 0.05])
    """
    low, n = eta_min, int(abs(T_max)) if T_max == int(T_max) else abs(T_max)

    def advance(group: Group, base: float, t: int, initial: bool) -> float:
        if initial:
            return group.lr
        if (t - 1 - n) % (2 * n) == 0:
            return group.lr + (base - low) * (1 - math.cos(math.pi / n)) / 2
        return (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n)) * (group.lr - low) + low

    def wave(base: float) -> Schedule:
        if n != int(n) and (2 * n != int(2 * n) or n > 1000):
            raise NoClosedForm(
                f"torch's CosineAnnealingLR with a T_max of {n!r}, whose rounding errors grow, has no closed form"
            )
        return Ramp(base, low, n, "cosine").repeat(mirror=True)

    rule = Rule(
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
    """Cosines down, begun again and again: eta_min + (lr - eta_min)·(1 + cos(π·u/Tᵢ))/2 with u steps of cycle i done.

    Cycle i lasts Tᵢ = T_0·T_multⁱ steps. The cycle's last step is one short of `eta_min`, which is never reached. torch's
    1 + cos loses digits near the bottom; this is within 4 ulp of the larger end.

    Args:
        lr: the optimizer's rate.
        T_0: steps of the first cycle.
        T_mult: ratio of the lengths of successive cycles, a whole number.
        eta_min: the bottom.

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

    rule = Rule(
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
    scale_fn: Annotated[None, fixed(None, "a function of one's own has no text; torch's three modes are taken")] = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
) -> Schedule | Made:
    """Cycles in straight lines between two rates: base_lr + (max_lr - base_lr)·triangle(t)·scale.

    The scale is 1 in mode "triangular", 1/2 to the number of full cycles in "triangular2", and γᵗ in "exp_range". The
    optimizer's own rate does not matter. torch finds the place in a cycle by a difference of numbers near the number of cycles c,
    which costs digits: this is within 4 + 2·(2 + c)·(up + down)/min(up, down) ulp of the largest value.

    Args:
        base_lr: the bottom.
        max_lr: the top of the first cycle.
        step_size_up: steps up.
        step_size_down: steps down; `step_size_up` by default. With 0 the rate falls from a step short of the top at once.
        mode: see above.
        gamma: γ of "exp_range".
        scale_fn: not taken, as a function has no text.
        scale_mode: the argument of `scale_fn`; no effect here.
        cycle_momentum, base_momentum, max_momentum: torch also cycles the momentum against the rate, by default; ignored here.

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

    return made(Rule("CyclicLR", None, advance, curve, sets=True, enters=take_over, own=low))


@SYSTEM.declare
def OneCycleLR(
    max_lr: float,
    total_steps: Int1 | None = None,
    epochs: Any = None,
    steps_per_epoch: Any = None,
    pct_start: Annotated[float, exactly(float, "torch asks for it", least=0, most=1)] = 0.3,
    anneal_strategy: Anneal = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: Divisor = 25.0,
    final_div_factor: Divisor = 1e4,
    three_phase: bool = False,
) -> Schedule | Made:
    """A single cycle: from max_lr/div_factor up to `max_lr`, then down to max_lr/(div_factor·final_div_factor) at T - 1.

    The top is at t = pct_start·T - 1, which need not be whole, and the bottom at T - 1; in three phases the way down to the first
    rate ends at 2·pct_start·T - 2. With a top before 0 the run begins on the way down. One step more, at t = T, torch goes on
    along the same curve, up again with the cosine and below the bottom (even below 0) with the line; then torch raises, and here
    that value holds. Within 4 ulp of `max_lr` of torch, whose 1 + cos loses digits near the bottom.

    Args:
        max_lr: the top. The optimizer's own rate does not matter.
        total_steps: T; or else `epochs` times `steps_per_epoch`.
        pct_start: share of the steps that rise, a float.
        anneal_strategy: "cos" or "linear".
        cycle_momentum, base_momentum, max_momentum: the momentum runs against the rate, and by default; see
            `laju.one_cycle_momentum` for the momentum's schedule.
        div_factor: from the top to the first rate.
        final_div_factor: from the first rate to the last.
        three_phase: down to the first rate in as many steps as up, then on to the bottom.

    Raises:
        DialectError: no number of steps, or arguments at which torch raises: among these pct_start·T = 1, where torch divides
            by 0.

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
            raise DialectError(f"{name} must be an int of at least 1, as torch asks, got {shown(value)}")
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
        cycle = Chain(tuple(ramps)) if len(ramps) > 1 else ramps[0] if ramps else Constant(last)
        try:
            group = Group(first)
            take_over(group)
            after = advance(group, first, steps, False)
        except ZeroDivisionError:  # torch's next step raises
            return Take(cycle, steps - 1)
        return Take(cycle, steps) >> Constant(after, 0)

    return made(Rule("OneCycleLR", None, advance, curve, sets=True, enters=take_over, end=steps))


@SYSTEM.declare
def SWALR(
    lr: Rate,
    swa_lr: float,
    anneal_epochs: Annotated[int, exactly(int, "torch asks for it", least=0)] = 10,
    anneal_strategy: Anneal = "cos",
) -> Schedule | Made:
    """From the current rate to the constant rate of weight averaging in `anneal_epochs` steps.

    After another scheduler, `torch.optim.swa_utils` hands over once an epoch is past `swa_start`, so that the whole is
    `before.take(swa_start + 1) >> SWALR(before(swa_start + 1), …)`. torch solves each step for where it came from, so errors
    add up; this is within 4 + 2·anneal_epochs ulp of the larger end.

    Args:
        lr: the optimizer's rate at the first step of the scheduler.
        swa_lr: the rate at t = anneal_epochs and ever after.
        anneal_epochs: steps on the way; with 0 the rate is changed as soon as the scheduler is made.
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

    rule = Rule("SWALR", lr, advance, curve, follows=lambda base, before: curve(before), finds=True, enters=take_over)
    return made(rule)


# --- of several ----------------------------------------------------------------------------------------------------


@SYSTEM.declare
def SequentialLR(lr: Rate, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> Schedule | Made:
    """Schedulers in sequence, each on its own clock from its milestone on: part k is in force for mₖ ≤ t < mₖ₊₁.

    Every part begins at its own first value, computed from the optimizer's rate, not at the end of the part before (only
    `MultiplicativeLR` and `SWALR` go on from there). The milestone's step is the part's t = 0, so nothing is skipped or doubled.
    Making an `OneCycleLR` changes the optimizer's rate for the first part and all parts made later; a `CyclicLR` that is made
    first does so too.

    Args:
        lr: the optimizer's rate.
        schedulers: schedules of this module's functions, in the order in which torch's are made.
        milestones: steps at which the next part begins, for all parts but the first.

    Raises:
        DialectError: another number of milestones, milestones that fall, parts that no optimizer could share, or a combination
            at which torch fails.

    >>> warmup = LinearLR(0.1, start_factor=0.5, total_iters=2)
    >>> SequentialLR(0.1, [warmup, ExponentialLR(0.1, 0.9)], milestones=[2]).values(4)
    array([0.05 , 0.075, 0.1  , 0.09 ])
    """
    rules = _rules("SequentialLR", schedulers, lr)
    at = milestones
    if len(at) != len(rules) - 1:
        raise DialectError(f"milestones must be one fewer than the schedulers, so {len(rules) - 1}, got {len(at)}")
    if any(b < a for a, b in itertools.pairwise(at)):
        raise DialectError(f"milestones must not fall: torch would look up the wrong part, got {shown(at)}")
    return made(InSequence("SequentialLR", lr, tuple(rules), tuple(at)))


@SYSTEM.declare
def ChainedScheduler(schedulers: Sequence[Schedule], *, lr: Rate | None = None) -> Schedule | Made:
    """Schedulers that step in turn at every step, each on the rate that the schedulers before left.

    The schedule is the product of schedulers that multiply (`StepLR`, `MultiStepLR`, `ConstantLR`, `LinearLR`, `ExponentialLR`,
    `PolynomialLR`, `MultiplicativeLR`). `LambdaLR`, `CosineAnnealingWarmRestarts`, `CyclicLR` and `OneCycleLR` set the rate, so
    schedulers before such a scheduler have no effect, and schedulers after such a scheduler only change the rate by their change
    of that single step. `CosineAnnealingLR` with `eta_min=0` multiplies up to `T_max` and adds after `T_max`.

    Args:
        schedulers: schedules of this module's functions, in the order in which torch's are made and stepped.
        lr: the optimizer's rate, where no scheduler in the list has the rate.

    Raises:
        DialectError: parts that no optimizer could share.

    >>> ChainedScheduler([ConstantLR(1.0, factor=0.1, total_iters=2), ExponentialLR(1.0, 0.9)]).values(5).round(4)
    array([0.1   , 0.09  , 0.81  , 0.729 , 0.6561])
    """
    rules = _rules("ChainedScheduler", schedulers, lr)
    known = [rule.lr for rule in rules if rule.lr is not None]
    return made(Together("ChainedScheduler", known[0] if known else lr, tuple(rules)))


# --- their arguments ------------------------------------------------------------------------------------------------


def _rules(name: str, schedulers: Any, lr: float | None) -> list[Any]:
    if isinstance(schedulers, Schedule | str) or not isinstance(schedulers, Sequence):
        raise TypeError(f"schedulers must be a list of schedules of this module's functions, got {shown(schedulers)}")
    if not schedulers:
        raise DialectError(f"{name} needs at least one scheduler, as torch asks, got none")
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
            f"lr_lambda must be a schedule or a sequence of factors, got the function {shown(given)}, which has no text; "
            "laju.Function('module:name') is a schedule made of one that can be imported"
        )
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"lr_lambda must be a schedule or a sequence of factors, got {shown(given)}")
    given = list(given)
    if any(callable(item) for item in given):
        raise DialectError(
            "lr_lambda must be of one parameter group: a schedule, or a sequence of factors, one for each step"
        )
    return Table(tuple(number(f"lr_lambda[{i}]", f) for i, f in enumerate(given)))
