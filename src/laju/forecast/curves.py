"""Loss curves: the losses of a run, and the learning rates of its updates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import shown, whole
from laju.core.schedule import Schedule
from laju.forecast.blocks import Array, Updates, warmed_up

Rates = Schedule | Sequence[float] | npt.NDArray[np.float64]


class ForecastWarning(UserWarning):
    """Warning about a forecast beyond the evidence of the curves; the message names the missing evidence."""


class Curve:
    """The losses of a run and the learning rates of its updates.

    A schedule gives the exact learning rate of every update. A log has a learning rate per row: the rate in row n, after n
    completed updates, is taken as the rate of the next update. Between two rows the rate is interpolated linearly: exact in
    warmups and linear decays, close in cosines; a jump becomes a ramp between two rows. After the last row the rate holds. Before
    the first row, n updates into the run:

    - with `warmup` w, the rate rises linearly from 0 until update w (at most n), then holds until n; w = 0 is no warmup;
    - without `warmup`, if n is within the usual gap between two rows, the rate rises from 0 if the first two rates rise, and
      holds otherwise;
    - if n is beyond that gap, the rate is assumed to rise from 0 until n, with a warning.

    Args:
        updates: completed updates at which a loss was measured, increasing whole numbers; shape (n,). A loss at update 0 is left
            out, since no update preceded the loss.
        loss: the losses after these updates; shape (n,).
        rates: a schedule in updates; or the learning rates of a log, a rate for each of `updates`, shape (n,); or a rate for each
            update from 0 up to at least the last of `updates`.
        name: name of the curve in messages and pictures.
        warmup: updates of a warmup before the first row, if the rates are from a log.

    Raises:
        ValueError: if lengths differ, updates are not whole or not increasing, a loss is not a positive number, the loss ends
            above its first value (a run that diverged), rates are negative, not finite, too few or all 0, or a warmup is given
            beside rates from update 0 on.
        UnresolvedError: if the schedule is not in updates.

    Warns:
        ForecastWarning: if the rates before the first row are not known.

    >>> import laju
    >>> curve = Curve([100, 200, 300], [4.1, 3.9, 3.8], laju.cosine(3e-4, total=300, warmup=10))
    >>> len(curve), curve.peak
    (3, 0.0003)
    >>> Curve([100, 200, 300], [4.1, 3.9, 3.8], [3e-4, 2e-4, 0]).rates[[0, 100, 150, 299]]
    array([3.0e-04, 3.0e-04, 2.5e-04, 2.0e-06])
    """

    def __init__(
        self, updates: Any, loss: Any, rates: Rates, name: str = "curve", *, warmup: int | None = None
    ) -> None:
        self.name = name
        rows = checked_updates(updates, f"updates of {name}", least=0)
        self.loss = _numbers(loss, f"loss of {name}")
        if len(rows) != len(self.loss):
            raise ValueError(
                f"updates and loss of {name} must have the same length, got {len(rows)} and {len(self.loss)}"
            )
        begun = rows > 0
        self.updates, self.loss = rows[begun], self.loss[begun]
        if not len(self.loss):
            raise ValueError(f"{name} has no losses{' after update 0' if len(rows) else ''}; give at least one")
        back = np.flatnonzero(np.diff(self.updates) <= 0)
        if back.size:
            i = int(back[0])
            raise ValueError(
                f"updates of {name} must increase, but {self.updates[i]} is followed by {self.updates[i + 1]}; a run that was "
                "resumed from an earlier checkpoint has a part twice: keep the later rows"
            )
        bad = ~(np.isfinite(self.loss) & (self.loss > 0))
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(f"loss of {name} must be positive numbers, got {self.loss[i]} at update {self.updates[i]}")
        if len(self.loss) > 1 and _end(self.loss) > self.loss[0]:
            raise ValueError(
                f"loss of {name} ends at {_end(self.loss):.4g}, above the {self.loss[0]:.4g} that it began with: a run that "
                "diverged does not follow the laws; leave the curve out, or cut the curve before the divergence"
            )
        last = int(self.updates[-1])
        if not isinstance(rates, Schedule):
            rates = _numbers(rates, f"rates of {name}")
        if isinstance(rates, Schedule) or len(rates) >= last:
            if warmup is not None:
                raise ValueError(f"the rates of {name} are known in every update, so leave warmup = {warmup} out")
        elif len(rates) == len(rows):
            rates = between_rows(rows, rates, last, name, warmup, stacklevel=3)
        else:
            raise ValueError(
                f"rates of {name} must be one for each of the {len(rows)} losses, or one for each of the {last} updates, got "
                f"{len(rates)}"
            )
        self.rates = as_rates(rates, last, f"rates of {name}")

    @property
    def peak(self) -> float:
        """The largest learning rate of the run up to its last loss."""
        return float(self.rates.max())

    @property
    def warmup(self) -> int:
        """The number of updates before the first peak of the learning rate."""
        return warmed_up(self.rates)

    def since(self, update: int | None = None) -> Curve:
        """The curve without its losses before an update; by default before the first peak, since no law describes a warmup.

        Raises:
            ValueError: if no loss is left.
        """
        begin = self.warmup if update is None else update
        kept = self.updates >= begin
        if not kept.any():
            where = "--from" if update is not None else "the end of its warmup"
            raise ValueError(
                f"{self.name} has no losses after update {begin:,} ({where}); its last one is at {self.updates[-1]:,}"
            )
        return Curve(self.updates[kept], self.loss[kept], self.rates, self.name)

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        return f"Curve({self.name!r}, {len(self)} losses up to update {self.updates[-1]})"


def as_rates(rates: Rates, updates: int, name: str = "rates") -> Array:
    """The learning rates of the first `updates` updates, from a schedule or an array of learning rates."""
    if isinstance(rates, Schedule):
        found = rates.values(updates)
    else:
        found = _numbers(rates, name)
        if len(found) < updates:
            raise ValueError(f"{name} must have one rate for each of the {updates} updates, got {len(found)}")
        found = found[:updates]
    low, high = found.min(initial=0.0), found.max(initial=0.0)  # NaN where a rate is NaN
    if not (low >= 0 and high < np.inf):
        t = int(np.argmax(~(np.isfinite(found) & (found >= 0))))
        raise ValueError(f"{name} must be finite and not negative, but update {t} has {found[t]}")
    if not high:
        raise ValueError(f"{name} are 0 in all of the {updates} updates, so nothing is trained")
    return found


def between_rows(
    rows: Sequence[int] | Updates,
    rates: Sequence[float] | Array,
    updates: int,
    name: str,
    warmup: int | None,
    *,
    stacklevel: int,
) -> Array:
    """The learning rate of each update, interpolated between the rows of a log; see `Curve` for the rules.

    Args:
        rows: completed updates, increasing; shape (n,).
        rates: the learning rates in these rows; shape (n,).
        updates: number of updates of the run.
        name: name of the curve, for warnings.
        warmup: updates of a warmup before the first row; None if unknown.
        stacklevel: stack level of the warnings.
    """
    first, gap = int(rows[0]), int(np.median(np.diff(rows))) if len(rows) > 1 else int(rows[0])
    rises = len(rates) > 1 and rates[1] > rates[0]
    if warmup is not None:
        warmup = min(whole("warmup", warmup, least=0), first)
        start = [(0, 0.0), (warmup, rates[0])] if warmup else [(0, rates[0])]
    elif first <= gap:
        start = [(0, 0.0 if rises else rates[0])]
    else:
        start = [(0, 0.0)]
        warnings.warn(
            f"{name} has no learning rate before update {first:,}; a linear rise from 0 until this update is assumed. "
            "Give the length of the warmup, or the schedule",
            ForecastWarning,
            stacklevel=stacklevel,
        )
    if updates - rows[-1] > max(10 * gap, 1):
        warnings.warn(
            f"{name} has no learning rate after update {rows[-1]:,}; the last learning rate is assumed to hold until the last "
            f"loss, at {updates:,}. Give the schedule",
            ForecastWarning,
            stacklevel=stacklevel,
        )
    knots = [*(start if first > 0 else []), *zip(rows, rates, strict=True)]
    used: Array = np.interp(np.arange(updates), [n for n, _ in knots], [rate for _, rate in knots])
    return used


def checked_updates(updates: Any, name: str = "updates", least: int = 1) -> Updates:
    """Numbers of completed updates as an array of integers."""
    found = np.atleast_1d(np.asarray(updates))
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be a sequence of whole numbers, got {shown(updates)}")
    if found.size and (not np.isfinite(found).all() or (found != np.floor(found)).any() or found.min() < least):
        raise ValueError(f"{name} must be whole numbers of {least} or more, got {shown(updates)}")
    return found.astype(np.int64)


def _numbers(values: Any, name: str) -> Array:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a sequence of numbers, got {shown(values)}") from None
    if found.ndim != 1:
        raise ValueError(f"{name} must be a sequence of numbers, got {shown(values)}")
    return found


def _end(loss: Array) -> float:
    """Where a loss ends, past the noise of single measurements."""
    return float(np.median(loss[-max(1, min(len(loss) // 4, 5)) :]))
