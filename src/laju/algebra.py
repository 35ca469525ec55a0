"""Schedules made from schedules: one after another, or combined on one clock. Those that change time are in `clocks`."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.arguments import is_number, number, shown
from laju.arrays import Namespace, counted
from laju.clocks import Clock, Per, Repeat, Reverse, Shift, Staircase, Stretch, Take, finite, stretch
from laju.pieces import Constant, Function, Ramp
from laju.schedule import At, Duration, Schedule, compiled, node, put
from laju.units import Length, Scale, nearest_update


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
class Overlay(Schedule):
    """`top` for its length, then `bottom`, which has been running underneath since update 0."""

    top: Schedule
    bottom: Schedule

    def __post_init__(self) -> None:
        for name in ("top", "bottom"):
            if not isinstance(getattr(self, name), Schedule):
                raise TypeError(f"{name} must be a schedule, got {shown(getattr(self, name))}")
        finite(self.top, "an overlay's top")

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


def chain(*parts: Schedule | float) -> Schedule:
    """Schedules one after another; the same as `a >> b >> …`."""
    return Chain(_parts("chain", parts, Chain))


def product(*parts: Schedule | float) -> Schedule:
    """The product of schedules on one clock; the same as `a * b * …`."""
    return Product(_parts("product", parts, Product))


def clip(schedule: Schedule, low: float | None = None, high: float | None = None, relative: bool = False) -> Schedule:
    """A schedule kept between two bounds, either of which may be None; `relative` ones are fractions of its peak.

    Raises:
        ValueError: no bound, a lower bound above the upper one, or a peak that is not known because the schedule has no end.
    """
    bounds = {name: number(name, bound) for name, bound in (("low", low), ("high", high)) if bound is not None}
    if not bounds:
        raise ValueError("clip needs a bound: give low, high, or both")
    if len(bounds) == 2 and bounds["low"] > bounds["high"]:
        raise ValueError(f"low must not be above high, got {low!r} and {high!r}")
    if relative:
        from laju.inspect import describe

        peak = describe(schedule).peak
        bounds = {name: bound * peak for name, bound in bounds.items()}
    if "high" in bounds:
        schedule = schedule.minimum(bounds["high"])
    return schedule.maximum(bounds["low"]) if "low" in bounds else schedule


def splice(before: Schedule, after: Schedule | float, at: int) -> Schedule:
    """`before` up to update `at`, then `after` as if it had been running from the start."""
    return Take(before, at).overlay(after)


__all__ = [
    "Chain", "Clock", "Maximum", "Minimum", "Overlay", "Per", "Product", "Repeat", "Reverse", "Shift", "Staircase", "Stretch",
    "Sum", "Take", "chain", "clip", "product", "splice", "stretch",
]  # fmt: skip
