"""Schedules whose time is changed: cut, shifted, stretched, held in steps, reversed, repeated, read in epochs or in data.

Clocks are integers as long as the user's lengths are, so boundaries and cycles are exact however late they come.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.arguments import is_number, number, shown, updates, whole
from laju.arrays import Namespace, counted
from laju.pieces import Function, Ramp, Rectification
from laju.schedule import At, Duration, Schedule, node, put, time
from laju.units import Length, RunPlan, Scale, nearest_update, unit


def _child(self: Any) -> None:
    if not isinstance(self.child, Schedule):
        raise TypeError(f"child must be a schedule, got {shown(self.child)}")


def finite(child: Schedule, what: str) -> Duration:
    length = child.length
    if length is None:
        raise ValueError(
            f"{what} needs a schedule with an end, but {shown(child)} has none; give it one with .take(length)"
        )
    return length


@node
class Take(Schedule):
    """The first `length` updates of a schedule, after which the value there holds: child(min(t, length))."""

    child: Schedule
    length: Duration = time()
    _method = "take"

    def __post_init__(self) -> None:
        _child(self)
        put(self, length=updates("length", self.length, real=True))

    def _scalar(self) -> At:
        child, length = self.child._scalar(), self.length
        return lambda t: child(t if t < length else length)

    def _array(self, t: Any, ns: Namespace) -> Any:
        return self.child._array(ns.upto(t, self.length), ns)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        end = min(stop, max(start, math.ceil(self.length)))
        if end == stop:
            return self.child._range(start, stop)
        return np.concatenate([self.child._range(start, end), np.full(stop - end, self.child._scalar()(self.length))])


@node
class Shift(Schedule):
    """A schedule `by` updates later, its first value held until then; a negative `by` skips its first updates."""

    child: Schedule
    by: int
    _method = "shift"

    def __post_init__(self) -> None:
        _child(self)
        by = self.by
        if not is_number(by) or not math.isfinite(by):
            raise TypeError(f"by must be a number of updates, got {shown(by)}")
        put(self, by=_integral(by))

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        if length is None:
            return None
        total = length + self.by
        return total if isinstance(total, Length) else max(total, 0)

    def _scalar(self) -> At:
        child, by = self.child._scalar(), self.by
        if by <= 0:
            return lambda t: child(t - by)
        return lambda t: child(t - by if t > by else 0)

    def _array(self, t: Any, ns: Namespace) -> Any:
        if self.by <= 0:
            return self.child._array(t + -self.by, ns)
        if not ns.reaches(self.by):
            return self.child._array(0 * t, ns)
        local = ns.minus(t, self.by)
        return self.child._array(ns.where(local > 0, local, 0 * local), ns)


@node
class Stretch(Schedule):
    """A schedule `by` times as long: child(t / by), for children whose lengths cannot be multiplied instead."""

    child: Schedule
    by: float

    def __post_init__(self) -> None:
        _child(self)
        put(self, by=number("by", self.by, above=0))

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        if length is None or isinstance(length, Length):
            return length if length is None else length * Fraction(self.by)
        return _integral(length * Fraction(self.by))

    def _scalar(self) -> At:
        child, by = self.child._scalar(), self.by
        return lambda t: child(t / by)

    def _array(self, t: Any, ns: Namespace) -> Any:
        return self.child._array(ns.real(t) / self.by, ns.of_floats())


def _integral(exact: Fraction | float) -> int | float:
    return int(exact) if exact == int(exact) else float(exact)


def stretch(child: Schedule, by: float) -> Schedule:
    """The schedule `by` times as long, s(t / by), with the factor multiplied into its lengths wherever that is exact.

    >>> stretch(Ramp(1, 0, 2), 2)
    Ramp(1.0, 0.0, 4)
    """
    by = number("by", by, above=0)
    if by == 1:
        return child
    if isinstance(child, Stretch):
        return stretch(child.child, child.by * by)
    if isinstance(child, Per | Function | Rectification | Clock) or (
        isinstance(child, Ramp) and (child.first or child.endpoint)
    ):
        return Stretch(child, by)
    if isinstance(child, Repeat) and child.growth != 1:
        return Stretch(child, by)
    if isinstance(child, Shift):
        return Shift(stretch(child.child, by), _integral(Fraction(child.by) * Fraction(by)))  # type: ignore[arg-type]

    def longer(length: Duration, kind: str) -> Duration:
        return length * Fraction(by) if isinstance(length, Length) else _integral(Fraction(length) * Fraction(by))

    return child._rebuild(lambda part: stretch(part, by), longer)


@node
class Staircase(Schedule):
    """The value of a schedule held for `every` updates at a time: child(every·⌊t/every⌋)."""

    child: Schedule
    every: Duration = time()
    _method = "staircase"

    def __post_init__(self) -> None:
        _child(self)
        put(self, every=updates("every", self.every, zero=False, real=True))

    @property
    def length(self) -> Duration | None:
        length: Any = self.child.length
        if length is None or isinstance(length, Length) or isinstance(self.every, Length):
            return length
        return -(-length // self.every) * self.every

    def _scalar(self) -> At:
        child, every = self.child._scalar(), self.every
        if every == 1:
            return lambda t: child(t // 1)
        return lambda t: child(t // every * every)

    def _array(self, t: Any, ns: Namespace) -> Any:
        # A step longer than the counter can count is never left.
        return self.child._array(ns.floor_divide(t, self.every) * self.every if ns.reaches(self.every) else 0 * t, ns)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        every = self.every
        if not isinstance(every, int) or stop <= start:
            return super()._range(start, stop)
        first, last = start // every, (stop - 1) // every
        steps, ns = counted(first, last + 1)
        return np.repeat(self.child._array(steps * every, ns), every)[start - first * every :][: stop - start]


@node
class Reverse(Schedule):
    """A schedule backwards in time, child(length - t), after which its first value holds."""

    child: Schedule
    _method = "reverse"

    def __post_init__(self) -> None:
        _child(self)
        finite(self.child, "reverse")

    @property
    def length(self) -> Duration | None:
        return self.child.length

    def _scalar(self) -> At:
        child, length = self.child._scalar(), self.child.length
        return lambda t: child(length - t if t < length else 0)

    def _array(self, t: Any, ns: Namespace) -> Any:
        length: Any = self.child.length
        if not ns.reaches(length):
            return self.child._array(ns.left(length, t), ns.of_floats())
        return self.child._array(length - ns.upto(t, length), ns)


@node
class Repeat(Schedule):
    """A schedule over and over, `count` times or for ever.

    Cycle i lasts growth^i times as long and is decay^i times as high; with `mirror`, every second one runs backwards.
    Cycles begin at whole updates, found with integers, so that no restart is missed or doubled however late it comes.
    """

    child: Schedule
    count: int | None = None
    growth: float = 1.0
    decay: float = 1.0
    mirror: bool = False
    _method = "repeat"

    def __post_init__(self) -> None:
        _child(self)
        if finite(self.child, "repeat") == 0:
            raise ValueError("repeat needs a schedule that lasts at least one update, got one of length 0")
        put(
            self,
            count=None if self.count is None else whole("count", self.count, least=1),
            growth=number("growth", self.growth, least=1),
            decay=number("decay", self.decay, above=0),
        )
        if not isinstance(self.mirror, bool):
            raise TypeError(f"mirror must be True or False, got {shown(self.mirror)}")

    @property
    def length(self) -> Duration | None:
        if self.count is None:
            return None
        period: Any = self.child.length
        if self.growth == 1:
            return period * self.count
        if isinstance(period, Length):
            return period * self._times(self.count)
        return self._begin(self.count)

    def _times(self, i: int) -> Fraction:
        growth = Fraction(self.growth)
        return Fraction(i) if growth == 1 else (growth**i - 1) / (growth - 1)

    def _begin(self, i: int) -> Any:
        """The update at which cycle i begins."""
        exact = Fraction(self.child.length) * self._times(i)  # type: ignore[arg-type]
        return _integral(exact) if self.growth == 1 else nearest_update(exact)

    @cached_property
    def _begins(self) -> list[int]:
        """Where growing cycles begin, up to 2^63."""
        begins = [0]
        while begins[-1] < 2**63 and (self.count is None or len(begins) <= self.count) and len(begins) <= 100_000:
            begins.append(self._begin(len(begins)))
        return begins

    def _cycle(self, i: int) -> Schedule:
        """Cycle i on its own clock."""
        child = self.child.reverse() if self.mirror and i % 2 else self.child
        if self.growth != 1:
            child = stretch(child, float(Fraction(self._begins[i + 1] - self._begins[i]) / Fraction(child.length)))  # type: ignore[arg-type]
        return child if self.decay == 1 else child * self.decay**i

    def _scalar(self) -> At:
        count, last = self.count, None if self.count is None else self.count - 1
        period: Any = self.child.length
        if self.growth == 1:
            decay = self.decay
            one = self.child._scalar()
            other = self.child.reverse()._scalar() if self.mirror else one

            def at(t: Any) -> float:
                i = t // period
                if count is not None and i >= count:
                    i, u = last, period
                else:
                    u = t - i * period
                value = other(u) if i % 2 else one(u)
                return value if decay == 1 else value * decay**i

            return at
        cycles: dict[int, At] = {}

        def growing(t: Any) -> float:
            begins = self._begins
            i = bisect.bisect_right(begins, t) - 1
            if count is not None and i >= count:
                i, t = last, begins[count]  # type: ignore[assignment]
            i = min(i, len(begins) - 2)
            if i not in cycles:
                cycles[i] = self._cycle(i)._scalar()
            return cycles[i](t - begins[i])

        return growing

    def _array(self, t: Any, ns: Namespace) -> Any:
        period: Any = self.child.length
        if self.count is not None:
            end = self._begin(self.count)
            last = self.count - 1
        if self.growth != 1:
            begins = [b for b in self._begins if ns.reaches(b)]
            if ns.host:
                i = np.minimum(np.searchsorted(begins, t, side="right") - 1, len(self._begins) - 2)
                if self.count is not None:
                    i, t = np.minimum(i, last), np.minimum(t, end)
                return ns.grouped(t, i, lambda k, u: self._cycle(k)._array(u - begins[k], ns))
            result = self._cycle(0)._array(t, ns)
            for k in range(1, min(len(begins), self.count or len(begins), len(self._begins) - 1)):
                local = ns.minus(t, begins[k])
                result = ns.where(local >= 0, self._cycle(k)._array(ns.where(local >= 0, local, 0 * local), ns), result)
            return result
        i = ns.floor_divide(t, period)
        u = (
            t - i * period
            if isinstance(period, int) and ns.reaches(period)
            else ns.real(t) - ns.real(i) * float(period)
        )
        if self.count is not None and ns.reaches(end):
            i, u = ns.where(t >= end, last + 0 * i, i), ns.where(t >= end, period + 0 * u, u)
        value = self.child._array(u, ns)
        if self.mirror:
            value = ns.where(i % 2 == 1, self.child.reverse()._array(u, ns), value)
        return value if self.decay == 1 else value * self.decay ** ns.real(i)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        period = self.child.length
        if self.growth != 1 or not isinstance(period, int) or self.mirror or stop - start <= period:
            return super()._range(start, stop)
        first = start // period
        cycles = -(-stop // period) - first
        values = np.tile(self.child._range(0, period), cycles)
        if self.decay != 1:
            values *= np.repeat(self.decay ** np.arange(first, first + cycles, dtype=np.float64), period)
        values = values[start - first * period :][: stop - start]
        if self.count is not None and self.count * period < stop:
            values[max(0, self.count * period - start) :] = self._scalar()(stop)
        return values


@node
class Per(Schedule):
    """A schedule whose own clock counts epochs (or another unit) of a run that is not known yet."""

    child: Schedule
    unit: str
    smooth: bool = False
    _method = "per"

    def __post_init__(self) -> None:
        _child(self)
        name = unit(self.unit)
        if name == "updates":
            raise ValueError("per('update') is the schedule itself; name a longer unit such as 'epoch'")
        if not isinstance(self.smooth, bool):
            raise TypeError(f"smooth must be True or False, got {shown(self.smooth)}")
        put(self, unit="%" if name == "%" else name[:-1])

    @cached_property
    def units(self) -> frozenset[str]:
        return self.child.units | {unit(self.unit)}

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        if length is None:
            return None
        own = unit(self.unit)
        if not isinstance(length, Length):
            return Length.of({own: Fraction(length)})
        amounts = dict(length.terms)
        amounts[own] = amounts.get(own, Fraction(0)) + amounts.pop("updates", Fraction(0))
        return Length.of(amounts)

    def _resolve(self, scale: Scale) -> Schedule:
        name = unit(self.unit)
        one = scale.updates(Length(((name, Fraction(1)),)))
        longer = stretch(self.child._resolve(scale.counted_in(name)), _integral(one))
        return longer if self.smooth or one < 1 else Staircase(longer, _integral(one))


@node
class Clock(Schedule):
    """A schedule that counts samples, read in updates: child(samples seen before update t).

    Args:
        child: on a clock of samples.
        pace: (first update, samples before it, samples an update) of every stretch with one batch size.

    >>> from laju import linear
    >>> Clock(linear(1, 0, total=8), [(0, 0, 1), (2, 2, 3)]).values(5)
    array([1.   , 0.875, 0.75 , 0.375, 0.   ])
    """

    child: Schedule
    pace: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        _child(self)
        if isinstance(self.pace, str) or not isinstance(self.pace, Iterable):
            raise TypeError(
                f"pace must be a sequence of (update, samples before it, samples an update), got {shown(self.pace)}"
            )
        pace = []
        for i, stretch in enumerate(self.pace):
            if not isinstance(stretch, tuple | list) or len(stretch) != 3:
                raise ValueError(
                    f"pace[{i}] must be (update, samples before it, samples an update), got {shown(stretch)}"
                )
            pace.append(
                (
                    whole(f"pace[{i}][0]", stretch[0]),
                    whole(f"pace[{i}][1]", stretch[1]),
                    whole(f"pace[{i}][2]", stretch[2], least=1),
                )
            )
        if not pace or pace[0][0] != 0 or any(b[0] < a[0] for a, b in itertools.pairwise(pace)):
            raise ValueError(f"pace must begin at update 0 and go on from there, got {shown(self.pace)}")
        put(self, pace=tuple(pace))

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        return None if length is None else self.update_at(length)

    def update_at(self, position: Any) -> int:
        """The first update at which the child's clock shows at least `position`."""
        begin, seen, each = [s for s in self.pace if s[1] < position or s[0] == 0][-1]
        return int(begin + max(0, math.ceil(Fraction(position - seen) / each)))

    def _scalar(self) -> At:
        child, pace, begins = self.child._scalar(), self.pace, [stretch[0] for stretch in self.pace]

        def at(t: Any) -> float:
            begin, seen, each = pace[bisect.bisect_right(begins, t) - 1]
            return child(seen + (t - begin) * each)

        return at

    def _array(self, t: Any, ns: Namespace) -> Any:
        exact = ns.reaches(self.pace[-1][1] * 4)  # a 32-bit counter cannot count the samples of a long run
        position: Any = None
        for begin, seen, each in self.pace:
            if not ns.reaches(begin):
                break
            after = t - begin
            here = seen + after * each if exact else float(seen) + ns.real(after) * float(each)
            position = here if position is None else ns.where(after >= 0, here, position)
        return self.child._array(position, ns if exact else ns.of_floats())


def on_data(schedule: Schedule, plan: RunPlan) -> Schedule:
    """A schedule in units of data as one in updates of a run with a batch ramp.

    Raises:
        ValueError: one formula counts updates and data at once.
    """
    return _on_data(schedule, plan, 0)


def _on_data(schedule: Schedule, plan: RunPlan, begin: int) -> Schedule:
    from laju.algebra import Chain, Take

    if not schedule.units:
        return schedule
    if not _counts_updates(schedule):
        return Clock(schedule._resolve(plan._data_scale), _pace_from(plan, begin))
    if not isinstance(schedule, Chain):
        raise ValueError(
            f"{shown(schedule)} counts updates and data at once, which a run with a batch_ramp cannot join"
        )
    parts: list[Schedule] = []
    for part in schedule.parts:
        placed = _on_data(part, plan, begin)
        if part is not schedule.parts[-1]:
            length: Any = placed.length
            placed = Take(placed, length) if part.units else placed
            begin += length
        parts.append(placed)
    return Chain(tuple(parts))


def _pace_from(plan: RunPlan, begin: int) -> tuple[tuple[int, int, int], ...]:
    """The pace of the run as seen from update `begin`, where both clocks show 0."""
    seen = plan.samples_before(begin)
    first = [stretch for stretch in plan.pace if stretch[0] <= begin][-1]
    later = [(t - begin, s - seen, each) for t, s, each in plan.pace if t > begin]
    return ((0, 0, first[2]), *later)


def _counts_updates(schedule: Schedule) -> bool:
    """Whether a length in plain updates is in it; those inside `per` count that unit."""
    from laju.algebra import Per

    if isinstance(schedule, Per):
        return False
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        if "time" in field.metadata and isinstance(value, int | float) and value:
            return True
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Schedule) and _counts_updates(child):
                return True
    return False
