"""A loss curve over the logarithm of the learning rate: smoothing without lag, and the rules that read a rate off the curve."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST_POINTS = 5
"""The fewest points of a usable curve; a curve with fewer points has diverged at once."""
_SIGNIFICANT = 4.0
"""The standard errors from which a fall or a rise of the smoothed loss is significant: a curve of pure noise has dozens of
independent points, and in less than 1 of 100 such curves any point differs from the first by this much."""


class Smoothed(NamedTuple):
    """Local straight lines through a curve: their values, their slopes for each point, and √Σl² of the weights l of a value,
    which, times the standard deviation of a loss, is the standard error of the value."""

    values: Floats
    slopes: Floats
    errors: Floats


def smooth(losses: npt.ArrayLike, width: float) -> Smoothed:
    """Fit a straight line around every point, by least squares with Gaussian weights, and take the line's value there.

    The value at point i is the a for which a + b·d minimises Σ exp(-d²/(2·width²))·(loss[i + d] - a - b·d)². The weights are
    centred, so the values do not lag behind the curve, as means of the past do: an exponential mean with the usual factor 0.98
    is fifty updates late, half of a usual range test, and correcting its bias at the beginning does not change that. A line,
    unlike a centred mean, has no bias at the ends of the curve, so every straight line is reproduced unchanged.

    Args:
        losses: the losses of the updates, shape (n,), finite; the rate grows by the same factor from update to update.
        width: the standard deviation of the weights, in updates; at least 1/2 is used.

    Returns:
        Values, slopes in loss per update, and relative standard errors, each of shape (n,).

    Source: Fan and Gijbels, "Local Polynomial Modelling and Its Applications", 1996.

    >>> smooth([5.0, 4.0, 3.0, 2.0], width=2.0).values.round(12)
    array([5., 4., 3., 2.])
    """
    y = np.asarray(losses, dtype=np.float64)
    n = len(y)
    if n < 2:
        return Smoothed(y.copy(), np.zeros(n), np.ones(n))
    width = max(width, 0.5)
    reach = math.ceil(5 * width)
    d = np.arange(-reach, reach + 1, dtype=np.float64)
    weight = np.exp(-0.5 * (d / width) ** 2)

    def moment(of: Floats, by: Floats) -> Floats:
        return np.correlate(np.pad(of, reach), by, "valid")

    ones = np.ones(n)
    # The normal equations of the line at each point, from moments of weights and losses. Sums over a padded curve with ones
    # padded alike leave out what lies beyond its ends, so that no end needs a rule of its own.
    s0, s1, s2 = (moment(ones, weight * d**k) for k in range(3))
    t0, t1 = (moment(y, weight * d**k) for k in range(2))
    q0, q1, q2 = (moment(ones, weight**2 * d**k) for k in range(3))
    scale = s0 * s2 - s1**2
    values, slopes = (s2 * t0 - s1 * t1) / scale, (s0 * t1 - s1 * t0) / scale
    return Smoothed(values, slopes, np.sqrt(s2**2 * q0 - 2 * s1 * s2 * q1 + s1**2 * q2) / scale)


def noise(losses: npt.ArrayLike) -> float:
    """The standard deviation of the losses around their curve, robust to a few outliers at the end.

    The estimate is 1.4826·median|yᵢ₋₁ - 2yᵢ + yᵢ₊₁|/√6: second differences contain little of the curve itself.

    >>> noise(np.linspace(3, 1, 50)) < 1e-12
    True
    """
    y = np.asarray(losses, dtype=np.float64)
    return 1.4826 * float(np.median(np.abs(np.diff(y, 2)))) / math.sqrt(6) if len(y) > 2 else 0.0


@dataclass(frozen=True)
class Suggestion:
    """The rate that a rule reads off several sweeps: the geometric mean, with a 95 % interval, both on the logarithm of the rate.

    The interval is Student's t over the sweeps, plus half the distance between neighbouring rates on either side: sweeps that
    agree on a point do not determine the rate more precisely than that.

    Attributes:
        rule: the name of the rule.
        rate: the suggested rate; None if no more than half of the sweeps gave a rate.
        low, high: the interval; None if fewer than two sweeps gave a rate.
        given, of: the number of sweeps that gave a rate, and the number of all sweeps.
        reason: the reason why a sweep gave no rate, if any did not.
    """

    rule: str
    rate: float | None
    low: float | None
    high: float | None
    given: int
    of: int
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """The part of a sweep before the divergence, smoothed.

    Attributes:
        rates, losses: the rates and losses of the updates, shape (n,).
        width: the width of the smoothing, in updates.
        diverged_at: the rate of the update after the curve, if that update diverged.
    """

    rates: Floats
    losses: Floats
    width: float
    diverged_at: float | None = None

    @functools.cached_property
    def smoothed(self) -> Smoothed:
        return smooth(self.losses, self.width)

    @functools.cached_property
    def noise(self) -> float:
        return noise(self.losses)

    @property
    def lowest(self) -> int:
        """The index of the lowest smoothed loss."""
        return int(self.smoothed.values.argmin())

    def lower_than(self, outer: Floats) -> bool:
        """Whether the lowest smoothed loss is below the mean of some losses by more than noise explains."""
        lowest, error = self.lowest, float(self.smoothed.errors[self.lowest])
        value = float(self.smoothed.values[lowest])
        # Rounding alone makes a difference, where a loss does not change and there is no noise.
        doubt = _SIGNIFICANT * self.noise * math.hypot(1 / math.sqrt(len(outer)), error) + 1e-6 * abs(value)
        return float(outer.mean()) - value > doubt

    @property
    def nothing(self) -> str | None:
        """The reason why no rule can read a rate off this curve; None if a rule can."""
        n, at = len(self.losses), self.diverged_at
        if n < LEAST_POINTS:
            return f"the loss diverged at once, at a rate of {at:.2g} in update {n}: lower `low`"
        if self.lower_than(self.losses[: max(1, self.lowest // 3)]):  # at rates that hardly train yet
            return None
        if at is None:
            return f"the loss never fell between {self.rates[0]:.2g} and {self.rates[-1]:.2g} by more than its noise"
        return (
            f"the loss never fell by more than its noise before it diverged at a rate of {at:.2g}: lower `low`, or make more "
            "updates"
        )

    @property
    def open_end(self) -> str | None:
        """The reason why the curve has no end yet; None for a curve that has diverged or has risen again."""
        last = len(self.losses) - 1
        if self.diverged_at is not None or self.lower_than(self.losses[last - max(0, (last - self.lowest) // 3 - 1) :]):
            return None
        return f"the loss has not risen again up to a rate of {self.rates[-1]:.2g}: raise `high`"


def steepest(curve: Curve) -> float | str:
    """The rate at which the smoothed loss falls fastest per decade of the rate, before its lowest point.

    Elsewhere: fastai `steep`, torch-lr-finder and Lightning `suggestion`, on differences of neighbouring losses.
    """
    last, slopes = curve.lowest, curve.smoothed.slopes
    # The slope at an end of the curve, known from one side only, is several times as noisy as any inner slope.
    edge = math.ceil(2 * curve.width)
    end = len(slopes) - edge
    inside = slice(edge, min(last + 1, end)) if edge < min(last, end) else slice(0, last + 1)
    found = inside.start + int(slopes[inside].argmin())
    if curve.open_end is not None and found + 1 >= end:
        return curve.open_end
    return float(curve.rates[found])


def valley(curve: Curve) -> float | str:
    """The rate half way down the longest valley: fastai's default.

    With the longest strictly decreasing subsequence of the smoothed losses, whose last point is e and whose number of points is
    k, the rate is that of point e - k + ⌊k/3⌋ + ⌊k/6⌋, where fastai counts the k points back from e as if all were neighbours.

    Source: fastai `valley`, after ESRI's `arcgis.learn`. fastai leaves out the first tenth and the last five points, and smooths
    by an exponential mean of the past.
    """
    if curve.open_end is not None:
        return curve.open_end
    values = curve.smoothed.values
    length = np.ones(len(values), dtype=np.int64)
    for i in range(1, len(values)):
        longer = length[:i][values[:i] > values[i]]
        if longer.size:
            length[i] += longer.max()
    end = int(length.argmax())
    third = int(length[end]) / 3
    return float(curve.rates[end - int(length[end]) + int(third) + int(third / 2)])


def minimum(curve: Curve) -> float | str:
    """A tenth of the rate at which the smoothed loss is lowest.

    Elsewhere: fastai `minimum`, and common advice: at the lowest point itself training is about to diverge.
    """
    return curve.open_end or float(curve.rates[curve.lowest]) / 10


RULES: dict[str, Callable[[Curve], float | str]] = {"steepest": steepest, "valley": valley, "minimum/10": minimum}
"""The rules by name: functions that read a rate off a curve, or return the reason why no rate can be read."""


def read(curve: Curve) -> dict[str, float | str]:
    """The result of each rule: a rate, or the reason why there is no rate."""
    nothing = curve.nothing
    return {name: rule(curve) if nothing is None else nothing for name, rule in RULES.items()}
