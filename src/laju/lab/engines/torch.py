"""Trials in PyTorch: data resident as tensors, no per-image Python work, and no read of a result before a record needs it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from laju.frameworks.torch import Scheduler
from laju.lab.trial import Outcome, Record, Status, Trial

RECORD_EVERY = 50
"""Minibatches between records of the running training loss and accuracy, as in the chapter."""
_EVALUATION_BATCH = 1000
_GUESSING = 0.99, 1.5
"""A trial whose last training loss is above this share of the loss of guessing, and whose accuracy is below this multiple of
that of guessing, has collapsed. Both are asked, because a loss that overshoots while the network learns is large too."""

Report = Callable[[Record], None]


@contextmanager
def _one_thread_and_own_randomness() -> Iterator[None]:
    """The caller's thread count and random state, put back afterwards.

    One thread is the quicker way to run several trials on a CPU, and sums in an order that does not depend on the machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def order(seed: int, epoch: int, samples: int) -> npt.NDArray[np.int64]:
    """The order of the data in an epoch: the same for every schedule and framework."""
    return np.random.default_rng((seed, epoch)).permutation(samples)


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run one trial from its beginning and return its records; the same trial gives the same outcome, bit by bit.

    Args:
        trial: what to run.
        report: is called with every record as it is made.
    """
    with _one_thread_and_own_randomness():
        return _train(trial, report)


def _train(trial: Trial, report: Report | None) -> Outcome:
    task = trial.task
    _seed(trial.seed)
    data = task.data()
    _seed(trial.seed)  # again: the data are not read for every trial, and reading them may have drawn numbers
    plan = trial.plan
    inputs, labels = _tensor(data.train_inputs), _tensor(data.train_labels)
    test = _tensor(data.test_inputs), _tensor(data.test_labels)
    model = task.model(trial.seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.0, momentum=trial.optimizer.momentum, weight_decay=trial.optimizer.weight_decay
    )
    scheduler = Scheduler(optimizer, lr=trial.schedule.resolve(plan))
    records: list[Record] = []
    begin = time.perf_counter()  # of training alone: the first trial of a process reads the data and loads modules, too

    for epoch in range(trial.epochs):
        model.train()
        batches = torch.from_numpy(order(trial.seed, epoch, len(labels))).split(trial.batch_size)
        losses = torch.empty(len(batches), dtype=torch.float64)
        loss_sum, right, seen, checked = 0.0, torch.zeros((), dtype=torch.int64), 0, 0
        for i, batch in enumerate(batches):
            rate = optimizer.param_groups[0]["lr"]
            targets = labels[batch]
            outputs = model(inputs[batch])
            loss = task.loss(outputs, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            with torch.no_grad():
                losses[i] = loss
                right += task.correct(outputs, targets)
            seen += len(batch)
            last = i + 1 == len(batches)
            if not last and (i + 1) % RECORD_EVERY:
                continue
            new = losses[checked : i + 1]
            finite = torch.isfinite(new)
            if not finite.all():
                at = epoch * len(batches) + checked + int((~finite).nonzero()[0])
                return Outcome("diverged", tuple(records), time.perf_counter() - begin, diverged_at=at)
            # Every batch but the last of an epoch is full, so a mean weighs its loss by its size.
            sizes = torch.tensor([len(b) for b in batches[checked : i + 1]], dtype=torch.float64)
            loss_sum += float(new @ sizes)
            checked = i + 1
            record = Record(
                update=epoch * plan.updates_per_epoch + i + 1,
                epoch=epoch + (i + 1) / len(batches),
                rate=rate,
                train_loss=loss_sum / seen,
                train_accuracy=float(right) / seen,
                test_accuracy=_accuracy(trial, model, *test) if last else None,
            )
            records.append(record)
            if report is not None:
                report(record)

    # A loss at that of guessing at the end: the network never learned, or its units died on the way.
    guess = float(torch.bincount(labels).max()) / len(labels)
    last_record = records[-1]
    guessing = (
        last_record.train_loss > _GUESSING[0] * task.chance_loss and last_record.train_accuracy < _GUESSING[1] * guess
    )
    status: Status = "collapsed" if guessing else "finished"
    return Outcome(status, tuple(records), time.perf_counter() - begin)


def _seed(seed: int) -> None:
    # Not torch.manual_seed, which would change the random state of the caller's other devices, too.
    torch.default_generator.manual_seed(seed)


def _tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """An array as a tensor, in place where that is possible; nothing here writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(array))


def _accuracy(trial: Trial, model: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    right = 0
    with torch.inference_mode():
        for x, y in zip(inputs.split(_EVALUATION_BATCH), labels.split(_EVALUATION_BATCH), strict=True):
            right += int(trial.task.correct(model(x), y))
    return right / len(labels)
