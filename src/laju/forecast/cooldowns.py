"""When to cool down: forecasts of a running run's final loss under several continuations of its schedule."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from laju.core.checks import shown
from laju.core.joins import chain
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.forecast.blocks import warmed_up
from laju.forecast.ending import Ending, ending
from laju.forecast.prior import Prior
from laju.inspect.horizon import cooldown, extend

_SHAPES = ("linear", "cosine", "sqrt")
_LONGER = 1.5
_COOLDOWN = 0.2
"""Share of a run that is cooled down, where the schedule does not say."""


@dataclass(frozen=True)
class Way:
    """A possible continuation of a run: the schedule of the whole run, and the forecast of its final loss.

    Attributes:
        name: "now", "as planned", "later" or "longer".
        schedule: the schedule of the whole run, from update 0.
        ending: the forecast or its refusal.
    """

    name: str
    schedule: Schedule
    ending: Ending


def cooldowns(
    updates: Any,
    losses: Any,
    schedule: Schedule,
    *,
    level: float = 0.9,
    prior: Prior | str | PathLike[str] | None = "auto",
) -> tuple[Way, ...]:
    """Forecast the final loss of a run that cools down now, as planned, or later, or that runs longer.

    While the learning rate is at its peak: "now" starts a cooldown as long as the planned cooldown; "later" starts the cooldown
    later by half its planned length and ends at the planned end; "longer" makes the run and its cooldown 1.5 times as long. While
    the learning rate decays: "now" reaches the final learning rate in half of the updates left, "later" holds the learning rate
    for half of the updates left, and "longer" makes the rest 1.5 times as long.

    Args:
        updates: completed updates of the n rows so far; shape (n,).
        losses: the losses after these updates; shape (n,).
        schedule: the schedule of the whole run, with an end, in updates.
        level: probability of the forecast's bands.
        prior: past runs, as for `ending`. Forecasts with different priors are not comparable, so prefer a named prior to "auto".

    Returns:
        The continuations, "as planned" second; empty during the warmup, and with fewer than four updates left.

    Raises:
        ValueError: if the schedule has no end, or for arguments that `ending` refuses.

    >>> import laju
    >>> at = np.arange(100, 1601, 100)
    >>> run = laju.cosine(0.1, total=2000)
    >>> ways = cooldowns(at, 3 + 0.4 * (at / 100) ** -0.5 + 0.2 * run.values(2001)[at] / 0.1, run, prior=None)
    >>> [(way.name, way.schedule.length) for way in ways]
    [('now', 1800), ('as planned', 2000), ('later', 2000), ('longer', 2200)]
    """
    total = schedule.length
    if total is None:
        raise ValueError(f"schedule must have an end, but {shown(schedule)} has none")
    seen, end = int(np.max(updates)), int(total)
    rates = schedule.values(end)
    if seen < warmed_up(rates) or end - seen < 4:
        return ()
    wanted = _plateau(schedule, rates, seen) or _coming_down(schedule, seen, end)
    return tuple(
        Way(name, way, ending(updates, losses, way, level=level, prior=prior))
        for name, way in (("now", wanted[0]), ("as planned", schedule), ("later", wanted[1]), ("longer", wanted[2]))
    )


def _plateau(schedule: Schedule, rates: Any, seen: int) -> tuple[Schedule, Schedule, Schedule] | None:
    """The schedules "now", "later" and "longer" of a run whose rate is at its peak; None if the rate comes down."""
    end, peak = len(rates), float(rates.max())
    start = int(np.flatnonzero(rates >= (1 - 1e-9) * peak)[-1])
    if start == end - 1:
        start = end
    if seen >= start:
        return None
    length = end - start
    if length:
        final = min(float(schedule(end)), float(rates[-1]))
        shape = min(
            _SHAPES, key=lambda s: float(np.abs(Ramp(peak, final, length, s).values(length) - rates[start:]).sum())
        )
    else:
        length, final, shape = max(1, round(_COOLDOWN * end)), 0.0, "linear"
        start = end - length
    warm = warmed_up(rates)
    line: Schedule = Ramp(float(rates[0]), peak, max(warm, 1))
    warmup = line if warm and np.allclose(line.values(warm), rates[:warm], rtol=1e-9) else schedule.take(warm)

    def held(until: int, length: int) -> Schedule:
        parts = [warmup] if warm else []
        parts += [Constant(peak, until - warm)] if until > warm else []
        return chain(*parts, Ramp(peak, final, length, shape))

    later, longer = max(1, length // 2), round(_LONGER * length)
    return held(seen, length), held(end - later, later), held(round(_LONGER * end) - longer, longer)


def _coming_down(schedule: Schedule, seen: int, end: int) -> tuple[Schedule, Schedule, Schedule]:
    left, final = end - seen, float(schedule(end))
    final = final if np.isfinite(final) else 0.0
    half, now = left // 2, float(schedule(seen))
    later = chain(schedule.take(seen), Constant(now, half), Ramp(now, final, left - half))
    stretched = extend(schedule, seen + round(_LONGER * left), "value", seen).schedule
    return cooldown(schedule, seen, half, final=final).schedule, later, stretched
