"""What a comparison of schedules found: every trial, the means over the seeds, and what to be careful about.

A trial that diverged or collapsed has no place in a mean, so it is counted, shown and warned about instead.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from laju.lab.comparison import ranking
from laju.lab.comparison.ranking import Lead, Standing
from laju.lab.statistics import (
    ACCURACY,
    LEAST_SEEDS,
    LOSS,
    Estimate,
    Evidence,
    area_under_curve,
    claim,
    counted,
    estimate,
    evidence,
    holm,
    joint_difference,
    paired_difference,
    paired_p_value,
)

if TYPE_CHECKING:
    from laju.core.schedule import Schedule
    from laju.core.units import RunPlan
    from laju.lab.comparison.beside import LoggedRun
    from laju.lab.comparison.race import Dropped, Race
    from laju.lab.trials import Optimizer, Outcome, Record


@dataclass(frozen=True)
class Row:
    """One schedule's line in the end table: counts of its trials, and estimates over the seeds that finished.

    `gap` is train accuracy minus test accuracy, the sign of overfitting. `difference` is in test accuracy to the first
    schedule, paired over the seeds that finished in both; None for the first itself. `seconds` is the mean of a
    finished trial. `diverged_at` holds the first bad update of each diverged trial, in the order of the seeds.

    Of many differences some exclude zero by chance. `joint` is the difference with an interval so wide that all of them hold
    together in 95 %; `differs` whether that interval excludes zero, and no seed failed that would have told against it.
    `p_value` is that of a paired t test with Holm's correction over all the differences of the comparison. `area` is the mean
    height of the curve of test accuracy by epoch. `at_rate_zero`: the rate of every update is 0, so that no trial can learn.
    """

    name: str
    schedule: str
    framework: str
    finished: int
    diverged: int
    collapsed: int
    missing: int
    train_loss: Estimate | None
    train_accuracy: Estimate | None
    test_accuracy: Estimate | None
    gap: Estimate | None
    difference: Estimate | None
    seconds: float | None
    diverged_at: tuple[int, ...] = ()
    joint: Estimate | None = None
    p_value: float | None = None
    area: Estimate | None = None
    differs: bool = False
    at_rate_zero: bool = False

    @property
    def trials(self) -> int:
        """How many trials were asked for."""
        return self.finished + self.diverged + self.collapsed + self.missing

    @property
    def note(self) -> str:
        """What went wrong, such as `2 of 3 diverged at update 431`; empty when every trial finished."""
        parts = []
        if self.diverged:
            where = sorted(set(self.diverged_at))
            at = f" at update{'s' if len(where) > 1 else ''} {', '.join(map(str, where))}" if where else ""
            parts.append(f"{self.diverged} of {self.trials} diverged{at}")
        if self.collapsed:
            why = ", as the rate of every update was 0" if self.at_rate_zero else ""
            parts.append(f"{self.collapsed} of {self.trials} collapsed{why}")
        if self.missing:
            parts.append(f"{self.missing} of {self.trials} not run")
        return "; ".join(parts)


@dataclass(frozen=True)
class Agreement:
    """One schedule, and its name, in several frameworks.

    `accuracies` are test accuracies by framework; `differences` those to the first framework, paired over the seeds that
    finished in both, with intervals that hold together for all schedules and frameworks.
    """

    name: str
    schedule: str
    accuracies: dict[str, Estimate | None]
    differences: dict[str, Estimate | None]

    @property
    def agree(self) -> bool | None:
        """Whether every difference is zero within its interval; None where there is no interval to tell by."""
        found = list(self.differences.values())
        if any(evidence(d) is Evidence.SHOWN for d in found):
            return False
        return None if any(d is None or d.half_width is None for d in found) else True


@dataclass(frozen=True)
class Comparison:
    """Schedules trained on one task with the same seeds, and how each trial ended.

    Args:
        task: the task's name.
        schedules: by display name, in the order asked; the first is the reference of every difference.
        plan: the run that each trial is: samples, batch size, epochs.
        optimizer: the optimizer of every trial.
        seeds: of every schedule, so that differences can be paired.
        outcomes: by (schedule name, seed); an interrupted comparison lacks some.
        tuned: whether the base rate was tuned for each schedule.
        frameworks: in which framework each of the schedules was trained, by the same names; torch by default.
        guessing: the accuracy of guessing, which a trial that failed counts as in a ranking.
        notes: what else a reader should know, such as from the tuning of base rates.
        resolution: the smallest difference of two test accuracies, 1 / (test examples); 0 where it is unknown.
        race: what left these schedules of a larger number, if there was a race.
        description: of the task's network and initial weights, a sentence for reports.
        data: the fingerprint of the task with its data, see `Task.fingerprint`; empty where it is unknown.
        beside: logs of other runs, shown in reports as not paired; no figure of the comparison has these.

    Raises:
        ValueError: no schedule, no seed, a seed twice, an outcome of a schedule or seed that was not asked for, frameworks of
            other names than the schedules', or other schedules than those that the race left.
    """

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
        """The name of the schedule that the others are compared to."""
        return next(iter(self.schedules))

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """The schedules that a race dropped on the way, in the order of time."""
        return self.race.dropped if self.race else ()

    def summary(self) -> list[Row]:
        """One row a schedule, in the order asked."""
        rows = [self._row(name) for name in self.schedules]
        p_values = holm([row.p_value for row in rows])
        return [replace(row, p_value=p_value) for row, p_value in zip(rows, p_values, strict=True)]

    def standings(self, difference: float = 0.01) -> list[Standing]:
        """Where each schedule stands, the best first: its rank, the probability that it is the best, and the seeds to see more.

        Args:
            difference: in test accuracy, above 0; each standing says how many seeds would show it.
        """
        return ranking.standings(self, difference)

    def anytime(self) -> list[dict[str, Any]]:
        """One flat row an epoch and schedule, for `pandas.DataFrame`: its mean test accuracy with failed trials as guessing, the
        probability that it is the best, and whether it leads."""
        return ranking.anytime(self)

    def verdict(self, difference: float = 0.01, command: str = "laju compare …") -> str:
        """The comparison in one sentence: what is shown, what is only ahead, and the command that would settle it.

        Args:
            difference: in test accuracy, above 0; the sentence says how many seeds would show it.
            command: that would train more of the same, without its number of seeds.
        """
        return ranking.verdict(self, difference, command)

    def leads(self) -> list[Lead]:
        """Which schedule has the best mean test accuracy, from which epoch to which."""
        return ranking.leads(self)

    def spread(self, name: str) -> tuple[float, int] | None:
        """The standard deviation of a schedule's differences to the first, and over how many seeds; None below two."""
        a, b = self._pairs(name)
        if name == self.reference or len(a) < 2:
            return None
        return statistics.stdev([x - y for x, y in zip(a, b, strict=True)]), len(a)

    def agreement(self) -> list[Agreement]:
        """What several frameworks made of the same schedule, for every schedule that was trained in more than one."""
        found = []
        groups: dict[Schedule, list[str]] = {}
        for name, schedule in self.schedules.items():
            groups.setdefault(schedule, []).append(name)
        several = sum(len({self.frameworks[name] for name in names}) - 1 for names in groups.values())
        for schedule, names in groups.items():
            by_framework = {self.frameworks[name]: name for name in reversed(names)}
            if len(by_framework) > 1:
                first, *others = reversed(by_framework.items())
                tests = {framework: self._test(name) for framework, name in (first, *others)}
                found.append(
                    Agreement(
                        first[1].removesuffix(f" ({first[0]})"),
                        str(schedule),
                        {framework: self._accuracy(test) for framework, test in tests.items()},
                        {f: self._apart(tests[f], tests[first[0]], several) for f, _ in others},
                    )
                )
        return found

    def trials(self) -> list[dict[str, Any]]:
        """One flat row a trial with its final figures, for `pandas.DataFrame`; one not run is `missing`."""
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
                    "gap": _gap(last) if last else None,
                    "seconds": outcome.seconds if outcome else None,
                }
            )
        return rows

    def records(self) -> list[dict[str, Any]]:
        """One flat row a record of every trial, for `pandas.DataFrame`."""
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

    def warnings(self) -> list[str]:
        """What a reader should know before believing the table, most serious first."""
        rows, found = self.summary(), []
        for row in rows:
            if row.diverged or row.collapsed:
                left = (
                    f"its means are over the {counted(row.finished, 'seed')} left, which flatters it"
                    if row.finished
                    else "no mean"
                )
                found.append(f"{row.name}: {row.note}; {left}.")
            elif row.missing:
                found.append(f"{row.name}: {row.note}; the comparison was interrupted.")
        for shared in self.agreement():
            apart = [f for f, d in shared.differences.items() if evidence(d) is Evidence.SHOWN]
            if apart:
                first = next(iter(shared.accuracies))
                found.append(f"{shared.name}: test accuracy in {' and '.join(apart)} differs from that in {first}.")
        if self._inside_velocity():
            found.append(
                "Momentum is each framework's own: TensorFlow and MXNet multiply a gradient by the rate of its own update, torch "
                "and JAX by that of the update that uses it, so they part where the rate changes."
            )
        if len(self.schedules) > len(set(self.frameworks.values())) and not self.tuned:
            found.append(
                "The base rate was not tuned for each schedule: one may trail only because its peak rate does not suit "
                "this task. Tune each before ranking them."
            )
        found += self.notes
        found += [f"{run.name}: {note}." for run in self.beside for note in run.notes]
        if self.race and self.reference != self.race.entered[0]:
            found.append(
                f"{self.race.entered[0]}, the first schedule, was dropped on the way: differences are to {self.reference}."
            )
        if len(self.seeds) < LEAST_SEEDS:
            few = f"{counted(len(self.seeds), 'seed')} give{'s' if len(self.seeds) == 1 else ''} no intervals"
            found.append(f"{few}: differences may be chance. Run {LEAST_SEEDS} or more.")
        return found

    def to_json(self, difference: float = 0.01) -> dict[str, Any]:
        """Everything as values that `json.dumps` takes; numbers that JSON lacks (NaN, infinities) become null.

        Args:
            difference: as in `standings` and `verdict`.
        """
        plan = self.plan
        content = {
            "verdict": self.verdict(difference),
            "task": self.task,
            "description": self.description,
            "data": self.data,
            "plan": {**vars(plan), "updates_per_epoch": plan.updates_per_epoch, "updates": plan.updates},
            "optimizer": str(self.optimizer),
            "seeds": list(self.seeds),
            "tuned": self.tuned,
            "schedules": {name: str(schedule) for name, schedule in self.schedules.items()},
            "frameworks": self.frameworks,
            "guessing": self.guessing,
            "summary": [{**vars(row), "note": row.note} for row in self.summary()],
            "standings": [vars(row) for row in self.standings(difference)],
            "difference": difference,
            "leads": [vars(lead) for lead in self.leads()],
            "anytime": self.anytime(),
            "agreement": [{**vars(row), "agree": row.agree} for row in self.agreement()],
            "race": self.race and self.race.to_json(),
            "beside": [run.to_json() for run in self.beside],
            "warnings": self.warnings(),
            "trials": self.trials(),
            "records": self.records(),
        }
        plain: dict[str, Any] = _plain(content)
        return plain

    def _asked(self) -> Iterator[tuple[str, int]]:
        return ((name, seed) for name in self.schedules for seed in self.seeds)

    def _finals(self, name: str, figure: Callable[[Record], float | None]) -> dict[int, float]:
        """A final figure of each seed that finished (and has it)."""
        finals = {}
        for seed in self.seeds:
            outcome = self.outcomes.get((name, seed))
            if outcome is not None and outcome.status == "finished" and (last := _last(outcome)) is not None:
                value = figure(last)
                if value is not None and not math.isnan(value):  # a program need not report a training accuracy
                    finals[seed] = value
        return finals

    def _test(self, name: str) -> dict[int, float]:
        return self._finals(name, lambda r: r.test_accuracy)

    def _inside_velocity(self) -> bool:
        """Whether frameworks are side by side whose momentum differs under a changing rate."""
        met = set(self.frameworks.values())
        return self.optimizer.momentum > 0 and bool(met & {"torch", "jax"}) and bool(met & {"tensorflow", "mxnet"})

    def _row(self, name: str) -> Row:
        outcomes = [o for seed in self.seeds if (o := self.outcomes.get((name, seed))) is not None]
        finished = [o for o in outcomes if o.status == "finished"]
        diverged = [o for o in outcomes if o.status == "diverged"]
        test = self._test(name)
        a, b = ([], []) if name == self.reference else self._pairs(name)
        others = len(self.schedules) - 1
        joint = None if name == self.reference else self._apart(test, self._test(self.reference), others)
        return Row(
            name=name,
            schedule=str(self.schedules[name]),
            framework=self.frameworks[name],
            finished=len(finished),
            diverged=len(diverged),
            collapsed=sum(o.status == "collapsed" for o in outcomes),
            missing=len(self.seeds) - len(outcomes),
            train_loss=estimate(self._finals(name, lambda r: r.train_loss).values(), bounds=LOSS),
            train_accuracy=estimate(self._finals(name, lambda r: r.train_accuracy).values(), bounds=ACCURACY),
            test_accuracy=self._accuracy(test),
            gap=estimate(self._finals(name, _gap).values(), resolution=self.resolution, bounds=(-1, 1)),
            difference=paired_difference(a, b, resolution=self.resolution, bounds=ACCURACY),
            seconds=sum(o.seconds for o in finished) / len(finished) if finished else None,
            diverged_at=tuple(o.diverged_at for o in diverged if o.diverged_at is not None),
            joint=joint,
            p_value=paired_p_value(a, b, self.resolution),
            area=estimate((area for o in finished if (area := _area(o)) is not None), bounds=ACCURACY),
            differs=claim(
                joint, above=not self._flattered(name), below=not self._flattered(self.reference), otherwise=False
            ),
            at_rate_zero=not self.schedules[name].resolve(self.plan).values(self.plan.updates).any(),
        )

    def _accuracy(self, by_seed: dict[int, float]) -> Estimate | None:
        return estimate(by_seed.values(), resolution=self.resolution, bounds=ACCURACY)

    def _apart(self, a: dict[int, float], b: dict[int, float], comparisons: int) -> Estimate | None:
        """How much larger the accuracies by seed of `a` are than those of `b`, over the seeds that both have."""
        both = [seed for seed in a if seed in b]
        pairs = [a[seed] for seed in both], [b[seed] for seed in both]
        return joint_difference(*pairs, comparisons, resolution=self.resolution, bounds=ACCURACY)

    def _flattered(self, name: str) -> bool:
        """Whether a trial of the schedule failed, so that those that are left are the better ones."""
        found = (self.outcomes.get((name, seed)) for seed in self.seeds)
        return any(outcome is not None and outcome.status != "finished" for outcome in found)

    def _pairs(self, name: str) -> tuple[list[float], list[float]]:
        """The test accuracies of a schedule and of the first, of the seeds that finished in both."""
        a, b = self._test(name), self._test(self.reference)
        both = [seed for seed in a if seed in b]
        return [a[s] for s in both], [b[s] for s in both]


def _last(outcome: Outcome | None) -> Record | None:
    return outcome.records[-1] if outcome is not None and outcome.records else None


def _gap(record: Record) -> float | None:
    if record.test_accuracy is None or math.isnan(record.train_accuracy):
        return None
    return record.train_accuracy - record.test_accuracy


def _area(outcome: Outcome) -> float | None:
    curve = [(r.epoch, r.test_accuracy) for r in outcome.records if r.test_accuracy is not None]
    return area_under_curve(*zip(*curve, strict=True)) if curve else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Estimate):
        return _plain(value.to_json())
    if hasattr(value, "item"):  # a NumPy number
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
