"""Which run to make next: the run whose losses reduce the uncertainty about given final losses most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laju.core.checks import whole
from laju.core.joins import chain
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.forecast.blocks import Array, History, Updates, history
from laju.forecast.curves import Curve
from laju.forecast.families import own_warmup
from laju.forecast.fitting import FittedLaw
from laju.forecast.prior import knots_of
from laju.policies import knots

_PEAKS = 0.6
"""Change of the logarithm of the gain by annealing with the logarithm of the peak: from .035 to .080 of the loss over four
times the peak, in the llama-124m curves."""
_SHARES = (0.1, 0.2, 0.5, 1.0)
"""Cooldowns of the runs that are compared, as shares of the run."""
_ROWS = 3
_ALIKE = 1.05
"""Among runs with the same spread up to 5 %, the shortest is preferred."""


@dataclass(frozen=True)
class Telling:
    """A run that could be made next, and the uncertainty that is expected after this run.

    Attributes:
        schedule: the schedule of the whole run.
        cost: number of updates to be made.
        spread: expected standard deviation of the final losses in question after the run (root mean square over these losses).
        branch: name of the curve from whose last checkpoint the run continues; None for a run from the start.
    """

    schedule: Schedule
    cost: int
    spread: float
    branch: str | None = None


@dataclass(frozen=True)
class NextRun:
    """The most informative runs within a budget.

    Attributes:
        spread: current standard deviation of the final losses in question (root mean square over these losses).
        runs: possible runs, the most informative first.
    """

    spread: float
    runs: tuple[Telling, ...]


def next_run(law: FittedLaw, budget: int, asked: Sequence[Schedule]) -> NextRun:
    """Find the run within a budget of updates whose losses reduce the uncertainty about given final losses most.

    Under a fitted law, the losses of a run and the final losses in question are jointly Gaussian: the covariance K of two losses
    is the sum of the covariances due to the law's parameters, the disagreement of the laws in an average, and the gain by
    annealing at peaks that no curve has. Once the losses o of a run with error σ are known, the final losses t have the
    covariance K_tt - K_to·(K_oo + σ²)⁻¹·K_ot, independent of the values of the losses.

    The compared runs are constant learning rates, cooldowns of a tenth to a half of the run, linear and cosine decays, at the
    curves' peaks, twice the highest and half the lowest peak, over the whole budget and half of the budget, with the warmup of
    the curves; and cooldowns from the last checkpoint of curves that end near their peak.

    Args:
        law: law fitted to the curves so far; a single curve is enough.
        budget: the most updates that the run may take.
        asked: schedules in updates, each with an end, whose final losses are in question.

    Raises:
        ValueError: if `asked` is empty, or the budget ends within the warmup of the curves.

    >>> import laju, warnings
    >>> from laju.forecast import fit
    >>> at, flat = np.arange(100, 2001, 100), laju.constant(0.1)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     law = fit([Curve(at, 3 + (at / 100) ** -0.5, flat, "flat")])
    >>> found = next_run(law, 500, [laju.wsd(0.1, total=8000, cooldown=1600)])
    >>> found.runs[0].branch, found.runs[0].spread < found.spread  # a cooldown from the end of "flat" is most informative
    ('flat', True)
    """
    budget = whole("budget", budget, least=1)
    if not asked:
        raise ValueError("asked must hold at least one schedule")
    spread, found = compared(law, asked, _options(law.curves, budget))
    found.sort(key=lambda run: run.spread)
    near = [run for run in found if run.spread <= _ALIKE * found[0].spread]
    near.sort(key=lambda run: run.cost)
    return NextRun(spread, (*near, *(run for run in found if run not in near)))


def compared(
    law: FittedLaw, asked: Sequence[Schedule], options: Sequence[tuple[Schedule, int, str | None]]
) -> tuple[float, list[Telling]]:
    """The spread of the final losses in question now, and after each possible run: (schedule, cost, branch)."""
    rows: list[tuple[Array, Updates]] = []  # rates, and updates at which losses would be known
    for schedule in asked:
        if schedule.length is None:
            raise ValueError(f"schedules in asked must have an end, but {schedule} has none")
        end = int(schedule.length)
        rows.append((schedule.values(end), np.array([end])))
    for schedule, cost, _ in options:
        end = int(schedule.length or 0)
        at = np.unique(np.round(end - cost + cost * np.arange(1, _ROWS + 1) / _ROWS).astype(np.int64))
        rows.append((schedule.values(end), at))
    covariance = _covariance(law, rows)
    owner = np.repeat(np.arange(len(rows)), [len(at) for _, at in rows])
    targets = np.flatnonzero(owner < len(asked))
    error = law.typical_error**2
    known = covariance[np.ix_(targets, targets)]
    found = []
    for i, (schedule, cost, branch) in enumerate(options, len(asked)):
        there = np.flatnonzero(owner == i)
        cross = covariance[np.ix_(targets, there)]
        # The formula of the docstring: what is known of the ends once the run's losses are, which does not depend on the
        # losses.
        told = cross @ np.linalg.solve(covariance[np.ix_(there, there)] + error * np.eye(len(there)), cross.T)
        found.append(Telling(schedule, cost, _root_mean(known - told), branch))
    return _root_mean(known), found


def _options(curves: Sequence[Curve], budget: int) -> list[tuple[Schedule, int, str | None]]:
    warmup = own_warmup(curves)
    found: list[tuple[Schedule, int, str | None]] = []
    for peak in peaks(curves):
        for total in dict.fromkeys((budget, budget // 2)):
            left = total - warmup
            if left < 2 * _ROWS:
                continue
            shapes: list[Schedule] = [Constant(peak, left), Ramp(peak, 0.0, left, "cosine")]
            for share in _SHARES:
                down = max(1, round(share * left))
                flat = left - down
                rest: Schedule = Ramp(peak, 0.0, down)
                shapes.append(chain(Constant(peak, flat), rest) if flat else rest)
            found += [(chain(Ramp(0.0, peak, warmup), s) if warmup else s, total, None) for s in shapes]
    for curve in curves:
        if curve.rates[-1] >= 0.5 * curve.peak:
            end = len(curve.rates)
            points = _corners(curve)
            for cost in dict.fromkeys((budget, budget // 2, budget // 4)):
                if cost >= _ROWS:
                    found.append((knots([*points, (end + cost, 0.0)]), cost, curve.name))
    if not found:
        raise ValueError(f"budget must leave updates after the warmup of the curves ({warmup:,}), got {budget:,}")
    return found


def _corners(curve: Curve) -> list[tuple[int, float]]:
    """The rates of a curve as knots of straight lines."""
    at = knots_of(curve.rates)
    points = [(int(t), float(f"{curve.rates[t]:.6g}")) for t in at]
    return (
        [*points[:-1], (len(curve.rates), points[-1][1])]
        if len(points) > 1
        else [points[0], (len(curve.rates), points[0][1])]
    )


def peaks(curves: Sequence[Curve]) -> list[float]:
    """The curves' peaks, half the lowest, and twice the highest."""
    measured = sorted({float(f"{curve.peak:.6g}") for curve in curves})
    return [measured[0] / 2, *measured, measured[-1] * 2]


def _covariance(law: FittedLaw, rows: Sequence[tuple[Array, Updates]]) -> Array:
    runs: list[History] = [history(rates, at, law.units.rate, law.units.length) for rates, at in rows]
    means, parts = [], []
    for member in law.members:
        means.append(np.concatenate([member.predict(run, law.units) for run in runs]))
        gradient = np.vstack([member.gradient(run, law.units) for run in runs])
        parts.append(gradient @ member.covariance @ gradient.T)
    weights = np.array(law.weights)
    mean = weights @ np.stack(means)
    found = np.zeros((len(mean), len(mean)))
    for weight, each, part in zip(weights, means, parts, strict=True):
        found += weight * (part + np.outer(each - mean, each - mean))
    # The gain by annealing at a peak that no curve has.
    # The same rates without any fall: the difference of the two is what annealing gains.
    held = [history(np.maximum.accumulate(rates), at, law.units.rate, law.units.length) for rates, at in rows]
    gain = np.zeros(len(mean))
    for weight, member in zip(weights, law.members, strict=True):
        flat, run = (np.concatenate([member.annealing(r, law.units) for r in each]) for each in (held, runs))
        gain += weight * np.abs(flat - run)
    measured = np.log([curve.peak for curve in law.curves])
    logs = np.concatenate([np.full(len(at), np.log(rates.max())) for rates, at in rows])
    off = logs[:, None] - measured
    # Like a random walk from the nearest measured peak: two new peaks on its same side share the doubt of the nearer, and peaks
    # on two sides share none.
    off = off[np.arange(len(off)), np.abs(off).argmin(axis=1)]
    shared = np.where(np.sign(off)[:, None] == np.sign(off), np.minimum.outer(np.abs(off), np.abs(off)), 0.0)
    return np.asarray(found + _PEAKS**2 * np.outer(gain, gain) * shared)


def _root_mean(covariance: Array) -> float:
    return float(np.sqrt(np.mean(np.maximum(np.diag(covariance), 0.0))))
