"""Recognise schedules in logs with gaps: boundaries between two rows, and learning rates that are some updates late."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from laju.recognition.curves import Numbers, coarse, shortest
from laju.recognition.rows import call
from laju.recognition.sampled import MOST_LAG, cost_of, lags, roundest, unimodal
from laju.recognition.solving import Log, allowed_factor, line_through, solve, two_factors, whole_near
from laju.recognition.work import OutOfWork, spend
from laju.text.spec import parse

_T = TypeVar("_T")
_Folded = Callable[[float, Numbers], tuple[Numbers, Numbers]]
_MOST_STEPS = 40
_MOST_LINES = 8
_MOST_PLACES = 48
_GROWTHS = (1.0, 2.0, 3.0, 1.5)
_DECAYS = (1.0, 0.5, 0.8, 0.9, 0.7, 0.75, 0.25, 0.1)


@dataclass(frozen=True)
class Proposal:
    """A possible text for the learning rates of a log.

    Args:
        text: a call that `laju.parse` reads.
        lag: number of updates by which the learning rates are late, for all rows or for each row.
        note: facts that the rows do not determine.
    """

    text: str
    lag: int | Numbers = 0
    note: str = ""


def logged(log: Log) -> Iterator[Proposal]:
    """The possible texts for the rows of a log, the simplest first."""
    note = ""
    if log.t[0] == 0 and log.y[0] < log.y[1] > log.y[2:3].max(initial=0.0) - 2 * log.half[1] and log.t[1] > 1:
        note = f"what the rows leave open lies between them: the rise ends at 1 to {int(log.t[1]):,}"
    found = [(cost_of(each.text), each) for f in (_successive_levels, _knots, _cycles) for each in _sane(f(log))]
    found += [(cost_of(text) + lag / 64, Proposal(text, lag, note)) for text, lag in _sane(unimodal(log))]
    for lag in lags(log):
        late = log[log.t >= lag]
        late = Log(late.t - lag, late.y, late.half)
        found += [(cost_of(text) + 4, Proposal(text, lag)) for text, more in _sane(unimodal(late)) if not more]
        found += [(cost_of(each.text) + 4, Proposal(each.text, lag)) for each in _sane(_knots(late))]
    yield from (proposal for _, proposal in sorted(found, key=lambda each: each[0]))
    if not coarse(log.y, float(log.half.max()) / 20):
        yield from _sane(_growing(log))


def _sane(proposals: Iterator[_T]) -> Iterator[_T]:
    """The proposals up to where the search is given up, or leaves the floats, as of rates that are near their limits."""
    try:
        yield from proposals
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, OutOfWork):
        return


def _successive_levels(log: Log) -> Iterator[Proposal]:
    """Successive levels, with or without a common factor."""
    t, y, half = log.t, log.y, log.half
    # Two rows differ for certain where both roundings together do not explain the difference.
    edges = np.flatnonzero(np.abs(np.diff(y)) > half[1:] + half[:-1]) + 1
    if not 0 < len(edges) <= min(_MOST_STEPS, len(y) / 2.5):
        return
    runs = [log[slice(a, b)] for a, b in zip([0, *edges], [*edges, len(y)], strict=True)]
    between = [(float((run.y - run.half).max()), float((run.y + run.half).min())) for run in runs]
    if any(low > high for low, high in between):
        return
    levels = [shortest((low + high) / 2, (high - low) / 2) for low, high in between]
    places = [(int(t[i - 1]) + 1, int(t[i])) for i in edges]
    open_places = any(low < high for low, high in places)
    told = [str(low) if low == high else f"{low:,} to {high:,}" for low, high in places]
    note = f"what the rows leave open lies between them: the steps are at {', '.join(told)}" if open_places else ""
    ratios = [b / a if a else math.inf for a, b in itertools.pairwise(levels)]
    if all(0 < ratio < 1 for ratio in ratios):
        largest = max(ratios)
        off = max((high - low) / low for low, high in between[:2]) if between[1][0] > 0 else 0.0
        for factor in dict.fromkeys((shortest(largest, off * largest + 1e-15), shortest(largest, 1e-3 * largest))):
            counts = np.cumsum([max(1, round(math.log(ratio) / math.log(factor))) for ratio in ratios])
            rates = levels[0] * factor ** np.array([0, *counts])
            if any(not low - 1e-14 <= r <= high + 1e-14 for r, (low, high) in zip(rates, between, strict=True)):
                continue
            low = max(math.ceil(a / n) for (a, _), n in zip(places, counts, strict=True))
            high = min(math.floor(b / n) for (_, b), n in zip(places, counts, strict=True))
            # The step after the last row has not come yet, which bounds `every` from below.
            over = math.floor(t[-1] / (counts[-1] + 1)) + 1
            low = max(low, over)
            if low <= high and (len(edges) > 1 or t[0] == 0):
                may = f"what the rows leave open lies between them: every is {low:,} to {high:,}" if low < high else ""
                yield Proposal(call("factor", levels[0], factor, every=roundest(low, high)), note=may)
            if (np.diff([0, *counts]) == 1).all():
                yield Proposal(
                    call("multi_factor", levels[0], [roundest(*place) for place in places], factor), note=note
                )
    if len(levels) <= max(3, len(y) // 6):
        yield Proposal(call("piecewise_constant", [roundest(*place) for place in places], levels), note=note)


def _knots(log: Log) -> Iterator[Proposal]:
    """Successive straight lines, that meet at a row or between two rows."""
    lines: list[tuple[float, float]] = []
    edges: list[tuple[float, float]] = []
    i = 0
    while i < len(log.t) - 1:
        if len(lines) == _MOST_LINES:
            return
        # Bisection, as a part of rows on a line is on the line too.
        low, high = 2, len(log.t) - i
        while low < high:  # the longest line from row i on
            middle = (low + high + 1) // 2
            if _straight(log[slice(i, i + middle)]) is None:
                high = middle - 1
            else:
                low = middle
        line = _straight(log[slice(i, i + low)]) if low > 2 or i + low == len(log.t) else None
        if line is None:
            return
        lines.append(line)
        edges.append((float(log.t[i]), float(log.t[i + low - 1])))
        i += low
    if not len(lines) >= 2 or i < len(log.t):
        return
    places: list[list[int]] = [[0]]
    for (a, s), (b, r), (before, last), (first, _) in zip(lines, lines[1:], edges, edges[1:], strict=False):
        at = (b - a) / (s - r) if s != r else math.inf
        slack = 6 * float(log.half.max()) / abs(s - r) + 1e-3 if s != r else 0.0
        places.append([w for w in whole_near(at, slack, (int(last), int(first))) if before < w < 2 * first - last][:4])
    a, s = lines[-1]
    zero = -a / s if s < 0 else math.inf
    after = int(log.t[-1]) + 1
    slack = 1e-2 + 8 * float(log.half[-1]) / -s if s < 0 else 0.0
    places.append([*(whole_near(zero, slack, (after,))[:3] if after - 1 <= zero < 3 * after else []), after])
    for each in itertools.islice(itertools.product(*places), _MOST_PLACES):
        values = _hats(log, np.array(each, float)) if (np.diff(each) > 0).all() else None
        if values is not None:
            points = ", ".join(f"({t}, {v!r})" for t, v in zip(each, values, strict=True))
            yield Proposal(f"knots([{points}])")
            return


def _hats(log: Log, places: Numbers) -> list[float] | None:
    """The shortest values at given knots that all rows allow, found in order."""
    basis = np.stack([np.interp(log.t, places, unit) for unit in np.eye(len(places))], 1) / log.half[:, None]
    rest = log.y / log.half
    values: list[float] = []
    for k in range(len(places)):
        spend(2)
        free = basis[:, k:]
        # Greedy: each value takes the fewest digits with which the values after it can still make up for the rounding.
        near = np.linalg.lstsq(free, rest, rcond=None)[0]
        # Least squares do not minimise the largest difference: 1.5 half units leave room for a solution within 1.
        if np.abs(rest - free @ near).max() > 1.5:
            return None
        candidates = [0.0, *(float(f"{near[0]:.{digits}g}") for digits in (1, 2, 3, 4, 6, 8, 12, 17))]
        for value in candidates:
            left = rest - free[:, 0] * value
            after = free[:, 1:] @ np.linalg.lstsq(free[:, 1:], left, rcond=None)[0] if k + 1 < len(places) else 0.0
            if np.abs(left - after).max() <= 1:
                break
        else:
            return None
        rest = left
        values.append(value)
    return values


def _straight(log: Log) -> tuple[float, float] | None:
    """Intercept and slope of the line through all rows, if there is such a line."""
    spend(1)
    if len(log.t) == 2:
        slope = float((log.y[1] - log.y[0]) / (log.t[1] - log.t[0]))
        return float(log.y[0] - slope * log.t[0]), slope
    line = line_through(log.t, log.y, 1 / log.half**2)
    # Room for the same reason as in `_hats`.
    return line if line is not None and log.fits(line[0] + line[1] * log.t, times=1.3) else None


def _cycles(log: Log) -> Iterator[Proposal]:
    """Restarts and triangles whose period no row shows."""
    step = np.diff(log.y)
    slack = log.half[1:] + log.half[:-1]
    up, down = step > slack, step < -slack
    if np.count_nonzero(up) < 1 or np.count_nonzero(down) < 2 or len(log.t) < 8:
        return
    if np.count_nonzero(up) <= np.count_nonzero(down) / 2.5 and not up[0]:
        yield from _restarts(log, np.flatnonzero(up))
    else:
        yield from _triangles(log, np.flatnonzero(up[:-1] & ~up[1:]) + 1)


def _restarts(log: Log, up: Any) -> Iterator[Proposal]:
    few, span = log.few, float(log.t[-1])
    ends = [k for k, i in enumerate(up) if k == 0 or i > up[k - 1] + 1]
    lows, highs = log.t[up[ends]] + 1, log.t[up[ends] + 1]
    for growth in _GROWTHS:
        # Restart j comes after 1 + g + … + g^j lengths of the first cycle. A row before and a row after each restart bound that
        # length from both sides, and all restarts together bound it closely.
        weights = np.array([sum(growth**i for i in range(j + 1)) for j in range(len(ends))])
        low, high = float((lows / weights).max()), float((highs / weights).min())
        if low > high + 1:
            continue

        def folded(every: float, t: Numbers, growth: float = growth) -> tuple[Numbers, Numbers]:
            """Share of the cycle that is done, and the cycle's number."""
            n = (
                np.floor(t / every)
                if growth == 1
                else np.floor(np.log1p(t / every * (growth - 1)) / math.log(growth) + 1e-12)
            )
            begins = n * every if growth == 1 else every * (growth**n - 1) / (growth - 1)
            return (t - begins) / (every * growth**n), n

        for decay in _DECAYS:

            def model(
                x: Numbers,
                decay: float = decay,
                folded: _Folded = folded,
                bounds: tuple[float, float] = (low - 1, high + 1),
            ) -> list[Numbers] | None:
                if not bounds[0] <= x[0] <= bounds[1]:
                    return None
                p, n = folded(float(x[0]), few.t)
                curves = [decay**n * np.cos(math.pi / 2 * p) ** 2]
                return curves if decay != 1 else [*curves, np.sin(math.pi / 2 * p) ** 2]

            starts = [(float(every),) for every in np.linspace(low, high, 7)]
            solved = solve(model, few, starts, min(span, 1.0))
            if solved is None:
                continue
            slack = 4 * math.sqrt(float(solved[1][0, 0])) + 1e-3
            more = {k: v for k, v in (("growth", growth), ("decay", decay)) if v != 1}
            for every in whole_near(float(solved[0][0]), slack, ()):
                p, n = folded(float(every), log.t)
                fall, rise = decay**n * np.cos(math.pi / 2 * p) ** 2, np.sin(math.pi / 2 * p) ** 2
                for peak, final in _heights(log, fall, rise):
                    yield Proposal(call("cosine_restarts", peak, every=every, final=final, **more))


def _heights(log: Log, fall: Numbers, rise: Numbers) -> Iterator[tuple[float, float]]:
    """Peak and floor, the shortest first."""
    spend(2)
    alone = allowed_factor(np.zeros(len(fall)), fall, log)
    if alone is not None:
        yield alone, 0.0
        return
    yield from two_factors(fall, rise, log)


def _triangles(log: Log, tops: Any) -> Iterator[Proposal]:
    few = log.few
    if not len(tops):
        return
    first = tops[0]
    # Rows may be far apart: the highest row is not the top, which lies between the rows beside it.
    low, high = float(log.t[max(first - 1, 0)]), float(log.t[min(first + 1, len(log.t) - 1)])
    span = float(log.t[-1])
    for policy in ("triangular", "triangular2", "exp_range"):

        def height_of(x: Numbers | Sequence[float], t: Numbers, policy: str = policy) -> Numbers:
            p = t / (2 * x[0])
            n = np.floor(p)
            tri = 1 - np.abs(2 * (p - n) - 1)
            scale = 0.5**n if policy == "triangular2" else np.exp(-x[1] / span**2 * t) if policy == "exp_range" else 1.0
            return np.asarray(tri * scale)

        def model(x: Numbers, height: Callable[..., Numbers] = height_of) -> list[Numbers] | None:
            if not max(low - 1, 0.5) <= x[0] <= high + 1:
                return None
            tri = height(x, few.t)
            return [tri, np.ones(len(tri))]

        # The decay per update is x[1] / span², so that both numbers are of the size of the log's updates: for its differences
        # the solver moves either by the same amount.
        starts = [
            (float(arm), *((rate * span,) if policy == "exp_range" else ()))
            for arm in np.linspace(low, high, 9)
            for rate in ((0.3, 1.0, 4.0) if policy == "exp_range" else (0.0,))
        ]
        solved = solve(model, few, starts, 1.0)
        if solved is None:
            continue
        x, covariance = solved
        for arm in whole_near(float(x[0]), 4 * math.sqrt(float(covariance[0, 0])) + 1e-3, ()):
            gammas = [0.0]
            if policy == "exp_range":
                slack = 4 * math.sqrt(float(covariance[1, 1])) / span**2
                gammas = [shortest(math.exp(-x[1] / span**2), slack + 1e-15)]
            for gamma in gammas:
                tri = height_of([arm, -math.log(gamma) * span**2 if gamma else 0.0], log.t)
                for height, start in two_factors(tri, np.ones(len(tri)), log):
                    for digits in (1, 2, 3, 4, 6, 8, 12, 17):
                        peak = float(f"{start + height:.{digits}g}")
                        if abs(peak - start - height) <= 0.02 * peak or digits == 17:
                            yield Proposal(call(policy, start, peak, up=arm, **({"gamma": gamma} if gamma else {})))


def _growing(log: Log) -> Iterator[Proposal]:
    """A lag that grows: the formula of the first rows, and for each row the least lag, never falling, that the row allows."""
    # A lag that grows by skipped updates is small at first, so that the first rows give the formula by themselves.
    for share in (0.5, 0.25):
        first = log[slice(0, int(len(log.t) * share))]
        if len(first.t) < 8:
            return
        texts = [(text, 0) for text, lag in unimodal(first) if not lag][:4]
        for lag in lags(first):
            late = Log(first.t - lag, first.y, first.half)[first.t >= lag]
            texts += [(text, lag) for text, more in unimodal(late) if not more][:4]
        for text, least in texts:
            each = _lags(text, least, log)
            if each is not None:
                yield Proposal(text, each)


def _lags(text: str, least: int, log: Log) -> Numbers | None:
    try:
        schedule = parse(text)
        earlier = np.arange(least, least + MOST_LAG)
        at = np.maximum(log.t[:, None] - earlier[None, :], 0).astype(int)
        apart = np.abs(np.asarray(schedule(at), float) - log.y[:, None]) <= log.half[:, None]
    except (ValueError, TypeError, ArithmeticError):
        return None
    spend(len(log.t) / 4)
    found, now = [], 0
    for row in apart:
        later = np.flatnonzero(row[now:])
        if not len(later):
            return None
        now += int(later[0])
        found.append(least + now)
    return np.array(found)
