"""Statistics for a handful of seeds: intervals, corrections for many comparisons, ranks, power, curves."""

from laju.lab.statistics.best import (
    Ranking,
    counted,
    listed,
    opening,
    percent,
    rank,
    settled,
    settled_by,
    short,
    verdict,
)
from laju.lab.statistics.curves import area_under_curve
from laju.lab.statistics.evidence import Evidence, claim, evidence
from laju.lab.statistics.intervals import ACCURACY, LEAST_SEEDS, LOSS, Estimate, estimate, number, paired_difference
from laju.lab.statistics.multiple import holm, joint_difference, paired_p_value
from laju.lab.statistics.power import paired_power, sd_interval, seeds_needed
from laju.lab.statistics.ranks import probability_best, rank_intervals

__all__ = [
    "ACCURACY",
    "LEAST_SEEDS",
    "LOSS",
    "Estimate",
    "Evidence",
    "Ranking",
    "area_under_curve",
    "claim",
    "counted",
    "estimate",
    "evidence",
    "holm",
    "joint_difference",
    "listed",
    "number",
    "opening",
    "paired_difference",
    "paired_p_value",
    "paired_power",
    "percent",
    "probability_best",
    "rank",
    "rank_intervals",
    "sd_interval",
    "seeds_needed",
    "settled",
    "settled_by",
    "short",
    "verdict",
]
