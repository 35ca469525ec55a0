"""The named policies of the literature, each a sentence in the algebra.

Numbers are absolute values; lengths are in updates or text with a unit; `total` is the whole run, its warmup included.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from laju.algebra import Chain, Maximum, Overlay, Per, Product, Staircase
from laju.arguments import nearest, number, shown, updates
from laju.pieces import Constant, Exponential, Power, Ramp
from laju.schedule import Duration, Schedule, _schedule
from laju.units import Length, Span


def _rest(total: Duration, used: Duration, name: str) -> Duration:
    """What `name` leaves of the total."""
    rest = total - used
    if not isinstance(rest, Length) and rest <= 0:
        raise ValueError(f"{name} must be shorter than the total of {total}, got {used}")
    if isinstance(rest, Length) and rest.single is not None and rest.single <= 0:
        raise ValueError(f"{name} must be shorter than the total of {str(total)!r}, got {str(used)!r}")
    return rest


def constant(value: float) -> Schedule:
    """The same value at every update.

    Elsewhere: torch `ConstantLR` (with a factor), optax `constant_schedule`, Transformers `constant`.

    >>> constant(0.3)(1000)
    0.3
    """
    return Constant(value)


def linear(start: float, final: float, total: Span) -> Schedule:
    """A straight line: start + (final - start)·t/total.

    Elsewhere: torch `LinearLR`, optax `linear_schedule`.

    >>> linear(1, 0, total=4).values(5)
    array([1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    return Ramp(start, final, updates("total", total, zero=False))


def square_root(base: float) -> Schedule:
    """Inverse square-root decay: base·(t+1)^-1/2.

    Source: Dive into Deep Learning, "Learning Rate Scheduling" (`SquareRootScheduler`).

    >>> square_root(0.1)(3)
    0.05
    """
    return Power(number("base", base), 0.5)


def poly(base: float, total: Span, power: float = 1.0, final: float = 0.0) -> Schedule:
    """Polynomial decay: final + (base - final)·(1 - t/total)^power.

    Elsewhere: torch `PolynomialLR` (final 0), Keras `PolynomialDecay`, optax `polynomial_schedule`.

    >>> poly(1.0, total=4, power=2).values(5)
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    ])
    """
    power = number("power", power, above=0)
    return Ramp(base, final, updates("total", total, zero=False), "linear" if power == 1 else f"power({power!r})")


def polynomial_decay(base: float, alpha: float = 0.5, beta: float = 1.0) -> Schedule:
    """Unbounded polynomial decay: base·(1 + β·t)^-α.

    Source: Dive into Deep Learning, "Stochastic Gradient Descent", dynamic learning rate.

    >>> polynomial_decay(1.0, alpha=0.5, beta=0.1)(30)
    0.5
    """
    beta = number("beta", beta, above=0)
    return Power(number("base", base), number("alpha", alpha, above=0), timescale=1 / beta)


def factor(base: float, factor: float, every: Span = 1, floor: float | None = None) -> Schedule:
    """Multiplied by a factor every so often: base·factor^⌊t/every⌋, never under the floor.

    Elsewhere: torch `StepLR` (`every` above 1) and `ExponentialLR`, MXNet `FactorScheduler`, Keras `ExponentialDecay` with
    `staircase=True`.

    >>> factor(1.0, 0.5, every=2, floor=0.2).values(7)
    array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25, 0.2 ])
    """
    every = updates("every", every, zero=False)
    decay: Schedule = Exponential(number("base", base), number("factor", factor, above=0, most=1), every)
    if every != 1:
        decay = Staircase(decay, every)
    if floor is None:
        return decay
    return Maximum((decay, Constant(number("floor", floor, most=base))))


def multi_factor(base: float, milestones: Iterable[Span], factor: float) -> Schedule:
    """Multiplied by a factor at every milestone: base·factor^(number of milestones ≤ t).

    Elsewhere: torch `MultiStepLR`, MXNet `MultiFactorScheduler`.

    >>> multi_factor(0.5, milestones=[2, 4], factor=0.5).values(6)
    array([0.5  , 0.5  , 0.25 , 0.25 , 0.125, 0.125])
    """
    base, factor = number("base", base), number("factor", factor, above=0)
    if isinstance(milestones, str) or not isinstance(milestones, Iterable):
        raise TypeError(f"milestones must be a sequence of lengths such as [15, 30], got {shown(milestones)}")
    at: list[Duration] = [updates(f"milestones[{i}]", m, zero=False) for i, m in enumerate(milestones)]
    parts: list[Schedule] = []
    begin: Duration = 0
    for k, end in enumerate(at):
        length = end - begin
        if (length if not isinstance(length, Length) else length.single or 1) <= 0:
            raise ValueError(
                f"milestones must increase, got {shown([m if isinstance(m, int) else str(m) for m in at])}"
            )
        parts.append(Constant(base * factor**k, length))
        begin = end
    return Chain((*parts, Constant(base * factor ** len(at)))) if parts else Constant(base)


def cosine(
    peak: float,
    total: Span,
    final: float = 0.0,
    warmup: Span = 0,
    start: float = 0.0,
) -> Schedule:
    """Half a cosine from `peak` to `final`, after a linear warmup from `start`, `total` updates in all.

    final + (peak - final)·(1 + cos(π·(t - warmup)/(total - warmup)))/2 for warmup ≤ t < total.

    Source: Loshchilov & Hutter, arXiv 1608.03983. Elsewhere: torch `CosineAnnealingLR`, optax `warmup_cosine_decay_schedule`,
    Keras `CosineDecay` (whose `decay_steps` leaves out the warmup), Transformers `cosine`.

    Args:
        peak: value at the end of the warmup.
        total: updates of warmup and decay together.
        final: value at t = total and ever after.
        warmup: updates of the warmup; 0 for none.
        start: value at t = 0 when there is a warmup.

    Raises:
        ValueError: a warmup that is not shorter than the total.

    >>> cosine(1.0, total=10, warmup=4).values(11).round(3)
    array([0.   , 0.25 , 0.5  , 0.75 , 1.   , 0.933, 0.75 , 0.5  , 0.25 , 0.067, 0.   ])
    """
    total, warmup = updates("total", total, zero=False), updates("warmup", warmup)
    peak, start = number("peak", peak), number("start", start)
    decay = Ramp(peak, number("final", final), _rest(total, warmup, "warmup"), "cosine")
    return Ramp(start, peak, warmup) >> decay if warmup else decay


def warmup(
    schedule: Schedule | float,
    length: Span,
    start: float | None = None,
    *,
    how: Literal["then", "overlay", "times"] = "then",
    shape: str = "linear",
    first: bool = False,
) -> Schedule:
    """A warmup joined to any schedule, in one of three senses.

    With W = length and s the schedule:

    - `then`: from `start` to s(0) over W updates, after which s begins: at t ≥ W the value is s(t - W).
    - `overlay`: s runs from t = 0, covered by a ramp from `start` to s(W) and uncovered at t = W.
    - `times`: s runs from t = 0, multiplied by a ramp from `start` (a factor, here) to 1.

    Args:
        schedule: what comes after, under, or is multiplied.
        length: updates of the warmup; 0 gives the schedule itself.
        start: value (for `times`: factor) at t = 0; by default 0. A warmup of shape "constant" needs one.
        how: "then", "overlay" or "times".
        shape: "constant" holds `start` during the warmup; else a name from `laju.shapes`.
        first: values (t+1)/W, so that no update is spent at `start`.

    Raises:
        ValueError: an unknown sense, or a constant warmup without a start.

    >>> warmup(linear(1, 0, total=4), 2).values(6)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25])
    >>> warmup(linear(1, 0, total=4), 2, how="overlay").values(6)
    array([0.  , 0.25, 0.5 , 0.25, 0.  , 0.  ])
    >>> warmup(linear(1, 0, total=4), 2, how="times").values(6)
    array([0.   , 0.375, 0.5  , 0.25 , 0.   , 0.   ])
    """
    schedule = _schedule(schedule)
    length = updates("length", length)
    if how not in ("then", "overlay", "times"):
        raise ValueError(
            f"how must be 'then', 'overlay' or 'times', got {shown(how)}{nearest(str(how), ('then', 'overlay', 'times'))}"
        )
    if length == 0:
        return schedule
    if how == "times":
        until: float = 1.0
    elif schedule.units or isinstance(length, Length):
        until = _known_value(schedule, 0 if how == "then" else length, how)
    else:
        until = schedule(0 if how == "then" else length)
    if shape == "constant":
        if start is None:
            raise ValueError("start must be given for a constant warmup: the value that it holds, got None")
        top: Schedule = Constant(number("start", start), length)
    else:
        top = Ramp(number("start", 0.0 if start is None else start), until, length, shape, first)
    if how == "then":
        return Chain((top, schedule))
    if how == "overlay":
        return Overlay(top, schedule)
    return Product((top >> 1.0 if shape == "constant" else top, schedule))


def _known_value(schedule: Schedule, at: Duration, how: str) -> float:
    """A value that no plan can change, or the error that asks for the plan."""
    if at == 0 and isinstance(schedule, Per):
        return _known_value(schedule.child, at, how)
    if at == 0 and isinstance(schedule, Chain):
        return _known_value(schedule.parts[0], at, how)
    if at == 0 and isinstance(schedule, Ramp) and not schedule.first:
        return schedule.start
    if isinstance(schedule, Constant):
        return schedule.value
    value: float = schedule(at)
    return value
