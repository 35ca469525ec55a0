"""The number of seeds needed to show a difference."""

from __future__ import annotations

import math

import numpy as np

from laju.core.checks import is_number, shown, whole

MOST = 10**7
_QUANTILES = (np.arange(4000) + 0.5) / 4000


def paired_power(difference: float, sd: float, seeds: int, *, confidence: float = 0.95, comparisons: int = 1) -> float:
    """The power of a paired t test: the probability of detecting a true difference of the given size.

    The power is P(|T| > t), where T has a noncentral t distribution with seeds - 1 degrees of freedom and noncentrality
    difference √seeds / sd, and t is the quantile of a two-sided test at the level (1 - confidence) / comparisons.

    Args:
        difference: the true mean difference, in the unit of `sd`.
        sd: the standard deviation of the differences of single seeds.
        seeds: the number of pairs, at least 2.
        confidence: the confidence of the test, between 0 and 1.
        comparisons: the number of differences that are examined together (Bonferroni).

    Raises:
        ValueError: an argument out of its range.

    >>> round(paired_power(0.01, sd=0.01, seeds=10), 3)
    0.803
    """
    _check(difference, sd, confidence)
    return _power(abs(difference) / sd, whole("seeds", seeds, least=2), _level(confidence, comparisons))


def seeds_needed(
    difference: float, sd: float, *, power: float = 0.8, confidence: float = 0.95, comparisons: int = 1
) -> int:
    """The smallest number of seeds with which a paired t test detects a difference of the given size with probability `power`.

    Args:
        difference: the size to be detected, such as 0.01 of accuracy; not zero.
        sd: the standard deviation of the differences of single seeds, such as that of an earlier comparison.
        power: the probability of detecting the difference, between 0 and 1.
        confidence: the confidence of the test, between 0 and 1.
        comparisons: the number of differences that are examined together (Bonferroni); with more differences, each needs more
            seeds.

    Returns:
        The number of seeds, at least 2. The number is as uncertain as `sd`: twice the spread needs about four times the seeds.

    Raises:
        ValueError: an argument out of its range, or a difference so small relative to `sd` that ten million seeds do not suffice.

    >>> seeds_needed(0.01, sd=0.01), seeds_needed(0.01, sd=0.02), seeds_needed(0.01, sd=0.01, comparisons=5)
    (10, 34, 16)
    """
    _check(difference, sd, confidence)
    if not is_number(power) or not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, got {shown(power)}")
    if difference == 0:
        raise ValueError("difference must not be 0: no number of seeds shows a difference that is not there")
    effect, level = abs(difference) / sd, _level(confidence, comparisons)
    enough = 2
    while _power(effect, enough, level) < power:
        enough *= 2
        if enough > MOST:
            raise ValueError(
                f"difference {difference!r} is too small beside the standard deviation {sd!r}: more than {MOST:,} seeds"
            )
    short = max(enough // 2, 1)
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if _power(effect, middle, level) >= power else (middle, enough)
    return enough


def sd_interval(sd: float, n: int, confidence: float = 0.8) -> tuple[float, float]:
    """The confidence interval of a standard deviation that was measured on `n` normal values: s √((n - 1) / χ²).

    Raises:
        ValueError: a negative `sd`, fewer than two values, or a confidence outside 0 to 1.

    >>> low, high = sd_interval(0.01, n=3)
    >>> round(low, 4), round(high, 4)
    (0.0066, 0.0308)
    """
    n = whole("n", n, least=2)
    if not sd >= 0:
        raise ValueError(f"sd must be 0 or more, got {sd!r}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    from scipy.special import chdtri

    tail = (1 - confidence) / 2
    low, high = (sd * math.sqrt((n - 1) / float(chdtri(n - 1, p))) for p in (tail, 1 - tail))
    return low, high


def _power(effect: float, n: int, level: float) -> float:
    from scipy.special import chdtri, ndtr, stdtrit

    t, shift = float(stdtrit(n - 1, 1 - level / 2)), effect * math.sqrt(n)
    # SciPy's noncentral t is NaN in places. Given the measured spread w, T is normal; so the mean over quantiles of w.
    w = np.sqrt(chdtri(n - 1, _QUANTILES) / (n - 1))
    return float((ndtr(shift - t * w) + ndtr(-shift - t * w)).mean())


def _level(confidence: float, comparisons: int) -> float:
    return (1 - confidence) / whole("comparisons", comparisons, least=1)


def _check(difference: float, sd: float, confidence: float) -> None:
    if not is_number(difference) or not math.isfinite(difference):
        raise ValueError(f"difference must be a finite number, got {shown(difference)}")
    if not is_number(sd) or not 0 < sd < math.inf:
        raise ValueError(f"sd must be a finite number above 0, got {shown(sd)}")
    if not is_number(confidence) or not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {shown(confidence)}")
