"""A race: all schedules train with few seeds, and schedules that can no longer end above the best get no further seeds.

All runs are trained to the end. Stopping runs early favours schedules that decay early, and compressing runs to fewer epochs
ranks schedules at a different length; `benchmarks/race_replay.py` prints how far both are from the final ranking, and why neither
pays. The error is therefore about final results, and needs no agreement between lengths.

Sources: for dropping arms of a bandit by confidence bounds, Maron and Moore (1994), *Hoeffding races*, NeurIPS, and Even-Dar,
Mannor and Mansour (2006), *Action elimination*, JMLR 7; for variances moderated by the variances of the remaining arms, Smyth
(2004), *Linear models and empirical Bayes methods*, Statistical Applications in Genetics and Molecular Biology 3.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from laju.core.checks import number
from laju.core.schedule import Schedule
from laju.lab.statistics import ACCURACY, Estimate, paired_difference
from laju.lab.trials import Outcome

ERROR = 0.05
MARGIN = 0.002
FIRST_SEEDS = 2
LEAST_SEEDS = 3
_GROWTH = 1.5
"""The growth of the number of seeds from a round to the next."""
_LOOKS = 2.0
"""Rounds examine the same seeds, and so count as this many independent tests. With this factor normal differences, level or
slightly better than the rest, of equal or of very different spreads, are dropped wrongly in .01 to .04 of races with an error of
.05, for 2 to 20 schedules and 6 to 24 seeds (`tests/lab/test_race.py`)."""
_BORROWED = 4
"""The most degrees of freedom that the spread of a difference borrows from the spreads of the remaining differences."""

Reason = Literal["no better", "diverged", "collapsed", "failed"]
Key = tuple[str, int]
Run = Callable[[Mapping[Key, Schedule]], Mapping[Key, Outcome]]


@dataclass(frozen=True)
class Dropped:
    """A schedule that was not trained with all seeds, and why.

    Attributes:
        name: the schedule's name.
        schedule: the schedule's text.
        seeds: the number of seeds with which the schedule was trained.
        reason: "no better" than another schedule in mean test accuracy; or "diverged", "collapsed" or "failed" (some of each)
            with every seed so far.
        rival: the leader when the schedule was dropped; None if every seed failed.
        difference: the difference in mean test accuracy to the rival with the seeds so far, with the difference's own 95 %
            interval; None if every seed failed.
        most: the race's upper bound on the difference with all seeds, which is below the race's margin; None if every seed
            failed.
    """

    name: str
    schedule: str
    seeds: int
    reason: Reason
    rival: str | None = None
    difference: Estimate | None = None
    most: float | None = None


@dataclass(frozen=True)
class Round:
    """The seeds so far, the mean test accuracy of each remaining schedule, and the schedules dropped after the round."""

    seeds: int
    accuracies: dict[str, float]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Race:
    """The rounds of a race, the dropped schedules, and the runs of the schedules left.

    Attributes:
        entered: the names of all schedules, in the given order.
        epochs: the number of epochs of every run.
        seeds: the seeds of every schedule that was never dropped.
        error: the largest probability of a wrong drop; see `race`.
        margin: the margin of mean test accuracy; see `race`.
        rounds: the rounds in order of time; the last has all seeds.
        dropped: the dropped schedules in order of time.
        outcomes: the outcomes of the remaining schedules, by (name, seed).
    """

    entered: tuple[str, ...]
    epochs: int
    seeds: tuple[int, ...]
    error: float
    margin: float
    rounds: tuple[Round, ...]
    dropped: tuple[Dropped, ...]
    outcomes: dict[Key, Outcome]

    @property
    def left(self) -> tuple[str, ...]:
        """The schedules that were never dropped, in the order given."""
        gone = {d.name for d in self.dropped}
        return tuple(name for name in self.entered if name not in gone)

    def trained(self, name: str) -> int:
        """The seeds that a schedule was trained with."""
        return max(r.seeds for r in self.rounds if name in r.accuracies)

    @property
    def trainings(self) -> int:
        """The number of runs of all schedules."""
        return sum(self.trained(name) for name in self.entered)

    @property
    def trainings_to_pick(self) -> int:
        """The number of runs until a single schedule was left, without the further seeds of this schedule."""
        last = max((d.seeds for d in self.dropped), default=0) if len(self.left) == 1 else len(self.seeds)
        return sum(min(self.trained(name), last) for name in self.entered)

    @property
    def grid_trainings(self) -> int:
        """The number of runs of a comparison without a race: every schedule with every seed."""
        return len(self.entered) * len(self.seeds)

    @property
    def saved(self) -> float:
        """The share of the grid's runs that were not trained."""
        return 1 - self.trainings / self.grid_trainings

    def rows(self) -> list[dict[str, Any]]:
        """A flat row for each dropped schedule, for `pandas.DataFrame`."""
        return [
            {
                "schedule": d.name,
                "spec": d.schedule,
                "seeds": d.seeds,
                "reason": d.reason,
                "rival": d.rival,
                "difference": d.difference and d.difference.mean,
                "difference_low": d.difference and d.difference.low,
                "difference_high": d.difference and d.difference.high,
                "most": d.most,
            }
            for d in self.dropped
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything except the outcomes, which the comparison has, as values that `json.dumps` accepts."""
        return {
            "entered": list(self.entered),
            "left": list(self.left),
            "error": self.error,
            "margin": self.margin,
            "dropped": self.rows(),
            "rounds": [{**vars(r), "dropped": list(r.dropped)} for r in self.rounds],
            "trainings": self.trainings,
            "trainings_to_pick": self.trainings_to_pick,
            "grid_trainings": self.grid_trainings,
            "saved": self.saved,
        }

    def sentences(self) -> list[str]:
        """The saving, and the meaning of the error probability, for a report."""
        n, margin = len(self.entered), f"{100 * self.margin:g} points"
        if not self.dropped:
            return [
                f"The race dropped none of {n} schedules and saved nothing: with fewer than {len(self.seeds)} seeds no "
                f"schedule was shown to end at most {margin} above the leader, so all were trained as without a race."
            ]
        return [
            f"The race dropped {len(self.dropped)} of {n} schedules on the way: {self.trainings} trainings instead of "
            f"{self.grid_trainings} ({self.saved:.0%} less).",
            f"With a probability of at most {100 * self.error:g} % a dropped schedule would have ended, in the mean over all "
            f"{len(self.seeds)} seeds, more than {margin} of test accuracy above the best of those left.",
        ]


def race(
    schedules: Mapping[str, Schedule],
    seeds: Sequence[int],
    epochs: int,
    run: Run,
    *,
    error: float = ERROR,
    margin: float = MARGIN,
    guessing: float = 0.0,
    resolution: float = 0.0,
) -> Race:
    """Train all schedules with few seeds, drop schedules that will not end above the leader, and go on with more seeds.

    Seeds come in rounds of 2, 3, 4, 6, 9 and so on, up to all N. After a round of n < N seeds, with d the paired differences in
    final test accuracy to the leading schedule, a schedule is dropped if even the upper bound on its mean over all N seeds,

        mean(d) + t · s · √(1/n − 1/N)

    is below `margin`. s² is the variance of d, moderated by the variances of the other schedules that are left, which count as
    up to 4 degrees of freedom; t is Student's quantile at 1 − error / (2 · (schedules − 1)). If a leader is itself dropped
    later, its bound is added to the bounds of the schedules dropped by that leader. So a schedule whose mean over all seeds is
    more than `margin` above the mean of the race's pick is dropped with a probability of at most `error`. The factor 2 for
    testing several times was measured and not proved: on normal differences of equal and very different spreads, and on
    replayed grids.

    A trial that diverged or collapsed counts with the accuracy of guessing. A schedule whose trials have all failed so far is
    dropped, outside of the error probability, unless all schedules failed. The last remaining schedule is trained with all seeds.

    Args:
        schedules: the schedules by name, at least two.
        seeds: at least three seeds, in an order that is independent of the schedules.
        epochs: the number of epochs of every run.
        run: a function that trains schedules by (name, seed).
        error: the probability of a wrong drop, between 0 and 1.
        margin: a difference of mean test accuracy, from 0 to 1; differences up to the margin do not count as a loss.
        guessing: the accuracy of a trial that failed.
        resolution: the smallest difference of two test accuracies, 1 / (test examples). Differences that are the same for all
            seeds count with at least this spread.

    Returns:
        The race, with the runs of the remaining schedules.

    Raises:
        ValueError: fewer than two schedules, fewer than three seeds or a seed twice, or another argument out of its range.

    >>> from laju import constant
    >>> from laju.lab.trials import Outcome, Record
    >>> def run(wanted):  # as good as the rate is close to 0.3, with some luck of the seed
    ...     good = {key: 0.9 - abs(s(0) - 0.3) + 0.01 * (key[1] % 3) * s(0) for key, s in wanted.items()}
    ...     return {key: Outcome("finished", (Record(1, 1.0, 0.0, 1 - x, x, x),), 0.0) for key, x in good.items()}
    >>> rates = {"low": constant(0.1), "good": constant(0.3), "same": constant(0.3)}
    >>> found = race(rates, range(6), 8, run, resolution=0.002)
    >>> found.left, [(d.name, d.seeds, d.rival) for d in found.dropped], found.trainings
    (('good', 'same'), [('low', 2, 'good')], 14)
    """
    names, chosen = tuple(schedules), tuple(seeds)
    check_race(names, chosen)
    error = number("error", error, above=0, below=1)
    margin = number("margin", margin, least=0, most=1)
    guessing = number("guessing", guessing, least=0, most=1)
    resolution = number("resolution", resolution, least=0)
    level = level_of_tests(error, len(names))

    left = list(names)
    above = dict.fromkeys(names, 0.0)  # how far the schedules dropped by a leader may end above that leader
    rounds: list[Round] = []
    dropped: list[Dropped] = []
    outcomes: dict[Key, Outcome] = {}
    for count in seed_counts(len(chosen)):
        if len(left) == 1:
            count = len(chosen)  # nobody to compare with
        wanted = {(n, s): schedules[n] for s in chosen[:count] for n in left if (n, s) not in outcomes}
        outcomes.update(run(wanted))
        known = {n: [outcomes[n, s] for s in chosen[:count]] for n in left}
        scores = {n: [_score(o, guessing) for o in known[n]] for n in left}
        gone: list[Dropped] = []
        if count < len(chosen):
            failed = {n: reason for n in left if (reason := _failure(known[n])) is not None}
            # Where every schedule failed, failing separates none.
            if len(failed) < len(left):
                gone = [Dropped(n, str(schedules[n]), count, reason) for n, reason in failed.items()]
                running = {n: scores[n] for n in left if n not in failed}
                leader = max(running, key=lambda n: statistics.fmean(running[n]))
                bounds = upper_bounds(running, leader, len(chosen), level, resolution)
                for n, bound in bounds.items():
                    if (most := bound + above[n]) < margin:
                        # A chain of drops adds up: a schedule that was dropped by this leader may end `most` above the leader,
                        # and the leader's own dropper must answer for both.
                        above[leader] = max(above[leader], most)
                        difference = paired_difference(
                            scores[n], scores[leader], resolution=resolution, bounds=ACCURACY
                        )
                        gone.append(Dropped(n, str(schedules[n]), count, "no better", leader, difference, bound))
        rounds.append(Round(count, {n: statistics.fmean(x) for n, x in scores.items()}, tuple(d.name for d in gone)))
        dropped += gone
        left = [n for n in left if n not in rounds[-1].dropped]
        if count == len(chosen):
            break
    finals = {(n, s): outcomes[n, s] for n in left for s in chosen}
    return Race(names, epochs, chosen, error, margin, tuple(rounds), tuple(dropped), finals)


def check_race(schedules: Sequence[str], seeds: Sequence[int]) -> None:
    """Refuse schedules and seeds that cannot race.

    Raises:
        ValueError: fewer than two schedules, fewer than three seeds, or a seed twice.
    """
    if len(schedules) < 2:
        raise ValueError(f"a race needs two schedules or more, got {len(schedules)}: {', '.join(schedules) or 'none'}")
    if len(seeds) < LEAST_SEEDS:
        raise ValueError(
            f"a race needs {LEAST_SEEDS} seeds or more, {FIRST_SEEDS} to show a spread and another to save; "
            f"got {len(seeds)}: {list(seeds)!r}"
        )
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds of a race must differ from one another, got {list(seeds)!r}")


def seed_counts(most: int) -> tuple[int, ...]:
    """Seeds after each round: 2, 3, 4, 6, 9 and so on up to all."""
    counts = [FIRST_SEEDS]
    while counts[-1] < most:
        counts.append(min(max(counts[-1] + 1, int(_GROWTH * counts[-1])), most))
    return tuple(counts)


def level_of_tests(error: float, schedules: int) -> float:
    """The level of each test of a race, from the error of the whole race."""
    return error / (_LOOKS * max(schedules - 1, 1))


def upper_bounds(
    scores: Mapping[str, Sequence[float]], leader: str, seeds: int, level: float, resolution: float
) -> dict[str, float]:
    """Upper bounds on the mean difference of each schedule to the leader over all seeds, each with an error of `level`."""
    from scipy.special import stdtrit

    others = [name for name in scores if name != leader]
    if not others:
        return {}
    # Paired by seed: what a seed does to all schedules (its weights, its order of data) cancels.
    d: npt.NDArray[np.float64] = np.array([scores[name] for name in others]) - np.array(scores[leader])
    m, n = d.shape
    variances = np.maximum(d.var(axis=1, ddof=1), max(resolution, 1e-9) ** 2)
    # Two or three seeds say next to nothing about a spread: by chance all differences are close, and a good schedule looks
    # beaten for certain. The other schedules' spreads say how far seeds scatter here, and count as a few further seeds.
    borrowed = min(_BORROWED, (m - 1) * (n - 1))
    of_others = (variances.sum() - variances) / (m - 1) if m > 1 else variances
    freedom = borrowed + n - 1
    spreads = np.sqrt((borrowed * of_others + (n - 1) * variances) / freedom)
    t = float(stdtrit(freedom, 1 - level))
    # The question is the mean over these N seeds, of which n are known, not the mean over all seeds there might be. Var(mean of
    # n - mean of N) is σ²·(1/n - 1/N): the seeds in both cancel, and with all seeds nothing is uncertain.
    bounds = d.mean(axis=1) + t * spreads * math.sqrt(1 / n - 1 / seeds)
    return dict(zip(others, bounds.tolist(), strict=True))


def _failure(outcomes: Sequence[Outcome]) -> Reason | None:
    """How all outcomes failed; None if an outcome did not fail."""
    statuses = {outcome.status for outcome in outcomes}
    if "finished" in statuses:
        return None
    return "failed" if len(statuses) > 1 else "diverged" if "diverged" in statuses else "collapsed"


def _score(outcome: Outcome, guessing: float) -> float:
    last = outcome.records[-1].test_accuracy if outcome.records else None
    return guessing if outcome.status != "finished" or last is None else last
