"""Means with intervals: the evidence of a handful of seeds, and the limits of this evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from laju.core.checks import number as number_of

NO_SPREAD = 1e-9
"""Differences that agree within this bound are equal by the coarseness of an accuracy, and say nothing about their spread."""

LEAST_SEEDS = 3
"""Fewer values have no interval. Student's t for two values is 12.7, and values that happen to be close would seem certain."""

Bounds = tuple[float, float]
ANY: Bounds = (-math.inf, math.inf)
ACCURACY: Bounds = (0.0, 1.0)
LOSS: Bounds = (0.0, math.inf)


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` values, with an interval if there are at least three values.

    Attributes:
        mean: the mean of the values.
        half_width: t · s / √n, half the width of the Student t interval; None for fewer than three values.
        n: the number of values.
        bounds: the possible range of the mean. `low` and `high` never leave the bounds.
        values: the two values themselves, if there are exactly two.
        spread: s, the standard deviation of single values, at least their resolution; None for fewer than three values.
    """

    mean: float
    half_width: float | None
    n: int
    bounds: Bounds = ANY
    values: tuple[float, ...] = ()
    spread: float | None = None

    @property
    def low(self) -> float | None:
        """The lower end of the interval."""
        return self._end(-1)

    @property
    def high(self) -> float | None:
        """The upper end of the interval."""
        return self._end(1)

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False without an interval, or with an interval of no width.

        Runs that all differ by the same single test image show no spread, which does not mean that the true spread is zero.
        """
        return self.half_width is not None and self.half_width > NO_SPREAD and abs(self.mean) > self.half_width

    def text(self, digits: int = 3, *, signed: bool = False) -> str:
        """The estimate in a few characters: `±` if the interval is symmetric in the printed digits, else the mean and both ends.

        Values that are all the same show no spread, so only their mean is printed.

        >>> Estimate(0.84512, 0.01193, 3).text()
        '0.845 ± 0.012'
        >>> Estimate(0.98, 0.03, 3, bounds=(0, 1)).text()
        '0.980 (0.914 … 0.996)'
        >>> Estimate(0.884, None, 2, values=(0.907, 0.861)).text()
        '0.907, 0.861'
        >>> Estimate(0.0071, None, 1).text(signed=True)
        '+0.007'
        >>> Estimate(2.2e-17, 0.01, 5).text(signed=True)
        '+0.000 ± 0.010'
        """
        if self.half_width is None or self.half_width <= NO_SPREAD or self.low is None or self.high is None:
            return ", ".join(number(value, digits, signed=signed) for value in self.values or (self.mean,))
        # Of differences that cancel, a sum leaves rounding.
        mean = 0.0 if abs(self.mean) < 1e-12 * self.half_width else self.mean
        below, above = (number(arm, digits) for arm in (self.mean - self.low, self.high - self.mean))
        shown = number(mean, digits, signed=signed)
        if below == above:
            return f"{shown} ± {below}"
        return f"{shown} ({number(self.low, digits, signed=signed)} … {number(self.high, digits, signed=signed)})"

    def to_json(self) -> dict[str, Any]:
        """The mean, the interval's ends and the number of values, as values that `json.dumps` accepts."""
        found = {"mean": self.mean, "low": self.low, "high": self.high, "half_width": self.half_width, "n": self.n}
        return {**found, "values": list(self.values)} if self.values else found

    def _end(self, sign: int) -> float | None:
        if self.half_width is None:
            return None
        low, high = self.bounds
        plain = self.mean + sign * self.half_width
        # The delta method: h on the accuracy's scale is h / (m·(1 - m)) on the logit's, as the logit's slope is 1 / (m·(1 -
        # m)). At 700 the exponential is still a float.
        if self.bounds == ACCURACY and low < self.mean < high:
            # logit(m) ± h / (m (1 - m)), back from the logit
            return 1 / (
                1 + (1 / self.mean - 1) * math.exp(-sign * min(self.half_width / self.mean / (1 - self.mean), 700))
            )
        # The same with the logarithm, whose slope is 1 / m.
        if self.bounds == LOSS and self.mean > low:
            return self.mean * math.exp(sign * min(self.half_width / self.mean, 700))
        return min(max(plain, low), high)


def number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A number with the given number of decimals, or in scientific notation if the decimals would not show the value.

    >>> number(0.25), number(-1.5, signed=True), number(3e-6), number(2.5e9)
    ('0.250', '-1.500', '3.0e-06', '2.5e+09')
    """
    shown = not math.isfinite(value) or value == 0 or 0.5 * 10**-digits <= abs(value) < 1e6
    return f"{value:{'+' if signed else ''}{f'.{digits}f' if shown else '.1e'}}"


def estimate(
    values: Iterable[float], confidence: float = 0.95, *, resolution: float = 0.0, bounds: Bounds = ANY
) -> Estimate | None:
    """The mean of independent runs, with its Student t interval.

    The half width is h = t · s / √n, with s the sample standard deviation and t the quantile of n - 1 degrees of freedom. The
    interval is m ± h; for an accuracy logit(m) ± h / (m (1 - m)) and for a loss ln(m) ± h / m, transformed back, so that
    the interval never leaves the possible range (for the logit: Brown, Cai and DasGupta, 2001, *Interval estimation for a
    binomial proportion*, Statistical Science 16). Any further bounds cut off the interval, which removes no true mean from the
    interval (Mandelkern, 2002, *Setting confidence intervals for bounded parameters*, Statistical Science 17).

    Args:
        values: a number for each run.
        confidence: the probability that such an interval contains the true mean, between 0 and 1.
        resolution: the smallest difference that two values can have, such as 1 / (test examples) for accuracies; s is at least
            the resolution, since values can be equal by coarseness alone. 0 without a resolution, or if it is unknown.
        bounds: the possible range of the values: `ACCURACY`, `LOSS` or any pair.

    Returns:
        None when there are no values; an estimate without an interval for one or two values.

    Raises:
        ValueError: an argument out of its range, or a value outside the bounds.

    >>> estimate([0.84, 0.85, 0.86]).text()
    '0.850 ± 0.025'
    >>> estimate([0.95, 0.99, 0.98], bounds=ACCURACY).text()
    '0.973 (0.833 … 0.996)'
    >>> estimate([0.95, 0.99]).text()
    '0.950, 0.990'
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    resolution = number_of("resolution", resolution, least=0)
    x = np.asarray(list(values), dtype=float)
    if x.size == 0:
        return None
    if x.min() < bounds[0] or x.max() > bounds[1]:
        raise ValueError(f"values must lie within bounds={bounds!r}, got {x.min():g} to {x.max():g}")
    mean, n = float(x.mean()), int(x.size)
    if n < LEAST_SEEDS:
        return Estimate(mean, None, n, bounds, tuple(map(float, x)) if n > 1 else ())
    from scipy.special import stdtrit

    t, spread = float(stdtrit(n - 1, (1 + confidence) / 2)), max(float(x.std(ddof=1)), resolution)
    return Estimate(mean, t * spread / math.sqrt(n), n, bounds, spread=spread)


def paired_difference(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95, *, resolution: float = 0.0, bounds: Bounds = ANY
) -> Estimate | None:
    """The mean of the paired differences a - b, with its interval, for runs of `a` and `b` with the same seeds.

    Runs with the same seed share their initial weights and data order, so these shared effects cancel in the difference; the
    interval is narrower than that of two unrelated means. The remaining arguments are as for `estimate`; `bounds` are the
    possible range of `a` and `b`, and cut off the interval of the difference.

    Raises:
        ValueError: the two are not equally long, or a value lies outside the bounds.

    >>> paired_difference([0.86, 0.87, 0.88], [0.84, 0.86, 0.85]).text(signed=True)
    '+0.020 ± 0.025'
    >>> paired_difference([0.86, 0.87], [0.84, 0.86]).text(signed=True)
    '+0.020, +0.010'
    """
    if len(a) != len(b):
        raise ValueError(f"paired values must be equally many, got {len(a)} and {len(b)}")
    apart = [x - y for x, y in zip(a, b, strict=True)]
    low, high = bounds
    return estimate(apart, confidence, resolution=resolution, bounds=(low - high, high - low))
