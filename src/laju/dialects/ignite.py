"""PyTorch-Ignite: the parameter schedulers of `ignite.handlers.param_scheduler`, attached to `Events.ITERATION_STARTED`.

Event t sets the value of update t, so no value is late. The most surprising behaviour:

- `LRScheduler` around a torch scheduler that multiplies evaluates the scheduler once too often at the first event:
  `ExponentialLR` begins at lr·γ, `LinearLR` permanently at lr times the square of its first factor, and `CosineAnnealingLR` above
  lr.
- The same wrapper skips the first value of `CosineAnnealingWarmRestarts`, and never moves `SWALR`.
- `create_lr_scheduler_with_warmup` reaches the end value at event warmup_duration - 1, and inserts an event if the end value
  differs from the first value of the torch scheduler.
- ignite rounds the length of every cycle down to whole events: a `cycle_mult` of 1.1 never lengthens a cycle of 9.

The functions here have no argument for the optimizer; `param_name`, `save_history` and `param_group_index` have no effect on the
values.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from laju.core.algebra import Chain, Sum
from laju.core.checks import number, shown
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects import torch as _torch
from laju.dialects._torch_rules import Group, TorchRule, rule_of
from laju.dialects.base import Dialect, DialectError, System
from laju.dialects.declared import Count, From0, Made, NoClosedForm, Rate, SystemSchedule, exactly, integer, made


class _WithTorch(System):
    """ignite with torch's schedulers, which may be arguments of ignite's schedulers in a text."""

    def scheduler(self, name: str) -> Dialect:
        theirs = _torch.SYSTEM
        if name in theirs.schedulers or name in theirs.refused:
            return theirs.scheduler(name)
        return super().scheduler(name)


SYSTEM = _WithTorch(
    name="ignite",
    title="PyTorch-Ignite",
    package="pytorch-ignite",
    releases=("0.5.5",),
    counts="events to which the scheduler is attached, ITERATION_STARTED by default",
    unit="either",
    refused={
        "ParamGroupScheduler": "it is several schedules, one for each parameter group; read them one by one",
        "ReduceLROnPlateauScheduler": "it follows a metric; laju.adaptive.Plateau does the same as a factor",
        "BatchSizeScheduler": "it is any function of one's own, of the batch size; laju.RunPlan has a batch_ramp",
    },
)
"""The system that `laju.dialects.read` and `laju convert` know as ignite."""


@SYSTEM.declare
def LinearCyclicalScheduler(
    param_name: str,
    start_value: float,
    end_value: float,
    cycle_size: Annotated[int, integer("ignite requires it", least=2)],
    cycle_mult: From0 = 1.0,
    start_value_mult: float = 1.0,
    end_value_mult: float = 1.0,
    warmup_duration: Count = 0,
    save_history: bool = False,
    param_group_index: int | None = None,
    *,
    monotonic: bool = False,
) -> Made:
    """Triangular cycles from start to end and back: end + (start - end)·|2u/n - 1| at event u of a cycle of n events.

    With `monotonic` a cycle is a line from start to end. After each cycle the length and both values are multiplied. Values are
    within 4 + 2·(completed cycles) ulp of ignite's, relative to the larger end.

    Args:
        param_name: any name; no effect.
        start_value: value at the beginning of the first cycle.
        end_value: value in the middle of the first cycle, or at its end if `monotonic`.
        cycle_size: n, number of events of the first cycle, at least 2.
        cycle_mult: ratio of the lengths of successive cycles; lengths are rounded down to whole events. Below 1, cycles shrink to
            a length of 0, by which ignite divides; here the last value then holds.
        start_value_mult, end_value_mult: factors of the start value and of the end value after each cycle.
        warmup_duration: number of events between two cycles, from the end value to the next start value; only with `monotonic`.
        save_history, param_group_index: no effect.
        monotonic: whether a cycle only goes from start to end, and not back.

    Raises:
        DialectError: if the cycle has fewer than 2 events, `warmup_duration` is given without `monotonic`, or `cycle_mult` is
            negative.

    >>> LinearCyclicalScheduler("lr", 0.0, 1.0, cycle_size=4).values(6)
    array([0. , 0.5, 1. , 0.5, 0. , 0.5])
    """
    if warmup_duration > 0 and not monotonic:
        raise DialectError("warmup_duration needs monotonic=True, as ignite requires, or must be 0")

    def value(start: float, end: float, p: float) -> float:
        return start + (end - start) * p if monotonic else end + (start - end) * abs(p - 0.5) * 2

    def curve(start: float, end: float, n: int) -> Schedule:
        return Ramp(start, end, n) if monotonic else Ramp(start, end, n / 2) >> Ramp(end, start, n / 2)

    lengths, mults = (cycle_size, warmup_duration), (cycle_mult, start_value_mult, end_value_mult)
    return _cyclical(start_value, end_value, lengths, mults, value, curve)


@SYSTEM.declare
def CosineAnnealingScheduler(
    param_name: str,
    start_value: float,
    end_value: float,
    cycle_size: Annotated[int, integer("ignite requires it", least=2)],
    cycle_mult: From0 = 1.0,
    start_value_mult: float = 1.0,
    end_value_mult: float = 1.0,
    warmup_duration: Count = 0,
    save_history: bool = False,
    param_group_index: int | None = None,
) -> Made:
    """Cosine change from start to end with restarts: start + (end - start)·(1 - cos(π·u/n))/2 at event u of a cycle of n events.

    Arguments, errors and precision are described in `LinearCyclicalScheduler`. Without a warmup no event has the end value: the
    last event of a cycle is u = n - 1.

    >>> CosineAnnealingScheduler("lr", 1.0, 0.0, cycle_size=2, warmup_duration=2).values(6).round(3)
    array([1. , 0.5, 0. , 0.5, 1. , 0.5])
    """

    def value(start: float, end: float, p: float) -> float:
        return start + (end - start) / 2 * (1 - math.cos(math.pi * p))

    def curve(start: float, end: float, n: int) -> Schedule:
        return Ramp(start, end, n, "cosine")

    lengths, mults = (cycle_size, warmup_duration), (cycle_mult, start_value_mult, end_value_mult)
    return _cyclical(start_value, end_value, lengths, mults, value, curve)


@SYSTEM.declare
def PiecewiseLinear(
    param_name: str,
    milestones_values: Any,
    save_history: bool = False,
    param_group_index: int | None = None,
) -> Schedule:
    """Piecewise linear interpolation of points (event, value), constant before the first and after the last point.

    If two points have the same event, the later point gives the value, and the schedule jumps. Values are within 4 ulp of
    ignite's, relative to the larger end of a line.

    Args:
        param_name: any name; no effect.
        milestones_values: tuples (event, value) whose events do not decrease.
        save_history, param_group_index: no effect.

    Raises:
        DialectError: if there are no points, a point is not a tuple (event, value), or events decrease.

    >>> PiecewiseLinear("lr", [(2, 0.0), (4, 1.0), (4, 0.5)]).values(6)
    array([0. , 0. , 0. , 0.5, 0.5, 0.5])
    """
    if isinstance(milestones_values, str) or not isinstance(milestones_values, Sequence):
        raise TypeError(
            f"milestones_values must be a list such as [(0, 0.1), (10, 0.0)], got {shown(milestones_values)}"
        )
    if not milestones_values:
        raise DialectError("milestones_values must have at least one (event, value), as ignite requires, got none")
    at: list[int] = []
    levels: list[float] = []
    for i, pair in enumerate(milestones_values):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise DialectError(
                f"milestones_values[{i}] must be a tuple (event, value), as ignite requires, got {shown(pair)}"
            )
        if not isinstance(pair[0], numbers.Integral):
            raise DialectError(f"milestones_values[{i}][0] must be an int, as ignite requires, got {shown(pair[0])}")
        if at and pair[0] < at[-1]:
            raise DialectError(f"milestones_values must not decrease, as ignite requires, got {pair[0]} after {at[-1]}")
        at.append(int(pair[0]))
        levels.append(number(f"milestones_values[{i}][1]", pair[1]))
    parts: list[Schedule] = [Constant(levels[0], at[0])] if at[0] > 0 else []
    for k in range(len(at) - 1):
        ramp = Ramp(levels[k], levels[k + 1], at[k + 1] - at[k])
        if at[k + 1] > max(at[k], 0):
            parts.append(
                ramp if at[k] >= 0 else ramp.shift(at[k])
            )  # a ramp that began before event 0 is joined on its way
    return Chain((*parts, Constant(levels[-1], 0)))


@SYSTEM.declare
def ConcatScheduler(
    schedulers: Sequence[Schedule],
    durations: Sequence[Any],
    save_history: bool = False,
) -> Made:
    """Schedulers in sequence, each of which counts from 0 and has a duration; the last scheduler has no end.

    A duration of 0 skips the first scheduler. In ignite a negative duration, or a duration of 0 of a later scheduler, never ends,
    so the schedulers after it are never used. An `LRScheduler` that multiplies continues from the current value.

    Args:
        schedulers: at least two schedules made by functions of this module.
        durations: number of events of each scheduler but the last.
        save_history: no effect.

    Raises:
        DialectError: if there are fewer than two schedulers, the number of durations is not one less, a duration is not an int,
            or there are several `LRScheduler`s, which share the state of torch's optimizer.

    >>> ConcatScheduler([PiecewiseLinear("lr", [(0, 0.0), (2, 1.0)]), PiecewiseLinear("lr", [(0, 0.5)])], [3]).values(5)
    array([0. , 0.5, 1. , 0.5, 0.5])
    """
    if isinstance(schedulers, str) or not isinstance(schedulers, Sequence):
        raise TypeError(f"schedulers must be a list of schedules, got {shown(schedulers)}")
    for i, schedule in enumerate(schedulers):
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedulers[{i}] must be a schedule of this module's functions, got {shown(schedule)}")
        if _by(schedule, "torch"):
            raise DialectError(f"schedulers[{i}] is one of torch's; ignite takes it inside LRScheduler(…)")
    if len(schedulers) < 2:
        raise DialectError(f"schedulers must have at least two schedulers, as ignite requires, got {len(schedulers)}")
    if not isinstance(durations, list | tuple):
        raise TypeError(f"durations must be a list or tuple of ints, got {shown(durations)}")
    if not all(isinstance(n, numbers.Integral) for n in durations):
        raise DialectError(f"durations must be ints, as ignite requires, got {shown(durations)}")
    if len(durations) != len(schedulers) - 1:
        raise DialectError(
            f"durations must be one fewer than the schedulers, so {len(schedulers) - 1}, got {len(durations)}"
        )
    if sum(_by(schedule, "ignite", "LRScheduler") for schedule in schedulers) > 1:
        raise DialectError(
            "schedulers must not have more than one LRScheduler: each changes the rate from which the next would continue"
        )
    parts: list[Schedule] = []
    ends = [*map(int, durations), -1]
    for k, n in enumerate(ends):
        if k == 0 and n == 0:
            continue
        part: Any = schedulers[k]
        if parts and _by(part, "ignite", "LRScheduler"):
            before: Any = Chain(tuple(parts))
            part = part.rule.found(before(before.length - 1))
        parts.append(part.take(n) if n > 0 else part)
        if n <= 0:
            break
    opening: Any = schedulers[0 if ends[0] else 1]
    return Made(Chain(tuple(parts)) if len(parts) > 1 else parts[0], opening.rule if _by(opening, "ignite") else None)


@SYSTEM.declare
def LRScheduler(lr_scheduler: Schedule, save_history: bool = False, use_legacy: bool = False) -> Made:
    """A torch scheduler that is evaluated at the beginning of every update, instead of stepped at the end.

    The first event evaluates epoch 0 a second time, so the learning rate is multiplied twice: by γ (`ExponentialLR`), by the
    first factor (`LinearLR`, `ConstantLR`), by (n/(n + 1))^power (`PolynomialLR`), by 2/(1 + cos(π/T_max)) above `eta_min`
    (`CosineAnnealingLR`, at the first event only). `CosineAnnealingWarmRestarts` begins with its second value; `SWALR` never
    moves. `LambdaLR`, `StepLR`, `CyclicLR` and `OneCycleLR` are as in torch.

    Args:
        lr_scheduler: a schedule made by a function of `laju.dialects.torch`.
        save_history: no effect.
        use_legacy: whether the scheduler is attached to `Events.ITERATION_COMPLETED`, with which the values are torch's own.

    Raises:
        DialectError: if the schedule was not made by `laju.dialects.torch`, or is a `SequentialLR` or `ChainedScheduler`, which
            ignite cannot evaluate.

    >>> from laju.dialects import torch
    >>> LRScheduler(torch.ExponentialLR(1.0, gamma=0.5)).values(3)
    array([0.5  , 0.25 , 0.125])
    """
    rule = _rule(lr_scheduler)
    goes_on = rule.multiplies or rule.name in ("CosineAnnealingLR", "SWALR")

    def closed() -> Schedule:
        return _past(rule, 0) if use_legacy else _found(rule, _fresh(rule)[1].lr)

    def found(before: float) -> Schedule:
        return _found(rule, before) if goes_on else closed()

    return made(closed, lambda n: _asked(rule, n, int(use_legacy), own=use_legacy), PartFacts(found=found))


@SYSTEM.declare
def create_lr_scheduler_with_warmup(
    lr_scheduler: Schedule,
    warmup_start_value: float,
    warmup_duration: Annotated[int, exactly(int, "ignite requires it", least=2)],
    warmup_end_value: float | None = None,
    save_history: bool = False,
    output_simulated_values: None = None,
    *,
    lr: Rate | None = None,
) -> Schedule | Made:
    """Linear warmup from a start to an end value in `warmup_duration` events, whose last has the end value; then a scheduler.

    If the first value of an ignite scheduler equals the end value, the last event of the warmup is the first of the scheduler, so
    the value does not occur twice. If the first value of a torch scheduler differs from the end value, an additional event
    after the warmup has that first value.

    Args:
        lr_scheduler: a schedule made by a function of this module or of `laju.dialects.torch`.
        warmup_start_value: value at event 0.
        warmup_duration: number of events of the warmup, an int of at least 2.
        warmup_end_value: value at the end of the warmup; by default the first value of a torch scheduler, or else the
            optimizer's learning rate.
        save_history, output_simulated_values: no effect.
        lr: the optimizer's learning rate; only needed if `warmup_end_value` is not given and the scheduler has no learning rate.

    Raises:
        DialectError: if the duration is not an int of at least 2, neither an end value nor a learning rate is given, or ignite
            cannot evaluate the scheduler.

    >>> cosine = CosineAnnealingScheduler("lr", 1.0, 0.0, cycle_size=4)
    >>> create_lr_scheduler_with_warmup(cosine, 0.0, warmup_duration=3, warmup_end_value=1.0).values(6).round(3)
    array([0.   , 0.5  , 1.   , 0.854, 0.5  , 0.146])
    """
    if not isinstance(lr_scheduler, Schedule):
        raise TypeError(
            f"lr_scheduler must be a schedule of this module's functions or of torch's, got {shown(lr_scheduler)}"
        )
    if not isinstance(warmup_duration, int) or not warmup_duration > 1:
        raise DialectError(
            f"warmup_duration must be an int of at least 2, as ignite requires, got {shown(warmup_duration)}"
        )
    start = warmup_start_value
    end = warmup_end_value
    if _by(lr_scheduler, "ignite", "LRScheduler"):
        raise DialectError(
            "lr_scheduler must not be wrapped in LRScheduler: give torch's scheduler itself, which ignite wraps"
        )
    if _by(lr_scheduler, "torch"):
        rule = _rule(lr_scheduler)
        _, group = _fresh(rule)
        first = group.lr
        points = [(0, start), (warmup_duration - 1, first if end is None else end)]
        if points[-1][1] != first:
            points.append((warmup_duration, first))
        length = points[-1][0] + 1

        def replay(n: int) -> list[float]:
            at, levels = zip(*points, strict=True)
            rising = [_through(at, levels, t) for t in range(min(n, length))]
            return [*rising, *_asked(rule, n - length, 1, found=rising[-1])] if n > length else rising

        return made(lambda: PiecewiseLinear("lr", points).take(length) >> _past(rule, 1), replay)
    if end is None:
        if lr is None:
            raise DialectError(
                "warmup_end_value is the optimizer's rate by default, which is not known: give warmup_end_value or lr"
            )
        end = lr
    points = [(0, start), (warmup_duration - 1, end)]
    # ignite compares its own first value, which rounding may have moved away from the requested value.
    rule = getattr(lr_scheduler, "rule", None)
    first = rule.first if isinstance(rule, PartFacts) and rule.first is not None else lr_scheduler(0)
    if first == end:
        if warmup_duration > 2:
            points[-1] = (warmup_duration - 2, end - (end - start) / (warmup_duration - 1))
        else:
            points.pop()
    return ConcatScheduler([PiecewiseLinear("lr", points), lr_scheduler], [points[-1][0] + 1])


Value = Callable[[float, float, float], float]
Curve = Callable[[float, float, int], Schedule]


@dataclass(frozen=True)
class PartFacts:
    """Facts about a scheduler that ignite's composite schedulers need.

    Args:
        first: the first value in ignite's own arithmetic; None if equal to the schedule's first value.
        found: function of the current learning rate that returns the schedule; None if the part ignores the current rate.
    """

    first: float | None = None
    found: Callable[[float], Schedule] | None = None


def _by(schedule: Any, system: str, name: str | None = None) -> bool:
    """Return whether a schedule was made by a scheduler of the system, and with the name if given."""
    return isinstance(schedule, SystemSchedule) and schedule.system == system and name in (None, schedule.name)


# --- cycles --------------------------------------------------------------------------------------------------------


def _cyclical(
    start: float, end: float, lengths: tuple[int, int], mults: tuple[float, float, float], value: Value, curve: Curve
) -> Made:
    """Cycles with `lengths` (of the cycle and of the warmup after it); `mults` multiply the lengths and the values."""
    growth, rise, fall = mults

    def cycle(start: float, end: float, size: int, warmup: int) -> Schedule:
        one = curve(start, end, size)
        return one >> Ramp(end, start * rise, warmup) if warmup else one

    def repeated(start: float, end: float, size: int, warmup: int, growth: int = 1) -> Schedule:
        if rise == fall == 1:
            return cycle(start, end, size, warmup).repeat(growth=growth)
        # Start and end are multiplied by different factors, which no single repetition does: the curve is linear in both, so it
        # is the sum of a curve from the start to 0 and a curve from 0 to the end, each with its own decay.
        apart = [cycle(start, 0.0, size, warmup).repeat(growth=growth, decay=rise)]
        apart.append(cycle(0.0, end, size, warmup).repeat(growth=growth, decay=fall))
        return Sum(tuple(apart))

    def closed() -> Schedule:
        if (rise <= 0 or fall <= 0) and start * end:
            raise NoClosedForm("a start_value_mult or end_value_mult of 0 or less has no closed form")
        if growth >= 1 and growth == int(growth):
            return repeated(start, end, *lengths, int(growth))
        # Lengths are cut to whole events, so no formula gives the lengths; but cycles end, or grow so quickly that a few are all.
        parts: list[Schedule] = []
        begin, top, bottom, (size, warmup) = 0, start, end, lengths
        while size and begin < 2**48:
            after = int(size * growth), int(warmup * growth)
            if after == (size, warmup):
                return Chain((*parts, repeated(top, bottom, size, warmup)))
            if len(parts) == 2000:
                raise NoClosedForm(
                    f"cycle_mult={growth!r} gives more than 2000 cycles of different lengths, which have no closed form"
                )
            parts.append(cycle(top, bottom, size, warmup).take(size + warmup))
            begin += size + warmup
            top, bottom, (size, warmup) = top * rise, bottom * fall, after
        # A last cycle that no run comes to the end of leaves the whole without an end.
        return Chain((*parts, repeated(top, bottom, size, warmup)) if size else tuple(parts))

    def replay(n: int) -> list[float]:
        return list(itertools.islice(_cycles(start, end, *lengths, mults, value), n))

    return made(closed, replay, PartFacts(first=value(start, end, 0.0)))


def _cycles(
    start: float, end: float, size: int, warmup: int, mults: tuple[float, float, float], value: Callable[..., float]
) -> Iterator[float]:
    """Yield ignite's values in ignite's own arithmetic, up to a division by 0."""
    growth, rise, fall = mults
    while size:
        for u in range(size):
            yield value(start, end, u / size)
        start *= rise
        for u in range(size, size + warmup):
            yield value(start, end, u / size) if u == size else end + (start - end) * ((u - size) / warmup)
        size, warmup, end = int(size * growth), int(warmup * growth), end * fall


def _through(at: Sequence[int], levels: Sequence[float], t: int) -> float:
    """Return ignite's value at event t of lines through points, in ignite's own arithmetic."""
    if t < at[0]:
        return levels[0]
    k = max(k for k, m in enumerate(at) if m <= t)
    if k == len(at) - 1:
        return levels[-1]
    return levels[k] + (levels[k + 1] - levels[k]) * (t - at[k]) / (at[k + 1] - at[k])


# --- torch's schedulers inside ignite's -----------------------------------------------------------------------------


def _rule(schedule: Schedule) -> Any:
    rule = rule_of(schedule)
    if not isinstance(rule, TorchRule):
        raise DialectError(f"ignite cannot evaluate torch's {rule.name}, so ignite raises at the first event")
    return rule


def _fresh(rule: Any) -> tuple[Any, Any]:
    """Construct a scheduler, and return the scheduler and its parameter group."""
    group = Group(rule.lr or 0.0)
    return rule.make(group), group


def _next(rule: Any, running: Any, epoch: int) -> float:
    """Return the rate of torch's `get_lr` without a step."""
    if rule.name == "SWALR":  # which counts its own steps
        epoch = 0
    if rule.name == "CosineAnnealingLR" and epoch > 0:
        return float(rule.direct(running.base, epoch))
    return float(rule.advance(running.group, running.base, epoch, False))


def _asked(rule: Any, n: int, epoch: int, *, found: float | None = None, own: bool = False) -> tuple[float, ...]:
    """Return the first rates of a wrapped scheduler from an epoch on, after the rate `found`; `own` adds torch's first rate."""
    running, group = _fresh(rule)
    group.lr = group.lr if found is None else found
    restarts = rule.name == "CosineAnnealingWarmRestarts"
    values = [float(group.lr)] if own else []
    epoch = 1 if restarts else epoch
    while len(values) < n:
        try:
            group.lr = _next(rule, running, epoch)
        except (DialectError, ZeroDivisionError):
            if not values:
                raise DialectError(f"torch divides by 0 when ignite evaluates {rule.name} at the first event") from None
            break
        values.append(float(group.lr))
        epoch += 1
    return tuple(values)


def _found(rule: Any, lr: float) -> Schedule:
    """Return the schedule of a wrapped scheduler at whose first event the optimizer's rate is `lr`."""
    (first,) = _asked(rule, 1, 0, found=lr)
    if rule.name == "SWALR":
        return Constant(first)
    if rule.name == "CosineAnnealingLR":
        return Constant(first, 1) >> rule.closed(rule.lr).shift(-1)  # type: ignore[no-any-return]
    if rule.name == "CosineAnnealingWarmRestarts":
        return rule.closed(rule.lr).shift(-1)  # type: ignore[no-any-return]
    if not rule.multiplies:
        return rule.schedule()  # type: ignore[no-any-return]
    # A rate of 1 becomes the scheduler's factor at 0 when the scheduler is made.
    group = Group(1.0)
    rule.make(group)
    return rule.closed(first / group.lr if group.lr else 0.0)  # type: ignore[no-any-return]


def _past(rule: Any, epoch: int) -> Schedule:
    """Return the schedule of a wrapped scheduler that continues from torch's own rate at an epoch."""
    if rule.name == "SWALR":
        return Constant(_fresh(rule)[1].lr)
    schedule: Schedule = rule.schedule()
    return schedule.shift(-epoch) if epoch else schedule
