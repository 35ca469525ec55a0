"""Runs as functions of their training loss, and two runs with the same seed compared at equal training losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from laju.lab.statistics import ACCURACY, Estimate, joint_difference

REFERENCE = "constant"


class Point(NamedTuple):
    """The figures of a set of weights, on all training and all test examples."""

    epoch: float
    train_accuracy: float
    test_accuracy: float
    test_loss: float

    @property
    def gap(self) -> float:
        """Training accuracy minus test accuracy."""
        return self.train_accuracy - self.test_accuracy


@dataclass(frozen=True)
class Curve:
    """The figures of a run as functions of its training loss.

    Args:
        losses: the training losses after the epochs, in any order; sorted from the highest to the lowest.
        points: the figures of the same weights.

    >>> found = Curve([1.0, 0.25, 0.5], [Point(1, 0.6, 0.5, 1.0), Point(2, 0.9, 0.8, 0.6), Point(3, 0.8, 0.7, 0.8)])
    >>> found.highest, found.lowest
    (1.0, 0.25)
    >>> round(found.at(0.5**0.5).test_accuracy, 3)
    0.6
    """

    losses: Sequence[float]
    points: Sequence[Point]

    def __post_init__(self) -> None:
        order = sorted(range(len(self.losses)), key=lambda i: self.losses[i], reverse=True)
        object.__setattr__(self, "losses", tuple(max(self.losses[i], 1e-12) for i in order))
        object.__setattr__(self, "points", tuple(self.points[i] for i in order))

    @property
    def highest(self) -> float:
        """The highest training loss."""
        return self.losses[0]

    @property
    def lowest(self) -> float:
        """The lowest training loss, which need not be that of the last epoch."""
        return self.losses[-1]

    def at(self, loss: float) -> Point:
        """The figures at a training loss, by linear interpolation in ln(loss) between the two epochs with the nearest losses."""
        x = -np.log(self.losses)
        return Point(*(float(np.interp(-math.log(loss), x, values)) for values in zip(*self.points, strict=True)))


@dataclass(frozen=True)
class Pair:
    """A run and the reference's run with the same seed, at the same training loss."""

    seed: int
    loss: float
    run: Point
    reference: Point


def pair(seed: int, run: Curve, reference: Curve, loss: float | None = None) -> Pair | None:
    """Two runs at a training loss, by default the lowest loss that both reach; None if either run does not reach the loss."""
    low, high = max(run.lowest, reference.lowest), min(run.highest, reference.highest)
    level = low if loss is None else loss
    return Pair(seed, level, run.at(level), reference.at(level)) if low <= level <= high else None


@dataclass(frozen=True)
class Matched:
    """A schedule compared with the reference, over the seeds with which both have finished runs.

    Attributes:
        name: the name of the schedule.
        pairs: a pair for every such seed, at the lowest training loss that both runs reach.
        accuracy, loss: test accuracy and test loss minus the reference's; None without pairs. The intervals of all
            schedules hold simultaneously with 95 % confidence (Bonferroni).
        lost: the seeds without a pair.
    """

    name: str
    pairs: tuple[Pair, ...]
    accuracy: Estimate | None
    loss: Estimate | None
    lost: tuple[int, ...]


Curves = Mapping[tuple[str, int], Curve]


def pairs(name: str, seeds: Sequence[int], curves: Curves, loss: float | None = None) -> tuple[Pair, ...]:
    """The pairs of a schedule's runs and the reference's, for the seeds that have a pair; `loss` as in `pair`."""
    both = ((seed, curves.get((name, seed)), curves.get((REFERENCE, seed))) for seed in seeds)
    asked = (pair(seed, a, b, loss) for seed, a, b in both if a is not None and b is not None)
    return tuple(found for found in asked if found is not None)


def matched(name: str, seeds: Sequence[int], curves: Curves, others: int, resolution: float = 0.0) -> Matched:
    """Compare a schedule with the reference.

    Args:
        name: the name of the schedule.
        seeds: the seeds of the comparison.
        curves: the curves of the finished runs, by schedule and seed.
        others: the number of schedules that are compared with the reference.
        resolution: the smallest difference of two test accuracies.
    """
    found = pairs(name, seeds, curves)
    a, b = [p.run.test_accuracy for p in found], [p.reference.test_accuracy for p in found]
    accuracy = joint_difference(a, b, others, resolution=resolution, bounds=ACCURACY)
    loss = joint_difference([p.run.test_loss for p in found], [p.reference.test_loss for p in found], others)
    with_pair = {p.seed for p in found}
    return Matched(name, found, accuracy, loss, tuple(seed for seed in seeds if seed not in with_pair))
