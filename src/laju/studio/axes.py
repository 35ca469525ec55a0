"""Axes with round tick values, for the page to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from laju.core.units import RunPlan
from laju.studio.state import Axis


def x_axis(axis: Axis, plan: RunPlan | None, end: int, begin: int = 0) -> dict[str, Any]:
    """The horizontal axis between two updates: the unit, the updates per unit, and round tick positions.

    >>> x_axis("updates", None, 100)["ticks"][1]
    {'at': 20.0, 'label': '20'}
    """
    known = {"updates": Fraction(1)} if plan is None else dict(plan.scale.per)
    note = None
    if axis not in known:
        missing = "samples, batch size and epochs" if plan is None else "tokens per sample"
        note = f"an axis in {axis} needs the run's {missing}, below"
    unit: Axis = axis if note is None else "updates"
    per = float(known[unit])
    places = _round(begin / per, end / per, 7, whole=unit == "updates")
    return {"unit": unit, "per": per, "note": note, "ticks": [{"at": at * per, "label": _short(at)} for at in places]}


def y_axis(low: float, top: float, log: bool, values: Sequence[float]) -> dict[str, Any]:
    """The vertical axis of rates, which includes 0 unless logarithmic.

    >>> [tick["label"] for tick in y_axis(0.0, 0.3, False, [0.3])["ticks"]]
    ['0', '0.1', '0.2', '0.3']
    """
    positive = [v for v in values if v > 0]
    if log and positive:
        # A decay to 0 would take up the whole axis.
        begin, end = max(min(positive), 1e-4 * max(positive)) / 1.3, 1.3 * max(positive)
        return _axis(begin, end, _decades(begin, end), log=True)
    low = min(0.0, low)
    if top <= low:
        top = low + 1.0
    return _axis(low, top + 0.04 * (top - low), _round(low, top, 6))


def zoomed(low: float, top: float, log: bool) -> dict[str, Any]:
    """The vertical axis between two values that a reader chose.

    >>> [tick["label"] for tick in zoomed(0.001, 0.004, False)["ticks"]]
    ['0.001', '0.002', '0.003', '0.004']
    """
    if log and low > 0:
        return _axis(low, top, _decades(low, top), log=True)
    return _axis(low, top, _round(low, top, 6))


def around(values: Sequence[float]) -> dict[str, Any]:
    """A vertical axis of losses, from the lowest to the highest, with round tick positions.

    >>> [tick["label"] for tick in around([1.2, 3.3])["ticks"]]
    ['1.5', '2', '2.5', '3']
    """
    low, top = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (top - low) or 0.5 * abs(top) or 1.0
    return _axis(low - room, top + room, _round(low - room, top + room, 6))


def _axis(low: float, top: float, places: Sequence[float], log: bool = False) -> dict[str, Any]:
    return {"log": log, "low": low, "top": top, "ticks": [{"at": at, "label": f"{at:.4g}"} for at in places]}


def _decades(low: float, top: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(top)) + 1)
    places = [m * 10.0**e for e in decades for m in (1, 2, 5) if low <= m * 10.0**e <= top]
    return places if len(places) > 1 else _round(low, top, 6)


def _round(low: float, top: float, most: int, *, whole: bool = False) -> list[float]:
    """Round numbers from `low` to `top`, with a limit on their number."""
    reach = top - low
    if not 0 < reach < math.inf:
        return [low]
    size = math.floor(math.log10(reach)) - 2
    steps = (Fraction(k) * Fraction(10) ** e for e in range(size, size + 6) for k in (1, 2, 5))
    step = next(s for s in steps if reach / float(s) + 1 <= most and (not whole or s >= 1))
    first, last = math.ceil(low / float(step) - 1e-9), math.floor(top / float(step) + 1e-9)
    return [float(step * i) for i in range(first, last + 1)]


def _short(tick: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if tick >= size:
            unit = 1e3 if letter == "k" else size
            return f"{tick / unit:g}{letter}"
    return f"{tick:g}"
