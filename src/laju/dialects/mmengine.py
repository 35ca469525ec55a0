"""MMEngine: the learning-rate schedulers of `mmengine.optim`, and a list of schedulers as stepped by MMEngine's Runner.

The most surprising behaviour:

- `begin` and `end` are the window of the run in which the scheduler acts; milestones, periods and `T_max` count from `begin`.
- A linear or polynomial change ends a step before the window: at `end` - 1 `LinearLR` has its end factor and `PolyLR` its
  minimum.
- `CosineAnnealingLR` without `T_max` uses end - begin and so never reaches `eta_min`; with a smaller `T_max` the rate rises
  again.
- A factor stays after the window: `LinearLR` with an end factor of 0.5 leaves half of the learning rate to the next scheduler.
- A window of a single step leaves `ConstantLR` and `LinearLR` at their first factor permanently.
- The Runner gives a scheduler without `end` the end of the run. A loop over iterations is a run of 1 epoch, in which schedulers
  by epoch only take their first step, so a `LinearLR` without by_epoch=False keeps its start factor for the whole run.
- Iterations are counted, not updates: with `accumulative_counts` of 4 an update takes four iterations.

Where MMEngine takes an optimizer, the functions here take its learning rate, `lr`. `last_step` must be -1, because a schedule
begins at 0; `verbose` has no effect. A schedule counts epochs, or iterations with by_epoch=False or convert_to_iter_based=True.
MMEngine computes every rate from the previous rate, so rounding errors accumulate; `laju.trace` records the exact values of a
real run.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from laju.core.algebra import Chain
from laju.core.checks import shown
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects import torch as _torch
from laju.dialects._mmengine_rules import MMEngineRule, Window, alone, made, window_of
from laju.dialects._torch_rules import Group, rule_of
from laju.dialects.base import Dialect, DialectError, System, call, powers
from laju.dialects.declared import Count, Count1, Made, Rate, SystemSchedule, Together, exactly, integer, real


class _WithDict(System):
    """MMEngine, whose configurations write an entry as dict(type='LinearLR', …)."""

    def scheduler(self, name: str) -> Dialect:
        return _dict if name == "dict" else super().scheduler(name)


Acting = Annotated[Window, Together(window_of)]
ActingLast = Annotated[Window, Together(window_of, first="last_step")]
Share = Annotated[float, real("MMEngine requires it", least=0, most=1)]

SYSTEM = _WithDict(
    name="mmengine",
    title="MMEngine",
    package="mmengine",
    releases=("0.10.7",),
    counts="epochs, or iterations with by_epoch=False or convert_to_iter_based=True",
    unit="epoch",
    refused={
        "ReduceOnPlateauLR": "it follows a metric; laju.adaptive.Plateau does the same as a factor, recorded and replayable"
    },
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as mmengine."""


@SYSTEM.declare_shared
def ConstantLR(
    lr: Rate,
    factor: Share = 1.0 / 3,
    *,
    window: Acting,
) -> Schedule | Made:
    """Learning rate lr·factor from step `begin` on, and lr again from step `end` - 1, the last step of the window.

    MMEngine restores the rate by a multiplication by 1/factor, which may miss `lr` by an ulp; the values here equal MMEngine's
    bit for bit. In a window of a single step the factor stays.

    Args:
        lr: the optimizer's learning rate.
        factor: in [0, 1]; 0 is accepted only if the factor stays.
        window: the arguments `begin`, `end` and others of the window; see `laju.dialects._mmengine_rules.window_of`.

    Raises:
        DialectError: if the factor is outside [0, 1], the factor is 0 and MMEngine would divide by 0, or `end` is not after
            `begin`.

    >>> ConstantLR(0.1, factor=0.5, end=3).values(4)
    array([0.05, 0.05, 0.1 , 0.1 ])
    """
    n = window.last
    if factor == 0 and n and window.reaches(n):
        raise DialectError(f"factor must be above 0: MMEngine divides by it at step {n} of the window to come back")

    def advance(group: Group, base: float, t: int) -> float:
        return group.lr * factor if t == 0 else group.lr * (1.0 / factor) if t == n else group.lr

    def curve(top: float, base: float) -> Schedule:
        low = top * factor
        if not n or not window.reaches(n):
            return Constant(low)
        return Constant(low, n) >> Constant(low * (1.0 / factor), 0)

    return alone(MMEngineRule("ConstantLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def CosineAnnealingLR(
    lr: Rate,
    T_max: float | None = None,
    eta_min: float | None = None,
    *,
    window: Acting,
    eta_min_ratio: float | None = None,
) -> Schedule | Made:
    """Cosine wave within the window: eta_min + (lr - eta_min)·(1 + cos(π·u/T_max))/2 at step u of the window.

    The wave begins at the current learning rate, and climbs to the optimizer's rate after a minimum. By default `T_max` is
    end - begin, and the last step of the window is end - begin - 1, so the rate stays slightly above `eta_min`. In half-wave
    c = 0, 1, … values are within (4 + T_max)·(1 + 4·c) ulp of MMEngine's, relative to the larger end.

    Args:
        lr: the optimizer's learning rate.
        T_max: number of steps from the maximum to the minimum, a whole number.
        eta_min: the minimum; 0 by default.
        window: see `ConstantLR`.
        eta_min_ratio: the minimum relative to the optimizer's rate, instead of `eta_min`.

    Raises:
        DialectError: if both `eta_min` and `eta_min_ratio` are given, `T_max` is not a whole number, or `end` is not after
            `begin`.

    >>> CosineAnnealingLR(0.1, end=4).values(6).round(3)
    array([0.1  , 0.085, 0.05 , 0.015, 0.015, 0.015])
    >>> CosineAnnealingLR(0.1, T_max=2).values(6).round(3)
    array([0.1 , 0.05, 0.  , 0.05, 0.1 , 0.05])
    """
    if eta_min is not None and eta_min_ratio is not None:
        raise DialectError("eta_min and eta_min_ratio must not both be given, as MMEngine requires")
    bottom = _bottom(0.0 if eta_min is None and eta_min_ratio is None else eta_min, eta_min_ratio)
    half = None if T_max is None else abs(integer()("T_max", T_max * window.scale))
    n = half or window.end - window.begin

    def advance(group: Group, base: float, t: int) -> float:
        low = bottom(base)
        if t == 0:
            return group.lr
        # One step after a bottom the quotient below is 0/0: MMEngine, as torch, goes up by the difference there.
        if (t - 1 - n) % (2 * n) == 0:
            return group.lr + (base - low) * (1 - math.cos(math.pi / n)) / 2
        return (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n)) * (group.lr - low) + low

    def curve(top: float, base: float) -> Schedule:
        low = bottom(base)
        down = Ramp(top, low, n, "cosine")
        if window.within(n):
            return down
        # MMEngine climbs to the optimizer's rate, wherever the first fall began: only where that is the optimizer's rate, too,
        # is the whole a mirrored repeat of one cosine.
        if top == base:
            return down.repeat(mirror=True)
        return down >> Ramp(low, base, n, "cosine").repeat(mirror=True)

    return alone(MMEngineRule("CosineAnnealingLR", lr, window, advance, curve, bottom=bottom, until=n))


@SYSTEM.declare_shared
def ExponentialLR(
    lr: Rate,
    gamma: float,
    *,
    window: Acting,
) -> Schedule | Made:
    """Learning rate that every step of the window but the first multiplies by γ: lr·γᵘ at step u of the window.

    If converted to iterations, every iteration multiplies the rate by γ, which is not converted. MMEngine's rounding errors
    accumulate: the value here is within u + 2 ulp of MMEngine's.

    Args:
        lr: the optimizer's learning rate.
        gamma: γ; MMEngine also accepts 0 and negative factors.
        window: see `ConstantLR`.

    >>> ExponentialLR(0.8, gamma=0.5, begin=1, end=4).values(6)
    array([0.8, 0.8, 0.4, 0.2, 0.2, 0.2])
    """

    def advance(group: Group, base: float, t: int) -> float:
        return group.lr * gamma if t else group.lr

    def curve(top: float, base: float) -> Schedule:
        return powers(top, gamma)

    return alone(MMEngineRule("ExponentialLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def LinearLR(
    lr: Rate,
    start_factor: Share = 1.0 / 3,
    end_factor: Share = 1.0,
    *,
    window: Acting,
) -> Schedule | Made:
    """Learning rate times a linear factor: lr·(s + (e - s)·u/n) at step u of the window, with n = end - begin - 1.

    The last step of the window has the end factor. In a window of a single step the start factor stays. Without an `end` the line
    is 10⁹ steps long, so a run only has the start factor. MMEngine's rounding errors accumulate: values are within 2 + u/2 ulp of
    MMEngine's, relative to the larger end.

    Args:
        lr: the optimizer's learning rate.
        start_factor: s, the factor at step `begin`; in [0, 1], and 0 only in a window of a single step.
        end_factor: e, the factor at step `end` - 1; in [0, 1].
        window: see `ConstantLR`.

    Raises:
        DialectError: if a factor is outside [0, 1], the start factor is 0, by which MMEngine divides at the second step, or `end`
            is not after `begin`.

    >>> LinearLR(0.1, start_factor=0.5, end=5).values(6)
    array([0.05  , 0.0625, 0.075 , 0.0875, 0.1   , 0.1   ])
    """
    s, e, n = start_factor, end_factor, window.last
    if s == 0 and (window.open or window.reaches(1)):
        raise DialectError("start_factor must be above 0: MMEngine divides by it at the second step of the window")

    def advance(group: Group, base: float, t: int) -> float:
        return group.lr * s if t == 0 else group.lr * (1.0 + (e - s) / (n * s + (t - 1) * (e - s)))

    def curve(top: float, base: float) -> Schedule:
        return Ramp(top * s, top * e, n) if n else Constant(top * s)

    return alone(MMEngineRule("LinearLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def MultiStepLR(
    lr: Rate,
    milestones: Iterable[float],
    gamma: float = 0.1,
    *,
    window: ActingLast,
) -> Schedule | Made:
    """Learning rate that is multiplied by γ at every milestone: lr·γ^(number of milestones ≤ u) at step u of the window.

    Milestones count from `begin`: with begin=5 a milestone of 8 is step 13. A milestone that is listed twice counts twice, and a
    milestone at 0 applies from the first step; milestones after the window, before 0 or between two steps have no effect. The
    values equal MMEngine's bit for bit.

    Args:
        lr: the optimizer's learning rate.
        milestones: steps from `begin`, in any order.
        gamma: γ.
        window: see `ConstantLR`.

    >>> MultiStepLR(0.8, [2, 3], gamma=0.5, begin=1).values(5)
    array([0.8, 0.8, 0.8, 0.4, 0.2])
    """
    at = Counter(m * window.scale for m in milestones)

    def advance(group: Group, base: float, t: int) -> float:
        return group.lr * gamma ** at[t] if t in at else group.lr

    def curve(top: float, base: float) -> Schedule:
        parts: list[Schedule] = []
        before, value = 0, top
        for m in sorted(m for m in at if m >= 0 and m == int(m)):
            if m > before:
                parts.append(Constant(value, int(m) - before))
            before, value = int(m), value * gamma ** at[m]
        return Chain((*parts, Constant(value))) if parts else Constant(value)

    return alone(MMEngineRule("MultiStepLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def OneCycleLR(
    lr: Rate,
    eta_max: float = 0,
    total_steps: Annotated[int, exactly(int, "MMEngine requires it", least=1)] | None = None,
    pct_start: Annotated[float, exactly(float, "MMEngine requires it", least=0, most=1)] = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
    *,
    window: Acting,
) -> Schedule | Made:
    """torch's one-cycle schedule within the window: from eta_max/div_factor up to `eta_max`, then down to a minimum.

    The minimum is eta_max/(div_factor·final_div_factor). Before the window the learning rate is the optimizer's. After
    `total_steps` MMEngine raises, unless the window is over; here the last value holds. Values are within 4 ulp of MMEngine's,
    relative to `eta_max`.

    Args:
        lr: the optimizer's learning rate, which only has an effect before `begin`.
        eta_max: the maximum; with the default 0 every rate is 0.
        total_steps: number of steps of the cycle, an int; end - begin by default.
        pct_start, anneal_strategy, div_factor, final_div_factor, three_phase: see `laju.dialects.torch.OneCycleLR`.
        window: see `ConstantLR`.

    Raises:
        DialectError: if torch's `OneCycleLR` refuses the arguments, there are rates for several parameter groups, or `end` is not
            after `begin`.

    >>> OneCycleLR(0.5, eta_max=1.0, total_steps=10, anneal_strategy="linear").values(10).round(2)
    array([0.04, 0.52, 1.  , 0.86, 0.71, 0.57, 0.43, 0.29, 0.14, 0.  ])
    """
    steps = window.end - window.begin if total_steps is None else total_steps * window.scale
    cycle = _torch.OneCycleLR(
        eta_max,
        steps,
        pct_start=pct_start,
        anneal_strategy=anneal_strategy,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        three_phase=bool(three_phase),
    )
    theirs = rule_of(cycle)

    def advance(group: Group, base: float, t: int) -> float:
        return float(theirs.advance(group, base, t, False))

    rule = MMEngineRule("OneCycleLR", lr, window, advance, lambda top, base: cycle, enters=theirs.enters)
    return alone(rule)


@SYSTEM.declare_shared
def PolyLR(
    lr: Rate,
    eta_min: float = 0.0,
    power: float = 1.0,
    *,
    window: Acting,
) -> Schedule | Made:
    """Polynomial decay of the learning rate: eta_min + (lr - eta_min)·(1 - u/n)^p at step u of the window, n = end - begin - 1.

    The decay begins at the current rate, and the last step of the window has `eta_min`. MMEngine's rounding errors accumulate:
    values are within 2·(1 + p)·(2 + u) ulp of MMEngine's, relative to the larger end.

    Args:
        lr: the optimizer's learning rate.
        eta_min: the last value, which may be above `lr`.
        power: p, at least 0; with 0 the rate never changes.
        window: see `ConstantLR`.

    Raises:
        DialectError: if the power is negative, with which MMEngine divides by 0 at the last step of the window, or `end` is not
            after `begin`.

    >>> PolyLR(0.1, power=2, end=5).values(6)
    array([0.1    , 0.05625, 0.025  , 0.00625, 0.     , 0.     ])
    """
    low, n = eta_min, window.last
    if power < 0 and n:
        raise DialectError(
            f"power must be at least 0: MMEngine raises 0 to it at the window's last step, got {power!r}"
        )

    def advance(group: Group, base: float, t: int) -> float:
        return float((group.lr - low) * (1 - 1 / (n - t + 1)) ** power + low) if t else group.lr

    def curve(top: float, base: float) -> Schedule:
        if not n or power == 0:
            return Constant(top)
        return Ramp(top, low, n, "linear" if power == 1 else f"power({power!r})")

    return alone(MMEngineRule("PolyLR", lr, window, advance, curve, bottom=lambda base: low))


@SYSTEM.declare_shared
def StepLR(
    lr: Rate,
    step_size: float,
    gamma: float = 0.1,
    *,
    window: Acting,
) -> Schedule | Made:
    """Learning rate that is multiplied by γ every `step_size` steps: lr·γ^⌊u/step_size⌋ at step u of the window.

    MMEngine multiplies the previous rate, so its n-th drop may be n ulp off; the value here is within n + 2 ulp of MMEngine's.

    Args:
        lr: the optimizer's learning rate.
        step_size: number of steps between two drops.
        gamma: γ; MMEngine also accepts 0 and negative factors.
        window: see `ConstantLR`.

    Raises:
        DialectError: if the step size is 0, by which MMEngine divides, or `end` is not after `begin`.

    >>> StepLR(0.8, step_size=2, gamma=0.5, begin=1).values(6)
    array([0.8, 0.8, 0.8, 0.4, 0.4, 0.2])
    """
    every = abs(integer()("step_size", step_size * window.scale))
    if every == 0 and (window.open or window.reaches(1)):
        raise DialectError("step_size must not be 0: MMEngine divides by it at the second step of the window")

    def advance(group: Group, base: float, t: int) -> float:
        return group.lr if t == 0 or t % every else group.lr * gamma

    def curve(top: float, base: float) -> Schedule:
        return powers(top, gamma, every) if every else Constant(top)

    return alone(MMEngineRule("StepLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def CosineRestartLR(
    lr: Rate,
    periods: Sequence[float],
    restart_weights: Sequence[float] = (1,),
    eta_min: float | None = None,
    eta_min_ratio: float | None = None,
    *,
    window: Acting,
) -> Schedule | Made:
    """Cosine decay with warm restarts: eta_min + (wᵢ·lr - eta_min)·(1 + cos(π·u/Pᵢ))/2 at step u of period i.

    A period begins at its weight times the optimizer's learning rate, independent of the current rate, and never reaches
    `eta_min`: its last step is u = Pᵢ - 1. After the last period the last value holds. MMEngine's rounding errors accumulate
    within a period: values are within 4 + 2·Pᵢ ulp of MMEngine's, relative to the larger end of the period.

    Args:
        lr: the optimizer's learning rate.
        periods: Pᵢ, the number of steps of each period.
        restart_weights: wᵢ, a factor for each period.
        eta_min: the minimum.
        eta_min_ratio: the minimum relative to the optimizer's rate; either `eta_min` or `eta_min_ratio` must be given.
        window: see `ConstantLR`.

    Raises:
        DialectError: if neither or both of `eta_min` and `eta_min_ratio` are given, the number of weights differs from the number
            of periods, a period is negative or not a whole number, or `end` is not after `begin`.

    >>> CosineRestartLR(0.1, [2, 3], [1, 0.5], eta_min=0.0).values(6)
    array([0.1   , 0.05  , 0.05  , 0.0375, 0.0125, 0.0125])
    """
    if (eta_min is None) == (eta_min_ratio is None):
        raise DialectError("one of eta_min and eta_min_ratio must be given, and not both, as MMEngine requires")
    bottom = _bottom(eta_min, eta_min_ratio)
    lengths = [integer(least=0)(f"periods[{i}]", p * window.scale) for i, p in enumerate(periods)]
    weights = restart_weights
    if len(lengths) != len(weights):
        raise DialectError(
            f"restart_weights must be as many as the periods, so {len(lengths)}, got {len(weights)}; MMEngine requires it"
        )
    ends = list(itertools.accumulate(lengths))

    def advance(group: Group, base: float, t: int) -> float:
        i = next((i for i, end in enumerate(ends) if t < end), None)
        if i is None:
            return group.lr
        u, n, low = t - (ends[i] - lengths[i]), lengths[i], bottom(base)
        if u == 0:
            return base * weights[i]
        return (1 + math.cos(math.pi * u / n)) / (1 + math.cos(math.pi * (u - 1) / n)) * (group.lr - low) + low

    def curve(top: float, base: float) -> Schedule:
        parts: list[Schedule] = [
            Ramp(base * w, bottom(base), n, "cosine") for n, w in zip(lengths, weights, strict=True) if n
        ]
        if not parts:
            return Constant(top)
        return Chain((*parts, Constant(parts[-1](lengths[-1] - 1 if lengths[-1] else _last(lengths)))))

    return alone(MMEngineRule("CosineRestartLR", lr, window, advance, curve))


# --- of several ----------------------------------------------------------------------------------------------------


@SYSTEM.declare
def param_scheduler(
    lr: Rate,
    schedulers: Schedule | Mapping[str, Any] | Sequence[Schedule | Mapping[str, Any]],
    *,
    epoch_length: Count1 | None = None,
    max_epochs: Count | None = None,
    max_iters: Count | None = None,
) -> Schedule | Made:
    """Schedule of the Runner's `param_scheduler`: several schedulers that change the learning rate, each within its window.

    At every iteration the schedulers by iteration step, in the order of the list; at the end of an epoch the schedulers by epoch
    follow. If windows do not overlap, each scheduler continues from the current rate; if windows overlap, schedulers that
    multiply give a product. The schedule counts iterations, or epochs if all schedulers are by epoch and `epoch_length` is not
    given.

    Args:
        lr: the optimizer's learning rate.
        schedulers: schedules made by functions of this module, or entries such as {"type": "LinearLR", "end": 5}, in MMEngine's
            order. Entries for the momentum are ignored.
        epoch_length: iterations per epoch, len(train_dataloader).
        max_epochs: length of a loop over epochs, the default `end` of entries.
        max_iters: length of a loop over iterations, the default `end` of entries; such a loop does not step schedulers by epoch
            before its end.

    Raises:
        DialectError: if a scheduler or an argument is unknown, `epoch_length` is missing, or MMEngine fails with the schedulers.
        NotASchedule: if an entry depends on a metric.

    >>> warmup = {"type": "LinearLR", "start_factor": 0.5, "by_epoch": False, "end": 3}
    >>> param_scheduler(0.1, [warmup, {"type": "MultiStepLR", "milestones": [2]}], epoch_length=2, max_epochs=3).values(6)
    array([0.05 , 0.075, 0.1  , 0.1  , 0.01 , 0.01 ])
    """
    if max_epochs is not None and max_iters is not None:
        raise DialectError("max_epochs and max_iters must not both be given: a loop is over epochs or over iterations")
    each, epochs, iters = epoch_length, max_epochs, max_iters
    listed = [schedulers] if isinstance(schedulers, Schedule | Mapping) else schedulers
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise TypeError(f"schedulers must be a list of entries such as {{'type': 'LinearLR'}}, got {shown(schedulers)}")
    rules: list[MMEngineRule] = []
    for i, item in enumerate(listed):
        if isinstance(item, Mapping):
            found = _entry(f"schedulers[{i}]", item, lr, each, epochs, iters)
            if found is None:
                continue
            item = found
        rule = item.rule if isinstance(item, SystemSchedule) and item.system == "mmengine" else None
        if not isinstance(rule, MMEngineRule):
            raise DialectError(
                f"schedulers[{i}] must be an entry such as {{'type': 'LinearLR'}} or a schedule of this module's functions, got "
                f"{shown(item)}"
            )
        if rule.lr != lr:
            raise DialectError(
                f"schedulers[{i}] has lr={rule.lr!r}, but all schedulers share the optimizer's rate, {lr!r}"
            )
        rules.append(rule)
    by_epoch = [rule for rule in rules if rule.window.by_epoch]
    # A loop over iterations has one epoch, the whole run, so that schedulers by epoch stay at their first step.
    if iters is not None:
        each = None
    elif by_epoch and each is None:
        if len(by_epoch) < len(rules):
            raise DialectError(
                f"epoch_length is needed: {by_epoch[0].name} steps by epoch, and other schedulers by iteration (by_epoch=False)"
            )
        each = 1
    return made(tuple(rules), lr, each)


def _entry(
    where: str, entry: Mapping[str, Any], lr: float, each: int | None, epochs: int | None, iters: int | None
) -> Schedule | None:
    """Return the schedule of an entry of the Runner's list, or None for an entry that schedules a different parameter."""
    given = dict(entry)
    name = given.pop("type", None)
    if not isinstance(name, str):
        raise DialectError(f"{where} must have a type such as 'LinearLR', got {shown(name)}")
    name = name.rpartition(".")[2]
    given.pop("_scope_", None)
    if name.endswith("ParamScheduler"):
        if given.pop("param_name", None) != "lr":
            return None
        name = name.removesuffix("ParamScheduler") + "LR"
    elif name in _MOMENTA:
        return None
    if SYSTEM.scheduler(name) in (param_scheduler, _dict):
        raise DialectError(f"{where} must have a type such as 'LinearLR', got {name!r}")
    steps = epochs if iters is None else 1
    end = steps if given.get("by_epoch", True) else iters if epochs is None else epochs * each if each else None
    if "end" not in given and end is not None:
        given["end"] = end
    elif "end" not in given and epochs is not None:
        raise DialectError(
            f"epoch_length is needed: {where} steps by iteration and ends with the run, after {epochs} epochs"
        )
    given.setdefault("epoch_length", each)
    try:
        return call(SYSTEM, name, [], given, {"lr": lr})
    except DialectError as error:
        raise type(error)(f"{where}, {name}: {error}") from None


# --- their arguments -----------------------------------------------------------------------------------------------


def _bottom(eta_min: Any, ratio: Any) -> Callable[[float], float]:
    return (lambda base: base * ratio) if ratio is not None else (lambda base: eta_min)


def _last(lengths: Sequence[int]) -> int:
    return next(n for n in reversed(lengths) if n) - 1


def _dict(**entries: Any) -> Any:
    return entries


_MOMENTA = tuple(
    f"{kind}Momentum"
    for kind in ("Constant", "CosineAnnealing", "CosineRestart", "Exponential", "Linear", "MultiStep", "Poly", "Step",
                 "ReduceOnPlateau")
)  # fmt: skip
