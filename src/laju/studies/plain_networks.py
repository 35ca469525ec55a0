"""Deep plain networks: many layers, without normalisation or skip connections to keep signals at a constant scale.

How far such a network's initial weights are from the right size decides whether its training needs a warmup.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from laju.core.checks import number, whole
from laju.lab.trials.tasks.base import Data, Task

if TYPE_CHECKING:
    import torch


def plain(seed: int, inputs: int, classes: int, depth: int = 12, width: int = 64, gain: float = 2.0) -> torch.nn.Module:
    """`depth` fully connected layers with ReLU in between, from inputs (N, ...) to logits (N, classes).

    Weights are normal with variance gain/fan_in, biases 0. A gain of 2 keeps the size of signals from layer to layer (He et
    al., arXiv 1502.01852); a gain of 2·g² scales the signals by g in each layer. The state of torch's random generator stays
    unchanged.

    Args:
        seed: the seed of the weights.
        inputs: the size of an input.
        classes: the number of logits.
        depth: the number of layers, at least 2.
        width: the number of units in every layer but the last.
        gain: the variance of a weight times the number of inputs of its layer, above 0.

    >>> network = plain(seed=0, inputs=784, classes=10, depth=12)
    >>> sum("Linear" in str(type(layer)) for layer in network)
    12
    """
    import torch
    from torch import nn

    depth, width = whole("depth", depth, least=2), whole("width", width, least=1)
    gain = number("gain", gain, above=0)
    random = np.random.default_rng(np.random.SeedSequence(whole("seed", seed), spawn_key=(0xDE,)))
    sizes = [inputs, *[width] * (depth - 1), classes]
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(depth):
        fan_in, fan_out = sizes[i : i + 2]
        layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        weights = random.standard_normal((fan_out, fan_in)) * math.sqrt(gain / fan_in)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weights))
            layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Plain(Task):
    """The data of a given task with a deep plain network as the model.

    Args:
        task: the task whose data, batches and loss are used.
        depth, width, gain: as in `plain`.

    >>> from laju.lab import Digits
    >>> Plain(Digits(), depth=12, gain=4.0).name
    'digits, 12 plain layers of 64, gain 4'
    """

    task: Task
    depth: int = 12
    width: int = 64
    gain: float = 2.0

    @property
    def name(self) -> str:
        return f"{self.task.name}, {self.depth} plain layers of {self.width}, gain {self.gain:g}"

    @property
    def batch_size(self) -> int:
        return self.task.batch_size

    def load(self) -> Data:
        return self.task.data()

    def model(self, seed: int) -> torch.nn.Module:
        data = self.data()
        inputs = math.prod(data.train_inputs.shape[1:])
        return plain(seed, inputs, data.classes, self.depth, self.width, self.gain)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.task.loss(outputs, targets)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.task.correct(outputs, targets)
