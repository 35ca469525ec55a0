"""The counter of a Keras optimizer, which is the clock of every schedule: micro-batches, updates, positions."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import keras

from laju.core.checks import ScheduleWarning, shown, whole


def position(optimizer: Any) -> int:
    """Return the number of updates that a Keras optimizer has completed, without micro-batches of an accumulated gradient.

    >>> import keras
    >>> position(keras.optimizers.SGD())
    0
    """
    optimizer = innermost(optimizer)
    return int(keras.ops.convert_to_numpy(optimizer._iterations)) // micro_batches(optimizer)


def set_position(optimizer: Any, t: int) -> None:
    """Set the counter of a Keras optimizer to `t` completed updates; a second call with the same `t` has no effect.

    Use `set_position` for an optimizer that is constructed in the middle of a run, as for `fit(initial_epoch=…)` without the
    optimizer's state. Adam and its variants also use the counter, for bias correction, so with new moments their first updates
    have the wrong size; `LearningRate(schedule.shift(-t))` moves only the schedule.

    Args:
        optimizer: the Keras optimizer.
        t: number of completed updates.

    Raises:
        TypeError: if `optimizer` is not a Keras optimizer.
        ValueError: if `t` is not a whole number of at least 0.

    >>> import keras, laju
    >>> from laju.frameworks.keras import LearningRate
    >>> optimizer = keras.optimizers.SGD(LearningRate(laju.linear(1, 0, total=4)))
    >>> set_position(optimizer, 3)
    >>> float(optimizer.learning_rate)
    0.25
    """
    optimizer = innermost(optimizer)
    optimizer._iterations.assign(whole("t", t) * micro_batches(optimizer))


def innermost(optimizer: Any) -> Any:
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(f"optimizer must be a Keras optimizer, got {shown(optimizer)}")
    return optimizer


def micro_batches(optimizer: Any) -> int:
    """Return the number of micro-batches per update; each micro-batch advances Keras' counter by 1."""
    return int(optimizer.gradient_accumulation_steps or 1)


def owner_of(counter: Any) -> Any:
    """Return the optimizer that owns a counter, found among the callers, because Keras does not pass the optimizer."""
    if not isinstance(counter, keras.Variable):
        return None
    frame = sys._getframe(2)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.optimizers.Optimizer) and vars(caller).get("_iterations") is counter:
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None


def updates_of(counter: Any, accumulate: int) -> Any:
    """Return the number of completed updates: an int if the counter can be read without waiting, else an integer tensor."""
    step = keras.ops.convert_to_tensor(counter)
    if not getattr(step, "shape", None) and _readable(step):
        return int(step) // accumulate
    return step if accumulate == 1 else step // accumulate


def _readable(step: Any) -> bool:
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return step.device.type == "cpu" and not torch.compiler.is_compiling()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly() and "CPU" in step.device
    return False


_COUNTERS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""The counter of the optimizer that each model was last fitted with, by which a model that is compiled again is known."""


def _count(counter: Any, fit: Mapping[str, Any], variables: list[Any]) -> int:
    """Return a counter's value outside of the step that is being compiled; `fit` has the local variables of Keras' `fit`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            return int(counter.value.numpy())
    value = counter._value
    if value is None:  # on JAX, `fit` takes the values out of the variables and holds the values itself
        value = fit["state"][2][next(i for i, variable in enumerate(variables) if variable is counter)]
    return int(value)


def warn_of_beginning(optimizer: Any) -> None:
    """Warn if the first update of an optimizer is not the first update of its model's training.

    Keras gives an optimizer neither the epoch nor the history, so `fit` is looked up among the callers.
    """
    frame: Any = None if optimizer is None else sys._getframe(1)
    while frame is not None and not (frame.f_code.co_name == "fit" and "initial_epoch" in frame.f_locals):
        frame = frame.f_back
    model = None if frame is None else frame.f_locals.get("self")
    if not isinstance(model, keras.Model):
        return
    before = _COUNTERS.get(model)
    _COUNTERS[model] = optimizer._iterations
    fit, variables = frame.f_locals, model.optimizer.variables
    if innermost(model.optimizer) is not optimizer or _count(optimizer._iterations, fit, variables):
        return
    epoch = fit["initial_epoch"]
    made = 0 if before is None else _count(before, fit, variables) // micro_batches(optimizer)
    if epoch or made:
        why = (
            f"fit begins at epoch {epoch}" if epoch else f"this model made {made} updates before it was compiled again"
        )
        warnings.warn(
            f"{why}, but the optimizer is new, so its schedules begin at update 0. To continue the run, load the state of "
            f"the optimizer, or call laju.frameworks.keras.set_position(model.optimizer, {made or 'updates completed'})",
            ScheduleWarning,
            stacklevel=2,
        )
