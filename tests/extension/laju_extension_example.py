"""A package that adds a task, an engine, a system of schedulers and a verb to laju from outside."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import torch

from laju.core.schedule import Schedule
from laju.dialects import System
from laju.dialects.base import powers
from laju.dialects.declared import Count1, Rate
from laju.lab import Data, Outcome, Record, Task, Trial


@dataclass(frozen=True)
class Halves(Task):
    """Is a number below zero? Trained by the engine of this package."""

    name: str = "halves"
    batch_size: int = 20

    @property
    def engine(self) -> str:
        return "counting"

    def load(self) -> Data:
        inputs = np.linspace(-1, 1, 100, dtype=np.float32)[:, None]
        labels = (inputs[:, 0] < 0).astype(np.int64)
        return Data(inputs, labels, inputs, labels, classes=2)

    def model(self, seed: int) -> torch.nn.Module:
        return torch.nn.Linear(1, 2)


def train(trial: Trial, report: Any = None) -> Outcome:
    """An engine trains nothing here: its accuracy is the rate of the last update."""
    rate = float(trial.schedule.resolve(trial.plan)(trial.plan.updates - 1))
    record = Record(trial.plan.updates, float(trial.epochs), rate, 1 - rate, rate, test_accuracy=rate)
    if report is not None:
        report(record)
    return Outcome("finished", (record,), 0.0)


engine = SimpleNamespace(train=train)


SYSTEM = System(
    name="halving",
    title="Halving",
    package="laju-extension-example",
    releases=("0.1",),
    counts="epochs",
    unit="epoch",
)


@SYSTEM.declare
def Halve(lr: Rate, every: Count1 = 10) -> Schedule:
    """The rate is halved after every so many epochs."""
    return powers(lr, 0.5, every)


@click.command("hello")
def hello() -> None:
    """Say hello."""
    click.echo("hello from outside")
