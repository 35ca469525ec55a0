"""Which of several schedules is best, as far as the seeds can tell, and the words for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from laju.lab.comparison import Comparison
from laju.lab.statistics import Estimate, estimate, joint_difference, probability_best

LEAST_SEEDS = 3
"""Two seeds that happen to be equally far apart would seem certain."""


@dataclass(frozen=True)
class Ranking:
    """The best by the mean of a figure, and those that the seeds do not tell from it.

    `rivals` are those whose paired difference to the best is not beyond its interval, of 95 % for all of them together
    (Bonferroni). With fewer than three seeds everything is a rival. `probability` is that the best is really the best, see
    `laju.lab.statistics.probability_best`.
    """

    best: str
    value: Estimate
    rivals: tuple[str, ...]
    probability: float | None = None

    @property
    def decided(self) -> bool:
        """Whether the best is told from all others."""
        return not self.rivals

    def to_json(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "value": vars(self.value),
            "probability": self.probability,
            "not told from it": list(self.rivals),
        }


def rank(figures: Mapping[str, Mapping[int, float]], *, smallest: bool = False) -> Ranking | None:
    """The ranking of figures by name and seed; None where there are none.

    Args:
        figures: a figure of every seed, by name; the same seeds for each.
        smallest: whether a smaller one is better.

    >>> found = rank({"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.5, 1: 0.52, 2: 0.52}, "c": {0: 0.92, 1: 0.9, 2: 0.93}})
    >>> found.best, found.rivals, found.decided
    ('a', ('c',), False)
    """
    means = {name: found for name, seeds in figures.items() if (found := estimate(seeds.values())) is not None}
    if not means:
        return None
    best = (min if smallest else max)(means, key=lambda name: means[name].mean)
    rivals = []
    for name in means:
        seeds = list(figures[best])
        a, b = ([figures[which][s] for s in seeds] for which in (best, name))
        apart = joint_difference(a, b, max(len(means) - 1, 1))
        told = apart is not None and apart.n >= LEAST_SEEDS and apart.excludes_zero
        if name != best and not told:
            rivals.append(name)
    sign = -1 if smallest else 1
    sure = probability_best([[sign * figures[name][s] for name in means] for s in figures[best]])
    return Ranking(best, means[best], tuple(rivals), None if sure is None else sure[list(means).index(best)])


def finals(comparison: Comparison, figure: str, names: Iterable[str] | None = None) -> dict[str, dict[int, float]]:
    """A final figure of `Comparison.trials` by name and seed, of the schedules with which every seed finished.

    Those that lost seeds are left out, since the seeds that are left flatter them.
    """
    wanted = list(comparison.schedules) if names is None else list(names)
    found: dict[str, dict[int, float]] = {name: {} for name in wanted}
    for row in comparison.trials():
        if row["schedule"] in found and row["status"] == "finished":
            found[row["schedule"]][row["seed"]] = row[figure]
    return {name: seeds for name, seeds in found.items() if len(seeds) == len(comparison.seeds)}


def listed(items: Iterable[object]) -> str:
    """Things in a sentence.

    >>> listed([1, 2, 3]), listed(["one"])
    ('1, 2 and 3', 'one')
    """
    texts = [str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def untold(ranking: Ranking, what: str) -> str:
    """The sentence that says how sure the ranking is."""
    if ranking.value.n < LEAST_SEEDS:
        return f"Fewer than {LEAST_SEEDS} seeds tell it from no other {what}: any difference may be chance."
    if ranking.decided:
        return f"Its lead over every other {what} is beyond the interval of the paired differences (95 % for all together)."
    sure = (
        "" if ranking.probability is None else f", and the probability that it is the best is {ranking.probability:.2f}"
    )
    return (
        f"The {ranking.value.n} seeds do not tell it from {listed(ranking.rivals)}: these differences are within their "
        f"intervals (95 % for all together){sure}."
    )
