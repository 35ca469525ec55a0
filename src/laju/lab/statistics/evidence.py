"""The evidence of a difference: the gate that every sentence about two schedules goes through."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from laju.lab.statistics.intervals import LEAST_SEEDS, Estimate

Words = TypeVar("Words")


class Evidence(StrEnum):
    """How far a difference may be believed.

    SHOWN: the interval, of three seeds or more, lies on one side of zero. AHEAD: a mean is larger, but the interval does not
    exclude zero. OPEN: the means are equal, or there is no difference to look at.
    """

    SHOWN = "shown"
    AHEAD = "ahead"
    OPEN = "open"


def evidence(difference: Estimate | None) -> Evidence:
    """The evidence of a difference.

    Args:
        difference: with an interval as wide as the number of differences that are looked at asks for; see `joint_difference`.

    >>> evidence(Estimate(0.02, 0.01, 5)).value, evidence(Estimate(0.02, 0.03, 5)).value, evidence(None).value
    ('shown', 'ahead', 'open')
    """
    if difference is None or abs(difference.mean) < 1e-12:  # of differences that cancel, a sum leaves rounding
        return Evidence.OPEN
    return Evidence.SHOWN if difference.n >= LEAST_SEEDS and difference.excludes_zero else Evidence.AHEAD


def claim(difference: Estimate | None, *, above: Words, below: Words, otherwise: Words) -> Words:
    """The words for a difference: `above` where shown to be above zero, `below` where shown below, else `otherwise`.

    A sentence that calls a result better, larger or worse takes its words from here, and so claims no more than the
    interval.

    >>> gap = Estimate(0.02, 0.01, 5)
    >>> claim(gap, above="it overfits", below="it underfits", otherwise="these seeds do not tell")
    'it overfits'
    """
    if difference is None or evidence(difference) is not Evidence.SHOWN:
        return otherwise
    return above if difference.mean > 0 else below
