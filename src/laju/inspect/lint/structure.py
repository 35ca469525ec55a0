"""The structure of a schedule for the rules, read from its outline: its warmup, its boundaries, its cycles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from laju.core.outline import Part, Transition
from laju.core.pieces import Constant
from laju.core.schedule import Schedule

_MOST = 2_000
"""Parts of an outline that are read."""

_AGAIN = 50
"""The number of parts without a boundary among them after which the search for boundaries ends: these are cycles."""


@dataclass(frozen=True)
class Warmup:
    """A rise at the beginning of a schedule: before, over or as a factor of the rest.

    The rise lasts `length` updates, aims at `target` and reaches `arrives`; `after` is the value in force after the rise, which
    changes by `step` in the next update. `after_all`: whether the rest of the schedule never ends.
    """

    length: Any
    target: float
    arrives: float
    after: float
    step: float
    after_all: bool = False


def rises(schedule: Schedule) -> bool:
    form = schedule.form
    return isinstance(form, Transition) and bool(form.length) and form.final > form.start


def warmup_of(schedule: Schedule) -> Warmup | None:
    """The warmup of a schedule whose outline begins with a rise, by itself or as a factor, before another part."""
    first, *later = itertools.islice(schedule.outline(), _AGAIN)
    if first.piece.level is not None and later and later[0].crosses:
        first, *later = later  # after a floor under the beginning of the rise
    # More than one rising factor is no warmup over a schedule, but a schedule that rises.
    rising = [part for part in _factors(first) if _rises(part)]
    if len(rising) != 1 or any((c.begin, c.end) == (p.begin, p.end) for p in (first, *rising) for c in p.cycles):
        return None  # a rise that is a whole cycle comes again
    following = _following(rising[0], later)
    if following is None:
        return None
    others = [part for part in _factors(first) if part is not rising[0]]
    alone = rising[0].leaf is following.leaf or following.begin == schedule.length
    if alone and not others:
        return None  # nothing comes after the rise
    length: Any = following.begin
    # The rise may go on over parts of the rest, such as steps of a decay times the rise, and arrives in the last of these.
    climbing = [part for part in later if part.begin < length and any(_climbs(f, rising[0]) for f in _factors(part))]
    last = climbing[-1] if climbing else first
    arrives, after = replace(last, held=None).arrives, value_at(schedule, length)
    held = first.held or following.held or (0, 1)
    step = abs(value_at(schedule, length + held[1]) - after)
    # Where the rest has run underneath since update 0, the warmup heads for the rest's value at update 0.
    target = max(arrives, following.at(max(following.origin, 0))) if following.origin < following.begin else arrives
    if any(part.piece.level is None for part in others):
        target = max(target, rising[0].arrives * math.prod(part.at(0) for part in others))
        alone = False
    return Warmup(length, target, arrives, after, step, after_all=alone)


def _following(ramp: Part, later: list[Part]) -> Part | None:
    """The part in which a ramp is no longer in force; None if the same ramp comes again."""
    held = None
    for part in later:
        again = [factor for factor in _factors(part) if factor.leaf is ramp.leaf]
        if not again:
            # With first=True the final value is held for one update.
            return held if held is not None and part.begin - held.begin > 1 else part
        if all(factor.piece.level is not None for factor in again):
            held = held or part
        elif held is not None or any(factor.origin != ramp.origin for factor in again):
            break
    return held


def _climbs(part: Part, ramp: Part) -> bool:
    return part.leaf is ramp.leaf and part.piece.level is None


def _factors(part: Part) -> tuple[Part, ...]:
    """The parts whose values are multiplied together, else the part itself."""
    return tuple(itertools.chain.from_iterable(map(_factors, part.inside))) if part.how == "×" else (part,)


def _rises(part: Part) -> bool:
    return _rises(part.inside[0]) if part.how == "in samples" else rises(part.piece)


def first_ramp(schedule: Schedule) -> Schedule | None:
    """The rising ramp that a schedule begins with, in units or not."""
    if schedule.form is not None:
        return schedule if rises(schedule) else None
    found = [ramp for child in schedule.opening if (ramp := first_ramp(child))]
    return found[0] if len(found) == 1 else None


def boundaries_of(schedule: Schedule) -> Iterator[Any]:
    """The first update of each new part, in order; for cycles without end, only the end of the first cycle."""
    # A repetition without end has parts without end. Its cycles differ in nothing but position, so after fifty parts without a
    # boundary there is none to come.
    since = 0
    for before, part in itertools.pairwise(itertools.islice(schedule.outline(), _MOST)):
        since = 0 if (changes := _changes(before, part)) else since + 1
        if changes:
            yield part.begin
        elif since == _AGAIN:
            return


def _changes(before: Part, part: Part) -> bool:
    """Whether a part is more than a step, a crossing or another cycle after the part before it."""
    if before is part or part.crosses or _goes_on(part):
        return False
    if part.inside and len(part.inside) == len(before.inside):
        return any(map(_changes, before.inside, part.inside))
    # A ramp with first=True holds its final value for the last update of its length, which is no other part.
    arrives = before.piece.level is None and part.piece.level is not None and part.end - part.begin > 1
    return before.node is not part.node or before.cycles != part.cycles or (arrives and part.how != "listed")


def _goes_on(part: Part) -> bool:
    """Whether a part is in a later cycle of a repetition without end, but at the end of its first cycle."""
    return any(
        cycle.until == math.inf and (cycle.number > 1 or (cycle.number == 1 and part.begin > cycle.begin))
        for cycle in part.cycles
    )


def cycles_of(schedule: Schedule, until: int) -> set[tuple[Any, Any]]:
    """(begin, end) of the intervals in which rises are intended: cycles, and tables of values."""
    found: set[tuple[Any, Any]] = set()
    for i, part in enumerate(schedule.outline(0, until)):
        found.update(_meant(part))
        if i == _MOST:
            found.add((part.begin, math.inf))  # a part that is not read is taken to be intended
        if any(end == math.inf for _, end in found):
            break
    return found


def _meant(part: Part) -> Iterator[tuple[Any, Any]]:
    yield from ((cycle.since, cycle.until) for cycle in part.cycles)
    if part.how == "listed" or any(any(_meant(inner)) for inner in part.inside):
        yield part.begin, part.end


def empty_parts(schedule: Schedule, begin: Any = 0) -> Iterator[tuple[Any, Schedule]]:
    """(update, part) of every part that lasts no update, the outermost of each."""
    if schedule.length == 0:
        yield begin, schedule
        return
    row = len(schedule.opening) < len(schedule.children)
    for child, at in zip(schedule.children, schedule.begins, strict=True):
        if not (row and child is schedule.children[-1] and child.level is not None):  # it names the end value
            yield from empty_parts(child, begin + at)


def without_empty(schedule: Schedule) -> Schedule:
    """The schedule without the parts that last no update."""
    if schedule.length == 0:
        return Constant(value_at(schedule, 0))
    if len(schedule.opening) < len(schedule.children):
        for child in schedule.children[:-1]:
            schedule = schedule.without(child) if child.length == 0 else schedule
    return schedule.rebuild(without_empty)


def looked_at(schedule: Schedule) -> int:
    """The number of updates to check: until the schedule's end, or twice its last boundary and at least 1,000."""
    length: Any = schedule.length
    if length is None:
        length = max(1000, 2 * max((b for b in boundaries_of(schedule) if b < 2**50), default=0))
    end: int = math.ceil(length)
    return max(1, end)


def end(length: Any) -> int:
    """The first update after a length; a product such as 3.0000000000000004 ends at its intended whole number."""
    end: int = math.ceil(length * (1 - 1e-12) if isinstance(length, float) else length)
    return end


def value_at(schedule: Schedule, t: Any) -> float:
    try:
        return float(schedule(t))
    except (OverflowError, ZeroDivisionError):
        return math.inf


def nodes_of(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule
    for child in schedule.children:
        yield from nodes_of(child)


def with_replaced(schedule: Schedule, old: Schedule, new: Schedule) -> Schedule:
    return new if schedule is old else schedule.rebuild(lambda child: with_replaced(child, old, new))
