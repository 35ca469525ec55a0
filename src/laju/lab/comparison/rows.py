"""The means of each schedule over the seeds that finished, their differences, and frameworks side by side.

Trials that diverged or collapsed enter no mean; such trials are counted and shown, with a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from laju.lab.comparison.results import Results, gap
from laju.lab.statistics import (
    ACCURACY,
    LOSS,
    Estimate,
    Evidence,
    area_under_curve,
    claim,
    estimate,
    evidence,
    holm,
    joint_difference,
    paired_difference,
    paired_p_value,
)

if TYPE_CHECKING:
    from laju.core.schedule import Schedule
    from laju.lab.trials import Outcome


@dataclass(frozen=True)
class Row:
    """The row of a schedule in the final table: counts of its trials, and estimates over the seeds that finished.

    `gap` is train accuracy minus test accuracy, the sign of overfitting. `difference` is the difference in test accuracy to the
    first schedule, paired over the seeds that finished in both; None for the first itself. `seconds` is the mean duration of a
    finished trial. `diverged_at` has the first bad update of each diverged trial, in the order of the seeds.

    Among many differences some exclude zero by chance. `joint` is the difference with an interval so wide that all intervals hold
    simultaneously with 95 % confidence; `differs` says whether that interval excludes zero, and no failed seed speaks against the
    difference.
    `p_value` is from a paired t test with Holm's correction over all the differences of the comparison. `area` is the mean
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
        """The number of requested trials."""
        return self.finished + self.diverged + self.collapsed + self.missing

    @property
    def note(self) -> str:
        """The failures, such as `2 of 3 diverged at update 431`; empty when every trial finished."""
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
    """A schedule, and its name, in several frameworks.

    `accuracies` are test accuracies by framework; `differences` are to the first framework, paired over the seeds that
    finished in both, with simultaneous intervals for all schedules and frameworks.
    """

    name: str
    schedule: str
    accuracies: dict[str, Estimate | None]
    differences: dict[str, Estimate | None]

    @property
    def agree(self) -> bool | None:
        """Whether every difference is zero within its interval; None without an interval."""
        found = list(self.differences.values())
        if any(evidence(d) is Evidence.SHOWN for d in found):
            return False
        return None if any(d is None or d.half_width is None for d in found) else True


def rows(results: Results) -> list[Row]:
    """A row for each schedule, in the order asked."""
    found = [_row(results, name) for name in results.schedules]
    p_values = holm([row.p_value for row in found])
    return [replace(row, p_value=p_value) for row, p_value in zip(found, p_values, strict=True)]


def agreements(results: Results) -> list[Agreement]:
    """The results of the same schedule in several frameworks, for every schedule that was trained in several."""
    found = []
    groups: dict[Schedule, list[str]] = {}
    for name, schedule in results.schedules.items():
        groups.setdefault(schedule, []).append(name)
    several = sum(len({results.frameworks[name] for name in names}) - 1 for names in groups.values())
    for schedule, names in groups.items():
        by_framework = {results.frameworks[name]: name for name in reversed(names)}
        if len(by_framework) > 1:
            first, *others = reversed(by_framework.items())
            tests = {framework: _test(results, name) for framework, name in (first, *others)}
            found.append(
                Agreement(
                    first[1].removesuffix(f" ({first[0]})"),
                    str(schedule),
                    {framework: _accuracy(results, test) for framework, test in tests.items()},
                    {f: _apart(results, tests[f], tests[first[0]], several) for f, _ in others},
                )
            )
    return found


def _row(results: Results, name: str) -> Row:
    outcomes = [o for seed in results.seeds if (o := results.outcomes.get((name, seed))) is not None]
    finished = [o for o in outcomes if o.status == "finished"]
    diverged = [o for o in outcomes if o.status == "diverged"]
    test = _test(results, name)
    a, b = ([], []) if name == results.reference else pairs(results, name)
    others = len(results.schedules) - 1
    joint = None if name == results.reference else _apart(results, test, _test(results, results.reference), others)
    return Row(
        name=name,
        schedule=str(results.schedules[name]),
        framework=results.frameworks[name],
        finished=len(finished),
        diverged=len(diverged),
        collapsed=sum(o.status == "collapsed" for o in outcomes),
        missing=len(results.seeds) - len(outcomes),
        train_loss=estimate(results.finals(name, lambda r: r.train_loss).values(), bounds=LOSS),
        train_accuracy=estimate(results.finals(name, lambda r: r.train_accuracy).values(), bounds=ACCURACY),
        test_accuracy=_accuracy(results, test),
        gap=estimate(results.finals(name, gap).values(), resolution=results.resolution, bounds=(-1, 1)),
        difference=paired_difference(a, b, resolution=results.resolution, bounds=ACCURACY),
        seconds=sum(o.seconds for o in finished) / len(finished) if finished else None,
        diverged_at=tuple(o.diverged_at for o in diverged if o.diverged_at is not None),
        joint=joint,
        p_value=paired_p_value(a, b, results.resolution),
        area=estimate((area for o in finished if (area := _area(o)) is not None), bounds=ACCURACY),
        differs=claim(
            joint,
            # A schedule that lost a seed has its mean over the seeds that survived, which are the better ones. So nobody is
            # called better whose own trial failed, and nobody worse than a schedule whose trial failed.
            above=not _flattered(results, name),
            below=not _flattered(results, results.reference),
            otherwise=False,
        ),
        at_rate_zero=not results.schedules[name].resolve(results.plan).values(results.plan.updates).any(),
    )


def _test(results: Results, name: str) -> dict[int, float]:
    return results.finals(name, lambda r: r.test_accuracy)


def _accuracy(results: Results, by_seed: dict[int, float]) -> Estimate | None:
    return estimate(by_seed.values(), resolution=results.resolution, bounds=ACCURACY)


def _apart(results: Results, a: dict[int, float], b: dict[int, float], comparisons: int) -> Estimate | None:
    """The difference of the accuracies by seed, `a` minus `b`, over the seeds in both."""
    both = [seed for seed in a if seed in b]
    pairs = [a[seed] for seed in both], [b[seed] for seed in both]
    return joint_difference(*pairs, comparisons, resolution=results.resolution, bounds=ACCURACY)


def _flattered(results: Results, name: str) -> bool:
    """Whether a trial of the schedule failed, so that only the better trials may be left."""
    found = (results.outcomes.get((name, seed)) for seed in results.seeds)
    return any(outcome is not None and outcome.status != "finished" for outcome in found)


def pairs(results: Results, name: str) -> tuple[list[float], list[float]]:
    """The test accuracies of a schedule and of the first schedule, for the seeds that finished in both."""
    a, b = _test(results, name), _test(results, results.reference)
    both = [seed for seed in a if seed in b]
    return [a[s] for s in both], [b[s] for s in both]


def _area(outcome: Outcome) -> float | None:
    curve = [(r.epoch, r.test_accuracy) for r in outcome.records if r.test_accuracy is not None]
    return area_under_curve(*zip(*curve, strict=True)) if curve else None
