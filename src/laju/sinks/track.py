"""The rows for a tracker: the planned rate, the used rate, and the forecast of the final loss."""

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
    """The planned rate of each update, and a warning at the first update that uses another rate.

    Args:
        rates: the schedule, or a rate for each update of the run.

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
        """The planned rate of an update; None after the last of rates that are numbers."""
        if isinstance(self.rates, Schedule):
            return float(self.rates(update))
        return float(self.rates[update]) if update < len(self.rates) else None

    def settings(self) -> dict[str, str]:
        """The entries of a run's configuration: text and fingerprint of the schedule. Empty where the plan is numbers."""
        if not isinstance(self.rates, Schedule):
            return {}
        return {"laju/schedule": str(self.rates), "laju/fingerprint": self.rates.fingerprint}

    def row(self, update: int, used: float | None, *, stacklevel: int = 3) -> dict[str, float]:
        """The planned and the used rate of an update, by the names that trackers show."""
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
    """Writes a run's planned and used rates, its metrics and the forecast of its loss into a tracker, a row for each update.

    The configuration of the run gets `laju/schedule`, the schedule's text, and `laju/fingerprint`. Rows have `lr/planned`,
    `lr/used`, the metrics, and from a process beside the training `forecast/end`, `forecast/low`, `forecast/high` and
    `forecast/update`, as in `laju.forecast.LiveEnding`. A warning names the first rate that differs from the plan.

    Args:
        run: the run from `wandb.init`, `mlflow.start_run` or `trackio.init`, or a TensorBoard `SummaryWriter`. A run of several
            processes has a single `Track`, on rank 0.
        schedule: of the learning rate, or its text.
        plan: of the run, for a schedule in epochs, percent, samples or tokens.
        forecast: the metric whose end is forecast; None for no forecast.

    Attributes:
        live: the `LiveEnding`; None without a forecast, and where the schedule has no end.

    Raises:
        TypeError: not a run of a tracker, or not a schedule.
        SpecError: a text that is no schedule.
        UnresolvedError: lengths in units, and no plan.

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
            update: the update that was made, from 0, as the schedule counts: its planned rate is `schedule(update)`.
            lr: the rate that the update used, read before `scheduler.step()`.
            metrics: numbers by name, such as `loss`; scalars of NumPy, torch, JAX and others, too.

        Raises:
            TypeError, ValueError: an update that is no whole number, or a metric that is no number.
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
        """End the forecast's process. The run stays open."""
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
