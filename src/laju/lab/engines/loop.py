"""The training loop shared by the engines of all frameworks: the examples of each update, and the times of records.

An engine supplies a `Training`, which contains everything that differs between frameworks, and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from laju.lab.trials import Outcome, Record, Status, Trial
from laju.lab.trials.tasks.base import Indices, Task

RECORD_EVERY = 50
"""Minibatches between records of the running training loss and accuracy, as in the chapter."""
EVALUATION_BATCH = 1000
_GUESSING = 0.99, 1.5
"""A trial whose last training loss is above this share of the loss of guessing, and whose accuracy is below this multiple of
that of guessing, has collapsed. Both conditions are required, because a loss that overshoots while the network learns is large,
too."""

Batch = Indices
Report = Callable[[Record], None]


class MetricError(ValueError):
    """A trial has reported an impossible figure, such as an accuracy above 1."""


def check_record(trial: Trial, record: Record) -> None:
    """Refuse a record whose figures would spoil the means over seeds.

    Raises:
        MetricError: a figure outside of its range, or not a number; the message names the figure and the update.
    """
    try:
        record.check(optional=trial.task.engine == "program")
    except (TypeError, ValueError) as error:
        raise MetricError(f"task {trial.task.name!r}, seed {trial.seed}, update {record.update}: {error}") from None


class Training(Protocol):
    """A model, its optimizer and its data in a framework, at the beginning of a trial."""

    def rate(self) -> float:
        """The rate of the next update, read from the framework's own optimizer."""

    def update(self, batch: Batch) -> None:
        """Make an update with the training examples of these indices, possibly without waiting for its end."""

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        """The losses of the updates since the last reading, and the numbers of correct examples, both before each update."""

    def evaluate(self) -> tuple[float, float]:
        """The current mean loss of the test examples, and the share of test examples classified correctly."""


@dataclass(frozen=True)
class Progress:
    """The progress of a trial: `update` completed updates, their records, and the sums of the current epoch.

    `checked` counts the updates of the epoch whose losses have been read, `seconds` the time of training until here.
    """

    update: int = 0
    records: tuple[Record, ...] = ()
    observed: tuple[tuple[int, float], ...] = ()
    loss_sum: float = 0.0
    right: int = 0
    checked: int = 0
    seconds: float = 0.0
    diverged_at: int | None = None


def run(
    trial: Trial, training: Training, report: Report | None = None, observe: Callable[[], float] | None = None
) -> Outcome:
    """Make every update of the trial, from its beginning to its end or to the first loss that is not finite.

    A test loss counts for the update before.

    Args:
        trial: the trial to run.
        training: the trial's training, ready to begin.
        report: called with every new record.
        observe: shows the trial's rule the validation loss, and returns that loss; called at the end of every epoch.
    """
    return outcome(trial, advance(trial, training, Progress(), trial.plan.updates, report, observe))


def advance(
    trial: Trial,
    training: Training,
    progress: Progress,
    stop: int,
    report: Report | None = None,
    observe: Callable[[], float] | None = None,
) -> Progress:
    """Make the updates from where the trial is to `stop`, or to the first loss that is not finite.

    A trial run in parts has the outcome of a trial run at once, if `training` at the beginning of each part equals `training` at
    the end of the previous part.
    """
    in_epoch = trial.plan.updates_per_epoch
    records, observed = list(progress.records), list(progress.observed)
    loss_sum, right, checked = progress.loss_sum, progress.right, progress.checked
    batches: list[Batch] = []
    begin = time.perf_counter()  # of training alone: the first trial of a process reads the data and loads modules, too

    def reached(update: int, diverged_at: int | None = None) -> Progress:
        seconds = progress.seconds + time.perf_counter() - begin
        return Progress(update, tuple(records), tuple(observed), loss_sum, right, checked, seconds, diverged_at)

    if progress.diverged_at is not None:
        return progress
    for update in range(progress.update, stop):
        epoch, i = divmod(update, in_epoch)
        # The batches of an epoch depend on seed and epoch alone, so a part that begins in the middle of an epoch sees the same
        # batches.
        if i == 0 or not batches:
            batches = trial.task.batches(trial.seed, epoch, trial.batch_size)
        if i == 0:
            loss_sum, right, checked = 0.0, 0, 0
        done, last = i + 1, i + 1 == in_epoch
        recorded = last or done % RECORD_EVERY == 0
        rate = training.rate() if recorded else 0.0
        training.update(batches[i])
        if not recorded:
            continue
        losses, hits = training.read()
        finite = np.isfinite(losses)
        if not finite.all():
            return reached(update + 1, epoch * in_epoch + checked + int((~finite).argmax()))
        # Not every batch is full, so a mean weighs the loss of each by its size.
        sizes = np.array([len(batch) for batch in batches[:done]])
        seen = int(sizes.sum())
        loss_sum += float(losses @ sizes[checked:])
        right += hits
        checked = done
        test_loss, test_accuracy = training.evaluate() if last else (None, None)
        if test_loss is not None and not math.isfinite(test_loss):  # the update has lost the weights
            return reached(update + 1, update)
        record = Record(
            update=update + 1,
            epoch=epoch + done / in_epoch,
            rate=rate,
            train_loss=loss_sum / seen,
            train_accuracy=right / seen,
            test_accuracy=test_accuracy,
            test_loss=test_loss,
        )
        check_record(trial, record)
        records.append(record)
        if report is not None:
            report(record)
        if last and observe is not None:
            observed.append((record.update, observe()))
    return reached(stop)


def outcome(trial: Trial, progress: Progress) -> Outcome:
    """The outcome of a trial that has reached its end or has diverged."""
    if progress.diverged_at is not None:
        return Outcome("diverged", progress.records, progress.seconds, progress.diverged_at, progress.observed)
    status = how_ended(trial.task, progress.records[-1])
    return Outcome(status, progress.records, progress.seconds, observed=progress.observed)


def how_ended(task: Task, end: Record) -> Status:
    """Whether the last record shows learning; a loss of guessing means that the network never learned or that its units died."""
    guessing = end.train_loss > _GUESSING[0] * task.chance_loss
    if task.chance_accuracy and not math.isnan(end.train_accuracy):  # a program may leave out either
        guessing = guessing and end.train_accuracy < _GUESSING[1] * task.chance_accuracy
    return "collapsed" if guessing else "finished"
