"""Rows for a tracker: the planned and the used learning rate, and the forecast of the final loss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from laju.core.checks import ScheduleWarning, shown, whole
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.sinks.trackers import tracker_of
from laju.text.spec import parse

_FLOAT32 = 1e-6
"""The relative difference of rates that were computed in float32, rounded."""


class Plan:
    """Planned learning rates of a run, with a warning at the first update whose used rate differs.

    Args:
        rates: the schedule, or a sequence with the learning rate of each update.

    >>> import laju
    >>> plan = Plan(laju.linear(1, 0, total=4))
    >>> plan.row(1, 0.75)
    {'lr/planned': 0.75, 'lr/used': 0.75}
    """

    def __init__(self, rates: Schedule | Sequence[float] | npt.NDArray[np.float64]) -> None:
        self.rates = rates
        self._warned = False
        self._largest = 0.0

    def rate(self, update: int) -> float | None:
        """Return the planned learning rate of an update; None after the end of a sequence."""
        if isinstance(self.rates, Schedule):
            return float(self.rates(update))
        return float(self.rates[update]) if update < len(self.rates) else None

    def settings(self) -> dict[str, str]:
        """Return the entries for a run's configuration: text and fingerprint of the schedule; empty for a sequence."""
        if not isinstance(self.rates, Schedule):
            return {}
        return {"laju/schedule": str(self.rates), "laju/fingerprint": self.rates.fingerprint}

    def row(self, update: int, used: float | None, *, stacklevel: int = 3) -> dict[str, float]:
        """Return the planned and the used learning rate of an update, as "lr/planned" and "lr/used", and warn of a difference."""
        planned = self.rate(update)
        row = {} if planned is None else {"lr/planned": planned}
        if used is None:
            return row
        if planned is not None and not self._warned and not self._same(used, planned):
            self._warned = True
            text = f"update {update:,} used the rate {used:.7g}, and the plan is {planned:.7g}"
            if (after := self.rate(update + 1)) is not None and self._same(used, after):
                text += f", which has {used:.7g} for update {update + 1:,}: read the rate before scheduler.step()"
            text += ". Where the logged rates go on so, laju diagnose LOG --meant SCHEDULE names the cause"
            warnings.warn(text, ScheduleWarning, stacklevel=stacklevel)
        return {**row, "lr/used": used}

    def _same(self, used: float, planned: float) -> bool:
        # Relative to the largest rate so far: near the end of a decay, float32 has lost the digits of small rates.
        self._largest = max(self._largest, abs(planned))
        return abs(used - planned) <= _FLOAT32 * self._largest


class Track:
    """Writer of a run's learning rates, metrics and loss forecast to an experiment tracker, with a row for each update.

    The configuration of the run gets `laju/schedule`, the schedule's text, and `laju/fingerprint`. Rows have `lr/planned`,
    `lr/used` and the metrics, and the forecast of a separate process: `forecast/end`, `forecast/low`, `forecast/high` and
    `forecast/update`; see `laju.forecast.LiveEnding`. The first learning rate that differs from the plan gives a warning.

    Args:
        run: the run from `wandb.init`, `mlflow.start_run` or `trackio.init`, or a TensorBoard `SummaryWriter`. In a run of
            several processes, use a single `Track` on rank 0.
        schedule: the schedule of the learning rate, or its text.
        plan: the run plan, needed for a schedule in epochs, percent, samples or tokens.
        forecast: the metric whose final value is forecast; None for no forecast.

    Attributes:
        live: the `LiveEnding`; None if there is no forecast or the schedule has no end.

    Raises:
        TypeError: if `run` is not a run of a tracker, or `schedule` is not a schedule.
        SpecError: if the text is not a schedule.
        UnresolvedError: if lengths are not in updates and there is no plan.

    >>> import laju
    >>> class Writer:  # in place of torch's SummaryWriter
    ...     def add_text(self, tag, text, step):
    ...         print(tag, text)
    ...     def add_scalar(self, tag, value, step):
    ...         print(step, tag, value)
    >>> with Track(Writer(), "linear(0.5, 0, total=4)") as track:
    ...     track.log(0, lr=0.5, loss=2.25)
    laju/schedule `linear(0.5, 0, total=4)`
    laju/fingerprint `...`
    0 lr/planned 0.5
    0 lr/used 0.5
    0 loss 2.25
    """

    def __init__(
        self, run: Any, schedule: Schedule | str, *, plan: RunPlan | None = None, forecast: str | None = "loss"
    ) -> None:
        if isinstance(schedule, str):
            schedule = parse(schedule)
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be a laju schedule or its text, got {shown(schedule)}")
        if plan is not None:
            schedule = schedule.resolve(plan)
        schedule.require_resolved()
        self._plan, self._monitor, self.live = Plan(schedule), forecast, None
        self._tracker = tracker_of(run)
        if forecast is not None and schedule.length is not None and np.isfinite(schedule.length):
            try:
                from laju.forecast import LiveEnding
            except ModuleNotFoundError as error:
                raise type(error)(f"{error}; or say forecast=None", name=error.name) from None
            self.live = LiveEnding(schedule)
        self._tracker.config(self._plan.settings())

    def log(self, update: int, lr: float | None = None, **metrics: Any) -> None:
        """Write the row of an update.

        Args:
            update: number of the update, from 0; its planned learning rate is `schedule(update)`.
            lr: the learning rate that the update used, read before `scheduler.step()`.
            metrics: numbers by name, such as `loss`, including scalars of NumPy, torch and JAX.

        Raises:
            TypeError, ValueError: if the update is not a whole number, or a metric is not a number.
        """
        update = whole("update", update)
        row = self._plan.row(update, None if lr is None else _scalar("lr", lr))
        for name, value in metrics.items():
            row[name] = _scalar(name, value)
        if self.live is not None:
            if self._monitor in metrics:
                self.live.add(update + 1, row[self._monitor])
            row |= self.live.figures()
        self._tracker.log(update, row)

    def close(self) -> None:
        """End the process of the forecast; the tracker's run stays open."""
        if self.live is not None:
            self.live.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _scalar(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {shown(value)}") from None
