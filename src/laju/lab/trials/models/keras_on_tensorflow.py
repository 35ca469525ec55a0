"""Keras on TensorFlow for the lab: the backend is decided where a process first imports Keras."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from laju.core.extras import needed_by
from laju.lab.trials.environment import environment, quiet


@contextmanager
def _backend(name: str) -> Iterator[None]:
    before = os.environ.get("KERAS_BACKEND")
    os.environ["KERAS_BACKEND"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["KERAS_BACKEND"]
        else:
            os.environ["KERAS_BACKEND"] = before


# TensorFlow imports Keras, too.
with (
    needed_by("training in TensorFlow", "tensorflow"),
    _backend("tensorflow"),
    environment(TF_CPP_MIN_LOG_LEVEL="1"),
    quiet(),
):
    import keras
    import tensorflow as tf

if keras.backend.backend() != "tensorflow":
    raise RuntimeError(
        f"the lab needs Keras on TensorFlow, and in this process it runs on {keras.backend.backend()} already, which cannot be "
        "changed: set the environment variable KERAS_BACKEND=tensorflow before Keras is imported, or train in another process"
    )

__all__ = ["keras", "tf"]
