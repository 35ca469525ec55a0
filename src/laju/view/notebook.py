"""A schedule in a notebook: its curve as a small drawing, and its text below.

The drawing uses the notebook's own text colour, so that the picture is readable on light and dark pages.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np

from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.inspect.lint import looked_at
from laju.view.plot import thin

_WIDTH, _HEIGHT = 480, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 34
_CURVE = "#2a9d8f"  # readable on white and on black
_MOST = 1 << 20


def html(schedule: Schedule) -> str:
    """The curve and the text of a schedule as HTML; if lengths need a plan, the text and the units to be resolved.

    >>> from laju import cosine
    >>> html(cosine(0.3, total=20)).startswith("<figure")
    True
    """
    try:
        text = str(schedule)
    except Exception as error:  # a notebook must show something even for a broken schedule
        text = f"{type(schedule).__name__} ({type(error).__name__})"
    text = text if len(text) <= 1000 else f"{text[:999]}…"
    try:
        drawing, note = _drawn(schedule)
    except Exception as error:  # a function of the user's may raise anything
        drawing, note = "", f"no picture: {error}"
    caption = (
        f"<figcaption><code>{escape(text)}</code>{f'<br><small>{escape(note)}</small>' if note else ''}</figcaption>"
    )
    return f'<figure style="margin:0;max-width:{_WIDTH}px">{drawing}{caption}</figure>'


def svg(schedule: Schedule) -> str:
    """The curve of a schedule as an SVG drawing.

    Raises:
        UnresolvedError: if the schedule's lengths need a plan.
    """
    schedule.require_resolved()
    return _svg_curve(schedule, looked_at(schedule), "update")


def _drawn(schedule: Schedule) -> tuple[str, str]:
    unit = getattr(schedule, "unit", None)
    if unit is not None and not schedule.children[0].units:
        child = schedule.children[0]
        return _svg_curve(child, looked_at(child), "% of the run" if unit == "%" else unit), ""
    if schedule.units == {"%"}:
        run = schedule.resolve(RunPlan(samples=1000, batch_size=1, epochs=1))
        return _svg_curve(run, max(1000, looked_at(run) if run.length is not None else 0), "% of the run", per=10), ""
    if schedule.units:
        units = ", ".join(sorted(schedule.units))
        return "", f"its lengths are in {units}: schedule.resolve(RunPlan(…)) has a curve"
    return svg(schedule), ""


def _svg_curve(schedule: Schedule, n: int, unit: str, per: int = 1) -> str:
    with np.errstate(all="ignore"):
        if n <= _MOST:
            t, v = thin(schedule.values(n), limit=600)
        else:
            t = np.unique(np.linspace(0, n - 1, 600).astype(np.int64))
            v = schedule(t)
    kept = np.isfinite(v)
    t, v = t[kept], v[kept]
    if not v.size:
        raise ValueError("no value is a finite number")
    low, high = min(0.0, float(v.min())), max(0.0, float(v.max()))
    if low == high:
        high = 1.0

    def x(at: Any) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * float(at) / n, 1)

    def y(value: Any) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - float(value)) / (high - low), 1)

    path = f"M{x(t[0]):g} {y(v[0]):g}"
    for at, value in zip(t[1:].tolist(), v[1:].tolist(), strict=True):
        # Horizontal and vertical moves alone: a value holds until the next, and a step of the path is as short as it can be.
        path += f"H{x(at):g}V{y(value):g}"
    path += f"H{x(n):g}"
    lines, texts = [], []
    for level in (low, high) if low == 0 or high == 0 else (low, 0.0, high):
        lines.append(f"M{_LEFT} {y(level):g}H{_WIDTH - _RIGHT}")
        texts.append(f'<text x="{_LEFT - 6}" y="{y(level) + 4:g}" text-anchor="end">{level:.3g}</text>')
    step = _step(n / per)
    for tick in range(0, math.floor(n / per) + 1, step):
        lines.append(f"M{x(tick * per):g} {_HEIGHT - _BOTTOM}v4")
        place, anchor = (x(tick * per), "middle") if x(tick * per) < _WIDTH - 40 else (_WIDTH - _RIGHT, "end")
        texts.append(f'<text x="{place:g}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="{anchor}">{tick:,}</text>')
    texts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">{escape(unit)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="values by {escape(unit)}" style="display:block;width:100%;height:auto" '
        'font-family="sans-serif" font-size="11">'
        f'<path d="{"".join(lines)}" fill="none" stroke="currentColor" stroke-opacity="0.35"/>'
        f'<path d="{path}" fill="none" stroke="{_CURVE}" stroke-width="2"/>'
        f'<g fill="currentColor">{"".join(texts)}</g></svg>'
    )


def _step(end: float) -> int:
    """A round number that fits into `end` at most six times."""
    steps = (k * 10**e for e in range(40) for k in (1, 2, 5))
    step: int = next(step for step in steps if end / step <= 6)
    return step
