"""The forecast of the page: a law of the logs' losses, the band of the active schedule, and the best schedule from an update."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.forecast import Curve, FittedLaw, ForecastWarning, fit
from laju.studio.axes import around, x_axis
from laju.studio.logs import Held

_POINTS = 60
LEVEL = 0.9


class Forecasts:
    """The laws of logs, fitted once for each set of logs."""

    def __init__(self) -> None:
        self._fitted: tuple[tuple[Any, ...], FittedLaw, tuple[str, ...]] | None = None
        self._ran: WeakKeyDictionary[Held, Schedule] = WeakKeyDictionary()

    def band(
        self, held: Sequence[Held], schedule: Schedule, plan: RunPlan | None, updates: int, span: tuple[int, int]
    ) -> dict[str, Any]:
        """The losses that the law predicts for a schedule, with a band that contains the losses with probability 0.9.

        Args:
            held: logs with losses.
            schedule: the schedule in updates.
            plan: the plan of the run.
            updates: the number of updates of the run.
            span: the updates that the picture shows.

        Raises:
            ValueError: logs without losses, or losses to which no law can be fitted.
            ModuleNotFoundError: SciPy is not installed.
        """
        begin, end = span
        with _noted() as notes:
            law, said = self._law(held, schedule, plan)
            first = max(1, begin, *(int(curve.updates[0]) for curve in law.curves))
            last = min(end, updates)
            grid = np.linspace(min(first, last), last, _POINTS).astype(np.int64)
            at = np.unique(np.append(grid, updates))  # the loss at the end is told beside any part of the picture
            loss, low, high = law.forecast(schedule, at, LEVEL)
        measured = []
        for curve in law.curves:
            seen = np.flatnonzero((curve.updates >= begin) & (curve.updates <= end))
            seen = seen[:: max(1, len(seen) // 300)]
            measured.append(
                {"name": curve.name, "updates": curve.updates[seen].tolist(), "values": curve.loss[seen].tolist()}
            )
        shown = np.flatnonzero(at <= last)
        levels = [*low[shown], *high[shown], *(value for curve in measured for value in curve["values"])]
        return {
            "begin": begin, "end": end, "x": x_axis("updates", plan, end, begin), "y": around(levels), "measured": measured,
            "updates": at[shown].tolist(), "loss": loss[shown].tolist(), "low": low[shown].tolist(), "high": high[shown].tolist(),
            "told": f"ends at {loss[-1]:.4g} ({low[-1]:.4g} … {high[-1]:.4g}, {LEVEL:.0%})",
            "assumed": [{"name": each.name, "schedule": str(ran)} for each in held if (ran := self._ran.get(each))],
            "notes": list(dict.fromkeys([*said, *notes])),
        }  # fmt: skip

    def forget(self) -> None:
        """Treat the logs without rates as runs of the schedule that is active next."""
        self._ran.clear()

    def best(
        self, held: Sequence[Held], schedule: Schedule, plan: RunPlan | None, updates: int, begin: int
    ) -> dict[str, Any]:
        """The schedule with the lowest final loss, for a whole run with the same peak or for the rest of a run from an update.

        Args:
            held, schedule, plan, updates: as in `band`.
            begin: the updates that the run has made with the schedule; 0 for a run that has not begun.

        Raises:
            ValueError: logs without losses, losses to which no law can be fitted, or an update beyond the run.
        """
        with _noted() as notes:
            law, said = self._law(held, schedule, plan)
            if begin:
                found = law.best(updates, run=schedule, at=begin)
            else:
                found = law.best(updates, peak=float(schedule(np.arange(min(updates, 1 << 20))).max()))
            before = law.final(schedule, updates)
        told = f"ends at {found.loss:.4g} ({found.low:.4g} … {found.high:.4g}); the schedule before: {before:.4g}"
        return {"text": str(found.schedule), "told": told, "notes": list(dict.fromkeys([*said, *notes]))}

    def _law(self, held: Sequence[Held], schedule: Schedule, plan: RunPlan | None) -> tuple[FittedLaw, tuple[str, ...]]:
        # A log without rates is of a run with the schedule that was active first: a drag asks about another run.
        ran = [None if each.log.rates else self._ran.setdefault(each, schedule) for each in held]
        key = (plan, *((each, had and had.fingerprint) for each, had in zip(held, ran, strict=True)))
        if self._fitted is None or self._fitted[0] != key:
            with _noted() as notes:
                curves: list[Curve] = [each.curve(had, plan) for each, had in zip(held, ran, strict=True)]
                law = fit(curves)
            self._fitted = (key, law, tuple(notes))
        return self._fitted[1:]


@contextmanager
def _noted() -> Iterator[list[str]]:
    """The forecast's warnings as sentences.

    Warning filters belong to the whole process, so the caller makes a single forecast at a time.
    """
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ForecastWarning)
        yield notes
    notes += [str(w.message) for w in caught if issubclass(w.category, ForecastWarning)]
