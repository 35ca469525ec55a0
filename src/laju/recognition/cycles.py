"""Recognise values that repeat, or change in steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from laju.core.outline import Transition
from laju.core.pieces import Ramp
from laju.core.schedule import Schedule
from laju.recognition.curves import Numbers, coarse, shortest
from laju.recognition.rows import call, chained, named, row
from laju.recognition.sampled import unimodal
from laju.recognition.solving import Log
from laju.text.spec import parse

_MOST_STEPS = 40


def stairs(y: Numbers, tolerance: float) -> Iterator[str]:
    """Texts for values in steps: by a factor, at given updates, or at the end of each epoch."""
    edges = np.flatnonzero(np.abs(np.diff(y)) > 0) + 1
    if not len(edges) or len(edges) > len(y) / 2:
        return
    levels = y[np.concatenate([[0], edges])]
    lengths = np.diff(np.concatenate([[0], edges]))
    # Levels of an epoch that repeat by chance make steps of two epochs and more; their greatest common divisor is the epoch.
    same = int(np.gcd.reduce(lengths))
    if (levels[:-1] != 0).all():
        ratio = _ratio(levels, tolerance)
        if ratio is not None:
            regular = (edges == lengths[0] * np.arange(1, len(edges) + 1)).all()
            if regular and 0 < ratio <= 1 and lengths[0] > 1:
                yield call("factor", float(y[0]), ratio, every=int(lengths[0]))
            if ratio > 0 and len(edges) <= _MOST_STEPS and (lengths[:-1] > 1).all():
                yield call("multi_factor", float(y[0]), [int(e) for e in edges], ratio)
        # A factor down to a floor.
        if len(levels) > 3 and (lengths[:-1] == lengths[0]).all() and lengths[0] > 1:
            ratio = _ratio(levels[:-1], tolerance)
            if ratio is not None and 0 < ratio < 1:
                yield call("factor", float(y[0]), ratio, every=int(lengths[0]), floor=float(levels[-1]))
    if same > 1 and len(levels) > 3:
        for text in texts(y[::same], tolerance):
            yield f"({text}).stretch({same}).staircase({same})"
    if len(levels) <= _MOST_STEPS and lengths.min() > 1:
        yield call("piecewise_constant", [int(e) for e in edges], [shortest(float(v), tolerance) for v in levels])


def _ratio(levels: Numbers, tolerance: float) -> float | None:
    """The factor between neighbouring levels, if the factor is the same for all."""
    with np.errstate(all="ignore"):
        ratios = levels[1:] / levels[:-1]
    if not np.isfinite(ratios).all() or not (levels[0] > 0):
        return None
    slack = max(4 * tolerance / float(np.abs(levels[0])), 1e-15)
    ratio = shortest(float(ratios[0]), slack)
    made = levels[0] * ratio ** np.arange(len(levels))
    return ratio if np.abs(made - levels).max() <= tolerance + 1e-14 * abs(float(levels[0])) else None


def cycles(y: Numbers, tolerance: float) -> Iterator[str]:
    """Texts for restarts, triangles, and any curve that repeats."""
    n = len(y)
    step = np.diff(y)
    size = float(np.abs(y).max())
    # A restart jumps up by a good part of the range at once, and by far more than any step of its curves.
    up = np.flatnonzero((step > 0.25 * (y.max() - y.min())) & (step > 8 * np.median(np.abs(step)))) + 1
    if len(up) and up[0] > 1:
        yield from _restarts(y, up, tolerance)
    minima = np.flatnonzero((step[:-1] < 0) & (step[1:] > 0)) + 1
    maxima = np.flatnonzero((step[:-1] > 0) & (step[1:] < 0)) + 1
    if len(maxima) and step[0] > 0:
        rise = int(maxima[0])
        period = int(minima[0]) if len(minima) else 2 * rise
        start, fall = float(y[0]), period - rise
        arms: dict[str, Any] = {"up": rise, **({"down": fall} if fall != rise else {})}
        for peak in dict.fromkeys((shortest(float(y[rise]), tolerance), float(y[rise]))):
            yield call("triangular", start, peak, **arms)
            yield call("triangular2", start, peak, **arms)
        if len(maxima) > 1:
            height, later = float(y[rise]) - start, float(y[int(maxima[1])]) - start
            if height > 0 and later > 0:
                gamma = max(shortest((later / height) ** (1 / (int(maxima[1]) - rise)), 1e-12), 1e-9)
                peak = shortest(start + height / gamma**rise, max(tolerance, 1e-13 * size))
                yield (
                    "exp_range("
                    + ", ".join([repr(start), repr(peak), *(f"{k}={v}" for k, v in arms.items()), f"gamma={gamma!r}"])
                    + ")"
                )
    if len(minima) and step[0] > 0:
        yield from _restarts(y, minima, tolerance)
    if len(minima) and step[0] < 0:
        for length in (int(minima[0]), int(minima[0]) + 1):
            for final in (shortest(float(y[int(minima[0])]), tolerance), 0.0):
                yield f"cosine({float(y[0])!r}, total={length}, final={final!r}).repeat(mirror=True)"
                yield f"linear({float(y[0])!r}, {final!r}, total={length}).repeat(mirror=True)"
    if n > 3 and len(minima) and step[0] > 0 and len(maxima):
        ramp = Ramp(float(y[0]), float(y[int(maxima[0])]), int(maxima[0]), "cosine")
        yield f"{ramp}.repeat(mirror=True)"


def _restarts(y: Numbers, up: Any, tolerance: float) -> Iterator[str]:
    begins = [0, *(int(i) for i in up)]
    lengths = np.diff(begins)
    first = int(lengths[0])
    growths = [1.0]
    if len(lengths) > 1:
        # The first two lengths are short, and rounding to whole updates hides the factor; the last two show it best, though not
        # as the short number that a user wrote.
        growths = list(dict.fromkeys((shortest(lengths[1] / first, 0.5 / first), float(lengths[-1] / lengths[-2]))))
    elif len(y) - begins[-1] > first:
        # The second cycle is longer than the first and does not end in the log, which leaves the factor open: the usual ones
        # are tried.
        growths = [float(g) for g in (2, 3, 1.5)]
    decay = 1.0
    top = float(y[:first].max())
    if top > 0:
        decay = shortest(
            float(y[first : first + int(lengths[1] if len(lengths) > 1 else first)].max() / top), 4 * tolerance / top
        )
    own = np.arange(first, dtype=float)
    fixed = {} if _level_at_end(y) is None else {"count": len(begins)}
    factors = [{"growth": growth, "decay": decay} for growth in growths]
    repeats: list[dict[str, Any]] = [{k: v for k, v in each.items() if v != 1} | fixed for each in factors]
    if coarse(y, tolerance):
        for text, _ in itertools.islice(unimodal(Log(own, y[:first], np.full(first, tolerance))), 8):
            take = "" if parse(text).length == first else f".take({first})"
            for more in repeats:
                said = ", ".join(f"{key}={value!r}" for key, value in more.items())
                if text.startswith("cosine(") and f"total={first}" in text:
                    restarts = text[:-1].replace("cosine(", "cosine_restarts(").replace("total", "every")
                    yield f"{restarts}{', ' * bool(said)}{said})"
                yield f"({text}){take}.repeat({said})"
    parts = row(own, y[:first], tolerance)
    if parts is None:
        return
    ramp = parts[-1].piece.form
    cycle: Schedule = chained(parts)
    if cycle.length != first:
        cycle = cycle.take(first)
    for more in repeats:
        if len(parts) <= 2 and isinstance(ramp, Transition) and ramp.shape == "cosine":
            if len(parts) == 1:
                yield call("cosine_restarts", ramp.start, every=first, final=ramp.final, **more)
            elif isinstance(rise := parts[0].piece.form, Transition):
                warm = {"warmup": parts[0].end, "start": rise.start}
                yield call("cosine_restarts", ramp.start, every=first, final=ramp.final, **more, **warm)
        yield f"({cycle}).repeat({', '.join(f'{key}={value!r}' for key, value in more.items())})"


def _level_at_end(y: Numbers) -> float | None:
    return float(y[-1]) if len(y) > 3 and y[-1] == y[-2] == y[-3] else None


def texts(y: Numbers, tolerance: float) -> Iterator[str]:
    """Possible texts for the values of updates 0, 1, 2, …, the simplest first; each must still be compared with the values."""
    t = np.arange(len(y), dtype=float)
    varies = float(y.max() - y.min()) > 2 * tolerance
    again = varies and len(y) > 4
    if varies:
        yield from stairs(y, tolerance)
        yield from chebyshev(y, tolerance)
    turning = np.count_nonzero(np.diff(np.sign(np.diff(y))))
    if again and turning > 3:  # cycles are found sooner than a sequence of as many parts
        yield from cycles(y, tolerance)
        yield from _warm_cycles(y, tolerance)
    found = row(t, y, tolerance)
    if found is not None:
        yield from named(found)
        yield str(chained(found))
    if again:
        if turning <= 3:
            yield from cycles(y, tolerance)
            yield from _warm_cycles(y, tolerance)
        yield from _units(y)


def chebyshev(y: Numbers, tolerance: float) -> Iterator[str]:
    """Chebyshev steps: the inverses of the sorted rates of a period are a level and a cosine of their place."""
    n, size = len(y), float(np.abs(y).max())
    if y.min() <= 0 or coarse(y, tolerance):
        return
    again = np.flatnonzero(np.abs(y - y[0]) <= tolerance)
    level = int(np.argmax(np.abs(y[::-1] - y[-1]) > tolerance))  # the length of the final plateau
    for total in dict.fromkeys((n - level + 1, *(int(i) for i in again[1:3]), n)):
        one = y[:total]
        held = np.concatenate([one, np.full(n - total, one[-1])])
        repeats = total < n and bool(np.abs(np.resize(one, n) - y).max() <= tolerance)
        if not 4 <= total <= 4096 or not (repeats or np.abs(held - y).max() <= tolerance):
            continue
        # The steps of a period come in one of several orders; sorted, their inverses show the cosine.
        falling = np.sort(1 / one)
        middle, half = (falling[-1] + falling[0]) / 2, (falling[-1] - falling[0]) / 2 / math.cos(math.pi / (2 * total))
        made = middle - half * np.cos((np.arange(total) + 0.5) * math.pi / total)
        if middle <= half or np.abs(1 / made - 1 / falling).max() > tolerance + 1e-9 * size:
            continue
        low, peak = float(1 / (middle + half)), float(1 / (middle - half))
        for slack in (max(tolerance, 1e-12 * low), 0.0):
            ends = shortest(low, slack), shortest(peak, max(tolerance, 1e-9 * peak) if slack else 0.0)
            for order in ("", ", order='falling'", ", order='rising'"):
                yield f"chebyshev({ends[0]!r}, {ends[1]!r}, total={total}{order})" + ".repeat()" * repeats


def _units(y: Numbers) -> Iterator[str]:
    """Warmups of a single scale, which no general curve covers."""
    n = len(y)
    calls = ["untuned_linear({}, {})", "untuned_exponential({}, {})", "radam_warmup({}, {})"]
    for text in calls:
        for beta2 in (0.999, 0.99, 0.98, 0.95, 0.9):
            unit = parse(text.format(1.0, beta2)).values(n)
            if unit[-1]:
                scale = float(f"{y[-1] / unit[-1]:.12g}")
                yield text.format(repr(scale), beta2)
    step = np.diff(y)
    if y[0] >= 0 and (step > 0).all() and len(y) > 3:  # towards a level, by the same share of the distance each time
        ratio = float(np.clip((step[-1] / step[0]) ** (1 / (len(step) - 1)), 1e-9, 1 - 1e-9))
        peak = y[0] + step[0] / (1 - ratio)
        for timescale in (-1 / math.log(ratio), float(round(-1 / math.log(ratio))) or 1.0):
            for first in ("", ", first=True"):
                yield f"exponential_warmup({float(f'{peak:.9g}')!r}, {timescale!r}{first})"


def _warm_cycles(y: Numbers, tolerance: float) -> Iterator[str]:
    """A line up, and then steps or cycles."""
    peak = int(np.argmax(y))
    if peak < 2 or len(y) - peak < 6:
        return
    line = row(np.arange(peak + 1, dtype=float), y[: peak + 1], tolerance)
    if line is None or len(line) != 1 or not isinstance(line[0].piece.form, Transition):
        return
    begin = f"linear({float(y[0])!r}, {float(y[peak])!r}, total={peak})"
    rest = y[peak:]
    for text in (*stairs(rest, tolerance), *cycles(rest, tolerance)):
        yield f"{begin} >> {text}"
