"""laju plot: draw schedules in the terminal or into a file."""

from __future__ import annotations

from pathlib import Path

import click

from laju.cli.arguments import read_schedules, schedules_argument
from laju.cli.run_options import usage_errors
from laju.core.units import RunPlan


@click.command("plot")
@schedules_argument()
@click.option("--updates", type=click.IntRange(min=1), help="Updates to draw; by default until the last schedule ends.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs to draw, for schedules in epochs.")
@click.option("--updates-per-epoch", type=click.IntRange(min=1), help="Updates per epoch (with --epochs).")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Picture to write: .png, .svg or .pdf.")
@click.option("--log", is_flag=True, help="Logarithmic vertical axis.")
def command(
    schedules: tuple[str, ...],
    updates: int | None,
    epochs: int | None,
    updates_per_epoch: int | None,
    out: Path | None,
    log: bool,
) -> None:
    """Draw all schedules in a single picture.

    \b
    laju plot 'cosine(0.3, total=1000, warmup=50)' 'short=cosine(0.3, total=500)' --out rates.png
    laju plot chapter
    """
    named = read_schedules(schedules)
    if epochs is None and updates is None and "chapter" in schedules:
        from laju.studies.chapter import EPOCHS

        epochs = EPOCHS
    if updates is not None and (epochs is not None or updates_per_epoch is not None):
        raise click.UsageError("--updates and --epochs say the same thing: give one of them.")
    if updates_per_epoch is not None and epochs is None:
        raise click.UsageError("--updates-per-epoch needs --epochs.")
    if log and out is None:
        raise click.UsageError("--log needs --out: the terminal has no logarithmic axis.")
    plan = None
    if epochs is not None:
        plan = RunPlan(samples=updates_per_epoch or 1, batch_size=1, epochs=epochs)
    longest = updates or (epochs or 0) * (updates_per_epoch or 1)
    if longest > 1 << 23:
        raise click.UsageError(f"{longest:,} updates are too many to draw.")
    with usage_errors():
        if plan is None and any(schedule.units for schedule in named.values()):
            waiting = next(name for name, schedule in named.items() if schedule.units)
            raise click.UsageError(
                f"{waiting!r} is not in updates; describe the run: --epochs N --updates-per-epoch M (or only --epochs N)."
            )
        if plan is None and updates is None and all(schedule.length is None for schedule in named.values()):
            raise click.UsageError("none of the schedules has an end; give the number of updates to draw: --updates N.")
        if out is not None:
            from laju.view.plot import plot

            picture = plot(named, updates, plan=plan, log=log)
            if updates_per_epoch is None and plan is not None:
                picture.axes.set_xlabel("epoch")
            click.echo(f"wrote {picture.save(out)}")
        else:
            from laju.view.plot import sketch

            click.echo(sketch(named, updates, plan=plan))
