"""The rules, each of which yields the findings of a single code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from laju.core.checks import shown
from laju.core.clocks import stretch
from laju.core.outline import Transition
from laju.core.schedule import Schedule
from laju.core.units import Length, RunPlan, UnresolvedError, nearest_update
from laju.inspect.lint.codes import ALL, AVERAGE, LARGEST, NEVER_ZERO, RATE, SMALLEST, WHY, Finding
from laju.inspect.lint.run import Run, figure, fitted_to, many
from laju.inspect.lint.structure import (
    cycles_of,
    empty_parts,
    first_ramp,
    nodes_of,
    rises,
    value_at,
    with_replaced,
    without_empty,
)


def _finite(run: Run) -> Iterator[Finding]:
    if run.v.size < run.every_value.size:
        at = int(run.t[run.v.size])
        found = float(run.every_value[run.v.size])
        message = f"the value is {figure(found)} at update {at:,}"
        bound = float(figure(10 * value_at(run.schedule, 0)))
        bounded = run.given.maximum if found < 0 else run.given.minimum
        yield run.finding("LAJU017", at, message, run.write("a bound", lambda: bounded(bound)))


def _zero(run: Run) -> Iterator[Finding]:
    if run.kind != RATE or not run.v.size:
        return
    zero = np.flatnonzero(run.v == 0)
    ending = run.end
    if ending is not None and run.updates is not None and value_at(run.schedule, ending) == 0:
        zero = zero[run.t[zero] < ending]  # the zeros after the end are those of LAJU006
    if not zero.size:
        return
    at = int(run.t[zero[0]])
    more = f"; {many(int(zero.size))} in all" if zero.size > 1 and run.n <= ALL else ""
    if at == 0 and (instead := _first_step(run)):
        yield run.finding("LAJU001", at, f"the warmup starts at 0, so update 0 changes nothing{more}", instead)
        return
    floor = float(figure(run.peak / 100)) if run.peak > 0 else 0.0
    ends = [s for s in nodes_of(run.given) if getattr(s, "first", False) or getattr(s, "endpoint", False)]
    if not floor:
        instead = "a rate above 0"
    elif at == run.n - 1 and len(ends) == 1 and getattr(ends[0], "final", None) == 0:
        plain: Schedule = ends[0].with_fields(first=False, endpoint=False)
        instead = run.write(
            "leave endpoint=True or first=True out, so that 0 comes after the last update",
            lambda: with_replaced(run.given, ends[0], plain),
        )
    else:
        words = (
            "first=True in the warmup, or a floor" if at == 0 and zero.size == 1 and run.n > 1 else "a floor above 0"
        )
        instead = run.write(words, lambda: run.given.maximum(floor))
    yield run.finding("LAJU001", at, f"the rate is 0 at update {at:,}{more}", instead)


def _first_step(run: Run) -> str | None:
    """The advice to begin the warmup a step above 0; None if no warmup begins at 0."""
    ramp = first_ramp(run.given)
    if ramp is None or getattr(ramp, "start", None) != 0 or getattr(ramp, "first", True):
        return None
    fixed = ramp.with_fields(first=True, endpoint=False)
    words = "first=True in the warmup, so that it starts one step above 0"
    return run.write(words, lambda: with_replaced(run.given, ramp, fixed))


def _first_zero(run: Run) -> Iterator[Finding]:
    what = NEVER_ZERO.get(run.optimizer or "")
    if what and run.kind == RATE and run.v.size and run.v[0] == 0:
        yield run.finding("LAJU018", 0, f"the first rate is 0: {what}", _first_step(run) or "a first rate above 0")


def _unreached_peak(run: Run) -> Iterator[Finding]:
    warmup = run.warmup
    if warmup is None or not run.v.size or warmup.length >= run.n or not math.isfinite(warmup.target):
        return
    if warmup.target <= 0 or warmup.target - run.peak <= max(1e-3 * warmup.target, 1.01 * warmup.step):
        return
    at = int(run.t[run.v.argmax()])
    short = 100 * (1 - run.peak / warmup.target)
    target = figure(warmup.target)
    message = f"the highest value is {figure(run.peak)}, at update {at:,}: {figure(short)}% below the peak of {target}"
    yield run.finding(
        "LAJU002",
        at,
        message,
        run.write("start the decay when the warmup ends", lambda: _then(run.given, warmup.target)),
    )


def _then(schedule: Schedule, target: float) -> Schedule:
    """The schedule with its warmup before the rest instead of over the rest or as a factor."""
    children = schedule.children
    rising = [part for part in children if rises(part)]
    if len(children) > 1 and len(rising) == 1 and not any(schedule.begins):
        ramp, under = rising[0], schedule.without(rising[0])
        value = value_at(under, 0)
        if len(schedule.opening) < len(children):
            before: Schedule = ramp.with_fields(final=value)
            return before >> _begun(under, ramp.length)
        if next(schedule.outline()).how == "×":
            before = ramp.times(value)
            return before >> _begun(under, ramp.length)
    if any(schedule.begins) and isinstance(children[1].form, Transition):
        second: Any = children[1]
        return schedule.rebuild(lambda part: second.with_fields(start=target) if part is second else part)
    return schedule.rebuild(lambda child: child if child.level is not None else _then(child, target))


def _begun(schedule: Schedule, used: Any) -> Schedule:
    """A decay that is `used` updates shorter, to make room for a warmup."""
    length: Any = schedule.length
    if length is None or isinstance(length, Length) or isinstance(used, Length) or length <= used:
        return schedule
    return stretch(schedule, float((length - used) / length))


def _jump_after_warmup(run: Run) -> Iterator[Finding]:
    warmup = run.warmup
    if warmup is None or warmup.length >= run.n:
        return
    by = warmup.after - warmup.arrives
    size = max(abs(warmup.after), abs(warmup.arrives))
    if not math.isfinite(by) or abs(by) <= max(1e-9 * size, 1.01 * warmup.step):
        return
    at = math.ceil(warmup.length)
    message = f"the warmup arrives at {figure(warmup.arrives)}, and what follows begins at {figure(warmup.after)}"
    instead = run.write("let the warmup end where the rest begins", lambda: _joined(run.given))
    yield run.finding("LAJU003", at, message, instead)


def _joined(schedule: Schedule) -> Schedule:
    """The schedule with its warmup ending at the value that follows."""
    first: Any = schedule.opening[0] if len(schedule.opening) < len(schedule.children) and schedule.opening else None
    if first is None or not rises(first):
        return schedule.rebuild(_joined)
    following: Any = schedule.children[1]
    begins = isinstance(following.form, Transition) and not following.first and any(schedule.begins)
    after = following.start if begins else value_at(schedule, first.length)
    return schedule.rebuild(lambda part: first.with_fields(final=after) if part is first else part)


def _rise_after_decay(run: Run) -> Iterator[Finding]:
    if run.kind != RATE or run.v.size < 3:
        return
    steps, noise = np.diff(run.v), 1e-9 * run.scale
    begin = math.ceil(run.warmup.length) if run.warmup else -1
    falls = np.flatnonzero((steps < -noise) & (run.t[1 : run.v.size] > begin))
    if not falls.size:
        return
    rises = np.flatnonzero(steps > noise)
    rises = rises[rises > falls[0]]
    if rises.size:
        at = run.t[rises + 1]
        meant = np.zeros(at.size, dtype=bool)
        for a, b in cycles_of(run.schedule, run.n):
            meant |= (at >= a) & (at <= b)
        # A part that begins higher and comes down again is a cycle that was written out.
        begins = {math.ceil(b) for b in run.boundaries}
        last_fall = int(np.flatnonzero(steps < -noise)[-1])
        meant |= np.isin(at, list(begins)) & (rises < last_fall)
        rises = rises[~meant]
    if not rises.size:
        return
    i = int(rises[0])
    stop = np.flatnonzero(steps[i:] < -noise)
    top = float(run.v[i : i + int(stop[0]) + 1].max() if stop.size else run.v[i:].max())
    at_low = int(run.t[i])
    message = f"the rate rises from {figure(float(run.v[i]))} to {figure(top)} after it had fallen"
    hold = at_low
    instead = run.write(
        "hold the value that the decay ends with, or write cycles that are meant with .repeat()",
        lambda: run.schedule.take(hold),
    )
    yield run.finding("LAJU004", at_low + 1, message, instead)


def _shorter(run: Run) -> Iterator[Finding]:
    end = run.end
    if run.updates is None or end is None or run.n >= end or run.mistaken:
        return
    stops, final = value_at(run.schedule, run.n - 1), value_at(run.schedule, end)
    # 65 samples decide whether the rest is constant; the rest may be of any length.
    rest = {value_at(run.schedule, run.n + i * (end - run.n) // 64) for i in range(65)}
    if rest == {stops} or _incomplete(run, end - run.n):
        return  # the missing part has the same value
    message = (
        f"the run has {many(run.n)}, the schedule {end:,}: it stops at {figure(stops)} on its way to {figure(final)}"
    )
    yield run.finding("LAJU005", run.n, message, _fit(run))


def _longer(run: Run) -> Iterator[Finding]:
    end = run.end
    if run.updates is None or end is None or run.n <= end or run.mistaken or _ends_constant(run.schedule, end):
        return
    held = value_at(run.schedule, end)
    rest = run.n - end
    if _incomplete(run, rest):
        return
    what = f"{run.name} is 0 in the other {rest:,}" if held == 0 else f"{figure(held)} holds for the other {rest:,}"
    message = f"the schedule has {many(end)}, the run {run.n:,}: {what}"
    yield run.finding("LAJU006", end, message, _fit(run))


def _incomplete(run: Run, gap: int) -> bool:
    """Whether incomplete batches, at most one an epoch, explain the gap, in a schedule that counts samples or tokens."""
    return run.plan is not None and bool(run.given.units & {"samples", "tokens"}) and gap <= run.plan.epochs


def _fit(run: Run) -> str:
    plan, given = run.plan, run.given
    by_epochs = getattr(given, "unit", None) == "epoch" and not any(child.units for child in given.children)
    if by_epochs and plan and not plan.batch_ramp:
        return run.write(
            "a total of all the epochs of the run",
            lambda: given.rebuild(lambda child: fitted_to(child, plan.epochs)),
        )
    if given.units:
        return 'lengths that add up to the whole run, such as total="100%"'
    return run.write(
        'a total of the whole run, which total="100%" is whatever its length', lambda: fitted_to(run.given, run.n)
    )


def _ends_constant(schedule: Schedule, end: int) -> bool:
    """Whether the value that holds was in force before the end already."""
    last = next(schedule.outline(max(end - 1, 0), max(end, 1)))
    return last.leaf.level is not None


def _unreached_boundary(run: Run) -> Iterator[Finding]:
    if run.updates is None or run.end is not None or run.mistaken:
        return
    own = run.warmup.length if run.warmup else None  # the warmup's end is the subject of LAJU009
    late = sorted({at for at in run.boundaries if at >= run.n and at != own})
    late = [at for at in late if at > run.n or _jumps_at(run.schedule, at)]
    if not late:
        return
    places = ", ".join(f"{math.ceil(at):,}" for at in late[:5]) + (" …" if len(late) > 5 else "")
    word = "boundaries" if len(late) > 1 else "boundary"
    message = f"the run ends after {many(run.n)} and never reaches the {word} at update {places}"
    instead = 'boundaries before the end of the run, which percentages such as "50%" always are'
    yield run.finding("LAJU007", run.n, message, instead)


def _jumps_at(schedule: Schedule, at: Any) -> bool:
    before, after = value_at(schedule, math.nextafter(at, 0)), value_at(schedule, at)
    return abs(after - before) > 1e-9 * max(abs(before), abs(after))


def _floor_above_base(run: Run) -> Iterator[Finding]:
    if run.kind != RATE or not run.bases or not run.v.size or run.factor:
        return
    top = int(run.v.argmax())
    floor = float(run.v[top:].min())
    for i, base in enumerate(run.bases):
        if floor > base * (1 + 1e-9):
            at = top + int(run.v[top:].argmin())
            message = (
                f"the floor of {figure(floor)} is above the base rate {figure(base)} of group {i}, by "
                f"{figure(floor / base)} times"
            )
            instead = run.write(
                "a schedule with peak 1, used as a factor of each group's own base",
                lambda: run.given.times(1 / run.peak, digits=12),
            )
            yield run.finding("LAJU008", int(run.t[at]), message, instead)
            return


def _warmup_is_all(run: Run) -> Iterator[Finding]:
    warmup = run.warmup
    if warmup is None or warmup.length < run.n or run.mistaken or not run.v.size:
        return
    message = (
        f"the warmup lasts {many(math.ceil(warmup.length))} and the run {run.n:,}: "
        f"the highest value is {figure(run.peak)} of {figure(warmup.target)}"
    )
    instead, parts = 'a warmup of a small part of the run, such as warmup="5%"', run.given.children
    # A shorter warmup leaves time to the rest only where the rest has a length of its own.
    if run.n > 1 and len(parts) == 2 and any(run.given.begins) and rises(parts[0]) and not run.given.units:
        shorter, rest = max(1, run.n // 20), parts[1]
        instead = run.write(
            instead,
            lambda: parts[0].lasting(shorter) >> (rest if rest.length is None else rest.lasting(run.n - shorter)),
        )
    yield run.finding("LAJU009", run.n - 1, message, instead)


def _no_length(run: Run) -> Iterator[Finding]:
    for at, part in itertools.islice(empty_parts(run.schedule), 1):
        if at >= run.n and run.warmup and run.warmup.length >= run.n:
            return
        name = shown(part, 60)
        rounded = " in this run" if run.given.units else ""
        instead = (
            "a length that is at least one update of the run"
            if run.given.units
            else run.write("leave it out", lambda: without_empty(run.given))
        )
        yield run.finding("LAJU010", math.ceil(at), f"{name} lasts 0 updates{rounded}", instead)


def _outside_average(run: Run) -> Iterator[Finding]:
    if run.kind != AVERAGE:
        return
    bad = np.flatnonzero((run.v < 0) | (run.v >= 1))
    if bad.size:
        at = int(bad[0])
        message = f"{run.parameter} is {run.v[at]:.6g} at update {int(run.t[at]):,}, and must be at least 0 and below 1"
        instead = run.write("bound it", lambda: _bounded(run))
        yield run.finding("LAJU011", int(run.t[at]), message, instead)


def _bounded(run: Run) -> Schedule:
    bounded = run.given
    if (run.v >= 1).any():
        bounded = bounded.minimum(0.999)
    return bounded.maximum(0.0) if (run.v < 0).any() else bounded


def _negative(run: Run) -> Iterator[Finding]:
    if run.kind == AVERAGE:
        return
    bad = np.flatnonzero(run.v < 0)
    if bad.size:
        at = int(bad[0])
        message = f"{run.name} is {figure(float(run.v[at]))} at update {int(run.t[at]):,}"
        floor = float(figure(run.peak / 100)) if run.kind == RATE and run.peak > 0 else 0.0
        instead = run.write("a floor", lambda: run.given.maximum(floor))
        yield run.finding("LAJU012", int(run.t[at]), message, instead)


def _other_unit(run: Run) -> Iterator[Finding]:
    if run.mistaken:
        yield run.mistaken


def _large(run: Run) -> Iterator[Finding]:
    most = LARGEST.get(run.optimizer or "")
    if most is None or run.kind != RATE or not run.v.size:
        return
    by = max(run.bases) if run.factor else 1.0
    peak = run.peak * by
    if peak > most:
        at = int(run.t[run.v.argmax()])
        message = f"the peak is {figure(peak)}, and {run.optimizer} is rarely trained above {figure(most)}"
        words = f"a peak that was tuned for {run.optimizer}, such as {most / 10:g}"
        instead = run.write(words, lambda: run.given.times(most / 10 / peak, digits=12)) if not run.factor else words
        yield run.finding("LAJU014", at, message, instead)


def _tiny(run: Run) -> Iterator[Finding]:
    if run.kind == RATE and run.v.size and 0 < run.scale < SMALLEST:
        at = int(run.t[np.abs(run.v).argmax()])
        message = f"the highest value of the run is {figure(run.peak)}"
        instead = run.write("a larger peak", lambda: run.given.times(float(figure(1e-3)) / run.peak, digits=12))
        yield run.finding("LAJU015", at, message, instead)


def does_not_fit(schedule: Schedule, plan: RunPlan | int | None, error: ValueError) -> Finding:
    """The finding for a schedule whose lengths leave no updates for a part in this run."""
    n = plan.updates if isinstance(plan, RunPlan) else int(plan or 0)
    ramp, length = first_ramp(schedule), None  # in units
    if ramp is not None and isinstance(plan, RunPlan) and not plan.batch_ramp:
        try:
            length = nearest_update(plan.scale.updates(ramp.length or 0))
        except UnresolvedError:
            length = None
    if length is not None and length >= n:
        message = f"the warmup lasts {many(length)} and the run {n:,}"
        return Finding(
            "LAJU009", n - 1, message, WHY["LAJU009"], 'a warmup of a small part of the run, such as warmup="5%"'
        )
    return Finding(
        "LAJU016",
        0,
        f"in a run of {many(n)}, {error}",
        WHY["LAJU016"],
        "lengths that add up in this run, such as percentages of it",
    )


RULES: tuple[Callable[[Run], Iterator[Finding]], ...] = (
    _finite, _zero, _unreached_peak, _jump_after_warmup, _rise_after_decay, _shorter, _longer, _unreached_boundary,
    _floor_above_base, _warmup_is_all, _no_length, _outside_average, _negative, _other_unit, _large, _tiny, _first_zero,
)  # fmt: skip
