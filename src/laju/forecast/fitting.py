"""Fitting a law to loss curves, and the fitted law's predictions for new schedules."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import nearest, shown
from laju.core.extras import needed_by
from laju.forecast.blocks import Array, History, history
from laju.forecast.curves import Curve, ForecastWarning, Rates, as_rates, checked_updates
from laju.forecast.laws import AVERAGE, LAWS
from laju.forecast.problem import Member, Problem, Units, units_of

if TYPE_CHECKING:
    from laju.forecast.families import Best

_RISES = 0.05
"""How far above its lowest a loss may end before it is said to rise; warming up again costs less."""
_BAD = 0.2
"""A relative error of a held-out curve from which on the law is said not to fit."""


@dataclass(frozen=True)
class Parameter:
    """A parameter's value and standard error; for a nonlinear parameter the error of the logarithm, which is relative."""

    value: float
    error: float


@dataclass(frozen=True)
class HeldOut:
    """Errors of a curve's prediction from the other curves: mean absolute, root mean square, R², and largest relative error."""

    curve: str
    mae: float
    rmse: float
    r2: float
    worst: float


@dataclass(frozen=True)
class FittedLaw:
    """A fitted law of loss curves, which predicts the losses under new schedules.

    Attributes:
        name: "average", or the name of the law.
        curves: the curves of the fit.
        members: the laws in the average; `weights` has their weights.
        held_out: for each curve, the errors of its prediction from the other curves; empty with fewer than three curves.
    """

    name: str
    curves: tuple[Curve, ...]
    members: tuple[Member, ...] = field(repr=False)
    weights: tuple[float, ...]
    units: Units
    held_out: tuple[HeldOut, ...] = field(default=(), repr=False)

    def predict(self, rates: Rates, updates: Any) -> Array:
        """Predict the losses of a run with the given learning rates.

        Args:
            rates: a schedule, or a learning rate for each update from 0.
            updates: numbers of completed updates, each at least 1, in any order; shape (n,).

        Returns:
            The predicted losses after these updates, shape (n,).

        Warns:
            ForecastWarning: if no curve had this peak, or the run is much longer than the curves.

        Raises:
            ValueError: if `rates` or `updates` are invalid.
            UnresolvedError: if the schedule is not in updates.
        """
        run = self._run(rates, updates)
        return np.asarray(sum(w * m.predict(run, self.units) for w, m in zip(self.weights, self.members, strict=True)))

    def band(self, rates: Rates, updates: Any, level: float = 0.9) -> tuple[Array, Array]:
        """The band that contains the losses with probability of about `level`: its lower and upper ends; see `forecast`."""
        return self._forecast(self._run(rates, updates), level)[1:]

    def forecast(self, rates: Rates, updates: Any, level: float = 0.9) -> tuple[Array, Array, Array]:
        """The losses of `predict` and the ends of `band`, which share most of the work.

        The half width of the band is z·√(σ_p² + σ_l² + σ_c²): the parameters' uncertainty (Laplace: the curvature of the
        minimised function, with as many independent losses as their correlation leaves), the disagreement of the laws in an
        average, and the error on curves that were held out.

        Args:
            rates, updates: as in `predict`.
            level: the probability, above 0 and below 1.

        Returns:
            The losses, the lower ends and the upper ends, each of shape (n,).
        """
        return self._forecast(self._run(rates, updates), level)

    def final(self, rates: Rates, updates: int) -> float:
        """The predicted loss after the last of `updates` updates."""
        return float(self.predict(rates, [updates])[0])

    def best(self, updates: int, peak: float | None = None, family: str = "wsd", **options: Any) -> Best:
        """Find the schedule of a family with the lowest predicted loss after `updates` updates.

        The arguments are explained in `laju.forecast.families.best`.
        """
        from laju.forecast.families import best

        return best(self, updates, peak=peak, family=family, **options)

    @property
    def parameters(self) -> dict[str, dict[str, Parameter]]:
        """The fitted parameters by law and name; learning rates in units of `units.rate`, and their sums in `units.length`."""
        return {member.law.name: _parameters(member) for member in self.members}

    def to_json(self) -> dict[str, Any]:
        """The fit as values that `json.dumps` takes."""
        return {
            "law": self.name,
            "weights": dict(zip((m.law.name for m in self.members), self.weights, strict=True)),
            "units": vars(self.units),
            "parameters": {
                law: {name: vars(parameter) for name, parameter in found.items()}
                for law, found in self.parameters.items()
            },
            "curves": [
                {"name": c.name, "losses": len(c), "last_update": int(c.updates[-1]), "peak": c.peak}
                for c in self.curves
            ],
            "held_out": [vars(row) for row in self.held_out],
        }

    def _forecast(self, run: History, level: float) -> tuple[Array, Array, Array]:
        with needed_by("a forecast", "forecast"):
            from scipy.special import ndtri

        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level!r}")
        each, spreads = zip(*(member.prediction(run, self.units) for member in self.members), strict=True)
        weights = np.array(self.weights)[:, None]
        mean = np.sum(weights * each, axis=0)
        variance = np.sum(weights * (np.square(spreads) + (each - mean) ** 2), axis=0)
        half = float(ndtri((1 + level) / 2)) * np.sqrt(variance + self.typical_error**2)
        return mean, np.maximum(mean - half, 0.0), mean + half

    def _run(self, rates: Rates, updates: Any) -> History:
        at = checked_updates(updates)
        if not at.size:
            raise ValueError("updates must have at least one number of completed updates, got none")
        used = as_rates(rates, int(at.max()))
        self._check_reach(used)
        return history(used, at, self.units.rate, self.units.length)

    def _check_reach(self, used: Array) -> None:
        peaks = [curve.peak for curve in self.curves]
        peak, low, high = float(used.max()), min(peaks), max(peaks)
        if not low * 0.95 <= peak <= high * 1.05:
            there = f"{low:g}" if high <= low * 1.001 else f"{low:g} to {high:g}"
            warnings.warn(
                f"the peak {peak:g} is outside the peaks of the curves ({there}): the laws do not transfer to peaks at which "
                "they were not fitted; add curves with further peaks",
                ForecastWarning,
                stacklevel=4,
            )
        longest = max(len(curve.rates) for curve in self.curves)
        if len(used) > 4 * longest:
            warnings.warn(
                f"{len(used):,} updates are more than four times the longest curve ({longest:,}): the power law of the progress "
                "is not known that far; add a longer curve",
                ForecastWarning,
                stacklevel=4,
            )

    @property
    def typical_error(self) -> float:
        """The root mean square error on held-out curves; without held-out curves, the noise alone."""
        if not self.held_out:
            return self.units.noise * self.units.level
        return float(np.sqrt(np.mean([row.rmse**2 for row in self.held_out])))


def fit(curves: Iterable[Curve], law: str = "average", *, held_out: bool = True, seed: int = 0) -> FittedLaw:
    """Fit a law of loss curves to the curves of a few short runs.

    The fit minimises, over the logarithms θ of the nonlinear parameters, with L0, A and R solved for at every step (variable
    projection):

        Σ_curves mean_i ρ((L(t_i) - loss_i) / (loss_i·ε)) + w·Σ_j ψ((θ_j - ln centre_j) / spread_j)

    L(t_i) is the predicted loss after t_i updates. ρ is Huber's loss with its corner at 8; ψ(z) = 9·ln(1 + z²/9) is quadratic
    near 0 and yields to the data far away; ε is 10⁻³, or the curves' own relative noise if larger. The minimum is found by the
    Levenberg–Marquardt method from three starts, with analytic derivatives. The guide "Loss-curve laws" explains the choice of
    priors and weights.

    Args:
        curves: at least two curves with different schedules; three are better, with a slow decay of the learning rate in one
            and a sudden drop in another.
        law: "average" (of "extended multi-power" and "extended functional"), a member of that average, "multi-power",
            "functional" or "momentum".
        held_out: whether to predict each curve from the other curves, too (with three or more curves); the bands use these
            errors.
        seed: seed of the random starts beside the priors' centres.

    Warns:
        ForecastWarning: if there is a single curve, or all curves have the same schedule: the gain by annealing is then taken
            from the priors.

    Raises:
        ValueError: for an unknown law, no curves, fewer losses than parameters, or losses that do not fall with progress.

    >>> import laju, numpy as np
    >>> at = np.arange(200, 4001, 50)
    >>> runs = [laju.constant(0.1), laju.cosine(0.1, total=4000), laju.wsd(0.1, total=4000, cooldown=1000)]
    >>> def loss(run):  # simulated: progress by the sum of learning rates, and noise in proportion to the learning rate
    ...     s = np.cumsum(run.values(4000)) / 400
    ...     return (2 + 0.8 * s**-0.5 + 0.5 * run.values(4001)[1:])[at - 1]
    >>> law = fit([Curve(at, loss(run), run) for run in runs])
    >>> abs(law.final(laju.linear(0.1, 0, total=4000), 4000) - (2 + 0.8 * 0.5**-0.5)) < 0.02
    True
    """
    used = tuple(curves)
    for curve in used:
        if not isinstance(curve, Curve):
            raise TypeError(f"curves must be Curve objects, got {shown(curve)}")
    weights = {law: 1.0} if law in LAWS else dict(AVERAGE) if law == "average" else None
    if weights is None:
        valid = ["average", *LAWS]
        raise ValueError(f"law {shown(law)} is not one of {', '.join(valid)}{nearest(str(law), valid)}")
    if not used:
        raise ValueError("curves must hold at least one curve, got none")
    names = _distinct(used)
    losses = sum(len(curve) for curve in used)
    needed = max(len(LAWS[name].parameters) + 2 for name in weights)
    if losses <= needed:
        raise ValueError(
            f"the curves have {losses} losses together, and the law has {needed} parameters: add losses or curves"
        )
    _warn_of_one_schedule(used)
    _warn_of_rising(used)
    units = units_of(used)
    runs = [history(curve.rates, curve.updates, units.rate, units.length) for curve in used]
    members = tuple(Problem(LAWS[name], used, runs, units).solve(seed) for name in weights)
    rows = []
    if held_out and len(used) >= 3:
        for i, curve in enumerate(used):
            others = used[:i] + used[i + 1 :]
            if sum(map(len, others)) > needed:
                rows.append(_held_out(names[i], curve, others, law, seed))
    worst = max(rows, key=lambda row: row.worst, default=None)
    if worst is not None and worst.worst > _BAD:
        warnings.warn(
            f"the law does not describe these curves: {worst.curve}, predicted by the others, is off by up to {worst.worst:.0%}. "
            "The laws describe losses with a floor, as on fresh data, and not a training loss that falls to almost 0",
            ForecastWarning,
            stacklevel=2,
        )
    return FittedLaw(law, used, members, tuple(weights.values()), units, tuple(rows))


def errors(curve: Curve, predicted: npt.ArrayLike) -> HeldOut:
    """The errors of predicted losses against the losses of a curve.

    >>> errors(Curve([1, 2], [2.0, 1.0], [0.1, 0.1]), [2.0, 1.1])
    HeldOut(curve='curve', mae=0.05..., rmse=0.0707..., r2=0.98, worst=0.1...)
    """
    off = np.asarray(predicted, dtype=np.float64) - curve.loss
    around = float(((curve.loss - curve.loss.mean()) ** 2).sum())
    return HeldOut(
        curve.name,
        mae=float(np.abs(off).mean()),
        rmse=float(np.sqrt((off**2).mean())),
        r2=1 - float((off**2).sum()) / around if around else math.nan,
        worst=float((np.abs(off) / curve.loss).max()),
    )


def _parameters(member: Member) -> dict[str, Parameter]:
    error = np.sqrt(np.maximum(np.diag(member.covariance), 0.0))
    names = [*member.law.parameters, "L0", "A", "R"][: len(member.logs) + len(member.linear)]
    values = [*np.exp(member.logs), *member.linear]
    return {name: Parameter(float(v), float(e)) for name, v, e in zip(names, values, error, strict=True)}


def _held_out(name: str, curve: Curve, others: Sequence[Curve], law: str, seed: int) -> HeldOut:
    # What these curves lack was said of the whole set already, or holds only because one is left out.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForecastWarning)
        rest = fit(others, law, held_out=False, seed=seed)
        found = errors(curve, rest.predict(curve.rates, curve.updates))
    return HeldOut(name, found.mae, found.rmse, found.r2, found.worst)


def _distinct(curves: Sequence[Curve]) -> list[str]:
    """The curves' names, with a number where two are the same."""
    names = [curve.name for curve in curves]
    return [f"{name} {i}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _warn_of_rising(curves: Sequence[Curve]) -> None:
    for curve in curves:
        if len(curve) >= 5:
            # Medians of five losses, since a single one is noise, and the lowest of many always lies below the end.
            lowest, end = float(np.median(np.sort(curve.loss)[:5])), float(np.median(curve.loss[-5:]))
            if end > (1 + _RISES) * lowest:
                warnings.warn(
                    f"the loss of {curve.name} ends {end / lowest - 1:.0%} above its lowest: if the run is diverging or "
                    "overfitting, leave the curve out, or cut the curve before the rise",
                    ForecastWarning,
                    stacklevel=3,
                )


def _warn_of_one_schedule(curves: Sequence[Curve]) -> None:
    shapes = {tuple(np.round(curve.rates / curve.peak, 6)[:: max(1, len(curve.rates) // 64)]) for curve in curves}
    if len(shapes) == 1:
        warnings.warn(
            "all curves have the same schedule, so the gain by annealing cannot be separated from progress and is taken from the "
            "priors; add a curve with a different schedule, best with a sudden drop of the learning rate half-way",
            ForecastWarning,
            stacklevel=3,
        )
