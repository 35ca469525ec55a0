"""The options that describe a run, the same for every verb."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from laju.cli.arguments import plain_errors, read_schedules
from laju.cli.errors import Wrong, in_options
from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan

_COUNT = click.IntRange(min=1)
_OPTIONS = (
    click.option("--updates", type=_COUNT, help="Optimizer updates of the run."),
    click.option("--samples", type=_COUNT, help="Training examples per epoch."),
    click.option("--batch-size", type=_COUNT, help="Examples per micro-batch and process."),
    click.option("--epochs", type=_COUNT, help="Passes over the data; alone, an epoch counts as one update."),
    click.option("--accumulate", type=_COUNT, help="Micro-batches per update (gradient accumulation).  [default: 1]"),
    click.option("--world-size", type=_COUNT, help="Data-parallel processes.  [default: 1]"),
    click.option("--tokens-per-sample", type=_COUNT, help="Tokens per sample, for lengths in tokens."),
    click.option("--drop-last", is_flag=True, help="Leave out an incomplete last batch of an epoch."),
    click.option("--updates-per-epoch", type=_COUNT, help="Updates per epoch, instead of --samples and --batch-size."),
)


@dataclass(frozen=True)
class Run:
    """The known properties of the run: a plan, or only the number of updates, or nothing.

    `data`: whether the plan counts real samples, and not only updates.
    """

    plan: RunPlan | None = None
    updates: int | None = None
    data: bool = True

    @property
    def length(self) -> int | None:
        return self.plan.updates if self.plan is not None else self.updates

    def plan_for(self, schedule: Schedule) -> RunPlan | None:
        """The plan for the schedule's units; if options are missing, a usage error names these options."""
        units = schedule.units
        if not units or (self.plan is not None and units <= {"epochs", "%"}):
            return self.plan
        if self.plan is not None and self.data:
            if "tokens" in units and self.plan.tokens_per_sample is None:
                raise click.UsageError(f"{shown(schedule)} has lengths in tokens: give --tokens-per-sample too.")
            return self.plan
        if self.updates is not None and units == {"%"}:
            return RunPlan(samples=self.updates, batch_size=1, epochs=1)
        ways = ["--samples N --batch-size B --epochs E" + (" --tokens-per-sample T" if "tokens" in units else "")]
        if units <= {"epochs", "%"}:
            ways.append("--epochs E --updates-per-epoch M")
        if units == {"%"}:
            ways.append("--updates N")
        named = ", ".join("percent" if unit == "%" else unit for unit in sorted(units))
        raise click.UsageError(f"{shown(schedule)} has lengths in {named}, so describe the run: {', or '.join(ways)}.")

    def resolve(self, schedule: Schedule) -> Schedule:
        """The schedule in updates."""
        plan = self.plan_for(schedule)
        return schedule.resolve(plan) if plan is not None and schedule.units else schedule


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the options, whose values are passed as `run`."""

    @functools.wraps(command)
    def with_run(*args: Any, **kwargs: Any) -> Any:
        names = (
            "updates", "samples", "batch_size", "epochs", "accumulate", "world_size", "tokens_per_sample", "drop_last",
            "updates_per_epoch",
        )  # fmt: skip
        return command(*args, run=_run(**{name: kwargs.pop(name) for name in names}), **kwargs)

    for option in reversed(_OPTIONS):
        with_run = option(with_run)
    return with_run


def _run(*, updates: int | None, drop_last: bool, updates_per_epoch: int | None, **facts: int | None) -> Run:
    given = {name: value for name, value in facts.items() if value is not None}
    if drop_last:
        given["drop_last"] = True
    if updates is not None:
        if given or updates_per_epoch is not None:
            other = next(iter(given), "updates_per_epoch")
            raise click.UsageError(f"--updates and {_option(other)} both give the length of the run: give one of them.")
        return Run(updates=updates)
    if updates_per_epoch is not None:
        if set(given) - {"epochs"}:
            other = next(name for name in given if name != "epochs")
            raise click.UsageError(f"--updates-per-epoch and {_option(other)} cannot be combined: give one of them.")
        if "epochs" not in given:
            raise click.UsageError("--updates-per-epoch needs --epochs.")
        return Run(RunPlan(samples=updates_per_epoch, batch_size=1, epochs=given["epochs"]), data=False)
    if not given:
        return Run()
    if set(given) == {"epochs"}:
        return Run(RunPlan(samples=1, batch_size=1, epochs=given["epochs"]), data=False)
    missing = [name for name in ("samples", "batch_size", "epochs") if name not in given]
    if missing:
        one = next(iter(given))
        raise click.UsageError(f"{_option(one)} also needs {' and '.join(map(_option, missing))}.")
    try:
        return Run(RunPlan(**given))  # type: ignore[arg-type]
    except ValueError as error:
        raise click.UsageError(in_options(str(error), click.get_current_context().command)) from None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def read_one(text: str) -> tuple[str, Schedule]:
    """The name and the schedule of a single SCHEDULE."""
    found = read_schedules((text,))
    if len(found) != 1:
        names = ", ".join(f"{text.strip()}:{name.replace(' ', '-')}" for name in found)
        raise click.BadParameter(
            f"{text!r} is {len(found)} schedules; name one of them: {names}", param_hint="SCHEDULE"
        )
    return next(iter(found.items()))


@contextmanager
def usage_errors() -> Iterator[None]:
    """Show the errors of `plain_errors`, and errors in the arithmetic of a schedule, as messages."""
    try:
        with plain_errors(), np.errstate(all="ignore"):
            yield
    except OverflowError:
        raise Wrong("the schedule grows beyond what a float can hold in this run") from None
    # Such as a function of the user's that does not take a number.
    except (ArithmeticError, TypeError, LookupError, AttributeError, MemoryError, RecursionError) as error:
        raise Wrong(f"the schedule cannot be computed: {error or type(error).__name__}") from error


def sketched(draw: Callable[[], str], updates: int) -> str:
    """A drawing for the terminal, or a line with the reason why there is no drawing."""
    if updates > 1 << 23:
        return f"(no sketch: {updates:,} updates are too many to draw)"
    try:
        return draw()
    except ImportError as error:
        return f"(no sketch: {error})"


def as_text(data: dict[str, Any]) -> str:
    """The output for programs: indented JSON that begins with the verb; numbers that are not finite are texts."""
    context = click.get_current_context(silent=True)
    verb = {} if context is None else {"verb": context.command_path.partition(" ")[2]}
    return json.dumps(_plain(verb | data), indent=2, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
