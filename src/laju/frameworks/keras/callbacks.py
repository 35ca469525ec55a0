"""Callbacks of `fit` for schedules: the metric of an adaptive rule, and the length of the run."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import keras

from laju.core.checks import nearest, shown
from laju.core.units import Scale, UnresolvedError
from laju.frameworks.keras.counter import innermost, micro_batches, position
from laju.frameworks.keras.rate import LearningRate
from laju.frameworks.keras.scheduled import Scheduled
from laju.frameworks.keras.values import FitValues
from laju.frameworks.values import Values


class Observe(keras.callbacks.Callback):  # type: ignore[misc]
    """Callback that passes a metric to the controller of a `Scheduled` optimizer after each epoch of `fit`.

    Epochs without validation have no `val_` metrics, and are ignored.

    Args:
        monitor: name of the metric in the logs of `fit`.

    Raises:
        TypeError: if the model's optimizer is not a `Scheduled`.
        ValueError: if the optimizer has no controller, or the logs do not have the metric.
        RuntimeError: if the metric never appeared in `fit`, or `fit(initial_epoch=…)` begins with an optimizer that has made no
            update.

    >>> import keras, laju, numpy
    >>> from laju.adaptive import Plateau
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> plateau = Plateau(0.1, patience=0)
    >>> model.compile(Scheduled(keras.optimizers.SGD(), learning_rate=laju.constant(0.0), controller=plateau), loss="mse")
    >>> x, y = numpy.ones((4, 1)), numpy.zeros((4, 1))
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[Observe("loss")])
    >>> model.optimizer.controller.factor
    0.010000000000000002
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        super().__init__()
        self.monitor = monitor
        self._begun = self._fed = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._begun = self._fed = False
        optimizer = self._scheduled()
        if optimizer.controller is None:
            raise ValueError(
                "the optimizer has no controller to observe a metric for: Scheduled(…, controller=Plateau(…))"
            )

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if not self._begun and epoch and not self._scheduled().position:
            raise RuntimeError(
                f"fit begins at epoch {epoch}, but the optimizer made no update yet, so its schedules would begin at 0; load the "
                "optimizer's state, or call laju.frameworks.keras.set_position(optimizer, completed updates)"
            )
        self._begun = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        logs = logs or {}
        optimizer = self._scheduled()
        if self.monitor in logs:
            self._fed = True
            optimizer.observe(logs[self.monitor])
        elif not self.monitor.startswith("val_"):
            raise ValueError(
                f"monitor must be one of {', '.join(logs)}, got {self.monitor!r}{nearest(self.monitor, logs)}"
            )
        optimizer._check_fed(optimizer.position)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if self._begun and not self._fed:
            raise RuntimeError(
                f"the controller never observed a metric: {self.monitor!r} was in no epoch's logs, which had "
                f"{', '.join(logs or {}) or 'nothing'}; give fit validation_data, or another monitor"
            )

    def _scheduled(self) -> Scheduled:
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", None)
        for found in (optimizer, inner):  # in mixed precision, LossScaleOptimizer wraps the Scheduled
            if isinstance(found, Scheduled):
                return found
        raise TypeError(f"the model's optimizer must be a laju.frameworks.keras.Scheduled, got {shown(optimizer)}")


class FitPlan(keras.callbacks.Callback):  # type: ignore[misc]
    """Callback that passes the length of `fit` to the schedules of the model's optimizer, for lengths in epochs and percent.

    100% is the number of updates in all `epochs` of `fit`, including epochs before `initial_epoch`. The lengths of the first
    `fit` stay: a later `fit` of a different length continues with the same schedule and gives a warning.

    Raises:
        UnresolvedError: if `fit` does not know the number of batches per epoch, or a length is in samples or tokens.
        TypeError: if no schedule of the optimizer has plan="fit".

    >>> import keras, laju, numpy
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> rate = LearningRate("cosine(0.3, total='100%', warmup='1 epoch')", plan="fit")
    >>> model.compile(keras.optimizers.SGD(rate), loss="mse")
    >>> x, y = numpy.ones((64, 1)), numpy.zeros((64, 1))
    >>> history = model.fit(x, y, epochs=5, batch_size=16, verbose=0, callbacks=[FitPlan()])
    >>> rate.schedule
    cosine(0.3, total=20, warmup=4)
    """

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        optimizer = self.model.optimizer
        plans = [v for v in _all_values(optimizer) if isinstance(v, FitValues)]
        if not plans:
            raise TypeError(
                'FitPlan has nothing to do: no schedule of the optimizer waits for fit; make it with plan="fit", as '
                'LearningRate("cosine(0.3, total=\'100%\')", plan="fit")'
            )
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        if not steps:
            raise UnresolvedError(
                "fit does not know how many batches an epoch has; call fit(steps_per_epoch=…), or give the schedule a RunPlan"
            )
        # Keras goes on accumulating across the end of an epoch, so that an epoch may have a fraction of an update.
        per_epoch = Fraction(steps, micro_batches(innermost(optimizer)))
        scale = Scale((("updates", Fraction(1)), ("epochs", per_epoch), ("%", per_epoch * epochs / 100)))
        now = position(optimizer)
        for values in plans:
            values.fit(scale, now)


def _all_values(optimizer: Any) -> list[Values]:
    """Return the values of every schedule in an optimizer and in nested optimizers."""
    found = []
    while optimizer is not None:
        if isinstance(optimizer, Scheduled):
            found += [slot.values for slot in optimizer._slots.values()]
        elif isinstance(vars(optimizer).get("_learning_rate"), LearningRate):
            found.append(optimizer._learning_rate._values)
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return found
