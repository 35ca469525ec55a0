"""What a schedule does over a run: its segments, extremes, sums, and where it jumps."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import singledispatch
from typing import Any, Literal

import numpy as np

from laju.core import algebra, clocks, pieces
from laju.core.checks import shown, whole
from laju.core.schedule import Schedule

_BLOCK = 1 << 20
_MOST = 10_000
"""Segments and jumps that are listed; beyond it a staircase over a long run would fill the memory."""


@dataclass(frozen=True)
class Segment:
    """Updates `begin` to `end` - 1, in which one formula is in force; `end` is None when it never ends.

    `first` is the value at `begin`, `last` the one that the segment arrives at, at `end`.
    """

    begin: int
    end: int | None
    first: float
    last: float
    formula: str


@dataclass(frozen=True)
class Jump:
    """A step in the value at update `at`: from `before`, which the earlier part arrives at, to `after`."""

    at: int
    before: float
    after: float

    @property
    def by(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Description:
    """The facts of a schedule over a run of `updates` updates.

    `final` is the value of the last update, `end` the one that it arrives at; `sum` is Σ s(t) and `sum_of_squares` Σ s(t)²
    over t = 0 … updates - 1; `monotone` is "constant", "rising", "falling" or None.
    """

    updates: int
    duration: float | None
    first: float
    final: float
    end: float
    peak: float
    peak_at: int
    lowest: float
    lowest_at: int
    mean: float
    sum: float
    sum_of_squares: float
    monotone: Literal["constant", "rising", "falling"] | None
    breakpoints: tuple[int, ...]
    jumps: tuple[Jump, ...]
    segments: tuple[Segment, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "jumps": [{**asdict(jump), "by": jump.by} for jump in self.jumps]}


def describe(schedule: Schedule, updates: int | None = None) -> Description:
    """The facts of a schedule over a run.

    Args:
        schedule: a schedule in updates.
        updates: of the run; by default until the schedule ends.

    Raises:
        ValueError: an endless schedule without `updates`, or a run of no update.

    >>> from laju import cosine
    >>> facts = describe(cosine(0.3, total=20, warmup=5))
    >>> facts.peak, facts.peak_at, facts.first, facts.end, facts.breakpoints
    (0.3, 5, 0.0, 0.0, (5,))
    """
    n = run_length(schedule, updates)
    peak, peak_at, lowest, lowest_at = -math.inf, 0, math.inf, 0
    total = squares = 0.0
    rises = falls = False
    before: float | None = None
    for begin in range(0, n, _BLOCK):
        values = schedule.values(min(_BLOCK, n - begin), start=begin)
        if (top := float(values.max())) > peak:
            peak, peak_at = top, begin + int(values.argmax())
        if (bottom := float(values.min())) < lowest:
            lowest, lowest_at = bottom, begin + int(values.argmin())
        total, squares = total + float(values.sum()), squares + float(np.square(values).sum())
        steps = np.diff(values, prepend=values[0] if before is None else before)
        noise = 4 * np.spacing(max(abs(peak), abs(lowest)))  # a formula's last digit is not a rise
        rises, falls = rises or bool((steps > noise).any()), falls or bool((steps < -noise).any())
        before = float(values[-1])
    points = tuple(itertools.islice(breakpoints(schedule, n), _MOST))
    return Description(
        updates=n,
        duration=schedule.length,
        first=schedule(0),
        final=schedule(n - 1),
        end=schedule(n),
        peak=peak,
        peak_at=peak_at,
        lowest=lowest,
        lowest_at=lowest_at,
        mean=total / n,
        sum=total,
        sum_of_squares=squares,
        monotone=None if rises and falls else "rising" if rises else "falling" if falls else "constant",
        breakpoints=points,
        jumps=tuple(_jumps(schedule, points)),
        segments=tuple(_segments(schedule, points, n)),
    )


def run_length(schedule: Schedule, updates: int | None = None) -> int:
    """The updates of a run: as given, else those until the schedule ends."""
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a laju schedule, got {shown(schedule)}")
    schedule.require_resolved()
    if updates is not None:
        return whole("updates", updates, least=1)
    if schedule.length is None:
        raise ValueError(f"{shown(schedule)} has no end, so say how many updates to look at")
    length: Any = schedule.length
    return int(max(1, math.ceil(length)))


def jumps(schedule: Schedule, updates: int | None = None) -> list[Jump]:
    """Where the value steps, inside a run.

    >>> from laju import multi_factor
    >>> jumps(multi_factor(1.0, [3, 5], 0.5), updates=10)
    [Jump(at=3, before=1.0, after=0.5), Jump(at=5, before=0.5, after=0.25)]
    """
    points = itertools.islice(breakpoints(schedule, run_length(schedule, updates)), _MOST)
    return list(_jumps(schedule, points))


def _jumps(schedule: Schedule, points: Any) -> Iterator[Jump]:
    for at in points:
        after, before = schedule(at), _arriving(schedule, at)
        scale = max(abs(before), abs(after), abs(schedule(0)))
        if abs(after - before) > 1e-9 * scale:
            yield Jump(at, before, after)


def _arriving(schedule: Schedule, at: int) -> float:
    """The limit of the value from the left: pieces are half-open, so the number just before `at` is still in the old one."""
    return float(f"{schedule(math.nextafter(at, 0)):.12g}")  # without the trace that the tiny step leaves


def _segments(schedule: Schedule, points: tuple[int, ...], n: int) -> Iterator[Segment]:
    for begin, end in itertools.pairwise([0, *points, n]):
        if begin < end:
            yield Segment(begin, end, schedule(begin), _arriving(schedule, end), formula(schedule, begin))


# --- breakpoints -----------------------------------------------------------------------------------------------------


def breakpoints(schedule: Schedule, until: int) -> Iterator[int]:
    """Updates in (0, until) at which another formula comes into force, in order.

    >>> from laju import cosine, linear
    >>> list(breakpoints(cosine(1, total=10, warmup=4) * linear(1, 0, total=7), until=100))
    [4, 7, 10]
    """
    last = 0
    for at in _points(schedule, until):
        update = math.ceil(at)  # a boundary between two updates shows at the second one
        if last < update < until:
            last = update
            yield update


@singledispatch
def _points(schedule: Schedule, until: float) -> Iterator[float]:
    """Boundaries in [0, until), in order; a piece's own end is one."""
    length = schedule.length
    if length is not None and length < until:
        yield length


@_points.register
def _(schedule: pieces.Constant, until: float) -> Iterator[float]:
    return iter(())


@_points.register
def _(schedule: pieces.Ramp, until: float) -> Iterator[float]:
    lead, n = schedule.grid
    end = n - lead if n or not schedule.length else 1  # of a single update with endpoint=True
    if end < until:
        yield end


@_points.register
def _(schedule: pieces.Table, until: float) -> Iterator[float]:
    for i in range(1, len(schedule.entries)):
        if i * schedule.every >= until:
            return
        yield i * schedule.every


@_points.register
def _(schedule: algebra.Chain, until: float) -> Iterator[float]:
    starts, parts = schedule.placed
    for start, end, part in zip(starts, [*starts[1:], math.inf], parts, strict=True):
        if start >= until:
            return
        yield start
        yield from (start + at for at in _points(part, min(end, until) - start))


def _merged(children: tuple[Schedule, ...], until: float) -> Iterator[float]:
    import heapq

    return heapq.merge(*(_points(child, until) for child in children))


@_points.register
def _(schedule: algebra.Combination, until: float) -> Iterator[float]:
    if isinstance(schedule, algebra.Minimum | algebra.Maximum):
        return _extremes(schedule, until)
    return _merged(schedule.parts, until)


def _extremes(schedule: algebra.Minimum | algebra.Maximum, until: float) -> Iterator[float]:
    """Where another part becomes the smallest or largest, and the boundaries of all of them."""
    if until <= 0:
        return iter(())
    pick: Any = np.argmin if isinstance(schedule, algebra.Minimum) else np.argmax
    length: Any = schedule.length
    n = math.ceil(min(until, _BLOCK if length is None else length + 1))
    chosen = pick(np.stack([part.values(n) for part in schedule.parts]), axis=0)
    found: set[float] = set((np.flatnonzero(np.diff(chosen)) + 1).tolist())
    return iter(sorted(found | set(_merged(schedule.parts, until))))


@_points.register
def _(schedule: clocks.Take, until: float) -> Iterator[float]:
    yield from _points(schedule.child, min(schedule.length, until))
    if schedule.length < until and not isinstance(schedule.child, pieces.Constant):
        yield schedule.length


@_points.register
def _(schedule: algebra.Overlay, until: float) -> Iterator[float]:
    boundary: Any = schedule.top.length
    yield from _points(schedule.top, min(boundary, until))
    if boundary < until:
        yield boundary
        yield from (at for at in _points(schedule.bottom, until) if at > boundary)


@_points.register
def _(schedule: clocks.Shift, until: float) -> Iterator[float]:
    if 0 < schedule.by < until:
        yield schedule.by
    yield from (at + schedule.by for at in _points(schedule.child, until - schedule.by) if at + schedule.by > 0)


@_points.register
def _(schedule: clocks.Stretch, until: float) -> Iterator[float]:
    yield from (at * schedule.by for at in _points(schedule.child, until / schedule.by))


@_points.register
def _(schedule: clocks.Clock, until: float) -> Iterator[float]:
    end = schedule.pace[-1][1] + until * schedule.pace[-1][2]
    yield from (update for at in _points(schedule.child, end) if (update := schedule.update_at(at)) < until)


@_points.register
def _(schedule: clocks.Staircase, until: float) -> Iterator[float]:
    length: Any = schedule.length
    end = until if length is None else min(until, length + 1)
    for i in itertools.count(1):
        if i * schedule.every >= end:
            return
        yield i * schedule.every


@_points.register
def _(schedule: clocks.Reverse, until: float) -> Iterator[float]:
    length: Any = schedule.length
    inside = sorted(length - at for at in _points(schedule.child, length) if at > 0)
    yield from (at for at in [*inside, length] if at < until)


@_points.register
def _(schedule: clocks.Repeat, until: float) -> Iterator[float]:
    count = itertools.count() if schedule.count is None else range(schedule.count)
    for i in count:
        begin = schedule.cycle_begin(i)
        if begin >= until:
            return
        yield begin
        yield from (begin + at for at in _points(schedule.cycle(i), min(schedule.cycle_begin(i + 1), until) - begin))
    end: Any = schedule.length
    if end is not None and end < until:
        yield end


# --- formulas --------------------------------------------------------------------------------------------------------


def formula(schedule: Schedule, t: int) -> str:
    """What is in force at update t, in words.

    >>> from laju import cosine
    >>> formula(cosine(0.3, total=20, warmup=5), 7)
    'cosine 0.3 → 0.0'
    """
    return _formula(schedule, t)


@singledispatch
def _formula(schedule: Schedule, t: Any) -> str:
    return type(schedule).__name__.lower()


@_formula.register
def _(schedule: pieces.Constant, t: Any) -> str:
    return f"constant {schedule.value!r}"


@_formula.register
def _(schedule: pieces.Ramp, t: Any) -> str:
    lead, n = schedule.grid
    return (
        f"{schedule.shape} {schedule.start!r} → {schedule.final!r}" if t < n - lead else f"constant {schedule.final!r}"
    )


@_formula.register
def _(schedule: pieces.Exponential, t: Any) -> str:
    every = "update" if schedule.every == 1 else f"{schedule.every} updates"
    return f"×{schedule.factor!r} every {every}"


@_formula.register
def _(schedule: pieces.Power, t: Any) -> str:
    return f"{schedule.base!r}·({schedule.offset!r} + t/{schedule.timescale!r})^-{schedule.exponent!r}"


@_formula.register
def _(schedule: algebra.Chain, t: Any) -> str:
    starts, parts = schedule.placed
    i = bisect.bisect_right(starts, t) - 1
    return _formula(parts[i], t - starts[i])


@_formula.register
def _(schedule: algebra.Combination, t: Any) -> str:
    if isinstance(schedule, algebra.Minimum | algebra.Maximum):
        pick: Callable[..., Any] = min if isinstance(schedule, algebra.Minimum) else max
        return _formula(pick(schedule.parts, key=lambda part: part(t)), t)
    joined = {algebra.Product: " × ", algebra.Sum: " + "}[type(schedule)]
    return joined.join(f"({_formula(part, t)})" for part in schedule.parts)


@_formula.register
def _(schedule: algebra.Overlay, t: Any) -> str:
    return _formula(schedule.top if t < schedule.top.length else schedule.bottom, t)


@_formula.register
def _(schedule: clocks.Take, t: Any) -> str:
    if t >= schedule.length:
        return f"constant {schedule(math.ceil(schedule.length))!r}"
    return _formula(schedule.child, t)


@_formula.register
def _(schedule: clocks.Staircase, t: Any) -> str:
    return f"constant {schedule(t)!r}"


@_formula.register
def _(schedule: clocks.Shift, t: Any) -> str:
    return _formula(schedule.child, max(0, t - schedule.by))


@_formula.register
def _(schedule: clocks.Stretch, t: Any) -> str:
    return _formula(schedule.child, t / schedule.by)


@_formula.register
def _(schedule: clocks.Clock, t: Any) -> str:
    begin, seen, each = [stretch for stretch in schedule.pace if stretch[0] <= t][-1]
    return f"{_formula(schedule.child, seen + (t - begin) * each)} (in samples)"


@_formula.register
def _(schedule: clocks.Reverse, t: Any) -> str:
    return f"reversed {_formula(schedule.child, max(0, schedule.length - t))}"


@_formula.register
def _(schedule: clocks.Repeat, t: Any) -> str:
    i = 0
    while (schedule.count is None or i + 1 < schedule.count) and schedule.cycle_begin(i + 1) <= t:
        i += 1 if schedule.growth != 1 else max(1, int((t - schedule.cycle_begin(i)) // schedule.child.length))
    return f"{_formula(schedule.cycle(i), t - schedule.cycle_begin(i))} (cycle {i + 1})"
