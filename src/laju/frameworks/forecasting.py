"""The common base of the trainers' callbacks: the forecast beside the training, planned and used rates, and errors as notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np

from laju.core.checks import nearest, shown
from laju.core.schedule import Schedule
from laju.core.units import Scale
from laju.forecast import Ending, LiveEnding, Prior
from laju.forecast.curves import Rates
from laju.forecast.live import log, portable
from laju.frameworks.values import given
from laju.sinks import Plan
from laju.tracing import trace


class Forecasting:
    """Forecast of a trainer's run, from the losses that the trainer's callback receives. A failure does not stop the training."""

    def __init__(
        self,
        schedule: Rates | str | None,
        monitor: str | None,
        level: float,
        prior: Prior | str | PathLike[str] | None,
    ) -> None:
        if isinstance(schedule, str):
            schedule = given("schedule", schedule, resolved=False)
        if not isinstance(level, int | float) or not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {shown(level)}")
        portable(prior)  # a mistake is reported before the training
        self.monitor = monitor
        self.live: LiveEnding | None = None
        self.plan: Plan | None = None
        self.note: str | None = None
        self._schedule, self._level, self._prior = schedule, level, prior
        self._ending: Ending | None = None
        self._heard = False

    @property
    def ending(self) -> Ending | None:
        """The latest forecast; None before the first."""
        return self._ending if self.live is None else self.live.ending

    def __getstate__(self) -> dict[str, Any]:  # a trainer that starts processes sends its callbacks to each
        return {**vars(self), "live": None, "_ending": self.ending}

    @contextmanager
    def _stopping_nothing(self) -> Iterator[None]:
        # The forecast is beside the training: whatever goes wrong with it becomes a note, and the run goes on.
        try:
            yield
        except Exception as error:
            self.note = f"{type(error).__name__}: {error}"
            log(self.note)

    def _begin(self, scheduler: Any, scale: Scale, updates: int | None, done: int) -> None:
        """Begin the forecast of a run.

        Args:
            scheduler: the trainer's scheduler, whose rates are used if no schedule was given.
            scale: lengths of a schedule's units in updates.
            updates: number of updates of the whole run; None if the trainer does not know.
            done: number of completed updates of a resumed run.
        """
        self._finish()  # of a run before: a trainer may train twice
        self.note, self._heard = None, False
        rates = scheduler if self._schedule is None and isinstance(scheduler, Schedule) else self._schedule
        if isinstance(rates, Schedule):
            rates = given("schedule", rates, scale)
        elif rates is None:
            if scheduler is None:
                raise ValueError(
                    "the trainer has no scheduler, so the future learning rates are not known: give schedule=…"
                )
            if updates is None:
                raise ValueError("the trainer does not know how many updates it makes: give schedule=…")
            rates = rates_of(scheduler, updates, done)
        self.plan = Plan(rates)
        self.live = LiveEnding(rates, updates, level=self._level, prior=self._prior)

    def _add(self, update: int, loss: Any) -> None:
        self._heard = True
        if self.live is not None:
            self.live.add(update, loss)

    def _figures(self) -> dict[str, float]:
        return {} if self.live is None else self.live.figures()

    def _finish(self, names: Iterable[str] = ()) -> None:
        """End the forecast; `names` are the metrics of the trainer, for the error about an unknown metric."""
        self.plan = None
        if self.live is None:
            return
        live, self.live = self.live, None
        self._ending, self.note = live.ending, live.note or self.note
        live.close()
        if not self._heard:
            had = list(names)
            self.note = (
                f"the trainer never had the metric monitor={self.monitor!r}{nearest(str(self.monitor), had)}; it had "
                f"{', '.join(had) or 'none'}"
            )
            log(self.note)
        elif self._ending is not None and self._ending.refused:
            log(self._ending.refused)


class Tracking(Forecasting):
    """Planned and used learning rates, which a callback logs together with the forecast."""

    _row: Mapping[str, float] = {}

    def _use(self, update: int, rate: Any) -> None:
        """Record the learning rate that an update uses, and warn if the planned rate differs."""
        if self.plan is not None:
            self._row = self.plan.row(update, float(rate), stacklevel=4)

    def _settings(self) -> dict[str, str]:
        return {} if self.plan is None else self.plan.settings()

    def _figures(self) -> dict[str, float]:
        return {**self._row, **super()._figures()}


def rates_of(scheduler: Any, updates: int, done: int) -> Rates:
    """Return the learning rates of all updates of a run, from its scheduler after `done` updates.

    Raises:
        TypeError, ValueError: if the scheduler depends on a metric, or only gives future rates.
    """
    inner = getattr(scheduler, "scheduler", scheduler)  # Accelerate's wrapper, and laju's callback for Transformers
    slots = getattr(inner, "slots", None)
    if slots is not None:
        if inner.controller is not None:
            raise of_metric(inner.controller)
        for slot in slots:
            if slot.key == "lr":
                rates: Rates = slot.schedule.values(updates) * (slot.bases[0] if slot.factor else 1.0)
                return rates
    # The functions of torch's LambdaLR give the rates of updates that are past, too; other schedulers only go on from here.
    # MultiplicativeLR has such functions as well, and multiplies by all of them so far.
    if any(kind.__name__ == "LambdaLR" for kind in type(inner).__mro__):
        base, factor = float(inner.base_lrs[0]), inner.lr_lambdas[0]
        return np.array([base * factor(t) for t in range(updates)], dtype=np.float64)
    if done:
        raise ValueError(
            f"the run was resumed at update {done:,}, and {type(inner).__name__} only gives later learning rates: give schedule=…"
        )
    return np.array(trace(inner, updates).values(updates))


def of_metric(controller: Any) -> TypeError:
    """Return the error about learning rates that depend on a metric."""
    return TypeError(
        f"the rates follow {shown(controller)}, so what they will be is not known; give schedule=… for a forecast as if nothing "
        "happens any more"
    )
