"""Means with intervals: what a handful of seeds can, and cannot, say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from laju.core.checks import number as number_of

NO_SPREAD = 1e-9
"""Differences that are equal to this are so by the coarseness of an accuracy, and say nothing about their spread."""


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` runs, known to within ± `half_width`; None when a single run cannot tell."""

    mean: float
    half_width: float | None
    n: int

    @property
    def low(self) -> float | None:
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False where there is none, or one of no width.

        Runs that all differ by the same one test image show no spread, which does not mean that there is none.
        """
        return self.half_width is not None and self.half_width > NO_SPREAD and abs(self.mean) > self.half_width

    def text(self, digits: int = 3, *, signed: bool = False) -> str:
        """The estimate in a few characters.

        >>> Estimate(0.84512, 0.01193, 3).text()
        '0.845 ± 0.012'
        >>> Estimate(0.0071, None, 1).text(signed=True)
        '+0.007'
        >>> Estimate(2.2e-17, 0.01, 5).text(signed=True)
        '+0.000 ± 0.010'
        """
        if self.half_width is None:
            return number(self.mean, digits, signed=signed)
        # Of differences that cancel, a sum leaves rounding.
        mean = 0.0 if abs(self.mean) < 1e-12 * self.half_width else self.mean
        return f"{number(mean, digits, signed=signed)} ± {number(self.half_width, digits)}"


def number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A number with that many decimals, or in scientific form when these would not show it.

    >>> number(0.25), number(-1.5, signed=True), number(3e-6), number(2.5e9)
    ('0.250', '-1.500', '3.0e-06', '2.5e+09')
    """
    shown = not math.isfinite(value) or value == 0 or 0.5 * 10**-digits <= abs(value) < 1e6
    return f"{value:{'+' if signed else ''}{f'.{digits}f' if shown else '.1e'}}"


def estimate(values: Iterable[float], confidence: float = 0.95, *, resolution: float = 0.0) -> Estimate | None:
    """The mean of independent runs, with its Student t interval.

    The half width is t · s / √n, with s the sample standard deviation and t the quantile of n - 1 degrees of freedom.

    Args:
        values: one number a run.
        confidence: how often such an interval holds the true mean, between 0 and 1.
        resolution: the smallest difference that two values can have, such as 1 / (test examples) of accuracies; s is at least
            this, since values can be the same by coarseness alone. 0 where there is none, or it is unknown.

    Returns:
        None when there are no values; an estimate without a half width when there is one.

    >>> estimate([0.84, 0.85, 0.86]).text()
    '0.850 ± 0.025'
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    resolution = number_of("resolution", resolution, least=0)
    x = np.asarray(list(values), dtype=float)
    if x.size == 0:
        return None
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(mean, None, 1)
    from scipy.special import stdtrit

    t = float(stdtrit(x.size - 1, (1 + confidence) / 2))
    return Estimate(mean, t * max(float(x.std(ddof=1)), resolution) / math.sqrt(x.size), int(x.size))


def paired_difference(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.95, *, resolution: float = 0.0
) -> Estimate | None:
    """How much larger `a` is than `b` where the two share their seeds: the mean of a - b, with its interval.

    Runs of one seed share their initial weights and data order, so what these add to both cancels in the difference;
    the interval is narrower than that of two unrelated means. `confidence` and `resolution` are those of `estimate`.

    Raises:
        ValueError: the two are not equally long.

    >>> paired_difference([0.86, 0.87], [0.84, 0.86]).text(signed=True)
    '+0.015 ± 0.064'
    """
    if len(a) != len(b):
        raise ValueError(f"paired values must be equally many, got {len(a)} and {len(b)}")
    return estimate((x - y for x, y in zip(a, b, strict=True)), confidence, resolution=resolution)
