"""MXNet: the schedulers of `mxnet.lr_scheduler`, as `gluon.Trainer` and every optimizer of MXNet call them.

An optimizer calls its scheduler with the number of the update, from 1, so update t (from 0) has the value at count t + 1, and the
value at 0 is never used: `counts="trainer"`, the default. `counts="raw"` gives the values of calls with 0, 1, 2, …, as in a plot.
The most surprising behaviour:

- With a warmup from 0 the first update does not have rate 0, and a cosine ends an update before `max_update` updates are over.
- A step is not an update early: `FactorScheduler(step=10)` and `MultiFactorScheduler([10])` drop the rate after 10 updates.
- The steps of both schedulers count from the first update, including the warmup: all steps within the warmup apply at its end.
- The schedulers have a state, which only moves forward. A scheduler that has been plotted, or used in another run, continues from
  its state. A new `PolyScheduler` or `CosineScheduler` whose first call is after `max_update`, as after a resume, gives the
  *full* rate.
- An optimizer with its own `learning_rate` overwrites the scheduler's base and prints a message; `Adam` has 0.001 by default. The
  warmup still rises to the old base, and `PolyScheduler` and `CosineScheduler` ignore the new base. Give the optimizer's rate
  here as `learning_rate`.
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


Ratio = Annotated[float, real("MXNet requires it", least=0, most=1)]
Int = Annotated[int, exactly(int, "MXNet requires it")]

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
    """Learning rate multiplied by a factor after every `step` updates: base·factor^⌊(n - 1)/step⌋ at MXNet's count n.

    From the first change on, the learning rate is at least stop_factor_lr; a base below stop_factor_lr is then raised. MXNet's
    documentation says ⌊n/step⌋. MXNet multiplies the previous value, so rounding errors accumulate: values are within 2 ulp of
    MXNet's per change.

    Args:
        step: number of updates between two changes.
        factor: factor of a change, from 0 to 1.
        stop_factor_lr: the minimum after a change.
        base_lr: base, the learning rate before the first change, at least 0.
        warmup_steps: number of updates of the warmup.
        warmup_begin_lr: first learning rate of the warmup.
        warmup_mode: "linear" from warmup_begin_lr to the base, or "constant" at warmup_begin_lr.
        counts: "trainer" if update t has the value at count n = t + 1, or "raw" for the value at count n = t.
        learning_rate: the optimizer's own learning rate, which replaces the base after the warmup; None if the optimizer has
            none.

    Raises:
        DialectError: if MXNet refuses the arguments: a step below 1, a factor above 1, a warmup from above the base, or a
            negative warmup length. A negative factor is also refused.

    Source: Apache MXNet, `python/mxnet/lr_scheduler.py`.

    >>> FactorScheduler(2, factor=0.5, base_lr=1.0).values(6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    >>> FactorScheduler(2, factor=0.5, base_lr=1.0, counts="raw").values(6)
    array([1.  , 1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    warmup = _Warmup(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
    ratio, stop = factor, stop_factor_lr
    if step < 1:
        raise DialectError(f"step must be at least 1, as MXNet requires, got {step}")
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
    """Learning rate multiplied by a factor after each of the given counts: base·factor^(number of steps < n) at MXNet's count n.

    MXNet's documentation says ≤ n. Values are within 2 ulp of MXNet's per change.

    Args:
        step: a list of increasing counts of at least 1.

    The other arguments are described in `FactorScheduler`.

    Raises:
        DialectError: if MXNet refuses the list, a factor above 1, or the warmup. A negative factor is also refused.

    Source: Apache MXNet, `python/mxnet/lr_scheduler.py`.

    >>> MultiFactorScheduler([2, 4], factor=0.5, base_lr=1.0).values(6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
    """
    warmup = _Warmup(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
    if not isinstance(step, list) or not step:
        raise DialectError(f"step must be a list of at least one number, as MXNet asserts, got {shown(step)}")
    at = [_whole(f"step[{i}]", s) for i, s in enumerate(step)]
    if at[0] < 1 or any(after <= before for before, after in itertools.pairwise(at)):
        raise DialectError(f"step must hold increasing numbers of at least 1, as MXNet requires, got {shown(step)}")
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
    """Polynomial decay of the learning rate: final + (base - final)·(1 - (n - w)/(max_update - w))^pwr at MXNet's count n.

    w is the length of the warmup. From `max_update` on the last value holds; MXNet's documentation says 0. Values are within 4
    ulp of MXNet's, relative to the larger end.

    Args:
        max_update: count at the end of the decay, including the warmup. After a longer warmup the rate is the base.
        base_lr: base, the learning rate at the end of the warmup.
        pwr: exponent, at least 0; with 0 the rate stays at the base.
        final_lr: final, the last value.
        warmup_steps, warmup_begin_lr, warmup_mode, counts: see `FactorScheduler`.
        learning_rate: the optimizer's own learning rate; no effect unless the warmup is longer than `max_update`.

    Raises:
        DialectError: if MXNet refuses a `max_update` below 1 or the warmup, or would divide by 0: if the length of the warmup
            equals `max_update`, or the power is negative.

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
    """Cosine decay of the learning rate: final + (base - final)·(1 + cos π(n - w)/(max_update - w))/2 at MXNet's count n.

    w is the length of the warmup. Arguments, precision and errors are described in `PolyScheduler`.

    Source: Apache MXNet, `python/mxnet/lr_scheduler.py`.

    >>> CosineScheduler(4, base_lr=1.0).values(5).round(3)
    array([0.854, 0.5  , 0.146, 0.   , 0.   ])
    """
    warmup = _Warmup(base_lr, warmup_steps, warmup_begin_lr, warmup_mode)
    return _decay(max_update, final_lr, warmup, "cosine", counts, learning_rate)


# --- for the functions above -------------------------------------------------------------------------------------------


def asked_by(counts: Any, raw: Schedule) -> Schedule:
    """Convert a scheduler's values at MXNet's counts 0, 1, 2, … to a schedule of updates 0, 1, 2, …"""
    return raw.shift(-1) if counts == "trainer" else raw


class _Warmup:
    """Warmup that all of MXNet's schedulers have."""

    def __init__(self, base_lr: Any, warmup_steps: Any, warmup_begin_lr: Any, warmup_mode: Any) -> None:
        self.base, self.begin = number("base_lr", base_lr, least=0), number("warmup_begin_lr", warmup_begin_lr)
        self.steps, self.mode = _whole("warmup_steps", warmup_steps), warmup_mode
        if self.begin > self.base:
            raise DialectError(
                f"warmup_begin_lr must be at most base_lr={self.base!r}, as MXNet requires, got {self.begin!r}"
            )
        if self.steps < 0:
            raise DialectError(f"warmup_steps must be at least 0, as MXNet requires, got {self.steps}")

    def then(self, decay: Schedule, counts: Any) -> Schedule:
        """Return the warmup followed by a decay that counts from the end of the warmup."""
        if not self.steps:
            return asked_by(counts, decay)
        climb = Ramp(self.begin, self.base, self.steps) if self.mode == "linear" else Constant(self.begin, self.steps)
        return asked_by(counts, Chain((climb, decay)))

    def beside(self, decay: Schedule, counts: Any) -> Schedule:
        """Return the warmup followed by a decay that counts from the beginning of the warmup."""
        return self.then(decay.shift(-self.steps) if self.steps else decay, counts)


def _decay(
    max_update: Any, final_lr: Any, warmup: _Warmup, shape: str | None, counts: Any, learning_rate: Any
) -> Schedule:
    total, final = max_update, number("final_lr", final_lr)
    overwritten = warmup.base if learning_rate is None else number("learning_rate", learning_rate, least=0)
    if total < 1:
        raise DialectError(f"max_update must be at least 1, as MXNet requires, got {total}")
    if warmup.steps == total:
        raise DialectError(f"warmup_steps must differ from max_update={total}: MXNet would divide by 0")
    # A warmup past max_update leaves the base alone, which an optimizer's own rate overwrites.
    if warmup.steps > total:
        return warmup.then(Constant(overwritten), counts)
    if shape is None:
        return warmup.then(Constant(warmup.base), counts)
    return warmup.then(Ramp(warmup.base, final, total - warmup.steps, shape), counts)


def _whole(name: str, value: Any) -> int:
    return whole(name, value, least=-(2**53))
