"""The lab's LeNet in Keras, on TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.lab.keras_on_tensorflow import keras


def lenet(weights: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """A built Keras model with these weights, from images (N, 1, 28, 28) to ten logits (N, 10).

    Args:
        weights: by the names and in the layout of torch, as `initial_weights` gives them.
    """

    # Channels are last inside: TensorFlow's convolutions on a CPU take nothing else. Everything that Keras would take from
    # the caller's global settings is given, and the zeros keep it from drawing random numbers.
    def convolution(name: str, channels: int, padding: str) -> Any:
        return keras.layers.Conv2D(
            channels, 5, padding=padding, activation="relu", data_format="channels_last", name=name, **fixed
        )

    def pooling(name: str) -> Any:
        return keras.layers.MaxPooling2D(2, data_format="channels_last", name=name, dtype="float32")

    def dense(name: str, outputs: int, activation: str | None = "relu") -> Any:
        return keras.layers.Dense(outputs, activation=activation, name=name, **fixed)

    fixed = {"kernel_initializer": "zeros", "dtype": "float32"}
    model = keras.Sequential(
        [
            keras.Input((1, 28, 28), dtype="float32", name="images"),
            keras.layers.Permute((2, 3, 1), name="channels_last", dtype="float32"),
            convolution("conv1", 6, "same"),
            pooling("pool1"),
            convolution("conv2", 16, "valid"),
            pooling("pool2"),
            keras.layers.Flatten(data_format="channels_last", name="flatten", dtype="float32"),
            dense("fc1", 120),
            dense("fc2", 84),
            dense("fc3", 10, activation=None),
        ],
        name="lenet",
    )
    for name, array in weights.items():
        layer, kind = name.split(".")
        if kind == "bias":
            model.get_layer(layer).bias.assign(array)
            continue
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif layer == "fc1":  # torch flattens (channel, row, column), and this network (row, column, channel)
            array = array.reshape(120, 16, 5, 5).transpose(2, 3, 1, 0).reshape(400, 120)
        else:
            array = array.T
        model.get_layer(layer).kernel.assign(array)
    return model
