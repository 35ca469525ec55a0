"""optax: the functions of `optax.schedules`, called with the number of completed updates, as every optax optimizer does.

The most surprising behaviour:

- optax computes float32 values; the functions here have the same formulas in float64.
- `decay_steps` of `warmup_cosine_decay_schedule` includes the warmup; `transition_steps` of the exponential schedule does not.
- `exponential_decay` has no end unless there is an `end_value`, and a `decay_rate` of 0 gives a constant.
- `alpha` is relative to the first value; `end_value` is absolute.
- In compiled code a staircase may change an update late: XLA multiplies by 1/T in float32, and 47·(1/47) is less than 1. Here the
  changes are on time.
- A schedule joined by `join_schedules` counts from its own boundary.
- A length of 0 or less gives a constant, with a log message; `cosine_decay_schedule` refuses such a length.
- `warmup_constant_schedule` and all schedules with a warmup start from `init_value`, which has no default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from laju.core.checks import number, shown
from laju.core.pieces import Constant, Exponential, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import integer, real

Divisor = Annotated[float, real(nonzero=True)]

SYSTEM = System(
    name="optax",
    title="optax",
    package="optax",
    releases=("0.2.8",),
    counts="completed updates",
    refused={
        "inject_hyperparams": "it wraps an optimizer; laju's schedule is one of its hyper-parameters as it is",
        "inject_stateful_hyperparams": "it wraps an optimizer, and its hyper-parameters may follow metrics",
        "reduce_on_plateau": "it follows a metric; laju.adaptive.Plateau does the same as a factor",
    },
)  # fmt: skip


@SYSTEM.declare
def constant_schedule(value: float) -> Schedule:
    """Constant schedule.

    Args:
        value: value at every update.

    >>> constant_schedule(5)(100)
    5.0
    """
    return Constant(value)


@SYSTEM.declare
def polynomial_schedule(
    init_value: float,
    end_value: float,
    power: Annotated[float, real("optax's last value would be infinite", least=0)],
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """Polynomial transition, (init - end)·(1 - (t - B)/T)^power + end from update B to B + T; init before, end afterwards.

    Args:
        init_value, end_value: first and last value.
        power: exponent; with 0 the value is constant at init.
        transition_steps: T, number of updates; if T is 0 or less the value is constant at init.
        transition_begin: B, first update of the transition; a negative B is replaced by 0.

    >>> polynomial_schedule(1.0, 0.0, 2, 4, transition_begin=1).values(7)
    array([1.    , 1.    , 0.5625, 0.25  , 0.0625, 0.    , 0.    ])
    """
    init, end = init_value, end_value
    steps, begin = transition_steps, max(transition_begin, 0)
    if steps <= 0 or power == 0:
        return Constant(init)
    decay: Schedule = Ramp(init, end, steps, "linear" if power == 1 else f"power({power!r})")
    return Constant(init, begin) >> decay if begin else decay


@SYSTEM.declare
def linear_schedule(init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """Linear transition from init_value to end_value: `polynomial_schedule` with power 1.

    Args:
        init_value, end_value: first and last value.
        transition_steps: number of updates of the transition; if 0 or less the value is constant at init_value.
        transition_begin: first update of the transition.

    >>> linear_schedule(0.0, 1.0, 4).values(6)
    array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


@SYSTEM.declare
def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """Piecewise constant schedule: the first value times the scales of all boundaries ≤ t.

    Args:
        init_value: the first value.
        boundaries_and_scales: scale by boundary, an update; no boundaries by default.

    Raises:
        DialectError: if a scale is negative, which optax refuses.

    >>> piecewise_constant_schedule(1.0, {2: 0.5, 4: 0.1}).values(6)
    array([1.  , 1.  , 0.5 , 0.5 , 0.05, 0.05])
    """
    value, before = init_value, 0
    parts: list[Schedule] = []
    for boundary, scale in _scales(boundaries_and_scales):
        if boundary > before:
            parts.append(Constant(value, boundary - before))
            before = boundary
        value *= scale
    return _chained([*parts, Constant(value)])


@SYSTEM.declare
def piecewise_interpolate_schedule(
    interpolate_type: Literal["linear", "cosine"],
    init_value: float,
    boundaries_and_scales: Mapping[int, float] | None = None,
) -> Schedule:
    """Interpolation between boundaries; the value at a boundary is the previous boundary's value times the scale.

    Args:
        interpolate_type: "linear", or "cosine" for half a cosine wave.
        init_value: value at t = 0.
        boundaries_and_scales: scale by boundary, an update; no boundaries by default.

    Raises:
        DialectError: if a scale is negative, which optax refuses, or a boundary is negative.

    >>> piecewise_interpolate_schedule("linear", 1.0, {2: 0.5, 4: 0.0}).values(6)
    array([1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    value, before = init_value, 0
    parts: list[Schedule] = []
    for boundary, scale in _scales(boundaries_and_scales):
        if boundary < 0:
            raise DialectError(f"boundaries_and_scales must have boundaries of at least 0, got {boundary!r}")
        if boundary > before:
            parts.append(Ramp(value, value * scale, boundary - before, interpolate_type))
            before = boundary
        value *= scale
    return _chained([*parts, Constant(value)])


@SYSTEM.declare
def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: Annotated[float, real("optax's values would be NaN", least=0)],
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Exponential decay, init·decay_rate^((t - B)/T) from update B on, bounded by end_value.

    Args:
        init_value: the first value.
        transition_steps: T, number of updates; if T is 0 or less the value is constant at init.
        decay_rate: factor per T updates; with 0 the value is constant at init.
        transition_begin: B, first update of the decay; a negative B is replaced by 0.
        staircase: whether the exponent is rounded down to a whole number.
        end_value: lower bound of all values if decay_rate is below 1, otherwise upper bound; no bound by default.

    >>> exponential_decay(1.0, 2, 0.25, staircase=True, end_value=0.1).values(6)
    array([1.  , 1.  , 0.25, 0.25, 0.1 , 0.1 ])
    """
    init, rate = init_value, decay_rate
    steps, begin = transition_steps, max(transition_begin, 0)
    if steps <= 0 or rate == 0:
        return Constant(init)
    decay: Schedule = Exponential(init, rate, steps)
    decay = decay.staircase(steps) if staircase else decay
    decay = Constant(init, begin) >> decay if begin else decay
    if end_value is None:
        return decay
    end = end_value
    return decay.clip(low=end) if rate < 1 else decay.clip(high=end)


@SYSTEM.declare
def cosine_decay_schedule(
    init_value: float,
    decay_steps: Annotated[float, real("optax refuses it", above=0)],
    alpha: float = 0.0,
    exponent: Annotated[float, real("optax's last value would be infinite", least=0)] = 1.0,
) -> Schedule:
    """Cosine decay, init·((1 - α)·((1 + cos πt/T)/2)^exponent + α) in update t, and α·init after update T.

    Args:
        init_value: the first value.
        decay_steps: T, number of updates.
        alpha: α, the last value relative to the first value.
        exponent: exponent of the cosine, at least 0.

    >>> cosine_decay_schedule(1.0, 4, alpha=0.1).values(6).round(3)
    array([1.   , 0.868, 0.55 , 0.232, 0.1  , 0.1  ])
    """
    init = init_value
    steps = decay_steps
    if exponent == 0:
        return Constant(init)
    return Ramp(init, alpha * init, steps, "cosine" if exponent == 1 else f"cosine({exponent!r})")


@SYSTEM.declare
def linear_onecycle_schedule(
    transition_steps: Annotated[int, integer("optax refuses it", least=1)],
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: Divisor = 25.0,
    final_div_factor: Divisor = 1e4,
) -> Schedule:
    """Linear one-cycle schedule: from peak/div up to the peak, down to peak/div, and on to peak/(div·final_div).

    Phases end at update ⌊pct·transition_steps⌋. If two phases end at the same update, only the later scale has an effect.

    Args:
        transition_steps: number of updates of the cycle.
        peak_value: the maximum.
        pct_start: end of the first phase, as a fraction of transition_steps.
        pct_final: end of the second phase, as a fraction of transition_steps.
        div_factor: div, ratio of the peak to the first value.
        final_div_factor: final_div, ratio of the first value to the last value.

    Source: Smith and Topin, arXiv 1708.07120.

    >>> linear_onecycle_schedule(10, 1.0, 0.2, 0.8, div_factor=10).values(11)[[0, 2, 8]]
    array([0.1, 1. , 0.1])
    """
    steps, peak = transition_steps, peak_value
    div, final = div_factor, final_div_factor
    scales = {
        int(pct_start * steps): div,
        int(pct_final * steps): 1.0 / div,
        steps: 1.0 / final,
    }
    return piecewise_interpolate_schedule("linear", peak / div, scales)


@SYSTEM.declare
def cosine_onecycle_schedule(
    transition_steps: Annotated[int, integer("optax refuses it", least=1)],
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: Divisor = 25.0,
    final_div_factor: Divisor = 1e4,
) -> Schedule:
    """Cosine one-cycle schedule: from peak/div up to the peak, then down to peak/(div·final_div), each along half a cosine wave.

    Args:
        transition_steps: number of updates of the cycle.
        peak_value: the maximum, at update ⌊pct_start·transition_steps⌋.
        pct_start: length of the first phase, as a fraction of transition_steps.
        div_factor: div, ratio of the peak to the first value.
        final_div_factor: final_div, ratio of the first value to the last value.

    Source: Smith and Topin, arXiv 1708.07120.

    >>> cosine_onecycle_schedule(10, 1.0, 0.2, div_factor=10).values(11)[[0, 1, 2]].round(6)
    array([0.1 , 0.55, 1.  ])
    """
    steps, peak = transition_steps, peak_value
    div, final = div_factor, final_div_factor
    scales = {int(pct_start * steps): div, steps: 1.0 / (div * final)}
    return piecewise_interpolate_schedule("cosine", peak / div, scales)


@SYSTEM.declare
def warmup_constant_schedule(init_value: float, peak_value: float, warmup_steps: int) -> Schedule:
    """Linear warmup from init_value to peak_value in warmup_steps updates, then constant; without a warmup, init_value.

    >>> warmup_constant_schedule(0.0, 1.0, 2).values(4)
    array([0. , 0.5, 1. , 1. ])
    """
    return linear_schedule(init_value, peak_value, warmup_steps)


@SYSTEM.declare
def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: float,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Linear warmup from init_value to peak_value, then cosine decay to end_value.

    Args:
        init_value, peak_value, end_value: first value, value at the end of the warmup, and last value.
        warmup_steps: length of the warmup in updates.
        decay_steps: length of the warmup and the decay together, in updates.
        exponent: exponent of the cosine; see `cosine_decay_schedule`.

    Raises:
        DialectError: if decay_steps is not above warmup_steps, which optax refuses.

    >>> warmup_cosine_decay_schedule(0.0, 1.0, 2, 6).values(8).round(3)
    array([0.   , 0.5  , 1.   , 0.854, 0.5  , 0.146, 0.   , 0.   ])
    """
    peak, end = peak_value, end_value
    warmup = warmup_steps
    alpha = 0.0 if peak == 0 else end / peak
    decay = cosine_decay_schedule(peak, decay_steps - warmup, alpha, exponent)
    return join_schedules([linear_schedule(init_value, peak, warmup), decay], [warmup])


@SYSTEM.declare
def warmup_exponential_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """Linear warmup from init_value to peak_value, then `exponential_decay`, which counts from the end of the warmup.

    Args:
        init_value, peak_value: first value, and value at the end of the warmup.
        warmup_steps: length of the warmup in updates.
        transition_steps, decay_rate, transition_begin, staircase, end_value: arguments of `exponential_decay`.

    >>> warmup_exponential_decay_schedule(0.0, 1.0, 2, 1, 0.5).values(5)
    array([0.  , 0.5 , 1.  , 0.5 , 0.25])
    """
    warmup = warmup_steps
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules([linear_schedule(init_value, peak_value, warmup), decay], [warmup])


@SYSTEM.declare
def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Cosine decays with warm restarts, each a `warmup_cosine_decay_schedule` with its own arguments and decay_steps long.

    Args:
        cosine_kwargs: arguments of `warmup_cosine_decay_schedule` for each cycle.

    Raises:
        DialectError: if there is no cycle, or `warmup_cosine_decay_schedule` refuses the arguments.

    Source: Loshchilov and Hutter, arXiv 1608.03983.

    >>> cycle = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 1, "decay_steps": 3}
    >>> sgdr_schedule([cycle, cycle]).values(6)
    array([0. , 1. , 0.5, 0. , 1. , 0.5])
    """
    cycles = [dict(kwargs) for kwargs in cosine_kwargs]
    if not cycles:
        raise DialectError("cosine_kwargs must have at least one cycle, got none")
    try:
        schedules = [warmup_cosine_decay_schedule(**kwargs) for kwargs in cycles]
    except TypeError as error:
        raise DialectError(f"cosine_kwargs do not suit warmup_cosine_decay_schedule: {error}") from None
    ends, step = [], 0
    for kwargs in cycles:
        step += _steps("decay_steps", kwargs["decay_steps"])
        ends.append(step)
    return join_schedules(schedules, ends[:-1])


@SYSTEM.declare
def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Schedules in sequence, each of which counts from its own boundary.

    Args:
        schedules: schedules, or numbers for constant schedules.
        boundaries: the update at which the second and each later schedule begins; if boundaries decrease, the later schedule
            wins.

    Raises:
        DialectError: if there are no schedules, or the number of boundaries is not one less than the number of schedules
            (optax ignores surplus schedules or boundaries).

    >>> join_schedules([constant_schedule(1.0), linear_schedule(0.5, 0.0, 2)], [2]).values(5)
    array([1.  , 1.  , 0.5 , 0.25, 0.  ])
    """
    given = [part if isinstance(part, Schedule) else Constant(number("a schedule", part)) for part in schedules]
    ends = boundaries
    if not given or len(ends) != len(given) - 1:
        raise DialectError(f"boundaries must be one fewer than the {len(given)} schedules, got {len(ends)}")
    parts: list[Schedule] = []
    limit: float = math.inf
    # optax lets every boundary that is passed override what the list had before it: from the last schedule back, each gets the
    # updates that the later ones have left.
    for begin, part in zip(reversed([0, *ends]), reversed(given), strict=True):
        first = max(begin, 0)
        if first < limit:
            # A schedule that begins before update 0 has already advanced.
            own = part.shift(begin) if begin < 0 else part
            parts.append(own if limit == math.inf else own.take(int(limit) - first))
            limit = first
    return _chained(parts[::-1])


def _chained(parts: list[Schedule]) -> Schedule:
    schedule = parts[-1]
    for part in reversed(parts[:-1]):
        schedule = part >> schedule
    return schedule


def _steps(name: str, value: Any) -> int:
    found = number(name, value)
    if found != int(found):
        raise DialectError(f"{name} must be a whole number, got {shown(value)}")
    return int(found)


def _scales(given: Mapping[Any, float] | None) -> list[tuple[int, float]]:
    pairs = sorted((_steps("a boundary", key), number("a scale", value)) for key, value in (given or {}).items())
    if any(scale < 0 for _, scale in pairs):
        raise DialectError(f"boundaries_and_scales must have scales that are not negative, got {shown(dict(pairs))}")
    return pairs
