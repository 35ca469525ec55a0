"""Detection of losses that are moving averages, by their noise.

A logger's average lags behind a cooldown. The noise reveals an average: with independent noise in each row, a step up makes a
step down likely, so neighbouring steps have a correlation of -1/2. Neighbouring steps of an average, exponential or over a
window, are almost uncorrelated.
"""

from __future__ import annotations

import numpy as np

from laju.forecast.blocks import Array

_ROWS = 120
"""Number of rows below which noise cannot be distinguished from the shape of the curve."""
_VISIBLE = 3e-5
"""Relative steps below which losses are smooth by nature, as those of large validation sets."""
_AROUND = 9
"""Rows around a step whose mean step is the slope of the curve."""
_LEAST, _MOST = -0.14, 0.35
"""Correlations of an average; above them lie the steps of a smooth curve."""


def averaged(losses: Array) -> bool:
    """Whether losses look like a moving average.

    >>> noise = np.random.default_rng(0).normal(0, 0.01, 400)
    >>> curve = 3 + np.arange(1, 401) ** -0.5
    >>> averaged(curve + noise), averaged(curve + np.convolve(noise, np.full(20, 0.05))[:400])
    (False, True)
    """
    if len(losses) < _ROWS:
        return False
    size, found = correlation(losses)
    return bool(size > _VISIBLE and _LEAST < found < _MOST)


def correlation(losses: Array) -> tuple[float, float]:
    """Relative size of the steps between neighbours around the curve's slope, and the correlation of neighbouring steps."""
    steps = np.diff(np.log(losses))
    slope = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(steps, _AROUND // 2, "reflect"), _AROUND), axis=1)
    off = steps - slope
    size = float(np.median(np.abs(off))) / 0.6745
    off = np.clip(off, -4 * size, 4 * size)  # a single jump is no noise
    return size, float((off[1:] * off[:-1]).sum() / max((off**2).sum(), 1e-300))
