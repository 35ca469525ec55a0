"""Step sizes and temperatures of a run, read from schedules and checked; and the error of a step that is too large."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from laju.core.checks import is_number, number, shown, whole
from laju.core.schedule import Schedule

Floats = NDArray[np.float64]


class Diverged(ArithmeticError):
    """Error of positions that grow without bound, because a step ε is too large for the curvature Λ of -log p: εΛ ≥ 4.

    Attributes:
        step: ε.
        curvature: Λ, the largest curvature found while the run was finite; None if no curvature was computed.
        update: the update at which the divergence was detected; None outside a run.
    """

    def __init__(self, *, step: float, curvature: float | None = None, update: int | None = None) -> None:
        self.step, self.curvature, self.update = step, curvature, update
        when = "" if update is None else f"the chains diverge, noticed at update {update}: "
        if curvature is not None and step * curvature >= 4:
            why = (
                f"step {step:.4g} is too large for a curvature of {curvature:.4g}: their product is {step * curvature:.4g}, "
                f"and from 4 on every update overshoots by more than it corrects. Stay below {4 / curvature:.4g}"
            )
        else:
            why = (
                f"their gradients are no longer finite or grow without end at step {step:.4g}. Use smaller steps, or check "
                "that the log density falls in all directions"
            )
        super().__init__(when + why)

    def __reduce__(self) -> tuple[object, ...]:
        return _diverged, (self.step, self.curvature, self.update)


def _diverged(step: float, curvature: float | None, update: int | None) -> Diverged:
    return Diverged(step=step, curvature=curvature, update=update)


def read_steps(step: Schedule | float, updates: int) -> Floats:
    """The step ε of every update, as an array of shape (updates,), checked to be finite and at least 0.

    >>> import laju
    >>> read_steps(laju.linear(1, -1, total=4), 5)
    Traceback (most recent call last):
    ValueError: step must be finite and at least 0 at every update, got -0.5 at update 3
    """
    return _rates_of("step", step, updates)


def read_temperatures(temperature: Schedule | float, updates: int) -> Floats:
    """The temperature T of every update, as an array of shape (updates,), checked to be finite and at least 0."""
    return _rates_of("temperature", temperature, updates)


def _rates_of(name: str, value: Schedule | float, updates: int) -> Floats:
    updates = whole("updates", updates)
    if is_number(value):
        return np.full(updates, number(name, value, least=0))
    if not isinstance(value, Schedule):
        raise TypeError(f"{name} must be a laju schedule or a number, got {shown(value)}")
    values = value.values(updates)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if wrong.size:
        raise ValueError(
            f"{name} must be finite and at least 0 at every update, got {values[wrong[0]]:g} at update {wrong[0]}"
        )
    return values
