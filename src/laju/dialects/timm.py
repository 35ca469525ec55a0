"""timm: the schedulers of `timm.scheduler`, given their own count: `step(epoch + 1)` after each epoch, or `step_update(n)`.

What surprises people most:

- A warmup cuts the beginning of a cosine off unless `warmup_prefix=True`: it is counted from 0, and jumps down after the warmup.
- `StepLRScheduler` and `MultiStepLRScheduler` have `warmup_prefix=True` by default, the others do not.
- A milestone m of `MultiStepLRScheduler` applies from count m - 1 on, one before torch's.
- `TanhLRScheduler` neither begins at the rate nor ends at `lr_min`: tanh is not 1 at either end.
- The first count is never computed: it trains at the optimizer's rate, or at `warmup_lr_init`.
- `WSDLRScheduler` reaches `lr_min` one count after its last: the last one trained is a whole step of the decay above it.
- After `cycle_limit` cycles, one by default, the others are at `lr_min`.
- With `t_in_epochs` the counts are epochs: `.per("epoch")` of the schedule.

The real ones take an optimizer; these take its rate, `lr`. Noise is random and refused; `initialize` is not taken.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Literal

from laju.core.checks import number, shown, whole
from laju.core.pieces import Constant, Exponential, Power, Ramp, Table
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System

_MOST_CYCLES = 1000


SYSTEM = System(
    name="timm",
    title="timm",
    package="timm",
    releases=("1.0.31",),
    counts="epochs, or updates with t_in_epochs=False",
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
    lr: float,
    t_initial: int,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    k_decay: float = 1.0,
    *,
    exact: int | None = None,
) -> Schedule:
    """Cycles lr_min + (lr·γⁱ - lr_min)·(1 + cos π(t/T)ᵏ)/2, after or over a linear warmup; then lr_min.

    Args:
        lr: the optimizer's rate.
        t_initial: length of the first cycle.
        lr_min: the lowest rate.
        cycle_mul: how many times as long each cycle is as the one before.
        cycle_decay: γ, how many times as high.
        cycle_limit: how many cycles.
        warmup_t: length of the warmup.
        warmup_lr_init: its first rate.
        warmup_prefix: whether the cycles begin after the warmup, or at 0, with their beginning cut off.
        t_in_epochs: counts are epochs, not updates; it changes no value.
        k_decay: k (Zhang and Li, arXiv 2004.05909).
        exact: give the first so many values, bit by bit as timm computes them.

    Raises:
        DialectError: a t_initial that is not above 0 or a negative lr_min, which timm asserts; a k_decay that is not above 0.

    >>> CosineLRScheduler(1.0, 4, warmup_t=2).values(6).round(3)
    array([0.   , 0.5  , 0.5  , 0.146, 0.   , 0.   ])
    """
    k = number("k_decay", k_decay, above=0)

    def at(high: float, low: float, place: tuple[float, float]) -> float:
        t, length = place
        return low + 0.5 * (high - low) * (1 + math.cos(math.pi * t**k / length**k))

    def curve(high: float, low: float, length: float) -> Schedule:
        return Ramp(high, low, length, "cosine" if k == 1 else f"cosine(1, {k!r})")

    cycles = _Cycles(lr, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(cycles, at, curve, lr, warmup_t, warmup_lr_init, warmup_prefix, exact)


@SYSTEM.declare
def PolyLRScheduler(
    lr: float,
    t_initial: int,
    power: float = 0.5,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    k_decay: float = 1.0,
    *,
    exact: int | None = None,
) -> Schedule:
    """Cycles lr_min + (lr·γⁱ - lr_min)·(1 - (t/T)ᵏ)^power, after or over a linear warmup; then lr_min.

    Args:
        power: of the decay.
        exact: give the first so many values, bit by bit as timm computes them.

    The other arguments and errors are those of `CosineLRScheduler`; a power that is not above 0 is refused, too.

    >>> PolyLRScheduler(1.0, 4, power=1).values(6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    k, power = number("k_decay", k_decay, above=0), number("power", power, above=0)

    def at(high: float, low: float, place: tuple[float, float]) -> float:
        t, length = place
        return float(low + (high - low) * (1 - t**k / length**k) ** power)

    def curve(high: float, low: float, length: float) -> Schedule:
        return Ramp(high, low, length, f"power({power!r})" if k == 1 else f"k_decay({k!r}, {power!r})")

    cycles = _Cycles(lr, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(cycles, at, curve, lr, warmup_t, warmup_lr_init, warmup_prefix, exact)


@SYSTEM.declare
def TanhLRScheduler(
    lr: float,
    t_initial: int,
    lb: float = -7.0,
    ub: float = 3.0,
    lr_min: float = 0.0,
    cycle_mul: float = 1.0,
    cycle_decay: float = 1.0,
    cycle_limit: int = 1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    *,
    exact: int | None = None,
) -> Schedule:
    """Cycles lr_min + (lr·γⁱ - lr_min)·(1 - tanh(lb + (ub - lb)·t/T))/2; a warmup over them leads to where they are then.

    Args:
        lb, ub: where tanh begins and ends.
        exact: give the first so many values, bit by bit as timm computes them.

    The other arguments and errors are those of `CosineLRScheduler`; lb must be below ub.

    Source: Hsueh, Li and Wu, arXiv 1806.01593.

    >>> TanhLRScheduler(1.0, 4).values(6).round(3)
    array([1.   , 1.   , 0.982, 0.269, 0.   , 0.   ])
    """
    low, high = number("lb", lb), number("ub", ub)
    if not low < high:
        raise DialectError(f"lb must be below ub, {ub!r}, got {lb!r}; timm asserts it")

    def at(top: float, bottom: float, place: tuple[float, float]) -> float:
        done = place[0] / place[1]
        return bottom + 0.5 * (top - bottom) * (1 - math.tanh(low * (1.0 - done) + high * done))

    def curve(top: float, bottom: float, length: float) -> Schedule:
        begin, end = (at(top, bottom, (share * length, length)) for share in (0.0, 1.0))
        return Ramp(begin, end, length, f"tanh({low!r}, {high!r})")

    cycles = _Cycles(lr, t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit)
    return _warmed(cycles, at, curve, lr, warmup_t, warmup_lr_init, warmup_prefix, exact, to_curve=not warmup_prefix)


@SYSTEM.declare
def StepLRScheduler(
    lr: float,
    decay_t: float,
    decay_rate: float = 1.0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
    *,
    exact: int | None = None,
) -> Schedule:
    """lr·rate^⌊t/decay_t⌋, counted from the end of the warmup, or with warmup_prefix=False from 0.

    Args:
        decay_t: counts between two drops.
        decay_rate: the factor of one, not negative.
        exact: give the first so many values, bit by bit as timm computes them.

    The other arguments are those of `CosineLRScheduler`.

    Raises:
        DialectError: a decay_t that is not above 0, or a negative rate.

    >>> StepLRScheduler(1.0, 2, 0.5, warmup_t=1).values(6)
    array([0.  , 1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    base, every, rate = number("lr", lr, least=0), number("decay_t", decay_t), number("decay_rate", decay_rate)
    if every <= 0:
        raise DialectError(f"decay_t must be above 0, got {decay_t!r}")
    if rate < 0:
        raise DialectError(f"decay_rate must not be negative, got {decay_rate!r}")

    def value(t: int) -> float:
        return float(base * (rate ** (t // every)))

    stairs = Constant(base, math.ceil(every)) >> 0.0 if rate == 0 else Exponential(base, rate, every).staircase(every)
    return _after_warmup(base, stairs, value, warmup_t, warmup_lr_init, warmup_prefix, exact)


@SYSTEM.declare
def MultiStepLRScheduler(
    lr: float,
    decay_t: Sequence[int],
    decay_rate: float = 1.0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
    *,
    exact: int | None = None,
) -> Schedule:
    """lr·rate^(milestones that are at most t + 1): each applies one count before its number.

    Args:
        decay_t: the milestones, in rising order, which timm does not check.
        decay_rate: the factor of one.
        exact: give the first so many values, bit by bit as timm computes them.

    The other arguments are those of `StepLRScheduler`.

    Raises:
        DialectError: milestones that do not rise.

    >>> MultiStepLRScheduler(1.0, [2, 4], 0.5).values(5)
    array([1.  , 0.5 , 0.5 , 0.25, 0.25])
    """
    base, rate = number("lr", lr, least=0), number("decay_rate", decay_rate)
    milestones = [number("a milestone", m) for m in decay_t]
    if milestones != sorted(milestones):
        raise DialectError(f"decay_t must rise, got {shown(list(decay_t))}; timm would count some of them wrongly")

    def value(t: int) -> float:
        return float(base * (rate ** bisect_right(milestones, t + 1)))

    parts: list[Schedule] = []
    before = 0
    for milestone in milestones:
        at = max(math.ceil(milestone) - 1, 0)
        if at > before:
            parts.append(Constant(value(before), at - before))
            before = at
    decay: Schedule = Constant(value(before))
    for part in reversed(parts):
        decay = part >> decay
    return _after_warmup(base, decay, value, warmup_t, warmup_lr_init, warmup_prefix, exact)


class _Cycles:
    """Where a count lies in cycles of growing length, as timm finds it."""

    def __init__(self, lr: Any, t_initial: Any, lr_min: Any, mul: Any, decay: Any, limit: Any) -> None:
        self.lr, self.low = number("lr", lr, least=0), number("lr_min", lr_min)
        self.first, self.mul, self.decay = (
            number("t_initial", t_initial),
            number("cycle_mul", mul),
            number("cycle_decay", decay),
        )
        self.limit = whole("cycle_limit", limit)
        if self.first <= 0:
            raise DialectError(f"t_initial must be above 0, got {t_initial!r}; timm asserts it")
        if self.low < 0:
            raise DialectError(f"lr_min must not be negative, got {lr_min!r}; timm asserts it")
        if self.mul < 1:
            raise DialectError(f"cycle_mul must be at least 1, got {mul!r}: shorter and shorter cycles have no end")

    def value(self, t: int, at: Callable[[float, float, tuple[float, float]], float]) -> float:
        if self.mul != 1:
            i = math.floor(math.log(1 - t / self.first * (1 - self.mul), self.mul))
            length = self.mul**i * self.first
            within = t - (1 - self.mul**i) / (1 - self.mul) * self.first
        else:
            i = int(t // self.first)
            length, within = self.first, t - (self.first * i)
        if i >= self.limit:
            return self.low
        return at(self.lr * self.decay**i, self.low, (within, length))

    def schedule(self, curve: Callable[[float, float, float], Schedule]) -> Schedule:
        if self.limit > _MOST_CYCLES:
            raise DialectError(
                f"cycle_limit of {self.limit} makes a schedule of too many parts: say exact=N for its first N values"
            )
        schedule: Schedule = Constant(self.low)
        for i in reversed(range(self.limit)):
            length = self.first * self.mul**i
            schedule = curve(self.lr * self.decay**i, self.low, length).take(length) >> schedule
        return schedule


@SYSTEM.declare
def WSDLRScheduler(
    lr: float,
    t_initial: int,
    decay_t: int,
    lr_min: float = 0.0,
    stable_fn: Literal["constant", "rsqrt", "power"] = "constant",
    stable_timescale: float | None = None,
    stable_power: float = 0.5,
    decay_fn: Literal["linear", "1-sqrt", "cosine", "power", "exp"] = "1-sqrt",
    decay_power: float = 0.5,
    decay_ratio: float = 0.1,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    t_in_epochs: bool = True,
    *,
    exact: int | None = None,
) -> Schedule:
    """Warmup, stable, decay: lr_min + (max(lr·stable(s), lr_min) - lr_min)·decay(p), with s counted from the end of the warmup.

    p goes from 0 to 1 over the last `decay_t` of `t_initial`; the warmup stands before them. lr_min is reached one count after
    the last one that is trained.

    Args:
        t_initial: counts of the stable part and the decay.
        decay_t: counts of the decay, from 1 to `t_initial`.
        lr_min: what the decay ends at, not negative.
        stable_fn: "constant" 1, "rsqrt" (1 + s/timescale)^-1/2, or "power" (1 + s/timescale)^-stable_power.
        stable_timescale: see above; `warmup_t` by default.
        stable_power: see above.
        decay_fn: "linear" 1 - p, "1-sqrt" 1 - √p, "cosine" (1 + cos πp)/2, "power" 1 - p^decay_power, "exp" (r^p - r)/(1 - r).
        decay_power: see above.
        decay_ratio: r, between 0 and 1.
        exact: give the first so many values, bit by bit as timm computes them.

    The other arguments are those of `CosineLRScheduler`.

    Raises:
        DialectError: arguments that timm refuses, or a function for `decay_fn`.

    >>> WSDLRScheduler(1.0, 6, decay_t=4, warmup_t=2).values(9).round(3)
    array([0.   , 0.5  , 1.   , 1.   , 1.   , 0.5  , 0.293, 0.134, 0.   ])
    """
    base, bottom = number("lr", lr, least=0), number("lr_min", lr_min)
    total, down = whole("t_initial", t_initial, least=-(2**53)), whole("decay_t", decay_t, least=-(2**53))
    warmup = whole("warmup_t", warmup_t)
    if total <= 0:
        raise DialectError(f"t_initial must be at least 1, as timm asks, got {total}")
    if not 0 < down <= total:
        raise DialectError(f"decay_t must be from 1 to t_initial={total}, as timm asks, got {down}")
    if bottom < 0:
        raise DialectError(f"lr_min must be at least 0, as timm asks, got {bottom!r}")
    if stable_fn not in ("constant", "rsqrt", "power"):
        raise DialectError(f"stable_fn must be 'constant', 'rsqrt' or 'power', as timm asks, got {shown(stable_fn)}")
    if decay_fn not in ("linear", "1-sqrt", "cosine", "power", "exp"):
        raise DialectError(
            f"decay_fn must be 'linear', '1-sqrt', 'cosine', 'power' or 'exp', got {shown(decay_fn)}"
            + ("; a function has no text" if callable(decay_fn) else "")
        )
    ratio, falls = number("decay_ratio", decay_ratio), number("decay_power", decay_power)
    power = 0.5 if stable_fn == "rsqrt" else number("stable_power", stable_power)
    if not 0 < ratio < 1:
        raise DialectError(f"decay_ratio must be between 0 and 1, as timm asks, got {ratio!r}")
    if falls <= 0 or power <= 0:
        raise DialectError(f"decay_power and stable_power must be above 0, as timm asks, got {falls!r} and {power!r}")
    timescale = number("stable_timescale", warmup if stable_timescale is None else stable_timescale)
    if stable_fn != "constant" and timescale <= 0:
        raise DialectError(
            f"stable_timescale must be above 0 with stable_fn={stable_fn!r}, as timm asks, got {timescale!r}; it is "
            "warmup_t where none is given"
        )

    def decay(p: float) -> float:
        match decay_fn:
            case "linear":
                return 1.0 - p
            case "1-sqrt":
                return 1.0 - math.sqrt(p)
            case "cosine":
                return 0.5 * (1.0 + math.cos(math.pi * p))
            case "power":
                return float(1.0 - p**falls)
            case _:
                return float((ratio**p - ratio) / (1.0 - ratio))

    def value(t: int) -> float:
        level = base * (1.0 if stable_fn == "constant" else (1.0 + t / timescale) ** -power)
        level = max(level, bottom)
        done = t - (total - down)
        return float(level if done <= 0 else bottom + (level - bottom) * decay(min(done / down, 1.0)))

    shape = {"linear": "linear", "1-sqrt": "sqrt", "cosine": "cosine", "power": f"rising_power({falls!r})"}.get(
        decay_fn
    )
    top = max(base, bottom)
    closed: Schedule
    if top == bottom:
        closed = Constant(bottom)
    elif stable_fn == "constant":
        if shape is not None:
            fall: Schedule = Ramp(top, bottom, down, shape)
        else:
            size = (top - bottom) / (1 - ratio)
            fall = (Exponential(size, ratio, down) + (bottom - size * ratio)).take(down) >> bottom
        closed = Constant(top, total - down) >> fall if total > down else fall
    else:
        if shape is not None:
            share: Schedule = Ramp(1.0, 0.0, down, shape)
        else:
            size = 1 / (1 - ratio)
            share = (Exponential(size, ratio, down) + -size * ratio).take(down) >> 0.0
        share = Constant(1.0, total - down) >> share if total > down else share
        stable: Schedule = Power(base, power, 1.0, timescale)
        closed = (stable.clip(bottom, None) + -bottom) * share + bottom if bottom else stable * share
    return _after_warmup(base, closed, value, warmup, warmup_lr_init, True, exact)


def _warmed(
    cycles: _Cycles,
    at: Callable[[float, float, tuple[float, float]], float],
    curve: Callable[[float, float, float], Schedule],
    lr: float,
    warmup_t: Any,
    warmup_lr_init: Any,
    warmup_prefix: Any,
    exact: int | None,
    to_curve: bool = False,
) -> Schedule:
    target = cycles.value(whole("warmup_t", warmup_t), at) if to_curve else cycles.lr
    decay = cycles.schedule(curve) if exact is None else Constant(0.0)
    return _after_warmup(
        cycles.lr, decay, lambda t: cycles.value(t, at), warmup_t, warmup_lr_init, warmup_prefix, exact, target
    )


def _after_warmup(
    base: float,
    decay: Schedule,
    value: Callable[[int], float],
    warmup_t: Any,
    warmup_lr_init: Any,
    prefix: Any,
    exact: int | None,
    target: float | None = None,
) -> Schedule:
    """The warmup and what follows, where count 0 is never computed."""
    warmup, first = whole("warmup_t", warmup_t), number("warmup_lr_init", warmup_lr_init)
    target = base if target is None else target
    if exact is not None:
        step = (target - first) / warmup if warmup else 1

        def at(t: int) -> float:
            if t == 0:
                return first if warmup else base
            if t < warmup:
                return first + t * step
            return value(t - warmup if prefix else t)

        return Table(tuple(at(t) for t in range(whole("exact", exact, least=1))))
    if not warmup:
        # What the formula gives for 0 is another value for some, such as a milestone at 1.
        return decay if value(0) == base else Constant(base, 1) >> decay.shift(-1)
    return Ramp(first, target, warmup) >> (decay if prefix else decay.shift(-warmup))
