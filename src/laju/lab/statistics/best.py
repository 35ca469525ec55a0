"""Which of several means is best, as far as the seeds can show, and the words for the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laju.lab.statistics.evidence import Evidence, evidence
from laju.lab.statistics.intervals import ANY, LEAST_SEEDS, NO_SPREAD, Bounds, Estimate, estimate, number
from laju.lab.statistics.multiple import joint_difference
from laju.lab.statistics.power import seeds_needed
from laju.lab.statistics.ranks import probability_best

BETTER = 5
"""The number of seeds to recommend if there are too few for a test: Student's t is 2.8 with five seeds, and 4.3 with three."""
_NAMED = 4


@dataclass(frozen=True)
class Ranking:
    """The name with the best mean of a figure, and the rivals that may be the best as well.

    The best is chosen by the same seeds, so there is no claim about any single rival. The claim is that the true best is among
    the best and its rivals; there is no rival only if the best is shown to be better than every competitor.

    Attributes:
        best: the name with the best mean; the first of several with equal means.
        value: the mean of the best, with an interval.
        level: names with the same mean as the best.
        rivals: names that are not shown to be worse, the nearest first. The intervals of the paired differences to the best hold
            simultaneously with 95 % confidence (Bonferroni). With fewer than three seeds every name is a rival.
        lead: the lead over the second-best, paired by seed, with such an interval; positive, whichever sign is better. None for a
            single name.
        next: the name of the second-best; empty for a single name.
        probability: the probability that the best is really the best, see `laju.lab.statistics.probability_best`; None with a
            single seed.
        others: the number of names apart from the best.
        nearest: the lead over the nearest rival; None without a rival.
    """

    best: str
    value: Estimate
    level: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    lead: Estimate | None = None
    next: str = ""
    probability: float | None = None
    others: int = 0
    nearest: Estimate | None = None

    @property
    def decided(self) -> bool:
        """Whether the best is shown to be better than every competitor."""
        return not self.rivals

    def to_json(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "value": self.value.to_json(),
            "level": list(self.level),
            "probability": self.probability,
            "not told from it": list(self.rivals),
            "lead over the next": None if self.lead is None else self.lead.to_json(),
        }


def rank(
    figures: Mapping[str, Mapping[int, float]],
    *,
    smallest: bool = False,
    resolution: float = 0.0,
    bounds: Bounds = ANY,
    failed: Sequence[bool] | None = None,
    ties: Mapping[str, float] | None = None,
) -> Ranking | None:
    """The ranking of figures by name and seed; None without figures.

    Args:
        figures: by name, the figure of every seed; the same seeds for each name.
        smallest: whether smaller figures are better.
        resolution, bounds: as in `estimate`.
        failed: as in `probability_best`, by the order of the names.
        ties: by name, a second figure such as a training loss; among equal means the name with the smallest second figure leads.

    >>> found = rank({"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.5, 1: 0.52, 2: 0.52}, "c": {0: 0.92, 1: 0.9, 2: 0.93}})
    >>> found.best, found.rivals, found.decided, found.lead.text(signed=True)
    ('a', ('c',), False, '+0.003 ± 0.055')
    """
    means = {
        name: value
        for name, seeds in figures.items()
        if (value := estimate(seeds.values(), resolution=resolution, bounds=bounds)) is not None
    }
    if not means:
        return None
    sign = -1 if smallest else 1
    # Rounded, because equal accuracies over different seeds have sums that differ in the last digit.
    order = {name: (round(-sign * value.mean, 12), (ties or {}).get(name, 0.0)) for name, value in means.items()}
    best, *others = sorted(means, key=order.__getitem__)
    seeds = list(figures[best])
    values = {name: [sign * figures[name][seed] for seed in seeds] for name in means}
    low, high = sorted(sign * end for end in bounds)
    leads: dict[str, Estimate] = {}
    for name in others:
        lead = joint_difference(values[best], values[name], len(others), resolution=resolution, bounds=(low, high))
        assert lead is not None
        leads[name] = lead
    rivals = tuple(name for name, lead in leads.items() if evidence(lead) is not Evidence.SHOWN)
    sure = probability_best(list(zip(*values.values(), strict=True)), failed, (low, high), resolution=resolution)
    return Ranking(
        best,
        means[best],
        level=tuple(name for name, lead in leads.items() if evidence(lead) is Evidence.OPEN),
        rivals=rivals,
        lead=leads[others[0]] if others else None,
        next=others[0] if others else "",
        probability=None if sure is None else sure[list(means).index(best)],
        others=len(others),
        nearest=leads[rivals[0]] if rivals else None,
    )


def listed(items: Iterable[object]) -> str:
    """A list of things as part of a sentence.

    >>> listed([1, 2, 3]), listed(["one"])
    ('1, 2 and 3', 'one')
    """
    texts = [str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def counted(n: int, thing: str) -> str:
    """A number with its noun.

    >>> counted(1, "epoch"), counted(3, "seed")
    ('1 epoch', '3 seeds')
    """
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def verdict(
    ranking: Ranking, what: str, command: str, difference: float = 0.01, *, by: str = "test accuracy", unit: str = ""
) -> str:
    """The verdict in a sentence: which name is shown to be the best or is only ahead, and the command that would settle the rest.

    Args:
        ranking: the ranking of the names by a figure.
        what: the kind of the names, such as "schedule".
        command: the command that would train more seeds, without its number of seeds, such as "laju compare …".
        difference: a difference of the figure; the sentence says how many seeds would show a difference of this size.
        by, unit: the figure's name, and its unit, if any.

    >>> seeds = {"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.5, 1: 0.52, 2: 0.52}}
    >>> print(verdict(rank(seeds), "rate", "laju study fixed-rates …"))
    Shown to be the best rate by test accuracy: a (0.920), ahead of b by 0.407 ± 0.014.
    >>> print(opening(rank({"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.9, 1: 0.93, 2: 0.91}})))
    ahead is a (0.920; 71 % to be the best), which 3 seeds do not tell from b
    """
    digits = 0 if unit else 3
    best = f"{ranking.best} ({short(ranking.value, digits)})"
    if ranking.lead is None:
        return f"There is no other {what} to compare with: {best}."
    if ranking.decided:
        return f"Shown to be the best {what} by {by}: {best}, ahead of {ranking.next} by {ranking.lead.text(digits)}."
    settled_with = settled_by(ranking, command, difference, unit)
    return f"No {what} is shown to be the best: {opening(ranking, digits)}; {settled_with}."


def opening(ranking: Ranking, digits: int = 3) -> str:
    """The leader of an open ranking and the rivals that the seeds do not separate from the leader, as part of a sentence."""
    n = ranking.value.n
    if ranking.level:
        level = [ranking.best, *ranking.level]
        if len(level) > _NAMED:
            level = [ranking.best, f"{len(ranking.level)} others"]
        return f"level are {listed(level)} ({short(ranking.value, digits)}) after {counted(n, 'seed')}"
    sure = "" if ranking.probability is None else f"; {percent(ranking.probability)} to be the best"
    rivals = listed(ranking.rivals) if len(ranking.rivals) <= _NAMED else f"{len(ranking.rivals)} others"
    seeds = f"{counted(n, 'seed')} {'does' if n == 1 else 'do'} not tell from {rivals}"
    return f"ahead is {ranking.best} ({short(ranking.value, digits)}{sure}), which {seeds}"


def settled_by(ranking: Ranking, command: str, difference: float = 0.01, unit: str = "") -> str:
    """The command that would settle an open ranking, for the end of a sentence."""
    if ranking.nearest is None:
        return "nothing is open"
    to = f"{unit} to {ranking.rivals[0]}".lstrip()
    return settled(ranking.nearest, command, difference, ranking.others, to)


def settled(
    open_: Estimate, command: str, size: float, comparisons: int = 1, to: str = "", what: str = "a difference"
) -> str:
    """The command that would settle a difference left open by the seeds, for the end of a sentence.

    The size is an argument and not the measured difference: the power for the observed difference says no more than its p-value.
    If the seeds so far would have shown the size already, the size is halved until more seeds are needed.

    Args:
        open_: the difference.
        command: the command that would train more seeds, without its number of seeds.
        size: the size of a difference that should be detected in 8 of 10 cases, above 0.
        comparisons: the number of differences that are examined together.
        to, what: words for the second side of the difference, and for the difference itself.

    >>> from laju.lab.statistics import estimate
    >>> print(settled(estimate([0.02, 0.0, 0.01]), "laju compare …", 0.01, to="to linear"))
    about 10 seeds would show a difference of 0.01 to linear (laju compare … --seeds 10)
    """
    if open_.n < LEAST_SEEDS or open_.spread is None:
        return f"intervals begin with {LEAST_SEEDS} seeds ({command} --seeds {BETTER})"
    needed = 0
    while open_.spread > NO_SPREAD:
        try:
            needed = seeds_needed(size, open_.spread, comparisons=max(comparisons, 1))
        except ValueError:  # more than ten million
            break
        if needed > open_.n:
            words = " ".join(filter(None, (what, f"of {size:,.0f}" if size >= 100 else f"of {size:.2g}", to)))
            return f"about {needed:,} seeds would show {words} ({command} --seeds {needed})"
        size /= 2
    return "no number of seeds that anybody trains would settle it"


def short(value: Estimate, digits: int = 3) -> str:
    """The mean without its interval, or both values if there are two."""
    return value.text(digits) if value.values else number(value.mean, digits)


def percent(probability: float | None) -> str:
    """A probability that was estimated from 20,000 draws, in whole percent, but never 0 or 100, which the draws cannot show."""
    if probability is None:
        return "-"
    return "< 1 %" if probability < 0.01 else "> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
