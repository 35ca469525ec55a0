"""Losses of averaged weights, predicted from the raw losses and the learning rates of the same run.

    L̄(t) = L(t)·(1 - g·x^p + c·d)

L is the loss of the raw weights, x the mean learning rate of the averaged updates as a share of the peak, and d the relative fall
of the raw loss over these updates. An average imitates a cooldown to 0 of the same length (`laju.averaging`), so its gain is
the gain of the extended laws for a drop of η^p; g, the gain at the peak learning rate, is fitted to the run. An average also
lags behind, and gives back a part c of the fall.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import shown, whole
from laju.forecast.blocks import Array, Updates
from laju.forecast.curves import Rates, checked_updates
from laju.forecast.ending import Ending, whole_run

POWER, LAG = 0.90, 0.18
"""p and c, from 19 runs of language models with uniform means of 500 updates (arXiv 2405.18392)."""
ERROR = 0.0006
"""Relative error (root mean square) of the law where the law answers, on runs of a model that was not used to fit p and c."""
TRUSTED = 0.0015
"""Relative error of the rolling test on the run's own averages above which the law is refused."""
LOWEST = 0.1
"""Share of the peak below which the law was not tested: no run with averages cooled down further."""
WINDOWS = 5
"""The least length of a run in windows: an average over more than a fifth of the run mostly lags."""
_LEAST_ROWS = 5
_RECENT = 8
"""Exponent of a row's weight, (t/n)^8: the gain drifts slowly, and the last rows know most."""
_STILL = 3e-5
"""Relative difference of neighbouring averages up to which they are one average, evaluated twice."""
_FRESH = 0.75
"""Share of rows with a new average, below which averages are taken to be means of blocks."""
_ENDS = 30
"""Last averages from whose updates lengths of blocks are tried."""
_MISSED = 0.05
"""Share of rows that a length may miss: two averages in turn can be equal by chance."""
_CUTS = (0.7, 0.85)


@dataclass(frozen=True)
class FittedAverages:
    """The fitted law of a run's averaged weights: the gain over the raw loss at each learning rate.

    Attributes:
        gain: g, the fraction of the raw loss that averaging removes at the peak learning rate; None if refused.
        window: updates in the average; None if the averages do not determine the window, and d is then left out.
        tested: mean relative error of later averages, predicted from the first 70 or 85 % of the rows, the larger of the two.
        refused: why the law was refused; None if the law was fitted.
    """

    gain: float | None
    window: int | None
    tested: float | None
    refused: str | None = None

    def predict(self, updates: Any, losses: Any, rates: Rates) -> Array:
        """Predict the losses of averaged weights from the raw losses.

        Args:
            updates: completed updates of the n rows, increasing; shape (n,).
            losses: the raw losses after these updates; shape (n,).
            rates: learning rates of the whole run, a Schedule in updates or a rate for each update from 0.

        Returns:
            The averaged losses, shape (n,); NaN if the law does not answer: in the first five windows, and at learning rates
            below a tenth of the peak.

        Raises:
            ValueError: if the law was refused, or an argument is not numeric.
        """
        if self.gain is None:
            raise ValueError(f"a refused law cannot predict: {self.refused}")
        run = _Rows.of(updates, losses, rates, self.window)
        return np.where(run.answered(), run.raw * (1 - self.gain * run.share**POWER + LAG * run.fall), np.nan)

    def ending(self, raw: Ending, rates: Rates) -> Ending:
        """Forecast the final loss of the averaged weights from the forecast of the raw final loss.

        Args:
            raw: the forecast of the raw loss, from `laju.forecast.ending`.
            rates: learning rates of the whole run, a Schedule in updates or a rate for each update from 0.

        Returns:
            The forecast, whose band includes the law's error; or a refusal, if the law or the forecast of the raw loss was
            refused, or the final learning rate is below a tenth of the peak.
        """
        every, end = whole_run(rates, raw.at)
        back = min(self.window or 1, end)
        share = float(every[end - back : end].mean() / every[: raw.seen].max())
        why = self.refused or raw.refused
        if why is None and share < LOWEST * (1 - 1e-3):
            why = (
                f"the rate at the end is {share:.0%} of the peak, and averages were tested down to {LOWEST:.0%}; a run that "
                "cools down that far has little left to average"
            )
        if why is None and raw.law == "measured":
            why = "the run is over"
        if why is not None:
            return Ending(None, None, None, why, at=end, seen=raw.seen, last=raw.last, level=raw.level)
        assert self.gain is not None
        assert raw.value is not None and raw.high is not None  # noqa: PT018
        assert raw.last is not None and raw.seen is not None  # noqa: PT018
        fall = (raw.last / raw.value - 1) * back / (end - raw.seen) if self.window else 0.0
        value = raw.value * (1 - self.gain * share**POWER + LAG * fall)
        z = NormalDist().inv_cdf((1 + raw.level) / 2)
        # Errors of the raw loss and of the law have nothing to do with each other, so their squares add.
        half = float(np.hypot(raw.high - raw.value, z * np.hypot(ERROR, self.tested or 0.0) * value))
        return Ending(
            value, max(value - half, 0.0), value + half, None, "averages", prior=raw.prior, rests_on=raw.rests_on, at=end,
            seen=raw.seen, last=raw.last, level=raw.level,
        )  # fmt: skip


def fit_averages(updates: Any, losses: Any, averaged: Any, rates: Rates, window: int | None = None) -> FittedAverages:
    """Fit the law of averaged weights to a run that logs the losses of both raw and averaged weights.

    The law is L̄(t) = L(t)·(1 - g·x^p + c·d), see `laju.forecast.averages`. The rows' weights rise with t^8, as the gain drifts
    slowly. The law is tested on the run: later averages are predicted from the first 70 and 85 % of the rows.

    Args:
        updates: completed updates of the n rows, increasing; shape (n,).
        losses: the raw losses after these updates, NaN if missing; shape (n,).
        averaged: the losses of the averaged weights, NaN if missing; shape (n,).
        rates: learning rates of the whole run, a Schedule in updates or a rate for each update from 0.
        window: updates in the average. By default derived from the rows, if the same average is evaluated several times before
            the next average is complete; otherwise unknown.

    Returns:
        The fitted law; or a refusal with its reason, if the averages carry too little information.

    Raises:
        ValueError: if arguments are not numeric or differ in length, or there are too few learning rates.

    >>> import laju, numpy as np
    >>> at = np.arange(100, 3001, 100)
    >>> run = laju.constant(0.1).take(4000)
    >>> raw = 3 + (at / 100) ** -0.5
    >>> law = fit_averages(at, raw, raw * 0.97, run)
    >>> round(law.gain, 3), law.refused
    (0.03, None)
    """
    if window is not None:
        window = whole("window", window, least=1)
    at, mean = checked_updates(updates, least=0), _losses("averaged", averaged, updates)
    raw = _losses("losses", losses, updates)
    there = np.isfinite(mean) & (mean > 0) & (at > 0)
    rows, mean = at[there], mean[there]
    # A mean of blocks is evaluated at every row and changes once a block. Its repetitions are no new evidence, and the row of
    # an average is the end of its block, not the row at which it was read.
    fresh = np.append(True, np.abs(np.diff(mean)) > _STILL * mean[:-1])[: len(mean)]
    if len(fresh) and fresh.mean() < _FRESH:
        window = window or _block(rows, fresh)
        rows, mean = rows[fresh], mean[fresh]
        if window is not None:
            rows = np.where(rows >= window, rows // window * window, rows)  # an average is of the end of its block
    run = _Rows.of(at, raw, rates, window, rows)
    use = run.answered() & (rows >= rows[-1] / WINDOWS if len(rows) else True)
    if use.sum() < _LEAST_ROWS:
        return FittedAverages(
            None, window, None,
            f"{int(use.sum())} averages can be compared with raw losses, and the least is {_LEAST_ROWS}; averages of the first "
            f"{WINDOWS} windows and at rates below {LOWEST:.0%} of the peak do not count",
        )  # fmt: skip
    rows, x, fall = rows[use], run.share[use] ** POWER, LAG * run.fall[use]
    gains = 1 - mean[use] / run.raw[use] + fall
    tested = 0.0
    for cut in _CUTS:
        k = max(int(cut * len(rows)), 1)
        off = gains[k:] - _gain(rows[:k], x[:k], gains[:k]) * x[k:]
        # The mean, as a raw loss at a high rate has noise in each row that the average does not have.
        tested = max(tested, abs(float((off * run.raw[use][k:] / mean[use][k:]).mean())))
    gain = _gain(rows, x, gains)
    why = None
    if gain <= ERROR:
        why = "the averaged losses are not below the raw losses"
    elif tested > TRUSTED:
        why = (
            f"averages that were predicted from earlier averages are off by {tested:.2%} in the mean, and {TRUSTED:.2%} is "
            "trusted"
        )
    return FittedAverages(gain if why is None else None, window, tested, why)


def _block(rows: Updates, fresh: npt.NDArray[np.bool_]) -> int | None:
    """The length of the blocks whose means are evaluated at rows, from which rows have a new mean; None if no length fits.

    Blocks are counted from update 0, so that a row has a new mean where a multiple of the length lies after the row before, up to
    the row. Of the lengths that fit equally well, the largest is right as soon as a row falls on the end of a block.
    """
    new = rows[fresh]
    if len(new) < _LEAST_ROWS:
        return None
    rough = (new[-1] - new[0]) / (len(new) - 1)
    k = np.arange(1, int(rows[-1] / rough * 2) + 2)
    lengths = np.unique(new[-_ENDS:, None] // k)
    lengths = lengths[(lengths > rough / 2) & (lengths < rough * 1.5)]
    ends = rows // lengths[:, None]
    wrong = ((np.diff(ends, axis=1) > 0) != fresh[1:]).mean(axis=1)
    best = int(len(lengths) - 1 - wrong[::-1].argmin())
    return int(lengths[best]) if wrong[best] <= _MISSED else None


def _gain(rows: Array, x: Array, gains: Array) -> float:
    """g of gains = g·x, by least squares with weights t^8."""
    weight = (rows / rows[-1]) ** _RECENT
    return float((weight * x) @ gains / ((weight * x) @ x))


@dataclass(frozen=True)
class _Rows:
    """The variables of the law at rows: raw losses, shares of the peak, and falls of the raw loss over the window."""

    at: Array
    raw: Array
    share: Array
    fall: Array
    window: int | None

    @classmethod
    def of(cls, updates: Any, losses: Any, rates: Rates, window: int | None, rows: Any = None) -> _Rows:
        at = checked_updates(updates, least=0)
        raw = _losses("losses", losses, updates)
        rows = at if rows is None else rows
        if np.any(np.diff(at) <= 0):
            i = int(np.flatnonzero(np.diff(at) <= 0)[0])
            raise ValueError(f"updates must increase, but {at[i]} is followed by {at[i + 1]}")
        every, _ = whole_run(rates, max(int(at.max(initial=1)), 1))
        known = np.isfinite(raw) & (raw > 0) & (at > 0)
        if not known.any():
            raise ValueError("losses must have a positive number, got none")

        def between(t: Array) -> Array:
            """Losses are near straight lines in the logarithms of both."""
            found = np.exp(np.interp(np.log(np.maximum(t, 1)), np.log(at[known]), np.log(raw[known])))
            return np.where((t >= at[known][0]) & (t <= at[known][-1]), found, np.nan)

        now = between(rows)
        sums = np.concatenate([[0.0], np.cumsum(every)])
        begin = np.maximum(rows - (window or 1), 0)
        share = (sums[rows] - sums[begin]) / np.maximum(rows - begin, 1) / every.max()
        fall = between(begin) / now - 1 if window else np.zeros(len(rows))
        return cls(rows, now, share, fall, window)

    def answered(self) -> Any:
        late = self.at >= WINDOWS * (self.window or 1)
        return late & np.isfinite(self.raw) & np.isfinite(self.fall) & (self.share >= LOWEST * (1 - 1e-3))


def _losses(name: str, values: Any, updates: Any) -> Array:
    try:
        found = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a sequence of numbers, got {shown(values)}") from None
    rows = np.atleast_1d(np.asarray(updates)).size
    if found.shape != (rows,):
        raise ValueError(f"updates and {name} must have the same length, got {rows} and {found.size}")
    return found
