"""The chapter's LeNet as a Gluon block, with the lab's weights or the weights of the chapter's MXNet tab.

The file is loaded by its path in MXNet's environment, so no import of laju is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def lenet(arrays: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """The network of `laju.lab.trials.models.lenet` with the given weights, from images (N, 1, 28, 28) to ten logits (N, 10).

    Args:
        arrays: "conv1.weight", "conv1.bias" and so on to "fc3", in the layout of torch, which is Gluon's too.
    """
    from mxnet import nd

    network, layers = _network()
    network.initialize()
    for name, array in arrays.items():
        layer, _, parameter = name.partition(".")
        getattr(layers[layer], parameter).set_data(nd.array(array))
    return network


def lenet_of_the_tab(arrays: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """The network with weights that MXNet's `Xavier` draws from its random state, and zero biases.

    Args:
        arrays: none.
    """
    from mxnet.initializer import Xavier

    network, _ = _network()
    network.initialize(Xavier())
    return network


def _network() -> tuple[Any, dict[str, Any]]:
    from mxnet.gluon import nn

    layers = {
        "conv1": nn.Conv2D(6, 5, padding=2, in_channels=1, activation="relu"),
        "pool1": nn.MaxPool2D(2),
        "conv2": nn.Conv2D(16, 5, in_channels=6, activation="relu"),
        "pool2": nn.MaxPool2D(2),
        "flatten": nn.Flatten(),
        "fc1": nn.Dense(120, in_units=400, activation="relu"),
        "fc2": nn.Dense(84, in_units=120, activation="relu"),
        "fc3": nn.Dense(10, in_units=84),
    }
    network = nn.HybridSequential()
    network.add(*layers.values())
    return network, layers
