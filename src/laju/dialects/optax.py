"""optax: the functions of `optax.schedules`, called with the number of completed updates, as every optax optimizer does.

The most surprising behaviour:

- Values are float32, also in the table that a schedule is; these are the same formulas in float64.
- `decay_steps` of `warmup_cosine_decay_schedule` includes the warmup; `transition_steps` of the exponential schedule does not.
- `exponential_decay` without `staircase` goes on for ever unless there is an `end_value`, and a rate of 0 switches it off.
- `alpha` is a share of the first value, `end_value` is absolute.
- Compiled, a staircase may come an update late: XLA multiplies by 1/T in float32, and 47·(1/47) is less than 1. Here the steps
  are on time.
- A schedule joined by `join_schedules` counts from its own boundary.
- A non-positive length makes a constant, with a log line; `cosine_decay_schedule` refuses such a length.
- `warmup_constant_schedule` and the other schedules with a warmup start from `init_value`, which has no default.
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
    """The value, always.

    >>> constant_schedule(5)(100)
    5.0
    """
    return Constant(value)


@SYSTEM.declare
def polynomial_schedule(
    init_value: float,
    end_value: float,
    power: Annotated[float, real("optax's last value is then infinite", least=0)],
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """(init - end)·(1 - (t - B)/T)^power + end from update B to B + T; init before, end after.

    Args:
        init_value, end_value: first and last value.
        power: of the decay; 0 leaves init for ever.
        transition_steps: T; a T that is not above 0 leaves init for ever.
        transition_begin: B; a negative B is taken for 0.

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
    """`polynomial_schedule` with power 1.

    >>> linear_schedule(0.0, 1.0, 4).values(6)
    array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


@SYSTEM.declare
def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """The first value times the scales of all boundaries that t has reached.

    Raises:
        DialectError: a negative scale, which optax refuses.

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
    """From each boundary's value to the next value, linearly or by half a cosine; the values are multiplied by the scales.

    Raises:
        DialectError: a negative scale, which optax refuses; a negative boundary, which means nothing.

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
    decay_rate: Annotated[float, real("optax's values are then no numbers", least=0)],
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """init·rate^((t - B)/T) from update B on, bounded by end_value.

    Args:
        init_value: the first value.
        transition_steps: T; a T that is not above 0 leaves init for ever.
        decay_rate: the factor of T updates; 0 leaves init for ever.
        transition_begin: B; a negative B is taken for 0.
        staircase: whole powers only.
        end_value: the least value for a rate below 1, else the largest, of the first value, too.

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
    exponent: Annotated[float, real("optax's last value is then infinite", least=0)] = 1.0,
) -> Schedule:
    """init·((1 - α)·((1 + cos πt/T)/2)^exponent + α) until T, then α·init.

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
    """From peak/div up to the peak, down to peak/div, and on to peak/(div·final_div), each linearly.

    Boundaries are ⌊pct·steps⌋. Of two boundaries that fall together the later scale alone counts.

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
    """From peak/div up to the peak in ⌊pct_start·steps⌋ updates, then down to peak/(div·final_div), each by half a cosine.

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
    """`linear_schedule` from init to the peak, which then holds; without steps init holds.

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
    """Linearly from init to the peak, then a cosine to end_value; `decay_steps` is the length of both together.

    Raises:
        DialectError: a decay that is not longer than the warmup, which optax refuses.

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
    """Linearly from init to the peak, then `exponential_decay`, whose lengths are counted from the end of the warmup.

    >>> warmup_exponential_decay_schedule(0.0, 1.0, 2, 1, 0.5).values(5)
    array([0.  , 0.5 , 1.  , 0.5 , 0.25])
    """
    warmup = warmup_steps
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules([linear_schedule(init_value, peak_value, warmup), decay], [warmup])


@SYSTEM.declare
def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """`warmup_cosine_decay_schedule` with each of the given arguments in turn; each cycle lasts its own decay_steps.

    Raises:
        DialectError: no cycle at all, or arguments that `warmup_cosine_decay_schedule` refuses.

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
    """Schedules in sequence, each on a clock from its own boundary. Of boundaries that do not rise, the later boundaries win.

    Raises:
        DialectError: no schedules, or another number of boundaries than between the schedules. (optax leaves out the surplus.)

    >>> join_schedules([constant_schedule(1.0), linear_schedule(0.5, 0.0, 2)], [2]).values(5)
    array([1.  , 1.  , 0.5 , 0.25, 0.  ])
    """
    given = [part if isinstance(part, Schedule) else Constant(number("a schedule", part)) for part in schedules]
    ends = boundaries
    if not given or len(ends) != len(given) - 1:
        raise DialectError(f"boundaries must be one fewer than the {len(given)} schedules, got {len(ends)}")
    parts: list[Schedule] = []
    limit: float = math.inf
    for begin, part in zip(reversed([0, *ends]), reversed(given), strict=True):
        first = max(begin, 0)
        if first < limit:
            # A boundary before 0 is over: its schedule is met on the way.
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
