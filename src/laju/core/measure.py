"""Totals of a schedule over a run: the length of the run, the largest and smallest value, and sums.

Up to some millions of updates, each value is computed. A longer run is measured part by part of the outline, with bounded work:

- A piece that only rises, or only falls, is largest and smallest at its two ends. Elsewhere some thousands of updates are
  evaluated, dense at both ends of a part, and around the best of these the search goes on down to single updates.
- The first and last values of a part are summed individually. Between them the sum is the integral from half an update before to
  half an update after, less its first correction (Euler and Maclaurin), by the rule of Gauss and Legendre. Its panels double in
  width from both ends, and are halved until two halves agree with the whole to 1e-12 of the sum. Of curves that are smooth
  between boundaries the sum is right to 1e-9; a user's function that oscillates faster than a panel is only estimated.
- Cycles of the same length are measured once, and the rest is a geometric series.
- After two thousand parts, the rest of the run is estimated from values spread evenly over the rest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core import limits
from laju.core.arrays import namespace
from laju.core.checks import shown, whole
from laju.core.outline import Part
from laju.core.schedule import Schedule

_BLOCK = 1 << 20
EACH = 1 << 22
"""Updates of the longest run in which each value is computed."""

_PARTS = 2_000
_EDGE = 256
"""Updates at both ends of a part that are computed individually."""

_SPREAD = 1 << 12
_PANELS = 4096


@lru_cache(maxsize=1)
def _rule() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Nodes and weights on [-1, 1]; NumPy's polynomials are not loaded before a long run is measured."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    return nodes, weights


@dataclass(frozen=True)
class Measure:
    """Extremes and sums of the values of consecutive updates; a step within `noise` is neither a rise nor a fall.

    `first` and `last` are the values at both ends; `rises` and `falls` say whether any value is above or below the value before.
    """

    first: float
    last: float
    peak: float
    peak_at: int
    lowest: float
    lowest_at: int
    sum: float
    squares: float
    rises: bool
    falls: bool

    def then(self, other: Measure) -> Measure:
        """The measure of both value sequences, one after the other."""
        step, noise = other.first - self.last, _noise(self.peak, self.lowest, other.peak, other.lowest)
        higher, lower = other.peak > self.peak, other.lowest < self.lowest
        return Measure(
            first=self.first,
            last=other.last,
            peak=other.peak if higher else self.peak,
            peak_at=other.peak_at if higher else self.peak_at,
            lowest=other.lowest if lower else self.lowest,
            lowest_at=other.lowest_at if lower else self.lowest_at,
            sum=self.sum + other.sum,
            squares=self.squares + other.squares,
            rises=self.rises or other.rises or step > noise,
            falls=self.falls or other.falls or step < -noise,
        )

    def again(self, later: int, by: float) -> Measure:
        """The measure of the values multiplied by `by` and moved `later` updates later."""
        ends = sorted([(self.peak * by, -self.peak_at - later), (self.lowest * by, -self.lowest_at - later)])
        return Measure(
            self.first * by, self.last * by, ends[1][0], -ends[1][1], ends[0][0], -ends[0][1],
            self.sum * by, self.squares * by * by, self.rises, self.falls,
        )  # fmt: skip


def _noise(*values: float) -> float:
    """The rounding error of a formula, which is no rise."""
    return float(4 * np.spacing(max(map(abs, values))))


def run_length(schedule: Schedule, updates: int | None = None) -> int:
    """The number of updates of a run: `updates` unless None, else the schedule's length, rounded up.

    Raises:
        ValueError: if `updates` is None and the schedule has no end.
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a laju schedule, got {shown(schedule)}")
    schedule.require_resolved()
    if updates is not None:
        return whole("updates", updates, least=1)
    length: Any = schedule.length
    if length is None:
        raise ValueError(f"{shown(schedule)} has no end, so say how many updates to look at")
    return int(max(1, math.ceil(length)))


def peak(schedule: Schedule) -> float:
    """The largest value of a schedule that ends.

    Raises:
        ValueError: if the schedule has no end.
    """
    return measure(schedule, run_length(schedule)).peak


def measure(schedule: Schedule, updates: int) -> Measure:
    """Extremes and sums of the values at t = 0 … updates - 1.

    >>> from laju import cosine
    >>> found = measure(cosine(0.3, total=10**10, warmup=1000), 10**10)
    >>> found.peak, found.peak_at, round(found.sum)
    (0.3, 1000, 1500000000)
    """
    if updates > EACH:
        found = _by_parts(schedule, 0, updates)
    else:
        blocks = ((at, schedule.values(min(_BLOCK, updates - at), start=at)) for at in range(0, updates, _BLOCK))
        found = _joined(_of_values(values, at, values.size) for at, values in blocks)
    if not math.isfinite(found.sum + found.peak + found.lowest) and schedule._bound() == math.inf:
        schedule.values(
            1, start=found.peak_at if not math.isfinite(found.peak) else found.lowest_at
        )  # says what is wrong
    return found


def unchecked(schedule: Schedule, at: int | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The values of the first `at` updates, or at an array of positions, without the check for values beyond the floats.

    Values beyond the floats are infinite or NaN here, for callers that look for them; the schedule itself raises an error.
    """
    schedule.require_resolved()
    with np.errstate(all="ignore"):
        if isinstance(at, int):
            return schedule._range(0, at)
        result: npt.NDArray[np.float64] = schedule._array(*namespace(at))
        return result


def _joined(measures: Iterator[Measure]) -> Measure:
    found = next(measures)
    for each in measures:
        found = found.then(each)
    return found


def _of_values(values: npt.NDArray[np.float64], begin: int, count: int) -> Measure:
    """The measure of values at the updates from `begin` on, or of samples that represent `count` updates."""
    top, low = int(values.argmax()), int(values.argmin())
    steps = np.diff(values)
    noise = _noise(float(values[top]), float(values[low]))
    each = count / values.size
    return Measure(
        float(values[0]), float(values[-1]), float(values[top]), begin + top, float(values[low]), begin + low,
        float(values.sum()) * each, float(np.square(values).sum()) * each,
        bool((steps > noise).any()), bool((steps < -noise).any()),
    )  # fmt: skip


def _by_parts(schedule: Schedule, begin: int, end: int) -> Measure:
    def measures() -> Iterator[Measure]:
        at, left = begin, _PARTS
        while at < end:
            before = at
            for part in schedule.outline(at, end):
                left -= 1
                if not left:
                    yield _spread(schedule, at, end)
                    return
                # Pairs, since with `mirror` only every second cycle has the same values.
                twice, pairs = _alike(part, at, end)
                if pairs > 2:
                    one = _by_parts(schedule, at, at + twice)
                    yield _series(one, twice, pairs, part)
                    at += pairs * twice
                    break  # where the outline goes on after the cycles
                stop = min(end, math.ceil(part.end) if part.end < math.inf else end)
                if stop > at:
                    yield _of_part(part, at, stop)
                at = max(at, stop)
            if at == before:  # where floats cannot separate positions
                yield _spread(schedule, at, end)
                return

    with np.errstate(all="ignore"):
        return _joined(measures())


def places(schedules: Iterable[Schedule], updates: int) -> npt.NDArray[np.int64]:
    """A few thousand updates of a long run, sorted: dense around both ends and each boundary, evenly spread between."""
    edges = {0, updates}
    for schedule in schedules:
        starts = (part.begin for part in itertools.islice(schedule.outline(0, updates), _PARTS))
        edges.update(math.ceil(at) for at in starts if at < updates)
    marks, most = sorted(edges), max(16, _SPREAD // len(edges))
    found = []
    for begin, end in itertools.pairwise(marks):
        near = np.geomspace(1, end - begin, most) - 1
        inside = np.concatenate([near, end - begin - 1 - near, np.linspace(0, end - begin - 1, most)])
        found.append(begin + inside.astype(np.int64))
    return np.unique(np.concatenate(found).clip(0, updates - 1))


def _alike(part: Part, begin: int, end: int) -> tuple[int, int]:
    """(length of two cycles, number of such pairs from here on): each pair has the values of the last pair, but for the decay."""
    for cycle in reversed(part.cycles):
        twice = 2 * (cycle.end - cycle.begin)
        if cycle.even and cycle.begin == begin and twice == int(twice):
            return int(twice), int((min(cycle.until, end) - begin) // twice)
    return 0, 0


def _series(one: Measure, twice: int, pairs: int, part: Part) -> Measure:
    """The measure of pairs of cycles, from the measure of the first pair."""
    decay = next(c.decay for c in reversed(part.cycles) if c.even and 2 * (c.end - c.begin) == twice) ** 2
    log = math.log(decay)
    over = _power(log, pairs - 1)

    def sums(power: int) -> float:
        if decay == 1:
            return float(pairs)
        # A geometric series by expm1, which keeps its digits where the decay is near 1; exp overflows beyond 709.
        top, bottom = (math.expm1(x) if x < 700 else math.inf for x in (power * pairs * log, power * log))
        return top / bottom

    both = one.then(one.again(twice, decay)).then(one.again((pairs - 1) * twice, over))
    return replace(both, sum=one.sum * sums(1), squares=one.squares * sums(2))


def _power(log: float, times: int) -> float:
    return math.exp(log * times) if log * times < 700 else math.inf


def _spread(values_at: Callable[[Any], Any], begin: int, end: int) -> Measure:
    """An estimate from values that are spread evenly, each at a place of its own between its neighbours."""
    _require_counted(end)
    count = min(_SPREAD, end - begin)
    step = (end - begin) / count
    # Multiples of the golden ratio do not resonate with cycles of any length, as an even grid would.
    golden = np.arange(count) * 0.6180339887498949 % 1
    t = np.minimum(begin + ((np.arange(count) + golden) * step).astype(np.int64), end - 1)
    t[0], t[-1] = begin, end - 1
    values = values_at(t)
    found = _of_values(values, 0, end - begin)
    return replace(found, peak_at=int(t[values.argmax()]), lowest_at=int(t[values.argmin()]))


def _require_counted(end: int) -> None:
    if end > limits.POSITION:
        raise ValueError(
            f"a run of more than 2^63 - 1 updates cannot be measured, got one of at least {shown(end)}; say how many to look at"
        )


def _of_part(part: Part, begin: int, end: int) -> Measure:
    """The measure of the updates from `begin` to `end` - 1, which lie in a single part."""
    piece, count = part.piece, end - begin
    if (v := piece.level) is not None:
        return Measure(v, v, v, begin, v, begin, v * count, v * v * count, False, False)
    _require_counted(end)
    if count <= 4 * _EDGE:
        return _of_values(part.at(np.arange(begin, end)), begin, count)
    if part.held is not None:
        return _of_steps(part, begin, end)
    head, tail = (part.at(np.arange(*edge)) for edge in ((begin, begin + _EDGE), (end - _EDGE, end)))
    edges = _of_values(head, begin, _EDGE), _of_values(tail, end - _EDGE, _EDGE)
    total, squares = _inner_sums(part, begin + _EDGE, end - _EDGE)
    found = edges[0].then(edges[1])
    if not piece.monotone:
        found = edges[0].then(_searched(part, begin + _EDGE, end - _EDGE)).then(edges[1])
    sums = [edge.sum for edge in edges], [edge.squares for edge in edges]
    return replace(found, sum=math.fsum([total, *sums[0]]), squares=math.fsum([squares, *sums[1]]))


def _of_steps(part: Part, begin: int, end: int) -> Measure:
    """The measure of held values: the steps are the updates of the piece on a slower clock."""
    assert part.held is not None
    start, every = part.held
    first, stop = math.ceil((begin - start) / every), (end - start) // every
    if every != int(every) or start != int(start):
        return _spread(part.at, begin, end)
    if stop - first < 2:
        return _joined(
            _level(part, int(step.begin), int(step.end)) for step in replace(part, begin=begin, end=end).steps()
        )
    slow = Part(first, stop, part.piece.stretch(1 / every), (part.origin - start) / every, part.node)
    inner = _of_part(slow, int(first), int(stop))
    inner = replace(
        inner, sum=inner.sum * every, squares=inner.squares * every,
        peak_at=int(start + inner.peak_at * every), lowest_at=int(start + inner.lowest_at * every),
    )  # fmt: skip
    edges = [(begin, int(start + first * every)), (int(start + stop * every), end)]
    before, after = ([_level(part, a, b)] if a < b else [] for a, b in edges)
    return _joined(iter([*before, inner, *after]))


def _level(part: Part, begin: int, end: int) -> Measure:
    v, count = float(part.at(begin)), end - begin
    return Measure(v, v, v, begin, v, begin, v * count, v * v * count, False, False)


def _inner_sums(part: Part, begin: int, end: int) -> tuple[float, float]:
    """Σ s(t) and Σ s(t)² for begin ≤ t < end, by integrals."""
    low, high = begin - 0.5, end - 0.5
    half = (high - low) / 2
    widths = _EDGE * 2.0 ** np.arange(max(1, math.ceil(math.log2(half / _EDGE))))
    left = np.append(low, low + widths[widths < half])
    right = np.append(high - widths[widths < half][::-1], high)
    ends = np.concatenate([left, [low + half], right])
    a, b = ends[:-1], ends[1:]
    total = squares = 0.0
    whole = _panels(part, a, b)
    for _ in range(30):
        middle = (a + b) / 2
        halves = np.stack([_panels(part, a, middle), _panels(part, middle, b)])
        found = halves.sum(axis=0)
        scale = 1e-12 * (abs(total) + np.abs(found[:, 0]).sum()), 1e-12 * (squares + found[:, 1].sum())
        # Each open panel may add its share of the error, so that the error of all stays below the bound.
        open_ = (np.abs(found - whole) > np.array(scale) / len(a)).any(axis=1)
        # A curve that oscillates within a panel never agrees with its halves: bound the work and accept the estimate.
        if 2 * open_.sum() > _PANELS:
            open_[:] = False
        total, squares = total + float(found[~open_, 0].sum()), squares + float(found[~open_, 1].sum())
        if not open_.any():
            break
        a, b = np.concatenate([a[open_], middle[open_]]), np.concatenate([middle[open_], b[open_]])
        whole = np.concatenate([halves[0][open_], halves[1][open_]])
    else:
        total, squares = total + float(whole[:, 0].sum()), squares + float(whole[:, 1].sum())
    # Euler and Maclaurin: the midpoint rule differs from the integral by 1/24 of the slopes at both ends.
    edges = part.at(np.array([begin - 1, begin, end - 1, end - 2]))
    values = np.stack([edges, edges * edges])
    slopes = (values[:, 2] - values[:, 3]) - (values[:, 1] - values[:, 0])
    return total - float(slopes[0]) / 24, squares - float(slopes[1]) / 24


def _panels(part: Part, a: Any, b: Any) -> Any:
    """∫ s and ∫ s² over panels."""
    nodes, weights = _rule()
    t = (a + b)[:, None] / 2 + (b - a)[:, None] / 2 * nodes
    values = part.at(t.ravel()).reshape(t.shape)
    return np.stack([values @ weights, np.square(values) @ weights], axis=1) * (b - a)[:, None] / 2


def _searched(part: Part, begin: int, end: int) -> Measure:
    """The extremes of a part that may rise and fall."""
    count = end - begin
    places = np.concatenate([np.geomspace(1, count, 2048) - 1, np.linspace(0, count - 1, 4096)])
    t = begin + np.unique(np.concatenate([places, count - 1 - places]).astype(np.int64).clip(0, count - 1))
    values = part.at(t)
    found = _of_values(values, 0, values.size)
    (top, top_at), (low, low_at) = (_refined(part, t, values, sign) for sign in (1, -1))
    return replace(found, peak=top, peak_at=top_at, lowest=low, lowest_at=low_at)


def _refined(part: Part, t: Any, values: Any, sign: int) -> tuple[float, int]:
    """(value times `sign`, position) of the largest value times `sign`, searched around the best of some positions."""
    while True:
        i = int((sign * values).argmax())
        low, high = int(t[max(i - 1, 0)]), int(t[min(i + 1, len(t) - 1)])
        if high - low <= 2 or (np.diff(t) == 1).all():
            return float(values[i]), int(t[i])
        t = np.unique(np.append(low + np.linspace(0, high - low, 129).astype(np.int64), t[i]))
        values = part.at(t)
