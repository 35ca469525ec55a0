"""Names for a schedule that was made of pieces: the call of a policy that makes the same normal form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from laju.core.outline import Geometric
from laju.core.schedule import Schedule
from laju.recognition.curves import PlacedPiece
from laju.recognition.rows import named as calls
from laju.text.spec import parse

_MOST = 40
"""Pieces in a row that a call is looked for."""


def named(schedule: Schedule) -> Schedule:
    """The same schedule, printed as calls of policies if the schedule is made of pieces and calls give the same normal form.

    >>> from laju import Ramp
    >>> named(Ramp(0, 0.3, 5) >> Ramp(0.3, 0, 15, "cosine"))
    cosine(0.3, total=20, warmup=5)
    >>> named((Ramp(1, 0, 4) * 0.5).repeat(2))
    (linear(1, 0.0, total=4) * constant(0.5)).repeat(2)
    """
    if schedule.spoken or schedule.units:
        return schedule
    for text in _texts(schedule):
        try:
            again = parse(text)
        except (ValueError, TypeError, ArithmeticError):
            continue
        if again == schedule:
            return again
    inside = schedule.rebuild(named)
    return inside if inside == schedule else schedule


def _texts(schedule: Schedule) -> Iterator[str]:
    """Calls that may make the schedule, the plainest first."""
    match schedule.form:
        case Geometric(start, factor, every, steps) if steps == every:
            yield f"factor({start!r}, {factor!r}, every={every!r})"
    if getattr(schedule, "growth", None) is not None:
        child = schedule.children[0]
        more = "".join(f", {name}={value!r}" for name, value in schedule._fields().items() if name != "child")
        for text in _texts(child):
            if text.startswith("cosine("):
                yield text.replace("cosine(", "cosine_restarts(").replace("total=", "every=").replace(")", f"{more})")
        return
    row = schedule.children if any(schedule.begins) else (schedule,)
    if len(row) > _MOST or any(piece.form is None for piece in row):
        return
    begins = [int(at) for at in (schedule.begins if len(row) > 1 else (0,))]
    ends = [*begins[1:], None]
    parts = [PlacedPiece(piece, at, end, at, 0) for piece, at, end in zip(row, begins, ends, strict=True)]
    if any(a >= b for a, b in pairwise([*begins, math.inf])):
        return  # a part that lasts no update has no place in a call
    for text in calls(parts):
        yield text
        if text.endswith(")"):
            yield f"{text[:-1]}, first=True)"
