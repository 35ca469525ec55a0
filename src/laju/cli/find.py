"""laju find: suggest learning rates for a task by a learning-rate range test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laju.cli.arguments import plain_errors
from laju.cli.run_options import as_text
from laju.cli.train_options import (
    batch_size_option,
    device_option,
    json_option,
    momentum_option,
    rates_options,
    seeds_option,
    task_options,
)
from laju.cli.trainings import check_task, console_for, kept_anyway

if TYPE_CHECKING:
    from laju.lab.range_test import RangeTest, Suggestion
    from laju.view.table import Grid


@click.command("find")
@task_options()
@rates_options
@seeds_option(3, "Sweeps.")
@batch_size_option
@momentum_option
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Sweeps at once, a process each."
)
@device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("laju-find.png"),
    show_default=True,
    help="Picture to write: .png, .svg or .pdf.",
)
@json_option
def command(
    task: str,
    data_dir: Path | None,
    rates: dict[str, Any],
    seeds: int,
    batch_size: int | None,
    momentum: float,
    jobs: int,
    device: Any,
    out: Path,
    as_json: bool,
) -> None:
    """Train a task while the learning rate rises from --low to --high, and suggest learning rates by the rules in common use.

    Each seed has its own initial weights and order of data; an interval shows how much a suggestion depends on the seed. If a
    rule finds no learning rate in a curve, the reason is printed below the table.

    \b
    laju find
    laju find --momentum 0.9 --seeds 5
    laju find --task fashion-mnist --data-dir fashion-mnist --low 1e-4 --out pictures/range.png
    """
    with plain_errors():
        from laju.lab.range_test import RateRange, find
        from laju.lab.trials import Optimizer
        from laju.lab.trials.tasks import get_task
        from laju.lab.workers import Execution
        from laju.view.plot import SUFFIXES, need

        check_task(task)
        if out.suffix.lower() not in SUFFIXES:
            raise click.BadParameter(f"{str(out)!r} must end in {' or '.join(SUFFIXES)}", param_hint="--out")
        need("matplotlib")
        _check_writable(out)
        console = console_for(as_json)
        with console.status(f"seed 1 of {seeds}") as status:
            done = 0

            def report(_: object) -> None:
                nonlocal done
                done += 1
                status.update(f"seed {done + 1} of {seeds}" if done < seeds else "drawing")

            optimizer = Optimizer(momentum=momentum)
            result = find(
                get_task(task, data_dir),
                RateRange(**rates),
                seeds=seeds,
                batch_size=batch_size,
                optimizer=optimizer,
                execution=Execution(jobs=jobs, device=device),
                report=report,
            )
            title = f"{task}, {optimizer}"
        if as_json:
            click.echo(as_text({"task": task, **result.to_json()}))
        else:
            console.print(_table(result, title))
        for note in result.notes():
            console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        with kept_anyway(console, "The answer is complete", "picture"):
            result.plot(title=title).save(out)
        console.print(f"picture: {out}", markup=False, highlight=False, soft_wrap=True)


def _check_writable(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        there = out.exists()
        with out.open("ab"):
            pass
        if not there:
            out.unlink()
    except OSError as error:
        raise OSError(f"cannot write the picture {str(out)!r}: {error.strerror or error}") from error


def _table(result: RangeTest, title: str) -> Grid:
    from laju.view.table import Grid

    rule, rate, interval, seeds, _ = _row(result.diverged)
    rows = [*map(_row, result.suggestions.values()), (rule, rate if rate != "none" else "-", interval, seeds, "")]
    return Grid(
        ("rule", "rate", "interval", "seeds", "why not"),
        rows,
        (0, 4),
        title=f"{title}: {result.updates} updates from {result.low:g} to {result.high:g}",
        caption="rate: geometric mean over the seeds; interval: 95 %, on the logarithm of the rate",
        styles={len(rows) - 1: "dim"},
    )


def _row(found: Suggestion) -> tuple[str, str, str, str, str]:
    interval = "-" if found.low is None else f"{found.low:.2g} to {found.high:.2g}"
    rate = "none" if found.rate is None else f"{found.rate:.3g}"
    return found.rule, rate, interval, f"{found.given} of {found.of}", found.reason or ""
