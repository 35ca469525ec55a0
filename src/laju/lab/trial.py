"""A trial: one training run as a value, and what came out of it.

Two trials with the same fingerprint are the same experiment, so a finished one never needs to run again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal, get_args

from laju.lab.tasks import Task
from laju.schedule import Schedule
from laju.units import RunPlan

Status = Literal["finished", "diverged", "collapsed"]
Framework = Literal["torch", "tensorflow", "jax", "mxnet"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)

RECIPE = 1
"""Part of every trial's fingerprint: raised when training changes in a way that changes what comes out."""


@dataclass(frozen=True)
class Optimizer:
    """Stochastic gradient descent, with the learning rate left to the schedule."""

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum!r}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be a finite number that is not negative, got {self.weight_decay!r}")

    def __str__(self) -> str:
        options = [f"{k}={v!r}" for k, v in vars(self).items() if v]
        return f"sgd({', '.join(options)})"


@dataclass(frozen=True)
class Trial:
    """One run: a task trained with a schedule, an optimizer and a seed, for a number of epochs, in a framework."""

    task: Task
    schedule: Schedule
    seed: int
    epochs: int
    batch_size: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    framework: Framework = "torch"

    @property
    def plan(self) -> RunPlan:
        return RunPlan(samples=self.task.train_size, batch_size=self.batch_size, epochs=self.epochs)

    @property
    def fingerprint(self) -> str:
        content = {
            "recipe": RECIPE,
            "task": self.task.fingerprint,
            "schedule": self.schedule.fingerprint,
            "optimizer": str(self.optimizer),
            "seed": self.seed,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
        }
        if self.framework != "torch":  # trials of earlier stores had no other
            content["framework"] = self.framework
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """What was known after `update` completed updates; train figures are running means over the current epoch."""

    update: int
    epoch: float
    rate: float
    train_loss: float
    train_accuracy: float
    test_accuracy: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    `diverged`: the loss became NaN or infinite, first in update `diverged_at` (counted from 0); training stopped.
    `collapsed`: at the end the training loss was still, or again, that of guessing.
    """

    status: Status
    records: tuple[Record, ...]
    seconds: float
    diverged_at: int | None = None
