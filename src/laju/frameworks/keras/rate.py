"""`LearningRate`: a schedule as a Keras `LearningRateSchedule`."""

from __future__ import annotations

import weakref
from typing import Any, Self

import keras

from laju.core.checks import is_number
from laju.core.schedule import Schedule
from laju.frameworks.keras.counter import micro_batches, owner_of, updates_of, warn_of_beginning
from laju.frameworks.keras.saving import read_schedule, registered
from laju.frameworks.keras.values import Plan, tensor, value_at, values_of


@registered
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule as the `learning_rate` of any Keras optimizer: update t uses schedule(t), t from 0.

    The schedule counts updates: with `gradient_accumulation_steps` Keras passes the count of micro-batches, which is divided by
    the number of micro-batches per update. An update that `LossScaleOptimizer` skipped does not count.

    The schedule is saved with the model as JSON; import this module before `keras.saving.load_model`. A loaded model continues
    from its position, also in `fit(initial_epoch=…)`, because the position is the optimizer's counter and not the epoch. A newly
    constructed optimizer begins at 0: see `set_position`. For values that change once per epoch use `schedule.per("epoch")` with
    a plan, or Keras' own callback: `keras.callbacks.LearningRateScheduler(schedule)`.

    Args:
        schedule: absolute learning rates; a schedule, or its text.
        plan: the run plan, needed for a schedule in epochs or percent; or "fit" if the callback `FitPlan` will pass the length of
            `fit`.

    Raises:
        TypeError: if `schedule` is not a schedule.
        SpecError: if the text is not a schedule.
        UnresolvedError: if lengths are not in updates and there is no plan.

    >>> import keras, laju
    >>> optimizer = keras.optimizers.SGD(LearningRate(laju.linear(1, 0, total=4)))
    >>> weight = keras.Variable(10.0)
    >>> for _ in range(2):
    ...     optimizer.apply([keras.ops.ones(())], [weight])
    >>> weight.numpy().item(), float(optimizer.learning_rate)
    (8.25, 0.5)
    """

    def __init__(self, schedule: Schedule | str, plan: Plan = None) -> None:
        hint = "this has no base; write base * schedule, or Scheduled(optimizer, learning_rate=Factor(schedule))"
        self._values = values_of("schedule", schedule, plan, hint=hint)
        self._optimizer: weakref.ref[Any] | None = None

    @property
    def schedule(self) -> Schedule:
        return self._values.schedule

    def __call__(self, step: Any) -> Any:
        """Return the learning rate after `step` steps of the optimizer's counter, as a tensor of at least float32."""
        if is_number(step):
            return tensor(self.schedule(step))
        return tensor(value_at(self._values, updates_of(step, self._accumulated(step))))

    def _accumulated(self, step: Any) -> int:
        """Return the number of steps of the counter per update."""
        optimizer = None if self._optimizer is None else self._optimizer()
        if optimizer is None or optimizer._iterations is not step:
            optimizer = owner_of(step)
            warn_of_beginning(optimizer)
            self._optimizer = None if optimizer is None else weakref.ref(optimizer)
        return 1 if optimizer is None else micro_batches(optimizer)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule.to_json()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        schedule = read_schedule(config["schedule"])
        return cls(schedule, "fit" if schedule.units else None)

    def __reduce__(self) -> tuple[type[LearningRate], tuple[Schedule, Plan]]:
        return type(self), (self.schedule, "fit" if self.schedule.units else None)

    def __repr__(self) -> str:
        return f"LearningRate({self.schedule!r})"
