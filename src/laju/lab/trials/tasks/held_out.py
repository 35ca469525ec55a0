"""A task with a validation part, for rules that decide by a loss during training."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import shown, whole
from laju.lab.trials.tasks.base import Data, Task

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class HeldOut(Task):
    """A task without every n-th of its training examples, which become its validation part; the test part stays unchanged.

    Args:
        task: the task whose training examples are split.
        every: n, at least 2; example n - 1 is the first that is held out.

    Raises:
        TypeError: `task` is not a task, or `every` is not a number.
        ValueError: `every` is not a whole number of at least 2.

    >>> from laju.lab import Digits
    >>> task = HeldOut(Digits(), every=10)
    >>> task.train_size, len(task.validation()[1])
    (1294, 143)
    """

    task: Task
    every: int = 10

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise TypeError(f"task must be a Task, got {shown(self.task)}")
        whole("every", self.every, least=2)

    @property
    def name(self) -> str:
        return f"{self.task.name} less 1 in {self.every}"

    @property
    def batch_size(self) -> int:
        return self.task.batch_size

    def _kept(self) -> npt.NDArray[np.bool_]:
        kept: npt.NDArray[np.bool_] = np.arange(self.task.train_size) % self.every != self.every - 1
        return kept

    def load(self) -> Data:
        data, kept = self.task.data(), self._kept()
        return Data(data.train_inputs[kept], data.train_labels[kept], data.test_inputs, data.test_labels, data.classes)

    def validation(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        data, held = self.task.data(), ~self._kept()
        return data.train_inputs[held], data.train_labels[held]

    def model(self, seed: int) -> torch.nn.Module:
        return self.task.model(seed)

    def network(self, framework: str, seed: int) -> Any:
        return self.task.network(framework, seed)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.task.loss(outputs, targets)

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.task.correct(outputs, targets)

    @property
    def description(self) -> str:
        return self.task.description

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the fingerprint of the task and the choice of held-out examples."""
        content = "\0".join(("HeldOut", str(self.every), self.task.fingerprint))
        return hashlib.sha256(content.encode()).hexdigest()
