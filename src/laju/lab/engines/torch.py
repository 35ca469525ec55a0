"""Trials in PyTorch: data resident as tensors, no per-image Python work, and no read of a result before its record."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.optim.swa_utils import update_bn

from laju.averaging.torch import averaged
from laju.core.extras import needed_by
from laju.frameworks.torch import Scheduler
from laju.lab.engines.loop import EVALUATION_BATCH, Batch, Progress, Report, advance, run
from laju.lab.trials import Optimizer, Outcome, Record, Trial


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run a trial from its beginning and return its records; the same trial gives the same outcome, bit by bit.

    Args:
        trial: the trial to run.
        report: called with every new record.
    """
    with one_thread_and_own_randomness():
        training = Training(trial)
        return run(trial, training, report, None if trial.rule is None else training.observe)


def train_part(
    trial: Trial, start: bytes | None, stop: int, keep: bool, report: Report | None = None
) -> tuple[Progress, bytes | None]:
    """Make the updates of a trial up to `stop`; a trial in parts has, bit by bit, the outcome of a trial run at once.

    Args:
        trial: the trial to run.
        start: the branch point to begin at, kept by an earlier part; None for the trial's beginning.
        stop: completed updates in the end.
        keep: return a branch point at the end.
        report: called with the records before the branch point, then with every new record.
    """
    with one_thread_and_own_randomness():
        training = Training(trial)
        progress = Progress() if start is None else training.restore(start)
        if report is not None:
            for record in progress.records:
                report(record)
        progress = advance(trial, training, progress, stop, report)
        return progress, training.kept(progress) if keep else None


@contextmanager
def one_thread_and_own_randomness() -> Iterator[None]:
    """The caller's thread count and random state, put back afterwards.

    A single thread per trial is the fastest way to run several trials on a CPU, and sums in an order that does not depend on
    the machine.
    """
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(grad)  # an interrupt can come while torch itself has gradients switched off


class Training:
    """A trial at its beginning, in torch; studies observe a trial with a subclass."""

    def __init__(self, trial: Trial) -> None:
        task = self.task = trial.task
        _seed(trial.seed)
        data = task.data()
        _seed(trial.seed)  # again: the data are not read for every trial, and reading may have drawn random numbers
        self.inputs, self.labels = _tensor(data.train_inputs), _tensor(data.train_labels)
        self.test = _tensor(data.test_inputs), _tensor(data.test_labels)
        self.model = task.model(trial.seed)
        self.model.train()
        self.optimizer = _optimizer(trial.optimizer, self.model)
        self.scheduler = Scheduler(self.optimizer, lr=trial.schedule.resolve(trial.plan), controller=trial.rule)
        self.held_out: tuple[torch.Tensor, torch.Tensor] | None = None
        if trial.rule is not None:
            inputs, labels = task.validation()
            self.held_out = _tensor(inputs), _tensor(labels)
        self.average = None if trial.average is None else _Average(self.model, trial)
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
        if self.average is not None:
            self.average.update(self.model)
        self.losses.append(loss.detach())
        self.right += self.task.correct(outputs.detach(), targets)

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        losses, right = torch.stack(self.losses).double().numpy(), int(self.right)
        self.losses.clear()
        self.right.zero_()
        return losses, right

    def kept(self, progress: Progress) -> bytes:
        """A branch point: everything that the next update depends on, and the records so far."""
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            # Dropout masks of the next update. The scheduler's state is not kept: its position is the number of updates, and
            # its schedule is the trial's own, which differs from branch to branch.
            "random": torch.default_generator.get_state(),
            "losses": self.losses,  # losses that no record has read yet
            "right": self.right,
            "progress": {**vars(progress), "records": [tuple(vars(record).values()) for record in progress.records]},
        }
        file = io.BytesIO()
        torch.save(content, file)
        return file.getvalue()

    def restore(self, state: bytes) -> Progress:
        """Go to a branch point of a trial that has agreed with this trial until there."""
        content = torch.load(io.BytesIO(state), weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.default_generator.set_state(content["random"])
        self.losses, self.right = content["losses"], content["right"]
        fields = content["progress"]
        progress = Progress(**{**fields, "records": tuple(Record(*record) for record in fields["records"])})
        self.scheduler.set_position(progress.update)
        return progress

    def evaluate(self) -> tuple[float, float]:
        return self._evaluated(*self.test, None if self.average is None else self.average.model(self.inputs))

    def observe(self) -> float:
        """Pass the validation loss to the trial's rule, and return the loss."""
        assert self.held_out is not None
        loss, _ = self._evaluated(*self.held_out)
        self.scheduler.observe(loss)
        return loss

    def _evaluated(
        self, inputs: torch.Tensor, labels: torch.Tensor, mean: torch.nn.Module | None = None
    ) -> tuple[float, float]:
        """The mean loss of these examples, and the share of examples classified correctly."""
        model = self.model if mean is None else mean
        model.eval()
        _mode(self.optimizer, training=False)
        loss, right = 0.0, 0
        with torch.inference_mode():
            for x, y in zip(inputs.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
                outputs = model(x)
                loss += float(self.task.loss(outputs, y)) * len(y)
                right += int(self.task.correct(outputs, y))
        _mode(self.optimizer, training=True)
        model.train()
        return loss / len(labels), right / len(labels)


class _Average:
    """The averaged weights of a trial, from the first checkpoint of the average on."""

    def __init__(self, model: torch.nn.Module, trial: Trial) -> None:
        assert trial.average is not None
        average, total = trial.average.resolve(trial.plan), trial.plan.updates
        self.done, self.first = 0, average.begins(total)
        self.mean = averaged(model, average, range(self.first, total + 1))
        if self.first == 0:
            self.mean.update_parameters(model)

    def update(self, model: torch.nn.Module) -> None:
        """Take in the weights after one more update."""
        self.done += 1
        if self.done >= self.first:
            self.mean.update_parameters(model)

    def model(self, inputs: torch.Tensor) -> torch.nn.Module | None:
        """A model with the averaged weights, and batch statistics of these weights; None before the first checkpoint."""
        if not int(self.mean.n_averaged):
            return None
        with torch.no_grad():
            # The means of batch statistics are no statistics of the mean weights, so these are taken anew on the training data
            # (Izmailov et al., arXiv 1803.05407, section 3).
            update_bn(inputs.split(EVALUATION_BATCH), self.mean.module)
        return self.mean.module


def _optimizer(chosen: Optimizer, model: torch.nn.Module) -> torch.optim.Optimizer:
    parameters, weight_decay = model.parameters(), chosen.weight_decay
    if chosen.kind == "schedule-free":
        with needed_by("optimizer 'schedule-free'", "optimizers"):
            from schedulefree import SGDScheduleFree
        free: torch.optim.Optimizer = SGDScheduleFree(
            parameters, lr=1.0, momentum=chosen.momentum, weight_decay=weight_decay
        )
        _mode(free, training=True)
        return free
    if chosen.betas is None:
        return torch.optim.SGD(parameters, lr=0.0, momentum=chosen.momentum, weight_decay=weight_decay)
    if chosen.kind == "prodigy":
        with needed_by("optimizer 'prodigy'", "optimizers"):
            from prodigyopt import Prodigy
        prodigy: torch.optim.Optimizer = Prodigy(parameters, lr=1.0, betas=chosen.betas, weight_decay=weight_decay)
        return prodigy
    kind = torch.optim.RAdam if chosen.kind == "radam" else torch.optim.Adam
    return kind(parameters, lr=0.0, betas=chosen.betas, weight_decay=weight_decay)


def _mode(optimizer: Any, *, training: bool) -> None:
    """Switch Schedule-Free between its training weights and its averaged weights; leave optimizers of different kinds alone."""
    if hasattr(optimizer, "eval"):
        (optimizer.train if training else optimizer.eval)()


def _seed(seed: int) -> None:
    # Not torch.manual_seed, which would change the random state of the caller's other devices, too.
    torch.default_generator.manual_seed(seed)


def images_last(inputs: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W) with their channels last in memory."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


def _tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """An array as a tensor, without a copy where possible; nothing here writes to the tensor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))
