"""Conversion between systems: the schedule of a call, code for the target that gives the same values, and the changes of a
migration.

    laju.dialects.convert("CosineLRScheduler(t_initial=300, warmup_t=5)", "timm", "optax", lr=0.1)

The target's own schedulers are tried first. The arguments of candidate calls are derived from the schedule's parts
(`laju.inspect.outline`, `laju.convert.writers`); the target's dialect reads each call, and its values are compared during the run
and after the run. If no call has the same values, the code uses laju's adapter, and the report measures the difference to the
nearest call.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from laju.convert.arguments import (
    Given,
    read_text,
    source_of,
    target_of,
    title_of,
    writer_of,
    written,
)
from laju.convert.counts import clock_of, unit_of, what_counts
from laju.convert.own import BLOCK, best_of, compared, equal, in_multiples
from laju.convert.report import Conversion, possessive
from laju.convert.traps import traps_of
from laju.convert.writers import TARGETS, Setting, configurations, literal
from laju.convert.writers import number as count
from laju.convert.writers.per_epoch import NAME, with_constant
from laju.core import limits
from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import READERS, Configured, read_config
from laju.dialects.contents import is_file
from laju.dialects.declared import SystemSchedule
from laju.inspect.difference import diff
from laju.inspect.outline import Outline
from laju.recognition.naming import named


def convert(
    schedule: Schedule | str,
    source: str,
    target: str,
    *,
    lr: float | None = None,
    updates: int | None = None,
    epochs: int | None = None,
    updates_per_epoch: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Conversion:
    """Convert a schedule of a source system to code for a target system.

    Args:
        schedule: a call of the source's scheduler as text, such as "CosineAnnealingLR(T_max=100)"; laju's spec; the path of a
            configuration file; or a schedule.
        source: name of the source system, such as "torch"; "laju"; or "config" for a configuration file, for which the name of
            the file's system is also accepted.
        target: name of the target system; "laju"; or "yaml:SYSTEM" for a configuration block in the file format of the system;
            "yaml" is the configuration format of the source.
        lr: the optimizer's learning rate, if the source's scheduler uses the optimizer's rate.
        updates: number of updates of the run; by default the length of the schedule.
        epochs: number of epochs of the run, instead of `updates`.
        updates_per_epoch: number of updates per epoch, to convert from a source that counts epochs to a target that counts
            updates. Without the number, the generated program has a constant `UPDATES_PER_EPOCH` that must be filled in.
        facts: values that are known only to the run: values of expressions in the text, such as {"len(train_loader)": 391}, and
            of keys that a configuration leaves to the trainer, such as {"warmup": 100}.

    Returns:
        A `Conversion` with the code, the target's own call if the values agree, measured differences, and pitfalls.

    Raises:
        DialectError: if a system or scheduler is unknown, the source would refuse the arguments, or a learning rate or length is
            missing.
        SpecError: if laju's text is invalid.
        OSError: if a configuration file cannot be read.

    >>> call = "CosineLRScheduler(t_initial=20, warmup_t=5, warmup_prefix=True, t_in_epochs=False)"
    >>> found = convert(call, "timm", "optax", lr=0.1)
    >>> found.own, found.call
    (True, 'warmup_cosine_decay_schedule(init_value=0.0, peak_value=0.1, warmup_steps=5, decay_steps=25)')
    >>> convert("StepLRScheduler(decay_t=30, decay_rate=0.1)", "timm", "optax", lr=0.1, epochs=90).call
    'exponential_decay(init_value=0.1, transition_steps=30 * UPDATES_PER_EPOCH, decay_rate=0.1, staircase=True)'
    >>> convert("cosine(0.1, total=20, warmup=5)", "laju", "torch").own
    False
    """
    goal = target_of(target)
    reader = source if source in READERS and isinstance(schedule, str) and is_file(schedule) else None
    origin = "config" if reader else source_of(source)
    given = Given(lr, updates, epochs, updates_per_epoch, dict(facts or {}))
    if origin == "config" and updates_per_epoch is not None:
        # The reader turns epochs into updates, so that nothing is left to be counted in epochs afterwards.
        run = epochs * updates_per_epoch if epochs is not None else updates
        given = Given(lr, run, None, None, {"updates_per_epoch": updates_per_epoch, **given.more})
    if isinstance(schedule, Schedule):
        schedule = schedule.over(updates or epochs) if isinstance(schedule, SystemSchedule) else schedule
        begins = Configured(schedule, origin, str(schedule), dialect=origin)
    elif not isinstance(schedule, str):
        raise DialectError(
            f"schedule must be a schedule, or the text of a call such as 'CosineAnnealingLR(T_max=100)', got {shown(schedule)}"
        )
    else:
        begins = read_text(schedule, origin, given, reader)
    found, said, origin, notes = begins.schedule, begins.call, begins.dialect, begins.notes
    if begins.length is not None and given.updates is None and given.epochs is None:
        in_epochs = unit_of(origin, said, updates_per_epoch is not None) == "epoch"
        given = replace(given, epochs=begins.length) if in_epochs else replace(given, updates=begins.length)
    if goal == "yaml":
        goal = f"yaml:{written(begins.system)}"
    if goal.startswith("yaml:"):
        return _configuration(begins, goal, given, updates_per_epoch)
    clock = clock_of(found, said, origin, goal, given)
    found, n = named(clock.schedule), clock.counts
    if n > limits.POSITION // 4:  # the writers look at the run, and a while beyond
        raise DialectError(
            f"{shown(found)} lasts {shown(n)} updates, which is too long: give the number of updates of the run (--updates N)"
        )
    writing, title = writer_of(goal), title_of(goal)
    outline = Outline(found, n)
    same = said if origin == goal and isinstance(schedule, str) and clock.each is None else None
    best = None
    if goal in TARGETS and goal != "laju" and (clock.known or clock.each is None):
        best = best_of(goal, outline, writing, None if same is None else (same, lr))
    own = best is not None and best[2]
    symbolic = in_multiples(goal, clock, writing, best[0] if best is not None and own else None)
    made: dict[str, Any] = {"own": own or goal == "laju" or symbolic is not None, "call": None}
    if best is not None:
        suggestion, approximation, exact = best
        after = diff(found, approximation, compared(outline))
        made |= {
            "call": suggestion.call if exact else None, "nearest": suggestion.call, "nearest_lr": suggestion.lr,
            "approximation": approximation, "difference": diff(found, approximation, n), "after": after,
        }  # fmt: skip
    elif symbolic is not None:
        made |= {"call": symbolic.call, "nearest": symbolic.call, "nearest_lr": symbolic.lr}
    in_updates = clock.each is not None and (symbolic is not None or not own)
    text, counts = (clock.text, f"{clock.epochs} * {NAME}") if in_updates else (str(found), count(n))
    if clock.exactly is not None:
        counts = count(clock.exactly)
    program = f"laju.parse({literal(text)}){clock.adapter if in_updates else ''}"
    setting = Setting(program, _rate(outline), counts, clock.in_epochs)
    chosen = symbolic if symbolic is not None else best[0] if best is not None and own else None
    code = with_constant(writing.adapter(setting) if chosen is None else writing.own(chosen, setting), clock.per_epoch)
    conversion = Conversion(
        source=origin, target=goal, text=said, schedule=found, counts=what_counts(goal, clock, title), unit=clock.unit,
        updates=n, code=code, **made,
    )  # fmt: skip
    traps = (*notes, *clock.notes, *traps_of(conversion, outline, writing, goal))
    return replace(conversion, traps=tuple(dict.fromkeys(traps)))


def _rate(outline: Outline) -> float:
    peak = outline.peak
    return peak if peak > 0 and math.isfinite(peak) else 0.0


def _configuration(begins: Configured, goal: str, given: Given, each: int | None) -> Conversion:
    """Return the configuration block that gives the schedule's values over the run, in the file format of the system."""
    name, title = goal.partition(":")[2], title_of(goal)
    said, origin = begins.call, begins.dialect
    clock = clock_of(begins.schedule, said, origin, goal, given)
    if clock.each is not None and not clock.known:
        raise DialectError(
            f"{possessive(title)} configurations count updates, and {shown(said)} epochs: give updates_per_epoch"
        )
    found, n = named(clock.schedule), clock.counts
    if name == "ultralytics" and each is None:
        raise DialectError(
            f"{possessive(title)} configurations count epochs of batches: give updates_per_epoch, the number of batches per epoch"
        )
    outline, facts = Outline(found, n), {} if each is None or clock.in_epochs else {"updates_per_epoch": each}
    own = said if begins.system == name else None
    nearest: tuple[float, str, Schedule] | None = None
    for block in configurations.blocks(name, outline, in_epochs=clock.in_epochs, per_epoch=each, source=own):
        try:
            again = read_config(block, name, **facts)
            theirs = again.schedule.values(min(n, BLOCK))
        except (ValueError, OverflowError):
            continue  # which the system would refuse, too
        area = float(np.abs(theirs - found.values(len(theirs))).mean())
        if equal(found, again.schedule, n, single=False):
            more = (*begins.notes, *clock.notes, *again.notes, *filter(None, [configurations.NOTES.get(name)]))
            return Conversion(
                source=origin, target=goal, text=said, schedule=found, counts=f"{clock.unit}s", unit=clock.unit, updates=n,
                own=True, code=configurations.text(name, block), call=again.call, traps=tuple(dict.fromkeys(more)),
            )  # fmt: skip
        if math.isfinite(area) and (nearest is None or area < nearest[0]):
            nearest = area, json.dumps(block), again.schedule
    message = (
        f"no configuration of {title} was found that gives the values of {shown(str(found))} over {n:,} {clock.unit}s"
    )
    if nearest is not None:
        message += f"; the nearest, {nearest[1]}, is {str(diff(nearest[2], found, n)).splitlines()[0]}"
    raise DialectError(message)
