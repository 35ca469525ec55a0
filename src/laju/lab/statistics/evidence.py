"""The evidence of a difference: the test behind every sentence about two schedules."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from laju.lab.statistics.intervals import LEAST_SEEDS, Estimate

Words = TypeVar("Words")


class Evidence(StrEnum):
    """How well a difference is established.

    SHOWN: the interval, from three or more seeds, lies on one side of zero. AHEAD: a mean is larger, but the interval does not
    exclude zero. OPEN: the means are equal, or there is no difference to examine.
    """

    SHOWN = "shown"
    AHEAD = "ahead"
    OPEN = "open"


def evidence(difference: Estimate | None) -> Evidence:
    """The evidence of a difference.

    Args:
        difference: with an interval that is wide enough for the number of differences that are examined; see `joint_difference`.

    >>> evidence(Estimate(0.02, 0.01, 5)).value, evidence(Estimate(0.02, 0.03, 5)).value, evidence(None).value
    ('shown', 'ahead', 'open')
    """
    if difference is None or abs(difference.mean) < 1e-12:  # of differences that cancel, a sum leaves rounding
        return Evidence.OPEN
    return Evidence.SHOWN if difference.n >= LEAST_SEEDS and difference.excludes_zero else Evidence.AHEAD


def claim(difference: Estimate | None, *, above: Words, below: Words, otherwise: Words) -> Words:
    """The words for a difference: `above` if shown to be above zero, `below` if shown to be below zero, else `otherwise`.

    A sentence that calls a result better, larger or worse takes its words from this function, and so claims no more than the
    interval supports.

    >>> gap = Estimate(0.02, 0.01, 5)
    >>> claim(gap, above="it overfits", below="it underfits", otherwise="these seeds do not tell")
    'it overfits'
    """
    if difference is None or evidence(difference) is not Evidence.SHOWN:
        return otherwise
    return above if difference.mean > 0 else below
