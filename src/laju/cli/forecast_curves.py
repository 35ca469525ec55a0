"""The sources of curves for `laju forecast`: files, with schedules for files without rates, and the lab's store."""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from laju.cli.errors import Wrong
from laju.cli.run_options import read_one
from laju.core.checks import nearest
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.forecast import Curve, ForecastWarning
from laju.forecast.laws import LAWS

_COUNT = click.IntRange(min=1)
_OPTIONS = (
    click.argument("curves", nargs=-1, metavar="CURVE..."),
    click.option("--update-column", metavar="NAME", help="The column of updates, if files have several."),
    click.option("--loss-column", metavar="NAME", help="The column or tag of losses, if files have several."),
    click.option("--rate-column", metavar="NAME", help="The column or tag of learning rates, if files have several."),
    click.option("--run", type=_COUNT, help="Number of the run, if a file has several; by default the last."),
    click.option(
        "--curve-warmup",
        type=click.IntRange(min=0),
        help="Updates of a warmup from 0 before the first row of the files; 0 for none.",
    ),
    click.option(
        "--from",
        "begin",
        type=_COUNT,
        help="Leave out losses before this update; by default before the peak is reached.",
    ),
    click.option(
        "--store",
        metavar="FILE|URL",
        callback=lambda context, option, value: _checked_store(value),
        help="Also use the trials of `laju compare` in this store, one curve per schedule.",
    ),
    click.option("--task", metavar="NAME", help="Use trials of this task, if the store has several tasks."),
    click.option("--framework", metavar="NAME", help="Use trials of this framework, if the store has several."),
    click.option("--batch-size", type=_COUNT, help="Use trials of this batch size, if the store has several."),
    click.option("--optimizer", metavar="TEXT", help="Use trials of this optimizer, if the store has several."),
    click.option(
        "--law",
        type=click.Choice(["average", *LAWS]),
        default="average",
        show_default=True,
        help="The law; `average` is the mean of the two extended laws.",
    ),
)
_LENGTHS = (
    click.option("--updates", type=_COUNT, help="Updates of the whole run to be predicted."),
    click.option("--epochs", type=_COUNT, help="Epochs of the whole run, with --updates-per-epoch or --store."),
    click.option("--updates-per-epoch", type=_COUNT, help="Updates per epoch; by default as in the store."),
)


@dataclass(frozen=True)
class Source:
    """The options that select curves, which `read` reads."""

    texts: tuple[str, ...]
    law: str
    columns: dict[str, Any] = field(default_factory=dict)
    curve_warmup: int | None = None
    begin: int | None = None
    store: str | None = None
    filters: dict[str, Any] = field(default_factory=dict)

    def read(self, schedules: Sequence[str] = (), updates_per_epoch: int | None = None) -> Curves:
        """The curves of the files, then the curves of the store.

        Args:
            schedules: schedules of the files' runs, one for all or one per file, for files without a schedule after an @.
            updates_per_epoch: number of updates per epoch, for schedules in epochs.
        """
        if not self.texts and self.store is None:
            raise click.UsageError("Missing argument 'CURVE...': give files with curves, or --store.")
        if self.store is None and any(value is not None for value in self.filters.values()):
            one = next(name for name, value in self.filters.items() if value is not None)
            raise click.UsageError(f"--{one.replace('_', '-')} goes with --store.")
        if len(schedules) not in (0, 1, len(self.texts)):
            raise click.UsageError(
                f"--schedule is given {len(schedules)} times for {len(self.texts)} files: give one for all, or one per file."
            )
        parts = [_name_path_spec(text) for text in self.texts]
        files = []
        for i, (name, path, spec) in enumerate(parts):
            if spec is None and schedules:
                spec = schedules[i if len(schedules) > 1 else 0]
            files.append(self._file(name or _curve_name(path, [p for _, p, _ in parts]), path, spec, updates_per_epoch))
        found, plan = [self._after_warmup(curve) for curve in files], None
        if self.store is not None:
            from laju.lab.store.curves import stored_curves

            stored = stored_curves(self.store, **self.filters)
            found += [self._after_warmup(one.curve) for one in stored]
            plan = max((one.plan for one in stored), key=lambda p: p.updates)
        names = [curve.name for curve in found]
        for name in names:
            if names.count(name) > 1:
                raise click.UsageError(f"two curves are named {name!r}; write NAME=FILE to tell them apart")
        return Curves(tuple(found), plan)

    def _file(self, name: str, path: str, spec: str | None, updates_per_epoch: int | None) -> Curve:
        from laju.forecast.reading import read_curve
        from laju.logs import read

        if path != "-" and not os.path.exists(path):
            raise Wrong(f"there is no file {path!r}")
        rates = None if spec is None else _in_updates(read_one(spec)[1], name, updates_per_epoch)
        warmup = self.curve_warmup if rates is None else None
        log = read(path, **self.columns)
        click.echo(f"note: {name}: {log.taken('loss') if rates is not None else log.taken('rate', 'loss')}", err=True)
        return read_curve(
            log, rates, name, loss=self.columns.get("loss"), rate=self.columns.get("rate"), warmup=warmup,
            updates_per_epoch=updates_per_epoch,
        )  # fmt: skip

    def _after_warmup(self, curve: Curve) -> Curve:
        """The laws do not describe a warmup."""
        try:
            return curve.since(self.begin)
        except ValueError as error:
            raise Wrong(str(error)) from None


@dataclass(frozen=True)
class Curves:
    """The curves, and for curves from a store the longest plan of the trials."""

    all: tuple[Curve, ...]
    plan: RunPlan | None = None

    def pick(self, names: Sequence[str]) -> tuple[Curve, ...]:
        """The curves with these names, where a unique beginning or part of a name suffices."""
        found: list[Curve] = []
        for name in names:
            ways: tuple[Callable[[str], bool], ...] = (
                lambda given, name=name: given == name,  # type: ignore[misc]
                lambda given, name=name: given.startswith(name),  # type: ignore[misc]
                lambda given, name=name: name in given,  # type: ignore[misc]
            )
            hits = next((hit for way in ways if (hit := [c for c in self.all if way(c.name)])), [])
            if len(hits) != 1:
                there = [curve.name for curve in self.all]
                what = f"could be {', '.join(c.name for c in hits)}" if hits else f"is no curve{nearest(name, there)}"
                raise click.BadParameter(f"{name!r} {what} (curves: {', '.join(there)})", param_hint="--fit")
            if hits[0] not in found:
                found.append(hits[0])
        return tuple(found)


@dataclass(frozen=True)
class RunLength:
    """The length of the run to be predicted, from the options."""

    updates: int | None
    epochs: int | None
    updates_per_epoch: int | None

    def plan(self, curves: Curves, schedules: Iterable[Schedule] = ()) -> RunPlan:
        """The plan of the run; without an epoch length in updates only, and without options from the schedules' common end."""
        per_epoch = self.updates_per_epoch or (curves.plan.updates_per_epoch if curves.plan is not None else None)
        if self.updates is not None:
            if self.epochs is not None:
                raise click.UsageError("--updates and --epochs say the same thing: give one of them.")
            if per_epoch is None or self.updates % per_epoch:
                return RunPlan(samples=self.updates, batch_size=1, epochs=1)
            return RunPlan(samples=per_epoch, batch_size=1, epochs=self.updates // per_epoch)
        if self.epochs is not None:
            if per_epoch is None:
                raise click.UsageError("--epochs goes with --updates-per-epoch.")
            return RunPlan(samples=per_epoch, batch_size=1, epochs=self.epochs)
        if curves.plan is None:
            ends = {None if schedule.units else schedule.length for schedule in schedules}
            if len(ends) == 1 and isinstance(end := ends.pop(), int):
                return RunPlan(samples=end, batch_size=1, epochs=1)
            raise click.UsageError("give the length of the run: --updates N.")
        return RunPlan(samples=curves.plan.updates_per_epoch, batch_size=1, epochs=curves.plan.epochs)

    def resolve(self, schedule: Schedule, plan: RunPlan) -> Schedule:
        """The schedule in updates."""
        if "epochs" in schedule.units and plan.epochs == 1 and self.epochs is None and self.updates_per_epoch is None:
            raise click.UsageError(
                f"{str(schedule)!r} has lengths in epochs; give the length of an epoch: --updates-per-epoch M."
            )
        return schedule.resolve(plan) if schedule.units else schedule


def curve_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the argument and options that select curves and law, passed as `source`."""

    @functools.wraps(command)
    def with_source(
        *args: Any, curves: tuple[str, ...], begin: int | None, store: str | None, law: str, **kwargs: Any
    ) -> Any:
        columns = {kind: kwargs.pop(f"{kind}_column") for kind in ("update", "loss", "rate")}
        columns["run"] = kwargs.pop("run")
        filters = {name: kwargs.pop(name) for name in ("task", "framework", "batch_size", "optimizer")}
        source = Source(curves, law, columns, kwargs.pop("curve_warmup"), begin, store, filters)
        return command(*args, source=source, **kwargs)

    for option in reversed(_OPTIONS):
        with_source = option(with_source)
    return with_source


def length_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the options for the length of the run to be predicted, passed as `length`."""

    @functools.wraps(command)
    def with_length(
        *args: Any, updates: int | None, epochs: int | None, updates_per_epoch: int | None, **kwargs: Any
    ) -> Any:
        return command(*args, length=RunLength(updates, epochs, updates_per_epoch), **kwargs)

    for option in reversed(_LENGTHS):
        with_length = option(with_length)
    return with_length


def _checked_store(place: str | None) -> str | None:
    """A file must exist; a URL is checked when opened."""
    if place is not None and "://" not in place and not Path(place).is_file():
        raise click.BadParameter(f"there is no file {place!r}")
    return place


@contextmanager
def noted() -> Iterator[list[str]]:
    """Print each warning of the forecast once as `note: …` on standard error, and collect the warnings in the list."""
    notes: list[str] = []

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, ForecastWarning):
            text = str(message)
            if text not in notes:
                notes.append(text)
                click.echo(f"note: {text}", err=True)
        else:
            usual(message, category, *place, **options)

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.showwarning = show
        # Python shows a warning once per line of code; here the same line may speak of several curves, and the list keeps each
        # text once.
        warnings.simplefilter("always", ForecastWarning)
        with np.errstate(all="ignore"):  # an optimizer that looks far out
            yield notes


def _name_path_spec(text: str) -> tuple[str | None, str, str | None]:
    """Name, path and spec of `NAME=FILE@SPEC`. File names may contain '=' and '@', so an existing file goes first."""
    places = [i for i, letter in enumerate(text) if letter == "@"]
    ends = [len(text), *reversed(places)]
    end = next(
        (end for end in ends if os.path.exists(_name_and_path(text[:end])[1])), places[0] if places else len(text)
    )
    name, path = _name_and_path(text[:end])
    if end < len(text) and not text[end + 1 :].strip():
        raise click.BadParameter(f"{text!r} has no schedule after the '@'", param_hint="CURVE")
    return name, path, text[end + 1 :] or None


def _name_and_path(text: str) -> tuple[str | None, str]:
    name, equals, path = text.partition("=")
    if not equals or os.path.exists(text):
        return None, text
    if not name.strip():
        raise click.BadParameter(f"{text!r} has no name before the '='", param_hint="CURVE")
    return name.strip(), path


def _curve_name(path: str, others: Sequence[str]) -> str:
    """The name of a file without its ending, or of a folder; with more of the path where two names are equal."""

    def name(text: str) -> str:
        where = Path(text)
        if "tfevents" in where.name:
            where = where.absolute().parent
        return where.absolute().name if where.is_dir() else where.stem

    return name(path) if [name(other) for other in others].count(name(path)) == 1 else path


def _in_updates(schedule: Schedule, name: str, updates_per_epoch: int | None) -> Schedule:
    if not schedule.units:
        return schedule
    if schedule.units == {"epochs"} and updates_per_epoch is not None:
        return schedule.resolve(RunPlan(samples=updates_per_epoch, batch_size=1, epochs=1))
    ways = "write it in updates" + (", or give --updates-per-epoch" if schedule.units == {"epochs"} else "")
    raise click.UsageError(
        f"the schedule of {name}, {str(schedule)!r}, has lengths in {', '.join(sorted(schedule.units))}: {ways}."
    )


def finite(value: float) -> float | None:
    """The value, or None if not finite, since JSON has no NaN."""
    return value if math.isfinite(value) else None
