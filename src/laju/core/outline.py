"""The outline of a schedule: which piece is in force from where to where, and where the piece came from.

Every node defines its own outline (`Schedule.outline`). Code that asks about the structure of a schedule (its boundaries, its
sums, its warmup, its translation to another system) reads the outline, and never the class of a node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from laju.core.arrays import Namespace, counted
from laju.core.node import NODES


class Level(NamedTuple):
    """The same value at every update."""

    value: float


class Transition(NamedTuple):
    """A transition from `start` to `final` over `length` updates along a shape."""

    start: float
    final: float
    length: Any
    shape: str


class Geometric(NamedTuple):
    """Geometric decay, start·factor^(t/every); each value is held for `steps` updates unless `steps` is 0."""

    start: float
    factor: float
    every: Any
    steps: Any = 0


class InversePower(NamedTuple):
    """Inverse-power decay, base·(offset + t/timescale)^-exponent."""

    base: float
    exponent: float
    offset: float
    timescale: Any


Form = Level | Transition | Geometric | InversePower
"""The formulas that have a name in every system; `Schedule.form` gives the formula of a schedule."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """The cycle of a repetition in which a part lies.

    Args:
        number: index of the cycle, from 0.
        begin, end: positions between which the cycle lies.
        since, until: beginning of the first cycle and end of the last cycle; `until` is infinity for endless cycles.
        decay: the factor on the values from each cycle to the next.
        even: whether all cycles have the same length, and values repeat after two cycles except for the decay.
    """

    number: int
    begin: Any
    end: Any
    since: Any
    until: Any
    decay: float = 1.0
    even: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a schedule: its value at t is piece(t - origin) for begin ≤ t < end, up to rounding.

    Args:
        begin, end: positions, which may lie between two updates; `end` is infinity if the part never ends.
        piece: a schedule that is not composed of other schedules if possible, such as a `Constant` or a `Ramp`.
        origin: the position at which the clock of the piece shows 0; before `begin` if the piece was cut.
        node: the node that produced this part.
        inside: the children's parts in force, if the node combines or changes their values.
        how: the operation of the node on the parts inside: "×", "+", "reversed", "in samples" …; "listed" for values of a table.
        cycles: the cycles in which the part lies, the innermost first.
        held: (begin, length) of steps if the value at the beginning of each step is held for the whole step.
        crosses: whether the part begins where two curves cross, at a position that no length of the schedule determines.
    """

    begin: Any
    end: Any
    piece: Any
    origin: Any
    node: Any
    inside: tuple[Part, ...] = ()
    how: str = ""
    cycles: tuple[Cycle, ...] = ()
    held: tuple[Any, Any] | None = None
    crosses: bool = False

    def at(self, t: Any) -> Any:
        """The value at a position, or the values at an array of positions; infinity or NaN if there is no finite value."""
        piece, level = self.piece, self.piece.level
        if not isinstance(t, np.ndarray):
            if level is not None:
                return level
            if t == self.origin and self.held is None:
                return piece._initial()
            # Subtract the origin first: the difference of two Python integers is exact even beyond the integers of an array.
            local = max(self._step(t) - self.origin, 0)
            return float(
                self._local(np.array([local if abs(local) < 2**62 and isinstance(local, int) else float(local)]))[0]
            )
        if level is not None:
            return np.full(t.shape, level)
        origin = self.origin if isinstance(self.origin, int) and abs(self.origin) < 2**62 else float(self.origin)
        return self._local(np.maximum(self._step(t) - origin, 0))

    def _step(self, t: Any) -> Any:
        """The position whose value is held at t."""
        if self.held is None:
            return t
        begin, length = self.held
        return begin + (t - begin) // length * length

    def _local(self, t: np.ndarray) -> Any:
        """Values of the piece at positions on the clock of the piece."""
        ns = _namespaces()[t.dtype.kind == "f"]
        with np.errstate(all="ignore"):
            return np.asarray(self.piece._array(t, ns))

    @property
    def leaf(self) -> Any:
        """The node that gives the values before any scaling or raising; the node itself if several parts are inside."""
        moving = [part for part in self.inside if part.piece.level is None] or self.inside[:1]
        return moving[0].leaf if len(moving) == 1 else self.node

    @property
    def arrives(self) -> float:
        """The value that the part reaches at its end."""
        end = self.end if math.isfinite(self.end) else self.begin
        before = math.nextafter(end, self.begin)
        if self.held is not None:
            return float(self.at(before))
        value = float(self.at(end))
        if self.piece.children:  # at the end of a composition another formula may be in force already
            limit = float(self.at(before))
            if abs(limit - value) > 1e-6 * max(abs(limit), abs(value)):
                return limit
        return value

    def steps(self) -> Iterator[Part]:
        """The part, or each of its steps if values are held."""
        if self.held is None:
            yield self
            return
        start, length = self.held
        at, constant = self.begin, NODES["Constant"]
        k = (at - start) // length
        while at < self.end:
            k += 1
            stop = min(_whole_as_int(start + k * length), self.end)
            value = self._value(start + (k - 1) * length - self.origin)
            if not math.isfinite(value):
                yield replace(self, begin=at, end=stop)
            elif stop > at:
                yield replace(self, begin=at, end=stop, piece=constant(value), origin=at, inside=(), how="", held=None)
            at = stop

    def _value(self, t: Any) -> float:
        """The value of the piece by a scalar call, which is quick for many positions of the same piece."""
        try:
            return float(self.piece._at(max(t, 0)))
        except (ArithmeticError, ValueError):
            return math.inf

    def moved(self, by: Any) -> Part:
        """The part, moved `by` updates later."""
        if by == 0:
            return self
        held = None if self.held is None else (self.held[0] + by, self.held[1])
        return self.on(lambda position: position + by, held=held)

    def among(self, cycle: Cycle) -> Part:
        """The part, marked as lying in a cycle."""
        return replace(self, cycles=(*self.cycles, cycle))

    def on(self, clock: Callable[[Any], Any], **changes: Any) -> Part:
        """The part on another clock: `clock` gives the position there of a position here."""
        cycles = tuple(
            Cycle(c.number, clock(c.begin), clock(c.end), clock(c.since), clock(c.until), c.decay, c.even)
            for c in self.cycles
        )
        place = {"begin": clock(self.begin), "end": clock(self.end), "origin": clock(self.origin), "cycles": cycles}
        return replace(self, **{**place, **changes})

    def uneven(self) -> tuple[Cycle, ...]:
        """The cycles, marked as uneven, for values that do not repeat with the part."""
        return tuple(replace(cycle, even=False) for cycle in self.cycles)


def _whole_as_int(position: Any) -> Any:
    return int(position) if isinstance(position, float) and position.is_integer() else position


@lru_cache(maxsize=1)
def _namespaces() -> tuple[Namespace, Namespace]:
    """For arrays of whole positions, and of others."""
    ns = counted(0, 0)[1]
    return ns, ns.of_floats()


def within(parts: Iterable[Part], begin: Any, end: Any, by: Any = 0) -> Iterator[Part]:
    """Parts that are moved `by`, and then cut to begin ≤ t < end."""
    for part in parts:
        part = part.moved(by)
        if part.begin >= end:
            return
        if part.end <= begin:
            continue
        if part.begin < begin or part.end > end:
            cycles = tuple(replace(c, until=min(c.until, end)) for c in part.cycles)
            part = replace(part, begin=max(part.begin, begin), end=min(part.end, end), cycles=cycles)
        yield part


def stepwise(parts: Iterable[Part]) -> Iterator[Part]:
    """Parts, split into single steps where values are held."""
    for part in parts:
        yield from part.steps()


_PASSED = 10
"""Parts between two positions of a clock that are skipped individually."""


def met(
    outline: Callable[[Any], Iterator[Part]], begin: Any, clock: Callable[[Any], Any]
) -> Iterator[tuple[Part, Any, Any]]:
    """Yield (part, begin, end) for each part that a slower clock meets, on that clock; any number of parts may be skipped.

    Args:
        outline: the parts from a position of the slower clock on.
        begin: position of the slower clock.
        clock: gives the first position of the slower clock that is not before a position of the parts.
    """
    parts, passed, latest = outline(begin), 0, begin
    while (part := next(parts, None)) is not None:
        first, stop = clock(part.begin), clock(part.end)
        if first < stop:
            passed = 0
            yield part, first, stop
        elif (passed := passed + 1) >= _PASSED and stop > latest:
            parts, passed, latest = outline(stop), 0, stop


def abreast(outlines: list[Iterator[Part]], end: Any) -> Iterator[tuple[Any, Any, tuple[Part, ...]]]:
    """Yield (begin, end, parts in force in all outlines) for each interval in which no part changes, up to `end`."""
    rows = [next(outline, None) for outline in outlines]
    row = [part for part in rows if part is not None]
    at = max((part.begin for part in row), default=end)
    while len(row) == len(outlines):
        stop = min(part.end for part in row)
        if stop > at:
            yield at, stop, tuple(row)
            at = stop
        if at >= end or stop == math.inf:
            return
        # The last part of an outline ends at `end` up to rounding, so that one outline may be over before the others.
        rows = [next(outline, None) if part.end <= at else part for part, outline in zip(row, outlines, strict=True)]
        row = [part for part in rows if part is not None]


_CLOSE = 4096


def crossings(row: tuple[Part, ...], begin: Any, end: Any, pick: Callable[..., Any]) -> Iterator[tuple[Any, Part]]:
    """Yield (begin, part) for each change of the part with the smallest or largest value, for begin ≤ t < end.

    A short interval is evaluated at every update, a long interval at some thousands of updates, dense at both ends. A single
    crossing between two evaluated updates is found exactly, so no crossing of a monotone curve with a constant is missed.
    """

    def winners(t: Any) -> Any:
        return pick(np.stack([part.at(t) for part in row]), axis=0)

    if all(part.piece.level is not None for part in row):
        places = np.array([float(begin)])
    else:
        first = float(begin) if isinstance(begin, Fraction) else begin
        last = math.nextafter(end, begin) if end < math.inf else max(begin, 1) * 2.0**62
        span = min(last - begin, 2.0**63)
        if span <= _CLOSE:
            places = np.append(first + np.arange(math.floor(span) + 1, dtype=float), last)
        else:
            near = np.geomspace(1, span, _CLOSE // 4)
            even = np.linspace(0, span, _CLOSE // 2)
            places = first + np.unique(np.clip(np.concatenate([[0], near, even, span - near]), 0, span))
    chosen = winners(places)
    since, winner = begin, row[int(chosen[0])]
    for i in np.flatnonzero(np.diff(chosen)):
        low, high, new = float(places[i]), float(places[i + 1]), chosen[i + 1]
        # Bisection down to two neighbouring floats, where the middle is one of them.
        while (middle := (low + high) / 2) not in (low, high):
            low, high = (low, middle) if winners(np.array([middle]))[0] == new else (middle, high)
        at = (
            round(high) if abs(high - round(high)) <= 1e-9 * max(high, 1) else high
        )  # curves that touch at an update cross there
        if at > since:
            yield since, winner
            since = _whole_as_int(at)
        winner = row[int(new)]
    yield since, winner
