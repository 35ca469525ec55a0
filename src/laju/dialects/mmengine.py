"""MMEngine: the learning-rate schedulers of `mmengine.optim`, and a list of schedulers as stepped by MMEngine's Runner.

The most surprising behaviour:

- `begin` and `end` are a window of the run in which the scheduler acts; milestones, periods and `T_max` count from `begin`.
- A line or a polynomial ends a step before the window does: `LinearLR` has its end factor at `end` - 1, `PolyLR` its minimum.
- `CosineAnnealingLR` without `T_max` takes end - begin and so never reaches `eta_min`; with a shorter `T_max` rates rise again.
- A factor stays when its window is over: `LinearLR` with an end factor of 0.5 leaves half of the rate to whatever comes next.
- A window of a single step leaves `ConstantLR` and `LinearLR` at their first factor for ever.
- The Runner gives a scheduler without `end` the end of the run. In a loop over iterations its run is of 1 epoch, and schedulers
  by epoch take their first step alone, so that a `LinearLR` without by_epoch=False keeps its start factor for the whole run.
- Iterations are counted, not updates: with `accumulative_counts` of 4 four iterations make an update.

Where MMEngine takes an optimizer, these functions take its rate, `lr`. Of `last_step` only -1 is taken, since a schedule begins
at 0; `verbose` changes nothing. A schedule counts epochs, with by_epoch=False or convert_to_iter_based=True iterations. Every
rate is computed from the previous rate, so rounding errors add up; `laju.trace` has the bits of real runs.
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
from laju.dialects._mmengine_rules import Rule, Window, alone, made, window_of
from laju.dialects._torch_rules import Group, rule_of
from laju.dialects.base import Dialect, DialectError, System, call, powers
from laju.dialects.declared import Count, Count1, Made, Rate, SystemSchedule, Together, exactly, integer, real


class _WithDict(System):
    """MMEngine's configurations write an entry as dict(type='LinearLR', …)."""

    def scheduler(self, name: str) -> Dialect:
        return _dict if name == "dict" else super().scheduler(name)


Acting = Annotated[Window, Together(window_of)]
ActingLast = Annotated[Window, Together(window_of, first="last_step")]
Share = Annotated[float, real("MMEngine asks for it", least=0, most=1)]

SYSTEM = _WithDict(
    name="mmengine",
    title="MMEngine",
    package="mmengine",
    releases=("0.10.7",),
    counts="epochs, or iterations with by_epoch=False or convert_to_iter_based=True",
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
    """The rate times a factor from `begin` on, and back at step `end` - 1, the last step of the window.

    MMEngine comes back by a product with 1/factor, which may miss the rate by an ulp; the values are the same to the last digit.
    In a window of a single step the factor stays.

    Args:
        lr: the optimizer's rate.
        factor: in [0, 1]; 0 only where the factor stays.
        window: `begin`, `end` and the rest; see `laju.dialects._mmengine_rules.window_of`.

    Raises:
        DialectError: a factor outside [0, 1], or 0, by which MMEngine divides; or an `end` that is not after `begin`.

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

    return alone(Rule("ConstantLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def CosineAnnealingLR(
    lr: Rate,
    T_max: float | None = None,
    eta_min: float | None = None,
    *,
    window: Acting,
    eta_min_ratio: float | None = None,
) -> Schedule | Made:
    """A cosine down, up and down again if there is time: eta_min + (lr - eta_min)·(1 + cos(π·u/T_max))/2 at step u of the window.

    The cosine begins at the current rate, and after a minimum climbs to the optimizer's rate. By default `T_max` is end - begin,
    and the window ends a step earlier, so that the rate then stays a little above `eta_min`. In half-wave c = 0, 1, … this
    is within (4 + T_max)·(1 + 4·c) ulp of the larger end.

    Args:
        lr: the optimizer's rate.
        T_max: steps from the top to the bottom.
        eta_min: the bottom; 0 by default.
        window: see `ConstantLR`.
        eta_min_ratio: the bottom as a share of the optimizer's rate, instead of `eta_min`.

    Raises:
        DialectError: both `eta_min` and `eta_min_ratio`, a `T_max` that is not whole, or an `end` that is not after `begin`.

    >>> CosineAnnealingLR(0.1, end=4).values(6).round(3)
    array([0.1  , 0.085, 0.05 , 0.015, 0.015, 0.015])
    >>> CosineAnnealingLR(0.1, T_max=2).values(6).round(3)
    array([0.1 , 0.05, 0.  , 0.05, 0.1 , 0.05])
    """
    if eta_min is not None and eta_min_ratio is not None:
        raise DialectError("eta_min and eta_min_ratio must not both be given, as MMEngine asks")
    bottom = _bottom(0.0 if eta_min is None and eta_min_ratio is None else eta_min, eta_min_ratio)
    half = None if T_max is None else abs(integer()("T_max", T_max * window.scale))
    n = half or window.end - window.begin

    def advance(group: Group, base: float, t: int) -> float:
        low = bottom(base)
        if t == 0:
            return group.lr
        if (t - 1 - n) % (2 * n) == 0:
            return group.lr + (base - low) * (1 - math.cos(math.pi / n)) / 2
        return (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n)) * (group.lr - low) + low

    def curve(top: float, base: float) -> Schedule:
        low = bottom(base)
        down = Ramp(top, low, n, "cosine")
        if window.within(n):
            return down
        if top == base:
            return down.repeat(mirror=True)
        return down >> Ramp(low, base, n, "cosine").repeat(mirror=True)

    return alone(Rule("CosineAnnealingLR", lr, window, advance, curve, bottom=bottom, until=n))


@SYSTEM.declare_shared
def ExponentialLR(
    lr: Rate,
    gamma: float,
    *,
    window: Acting,
) -> Schedule | Made:
    """Multiplied by γ at every step of the window but the first: lr·γᵘ at step u of the window.

    Converted to iterations, the rate is multiplied at every iteration: γ is not converted. MMEngine's errors add up: the value
    here is within u + 2 ulp of MMEngine's.

    Args:
        lr: the optimizer's rate.
        gamma: γ; 0 and negative factors are MMEngine's too.
        window: see `ConstantLR`.

    >>> ExponentialLR(0.8, gamma=0.5, begin=1, end=4).values(6)
    array([0.8, 0.8, 0.4, 0.2, 0.2, 0.2])
    """

    def advance(group: Group, base: float, t: int) -> float:
        return group.lr * gamma if t else group.lr

    def curve(top: float, base: float) -> Schedule:
        return powers(top, gamma)

    return alone(Rule("ExponentialLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def LinearLR(
    lr: Rate,
    start_factor: Share = 1.0 / 3,
    end_factor: Share = 1.0,
    *,
    window: Acting,
) -> Schedule | Made:
    """The rate times a line over the window: lr·(s + (e - s)·u/n) at step u of the window, with n = end - begin - 1.

    So the window's last step has the end factor. In a window of a single step the start factor stays. Without an `end` the line
    is a thousand million steps long, and a run sees the start factor alone. MMEngine's errors add up: this is within 2 + u/2 ulp
    of the larger end.

    Args:
        lr: the optimizer's rate.
        start_factor: s, at `begin`; in [0, 1], and 0 only in a window of a single step.
        end_factor: e, at `end` - 1; in [0, 1].
        window: see `ConstantLR`.

    Raises:
        DialectError: factors outside [0, 1], a start factor of 0, by which MMEngine divides at the second step, or an `end` that
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

    return alone(Rule("LinearLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def MultiStepLR(
    lr: Rate,
    milestones: Iterable[float],
    gamma: float = 0.1,
    *,
    window: ActingLast,
) -> Schedule | Made:
    """Multiplied by γ at every milestone, counted from `begin`: lr·γ^(number of milestones ≤ u), u steps into the window.

    With begin=5 a milestone of 8 is step 13. A milestone listed twice counts twice, a milestone at 0 at once; milestones after
    the window, before 0 or between two steps never come. The values are MMEngine's to the last digit.

    Args:
        lr: the optimizer's rate.
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

    return alone(Rule("MultiStepLR", lr, window, advance, curve, factor=True))


@SYSTEM.declare_shared
def OneCycleLR(
    lr: Rate,
    eta_max: float = 0,
    total_steps: Annotated[int, exactly(int, "MMEngine asks for it", least=1)] | None = None,
    pct_start: Annotated[float, exactly(float, "MMEngine asks for it", least=0, most=1)] = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
    *,
    window: Acting,
) -> Schedule | Made:
    """torch's cycle within the window: from eta_max/div_factor up to `eta_max`, then down to that over `final_div_factor`.

    As `laju.dialects.torch.OneCycleLR`, with total_steps = end - begin by default. By default `eta_max` is 0, and so is every
    rate. Before the window the rate is the optimizer's. Past `total_steps` MMEngine raises, unless the window is over by then;
    here the last value holds. Within 4 ulp of `eta_max` of MMEngine.

    Args:
        lr: the optimizer's rate, which matters before `begin` alone.
        eta_max: the top.
        total_steps: T, an int.
        pct_start, anneal_strategy, div_factor, final_div_factor, three_phase: see `laju.dialects.torch.OneCycleLR`.
        window: see `ConstantLR`.

    Raises:
        DialectError: arguments that torch's refuses, rates for several parameter groups, or an `end` that is not after `begin`.

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

    rule = Rule("OneCycleLR", lr, window, advance, lambda top, base: cycle, enters=theirs.enters)
    return alone(rule)


@SYSTEM.declare_shared
def PolyLR(
    lr: Rate,
    eta_min: float = 0.0,
    power: float = 1.0,
    *,
    window: Acting,
) -> Schedule | Made:
    """Polynomial decay from the current rate: eta_min + (lr - eta_min)·(1 - u/n)^p at step u of the window, n = end - begin - 1.

    So the window's last step has `eta_min`. MMEngine's errors add up: this is within 2·(1 + p)·(2 + u) ulp of the larger end.

    Args:
        lr: the optimizer's rate.
        eta_min: the end, which may be above the rate.
        power: p, of at least 0; with 0 the rate never changes.
        window: see `ConstantLR`.

    Raises:
        DialectError: a negative power, with which MMEngine divides by 0 at the window's last step, or an `end` that is not after
            `begin`.

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

    return alone(Rule("PolyLR", lr, window, advance, curve, bottom=lambda base: low))


@SYSTEM.declare_shared
def StepLR(
    lr: Rate,
    step_size: float,
    gamma: float = 0.1,
    *,
    window: Acting,
) -> Schedule | Made:
    """Multiplied by γ every `step_size` steps, counted from `begin`: lr·γ^⌊u/step_size⌋, u steps into the window.

    MMEngine multiplies the previous rate, so its n-th drop may be n ulp off; the value here is within n + 2 ulp of MMEngine's.

    Args:
        lr: the optimizer's rate.
        step_size: steps between two drops.
        gamma: γ; 0 and negative factors are MMEngine's too.
        window: see `ConstantLR`.

    Raises:
        DialectError: a step size of 0, by which MMEngine divides, or an `end` that is not after `begin`.

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

    return alone(Rule("StepLR", lr, window, advance, curve, factor=True))


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
    """Cosines down, a cosine for each period: eta_min + (wᵢ·lr - eta_min)·(1 + cos(π·u/Pᵢ))/2 at step u of period i.

    A period begins at its weight times the optimizer's rate, whatever the current rate, and its last step is one short of
    `eta_min`. After the last period that rate holds. MMEngine's errors add up within a period; this is within 4 + 2·Pᵢ ulp of its
    larger end.

    Args:
        lr: the optimizer's rate.
        periods: P, steps of each.
        restart_weights: w, as many.
        eta_min: the bottom.
        eta_min_ratio: the bottom as a share of the optimizer's rate; either `eta_min` or `eta_min_ratio` must be given.
        window: see `ConstantLR`.

    Raises:
        DialectError: neither or both bottoms, another number of weights than periods, a period that is negative or not whole, or
            an `end` that is not after `begin`.

    >>> CosineRestartLR(0.1, [2, 3], [1, 0.5], eta_min=0.0).values(6)
    array([0.1   , 0.05  , 0.05  , 0.0375, 0.0125, 0.0125])
    """
    if (eta_min is None) == (eta_min_ratio is None):
        raise DialectError("one of eta_min and eta_min_ratio must be given, and not both, as MMEngine asks")
    bottom = _bottom(eta_min, eta_min_ratio)
    lengths = [integer(least=0)(f"periods[{i}]", p * window.scale) for i, p in enumerate(periods)]
    weights = restart_weights
    if len(lengths) != len(weights):
        raise DialectError(
            f"restart_weights must be as many as the periods, so {len(lengths)}, got {len(weights)}; MMEngine asks for that"
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

    return alone(Rule("CosineRestartLR", lr, window, advance, curve))


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
    """The schedule of the Runner's `param_scheduler`: schedulers that act in turn on one rate, each within its window.

    At every iteration schedulers by iteration step in the order of the list, and at an epoch's end schedulers by epoch follow.
    Where the windows do not overlap each goes on from the current rate; where windows overlap, schedulers that multiply make a
    product. The schedule counts iterations; epochs where all schedulers are by epoch and `epoch_length` is not given.

    Args:
        lr: the optimizer's rate.
        schedulers: schedules of this module's functions, or entries such as {"type": "LinearLR", "end": 5}, in MMEngine's order.
            Entries for the momentum are passed over.
        epoch_length: iterations of an epoch, len(train_dataloader).
        max_epochs: of a loop over epochs, the default `end` of entries.
        max_iters: of a loop over iterations, likewise; such a loop never steps schedulers by epoch before the loop is over.

    Raises:
        DialectError: an unknown scheduler or argument, a missing `epoch_length`, or a rate at which MMEngine fails.
        NotASchedule: an entry that follows a metric.

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
    rules: list[Rule] = []
    for i, item in enumerate(listed):
        if isinstance(item, Mapping):
            found = _entry(f"schedulers[{i}]", item, lr, each, epochs, iters)
            if found is None:
                continue
            item = found
        rule = item.rule if isinstance(item, SystemSchedule) and item.system == "mmengine" else None
        if not isinstance(rule, Rule):
            raise DialectError(
                f"schedulers[{i}] must be an entry such as {{'type': 'LinearLR'}} or a schedule of this module's functions, got "
                f"{shown(item)}"
            )
        if rule.lr != lr:
            raise DialectError(f"schedulers[{i}] has an lr of {rule.lr!r}: all share the optimizer's, which is {lr!r}")
        rules.append(rule)
    by_epoch = [rule for rule in rules if rule.window.by_epoch]
    if iters is not None:
        each = None
    elif by_epoch and each is None:
        if len(by_epoch) < len(rules):
            raise DialectError(
                f"epoch_length is needed: {by_epoch[0].name} steps by epoch, and others by iteration (by_epoch=False)"
            )
        each = 1
    return made(tuple(rules), lr, each)


def _entry(
    where: str, entry: Mapping[str, Any], lr: float, each: int | None, epochs: int | None, iters: int | None
) -> Schedule | None:
    """The schedule of an entry of the Runner's list; None for an entry of another parameter."""
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
            f"epoch_length is needed: {where} is by iteration and ends with the run, after {epochs} epochs"
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
