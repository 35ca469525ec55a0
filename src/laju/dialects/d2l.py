"""Dive into Deep Learning: the scheduler classes of its chapter "Learning Rate Scheduling", as plotted and as its loops use them.

The chapter has one text and three editions of the code. By default a function here is what its class gives for 0, 1, 2, … in
turn, as the chapter plots it. With `loop` it is what the training of that edition really uses:

- "pytorch" asks after epoch e, with e, so that epoch 0 runs at the optimizer's own rate and every other one at the rate before:
  a warmup begins with an epoch at the full rate;
- "tensorflow" asks before epoch e, with e: as plotted (Keras keeps the rate as a float32);
- "mxnet" asks at every minibatch, from 1: what is meant as epochs are minibatches, and the first value is never used.

`FactorScheduler` keeps a state: a plot before the training has moved it on. The classes are in the book's text, not in the
package d2l.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

from laju.core.algebra import Chain, Maximum
from laju.core.checks import nearest, number, shown, whole
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects import torch as _torch
from laju.dialects.base import DialectError, NotASchedule, System, replayed

Loop = Literal["pytorch", "tensorflow", "mxnet"]
_LOOPS = ("pytorch", "tensorflow", "mxnet")


def SquareRootScheduler(lr: float = 0.1, *, loop: Loop | None = None, optimizer_lr: float | None = None) -> Schedule:
    """Inverse square-root decay: lr·(t + 1)^-1/2, in epochs; in minibatches with loop="mxnet".

    Args:
        lr: the value at t = 0.
        loop: None as plotted, or the edition whose loop uses it; see the module.
        optimizer_lr: of epoch 0 with loop="pytorch"; `lr` by default.

    Raises:
        DialectError: another loop, or an `optimizer_lr` where no loop uses one.

    >>> SquareRootScheduler(1.0).values(4).round(3)
    array([1.   , 0.707, 0.577, 0.5  ])
    >>> SquareRootScheduler(1.0, loop="pytorch").values(4).round(3)
    array([1.   , 1.   , 0.707, 0.577])
    """
    lr = number("lr", lr)
    return _in_loop(Power(lr, 0.5), loop, optimizer_lr, lr)


def FactorScheduler(
    factor: float = 1,
    stop_factor_lr: float = 1e-7,
    base_lr: float = 0.1,
    *,
    loop: Loop | None = None,
    optimizer_lr: float | None = None,
    plotted: int = 0,
    exact: int | None = None,
) -> Schedule:
    """Multiplied at every call, the first one included: max(stop, base·factor^(t + 1 + plotted)).

    The base itself is never given. The class multiplies what it gave before, so its errors add up: this is within
    t + plotted + 3 ulp of it. With a factor above 1 the stop is only where it begins.

    Args:
        factor: of each call, at least 0.
        stop_factor_lr: the smallest value, at least 0.
        base_lr: before the first call, at least 0.
        loop: None as plotted, or the edition whose loop uses it; the chapter itself trains with it in none.
        optimizer_lr: of epoch 0 with loop="pytorch"; `base_lr` by default.
        plotted: calls that have been made before, as a plot of so many values makes them.
        exact: give the first so many values, bit by bit as the class computes them.

    Raises:
        NotASchedule: loop="mxnet", which asks once for every few parameter arrays, so that one update has several rates.
        DialectError: another loop, or an `optimizer_lr` where no loop uses one.

    >>> FactorScheduler(factor=0.5, stop_factor_lr=0.1, base_lr=1.0).values(5)
    array([0.5  , 0.25 , 0.125, 0.1  , 0.1  ])
    """
    factor, stop = number("factor", factor, least=0), number("stop_factor_lr", stop_factor_lr, least=0)
    base, plotted = number("base_lr", base_lr, least=0), whole("plotted", plotted)
    if loop == "mxnet":
        raise NotASchedule(
            "the chapter's FactorScheduler changes at every call, and MXNet's Trainer calls it once for every few parameter "
            "arrays, so that one update has several rates; laju.factor(base, factor) is what is meant"
        )
    first = max(stop, base * factor)
    if exact is not None:
        late = loop == "pytorch"
        n = whole("exact", exact, least=1) + plotted - late
        values = replayed(first, lambda t, value: max(stop, value * factor), max(n, 1))
        return _in_loop(values.shift(-plotted) if plotted else values, loop, optimizer_lr, base)
    decay: Schedule
    if factor == 0:
        decay = Constant(stop)
    elif factor > 1:
        decay = Exponential(first, factor)
        decay = decay.shift(-plotted) if plotted else decay
    else:
        decay = Maximum((Exponential(base, factor).shift(-1 - plotted), Constant(stop)))
    return _in_loop(decay, loop, optimizer_lr, base)


def MultiFactorScheduler(
    step: Sequence[int], factor: float, base_lr: float, *, loop: Loop | None = None, plotted: int | None = None
) -> Schedule:
    """Multiplied by a factor at given times, which is another thing in every edition.

    - By default and with "tensorflow", the class of that edition: base·factor for step[0] ≤ t ≤ step[1], and the base again
      after it; further steps are passed over.
    - "pytorch": torch's `MultiStepLR`, base·factor^(number of steps ≤ t + plotted). Its plot, of 30 values, has stepped it 30
      times before the training begins.
    - "mxnet": MXNet's own class, in minibatches: base·factor^(number of steps ≤ t), but steps that the plot has passed, those
      below plotted - 1, count from the start.

    `laju.multi_factor` is what the text means.

    Args:
        step: two times for "tensorflow", any number elsewhere.
        factor: at most 1 for "mxnet".
        base_lr: the value at t = 0.
        loop: None as plotted in the TensorFlow edition, or the edition whose loop uses it.
        plotted: values plotted before the training: 30 for "pytorch" and "mxnet" in the chapter, which is the default there; it
            does nothing elsewhere.

    Raises:
        DialectError: steps or a factor that the edition's class refuses.

    >>> MultiFactorScheduler([2, 4], factor=0.5, base_lr=1.0).values(6)
    array([1. , 1. , 0.5, 0.5, 0.5, 1. ])
    >>> MultiFactorScheduler([15, 30], factor=0.5, base_lr=0.5, loop="pytorch")(0)
    0.125
    """
    base, factor = number("base_lr", base_lr), number("factor", factor)
    if isinstance(step, str) or not isinstance(step, Sequence):
        raise TypeError(f"step must be a sequence such as [15, 30], got {shown(step)}")
    at = [whole(f"step[{i}]", s) for i, s in enumerate(step)]
    before = 30 if plotted is None else whole("plotted", plotted)
    if loop == "pytorch":
        schedule = _torch.MultiStepLR(base, at, factor)
        return schedule.shift(-before) if before else schedule
    if loop == "mxnet":
        if not at or at[0] < 1 or any(b <= a for a, b in itertools.pairwise(at)):
            raise DialectError(f"step must hold increasing numbers of at least 1, as MXNet asks, got {shown(step)}")
        if factor > 1:
            raise DialectError(f"factor must be at most 1, as MXNet asks, got {factor!r}")
        passed = [0 if s < before - 1 else s for s in at]
        return _torch.MultiStepLR(base, passed, factor)
    _known(loop)
    if len(at) < 2:
        raise DialectError(f"step must hold two times, of which the chapter's class looks up both, got {shown(step)}")
    first, last = at[0], at[1] + 1
    if last <= first:
        return Constant(base)
    return Chain((Constant(base, first), Constant(base * factor, last - first), Constant(base)))


def CosineScheduler(
    max_update: int,
    base_lr: float = 0.01,
    final_lr: float = 0,
    warmup_steps: int = 0,
    warmup_begin_lr: float = 0,
    warmup_mode: Literal["linear", "constant"] = "linear",
    *,
    loop: Loop | None = None,
    optimizer_lr: float | None = None,
) -> Schedule:
    """A warmup, then half a cosine to `final_lr`: final + (base - final)·(1 + cos(π·(t - w)/(T - w)))/2, which then holds.

    It reaches the base at t = w and `final_lr` at t = T. The class's 1 + cos loses digits near the bottom: this is within 4 ulp
    of the larger end.

    Args:
        max_update: T, with the warmup.
        base_lr: the top.
        final_lr: the bottom.
        warmup_steps: w.
        warmup_begin_lr: the value at t = 0 of a warmup.
        warmup_mode: "linear", or "constant" at `warmup_begin_lr`; the PyTorch edition has only the first.
        loop: None as plotted, or the edition whose loop uses it; see the module.
        optimizer_lr: of epoch 0 with loop="pytorch"; `base_lr` by default.

    Raises:
        DialectError: a T that is not above w, at which the class divides by 0 or has nothing to give; for "mxnet" also a warmup
            that begins above the base.

    >>> CosineScheduler(4, base_lr=1.0, warmup_steps=2, loop="mxnet").values(4).round(3)
    array([0.5, 1. , 0.5, 0. ])
    """
    base, final, begin = (
        number("base_lr", base_lr),
        number("final_lr", final_lr),
        number("warmup_begin_lr", warmup_begin_lr),
    )
    total, warmup = whole("max_update", max_update), whole("warmup_steps", warmup_steps)
    if total <= warmup:
        raise DialectError(
            f"max_update must be above warmup_steps, or the chapter's class fails after the warmup, got {total} and {warmup}"
        )
    if warmup_mode not in ("linear", "constant") or (loop == "pytorch" and warmup_mode != "linear"):
        raise DialectError(
            f"warmup_mode must be 'linear'{'' if loop == 'pytorch' else ' or constant'}, got {shown(warmup_mode)}"
        )
    if loop == "mxnet" and begin > base:
        raise DialectError(f"warmup_begin_lr must be at most base_lr, as MXNet asks, got {begin!r} and {base!r}")
    cosine: Schedule = Ramp(base, final, total - warmup, "cosine")
    if warmup:
        rise = Ramp(begin, base, warmup) if warmup_mode == "linear" else Constant(begin, warmup)
        cosine = rise >> cosine
    return _in_loop(cosine, loop, optimizer_lr, base)


def _in_loop(schedule: Schedule, loop: Any, optimizer_lr: float | None, base: float) -> Schedule:
    _known(loop)
    if loop == "pytorch":
        return Constant(base if optimizer_lr is None else number("optimizer_lr", optimizer_lr, least=0), 1) >> schedule
    if optimizer_lr is not None:
        raise DialectError(f"optimizer_lr is only used with loop='pytorch', got {optimizer_lr!r} with loop={loop!r}")
    return schedule.shift(-1) if loop == "mxnet" else schedule


def _known(loop: Any) -> None:
    if loop is not None and loop not in _LOOPS:
        raise DialectError(
            f"loop must be None or one of {', '.join(_LOOPS)}, got {shown(loop)}{nearest(str(loop), _LOOPS)}"
        )


SYSTEM = System(
    name="d2l",
    title="Dive into Deep Learning",
    package=None,
    releases=("1.0.3",),
    counts="epochs; minibatches in its MXNet loop",
    schedulers={f.__name__: f for f in (SquareRootScheduler, FactorScheduler, MultiFactorScheduler, CosineScheduler)},
)
"""The system that `laju.dialects.read` and `laju convert` know as d2l."""
