"""A race: schedules that are worse, as far as few seeds or a short run can tell, are dropped before the others train on.

A short run here is a whole run of fewer epochs, with the schedule compressed to it. To stop a long run early instead would favour
schedules that decay early: warmup-stable-decay at half of its run has not begun to decay, and looks bad.

Who goes is for a test to say, and not a quota as in successive halving (Jamieson and Talwalkar, 2016, *Non-stochastic best arm
identification and hyperparameter optimization*, AISTATS), so that the probability of losing the best can be stated. Halving
remains in the costs: a run of twice the length is only worth its epochs where about half of the schedules are gone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, Literal, get_args

import numpy as np

from laju.core.checks import number, shown, whole
from laju.core.pieces import Table
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.lab.statistics import ACCURACY, Estimate, counted, paired_difference, paired_p_value
from laju.lab.trials import Outcome

ERROR = 0.05
FIRST_SEEDS = 3
FRACTIONS = 4, 2
"""The shorter runs take the whole one's epochs divided by these."""

Reason = Literal["worse", "diverged", "collapsed", "failed"]
REASONS: tuple[Reason, ...] = get_args(Reason)
Key = tuple[str, int, int]
Run = Callable[[Mapping[Key, Schedule]], Mapping[Key, Outcome]]


@dataclass(frozen=True)
class Dropped:
    """A schedule that did not train on, and why.

    Attributes:
        name: the schedule's.
        schedule: its text, of the whole run.
        epochs: of the runs that showed it.
        seeds: how many of them there were.
        reason: "worse" than another in test accuracy; or "diverged", "collapsed" or "failed" (some of each) with every seed.
        rival: the best of those that it was worse than; None where every seed failed.
        difference: in test accuracy to the rival, with its own 95 % interval; None where every seed failed.
        p_value: of "no worse than the rival", corrected for all rivals and decisions of the race, so that it is below the race's
            error probability; None where every seed failed.
    """

    name: str
    schedule: str
    epochs: int
    seeds: int
    reason: Reason
    rival: str | None = None
    difference: Estimate | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Round:
    """Runs of one length and the seeds so far: the mean test accuracy of each schedule that was in, and who was dropped."""

    epochs: int
    seeds: int
    accuracies: dict[str, float]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankAgreement:
    """How runs of fewer epochs order those that were left, beside how the whole run does.

    Attributes:
        epochs: of the shorter runs.
        pairs: of schedules whose means differ at both lengths.
        same: pairs that stand in the same order at both.
    """

    epochs: int
    pairs: int
    same: int

    @property
    def tau(self) -> float | None:
        """Kendall's rank correlation (Goodman and Kruskal's γ: ties left out), from -1 to 1; None where all are tied."""
        return (2 * self.same - self.pairs) / self.pairs if self.pairs else None


@dataclass(frozen=True)
class Race:
    """What a race did: its rounds, who was dropped, and the whole runs of those that were left.

    Attributes:
        entered: the names of all schedules, in the order given.
        epochs: of a whole run.
        seeds: of every schedule that was left.
        error: how probable it may be, at most, that the best was dropped; see `race`.
        rounds: in the order of time; the last is of whole runs with all seeds.
        dropped: in the order of time.
        outcomes: of whole runs, by (name, seed), of those that were left.
    """

    entered: tuple[str, ...]
    epochs: int
    seeds: tuple[int, ...]
    error: float
    rounds: tuple[Round, ...]
    dropped: tuple[Dropped, ...]
    outcomes: dict[tuple[str, int], Outcome]

    @property
    def left(self) -> tuple[str, ...]:
        """The schedules that were never dropped, in the order given."""
        gone = {d.name for d in self.dropped}
        return tuple(name for name in self.entered if name not in gone)

    def runs(self, name: str) -> dict[int, int]:
        """How many runs a schedule had, by their epochs."""
        return {r.epochs: r.seeds for r in self.rounds if name in r.accuracies}

    @property
    def trained(self) -> dict[int, int]:
        """How many runs there were of all schedules, by their epochs."""
        total: dict[int, int] = {}
        for name in self.entered:
            for epochs, count in self.runs(name).items():
                total[epochs] = total.get(epochs, 0) + count
        return total

    @property
    def trainings(self) -> int:
        """Runs of any length."""
        return sum(self.trained.values())

    @property
    def trained_epochs(self) -> int:
        """Of all runs together; one that diverged counts as a full one."""
        return sum(epochs * count for epochs, count in self.trained.items())

    @property
    def grid_trainings(self) -> int:
        """Runs of the comparison without a race: every schedule with every seed."""
        return len(self.entered) * len(self.seeds)

    @property
    def grid_epochs(self) -> int:
        return self.grid_trainings * self.epochs

    @property
    def saved(self) -> float:
        """The share of the grid's epochs that was not trained; below 0 where the shorter runs did not pay for themselves."""
        return 1 - self.trained_epochs / self.grid_epochs

    @property
    def agreement(self) -> tuple[RankAgreement, ...]:
        """How well the shorter runs agree with the whole one about those that were left, a length each."""
        last = {r.epochs: r.accuracies for r in self.rounds}
        whole_run = last[self.epochs]
        found = []
        for epochs, accuracies in last.items():
            if epochs < self.epochs:
                signs = [
                    np.sign(accuracies[a] - accuracies[b]) * np.sign(whole_run[a] - whole_run[b])
                    for a, b in combinations(self.left, 2)
                ]
                found.append(RankAgreement(epochs, sum(s != 0 for s in signs), sum(s > 0 for s in signs)))
        return tuple(found)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row a dropped schedule, for `pandas.DataFrame`."""
        return [
            {
                "schedule": d.name,
                "spec": d.schedule,
                "epochs": d.epochs,
                "seeds": d.seeds,
                "reason": d.reason,
                "rival": d.rival,
                "difference": d.difference and d.difference.mean,
                "difference_low": d.difference and d.difference.low,
                "difference_high": d.difference and d.difference.high,
                "p_value": d.p_value,
            }
            for d in self.dropped
        ]

    def to_json(self) -> dict[str, Any]:
        """All but the outcomes, which are those of the comparison, as values that `json.dumps` takes."""
        return {
            "entered": list(self.entered),
            "left": list(self.left),
            "error": self.error,
            "dropped": self.rows(),
            "rounds": [{**vars(r), "dropped": list(r.dropped)} for r in self.rounds],
            "agreement": [{**vars(a), "tau": a.tau} for a in self.agreement],
            "trained": [{"epochs": epochs, "trainings": n} for epochs, n in self.trained.items()],
            "trained_epochs": self.trained_epochs,
            "grid_epochs": self.grid_epochs,
            "saved": self.saved,
        }

    def sentences(self) -> list[str]:
        """What was saved, what the error probability means, and how far the shorter runs can be believed, for a report."""
        n = len(self.entered)
        ran = f"{self.trainings} trainings of {self.trained_epochs:,} epochs together"
        ran += f", instead of {self.grid_trainings} of {self.grid_epochs:,}"
        share = f"{abs(self.saved):.0%} {'less' if self.saved >= 0 else 'more'}"
        found = [
            f"The race dropped {len(self.dropped)} of {n} schedule{'s' if n > 1 else ''} on the way: {ran} ({share}).",
            "A schedule that is truly the best in runs of every length is dropped as worse with a probability of at most "
            f"{100 * self.error:g} %.",
        ]
        for a in self.agreement:
            if a.tau is not None:
                found.append(
                    f"Of those left, {a.same} of {a.pairs} pair{'s' if a.pairs > 1 else ''} stand in the same order after "
                    f"{counted(a.epochs, 'epoch')} as after {counted(self.epochs, 'epoch')} (rank correlation {a.tau:+.2f})."
                )
        if short := [d for d in self.dropped if d.epochs < self.epochs]:
            found.append(
                f"{len(short)} {'were' if len(short) > 1 else 'was'} dropped by shorter runs: that these rank schedules as the "
                "whole run does is an assumption, which nobody tested on what was dropped."
            )
        return found


def race(
    schedules: Mapping[str, Schedule],
    seeds: Sequence[int],
    plan: RunPlan,
    run: Run,
    *,
    error: float = ERROR,
    lengths: Iterable[int] | None = None,
    guessing: float = 0.0,
    resolution: float = 0.0,
) -> Race:
    """Train all schedules for few epochs and seeds, drop those that are worse than another, and go on with more of both.

    At every length the seeds come in rounds: 3, then twice as many each time, up to all. After each round a schedule is dropped
    if its test accuracy is below that of any other by a one-sided paired t test over the seeds so far. The test's level is
    error / (decisions · (schedules - 1)), with a decision for every round but the last of the whole runs (Bonferroni). So a
    schedule that has the largest true mean at a length is dropped there with no more than that length's share of `error`; and one
    that has it at every length, anywhere, with at most `error`. This holds for differences that are normal, whatever their
    spreads and however schedules or lengths depend on one another. Nothing follows for one that is the best in the whole run
    alone.

    A trial that diverged or collapsed has the accuracy of guessing. A schedule that diverges with every seed so far is dropped
    for that, outside of the error probability, unless all fail; in whole runs so is one that collapses. In a shorter run it may
    only have learned nothing yet, so there the test decides.

    The shortest runs cost what they cost: with the default lengths at most a quarter of the grid (from 4 epochs on). Longer ones,
    short of the whole, are trained only where what has been dropped pays for them.

    Args:
        schedules: by name.
        seeds: at least two, since one shows no spread.
        plan: the whole run.
        run: trains schedules by (name, seed, epochs), each compressed to its epochs; see `shortened`.
        error: the probability, between 0 and 1.
        lengths: epochs of the shorter runs, increasing; a quarter and a half of the plan's by default, rounded down, none below
            1. Without any, only the seeds are raced.
        guessing: the accuracy of a trial that failed.
        resolution: the smallest difference of two test accuracies, 1 / (test examples). Seeds whose differences are all the same
            have at least this spread.

    Returns:
        The race, with the whole runs of those that were left.

    Raises:
        ValueError: no schedule, fewer than two seeds or one twice, another argument out of its range, or a schedule that does not
            fit a shorter run.

    >>> from laju import RunPlan, constant
    >>> from laju.lab.trials import Outcome, Record
    >>> def run(wanted):  # as good as the rate is close to 0.3, with some luck of the seed
    ...     good = {key: 0.9 - abs(s(0) - 0.3) + 0.1 * (key[1] - 1) * s(0) for key, s in wanted.items()}
    ...     return {key: Outcome("finished", (Record(1, 1.0, 0.0, 1 - x, x, x),), 0.0) for key, x in good.items()}
    >>> rates = {"low": constant(0.1), "good": constant(0.3), "same": constant(0.3)}
    >>> found = race(rates, [0, 1, 2], RunPlan(samples=100, batch_size=10, epochs=8), run)
    >>> found.left, [(d.name, d.epochs, d.rival) for d in found.dropped]
    (('good', 'same'), [('low', 2, 'good')])
    """
    names, chosen = tuple(schedules), tuple(seeds)
    if not names:
        raise ValueError("schedules must hold at least one, got none")
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"seeds of a race must be two or more, each once, as one shows no spread; got {list(chosen)!r}"
        )
    error = number("error", error, above=0, below=1)
    guessing = number("guessing", guessing, least=0, most=1)
    resolution = number("resolution", resolution, least=0)
    shorter = _lengths(lengths, plan.epochs)
    counts = _seed_counts(len(chosen))
    compressed = {(name, e): shortened(schedules[name], plan, e) for name in names for e in (*shorter, plan.epochs)}
    tests = max((len(names) - 1) * (len(counts) * (len(shorter) + 1) - 1), 1)

    left = list(names)
    rounds: list[Round] = []
    dropped: list[Dropped] = []
    outcomes: dict[Key, Outcome] = {}

    def pays(epochs: int) -> bool:
        spent = sum(e for _, _, e in outcomes)
        saved = (len(names) - len(left)) * len(chosen) * plan.epochs
        return not rounds or spent + len(left) * len(chosen) * epochs <= saved

    for epochs in (*shorter, plan.epochs):
        is_whole = epochs == plan.epochs
        if not is_whole and (len(left) == 1 or not pays(epochs)):
            continue
        for count in counts:
            if len(left) == 1:
                if not is_whole:
                    break
                count = len(chosen)  # nobody to compare with
            wanted = {(n, s, epochs): compressed[n, epochs] for s in chosen[:count] for n in left}
            missing = {key: schedule for key, schedule in wanted.items() if key not in outcomes}
            outcomes.update(run(missing) if missing else {})
            known = {n: [outcomes[n, s, epochs] for s in chosen[:count]] for n in left}
            scores = {n: [_score(o, guessing) for o in known[n]] for n in left}
            gone: list[Dropped] = []
            if not (is_whole and count == len(chosen)):
                gone = [
                    replace(d, schedule=str(schedules[d.name]), epochs=epochs, seeds=count)
                    for d in _judge(known, scores, is_whole, tests, error, resolution)
                ]
            means = {n: statistics.fmean(x) for n, x in scores.items()}
            rounds.append(Round(epochs, count, means, tuple(d.name for d in gone)))
            dropped += gone
            left = [n for n in left if n not in rounds[-1].dropped]
            if count == len(chosen):
                break
    finals = {(n, s): outcomes[n, s, plan.epochs] for n in left for s in chosen}
    return Race(names, plan.epochs, chosen, error, tuple(rounds), tuple(dropped), finals)


def shortened(schedule: Schedule, plan: RunPlan, epochs: int) -> Schedule:
    """A schedule of the whole run compressed to fewer epochs: with T updates then and n now, update t has the rate s(t T / n).

    All lengths shrink alike: a warmup of a tenth stays one, and one of 500 updates is shorter too. Boundaries may lie between
    updates. Where rounding would move a step to another update, the schedule is a table of the values.

    Raises:
        ValueError: epochs below 1 or above the plan's.

    >>> from laju import RunPlan, wsd
    >>> plan = RunPlan(samples=100, batch_size=10, epochs=8)
    >>> shortened(wsd(0.3, total="100%", warmup=8, cooldown="25%"), plan, 2)
    wsd(0.3, total=80, warmup=8, cooldown=20).stretch(0.25)
    """
    epochs = whole("epochs", epochs, least=1)
    if epochs > plan.epochs:
        raise ValueError(f"epochs must be at most the plan's {plan.epochs}, got {epochs}")
    if epochs == plan.epochs:
        return schedule
    resolved = schedule.resolve(plan)
    updates, n = plan.updates, replace(plan, epochs=epochs).updates
    values = np.array([float(resolved(t * updates / n)) for t in range(n)])
    stretched = resolved.stretch(n / updates)
    close = np.allclose(stretched.values(n), values, rtol=1e-9, atol=1e-12 * float(np.abs(values).max()))
    return stretched if close else Table(tuple(values.tolist()))


def _lengths(lengths: Iterable[int] | None, epochs: int) -> tuple[int, ...]:
    """The epochs of the shorter runs, increasing."""
    if lengths is None:
        return tuple(sorted({max(1, epochs // f) for f in FRACTIONS} - {epochs}))
    if isinstance(lengths, str) or not isinstance(lengths, Iterable):
        raise TypeError(f"lengths must be epochs of shorter runs such as [5, 10], got {shown(lengths)}")
    found = tuple(whole("a length", x, least=1) for x in lengths)
    if any(a >= b for a, b in pairwise((*found, epochs))):
        raise ValueError(f"lengths must increase and stay below the run's {epochs} epochs, got {list(found)!r}")
    return found


def _seed_counts(most: int) -> tuple[int, ...]:
    """Seeds after each round: 3, 6, 12 and so on up to all."""
    counts = []
    count = FIRST_SEEDS
    while count < most:
        counts.append(count)
        count *= 2
    return (*counts, most)


def _judge(
    known: Mapping[str, Sequence[Outcome]],
    scores: Mapping[str, Sequence[float]],
    is_whole: bool,
    tests: int,
    error: float,
    resolution: float,
) -> list[Dropped]:
    """Those that go after a round, without where that was."""
    failed = {name: reason for name, outcomes in known.items() if (reason := _failure(outcomes)) is not None}
    if len(failed) == len(known):
        return []
    failed = {name: reason for name, reason in failed.items() if is_whole or reason == "diverged"}
    gone = [Dropped(name, "", 0, 0, reason) for name, reason in failed.items()]
    running = [name for name in known if name not in failed]
    running.sort(key=lambda name: -statistics.fmean(scores[name]))
    for i, name in enumerate(running):
        for rival in running[:i]:
            p = paired_p_value(scores[name], scores[rival], resolution, alternative="less")
            if p is not None and p * tests < error:
                difference = paired_difference(scores[name], scores[rival], resolution=resolution, bounds=ACCURACY)
                gone.append(Dropped(name, "", 0, 0, "worse", rival, difference, p * tests))
                break
    return gone


def _failure(outcomes: Sequence[Outcome]) -> Reason | None:
    """How all of them failed; None where one did not."""
    statuses = {outcome.status for outcome in outcomes}
    if "finished" in statuses:
        return None
    return "failed" if len(statuses) > 1 else "diverged" if "diverged" in statuses else "collapsed"


def _score(outcome: Outcome, guessing: float) -> float:
    last = outcome.records[-1].test_accuracy if outcome.records else None
    return guessing if outcome.status != "finished" or last is None else last
