"""Rates of a log, of few digits or of some updates: a rise, a level and a fall, each solved for all of its rows at once.

Neither rounding nor a gap shows where a curve ends and the next begins, so edges are unknowns, too. Near each solution whole
updates and the shortest decimals are tried, and kept where no row is further away than half a unit of its last digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from laju.core import shapes
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.recognition.curves import Numbers, PlacedPiece, evaluated
from laju.recognition.falls import Split, falls, rising
from laju.recognition.rows import chained, named
from laju.recognition.solving import Log, allowed_factor, solve, whole_near
from laju.recognition.work import OutOfWork, spend
from laju.text.spec import parse

MOST_LAG = 64
_MOST = 40


def _split(log: Log) -> Split | None:
    """Rows that rise, stay and fall; None for rows that turn more often."""
    y, half = log.y, log.half
    top = int(y.argmax())
    # Rows that may be as high as the top once both are rounded: of few digits a top is a plateau, whatever the curve is.
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
    return Split(log, log[slice(0, first)], log[slice(first, None)], after, len(high) > 2, float(y[top]), ended)


def unimodal(log: Log) -> Iterator[tuple[str, int]]:
    """Proposals for rows that rise, stay at a level and fall, each no more than once: (text, lag), the shortest first."""
    split = _split(log) if len(log.t) >= 4 else None
    if split is None:
        return
    found: dict[tuple[str, int], float] = {}
    try:
        for piece, peak, begin in falls(split):
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
    """Possible lags of the learning rates in updates: a rise from 0 may point at an update after 0."""
    split = _split(log) if len(log.t) >= 4 else None
    if split is None or not len(split.rise.t):
        return []
    if len(split.rise.t) == 1:  # no line goes through a single row; most loggers that are late are late by 1
        return [1] * bool(split.rise.y[0] > 0)
    rise = split.rise[split.rise.y > split.rise.y[0] * (split.rise.y[0] == split.rise.y[1])]
    if len(rise.t) < 2:
        return []
    a, slope = rising(rise)
    slack = 3 * float(rise.half.max()) / slope + 1e-3 if slope > 0 else 0.0
    if not (slope > 0 and rise.fits(a + slope * rise.t, times=2)):
        return []
    return [k for k in whole_near(-a / slope, min(slack, 3.0), ()) if 0 < k <= MOST_LAG][:4]


def _told(
    ramp: Ramp | None, end: int, piece: Schedule, peak: float, begin: int, log: Log
) -> Iterator[tuple[str, int, float]]:
    """(text, lag, cost) of the texts for a rise, a level and a fall."""
    parts = [] if ramp is None else [PlacedPiece(ramp, 0, end, 0, 3)]
    fall = PlacedPiece(piece, max(begin, 0), None, begin, 3)
    if piece.level is not None:
        parts.append(PlacedPiece(piece, end, None, end, 1))
    elif ramp is None and 0 < begin <= log.t[0]:
        # The fall began before the first row: assume a warmup from 0 before the fall.
        parts = [PlacedPiece(Ramp(0.0, peak, begin), 0, begin, 0, 1), fall]
    else:
        if begin > end:
            parts.append(PlacedPiece(Constant(peak), end, begin, end, 1))
        parts.append(fall)
        if ramp is None and 0 < begin <= MOST_LAG:
            for k, text in enumerate((*named([replace(fall, begin=0, origin=0)]), str(piece))):
                yield text, begin, cost_of(text) + k + 4
    for k, text in enumerate((*named(parts), str(chained(parts)))):
        yield text, 0, cost_of(text) + k


def cost_of(text: str) -> float:
    """The complexity of a text: its non-zero digits, numbers and calls."""
    return sum(c in "123456789" for c in text) + 2 * text.count(",") + 3 * text.count("(") + 3 * text.count("-")


def _rises(rise: Log, piece: Schedule, peak: float, begin: int, fall: Log) -> Iterator[tuple[Ramp | None, int]]:
    """Ramps from update 0 up to the level, and the ends of these ramps."""
    if not len(rise.t):
        yield None, 0
        return
    a, slope = rising(rise)
    ends = [begin] if begin > rise.t[-1] else []
    if slope > 0:
        slack = 2 * float(rise.half.max()) / slope + 1e-4 + (1 if len(rise.t) < 2 else 0)
        slack += abs(peak - a) / slope * 4 * float(rise.half[-1] / max(float(rise.y[-1]), 1e-300))
        ends += whole_near((peak - a) / slope, slack, (int(rise.t[-1]) + 1,))
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
                start = allowed_factor(peak * gone, rest, rise) if free else 0.0
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


def _of_one_scale(split: Split) -> Iterator[str]:
    """Policies whose rates are known up to a factor."""
    log, rise = split.log, split.rise
    t = log.t.astype(int)

    def factor(text: str) -> float | None:
        spend(4)
        return allowed_factor(np.zeros(len(t)), np.asarray(parse(text)(t), float), log)

    if len(rise.t) and len(split.below.t):
        latest = int(split.below.t[0])
        _, slope = rising(rise)
        # An inverse square root meets the rise where both have the same rate.
        tail = float(np.median(split.below.y * np.sqrt(split.below.t + 1.0)))
        meets = (tail / slope) ** (2 / 3) if slope > 0 else math.inf
        near = [*whole_near(meets, 4 + 0.01 * meets, ()), *(latest + d for d in (0, 1, -1))]
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


def _one_cycle(split: Split) -> Iterator[str]:
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
    solved = solve(lambda x: [curve(x[0], x[1], few.t)] if 0 < x[0] < x[1] else None, few, starts, max(last, 1.0))
    if solved is None:
        return
    slack = 4 * math.sqrt(float(solved[1][1, 1])) + 1e-3
    for e in whole_near(float(solved[0][1]), slack, (int(last) + 1, int(last))):
        usual = round(0.3 * e)
        for w in dict.fromkeys((usual, round(float(solved[0][0])), 0.3 * (e + 1) - 1)):
            peak = allowed_factor(np.zeros(len(split.log.t)), curve(w, e, split.log.t), split.log)
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
        solved = solve(
            lambda x, first=first: [-np.expm1(-(few.t + first) / x[0])] if x[0] > 0 else None,  # type: ignore[misc]
            few,
            [(span * share,) for share in (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)],
            1.0,
        )
        if solved is not None:
            slack = 4 * math.sqrt(float(solved[1][0, 0]))
            for scale in whole_near(float(solved[0][0]), slack + 1e-3, ()):
                if scale > 0:
                    yield f"{scale}" + ", first=True" * first
