"""Axes with round numbers, drawn by the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from laju.core.units import RunPlan
from laju.studio.state import Axis


def x_axis(axis: Axis, plan: RunPlan | None, n: int) -> dict[str, Any]:
    """The horizontal axis of a run of n updates: the unit, the updates per unit, and round places.

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
    return {"unit": unit, "per": per, "note": note, "ticks": [
        {"at": tick * per, "label": _short(tick)} for tick in _round(n / per, 7, whole=unit == "updates")
    ]}  # fmt: skip


def y_axis(low: float, top: float, log: bool, values: Sequence[float]) -> dict[str, Any]:
    """The vertical axis of rates, which includes 0 unless logarithmic.

    >>> [tick["label"] for tick in y_axis(0.0, 0.3, False, [0.3])["ticks"]]
    ['0', '0.1', '0.2', '0.3']
    """
    positive = [v for v in values if v > 0]
    if log and positive:
        # A decay to 0 would take up the whole axis.
        begin, end = max(min(positive), 1e-4 * max(positive)) / 1.3, 1.3 * max(positive)
        decades = range(math.floor(math.log10(begin)), math.ceil(math.log10(end)) + 1)
        ticks = [m * 10.0**e for e in decades for m in (1, 2, 5) if begin <= m * 10.0**e <= end]
        return {"log": True, "low": begin, "top": end, "ticks": [{"at": t, "label": f"{t:.3g}"} for t in ticks]}
    low = min(0.0, low)
    if top <= low:
        top = low + 1.0
    ticks = [low + t if low < 0 else t for t in _round(top - min(low, 0.0), 6, whole=False)]
    return {
        "log": False,
        "low": low,
        "top": top + 0.04 * (top - low),
        "ticks": [{"at": t, "label": f"{t:.4g}"} for t in ticks],
    }


def around(values: Sequence[float]) -> dict[str, Any]:
    """A vertical axis of losses: from the lowest to the highest, with round places between.

    >>> [tick["label"] for tick in around([1.2, 3.3])["ticks"]]
    ['1.5', '2', '2.5', '3']
    """
    low, top = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (top - low) or 0.5 * abs(top) or 1.0
    steps = _round(top - low + 2 * room, 6, whole=False)
    step = steps[1] if len(steps) > 1 else room
    first = math.ceil((low - room) / step)
    ticks = [step * i for i in range(first, math.floor((top + room) / step) + 1)]
    return {
        "log": False,
        "low": low - room,
        "top": top + room,
        "ticks": [{"at": t, "label": f"{t:.4g}"} for t in ticks],
    }


def _round(end: float, most: int, *, whole: bool) -> list[float]:
    """Round numbers from 0 to `end`, at most so many."""
    if not 0 < end < math.inf:
        return [0.0]
    size = math.floor(math.log10(end)) - 2
    steps = (Fraction(k) * Fraction(10) ** e for e in range(size, size + 6) for k in (1, 2, 5))
    step = next(s for s in steps if end / float(s) + 1 <= most and (not whole or s >= 1))
    return [float(step * i) for i in range(math.floor(end / float(step) + 1e-9) + 1)]


def _short(tick: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e4, "k")):
        if tick >= size:
            unit = 1e3 if letter == "k" else size
            return f"{tick / unit:g}{letter}"
    return f"{tick:g}"
