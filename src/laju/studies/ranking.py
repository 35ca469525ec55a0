"""Which of several schedules is best, as far as the seeds can tell, and the words for it."""

from __future__ import annotations

from collections.abc import Iterable

from laju.lab.comparison import Comparison
from laju.lab.statistics import LEAST_SEEDS, Ranking, counted, listed, rank, verdict

__all__ = ["LEAST_SEEDS", "Ranking", "counted", "finals", "listed", "rank", "untold", "verdict"]


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
