"""Handles: the points of a curve that can be dragged, and the text after a drag.

A number of the text has a handle at the point where the curve shows the number: a length at a boundary of the curve, a value
where the curve has this value. A length and a value at the same point share a handle, as the warmup's end and the peak do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np

from laju.core.schedule import Schedule
from laju.core.units import Length, RunPlan
from laju.inspect.description import breakpoints
from laju.studio.spots import Spot, changed, in_units, plain, spots

_FROM_THE_END = ("cooldown", "down")
_LATE = ("final", "low", "floor")
_MOST_BREAKS = 500
_SNAP = 0.008
"""The share of an axis within which a handle snaps to a boundary or a level of another schedule."""


@dataclass(frozen=True)
class Handle:
    """A point that can be dragged: `x` changes with the update, `y` with the value."""

    at: float
    value: float
    x: Spot | None
    y: Spot | None
    from_end: bool = False

    @property
    def id(self) -> str:
        return f"{self.x.id if self.x else ''}:{self.y.id if self.y else ''}"

    @property
    def label(self) -> str:
        return " and ".join(f"{spot.name} {spot.text}" for spot in (self.x, self.y) if spot is not None)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "at": self.at, "value": self.value, "label": self.label,
            "x": None if self.x is None else self.x.name, "y": None if self.y is None else self.y.name,
        }  # fmt: skip


@dataclass(frozen=True)
class Window:
    """The updates and the largest value of the run, and the lengths of the picture's axes, which are shorter in a zoom."""

    updates: int
    top: float
    span: float
    reach: float


def handles(text: str, schedule: Schedule, plan: RunPlan | None, window: Window) -> list[Handle]:
    """The handles of a schedule, by update.

    Args:
        text: the text of the schedule.
        schedule: the schedule in updates.
        plan: the plan of the run, for lengths in units.
        window: the part of the run that the page shows.
    """
    found = spots(text, plan)
    n = window.updates
    ends = set(islice(breakpoints(schedule, n), _MOST_BREAKS)) | {0}
    if isinstance(schedule.length, int | float):
        ends.add(math.ceil(schedule.length))
    placed: list[tuple[float, Spot, bool]] = []
    for spot in found:
        place = None if spot.kind != "length" else _place(spot, plan, ends)
        if place is not None and place[0] <= n:
            placed.append((place[0], spot, place[1]))
    placed.sort(key=lambda p: p[0])
    by_value: dict[int, Spot] = {}
    alone: list[Handle] = []
    levels = [schedule(min(int(at), n)) for at, _, _ in placed]
    grid = np.unique(np.linspace(0, n, 257).astype(np.int64))
    on_grid = schedule(grid)
    for spot in found:
        if spot.kind != "value" or not isinstance(spot.number, int | float):
            continue
        if spot.pair is not None:
            i = next((i for i, (_, x, _) in enumerate(placed) if x.id == spot.pair), None)
            if i is not None:
                by_value[i] = spot
            continue
        equal = [i for i, level in enumerate(levels) if i not in by_value and _same(level, spot.number, window.top)]
        if spot.name == "start":
            equal = [i for i in equal if placed[i][0] == spot.origin]
        if equal:
            by_value[equal[-1] if spot.name in _LATE else equal[0]] = spot
            continue
        there = [int(t) for t, v in zip(grid, on_grid, strict=True) if _same(float(v), spot.number, window.top)]
        if spot.name == "start":  # of a warmup that is not there, no curve shows the start
            there = [t for t in there if t == spot.origin]
        if there:
            at_update = there[-1] if spot.name in _LATE else there[0]
            alone.append(Handle(float(at_update), float(spot.number), None, spot))
    both = [
        Handle(at, level, spot, by_value.get(i), from_end)
        for i, ((at, spot, from_end), level) in enumerate(zip(placed, levels, strict=True))
    ]
    return sorted(both + alone, key=lambda handle: (handle.at, handle.value))


def _same(a: float, b: float, top: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12 * abs(top))


def _place(spot: Spot, plan: RunPlan | None, ends: set[int]) -> tuple[float, bool] | None:
    """The update at which a length is shown, and whether the length is counted from the end of its part."""
    length = _updates(spot, plan)
    if length is None:
        return None
    ways = [(spot.origin + length, False)]
    if spot.until is not None:
        ways.append((spot.until - length, True))
    if spot.name in _FROM_THE_END:
        ways.reverse()
    for at, from_end in ways:
        # A length in units ends between two updates, and the boundary is at one of these.
        end = next((end for end in (math.floor(at), math.ceil(at)) if end in ends), None)
        if end is not None:
            return float(end), from_end
    return None


def _updates(spot: Spot, plan: RunPlan | None) -> float | None:
    if isinstance(spot.number, Length):
        try:
            return None if plan is None else float(plan.scale.updates(spot.number))
        except ValueError:
            return None
    return None if spot.number is None else spot.number * spot.scale


def dragged(
    text: str, schedule: Schedule, plan: RunPlan | None, window: Window, handle: str, at: float, value: float,
    others: Sequence[Schedule] = (),
) -> str:  # fmt: skip
    """The text after a handle was dragged to an update and a value, rounded to a nearby round number or another schedule's.

    Args:
        text, schedule, plan, window: as in `handles`.
        handle: the id of the handle.
        at: the update.
        value: the value.
        others: schedules in updates, to whose boundaries and levels a nearby handle snaps.

    Raises:
        ValueError: no such handle.
    """
    found = _known(handles(text, schedule, plan, window), handle)
    changes = []
    if found.x is not None:
        near, exact = _snapped(at, window, others)
        spot, unit, scale = found.x, *_unit(found.x, plan)
        length = spot.until - near if found.from_end and spot.until is not None else near - spot.origin
        amount, step = max(0.0, length / scale), _step(window.span / scale / 300, unit)
        amount = amount if exact else round(amount / step) * step
        changes.append((spot, _with_unit(amount if unit else round(amount), unit)))
    if found.y is not None:
        changes.append((found.y, _level(value, window, others)))
    return _applied(text, changes)


def nudged(text: str, schedule: Schedule, plan: RunPlan | None, window: Window, handle: str, x: int, y: int) -> str:
    """The text after a handle was moved by steps of the keyboard, each about a three-hundredth of an axis.

    Raises:
        ValueError: no such handle.
    """
    found = _known(handles(text, schedule, plan, window), handle)
    changes = []
    if x and found.x is not None:
        spot, unit, scale = found.x, *_unit(found.x, plan)
        amount = spot.number.terms[0][1] if isinstance(spot.number, Length) else Fraction(spot.number or 0)
        step = Fraction(str(_step(window.span / scale / 300, unit)))
        changes.append((spot, _with_unit(max(0.0, float(amount + step * (-x if found.from_end else x))), unit)))
    if y and found.y is not None and isinstance(found.y.number, int | float):
        level = found.y.number + y * _step(window.reach / 100, "value")
        changes.append((found.y, plain(float(f"{max(level, 0.0):.12g}"))))
    return _applied(text, changes)


def _known(found: Sequence[Handle], handle: str) -> Handle:
    for each in found:
        if each.id == handle:
            return each
    raise ValueError(f"there is no handle {handle!r} any more")


def _applied(text: str, changes: list[tuple[Spot, str]]) -> str:
    # From the right to the left, so that a change moves no character that the next change looks for.
    for spot, number in sorted(changes, key=lambda change: -change[0].begin):
        text = changed(text, spot, number)
    return text


def _unit(spot: Spot, plan: RunPlan | None) -> tuple[str, float]:
    """The unit of a length in the text, empty for plain counts, and the updates per unit."""
    if isinstance(spot.number, Length) and plan is not None:
        known = in_units(spot.number, plan.scale.updates)
        if known is not None:
            return known
    return "", spot.scale


def _with_unit(amount: float, unit: str) -> str:
    return f"{plain(float(f'{amount:.6g}')) if unit else plain(amount)}{'' if not unit else '%' if unit == '%' else f' {unit}'}"


def _step(size: float, unit: str) -> float:
    """The power of ten below a size; whole where a length counts updates."""
    step = 10.0 ** math.floor(math.log10(max(size, 1e-300)))
    return step if unit else max(1.0, step)


def _snapped(at: float, window: Window, others: Sequence[Schedule]) -> tuple[float, bool]:
    # A drag cannot hit an update of a million by the pixel; near a boundary of another schedule that boundary is meant.
    near = {0, window.updates}
    for other in others:
        near |= set(islice(breakpoints(other, window.updates), _MOST_BREAKS))
        if isinstance(other.length, int | float):
            near.add(math.ceil(other.length))
    best = min(near, key=lambda end: abs(end - at))
    return (float(best), True) if abs(best - at) <= _SNAP * window.span else (at, False)


def _level(value: float, window: Window, others: Sequence[Schedule]) -> str:
    near = [0.0]
    for other in others:
        levels = other(np.unique(np.linspace(0, window.updates, 65).astype(np.int64)))
        near += [float(levels.max()), float(levels.min()), float(levels[-1])]
    best = min(near, key=lambda level: abs(level - value))
    if abs(best - value) <= _SNAP * window.reach:
        return plain(float(f"{best:.12g}"))
    step = _step(window.reach / 200, "value")
    if abs(value) < 5 * step:  # near 0, as at the bottom of a logarithmic axis
        return f"{max(value, 0.0):.2g}"
    return plain(float(f"{round(value / step) * step:.12g}"))
