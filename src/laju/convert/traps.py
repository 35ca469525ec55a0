"""Pitfalls of a migration, for the report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from laju.convert.report import Conversion, possessive
from laju.convert.writers import TARGETS, Writer
from laju.core.outline import Transition
from laju.core.schedule import Schedule
from laju.dialects.base import SYSTEMS
from laju.inspect.difference import Difference
from laju.inspect.outline import Outline


def traps_of(conversion: Conversion, outline: Outline, writing: Writer, target: str) -> Iterator[str]:
    schedule, unit, n = conversion.schedule, conversion.unit, conversion.updates
    warm, rest = outline.warmup, outline.rest
    if schedule(0) == 0 and n > 1 and outline.peak > 0:
        yield f"{unit} 0 trains at a rate of 0"
    if warm is not None and warm.length < n and rest[0].first < warm.arrives * (1 - 1e-9):
        yield (
            f"after its warmup the schedule itself falls from {warm.arrives:.6g} to {rest[0].first:.6g} at {unit} "
            f"{warm.length:,}: the decay has been running under it"
        )
    for part in outline.parts[:2]:
        ahead = part.begin - part.origin
        if isinstance(part.form, Transition) and ahead == 1:
            kind = part.form.shape.partition("(")[0]
            yield f"the schedule is one {unit} ahead: its {kind} begins with its second value, at {unit} {part.begin:,}"
    near, difference, after = conversion.approximation, conversion.difference, conversion.after
    title, whose = writing.title, possessive(writing.title)
    if target not in TARGETS:
        runs = "runs there" if target in SYSTEMS else f"runs where {title} takes torch's schedulers"
        yield f"laju writes no schedulers of {whose} own; its adapter for torch {runs}"
    if near is not None and difference is not None and after is not None:
        yield from _shifted(schedule, near, outline, difference, unit, whose)
        yield from _tails(schedule, near, n, difference, after, unit, whose)
    if target != "laju":
        call = conversion.nearest or ""
        for mark, trap in writing.traps.items():
            if not mark or re.search(rf"\b{re.escape(mark)}", call):
                yield trap


def _shifted(
    schedule: Schedule, near: Schedule, outline: Outline, difference: Difference, unit: str, whose: str
) -> Iterator[str]:
    """Yield a warning if the target has the same values a count earlier or later."""
    if difference.equal or outline.updates < 3:
        return
    places, values = outline.places, outline.values
    apart = float(np.abs(near(places) - values).mean())
    # Without both ends, where the values a count later or earlier lie outside of the run.
    inside = places[1:-1]
    for by, word in ((1, "late"), (-1, "early")):
        moved = np.abs(near(inside + by) - schedule(inside))
        if float(moved.max()) <= 1e-9 * outline.peak:
            yield f"{whose} own has the same values one {unit} {word}"
        elif float(moved.mean()) < 0.1 * apart:
            yield f"{whose} own is about one {unit} {word}"


def _tails(
    schedule: Schedule, near: Schedule, n: int, difference: Difference, after: Difference, unit: str, whose: str
) -> Iterator[str]:
    """Yield a warning about a difference after the end of the run."""
    more = after.updates - n
    ours, theirs = schedule.values(more, start=n), near.values(more, start=n)
    scale = 1e-9 * max(float(np.abs(ours).max()), float(np.abs(theirs).max()), abs(schedule(0)))
    apart = np.flatnonzero(np.abs(ours - theirs) > scale)
    if not apart.size:
        return
    at = n + int(apart[0])
    same = (
        f"equal over the run, but from {unit} {at:,} on"
        if difference.equal
        else f"after the run, from {unit} {at:,} on,"
    )

    def does(values: Any) -> str:
        first, top, low = float(values[0]), float(values.max()), float(values.min())
        if top - low <= scale:
            return f"stays at {first:.6g}"
        if top - first > scale:
            return f"climbs to {top:.6g}"
        return f"goes on falling, to {low:.6g}"

    yield f"{same} {whose} own {does(theirs)}, where the schedule {does(ours)}"
