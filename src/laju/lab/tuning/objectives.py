"""The objective of a search: the test accuracy at the end, or the updates until a test accuracy is reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from laju.core.checks import nearest, shown
from laju.core.units import RunPlan
from laju.lab.statistics import ACCURACY, LOSS
from laju.lab.trials import Outcome, Record

PENALTY = 2
"""A run that does not reach its target counts as this many runs, as in the penalised average runtime PAR2 of algorithm
configuration: never better than a run that reaches the target, and still a number that can be averaged."""


@dataclass(frozen=True)
class Objective:
    """The test accuracy at the end if `target` is None; else the number of updates until the test accuracy is at least `target`.

    >>> str(Objective()), str(Objective(0.9))
    ('accuracy', 'updates-to=0.9')
    """

    target: float | None = None

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        return "maximize" if self.target is None else "minimize"

    @property
    def better(self) -> int:
        """1 if larger figures are better, else -1."""
        return 1 if self.target is None else -1

    @property
    def label(self) -> str:
        """The name of the figure: `test accuracy`, or `updates to 0.9`."""
        return "test accuracy" if self.target is None else f"updates to {self.target:g}"

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of the figure of a run."""
        return ACCURACY if self.target is None else LOSS

    def value(self, outcome: Outcome, plan: RunPlan) -> float:
        """The figure of a run. A run that diverged has no model, so its accuracy is 0 and no target is reached."""
        tests = [r for r in outcome.records if r.test_accuracy is not None]
        failed = outcome.status == "diverged" or not tests
        if self.target is None:
            return 0.0 if failed else float(tests[-1].test_accuracy or 0.0)
        reached = [r.update for r in tests if r.test_accuracy is not None and r.test_accuracy >= self.target]
        return float(PENALTY * plan.updates if failed or not reached else reached[0])

    def step(self, record: Record) -> float:
        """The figure for a pruner at the end of an epoch, in the direction of the objective."""
        accuracy = record.test_accuracy or 0.0
        return accuracy if self.target is None else 1 - accuracy

    def course(self, records: Iterable[Record]) -> Iterator[tuple[int, float]]:
        """Pairs (epoch, figure for a pruner) at the end of every epoch."""
        return ((round(r.epoch), self.step(r)) for r in records if r.test_accuracy is not None)

    def __str__(self) -> str:
        return "accuracy" if self.target is None else f"updates-to={self.target!r}"


def read_objectives(given: str | Sequence[str]) -> tuple[Objective, ...]:
    """Objectives from their texts.

    Raises:
        ValueError: an unknown objective, an objective given twice, no objective, or a target outside (0, 1].

    >>> read_objectives(["accuracy", "updates-to=0.9"])
    (Objective(target=None), Objective(target=0.9))
    """
    texts = [given] if isinstance(given, str) else list(given)
    found: list[Objective] = []
    for text in texts:
        name, equals, target = (part.strip() for part in str(text).partition("="))
        if name == "accuracy" and not equals:
            objective = Objective()
        elif name == "updates-to":
            try:
                objective = Objective(float(target))
            except ValueError:
                raise ValueError(f"objective {text!r} must be updates-to=ACCURACY, such as updates-to=0.9") from None
            if not 0 < (objective.target or 0) <= 1:
                raise ValueError(f"objective {text!r} must have an accuracy above 0 and at most 1")
        else:
            valid = ("accuracy", "updates-to")
            raise ValueError(
                f"objective {shown(text)} is not one of accuracy, updates-to=ACCURACY{nearest(name, valid)}"
            )
        if objective in found:
            raise ValueError(f"objective {text!r} is there twice")
        found.append(objective)
    if not found:
        raise ValueError("objective must be at least one of accuracy, updates-to=ACCURACY")
    return tuple(found)
