"""The fall of a log's rates: the curves down from the level that suit all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from laju.core import shapes
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.recognition.curves import Numbers, evaluated, least, shortest
from laju.recognition.solving import Log, allowed_factor, between, line_through, solve, two_factors, whole_near
from laju.recognition.work import spend

_CLOCKED = ("cosine", "sqrt", "rex", "tanh", "square", "quarter_cosine")
"""Falls whose begin shows in the curve; a line, a power and an exponential go on backwards as the same curve."""
_POWERS = (1.0, 2.0, 0.9, 0.5, 3.0, 1.5)
_EXPONENTS = (0.5, 1.0, 2.0, 1 / 3, 1.5, 0.55, 0.75, 0.25)
_SHARES = (0.1, 0.01, 0.05, 0.001)


@dataclass(frozen=True)
class Split:
    """A log cut at its top: rows of the rise, of the level (with rows that rounding makes equal to it), and of the fall."""

    log: Log
    rise: Log
    fall: Log
    below: Log
    level: bool
    top: float
    ended: bool


def falls(split: Split) -> Iterator[tuple[Schedule, float, int]]:
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


def _modes(split: Split) -> tuple[float | None, ...]:
    """The floors to try, as shares of the peak; None stands for a floor that is solved for."""
    return (0.0, None) if float(split.log.half.max()) < 1e-9 * split.top else (0.0, *_SHARES[:3], None)


def _clocked(split: Split) -> Iterator[tuple[Schedule, float, int]]:
    log, below = split.fall, split.below
    few = log.few
    if len(log.t) < 5 or not len(below.t):
        return
    begin = float(below.t[0])
    span = max(float(below.t[-1] - begin), 1.0)
    last = float(log.t[-1])
    before = max(float(log.t[max(int(np.searchsorted(log.t, begin)) - 1, 0)]), 0.0)
    # A curve that starts slowly, as a cosine, is hidden by rounding at first, so that it may begin long before the first row
    # that shows it; and the log may stop long before its end.
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
            solved = solve(model, few, starts, span)
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
    # Begin and end are correlated: a later end goes with an earlier begin that suits the same rows. With the end fixed at a
    # whole update, the begin moves along and is known far better than both are together.
    lean = covariance[0, 1] / covariance[1, 1] if covariance[1, 1] > 0 else 0.0
    left = 4 * math.sqrt(max(float(covariance[0, 0] - lean * covariance[0, 1]), 0.0)) + 1e-6 * abs(float(x[0])) + 1e-4
    for e in whole_near(float(x[1]), float(spread[1]), likely):
        for b in whole_near(float(x[0] + lean * (e - x[1])), left, (0,)):
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
        peak = allowed_factor(zero, fall + share * rise, later)
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


def _checked(ramp: Ramp, log: Log, begin: int) -> Ramp | None:
    if min(ramp.start, ramp.final) < 0:
        return None
    return ramp if log.fits(evaluated(ramp, log.t - begin)) else None


def _crossings(split: Split, curve: Callable[[Numbers], Numbers], slope: float) -> list[int]:
    """Whole updates at which a curve, extended backwards, meets the rise or the level before."""
    rise, below = split.rise, split.below
    first = float(below.t[0])
    if split.level:
        a, s, before = split.top, 0.0, float(split.fall.t[0])
    elif len(rise.t):
        a, s = rising(rise)
        before = float(rise.t[-1])
    else:
        return [0]
    low, high = before, first
    # Bisection for the crossing, as a curve may have no inverse; 60 halvings are more than the digits of a float.
    for _ in range(60):
        middle = (low + high) / 2
        if float(curve(np.array([middle]))[0]) > a + s * middle:
            low = middle
        else:
            high = middle
    slack = 3 * float(split.log.half[split.log.y >= split.top].max()) / max(abs(slope - s), 1e-300) + 1e-4
    return whole_near(middle, min(slack, first - before + 1), (int(first), int(before)))[:10]


def rising(rise: Log) -> tuple[float, float]:
    """Intercept and slope of the rise as a line; from 0 where the rise has a single row."""
    below = rise
    if len(below.t) == 1:
        return 0.0, float(below.y[0] / max(below.t[0], 1.0))
    line = line_through(below.t, below.y, 1 / below.half**2)
    return line if line is not None else (0.0, float(below.y[-1] / max(below.t[-1], 1.0)))


def _lines(split: Split) -> Iterator[tuple[Schedule, float, int]]:
    """Straight falls, down to 0 where the line points at 0 in a whole update."""
    below, log = split.below, split.fall
    if len(below.t) < 2:
        return
    line = line_through(below.t, below.y, 1 / below.half**2)
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
            ends += [(e, None) for e in whole_near((float(log.y[-1]) - a) / slope, slack, ())]
        else:
            ends += [(e, 0.0) for e in whole_near(zero, slack, (int(last) + 1, int(last))) if e >= last][:12]
            for part in _SHARES:
                # People end a line at a share of its peak: with the begin known, the slope says where that share is reached.
                reach = b + (a + slope * b) * (1 - part) / -slope
                ends += [(e, part) for e in whole_near(reach, slack, (int(last) + 1,))[:4] if e > last]
            ends += [(int(last) + 1, None), (int(last), None)]
        for e, share in ends:
            found = None if e <= b else _pinned(later, "linear", b, e, share)
            if found is not None:
                yield found, found.start, b
                if share == 0.0 or split.ended:
                    break


def _powered(split: Split) -> Iterator[tuple[Schedule, float, int]]:
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
                solved = solve(model, few, starts, span)
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
                    for e in whole_near(float(x[0]), float(spread[0]) + 1e-3, (int(log.t[-1]) + 1, int(log.t[-1]))):
                        found = None if e <= max(b, last) else _pinned(log, shape, b, e, None if floor else 0.0)
                        if found is not None:
                            yield found, found.start, b
                            done = True
                            break
                    if done:
                        break


def _endless(split: Split) -> Iterator[tuple[Schedule, float, int]]:
    """Exponentials and powers of the update."""
    log, below = split.fall, split.below
    # Rates of few digits that are nearly 0 are mostly rounding, and their logarithms nothing else.
    told = below.y > 4 * below.half
    t, y = below.t[told], below.y[told]
    if len(t) < 4:
        return
    inside = Log(t, y, below.half[told])

    def top(piece: Schedule, begin: int) -> float | None:
        later = log[log.t >= begin]
        return allowed_factor(np.zeros(len(later.t)), evaluated(piece, later.t - begin), later)

    line = line_through(t, np.log(y), (y / inside.half) ** 2)
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
                (e, share * peak)
                for far, share in totals
                for e in whole_near(far, 2.0 + 1e-3 * far, ())
                if e >= log.t[-1]
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
        # A row bounds the final rate by the p-th root of what is left: near the begin that says nothing, and a value of the
        # size of its own rounding has no logarithm to speak of.
        told = (p > 0.02) & (later.y > 4 * later.half)
        if not told.any():
            return None
        with np.errstate(all="ignore"):
            low, high = (
                np.exp((np.log(later.y + h) - (1 - p) * math.log(near)) / p) for h in (-later.half, later.half)
            )
        found = between(low[told], high[told])
        if found is None:
            continue
        level = shortest((found[0] + found[1]) / 2, (found[1] - found[0]) / 2)
        piece = Ramp(near, level, end - begin, "exponential") if level > 0 else None
        if piece is not None and later.fits(evaluated(piece, later.t - begin)):
            return piece
    return None


def _inverse(
    split: Split, inside: Log, begin: int, top: Callable[[Schedule, int], float | None]
) -> Iterator[tuple[Schedule, float, int]]:
    """Powers of the update that fall without end: base·(1 + (t - begin)/timescale)^-exponent."""
    t, y = inside.t, inside.y

    def pole(k: float) -> tuple[float, float]:
        """Where the power would be infinite, and the largest distance of the rows from the power, in half units."""
        spend(1)
        z = y ** (-1 / k)
        # Weights of a rate's own rounding, carried through the root: d(y^(-1/k)) is proportional to z/y·dy.
        line = line_through(t, z, (y / inside.half / z) ** 2)
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
