"""Rates of few digits: a rise, a level and a fall, each found from all of its values at once.

Rounding hides where one curve ends and the next begins. But a shape that is undone turns values into a share of its length, which
is a line in the update; where that line is 0 and 1 the curve begins and ends. Of a parameter that is left the values allow an
interval, and the shortest number in it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from laju.core import shapes
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.recognition.curves import Numbers, Part, evaluated, least, shortest
from laju.recognition.rows import chained, named
from laju.text.spec import parse

_FALLS = (
    "linear", "cosine", "sqrt", "square", "power(2)", "power(0.5)", "power(0.9)", "power(3)", "power(1.5)", "quarter_cosine",
    "rex", "tanh", "exponential",
)  # fmt: skip
_RISES = ("linear", "cosine", "exponential")
_EXPONENTS = (0.5, 1.0, 2.0, 1 / 3, 1.5, 0.55, 0.75, 0.25)
_GRID = np.linspace(0, 1, 4001)
_MOST = 60


@dataclass(frozen=True)
class _Side:
    """The values of the rise or of the fall, the level between them, and by how much all were rounded."""

    t: Numbers
    y: Numbers
    peak: float
    half: float

    def fits(self, piece: Schedule, begin: int = 0, times: float = 1) -> bool:
        later = self.t >= begin
        return bool(np.abs(evaluated(piece, self.t[later] - begin) - self.y[later]).max() <= times * self.half)


def rounded(t: Numbers, y: Numbers, half: float) -> Iterator[str]:
    """What may be behind rates that were rounded by at most `half`, those with the fewest digits first."""
    if len(y) < 8 or float(y.max() - y.min()) < 16 * half:
        return
    found: dict[str, tuple[int, int, int]] = {}
    for peak in _peaks(t, y):
        level = np.flatnonzero(y >= peak - half)
        first, last = (int(level[0]), int(level[-1])) if len(level) else (int(y.argmax()), int(y.argmax()))
        if (np.diff(y[: first + 1]) < -2 * half).any() or (np.diff(y[last:]) > 2 * half).any():
            return
        if len(level) and (y[first : last + 1] < peak - 2 * half).any():
            return
        rise = _Side(t[: first + 1], y[: first + 1], peak, half)
        rises: list[tuple[Ramp | None, int]] = [(None, 0)]
        if first and y[0] < peak - 2 * half:
            rises = list(_rises(rise, int(t[min(last + 1, len(t) - 1)])))
        falls: list[tuple[Schedule, float, int]] = [(Constant(peak), peak, 0)]
        if y[-1] < peak - 2 * half:
            fall = _Side(t[last:], y[last:], peak, half)
            falls = list(_falls(fall, sorted({int(t[first]), *(end for _, end in rises)})))
        if first and len(t) <= t[-1]:  # the rise may end where nothing was logged
            rises += _up_to(rise, sorted({begin for _, _, begin in falls}))
        for ramp, end in rises:
            for piece, top, begin in falls:
                for text, cost in _told(ramp, end, piece, top, max(begin, end)):
                    found[text] = min(cost, found.get(text, cost))
        for text in _of_one_scale(t, y, half, rise, [begin for _, _, begin in falls]):
            cost = (_said(text) + 3, 0, len(text))
            found[text] = min(cost, found.get(text, cost))
    yield from sorted(found, key=found.__getitem__)[:_MOST]


def _peaks(t: Numbers, y: Numbers) -> list[float]:
    """The largest value, and round ones above it that a log with gaps may have passed over."""
    most = float(y.max())
    if len(t) == t[-1] - t[0] + 1:
        return [most]
    unit = 10.0 ** math.floor(math.log10(abs(most))) if most else 1.0
    above = [math.ceil(most / unit * 10**digits) * unit / 10**digits for digits in range(3)]
    return [most, *dict.fromkeys(float(f"{p:.12g}") for p in above if most < p <= 1.12 * most)]


def _told(
    ramp: Ramp | None, end: int, piece: Schedule, top: float, begin: int
) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Texts for a rise, a level and a fall, and what they cost."""
    parts = [] if ramp is None else [Part(replace(ramp, final=top), 0, end, 0, 3)]
    if begin > end:
        parts.append(Part(Constant(top), end, begin, end, 1))
    parts.append(Part(piece, begin, None, begin, 3))
    for k, text in enumerate((*named(parts), str(chained(parts)))):
        yield text, (_said(text) + 3 * len(parts), k, len(text))


def _said(text: str) -> int:
    """How many digits a text has that are no zeros."""
    return sum(character in "123456789" for character in text)


def _rises(side: _Side, latest: int) -> Iterator[tuple[Ramp, int]]:
    """Ramps from update 0 up to the level, and where they end."""
    t, y, peak, half = side.t, side.y, side.peak, side.half
    for shape in _RISES:
        for start in _levels(float(y[0]), peak, half, bool(t[0] == 0)):
            undone = None if shape == "exponential" and start <= 0 else _undone(shape, start, side, rising=True)
            if undone is None:
                continue
            share, weight = undone
            length = float(weight @ t**2) / max(float(weight @ (share * t)), 1e-300)
            slack = 2 + 2 * half / (peak - start) * length
            for end in _whole(length, slack, (int(t[-1]),)):
                # The peak itself was rounded, too.
                if 0 < end <= latest + slack and side.fits(ramp := Ramp(start, peak, end, shape), times=2):
                    yield ramp, end


def _up_to(side: _Side, ends: list[int]) -> Iterator[tuple[Ramp, int]]:
    """Ramps to where falls begin."""
    for end in ends:
        for shape in ("linear", "cosine"):
            ramp = Ramp(float(side.y[0]), side.peak, end, shape) if end > side.t[-2] else None
            if ramp is not None and replace(side, t=side.t[:-1], y=side.y[:-1]).fits(ramp, times=2):
                yield ramp, end


def _falls(side: _Side, ends: list[int]) -> Iterator[tuple[Schedule, float, int]]:
    """Curves down from the level, the level, and where they begin; `ends` are those of rises."""
    t, y, peak, half = side.t, side.y, side.peak, side.half

    def begins(found: float, slack: float) -> list[int]:
        near = [*ends, *_whole(found, slack, ())]
        return [b for b in dict.fromkeys(near) if abs(b - found) <= slack and 0 <= b <= t[0] + slack]

    ended = len(y) > 3 and y[-1] == y[-2] == y[-3]
    after = int(t[-1]) + 1
    for shape in _FALLS:
        for level in _levels(float(y[-1]), peak, half, ended):
            undone = None if shape == "exponential" and level <= 0 else _undone(shape, level, side)
            line = None if undone is None else _line(t, *undone)
            if undone is None or line is None or line[1] <= 0:
                continue
            share, weight = undone
            length = 1 / line[1]
            slack = 2 + 6 * half / (peak - level) * length
            for b in begins(-line[0] / line[1], slack + 0.1 * length):
                u = t - b
                long = float(weight @ u**2) / max(float(weight @ (share * u)), 1e-300)
                for end in _whole(b + long, slack, (after, after - 1)):
                    found = None if end <= b else _ramp(shape, level, b, end, side)
                    if found is not None:
                        yield found, found.start, b
                        break
        if not ended and shape != "exponential":
            for b in ends:
                found = _cut(shape, b, side)
                if found is not None:
                    yield found, found.start, b
    for b in ends:
        yield from ((piece, top, b) for piece, top in _endless(b, side))


def _ramp(shape: str, level: float, begin: int, end: int, side: _Side) -> Ramp | None:
    """The fall from one update to another, with a level, or a peak, that all values allow."""
    later = side.t >= begin
    y, n = side.y[later], float(end - begin)
    curve = shapes.shape(shape)
    if curve.geometric:
        p = np.clip((side.t[later] - begin) / n, 0.0, 1.0)
        told = (p > 0.02) & (y > 4 * side.half)
        with np.errstate(all="ignore"):
            low, high = (np.exp((np.log(y + h) - (1 - p) * math.log(side.peak)) / p) for h in (-side.half, side.half))
        found = _between(low[told], high[told]) if told.any() else None
        if found is None:
            return None
        final = level if found[0] <= level <= found[1] else shortest(sum(found) / 2, (found[1] - found[0]) / 2)
        piece = Ramp(side.peak, final, end - begin, shape)
        return piece if side.fits(piece, begin) else None
    done = np.clip(side.t[later] - begin, 0.0, n)
    fall = np.asarray(curve.fall(done, n - done, n, np), float)
    rise = np.asarray(curve.rise(done, n - done, n, np), float)
    lowest = _allowed(side.peak * fall, rise, y, side.half, level)
    if lowest is not None:
        return Ramp(side.peak, lowest, end - begin, shape)
    peak = _allowed(level * rise, fall, y, side.half, side.peak)
    return None if peak is None else Ramp(peak, level, end - begin, shape)


def _cut(shape: str, begin: int, side: _Side) -> Ramp | None:
    """A fall whose end was not logged, to a level that is not known."""
    later = side.t >= begin
    u, y = side.t[later] - begin, side.y[later]
    curve = shapes.shape(shape)

    def final(n: float) -> tuple[float, float]:
        """The best level for a length, and how far the values are from it."""
        done = np.clip(u, 0.0, n)
        below = side.peak * np.asarray(curve.fall(done, n - done, n, np), float)
        rise = np.asarray(curve.rise(done, n - done, n, np), float)
        weight = float(rise @ rise)
        level = float(rise @ (y - below)) / weight if weight else 0.0
        return level, float(np.abs(below + level * rise - y).max())

    length = least(lambda n: final(n)[1], float(u[-1]) * np.geomspace(1.0, 20, 24)) if u[-1] > 0 else None
    if length is None or final(length)[1] > 1.2 * side.half:
        return None
    for digits in range(6):
        end = round(float(f"{begin + length:.{digits}e}"))
        level = final(end - begin)[0] if end > begin else math.inf
        found = _ramp(shape, max(level, 0.0), begin, end, side) if level < side.peak else None
        if found is not None:
            short = [Ramp(found.start, float(f"{found.final:.{d}g}"), found.length, shape) for d in range(1, 6)]
            return next((ramp for ramp in short if side.fits(ramp, begin)), found)
    return None


def _endless(begin: int, side: _Side) -> Iterator[tuple[Schedule, float]]:
    """Exponentials and powers of the update, and their values where they begin."""
    later = side.t >= begin
    told = later & (side.y > 4 * side.half)
    t, y = side.t[told], side.y[told]
    if len(t) < 4:
        return

    def top(piece: Schedule) -> float | None:
        factors = evaluated(piece, side.t[later] - begin)
        return _allowed(np.zeros(len(factors)), factors, side.y[later], side.half, side.peak)

    line = _line(t, np.log(y), y**2)
    if line is not None and line[1] < 0:
        rates = [float(f"{-line[1]:.{digits}g}") for digits in (1, 2, 3, 4)]
        ratios = [1 - float(f"{-math.expm1(line[1]):.{digits}g}") for digits in (1, 2, 3, 4)]
        curves = [(ratio, 1.0) for ratio in (*ratios, math.exp(line[1]))] + [(math.exp(-1), 1 / rate) for rate in rates]
        for ratio, every in curves:
            base = top(Exponential(1.0, ratio, every))
            if base is not None:
                yield Exponential(base, ratio, every), base
        for end in (int(side.t[-1]) + 1, int(side.t[-1])):
            found = _ramp("exponential", side.peak * math.exp(line[1] * (end - begin)), begin, end, side)
            if found is not None:
                yield found, side.peak

    def zero(k: float) -> tuple[float, float]:
        """Where the power would be infinite, and how far the values are from it."""
        line = _line(t, y ** (-1 / k), y ** (2 / k + 2))
        if line is None or line[1] <= 0 or line[0] + line[1] * begin <= 0:
            return -math.inf, math.inf
        return -line[0] / line[1], float(np.abs((line[0] + line[1] * t) ** -k - y).max())

    own = least(lambda k: zero(k)[1], np.geomspace(0.15, 4, 20)) if begin == 0 else None
    more = [float(f"{own:.{digits}g}") for digits in (1, 2, 3)] if own is not None else []
    for exponent in dict.fromkeys((*_EXPONENTS, *more)):
        at, apart = zero(exponent)
        if apart > 2 * side.half:
            continue
        likely = [float(s) for s in (begin, begin + 1) if s and abs(s - begin + at) <= 0.05 * s]
        for scale in (*likely, *(float(f"{begin - at:.{digits}g}") for digits in (1, 2, 3, 4, 5)), begin - at):
            base = top(Power(1.0, exponent, 1.0, scale))
            if base is not None:
                yield Power(base, exponent, 1.0, scale), base
                break


def _of_one_scale(t: Numbers, y: Numbers, half: float, rise: _Side, begins: list[int]) -> Iterator[str]:
    """Policies whose values are all known but for a factor."""

    def factor(text: str, likely: float) -> float | None:
        values = np.asarray(parse(text)(t.astype(int)))
        return _allowed(np.zeros(len(y)), values, y, half, likely)

    ends = [b for b in dict.fromkeys(begins) if b]
    if len(rise.t) > 1 and len(t) <= t[-1]:  # the peak may lie where nothing was logged
        ends += range(int(rise.t[-2]), min(int(rise.t[-2]) + 64, int(t[min(len(rise.t), len(t) - 1)])))
    for w in dict.fromkeys(b + 1 for b in ends):
        scale = factor(f"noam(1, {w})", 1.0)
        if scale is None:
            continue
        for d in (512, 768, 1024, 256, 2048, 4096):
            own = factor(f"noam({d}, {w})", 1.0)
            if own is not None and len(repr(own)) <= 4:
                yield f"noam({d}, {w})" if own == 1 else f"noam({d}, {w}, scale={own!r})"
        yield f"noam(1, {w}, scale={scale!r})"
    texts = [f"inverse_sqrt({{}}, warmup={w})" for w in dict.fromkeys(ends) if w]
    if y[-1] >= rise.peak - 2 * half and y[0] < rise.peak / 2:
        for beta2 in (0.999, 0.99, 0.98, 0.95, 0.9):
            texts += [f"{name}({{}}, {beta2})" for name in ("untuned_linear", "untuned_exponential", "radam_warmup")]
        texts += [f"exponential_warmup({{}}, {scale})" for scale in _timescales(rise)]
    for text in texts:
        peak = factor(text.format("1.0"), rise.peak)
        if peak is not None:
            yield text.format(repr(peak))


def _timescales(rise: _Side) -> Iterator[str]:
    """Of an exponential rise to the peak, with ", first=True" where it is counted from 1."""
    off = rise.half / rise.peak
    inside = (rise.y > 4 * rise.half) & (rise.y < rise.peak - 4 * rise.half)
    left = 1 - rise.y[inside] / rise.peak
    for first in (0, 1):
        u = rise.t[inside] + first
        if len(u) < 3 or u[0] <= 0:
            continue
        found = _between(-u / np.log(left - off), -u / np.log(left + off))
        if found is not None:
            yield f"{shortest(sum(found) / 2, (found[1] - found[0]) / 2)!r}" + ", first=True" * first


def _between(low: Numbers, high: Numbers) -> tuple[float, float] | None:
    """What all intervals have in common."""
    least, most = float(low.max()), float(high.min())
    return (least, most) if math.isfinite(least) and math.isfinite(most) and least <= most else None


def _allowed(fixed: Numbers, factors: Numbers, y: Numbers, half: float, likely: float) -> float | None:
    """The x with which fixed + x·factors is nowhere further from y than rounding goes: the likely one, or the shortest."""
    free = factors > 1e-12 * float(factors.max())
    if not free.any() or (np.abs(fixed[~free] - y[~free]) > half).any():
        return None
    found = _between((y - half - fixed)[free] / factors[free], (y + half - fixed)[free] / factors[free])
    if found is None:
        return None
    low, high = found
    return likely if low <= likely <= high else shortest((low + high) / 2, (high - low) / 2)


def _levels(at: float, peak: float, half: float, reached: bool) -> list[float]:
    """Where a curve may end of which the last value is given."""
    own = shortest(at, min(half, 1e-3 * abs(at)))
    if reached:
        return [own]
    shares = [peak * share for share in (0.1, 0.01, 0.05, 0.001, 0.04, 0.02, 0.2, 0.5)]
    levels = [0.0, own, *(float(f"{level:.12g}") for level in shares)]
    return [level for level in dict.fromkeys(levels) if level <= at + half and level < peak]


def _undone(shape: str, level: float, side: _Side, rising: bool = False) -> tuple[Numbers, Numbers] | None:
    """From values to shares of the length, and how much each one is worth."""
    height = side.peak - level
    z, noise = (side.y - level) / height, side.half / height
    inside = (z > 1.5 * noise) & (z < 1 - 1.5 * noise)
    if np.count_nonzero(inside) < 4:
        return None
    curve = shapes.shape(shape)
    if curve.geometric:
        ends = (level, side.peak) if rising else (side.peak, level)
        heights = (ends[0] * (ends[1] / ends[0]) ** _GRID - level) / height
    else:
        heights = np.asarray((curve.rise if rising else curve.fall)(_GRID, 1 - _GRID, 1.0, np), float)
    steep = np.abs(np.gradient(heights, _GRID))
    order = slice(None) if rising else slice(None, None, -1)
    share = np.interp(z, heights[order], _GRID[order])
    return share, np.where(inside, np.interp(share, _GRID, steep) ** 2, 0.0)


def _line(t: Numbers, z: Numbers, weight: Numbers) -> tuple[float, float] | None:
    """Intercept and slope of the weighted line through the values."""
    total = float(weight.sum())
    if not total > 0:
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
