"""Exact Langevin dynamics on a Gaussian: mean and variance after every update, for any schedule.

With precision Λ and a gradient noise of variance σ², an update of step ε at temperature T gives

    mean - μ  ←  (1 - εΛ/2)·(mean - μ)
    variance  ←  (1 - εΛ/2)²·variance + ε·T + (ε/2)²·σ²

so a chain with a constant step forgets its start if 0 < εΛ < 4, and its variance converges to
(T + εσ²/4)/(Λ·(1 - εΛ/4)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from laju.core.checks import number, shown, whole
from laju.core.schedule import Schedule
from laju.sampling.steps import Diverged, read_steps, read_temperatures

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Means and variances before the first update and after every update, each of shape (updates + 1, *directions)."""

    mean: Floats
    variance: Floats


def moments(
    step: Schedule | float,
    updates: int,
    precision: ArrayLike,
    *,
    mean: ArrayLike = 0.0,
    variance: ArrayLike = 0.0,
    target: ArrayLike = 0.0,
    temperature: Schedule | float = 1.0,
    gradient_noise: ArrayLike = 0.0,
) -> Moments:
    """The exact mean and variance of Langevin dynamics on a Gaussian with independent directions, after every update.

    mean - μ ← (1 - εΛ/2)·(mean - μ) and variance ← (1 - εΛ/2)²·variance + ε·T + (ε/2)²·σ²; both grow without bound if the
    dynamics diverges.

    Args:
        step: ε of every update, at least 0.
        updates: number of updates.
        precision: Λ, the curvature of -log p, above 0: a number, or a number for each direction.
        mean, variance: mean and variance of the start.
        target: μ, the mean of the Gaussian.
        temperature: T of every update, at least 0; 0 is gradient descent with learning rate ε/2.
        gradient_noise: σ², the variance of a stochastic gradient of log p about the true gradient; for mini-batches of n of N
            samples, drawn with replacement, N²/n times the variance of a sample's gradient.

    Raises:
        ValueError: if a step, temperature, variance or noise is below 0, or a precision is not above 0.

    Source: Welling & Teh, 2011, for the update; the recursions of the moments follow from the update.

    >>> import laju
    >>> moments(0.5, 200, precision=1.0).variance[-1].round(7)  # 1/(1 - 0.5/4)
    np.float64(1.1428571)
    >>> moments(laju.natural_exponential(0.5, 0.5), 400, 1.0, mean=10.0).mean[-1].round(2)  # never reaches 0
    np.float64(5.0)
    """
    eps, hot = read_steps(step, updates), read_temperatures(temperature, updates)
    curvature = _array("precision", precision, above=True)
    noise, start = _array("gradient_noise", gradient_noise), _array("variance", variance)
    shape = np.broadcast_shapes(curvature.shape, noise.shape, start.shape, np.shape(mean), np.shape(target))
    centre = np.broadcast_to(np.asarray(target, dtype=float), shape)
    means, variances = np.empty((len(eps) + 1, *shape)), np.empty((len(eps) + 1, *shape))
    away = np.broadcast_to(np.asarray(mean, dtype=float), shape) - centre
    spread = np.broadcast_to(start, shape).astype(float)
    means[0], variances[0] = centre + away, spread
    with np.errstate(over="ignore", invalid="ignore"):  # a diverging recursion ends as infinity
        for t, (e, temp) in enumerate(zip(eps.tolist(), hot.tolist(), strict=True), start=1):
            shrink = 1 - e * curvature / 2
            away = shrink * away
            spread = shrink * shrink * spread + (e * temp + e * e / 4 * noise)
            means[t], variances[t] = centre + away, spread
    return Moments(means, variances)


def stationary_variance(
    step: float, precision: ArrayLike, *, temperature: float = 1.0, gradient_noise: ArrayLike = 0.0
) -> Floats:
    """The stationary variance of a constant step: (T + εσ²/4)/(Λ·(1 - εΛ/4)). The target's variance is 1/Λ, reached as ε → 0.

    Args:
        step: ε, above 0.
        precision: Λ, above 0: a number or an array.
        temperature: T, at least 0.
        gradient_noise: σ², the variance of a stochastic gradient of log p, at least 0.

    Raises:
        ValueError: if an argument is outside its bounds.
        Diverged: if εΛ ≥ 4 in any direction, where no stationary variance exists.

    >>> stationary_variance(0.5, precision=1.0).round(7)
    np.float64(1.1428571)
    >>> stationary_variance(4.0, precision=1.0)
    Traceback (most recent call last):
    laju.sampling.steps.Diverged: step 4 is too large for a curvature of 1: their product is 4, and from 4 on ...
    """
    eps, hot = number("step", step, above=0), number("temperature", temperature, least=0)
    curvature = _array("precision", precision, above=True)
    noise = _array("gradient_noise", gradient_noise)
    # The distance from the mean shrinks by 1 - εΛ/2 an update, which has a size below 1 only for εΛ below 4.
    if eps * curvature.max() >= 4:
        raise Diverged(step=eps, curvature=float(curvature.max()))
    return np.asarray((hot + eps * noise / 4) / (curvature * (1 - eps * curvature / 4)))[()]


def largest_step(precision: ArrayLike, bias: float = 0.01) -> float:
    """The largest constant step whose stationary variance is at most `bias` too large: 4·bias/((1 + bias)·Λ).

    Args:
        precision: Λ, above 0: a number or an array, whose largest value counts.
        bias: the largest relative excess over 1/Λ, above 0; 0.01 by default.

    >>> round(largest_step(precision=1.0, bias=1 / 7), 7)
    0.5
    """
    bias = number("bias", bias, above=0)
    return 4 * bias / ((1 + bias) * float(_array("precision", precision, above=True).max()))


def contraction(step: Schedule | float, updates: int, precision: float) -> float:
    """The factor by which a run shrinks the distance of the mean to the target's mean: Π(1 - ε_tΛ/2).

    The factor goes to 0 in a long run only if Σε_t grows without bound; otherwise the start is never forgotten.

    Args:
        step: ε of every update, at least 0.
        updates: number of updates.
        precision: Λ, above 0.

    >>> import laju
    >>> round(contraction(laju.natural_exponential(0.5, 0.5), 100_000, precision=1.0), 2)
    0.5
    """
    eps = read_steps(step, whole("updates", updates))
    return float(np.prod(1 - eps * number("precision", precision, above=0) / 2))


def _array(name: str, value: ArrayLike, *, above: bool = False) -> Floats:
    array = np.asarray(value, dtype=float)
    if array.size == 0 or not np.isfinite(array).all() or (array.min() <= 0 if above else array.min() < 0):
        wanted = "finite and above 0" if above else "finite and of at least 0"
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return array
