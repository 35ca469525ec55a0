"""Schedules whose time is changed: cut, shifted, stretched, held in steps, reversed, repeated, read in epochs or in data.

Clocks stay integers while the user's lengths are integers, so boundaries and cycles are exact at any position.
"""

from __future__ import annotations

import bisect
import decimal
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import count, islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.core import limits
from laju.core.arrays import Namespace, counted
from laju.core.checks import is_finite, is_number, number, shown, time, whole
from laju.core.node import Duration, ScalarFunction, checked, flag, integer, node, real, schedule, span
from laju.core.outline import Cycle, Form, Geometric, Part, met, stepwise, within
from laju.core.pieces import Constant, Function, Ramp, Rectification
from laju.core.schedule import Schedule
from laju.core.units import SYNONYMS, Length, Scale, nearest_update, unit


def require_end(child: Schedule, what: str) -> Duration:
    length = child.length
    if length is None:
        raise ValueError(
            f"{what} needs a schedule with an end, but {shown(child)} has none; give it one with .take(length)"
        )
    return length


def bounded(length: Duration | None, what: str) -> None:
    """Refuse a length beyond the limits: lengths multiply where repeated or stretched schedules are nested."""
    for amount in [amount for _, amount in length.terms] if isinstance(length, Length) else [length]:
        time(what, amount)


class Retimed(Schedule):
    """The values of a schedule on a changed clock."""

    if TYPE_CHECKING:
        child: Schedule

    def _bound(self) -> float | None:
        return self.child._bound()

    def _initial(self) -> float:
        return self.child._initial() if self.opening else super()._initial()


@node
class Take(Retimed):
    """The first `length` updates of a schedule, after which the value at t = length holds: child(min(t, length))."""

    child: Schedule = schedule()
    length: Duration = span()
    _method = "take"

    def _scalar(self) -> ScalarFunction:
        child, length = self.child._scalar(), self.length
        return lambda t: child(t if t < length else length)

    def _array(self, t: Any, ns: Namespace) -> Any:
        return self.child._array(ns.upto(t, self.length), ns)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        end = min(stop, max(start, math.ceil(self.length)))
        if end == stop:
            return self.child._range(start, stop)
        t, ns = counted(0, 1)  # as an array, since arrays and numbers may differ in the last digit
        held = self.child._array(ns.real(t) + self.length if self.length != int(self.length) else t + self.length, ns)
        return np.concatenate([self.child._range(start, end), np.repeat(held, stop - end)])

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        if isinstance(self.child, Constant):
            yield from self.child._outline(begin, end)
            return
        length = self.length
        if begin < length:
            yield from within(self.child._outline(begin, min(end, length)), 0, length)
        if length < end:
            yield Part(length, math.inf, self._constant(self._at(length)), length, self)


def _signed_updates(name: str, by: Any) -> int | float:
    if not is_number(by) or not is_finite(by):
        raise TypeError(f"{name} must be a number of updates, got {shown(by)}")
    return _integral(time(name, by))


@node
class Shift(Retimed):
    """A schedule delayed by `by` updates, during which its first value holds; a negative `by` skips its first updates."""

    child: Schedule = schedule()
    by: int = checked(_signed_updates, {"type": "number"})
    _method = "shift"
    opening = ()

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        if length is None:
            return None
        total = length + self.by
        return total if isinstance(total, Length) else max(total, 0)

    def _scalar(self) -> ScalarFunction:
        child, by = self.child._scalar(), self.by
        if by <= 0:
            return lambda t: child(t - by)
        return lambda t: child(t - by if t > by else 0)

    def _array(self, t: Any, ns: Namespace) -> Any:
        if self.by <= 0:
            return self.child._array(*ns.plus(t, -self.by))
        if not ns.reaches(self.by):
            return self.child._array(0 * t, ns)
        local = ns.minus(t, self.by)
        return self.child._array(ns.where(local > 0, local, 0 * local), ns)

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        by = self.by
        # Up to 1 at least: `next(later)` below needs a part even where the interval ends before the child begins.
        later = within(self.child._outline(max(begin - by, 0), max(end - by, 1)), max(by, 0), math.inf, by)
        if begin < by:
            held, first = self._at(0), next(later)
            if first.piece.level == held and not first.cycles:  # no boundary between the same level and itself
                first = replace(first, begin=0)
            else:
                yield Part(0, by, self._constant(held), 0, self)
            yield first
        yield from later


@node
class Stretch(Retimed):
    """A schedule `by` times as long: child(t / by). Used if the child's lengths cannot be multiplied exactly."""

    child: Schedule = schedule()
    by: float = real(above=0)

    def _check(self) -> None:
        time("by", self.by)
        bounded(self.length, "the length of the stretched schedule")

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        if length is None or isinstance(length, Length):
            return length if length is None else length * Fraction(self.by)
        return _integral(length * Fraction(self.by))

    def _scalar(self) -> ScalarFunction:
        child, by = self.child._scalar(), self.by
        return lambda t: child(t / by)

    def _array(self, t: Any, ns: Namespace) -> Any:
        return self.child._array(ns.real(t) / self.by, ns.of_floats())

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        def longer(position: Any) -> Any:
            if not math.isfinite(position):
                return position
            # A fraction stays one: it is a position just after a boundary (see `_JUST`), which far out a float would round back
            # onto the boundary.
            exact = Fraction(position) * Fraction(self.by)
            return exact if isinstance(position, Fraction) else _integral(exact)

        for part in self.child._outline(begin / self.by, end / self.by):
            held = None if part.held is None else (longer(part.held[0]), longer(part.held[1]))
            piece = self if part.piece is self.child else stretch(part.piece, self.by)
            yield part.on(longer, piece=piece, held=held)


def _integral(exact: Fraction | float) -> int | float:
    return int(exact) if exact == int(exact) else float(exact)


def stretch(child: Schedule, by: float) -> Schedule:
    """The schedule `by` times as long, s(t / by), with the factor multiplied into its lengths if the products are exact.

    >>> stretch(Ramp(1, 0, 2), 2)
    Ramp(1.0, 0.0, 4)
    """
    by = number("by", by, above=0)
    if not isinstance(child, Schedule):
        raise TypeError(f"child must be a schedule, got {shown(child)}")
    if by == 1:
        return child
    if isinstance(child, Stretch):
        return stretch(child.child, child.by * by)
    # The value of these is no function of t / length: Per still holds its value for a unit, a function has no length to
    # multiply, a clock counts samples, and `first` and `endpoint` move the curve by a single update. Cycles that grow begin at
    # updates that were rounded before they are stretched.
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

    return child.rebuild(lambda part: stretch(part, by), longer)


@node
class Staircase(Retimed):
    """The value of a schedule held for `every` updates at a time: child(every·⌊t/every⌋)."""

    child: Schedule = schedule()
    every: Duration = span(zero=False)
    _method = "staircase"

    @property
    def form(self) -> Form | None:
        match self.child.form:
            case Geometric(steps=0) as found:
                return found._replace(steps=self.every)
        return None

    @property
    def length(self) -> Duration | None:
        length: Any = self.child.length
        if length is None or isinstance(length, Length) or isinstance(self.every, Length):
            return length
        # The last step is held out in full: the length is rounded up to whole steps.
        return -(-length // self.every) * self.every

    def _scalar(self) -> ScalarFunction:
        child, every = self.child._scalar(), self.every
        if every == 1:
            return lambda t: child(t // 1)
        return lambda t: child(t // every * every)

    def _array(self, t: Any, ns: Namespace) -> Any:
        # A step longer than the counter can count is never left.
        return self.child._array(ns.floor_divide(t, self.every) * self.every if ns.reaches(self.every) else 0 * t, ns)

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        every = self.every
        if not isinstance(every, int) or every > limits.POSITION or stop <= start:
            return super()._range(start, stop)
        first, last = start // every, (stop - 1) // every
        steps, ns = counted(first, last + 1)
        # How often each value comes, so that a step longer than the requested range costs no more than the range.
        edges = np.append(np.maximum(steps * every, start), stop)
        return np.repeat(self.child._array(steps * every, ns), np.diff(edges))

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        every = self.every

        def step(position: Any) -> Any:
            return position if position == math.inf else -(-position // every) * every

        # A step takes the value at its beginning, which may lie before the position that is asked about; so the child's outline
        # starts at the beginning of the step.
        for part, first, stop in met(lambda at: self.child._outline(at // every * every, end), begin, step):
            held, listed = _steps_in_common(part.held, every), part.how if part.how == "listed" else ""
            if isinstance(part.piece, Constant) or first + every == stop:
                value = part.at(first)
                piece = self._constant(value) if math.isfinite(value) else self
                yield replace(part, begin=first, end=stop, piece=piece, origin=0, inside=(), how=listed)
            elif held is not None:
                yield replace(part, begin=first, end=stop, held=held)
            else:
                for i in count():
                    at = first + i * every
                    if at >= min(stop, end):
                        break
                    value = self._constant(part.at(at))
                    crosses = part.crosses and not i
                    yield Part(at, at + every, value, at, self, (), listed, part.cycles, crosses=crosses)


def _steps_in_common(held: tuple[Any, Any] | None, every: Any) -> tuple[Any, Any] | None:
    """The steps of a schedule held for `every` updates; None if its steps have no common length."""
    if held is None:
        return 0, every
    begin, length = held
    if begin % min(length, every) == 0 and max(length, every) % min(length, every) == 0:
        return (0, every) if every >= length else held
    return None


@node
class Reverse(Retimed):
    """A schedule backwards in time, child(length - t), after which its first value holds."""

    child: Schedule = schedule()
    _method = "reverse"
    opening = ()

    def _check(self) -> None:
        require_end(self.child, "reverse")

    @property
    def length(self) -> Duration | None:
        return self.child.length

    def _scalar(self) -> ScalarFunction:
        child, length = self.child._scalar(), self.child.length
        return lambda t: child(length - t if t < length else 0)

    def _array(self, t: Any, ns: Namespace) -> Any:
        length: Any = self.child.length
        if not ns.reaches(length):
            return self.child._array(ns.left(length, t), ns.of_floats())
        return self.child._array(ns.whole(length) - ns.upto(t, length), ns)

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        length: Any = self.child.length
        parts = list(islice(within(stepwise(self.child._outline(0, length)), 0, length), _MOST + 1)) if length else []
        if len(parts) > _MOST:
            parts = [Part(0, length, self.child, 0, self.child)]
        at: Any = 0
        # A boundary belongs to the later part, so where the value jumps, the change comes just after the boundary.
        if begin < _JUST and parts and not math.isclose(parts[-1].arrives, begins := self._at(0)):
            yield Part(0, _JUST, self._constant(begins), 0, self)
            at = _JUST
        for i, part in reversed(list(enumerate(parts))):
            stop = length - part.begin
            if i and not math.isclose(parts[i - 1].arrives, part.at(part.begin)):
                stop = Fraction(stop) + _JUST
            if max(at, begin) < stop:
                yield self._turned(part, length, at, stop)
            at = stop
        if length < end:
            yield Part(length, math.inf, self._constant(self._at(length)), length, self)

    def _turned(self, part: Part, length: Any, begin: Any, end: Any) -> Part:
        piece: Schedule = self
        origin: Any = 0
        match part.piece:
            case Constant():
                piece, origin = part.piece, begin
            case Ramp(start, final, n, "linear" | "cosine" as shape):  # shapes whose rise is the fall reversed
                piece, origin = Ramp(final, start, n, shape), length - part.origin - n
            case Ramp(length=n) if part.origin + n == part.end:
                piece, origin = Reverse(part.piece), length - part.end
        cycles = tuple(
            Cycle(c.number, length - c.end, length - c.begin, length - c.until, length - c.since, even=False)
            for c in part.cycles
        )
        return Part(begin, end, piece, origin, self, (part,), "reversed", cycles, crosses=part.crosses)


_JUST = Fraction(1, 1 << 40)
"""Just after a position, as a fraction, which survives being moved far out."""

_MOST = 10_000
"""The most parts of a schedule that are reversed individually."""

_LATEST = 2**63
_EXACT_CYCLES = 1000
_TRACED_CYCLES = 1000


def _geometric_sum(growth: Fraction, i: int) -> Fraction:
    """1 + growth + … + growth^(i-1)."""
    return Fraction(i) if growth == 1 else (growth**i - 1) / (growth - 1)


@lru_cache(maxsize=4096)
def _growing_begin(period: Any, growth: float, i: int) -> Any:
    """The update at which cycle i of growing cycles begins, at most 2^63, after which no update is counted."""
    # Floats suffice to see that the begin is far beyond the last update.
    if i and math.log(period) + math.log(growth) * (i - 1) > math.log(_LATEST) + 1:
        return _LATEST
    if i <= _EXACT_CYCLES:
        exact = Fraction(period) * _geometric_sum(Fraction(growth), i)
    else:
        # Hundreds of thousands of cycles that hardly grow: 100 digits give the same nearest update as exact fractions.
        with decimal.localcontext(prec=100):
            factor = Decimal(growth)
            exact = Fraction(Decimal(period) * (factor**i - 1) / (factor - 1))
    if exact >= _LATEST:
        return _LATEST
    return nearest_update(exact) if isinstance(period, int) else _integral(exact)


@node
class Repeat(Retimed):
    """A schedule repeated `count` times, or forever if `count` is None.

    Cycle i lasts growth^i times as long and is decay^i times as high; with `mirror`, every second cycle runs backwards.
    Cycles begin at whole updates, computed in integers, so that no restart is missed or doubled at any position.
    """

    child: Schedule = schedule()
    count: int | None = integer(default=None, least=1)
    growth: float = real(default=1.0, least=1)
    decay: float = real(default=1.0, above=0)
    mirror: bool = flag(default=False)
    _method = "repeat"

    def _check(self) -> None:
        if require_end(self.child, "repeat") == 0:
            raise ValueError("repeat needs a schedule that lasts at least one update, got one of length 0")
        time("growth", self.growth)
        bounded(self.length, "the length of all cycles")

    def _bound(self) -> float | None:
        bound = super()._bound()
        return bound if bound is None or self.decay <= 1 else math.inf

    @property
    def length(self) -> Duration | None:
        if self.count is None:
            return None
        period: Any = self.child.length
        if self.growth == 1:
            return period * self.count
        if isinstance(period, Length):
            if self.count > _EXACT_CYCLES:
                raise ValueError(
                    f"count must be at most {_EXACT_CYCLES:,} where lengths in units grow, got {self.count:,}"
                )
            return period * _geometric_sum(Fraction(self.growth), self.count)
        return self.cycle_begin(self.count)

    def cycle_begin(self, i: int) -> Any:
        """The update at which cycle i begins, at most 2^63: whole, unless the first cycle has a fractional length."""
        period: Any = self.child.length
        if self.growth == 1:
            return _integral(Fraction(period) * i)
        return _growing_begin(period, self.growth, i)

    def cycle_at(self, t: Any) -> int:
        """The number of the cycle that contains update t; after the end, of the last cycle."""
        period = self.child.length
        if self.growth == 1:
            i = int(t // period)
        else:
            # The closed form in floats is near enough for the exact comparison to need a step or two.
            i = int(math.log1p(min(t, _LATEST) * (self.growth - 1) / period) / math.log(self.growth))
            while i > 0 and self.cycle_begin(i) > t:
                i -= 1
            while self.cycle_begin(i + 1) <= t and self.cycle_begin(i + 1) < _LATEST:
                i += 1
        return i if self.count is None else min(i, self.count - 1)

    def cycle(self, i: int) -> Schedule:
        """Cycle i on its own clock."""
        child = self.child.reverse() if self.mirror and i % 2 else self.child
        if self.growth != 1:
            # Cycles begin at whole updates, so a cycle is stretched to the distance of two rounded beginnings and not to
            # growth^i: its last value then lies exactly at the next cycle's beginning.
            length = self.cycle_begin(i + 1) - self.cycle_begin(i)
            child = stretch(child, float(Fraction(length) / Fraction(child.length)))  # type: ignore[arg-type]
        if self.decay == 1:
            return child
        try:
            return child * self.decay**i
        except OverflowError:
            raise ValueError(f"decay^{i} of {shown(self)} is beyond what a float can hold") from None

    def _scalar(self) -> ScalarFunction:
        count, last = self.count, None if self.count is None else self.count - 1
        period: Any = self.child.length
        if self.growth == 1:
            decay = self.decay
            # Closures instead of a compiled expression: the direction and the power of the decay are only known at the call.
            one = self.child._scalar()
            other = self.child.reverse()._scalar() if self.mirror else one

            def at(t: Any) -> float:
                i = t // period
                if count is not None and i >= count:
                    i, u = last, period
                else:
                    u = t % period  # never negative, unlike t - i * period in floats
                value = other(u) if i % 2 else one(u)
                return value if decay == 1 else value * decay**i

            return at
        end: Any = self.length
        # Calls come in order, so the function of a cycle is kept: thousands of calls need the same cycle.
        cycles: dict[int, tuple[Any, ScalarFunction]] = {}

        def growing(t: Any) -> float:
            if end is not None and t > end:
                t = end
            i = self.cycle_at(t)
            if i not in cycles:
                # A bound on memory: calls at random positions would otherwise keep a function for every cycle.
                if len(cycles) >= 1000:
                    cycles.clear()
                cycles[i] = self.cycle_begin(i), self.cycle(i)._scalar()
            begin, value = cycles[i]
            return value(t - begin)

        return growing

    def _array(self, t: Any, ns: Namespace) -> Any:
        end: Any = self.length
        if self.growth != 1:
            return self._growing(t, ns, end)
        period: Any = self.child.length
        # In integers the position in a cycle is exact at any t; float32 cannot represent 2^24 + 1.
        if isinstance(period, int) and ns.largest is not None and ns.reaches(period):
            i = ns.floor_divide(t, period)
            u = t - i * ns.whole(period)
        elif ns.host:
            i, u = np.divmod(ns.real(t), float(period))
        else:
            i = ns.floor_divide(t, period)
            u = ns.real(t) - ns.real(i) * float(period)
            u = ns.where(u < 0, 0 * u, u)  # by rounding, far out
        # A position of int32 cannot be as late as an end beyond 2^31, which would overflow in the comparison.
        if end is not None and ns.reaches(end):
            assert self.count is not None  # as there is an end
            over = t >= ns.whole(end)
            i, u = ns.where(over, self.count - 1 + 0 * i, i), ns.where(over, period + 0 * u, u)
        value = self.child._array(u, ns)
        if self.mirror:
            value = ns.where(i % 2 == 1, self.child.reverse()._array(u, ns), value)
        return value if self.decay == 1 else value * self.decay ** ns.real(i)

    def _growing(self, t: Any, ns: Namespace, end: Any) -> Any:
        """Cycles of unequal lengths, each computed at its own positions; inside a graph, all cycles at all positions."""
        if ns.host:
            if not np.size(t):
                return np.empty(np.shape(t))
            if end is not None and ns.reaches(end):
                t = np.minimum(t, end)
            first, last = self.cycle_at(np.min(t).item()), self.cycle_at(np.max(t).item())
            if last - first > 4 * np.size(t):  # fewer positions than cycles between them
                i = np.reshape([self.cycle_at(x) for x in np.ravel(t).tolist()], np.shape(t))
                return ns.grouped(t, i, lambda k, u: self.cycle(k)._array(ns.minus(u, self.cycle_begin(k)), ns))
            begins = [self.cycle_begin(k) for k in range(first, last + 1)]
            i = first + np.searchsorted(begins, t, side="right") - 1
            return ns.grouped(t, i, lambda k, u: self.cycle(k)._array(ns.minus(u, begins[k - first]), ns))
        # A graph is made before positions have values, so every cycle in reach is part of the graph, and `where` chooses.
        last = self.cycle_at(_LATEST if ns.largest is None else ns.largest)
        if last >= _TRACED_CYCLES:
            raise ValueError(
                f"{shown(self)} has more than {_TRACED_CYCLES:,} cycles, too many for a graph; call it with integers, or "
                "look values up in an array of schedule.values(n)"
            )
        result = self.cycle(0)._array(t, ns)
        for k in range(1, last + 1):
            local = ns.minus(t, self.cycle_begin(k))
            # A cycle is also computed where `where` discards the result; from 0 on, as NaN of a negative t would spoil gradients.
            result = ns.where(local >= 0, self.cycle(k)._array(ns.where(local >= 0, local, 0 * local), ns), result)
        return result

    def _range(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        period = self.child.length
        if self.growth != 1 or not isinstance(period, int) or self.mirror or stop - start <= period:
            return super()._range(start, stop)
        first = start // period
        cycles = -(-stop // period) - first
        # A cycle of whole updates is computed once and copied, instead of a formula at every position.
        values = np.tile(self.child._range(0, period), cycles)
        if self.decay != 1:
            values *= np.repeat(self.decay ** np.arange(first, first + cycles, dtype=np.float64), period)
        values = values[start - first * period :][: stop - start]
        if self.count is not None and self.count * period < stop:
            # After the last cycle its final value holds, child(period), which no copied cycle contains: cycles are half-open.
            values[max(0, self.count * period - start) :] = self._scalar()(stop)
        return values

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        until = math.inf if self.count is None else self.length
        for i in count(self.cycle_at(begin)) if begin < until else ():
            at, stop = self.cycle_begin(i), self.cycle_begin(i + 1)
            if at >= min(end, until):
                break
            if self.growth != 1 and stop >= _LATEST:  # the last cycle that is counted never ends
                stop = math.inf
            cycle = Cycle(i, at, stop, 0, until, self.decay, self.growth == 1)
            for part in within(self.cycle(i)._outline(max(begin - at, 0), min(end, stop) - at), at, stop, at):
                yield part.among(cycle)
            if stop == math.inf:
                return
        if until < end:
            yield Part(until, math.inf, self._constant(self._at(until)), until, self)


def _longer_unit(name: str, value: Any) -> str:
    found = unit(value)
    if found == "updates":
        raise ValueError("per('update') is the schedule itself; name a longer unit such as 'epoch'")
    return "%" if found == "%" else found[:-1]


@node
class Per(Retimed):
    """A schedule whose own clock counts epochs (or another unit) of a run that is not known yet."""

    child: Schedule = schedule()
    unit: str = checked(_longer_unit, {"enum": [name for name, unit in SYNONYMS.items() if unit != "updates"]})
    smooth: bool = flag(default=False)
    _method = "per"

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

    def _in_updates(self, scale: Scale) -> Schedule:
        name = unit(self.unit)
        one = scale.updates(Length(((name, Fraction(1)),)))
        longer = stretch(self.child.in_updates(scale.counted_in(name)), _integral(one))
        # With several of the unit in one update there is nothing to hold.
        return longer if self.smooth or one < 1 else Staircase(longer, _integral(one))


def _pace(name: str, values: Any) -> tuple[tuple[int, int, int], ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(
            f"{name} must be a sequence of (update, samples before it, samples per update), got {shown(values)}"
        )
    found = []
    for i, step in enumerate(values):
        if not isinstance(step, tuple | list) or len(step) != 3:
            raise ValueError(f"{name}[{i}] must be (update, samples before it, samples per update), got {shown(step)}")
        update, seen, each = (whole(f"{name}[{i}][{k}]", value, least=k // 2) for k, value in enumerate(step))
        found.append((update, seen, each))
    if not found or found[0][0] != 0 or any(b[0] < a[0] for a, b in pairwise(found)):
        raise ValueError(f"{name} must begin at update 0, and updates must not decrease, got {shown(values)}")
    for i, (a, b) in enumerate(pairwise(found), 1):
        if b[1] != (seen := a[1] + (b[0] - a[0]) * a[2]):
            raise ValueError(
                f"{name}[{i}] must have {shown(seen)} samples before it, as the previous entry implies, got {shown(b[1])}"
            )
    return tuple(found)


@node
class Clock(Retimed):
    """A schedule of the number of samples, as a schedule of updates: child(samples seen before update t).

    Args:
        child: a schedule whose t counts samples.
        pace: (first update, samples before that update, samples per update) for each segment of constant batch size.

    >>> from laju import linear
    >>> Clock(linear(1, 0, total=8), [(0, 0, 1), (2, 2, 3)]).values(5)
    array([1.   , 0.875, 0.75 , 0.375, 0.   ])
    """

    child: Schedule = schedule()
    pace: tuple[tuple[int, int, int], ...] = checked(
        _pace,
        {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": least} for least in (0, 0, 1)],
                "minItems": 3,
                "maxItems": 3,
            },
        },
    )

    def _check(self) -> None:
        if self.child.units:
            raise ValueError(
                f"a clock needs a schedule in samples, but {shown(self.child)} waits for a plan; resolve it first"
            )

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        return None if length is None else self.update_at(length)

    def _outline(self, begin: Any, end: Any) -> Iterator[Part]:
        def update(position: Any) -> Any:
            return self.update_at(position) if math.isfinite(position) else position

        def outline(at: Any) -> Iterator[Part]:
            place = self._position(at)
            parts = self.child._outline(place, self._position(end))
            return stepwise(parts if at == begin else within(parts, place, math.inf))  # no step of before again

        for part, first, stop in met(outline, begin, update):
            piece, origin = (part.piece, first) if isinstance(part.piece, Constant) else (self, 0)
            cycles = tuple(replace(cycle, even=False) for cycle in part.on(update).cycles)
            yield Part(first, stop, piece, origin, self, (part,), "in samples", cycles, crosses=part.crosses)

    def _position(self, t: Any) -> Any:
        """Samples seen before update t."""
        if t == math.inf:
            return t
        begin, seen, each = self.pace[bisect.bisect_right([stretch[0] for stretch in self.pace], t) - 1]
        return seen + (t - begin) * each

    def update_at(self, position: Any) -> int:
        """The first update at which the child's clock shows at least `position`."""
        begin, seen, each = [s for s in self.pace if s[1] < position or s[0] == 0][-1]
        return int(begin + max(0, math.ceil(Fraction(position - seen) / each)))

    def _scalar(self) -> ScalarFunction:
        child, pace, begins = self.child._scalar(), self.pace, [stretch[0] for stretch in self.pace]

        def at(t: Any) -> float:
            begin, seen, each = pace[bisect.bisect_right(begins, t) - 1]
            return child(seen + (t - begin) * each)

        return at

    def _array(self, t: Any, ns: Namespace) -> Any:
        # A 32-bit counter cannot count the samples of a long run, and no integer array can hold positions beyond 2^63.
        length: Any = self.child.length
        if ns.host:
            furthest = max(ns.furthest(t), 1)
            samples = (seen + max(begin, furthest) * each for begin, seen, each in self.pace if ns.reaches(begin))
            exact = ns.reaches(max(samples))
        elif length is None:
            # In a graph positions have no values yet, and without an end any position may come.
            exact = ns.reaches(2**62)
        else:
            # The value holds from the end on, so that positions need to be counted up to there.
            exact = ns.reaches(length + max(each for _, _, each in self.pace))
            t = ns.upto(t, self.update_at(length)) if exact else t
        position: Any = None
        for begin, seen, each in self.pace:
            # With exact counts, a segment whose first sample does not fit begins after the end of the child.
            if not ns.reaches(begin) or (exact and not ns.reaches(seen)):
                break
            after = t - begin
            here = ns.whole(seen) + after * ns.whole(each) if exact else float(seen) + ns.real(after) * float(each)
            position = here if position is None else ns.where(after >= 0, here, position)
        return self.child._array(position, ns if exact else ns.of_floats())
