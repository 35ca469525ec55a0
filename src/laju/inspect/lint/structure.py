"""What a rule asks of a schedule's structure: its warmup, its boundaries, its cycles."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from laju.core import algebra, clocks, pieces
from laju.core.schedule import Schedule


@dataclass(frozen=True)
class Warmup:
    """A rise at the beginning, before, over or as a factor of something else.

    It lasts `length` updates, heads for `target`, arrives at `arrives`, and `after` is the value in force then, which
    changes by `step` in the next update. `after_all`: what follows never ends.
    """

    length: Any
    target: float
    arrives: float
    after: float
    step: float
    after_all: bool = False


def _next(schedule: Schedule, t: Any) -> tuple[float, float]:
    """The value at t, and the size of its step to the next update."""
    here = value_at(schedule, t)
    return here, abs(value_at(schedule, t + 1) - here)


def rises(schedule: Schedule) -> bool:
    return isinstance(schedule, pieces.Ramp) and bool(schedule.length) and schedule.final > schedule.start


@singledispatch
def warmup_of(schedule: Schedule) -> Warmup | None:
    return None


@warmup_of.register
def _(schedule: algebra.Chain) -> Warmup | None:
    _, parts = schedule.placed
    first: Any = parts[0]
    if len(parts) == 1 or not rises(first):
        return warmup_of(first)
    after, step = _next(parts[1], 0)
    return Warmup(first.length, first.final, first.final, after, step)


@warmup_of.register
def _(schedule: algebra.Overlay) -> Warmup | None:
    top: Any = schedule.top
    if not rises(top):
        return warmup_of(top) if top.length else warmup_of(schedule.bottom)
    after, step = _next(schedule.bottom, top.length)
    return Warmup(top.length, max(top.final, value_at(schedule.bottom, 0)), top.final, after, step)


@warmup_of.register
def _(schedule: algebra.Product) -> Warmup | None:
    moving = [part for part in schedule.parts if not isinstance(part, pieces.Constant)]
    by = math.prod(part.value for part in schedule.parts if isinstance(part, pieces.Constant))
    if len(moving) == 1 and (len(schedule.parts) == 1 or not rises(moving[0])):
        inner = warmup_of(moving[0])
        if inner is None or not by > 0:
            return None
        target, arrives, after, step = (by * x for x in (inner.target, inner.arrives, inner.after, inner.step))
        return dataclasses.replace(inner, target=target, arrives=arrives, after=after, step=step)
    rising = [part for part in moving if rises(part) or (isinstance(part, algebra.Chain) and _to_constant(part))]
    if len(rising) != 1:
        return None
    ramp: Any = rising[0].parts[0] if isinstance(rising[0], algebra.Chain) else rising[0]
    rest = [part for part in schedule.parts if part is not rising[0]]
    under = math.prod(value_at(part, 0) for part in rest)
    at_end = math.prod(value_at(part, ramp.length) for part in rest)
    after, step = _next(schedule, ramp.length)
    alone = all(isinstance(part, pieces.Constant) for part in rest)
    return Warmup(ramp.length, ramp.final * under, ramp.final * at_end, after, step, after_all=alone)


def _to_constant(chain: algebra.Chain) -> bool:
    return len(chain.parts) == 2 and rises(chain.parts[0]) and isinstance(chain.parts[1], pieces.Constant)


@warmup_of.register
def _(schedule: algebra.Minimum | algebra.Maximum) -> Warmup | None:
    moving = [part for part in schedule.parts if not isinstance(part, pieces.Constant)]
    inner = warmup_of(moving[0]) if len(moving) == 1 else None
    if inner is None:
        return None
    pick: Callable[[Any], float] = min if isinstance(schedule, algebra.Minimum) else max
    bounds = [part.value for part in schedule.parts if isinstance(part, pieces.Constant)]
    target, arrives, after = (pick([x, *bounds]) for x in (inner.target, inner.arrives, inner.after))
    return dataclasses.replace(inner, target=target, arrives=arrives, after=after)


@warmup_of.register
def _(schedule: clocks.Take) -> Warmup | None:
    inner = warmup_of(schedule.child)
    return inner if inner and inner.length < schedule.length else None


@warmup_of.register
def _(schedule: clocks.Staircase | clocks.Repeat) -> Warmup | None:
    return warmup_of(schedule.child)


@warmup_of.register
def _(schedule: clocks.Stretch) -> Warmup | None:
    inner = warmup_of(schedule.child)
    return inner and dataclasses.replace(inner, length=inner.length * schedule.by)


@warmup_of.register
def _(schedule: clocks.Clock) -> Warmup | None:
    inner = warmup_of(schedule.child)
    if inner is None:
        return None
    length = schedule.update_at(inner.length)
    _, step = _next(schedule, length)
    return dataclasses.replace(inner, length=length, step=step)


def first_ramp(schedule: Schedule) -> pieces.Ramp | None:
    """The rising ramp that a schedule begins with, in units or not."""
    if isinstance(schedule, pieces.Ramp):
        return schedule if rises(schedule) else None
    if isinstance(schedule, algebra.Chain):  # only the last part's length may depend on a run that is not known
        return first_ramp(next((part for part in schedule.parts[:-1] if part.length), schedule.parts[-1]))
    if isinstance(schedule, algebra.Overlay):
        return first_ramp(schedule.top)
    if isinstance(schedule, algebra.Product):
        found = [ramp for part in schedule.parts if (ramp := first_ramp(part))]
        return found[0] if len(found) == 1 else None
    child = getattr(schedule, "child", None)
    if isinstance(child, Schedule) and not isinstance(schedule, clocks.Reverse | clocks.Shift):
        return first_ramp(child)
    return None


@singledispatch
def boundaries_of(schedule: Schedule) -> Iterator[Any]:
    """Where a schedule says that something changes; of cycles without end only the first one's end."""
    if schedule.length is not None:
        yield schedule.length


@boundaries_of.register
def _(schedule: pieces.Constant) -> Iterator[Any]:
    return iter(())


@boundaries_of.register
def _(schedule: algebra.Chain) -> Iterator[Any]:
    starts, parts = schedule.placed
    for i, (start, part) in enumerate(zip(starts, parts, strict=True)):
        if i:
            yield start
        if i == len(parts) - 1:
            yield from (start + at for at in boundaries_of(part))


@boundaries_of.register
def _(schedule: clocks.Take) -> Iterator[Any]:
    yield from (at for at in boundaries_of(schedule.child) if at < schedule.length)
    yield schedule.length


@boundaries_of.register
def _(schedule: algebra.Combination) -> Iterator[Any]:
    for part in schedule.parts:
        yield from boundaries_of(part)


@boundaries_of.register
def _(schedule: algebra.Overlay) -> Iterator[Any]:
    yield schedule.top.length
    yield from (at for at in boundaries_of(schedule.bottom) if at > schedule.top.length)


@boundaries_of.register
def _(schedule: clocks.Shift) -> Iterator[Any]:
    yield from (at + schedule.by for at in boundaries_of(schedule.child) if at + schedule.by > 0)


@boundaries_of.register
def _(schedule: clocks.Stretch) -> Iterator[Any]:
    yield from (at * schedule.by for at in boundaries_of(schedule.child))


@boundaries_of.register
def _(schedule: clocks.Staircase) -> Iterator[Any]:
    yield from (-(-at // schedule.every) * schedule.every for at in boundaries_of(schedule.child))


@boundaries_of.register
def _(schedule: clocks.Clock) -> Iterator[Any]:
    yield from (schedule.update_at(at) for at in boundaries_of(schedule.child))


@boundaries_of.register
def _(schedule: clocks.Repeat) -> Iterator[Any]:
    yield schedule.child.length if schedule.count is None else schedule.length


@singledispatch
def cycles_of(schedule: Schedule) -> Iterator[tuple[Any, Any]]:
    """(begin, end) of where rises are written down as such: cycles, and tables of values."""
    for child in children_of(schedule):
        yield from cycles_of(child)


@cycles_of.register
def _(schedule: clocks.Repeat | pieces.Table) -> Iterator[tuple[Any, Any]]:
    yield 0, math.inf if schedule.length is None else schedule.length


@cycles_of.register
def _(schedule: algebra.Chain) -> Iterator[tuple[Any, Any]]:
    starts, parts = schedule.placed
    for start, end, part in zip(starts, [*starts[1:], math.inf], parts, strict=True):
        yield from ((start + a, min(start + b, end)) for a, b in cycles_of(part) if start + a < end)


@cycles_of.register
def _(schedule: clocks.Shift) -> Iterator[tuple[Any, Any]]:
    yield from ((a + schedule.by, b + schedule.by) for a, b in cycles_of(schedule.child))


@cycles_of.register
def _(schedule: clocks.Stretch) -> Iterator[tuple[Any, Any]]:
    yield from ((a * schedule.by, b * schedule.by) for a, b in cycles_of(schedule.child))


@cycles_of.register
def _(schedule: clocks.Reverse) -> Iterator[tuple[Any, Any]]:
    length: Any = schedule.length
    yield from ((max(0, length - b), length - a) for a, b in cycles_of(schedule.child))


@cycles_of.register
def _(schedule: clocks.Clock) -> Iterator[tuple[Any, Any]]:
    for a, b in cycles_of(schedule.child):
        yield schedule.update_at(a), math.inf if b == math.inf else schedule.update_at(b)


def empty_parts(schedule: Schedule, begin: Any = 0) -> Iterator[tuple[Any, Schedule]]:
    """(update, part) of every part that lasts no update, the outermost of each."""
    if schedule.length == 0:
        yield begin, schedule
        return
    if isinstance(schedule, algebra.Chain):
        for part in schedule.parts:
            if not (part is schedule.parts[-1] and isinstance(part, pieces.Constant)):  # which names the end value
                yield from empty_parts(part, begin)
            begin += part.length or 0
        return
    for child in children_of(schedule):
        yield from empty_parts(child, begin)


def without_empty(schedule: Schedule) -> Schedule:
    if isinstance(schedule, algebra.Chain):
        last = schedule.parts[-1]
        parts = [p for p in schedule.parts if p.length != 0 or (p is last and isinstance(p, pieces.Constant))] or [last]
        schedule = parts[0] if len(parts) == 1 else algebra.Chain(tuple(parts))
    if isinstance(schedule, algebra.Overlay) and schedule.top.length == 0:
        schedule = schedule.bottom
    if schedule.length == 0:
        return pieces.Constant(value_at(schedule, 0))
    return schedule.rebuild(without_empty)


def looked_at(schedule: Schedule) -> int:
    """The updates in which a schedule shows what it does: until its end, or twice its last boundary and at least 1,000."""
    length: Any = schedule.length
    if length is None:
        length = max(1000, 2 * max((b for b in boundaries_of(schedule) if b < 2**50), default=0))
    end: int = math.ceil(length)
    return max(1, end)


def end(length: Any) -> int:
    """The first update after a length; one that was multiplied, such as 3.0000000000000004, ends where it was meant to."""
    end: int = math.ceil(length * (1 - 1e-12) if isinstance(length, float) else length)
    return end


def value_at(schedule: Schedule, t: Any) -> float:
    try:
        return float(schedule(t))
    except (OverflowError, ZeroDivisionError):
        return math.inf


def children_of(schedule: Schedule) -> Iterator[Schedule]:
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Schedule):
                yield child


def nodes_of(schedule: Schedule) -> Iterator[Schedule]:
    yield schedule
    for child in children_of(schedule):
        yield from nodes_of(child)


def with_replaced(schedule: Schedule, old: Schedule, new: Schedule) -> Schedule:
    return new if schedule is old else schedule.rebuild(lambda child: with_replaced(child, old, new))
