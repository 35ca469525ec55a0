"""Which of several is best by its mean, as far as the seeds can tell, and the words for it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from laju.lab.statistics.evidence import Evidence, evidence
from laju.lab.statistics.intervals import ANY, LEAST_SEEDS, Bounds, Estimate, estimate
from laju.lab.statistics.multiple import joint_difference
from laju.lab.statistics.power import seeds_needed
from laju.lab.statistics.ranks import probability_best

BETTER = 5
"""Seeds to ask for where there are too few to tell by: Student's t is 2.8 with five, and 4.3 with three."""
_NAMED = 4


@dataclass(frozen=True)
class Ranking:
    """The best by the mean of a figure, and those that may be the best as well.

    Attributes:
        best: the name with the best mean.
        value: its mean, with an interval.
        rivals: those that are not shown to be worse, the nearest first. The intervals of the paired differences to the best hold
            together in 95 % (Bonferroni). With fewer than three seeds everything is a rival.
        probability: that the best is really the best, see `laju.lab.statistics.probability_best`; None with one seed.
        others: how many there are beside the best.
        spread: standard deviation of the differences, seed by seed, to the nearest rival; None without one or with one seed.
        resolution: the smallest difference that two values can have.
    """

    best: str
    value: Estimate
    rivals: tuple[str, ...]
    probability: float | None = None
    others: int = 0
    spread: float | None = None
    resolution: float = 0.0

    @property
    def decided(self) -> bool:
        """Whether the best is told from all others."""
        return not self.rivals

    def more_seeds(self, difference: float) -> tuple[int, float] | None:
        """How many seeds would tell the best from its nearest rival, and a difference of which size that would show.

        The size is the one asked for, or a half, a quarter and so on of that where the seeds that there are would have shown it
        already. It is asked for and not measured: the power to see what was just seen says no more than its p-value. None where
        nothing is open, or nothing is known of the spread.
        """
        if self.decided or self.spread is None or self.value.n < LEAST_SEEDS:
            return None
        sd = max(self.spread, self.resolution)
        while sd > 0:
            try:
                needed = seeds_needed(difference, sd, comparisons=max(self.others, 1))
            except ValueError:  # more than anybody trains
                return None
            if needed > self.value.n:
                return needed, difference
            difference /= 2
        return None

    def to_json(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "value": self.value.to_json(),
            "probability": self.probability,
            "not told from it": list(self.rivals),
        }


def rank(
    figures: Mapping[str, Mapping[int, float]],
    *,
    smallest: bool = False,
    resolution: float = 0.0,
    bounds: Bounds = ANY,
) -> Ranking | None:
    """The ranking of figures by name and seed; None where there are none.

    Args:
        figures: a figure of every seed, by name; the same seeds for each.
        smallest: whether a smaller one is better.
        resolution, bounds: as in `estimate`.

    >>> found = rank({"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.5, 1: 0.52, 2: 0.52}, "c": {0: 0.92, 1: 0.9, 2: 0.93}})
    >>> found.best, found.rivals, found.decided
    ('a', ('c',), False)
    """
    means = {
        name: value
        for name, seeds in figures.items()
        if (value := estimate(seeds.values(), resolution=resolution, bounds=bounds)) is not None
    }
    if not means:
        return None
    sign = -1 if smallest else 1
    best, *others = sorted(means, key=lambda name: -sign * means[name].mean)
    seeds = list(figures[best])
    apart = {name: [figures[best][s] - figures[name][s] for s in seeds] for name in others}
    rivals = tuple(
        name
        for name, differences in apart.items()
        if evidence(joint_difference(differences, [0.0] * len(seeds), len(others), resolution=resolution))
        is not Evidence.SHOWN
    )
    sure = probability_best([[sign * figures[name][s] for name in means] for s in seeds])
    spread = statistics.stdev(apart[rivals[0]]) if rivals and len(seeds) > 1 else None
    probability = None if sure is None else sure[list(means).index(best)]
    return Ranking(best, means[best], rivals, probability, len(others), spread, resolution)


def listed(items: Iterable[object]) -> str:
    """Things in a sentence.

    >>> listed([1, 2, 3]), listed(["one"])
    ('1, 2 and 3', 'one')
    """
    texts = [str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def counted(n: int, thing: str) -> str:
    """A number of things.

    >>> counted(1, "epoch"), counted(3, "seed")
    ('1 epoch', '3 seeds')
    """
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def verdict(ranking: Ranking, what: str, command: str, difference: float = 0.01) -> str:
    """One sentence: which is shown to be the best or is only ahead, and the command that would settle it.

    Args:
        ranking: of the things.
        what: what they are, such as "schedule".
        command: that would train more of them, without its number of seeds, such as "laju compare …".
        difference: in the figure; the sentence says how many seeds would show one of this size.

    >>> seeds = {"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.5, 1: 0.52, 2: 0.52}}
    >>> print(verdict(rank(seeds), "rate", "laju study fixed-rates …"))
    Shown to be the best rate: a, 0.920 ± 0.025.
    """
    best = f"{ranking.best}, {ranking.value.text()}"
    if not ranking.others:
        return f"There is one {what} alone: {best}."
    if ranking.decided:
        return f"Shown to be the best {what}: {best}."
    rivals = listed(ranking.rivals) if len(ranking.rivals) <= _NAMED else f"{len(ranking.rivals)} others"
    sure = "" if ranking.probability is None else f" ({percent(ranking.probability)} to be the best)"
    text = f"No {what} is shown to be the best: ahead is {best}{sure}, which {counted(ranking.value.n, 'seed')} "
    text += f"{'does' if ranking.value.n == 1 else 'do'} not tell from {rivals}"
    return f"{text}; {settled_by(ranking, command, difference)}."


def settled_by(ranking: Ranking, command: str, difference: float = 0.01) -> str:
    """What would settle an open ranking, for the end of a sentence."""
    if ranking.value.n < LEAST_SEEDS:
        return f"intervals begin with {LEAST_SEEDS} seeds ({command} --seeds {BETTER})"
    more = ranking.more_seeds(difference)
    if more is None:
        return "no number of seeds that anybody trains would settle it"
    seeds, size = more
    return (
        f"about {seeds} seeds would show a difference of {size:.2g} to {ranking.rivals[0]} ({command} --seeds {seeds})"
    )


def percent(probability: float) -> str:
    """A probability from 20,000 draws in whole percent, with neither 0 nor 100, which nobody can know."""
    return "< 1 %" if probability < 0.01 else "> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
