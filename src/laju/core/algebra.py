"""Compositions of schedules: in sequence, or combined on the same clock. Schedules that change time are in `clocks`."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from laju.core import limits
from laju.core.arrays import Namespace, counted
from laju.core.checks import shown
from laju.core.clocks import require_end
from laju.core.node import Duration, ScalarFunction, compile_expression, node, schedule, schedules, set_fields
from laju.core.outline import Part, abreast, crossings, stepwise, within
from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.core.units import Length, Scale, nearest_update


def _lay_flat(self: Any) -> None:
    """Parts of the same class are its own parts."""
    flat: list[Schedule] = []
    for part in self.parts:
        flat.extend(part.parts if type(part) is type(self) else (part,))
        if len(flat) > limits.ITEMS:
            raise ValueError(f"a {type(self).__name__.lower()} may have at most {limits.ITEMS:,} parts")
    set_fields(self, parts=tuple(flat))


class Composed(Schedule):
    """A schedule that is composed of several child schedules."""

    def _bound(self) -> float | None:
        bounds = [child._bound() for child in self.children]
        known = [bound for bound in bounds if bound is not None]
        return self._bounds(known) if len(known) == len(bounds) else None

    @staticmethod
    def _bounds(bounds: list[float]) -> float:
        """The bound on the size of the values, from the bounds of the children."""
        return max(bounds)


@node
class Chain(Composed):
    """Schedules in sequence, each on its own clock: `a >> b` is a(t) for t < length of a, then b(t - length of a).

    At a boundary the new part is in force; parts of length 0 are skipped; after the end the last value holds.

    >>> from laju import constant, linear
    >>> (linear(0, 1, total=2) >> constant(1).take(1) >> linear(1, 0, total=2)).values(6)
    array([0. , 0.5, 1. , 1. , 0.5, 0. ])
    """

    parts: tuple[Schedule, ...] = schedules()
    _operator = ">>"

    def _check(self) -> None:
        _lay_flat(self)
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

    def _initial(self) -> float:
        return self.opening[0]._initial()

    @cached_property
    def placed(self) -> tuple[list[Any], list[Schedule]]:
        """(starts, parts): the parts with a length, and the update at which each begins."""
        starts: list[Any] = []
        parts: list[Schedule] = []
        at: Any = 0
        for part in self.parts[:-1]:
            if part.length:
                starts.append(at)
                parts.append(part)
                at += part.length
        return [*starts, at], [*parts, self.parts[-1]]

    def _scalar(self) -> ScalarFunction:
        starts, parts = self.placed
        length: Any = parts[-1].length
        # Few parts are compiled into a single expression; in a long chain, bisect saves comparing t with every boundary.
        if len(parts) <= 8:

            def formula(bind: Callable[[Any], str]) -> str:
                values = [part._formula(at, bind) for part, at in zip(parts, starts, strict=True)]
                ends = starts[1:]
                if length is not None:  # the value after the end is a constant, computed once
                    values.append(repr(parts[-1]._scalar()(length)))
                    ends = [*ends, starts[-1] + length]
                # Conditions are asked from left to right, so `t < end` alone is the half-open rule: at its end a part is over.
                # `values` is one longer than `ends`, for the value that holds after the last.
                choices = [f"{value} if t < {end!r} else " for value, end in zip(values, ends, strict=False)]
                return "".join(choices) + values[-1]

            return compile_expression(formula)
        functions, find = [part._scalar() for part in parts], bisect.bisect_right

        def at(t: Any) -> float:
            i = find(starts, t) - 1
            return functions[i](t - starts[i])

        return at

    def _array(self, t: Any, ns: Namespace) -> Any:
        starts, parts = self.placed
        if ns.host:
            return ns.grouped(
                t,
                np.searchsorted(starts, t, side="right") - 1,
                lambda i, u: parts[i]._array(ns.minus(u, starts[i]), ns),
            )
        result = parts[0]._array(t, ns)
        for start, part in zip(starts[1:], parts[1:], strict=True):
            if ns.reaches(start):
                # All parts are computed at all positions, and `where` chooses. A part is never computed before its beginning:
                # NaN from there would not reach the value, but would reach the gradient.
                local = ns.minus(t, start)
                result = ns.where(local >= 0, part._array(ns.where(local >= 0, local, 0 * local), ns), result)
        return result

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        starts, parts = self.placed
        # A part that begins between two updates is in force from the next update on. Its clock then shows fractions, which
        # `_range` cannot count.
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

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        starts, parts = self.placed
        for i in range(bisect.bisect_right(starts, begin) - 1, len(parts)):
            at, stop = starts[i], starts[i + 1] if i + 1 < len(starts) else math.inf
            if at >= end:
                return
            yield from within(parts[i]._outline(max(begin - at, 0), min(end, stop) - at), at, stop, at)

    @property
    def begins(self) -> tuple[Any, ...]:
        return tuple(itertools.accumulate((part.length for part in self.parts[:-1]), initial=0))

    @property
    def opening(self) -> tuple[Schedule, ...]:
        return (next((part for part in self.parts[:-1] if part.length), self.parts[-1]),)

    def _in_updates(self, scale: Scale) -> Schedule:
        """Round each boundary at its position in the run, so that rounding does not add up over the parts."""
        parts, exact, begin = [], Fraction(0), 0
        for part in self.parts[:-1]:
            exact += scale.updates(part.length)  # type: ignore[arg-type]
            end = nearest_update(exact)
            if end < begin:
                raise ValueError(
                    f"{shown(part)} would last {end - begin} updates in this run: the parts before fill all of its time"
                )
            parts.append(part.in_updates(scale).lasting(end - begin))
            begin = end
        last = self.parts[-1]
        if last.length is None:
            return Chain((*parts, last.in_updates(scale)))
        end = nearest_update(exact + scale.updates(last.length))
        if end < begin:
            raise ValueError(
                f"{shown(last)} would last {end - begin} updates in this run: the parts before fill all of its time"
            )
        return Chain((*parts, last.in_updates(scale).lasting(end - begin)))


@dataclass(frozen=True, repr=False)
class Combination(Composed):
    """A combination of schedules on the same clock: their values at each update are combined."""

    parts: tuple[Schedule, ...] = schedules()

    def _check(self) -> None:
        _lay_flat(self)

    @staticmethod
    def _numbers(f: ScalarFunction, g: ScalarFunction) -> ScalarFunction:
        """The function that combines the values of two functions."""
        raise NotImplementedError  # every subclass has its own

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        """Two arrays of values, combined elementwise."""
        raise NotImplementedError  # every subclass has its own

    def _initial(self) -> float:
        at_zero: list[ScalarFunction] = [Constant(part._initial())._scalar() for part in self.parts]
        return reduce(self._numbers, at_zero)(0)

    def _scalar(self) -> ScalarFunction:
        return reduce(self._numbers, [part._scalar() for part in self.parts])

    def _array(self, t: Any, ns: Namespace) -> Any:
        return reduce(lambda a, b: self._arrays(ns, a, b), [part._array(t, ns) for part in self.parts])

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        _, ns = counted(0, 0)
        return reduce(lambda a, b: self._arrays(ns, a, b), [part._range(start, stop) for part in self.parts])

    _sign = ""  # the operator between the parts, in an outline

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        # The steps of a single moving child are steps of the whole; several moving children are cut at every step.
        moving = sum(part.level is None for part in self.parts)
        outlines = [part._outline(begin, end) for part in self.parts]
        for at, stop, row in abreast(outlines if moving < 2 else [stepwise(outline) for outline in outlines], end):
            yield from self._combined(at, stop, row)

    def _combined(self, begin: Any, end: Any, row: tuple[Part, ...]) -> Iterator[Part]:
        """The outline of an interval in which each child has a single part."""
        levels = [part.piece.level for part in row if part.piece.level is not None]
        moving = [part for part in row if part.piece.level is None]
        level: Any = reduce(self._numbers, [Constant(value)._scalar() for value in levels])(0) if levels else None
        found = Part(begin, end, self, 0, self, row, self._sign)
        if not moving and math.isfinite(level):
            found = replace(found, piece=Constant(level))
        elif len(moving) == 1:
            one = moving[0]
            piece = self._with(one.piece, level) if levels else one.piece
            if piece is None and one.held is not None:  # the steps of the child are steps of the combination
                piece = type(self)((one.piece, Constant(level)))
            if piece is not None:
                cycles = one.cycles if self._repeats(one) else one.uneven()
                found = replace(found, piece=piece, origin=one.origin, cycles=cycles, held=one.held)
        yield found

    def _with(self, piece: Schedule, level: float) -> Schedule | None:
        """A piece combined with a constant, as a piece; None if the result is no piece."""
        return None

    def _repeats(self, part: Part) -> bool:
        """Whether the cycles of a part are still cycles when a constant is combined with their values."""
        return all(cycle.decay == 1 for cycle in part.cycles)

    @property
    def length(self) -> Duration | None:
        lengths = [part.length for part in self.parts]
        if any(n is None and part.level is None for part, n in zip(self.parts, lengths, strict=True)):
            return None
        known = [n for n in lengths if n is not None]
        if known and all(n == known[0] for n in known):
            return known[0]
        if any(isinstance(n, Length) for n in known):
            raise ValueError(
                f"which part of {shown(self)} is longest depends on the run; resolve it first, or use .take(length)"
            )
        return max(known) if known else None


@node
class Product(Combination):
    """The product of schedules on the same clock: `a * b`.

    >>> from laju import linear
    >>> (0.1 * linear(1, 0, total=2)).values(3)
    array([0.1 , 0.05, 0.  ])
    """

    _operator = "*"
    _sign = "×"

    def _with(self, piece: Schedule, level: float) -> Schedule | None:
        if level == 0:
            return Constant(0.0)
        try:
            found = piece.times(level)
        except ValueError:  # a value that leaves the floats, though the product may not
            return None
        return found if type(found) is type(piece) else None

    def _repeats(self, part: Part) -> bool:
        return True

    def _times(self, change: Callable[[float], float], by: float) -> Schedule:
        return Product((self.parts[0]._times(change, by), *self.parts[1:]))

    @staticmethod
    def _bounds(bounds: list[float]) -> float:
        product = 1.0
        for bound in bounds:
            product *= max(bound, 1.0)  # at least 1 for each part, so that the bound also covers partial products
        return product

    @staticmethod
    def _numbers(f: ScalarFunction, g: ScalarFunction) -> ScalarFunction:
        return lambda t: f(t) * g(t)

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return a * b


@node
class Sum(Combination):
    """The sum of schedules on the same clock: `a + b`.

    >>> from laju import linear
    >>> (linear(1, 0, total=2) + 1).values(3)
    array([2. , 1.5, 1. ])
    """

    _operator = "+"
    _sign = "+"

    def _with(self, piece: Schedule, level: float) -> Schedule | None:
        try:
            return piece._raised(level)
        except ValueError:  # a value that leaves the floats
            return None

    @staticmethod
    def _bounds(bounds: list[float]) -> float:
        return sum(bounds)

    @staticmethod
    def _numbers(f: ScalarFunction, g: ScalarFunction) -> ScalarFunction:
        return lambda t: f(t) + g(t)

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return a + b


class _Extreme(Combination):
    """The smallest or the largest of schedules, each in force up to where another curve crosses its own."""

    _pick: ClassVar[Callable[..., Any]]

    def _combined(self, begin: Any, end: Any, row: tuple[Part, ...]) -> Iterator[Part]:
        crosses = False
        found = crossings(row, begin, end, self._pick)
        for (at, part), (stop, _) in itertools.pairwise(itertools.chain(found, [(end, row[0])])):
            cycles = part.cycles if self._repeats(part) else part.uneven()
            crosses = crosses or (part.crosses and part.begin == at)
            yield replace(part, begin=at, end=stop, cycles=cycles, crosses=crosses)
            crosses = True

    def _times(self, change: Callable[[float], float], by: float) -> Schedule:
        return super()._times(change, by) if by > 0 else Product((Constant(by), self))


@node
class Minimum(_Extreme):
    """The smallest of schedules on the same clock.

    >>> from laju import linear
    >>> linear(1, 0, total=2).minimum(0.7).values(3)
    array([0.7, 0.5, 0. ])
    """

    _pick = staticmethod(np.argmin)

    @staticmethod
    def _numbers(f: ScalarFunction, g: ScalarFunction) -> ScalarFunction:
        def at(t: Any) -> float:
            a, b = f(t), g(t)
            return b if b < a else a

        return at

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return ns.where(b < a, b, a)


@node
class Maximum(_Extreme):
    """The largest of schedules on the same clock.

    >>> from laju import linear
    >>> linear(1, 0, total=2).maximum(0.1).values(3)
    array([1. , 0.5, 0.1])
    """

    _pick = staticmethod(np.argmax)

    @staticmethod
    def _numbers(f: ScalarFunction, g: ScalarFunction) -> ScalarFunction:
        def at(t: Any) -> float:
            a, b = f(t), g(t)
            return b if b > a else a

        return at

    @staticmethod
    def _arrays(ns: Namespace, a: Any, b: Any) -> Any:
        return ns.where(b > a, b, a)


@node
class Overlay(Composed):
    """`top` for its length, then `bottom`, both on the same clock: top(t) for t < length of `top`, then bottom(t)."""

    top: Schedule = schedule()
    bottom: Schedule = schedule()

    def _check(self) -> None:
        require_end(self.top, "an overlay's top")

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

    @property
    def opening(self) -> tuple[Schedule, ...]:
        return (self.top if self.top.length != 0 else self.bottom,)

    def _scalar(self) -> ScalarFunction:
        top, bottom, boundary = self.top._scalar(), self.bottom._scalar(), self.top.length
        return lambda t: top(t) if t < boundary else bottom(t)

    def _array(self, t: Any, ns: Namespace) -> Any:
        boundary: Any = self.top.length
        if not ns.reaches(boundary):
            return self.top._array(t, ns)
        return ns.where(t < ns.whole(boundary), self.top._array(t, ns), self.bottom._array(t, ns))

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        boundary: Any = self.top.length
        end = min(stop, max(start, math.ceil(boundary)))
        return np.concatenate([self.top._range(start, end), self.bottom._range(end, stop)])

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        boundary: Any = self.top.length
        if begin < boundary:
            yield from within(self.top._outline(begin, min(end, boundary)), 0, boundary)
        if boundary < end:
            yield from within(self.bottom._outline(max(begin, boundary), end), boundary, math.inf)
