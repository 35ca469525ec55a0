"""Search for the call of the target's own schedulers that gives a schedule's values, or the nearest call."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from laju.convert.arguments import (
    rates_in,
)
from laju.convert.counts import Counts
from laju.convert.writers import Suggestion, Writer, called
from laju.convert.writers.per_epoch import NAME, multiples
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, filled, read, system
from laju.inspect.outline import Outline

BLOCK = 1 << 18
_MOST_ULP = 4


def best_of(
    target: str, outline: Outline, writing: Writer, same: tuple[str, float | None] | None
) -> tuple[Suggestion, Schedule, bool] | None:
    """Return the target's own call with the schedule's values, or the nearest call, and whether the values are equal."""
    best: tuple[Suggestion, Schedule] | None = None
    least = (math.inf, math.inf)
    size, n = abs(outline.peak) or 1.0, outline.updates
    tail = outline.schedule.values(min(n, 1000), start=n)
    for suggestion in _suggestions(target, outline, writing, same):
        try:
            given = {} if suggestion.lr is None else {"lr": suggestion.lr}
            approximation = read(target, suggestion.call, updates=compared(outline), **given)
        except (DialectError, ValueError, OverflowError):
            continue  # which the target would refuse, too
        with np.errstate(all="ignore"):
            apart = np.abs(approximation(outline.places) - outline.values)
            beyond = float(np.abs(approximation.values(len(tail), start=n) - tail).mean())
        area = float(apart.mean())
        if area <= 1e-6 * size and equal(outline.schedule, approximation, compared(outline), writing.single):
            return suggestion, approximation, True
        # A later call has to be better by more than rounding, in the run or else afterwards: the first calls are the plain calls.
        nearer = area < least[0] - 1e-9 * size
        if math.isfinite(area) and (nearer or (area <= least[0] and beyond < least[1] - 1e-9 * size)):
            best, least = (suggestion, approximation), (area, beyond)
    return None if best is None else (*best, False)


def _suggestions(
    target: str, outline: Outline, writing: Writer, same: tuple[str, float | None] | None
) -> Iterator[Suggestion]:
    seen: set[str] = set()
    if same is not None and (call := _cleaned(target, *same)) is not None:
        yield Suggestion(call, same[1])
    for layout in (outline, *outline.simpler()):
        for suggestion in writing.suggestions(layout):
            if suggestion.call not in seen:
                seen.add(suggestion.call)
                yield suggestion


def _cleaned(target: str, call: str, lr: float | None) -> str | None:
    """Return the source's own call, for a target that is the source; None for text that is not code of the system."""
    tree = ast.parse(call, mode="eval").body
    dialect = system(target)
    names = {dialect.aliases.get(name, name) for name in called(call)}
    if names & {"LambdaLR", "MultiplicativeLR", "get_scheduler"} or (lr is None and rates_in(dialect, call)[0]):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            node.func = ast.Name(dialect.aliases.get(name, name))
            optimizer = [a for a in node.args if isinstance(a, ast.Name)]
            node.args = [a for a in node.args if a not in optimizer]
            node.keywords = [k for k in node.keywords if k.arg not in ("optimizer", "lr")]
    return ast.unparse(tree)


def in_multiples(goal: str, clock: Counts, writing: Writer, own: Suggestion | None) -> Suggestion | None:
    """Return the target's own call with lengths in multiples of UPDATES_PER_EPOCH, if the call is correct for every number.

    The call is derived from two numbers of updates per epoch, and checked with further numbers.
    """
    if clock.each is None or goal == "laju" or (clock.known and own is None):
        return None
    known = {} if own is None or clock.per_epoch is None else {clock.per_epoch: own}
    # Two numbers without a common factor: a length that is a multiple of the epoch differs between the two calls, and one that
    # is not stays; any c·u + d is settled by two.
    two = [*known, *(u for u in (7, 11) if u not in known)][:2]
    for updates in two:
        if updates not in known:
            best = best_of(goal, Outline(clock.each(updates), clock.epochs * updates), writing, None)
            if best is None or not best[2]:
                return None
            known[updates] = best[0]
    one, other = (known[updates] for updates in two)
    call = multiples(one.call, other.call, (two[0], two[1])) if one.lr == other.lr else None
    if call is None:
        return None
    # Two calls may agree by chance, and in an epoch of one update a length such as u - 1 comes to nothing: the call is read
    # again for other numbers and compared.
    for updates in (1, 2, 13):
        more: dict[str, Any] = {} if one.lr is None else {"lr": one.lr}
        try:
            theirs = read(goal, filled(call, {NAME: updates}) if NAME in call else call, **more)
        except ValueError:
            return None
        ours = clock.each(updates)
        if not equal(ours, theirs, compared(Outline(ours, clock.epochs * updates)), writing.single):
            return None
    return Suggestion(call, one.lr)


def compared(outline: Outline) -> int:
    """Return the number of compared counts: twice the run, and at least a hundred counts of the last known part."""
    n, last = outline.updates, outline.parts[-1].begin
    return n + min(max(n, 100, last + 100 - n), 1 << 20)


def equal(a: Schedule, b: Schedule, n: int, single: bool) -> bool:
    """Return whether the values of two schedules differ by at most 4 ulp, of float64, or of float32 with `single`."""
    dtype = np.float32 if single else np.float64
    for begin in range(0, n, BLOCK):
        size = min(BLOCK, n - begin)
        with np.errstate(all="ignore"):
            x, y = a.values(size, start=begin).astype(dtype), b.values(size, start=begin).astype(dtype)
            unit = np.spacing(np.maximum(np.abs(x), np.abs(y)))
            if not ((x == y) | (np.abs(x.astype(float) - y.astype(float)) <= _MOST_ULP * unit.astype(float))).all():
                return False
    return True
