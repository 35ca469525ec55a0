"""A schedule as a sequence of formulas, each for a range of updates, from which a schedule is written for other systems.

Schedules of most systems are a sequence of a warmup, a decay and a tail. `Outline` reads the sequence from the outline of any
schedule, in whole updates, so that `laju.convert.writers` can write the sequence in the terms of a system.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from laju.core.outline import Form, Geometric, InversePower, Level, Transition, met, stepwise
from laju.core.outline import Part as Piece
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.core.shapes import shape

_FEW, _MOST = 12, 200
"""The numbers of parts that are laid out: at least 12, at most 200; the rest becomes a last part, which no writer reads."""


@dataclass(frozen=True)
class Part:
    """`piece`, whose own clock is 0 at `origin`, in force at updates `begin` … `end` - 1; `end` is None for a part without end.

    A piece that was cut at its beginning is rewritten to begin there where its kind allows.
    """

    begin: int
    end: int | None
    piece: Schedule
    origin: float

    @property
    def form(self) -> Form | None:
        return self.piece.form

    @property
    def level(self) -> float | None:
        return self.piece.level

    @property
    def whole(self) -> bool:
        """Whether the piece's clock shows 0 at the beginning of the part."""
        return self.origin == self.begin

    @property
    def length(self) -> int:
        """Updates for which the part is in force; 0 for a part without end."""
        return 0 if self.end is None else self.end - self.begin

    @property
    def first(self) -> float:
        return _value_or_nan(self.piece, self.begin - self.origin)

    @property
    def arrives(self) -> float:
        """The value that the part reaches at its end."""
        return _value_or_nan(self.piece, (self.begin if self.end is None else self.end) - self.origin)

    def later(self, by: int) -> Part:
        return replace(
            self, begin=self.begin + by, end=None if self.end is None else self.end + by, origin=self.origin + by
        )


def _value_or_nan(piece: Schedule, t: Any) -> float:
    try:
        return float(piece(t))
    except (ValueError, ArithmeticError):
        return math.nan  # beyond the floats


@dataclass(frozen=True)
class Outline:
    """A schedule as a sequence of parts, for a run of `updates` updates and some time beyond.

    `complete`: whether the parts cover the whole schedule.
    """

    schedule: Schedule
    updates: int

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        return tuple(_joined(_first_parts(self.schedule, 2 * self.updates + 2, _MOST)))

    @property
    def complete(self) -> bool:
        last = self.parts[-1]
        return last.end is None and isinstance(last.form, Level | Geometric | InversePower)

    @cached_property
    def warmup(self) -> Part | None:
        """The linear rise at the beginning, if another part follows; else None."""
        first = self.parts[0]
        match first.form:
            case Transition(start, final, _, "linear") if first.whole and 0 <= start < final and len(self.parts) > 1:
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
        """Values of the run at `places`, thinned to some thousands in a long run."""
        return self.schedule(self.places)

    @cached_property
    def places(self) -> Any:
        """The updates of the run; in a long run the first, the last and updates at equal distances between."""
        n = self.updates
        if n <= 20_000:
            return np.arange(n)
        ends = np.arange(500)
        return np.unique(np.concatenate([ends, np.linspace(0, n - 1, 10_000).astype(np.int64), n - 1 - ends]))

    def simpler(self) -> Iterator[Outline]:
        """Simpler schedules close to this schedule: a warmup to the peak, then a curve to the last value."""
        n, peak, last = self.updates, self.peak, self.parts[-1]
        if last.level is not None and 0 < last.begin < n:
            n = last.begin  # the update at which the constant tail begins
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
                flat = next((p.length for p in stays[:1] if p.level == peak), 0)
                if 0 < flat < n - up:
                    curves.append(Constant(peak, flat) >> Ramp(peak, final, n - up - flat))
            if up < n and peak > final > 0:
                curves.append(Ramp(peak, final, n - up, "exponential"))
                curves.append(Power(peak, 0.5, timescale=max(up, 1)))
            for curve in curves:
                yield Outline(curve if warm is None else warm >> curve, self.updates)


def natural_end(schedule: Schedule) -> int | None:
    """The update at which an endless schedule has effectively ended: the decay is over, or the cosine begins to rise again.

    >>> from laju import constant, cosine
    >>> natural_end(cosine(1, total=10) >> constant(0)), natural_end(constant(1))
    (10, None)
    """
    found = list(_joined(_first_parts(schedule, math.inf, 8)))
    for part, after in itertools.pairwise(found):
        falls = part.level is None and part.end is not None and part.first > part.arrives
        if not falls:
            continue
        match after.form:
            case Level() if after is found[-1] and after.end is None:
                return part.end
            case Transition(start, final, _, "cosine") if after.whole and start == part.arrives < final:
                return part.end
    return None


def _first_parts(schedule: Schedule, until: float, most: int) -> Iterator[Part]:
    """The first parts, at most `most` and few after `until`; the rest of the schedule is the last part."""
    count, at = 0, 0
    for found, _, _ in met(schedule.outline, 0, lambda at: at if at == math.inf else math.ceil(at)):
        slow = _as_staircase(found)
        for part in [slow] if slow is not None else stepwise([found]):
            end = None if part.end == math.inf else math.ceil(part.end)
            if end is not None and end <= at:
                continue  # between two updates
            count += 1
            # A repetition without end fills any number of parts; from its third cycle on there is nothing new to lay out.
            again = any(cycle.until == math.inf and cycle.number > 1 for cycle in found.cycles)
            if count > most or (at >= until and (count > _FEW or again)):
                yield Part(at, None, schedule.shift(-at), at)
                return
            yield _begun(part, at, end)
            if end is None:
                return
            at = end


def _as_staircase(part: Piece) -> Piece | None:
    """A part that is held for steps as a single piece: an exponential from its beginning on."""
    match part.held, part.piece.form:
        case (begin, every), Geometric(steps=0) if begin == part.origin == part.begin:
            return replace(part, piece=part.piece.staircase(every), held=None)
    return None


def _begun(part: Piece, begin: int, end: int | None) -> Part:
    """The part in whole updates, with a clock that begins where the part does if its kind allows that."""
    moved = begin - part.origin
    try:
        match part.piece.form:
            case Level(value):
                return Part(begin, end, Constant(value), begin)
            case Transition(start, final, length, name) if shape(name).geometric:
                return Part(begin, end, Exponential(part.piece(moved), final / start, length), begin)
            case Transition(_, final, length, name) if moved and (name == "linear" or name.startswith("power(")):
                return Part(begin, end, Ramp(part.piece(moved), final, length - moved, name), begin)
            case Transition() as form:
                return Part(begin, end, Ramp(*form), part.origin)
            case Geometric(_, factor, every, 0):
                return Part(begin, end, Exponential(part.piece(moved), factor, every), begin)
            case InversePower(base, exponent, offset, timescale):
                # base·(offset + t/timescale)^-k counted from a later t: the offset is taken into base and timescale, so that
                # the new offset is 1, as systems write it.
                offset = offset + moved / timescale
                return Part(begin, end, Power(base * offset**-exponent, exponent, timescale=timescale * offset), begin)
    except (ValueError, ArithmeticError):
        pass  # a number that leaves the floats
    return Part(begin, end, part.piece, part.origin)


def _joined(parts: Iterator[Part]) -> Iterator[Part]:
    """Equal constants in sequence join into a part, and a ramp joins with the beginning that was cut off."""
    before: Part | None = None
    for part in parts:
        if before is not None:
            same = before.level is not None and part.level == before.level
            begins = isinstance(part.form, Transition) and part.origin == before.begin == part.begin - 1
            if same or (begins and before.level is not None and part.piece(0) == before.level):
                part = replace(part, begin=before.begin, origin=before.begin)
            else:
                yield before
        before = part
    if before is not None:
        yield before
