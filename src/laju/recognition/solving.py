"""Rows of a log, and least-squares fits of curves to all rows.

For a shape with given edges, peak and floor are a linear least-squares problem, and the edges are found by Gauss-Newton steps
(variable projection: Golub & Pereyra, SIAM J. Numer. Anal. 10, 1973).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laju.recognition.curves import Numbers, least, shortest
from laju.recognition.work import spend

_SOLVED_ROWS = 80
_Model = Callable[[Numbers], list[Numbers] | None]


@dataclass(frozen=True)
class Log:
    """Rows of a log: updates t, learning rates y, and the allowed distance of each rate from the formula."""

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


def _residual(model: _Model, log: Log, x: Numbers) -> Numbers | None:
    """The remainder of the rates, in half units, after the best factors of the model's curves."""
    spend(1)
    curves = model(x)
    if curves is None:
        return None
    rest = log.y / log.half
    basis: list[Numbers] = []
    # Gram and Schmidt by hand: models have one or two curves, for which a call of LAPACK takes longer than the sums. This is
    # the innermost loop of the search.
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


def solve(model: _Model, log: Log, starts: Sequence[tuple[float, ...]], span: float) -> tuple[Numbers, Numbers] | None:
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
        # Levenberg and Marquardt: the damping falls with each step that helps, and a step that does not is tried again,
        # shorter.
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


def two_factors(a: Numbers, b: Numbers, log: Log) -> Iterator[tuple[float, float]]:
    """Factors x and y with which x·a + y·b differs from the rates by no more than rounding: with the shortest x or y."""
    weight = 1 / log.half
    (x, y), *_ = np.linalg.lstsq(np.stack([a * weight, b * weight], 1), log.y * weight, rcond=None)
    if not float((np.abs(x * a + y * b - log.y) * weight).max()) < 3:
        return
    for first, second, near, swapped in ((a, b, float(x), False), (b, a, float(y), True)):
        own = _shared(first, second, near, log)
        other = None if own is None else allowed_factor(own * first, second, log)
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


def between(low: Numbers, high: Numbers) -> tuple[float, float] | None:
    """The intersection of all intervals."""
    least, most = float(low.max()), float(high.min())
    return (least, most) if math.isfinite(least) and math.isfinite(most) and least <= most else None


def allowed_factor(fixed: Numbers, factors: Numbers, log: Log) -> float | None:
    """The shortest x with which fixed + x·factors differs from the rates by no more than rounding."""
    free = factors > 1e-12 * float(factors.max(initial=0.0))
    if not free.any() or (np.abs(fixed[~free] - log.y[~free]) > log.half[~free]).any():
        return None
    left = log.y - fixed
    found = between((left - log.half)[free] / factors[free], (left + log.half)[free] / factors[free])
    return None if found is None else shortest((found[0] + found[1]) / 2, (found[1] - found[0]) / 2)


def line_through(t: Numbers, z: Numbers, weight: Numbers) -> tuple[float, float] | None:
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


def whole_near(value: float, slack: float, likely: tuple[int, ...]) -> list[int]:
    """Whole numbers near a value, likely and round numbers first."""
    if not (math.isfinite(value) and abs(value) < 1e15):
        return []
    near = [n for n in likely if abs(n - value) <= slack]
    near += [round(float(f"{value:.{digits}e}")) for digits in range(7)]
    middle = round(value)
    near += [middle + d for k in range(1, 4) for d in (-k, k)]
    return [n for n in dict.fromkeys(near) if abs(n - value) <= slack]
