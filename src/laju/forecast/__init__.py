"""Forecast the loss under a schedule before or during a run, from loss curves of earlier runs or from a convex bound.

>>> import laju
>>> from laju.forecast import bound
>>> bound(laju.linear(0.1, 0, total=1000), 1000) < bound(laju.constant(0.1), 1000)
True
"""

from laju.forecast.averages import FittedAverages, fit_averages
from laju.forecast.bound import BestRate, anytime_bound, best_rate, bound, distance, transfer_rate
from laju.forecast.cooldowns import Way, cooldowns
from laju.forecast.curves import Curve, ForecastWarning
from laju.forecast.ending import Ending, ending
from laju.forecast.families import Best
from laju.forecast.finals import FittedFinals, Ranked, fit_finals
from laju.forecast.fitting import FittedLaw, HeldOut, errors, fit
from laju.forecast.live import LiveEnding
from laju.forecast.plan import (
    Plan,
    best_continuation,
    best_schedule,
    best_under_cap,
    norms_per_update,
    refined_schedule,
)
from laju.forecast.prior import Prior, learn
from laju.forecast.reading import read_curve
from laju.forecast.telling import NextRun, Telling, next_run

__all__ = [
    "Best",
    "BestRate",
    "Curve",
    "Ending",
    "FittedAverages",
    "FittedFinals",
    "FittedLaw",
    "ForecastWarning",
    "HeldOut",
    "LiveEnding",
    "NextRun",
    "Plan",
    "Prior",
    "Ranked",
    "Telling",
    "Way",
    "anytime_bound",
    "best_continuation",
    "best_rate",
    "best_schedule",
    "best_under_cap",
    "bound",
    "cooldowns",
    "distance",
    "ending",
    "errors",
    "fit",
    "fit_averages",
    "fit_finals",
    "learn",
    "next_run",
    "norms_per_update",
    "read_curve",
    "refined_schedule",
    "transfer_rate",
]
