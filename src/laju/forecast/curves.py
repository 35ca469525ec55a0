"""Loss curves: the losses of a run, and the rates that it used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.forecast.blocks import Array, Updates

Rates = Schedule | Sequence[float] | npt.NDArray[np.float64]


class Curve:
    """The losses of one run and the rates that it used.

    Args:
        updates: completed updates at which a loss was measured, rising, each at least 1; shape (n,).
        loss: the losses there; shape (n,).
        rates: a schedule in updates, or one rate an update from 0, up to the last of `updates` at least.
        name: what messages and pictures call it.

    Raises:
        ValueError: lengths differ, updates that are not whole, below 1 or do not rise, a loss that is not a positive number or
            ends above where it began (a run that diverged), rates that are negative, not finite, too few or all 0.
        UnresolvedError: a schedule that is not in updates.

    >>> import laju
    >>> curve = Curve([100, 200, 300], [4.1, 3.9, 3.8], laju.cosine(3e-4, total=300, warmup=10))
    >>> len(curve), curve.peak
    (3, 0.0003)
    """

    def __init__(self, updates: Any, loss: Any, rates: Rates, name: str = "curve") -> None:
        self.name = name
        self.updates = checked_updates(updates, f"updates of {name}")
        self.loss = _numbers(loss, f"loss of {name}")
        if len(self.updates) != len(self.loss):
            raise ValueError(
                f"updates and loss of {name} must be equally many, got {len(self.updates)} and {len(self.loss)}"
            )
        if not len(self.loss):
            raise ValueError(f"{name} has no losses; give at least one")
        back = np.flatnonzero(np.diff(self.updates) <= 0)
        if back.size:
            i = int(back[0])
            raise ValueError(
                f"updates of {name} must rise, but {self.updates[i]} is followed by {self.updates[i + 1]}; a run that was "
                "resumed from an earlier checkpoint has its last part twice: keep the later one"
            )
        bad = ~(np.isfinite(self.loss) & (self.loss > 0))
        if bad.any():
            i = int(bad.argmax())
            raise ValueError(f"loss of {name} must be positive numbers, got {self.loss[i]} at update {self.updates[i]}")
        if len(self.loss) > 1 and _end(self.loss) > self.loss[0]:
            raise ValueError(
                f"loss of {name} ends at {_end(self.loss):.4g}, above the {self.loss[0]:.4g} that it began with: a run that "
                "diverged says nothing about the laws; leave it out, or cut it before it diverged"
            )
        self.rates = as_rates(rates, int(self.updates[-1]), f"rates of {name}")

    @property
    def peak(self) -> float:
        """The largest rate that was used."""
        return float(self.rates.max())

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        return f"Curve({self.name!r}, {len(self)} losses up to update {self.updates[-1]})"


def as_rates(rates: Rates, updates: int, name: str = "rates") -> Array:
    """The rates of the first `updates` updates, from a schedule or as they are given."""
    if isinstance(rates, Schedule):
        found = rates.values(updates)
    else:
        found = _numbers(rates, name)
        if len(found) < updates:
            raise ValueError(f"{name} must have one rate for each of the {updates} updates, got {len(found)}")
        found = found[:updates]
    bad = ~(np.isfinite(found) & (found >= 0))
    if bad.any():
        t = int(bad.argmax())
        raise ValueError(f"{name} must be finite and not negative, but update {t} has {found[t]}")
    if not found.any():
        raise ValueError(f"{name} are 0 in all of the {updates} updates, so nothing is trained")
    return found


def checked_updates(updates: Any, name: str = "updates") -> Updates:
    """Numbers of completed updates as an array of integers."""
    found = np.atleast_1d(np.asarray(updates))
    if found.ndim != 1 or found.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be whole numbers in one row, got {shown(updates)}")
    if found.size and (not np.isfinite(found).all() or (found != np.floor(found)).any() or found.min() < 1):
        raise ValueError(f"{name} must be whole numbers of 1 or more, got {shown(updates)}")
    return found.astype(np.int64)


def _numbers(values: Any, name: str) -> Array:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers in one row, got {shown(values)}") from None
    if found.ndim != 1:
        raise ValueError(f"{name} must be numbers in one row, got {shown(values)}")
    return found


def _end(loss: Array) -> float:
    """Where a loss ends, past the noise of single measurements."""
    return float(np.median(loss[-max(1, min(len(loss) // 4, 5)) :]))
