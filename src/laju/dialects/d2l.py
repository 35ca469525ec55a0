"""Dive into Deep Learning: the scheduler classes of its chapter "Learning Rate Scheduling", as plotted and as its loops use them.

The chapter has code in tabs for three frameworks. Without `loop`, a function here has the values of a new object of the class
called with 0, 1, 2, … in turn, as in the chapter's plots. With `loop`, the function has the learning rates that the training loop
of the tab really uses:

- "pytorch" calls the scheduler with e after epoch e, so epoch 0 trains at the optimizer's own rate and every later epoch at the
  value of the previous epoch: a warmup begins with an epoch at the full rate;
- "tensorflow" calls the scheduler with e before epoch e, as plotted. Keras stores the rate as a float32 and requires a float;
- "mxnet" calls the scheduler at every minibatch, from 1 on: lengths meant in epochs are in minibatches, and the value at 0 is
  never used.

`FactorScheduler` and `MultiFactorScheduler` have a state, so a plot before the training advances the state by `plotted` values;
with a `loop`, `plotted` is by default the length of the chapter's own plot. Plots do not affect the square root and the cosine.
The classes are part of the book's text, not of the package d2l.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable
from typing import Any, Literal

from laju.core.algebra import Chain, Maximum, Product
from laju.core.checks import is_number, nearest, number, shown, whole
from laju.core.pieces import Constant, Power, Ramp, Table
from laju.core.schedule import Schedule
from laju.dialects import mxnet as _mxnet
from laju.dialects import torch as _torch
from laju.dialects.base import DialectError, NotASchedule, System, powers

Loop = Literal["pytorch", "tensorflow", "mxnet"]
_LOOPS = ("pytorch", "tensorflow", "mxnet")


SYSTEM = System(
    name="d2l",
    title="Dive into Deep Learning",
    package=None,
    releases=("1.0.3",),
    counts="epochs; minibatches in its MXNet loop",
    unit="epoch",
)
"""The system that `laju.dialects.read` and `laju convert` know as d2l."""


@SYSTEM.declare
def SquareRootScheduler(lr: float = 0.1, *, loop: Loop | None = None, optimizer_lr: float | None = None) -> Schedule:
    """Inverse-square-root decay of the learning rate: lr·(t + 1)^-1/2 in epoch t, or in minibatch t with loop="mxnet".

    Args:
        lr: the value at t = 0.
        loop: "pytorch", "tensorflow" or "mxnet" for the values of the training loop in that tab; by default as plotted.
        optimizer_lr: learning rate of epoch 0 with loop="pytorch"; `lr` by default.

    Raises:
        DialectError: if the loop is unknown, or `optimizer_lr` is given without loop="pytorch".

    >>> SquareRootScheduler(1.0).values(4).round(3)
    array([1.   , 0.707, 0.577, 0.5  ])
    >>> SquareRootScheduler(1.0, loop="pytorch").values(4).round(3)
    array([1.   , 1.   , 0.707, 0.577])
    """
    return _in_loop(Power(lr, 0.5), loop, optimizer_lr, lr)


@SYSTEM.declare
def FactorScheduler(
    factor: float = 1,
    stop_factor_lr: float = 1e-7,
    base_lr: float = 0.1,
    *,
    loop: Loop | None = None,
    optimizer_lr: float | None = None,
    plotted: int | None = None,
) -> Schedule:
    """Learning rate that every call multiplies by a factor: η(n) = max(stop_factor_lr, factor·η(n - 1)), η(-1) = base_lr.

    The first call already multiplies, so `base_lr` itself is never a value; after a plot the last plotted value replaces
    `base_lr`. The class multiplies the previous value, so rounding errors accumulate: values are within t + 3 ulp of the class's.

    Args:
        factor: factor of each call.
        stop_factor_lr: the minimum.
        base_lr: value before the first call.
        loop: "pytorch", "tensorflow" or "mxnet" for the values of the training loop in that tab; by default as plotted. The
            chapter itself has no training run with this class.
        optimizer_lr: learning rate of epoch 0 with loop="pytorch"; `base_lr` by default.
        plotted: number of calls before the first value, as in a plot: 50 with a loop, as in the chapter, otherwise 0.

    Raises:
        NotASchedule: if loop="mxnet", which calls the scheduler for every few parameter arrays, so that an update has several
            rates, unless the value no longer changes.
        DialectError: if the loop is unknown, or `optimizer_lr` is given without loop="pytorch".

    >>> FactorScheduler(factor=0.5, stop_factor_lr=0.1, base_lr=1.0).values(5)
    array([0.5  , 0.25 , 0.125, 0.1  , 0.1  ])
    >>> FactorScheduler(factor=0.9, stop_factor_lr=1e-2, base_lr=2.0, plotted=50)(0)
    0.01
    """
    stop, base = stop_factor_lr, base_lr
    state = base
    for _ in range(_calls(plotted, 50, loop)):
        state = max(stop, state * factor)
    first = max(stop, state * factor)
    if loop == "mxnet" and max(stop, first * factor) != first:
        raise NotASchedule(
            "the chapter's FactorScheduler changes at every call, and MXNet's Trainer calls the scheduler for every few "
            "parameter arrays, so that an update has several rates; laju.factor(base, factor) is the intended schedule"
        )
    values = _multiplied_every_time(first, factor, stop)
    return _in_loop(values, loop, optimizer_lr, base)


@SYSTEM.declare
def MultiFactorScheduler(
    step: Collection[int], factor: float, base_lr: float, *, loop: Loop | None = None, plotted: int | None = None
) -> Schedule:
    """Learning rate that is multiplied by a factor at the given steps; each tab of the chapter uses a different class.

    - By default and with "tensorflow": the class in the TensorFlow tab, which multiplies at every call whose number is in `step`.
      A plot before the training already multiplies, and the training multiplies again:
      base·factor^(number of steps < plotted + number of steps ≤ t).
    - "pytorch": torch's `MultiStepLR`, which a plot has already stepped: base·factor^(number of steps ≤ t + plotted).
    - "mxnet": MXNet's own class, in minibatches: base·factor^(number of steps ≤ t); steps below plotted - 1 apply from the start.

    The values equal the class's bit for bit. `laju.multi_factor` is the schedule that the chapter describes.

    Args:
        step: numbers of calls, epochs or minibatches; for "mxnet" a list of increasing numbers of at least 1. By default and with
            "tensorflow" or "pytorch", negative numbers and fractions have no effect; with "pytorch" a repeated number counts
            twice.
        factor: factor of a step; at most 1 for "mxnet".
        base_lr: value before the first step.
        loop: "pytorch", "tensorflow" or "mxnet" for the values of the training loop in that tab; by default as plotted in the
            TensorFlow tab.
        plotted: number of calls before the first value, as in a plot: 30 with a loop, as in the chapter, otherwise 0.

    Raises:
        DialectError: if MXNet refuses the steps, the factor or the base.

    >>> MultiFactorScheduler([2, 4], factor=0.5, base_lr=1.0).values(6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    >>> [MultiFactorScheduler([15, 30], factor=0.5, base_lr=0.5, loop=tab)(0) for tab in ("pytorch", "tensorflow", "mxnet")]
    [0.125, 0.25, 0.25]
    """
    base = base_lr
    if isinstance(step, str) or not isinstance(step, Collection):
        raise TypeError(f"step must be a list of numbers such as [15, 30], got {shown(step)}")
    for i, s in enumerate(step):
        if not is_number(s):
            raise TypeError(f"step[{i}] must be a number, got {shown(s)}")
    before = _calls(plotted, 30, loop)
    if loop == "pytorch":
        schedule = _torch.MultiStepLR(base, list(map(float, step)), factor)
        return schedule.shift(-before) if before else schedule
    if loop == "mxnet":
        listed = isinstance(step, list) and len(step) > 0 and step[0] >= 1
        if not listed or not all(a < b for a, b in itertools.pairwise(step)):
            raise DialectError(
                f"step must be a list of increasing numbers of at least 1, as MXNet requires, got {shown(step)}"
            )
        if factor > 1:
            raise DialectError(f"factor must be at most 1, as MXNet requires, got {factor!r}")
        if base < 0:
            raise DialectError(f"base_lr must be at least 0, as MXNet requires, got {base!r}")
        return _multiplied_at(base, factor, [0 if s < before - 1 else math.floor(s) for s in step if math.isfinite(s)])
    come = sorted({int(s) for s in step if math.isfinite(s) and s >= 0 and s == int(s)})
    for s in come:
        if s < before:
            base *= factor
    return _multiplied_at(base, factor, come)


@SYSTEM.declare
def CosineScheduler(
    max_update: float,
    base_lr: float = 0.01,
    final_lr: float = 0,
    warmup_steps: float = 0,
    warmup_begin_lr: float = 0,
    warmup_mode: Literal["linear", "constant"] | None = None,
    *,
    loop: Loop | None = None,
    optimizer_lr: float | None = None,
) -> Schedule:
    """Warmup, then cosine decay: final + (base - final)·(1 + cos(π·(t - w)/(T - w)))/2, whose last value holds.

    The cosine has the value `base_lr` at t = w and `final_lr` at t = T. The class's 1 + cos loses digits near the minimum: values
    are within 4 ulp of the class's, relative to the largest of the three rates.

    Args:
        max_update: T, which includes the warmup; the value at the last whole number up to T holds.
        base_lr: base, the peak.
        final_lr: final, the minimum.
        warmup_steps: w, length of the warmup; with a negative w the cosine has already begun at t = 0.
        warmup_begin_lr: value at t = 0 of a warmup.
        warmup_mode: argument of MXNet's own class, for "mxnet" only: "linear", or "constant" at `warmup_begin_lr`.
        loop: "pytorch", "tensorflow" or "mxnet" for the values of the training loop in that tab; by default as plotted in the
            PyTorch and TensorFlow tabs.
        optimizer_lr: learning rate of epoch 0 with loop="pytorch"; `base_lr` by default.

    Raises:
        DialectError: if no whole number is between w and T, or T = w, with which the chapter's class returns no value or divides
            by 0; for "mxnet", if MXNet refuses the arguments (see `laju.dialects.mxnet.CosineScheduler`).

    >>> CosineScheduler(4, base_lr=1.0, warmup_steps=2).values(6).round(3)
    array([0. , 0.5, 1. , 0.5, 0. , 0. ])
    >>> CosineScheduler(4, base_lr=1.0, warmup_steps=2, loop="mxnet").values(4).round(3)
    array([0.5, 1. , 0.5, 0. ])
    """
    if loop == "mxnet":
        _check_loop(loop, optimizer_lr)
        # MXNet checks the arguments itself, and requires ints.
        last, first = (int(n) if n == int(n) else n for n in (max_update, warmup_steps))
        own: dict[str, Any] = {
            "max_update": last,
            "base_lr": base_lr,
            "final_lr": final_lr,
            "warmup_steps": first,
            "warmup_begin_lr": warmup_begin_lr,
            "warmup_mode": "linear" if warmup_mode is None else warmup_mode,
        }
        return _mxnet.CosineScheduler(**own)
    if warmup_mode is not None:
        raise DialectError(
            f"the chapter's CosineScheduler has no warmup_mode, got {shown(warmup_mode)}; MXNet's own has: loop='mxnet'"
        )
    base, final, begin = base_lr, final_lr, warmup_begin_lr
    total, warmup = max_update, warmup_steps
    after = max(math.ceil(warmup), 0)  # the first call after the warmup
    if after > total or warmup == total:
        raise DialectError(
            f"max_update must be above warmup_steps, with a whole number between them, got {total:g} and {warmup:g}: the "
            f"chapter's class fails at call {after}"
        )
    early = max(math.ceil(-warmup), 0)  # a negative warmup: the cosine began so many calls before the first
    rise = Constant(base, early + warmup) if early else Ramp(begin, base, warmup)
    cosine: Schedule = Ramp(base, final, total - warmup, "cosine")
    cosine = rise >> cosine if rise.length else cosine
    cosine = cosine.shift(-early) if early else cosine
    if total != math.floor(total):
        cosine = cosine.take(math.floor(total))
    return _in_loop(cosine, loop, optimizer_lr, base)


def _calls(plotted: int | None, by_default: int, loop: Any) -> int:
    _check_loop(loop, None)
    if plotted is None:
        return 0 if loop is None else by_default
    return whole("plotted", plotted)


def _multiplied_every_time(first: float, factor: float, stop: float) -> Schedule:
    """Schedule max(stop, factor·previous value), from a first value of at least `stop`."""
    if max(stop, first * factor) == first:
        return Constant(first)
    if factor >= 0:
        return Maximum((powers(first, factor), Constant(stop)))
    if first > 0:
        following = max(stop, first * factor)
        rest = _multiplied_every_time(following, factor, stop) if following < 0 else Constant(max(stop, 0.0))
        return Constant(first, 1) >> rest
    # Alternately below and above 0; only values below 0 are limited by the stop.
    below = Maximum((powers(first, factor * factor, 2), Constant(stop)))
    return Product((below, Table((1.0, factor)).repeat()))


def _multiplied_at(base: float, factor: float, times: Iterable[int]) -> Schedule:
    """Base that is multiplied by the factor at each of the increasing times."""
    parts: list[Schedule] = []
    begin = 0
    for t in times:
        if t > begin:
            parts.append(Constant(base, t - begin))
        begin, base = t, base * factor
    return Chain((*parts, Constant(base)))


def _in_loop(schedule: Schedule, loop: Any, optimizer_lr: float | None, base: float) -> Schedule:
    _check_loop(loop, optimizer_lr)
    if loop == "pytorch":
        return Constant(number("optimizer_lr", base if optimizer_lr is None else optimizer_lr, least=0), 1) >> schedule
    return schedule.shift(-1) if loop == "mxnet" else schedule


def _check_loop(loop: Any, optimizer_lr: float | None) -> None:
    if loop is not None and loop not in _LOOPS:
        raise DialectError(
            f"loop must be None or one of {', '.join(_LOOPS)}, got {shown(loop)}{nearest(str(loop), _LOOPS)}"
        )
    if loop != "pytorch" and optimizer_lr is not None:
        raise DialectError(f"optimizer_lr is only used with loop='pytorch', got {optimizer_lr!r} with loop={loop!r}")
