"""The result of a search: all schedules that were tried, the best, and warnings."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from laju.lab.statistics import Estimate, Ranking, counted, estimate, rank, verdict
from laju.lab.tuning.objectives import Objective
from laju.lab.tuning.search_space import Range, Space

if TYPE_CHECKING:
    from laju.core.schedule import Schedule
    from laju.core.units import RunPlan
    from laju.lab.comparison import Comparison
    from laju.lab.trials import Optimizer

_EDGE = 0.03  # of a range, from either end


@dataclass(frozen=True)
class Evaluation:
    """A schedule that a search has tried.

    Attributes:
        number: Optuna's number of the trial, the same as in its dashboard.
        schedule, spec, parameters: the trained schedule, also as text of the policy; lengths have their unit.
        suggested: the numbers that Optuna suggested, before rounding.
        pruned: whether the trial was stopped before its end, and so has no values.
        values: the mean over the seeds, for each objective.
        by_seed: for each objective, the figures of the seeds.
        course: pairs (epoch, test accuracy) of the first seed; in a search for few updates, pairs (epoch, error).
        late: whether the trial was pruned because a run took longer than the time limit.
    """

    number: int
    schedule: Schedule
    spec: str
    parameters: Mapping[str, Any]
    suggested: Mapping[str, Any]
    pruned: bool
    values: tuple[float, ...]
    by_seed: tuple[tuple[float, ...], ...] = ()
    course: tuple[tuple[int, float], ...] = ()
    late: bool = False


@dataclass(frozen=True)
class SearchResult:
    """A search of a policy's parameters, finished or not.

    Attributes:
        space: the parameters that were varied.
        task, plan, optimizer, framework, seeds: the settings of every trial.
        objectives: the objectives of the search.
        evaluations: the trials in the order of the search, including pruned trials.
        importance: the share of the first objective's variance that each parameter explains (fANOVA), if this can be computed.
        confirmation: the best trial, or the whole Pareto front, trained with seeds that the search did not see.
        study, storage: where the search is kept; `storage` is None for a temporary storage.
        resolution: the smallest difference of two test accuracies, 1 / (test examples); 0 if unknown.
    """

    space: Space
    task: str
    plan: RunPlan
    optimizer: Optimizer
    framework: str
    objectives: tuple[Objective, ...]
    seeds: tuple[int, ...]
    evaluations: tuple[Evaluation, ...]
    importance: Mapping[str, float] = field(default_factory=dict)
    confirmation: Comparison | None = None
    study: str = ""
    storage: str | None = None
    resolution: float = 0.0

    @property
    def ranked(self) -> list[Evaluation]:
        """The finished trials, best first by the first objective, then by the next objectives; among equals, earlier first."""
        finished = [evaluation for evaluation in self.evaluations if not evaluation.pruned]
        signs = [objective.better for objective in self.objectives]
        return sorted(finished, key=lambda t: [-s * v for s, v in zip(signs, t.values, strict=True)])

    @property
    def best(self) -> Evaluation:
        """The best trial by the first objective.

        Raises:
            ValueError: no trial has finished.
        """
        ranked = self.ranked
        if not ranked:
            raise ValueError("no trial of the search has finished, so none is best")
        return ranked[0]

    @property
    def front(self) -> list[Evaluation]:
        """The trials that no trial beats: for a single objective the best trial, for several objectives the Pareto front."""
        found: list[Evaluation] = []
        for evaluation in self.ranked:
            if not any(_no_worse(other.values, evaluation.values, self.objectives) for other in found):
                found.append(evaluation)
        return found

    @property
    def schedule(self) -> Schedule:
        """The best schedule by the first objective."""
        return self.best.schedule

    def estimate(self, evaluation: Evaluation, objective: int = 0) -> Estimate | None:
        """The mean of a trial's objective over the seeds, with its interval; None for a pruned trial."""
        if not evaluation.by_seed:
            return None
        bounds = self.objectives[objective].bounds
        return estimate(evaluation.by_seed[objective], resolution=self._resolution(objective), bounds=bounds)

    def ranking(self) -> Ranking | None:
        """The ranking of the finished trials by the first objective, as `trial 0`, …; None without finished trials.

        Among trials with the same schedule only the first enters.
        """
        first: dict[str, Evaluation] = {}
        for evaluation in sorted(self.ranked, key=lambda evaluation: evaluation.number):
            if evaluation.by_seed:
                first.setdefault(evaluation.spec, evaluation)
        figures = {f"trial {t.number}": dict(zip(self.seeds, t.by_seed[0], strict=True)) for t in first.values()}
        objective = self.objectives[0]
        resolution, smallest = self._resolution(0), objective.better < 0
        return rank(figures, smallest=smallest, resolution=resolution, bounds=objective.bounds)

    def verdict(self, difference: float = 0.01) -> str:
        """The search in a sentence: the evidence on its best trial, or the leader, and the command that would settle the rest.

        Args:
            difference: a difference in test accuracy, above 0; the sentence says how many seeds would show a difference of this
                size. For the objective `updates-to` the difference is an epoch.
        """
        ranking = self.ranking()
        if ranking is None:
            return "No trial of the search has finished, so there is nothing to compare."
        objective = self.objectives[0]
        if self._missed(0):
            return f"No trial reached a test accuracy of {objective.target:g} with all its seeds, so none is ahead."
        specs = {f"trial {evaluation.number}": evaluation.spec for evaluation in self.ranked}
        if objective.target is None:
            rivals = (ranking.best, *ranking.rivals[:1])
            command = f"laju compare {' '.join(shlex.quote(specs[name]) for name in rivals)} …"
            sentence = verdict(ranking, "trial", command, difference)
        else:  # which no comparison counts
            command, epoch = f"laju tune {self.space.policy} … --study NEW", float(self.plan.updates_per_epoch)
            sentence = verdict(ranking, "trial", command, epoch, by=objective.label, unit="updates")
        row = None if self.confirmation is None else self.confirmation.summary()[0]
        if row is None or row.test_accuracy is None:
            return sentence
        return f"{sentence[:-1]}; with other seeds {row.name} has a test accuracy of {row.test_accuracy.text()}."

    def _resolution(self, objective: int) -> float:
        """The smallest difference of two figures. Whether an accuracy is reached is observed only at the ends of epochs."""
        return self.resolution if self.objectives[objective].target is None else float(self.plan.updates_per_epoch)

    def _missed(self, objective: int) -> bool:
        """Whether no trial reached the accuracy of an objective with all its seeds."""
        best = self.ranked_by(objective).values[objective]
        return self.objectives[objective].target is not None and best > self.plan.updates

    def trials(self) -> list[dict[str, Any]]:
        """A flat row for each trial, for `pandas.DataFrame`."""
        front = {evaluation.number for evaluation in self.front}
        return [
            {
                "trial": evaluation.number,
                "state": "pruned" if evaluation.pruned else "finished",
                **dict.fromkeys(map(str, self.objectives)),
                **dict(zip(map(str, self.objectives), evaluation.values, strict=False)),
                "best": evaluation.number in front,
                **evaluation.parameters,
                "schedule": evaluation.spec,
            }
            for evaluation in self.evaluations
        ]

    def warnings(self) -> list[str]:
        """Warnings to read before believing the result."""
        found: list[str] = []
        if late := sum(t.late for t in self.evaluations):
            found.append(
                f"{counted(late, 'trial')} took longer than the time limit, and so {'has' if late == 1 else 'have'} no figure."
            )
        if not self.ranked:
            return [*found, "No trial has finished yet."]
        best = self.best
        for name, kind in self.space.varied.items():
            if isinstance(kind, Range):
                at = _share(kind, float(best.suggested[name]))
                end = kind.low if at < _EDGE else kind.high if at > 1 - _EDGE else None
                if end is not None and end != 0:
                    found.append(
                        f"The best {name} lies at the end of its range ({name}={best.parameters[name]} of {kind}): widen it."
                    )
        if early := sum(t.pruned and bool(t.course) and t.course[-1][0] < self.plan.epochs for t in self.evaluations):
            found.append(
                f"{counted(early, 'trial')} {'was' if early == 1 else 'were'} stopped by the test accuracy at an early epoch, "
                "which favours schedules that decay early and punishes warmups and late decays."
            )
        for objective in (o for i, o in enumerate(self.objectives) if self._missed(i)):
            found.append(f"No trial reached a test accuracy of {objective.target:g} with all its seeds.")
        if self.confirmation is None:
            found.append(
                "The best of many trials looks better than it is, since it was chosen for that: train it with other seeds."
            )
        else:
            found += [w for w in self.confirmation.findings().warnings if "diverged" in w or "collapsed" in w]
        return found

    def ranked_by(self, objective: int) -> Evaluation:
        """The best trial by an objective."""
        sign = self.objectives[objective].better
        return max(self.ranked, key=lambda t: sign * t.values[objective])

    def to_json(self) -> dict[str, Any]:
        """The whole result as values that `json.dumps` accepts."""
        best = self.best if self.ranked else None
        return {
            "verdict": self.verdict(),
            "task": self.task,
            "policy": self.space.policy,
            "space": str(self.space),
            "plan": {"samples": self.plan.samples, "batch_size": self.plan.batch_size, "epochs": self.plan.epochs},
            "optimizer": str(self.optimizer),
            "framework": self.framework,
            "seeds": list(self.seeds),
            "objectives": [str(objective) for objective in self.objectives],
            "study": self.study,
            "storage": self.storage,
            "best": None
            if best is None
            else {"trial": best.number, "schedule": best.spec, "parameters": dict(best.parameters)},
            "front": [evaluation.number for evaluation in self.front],
            "importance": dict(self.importance),
            "trials": self.trials(),
            "confirmation": None if self.confirmation is None else self.confirmation.findings().to_json(),
            "warnings": self.warnings(),
        }


def _no_worse(a: Sequence[float], b: Sequence[float], objectives: Sequence[Objective]) -> bool:
    """Whether `a` is at least as good as `b` in every objective."""
    return all(o.better * x >= o.better * y for o, x, y in zip(objectives, a, b, strict=True))


def _share(kind: Range, value: float) -> float:
    """The position of a value in its range, from 0 to 1."""
    low, high = kind.low, kind.high
    if kind.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)
