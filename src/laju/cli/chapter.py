"""laju chapter: the experiments of the chapter, with its published figures beside one's own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from laju.cli.arguments import plain_errors, store_option
from laju.cli.train_options import (
    epochs_option,
    frameworks_option,
    jobs_option,
    json_option,
    report_option,
    seeds_option,
    task_options,
)
from laju.cli.trainings import check_task, console_for, train_and_report

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from laju.studies.chapter import Beside


@click.command("chapter")
@task_options("fashion-mnist")
@epochs_option
@seeds_option(3, "Runs of every schedule.")
@frameworks_option
@click.option("--as-published", is_flag=True, help="Train at the rates that the chapter's PyTorch loop really used.")
@jobs_option
@store_option()
@report_option
@json_option
def command(
    task: str,
    data_dir: Path | None,
    epochs: int,
    seeds: int,
    frameworks: tuple[str, ...],
    as_published: bool,
    jobs: int | None,
    store: str,
    out: Path,
    as_json: bool,
) -> None:
    """Train the schedules of "Learning Rate Scheduling" in Dive into Deep Learning, and print its figures beside yours.

    The published figures are of one PyTorch run each, on all of Fashion-MNIST with 30 epochs. They are only compared with such a
    run. The chapter's loop does not train at the rates that it plots: --as-published trains at those that it really used.

    \b
    laju chapter                          # downloads Fashion-MNIST; some twenty minutes on two cores
    laju chapter --as-published --seeds 5
    laju chapter --task digits            # a first look in a minute
    """
    with plain_errors():
        from laju.studies.chapter import as_published as used_rates
        from laju.studies.chapter import beside_published, schedules

        check_task(task)
        console = console_for(as_json)
        began = time.monotonic()
        result, files = train_and_report(
            console,
            used_rates() if as_published else schedules(),
            task,
            store,
            out,
            epochs=epochs,
            seeds=seeds,
            data_dir=data_dir,
            jobs=jobs,
            framework=frameworks,
        )
        lines = beside_published(result)
        notes = _notes(lines, as_published) + result.warnings()
        if as_json:
            click.echo(json.dumps(result.to_json() | {"chapter": _plain(lines)}, indent=2, allow_nan=False))
        else:
            console.print()
            console.print(_table(lines, result.task, epochs, seeds, as_published))
            for note in notes:
                console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
        console.print(
            f"\nreport: {files[0]}   ({time.monotonic() - began:.0f} s)", markup=False, highlight=False, soft_wrap=True
        )


def _notes(lines: list[Beside], as_published: bool) -> list[str]:
    notes = [
        "The published figures are of one run each; one more of yours falls as far from the mean in 95 % of cases."
    ]
    if as_published:
        notes.append(
            "These are the rates of the chapter's loop: it calls a function of the epoch after the epoch, so every rate comes "
            "one epoch late and a warmup begins with an epoch at the full rate; and plotting had used up its multi-factor "
            "scheduler, which stayed at 0.125."
        )
    else:
        other = list(dict.fromkeys(line.name for line in lines if line.published and not line.same_rates))
        if other:
            notes.append(
                f"* The chapter's own loop trained {', '.join(other)} at other rates than it plots, and its figures are of "
                "those: --as-published."
            )
    return notes


def _table(lines: list[Beside], task: str, epochs: int, seeds: int, as_published: bool) -> Table:
    from rich.text import Text

    from laju.lab.report.table import plain_table
    from laju.lab.statistics import number

    rates = "the rates that its loop used" if as_published else "the rates that it plots"
    title = f"The chapter's schedules on {task}, {epochs} epoch{'s' if epochs > 1 else ''}, "
    title += f"{seeds} seed{'s' if seeds > 1 else ''}: {rates}"
    result = plain_table(title, "mean ± half of a 95 % interval; below it the published figure")
    result.add_column("schedule", overflow="fold", min_width=12)
    for heading in ("train loss", "train accuracy", "test accuracy"):
        result.add_column(heading, justify="right")
    result.add_column("published")
    several = len({line.framework for line in lines}) > 1

    def cell(line: Beside, figure: str) -> Text:
        ours = getattr(line.row, figure)
        text = Text("-" if ours is None else ours.text())
        if line.published is not None:
            theirs = number(getattr(line.published, figure))
            # The ± part is as wide as " ± 0.000", so that the numbers stand one above the other.
            text.append(f"\n{theirs}" + " " * (8 if ours is not None and ours.half_width is not None else 0), "dim")
        return text

    for line in lines:
        name = Text(f"{line.name} ({line.framework})" if several else line.name)
        if line.row.note:
            name.append(f"\n{line.row.note}", style="yellow")
        verdict = Text(line.verdict + ("*" if line.published is not None and not line.same_rates else ""))
        if line.differ is not None:
            verdict.stylize("bold red" if line.differ else "bold green")
        figures = (cell(line, figure) for figure in ("train_loss", "train_accuracy", "test_accuracy"))
        result.add_row(name, *figures, verdict)
    return result


def _plain(lines: list[Beside]) -> list[dict[str, object]]:
    return [
        {
            "schedule": line.row.name,
            "published": None if line.published is None else vars(line.published),
            "same_rates": line.same_rates,
            "agrees": None if line.differ is None else not line.differ,
            "differs_in": line.differ,
            "why_not_compared": line.why,
        }
        for line in lines
    ]
