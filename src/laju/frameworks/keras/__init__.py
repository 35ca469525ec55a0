"""Schedules for Keras 3, on TensorFlow, JAX and torch alike.

`LearningRate` is a Keras learning-rate schedule, and enough for most runs. `Scheduled` wraps an optimizer: `Scheduled` also
schedules weight decay, momentum and other hyper-parameters, multiplies by a metric-driven factor, and keeps all state in the
model's checkpoints. Values are computed inside the compiled step, from the optimizer's own counter.
"""

from laju.core.extras import needed_by

with needed_by("laju.frameworks.keras", "keras"):
    import keras as _keras  # noqa: F401 - the error of a missing Keras is worded here, for all files of the folder

from laju.frameworks.keras.callbacks import FitPlan, Observe
from laju.frameworks.keras.counter import position, set_position
from laju.frameworks.keras.forecast import Forecast, Track
from laju.frameworks.keras.rate import LearningRate
from laju.frameworks.keras.scheduled import KIND, Scheduled
from laju.frameworks.keras.slots import Slot
from laju.frameworks.keras.values import Plan
from laju.frameworks.values import Driven, Factor

__all__ = [
    "KIND", "Driven", "Factor", "FitPlan", "Forecast", "LearningRate", "Observe", "Plan", "Scheduled", "Slot", "Track",
    "position", "set_position",
]  # fmt: skip
