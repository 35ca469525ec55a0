"""Tasks that train in milliseconds, each made so that what a trial must do can be read off it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from laju.lab.trials.tasks import Data, Task


def numbered(n: int, width: int = 1) -> Data:
    """n training samples whose first input is their number, with labels 0 and 1 in turn."""
    inputs = np.zeros((n, width), dtype=np.float32)
    inputs[:, 0] = np.arange(n)
    labels = np.arange(n, dtype=np.int64) % 2
    return Data(inputs, labels, inputs[:10].copy(), labels[:10].copy(), classes=2)


@dataclass(frozen=True)
class Sides(Task):
    """On which side of a line does a point lie? With dropout, so that torch's random numbers matter."""

    name: str = "sides"
    n: int = 400

    def load(self) -> Data:
        torch.rand(3)  # reading data may draw random numbers
        points = np.random.default_rng(0).normal(size=(self.n + 100, 2)).astype(np.float32)
        sides = (points.sum(axis=1) > 0).astype(np.int64)
        return Data(points[: self.n], sides[: self.n], points[self.n :], sides[self.n :], classes=2)

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 2)
        )


class Forbidden(Sides):
    """The same data and results as `Sides`, but training it again is an error."""

    @cached_property
    def fingerprint(self) -> str:
        return Sides(self.name, self.n).fingerprint

    def model(self, seed: int) -> torch.nn.Module:
        raise AssertionError("a finished trial was trained again")


@dataclass(frozen=True)
class Deadly(Sides):
    """Kills its own process the first time that a trial of the seed begins, or always, and is like `Sides` otherwise."""

    seed: int = 0
    mark: Path = Path()
    always: bool = False

    @cached_property
    def fingerprint(self) -> str:
        return Sides(self.name, self.n).fingerprint

    def model(self, seed: int) -> torch.nn.Module:
        if seed == self.seed and (self.always or not self.mark.exists()):
            self.mark.touch()
            os.kill(os.getpid(), 9)
        return super().model(seed)


@dataclass(frozen=True)
class Stuck(Sides):
    """A trial of the seed waits for an hour; the others are like those of `Sides`."""

    seed: int = 0

    @cached_property
    def fingerprint(self) -> str:
        return Sides(self.name, self.n).fingerprint

    def model(self, seed: int) -> torch.nn.Module:
        if seed == self.seed:
            time.sleep(3600)
        return super().model(seed)


@dataclass(frozen=True)
class Counted(Sides):
    """Like `Sides`; every training adds a line to a file and waits for so many seconds before it begins."""

    file: Path = Path("trained")
    wait: float = 0.0

    @cached_property
    def fingerprint(self) -> str:
        return Sides(self.name, self.n).fingerprint

    def model(self, seed: int) -> torch.nn.Module:
        with self.file.open("a") as file:
            file.write(f"{seed}\n")
        time.sleep(self.wait)
        return super().model(seed)


class _Points(torch.utils.data.Dataset[int]):
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> int:
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), 9)
        return i


@dataclass(frozen=True)
class Fetched(Sides):
    """Reads something through a data loader's process at the beginning of every trial; that one kills itself the first time."""

    mark: Path = Path()

    @cached_property
    def fingerprint(self) -> str:
        return Sides(self.name, self.n).fingerprint

    def model(self, seed: int) -> torch.nn.Module:
        options = {"num_workers": 1, "multiprocessing_context": "fork", "generator": torch.Generator()}
        list(torch.utils.data.DataLoader(_Points(self.mark), **options))
        return super().model(seed)


class Weight(torch.nn.Module):
    """A single float64 weight that answers for every sample."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.inputs: list[list[int]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.inputs.append(x[:, 0].int().tolist())
        return self.weight.expand(len(x), 2)


class Slope(Task):
    """A weight w with the loss w: every update subtracts the rate, and the loss of update t is the weight before it."""

    name = "slope"

    def __init__(self, n: int = 100) -> None:
        self.n = n
        self.losses: list[float] = []
        self.models: list[Weight] = []

    def load(self) -> Data:
        return numbered(self.n)

    def model(self, seed: int) -> torch.nn.Module:
        self.models.append(Weight(float(seed)))
        return self.models[-1]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = outputs.mean()
        if torch.is_grad_enabled():  # of updates, and not of evaluations
            self.losses.append(float(loss.detach()))
        return loss


class Explosion(Slope):
    """A float32 weight w that begins at 1, with the loss w²: a rate of 50.5 makes the loss 10⁴ times larger in each update.

    So the loss of an update is 10⁴ᵏ after k such rates, which float32 holds up to k = 9; with the rate 0 it stays 1.
    """

    name = "explosion"

    def model(self, seed: int) -> torch.nn.Module:
        return Weight(1.0).float()

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs[0, 0] ** 2
