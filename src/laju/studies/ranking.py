"""The best of several schedules, as far as the seeds can show, and the words for the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from laju.lab.comparison import Comparison
from laju.lab.statistics import (
    ACCURACY,
    LEAST_SEEDS,
    LOSS,
    Estimate,
    Ranking,
    claim,
    counted,
    joint_difference,
    listed,
    percent,
    rank,
)

__all__ = [
    "Ranking",
    "accuracy_ranking",
    "ahead",
    "by_claim",
    "extreme",
    "finals",
    "interval_of",
    "listed",
    "loss_ranking",
    "not_told",
    "paired",
    "rank",
    "sentence",
    "untold",
    "with_values",
]


def finals(comparison: Comparison, figure: str, names: Iterable[str] | None = None) -> dict[str, dict[int, float]]:
    """A final figure of `Comparison.trials` by name and seed, for the schedules with which every seed finished.

    Schedules that lost seeds are left out, since their remaining seeds flatter them.
    """
    wanted = list(comparison.schedules) if names is None else list(names)
    found: dict[str, dict[int, float]] = {name: {} for name in wanted}
    for row in comparison.trials():
        if row["schedule"] in found and row["status"] == "finished":
            found[row["schedule"]][row["seed"]] = row[figure]
    return {name: seeds for name, seeds in found.items() if len(seeds) == len(comparison.seeds)}


def accuracy_ranking(comparison: Comparison, names: Iterable[str] | None = None) -> Ranking | None:
    """The ranking of the schedules by their final test accuracy."""
    figures = finals(comparison, "test_accuracy", names)
    return rank(figures, resolution=comparison.resolution, bounds=ACCURACY)


def loss_ranking(comparison: Comparison, names: Iterable[str] | None = None) -> Ranking | None:
    """The ranking of the schedules by their final training loss, the lowest first."""
    return rank(finals(comparison, "train_loss", names), smallest=True, bounds=LOSS)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float], comparisons: int = 1, **how: Any) -> Estimate | None:
    """The mean difference over the seeds that both have, with an interval that holds simultaneously with all comparisons.

    Args:
        ours, theirs: a figure by seed.
        comparisons: the number of differences that are examined together.
        how: `resolution` and `bounds`, as in `estimate`.
    """
    both = [seed for seed in ours if seed in theirs]
    return joint_difference([ours[s] for s in both], [theirs[s] for s in both], comparisons, **how)


def by_claim(differences: Mapping[str, Estimate | None]) -> dict[int, dict[str, Estimate]]:
    """The differences by claim: 1 for shown to be above zero, -1 for shown to be below zero, and 0 for open."""
    found: dict[int, dict[str, Estimate]] = {1: {}, -1: {}, 0: {}}
    for name, difference in differences.items():
        if difference is not None:
            found[claim(difference, above=1, below=-1, otherwise=0)][name] = difference
    return found


def with_values(differences: Mapping[str, Estimate]) -> list[str]:
    """Names with their differences, such as `cosine (+0.010 ± 0.004)`."""
    return [f"{name} ({difference.text(signed=True)})" for name, difference in differences.items()]


def not_told(n: int) -> str:
    """The beginning `5 seeds do not tell`."""
    return f"{counted(n, 'seed')} do{'es' if n == 1 else ''} not tell"


def sentence(parts: Iterable[str]) -> str:
    """Clauses as a sentence.

    >>> sentence(["the cosine is ahead", "the rest is open"])
    'The cosine is ahead; the rest is open.'
    """
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def interval_of(seeds: int) -> str:
    """A description of the content of a table's cells, for the table's title.

    >>> interval_of(5), interval_of(1)
    ('mean and 95 % interval of 5 seeds', '1 seed')
    """
    if seeds < LEAST_SEEDS:
        return counted(seeds, "seed")
    return f"mean and 95 % interval of {seeds} seeds"


def untold(ranking: Ranking, what: str) -> str:
    """The sentence about the certainty of a ranking."""
    n = ranking.value.n
    if n < LEAST_SEEDS:
        return (
            f"{counted(n, 'seed')} tell{'s' if n == 1 else ''} it from no other {what}: any difference may be chance."
        )
    if ranking.lead is None:
        return f"There is no other {what} to compare it with."
    if ranking.decided:
        return f"Its lead over every other {what} is beyond the interval of the paired differences (95 % for all together)."
    return (
        f"The {n} seeds do not tell it from {listed(ranking.rivals)}: these differences are within their intervals (95 % for all "
        f"together). That it is the best is {percent(ranking.probability)} probable."
    )


def extreme(ranking: Ranking, what: str, name: str = "The lowest mean training loss", than: str = "below") -> str:
    """The sentence about the smallest or the largest mean of a figure.

    Args:
        ranking: the ranking by the figure.
        what: the kind of the ranked things, such as "rate".
        name: the name of the figure, with the adjective.
        than: the relation to the rest, for a relation that is shown.
    """
    text = f"{name} is that of {ranking.best}: {ranking.value.text()}"
    if ranking.lead is None:
        return f"{text}."
    if ranking.decided:
        return f"{text}, shown to be {than} that of every other {what}."
    return f"{text}; {not_told(ranking.value.n)} it from {listed(ranking.rivals)}."


def ahead(ranking: Ranking) -> str:
    """The words before the best by test accuracy: shown to be best, or only ahead."""
    return (
        "The best by test accuracy is" if ranking.decided and ranking.lead is not None else "Ahead by test accuracy is"
    )
