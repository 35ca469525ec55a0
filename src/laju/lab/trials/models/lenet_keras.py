"""The lab's LeNet in Keras, on TensorFlow, and the LeNet of the chapter's TensorFlow tab."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.lab.trials.models.keras_on_tensorflow import keras


def lenet(weights: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """A built Keras model with these weights, from images (N, 1, 28, 28) to ten logits (N, 10).

    Args:
        weights: by the names and in the layout of torch, from `initial_weights`.
    """
    # Zeros, as Keras' own initializers would draw random numbers.
    model = _network(keras.layers.MaxPooling2D, "relu", lambda: "zeros")
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


def lenet_of_the_tab(seed: int) -> Any:
    """The network of the chapter's TensorFlow tab, a built Keras model from images (N, 1, 28, 28) to ten logits (N, 10).

    Average pooling, ReLU, and a sigmoid in the layer of 84; Glorot-uniform weights and zero biases, which are Keras' defaults.
    Keras draws the weights, after `keras.utils.set_random_seed(seed)`.
    """
    # Keras seeds an initializer that has no seed by a number from Python's generator, in this range.
    seeds = random.Random(seed)
    return _network(
        keras.layers.AveragePooling2D, "sigmoid", lambda: keras.initializers.GlorotUniform(seeds.randint(1, 10**9))
    )


def _network(pooling: Any, before_last: str, kernel: Callable[[], Any]) -> Any:
    # Channels are last inside: TensorFlow's convolutions on a CPU take nothing else. Everything that Keras would take from
    # the caller's global settings is given.
    def convolution(name: str, channels: int, padding: str) -> Any:
        return keras.layers.Conv2D(
            channels,
            5,
            padding=padding,
            activation="relu",
            data_format="channels_last",
            name=name,
            kernel_initializer=kernel(),
            dtype="float32",
        )

    def halved(name: str) -> Any:
        return pooling(2, data_format="channels_last", name=name, dtype="float32")

    def dense(name: str, outputs: int, activation: str | None) -> Any:
        return keras.layers.Dense(
            outputs, activation=activation, name=name, kernel_initializer=kernel(), dtype="float32"
        )

    return keras.Sequential(
        [
            keras.Input((1, 28, 28), dtype="float32", name="images"),
            keras.layers.Permute((2, 3, 1), name="channels_last", dtype="float32"),
            convolution("conv1", 6, "same"),
            halved("pool1"),
            convolution("conv2", 16, "valid"),
            halved("pool2"),
            keras.layers.Flatten(data_format="channels_last", name="flatten", dtype="float32"),
            dense("fc1", 120, "relu"),
            dense("fc2", 84, before_last),
            dense("fc3", 10, None),
        ],
        name="lenet",
    )
