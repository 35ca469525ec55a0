"""Trials in PyTorch: data resident as tensors, no per-image Python work, and no read of a result before a record needs it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from laju.frameworks.torch import Scheduler
from laju.lab.engines.loop import EVALUATION_BATCH, Batch, Report, run
from laju.lab.trial import Outcome, Trial


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run one trial from its beginning and return its records; the same trial gives the same outcome, bit by bit.

    Args:
        trial: what to run.
        report: is called with every record as it is made.
    """
    with _one_thread_and_own_randomness():
        return run(trial, _Training(trial), report)


@contextmanager
def _one_thread_and_own_randomness() -> Iterator[None]:
    """The caller's thread count and random state, put back afterwards.

    One thread is the quicker way to run several trials on a CPU, and sums in an order that does not depend on the machine.
    """
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)  # an interrupt can come while torch itself has it switched off


class _Training:
    def __init__(self, trial: Trial) -> None:
        task = self.task = trial.task
        _seed(trial.seed)
        data = task.data()
        _seed(trial.seed)  # again: the data are not read for every trial, and reading them may have drawn numbers
        self.inputs, self.labels = _tensor(data.train_inputs), _tensor(data.train_labels)
        self.test = _tensor(data.test_inputs), _tensor(data.test_labels)
        self.model = task.model(trial.seed)
        self.model.train()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=0.0,
            momentum=trial.optimizer.momentum,
            weight_decay=trial.optimizer.weight_decay,
        )
        self.scheduler = Scheduler(self.optimizer, lr=trial.schedule.resolve(trial.plan))
        self.losses: list[torch.Tensor] = []
        self.right = torch.zeros((), dtype=torch.int64)

    def rate(self) -> float:
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def update(self, batch: Batch) -> None:
        chosen = torch.from_numpy(batch)
        targets = self.labels[chosen]
        outputs = self.model(self.inputs[chosen])
        loss = self.task.loss(outputs, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.losses.append(loss.detach())
        self.right += self.task.correct(outputs.detach(), targets)

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        losses, right = torch.stack(self.losses).double().numpy(), int(self.right)
        self.losses.clear()
        self.right.zero_()
        return losses, right

    def test_accuracy(self) -> float:
        self.model.eval()
        inputs, labels = self.test
        right = 0
        with torch.inference_mode():
            for x, y in zip(inputs.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
                right += int(self.task.correct(self.model(x), y))
        self.model.train()
        return right / len(labels)


def _seed(seed: int) -> None:
    # Not torch.manual_seed, which would change the random state of the caller's other devices, too.
    torch.default_generator.manual_seed(seed)


def _tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """An array as a tensor, in place where that is possible; nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
