"""fastai: the schedules of `fastai.callback.schedule`, which `Learner` evaluates before every batch.

Schedules are functions of the progress of the run from 0 to 1: the number of the batch divided by n_epoch·n_iter, with `n_iter`
batches per epoch. The most surprising behaviour:

- `combine_scheds`, and so every `fit_…` method, computes progress in float32: learning rates have 6 or 7 correct digits, and
  boundaries may move by a batch.
- `Learner` adds 1/(n_epoch·n_iter) to the progress at every batch of an epoch, and computes the progress afresh at each epoch.
- The last batch is a step before the end: no run ever trains at lr_max/div_final.
- The fractions given to `combine_scheds` must have a sum of exactly 1 in floats, so some calls of `fit_sgdr` fail.
- `fine_tune` has two cycles: a cycle of the head alone up to base_lr, and a cycle up to half of base_lr.

fastai's schedules end with the run; the functions here hold the last value afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np

from laju.core.checks import number, shown, whole
from laju.core.joins import stretch
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects._progress import ProgressCurve, curve_of, joined
from laju.dialects.base import DialectError, System
from laju.dialects.declared import Count, Count1, From0, Made, real

LEARNING_RATE = 1e-3
"""What a `Learner` has by default."""


Divisor = Annotated[float, real("fastai divides by it", nonzero=True)]

SYSTEM = System(
    name="fastai",
    title="fastai",
    package="fastai",
    releases=("2.8.12",),
    counts="batches, of n_epoch·n_iter",
    refused={"LRFinder": "it is a range test that stops where the loss diverges; `laju find` is one"},
    aliases={"sched_lin": "SchedLin", "sched_cos": "SchedCos", "sched_no": "SchedNo", "sched_exp": "SchedExp"},
)  # fmt: skip
"""The system that `laju.dialects.read` and `laju convert` know as fastai."""


@SYSTEM.declare
def SchedLin(start: float, end: float, *, n_epoch: int | None = None, n_iter: int | None = None) -> Schedule | Made:
    """Linear change from start to end: start + p·(end - start) at progress p.

    Args:
        start, end: values at progress 0 and 1.
        n_epoch: number of epochs of the run, 1 by default.
        n_iter: batches per epoch; without `n_iter` the schedule's argument is the progress itself.

    >>> SchedLin(1.0, 0.0, n_iter=4).values(5)
    array([1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    a, b = start, end
    return _made(ProgressCurve(lambda p: a + p * (b - a), lambda n: Ramp(a, b, n or 1)), n_epoch, n_iter)


@SYSTEM.declare
def SchedCos(start: float, end: float, *, n_epoch: int | None = None, n_iter: int | None = None) -> Schedule | Made:
    """Cosine change from start to end: start + (1 + cos π(1 - p))·(end - start)/2 at progress p.

    The arguments are described in `SchedLin`.

    >>> SchedCos(1.0, 0.0, n_iter=4).values(5).round(3)
    array([1.   , 0.854, 0.5  , 0.146, 0.   ])
    """
    a, b = start, end
    return _made(_cosine(a, b), n_epoch, n_iter)


@SYSTEM.declare
def SchedNo(start: float, end: float, *, n_epoch: int | None = None, n_iter: int | None = None) -> Schedule | Made:
    """Constant value `start`; `end` has no effect. The arguments are described in `SchedLin`.

    >>> SchedNo(0.1, 0.0)(0.5)
    0.1
    """
    level, _ = start, end
    return _made(ProgressCurve(lambda p: level, lambda n: Constant(level)), n_epoch, n_iter)


@SYSTEM.declare
def SchedExp(start: float, end: float, *, n_epoch: int | None = None, n_iter: int | None = None) -> Schedule | Made:
    """Exponential change from start to end: start·(end/start)^p at progress p. The arguments are described in `SchedLin`.

    Raises:
        DialectError: if start or end is 0, or their signs differ, for which fastai divides by 0 or gives complex values.

    >>> SchedExp(1.0, 0.01, n_iter=2).values(3)
    array([1.  , 0.1 , 0.01])
    """
    a, b = start, end
    if not a * b > 0:
        raise DialectError(f"start and end must not be 0 and must have the same sign, got {a!r} and {b!r}")
    return _made(
        ProgressCurve(lambda p: a * (b / a) ** p, lambda n: Ramp(a, b, n or 1, "exponential")), n_epoch, n_iter
    )


@SYSTEM.declare
def SchedPoly(
    start: float,
    end: float,
    power: From0,
    *,
    n_epoch: int | None = None,
    n_iter: int | None = None,
) -> Schedule | Made:
    """Polynomial change from start to end: start + (end - start)·p^power at progress p.

    Args:
        power: exponent, at least 0; fastai divides by 0 for a negative power.

    The other arguments are described in `SchedLin`.

    >>> SchedPoly(0.0, 1.0, 2, n_iter=4).values(5)
    array([0.    , 0.0625, 0.25  , 0.5625, 1.    ])
    """
    a, b = start, end
    shape = "linear" if power == 1 else f"rising_power({power!r})"
    return _made(
        ProgressCurve(
            lambda p: a + (b - a) * p**power, lambda n: Ramp(a, b, n or 1, shape) if power else Constant(a + (b - a))
        ),
        n_epoch,
        n_iter,
    )


@SYSTEM.declare
def combine_scheds(
    pcts: Sequence[float],
    scheds: Sequence[Schedule],
    *,
    n_epoch: int | None = None,
    n_iter: int | None = None,
) -> Schedule | Made:
    """Schedules in sequence, each from its beginning to its end within its fraction of the run.

    fastai computes with float32 tensors: values are within 4/(smallest fraction) float32 ulp of fastai's, relative to the largest
    value. Boundaries are at the same batches as fastai's.

    Args:
        pcts: the fraction of the run of each schedule, at least 0, with a sum of exactly 1.
        scheds: schedules made by functions of this module.
        n_epoch, n_iter: number of epochs, and batches per epoch; see `SchedLin`.

    Raises:
        DialectError: if the sum in floats is not exactly 1 (0.1 + 0.2 + 0.3 + 0.4 is), a fraction is negative, or there are fewer
            schedules than fractions.

    >>> combine_scheds([0.5, 0.5], [SchedNo(1.0, 0.0), SchedLin(1.0, 0.0)], n_iter=8).values(9)
    array([1.  , 1.  , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    curves = [curve_of(f"scheds[{i}]", s, "fastai") for i, s in enumerate(scheds)]
    return _made(_combined(list(pcts), curves, n_epoch, n_iter), n_epoch, n_iter)


@SYSTEM.declare
def combined_cos(
    pct: float,
    start: float,
    middle: float,
    end: float,
    *,
    n_epoch: int | None = None,
    n_iter: int | None = None,
) -> Schedule | Made:
    """Cosine change from start to middle over the fraction `pct` of the run, then cosine change to end.

    Args:
        pct: length of the first part as a fraction of the run.
        start, middle, end: values at the beginning, at the boundary and at the end.

    The other arguments, the precision and the errors are described in `combine_scheds`.

    >>> combined_cos(0.5, 0.0, 1.0, 0.0, n_iter=8).values(9).round(3)
    array([0.   , 0.146, 0.5  , 0.854, 1.   , 0.854, 0.5  , 0.146, 0.   ])
    """
    a, b, c = start, middle, end
    return _made(_two_cosines(pct, a, b, c, n_epoch, n_iter), n_epoch, n_iter)


@SYSTEM.declare
def fit_one_cycle(
    n_epoch: int,
    lr_max: float = LEARNING_RATE,
    div: Divisor = 25.0,
    div_final: Divisor = 1e5,
    pct_start: float = 0.25,
    wd: Any = None,
    moms: Any = None,
    *,
    n_iter: int | None = None,
) -> Schedule | Made:
    """Learning rate of `Learner.fit_one_cycle`: a cosine from lr_max/div up to lr_max, then a cosine down to lr_max/div_final.

    Args:
        n_epoch: number of epochs.
        lr_max: the peak; the default of `Learner` by default. fastai also accepts a slice of learning rates for groups of layers:
            give the rate of a single group.
        div, div_final: ratio of the peak to the first and to the last learning rate.
        pct_start: fraction of the run in which the learning rate rises.
        wd, moms: no effect on the learning rate.
        n_iter: batches per epoch.

    Raises:
        DialectError: if `n_iter` is missing, the fraction is outside [0, 1], or a divisor is 0.

    >>> fit_one_cycle(2, 1.0, n_iter=4).values(8).round(3)
    array([0.04 , 0.52 , 1.   , 0.933, 0.75 , 0.5  , 0.25 , 0.067])
    """
    top = lr_max
    first, last = top / div, top / div_final
    n_iter = _needed(n_iter)
    return _made(_two_cosines(pct_start, first, top, last, n_epoch, n_iter), n_epoch, n_iter)


@SYSTEM.declare
def fit_flat_cos(
    n_epoch: int,
    lr: float = LEARNING_RATE,
    div_final: Divisor = 1e5,
    pct_start: float = 0.75,
    wd: Any = None,
    *,
    n_iter: int | None = None,
) -> Schedule | Made:
    """Learning rate of `Learner.fit_flat_cos`: constant `lr`, then cosine decay to lr/div_final.

    Args:
        lr: the learning rate before the decay; the default of `Learner` by default.
        pct_start: length of the constant part as a fraction of the run.

    The other arguments and the errors are described in `fit_one_cycle`.

    >>> fit_flat_cos(2, 1.0, n_iter=4).values(8).round(3)
    array([1. , 1. , 1. , 1. , 1. , 1. , 1. , 0.5])
    """
    top = lr
    last, n_iter = top / div_final, _needed(n_iter)
    return _made(_two_cosines(pct_start, top, top, last, n_epoch, n_iter), n_epoch, n_iter)


@SYSTEM.declare
def fit_sgdr(
    n_cycles: Count1,
    cycle_len: Count1,
    lr_max: float = LEARNING_RATE,
    cycle_mult: Count = 2,
    *,
    n_iter: int | None = None,
) -> Schedule | Made:
    """Learning rate of `Learner.fit_sgdr`: cosine decays from lr_max to 0, each `cycle_mult` times as long as the previous.

    Args:
        n_cycles: number of cycles.
        cycle_len: number of epochs of the first cycle.
        lr_max: the peak of every cycle; the default of `Learner` by default.
        cycle_mult: ratio of the lengths of successive cycles; not 1, for which fastai divides by 0.
        n_iter: batches per epoch.

    Raises:
        DialectError: if `cycle_mult` is 1, or the cycles' fractions of the run do not have a sum of exactly 1 in floats.

    >>> fit_sgdr(2, 1, 1.0, n_iter=2).values(6).round(3)
    array([1.   , 0.5  , 1.   , 0.854, 0.5  , 0.146])
    """
    cycles, first = n_cycles, cycle_len
    top, mult = lr_max, cycle_mult
    if mult == 1:
        raise DialectError("cycle_mult must not be 1: fastai divides by 0 for cycles of equal length")
    epochs = first * (mult**cycles - 1) // (mult - 1)
    pcts = [first * mult**i / epochs for i in range(cycles)]
    n_iter = _needed(n_iter)
    curve = _combined(pcts, [_cosine(top, 0.0)] * cycles, epochs, n_iter)
    return _made(curve, epochs, n_iter)


@SYSTEM.declare
def fine_tune(
    epochs: int,
    base_lr: float = 2e-3,
    freeze_epochs: int = 1,
    lr_mult: Divisor = 100,
    pct_start: float = 0.3,
    div: Divisor = 5.0,
    div_final: Divisor = 1e5,
    *,
    n_iter: int | None = None,
) -> Schedule:
    """Learning rate of the head in `Learner.fine_tune`: a cycle up to base_lr in the frozen epochs, then a cycle to base_lr/2.

    The first cycle rises for 99% of its length; its `div` is 25, the default of `fit_one_cycle`. The learning rates of the body
    of the network are smaller by up to a factor of `lr_mult`.

    Args:
        epochs: number of epochs after the frozen epochs.
        base_lr: peak of the first cycle.
        freeze_epochs: number of epochs in which only the head trains.
        lr_mult: no effect on the head's learning rate.
        pct_start, div: arguments of `fit_one_cycle` for the second cycle.
        div_final: ratio of the peak to the last learning rate of a cycle.
        n_iter: batches per epoch.

    >>> fine_tune(1, 1.0, n_iter=4).values(8).round(3)
    array([0.04 , 0.183, 0.528, 0.867, 0.1  , 0.473, 0.406, 0.142])
    """
    base = base_lr
    frozen = fit_one_cycle(freeze_epochs, base, div_final=div_final, pct_start=0.99, n_iter=n_iter)
    begin = freeze_epochs * _needed(n_iter)
    after = fit_one_cycle(epochs, base / 2, div, div_final, pct_start, n_iter=n_iter)
    return frozen.take(begin) >> after


# --- for the functions above -------------------------------------------------------------------------------------------


def _made(curve: ProgressCurve, n_epoch: int | None, n_iter: int | None) -> Made:
    if n_iter is None:
        if n_epoch is not None:
            raise DialectError("n_epoch is given without n_iter, the number of batches per epoch: give n_iter=…")
        return Made(curve.over(None), curve)
    epochs, batches = whole("n_epoch", 1 if n_epoch is None else n_epoch, least=1), whole("n_iter", n_iter, least=1)
    return Made(curve.over(epochs * batches), curve)


def _progress(t: int, epochs: int, batches: int) -> float:
    """Return the progress of a `Learner` before batch t, accumulated within an epoch as in fastai."""
    epoch, batch = divmod(t, batches)
    added = np.cumsum([epoch / epochs, *[1.0 / (batches * epochs)] * batch])
    return float(added[-1])


def _needed(n_iter: int | None) -> int:
    if n_iter is None:
        raise DialectError(
            "n_iter, the number of batches per epoch (len(dls.train)), must be given: the progress depends on it"
        )
    return whole("n_iter", n_iter, least=1)


def _cosine(a: float, b: float) -> ProgressCurve:
    return ProgressCurve(
        lambda p: a + (1 + math.cos(math.pi * (1 - p))) * (b - a) / 2,
        lambda n: Ramp(a, b, n or 1, "cosine") if a != b else Constant(a),
    )


def _two_cosines(pct: Any, a: float, b: float, c: float, n_epoch: int | None, n_iter: int | None) -> ProgressCurve:
    share = number("pct_start" if n_iter is not None else "pct", pct)
    return _combined([share, 1 - share], [_cosine(a, b), _cosine(b, c)], n_epoch, n_iter)


def _combined(pcts: list[Any], curves: list[ProgressCurve], n_epoch: int | None, n_iter: int | None) -> ProgressCurve:
    shares = [number(f"pcts[{i}]", pct) for i, pct in enumerate(pcts)]
    if sum(shares) != 1.0:
        raise DialectError(
            f"pcts must have a sum of exactly 1, as fastai asserts, got {sum(shares)!r} for {shown(pcts)}"
        )
    if min(shares) < 0:
        raise DialectError(f"pcts must not be negative, as fastai asserts, got {min(shares)!r}")
    if len(curves) < len(shares):
        raise DialectError(f"scheds must have a schedule for each of {len(shares)} pcts, got {len(curves)}")
    # Sums of float32 are made in doubles.
    edges = np.cumsum([0.0, *np.array(shares, np.float32).astype(float)]).astype(np.float32)

    def index(p: float) -> int:
        return min(int(np.flatnonzero(np.float32(p) >= edges)[-1]), len(shares) - 1)

    def at(p: float) -> float:
        i = index(p)
        with np.errstate(all="ignore"):
            return curves[i].at(float((np.float32(p) - edges[i]) / (edges[i + 1] - edges[i])))

    def over(n: int | None) -> Schedule:
        begins: list[float] = [0, *np.cumsum(shares[:-1]).tolist()]
        zeros = [begin * (n or 1) for begin in begins]
        if n is not None:
            epochs = n_epoch or 1
            batches = n // epochs
            begins = [0, *(_reached(index, i, zero, epochs, batches) for i, zero in enumerate(zeros) if i)]
        parts = [
            (_over(curve, share if n is None else _near(n * share)), zero)
            for curve, share, zero in zip(curves, shares, zeros, strict=False)
        ]
        return joined([(part, _near(zero)) for part, zero in parts], begins)

    return ProgressCurve(at, over)


def _reached(index: Callable[[float], int], i: int, near: float, epochs: int, batches: int) -> int:
    """Return the first batch of part i or of a later part."""
    t = max(math.floor(near) - 2, 0)
    while t < epochs * batches and index(_progress(t, epochs, batches)) < i:
        t += 1
    return t


def _near(value: float) -> float:
    # Shares such as 0.3 are not exact, so a length next to a whole number of batches is whole.
    return round(value) if abs(value - round(value)) < 1e-9 * max(value, 1) else value


def _over(curve: ProgressCurve, length: float) -> Schedule:
    if not length:
        return Constant(0.0)  # never in force
    return curve.over(length) if isinstance(length, int) else stretch(curve.over(None), length)
