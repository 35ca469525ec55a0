"""Callbacks of `fit` that forecast the loss, and that log planned and used rates."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from os import PathLike
from typing import Any

import keras

from laju.core.checks import is_number
from laju.core.units import Scale
from laju.forecast import Prior
from laju.forecast.curves import Rates
from laju.frameworks.forecasting import Forecasting, Tracking, of_metric
from laju.frameworks.keras.counter import innermost, micro_batches, position
from laju.frameworks.keras.rate import LearningRate
from laju.frameworks.keras.scheduled import Scheduled
from laju.policies import constant
from laju.sinks import tracker_of


class Forecast(Forecasting, keras.callbacks.Callback):  # type: ignore[misc]
    """Callback that forecasts the final loss of `fit` during training, in a separate process.

    At the end of each epoch the logs have `forecast/end`, its prediction interval `forecast/low` and `forecast/high`, and
    `forecast/update`, the last update that the forecast has used; NaN if there is no forecast. Put `Forecast` before callbacks
    that write logs, such as `CSVLogger`. Errors do not stop the training: see `note` and `ending`.

    Args:
        schedule: schedule of the whole run in a form that `laju.forecast.ending` accepts, or with lengths in percent or epochs of
            `fit`. By default the learning rate of the model's optimizer.
        monitor: the metric whose final value is forecast: "loss", for which each batch reports the mean of its epoch so far, or a
            metric of each epoch, such as "val_loss".
        level: probability of the prediction interval.
        prior: past runs in a form that `laju.forecast.ending` accepts.

    Attributes:
        ending: the latest forecast or refusal, a `laju.forecast.Ending`; None before the first.
        note: the latest error of the forecast; None if there was no error.

    Raises:
        ValueError, OSError: if an argument is invalid; raised before the training.

    >>> Forecast(monitor="val_loss").ending is None
    True
    """

    def __init__(
        self,
        schedule: Rates | str | None = None,
        *,
        monitor: str = "loss",
        level: float = 0.9,
        prior: Prior | str | PathLike[str] | None = "auto",
    ) -> None:
        keras.callbacks.Callback.__init__(self)
        Forecasting.__init__(self, schedule, monitor, level, prior)
        self._begun = True
        self._batches = self._before = 0
        self._accumulate = 1
        self._last = (0, 0.0)
        self._names: list[str] = []

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._begun = not _is_first_process()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._last = (0, 0.0)
        if self._begun:
            return
        self._begun = True
        with self._stopping_nothing():
            optimizer = self.model.optimizer
            steps, epochs = self.params.get("steps"), self.params.get("epochs")
            self._accumulate, self._before = micro_batches(innermost(optimizer)), position(optimizer)
            self._batches = 0
            per, updates = [("updates", Fraction(1))], None
            if steps:
                per_epoch = Fraction(steps, self._accumulate)
                updates = self._before + int(per_epoch * (epochs - epoch))
                per += [("epochs", per_epoch), ("%", per_epoch * epochs / 100)]
            self._begin(_rates_of(optimizer), Scale(tuple(per)), updates, 0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.live is None or self.monitor != "loss" or not logs or "loss" not in logs:
            return
        with self._stopping_nothing():
            (before, mean), now = self._last, batch + 1
            if now - before < self._accumulate:
                return
            # Keras has means of the epoch so far; the batches since the last row are the difference of two of these.
            loss = (now * float(logs["loss"]) - before * mean) / (now - before)
            self._last = now, float(logs["loss"])
            self._add(self._before + (self._batches + now) // self._accumulate, loss)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.plan is None or logs is None:
            return
        with self._stopping_nothing():
            self._names = list(logs)
            self._batches += self.params.get("steps") or 0
            if self.monitor != "loss" and self.monitor in logs:
                self._add(self._before + self._batches // self._accumulate, logs[self.monitor])
            # Each epoch has the same names, as CSVLogger demands.
            logs |= dict.fromkeys(("forecast/end", "forecast/low", "forecast/high", "forecast/update"), float("nan"))
            logs |= self._figures()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        with self._stopping_nothing():
            self._finish(self._names)


class Track(Tracking, Forecast):
    """Callback that logs the planned and used learning rate of each epoch's first update, and the forecast of the loss.

        model.fit(…, callbacks=[Track(wandb.init(project="mine"))])

    The run's configuration gets `laju/schedule`, the schedule's text, and `laju/fingerprint`. At the end of each epoch the run
    gets a row with Keras' logs, `lr/planned`, `lr/used` and the values of `Forecast`, which are also added to Keras' logs. The
    first learning rate that differs from the plan gives a warning. Put `Track` before callbacks that write logs.

    Args:
        run: the run of a tracker; see `laju.sinks.Track`. None (the default) leaves the writing to callbacks such as
            `TensorBoard`.
        schedule: the planned schedule, as in `Forecast`. By default the learning rate of the model's optimizer.
        options: further arguments of `Forecast`.

    Raises:
        TypeError, ValueError, OSError: if an argument is invalid; raised before the training.

    >>> Track().plan is None  # until training begins
    True
    """

    def __init__(self, run: Any = None, schedule: Rates | str | None = None, **options: Any) -> None:
        super().__init__(schedule, **options)
        self._tracker = None if run is None else tracker_of(run)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        first = not self._begun
        super().on_epoch_begin(epoch, logs)
        if first and self._tracker is not None and (settings := self._settings()):
            with self._stopping_nothing():
                self._tracker.config(settings)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.plan is None or batch:
            return
        with self._stopping_nothing():
            optimizer = self.model.optimizer
            self._use(position(optimizer), keras.ops.convert_to_numpy(optimizer.learning_rate))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self._tracker is None or self.plan is None or not logs:
            return
        with self._stopping_nothing():
            row = {name: float(value) for name, value in logs.items() if is_number(value) and value == value}
            self._tracker.log(self._before + self._batches // self._accumulate, row)


def _rates_of(optimizer: Any) -> Any:
    """Return the source of the learning rates of a model's optimizer: a schedule of laju or of Keras, or a constant."""
    while optimizer is not None:
        if isinstance(optimizer, Scheduled) and "learning_rate" in optimizer._slots:
            if optimizer.controller is not None:
                raise of_metric(optimizer.controller)
            return optimizer._slots["learning_rate"].values.schedule
        rate = vars(optimizer).get("_learning_rate")
        if isinstance(rate, LearningRate):
            return rate.schedule
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return rate
        inner = getattr(optimizer, "inner_optimizer", None)
        if inner is None:
            return constant(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
        optimizer = inner
    return None


def _is_first_process() -> bool:
    if keras.backend.backend() == "torch":
        import torch.distributed

        return not (torch.distributed.is_available() and torch.distributed.is_initialized()) or (
            torch.distributed.get_rank() == 0
        )
    if keras.backend.backend() == "jax":
        import jax

        return int(jax.process_index()) == 0
    return True
