"""Hyper-parameters of a Keras optimizer, with their schedules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from laju.core.checks import is_number, nearest, shown
from laju.core.schedule import Schedule
from laju.frameworks.keras.rate import LearningRate
from laju.frameworks.keras.values import Plan, value_at, values_of
from laju.frameworks.values import Driven, Factor
from laju.policies import constant

# Attributes that Keras reads while it builds or compiles, or that are no numbers of an update.
_FIXED = (
    "learning_rate", "clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor", "gradient_accumulation_steps",
    "ema_overwrite_frequency",
)  # fmt: skip


class Slot:
    """A hyper-parameter of an optimizer, and its schedule."""

    def __init__(self, key: str, driven: Driven, base: Any, plan: Plan) -> None:
        self.key = key
        self.factor = isinstance(driven, Factor)
        self.name = f"{key} (factor)" if self.factor else key
        self.base = base
        self.scale = 1.0
        if self.factor:
            if not is_number(base) or not base:
                raise ValueError(f"{self.name} has no base: {key} of the optimizer is {shown(base)}")
            self.scale = float(base)
        schedule = driven.schedule if isinstance(driven, Factor) else driven
        self.values = values_of(key, constant(schedule) if is_number(schedule) else schedule, plan)

    def at(self, t: Any) -> Any:
        """Return the value after `t` updates: a number, or a tensor inside a graph."""
        value = value_at(self.values, t)
        return value * self.scale if self.factor else value


class Slots(dict[str, Slot]):
    """A dict that Keras does not wrap, unlike plain dicts that are set on an optimizer."""


def slots_of(optimizer: Any, given: Mapping[str, Any], plan: Plan) -> dict[str, Slot]:
    names = [key for key, value in optimizer.get_config().items() if key not in _FIXED and _scheduled(key, value)]
    kind = type(optimizer).__name__
    slots = {}
    for key, driven in given.items():
        if driven is None:
            continue
        if not (isinstance(driven, Schedule | Factor | str) or is_number(driven)):
            raise TypeError(f"{key} must be a schedule or its text, a Factor or a number, got {shown(driven)}")
        if key == "learning_rate":
            rate = optimizer._learning_rate
            known = isinstance(rate, keras.Variable)
            if not known and not isinstance(rate, LearningRate):
                raise ValueError(f"learning_rate is scheduled twice: the optimizer has {shown(rate)}")
            slot = Slot(key, driven, float(keras.ops.convert_to_numpy(rate)) if known else None, plan)
            slot.base = rate  # the value to put back
        elif key in _FIXED:
            raise ValueError(f"{key} of {kind} cannot be scheduled: Keras reads it when it compiles; {_have(names)}")
        elif key not in names or key not in vars(optimizer):
            raise ValueError(f"{kind} has no hyper-parameter {key!r}{nearest(key, names)}; {_have(names)}")
        else:
            base = vars(optimizer)[key]
            if key == "momentum" and not base:
                raise ValueError(
                    "momentum of the optimizer is 0, so the optimizer has no velocity: construct the optimizer with a momentum "
                    "above 0"
                )
            slot = Slot(key, driven, base, plan)
        slots[key] = slot
    return slots


def _scheduled(key: str, value: Any) -> bool:
    return is_number(value) or (key == "weight_decay" and value is None)


def _have(names: list[str]) -> str:
    return f"it has {', '.join(['learning_rate', *names])}"


class _Positive:
    """A number inside a graph, which Keras finds above 0 while compiling."""

    def __init__(self, tensor: Any) -> None:
        self.tensor, self.dtype, self.shape = tensor, tensor.dtype, ()

    def __ne__(self, other: object) -> bool:
        return True

    def __gt__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self.tensor if dtype is None else keras.ops.cast(self.tensor, dtype)

    def __jax_array__(self) -> Any:
        return self.tensor


def positive(momentum: Any) -> Any:
    """A momentum for which Keras goes on with its velocities, at 0 too."""
    if isinstance(momentum, float):
        # Keras decides by `momentum != 0` whether velocities are kept, and once for all where the step is compiled; the least
        # normal float trains as 0 does.
        return max(momentum, sys.float_info.min)
    if keras.backend.backend() == "torch":
        return keras.ops.maximum(momentum, float(np.finfo(np.float32).tiny))
    return _Positive(momentum)
