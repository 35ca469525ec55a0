"""The rates at which a network trains, for several kinds of start: a grid of trials, and the effect of each start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.schedule import Schedule
from laju.lab.statistics import ACCURACY, Estimate, claim, counted, estimate, joint_difference
from laju.lab.trials import Optimizer, Outcome
from laju.lab.trials.tasks import Task
from laju.lab.workers import Key
from laju.studies.base import Table, as_json, cell

LEARNED = 0.5
"""A trial trains if it finishes and its last training loss is below this share of the loss of guessing."""

Make = Callable[[float], Schedule]


@dataclass(frozen=True)
class Setting:
    """A grid: a network and an optimizer, with the kinds of start by name."""

    key: str
    title: str
    task: Task
    optimizers: Mapping[str, Optimizer]
    ways: Mapping[str, Make]
    rates: tuple[float, ...]


def trial_name(setting: Setting, way: str, rate: float) -> str:
    return f"{setting.key}: {way}, {rate:g}"


@dataclass(frozen=True)
class TrainedRates:
    """The results of a setting's trials: for each way and rate, by seed, whether the network trained and how well."""

    setting: Setting
    seeds: Sequence[int]
    trained: Mapping[str, npt.NDArray[np.bool_]]  # by way, (rates, seeds)
    accuracy: Mapping[str, npt.NDArray[np.float64]]  # NaN for a trial that did not finish

    @classmethod
    def of(cls, setting: Setting, seeds: Sequence[int], outcomes: Mapping[Key, Outcome]) -> TrainedRates:
        guess = setting.task.chance_loss
        trained, accuracy = {}, {}
        for way in setting.ways:
            found = [[outcomes[trial_name(setting, way, rate), seed] for seed in seeds] for rate in setting.rates]
            trained[way] = np.array([[trains(o, guess) for o in row] for row in found])
            accuracy[way] = np.array([[_accuracy(o) for o in row] for row in found])
        return cls(setting, seeds, trained, accuracy)

    def boundaries(self, way: str) -> list[float | None]:
        """By seed, the largest rate before the first that does not train."""
        return [boundary(self.setting.rates, self.trained[way][:, i]) for i in range(len(self.seeds))]

    def boundary(self, way: str) -> float | None:
        """The boundary over all seeds together: a rate trains if the network trains with every seed."""
        return boundary(self.setting.rates, [bool(row.all()) for row in self.trained[way]])

    def best(self, way: str) -> int | None:
        """The index of the rate with the best mean test accuracy, among rates that train with every seed."""
        usable = self.trained[way].all(axis=1)
        if not usable.any():
            return None
        return int(np.where(usable, self.accuracy[way].mean(axis=1), -np.inf).argmax())

    def widening(self, way: str, reference: str) -> list[float] | None:
        """By seed, the ratio of the largest rate that trains to that of the reference; None if a seed has no such rate."""
        pairs = list(zip(self.boundaries(way), self.boundaries(reference), strict=True))
        return None if any(a is None or b is None for a, b in pairs) else [a / b for a, b in pairs if a and b]

    def difference(self, way: str, reference: str) -> Estimate | None:
        """The difference in test accuracy, each start at its best rate, paired over the seeds, with simultaneous intervals."""
        a, b = self.best(way), self.best(reference)
        if a is None or b is None:
            return None
        pairs = list(self.accuracy[way][a]), list(self.accuracy[reference][b])
        others, resolution = len(self.setting.ways) - 1, self.setting.task.resolution
        return joint_difference(*pairs, others, resolution=resolution, bounds=ACCURACY)

    def change(self, way: str, reference: TrainedRates | None = None) -> Change:
        """The effect of a start on the largest rate that trains, relative to the first start of this or a reference grid."""
        grid = self if reference is None else reference
        first, *others = grid.setting.ways
        comparisons = len(others) if reference is None else len(self.setting.ways)
        return Change.of(self.setting.rates, self.boundaries(way), grid.boundaries(first), comparisons)

    def table(self) -> Table:
        reference = next(iter(self.setting.ways))
        rows = []
        for way in self.setting.ways:
            best, test = self.best(way), None
            if best is not None:
                test = estimate(self.accuracy[way][best], resolution=self.setting.task.resolution, bounds=ACCURACY)
            limits = rate_text(self.boundary(way)), ", ".join(map(rate_text, self.boundaries(way)))
            rate = None if best is None else f"{self.setting.rates[best]:g}"
            difference = None if way == reference else self.difference(way, reference)
            rows.append((way, *limits, rate, test, cell(difference, signed=True)))
        headings = (
            "start", "largest rate that trains", "by seed", "best rate", "test accuracy there", f"against {reference}"
        )  # fmt: skip
        return Table(headings, rows)

    def to_json(self) -> dict[str, Any]:
        reference = next(iter(self.setting.ways))
        ways = {}
        for way in self.setting.ways:
            best, first = self.best(way), way == reference
            ways[way] = {
                "trained": self.trained[way].sum(axis=1).tolist(),
                "test_accuracy": [[None if math.isnan(v) else v for v in row] for row in self.accuracy[way].tolist()],
                "largest_rate": self.boundary(way),
                "largest_rate_by_seed": self.boundaries(way),
                "widening_by_seed": None if first else self.widening(way, reference),
                "steps": None if first else self.change(way).steps,
                "best_rate": None if best is None else self.setting.rates[best],
                "difference": None if first else self.difference(way, reference),
            }
        found: dict[str, Any] = as_json({"title": self.setting.title, "rates": self.setting.rates, "ways": ways})
        return found


@dataclass(frozen=True)
class Change:
    """The effect of a start on the largest rate that trains, seed by seed.

    Attributes:
        ratios: by seed, the ratio of the rates; infinite if no rate trains with the reference. None if a seed trains at no rate
            with either start, so that there is nothing to compare.
        steps: the mean change in steps of the tried rates, with an interval that holds simultaneously for all starts of a
            setting. A rate is known only to within a step, so the spread is at least a step; if no rate trains, this counts as a
            step below the smallest rate.
        comparisons: the number of starts that are examined together.
    """

    ratios: tuple[float, ...] | None
    steps: Estimate | None = None
    comparisons: int = 1

    @classmethod
    def of(
        cls, rates: Sequence[float], ones: Sequence[float | None], others: Sequence[float | None], comparisons: int
    ) -> Change:
        if any(a is None and b is None for a, b in zip(ones, others, strict=True)):
            return cls(None)
        a, b = ([-1.0 if rate is None else float(rates.index(rate)) for rate in side] for side in (ones, others))
        ratios = tuple(math.inf if not y else (x or 0.0) / y for x, y in zip(ones, others, strict=True))
        return cls(ratios, joint_difference(a, b, comparisons, resolution=1.0), comparisons)

    @property
    def text(self) -> str:
        """The claim in words, with the ratios of the seeds."""
        if self.ratios is None:
            return "cannot be compared for every seed, as nothing trains"
        if set(self.ratios) == {1.0}:
            return "is no change for any seed"
        shown = claim(
            self.steps,
            above="is shown to widen the range",
            below="is shown to narrow the range",
            otherwise="is not shown to change the range",
        )
        return f"{shown} ({self.by_seed})"

    @property
    def by_seed(self) -> str:
        """The seeds' ratios, such as `2 to 16 times: wider for 3 of 3 seeds, narrower for 0`."""
        ratios = self.ratios or (1.0,)
        low, high = min(ratios), max(ratios)
        far = f"{low:.2g} times" if low == high else f"{low:.2g} to {high:.2g} times"
        far = "from none that trains" if high == math.inf else far
        wider, narrower = sum(r > 1 for r in ratios), sum(r < 1 for r in ratios)
        return f"{far}: wider for {wider} of {counted(len(ratios), 'seed')}, narrower for {narrower}"


def trains(outcome: Outcome, chance_loss: float) -> bool:
    """Whether the run trains: the run finished, with a last training loss below `LEARNED` times the loss of guessing."""
    return outcome.status == "finished" and outcome.records[-1].train_loss < LEARNED * chance_loss


def boundary(rates: Sequence[float], trained: Sequence[bool] | npt.NDArray[np.bool_]) -> float | None:
    """The largest rate of the first unbroken series of rates that train, from the smallest up; None if no rate trains.

    >>> boundary([0.1, 0.2, 0.4, 0.8], [False, True, True, False])
    0.4
    >>> boundary([0.1, 0.2, 0.4], [True, False, True])
    0.1
    """
    found = None
    for rate, good in zip(rates, trained, strict=True):
        if good:
            found = rate
        elif found is not None:
            break
    return found


def _accuracy(outcome: Outcome) -> float:
    last = outcome.records[-1].test_accuracy if outcome.status == "finished" else None
    return math.nan if last is None else last


def rate_text(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:g}"
