"""A schedule laid out in a row: which simple piece is in force from which update to which.

What other systems have is such a row: a warmup, a decay, a tail. `Outline` finds it in a schedule's expression, whatever it was
composed of, so that `laju.dialects.writers` can say it in their words.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from laju.core import algebra, clocks
from laju.core.pieces import Constant, Exponential, Power, Ramp, Table
from laju.core.schedule import Schedule
from laju.core.shapes import shape

_MOST = 200
"""Parts that are laid out; what comes after them is one part more, which no writer reads."""


@dataclass(frozen=True)
class Part:
    """`piece`, whose own clock is 0 at `origin`, in force at the updates `begin` … `end` - 1; `end` is None when it has none.

    A piece that was cut at its beginning is written as one that begins there where its kind allows that.
    """

    begin: int
    end: int | None
    piece: Schedule
    origin: float

    @property
    def whole(self) -> bool:
        """Whether its clock begins where it does."""
        return self.origin == self.begin

    @property
    def length(self) -> int:
        """Updates for which it is in force; 0 where it has no end."""
        return 0 if self.end is None else self.end - self.begin

    @property
    def first(self) -> float:
        return float(self.piece(self.begin - self.origin))

    @property
    def arrives(self) -> float:
        """The value that it has come to at its end."""
        return float(self.piece((self.begin if self.end is None else self.end) - self.origin))

    def later(self, by: int) -> Part:
        return replace(
            self, begin=self.begin + by, end=None if self.end is None else self.end + by, origin=self.origin + by
        )


@dataclass(frozen=True)
class Outline:
    """A schedule as parts, for a run of `updates`; they go on for a while after it.

    `complete`: the parts are all of the schedule, for ever.
    """

    schedule: Schedule
    updates: int

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        found = list(itertools.islice(_parts(self.schedule, 0, 0, 2 * self.updates + 2), _MOST))
        if found and found[-1].end is not None:
            end = found[-1].end
            found.append(Part(end, None, self.schedule.shift(-end), end))
        return tuple(_joined(found))

    @property
    def complete(self) -> bool:
        last = self.parts[-1]
        return last.end is None and isinstance(last.piece, Constant | Exponential | Power | clocks.Staircase)

    @cached_property
    def warmup(self) -> Part | None:
        """The straight line up that it begins with, if something comes after it."""
        first = self.parts[0]
        match first.piece:
            case Ramp(start, final, _, "linear") if first.whole and 0 <= start < final and len(self.parts) > 1:
                return first
        return None

    @property
    def rest(self) -> tuple[Part, ...]:
        """The parts after the warmup, counted from its end."""
        if self.warmup is None:
            return self.parts
        return tuple(part.later(-self.warmup.length) for part in self.parts[1:])

    @cached_property
    def peak(self) -> float:
        return float(self.values.max())

    @cached_property
    def values(self) -> Any:
        """Of the run, thinned to some thousands where it is long, at `places`."""
        return self.schedule(self.places)

    @cached_property
    def places(self) -> Any:
        """The updates of the run, or the first and last ones and those between at equal distances."""
        n = self.updates
        if n <= 20_000:
            return np.arange(n)
        ends = np.arange(500)
        return np.unique(np.concatenate([ends, np.linspace(0, n - 1, 10_000).astype(np.int64), n - 1 - ends]))

    def simpler(self) -> Iterator[Outline]:
        """Plain schedules that come near this one: a warmup to where the peak is, and one curve to the value at the end."""
        n, peak, last = self.updates, self.peak, self.parts[-1]
        if isinstance(last.piece, Constant) and 0 < last.begin < n:
            n = last.begin  # where it has come to its end
        top = int(self.places[self.values.argmax()])
        first, final = self.schedule(0), self.schedule(n)
        rises = 0 < top < n and first < peak
        begins: list[tuple[Schedule | None, int, float]] = [(None, 0, peak)]
        if rises:
            begins.insert(0, (Ramp(first, peak, top), top, peak))
        if self.warmup is not None:
            begins.insert(0, (self.warmup.piece, self.warmup.length, self.warmup.arrives))
        for warm, up, peak in begins:
            curves: list[Schedule] = [Constant(peak)]
            if up < n and peak > final:
                curves += [Ramp(peak, final, n - up, name) for name in ("cosine", "linear")]
                stays = [part for part in self.parts if part.begin >= up and part.end is not None]
                flat = next((p.length for p in stays[:1] if isinstance(p.piece, Constant) and p.first == peak), 0)
                if 0 < flat < n - up:
                    curves.append(Constant(peak, flat) >> Ramp(peak, final, n - up - flat))
            if up < n and peak > final > 0:
                curves.append(Ramp(peak, final, n - up, "exponential"))
                curves.append(Power(peak, 0.5, timescale=max(up, 1)))
            for curve in curves:
                yield Outline(curve if warm is None else warm >> curve, self.updates)


def natural_end(schedule: Schedule) -> int | None:
    """Where a schedule without an end has plainly come to one: its decay is over, or its cosine begins to climb again.

    >>> from laju import constant, cosine
    >>> natural_end(cosine(1, total=10) >> constant(0)), natural_end(constant(1))
    (10, None)
    """
    found = list(_joined(list(itertools.islice(_parts(schedule, 0, 0, None), 8))))
    for part, after in itertools.pairwise(found):
        falls = not isinstance(part.piece, Constant) and part.end is not None and part.first > part.arrives
        if not falls:
            continue
        match after.piece:
            case Constant() if after is found[-1] and after.end is None:
                return part.end
            case Ramp(start, final, _, "cosine") if after.whole and start == part.arrives < final:
                return part.end
    return None


def _parts(s: Schedule, origin: Any, begin: int, end: int | None) -> Iterator[Part]:
    """The parts of `s`, which began at `origin`, for begin ≤ t < end."""
    if end is not None and begin >= end:
        return
    match s:
        case Ramp():
            yield from _ramp(s, origin, begin, end)
        case algebra.Chain():
            starts, parts = s.placed
            ends = [*(math.ceil(origin + at) for at in starts[1:]), end]
            for at, child, stop in zip(starts, parts, ends, strict=True):
                stop = stop if end is None or stop is None else min(stop, end)
                if stop is None or stop > begin:
                    # Only the last part may go on after `end`, and only where the whole does.
                    yield from _upto(child, origin + at, begin, stop, last=at == starts[-1])
                    begin = begin if stop is None else stop
        case clocks.Take(child, length):
            stop = math.ceil(origin + length)
            if begin < stop:
                yield from _upto(child, origin, begin, stop if end is None else min(stop, end), last=False)
            if end is None or end > stop:
                yield Part(max(begin, stop), None, Constant(child(length)), max(begin, stop))
        case clocks.Shift(child, by):
            stop = math.ceil(origin + by)
            if by > 0 and begin < stop:
                yield Part(begin, stop, Constant(child(0)), begin)
                begin = stop
            yield from _parts(child, origin + by, begin, end)
        case algebra.Overlay(top, bottom):
            boundary: Any = top.length
            stop = math.ceil(origin + boundary)
            if begin < stop:
                yield from _upto(top, origin, begin, stop if end is None else min(stop, end), last=False)
            yield from _parts(bottom, origin, max(begin, stop), end)
        case clocks.Repeat():
            yield from _cycles(s, origin, begin, end)
        case clocks.Stretch(child, by):
            for part in _parts(child, origin / by, math.ceil(begin / by), None if end is None else math.ceil(end / by)):
                longer = _stretched(part.piece, by)
                whole = (part.begin * by).is_integer() if isinstance(part.begin * by, float) else True
                if longer is None or not whole:
                    yield Part(begin, None, s, origin)
                    return
                stop_at = None if part.end is None else math.ceil(part.end * by)
                yield Part(math.ceil(part.begin * by), stop_at, longer, part.origin * by)
        case clocks.Staircase(child, every):
            yield from _stairs(s, child, every, origin, begin, end)
        case algebra.Product(parts) | algebra.Sum(parts) if sum(not isinstance(p, Constant) for p in parts) == 1:
            numbers = [p.value for p in parts if isinstance(p, Constant)]
            other = next(p for p in parts if not isinstance(p, Constant))
            change = _scaled if isinstance(s, algebra.Product) else _raised
            by = math.prod(numbers) if isinstance(s, algebra.Product) else math.fsum(numbers)
            for part in _parts(other, origin, begin, end):
                changed = change(part.piece, by)
                if changed is None:
                    yield Part(part.begin, None, s, origin)
                    return
                yield replace(part, piece=changed)
        case algebra.Maximum(parts) | algebra.Minimum(parts):
            yield from _bounded(s, parts, origin, begin, end)
        case Table(entries, every, "hold") if len(entries) <= _MOST:
            at = begin
            for i, value in enumerate(entries):
                stop = math.ceil(origin + (i + 1) * every) if i < len(entries) - 1 else None
                if stop is None or stop > at:
                    yield Part(at, stop, Constant(value), at)
                    at = at if stop is None else stop
        case Power(base, exponent, offset, timescale):
            moved = begin - origin
            offset = offset + moved / timescale
            yield Part(begin, None, Power(base * offset**-exponent, exponent, timescale=timescale * offset), begin)
        case Exponential(start, factor, every):
            yield Part(begin, None, s if begin == origin else Exponential(s(begin - origin), factor, every), begin)
        case Constant(value):
            yield Part(begin, None, Constant(value), begin)
        case clocks.Reverse(Ramp(start, final, length, "linear" | "cosine" as name, False, False)):
            yield from _ramp(Ramp(final, start, length, name), origin, begin, end)
        case _:
            yield Part(begin, None, s, origin)


def _upto(s: Schedule, origin: Any, begin: int, end: int | None, last: bool) -> Iterator[Part]:
    """As `_parts`, cut at `end` unless it is the last thing there is."""
    for part in _parts(s, origin, begin, end):
        if last:
            yield part
        elif end is None or part.begin < end:
            stop = part.end if end is None else end if part.end is None else min(part.end, end)
            yield replace(part, end=stop)


def _ramp(s: Ramp, origin: Any, begin: int, end: int | None) -> Iterator[Part]:
    lead, n = s.grid
    origin = origin - lead
    stop = math.ceil(origin + n)
    if begin < stop:
        plain = Ramp(s.start, s.final, n, s.shape)
        part = Part(begin, stop, plain, origin)
        moved = begin - origin
        power = s.shape.startswith("power(") or s.shape == "linear"
        if moved and power:
            part = Part(begin, stop, Ramp(plain(moved), s.final, n - moved, s.shape), begin)
        elif shape(s.shape).geometric:
            part = Part(begin, stop, Exponential(plain(moved), s.final / s.start, n), begin)
        yield part
    if end is None or end > stop:
        at = max(begin, stop)
        yield Part(at, None, Constant(s.final), at)


def _cycles(s: clocks.Repeat, origin: Any, begin: int, end: int | None) -> Iterator[Part]:
    for i in itertools.count() if s.count is None else range(s.count):
        start, stop = origin + s.cycle_begin(i), math.ceil(origin + s.cycle_begin(i + 1))
        if end is not None and start >= end:
            return
        if stop > begin:
            yield from _upto(s.cycle(i), start, max(begin, math.ceil(start)), stop, last=False)
    assert s.count is not None
    at: Any = s.length
    last = max(begin, math.ceil(origin + at))
    yield Part(last, None, Constant(s(at)), last)


def _stairs(s: Schedule, child: Schedule, every: Any, origin: Any, begin: int, end: int | None) -> Iterator[Part]:
    inner = child
    while isinstance(inner, clocks.Staircase) and (inner.every % every == 0 or every % inner.every == 0):
        every, inner = max(every, inner.every), inner.child
    if isinstance(inner, Exponential) and begin == origin:
        yield Part(begin, None, inner.staircase(every), begin)
        return
    if isinstance(child, Constant):
        yield Part(begin, None, child, begin)
        return
    at, length = begin, child.length
    last = list(itertools.islice(_parts(child, 0, 0, None), _MOST))[-1]
    if last.end is None and isinstance(last.piece, Constant):
        length = last.begin
    for i in itertools.count():
        stop = math.ceil(origin + (i + 1) * every)
        value = s(max(at - origin, 0))
        over = length is not None and i * every >= length
        if over or (end is not None and at >= end):
            yield Part(at, None, Constant(value) if over else s.shift(-int(at - origin)), at)
            return
        if stop > at:
            yield Part(at, stop, Constant(value), at)
            at = stop


def _bounded(s: Schedule, parts: Any, origin: Any, begin: int, end: int | None) -> Iterator[Part]:
    """An exponential down to a bound, as some systems have it."""
    bounds = [p for p in parts if isinstance(p, Constant)]
    others = [p for p in parts if not isinstance(p, Constant)]
    if len(bounds) == 1 and len(others) == 1 and begin == origin and end is not None:
        bound, other, low = bounds[0].value, others[0], isinstance(s, algebra.Maximum)
        values = other.values(end - begin)
        reached = np.flatnonzero(values <= bound if low else values >= bound)
        monotone = isinstance(other, Exponential) or isinstance(getattr(other, "child", None), Exponential)
        if monotone and reached.size and reached[0]:
            stop = begin + int(reached[0])
            yield from _upto(other, origin, begin, stop, last=False)
            yield Part(stop, None, Constant(bound), stop)
            return
        if monotone and not reached.size:
            yield from _parts(other, origin, begin, end)
            return
    yield Part(begin, None, s, origin)


def _scaled(piece: Schedule, by: float) -> Schedule | None:
    match piece:
        case Constant(value):
            return Constant(value * by)
        case Ramp(start, final, length, name) if by or not shape(name).geometric:
            return Ramp(start * by, final * by, length, name)
        case Exponential(start, factor, every):
            return Exponential(start * by, factor, every)
        case Power(base, exponent, offset, timescale):
            return Power(base * by, exponent, offset, timescale)
        case clocks.Staircase(Exponential(start, factor, each), every):
            return Exponential(start * by, factor, each).staircase(every)
    return None


def _raised(piece: Schedule, by: float) -> Schedule | None:
    match piece:
        case Constant(value):
            return Constant(value + by)
        case Ramp(start, final, length, name) if not shape(name).geometric:
            return Ramp(start + by, final + by, length, name)
    return None


def _stretched(piece: Schedule, by: float) -> Schedule | None:
    match piece:
        case Constant():
            return piece
        case Ramp(start, final, length, name):
            return Ramp(start, final, length * by, name)
        case Exponential(start, factor, every):
            return Exponential(start, factor, every * by)
        case Power(base, exponent, offset, timescale):
            return Power(base, exponent, offset, timescale * by)
    return None


def _joined(parts: list[Part]) -> Iterator[Part]:
    """Constants that follow each other with the same value are one part; so is a ramp with the beginning that it was cut from."""
    found: list[Part] = []
    for part in parts:
        before = found[-1] if found else None
        if before is not None and isinstance(before.piece, Constant):
            value = before.piece.value
            same = isinstance(part.piece, Constant) and part.piece.value == value
            begins = isinstance(part.piece, Ramp) and part.origin == before.begin == part.begin - 1
            if same or (begins and part.piece(0) == value):
                found[-1] = replace(part, begin=before.begin, origin=before.begin)
                continue
        found.append(part)
    return iter(found)
