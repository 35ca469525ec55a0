"""Rates of a log, of few digits or of some updates: a rise, a level and a fall, each solved for all of its rows at once.

Neither rounding nor a gap shows where a curve ends and the next begins, so edges are unknowns, too: for a shape with given edges,
peak and floor are a linear least-squares problem, and the edges are found by Gauss-Newton steps (variable projection: Golub &
Pereyra, SIAM J. Numer. Anal. 10, 1973). Near each solution whole updates and the shortest decimals are tried, and kept where no
row is further away than half a unit of its last digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from laju.core import shapes
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.recognition.curves import Numbers, Part, evaluated, least, shortest
from laju.recognition.rows import chained, named
from laju.recognition.work import OutOfWork, spend
from laju.text.spec import parse

_CLOCKED = ("cosine", "sqrt", "rex", "tanh", "square", "quarter_cosine")
"""Falls whose begin shows in the curve; a line, a power and an exponential go on backwards as the same curve."""
_POWERS = (1.0, 2.0, 0.9, 0.5, 3.0, 1.5)
_EXPONENTS = (0.5, 1.0, 2.0, 1 / 3, 1.5, 0.55, 0.75, 0.25)
MOST_LAG = 64
_SHARES = (0.1, 0.01, 0.05, 0.001)
_SOLVED_ROWS = 80
_MOST = 40
_Model = Callable[[Numbers], list[Numbers] | None]


@dataclass(frozen=True)
class Log:
    """Rows of a log: updates t, rates y, and how far each may be from the formula."""

    t: Numbers
    y: Numbers
    half: Numbers

    def __getitem__(self, rows: Any) -> Log:
        return Log(self.t[rows], self.y[rows], self.half[rows])

    @property
    def few(self) -> Log:
        """The number of rows in a solution for parameters; a result is then compared with all rows."""
        if len(self.t) <= _SOLVED_ROWS:
            return self
        return self[np.unique(np.linspace(0, len(self.t) - 1, _SOLVED_ROWS).astype(int))]

    def fits(self, values: Numbers, times: float = 1) -> bool:
        return bool((np.abs(values - self.y) <= times * self.half).all())


@dataclass(frozen=True)
class _Split:
    """A log cut at its top: rows of the rise, of the level (with rows that rounding makes equal to it), and of the fall."""

    log: Log
    rise: Log
    fall: Log
    below: Log
    level: bool
    top: float
    ended: bool


def _split(log: Log) -> _Split | None:
    """Rows that rise, stay and fall; None for rows that turn more often."""
    y, half = log.y, log.half
    top = int(y.argmax())
    high = np.flatnonzero(y >= y[top] - half - half[top])
    first, last = int(high[0]), int(high[-1])
    slack = half[1:] + half[:-1]
    step = np.diff(y)
    if (step[:first] < -slack[:first]).any() or (step[last:] > slack[last:]).any() or last - first >= len(high):
        return None
    after = log[slice(last + 1, None)]
    ended = len(after.y) > 2 and abs(after.y[-1] - after.y[-2]) <= 0 and abs(after.y[-2] - after.y[-3]) <= 0
    if ended:
        after = after[after.y > after.y[-1] + 2 * after.half[-1]]
    return _Split(log, log[slice(0, first)], log[slice(first, None)], after, len(high) > 2, float(y[top]), ended)


def unimodal(log: Log) -> Iterator[tuple[str, int]]:
    """Proposals for rows that rise, stay at a level and fall, each no more than once: (text, lag), the shortest first."""
    split = _split(log) if len(log.t) >= 4 else None
    if split is None:
        return
    found: dict[tuple[str, int], float] = {}
    try:
        for piece, peak, begin in _falls(split):
            for ramp, end in _rises(split.rise, piece, peak, begin, split.fall):
                for text, lag, cost in _told(ramp, end, piece, peak, max(begin, end), log):
                    found[text, lag] = min(cost, found.get((text, lag), math.inf))
            if len(found) > _MOST:
                break
        for text in (*_of_one_scale(split), *_one_cycle(split)):
            found.setdefault((text, 0), cost_of(text))
    except OutOfWork:  # proposals found so far are still to be compared
        pass
    yield from sorted(found, key=found.__getitem__)[:_MOST]


def lags(log: Log) -> list[int]:
    """How many updates late the rates may be: a rise from 0 points at an update after 0."""
    split = _split(log) if len(log.t) >= 4 else None
    if split is None or not len(split.rise.t):
        return []
    if len(split.rise.t) == 1:  # no line goes through a single row; most loggers that are late are late by 1
        return [1] * bool(split.rise.y[0] > 0)
    rise = split.rise[split.rise.y > split.rise.y[0] * (split.rise.y[0] == split.rise.y[1])]
    if len(rise.t) < 2:
        return []
    a, slope = _rising(rise)
    slack = 3 * float(rise.half.max()) / slope + 1e-3 if slope > 0 else 0.0
    if not (slope > 0 and rise.fits(a + slope * rise.t, times=2)):
        return []
    return [k for k in _whole(-a / slope, min(slack, 3.0), ()) if 0 < k <= MOST_LAG][:4]


def _told(
    ramp: Ramp | None, end: int, piece: Schedule, peak: float, begin: int, log: Log
) -> Iterator[tuple[str, int, float]]:
    """(text, lag, cost) of the texts for a rise, a level and a fall."""
    parts = [] if ramp is None else [Part(ramp, 0, end, 0, 3)]
    fall = Part(piece, max(begin, 0), None, begin, 3)
    if piece.level is not None:
        parts.append(Part(piece, end, None, end, 1))
    elif ramp is None and 0 < begin <= log.t[0]:
        # The fall began before the first row: assume a warmup from 0 before the fall.
        parts = [Part(Ramp(0.0, peak, begin), 0, begin, 0, 1), fall]
    else:
        if begin > end:
            parts.append(Part(Constant(peak), end, begin, end, 1))
        parts.append(fall)
        if ramp is None and 0 < begin <= MOST_LAG:
            for k, text in enumerate((*named([replace(fall, begin=0, origin=0)]), str(piece))):
                yield text, begin, cost_of(text) + k + 4
    for k, text in enumerate((*named(parts), str(chained(parts)))):
        yield text, 0, cost_of(text) + k


def cost_of(text: str) -> float:
    """How much a text says: digits that are no zeros, numbers, and calls."""
    return sum(c in "123456789" for c in text) + 2 * text.count(",") + 3 * text.count("(") + 3 * text.count("-")


# --- least squares ---------------------------------------------------------------------------------------------------


def _residual(model: _Model, log: Log, x: Numbers) -> Numbers | None:
    """The remainder of the rates, in half units, after the best factors of the model's curves."""
    spend(1)
    curves = model(x)
    if curves is None:
        return None
    rest = log.y / log.half
    basis: list[Numbers] = []
    for curve in curves:
        q = curve / log.half
        for other in basis:
            q = q - other * float(other @ q)
        size = math.sqrt(float(q @ q))
        if not 0 < size < math.inf:
            return None
        basis.append(q / size)
    for _ in range(2):  # the second time for the digits lost in the first
        for q in basis:
            rest = rest - q * float(q @ rest)
    return rest if math.isfinite(float(rest @ rest)) else None


def _solve(model: _Model, log: Log, starts: Sequence[tuple[float, ...]], span: float) -> tuple[Numbers, Numbers] | None:
    """The model's parameters by Gauss-Newton steps from the best of some starts, and their covariance; None if rows differ."""
    tried = []
    for start in starts:
        x = np.array(start)
        r = _residual(model, log, x)
        if r is not None:
            tried.append((float(r @ r), start))
    best: tuple[float, Numbers, Numbers] | None = None
    for _, start in sorted(tried)[:3]:
        x = np.array(start)
        r = _residual(model, log, x)
        damping = 1e-3
        for _ in range(40):
            if r is None:
                break
            # Differences instead of derivatives: the best factors of the curves change with the parameters, too.
            columns = []
            for k in range(len(x)):
                moved = x.copy()
                moved[k] += 1e-6 * span
                again = _residual(model, log, moved)
                if again is None:
                    moved[k] = x[k] - 1e-6 * span
                    again = _residual(model, log, moved)
                if again is None:
                    break
                columns.append((again - r) / (moved[k] - x[k]))
            if len(columns) < len(x):
                break
            slopes = np.stack(columns, 1)
            normal = slopes.T @ slopes
            gradient = slopes.T @ r
            now = float(r @ r)
            better = False
            for _ in range(6):
                try:
                    step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-300), -gradient)
                except np.linalg.LinAlgError:
                    break
                again = _residual(model, log, x + step)
                if again is not None and float(again @ again) < now:
                    better = float(again @ again) < now * (1 - 1e-9)
                    x, r, damping = x + step, again, damping / 30
                    break
                damping *= 10
            if not better:
                break
        # In half units an exact formula stays within 1; up to 2, round parameters nearby may still suit every row.
        if r is None or np.abs(r).max() > 2:
            continue
        try:
            covariance = np.linalg.inv(normal)
        except np.linalg.LinAlgError:
            continue
        if best is None or float(r @ r) < best[0]:
            best = float(r @ r), x, covariance
        if float(r @ r) < len(r):
            break
    return None if best is None else (best[1], best[2])


# --- falls -----------------------------------------------------------------------------------------------------------


def _falls(split: _Split) -> Iterator[tuple[Schedule, float, int]]:
    """(curve down from the level, level, first update of the curve)."""
    below, log = split.below, split.fall
    if not len(below.y) and not split.ended:
        low, high = float((log.y - log.half).max()), float((log.y + log.half).min())
        level = shortest((low + high) / 2, (high - low) / 2) if low <= high else split.top
        yield Constant(level), level, 0
        return
    exact = float(log.half.max()) < 1e-9 * split.top
    found = 0
    for source in (_lines, _clocked, _powered, _endless):
        for each in source(split):
            found += 1
            yield each
        if exact and found:
            return


def _modes(split: _Split) -> tuple[float | None, ...]:
    """The floors to try, as shares of the peak; None stands for a floor that is solved for."""
    return (0.0, None) if float(split.log.half.max()) < 1e-9 * split.top else (0.0, *_SHARES[:3], None)


def _clocked(split: _Split) -> Iterator[tuple[Schedule, float, int]]:
    log, below = split.fall, split.below
    few = log.few
    if len(log.t) < 5 or not len(below.t):
        return
    begin = float(below.t[0])
    span = max(float(below.t[-1] - begin), 1.0)
    last = float(log.t[-1])
    before = max(float(log.t[max(int(np.searchsorted(log.t, begin)) - 1, 0)]), 0.0)
    near = (begin, before, (begin + before) / 2, *(begin - share * span for share in (0.02, 0.1, 0.4)), 0.0)
    for shape in _CLOCKED:
        curve = shapes.shape(shape)

        def both(x: Numbers, t: Numbers, curve: shapes.Shape = curve) -> tuple[Numbers, Numbers] | None:
            b, n = float(x[0]), float(x[1] - x[0])
            if not n > 0 or abs(b) > 1e15 or b < -n:
                return None
            done = np.clip(t - b, 0.0, n)
            with np.errstate(all="ignore"):
                return np.asarray(curve.fall(done, n - done, n, np)), np.asarray(curve.rise(done, n - done, n, np))

        for share in _modes(split):

            def model(
                x: Numbers, share: float | None = share, both: Callable[..., tuple[Numbers, Numbers] | None] = both
            ) -> list[Numbers] | None:
                curves = both(x, few.t)
                if curves is None:
                    return None
                return list(curves) if share is None else [curves[0] + share * curves[1]]

            ends = [begin + span * k for k in (1.0, 1.02, 1.1, 1.3, 1.7, 2.5, 5.0)]
            starts = [(b, e) for b in near for e in ends if e > b]
            solved = _solve(model, few, starts, span)
            if solved is None:
                continue
            for b, e in _edges(*solved, (int(last) + 1, int(last))):
                pinned = _pinned(log, shape, b, e, share)
                if pinned is not None:
                    yield pinned, pinned.start, b
                    break
            else:
                continue
            break


def _edges(x: Numbers, covariance: Numbers, likely: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Whole updates near a solution, round numbers first: the end, and then the start that suits each end."""
    spread = 4 * np.sqrt(np.maximum(np.diag(covariance), 0)) + 1e-6 * np.abs(x) + 1e-4
    lean = covariance[0, 1] / covariance[1, 1] if covariance[1, 1] > 0 else 0.0
    left = 4 * math.sqrt(max(float(covariance[0, 0] - lean * covariance[0, 1]), 0.0)) + 1e-6 * abs(float(x[0])) + 1e-4
    for e in _whole(float(x[1]), float(spread[1]), likely):
        for b in _whole(float(x[0] + lean * (e - x[1])), left, (0,)):
            if -64 <= b < e:
                yield b, e


def _pinned(log: Log, shape: str, begin: int, end: int, share: float | None) -> Ramp | None:
    """The fall between two updates with the shortest peak and floor that all rows allow."""
    later = log[log.t >= begin] if begin > log.t[0] else log
    n = float(end - begin)
    done = np.clip(later.t - begin, 0.0, n)
    curve = shapes.shape(shape)
    spend(2)
    with np.errstate(all="ignore"):
        fall, rise = np.asarray(curve.fall(done, n - done, n, np)), np.asarray(curve.rise(done, n - done, n, np))
    zero = np.zeros(len(done))
    if share is not None:
        peak = _allowed(zero, fall + share * rise, later)
        if peak is None:
            return None
        return _checked(Ramp(peak, float(f"{share * peak:.12g}"), end - begin, shape), later, begin)
    found = None
    for peak, final in two_factors(fall, rise, later):
        ramp = _checked(Ramp(peak, final, end - begin, shape), later, begin)
        if ramp is not None and (found is None or _said(ramp) < _said(found)):
            found = ramp
    return found


def _said(ramp: Ramp) -> int:
    return len(repr(ramp.start)) + len(repr(ramp.final))


def two_factors(a: Numbers, b: Numbers, log: Log) -> Iterator[tuple[float, float]]:
    """Factors x and y with which x·a + y·b is nowhere further from the rates than rounding goes: shortest x, or shortest y."""
    weight = 1 / log.half
    (x, y), *_ = np.linalg.lstsq(np.stack([a * weight, b * weight], 1), log.y * weight, rcond=None)
    if not float((np.abs(x * a + y * b - log.y) * weight).max()) < 3:
        return
    for first, second, near, swapped in ((a, b, float(x), False), (b, a, float(y), True)):
        own = _shared(first, second, near, log)
        other = None if own is None else _allowed(own * first, second, log)
        if own is not None and other is not None:
            yield (other, own) if swapped else (own, other)


def _shared(first: Numbers, second: Numbers, near: float, log: Log) -> float | None:
    """The shortest factor of the first curve that leaves a factor for the second: how far apart its bounds are is convex."""
    free = second > 1e-12 * float(second.max(initial=0.0))
    low, high = (log.y - log.half)[free] / second[free], (log.y + log.half)[free] / second[free]
    slope = first[free] / second[free]
    tied = first[~free]
    if not free.any():
        return None

    def apart(x: float) -> float:
        spend(0.5)
        gap = float((low - x * slope).max() - (high - x * slope).min())
        if not free.all():  # rows to which only the first curve contributes
            off = float((np.abs(x * tied - log.y[~free]) - log.half[~free]).max())
            gap = max(gap, off) if off > 0 else gap
        return gap

    if apart(near) > 0:
        wide = 4 * float((log.half / np.maximum(np.abs(first), 1e-3)).min()) + 4e-16 * abs(near)
        best = least(apart, near + wide * np.linspace(-1, 1, 9))
        if best is None or apart(best) > 0:
            return None
        near = best
    edges = []
    for sign in (-1, 1):
        step = float(log.half.max())
        while apart(near + sign * step) <= 0 and step < 1e6 * float(log.half.max()):
            step *= 2
        inside, outside = 0.0, step
        for _ in range(56):  # down to the slack of ties
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if apart(near + sign * middle) <= 0 else (inside, middle)
        edges.append(near + sign * inside)
    return shortest((edges[0] + edges[1]) / 2, (edges[1] - edges[0]) / 2)


def _checked(ramp: Ramp, log: Log, begin: int) -> Ramp | None:
    if min(ramp.start, ramp.final) < 0:
        return None
    return ramp if log.fits(evaluated(ramp, log.t - begin)) else None


def _crossings(split: _Split, curve: Callable[[Numbers], Numbers], slope: float) -> list[int]:
    """Whole updates at which a curve, extended backwards, meets the rise or the level before."""
    rise, below = split.rise, split.below
    first = float(below.t[0])
    if split.level:
        a, s, before = split.top, 0.0, float(split.fall.t[0])
    elif len(rise.t):
        a, s = _rising(rise)
        before = float(rise.t[-1])
    else:
        return [0]
    low, high = before, first
    for _ in range(60):
        middle = (low + high) / 2
        if float(curve(np.array([middle]))[0]) > a + s * middle:
            low = middle
        else:
            high = middle
    slack = 3 * float(split.log.half[split.log.y >= split.top].max()) / max(abs(slope - s), 1e-300) + 1e-4
    return _whole(middle, min(slack, first - before + 1), (int(first), int(before)))[:10]


def _rising(rise: Log) -> tuple[float, float]:
    """Intercept and slope of the rise as a line; from 0 where the rise has a single row."""
    below = rise
    if len(below.t) == 1:
        return 0.0, float(below.y[0] / max(below.t[0], 1.0))
    line = _line(below.t, below.y, 1 / below.half**2)
    return line if line is not None else (0.0, float(below.y[-1] / max(below.t[-1], 1.0)))


def _lines(split: _Split) -> Iterator[tuple[Schedule, float, int]]:
    """Straight falls, down to 0 where the line points at 0 in a whole update."""
    below, log = split.below, split.fall
    if len(below.t) < 2:
        return
    line = _line(below.t, below.y, 1 / below.half**2)
    if line is None or line[1] >= 0 or not below.fits(line[0] + line[1] * below.t, times=1.5):
        return
    a, slope = line
    last = float(log.t[-1])
    for b in _crossings(split, lambda t: a + slope * t, slope):
        later = log[log.t >= b]
        ends: list[tuple[int, float | None]] = []
        zero = -a / slope
        span = float(below.t[-1] - below.t[0])
        slack = 3 * float(below.half.max()) / abs(slope) * max(1.0, (zero - float(below.t[0])) / max(span, 1)) + 1e-4
        if split.ended:
            ends += [(e, None) for e in _whole((float(log.y[-1]) - a) / slope, slack, ())]
        else:
            ends += [(e, 0.0) for e in _whole(zero, slack, (int(last) + 1, int(last))) if e >= last][:12]
            for part in _SHARES:
                reach = b + (a + slope * b) * (1 - part) / -slope
                ends += [(e, part) for e in _whole(reach, slack, (int(last) + 1,))[:4] if e > last]
            ends += [(int(last) + 1, None), (int(last), None)]
        for e, share in ends:
            found = None if e <= b else _pinned(later, "linear", b, e, share)
            if found is not None:
                yield found, found.start, b
                if share == 0.0 or split.ended:
                    break


def _powered(split: _Split) -> Iterator[tuple[Schedule, float, int]]:
    """Powers of the distance to an end."""
    below, log = split.below, split.fall
    few = below.few
    if len(below.t) < 4:
        return
    first, last = float(below.t[0]), float(below.t[-1])
    span = max(last - first, 1.0)
    for free in (False, True):
        for floor in (False, True):
            if free and (floor or len(few.t) < 8):
                continue
            for k in _POWERS[1:] if not free else (1.7,):

                def model(x: Numbers, k: float = k, floor: bool = floor, free: bool = free) -> list[Numbers] | None:
                    own = float(x[1]) / span if free else k
                    if not x[0] > few.t[-1] or not 0.05 < own < 20:
                        return None
                    curve = ((x[0] - few.t) / span) ** own
                    return [curve, np.ones(len(curve))] if floor else [curve]

                starts = [
                    (first + span * far, *((power * span,) if free else ()))
                    for far in (1.001, 1.02, 1.1, 1.3, 1.7, 2.5, 5.0)
                    for power in ((0.5, 1.2, 3.0) if free else (k,))
                ]
                solved = _solve(model, few, starts, span)
                if solved is None:
                    continue
                x, covariance = solved
                spread = 4 * np.sqrt(np.maximum(np.diag(covariance), 0))
                own = shortest(float(x[1] / span), float(spread[1] / span) + 1e-9) if free else k
                curve = model(x)
                assert curve is not None
                factors, *_ = np.linalg.lstsq(np.stack(curve, 1), few.y, rcond=None)

                def back(t: Numbers, x: Numbers = x, own: float = own, factors: Any = factors) -> Numbers:
                    floor = float(factors[1]) if len(factors) > 1 else 0.0
                    return np.asarray(float(factors[0]) * ((x[0] - t) / span) ** own + floor)

                slope = float(np.diff(back(np.array([first - 1, first])))[0])
                if not own > 0 or own == 1:  # a line, which another search covers
                    continue
                shape = f"power({own!r})"
                done = False
                for b in _crossings(split, back, slope):
                    for e in _whole(float(x[0]), float(spread[0]) + 1e-3, (int(log.t[-1]) + 1, int(log.t[-1]))):
                        found = None if e <= max(b, last) else _pinned(log, shape, b, e, None if floor else 0.0)
                        if found is not None:
                            yield found, found.start, b
                            done = True
                            break
                    if done:
                        break


def _endless(split: _Split) -> Iterator[tuple[Schedule, float, int]]:
    """Exponentials and powers of the update."""
    log, below = split.fall, split.below
    told = below.y > 4 * below.half
    t, y = below.t[told], below.y[told]
    if len(t) < 4:
        return
    inside = Log(t, y, below.half[told])

    def top(piece: Schedule, begin: int) -> float | None:
        later = log[log.t >= begin]
        return _allowed(np.zeros(len(later.t)), evaluated(piece, later.t - begin), later)

    line = _line(t, np.log(y), (y / inside.half) ** 2)
    if line is not None and line[1] < 0 and inside.fits(np.exp(line[0] + line[1] * t), times=2000):
        a, slope = line
        curves = [(1 - float(f"{-math.expm1(slope):.{digits}g}"), 1.0) for digits in (1, 2, 3, 4)]
        curves += [(math.exp(-1), 1 / float(f"{-slope:.{digits}g}")) for digits in (1, 2, 3, 4)]
        ends = (int(log.t[-1]) + 1, int(log.t[-1]))
        for b in _crossings(split, lambda t: np.exp(a + slope * t), slope * float(y[0])):
            for ratio, every in [*curves, (math.exp(slope), 1.0)]:
                base = top(Exponential(1.0, ratio, every), b)
                if base is not None:
                    yield Exponential(base, ratio, every), base, b
                    break
            peak = math.exp(a + slope * b)
            totals = [(b + math.log(share) / slope, share) for share in (*_SHARES, 0.5, 0.2, 0.02)]
            reaches = [
                (e, share * peak) for far, share in totals for e in _whole(far, 2.0 + 1e-3 * far, ()) if e >= log.t[-1]
            ]
            for e, final in [*reaches, *((e, math.exp(a + slope * e)) for e in ends)]:
                found = _geometric(log, b, e, peak, final)
                if found is not None:
                    yield found, found.start, b
                    break
    for begin in dict.fromkeys(
        (0, *(_crossings(split, lambda t: np.full(len(t), split.top), 1.0) if split.rise.t.size else ()))
    ):
        yield from _inverse(split, inside, begin, top)


def _geometric(log: Log, begin: int, end: int, peak: float, final: float) -> Ramp | None:
    """A fall by the same factor at every update between two updates."""
    later = log[log.t >= begin]
    if end <= begin or not (peak > 0 and final > 0):
        return None
    p = np.clip((later.t - begin) / (end - begin), 0.0, 1.0)
    for digits in (1, 2, 3, 4, 6, 17):
        near = float(f"{peak:.{digits}g}")
        if abs(near - peak) > 0.02 * peak:
            continue
        told = (p > 0.02) & (later.y > 4 * later.half)
        if not told.any():
            return None
        with np.errstate(all="ignore"):
            low, high = (
                np.exp((np.log(later.y + h) - (1 - p) * math.log(near)) / p) for h in (-later.half, later.half)
            )
        found = _between(low[told], high[told])
        if found is None:
            continue
        level = shortest((found[0] + found[1]) / 2, (found[1] - found[0]) / 2)
        piece = Ramp(near, level, end - begin, "exponential") if level > 0 else None
        if piece is not None and later.fits(evaluated(piece, later.t - begin)):
            return piece
    return None


def _inverse(
    split: _Split, inside: Log, begin: int, top: Callable[[Schedule, int], float | None]
) -> Iterator[tuple[Schedule, float, int]]:
    """Powers of the update that fall without end: base·(1 + (t - begin)/timescale)^-exponent."""
    t, y = inside.t, inside.y

    def pole(k: float) -> tuple[float, float]:
        """Where the power would be infinite, and the largest distance of the rows from the power, in half units."""
        spend(1)
        z = y ** (-1 / k)
        line = _line(t, z, (y / inside.half / z) ** 2)
        if line is None or line[1] <= 0 or line[0] + line[1] * t[0] <= 0:
            return -math.inf, math.inf
        return -line[0] / line[1], float((np.abs((line[0] + line[1] * t) ** -k - y) / inside.half).max())

    own = least(lambda k: pole(k)[1], np.geomspace(0.15, 4, 20)) if begin == 0 and len(t) > 5 else None
    more = [float(f"{own:.{digits}g}") for digits in (1, 2, 3)] if own is not None else []
    for exponent in dict.fromkeys((*_EXPONENTS, *more)):
        at, apart = pole(exponent)
        if apart > (2 if apart < 2 else 400):
            continue
        far = begin - at
        likely = [float(s) for s in (begin, begin + 1) if s and abs(s - far) <= 0.05 * s]
        scales = [float(f"{far:.{digits}g}") for digits in (1, 2, 3, 4, 5, 8)] + [far]
        for scale in (*likely, *(s for s in scales if s > 0)):
            base = top(Power(1.0, exponent, 1.0, scale), begin)
            if base is not None:
                yield Power(base, exponent, 1.0, scale), base, begin
                break


# --- rises -----------------------------------------------------------------------------------------------------------


def _rises(rise: Log, piece: Schedule, peak: float, begin: int, fall: Log) -> Iterator[tuple[Ramp | None, int]]:
    """Ramps from update 0 up to the level, and the ends of these ramps."""
    if not len(rise.t):
        yield None, 0
        return
    a, slope = _rising(rise)
    ends = [begin] if begin > rise.t[-1] else []
    if slope > 0:
        slack = 2 * float(rise.half.max()) / slope + 1e-4 + (1 if len(rise.t) < 2 else 0)
        slack += abs(peak - a) / slope * 4 * float(rise.half[-1] / max(float(rise.y[-1]), 1e-300))
        ends += _whole((peak - a) / slope, slack, (int(rise.t[-1]) + 1,))
    elif len(rise.t) == 1 and rise.t[0] == 0:  # the rise ends somewhere before the next row
        ends.append(roundest(1, int(fall.t[0])))
    latest = float(fall.t[min(1, len(fall.t) - 1)]) + (4 * float(fall.half[0]) / slope if slope > 0 else 0.0)
    latest = latest if piece.level is not None else min(latest, begin)
    ends = [e for e in dict.fromkeys(ends) if rise.t[-1] < e <= latest]
    for shape in ("linear", "cosine"):
        for free in (False, True) if len(rise.t) > 1 or rise.t[0] == 0 else (False,):
            for end in ends:
                curve = shapes.shape(shape)
                left = end - rise.t
                rest, gone = (np.asarray(f(rise.t, left, float(end), np)) for f in (curve.fall, curve.rise))
                start = _allowed(peak * gone, rest, rise) if free else 0.0
                if start is None or not 0 <= start < peak:
                    continue
                ramp = Ramp(start, peak, end, shape)
                if rise.fits(evaluated(ramp, rise.t)):
                    yield ramp, end
                    return


def roundest(low: int, high: int) -> int:
    """The whole number of an interval that a person would choose: of the largest power of ten, then of five and two."""
    middle = (low + high) / 2
    for unit in (m * 10**k for k in range(9, -1, -1) for m in (5, 2, 1)):
        first = -(-low // unit) * unit
        if first <= high:
            return int(first + round((middle - first) / unit) * unit) if first + unit <= high else first
    return low


def _of_one_scale(split: _Split) -> Iterator[str]:
    """Policies whose rates are known up to a factor."""
    log, rise = split.log, split.rise
    t = log.t.astype(int)

    def factor(text: str) -> float | None:
        spend(4)
        return _allowed(np.zeros(len(t)), np.asarray(parse(text)(t), float), log)

    if len(rise.t) and len(split.below.t):
        latest = int(split.below.t[0])
        _, slope = _rising(rise)
        # An inverse square root meets the rise where both have the same rate.
        tail = float(np.median(split.below.y * np.sqrt(split.below.t + 1.0)))
        meets = (tail / slope) ** (2 / 3) if slope > 0 else math.inf
        near = [*_whole(meets, 4 + 0.01 * meets, ()), *(latest + d for d in (0, 1, -1))]
        for w in dict.fromkeys(w for w in near if 0 < w <= latest + 1):
            if (scale := factor(f"noam(1, {w})")) is not None:
                for d in (512, 768, 1024, 256, 2048, 4096):
                    own = factor(f"noam({d}, {w})")
                    if own is not None and len(repr(own)) <= 4:
                        yield f"noam({d}, {w})" if own == 1 else f"noam({d}, {w}, scale={own!r})"
                yield f"noam(1, {w}, scale={scale!r})"
            if (peak := factor(f"inverse_sqrt(1.0, warmup={w})")) is not None:
                yield f"inverse_sqrt({peak!r}, warmup={w})"
    if log.y[-1] >= split.top - 2 * log.half[-1] and log.y[0] < split.top - 2 * log.half[0]:
        texts = [
            f"{name}({{}}, {beta2})"
            for beta2 in (0.999, 0.99, 0.98, 0.95, 0.9)
            for name in ("untuned_linear", "untuned_exponential", "radam_warmup")
        ]
        texts += [f"exponential_warmup({{}}, {scale})" for scale in _timescales(log)]
        for text in texts:
            peak = factor(text.format("1.0"))
            if peak is not None:
                yield text.format(repr(peak))


def _one_cycle(split: _Split) -> Iterator[str]:
    """A one-cycle policy with the usual start, peak/25, and final, start/10,000."""
    few = split.log.few
    if not (split.rise.t.size and split.below.t.size > 3):
        return
    low, final = 1 / 25, 1 / 250_000

    def curve(w: float, e: float, t: Numbers) -> Numbers:
        up, down = (
            np.sin(math.pi / 2 * np.clip(t / w, 0, 1)) ** 2,
            np.cos(math.pi / 2 * np.clip((t - w) / (e - w), 0, 1)) ** 2,
        )
        return np.asarray(np.where(t < w, low + (1 - low) * up, final + (1 - final) * down))

    top, last = float(split.log.t[split.log.y.argmax()]), float(few.t[-1])
    starts = [
        (w, w * far) for w in (top, 0.97 * top, 1.03 * top) for far in (10 / 3, last / w, 2.0, 5.0) if w * far > w > 0
    ]
    solved = _solve(lambda x: [curve(x[0], x[1], few.t)] if 0 < x[0] < x[1] else None, few, starts, max(last, 1.0))
    if solved is None:
        return
    slack = 4 * math.sqrt(float(solved[1][1, 1])) + 1e-3
    for e in _whole(float(solved[0][1]), slack, (int(last) + 1, int(last))):
        usual = round(0.3 * e)
        for w in dict.fromkeys((usual, round(float(solved[0][0])), 0.3 * (e + 1) - 1)):
            peak = _allowed(np.zeros(len(split.log.t)), curve(w, e, split.log.t), split.log)
            if peak is None:
                continue
            if w == round(w):
                yield f"one_cycle({peak!r}, total={e}" + f", warmup={w}" * (w != usual) + ")"
            else:  # torch's count, in which the last update has the final rate
                ramps = Ramp(peak / 25, peak, w, "cosine"), Ramp(peak, peak / 25 / 10_000, e - w, "cosine")
                yield f"{ramps[0]} >> {ramps[1]}"


def _timescales(log: Log) -> Iterator[str]:
    """The timescales of an exponential rise to a level, with ", first=True" where the rise is counted from 1."""
    few = log.few
    span = float(few.t[-1] - few.t[0])
    for first in (0, 1):
        solved = _solve(
            lambda x, first=first: [-np.expm1(-(few.t + first) / x[0])] if x[0] > 0 else None,  # type: ignore[misc]
            few,
            [(span * share,) for share in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)],
            1.0,
        )
        if solved is not None:
            slack = 4 * math.sqrt(float(solved[1][0, 0]))
            for scale in _whole(float(solved[0][0]), slack + 1e-3, ()):
                if scale > 0:
                    yield f"{scale}" + ", first=True" * first


def _between(low: Numbers, high: Numbers) -> tuple[float, float] | None:
    """The intersection of all intervals."""
    least, most = float(low.max()), float(high.min())
    return (least, most) if math.isfinite(least) and math.isfinite(most) and least <= most else None


def _allowed(fixed: Numbers, factors: Numbers, log: Log) -> float | None:
    """The shortest x with which fixed + x·factors is nowhere further from the rates than rounding goes."""
    free = factors > 1e-12 * float(factors.max(initial=0.0))
    if not free.any() or (np.abs(fixed[~free] - log.y[~free]) > log.half[~free]).any():
        return None
    left = log.y - fixed
    found = _between((left - log.half)[free] / factors[free], (left + log.half)[free] / factors[free])
    return None if found is None else shortest((found[0] + found[1]) / 2, (found[1] - found[0]) / 2)


def _line(t: Numbers, z: Numbers, weight: Numbers) -> tuple[float, float] | None:
    """Intercept and slope of the weighted line through the values."""
    total = float(weight.sum())
    if not 0 < total < math.inf:
        return None
    at, level = float(weight @ t) / total, float(weight @ z) / total
    spread = float(weight @ (t - at) ** 2)
    if not spread > 0:
        return None
    slope = float(weight @ ((t - at) * (z - level))) / spread
    return (level - slope * at, slope) if math.isfinite(slope) else None


def _whole(value: float, slack: float, likely: tuple[int, ...]) -> list[int]:
    """Whole numbers near a value, likely and round ones first."""
    if not (math.isfinite(value) and abs(value) < 1e15):
        return []
    near = [n for n in likely if abs(n - value) <= slack]
    near += [round(float(f"{value:.{digits}e}")) for digits in range(7)]
    middle = round(value)
    near += [middle + d for k in range(1, 4) for d in (-k, k)]
    return [n for n in dict.fromkeys(near) if abs(n - value) <= slack]
