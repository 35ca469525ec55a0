"""Rank schedules and peak learning rates of a longer run by the final losses of short runs.

A curve shows how the loss of a run falls; final losses of several runs show how schedules and peaks compare. A single loss per
run is too little to fit all parameters of a law, so the functional law keeps its prior centres here, and its error is estimated
from similar runs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from laju.core.checks import shown, whole
from laju.core.extras import needed_by
from laju.forecast.blocks import Array, history
from laju.forecast.curves import Curve, ForecastWarning, Rates, as_rates
from laju.forecast.laws import Functional, Prior

_LAW = Functional()
_ALPHA, _KAPPA = _LAW.parameters["alpha"].centre, _LAW.parameters["kappa"].centre
_C: Prior = _LAW.parameters["C"]
_LIKE_SHAPE, _LIKE_PEAK = 0.4, 1.0
"""Within such a distance of shapes (root mean square) and of peaks (as logarithms) the law is off by about the same."""
_NOISE = 0.03
"""The variance of one run's loss around others like it, as a share of the variance of what the law is off by."""
_LEAST = 5


@dataclass(frozen=True)
class Ranked:
    """A candidate's rank among all candidates.

    Attributes:
        place: the rank, from 1 for the lowest predicted loss.
        name: name of the candidate.
        behind: the candidate's predicted final loss minus the lowest predicted final loss.
        loss: the predicted final loss. Runs of a single length do not show how much a longer run gains, so at a length that no
            run had, only differences of losses are meaningful.
    """

    place: int
    name: str
    behind: float
    loss: float


@dataclass(frozen=True)
class FittedFinals:
    """A law fitted to the final losses of runs, which ranks new schedules, peak learning rates and run lengths.

    Attributes:
        runs: the runs of the fit.
        held_out: for each run, the error (predicted minus measured) of a forecast from the other runs; empty with five runs.
    """

    runs: tuple[Curve, ...]
    units: Units = field(repr=False)
    held_out: tuple[float, ...] = field(default=(), repr=False)

    @property
    def error(self) -> float:
        """The root mean square of `held_out`, NaN with five runs. Candidates closer than this error cannot be separated."""
        return math.sqrt(np.mean(np.square(self.held_out))) if self.held_out else math.nan

    def rank(self, candidates: Mapping[str, Rates], updates: int) -> list[Ranked]:
        """Rank candidates from the lowest predicted final loss to the highest.

        Args:
            candidates: schedules, or arrays of learning rates from update 0 on, by name.
            updates: updates of the run for which the candidates are compared.

        Warns:
            ForecastWarning: if a peak is outside the range of the runs, or the run is much longer than the fitted runs.

        Raises:
            TypeError: if the candidates have no names.
            ValueError: if there are no candidates, or learning rates or `updates` are invalid.
            UnresolvedError: if a schedule is not in updates.
        """
        if not isinstance(candidates, Mapping):
            raise TypeError(f"candidates must be a dict of schedules by name, got {shown(candidates)}")
        if not candidates:
            raise ValueError("candidates must hold at least one schedule, got none")
        updates = whole("updates", updates, least=1)
        names = [str(name) for name in candidates]
        rates = [as_rates(given, updates, name) for name, given in zip(names, candidates.values(), strict=True)]
        self._check_reach(rates, updates)
        runs = [_features(curve.rates, self.units) for curve in self.runs]
        loss = _forecast(runs, _losses(self.runs), [_features(one, self.units) for one in rates])
        order = np.argsort(loss, kind="stable").tolist()
        return [
            Ranked(place, names[i], float(loss[i] - loss[order[0]]), float(loss[i])) for place, i in enumerate(order, 1)
        ]

    def _check_reach(self, rates: Sequence[Array], updates: int) -> None:
        peaks = [curve.peak for curve in self.runs]
        low, high = min(peaks), max(peaks)
        beyond = sorted({x for x in (float(used.max()) for used in rates) if not low * 0.95 <= x <= high * 1.05})
        if beyond:
            there = f"all have {low:g}" if high <= low * 1.001 else f"have {low:g} to {high:g}"
            warnings.warn(
                f"candidates have peaks of {', '.join(f'{x:g}' for x in beyond)}, but the runs {there}: the effect of these "
                "peaks is extrapolated by the law alone; add runs with these peaks",
                ForecastWarning,
                stacklevel=3,
            )
        longest = max(len(curve.rates) for curve in self.runs)
        if updates > 4 * longest:
            warnings.warn(
                f"{updates:,} updates are more than four times the longest run ({longest:,}): the best peak at this length is "
                "not known; add a longer run",
                ForecastWarning,
                stacklevel=3,
            )


def fit_finals(runs: Iterable[Curve], *, held_out: bool = True) -> FittedFinals:
    """Fit a law to the final losses of runs with different schedules and peaks, to rank the schedules of a longer run.

    The law is the functional law plus its error δ:

        L = L0 + A·s^-α + B·Σ_k η_k²·(1 + C·(s - s_k))^-κ + δ(schedule, peak)

    L is the final loss, and s the sum of the learning rates η_k, in units of the runs' geometric mean. α = 1/2 and κ = 1.7 stay
    at the centres of their priors; L0, A and B, none below 0, are fitted by least squares; forecasts are averaged over the prior
    of C, weighted by the likelihood of the losses under each C. If the runs have several lengths, D·T^-α is added: T updates gain
    more than the sum of learning rates explains.

    δ is a Gaussian process, equal for the same schedule and peak at any length, and similar for similar runs:

        cov(δ, δ') ~ exp(-d²/(2·0.4²) - ln²(peak/peak')/2)

    d is the root mean square difference of the two schedules, each divided by its peak, at equal shares of the run. A run's own
    noise has 3 % of δ's variance. So a schedule that was run keeps its measured difference from the law, and a new schedule is
    predicted from the law and its neighbours. The numbers 0.4, 1 and 3 % were chosen by cross-validation over runs, schedules and
    peaks among runs of equal length; see the guide "Loss-curve laws".

    Source: Li et al., "Functional Scaling Laws in Kernel Regression", arXiv 2509.19189, for the law; the rest is universal
    kriging, Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 2.7.

    Args:
        runs: five or more runs with several schedules and several peaks, of one or more lengths. Only the last loss of each run
            counts; a run of which nothing else is known is `Curve([updates], [loss], schedule)`.
        held_out: whether to predict each run from the other runs, too (with six or more runs).

    Warns:
        ForecastWarning: if all runs have the same schedule or the same peak, or the losses have no minimum between too low and
            too high peaks; a part of the ranking then depends on the law alone.

    Raises:
        ValueError: if there are fewer than five runs.

    >>> import laju
    >>> def final(run):  # simulated: progress, and noise that the last 100 updates do not remove
    ...     return 2 + 0.5 / run.values(1000).sum() ** 0.5 + 0.4 * run(900)
    >>> tried = [laju.wsd(peak, total=1000, cooldown=n) for peak in (0.02, 0.04, 0.08) for n in (100, 300, 600)]
    >>> law = fit_finals([Curve([1000], [final(run)], run) for run in tried])
    >>> found = law.rank({str(n): laju.wsd(0.04, total=2000, cooldown=n) for n in (100, 600, 1200)}, 2000)
    >>> [ranked.name for ranked in found]
    ['600', '1200', '100']
    """
    used = tuple(runs)
    for curve in used:
        if not isinstance(curve, Curve):
            raise TypeError(f"runs must be Curve objects, got {shown(curve)}")
    if len(used) < _LEAST:
        raise ValueError(
            f"runs must be {_LEAST} or more, of several schedules and peak rates, got {len(used)}: fewer losses do not tell "
            "progress from noise; if you have whole curves, use laju.forecast.fit"
        )
    units = _units(used)
    each, losses = [_features(curve.rates, units) for curve in used], _losses(used)
    _warn_of_what_is_alike(used, each)
    _warn_of_what_does_not_show(each, losses)
    off: list[float] = []
    if held_out and len(used) > _LEAST:
        for i, one in enumerate(each):
            others = [*each[:i], *each[i + 1 :]]
            off.append(float(_forecast(others, np.delete(losses, i), [one])[0] - losses[i]))
    return FittedFinals(used, units, tuple(off))


# --- the law, and its error --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Units:
    """The units of the law: a learning rate, a sum of learning rates, and a number of updates (0 if all runs have one length)."""

    rate: float
    length: float
    updates: float


@dataclass(frozen=True)
class Features:
    """A run in the form that a forecast uses: the law's columns, the noise column for each C, schedule over peak, ln peak."""

    columns: tuple[float, ...]
    noise: Array
    shape: Array
    log_peak: float


_Z = np.linspace(-3, 3, 13)
_LOGS = math.log(_C.centre) + _C.spread * _Z
_POINTS = 256


def _units(curves: Sequence[Curve]) -> Units:
    rate, lengths = _mean([curve.peak for curve in curves]), [len(curve.rates) for curve in curves]
    several = max(lengths) > 1.05 * min(lengths)
    return Units(rate, _mean([curve.rates.sum() / rate for curve in curves]), _mean(lengths) if several else 0.0)


def _mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(values))))


def _features(rates: Array, units: Units) -> Features:
    past = history(rates, np.array([len(rates)]), units.rate, units.length)
    noise = np.array([_LAW.term(past, np.array([math.exp(log), _KAPPA]))[0][0] for log in _LOGS])
    peak = float(rates.max())
    share = (np.arange(_POINTS) + 0.5) / _POINTS
    shape = np.interp(share, (np.arange(len(rates)) + 0.5) / len(rates), rates / peak)
    columns = [1.0, float(past.progress[0]) ** -_ALPHA]
    if units.updates:
        columns.append((len(rates) / units.updates) ** -_ALPHA)
    return Features(tuple(columns), noise, shape, math.log(peak))


def _losses(curves: Sequence[Curve]) -> Array:
    return np.array([float(curve.loss[-1]) for curve in curves])


def _forecast(runs: Sequence[Features], losses: Array, candidates: Sequence[Features]) -> Array:
    """The candidates' predicted losses, averaged over C."""
    n = len(losses)
    # Whitening: with K = R·Rᵀ, R⁻¹ makes the correlated errors of the law independent, so that plain least squares on the white
    # columns are generalised least squares on the runs.
    root = np.linalg.cholesky(_alike(runs, runs) + _NOISE * np.eye(n))
    across, b = np.linalg.solve(root, _alike(runs, candidates)), np.linalg.solve(root, losses)
    means, scores = [], []
    for i, z in enumerate(_Z):
        white = np.linalg.solve(root, _columns(runs, i))
        c = _not_negative(white, b)
        off = b - white @ c
        # The likelihood at the best variance; a floor, since losses that the law has exactly would give one C all weight.
        variance = max(float(off @ off) / n, (1e-5 * float(losses.mean())) ** 2)
        means.append(_columns(candidates, i) @ c + across.T @ off)
        scores.append(n * math.log(variance) + z * z)
    weight = np.exp(-(np.array(scores) - min(scores)) / 2)
    found: Array = weight / weight.sum() @ np.array(means)
    return found


def _columns(runs: Sequence[Features], i: int) -> Array:
    return np.array([[*run.columns, run.noise[i]] for run in runs])


def _alike(runs: Sequence[Features], others: Sequence[Features]) -> Array:
    """The correlation of the law's errors."""
    shape = np.array([[np.mean((a.shape - b.shape) ** 2) for b in others] for a in runs])
    peak = np.subtract.outer([a.log_peak for a in runs], [b.log_peak for b in others])
    found: Array = np.exp(-shape / (2 * _LIKE_SHAPE**2) - (peak / _LIKE_PEAK) ** 2 / 2)
    return found


def _not_negative(X: Array, y: Array) -> Array:
    """The least-squares solution with nothing below 0."""
    with needed_by("a forecast", "forecast"):
        from scipy.optimize import nnls

    # nnls stops by one tolerance for the whole matrix, whose columns differ by orders of size.
    scale = np.abs(X).max(axis=0)
    found: Array = nnls(X / scale, y)[0] / scale
    return found


# --- warnings ----------------------------------------------------------------------------------------------------------


def _warn_of_what_is_alike(curves: Sequence[Curve], runs: Sequence[Features]) -> None:
    peaks = [curve.peak for curve in curves]
    if max(peaks) <= min(peaks) * 1.001:
        warnings.warn(
            "all runs have the same peak, so the effect of the peak is taken from the law alone; add runs with half and with "
            "twice this peak",
            ForecastWarning,
            stacklevel=3,
        )
    if all(np.abs(run.shape - runs[0].shape).max() < 0.02 for run in runs):
        warnings.warn(
            "all runs have the same schedule, so the effect of the schedule is taken from the law alone; add runs with a shorter "
            "and with a longer cooldown",
            ForecastWarning,
            stacklevel=3,
        )


def _warn_of_what_does_not_show(runs: Sequence[Features], losses: Array) -> None:
    c = _not_negative(_columns(runs, len(_Z) // 2), losses)
    for missing, gain, bad, bring in (
        (c[1] <= 0, "higher rates or a shorter cooldown", "low", "lower"),
        (c[-1] <= 0, "lower rates or a longer cooldown", "high", "higher"),
    ):
        if missing:
            warnings.warn(
                f"no run gains by {gain}, so the runs do not show when a peak is too {bad}; add a run with a {bring} peak",
                ForecastWarning,
                stacklevel=3,
            )
