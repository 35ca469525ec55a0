"""The results of a comparison: the schedules, the seeds, and the outcome of every trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laju.core.schedule import Schedule
    from laju.core.units import RunPlan
    from laju.lab.comparison.beside import LoggedRun
    from laju.lab.comparison.race import Dropped, Race
    from laju.lab.trials import Optimizer, Outcome, Record


@dataclass(frozen=True)
class Results:
    """The trials of a comparison, the basis of every finding; `Comparison` describes each field."""

    task: str
    schedules: dict[str, Schedule]
    plan: RunPlan
    optimizer: Optimizer
    seeds: tuple[int, ...]
    outcomes: dict[tuple[str, int], Outcome]
    tuned: bool = False
    frameworks: dict[str, str] = field(default_factory=dict)
    guessing: float = 0.0
    notes: tuple[str, ...] = ()
    resolution: float = 0.0
    race: Race | None = None
    description: str = ""
    data: str = ""
    beside: tuple[LoggedRun, ...] = ()

    def __post_init__(self) -> None:
        if not self.schedules:
            raise ValueError("a comparison needs at least one schedule")
        if not self.frameworks:
            object.__setattr__(self, "frameworks", dict.fromkeys(self.schedules, "torch"))
        if self.frameworks.keys() != self.schedules.keys():
            raise ValueError(f"frameworks must have the schedules' names, got {', '.join(self.frameworks)}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be at least one, each once, got {self.seeds!r}")
        if self.race is not None and self.race.left != tuple(self.schedules):
            raise ValueError(f"schedules must be those that the race left, {', '.join(self.race.left)}")
        for name, seed in self.outcomes:
            if name not in self.schedules or seed not in self.seeds:
                raise ValueError(f"outcome {(name, seed)!r} is of a schedule or seed that is not in the comparison")

    @property
    def reference(self) -> str:
        """The name of the schedule to which all schedules are compared."""
        return next(iter(self.schedules))

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """The schedules that a race dropped, in order of time."""
        return self.race.dropped if self.race else ()

    def trials(self) -> list[dict[str, Any]]:
        """A flat row for each trial with its final figures, for `pandas.DataFrame`; a trial not run is `missing`."""
        rows = []
        for name, seed in self._asked():
            outcome = self.outcomes.get((name, seed))
            last = _last(outcome)
            rows.append(
                {
                    "task": self.task,
                    "schedule": name,
                    "spec": str(self.schedules[name]),
                    "framework": self.frameworks[name],
                    "seed": seed,
                    "status": outcome.status if outcome else "missing",
                    "diverged_at": outcome.diverged_at if outcome else None,
                    "update": last.update if last else None,
                    "epoch": last.epoch if last else None,
                    "train_loss": last.train_loss if last else None,
                    "train_accuracy": None if last is None or math.isnan(last.train_accuracy) else last.train_accuracy,
                    "test_loss": last.test_loss if last else None,
                    "test_accuracy": last.test_accuracy if last else None,
                    "gap": gap(last) if last else None,
                    "seconds": outcome.seconds if outcome else None,
                }
            )
        return rows

    def records(self) -> list[dict[str, Any]]:
        """A flat row for each record of every trial, for `pandas.DataFrame`."""
        return [
            {
                "schedule": name,
                "framework": self.frameworks[name],
                "seed": seed,
                "status": outcome.status,
                **vars(record),
            }
            for name, seed in self._asked()
            if (outcome := self.outcomes.get((name, seed))) is not None
            for record in outcome.records
        ]

    def finals(self, name: str, figure: Callable[[Record], float | None]) -> dict[int, float]:
        """The given final figure of each seed that finished with this figure."""
        finals = {}
        for seed in self.seeds:
            outcome = self.outcomes.get((name, seed))
            if outcome is not None and outcome.status == "finished" and (last := _last(outcome)) is not None:
                value = figure(last)
                if value is not None and not math.isnan(value):  # a program need not report a training accuracy
                    finals[seed] = value
        return finals

    def _asked(self) -> Iterator[tuple[str, int]]:
        return ((name, seed) for name in self.schedules for seed in self.seeds)


def _last(outcome: Outcome | None) -> Record | None:
    return outcome.records[-1] if outcome is not None and outcome.records else None


def gap(record: Record) -> float | None:
    """Train accuracy minus test accuracy; None if either is unknown."""
    if record.test_accuracy is None or math.isnan(record.train_accuracy):
        return None
    return record.train_accuracy - record.test_accuracy
