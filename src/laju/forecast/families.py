"""The best schedule under a fitted law, within families of a few parameters.

With every learning rate free, the optimum of the multi-power law is a staircase of a few sudden drops close together. The law
credits each drop as if there were no other drops, and so rewards clumping, which no run has confirmed. Smooth families stay close
to the curves of the fit. The functional law has a well-behaved optimum, so with that law the family "knots" is allowed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np

from laju.core.checks import nearest, number, shown, whole
from laju.core.extras import needed_by
from laju.core.joins import chain
from laju.core.pieces import Constant, Ramp, Table
from laju.core.schedule import Schedule
from laju.forecast.curves import Curve, Rates, as_rates
from laju.forecast.laws import Functional
from laju.policies import knots

Rest = Callable[[float, int, Any], Schedule]
"""Function of a start value v, a number of updates n and parameters between 0 and 1 that returns the rest of a schedule."""

_KNOTS = 12


class Fitted(Protocol):
    """The interface of a fitted law that the search uses."""

    @property
    def name(self) -> str: ...

    @property
    def curves(self) -> tuple[Curve, ...]: ...

    @property
    def members(self) -> tuple[Any, ...]: ...

    def final(self, rates: Rates, updates: int) -> float:
        """The predicted loss after the last of `updates` updates."""

    def band(self, rates: Rates, updates: Any, level: float = 0.9) -> tuple[Any, Any]:
        """The lower and upper ends of the band that contains the losses with probability `level`."""


@dataclass(frozen=True)
class Best:
    """The best schedule under a law, the predicted loss after the last update, and the 90 % band of that loss."""

    schedule: Schedule
    loss: float
    low: float
    high: float
    family: str
    peak: float


def best(
    law: Fitted,
    updates: int,
    peak: float | None = None,
    family: str = "wsd",
    *,
    warmup: int | None = None,
    run: Rates | None = None,
    at: int = 0,
) -> Best:
    """Find the schedule of a family with the lowest predicted loss after the last update.

    Args:
        law: a fitted law.
        updates: updates of the whole run.
        peak: the learning rate at the end of the warmup; by default the peak of the curves, and for curves with several peaks,
            the best peak between the lowest and the highest.
        family: "wsd" (hold, then decay by a line, a cosine or 1 - √; the length of the cooldown and the final learning rate are
            searched), "cosine", "linear" or "power" (decay from the peak on; the final learning rate and the power are
            searched), or "knots" (any falling curve through 12 points; only with the functional law).
        warmup: updates of a linear warmup from 0 to the peak; by default the median of the curves' own warmups.
        run: the learning rates, or the schedule, of a run that has made `at` updates and will continue. Leave `peak` and
            `warmup` out then: the rest begins at the run's learning rate.
        at: number of updates that `run` has made.

    Raises:
        ValueError: for an unknown family, a family for which the law is ill-posed, or contradicting lengths.
    """
    updates = whole("updates", updates, least=1)
    if family not in FAMILIES and family != "knots":
        valid = [*FAMILIES, "knots"]
        raise ValueError(f"family {shown(family)} is not one of {', '.join(valid)}{nearest(str(family), valid)}")
    if family == "knots" and not all(isinstance(member.law, Functional) for member in law.members):
        raise ValueError(
            f"family 'knots' is ill-posed with the {law.name} law, whose optimum is an artificial staircase of a few drops; fit "
            "law='functional' instead, or use a smooth family such as 'wsd'"
        )
    if run is not None:
        at = whole("at", at, least=1)
        if peak is not None or warmup:
            raise ValueError("peak and warmup must be left out if run is given, which has its own")
        if at >= updates:
            raise ValueError(f"at must be less than updates = {updates}, got {at}")
        heads: list[tuple[Schedule | None, float]] = [(_head(run, at), float(as_rates(run, at, "run")[-1]))]
    else:
        warmup = own_warmup(law.curves) if warmup is None else whole("warmup", warmup, least=0)
        if warmup >= updates:
            raise ValueError(f"warmup must be less than updates = {updates}, got {warmup}")
        peaks = [number("peak", peak, above=0)] if peak is not None else _peaks(law)
        heads = [(Ramp(0.0, p, warmup) if warmup else None, p) for p in peaks]
    with warnings.catch_warnings():
        found = min((_search(law, head, value, updates, family) for head, value in heads), key=lambda f: f[0])
    _, schedule, value = found
    low, high = law.band(schedule, [updates])
    return Best(schedule, law.final(schedule, updates), float(low[0]), float(high[0]), family, value)


def own_warmup(curves: Sequence[Curve]) -> int:
    """The median of the curves' warmups, in updates."""
    return int(np.median([curve.warmup for curve in curves]))


def _head(run: Rates, at: int) -> Schedule:
    return run.take(at) if isinstance(run, Schedule) else Table(tuple(as_rates(run, at, "run").tolist())).take(at)


def _peaks(law: Fitted) -> list[float]:
    """The curves' own peak rate; with several peaks, also rates between the lowest and the highest peak."""
    low, high = min(c.peak for c in law.curves), max(c.peak for c in law.curves)
    if high <= low * 1.001:
        return [high]
    between = np.geomspace(low, high, 9)
    return sorted({*(c.peak for c in law.curves), *between[1:-1].tolist()})


def _search(
    law: Fitted, head: Schedule | None, value: float, updates: int, family: str
) -> tuple[float, Schedule, float]:
    with needed_by("a forecast", "forecast"):
        from scipy.optimize import minimize

    n = updates - (int(head.length) if head is not None and head.length is not None else 0)

    def whole_run(rest: Schedule) -> Schedule:
        return rest if head is None else chain(head, rest)

    def loss(rest: Schedule) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # reported once, for the schedule that is found
            return law.final(whole_run(rest), updates)

    if family == "knots":
        # Steps of the logarithm that cannot be negative: every point of the search is a curve that only falls.
        start, bounds = np.full(_KNOTS, 0.3), [(0.0, 3.0)] * _KNOTS
        done = minimize(lambda p: loss(_through_knots(value, n, p)), start, method="L-BFGS-B", bounds=bounds)
        return float(done.fun), whole_run(_through_knots(value, n, done.x.round(3))), value

    results = []
    for rest_of, grids in FAMILIES[family]:
        # A grid first, as there may be several minima; then Nelder-Mead, as lengths are whole and rates rounded.
        grid = [np.array(point) for point in product(*grids)]
        start = min(grid, key=lambda p: loss(rest_of(value, n, p)))
        bounds = [(min(g), max(g)) for g in grids]
        options = {"xatol": 1e-3, "fatol": 1e-7, "maxfev": 60, "initial_simplex": _simplex(start, bounds)}
        done = minimize(
            lambda p, rest_of=rest_of: loss(rest_of(value, n, p)),
            start,
            method="Nelder-Mead",
            bounds=bounds,
            options=options,
        )
        results.append((float(done.fun), rest_of(value, n, done.x)))
    lowest, rest = min(results, key=lambda f: f[0])
    return lowest, whole_run(rest), value


def _simplex(start: Any, bounds: list[tuple[float, float]]) -> Any:
    # scipy's own simplex steps by 5 % of a coordinate, and hardly at all from a coordinate of 0.
    points = [start]
    for i, (low, high) in enumerate(bounds):
        point = start.copy()
        step = 0.12 * (high - low)
        point[i] += step if point[i] + step <= high else -step
        points.append(point)
    return np.array(points)


def _round(x: float, digits: int = 3) -> float:
    return float(f"{x:.{digits}g}")


def _cooldown(shape: str) -> Rest:
    def rest(value: float, n: int, p: Any) -> Schedule:
        length = min(n, max(1, round(n * p[0])))
        final = Ramp(value, _round(value * p[1]), length, shape)
        return final if length == n else Constant(value, n - length) >> final

    return rest


def _ramp(shape: str) -> Rest:
    return lambda value, n, p: Ramp(value, _round(value * p[0]), n, shape)


def _power(value: float, n: int, p: Any) -> Schedule:
    return Ramp(value, _round(value * p[1]), n, f"power({_round(p[0])!r})")


def _through_knots(value: float, n: int, p: Any) -> Schedule:
    """A falling line through points that lie closer together towards the end."""
    at = np.unique(np.round(n * (1 - np.geomspace(1, 1 / min(n, 300), _KNOTS + 1))).astype(int)[1:])
    at = np.append(at[at < n], n)[-_KNOTS:]
    levels = value * np.exp(-np.cumsum(p))[: len(at)]
    return knots([(0, value), *zip(at.tolist(), levels.tolist(), strict=True)])


_FRACTIONS = (0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0)
_FINALS = (0.0, 0.05, 0.2)
FAMILIES: dict[str, tuple[tuple[Rest, tuple[tuple[float, ...], ...]], ...]] = {
    "wsd": tuple((_cooldown(shape), (_FRACTIONS, _FINALS)) for shape in ("linear", "cosine", "sqrt")),
    "cosine": ((_ramp("cosine"), ((0.0, 0.02, 0.1, 0.3),)),),
    "linear": ((_ramp("linear"), ((0.0, 0.02, 0.1, 0.3),)),),
    "power": ((_power, ((0.5, 1.0, 1.5, 2.0, 3.0), _FINALS)),),
}
