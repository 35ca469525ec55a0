"""Saving of classes and schedules in the files of Keras models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import keras

from laju.core.checks import shown
from laju.core.pieces import calls_functions
from laju.core.schedule import Schedule
from laju.text.json import from_json

PACKAGE = "laju.frameworks.keras"
T = TypeVar("T")


def registered(cls: type[T]) -> type[T]:
    """Register a class for Keras' files under the module to import, which Keras' own error about an unknown class names."""
    keras.saving.get_custom_objects()[f"laju>{cls.__name__}"] = cls  # the name in files of laju before 0.2
    cls.__module__ = PACKAGE
    known: type[T] = keras.saving.register_keras_serializable(package=PACKAGE)(cls)
    return known


def read_schedule(tree: Any) -> Schedule:
    """Read the schedule of a saved model; functions are imported by name only if Keras allows the file to run code."""
    from keras.src.saving.serialization_lib import in_safe_mode

    if not isinstance(tree, Mapping):
        raise ValueError(f"the schedule of this model must be an object, got {shown(tree)}")
    schedule = from_json(tree, functions=not in_safe_mode())
    if in_safe_mode() and calls_functions(schedule):  # which stays a name here, so that the model could not be trained
        raise ValueError(
            "the schedule of this model has a Function, which is imported by its name; if you trust the file, load it with "
            "safe_mode=False"
        )
    return schedule
