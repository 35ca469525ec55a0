"""The LeNet of the chapter "Learning Rate Scheduling", with initial weights that every framework can take.

Zhang, Lipton, Li and Smola, "Dive into Deep Learning", section 12.11: LeNet-5 (LeCun et al., 1998) with ReLU in place
of the sigmoid and max pooling in place of average pooling. No tab of the chapter uses these common weights: each tab has its own
network or weights, see `laju.lab.trials.tasks.tabs`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

COMMON = (
    "LeNet with ReLU and max pooling. Its initial weights are Xavier's with torch's biases, the same in every framework, and "
    "those of no tab of the chapter."
)
"""What a report says of the network."""

# Layer: shape of its weight in torch's layout, (out, in, height, width) or (out, in).
WEIGHTS = {
    "conv1": (6, 1, 5, 5),
    "conv2": (16, 6, 5, 5),
    "fc1": (120, 16 * 5 * 5),
    "fc2": (84, 120),
    "fc3": (10, 84),
}


def initial_weights(seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """The parameters of a seed, by the names and in the layout of torch, as float32.

    Weights are uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010), biases in ±1/√fan_in, which is torch's
    default, where fan_in and fan_out are the numbers of inputs and outputs times the size of the kernel. NumPy draws
    the weights for every framework, so that a seed means the same network everywhere.

    Raises `ValueError` for a negative seed.

    >>> {name: array.shape for name, array in initial_weights(0).items() if "conv" in name}
    {'conv1.weight': (6, 1, 5, 5), 'conv1.bias': (6,), 'conv2.weight': (16, 6, 5, 5), 'conv2.bias': (16,)}
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed!r}")
    # A stream of its own: default_rng(seed) may order the data of the same trial.
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x1E,)))
    arrays = {}
    for layer, shape in WEIGHTS.items():
        outputs, inputs, *kernel = shape
        fan_in, fan_out = inputs * math.prod(kernel), outputs * math.prod(kernel)
        arrays[f"{layer}.weight"] = _uniform(random, shape, math.sqrt(6 / (fan_in + fan_out)))
        arrays[f"{layer}.bias"] = _uniform(random, (outputs,), 1 / math.sqrt(fan_in))
    return arrays


def lenet(seed: int) -> torch.nn.Module:
    """The network with the initial weights of `seed`, from images (N, 1, 28, 28) to ten logits (N, 10).

    5x5 convolution to 6 channels with padding 2, ReLU, 2x2 max pooling, 5x5 convolution to 16, ReLU, 2x2 max pooling,
    then layers of 120, 84 and 10, with ReLU between: 61,706 parameters. The state of torch's random generator stays unchanged.

    >>> sum(p.numel() for p in lenet(seed=0).parameters())
    61706
    """
    import torch

    network = lenet_of_torch(0)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in initial_weights(seed).items()})
    return network


def lenet_of_torch(seed: int) -> torch.nn.Module:
    """The network of `lenet` with the initial weights that torch itself draws after `torch.manual_seed(seed)`.

    Weights and biases are then uniform in ±1/√fan_in. The state of torch's random generator stays unchanged.

    >>> float(lenet_of_torch(seed=0).fc3.bias.detach().abs().max()) < 84**-0.5
    True
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would change the random state of the caller's other devices, too.
        torch.default_generator.manual_seed(seed)
        network = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(1, 6, kernel_size=5, padding=2),
                # ReLU and maximum give the same in either order, bit by bit, and after the maximum a quarter of the work is left.
                pool1=nn.MaxPool2d(2),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(6, 16, kernel_size=5),
                pool2=nn.MaxPool2d(2),
                relu2=nn.ReLU(),
                flatten=nn.Flatten(),
                fc1=nn.Linear(400, 120),
                relu3=nn.ReLU(),
                fc2=nn.Linear(120, 84),
                relu4=nn.ReLU(),
                fc3=nn.Linear(84, 10),
            )
        )
    # Convolutions on a CPU are a quarter faster so, and their results follow the layout of their weights.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def lenet_in(framework: str, seed: int) -> Any:
    """The same network in another framework, in the form of `Task.network`.

    Raises `ValueError` for a framework without this network.
    """
    weights = initial_weights(seed)
    match framework:
        case "tensorflow":
            from laju.lab.trials.models.lenet_keras import lenet as in_keras

            return in_keras(weights)
        case "jax":
            from laju.lab.trials.models.lenet_jax import lenet as in_jax

            return in_jax(weights)
        case "mxnet":
            return f"{Path(__file__).with_name('lenet_mxnet.py')}:lenet", weights
        case _:
            raise ValueError(f"framework must be 'tensorflow', 'jax' or 'mxnet', got {framework!r}")


def _uniform(random: np.random.Generator, shape: tuple[int, ...], bound: float) -> npt.NDArray[np.float32]:
    return ((2 * random.random(shape) - 1) * bound).astype(np.float32)
