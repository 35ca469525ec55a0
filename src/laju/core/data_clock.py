"""Schedules in units of data, in a run whose batch size changes: counted in samples, read in updates."""

from __future__ import annotations

import dataclasses
from typing import Any

from laju.core.algebra import Chain
from laju.core.checks import shown
from laju.core.clocks import Clock, Take
from laju.core.node import HOOKS
from laju.core.schedule import Schedule
from laju.core.units import RunPlan


def on_data(schedule: Schedule, plan: RunPlan) -> Schedule:
    """Convert a schedule in units of data (samples, tokens, epochs, percent) to updates of a run with a batch ramp.

    Raises:
        ValueError: if a formula counts both updates and data.
    """
    return _on_data(schedule, plan, 0)


HOOKS["on_data"] = on_data


def _on_data(schedule: Schedule, plan: RunPlan, begin: int) -> Schedule:
    if not schedule.units:
        return schedule
    if not _counts_updates(schedule):
        return Clock(schedule.in_updates(plan._data_scale), _pace_from(plan, begin))
    if not isinstance(schedule, Chain):
        raise ValueError(
            f"{shown(schedule)} counts updates and data at once, which a run with a batch_ramp cannot join"
        )
    parts: list[Schedule] = []
    for part in schedule.parts:
        placed = _on_data(part, plan, begin)
        if part is not schedule.parts[-1]:
            length: Any = placed.length
            # The next part begins at a whole update, while this one's end lies within the samples of one: the part is cut where
            # the next begins.
            placed = Take(placed, length) if part.units else placed
            begin += length
        parts.append(placed)
    return Chain(tuple(parts))


def _pace_from(plan: RunPlan, begin: int) -> tuple[tuple[int, int, int], ...]:
    """The pace of the run as seen from update `begin`, where both clocks show 0."""
    seen = plan.samples_before(begin)
    first = [stretch for stretch in plan.pace if stretch[0] <= begin][-1]
    later = [(t - begin, s - seen, each) for t, s, each in plan.pace if t > begin]
    return ((0, 0, first[2]), *later)


def _counts_updates(schedule: Schedule) -> bool:
    """Whether the schedule has a length in plain updates; lengths inside `per` are in its unit."""
    if hasattr(schedule, "unit"):
        return False
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        if "time" in field.metadata and isinstance(value, int | float) and value:
            return True
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Schedule) and _counts_updates(child):
                return True
    return False
