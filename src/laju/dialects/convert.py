"""From one system to another: the schedule that a call stands for, code for the target that gives the same values, and what a
migration changes.

    laju.dialects.convert("CosineLRScheduler(t_initial=300, warmup_t=5)", "timm", "optax", lr=0.1)

The target's own schedulers are tried first. What they are called with comes from the schedule's parts (`laju.inspect.outline`,
`laju.dialects.writers`), but whether they give its values is decided by the values: each call is read by the target's dialect
and compared over the run and past it. Where none does, the code uses laju's adapter, and the report says how far away the
nearest one is.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.core import limits
from laju.core.checks import nearest as near_name
from laju.core.checks import number, shown, whole
from laju.core.outline import Transition
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.dialects.base import SYSTEMS, DialectError, System, filled, read, system
from laju.dialects.configs import READERS, read_config
from laju.dialects.contents import is_file
from laju.dialects.convert_report import Conversion, possessive
from laju.dialects.writers import TARGETS, Setting, Suggestion, Writer, called, writer
from laju.inspect.difference import Difference, diff
from laju.inspect.outline import Outline, natural_end
from laju.recognition.naming import named
from laju.text.spec import parse

if TYPE_CHECKING:
    pass

_BLOCK = 1 << 18
_REPLAYED = 20_000
"""Values that are computed in a target's own arithmetic, one from the one before."""
_MOST_ULP = 4
_IN_EPOCHS = ("timm", "d2l")
_IN_EITHER = ("torch", "paddle", "ignite", "gluoncv", "mmengine")


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
    """Convert a schedule of one system to another.

    Args:
        schedule: a call of the source's scheduler as text, such as "CosineAnnealingLR(T_max=100)"; laju's spec; the path of a
            configuration; or a schedule.
        source: the system; "laju"; or "config" for a file that `laju.dialects.configs` reads, whose system a file may also
            be given by name.
        target: the system to go to, or "laju".
        lr: the optimizer's rate, where the source takes one.
        updates: updates of the run; by default until the schedule ends. For a source that counts epochs, without
            `updates_per_epoch`, its counts.
        epochs: of the run, instead.
        updates_per_epoch: where the source counts epochs and the target updates.
        facts: what only the run knows: the values of expressions in the text, such as {"len(train_loader)": 391}, and what a
            configuration leaves to the trainer, such as {"warmup": 100}.

    Raises:
        DialectError: an unknown system or scheduler, arguments that the source would refuse, or a rate or length that is missing.
        SpecError: laju's text is wrong.
        OSError: a configuration that cannot be read.

    >>> found = convert("CosineLRScheduler(t_initial=20, warmup_t=5, warmup_prefix=True)", "timm", "optax", lr=0.1)
    >>> found.own, found.call
    (True, 'warmup_cosine_decay_schedule(init_value=0.0, peak_value=0.1, warmup_steps=5, decay_steps=25)')
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
    notes: tuple[str, ...] = ()
    if isinstance(schedule, Schedule):
        found, said = schedule, str(schedule)
    elif not isinstance(schedule, str):
        raise DialectError(
            f"schedule must be a schedule, or the text of a call such as 'CosineAnnealingLR(T_max=100)', got {shown(schedule)}"
        )
    else:
        found, said, origin, notes, length = _read(schedule, origin, given, reader)
        if length is not None and given.updates is None and given.epochs is None:
            given = replace(given, updates=length)
    found, in_epochs, n, more = _counted(found, said, origin, goal, given)
    if n > limits.POSITION // 4:  # the writers look at the run, and a while beyond
        raise DialectError(
            f"{shown(found)} lasts {shown(n)} updates, too many to look at: say how many the run has (--updates N)"
        )
    found, writing = named(found), _writer(goal)
    outline = Outline(found, n)
    title = _title(goal)
    setting = Setting(str(found), _rate(outline), n, in_epochs)
    same = said if origin == goal and isinstance(schedule, str) and not more else None
    best = None if goal == "laju" else _best(goal, outline, writing, None if same is None else (same, lr))
    unit = "epoch" if in_epochs else "update"
    made: dict[str, Any] = {"own": goal == "laju", "call": None}
    if best is not None:
        suggestion, approximation, exact = best
        after = diff(found, approximation, _past(outline))
        made |= {
            "own": exact, "call": suggestion.call if exact else None, "nearest": suggestion.call, "nearest_lr": suggestion.lr,
            "approximation": approximation, "difference": diff(found, approximation, n), "after": after,
            "rounding": _rounding(goal, suggestion, found, n),
        }  # fmt: skip
    code = writing.own(best[0], setting) if best is not None and best[2] else writing.adapter(setting)
    conversion = Conversion(
        source=origin, target=goal, text=said, schedule=found, counts=_what_counts(goal, in_epochs, title), unit=unit,
        updates=n, code=code, **made,
    )  # fmt: skip
    traps = (*notes, *more, *_traps(conversion, outline, writing, goal))
    return Conversion(**{**_fields(conversion), "traps": tuple(dict.fromkeys(traps))})


def _fields(conversion: Conversion) -> dict[str, Any]:
    return {name: getattr(conversion, name) for name in Conversion.__dataclass_fields__}


# --- what is given ---------------------------------------------------------------------------------------------------


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
    if isinstance(name, str) and name.strip().lower() in TARGETS:
        return name.strip().lower()
    if not isinstance(name, str) or not _known(name):
        others = [other for other in SYSTEMS if other not in TARGETS]
        raise DialectError(
            f"{shown(name)} is not a system that laju converts to{near_name(str(name), (*TARGETS, *others))} "
            f"({', '.join(TARGETS)}; with torch's adapter: {', '.join(others)})"
        )
    return system(name).name


def _known(name: str) -> bool:
    try:
        system(name)
    except DialectError:
        return False
    return True


def _writer(target: str) -> Writer:
    """The target's writer; for one that has none, torch's, without schedulers of its own."""
    if target in TARGETS:
        return writer(target)
    from laju.dialects.writers import torch

    title = system(target).title
    return Writer(
        title=title,
        suggestions=lambda outline: iter(()),
        own=torch.own,
        adapter=lambda setting: torch.adapter(setting, f"a torch LRScheduler, which {title} takes"),
        counts_epochs=True,
    )


def _title(target: str) -> str:
    return writer(target).title if target in TARGETS else system(target).title


def _read(
    given: str, origin: str, facts: _Given, reader: str | None = None
) -> tuple[Schedule, str, str, tuple[str, ...], int | None]:
    """The schedule, its text, its system, what a reader should know of it, and the length of the run where the text says it."""
    if origin == "laju":
        if facts.lr is not None:
            raise DialectError("lr is the optimizer's rate, and the values of laju's schedules are rates: leave lr out")
        if facts.more:
            raise DialectError("facts fill in other systems' code and configurations, and laju's schedules need none")
        return parse(given), given.strip(), origin, (), None
    if origin == "config":
        known: dict[str, Any] = {"lr": facts.lr, "total": facts.updates}
        told: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
        found = read_config(given, reader, **{**told, **facts.more})
        return found.schedule, found.call, found.dialect, found.notes, found.length
    dialect = system(origin)
    given = filled(given, facts.more)
    takes, says = _rates(dialect, given)
    if facts.lr is not None and not takes:
        raise DialectError(f"no scheduler in {shown(given)} takes the optimizer's rate: leave lr out")
    if facts.lr is not None and any(rate != facts.lr for rate in says):
        raise DialectError(f"lr is {says[0]!r} in {shown(given)} and {facts.lr!r} beside it: say it once")
    if facts.lr is None and takes and not says:
        try:
            return read(origin, given), given.strip(), origin, (), None
        except DialectError as error:
            if "'lr'" not in str(error):
                raise
            raise DialectError(
                f"lr is missing: {dialect.title}'s schedulers change the optimizer's rate, so say what it is: lr=0.1"
            ) from None
    more = {} if facts.lr is None else {"lr": facts.lr}
    return read(origin, given, **more), given.strip(), origin, (), None


def _rates(dialect: System, given: str) -> tuple[bool, list[Any]]:
    """Whether a scheduler in the text takes the optimizer's rate, and the rates that the text says itself."""
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


def _counted(
    found: Schedule, said: str, origin: str, target: str, given: _Given
) -> tuple[Schedule, bool, int, tuple[str, ...]]:
    """The schedule in the target's counts, whether these are epochs, the length of the run, and notes about it."""
    per = given.updates_per_epoch
    title = origin if origin == "laju" else system(origin).title
    if origin == "laju" and found.units:
        return _resolved(found, given)
    always = origin in _IN_EPOCHS and "t_in_epochs=False" not in said.replace(" ", "") and "mxnet" not in said
    epochs = always or (origin in _IN_EITHER and (per is not None or given.epochs is not None))
    if not epochs and (given.epochs is not None) != (per is not None):
        lacks = "updates_per_epoch" if per is None else "epochs"
        raise DialectError(
            f"{title} counts updates here: give updates, or epochs and updates_per_epoch ({lacks} is missing)"
        )
    n: int | None = given.updates
    if epochs:
        n = given.epochs if given.epochs is not None else n if n is None or per is None else math.ceil(n / per)
    elif given.epochs is not None and per is not None:
        n = given.epochs * per
    notes: tuple[str, ...] = ()
    if n is None:
        n, notes = _length(found, epochs)
    if not epochs:
        return found, False, n, notes
    if _writer(target).counts_epochs:
        return (
            found,
            True,
            n,
            (*notes, f"counts are epochs: in {_title(target)}, too, step the scheduler once an epoch"),
        )
    if per is None:
        warning = (
            f"{title} counts epochs and {_title(target)} counts updates: each epoch was taken for one update; "
            "say how many an epoch has with updates_per_epoch (--updates-per-epoch)"
        )
        return found, False, n, (*notes, warning)
    plan = RunPlan(samples=per, batch_size=1, epochs=n)
    note = f"{title} counts epochs: each value is in force during all {per} updates of its epoch"
    return found.per("epoch").resolve(plan), False, n * per, (*notes, note)


def _resolved(found: Schedule, given: _Given) -> tuple[Schedule, bool, int, tuple[str, ...]]:
    per, epochs = given.updates_per_epoch, given.epochs
    if found.units == {"%"} and given.updates is not None:
        per, epochs = given.updates, 1
    elif per is not None and given.updates is not None:
        epochs = math.ceil(given.updates / per)
    if per is None or epochs is None or not found.units <= {"epochs", "%"}:
        units = ", ".join("percent" if unit == "%" else unit for unit in sorted(found.units))
        raise DialectError(
            f"{shown(found)} has lengths in {units}: say what the run is, with updates_per_epoch and epochs, or resolve it with "
            "a RunPlan first"
        )
    plan = RunPlan(samples=per, batch_size=1, epochs=epochs)
    return found.resolve(plan), False, given.updates or plan.updates, ()


def _length(found: Schedule, epochs: bool) -> tuple[int, tuple[str, ...]]:
    if found.length is not None:
        length: Any = found.length
        return max(1, math.ceil(length)), ()
    end = natural_end(found)
    if end is None:
        option = "epochs" if epochs else "updates"
        raise DialectError(f"{shown(found)} has no end, so say how long the run is: {option} (--{option} N)")
    over = Outline(found, end)
    stays = len({float(v) for v in found.values(3, start=end)}) == 1
    if stays and over.complete:
        return end, ()
    unit = "epoch" if epochs else "update"
    return end, (
        f"the schedule has no end; the run was taken to stop at {unit} {end:,}, where it begins to climb again",
    )


def _rate(outline: Outline) -> float:
    peak = outline.peak
    return peak if peak > 0 and math.isfinite(peak) else 0.0


def _what_counts(target: str, in_epochs: bool, title: str) -> str:
    if in_epochs:
        return "epochs: step once an epoch"
    return "completed updates" if target == "laju" else f"updates: {_stepping(target, title)}"


def _stepping(target: str, title: str) -> str:
    if target in ("optax", "keras", "mxnet"):
        return f"{possessive(title)} optimizer counts them itself"
    return "step after each"


# --- the target's own ------------------------------------------------------------------------------------------------


def _best(
    target: str, outline: Outline, writing: Writer, same: tuple[str, float | None] | None
) -> tuple[Suggestion, Schedule, bool] | None:
    """The call of the target's own that gives the schedule's values, or else the nearest; and which of the two it is."""
    if target not in SYSTEMS:
        return None
    best: tuple[Suggestion, Schedule] | None = None
    least = (math.inf, math.inf)
    size, n = abs(outline.peak) or 1.0, outline.updates
    tail = outline.schedule.values(min(n, 1000), start=n)
    for suggestion in _suggestions(target, outline, writing, same):
        try:
            given = {} if suggestion.lr is None else {"lr": suggestion.lr}
            approximation = read(target, suggestion.call, **given)
        except (DialectError, ValueError, OverflowError):
            continue  # which the target would refuse, too
        with np.errstate(all="ignore"):
            apart = np.abs(approximation(outline.places) - outline.values)
            beyond = float(np.abs(approximation.values(len(tail), start=n) - tail).mean())
        area = float(apart.mean())
        if area <= 1e-6 * size and _equal(outline.schedule, approximation, _past(outline), writing.single):
            return suggestion, approximation, True
        # A later call has to be better by more than rounding, in the run or else after it: the first ones are the plain ones.
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
    """The source's own call, for the case that it goes to where it comes from; None where it is no code of the system."""
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
            node.keywords = [k for k in node.keywords if k.arg not in ("optimizer", "lr", "exact")]
    return ast.unparse(tree)


def _past(outline: Outline) -> int:
    """Counts that are compared: the run and as many again, and a hundred of the last part that is known."""
    n, last = outline.updates, outline.parts[-1].begin
    return n + min(max(n, 100, last + 100 - n), 1 << 20)


def _equal(a: Schedule, b: Schedule, n: int, single: bool) -> bool:
    """Whether no value is more than 4 ulp from the other, in float64 or, where the target has that, in float32."""
    dtype = np.float32 if single else np.float64
    for begin in range(0, n, _BLOCK):
        size = min(_BLOCK, n - begin)
        with np.errstate(all="ignore"):
            x, y = a.values(size, start=begin).astype(dtype), b.values(size, start=begin).astype(dtype)
            unit = np.spacing(np.maximum(np.abs(x), np.abs(y)))
            if not ((x == y) | (np.abs(x.astype(float) - y.astype(float)) <= _MOST_ULP * unit.astype(float))).all():
                return False
    return True


def _rounding(target: str, suggestion: Suggestion, found: Schedule, n: int) -> float | None:
    """How far the target's own arithmetic takes the values, where its dialect repeats it."""
    n = min(n, _REPLAYED)
    given: dict[str, Any] = {"exact": n} | ({} if suggestion.lr is None else {"lr": suggestion.lr})
    try:
        replay = read(target, suggestion.call, **given)
    except (DialectError, ValueError, OverflowError):
        return None
    plain = read(target, suggestion.call, **{k: v for k, v in given.items() if k != "exact"})
    apart = float(np.abs(replay.values(n) - plain.values(n)).max())
    return apart if apart and math.isfinite(apart) else None


# --- what to look out for --------------------------------------------------------------------------------------------


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
    if writing.single and near is None:
        yield f"{title} keeps rates in float32"


def _shifted(
    schedule: Schedule, near: Schedule, outline: Outline, difference: Difference, unit: str, whose: str
) -> Iterator[str]:
    """Off by one: the same values a count earlier or later."""
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
    """What happens after the run."""
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
