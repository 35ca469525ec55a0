"""A whole curve as a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def area_under_curve(positions: Sequence[float], values: Sequence[float]) -> float:
    """The mean height of a curve: its area by the trapezoidal rule, over its width.

    For test accuracy by epoch the area rewards early as well as final accuracy: the area is 1 for a network that is always right.

    Args:
        positions: the positions at which the curve is known, such as epochs; increasing.
        values: the heights of the curve at these positions. For a single value the result is the value itself.

    Raises:
        ValueError: no values, numbers of values and positions that differ, or positions that do not increase.

    >>> round(area_under_curve([1, 2, 4], [0.5, 0.7, 0.9]), 3)
    0.733
    """
    x, y = np.asarray(positions, dtype=float), np.asarray(values, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise ValueError(f"positions and values must be equally many and at least one, got {x.size} and {y.size}")
    if not (np.diff(x) > 0).all():
        raise ValueError(f"positions must increase, got {list(positions)!r}")
    return float(y[0]) if x.size == 1 else float(np.trapezoid(y, x) / (x[-1] - x[0]))
