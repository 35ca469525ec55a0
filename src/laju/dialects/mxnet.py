"""MXNet: the schedulers of `mxnet.lr_scheduler`, as `gluon.Trainer` and every optimizer of MXNet call them.

An optimizer calls its scheduler with the number of the update, from 1, so that update t has the value at t + 1, and the value at
0 is never used: this is `counts="trainer"`, the default. `counts="raw"` is the scheduler's answer to calls with 0, 1, 2, …, as in
a plot. The most surprising behaviour:

- With a warmup from 0 the first update is no longer at 0, and a cosine reaches its end an update before `max_update` updates are
  over.
- A step is late, not early: `FactorScheduler(step=10)` drops after 10 updates, `MultiFactorScheduler([10])` too.
- The steps of both count from the first update, with the warmup: steps within the warmup are made up for at its end, at once.
- The schedulers keep a state, which only goes forward. A scheduler that has been plotted, or has served another run, begins where
  it was left. A new `PolyScheduler` or `CosineScheduler` that is first called past `max_update`, as after a resume, gives the
  *full* rate.
- An optimizer with a `learning_rate` of its own overwrites the scheduler's base, and prints so; `Adam` has 0.001 by default.
  The warmup still climbs to the old base, and `PolyScheduler` and `CosineScheduler` do not follow at all. Give that rate here as
  `learning_rate`.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

from laju.core.algebra import Chain
from laju.core.checks import number, shown, whole
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import From0, exactly, real
from laju.policies import factor as factor_
from laju.policies import multi_factor

Counts = Literal["trainer", "raw"]
WarmupMode = Literal["linear", "constant"]


Ratio = Annotated[float, real("MXNet asks for it", least=0, most=1)]
Int = Annotated[int, exactly(int, "MXNet asks for it")]

SYSTEM = System(
    name="mxnet",
    title="MXNet",
    package="mxnet",
    releases=("1.9.1",),
    counts="updates; MXNet's own count is one higher",
    refused={"LRScheduler": "it is the base class, without a rule"},
    aliases={
        "factor": "FactorScheduler", "multifactor": "MultiFactorScheduler", "poly": "PolyScheduler",
        "cosine": "CosineScheduler",
    },
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as mxnet."""


@SYSTEM.declare
def FactorScheduler(
    step: int,
    factor: Ratio = 1,
    stop_factor_lr: float = 1e-8,
    base_lr: float = 0.01,
    warmup_steps: Int = 0,
    warmup_begin_lr: float = 0,
    warmup_mode: WarmupMode = "linear",
    *,
    counts: Counts = "trainer",
    learning_rate: From0 | None = None,
) -> Schedule:
    """A factor after every `step` updates: base·factor^⌊(n - 1)/step⌋ at MXNet's count n, never under the stop once changed.

    MXNet's documentation says ⌊n/step⌋. MXNet multiplies the previous value, so that rounding errors add up: this is within 2 ulp
    for every change. A base below the stop is raised to the stop at the first change.

    Args:
        step: updates between two changes.
        factor: from 0 to 1.
        stop_factor_lr: the smallest value after a change.
        base_lr: before the first change, not negative.
        warmup_steps, warmup_begin_lr, warmup_mode: updates at first that climb from `warmup_begin_lr` to the base in a line, or
            stay there with "constant".
        counts: "trainer" for update t = n - 1, or "raw" for t = n.
        learning_rate: the optimizer's own rate, if any, in place of the base after the warmup.

    Raises:
        DialectError: arguments that MXNet refuses: a step below 1, a factor above 1, a warmup from above the base or of fewer
            than 0 updates. A negative factor is refused here.

    Source: Apache MXNet, `python/mxnet/lr_scheduler.py`.

    >>> FactorScheduler(2, factor=0.5, base_lr=1.0).values(6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    >>> FactorScheduler(2, factor=0.5, base_lr=1.0, counts="raw").values(6)
    array([1.  , 1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    warmup = _Warmup(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
    ratio, stop = factor, stop_factor_lr
    if step < 1:
        raise DialectError(f"step must be at least 1, as MXNet asks, got {step}")
    base = warmup.base if learning_rate is None else learning_rate
    changed: Schedule
    if base < stop or ratio in (0.0, 1.0) or base == 0:
        changed = Chain((Constant(base, step), Constant(max(base * ratio, stop))))
    else:
        changed = factor_(base, ratio, step, stop if stop > 0 else None)
    return warmup.beside(Chain((Constant(base, 1), changed)), counts)


@SYSTEM.declare
def MultiFactorScheduler(
    step: list[int],
    factor: Ratio = 1,
    base_lr: float = 0.01,
    warmup_steps: Int = 0,
    warmup_begin_lr: float = 0,
    warmup_mode: WarmupMode = "linear",
    *,
    counts: Counts = "trainer",
    learning_rate: From0 | None = None,
) -> Schedule:
    """A factor after each of the given counts: base·factor^(number of steps below n) at MXNet's count n.

    MXNet's documentation says "at or below". The accuracy and the other arguments are as for `FactorScheduler`.

    Args:
        step: a list of increasing counts of at least 1.

    Raises:
        DialectError: arguments that MXNet refuses: another list, a factor above 1, or the warmup's. A negative factor is refused
            here.

    Source: Apache MXNet, `python/mxnet/lr_scheduler.py`.

    >>> MultiFactorScheduler([2, 4], factor=0.5, base_lr=1.0).values(6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    """
    warmup = _Warmup(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
    if not isinstance(step, list) or not step:
        raise DialectError(f"step must be a list of at least one number, as MXNet asserts, got {shown(step)}")
    at = [_whole(f"step[{i}]", s) for i, s in enumerate(step)]
    if at[0] < 1 or any(after <= before for before, after in itertools.pairwise(at)):
        raise DialectError(f"step must hold increasing numbers of at least 1, as MXNet asks, got {shown(step)}")
    ratio = factor
    base = warmup.base if learning_rate is None else learning_rate
    after = [s + 1 for s in at]
    if ratio:
        return warmup.beside(multi_factor(base, after, ratio), counts)
    return warmup.beside(Chain((Constant(base, after[0]), Constant(0.0))), counts)


@SYSTEM.declare
def PolyScheduler(
    max_update: Int,
    base_lr: float = 0.01,
    pwr: float = 2,
    final_lr: float = 0,
    warmup_steps: Int = 0,
    warmup_begin_lr: float = 0,
    warmup_mode: WarmupMode = "linear",
    *,
    counts: Counts = "trainer",
    learning_rate: float | None = None,
) -> Schedule:
    """A polynomial: final + (base - final)·(1 - (n - w)/(max_update - w))^pwr at MXNet's count n, from the warmup's end w on.

    From `max_update` on the last value holds; MXNet's documentation says 0. Within 4 ulp of the larger end.

    Args:
        max_update: the count of the end, with the warmup. After a longer warmup the rate is the base.
        base_lr: at the end of the warmup.
        pwr: of at least 0; with 0 the rate stays at the base.
        final_lr: the last value.
        warmup_steps, warmup_begin_lr, warmup_mode, counts: as for `FactorScheduler`.
        learning_rate: the optimizer's own rate; no effect, except with a warmup that is longer than `max_update`.

    Raises:
        DialectError: arguments that MXNet refuses: a `max_update` below 1, or the warmup's; a warmup of just `max_update` or a
            negative power, for which MXNet divides by 0.

    Source: Apache MXNet, `python/mxnet/lr_scheduler.py`.

    >>> PolyScheduler(4, base_lr=1.0).values(5)
    array([0.5625, 0.25  , 0.0625, 0.    , 0.    ])
    """
    warmup = _Warmup(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
    power = pwr
    if power < 0 and warmup.steps <= max_update:
        raise DialectError(f"pwr must be at least 0, got {power!r}: MXNet divides by 0 at max_update")
    shape = "linear" if power == 1 else f"power({power!r})" if power > 0 else None
    return _decay(max_update, final_lr, warmup, shape, counts, learning_rate)


@SYSTEM.declare
def CosineScheduler(
    max_update: Int,
    base_lr: float = 0.01,
    final_lr: float = 0,
    warmup_steps: Int = 0,
    warmup_begin_lr: float = 0,
    warmup_mode: WarmupMode = "linear",
    *,
    counts: Counts = "trainer",
    learning_rate: float | None = None,
) -> Schedule:
    """Half a cosine: final + (base - final)·(1 + cos π(n - w)/(max_update - w))/2 at MXNet's count n, from the warmup's end w on.

    The arguments, the accuracy and the errors are as for `PolyScheduler`.

    Source: Apache MXNet, `python/mxnet/lr_scheduler.py`.

    >>> CosineScheduler(4, base_lr=1.0).values(5).round(3)
    array([0.854, 0.5  , 0.146, 0.   , 0.   ])
    """
    warmup = _Warmup(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
    return _decay(max_update, final_lr, warmup, "cosine", counts, learning_rate)


# --- for the functions above -------------------------------------------------------------------------------------------


def asked_by(counts: Any, raw: Schedule) -> Schedule:
    """A scheduler's values at MXNet's counts 0, 1, 2, … as a schedule of updates 0, 1, 2, …"""
    return raw.shift(-1) if counts == "trainer" else raw


class _Warmup:
    """The part that MXNet's schedulers have in common."""

    def __init__(self, base_lr: Any, warmup_steps: Any, warmup_begin_lr: Any, warmup_mode: Any) -> None:
        self.base, self.begin = number("base_lr", base_lr, least=0), number("warmup_begin_lr", warmup_begin_lr)
        self.steps, self.mode = _whole("warmup_steps", warmup_steps), warmup_mode
        if self.begin > self.base:
            raise DialectError(
                f"warmup_begin_lr must be at most base_lr={self.base!r}, as MXNet asks, got {self.begin!r}"
            )
        if self.steps < 0:
            raise DialectError(f"warmup_steps must be at least 0, as MXNet asks, got {self.steps}")

    def then(self, decay: Schedule, counts: Any) -> Schedule:
        """The warmup, and then a decay that counts from its end."""
        if not self.steps:
            return asked_by(counts, decay)
        climb = Ramp(self.begin, self.base, self.steps) if self.mode == "linear" else Constant(self.begin, self.steps)
        return asked_by(counts, Chain((climb, decay)))

    def beside(self, decay: Schedule, counts: Any) -> Schedule:
        """The warmup, followed by a decay that has counted from the beginning."""
        return self.then(decay.shift(-self.steps) if self.steps else decay, counts)


def _decay(
    max_update: Any, final_lr: Any, warmup: _Warmup, shape: str | None, counts: Any, learning_rate: Any
) -> Schedule:
    total, final = max_update, number("final_lr", final_lr)
    overwritten = warmup.base if learning_rate is None else number("learning_rate", learning_rate, least=0)
    if total < 1:
        raise DialectError(f"max_update must be at least 1, as MXNet asks, got {total}")
    if warmup.steps == total:
        raise DialectError(f"warmup_steps must not be max_update={total}: MXNet divides by 0 there")
    # A warmup past max_update leaves the base alone, which an optimizer's own rate overwrites.
    if warmup.steps > total:
        return warmup.then(Constant(overwritten), counts)
    if shape is None:
        return warmup.then(Constant(warmup.base), counts)
    return warmup.then(Ramp(warmup.base, final, total - warmup.steps, shape), counts)


def _whole(name: str, value: Any) -> int:
    return whole(name, value, least=-(2**53))
