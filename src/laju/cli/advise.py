"""laju advise: what the run of a log will end at."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from laju.cli.logs import LogOptions, log_options
from laju.cli.run_options import as_text, read_one, usage_errors
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.logs import completed
from laju.view.plot import SUFFIXES

if TYPE_CHECKING:
    from laju.forecast import Ending
    from laju.logs import Log, Series


@click.command("advise")
@click.argument("file", metavar="LOG|-")
@log_options
@click.option("--loss-column", metavar="NAME", help="The column of losses.")
@click.option("--updates", type=click.IntRange(min=1), help="Updates of the whole run; the schedule's end by default.")
@click.option(
    "--schedule", "spec", metavar="SPEC", help="The schedule of the whole run; found in the rates by default."
)
@click.option("--updates-per-epoch", type=click.IntRange(min=1), help="For a log or a schedule in epochs.")
@click.option("--target", type=float, help="A loss to beat: how probable that is.")
@click.option("--against", metavar="LOG", help="A log to beat: how probable its last loss is beaten.")
@click.option("--prior", metavar="NAME|FILE|none", default="auto", show_default=True, help="Past runs to judge by.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Picture to write: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    file: str,
    options: LogOptions,
    loss_column: str | None,
    updates: int | None,
    spec: str | None,
    updates_per_epoch: int | None,
    target: float | None,
    against: str | None,
    prior: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say what the run of LOG will end at, how sure that is, and on which past runs the answer rests.

    The exit status is 1 when that cannot be known; the reason and what would help are printed.

    \b
    laju advise metrics.csv --schedule 'wsd(3e-4, total=24000, warmup=2000, cooldown=4800)'
    laju advise trainer_state.json --target 3.28
    laju advise run2.csv --prior mine.json --against run1.csv
    """
    if target is not None and against is not None:
        raise click.UsageError("--target and --against both say what is to be beaten: give one of them.")
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(
            f"cannot save {str(out)!r}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
            param_hint="--out",
        )
    with usage_errors():
        from laju.forecast import ending

        log = options.read(file)
        losses = log.loss(loss_column)
        at = _updates(log, losses, updates_per_epoch)
        schedule = _schedule(log, options, spec, updates_per_epoch, updates)
        found = ending(at, losses.values, schedule, updates, prior=None if prior == "none" else prior)
        bar, what = (target, "the target") if target is not None else (None, "")
        if against is not None:
            theirs = (other := options.read(against)).loss()
            bar, what = float(theirs.values[-1]), f"the last loss of {against}, at {other.unit} {theirs.at[-1]:,g}"
        chance = None if bar is None or found.value is None else _chance(found, bar)
        span = f"updates {at[0]:,.0f} … {at[-1]:,.0f}"
        taken = f"losses: {losses.name!r}, {span}"
        if unused := [name for name in log.losses if name != losses.name]:
            taken += f" (not {', '.join(map(repr, unused))}: --loss-column takes another)"
        if as_json:
            told: dict[str, Any] = {
                **asdict(found),
                "schedule": str(schedule),
                "loss": losses.name,
                "log": list(log.notes),
            }
            if bar is not None:
                told |= {"target": bar, "probability": chance}
            click.echo(as_text(told))
        else:
            for note in log.notes:
                click.echo(f"note: {note}", err=True)
            click.echo(f"{taken}\nschedule: {schedule}")
            click.echo(str(found))
            if chance is not None:
                click.echo(f"ends below {bar:.5g} ({what}) with a probability of about {chance:.0%}")
        if out is not None:
            from laju.forecast.picture import ending_picture

            click.echo(f"wrote {ending_picture(found, at, losses.values, schedule).save(out)}", err=as_json)
        if found.refused:
            click.get_current_context().exit(1)


def _updates(log: Log, losses: Series, per_epoch: int | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    if log.unit == "update":
        return losses.at
    if log.unit == "epoch" and per_epoch is not None:
        return np.round(completed(log.unit, losses.at) * per_epoch)
    if log.unit == "epoch":
        raise ValueError(f"{log.path} counts epochs; say how many updates an epoch has: --updates-per-epoch M")
    raise ValueError(f"{log.path} counts {log.unit}s, not updates; name the column of updates: --update-column")


def _schedule(log: Log, options: LogOptions, spec: str | None, per_epoch: int | None, updates: int | None) -> Schedule:
    if spec is not None:
        schedule = read_one(spec)[1]
        if not schedule.units:
            return schedule
        if per_epoch is None and updates is None:
            raise ValueError(f"{spec!r} has lengths in other units than updates: give --updates-per-epoch or --updates")
        if per_epoch is None:
            assert updates is not None
            return schedule.resolve(RunPlan(samples=updates, batch_size=1, epochs=1))
        epochs = 1 if updates is None else math.ceil(updates / per_epoch)
        return schedule.resolve(RunPlan(samples=per_epoch, batch_size=1, epochs=epochs))
    if not log.rates:
        raise ValueError(f"{log.path} has no column of rates: {log.has()}; give the run's schedule: --schedule SPEC")
    from laju.recognition import recognise

    found = recognise(options.pairs(log, per_epoch), updates_per_epoch=per_epoch if log.unit == "epoch" else None)
    end = found.schedule.length
    if not found.is_formula or (updates is None and end is None):
        raise ValueError(
            f"the rates so far are {found.text}, which does not tell how the run goes on; give its schedule: --schedule SPEC"
        )
    return found.schedule


def _chance(found: Ending, bar: float) -> float:
    """The probability of an end below a bar, as if errors were normal."""
    assert found.value is not None
    assert found.high is not None
    spread = (found.high - found.value) / NormalDist().inv_cdf((1 + found.level) / 2)
    return NormalDist(found.value, max(spread, 1e-12)).cdf(bar)
