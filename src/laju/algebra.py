"""Schedules made from schedules: one after another, combined on one clock, or with their time changed.

Clocks are integers as long as the user's lengths are, so boundaries and cycles are exact however late they come.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.arguments import is_number, number, shown, updates, whole
from laju.arrays import Namespace, counted
from laju.clocks import Clock
from laju.pieces import Constant, Function, Ramp, Rectification
from laju.schedule import At, Duration, Schedule, compiled, node, put, time
from laju.units import Length, Scale, nearest_update, unit


def _parts(kind: str, parts: Any, cls: type[Schedule] | None = None) -> tuple[Schedule, ...]:
    """The parts as schedules, nested ones of the same class laid flat."""
    if isinstance(parts, Schedule) or not isinstance(parts, Iterable):
        raise TypeError(f"parts of a {kind} must be a sequence of schedules, got {shown(parts)}")
    flat: list[Schedule] = []
    for i, part in enumerate(parts):
        if is_number(part):
            part = Constant(part)
        if not isinstance(part, Schedule):
            raise TypeError(f"parts[{i}] of a {kind} must be a schedule or a number, got {shown(part)}")
        flat.extend(part.parts if cls is not None and isinstance(part, cls) else (part,))  # type: ignore[attr-defined]
    if not flat:
        raise ValueError(f"parts of a {kind} must hold at least one schedule, got none")
    return tuple(flat)


def _child(self: Any) -> None:
    if not isinstance(self.child, Schedule):
        raise TypeError(f"child must be a schedule, got {shown(self.child)}")


def _finite(child: Schedule, what: str) -> Duration:
    length = child.length
    if length is None:
        raise ValueError(
            f"{what} needs a schedule with an end, but {shown(child)} has none; give it one with .take(length)"
        )
    return length


@node
class Chain(Schedule):
    """One schedule after another, each on its own clock: `a >> b` is a for its length, then b(t - length of a).

    At a boundary the new part is in force; parts of length 0 are skipped; after the end the last value holds.

    >>> from laju import constant, linear
    >>> (linear(0, 1, total=2) >> constant(1).take(1) >> linear(1, 0, total=2)).values(6)
    array([0. , 0.5, 1. , 1. , 0.5, 0. ])
    """

    parts: tuple[Schedule, ...]
    _operator = ">>"

    def __post_init__(self) -> None:
        put(self, parts=_parts("chain", self.parts, Chain))
        for i, part in enumerate(self.parts[:-1]):
            if part.length is None:
                raise ValueError(
                    f"only the last part of a chain may be endless, but part {i}, {shown(part)}, has no end; "
                    "give it one with .take(length)"
                )

    @property
    def length(self) -> Duration | None:
        lengths = [part.length for part in self.parts]
        return None if lengths[-1] is None else sum(lengths, 0)  # type: ignore[arg-type]

    @cached_property
    def _placed(self) -> tuple[list[Any], list[Schedule]]:
        """Where each part that has a length begins, and these parts."""
        starts: list[Any] = []
        parts: list[Schedule] = []
        at: Any = 0
        for part in self.parts[:-1]:
            if part.length:
                starts.append(at)
                parts.append(part)
                at += part.length
        return [*starts, at], [*parts, self.parts[-1]]

    def _scalar(self) -> At:
        starts, parts = self._placed
        length: Any = parts[-1].length
        if len(parts) <= 8:

            def formula(bind: Callable[[Any], str]) -> str:
                values = [part._formula(at, bind) for part, at in zip(parts, starts, strict=True)]
                ends = starts[1:]
                if length is not None:  # the value that holds at the end is known beforehand
                    values.append(repr(parts[-1]._scalar()(length)))
                    ends = [*ends, starts[-1] + length]
                choices = [f"{value} if t < {end!r} else " for value, end in zip(values, ends, strict=False)]
                return "".join(choices) + values[-1]

            return compiled(formula)
        functions, find = [part._scalar() for part in parts], bisect.bisect_right

        def at(t: Any) -> float:
            i = find(starts, t) - 1
            return functions[i](t - starts[i])

        return at

    def _array(self, t: Any, ns: Namespace) -> Any:
        starts, parts = self._placed
        if ns.host:
            return ns.grouped(
                t,
                np.searchsorted(starts, t, side="right") - 1,
                lambda i, u: parts[i]._array(ns.minus(u, starts[i]), ns),
            )
        result = parts[0]._array(t, ns)
        for start, part in zip(starts[1:], parts[1:], strict=True):
            if ns.reaches(start):
                local = ns.minus(t, start)
                result = ns.where(local >= 0, part._array(ns.where(local >= 0, local, 0 * local), ns), result)
        return result

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        starts, parts = self._placed
        edges = [min(max(math.ceil(at), start), stop) for at in starts[1:]] + [stop]
        pieces, begin = [], start
        for at, part, end in zip(starts, parts, edges, strict=True):
            if end > begin:
                if at == int(at):
                    pieces.append(part._range(begin - int(at), end - int(at)))
                else:
                    t, ns = counted(begin, end)
                    pieces.append(part._array(ns.minus(t, at), ns))
                begin = end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else np.empty(0)

    def _resolve(self, scale: Scale) -> Schedule:
        """Boundaries are rounded where they fall in the run, so that rounding does not add up over the parts."""
        if not self.units:
            return self
        parts, exact, begin = [], Fraction(0), 0
        for part in self.parts[:-1]:
            exact += scale.updates(part.length)  # type: ignore[arg-type]
            end = nearest_update(exact)
            if end < begin:
                raise ValueError(
                    f"{shown(part)} would last {end - begin} updates in this run: the parts before it take it all"
                )
            parts.append(_lasting(part._resolve(scale), end - begin))
            begin = end
        last = self.parts[-1]
        if last.length is None:
            return Chain((*parts, last._resolve(scale)))
        end = nearest_update(exact + scale.updates(last.length))
        if end < begin:
            raise ValueError(
                f"{shown(last)} would last {end - begin} updates in this run: the parts before it take it all"
            )
        return Chain((*parts, _lasting(last._resolve(scale), end - begin)))


def _lasting(part: Schedule, length: int) -> Schedule:
    if part.length == length:
        return part
    if isinstance(part, Ramp | Constant | Function | Take):
        return type(part)(**{**part._fields(), "length": length})
    return Take(part, length)


class _Combination(Schedule):
    """Schedules on one clock, combined value by value."""

    parts: tuple[Schedule, ...]

    @staticmethod
    def _numbers(f: At, g: At) -> At:
        """Two functions of one number as one."""
        raise NotImplementedError  # every subclass has its own

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        """Two arrays of values as one."""
        raise NotImplementedError  # every subclass has its own

    def _scalar(self) -> At:
        return reduce(self._numbers, [part._scalar() for part in self.parts])

    def _array(self, t: Any, ns: Namespace) -> Any:
        return reduce(lambda a, b: self._arrays(ns, a, b), [part._array(t, ns) for part in self.parts])

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        _, ns = counted(0, 0)
        return reduce(lambda a, b: self._arrays(ns, a, b), [part._range(start, stop) for part in self.parts])

    @property
    def length(self) -> Duration | None:
        lengths = [part.length for part in self.parts]
        if any(n is None and not isinstance(part, Constant) for part, n in zip(self.parts, lengths, strict=True)):
            return None
        known = [n for n in lengths if n is not None]
        if any(isinstance(n, Length) for n in known) and len(set(known)) > 1:
            raise ValueError(
                f"which part of {shown(self)} is longest depends on the run; resolve it first, or use .take(length)"
            )
        return max(known) if known else None


@node
class Product(_Combination):
    """The product of schedules on one clock: `a * b`.

    >>> from laju import linear
    >>> (0.1 * linear(1, 0, total=2)).values(3)
    array([0.1 , 0.05, 0.  ])
    """

    parts: tuple[Schedule, ...]
    _operator = "*"

    def __post_init__(self) -> None:
        put(self, parts=_parts("product", self.parts, Product))

    @staticmethod
    def _numbers(f: At, g: At) -> At:
        return lambda t: f(t) * g(t)

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return a * b


@node
class Sum(_Combination):
    """The sum of schedules on one clock: `a + b`.

    >>> from laju import linear
    >>> (linear(1, 0, total=2) + 1).values(3)
    array([2. , 1.5, 1. ])
    """

    parts: tuple[Schedule, ...]
    _operator = "+"

    def __post_init__(self) -> None:
        put(self, parts=_parts("sum", self.parts, Sum))

    @staticmethod
    def _numbers(f: At, g: At) -> At:
        return lambda t: f(t) + g(t)

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return a + b


@node
class Minimum(_Combination):
    """The smallest of schedules on one clock.

    >>> from laju import linear
    >>> linear(1, 0, total=2).minimum(0.7).values(3)
    array([0.7, 0.5, 0. ])
    """

    parts: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        put(self, parts=_parts("minimum", self.parts, Minimum))

    @staticmethod
    def _numbers(f: At, g: At) -> At:
        def at(t: Any) -> float:
            a, b = f(t), g(t)
            return b if b < a else a

        return at

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return ns.where(b < a, b, a)


@node
class Maximum(_Combination):
    """The largest of schedules on one clock.

    >>> from laju import linear
    >>> linear(1, 0, total=2).maximum(0.1).values(3)
    array([1. , 0.5, 0.1])
    """

    parts: tuple[Schedule, ...]

    def __post_init__(self) -> None:
        put(self, parts=_parts("maximum", self.parts, Maximum))

    @staticmethod
    def _numbers(f: At, g: At) -> At:
        def at(t: Any) -> float:
            a, b = f(t), g(t)
            return b if b > a else a

        return at

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return ns.where(b > a, b, a)


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
class Overlay(Schedule):
    """`top` for its length, then `bottom`, which has been running underneath since update 0."""

    top: Schedule
    bottom: Schedule

    def __post_init__(self) -> None:
        for name in ("top", "bottom"):
            if not isinstance(getattr(self, name), Schedule):
                raise TypeError(f"{name} must be a schedule, got {shown(getattr(self, name))}")
        _finite(self.top, "an overlay's top")

    @property
    def length(self) -> Duration | None:
        top, bottom = self.top.length, self.bottom.length
        if bottom is None or top == bottom:
            return bottom
        if isinstance(top, Length) or isinstance(bottom, Length):
            raise ValueError(
                f"which part of {shown(self)} is longer depends on the run; resolve it first, or use .take(length)"
            )
        return max(top, bottom)

    def _scalar(self) -> At:
        top, bottom, boundary = self.top._scalar(), self.bottom._scalar(), self.top.length
        return lambda t: top(t) if t < boundary else bottom(t)

    def _array(self, t: Any, ns: Namespace) -> Any:
        boundary: Any = self.top.length
        if not ns.reaches(boundary):
            return self.top._array(t, ns)
        return ns.where(t < boundary, self.top._array(t, ns), self.bottom._array(t, ns))

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        boundary: Any = self.top.length
        end = min(stop, max(start, math.ceil(boundary)))
        return np.concatenate([self.top._range(start, end), self.bottom._range(end, stop)])


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
    if isinstance(child, Per | Function | Rectification | Clock) or (isinstance(child, Ramp) and (child.first or child.endpoint)):
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
        _finite(self.child, "reverse")

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
        if _finite(self.child, "repeat") == 0:
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


def chain(*parts: Schedule | float) -> Schedule:
    """Schedules one after another; the same as `a >> b >> …`."""
    return Chain(_parts("chain", parts, Chain))


def product(*parts: Schedule | float) -> Schedule:
    """The product of schedules on one clock; the same as `a * b * …`."""
    return Product(_parts("product", parts, Product))


def splice(before: Schedule, after: Schedule | float, at: int) -> Schedule:
    """`before` up to update `at`, then `after` as if it had been running from the start."""
    return Take(before, at).overlay(after)


__all__ = [
    "Chain", "Maximum", "Minimum", "Overlay", "Per", "Product", "Repeat", "Reverse", "Shift", "Staircase", "Stretch", "Sum",
    "Take", "chain", "product", "splice", "stretch",
]  # fmt: skip
