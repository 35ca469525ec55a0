"""Functions that join schedules, known to texts by name; some are methods of schedules, too."""

from __future__ import annotations

from typing import Literal

from laju.core import clocks, shapes
from laju.core.algebra import Chain, Maximum, Minimum, Overlay, Product
from laju.core.checks import choice, flag, number, shown
from laju.core.clocks import Take
from laju.core.measure import peak
from laju.core.node import METHODS, Duration, method
from laju.core.pieces import Constant, Ramp
from laju.core.policy import joint
from laju.core.schedule import Schedule, as_schedule
from laju.core.units import Length, Span, UnresolvedError, span


@method("minimum")
def _minimum(schedule: Schedule, other: Schedule | float) -> Schedule:
    return Minimum((schedule, as_schedule(other)))


@method("maximum")
def _maximum(schedule: Schedule, other: Schedule | float) -> Schedule:
    return Maximum((schedule, as_schedule(other)))


@method("overlay")
def _overlay(schedule: Schedule, under: Schedule | float) -> Schedule:
    return Overlay(schedule, as_schedule(under))


METHODS["then"], METHODS["scale"] = Schedule.then, Schedule.scale
stretch = joint(method("stretch")(clocks.stretch))


@joint
def chain(*parts: Schedule | float) -> Schedule:
    """Schedules in sequence; the same as `a >> b >> …`."""
    return Chain(parts)  # type: ignore[arg-type]


@joint
def product(*parts: Schedule | float) -> Schedule:
    """The product of schedules on the same clock; the same as `a * b * …`."""
    return Product(parts)  # type: ignore[arg-type]


@joint
@method("clip")
def clip(schedule: Schedule, low: float | None = None, high: float | None = None, relative: bool = False) -> Schedule:
    """A schedule limited to values from `low` to `high`, either of which may be None: max(low, min(high, s(t))).

    With `relative`, the bounds are fractions of the schedule's peak.

    Raises:
        ValueError: without a bound, if `low` is above `high`, or if the peak is unknown because the schedule has no end.
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a schedule, got {shown(schedule)}")
    bounds = {name: number(name, bound) for name, bound in (("low", low), ("high", high)) if bound is not None}
    if not bounds:
        raise ValueError("clip needs a bound: give low, high, or both")
    if len(bounds) == 2 and bounds["low"] > bounds["high"]:
        raise ValueError(f"low must not be above high, got {low!r} and {high!r}")
    if flag("relative", relative):
        top = peak(schedule)
        bounds = {name: bound * top for name, bound in bounds.items()}
    if "high" in bounds:
        schedule = Minimum((schedule, Constant(bounds["high"])))
    return Maximum((schedule, Constant(bounds["low"]))) if "low" in bounds else schedule


@joint
def splice(before: Schedule, after: Schedule | float, at: int) -> Schedule:
    """Switch from `before` to `after` at update `at`, both on the same clock: before(t) for t < at, then after(t)."""
    return Overlay(Take(before, at), as_schedule(after))


@method("warmup")
def warmup(
    schedule: Schedule | float,
    length: Span,
    start: float | None = None,
    *,
    how: Literal["then", "overlay", "times"] = "then",
    shape: str = "linear",
    first: bool = False,
) -> Schedule:
    """A warmup joined to any schedule, in three ways.

    With W = length and s the schedule:

    - `then`: from `start` to s(0) over W updates, after which s begins: at t ≥ W the value is s(t - W).
    - `overlay`: s runs from t = 0, covered by a ramp from `start` to s(W) and uncovered at t = W.
    - `times`: s runs from t = 0, multiplied by a ramp from `start` (a factor, here) to 1.

    Args:
        schedule: s, or a number for a constant.
        length: W, in updates; 0 returns s itself.
        start: value (for `times`: factor) at t = 0; by default 0, and required for the shape "constant".
        how: "then", "overlay" or "times".
        shape: "constant" holds `start` during the warmup; else a name from `laju.core.shapes`.
        first: the ramp uses (t + 1)/W instead of t/W, so that no update is spent at `start`.

    Raises:
        ValueError: for an unknown `how`, or a constant warmup without a start.

    >>> from laju import linear
    >>> warmup(linear(1, 0, total=4), 2).values(6)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25])
    >>> warmup(linear(1, 0, total=4), 2, how="overlay").values(6)
    array([0.  , 0.25, 0.5 , 0.25, 0.  , 0.  ])
    >>> warmup(linear(1, 0, total=4), 2, how="times").values(6)
    array([0.   , 0.375, 0.5  , 0.25 , 0.   , 0.   ])
    """
    schedule = as_schedule(schedule, "schedule")
    length = span("length", length, zero=True)
    choice("how", how, ("then", "overlay", "times"))
    first = flag("first", first)
    if start is not None:
        start = number("start", start)
    elif shape == "constant":
        raise ValueError("start must be given for a constant warmup: the value that it holds, got None")
    if shape != "constant":
        shape = shapes.shape(shape).name
    if length == 0:
        return schedule
    until = 1.0 if how == "times" else value_at(schedule, 0 if how == "then" else length, "length")
    start = start or 0.0
    top: Schedule = Constant(start, length) if shape == "constant" else Ramp(start, until, length, shape, first)
    if how == "then":
        return Chain((top, schedule))
    if how == "overlay":
        return Overlay(top, schedule)
    return Product((top >> 1.0 if shape == "constant" else top, schedule))


def value_at(schedule: Schedule, at: Duration, name: str) -> float:
    """The schedule's value at a position, if no `RunPlan` can change that value; `name` is the argument's name in errors.

    Raises:
        UnresolvedError: if the value depends on the plan.
    """
    if isinstance(at, Length):
        if schedule.level is not None:
            return schedule.level
        raise UnresolvedError(
            f"{name} must be in updates, got {str(at)!r}: the schedule's value there depends on the run, unless it is constant"
        )
    return schedule._initial() if at == 0 else float(schedule(at))
