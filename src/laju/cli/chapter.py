"""laju chapter: train a tab of the chapter as printed, and compare the results with the published figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laju.cli import completion
from laju.cli.arguments import plain_errors, store_option
from laju.cli.run_options import as_text
from laju.cli.train_options import (
    epochs_option,
    jobs_option,
    json_option,
    report_option,
    seeds_option,
    task_options,
)
from laju.cli.trainings import check_task, console_for, train_and_report
from laju.view.table import Grid, table

if TYPE_CHECKING:
    from rich.text import Text

    from laju.studies.chapter import Beside, Result


def _gone(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value:
        was = {
            "framework": "--framework is gone, since each tab is an experiment of its own framework",
            "as_published": "--as-published is gone: a tab is trained at the rates that its loop really uses, and at those that "
            "the text describes with --as-meant",
        }[str(option.name)]
        raise click.UsageError(f"{was}. Say which tab: --tab pytorch, --tab tensorflow or --tab mxnet.", context)


@click.command("chapter")
@click.option(
    "--tab",
    default="pytorch",
    show_default=True,
    metavar="NAME",
    shell_complete=completion.tabs,
    help="pytorch, tensorflow or mxnet.",
)
@task_options("fashion-mnist")
@epochs_option
@seeds_option(3, "Runs of every schedule.")
@click.option(
    "--as-meant", is_flag=True, help="Train at the learning rates that the text describes, all else as printed."
)
@jobs_option
@store_option()
@report_option
@click.option("--full", is_flag=True, help="Print the intervals as well.")
@json_option
@click.option("--framework", hidden=True, expose_value=False, callback=_gone)
@click.option("--as-published", is_flag=True, hidden=True, expose_value=False, callback=_gone)
def command(
    tab: str,
    task: str,
    data_dir: Path | None,
    epochs: int,
    seeds: int,
    as_meant: bool,
    jobs: int | None,
    store: str,
    out: Path,
    full: bool,
    as_json: bool,
) -> None:
    """Train a tab of "Learning Rate Scheduling" in Dive into Deep Learning as printed, and compare with the published figures.

    The chapter's three tabs are three experiments: each has its own network, initial weights, order of data and learning rates.
    A published figure is from a single run on all of Fashion-MNIST with 30 epochs, and is compared only with a run of this kind.
    Finished trials are kept: repeating the command runs only missing trials.

    \b
    laju chapter                 # the PyTorch tab; downloads Fashion-MNIST
    laju chapter --tab tensorflow
    laju chapter --tab mxnet     # in the environment of `make setup-mxnet`
    laju chapter --as-meant      # at the rates that the text describes
    laju chapter --task digits   # a first look in a minute
    """
    with plain_errors():
        from laju.lab.comparison.grid import Grid
        from laju.lab.engines import check
        from laju.lab.trials.tasks import get_task
        from laju.lab.workers import Execution
        from laju.studies.chapter import Result, get_tab, rates

        try:
            which = get_tab(tab)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--tab") from None
        check_task(task)
        what = which.task(get_task(task, data_dir))
        check(which.framework, what)
        console = console_for(as_json)
        began = time.monotonic()
        comparison, findings, report = train_and_report(
            console,
            Grid(rates(which, epochs, as_meant), seeds, epochs, framework=which.framework),
            what,
            store,
            out,
            foretold=True,
            annotate=lambda comparison: Result(which, comparison, as_meant).beside(),
            execution=Execution(jobs=jobs),
        )
        result = Result(which, comparison, as_meant)
        if as_json:
            click.echo(as_text(result.to_json()))
        else:
            console.print()
            console.print(result.verdict, style="bold", markup=False, highlight=False)
            console.print()
            if full:
                console.print(_table(result))
            else:
                click.echo(_means(result))
                console.print(
                    f"\n{_title(result)}; --full prints the intervals", style="dim", markup=False, highlight=False
                )
            for note in findings.warnings:
                console.print(f"note: {note}", style="yellow", markup=False, highlight=False)
        console.print(
            f"\nreport: {report()}   ({time.monotonic() - began:.0f} s)", markup=False, highlight=False, soft_wrap=True
        )


_FIGURES = ("train_loss", "train_accuracy", "test_accuracy")


def _means(result: Result) -> str:
    """The means beside the published figures, in a table that fits every terminal."""
    from laju.lab.statistics import number

    rows = []
    for line in result.lines():
        ours = [getattr(line.row, figure) for figure in _FIGURES]
        name = f"{line.row.name} ({line.row.note})" if line.row.note else line.row.name
        rows.append((name, *("-" if found is None else number(found.mean) for found in ours), line.judgement))
        if line.published is not None:
            rows.append(("  published", *(number(getattr(line.published, figure)) for figure in _FIGURES), ""))
    return table(("schedule", *(figure.replace("_", " ") for figure in _FIGURES), "published"), rows, text=(0, 4))


def _title(result: Result) -> str:
    from laju.lab.statistics import counted

    plan, seeds = result.comparison.plan, result.comparison.seeds
    data, rates = result.comparison.task.partition(",")[0], "the text describes" if result.as_meant else "its loop uses"
    title = f"The {result.tab.title} tab on {data}: {counted(plan.epochs, 'epoch')}, batch size {plan.batch_size}, "
    title += f"{counted(len(seeds), 'seed')}, the rates that {rates}"
    return title


def _table(result: Result) -> Grid:
    from rich.text import Text

    from laju.lab.statistics import number

    seeds = result.comparison.seeds
    caption = {1: "one seed, so no interval", 2: "the values of both seeds"}.get(len(seeds), "mean and 95 % interval")
    caption += "; below it the published figure"

    def cell(line: Beside, figure: str) -> Text:
        ours = getattr(line.row, figure)
        text = Text("-" if ours is None else ours.text())
        if line.published is not None:
            theirs = number(getattr(line.published, figure))
            # Numbers are aligned, so the end of our cell, such as " ± 0.000", becomes blanks in the cell below.
            text.append(
                "\n" + theirs.ljust(len(theirs) + len(text) - len(number(ours.mean))) if ours else f"\n{theirs}", "dim"
            )
        return text

    rows = []
    for line in result.lines():
        name = Text(line.row.name)
        if line.row.note:
            name.append(f"\n{line.row.note}", style="yellow")
        judgement = Text(line.judgement)
        if line.differ is not None:
            judgement.stylize("bold red" if line.differ else "bold green")
        rows.append((name, *(cell(line, figure) for figure in _FIGURES), judgement))
    head = ("schedule", *(figure.replace("_", " ") for figure in _FIGURES), "published")
    return Grid(head, rows, (0, 4), title=_title(result), caption=caption)
