"""Conversion between systems: the schedule of a call, code for the target that gives the same values, and the changes of a
migration.

    laju.dialects.convert("CosineLRScheduler(t_initial=300, warmup_t=5)", "timm", "optax", lr=0.1)

The target's own schedulers are tried first. Arguments of the calls come from the schedule's parts (`laju.inspect.outline`,
`laju.dialects.writers`), and the values decide: each call is read by the target's dialect and compared over the run and after
the run. If no call has the values, the code uses laju's adapter, and the report measures the difference to the nearest call.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from laju.core import limits
from laju.core.checks import nearest as near_name
from laju.core.checks import number, shown, whole
from laju.core.outline import Transition
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.dialects.base import SYSTEMS, DialectError, System, filled, read, system
from laju.dialects.configs import READERS, Configured, read_config
from laju.dialects.contents import is_file
from laju.dialects.convert_report import Conversion, possessive
from laju.dialects.declared import SystemSchedule
from laju.dialects.writers import TARGETS, Setting, Suggestion, Writer, called, configurations, literal, writer
from laju.dialects.writers import number as count
from laju.dialects.writers.per_epoch import ADAPTER, NAME, multiples, with_constant
from laju.inspect.difference import Difference, diff
from laju.inspect.outline import Outline, natural_end
from laju.recognition.naming import named
from laju.text.spec import parse

_BLOCK = 1 << 18
_MOST_ULP = 4
_FINE = 1000
"""Updates in an epoch for a look at a schedule whose run has not said the number."""
_EPOCH_LENGTH = {"mmengine": "epoch_length", "composer": "batches_per_epoch"}
"""Arguments of schedulers that turn epochs into updates themselves."""


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
    """Convert a schedule of a system to another system.

    Args:
        schedule: a call of the source's scheduler as text, such as "CosineAnnealingLR(T_max=100)"; laju's spec; the path of a
            configuration; or a schedule.
        source: the system; "laju"; or "config" for a file that `laju.dialects.configs` reads, whose system a file may also
            be given by name.
        target: the system to go to; "laju"; or "yaml:SYSTEM" for the block that configurations of the system have, in the file
            format of the system, and "yaml" alone for the system of the source.
        lr: the optimizer's rate, where the source takes a rate.
        updates: updates of the run; by default until the schedule ends.
        epochs: epochs of the run, instead.
        updates_per_epoch: from a source that counts epochs to a target that counts updates. Without the number, the program
            has `UPDATES_PER_EPOCH`, and stops until the number stands there.
        facts: values that only the run knows, for expressions in the text, such as {"len(train_loader)": 391}, and for
            keys that a configuration leaves to the trainer, such as {"warmup": 100}.

    Raises:
        DialectError: an unknown system or scheduler, arguments that the source would refuse, or a rate or length that is missing.
        SpecError: laju's text is wrong.
        OSError: a configuration that cannot be read.

    >>> call = "CosineLRScheduler(t_initial=20, warmup_t=5, warmup_prefix=True, t_in_epochs=False)"
    >>> found = convert(call, "timm", "optax", lr=0.1)
    >>> found.own, found.call
    (True, 'warmup_cosine_decay_schedule(init_value=0.0, peak_value=0.1, warmup_steps=5, decay_steps=25)')
    >>> convert("StepLRScheduler(decay_t=30, decay_rate=0.1)", "timm", "optax", lr=0.1, epochs=90).call
    'exponential_decay(init_value=0.1, transition_steps=30 * UPDATES_PER_EPOCH, decay_rate=0.1, staircase=True)'
    >>> convert("cosine(0.1, total=20, warmup=5)", "laju", "torch").own
    False
    """
    goal = _target(target)
    reader = source if source in READERS and isinstance(schedule, str) and is_file(schedule) else None
    origin = "config" if reader else _source(source)
    given = _Given(lr, updates, epochs, updates_per_epoch, dict(facts or {}))
    if origin == "config" and updates_per_epoch is not None:
        # The reader turns epochs into updates, so that nothing is left to be counted in epochs afterwards.
        run = epochs * updates_per_epoch if epochs is not None else updates
        given = _Given(lr, run, None, None, {"updates_per_epoch": updates_per_epoch, **given.more})
    if isinstance(schedule, Schedule):
        schedule = schedule.over(updates or epochs) if isinstance(schedule, SystemSchedule) else schedule
        begins = Configured(schedule, origin, str(schedule), dialect=origin)
    elif not isinstance(schedule, str):
        raise DialectError(
            f"schedule must be a schedule, or the text of a call such as 'CosineAnnealingLR(T_max=100)', got {shown(schedule)}"
        )
    else:
        begins = _read(schedule, origin, given, reader)
    found, said, origin, notes = begins.schedule, begins.call, begins.dialect, begins.notes
    if begins.length is not None and given.updates is None and given.epochs is None:
        in_epochs = _unit(origin, said, updates_per_epoch is not None) == "epoch"
        given = replace(given, epochs=begins.length) if in_epochs else replace(given, updates=begins.length)
    if goal == "yaml":
        goal = f"yaml:{_written(begins.system)}"
    if goal.startswith("yaml:"):
        return _configuration(begins, goal, given, updates_per_epoch)
    clock = _clock(found, said, origin, goal, given)
    found, n = named(clock.schedule), clock.counts
    if n > limits.POSITION // 4:  # the writers look at the run, and a while beyond
        raise DialectError(
            f"{shown(found)} lasts {shown(n)} updates, too many to look at: say how many the run has (--updates N)"
        )
    writing, title = _writer(goal), _title(goal)
    outline = Outline(found, n)
    same = said if origin == goal and isinstance(schedule, str) and clock.each is None else None
    best = None
    if goal != "laju" and (clock.known or clock.each is None):
        best = _best(goal, outline, writing, None if same is None else (same, lr))
    own = best is not None and best[2]
    symbolic = _in_multiples(goal, clock, writing, best[0] if best is not None and own else None)
    made: dict[str, Any] = {"own": own or goal == "laju" or symbolic is not None, "call": None}
    if best is not None:
        suggestion, approximation, exact = best
        after = diff(found, approximation, _past(outline))
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
        source=origin, target=goal, text=said, schedule=found, counts=_what_counts(goal, clock, title), unit=clock.unit,
        updates=n, code=code, **made,
    )  # fmt: skip
    traps = (*notes, *clock.notes, *_traps(conversion, outline, writing, goal))
    return replace(conversion, traps=tuple(dict.fromkeys(traps)))


# --- the arguments ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Given:
    lr: float | None
    updates: int | None
    epochs: int | None
    updates_per_epoch: int | None
    more: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.lr is not None:
            number("lr", self.lr, least=0)
        for name in ("updates", "epochs", "updates_per_epoch"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), least=1)
        if self.updates is not None and self.epochs is not None:
            raise DialectError("updates and epochs both say how long the run is: give one of them")


def _source(name: str) -> str:
    if name in ("laju", "config"):
        return name
    if not isinstance(name, str) or not _known(name):
        raise DialectError(
            f"{shown(name)} is not a system that laju converts from{near_name(str(name), (*SYSTEMS, 'laju', 'config'))} "
            f"(laju, config, {', '.join(SYSTEMS)})"
        )
    return system(name).name


def _target(name: str) -> str:
    kind, _, own = name.strip().lower().partition(":") if isinstance(name, str) else ("", "", "")
    if kind == "yaml":
        return f"yaml:{_written(own)}" if own else kind
    if isinstance(name, str) and name.strip().lower() in TARGETS:
        return name.strip().lower()
    if not isinstance(name, str) or not _known(name):
        others = [other for other in SYSTEMS if other not in TARGETS]
        raise DialectError(
            f"{shown(name)} is not a system that laju converts to{near_name(str(name), (*TARGETS, *others))} "
            f"({', '.join(TARGETS)}; with torch's adapter: {', '.join(others)}; yaml:SYSTEM for configurations)"
        )
    return system(name).name


def _written(name: str) -> str:
    """The name of a system whose configurations are written."""
    if name not in configurations.TITLES:
        raise DialectError(
            f"configurations of {shown(name)} are not written{near_name(name, configurations.TITLES)}: name a system, such as "
            f"yaml:transformers ({', '.join(configurations.TITLES)})"
        )
    return name


def _known(name: str) -> bool:
    try:
        system(name)
    except DialectError:
        return False
    return True


def _writer(target: str) -> Writer:
    """The target's writer; for a target without a writer, torch's, without schedulers of its own."""
    if target in TARGETS:
        return writer(target)
    if target.startswith("yaml:"):
        return replace(writer("laju"), title=_title(target), counts_epochs=target == "yaml:mmengine")
    from laju.dialects.writers import torch

    title = system(target).title
    return Writer(
        title=title,
        suggestions=lambda outline: iter(()),
        own=torch.own,
        adapter=lambda setting: torch.adapter(setting, f"a torch LRScheduler, which {title} takes"),
        counts_epochs=target in ("ignite", "mmengine", "d2l"),
    )


def _title(target: str) -> str:
    if target.startswith("yaml:"):
        return configurations.TITLES[target.partition(":")[2]]
    return writer(target).title if target in TARGETS else system(target).title


def _read(text: str, origin: str, given: _Given, reader: str | None) -> Configured:
    """The schedule of a text or a configuration."""
    if origin == "laju":
        if given.lr is not None:
            raise DialectError("lr is the optimizer's rate, and the values of laju's schedules are rates: leave lr out")
        if given.more:
            raise DialectError("facts fill in other systems' code and configurations, and laju's schedules need none")
        return Configured(parse(text), origin, text.strip(), dialect=origin)
    if origin == "config":
        known: dict[str, Any] = {"lr": given.lr, "total": given.updates}
        return read_config(
            text, reader, **{name: value for name, value in known.items() if value is not None}, **given.more
        )
    dialect = system(origin)
    text = filled(text, given.more)
    takes, says = _rates(dialect, text)
    if given.lr is not None and not takes:
        raise DialectError(f"no scheduler in {shown(text)} takes the optimizer's rate: leave lr out")
    if given.lr is not None and any(rate != given.lr for rate in says):
        raise DialectError(f"lr is {says[0]!r} in {shown(text)} and {given.lr!r} beside it: say it once")
    more: dict[str, Any] = {} if given.lr is None else {"lr": given.lr}
    each = _EPOCH_LENGTH.get(origin)
    if each is not None and given.updates_per_epoch is not None:
        more[each] = given.updates_per_epoch
    run = given.updates if given.epochs is None else given.epochs * (given.updates_per_epoch or 1)
    try:
        return Configured(read(origin, text, updates=run, **more), origin, text.strip(), dialect=origin)
    except DialectError as error:
        if given.lr is None and takes and not says and "'lr'" in str(error):
            raise DialectError(
                f"lr is missing: {dialect.title}'s schedulers change the optimizer's rate, so give the rate: lr=0.1"
            ) from None
        if each is not None and each not in more and each in str(error):
            raise DialectError(f"{error}; give updates_per_epoch") from None
        raise


def _rates(dialect: System, given: str) -> tuple[bool, list[Any]]:
    """Whether a scheduler in the text takes the optimizer's rate, and the rates that the text itself has."""
    try:
        tree = ast.parse(given, mode="eval")
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        return True, []  # which `read` explains
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    takes = False
    for name in called(given):
        try:
            takes = takes or "lr" in inspect.signature(dialect.scheduler(name)).parameters
        except DialectError:
            return True, []
    said = [k.value for call in calls for k in call.keywords if k.arg == "lr"]
    return takes, [value.value for value in said if isinstance(value, ast.Constant)]


@dataclass(frozen=True)
class _Clock:
    """A schedule in counts of the target.

    Attributes:
        schedule: in epochs or updates.
        counts: length of the run, in the same unit.
        unit: "epoch" or "update".
        in_epochs: whether the target's scheduler is stepped once an epoch.
        notes: for the reader.
        each: for a source that counts epochs, the schedule in updates for a number of updates in an epoch.
        text, adapter: laju's text of the schedule in epochs, and the code behind `laju.parse` that makes updates of epochs.
        epochs: length of the run, for `each`.
        per_epoch: updates in an epoch, where known.
        exactly: updates of the run, where the run is no whole number of epochs.
    """

    schedule: Schedule
    counts: int
    unit: str = "update"
    in_epochs: bool = False
    notes: tuple[str, ...] = ()
    each: Callable[[int], Schedule] | None = None
    text: str = ""
    adapter: str = ""
    epochs: int = 0
    per_epoch: int | None = None
    exactly: int | None = None

    @property
    def known(self) -> bool:
        return self.per_epoch is not None


def _clock(found: Schedule, said: str, origin: str, target: str, given: _Given) -> _Clock:
    """The schedule in the target's counts."""
    per, title = given.updates_per_epoch, origin if origin == "laju" else system(origin).title
    if origin == "laju" and found.units:
        return _resolved(found, given)
    unit = _unit(origin, said, per is not None)
    either = unit == "either"
    if either:
        unit = "epoch" if per is not None or given.epochs is not None else "update"
    if unit == "update":
        spare = per is not None and (origin in _EPOCH_LENGTH or target == "yaml:ultralytics")
        if (given.epochs is not None) != (per is not None) and not spare:
            lacks = "updates_per_epoch" if per is None else "epochs"
            raise DialectError(
                f"{title} counts updates here: give updates, or epochs and updates_per_epoch ({lacks} is missing)"
            )
        n = given.epochs * per if given.epochs is not None and per is not None else given.updates
        n, notes = _length(found, "update") if n is None else (n, ())
        if either and origin != target:
            notes += (
                f"{title} counts calls of step(), which were taken for updates; where step() is called once an epoch, say so "
                "with epochs or updates_per_epoch (--epochs, --updates-per-epoch)",
            )
        return _Clock(found, n, notes=notes)
    if given.updates is not None and per is None:
        raise DialectError(f"{title} counts epochs here: give epochs (--epochs N), or updates_per_epoch beside updates")
    n = given.epochs if per is None or given.updates is None else math.ceil(given.updates / per)
    n, notes = _length(found, "epoch") if n is None else (n, ())
    if _writer(target).counts_epochs:
        notes += (f"counts are epochs: in {_title(target)}, too, step the scheduler once an epoch",)
        return _Clock(found, n, "epoch", True, notes)

    def each(updates: int) -> Schedule:
        return found.per("epoch").resolve(RunPlan(samples=updates, batch_size=1, epochs=n))

    shared: dict[str, Any] = {
        "each": each,
        "text": str(named(found)),
        "adapter": ADAPTER,
        "epochs": n,
        "per_epoch": per,
    }
    if per is None:
        notes += (
            f"{title} counts epochs and {_title(target)} counts updates: the program multiplies every length by {NAME} and stops "
            "until the number stands there; updates_per_epoch (--updates-per-epoch N) writes the number",
        )
        return _Clock(found, n, "epoch", notes=notes, **shared)
    notes += (f"{title} counts epochs: each value is in force during all {per} updates of its epoch",)
    return _Clock(each(per), given.updates or n * per, notes=notes, exactly=given.updates, **shared)


def _unit(origin: str, said: str, per_epoch: bool) -> str:
    """The unit of the source's counts: an "epoch", an "update", or "either", as `step()` is called."""
    if origin in ("torch", "paddle", "ignite"):
        return "either"
    if origin == "d2l":
        return "update" if "mxnet" in said else "epoch"
    if origin not in ("timm", "mmengine"):
        return "update"
    says = _arguments(said)
    if origin == "timm":
        return "update" if False in says.get("t_in_epochs", ()) else "epoch"
    in_iterations = False in says.get("by_epoch", ()) or True in says.get("convert_to_iter_based", ())
    turned = "param_scheduler" in said and (per_epoch or "epoch_length" in says)
    return "update" if in_iterations or turned else "epoch"


def _arguments(said: str) -> dict[str, list[Any]]:
    """The literals that a call, and the calls and dicts inside, give each name; none for a text that is no code."""
    found: dict[str, list[Any]] = {}
    try:
        tree = ast.parse(said, mode="eval")
    except SyntaxError:
        return found  # such as the sentence of a configuration without a scheduler
    for node in ast.walk(tree):
        pairs: list[tuple[Any, ast.expr]] = []
        if isinstance(node, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            keys = (key.value if isinstance(key, ast.Constant) else None for key in node.keys)
            pairs = list(zip(keys, node.values, strict=True))
        for name, value in pairs:
            found.setdefault(str(name), []).append(value.value if isinstance(value, ast.Constant) else None)
    return found


def _resolved(found: Schedule, given: _Given) -> _Clock:
    """A schedule of laju with lengths in units, in updates."""
    per, epochs = given.updates_per_epoch, given.epochs
    if found.units == {"%"} and given.updates is not None:
        plan = RunPlan(samples=given.updates, batch_size=1, epochs=1)
        return _Clock(found.resolve(plan), given.updates)
    if per is not None and given.updates is not None:
        epochs = math.ceil(given.updates / per)
    symbolic = per is None and given.updates is None and (epochs is not None or found.units == {"epochs"})
    if not found.units <= {"epochs", "%"} or not (symbolic or (per is not None and epochs is not None)):
        units = ", ".join("percent" if unit == "%" else unit for unit in sorted(found.units))
        raise DialectError(
            f"{shown(found)} has lengths in {units}: say what the run is, with updates_per_epoch and epochs, or resolve it with "
            "a RunPlan first"
        )

    if epochs is None:
        n, _ = _length(found.resolve(RunPlan(samples=_FINE, batch_size=1, epochs=1)), "update")
        epochs = math.ceil(n / _FINE)

    def each(updates: int) -> Schedule:
        return found.resolve(RunPlan(samples=updates, batch_size=1, epochs=epochs))

    adapter = f".resolve(laju.RunPlan(samples={NAME}, batch_size=1, epochs={epochs}))"
    shared: dict[str, Any] = {"each": each, "text": str(found), "adapter": adapter, "epochs": epochs}
    if per is None:
        note = (
            f"the program has {NAME} for the lengths in epochs, and stops until the number stands there; updates_per_epoch "
            f"(--updates-per-epoch N) writes the number; all else here is of {_FINE:,} updates in an epoch"
        )
        return _Clock(each(_FINE), epochs * _FINE, notes=(note,), **shared)
    return _Clock(each(per), given.updates or epochs * per, per_epoch=per, exactly=given.updates, **shared)


def _in_multiples(goal: str, clock: _Clock, writing: Writer, own: Suggestion | None) -> Suggestion | None:
    """The target's own call with lengths in multiples of UPDATES_PER_EPOCH, where the call is right for every number.

    The call is found for two numbers of updates in an epoch, and checked for others.
    """
    if clock.each is None or goal == "laju" or (clock.known and own is None):
        return None
    known = {} if own is None or clock.per_epoch is None else {clock.per_epoch: own}
    two = [*known, *(u for u in (7, 11) if u not in known)][:2]
    for updates in two:
        if updates not in known:
            best = _best(goal, Outline(clock.each(updates), clock.epochs * updates), writing, None)
            if best is None or not best[2]:
                return None
            known[updates] = best[0]
    one, other = (known[updates] for updates in two)
    call = multiples(one.call, other.call, (two[0], two[1])) if one.lr == other.lr else None
    if call is None:
        return None
    for updates in (1, 2, 13):
        more: dict[str, Any] = {} if one.lr is None else {"lr": one.lr}
        try:
            theirs = read(goal, filled(call, {NAME: updates}) if NAME in call else call, **more)
        except ValueError:
            return None
        ours = clock.each(updates)
        if not _equal(ours, theirs, _past(Outline(ours, clock.epochs * updates)), writing.single):
            return None
    return Suggestion(call, one.lr)


def _length(found: Schedule, unit: str) -> tuple[int, tuple[str, ...]]:
    if found.length is not None:
        length: Any = found.length
        return max(1, math.ceil(length)), ()
    end = natural_end(found)
    if end is None:
        raise DialectError(f"{shown(found)} has no end, so say how long the run is: {unit}s (--{unit}s N)")
    over = Outline(found, end)
    stays = len({float(v) for v in found.values(3, start=end)}) == 1
    if stays and over.complete:
        return end, ()
    return end, (
        f"the schedule has no end; the run was taken to stop at {unit} {end:,}, where it begins to climb again",
    )


def _rate(outline: Outline) -> float:
    peak = outline.peak
    return peak if peak > 0 and math.isfinite(peak) else 0.0


def _what_counts(target: str, clock: _Clock, title: str) -> str:
    if clock.in_epochs:
        return "epochs: step once an epoch"
    if clock.unit == "epoch":
        return f"epochs, of {NAME} updates each; {_stepping(target, title)}"
    if clock.each is not None and not clock.known:
        return f"updates, of which an epoch has {NAME}, here {_FINE:,}; {_stepping(target, title)}"
    return "completed updates" if target == "laju" else f"updates: {_stepping(target, title)}"


def _stepping(target: str, title: str) -> str:
    if target in ("optax", "keras", "mxnet"):
        return f"{possessive(title)} optimizer counts them itself"
    return "step after each"


# --- configurations --------------------------------------------------------------------------------------------------


def _configuration(begins: Configured, goal: str, given: _Given, each: int | None) -> Conversion:
    """The block of a configuration that gives the schedule's values over the run, in the file format of the system."""
    name, title = goal.partition(":")[2], _title(goal)
    said, origin = begins.call, begins.dialect
    clock = _clock(begins.schedule, said, origin, goal, given)
    if clock.each is not None and not clock.known:
        raise DialectError(
            f"{possessive(title)} configurations count updates, and {shown(said)} epochs: give updates_per_epoch"
        )
    found, n = named(clock.schedule), clock.counts
    if name == "ultralytics" and each is None:
        raise DialectError(
            f"{possessive(title)} configurations count epochs of batches: give updates_per_epoch, the batches of an epoch"
        )
    outline, facts = Outline(found, n), {} if each is None or clock.in_epochs else {"updates_per_epoch": each}
    own = said if begins.system == name else None
    nearest: tuple[float, str, Schedule] | None = None
    for block in configurations.blocks(name, outline, in_epochs=clock.in_epochs, per_epoch=each, source=own):
        try:
            again = read_config(block, name, **facts)
            theirs = again.schedule.values(min(n, _BLOCK))
        except (ValueError, OverflowError):
            continue  # which the system would refuse, too
        area = float(np.abs(theirs - found.values(len(theirs))).mean())
        if _equal(found, again.schedule, n, single=False):
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


# --- the target's own ------------------------------------------------------------------------------------------------


def _best(
    target: str, outline: Outline, writing: Writer, same: tuple[str, float | None] | None
) -> tuple[Suggestion, Schedule, bool] | None:
    """The target's own call with the schedule's values, or else the nearest call, and whether the values are equal."""
    if target not in SYSTEMS:
        return None
    best: tuple[Suggestion, Schedule] | None = None
    least = (math.inf, math.inf)
    size, n = abs(outline.peak) or 1.0, outline.updates
    tail = outline.schedule.values(min(n, 1000), start=n)
    for suggestion in _suggestions(target, outline, writing, same):
        try:
            given = {} if suggestion.lr is None else {"lr": suggestion.lr}
            approximation = read(target, suggestion.call, updates=_past(outline), **given)
        except (DialectError, ValueError, OverflowError):
            continue  # which the target would refuse, too
        with np.errstate(all="ignore"):
            apart = np.abs(approximation(outline.places) - outline.values)
            beyond = float(np.abs(approximation.values(len(tail), start=n) - tail).mean())
        area = float(apart.mean())
        if area <= 1e-6 * size and _equal(outline.schedule, approximation, _past(outline), writing.single):
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
    """The source's own call, for a target that is the source; None for a text that is no code of the system."""
    tree = ast.parse(call, mode="eval").body
    dialect = system(target)
    names = {dialect.aliases.get(name, name) for name in called(call)}
    if names & {"LambdaLR", "MultiplicativeLR", "get_scheduler"} or (lr is None and _rates(dialect, call)[0]):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            node.func = ast.Name(dialect.aliases.get(name, name))
            optimizer = [a for a in node.args if isinstance(a, ast.Name)]
            node.args = [a for a in node.args if a not in optimizer]
            node.keywords = [k for k in node.keywords if k.arg not in ("optimizer", "lr")]
    return ast.unparse(tree)


def _past(outline: Outline) -> int:
    """Counts that are compared: the run and as many again, and a hundred of the last part that is known."""
    n, last = outline.updates, outline.parts[-1].begin
    return n + min(max(n, 100, last + 100 - n), 1 << 20)


def _equal(a: Schedule, b: Schedule, n: int, single: bool) -> bool:
    """Whether the values are within 4 ulp of each other's, in float64, or in float32 with `single`."""
    dtype = np.float32 if single else np.float64
    for begin in range(0, n, _BLOCK):
        size = min(_BLOCK, n - begin)
        with np.errstate(all="ignore"):
            x, y = a.values(size, start=begin).astype(dtype), b.values(size, start=begin).astype(dtype)
            unit = np.spacing(np.maximum(np.abs(x), np.abs(y)))
            if not ((x == y) | (np.abs(x.astype(float) - y.astype(float)) <= _MOST_ULP * unit.astype(float))).all():
                return False
    return True


# --- warnings --------------------------------------------------------------------------------------------------------


def _traps(conversion: Conversion, outline: Outline, writing: Writer, target: str) -> Iterator[str]:
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
        yield f"laju writes no schedulers of {whose} own; its adapter for torch runs there"
    elif target not in (*SYSTEMS, "laju"):
        yield f"laju has no dialect of {title} yet, so {whose} own schedulers were not compared"
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
    """The same values a count earlier or later."""
    if difference.equal or outline.updates < 3:
        return
    places, values = outline.places, outline.values
    apart = float(np.abs(near(places) - values).mean())
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
    """The difference after the run."""
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


__all__ = ["Conversion", "convert"]
