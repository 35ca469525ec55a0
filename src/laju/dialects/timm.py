"""timm: the schedulers of `timm.scheduler`, stepped as in timm's scripts: `step(epoch + 1)` per epoch, or `step_update(n)`.

The most surprising behaviour:

- A warmup replaces the beginning of a cosine unless `warmup_prefix=True`: the cosine counts from 0, and the learning rate jumps
  down after the warmup.
- `StepLRScheduler` and `MultiStepLRScheduler` have `warmup_prefix=True` by default, unlike the cyclic schedulers.
- A milestone m of `MultiStepLRScheduler` applies from count m - 1 on, a count earlier than in torch.
- `TanhLRScheduler` neither begins at the optimizer's rate nor ends at `lr_min`: tanh is not ±1 at the ends.
- The first count is never computed: count 0 trains at the optimizer's rate, or at `warmup_lr_init`.
- `WSDLRScheduler` reaches `lr_min` a count after the last trained count, whose rate is a whole decay step above `lr_min`.
- After `cycle_limit` cycles, 1 by default, cyclic schedulers stay at `lr_min`.
- With `t_in_epochs`, the default, a schedule counts epochs; `.per("epoch")` converts the schedule to updates.

timm's classes take an optimizer; the functions here take its learning rate, `lr`. Random noise is refused, and there is no
argument `initialize`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Literal

from laju.core.algebra import Chain
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System, powers
from laju.dialects.declared import Count, Rate, integer, real

_MOST_CYCLES = 1000

Above0 = Annotated[float, real("timm asserts it", above=0)]
From0 = Annotated[float, real("timm asserts it", least=0)]

Growth = Annotated[float, real("the number of ever shorter cycles is unlimited", least=1)]

SYSTEM = System(
    name="timm",
    title="timm",
    package="timm",
    releases=("1.0.31",),
    counts="epochs, or updates with t_in_epochs=False",
    unit="epoch",
    refused={"PlateauLRScheduler": "it follows a metric; laju.adaptive.Plateau does the same as a factor"},
    aliases={
        "cosine": "CosineLRScheduler",
        "poly": "PolyLRScheduler",
        "tanh": "TanhLRScheduler",
        "step": "StepLRScheduler",
        "multistep": "MultiStepLRScheduler",
        "wsd": "WSDLRScheduler",
        "plateau": "PlateauLRScheduler",
    },
)


@SYSTEM.declare
def CosineLRScheduler(
    lr: Rate,
    t_initial: Above0,
    lr_min: From0 = 0.0,
    cycle_mul: Growth = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: Count = 1,
    warmup_t: Count = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    k_decay: Annotated[float, real(above=0)] = 1.0,
) -> Schedule:
    """Cosine decay with restarts: lr_min + (lr·γⁱ - lr_min)·(1 + cos π(t/T)ᵏ)/2 at count t of cycle i, then lr_min.

    Args:
        lr: the optimizer's learning rate.
        t_initial: T of the first cycle, its length.
        lr_min: the minimum.
        cycle_mul: ratio of the lengths of successive cycles.
        cycle_decay: γ, ratio of the peaks of successive cycles.
        cycle_limit: number of cycles.
        warmup_t: length of a linear warmup; 0 for no warmup.
        warmup_lr_init: learning rate at the beginning of the warmup.
        warmup_prefix: whether the cycles begin after the warmup, or at 0, so that the warmup replaces the beginning of a cycle.
        t_in_epochs: whether counts are epochs or updates; no effect on the values.
        k_decay: k (Zhang and Li, arXiv 2004.05909).

    >>> CosineLRScheduler(1.0, 4, warmup_t=2).values(6).round(3)
    array([0.   , 0.5  , 0.5  , 0.146, 0.   , 0.   ])
    """
    shape = "cosine" if k_decay == 1 else f"cosine(1, {k_decay!r})"
    cycles = _cycles(shape, (1.0, 0.0), lr, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(lr, cycles, warmup_t, warmup_lr_init, warmup_prefix)


@SYSTEM.declare
def PolyLRScheduler(
    lr: Rate,
    t_initial: Above0,
    power: Annotated[float, real(above=0)] = 0.5,
    lr_min: From0 = 0.0,
    cycle_mul: Growth = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: Count = 1,
    warmup_t: Count = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    k_decay: Annotated[float, real(above=0)] = 1.0,
) -> Schedule:
    """Polynomial decay with restarts: lr_min + (lr·γⁱ - lr_min)·(1 - (t/T)ᵏ)^power at count t of cycle i, then lr_min.

    Args:
        power: exponent of the decay, above 0.

    The other arguments are described in `CosineLRScheduler`.

    >>> PolyLRScheduler(1.0, 4, power=1).values(6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    shape = f"power({power!r})" if k_decay == 1 else f"k_decay({k_decay!r}, {power!r})"
    cycles = _cycles(shape, (1.0, 0.0), lr, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(lr, cycles, warmup_t, warmup_lr_init, warmup_prefix)


@SYSTEM.declare
def TanhLRScheduler(
    lr: Rate,
    t_initial: Above0,
    lb: float = -7.0,
    ub: float = 3.0,
    lr_min: From0 = 0.0,
    cycle_mul: Growth = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: Count = 1,
    warmup_t: Count = 0,
    warmup_lr_init: From0 = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
) -> Schedule:
    """Hyperbolic-tangent decay with restarts: lr_min + (lr·γⁱ - lr_min)·(1 - tanh(lb + (ub - lb)·t/T))/2 at count t of cycle i.

    A warmup leads to the value of the cycle at the end of the warmup.

    Args:
        lb, ub: arguments of tanh at the beginning and at the end of a cycle; lb must be below ub.

    The other arguments are described in `CosineLRScheduler`.

    Raises:
        DialectError: if lb is not below ub.

    Source: Hsueh, Li and Wu, arXiv 1806.01593.

    >>> TanhLRScheduler(1.0, 4).values(6).round(3)
    array([1.   , 1.   , 0.982, 0.269, 0.   , 0.   ])
    """
    if not lb < ub:
        raise DialectError(f"lb must be below ub, {ub!r}, got {lb!r}; timm asserts it")
    ends = 0.5 * (1 - math.tanh(lb)), 0.5 * (1 - math.tanh(ub))
    cycles = _cycles(f"tanh({lb!r}, {ub!r})", ends, lr, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    target = lr if warmup_prefix else cycles(warmup_t)
    return _warmed(lr, cycles, warmup_t, warmup_lr_init, warmup_prefix, target)


@SYSTEM.declare
def StepLRScheduler(
    lr: Rate,
    decay_t: Above0,
    decay_rate: float = 1.0,
    warmup_t: Count = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
) -> Schedule:
    """Step decay of the learning rate: lr·decay_rate^⌊t/decay_t⌋, with t counted from the end of the warmup.

    With warmup_prefix=False, t is counted from 0.

    Args:
        decay_t: counts between two drops.
        decay_rate: factor of a drop; negative only if decay_t is a whole number.

    The other arguments are described in `CosineLRScheduler`.

    Raises:
        DialectError: if decay_t is not above 0, or decay_rate is negative and decay_t fractional.

    >>> StepLRScheduler(1.0, 2, 0.5, warmup_t=1).values(6)
    array([0.  , 1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    if decay_t == int(decay_t):
        decay = powers(lr, decay_rate, int(decay_t))
    elif decay_rate < 0:
        raise DialectError(f"decay_rate must not be negative if decay_t is not a whole number, got {decay_rate!r}")
    else:
        decay = (
            Exponential(lr, decay_rate, decay_t).staircase(decay_t)
            if decay_rate
            else Constant(lr, math.ceil(decay_t)) >> 0.0
        )
    return _warmed(lr, decay, warmup_t, warmup_lr_init, warmup_prefix)


@SYSTEM.declare
def MultiStepLRScheduler(
    lr: Rate,
    decay_t: Sequence[float],
    decay_rate: float = 1.0,
    warmup_t: Count = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
) -> Schedule:
    """Step decay at milestones: lr·decay_rate^(number of milestones ≤ t + 1), so a milestone applies a count before its number.

    Args:
        decay_t: the milestones, in increasing order; in a different order, timm's binary search for t + 1 gives the number.
        decay_rate: factor of a drop.

    The other arguments are described in `StepLRScheduler` and `CosineLRScheduler`.

    >>> MultiStepLRScheduler(1.0, [2, 4], 0.5).values(5)
    array([1.  , 0.5 , 0.5 , 0.25, 0.25])
    """
    # timm looks a count t up by t + 1, so each milestone is in force a count early.
    begins = sorted({0, *(max(math.ceil(milestone) - 1, 0) for milestone in decay_t)})
    levels = [Constant(lr * decay_rate ** bisect_right(decay_t, begin + 1)) for begin in begins]
    steps = [level.lasting(end - begin) for level, begin, end in zip(levels, begins, begins[1:], strict=False)]
    return _warmed(lr, Chain((*steps, levels[-1])) if steps else levels[-1], warmup_t, warmup_lr_init, warmup_prefix)


@SYSTEM.declare
def WSDLRScheduler(
    lr: Rate,
    t_initial: Annotated[int, integer("timm requires it", least=1)],
    decay_t: Annotated[int, integer("timm requires it", least=1)],
    lr_min: From0 = 0.0,
    stable_fn: Literal["constant", "rsqrt", "power"] = "constant",
    stable_timescale: float | None = None,
    stable_power: Above0 = 0.5,
    decay_fn: Literal["linear", "1-sqrt", "cosine", "power", "exp"] = "1-sqrt",
    decay_power: Above0 = 0.5,
    decay_ratio: Annotated[float, real("timm requires it", above=0, below=1)] = 0.1,
    warmup_t: Count = 0,
    warmup_lr_init: float = 0.0,
    t_in_epochs: bool = True,
) -> Schedule:
    """Warmup-stable-decay schedule: lr_min + (max(lr·stable(s), lr_min) - lr_min)·decay(p) at count s after the warmup.

    p goes from 0 to 1 over the last `decay_t` counts of `t_initial`; the warmup comes before `t_initial`. The learning rate
    reaches lr_min a count after the last trained count.

    Args:
        t_initial: counts of the stable part and the decay together.
        decay_t: counts of the decay, from 1 to `t_initial`.
        lr_min: the end of the decay, not negative.
        stable_fn: "constant" 1, "rsqrt" (1 + s/timescale)^-1/2, or "power" (1 + s/timescale)^-stable_power.
        stable_timescale: timescale of "rsqrt" and "power"; `warmup_t` by default.
        stable_power: exponent of "power".
        decay_fn: "linear" 1 - p, "1-sqrt" 1 - √p, "cosine" (1 + cos πp)/2, "power" 1 - p^decay_power, "exp" (r^p - r)/(1 - r).
        decay_power: exponent of the decay "power".
        decay_ratio: r of "exp", between 0 and 1.

    The other arguments are described in `CosineLRScheduler`.

    Raises:
        DialectError: if timm refuses the arguments, or `decay_fn` is a function.

    >>> WSDLRScheduler(1.0, 6, decay_t=4, warmup_t=2).values(9).round(3)
    array([0.   , 0.5  , 1.   , 1.   , 1.   , 0.5  , 0.293, 0.134, 0.   ])
    """
    if decay_t > t_initial:
        raise DialectError(f"decay_t must be at most t_initial, {t_initial}, as timm requires, got {decay_t}")
    timescale = warmup_t if stable_timescale is None else stable_timescale
    if stable_fn != "constant" and timescale <= 0:
        raise DialectError(
            f"stable_timescale must be above 0 with stable_fn={stable_fn!r}, as timm requires, got {timescale!r}; the "
            "default is warmup_t"
        )
    kinds = {"linear": "linear", "1-sqrt": "sqrt", "cosine": "cosine", "power": f"rising_power({decay_power!r})"}

    def decay(top: float, bottom: float) -> Schedule:
        """Return the constant part followed by the decay."""
        if decay_fn in kinds:
            fall: Schedule = Ramp(top, bottom, decay_t, kinds[decay_fn])
        else:
            size = (top - bottom) / (1 - decay_ratio)
            fall = (Exponential(size, decay_ratio, decay_t) + (bottom - size * decay_ratio)).take(decay_t) >> bottom
        return Constant(top, t_initial - decay_t) >> fall if t_initial > decay_t else fall

    if lr <= lr_min:
        whole: Schedule = Constant(lr_min)
    elif stable_fn == "constant":
        whole = decay(lr, lr_min)
    else:
        stable: Schedule = Power(lr, 0.5 if stable_fn == "rsqrt" else stable_power, 1.0, timescale)
        share = decay(1.0, 0.0)
        whole = (stable.clip(lr_min, None) + -lr_min) * share + lr_min if lr_min else stable * share
    return _warmed(lr, whole, warmup_t, warmup_lr_init, True)


def _cycles(
    shape: str,
    ends: tuple[float, float],
    lr: float,
    first: float,
    low: float,
    mul: float,
    decay: float,
    limit: int,
) -> Schedule:
    """Cycles of growing length; `ends` are the first and last value of a cycle as fractions of its height above `low`."""

    def cycle(i: int) -> Schedule:
        height = lr * decay**i - low
        return Ramp(low + height * ends[0], low + height * ends[1], first * mul**i, shape)

    if limit > _MOST_CYCLES:
        if mul != 1 or decay != 1:
            raise DialectError(f"cycle_limit must be at most {_MOST_CYCLES} if cycles differ, got {limit}")
        return cycle(0).repeat(limit) >> low
    return Chain((*(cycle(i).take(first * mul**i) for i in range(limit)), Constant(low)))


def _warmed(
    base: float, decay: Schedule, warmup: int, first: float, prefix: bool, target: float | None = None
) -> Schedule:
    """Return a warmup followed by a decay; without a warmup, count 0 has the base rate, because timm never computes count 0."""
    if warmup:
        return Ramp(first, base if target is None else target, warmup) >> (decay if prefix else decay.shift(-warmup))
    # The formula's value at 0 differs for some, such as a milestone at 1.
    return decay if decay(0) == base else Constant(base, 1) >> decay.shift(-1)
