"""The fit of a law to curves as a nonlinear least-squares problem, and the law at its solution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from laju.core.extras import needed_by
from laju.forecast.blocks import Array, History
from laju.forecast.curves import Curve
from laju.forecast.laws import Law

_LEAST_NOISE = 1e-3
"""Assumed relative error of a loss; if curves scatter more, their own noise is used."""
_OUTLIER = 8.0
"""Size of a residual, in units of the noise, beyond which residuals count linearly instead of quadratically (Huber)."""
_DOUBT = 3.0
"""Distance from a prior's centre, in spreads, beyond which the prior yields to the data."""
_STARTS = 3
_FAR = 7.0
"""Largest distance of a logarithm from its prior's centre in the search; beyond, powers overflow."""


@dataclass(frozen=True)
class Units:
    """The units of a law: learning rate, sum of learning rates, loss; the transient's start; the relative noise of a loss."""

    rate: float
    length: float
    level: float
    first: float
    noise: float


@dataclass(frozen=True)
class Member:
    """A fitted law: its nonlinear parameters (logarithms), its linear parameters, and the covariance of all parameters."""

    law: Law
    logs: Array
    linear: Array
    covariance: Array

    def predict(self, run: History, units: Units) -> Array:
        """The losses at a run's moments; shape (n,)."""
        terms = _terms(self.law, run, self.logs, units)
        return np.asarray(terms.X @ self.linear + terms.z)

    def prediction(self, run: History, units: Units) -> tuple[Array, Array]:
        """The losses, and the standard deviations that the parameters' uncertainty brings; each of shape (n,)."""
        terms = _terms(self.law, run, self.logs, units)
        gradient = _gradient(terms, self.linear)
        variance = np.einsum("ij,jk,ik->i", gradient, self.covariance, gradient)
        return terms.X @ self.linear + terms.z, np.sqrt(np.maximum(variance, 0.0))

    def annealing(self, run: History, units: Units) -> Array:
        """The annealing term of the predictions; shape (n,)."""
        return _terms(self.law, run, self.logs, units).z

    def gradient(self, run: History, units: Units) -> Array:
        """The derivatives of the predictions with respect to all parameters, logarithms first; shape (n, parameters)."""
        return _gradient(_terms(self.law, run, self.logs, units), self.linear)


class Problem:
    """A law and the curves as a nonlinear least-squares problem."""

    def __init__(self, law: Law, curves: Sequence[Curve], runs: Sequence[History], units: Units) -> None:
        self.law, self.runs, self.units = law, runs, units
        self.curves = curves
        self.loss = np.concatenate([curve.loss for curve in curves])
        # A curve counts once, however often its losses were logged.
        share = np.concatenate([np.full(len(curve), 1 / math.sqrt(len(curve))) for curve in curves])
        self.unit = self.loss * units.noise
        self.weight = share / self.unit
        priors = law.parameters.values()
        self.centre = np.log([prior.centre for prior in priors])
        self.spread = np.array([prior.spread for prior in priors])
        # Nearly free: a transient as large as the whole fall of the loss.
        self.ridge = 1 / float(self.loss.max() - self.loss.min() or 1.0) if law.transient else 0.0

    def terms(self, logs: Array) -> Terms:
        each = [_terms(self.law, run, logs, self.units) for run in self.runs]
        return Terms(*(np.concatenate(parts) for parts in zip(*each, strict=True)))

    def linear(self, terms: Terms, weight: Array) -> tuple[Array, Array]:
        """The best linear parameters, and an orthonormal basis of their effects on the residuals.

        A loss has a floor, so L0 ≥ 0; progress lowers the loss, so A > 0. Parameters that would break either bound are left out.
        """
        A, b = terms.X * weight[:, None], (self.loss - terms.z) * weight
        if self.law.transient:
            A, b = np.vstack([A, [0.0, 0.0, self.ridge]]), np.append(b, 0.0)
        every = range(A.shape[1])
        # Fewer parameters until the signs are right: all, without L0, without the transient, A alone.
        for kept in ([*every], [*every][1:], [0, 1], [1]):
            found, q = _solved(A[:, kept], b)
            c = np.zeros(A.shape[1])
            c[kept] = found
            if c[0] >= 0 and c[1] > 0:
                break
        return c, q

    def residuals(self, logs: Array, weight: Array) -> tuple[Array, Array]:
        """Weighted residuals of losses and priors, with their derivatives (Kaufman's, which leave out how the basis turns)."""
        terms = self.terms(logs)
        c, q = self.linear(terms, weight)
        r, J = (terms.X @ c + terms.z - self.loss) * weight, terms.by(c) * weight[:, None]
        if self.law.transient:
            r, J = np.append(r, self.ridge * c[2]), np.vstack([J, np.zeros(len(logs))])
        # The linear parameters follow the logarithms to their best values, so of a derivative only the part counts that they
        # cannot make up for. Kaufman's form leaves out how the basis itself turns, which is small near the solution and costs
        # second derivatives (Kaufman, BIT 15, 1975).
        J = J - q @ (q.T @ J)
        z = (logs - self.centre) / self.spread
        log = np.log1p((z / _DOUBT) ** 2)
        root = math.sqrt(self.law.weight)
        # The square of this residual is ψ, so that least squares minimises the robust prior, too.
        prior = root * np.sign(z) * _DOUBT * np.sqrt(log)
        near = np.abs(z) < 1e-6  # where the slope is 0/0, with the limit 1
        slope = np.divide(np.abs(z), _DOUBT * np.sqrt(log) * (1 + (z / _DOUBT) ** 2), out=np.ones_like(z), where=~near)
        return np.asarray(np.append(r, prior)), np.asarray(np.vstack([J, np.diag(root * slope / self.spread)]))

    def solve(self, seed: int) -> Member:
        random = np.random.default_rng(seed)
        starts = [self.centre, *(self.centre + self.spread * random.normal(size=(_STARTS - 1, len(self.centre))))]
        found = [self._descend(start, self.weight) for start in starts]
        logs = min(found, key=lambda f: f[1])[0]
        weight = self.weight
        # Huber's loss by reweighting, from the least-squares solution on, until the weights settle.
        for _ in range(10):
            off = self._off(logs, weight)
            new = self.weight * np.sqrt(np.minimum(1.0, _OUTLIER / np.maximum(np.abs(off), 1e-12)))
            if np.allclose(new, weight, rtol=1e-3):
                break
            weight = new
            logs, _ = self._descend(logs, weight)
        terms = self.terms(logs)
        c, _ = self.linear(terms, weight)
        if c[1] <= 0:
            raise ValueError(
                f"the curves' losses do not fall with progress, so the {self.law.name} law cannot be fitted; bring curves that "
                "do, or use fit_finals for runs of which only the last loss is known"
            )
        return Member(self.law, logs, c, self._covariance(terms, c))

    def _descend(self, start: Array, weight: Array) -> tuple[Array, float]:
        with needed_by("a forecast", "forecast"):
            from scipy.optimize import least_squares

        last: dict[str, Any] = {}

        def both(logs: Array) -> tuple[Array, Array]:
            # Far out an exponential would overflow; the priors lead back from there.
            logs = np.clip(logs, self.centre - _FAR, self.centre + _FAR)
            # scipy asks for residuals and derivatives separately, mostly at the same point.
            if "at" not in last or not np.array_equal(last["at"], logs):
                last.update(at=logs.copy(), found=self.residuals(logs, weight))
            result: tuple[Array, Array] = last["found"]
            return result

        done = least_squares(lambda p: both(p)[0], start, jac=lambda p: both(p)[1], method="lm", max_nfev=300)
        return np.clip(done.x, self.centre - _FAR, self.centre + _FAR), float(done.cost)

    def _off(self, logs: Array, weight: Array) -> Array:
        terms = self.terms(logs)
        c, _ = self.linear(terms, weight)
        off: Array = (terms.X @ c + terms.z - self.loss) / self.unit
        return off

    def _covariance(self, terms: Terms, c: Array) -> Array:
        """Covariance of all parameters, by the curvature at the optimum; correlated losses count as fewer independent losses."""
        J = _gradient(terms, c)
        off = terms.X @ c + terms.z - self.loss
        information = np.zeros((J.shape[1], J.shape[1]))
        begin = 0
        for curve in self.curves:
            part = slice(begin, begin + len(curve))
            begin += len(curve)
            independent = _independent(off[part])
            scale = np.maximum(np.sqrt(np.mean(off[part] ** 2)), self.units.noise * curve.loss.mean())
            information += J[part].T @ J[part] / scale**2 * independent / len(curve)
        k = len(self.centre)
        information[np.arange(k), np.arange(k)] += 1 / self.spread**2
        if self.law.transient:
            information[-1, -1] += self.ridge**2
        # Linear parameters have no prior, so a direction of theirs may be without information.
        return np.asarray(np.linalg.pinv(information, hermitian=True))


def _solved(A: Array, b: Array) -> tuple[Array, Array]:
    """The solution of least squares, and an orthonormal basis of the columns."""
    # QR and not the normal equations, whose condition is the square: for a small α the power law is nearly the constant L0.
    q, r = np.linalg.qr(A)
    size = np.abs(np.diag(r))
    if size.min() < 1e-12 * max(size.max(), 1e-300):
        return np.asarray(np.linalg.lstsq(A, b, rcond=None)[0]), np.asarray(q)
    return np.asarray(np.linalg.solve(r, q.T @ b)), np.asarray(q)


class Terms(NamedTuple):
    """A law at given logarithms, L = X·linear + z, and the derivatives of z and of A's column of X by each logarithm."""

    X: Array
    z: Array
    by_z: Array
    by_power: Array

    def by(self, linear: Array) -> Array:
        """The derivatives of L by the logarithms; α is the first, and z does not depend on α."""
        found = self.by_z.copy()
        found[:, 0] += self.by_power * linear[1]
        return found


def _gradient(terms: Terms, linear: Array) -> Array:
    """The derivatives of L by all parameters, logarithms first."""
    return np.hstack([terms.by(linear), terms.X])


def _terms(law: Law, run: History, logs: Array, units: Units) -> Terms:
    values = np.exp(logs)
    # Before the first rate above 0 there is no progress, whose power would be infinite.
    s = np.maximum(run.progress, 1e-12)
    power = np.exp(np.minimum(-values[0] * np.log(s), 300.0))  # a power that cannot overflow
    x, by = law.term(run, values[1:-1])
    scale = law.sign * values[-1] * units.level
    columns = [np.ones_like(s), power]
    if law.transient:
        columns.append((s / units.first) ** -2.0)
    by_z = np.hstack([np.zeros((len(s), 1)), scale * by, (scale * x)[:, None]])
    return Terms(np.stack(columns, axis=1), scale * x, by_z, -power * np.log(s) * values[0])


def units_of(curves: Sequence[Curve]) -> Units:
    # Geometric means, as the laws compare rates by ratios.
    rate = float(np.exp(np.mean([math.log(curve.peak) for curve in curves])))
    sums = [np.cumsum(curve.rates)[curve.updates - 1] / rate for curve in curves]
    length = max(float(s[-1]) for s in sums)
    first = min(float(s[s > 0][0]) for s in sums if (s > 0).any()) / length
    level = float(np.mean([np.median(curve.loss[-5:]) for curve in curves]))
    return Units(rate, length, level, first, _noise(curves))


def _noise(curves: Sequence[Curve]) -> float:
    """The relative scatter of a loss around its neighbours', by the median of second differences; at least `_LEAST_NOISE`."""
    found = []
    for curve in curves:
        if len(curve) >= 8:
            log = np.log(curve.loss)
            # Second differences have no level and no slope, so a smooth curve leaves nearly nothing. Of independent noise σ
            # they have the variance (1 + 4 + 1)·σ², hence √6; 0.6745 makes a median of sizes a normal's σ.
            second = log[2:] - 2 * log[1:-1] + log[:-2]
            found.append(float(np.median(np.abs(second - np.median(second)))) / 0.6745 / math.sqrt(6))
    return max([_LEAST_NOISE, *([float(np.median(found))] if found else [])])


def _independent(off: Array) -> float:
    """How many independent losses a curve's residuals are worth: n·(1 - r) / (1 + r), r the correlation of neighbours."""
    n = len(off)
    if n < 4 or not off.any():
        return float(n)
    # Not below 0: residuals that alternate would count as more losses than there are.
    r = float(np.clip((off[1:] * off[:-1]).sum() / (off**2).sum(), 0.0, 0.999))
    return max(1.0, n * (1 - r) / (1 + r))
