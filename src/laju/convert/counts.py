"""Counts of a conversion: epochs and updates of the source and of the target."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from laju.convert.arguments import (
    EPOCH_LENGTH,
    Given,
    title_of,
    writer_of,
)
from laju.convert.report import possessive
from laju.convert.writers.per_epoch import ADAPTER, NAME
from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.dialects.base import DialectError, system
from laju.inspect.outline import Outline, natural_end
from laju.recognition.naming import named

_FINE = 1000
"""Updates in an epoch for a look at a schedule whose run has not said the number."""


@dataclass(frozen=True)
class Counts:
    """A schedule in counts of the target.

    Attributes:
        schedule: the schedule, in epochs or updates.
        counts: length of the run, in the same unit.
        unit: "epoch" or "update".
        in_epochs: whether the target's scheduler is stepped once per epoch.
        notes: notes for the report.
        each: function of the number of updates per epoch that returns the schedule in updates, for a source that counts epochs.
        text, adapter: laju's text of the schedule in epochs, and the code after `laju.parse` that converts epochs to updates.
        epochs: length of the run in epochs, for `each`.
        per_epoch: number of updates per epoch; None if not known.
        exactly: number of updates of the run, if the run is not a whole number of epochs.
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


def clock_of(found: Schedule, said: str, origin: str, target: str, given: Given) -> Counts:
    """Convert a schedule to the target's counts."""
    per, title = given.updates_per_epoch, origin if origin == "laju" else system(origin).title
    if origin == "laju" and found.units:
        return _resolved(found, given)
    unit = unit_of(origin, said, per is not None)
    either = unit == "either"
    if either:
        unit = "epoch" if per is not None or given.epochs is not None else "update"
    if unit == "update":
        # These take updates_per_epoch for themselves (a scheduler of MMEngine's or Composer's, a configuration in epochs), so
        # that it comes without epochs.
        spare = per is not None and (origin in EPOCH_LENGTH or target == "yaml:ultralytics")
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
        return Counts(found, n, notes=notes)
    if given.updates is not None and per is None:
        raise DialectError(f"{title} counts epochs here: give epochs (--epochs N), or updates_per_epoch beside updates")
    n = given.epochs if per is None or given.updates is None else math.ceil(given.updates / per)
    n, notes = _length(found, "epoch") if n is None else (n, ())
    if writer_of(target).counts_epochs:
        notes += (f"counts are epochs: in {title_of(target)}, too, step the scheduler once an epoch",)
        return Counts(found, n, "epoch", True, notes)

    def each(updates: int) -> Schedule:
        # A plan whose only purpose is an epoch of so many updates: as many samples, in batches of one.
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
            f"{title} counts epochs and {title_of(target)} counts updates: the program multiplies every length by {NAME} and "
            "stops until the number stands there; updates_per_epoch (--updates-per-epoch N) writes the number",
        )
        return Counts(found, n, "epoch", notes=notes, **shared)
    notes += (f"{title} counts epochs: each value is in force during all {per} updates of its epoch",)
    return Counts(each(per), given.updates or n * per, notes=notes, exactly=given.updates, **shared)


def unit_of(origin: str, said: str, per_epoch: bool) -> str:
    """Return the unit of the source's counts: "epoch", "update", or "either" if the unit depends on the calls of `step()`."""
    if origin == "laju":
        return "update"
    if origin == "d2l":
        return "update" if "mxnet" in said else "epoch"
    if origin not in ("timm", "mmengine"):
        return system(origin).unit
    says = _arguments(said)
    if origin == "timm":
        return "update" if False in says.get("t_in_epochs", ()) else "epoch"
    in_iterations = False in says.get("by_epoch", ()) or True in says.get("convert_to_iter_based", ())
    turned = "param_scheduler" in said and (per_epoch or "epoch_length" in says)
    # MMEngine counts epochs unless told otherwise, but a whole configuration with the epoch's length at hand has been turned
    # into updates by its reader.
    return "update" if in_iterations or turned else "epoch"


def _arguments(said: str) -> dict[str, list[Any]]:
    """Return the literals of each argument name in a call and in nested calls and dicts; empty for text that is not code."""
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


def _resolved(found: Schedule, given: Given) -> Counts:
    """Resolve a laju schedule with lengths in units to updates."""
    per, epochs = given.updates_per_epoch, given.epochs
    if found.units == {"%"} and given.updates is not None:
        plan = RunPlan(samples=given.updates, batch_size=1, epochs=1)
        return Counts(found.resolve(plan), given.updates)
    if per is not None and given.updates is not None:
        epochs = math.ceil(given.updates / per)
    symbolic = per is None and given.updates is None and (epochs is not None or found.units == {"epochs"})
    if not found.units <= {"epochs", "%"} or not (symbolic or (per is not None and epochs is not None)):
        units = ", ".join("percent" if unit == "%" else unit for unit in sorted(found.units))
        raise DialectError(
            f"{shown(found)} has lengths in {units}: give updates_per_epoch and epochs, or resolve the schedule with "
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
        return Counts(each(_FINE), epochs * _FINE, notes=(note,), **shared)
    return Counts(each(per), given.updates or epochs * per, per_epoch=per, exactly=given.updates, **shared)


def _length(found: Schedule, unit: str) -> tuple[int, tuple[str, ...]]:
    if found.length is not None:
        length: Any = found.length
        return max(1, math.ceil(length)), ()
    end = natural_end(found)
    if end is None:
        raise DialectError(f"{shown(found)} has no end, so give the length of the run: {unit}s (--{unit}s N)")
    over = Outline(found, end)
    stays = len({float(v) for v in found.values(3, start=end)}) == 1
    if stays and over.complete:
        return end, ()
    return end, (
        f"the schedule has no end; the run was taken to stop at {unit} {end:,}, where it begins to climb again",
    )


def what_counts(target: str, clock: Counts, title: str) -> str:
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
