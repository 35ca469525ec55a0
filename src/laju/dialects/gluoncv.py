"""GluonCV: `LRScheduler` and `LRSequential` of `gluoncv.utils`, which MXNet's `Trainer` calls with the update's number, from 1.

With `counts="trainer"`, the default, update t has the value at t + 1, and the value at 0 is never used; with `counts="raw"` the
values are those of calls with 0, 1, 2, …, as in a plot. The most surprising behaviour:

- A scheduler of `niters` updates ends at `niters` - 1; as counting begins at 1, the update before the last already has the
  target.
- A sequence holds the last value of its last scheduler; as counting begins at 1, the last two updates have the same value.
- Every scheduler begins an update early: the first update of a training run has the second value of a warmup.
- A sequence overwrites `offset`; steps after `niters` - 1 have no effect.
- Steps in epochs are ignored unless `nepochs` and `iters_per_epoch` are given; the learning rate then never changes.
- Without `niters` the learning rate is the target throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from laju.core.algebra import Chain
from laju.core.checks import shown
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import Count, Made, SystemSchedule
from laju.dialects.mxnet import Counts, asked_by

Mode = Literal["constant", "step", "linear", "poly", "cosine"]


SYSTEM = System(
    name="gluoncv",
    title="GluonCV",
    package="gluoncv",
    releases=("0.10.5.post0",),
    counts="updates; MXNet's own count is one higher",
)
"""The system that `laju.dialects.read` and `laju convert` know as gluoncv."""


@SYSTEM.declare
def LRScheduler(
    mode: Mode,
    base_lr: float = 0.1,
    target_lr: float = 0,
    niters: Count = 0,
    nepochs: Count = 0,
    iters_per_epoch: Count = 0,
    offset: int = 0,
    power: float = 2,
    step_iter: Sequence[int] | None = None,
    step_epoch: Sequence[int] | None = None,
    step_factor: float = 0.1,
    baselr: float | None = None,
    targetlr: float | None = None,
    *,
    counts: Counts = "trainer",
) -> Schedule | Made:
    """Learning rate target + (base - target)·f(T/(niters - 1)) with T = MXNet's count minus `offset`, constant before and after.

    f(p) is 1 - p ("linear"), (1 - p)^power ("poly") or (1 + cos πp)/2 ("cosine"); "constant" stays at the base, and "step" is
    base·step_factor^(number of steps ≤ T). Values are within 4 ulp of GluonCV's, relative to the larger end.

    Args:
        mode: "linear", "poly", "cosine", "constant" or "step".
        base_lr: the first value.
        target_lr: the last value; no effect for "constant" and "step".
        niters: number of updates; replaced by nepochs·iters_per_epoch if that is not 0.
        nepochs, iters_per_epoch: number of epochs, and updates per epoch.
        offset: number of updates before the scheduler begins, during which the first value holds.
        power: exponent of "poly", at least 0.
        step_iter, step_epoch: the steps of "step", in updates or in epochs.
        step_factor: factor of each step, at least 0.
        baselr, targetlr: old names of `base_lr` and `target_lr`, used if the new arguments have their defaults.
        counts: "trainer" if update t has the value at count t + 1, or "raw" for the value at count t.

    Raises:
        DialectError: if GluonCV refuses the arguments, such as an unknown mode or "step" without steps, or `niters` is 1, for
            which GluonCV divides by 0.

    Source: GluonCV, `gluoncv/utils/lr_scheduler.py`.

    >>> LRScheduler("linear", base_lr=0.0, target_lr=1.0, niters=5).values(5)
    array([0.25, 0.5 , 0.75, 1.  , 1.  ])
    >>> LRScheduler("linear", base_lr=0.0, target_lr=1.0, niters=5, counts="raw").values(5)
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    if mode == "step" and step_iter is None and step_epoch is None:
        raise DialectError("mode 'step' needs step_iter or step_epoch, as GluonCV asserts")
    if baselr is not None and base_lr == 0.1:
        base_lr = baselr
    if targetlr is not None and target_lr == 0:
        target_lr = targetlr
    base, target = base_lr, target_lr
    if mode == "constant":
        target = base
    n, epoch_updates, steps = niters, iters_per_epoch, step_iter
    if nepochs * epoch_updates > 0:
        n = nepochs * epoch_updates
        if step_epoch is not None:
            steps = [s * epoch_updates for s in step_epoch]
    own = _curve(mode, base, target, n, power, steps, step_factor)
    schedule = asked_by(counts, own.shift(offset) if offset else own)
    return Made(schedule, (own, n))


@SYSTEM.declare
def LRSequential(schedulers: Sequence[Schedule], *, counts: Counts = "trainer") -> Schedule:
    """Schedulers in sequence, each for its own `niters` counts; after the last scheduler its last value holds.

    Args:
        schedulers: schedules made by `LRScheduler` of this module; their `offset` and `counts` are ignored.
        counts: "trainer" if update t has the value at count t + 1, or "raw" for the value at count t.

    Raises:
        DialectError: if there is no scheduler, or a scheduler is not an `LRScheduler` (for example a sequence), as GluonCV
            asserts.

    Source: GluonCV, `gluoncv/utils/lr_scheduler.py`.

    >>> warmup = LRScheduler("linear", base_lr=0.0, target_lr=1.0, niters=3)
    >>> LRSequential([warmup, LRScheduler("cosine", base_lr=1.0, niters=3)]).values(6)
    array([0.5, 1. , 1. , 0.5, 0. , 0. ])
    """
    if isinstance(schedulers, str) or not isinstance(schedulers, Sequence) or not schedulers:
        raise DialectError(
            f"schedulers must be a list of at least one scheduler, as GluonCV asserts, got {shown(schedulers)}"
        )
    parts: list[tuple[Schedule, int]] = []
    for i, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, SystemSchedule) or (scheduler.system, scheduler.name) != (
            "gluoncv",
            "LRScheduler",
        ):
            raise DialectError(
                f"schedulers[{i}] must be made by the dialect's LRScheduler, as GluonCV asserts, got {shown(scheduler)}"
            )
        parts.append(scheduler.rule)
    in_force = [part for part in parts if part[1]] or parts[:1]
    return asked_by(counts, Chain((*(own.take(n) for own, n in in_force[:-1]), in_force[-1][0])))


def _curve(
    mode: str, base: float, target: float, n: int, power: float, steps: Sequence[int] | None, factor: float
) -> Schedule:
    """Values at T = 0, 1, …, n - 1; the last value holds."""
    if mode == "constant":
        return Constant(base)
    if mode == "step":
        if factor < 0:
            raise DialectError(f"step_factor must be at least 0, got {factor!r}")
        last = n - 1
        at = sorted(s for s in steps or [] if s <= last)
        if n == 0:  # T is -1
            return Constant(base * factor ** len(at))
        values = [base * factor ** sum(s <= t for s in at) for t in (0, *(s for s in at if s > 0))]
        edges = [0, *(s for s in at if s > 0)]
        parts = [Constant(v, b - a) for v, a, b in zip(values, edges, edges[1:], strict=False) if b > a]
        return Chain((*parts, Constant(values[-1]))) if parts else Constant(values[-1])
    if n == 1:
        raise DialectError("niters must not be 1 with this mode: GluonCV divides by niters - 1")
    if power < 0 and mode == "poly":
        raise DialectError(f"power must be at least 0, got {power!r}: GluonCV divides by 0 at the end")
    if mode == "poly" and power == 0:
        return Constant(base)
    if n == 0:
        return Constant(target)
    shape = mode if mode != "poly" else "linear" if power == 1 else f"power({power!r})"
    return Ramp(base, target, n - 1, shape)
