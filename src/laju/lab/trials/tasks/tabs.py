"""The networks, initial weights and data orders of the chapter's three tabs, on the data of a given task.

The chapter has its code in three tabs, PyTorch, MXNet and TensorFlow, which do not train the same network. The common tasks train
none of these three networks, but a single network with the same initial weights in every framework.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.lab.trials.models import lenet_mxnet
from laju.lab.trials.models.lenet import lenet_of_torch
from laju.lab.trials.tasks.base import Data, Indices, Task

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Tab(Task):
    """The data of `task` with the network of a tab, which exists in a single framework."""

    task: Task

    tab = ""
    framework = ""

    @property
    def name(self) -> str:
        return f"{self.task.name}, {self.tab} tab"

    @property
    def batch_size(self) -> int:
        return self.task.batch_size

    def load(self) -> Data:
        return self.task.data()

    def model(self, seed: int) -> torch.nn.Module:
        raise ValueError(f"task {self.name!r} is trained in {self.framework} alone")

    def network(self, framework: str, seed: int) -> Any:
        if framework != self.framework:
            raise ValueError(f"task {self.name!r} is trained in {self.framework} alone, got {framework!r}")
        return self._network(seed)

    def _network(self, seed: int) -> Any:
        return self.model(seed)


class PyTorchTab(_Tab):
    """LeNet with ReLU and max pooling, and the initial weights that torch draws.

    >>> from laju.lab import Digits
    >>> PyTorchTab(Digits()).name
    'digits, pytorch tab'
    """

    tab, framework = "pytorch", "torch"
    description = (
        "The network of the chapter's PyTorch tab: LeNet with ReLU and max pooling, with torch's default weights."
    )

    def model(self, seed: int) -> torch.nn.Module:
        return lenet_of_torch(seed)


class TensorFlowTab(_Tab):
    """LeNet with average pooling and a sigmoid in the layer of 84, Glorot-uniform weights, zero biases, and fixed batches.

    The tab's loader cuts the data into batches and then shuffles the batches, so a batch always contains the same neighbours of
    the file, and the incomplete batch may come anywhere in an epoch.
    """

    tab = framework = "tensorflow"
    description = (
        "The network of the chapter's TensorFlow tab: LeNet with average pooling and a sigmoid in the layer of 84, with "
        "Glorot-uniform weights and zero biases. Its batches are consecutive images of the file, in a shuffled order."
    )

    def _network(self, seed: int) -> Any:
        from laju.lab.trials.models.lenet_keras import lenet_of_the_tab

        return lenet_of_the_tab(seed)

    def batches(self, seed: int, epoch: int, batch_size: int) -> list[Indices]:
        images = np.arange(self.train_size)
        batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        order = np.random.default_rng((seed, epoch)).permutation(len(batches))
        return [batches[i] for i in order]


class MXNetTab(_Tab):
    """LeNet with ReLU and max pooling, Xavier-uniform weights that MXNet draws, and zero biases."""

    tab = framework = "mxnet"
    description = (
        "The network of the chapter's MXNet tab: LeNet with ReLU and max pooling, with Xavier-uniform weights and zero "
        "biases."
    )

    def _network(self, seed: int) -> Any:
        return f"{Path(lenet_mxnet.__file__)}:{lenet_mxnet.lenet_of_the_tab.__name__}", {}
