"""Find a single curve through given values: the piece of laju with these values, and its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core import shapes
from laju.core.outline import Geometric, InversePower, Level, Transition
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.recognition.work import spend

Numbers = npt.NDArray[np.float64]

_FIXED = ("cosine", "sqrt", "square", "power(2)", "rex", "tanh")
_EXPONENTS = ("power({})", "rising_power({})", "cosine(1.0, {})", "cosine({})")
_SAMPLED = 40
"""The number of values for the search of parameters; a result is then compared with all values."""


@dataclass(frozen=True)
class PlacedPiece:
    """A piece in force from update `begin` to `end` (None if the values end first).

    Args:
        piece: the schedule on its own clock, which is 0 at `origin`.
        parameters: number of the piece's parameters.
    """

    piece: Schedule
    begin: int
    end: int | None
    origin: float
    parameters: int

    @property
    def schedule(self) -> Schedule:
        """The piece on a clock that begins with the part, cut where the part ends."""
        own = self.piece
        late = self.begin - self.origin
        if late and own.level is None:
            own = own.shift(-late)  # type: ignore[arg-type]
        if self.end is None:
            return own
        length = self.end - self.begin
        if isinstance(own.form, Level):
            return Constant(own.form.value, length)
        return own if own.length == length else own.take(length)


def evaluated(piece: Schedule, t: Numbers) -> Numbers:
    """The values of a piece at arbitrary times, which need not be whole numbers."""
    spend(1 + len(t) / 4000)
    with np.errstate(all="ignore"):
        if isinstance(form := piece.form, Transition) and form.length:
            shape, n = shapes.shape(form.shape), float(form.length)
            done = np.clip(t, 0.0, n)
            if shape.geometric:
                return np.asarray(form.start * (form.final / form.start) ** (done / n))
            fall, rise = shape.fall(done, n - done, n, np), shape.rise(done, n - done, n, np)
            return np.asarray(form.start * fall + form.final * rise)
        return np.array([piece(float(u)) for u in t]) if len(t) <= _SAMPLED else _of(piece, t)


def _of(piece: Schedule, t: Numbers) -> Numbers:
    match piece.form:
        case Level(value):
            return np.full(len(t), value)
        case Geometric(base, ratio, every, 0):
            return np.asarray(base * float(ratio) ** (t / float(every)))
        case InversePower(base, exponent, offset, timescale):
            return np.asarray(base * (offset + t / float(timescale)) ** -exponent)
    raise TypeError(piece)


def coarse(y: Numbers, tolerance: float) -> bool:
    """Whether the tolerance is so large, as for values of few digits, that the beginnings of curves are hidden."""
    return tolerance > 1e-6 * float(np.abs(y).max())


def shortest(value: float, tolerance: float) -> float:
    """The number with the fewest digits within a tolerance."""
    if abs(value) <= tolerance:
        return 0.0
    # 17 digits determine a float, so a longer decimal never helps.
    for digits in range(17):
        text = float(f"{value:.{digits}e}")
        if abs(text - value) <= tolerance:
            return text
    return value


def curves(
    t: Numbers,
    y: Numbers,
    begin: int,
    end: int | None,
    following: float | None,
    tolerance: float,
    origins: Sequence[float],
) -> Iterator[PlacedPiece]:
    """Parts through the values y of the updates t, the simplest first.

    Args:
        begin: the first update at which the part is in force.
        end: the first update of the next part; None if the values end.
        following: the value at `end`.
        tolerance: largest allowed difference of a value.
        origins: positions, besides `begin`, at which the clock may be 0.
    """
    seen = np.unique(np.linspace(0, len(t) - 1, _SAMPLED).astype(int))

    def fits(piece: Schedule, origin: float) -> bool:
        few = np.abs(evaluated(piece, t[seen] - origin) - y[seen]).max()
        if not few <= tolerance:
            return False
        return len(seen) == len(t) or bool(np.abs(evaluated(piece, t - origin) - y).max() <= tolerance)

    low, high = float(y.min()), float(y.max())
    if high - low <= 2 * tolerance:
        level = shortest((low + high) / 2, (2 * tolerance - (high - low)) / 2)
        if low == high:
            level = float(y[0]) if abs(level - y[0]) > tolerance else level
        yield PlacedPiece(Constant(level), begin, end, begin, 1)
    if len(t) < 2:
        return
    for piece in _lines(t - begin, y, None if end is None else end - begin, following, tolerance):
        if fits(piece, begin):
            yield PlacedPiece(piece, begin, end, begin, 3)
            break
    step = np.diff(y)
    if len(t) < 4 or ((step > 0).any() and (step < 0).any()):  # each of the others only rises or only falls
        return
    if low * high > 0:
        for piece in _exponential(t - begin, y, None if end is None else end - begin, following, tolerance):
            if fits(piece, begin):
                yield PlacedPiece(piece, begin, end, begin, 2 if isinstance(piece.form, Geometric) else 3)
                break
    if low > 0:
        for piece in _power(t[seen] - begin, y[seen], tolerance):
            if fits(piece, begin):
                yield PlacedPiece(piece, begin, end, begin, 3)
                break
    for shape, origin, length, start, final in _ramps(t[seen], y[seen], begin, end, following, tolerance, origins):
        for a, b in dict.fromkeys(
            (
                (shortest(start, tolerance), shortest(final, tolerance)),
                (start, shortest(final, tolerance)),
                (start, final),
            )
        ):
            try:
                ramp = Ramp(a, b, length, shape)
            except ValueError:
                continue
            if fits(ramp, origin):
                yield PlacedPiece(ramp, begin, end, origin, 3 + ("(" in shape) + (origin != begin))
                return


def _lines(u: Numbers, y: Numbers, end: float | None, following: float | None, tolerance: float) -> Iterator[Schedule]:
    slope = (y[-1] - y[0]) / (u[-1] - u[0])
    start = float(y[0] - slope * u[0])
    ends: list[tuple[float, float]] = []
    if end is not None:
        ends.append((end, start + slope * end))
        if following is not None:
            ends.insert(0, (end, following))
    else:
        after = u[-1] + 1
        zero = -start / slope if slope else math.inf
        if after - 1 <= zero < 100 * after and abs(zero - round(zero)) * abs(slope) <= 4 * tolerance:
            ends.append((round(zero), 0.0))
        ends += [(after, start + slope * after), (u[-1], float(y[-1]))]
        # A line without an end in the values may go anywhere: the end with the shortest number is the likely one.
        ends.sort(key=lambda pair: len(repr(shortest(pair[1], tolerance))))
    for length, final in ends:
        if length > 0:
            for a in dict.fromkeys((shortest(start, tolerance), start)):
                for b in dict.fromkeys((shortest(final, tolerance), final)):
                    yield Ramp(a, b, int(length))


def _exponential(
    u: Numbers, y: Numbers, end: float | None, following: float | None, tolerance: float
) -> Iterator[Schedule]:
    span = u[-1] - u[0]
    ratio = float((y[-1] / y[0]) ** (1 / span))
    start = float(y[0] / ratio ** u[0])
    # An error of the factor grows with its power, so the last value bounds the digits of the factor.
    slack = max(tolerance / abs(float(y[-1])) / span, 1e-16)
    nice = shortest(ratio, slack * ratio)
    rate = -math.log(ratio) if ratio > 0 else 0.0
    # A factor that somebody has typed is short. Any factor fits some number of 17 digits, which says nothing.
    if len(repr(nice)) <= 9:
        yield Exponential(start, nice)
    short = shortest(rate, slack)
    if rate > 0 and len(repr(short)) <= 9:
        yield Exponential(start, math.exp(-1), 1 / short)
    for length in [end] if end is not None else [u[-1] + 1, u[-1]]:
        if length and length > 0:
            final = start * ratio**length
            goal = following if following is not None and abs(following - final) <= 16 * tolerance else final
            goal = shortest(float(goal), max(tolerance, 4e-16 * abs(goal)))
            if goal * start > 0 and len(repr(goal)) <= 12:
                yield Ramp(start, goal, int(length), "exponential")
    yield Exponential(start, ratio)


def _power(u: Numbers, y: Numbers, tolerance: float) -> Iterator[Schedule]:
    def fitted(k: float) -> tuple[float, float, float]:
        """Intercept and slope of y^(-1/k), a line for the right k, and the largest relative distance from the line."""
        z = y ** (-1 / k)
        slope = (z[-1] - z[0]) / (u[-1] - u[0])
        first = z[0] - slope * u[0]
        return float(first), float(slope), float(np.abs(z - first - slope * u).max() / np.abs(z).max())

    def pieces(k: float) -> Iterator[Schedule]:
        first, slope, _ = fitted(k)
        if first <= 0 or slope <= 0:
            return
        base, scale = first**-k, first / slope
        slack = tolerance / float(y[0])
        for digits in (1, 2, 3, 4, 6, 8, 10, 12, 17):
            near = float(f"{scale:.{digits - 1}e}")
            if abs(near - scale) <= max(1e-7, 50 * slack) * scale:
                yield Power(shortest(base, tolerance), k, 1.0, near)
                yield Power(base, k, 1.0, near)
        yield Power(base, k, 1.0, scale)

    with np.errstate(all="ignore"):
        loose = max(1e-9, 100 * tolerance / float(y.min()))
        fixed = [k for k in (0.5, 1.0, 2.0, 1 / 3, 1.5, 0.55) if fitted(k)[2] <= loose]
        for k in fixed:
            yield from pieces(k)
        if not fixed and len(u) >= 6:
            best = least(lambda k: fitted(k)[2], np.geomspace(0.1, 6, 25))
            if best is not None and fitted(best)[2] <= loose:
                for digits in (1, 2, 3, 4):
                    yield from pieces(float(f"{best:.{digits - 1}e}"))


def _ramps(
    t: Numbers,
    y: Numbers,
    begin: int,
    end: int | None,
    following: float | None,
    tolerance: float,
    origins: Sequence[float],
) -> Iterator[tuple[str, float, float, float, float]]:
    """(shape, origin, length, start, final) that may have these values."""
    stop = float(t[-1] + 1 if end is None else end)
    places = list(dict.fromkeys([float(begin), float(begin - 1), *origins]))
    # A wide net: least squares do not minimise the largest difference, and the parameters are still to be rounded to short
    # numbers. All values are compared within `tolerance` afterwards.
    loose = 64 * tolerance
    for shape in _FIXED:
        for origin in places:
            for length in dict.fromkeys((stop - origin, stop - 1 - origin, stop + 1 - origin)):
                found = _solved(shape, origin, length, t, y, following if end is not None else None)
                if found is not None and found[2] <= loose:
                    yield shape, origin, length, found[0], found[1]
    odd = [o for o in places if o != round(o) or (o < begin - 1 and o and begin - o <= 64)]
    for shape in ("cosine", "sqrt", "power(2)", "square", "rex", "tanh") if end is None else ("cosine",):
        for origin in [*places[:2], *odd]:
            yield from _of_unknown_length(shape, origin, t, y, loose)
    if end is None and float(y.min()) >= 0 and y[-1] < y[0]:
        yield from _to_zero(begin, t, y, loose)
    for kind in _EXPONENTS:
        for length in dict.fromkeys((stop - begin, stop - 1 - begin)):
            yield from _of_unknown_exponent(kind, float(begin), length, t, y, loose)
    for length in (stop - begin, stop - 1 - begin):
        quarter = _solved("quarter_cosine", float(begin), length, t, y)
        if quarter is not None and quarter[2] <= loose:
            yield "quarter_cosine", float(begin), length, quarter[0], quarter[1]


def _to_zero(begin: int, t: Numbers, y: Numbers, loose: float) -> Iterator[tuple[str, float, float, float, float]]:
    """Powers of the distance to an end beyond the values, where the curve is 0: the k-th root of such a power is a line."""
    u = t - begin

    def line(k: float) -> tuple[float, float]:
        z = y ** (1 / k)
        slope = (z[-1] - z[0]) / (u[-1] - u[0])
        return float(np.abs(z - z[0] - slope * (u - u[0])).max() / z[0]), float(u[0] - z[0] / slope)

    with np.errstate(all="ignore"):
        k = least(lambda k: line(k)[0], np.geomspace(0.2, 6, 30))
        if k is None or line(k)[0] > 1e-6:
            return
        for digits in (1, 2, 3, 4):
            near = float(f"{k:.{digits - 1}e}")
            length = line(near)[1]
            if not (math.isfinite(length) and length > u[-1]):
                continue
            for candidate in dict.fromkeys((float(round(length)), length)):
                found = _solved(f"power({near!r})", float(begin), candidate, t, y, 0.0)
                if found is not None and found[2] <= loose:
                    yield f"power({near!r})", float(begin), candidate, found[0], found[1]


def _solved(
    shape: str, origin: float, length: float, t: Numbers, y: Numbers, known: float | None = None
) -> tuple[float, float, float] | None:
    """(start, final, largest residual) of the best ramp of a shape, origin and length."""
    if not length > 0 or t[0] < origin:
        return None
    spend(1)
    curve = shapes.shape(shape)
    done = np.clip(t - origin, 0.0, length)
    with np.errstate(all="ignore"):
        fall = np.asarray(curve.fall(done, length - done, length, np), float)
        rise = np.asarray(curve.rise(done, length - done, length, np), float)
    if not (np.isfinite(fall).all() and np.isfinite(rise).all()):
        return None
    if t[0] == origin:  # the value at the origin is `start`, to the last bit
        start = float(y[0])
        weight = float(rise @ rise)
        final = float(rise @ (y - start * fall)) / weight if weight else start
    else:
        (start, final), *_ = np.linalg.lstsq(np.stack([fall, rise], 1), y, rcond=None)
        start, final = float(start), float(final)
    best = start, final, float(np.abs(start * fall + final * rise - y).max())
    if known is not None:
        again = float(np.abs(start * fall + known * rise - y).max())
        if again <= max(best[2] * 2, 1e-16 * abs(start)):
            return start, known, again
    return best


def _of_unknown_length(
    shape: str, origin: float, t: Numbers, y: Numbers, loose: float
) -> Iterator[tuple[str, float, float, float, float]]:
    span = float(t[-1] - origin)
    if span <= 0 or len(t) < 5:
        return

    def residual(length: float) -> float:
        found = _solved(shape, origin, length, t, y)
        return math.inf if found is None else found[2]

    length = least(residual, span * np.geomspace(0.98, 60, 70))
    if length is None or residual(length) > max(loose, 1e-6 * float(np.abs(y).max())):
        return
    for digits in (1, 2, 3, 4, 5, 6, 17):
        near = float(f"{length:.{digits - 1}e}")
        for candidate in dict.fromkeys((near, float(round(near)))):
            if abs(candidate - length) <= 2e-3 * length + 1:
                found = _solved(shape, origin, candidate, t, y)
                if found is not None and found[2] <= loose:
                    yield shape, origin, candidate, found[0], found[1]


def _of_unknown_exponent(
    kind: str, origin: float, length: float, t: Numbers, y: Numbers, loose: float
) -> Iterator[tuple[str, float, float, float, float]]:
    def residual(k: float) -> float:
        found = _solved(kind.format(repr(k)), origin, length, t, y)
        return math.inf if found is None else found[2]

    k = least(residual, np.geomspace(0.15, 8, 24))
    if k is None or residual(k) > max(loose, 1e-6 * float(np.abs(y).max())):
        return
    for digits in (1, 2, 3, 4, 6, 17):
        near = float(f"{k:.{digits - 1}e}")
        found = _solved(kind.format(repr(near)), origin, length, t, y)
        if found is not None and found[2] <= loose:
            yield kind.format(repr(near)), origin, length, found[0], found[1]
            return


def least(f: Callable[[float], float], grid: Any) -> float | None:
    """The minimum of f: the best of a grid, refined by golden sections between its neighbours."""
    with np.errstate(all="ignore"):
        found = [f(float(x)) for x in grid]
        i = int(np.nanargmin(found)) if np.isfinite(found).any() else -1
        if i < 0:
            return None
        a, b = float(grid[max(i - 1, 0)]), float(grid[min(i + 1, len(grid) - 1)])
        # Golden sections: each step reuses one of the two values inside, so that it costs a single call of f, which here
        # compares a curve with all rows.
        ratio = (math.sqrt(5) - 1) / 2
        c, d = b - ratio * (b - a), a + ratio * (b - a)
        fc, fd = f(c), f(d)
        for _ in range(80):
            if fc < fd:
                b, d, fd = d, c, fc
                c = b - ratio * (b - a)
                fc = f(c)
            else:
                a, c, fc = c, d, fd
                d = a + ratio * (b - a)
                fd = f(d)
            if b - a <= 1e-15 * abs(a):
                break
        return (a + b) / 2
