"""The ranking at the end and at each epoch. Every trial counts: a failed trial has the accuracy of guessing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.lab.comparison.rows import pairs
from laju.lab.statistics import (
    ACCURACY,
    LEAST_SEEDS,
    Estimate,
    Evidence,
    counted,
    evidence,
    listed,
    opening,
    probability_best,
    rank,
    rank_intervals,
    sd_interval,
    seeds_needed,
    settled_by,
    short,
)
from laju.lab.statistics.best import BETTER
from laju.lab.statistics.intervals import NO_SPREAD
from laju.lab.statistics.ranks import Scores

if TYPE_CHECKING:
    from laju.lab.comparison.results import Results
    from laju.lab.comparison.rows import Agreement, Row
    from laju.lab.trials import Outcome


@dataclass(frozen=True)
class Standing:
    """The standing of a schedule among those compared.

    Attributes:
        name: the name of the schedule.
        score: the mean test accuracy over the seeds that were run with every schedule; a trial that diverged or collapsed counts
            with the accuracy of guessing.
        rank: the rank of the score, 1 for the best; equal scores share a rank.
        rank_low, rank_high: the 95 % interval of the rank of the true mean; see `laju.lab.statistics.rank_intervals`.
        best: the probability of being the best, see `laju.lab.statistics.probability_best`; None with a single seed.
        seeds: the number of seeds that would show the given difference to the first schedule (80 % power, with Bonferroni's
            correction); None for the first schedule, or without a measured spread.
        seeds_low, seeds_high: the 80 % interval of `seeds`, since the measured spread is itself uncertain.
    """

    name: str
    score: float
    rank: int
    rank_low: int
    rank_high: int
    best: float | None
    seeds: int | None = None
    seeds_low: int | None = None
    seeds_high: int | None = None


@dataclass(frozen=True)
class Lead:
    """The schedule with the best mean test accuracy from epoch `first` to epoch `last`, both included."""

    name: str
    first: float
    last: float


def standings(results: Results, difference: float) -> list[Standing]:
    """A standing for each schedule, the best first; empty if no seed was run with every schedule."""
    if not math.isfinite(difference) or difference <= 0:
        raise ValueError(f"difference must be a finite number above 0, got {difference!r}")
    names, seeds = list(results.schedules), _complete(results)
    if not seeds:
        return []
    scores = np.array([[_score(results, results.outcomes[name, seed]) for name in names] for seed in seeds])
    failed, resolution = _failed(results, seeds), results.resolution
    means, best = scores.mean(axis=0), probability_best(scores, failed, ACCURACY, resolution=resolution)
    found = []
    for i, (low, high) in enumerate(rank_intervals(scores, resolution=resolution)):
        # Means of the same accuracies in another order differ by rounding, and share a rank.
        place = 1 + int((means > means[i] + 1e-12).sum())
        needed = _needed(results, names[i], difference)
        found.append(Standing(names[i], float(means[i]), place, low, high, best[i] if best else None, *needed))
    return sorted(found, key=lambda standing: standing.rank)


def anytime(results: Results) -> list[dict[str, Any]]:
    """A flat row for each schedule and epoch; see `Findings.anytime`."""
    names, seeds = list(results.schedules), _complete(results)
    rows = []
    leader: str | None = None
    for epoch, scores in _curves(results, seeds):
        best = probability_best(scores, _failed(results, seeds), ACCURACY, resolution=results.resolution)
        means = scores.mean(axis=0)
        top = [name for name, mean in zip(names, means, strict=True) if mean >= means.max() - 1e-12]
        leader = leader if leader in top else top[0]  # a leader leads until overtaken
        for i, name in enumerate(names):
            rows.append(
                {
                    "epoch": epoch,
                    "schedule": name,
                    "test_accuracy": float(means[i]),
                    "best": best[i] if best else None,
                    "leads": name == leader,
                }
            )
    return rows


def leads(anytime: Iterable[Mapping[str, Any]]) -> list[Lead]:
    """The leading schedule for each range of epochs, from the rows of `anytime`."""
    found: list[Lead] = []
    for row in anytime:
        if row["leads"]:
            name, epoch = row["schedule"], row["epoch"]
            if found and found[-1].name == name:
                found[-1] = Lead(name, found[-1].first, epoch)
            else:
                found.append(Lead(name, epoch, epoch))
    return found


def verdict(
    results: Results, rows: Sequence[Row], agreements: Sequence[Agreement], difference: float, command: str
) -> str:
    """The verdict in a sentence; see `Findings.verdict`. A failed trial counts with the accuracy of guessing."""
    names, seeds = list(results.schedules), _complete(results)
    parts = []
    if results.race and not results.dropped:
        parts.append("the race could drop no schedule, so all were trained with every seed")
    if results.dropped:
        parts.append(f"the race dropped {listed(d.name for d in results.dropped)}")
    if not any(outcome.status == "finished" for outcome in results.outcomes.values()):
        parts.append("no trial finished, so there is nothing to compare")
    elif not seeds:
        parts.append("no seed was run with every schedule, so there is nothing to compare")
    elif len(set(results.frameworks.values())) > 1 and len(set(results.schedules.values())) == 1:
        parts += _frameworks(agreements[0], command)
    else:
        scores = {name: {seed: _score(results, results.outcomes[name, seed]) for seed in seeds} for name in names}
        found = rank(scores, resolution=results.resolution, bounds=ACCURACY, failed=_failed(results, seeds))
        assert found is not None
        best = f"{found.best} ({short(found.value)})"
        if found.lead is None and results.dropped:
            parts.append(f"left alone is {best}")
        elif found.lead is None:
            parts.append(f"there is nothing to compare {best} with")
        elif found.decided:
            parts.append(
                f"shown to be the best by test accuracy is {best}, ahead of {found.next} by {found.lead.text()}"
            )
        else:
            shown = [(row, row.joint.mean) for row in rows if row.differs and row.joint is not None]
            for word, sign in (("better", 1), ("worse", -1)):
                if which := [row.name for row, mean in shown if sign * mean > 0]:
                    are = "is" if len(which) == 1 else "are"
                    parts.append(f"{listed(which)} {are} shown to be {word} than {results.reference}")
            parts.append(f"no schedule is shown to be the best: {opening(found)}")
            parts.append(settled_by(found, command, difference))
    text = "; ".join(parts)
    # A name keeps its letters: "wsd" is a policy, and "Wsd" none.
    named = text.startswith(tuple(f"{name}{end}" for name in names for end in (" ", ",")))
    return f"{text}." if named else f"{text[0].upper()}{text[1:]}."


def _frameworks(agreement: Agreement, command: str) -> list[str]:
    """Whether frameworks that trained the same schedule differ."""
    first, *others = agreement.accuracies
    shown = {f: d for f, d in agreement.differences.items() if d is not None and evidence(d) is Evidence.SHOWN}
    if shown:
        return [f"shown to differ from {first} in test accuracy: {listed(_signed(shown))}"]
    known: dict[str, Estimate] = {f: d for f, d in agreement.differences.items() if d is not None}
    seeds = min((d.n for d in known.values()), default=0)
    told = f"{counted(seeds, 'seed')} tell{'s' if seeds == 1 else ''} no framework from {first}"
    parts = [f"{told}: {listed(_signed(known))}" if known else f"no seed finished both in {first} and {listed(others)}"]
    if seeds < LEAST_SEEDS:
        parts.append(f"intervals begin with {LEAST_SEEDS} seeds ({command} --seeds {BETTER})")
    return parts


def _signed(differences: dict[str, Estimate]) -> list[str]:
    return [f"{name} ({d.text(signed=True)})" for name, d in differences.items()]


def _complete(results: Results) -> list[int]:
    """The seeds that were run with every schedule."""
    return [seed for seed in results.seeds if all((name, seed) in results.outcomes for name in results.schedules)]


def _failed(results: Results, seeds: list[int]) -> list[bool]:
    return [any(results.outcomes[name, seed].status != "finished" for seed in seeds) for name in results.schedules]


def _score(results: Results, outcome: Outcome) -> float:
    """The test accuracy at the end, or that of guessing."""
    last = outcome.records[-1].test_accuracy if outcome.records else None
    return results.guessing if outcome.status != "finished" or last is None else last


def _curves(results: Results, seeds: list[int]) -> list[tuple[float, Scores]]:
    """By epoch, the test accuracies of shape (seeds, schedules).

    A trial that diverged has the accuracy of guessing from the divergence on, a trial that collapsed at its end.
    """
    names = list(results.schedules)
    known: dict[tuple[str, int], dict[float, float]] = {}
    for name in names:
        for seed in seeds:
            records = results.outcomes[name, seed].records
            known[name, seed] = {r.epoch: r.test_accuracy for r in records if r.test_accuracy is not None}
    epochs = sorted({epoch for curve in known.values() for epoch in curve} | {float(results.plan.epochs)})
    found = []
    for epoch in epochs if seeds else []:
        scores = np.empty((len(seeds), len(names)))
        for i, seed in enumerate(seeds):
            for j, name in enumerate(names):
                outcome = results.outcomes[name, seed]
                if epoch == epochs[-1]:
                    scores[i, j] = _score(results, outcome)
                else:
                    missing = results.guessing if outcome.status == "diverged" else math.nan
                    scores[i, j] = known[name, seed].get(epoch, missing)
        if np.isfinite(scores).all():  # at an epoch that some never tested at, nobody can be said to lead
            found.append((epoch, scores))
    return found


def _needed(results: Results, name: str, difference: float) -> tuple[int | None, int | None, int | None]:
    """The number of seeds that show the given difference to the first schedule, with the interval of that number."""
    of, to = pairs(results, name)
    n = len(of)
    if name == results.reference or n < LEAST_SEEDS:
        return None, None, None
    sd = statistics.stdev(x - y for x, y in zip(of, to, strict=True))
    if sd <= NO_SPREAD:
        return None, None, None
    others = len(results.schedules) - 1

    def needed(sd: float) -> int | None:
        try:
            return seeds_needed(difference, sd, comparisons=others)
        except ValueError:  # more than anybody trains
            return None

    low, high = sd_interval(sd, n)
    return needed(sd), needed(low), needed(high)
