"""Statistics for a handful of seeds: intervals, their correction when schedules are many, ranks, power, curves."""

from laju.lab.statistics.curves import area_under_curve
from laju.lab.statistics.intervals import Estimate, estimate, number, paired_difference
from laju.lab.statistics.multiple import holm, joint_difference, paired_p_value
from laju.lab.statistics.power import paired_power, sd_interval, seeds_needed
from laju.lab.statistics.ranks import probability_best, rank_intervals

__all__ = [
    "Estimate",
    "area_under_curve",
    "estimate",
    "holm",
    "joint_difference",
    "number",
    "paired_difference",
    "paired_p_value",
    "paired_power",
    "probability_best",
    "rank_intervals",
    "sd_interval",
    "seeds_needed",
]
