"""The facts of a schedule over a run: segments, extremes, sums and jumps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from laju.core.measure import measure, run_length
from laju.core.outline import Geometric, InversePower, Level, Part, Transition, stepwise
from laju.core.schedule import Schedule

_MOST = 1_000
"""The most segments and jumps that are listed; a longer list takes seconds to compute and is hardly read."""


@dataclass(frozen=True)
class Segment:
    """Updates `begin` to `end` - 1 with the same formula; `end` is None for a segment without end.

    `first` is the value at `begin`, `last` the value that the segment reaches at `end`.
    """

    begin: int
    end: int | None
    first: float
    last: float
    formula: str


@dataclass(frozen=True)
class Jump:
    """A jump in the value at update `at`: from `before`, which the earlier part reaches there, to `after`."""

    at: int
    before: float
    after: float

    @property
    def by(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Description:
    """The facts of a schedule over a run of `updates` updates.

    `final` is the value of the last update, `end` the value after the last update; `sum` is Σ s(t) and `sum_of_squares` Σ s(t)²
    over t = 0 … updates - 1; `monotone` is "constant", "rising", "falling" or None. `breakpoints`, `jumps` and `segments`
    cover the first 1,000 segments; `complete` says whether the schedule has no more segments.
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
    complete: bool = True

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "jumps": [{**asdict(jump), "by": jump.by} for jump in self.jumps]}


def describe(schedule: Schedule, updates: int | None = None) -> Description:
    """Describe a schedule over a run: peak, mean, sums, boundaries, jumps and segments.

    In runs of up to four million updates, each value is computed; longer runs are measured by integrals, as
    `laju.core.measure` explains.

    Args:
        schedule: a schedule in updates.
        updates: number of updates of the run; by default until the schedule ends.

    Raises:
        ValueError: if the schedule has no end and `updates` is None, or `updates` is below 1.

    >>> from laju import cosine
    >>> facts = describe(cosine(0.3, total=20, warmup=5))
    >>> facts.peak, facts.peak_at, facts.first, facts.end, facts.breakpoints
    (0.3, 5, 0.0, 0.0, (5,))
    """
    n = run_length(schedule, updates)
    found, rows = measure(schedule, n), list(itertools.islice(_rows(schedule, n), _MOST + 1))
    size = _size(schedule, max(abs(found.peak), abs(found.lowest)))
    return Description(
        updates=n,
        duration=schedule.length,
        first=schedule(0),
        final=schedule(n - 1),
        end=schedule(n),
        peak=found.peak,
        peak_at=found.peak_at,
        lowest=found.lowest,
        lowest_at=found.lowest_at,
        mean=found.sum / n,
        sum=found.sum,
        sum_of_squares=found.squares,
        monotone=(
            None
            if found.rises and found.falls
            else "rising"
            if found.rises
            else "falling"
            if found.falls
            else "constant"
        ),
        breakpoints=tuple(at for at, _ in rows[1:]),
        jumps=tuple(_jumps(schedule, rows)),
        segments=tuple(_segments(schedule, rows, n, size))[:_MOST],
        complete=len(rows) <= _MOST,
    )


def jumps(schedule: Schedule, updates: int | None = None) -> list[Jump]:
    """The jumps of the value inside a run, in order.

    >>> from laju import multi_factor
    >>> jumps(multi_factor(1.0, [3, 5], 0.5), updates=10)
    [Jump(at=3, before=1.0, after=0.5), Jump(at=5, before=0.5, after=0.25)]
    """
    rows = itertools.islice(_rows(schedule, run_length(schedule, updates)), 10 * _MOST)
    return list(_jumps(schedule, list(rows)))


def _rows(schedule: Schedule, n: int) -> Iterator[tuple[int, Part]]:
    """(first update, part) of the outline, with each step of a staircase; of parts that begin at the same update, the last."""
    at, last = 0, None
    for part in stepwise(schedule.outline(0, n)):
        begin = math.ceil(part.begin)  # a boundary between two updates shows at the later update
        if begin >= n:
            break
        if last is not None and begin > at:
            yield at, last
        at, last = begin, part
    if last is not None:
        yield at, last


def _jumps(schedule: Schedule, rows: Sequence[tuple[int, Part]]) -> Iterator[Jump]:
    first = abs(schedule(0))
    largest = _size(schedule, first)
    for (_, part), (at, following) in itertools.pairwise(rows):
        # A jump is between the limit from the left and the value from the right. Both come from differences of larger numbers,
        # so that a trace of rounding is not one.
        begins, before = following.at(following.begin), part.arrives
        largest = max(largest, abs(begins), abs(before))
        before = _without_rounding(before, largest)
        if abs(begins - before) > max(1e-9 * max(abs(before), abs(begins), first), _RESIDUE * largest):
            yield Jump(at, before, schedule(at))


_RESIDUE = 1e-15
"""The rounding error of a difference, as a share of the values subtracted."""


def _size(schedule: Schedule, known: float) -> float:
    """The size of the values that are subtracted: the bound of the schedule, else the largest known value."""
    bound = schedule._bound()
    return known if bound is None or not math.isfinite(bound) else bound


def _without_rounding(value: float, size: float) -> float:
    """A limit from the left without the trace of the tiny step before the limit: 0 where only rounding is left."""
    return 0.0 if abs(value) <= _RESIDUE * size else float(f"{value:.12g}")


def _segments(schedule: Schedule, rows: Sequence[tuple[int, Part]], n: int, size: float) -> Iterator[Segment]:
    for (begin, part), (end, _) in itertools.pairwise([*rows, (n, None)]):
        assert part is not None
        last = part.arrives if part.end <= n else part.at(n)
        if not isinstance(part.piece.form, Geometric | InversePower):  # whose values may truly be that small
            last = _without_rounding(last, size)
        yield Segment(begin, end, schedule(begin), float(f"{last:.12g}"), _words(part))


def breakpoints(schedule: Schedule, until: int) -> Iterator[int]:
    """Updates in (0, until) at which a new formula comes into force, in order.

    >>> from laju import cosine, linear
    >>> list(breakpoints(cosine(1, total=10, warmup=4) * linear(1, 0, total=7), until=100))
    [4, 7, 10]
    """
    return (at for at, _ in _rows(schedule, until) if at)


def formula(schedule: Schedule, t: int) -> str:
    """The formula in force at update t, in words.

    >>> from laju import cosine
    >>> formula(cosine(0.3, total=20, warmup=5), 7)
    'cosine 0.3 → 0.0'
    """
    part = next(part for part in stepwise(schedule.outline(t, t + 1)) if part.end > t)
    return _words(part)


def _words(part: Part) -> str:
    inside = [_words(inner) for inner in part.inside]
    match part.how, part.piece.form:
        case (("×" | "+"), _):
            words = f" {part.how} ".join(f"({each})" for each in inside)
        case "in samples", _:
            words = f"{inside[0]} (in samples)"
        case _ if part.inside:
            words = f"{part.how} {', '.join(inside)}"
        case _, Level(value):
            words = f"constant {value!r}"
        case _, Transition(start, final, _, shape):
            words = f"{shape} {start!r} → {final!r}"
        case _, Geometric(_, factor, every):
            words = f"×{factor!r} every {'update' if every == 1 else f'{every} updates'}"
        case _, InversePower(base, exponent, offset, timescale):
            words = f"{base!r}·({offset!r} + t/{timescale!r})^-{exponent!r}"
        case _:
            words = type(part.piece).__name__.lower()
    outside = part.cycles[max((len(inner.cycles) for inner in part.inside), default=0) :]
    return words + "".join(f" (cycle {cycle.number + 1})" for cycle in outside)
