"""Tuning the base rate of every schedule before the comparison, so that no schedule loses only because of its peak rate.

A search along a single axis needs no model: factors evenly spaced in the logarithm, then ever closer factors around the best.
The choice depends only on results, so a comparison that is run again finds all trials in its store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from laju.core.schedule import Schedule
from laju.lab.trials import Outcome

DECADES = 1.0
"""The factors lie between 10 to this power and its reciprocal."""
TRIALS = 9
LEAST = 3

Key = tuple[str, int]
Run = Callable[[Mapping[Key, Schedule]], Mapping[Key, Outcome]]


@dataclass(frozen=True)
class BaseRate:
    """The best factor for a schedule, and whether the factor is the smallest or largest that was tried."""

    factor: float
    at_end: bool


def tune_base_rates(
    schedules: Mapping[str, Schedule], seeds: Sequence[int], trials: int, run: Run
) -> dict[str, BaseRate]:
    """Find the factor on each schedule's rates that has the highest mean test accuracy over the seeds.

    Half of the trials are evenly spaced in log(factor) from 1/10 to 10, 1 included. Each further pair of factors lies on both
    sides of the best factor so far, half as far away as the previous pair. Between equal accuracies the lower training loss
    wins.

    Args:
        schedules: the schedules by name.
        seeds: the seeds of the tuning, different from the seeds of the comparison: otherwise the tuned schedules would be chosen
            for their luck with these seeds.
        trials: the number of factors for each schedule, at least 3.
        run: a function that trains schedules by (name, seed).

    >>> from laju import constant
    >>> from laju.lab import Outcome, Record
    >>> def run(schedules):  # as good as the rate is close to 0.3
    ...     good = {key: 1 - abs(schedule(0) - 0.3) / 10 for key, schedule in schedules.items()}
    ...     return {key: Outcome("finished", (Record(1, 1.0, 0.0, 1 - x, x, x),), 0.0) for key, x in good.items()}
    >>> tune_base_rates({"a": constant(0.1)}, [3], 9, run)["a"].factor
    3.16
    """
    scores: dict[str, dict[float, tuple[float, float]]] = {name: {} for name in schedules}
    # An odd number, so that the factor 1 is among them.
    first = max(LEAST, trials // 2 + (trials // 2 + 1) % 2)
    gap = 2 * DECADES / (first - 1)
    places = {name: [-DECADES + i * gap for i in range(first)] for name in schedules}
    left = trials
    while left > 0:
        wanted: dict[Key, tuple[str, float]] = {}
        for name in schedules:
            for place in places[name][:left]:
                if place not in scores[name]:
                    for seed in seeds:
                        wanted[tuned_name(name, factor(place)), seed] = name, place
        outcomes = run({key: scaled(schedules[name], factor(place)) for key, (name, place) in wanted.items()})
        for key, (name, place) in wanted.items():
            others = [outcomes[key[0], seed] for seed in seeds]
            scores[name][place] = _score(others)
        left -= max(len(p) for p in places.values())
        gap /= 2
        for name in schedules:
            best = _best(scores[name])
            # Rounded, so that a place that is reached on two ways is one trial and one key of the store.
            places[name] = [round(p, 6) for p in (best - gap, best + gap) if abs(p) <= DECADES + 1e-9]
    result = {}
    for name in schedules:
        best = _best(scores[name])
        result[name] = BaseRate(factor(best), abs(best) > DECADES - 1e-9)
    return result


def factor(place: float) -> float:
    """10 to the given power, rounded to three digits."""
    return float(f"{10**place:.3g}")


def scaled(schedule: Schedule, by: float) -> Schedule:
    """The schedule times a factor; the schedule itself if the factor is 1."""
    return schedule if by == 1 else schedule.scale(by)


def tuned_name(name: str, by: float) -> str:
    """The name of a schedule whose rates were multiplied.

    >>> tuned_name("cosine", 0.562)
    'cosine ×0.562'
    """
    return f"{name} ×{by:g}"


def _score(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """The mean test accuracy, and the negated mean training loss; a run that diverged has the worst value of both."""
    accuracies, losses = [], []
    for outcome in outcomes:
        failed = outcome.status == "diverged" or not outcome.records
        accuracies.append(0.0 if failed else outcome.records[-1].test_accuracy or 0.0)
        losses.append(float("inf") if failed else outcome.records[-1].train_loss)
    return sum(accuracies) / len(accuracies), -sum(losses) / len(losses)


def _best(scores: Mapping[float, tuple[float, float]]) -> float:
    # Of equals the nearest to 1: the rate that the user has written.
    return max(scores, key=lambda place: (*scores[place], -abs(place)))
