"""laju compare: train a task with several schedules, and report which schedule is best."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laju.cli.arguments import plain_errors, read_schedules, schedules_argument, store_option
from laju.cli.errors import of_system
from laju.cli.run_options import as_text
from laju.cli.train_options import (
    batch_size_option,
    epochs_option,
    execution_options,
    frameworks_option,
    gathered,
    json_option,
    logs_options,
    momentum_option,
    program_options,
    report_option,
    seeds_option,
    selection_options,
    task_options,
)
from laju.cli.trainings import check_task, console_for, train_and_report
from laju.view.plot import printable
from laju.view.table import table

if TYPE_CHECKING:
    from rich.console import Console

    from laju.core.schedule import Schedule
    from laju.lab.comparison import Findings
    from laju.lab.comparison.beside import LoggedRun


@click.command("compare")
@schedules_argument()
@task_options()
@program_options
@gathered(
    "grid",
    epochs_option,
    seeds_option(3, "Runs of every schedule."),
    batch_size_option,
    momentum_option,
    frameworks_option,
)
@execution_options()
@store_option()
@report_option
@selection_options
@click.option(
    "--difference",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Difference in test accuracy for which the necessary number of seeds is reported.",
)
@click.option(
    "--average",
    "averages",
    metavar="AVERAGE",
    multiple=True,
    help="Add a row with averaged weights for each schedule: ema:0.999, tail:20%, latest:50, or a cooldown's schedule.",
)
@logs_options
@click.option("--full", is_flag=True, help="Also print intervals, ranks, p-values and numbers of seeds.")
@json_option
def command(
    schedules: tuple[str, ...],
    task: str,
    data_dir: Path | None,
    program: dict[str, Any],
    grid: dict[str, Any],
    execution: dict[str, Any],
    store: str,
    out: Path,
    selection: dict[str, Any],
    difference: float,
    averages: tuple[str, ...],
    logs: dict[str, Any],
    full: bool,
    as_json: bool,
) -> None:
    """Train a task with every SCHEDULE and several seeds, then print a table and write a report.

    For each seed, all schedules get the same initial weights and order of data, in every framework: Xavier's weights with torch's
    biases. The word `chapter` stands for the schedules that the text of "Learning Rate Scheduling" in Dive into Deep Learning
    describes. No tab of the chapter has these weights; `laju chapter` trains the tabs. Finished trials are kept: repeating the
    command runs only missing trials.

    \b
    laju compare chapter
    laju compare 'constant(0.1)' 'mine=cosine(0.3, total=30, warmup=3).per("epoch")' --seeds 5
    laju compare chapter --task fashion-mnist --data-dir fashion-mnist
    laju compare 'constant(0.1)' --framework torch --framework jax
    laju compare chapter --equal-area --difference 0.005
    laju compare chapter --tuned
    laju compare chapter --seeds 12 --race
    laju compare 'cosine(0.3, total=30).per("epoch")' --beside lightning_logs/version_0/metrics.csv
    laju compare 'constant(0.1)' 'wsd(0.1, total="100%", cooldown="20%")' --average ema:0.99 --average 'linear(1, 0, total="20%")'
    laju compare chapter --program 'python train.py' --samples 60000 --batch-size 256 --checkpoint-every '1 epoch'
    """
    named = read_schedules(schedules)
    with plain_errors():
        is_program = any(value is not None for value in program.values())
        what: Any = _program(store=store, **program) if is_program else task
        from laju.lab.comparison.grid import Grid, Selection
        from laju.lab.report import agreement_table, dropped_table, leads, ranking_table
        from laju.lab.report import table as full_table
        from laju.lab.trials import Optimizer
        from laju.lab.trials.tasks import get_task
        from laju.lab.workers import Execution

        if not is_program:
            check_task(task)
            what = get_task(task, data_dir)
        optimizer = Optimizer(momentum=grid.pop("momentum"))
        beside = _beside(**logs)
        console = console_for(as_json)
        began = time.monotonic()
        result, findings, report = train_and_report(
            console,
            Grid(_averaged(named, averages), optimizer=optimizer, **grid),
            what,
            store,
            out,
            difference=difference,
            beside=beside,
            execution=Execution(**execution),
            selection=Selection(
                selection["tuned"] and selection["tuning_trials"],
                selection["race_error"] or selection["race"],
                selection["equal_area"],
            ),
        )
        if as_json:
            click.echo(as_text(findings.to_json()))
        else:
            console.print()
            console.print(findings.verdict, style="bold", markup=False, highlight=False)
            console.print()
            if full:
                console.print(full_table(findings))
            else:
                _print_means(console, findings)
            for run in result.beside:
                console.print(printable(run.sentence()), markup=False, highlight=False)
            if result.race is not None:
                if result.dropped:
                    console.print(dropped_table(result.race))
                for sentence in result.race.sentences():
                    console.print(sentence, markup=False, highlight=False)
            if full and len(result.schedules) > 1:
                console.print(ranking_table(findings))
                console.print(leads(findings), markup=False, highlight=False)
            if findings.agreement:
                console.print(agreement_table(findings))
            for warning in findings.warnings:
                console.print(f"note: {warning}", style="yellow", markup=False, highlight=False)
        console.print(
            f"\nreport: {report()}   ({time.monotonic() - began:.0f} s)", markup=False, highlight=False, soft_wrap=True
        )


def _print_means(console: Console, findings: Findings) -> None:
    """The means of each schedule, in a table that fits every terminal, and how to see more."""
    from laju.lab.statistics import Estimate, counted, number

    def mean(value: Estimate | None, *, signed: bool = False) -> str:
        return "-" if value is None else number(value.mean, signed=signed)

    rows = [
        (
            f"{row.name} ({row.note})" if row.note else row.name,
            mean(row.train_loss),
            mean(row.test_accuracy),
            "first" if row.name == findings.comparison.reference else mean(row.difference, signed=True),
        )
        for row in findings.rows
    ]
    result, plan = findings.comparison, findings.comparison.plan
    click.echo(table(("schedule", "train loss", "test accuracy", "difference"), rows))
    console.print(
        f"\n{printable(result.task)}: {counted(plan.epochs, 'epoch')} of {counted(plan.updates_per_epoch, 'update')}, batch size "
        f"{plan.batch_size}; means of {counted(len(result.seeds), 'seed')}, --full prints the intervals and the ranking",
        style="dim",
        markup=False,
        highlight=False,
    )


def _averaged(named: dict[str, Schedule], averages: tuple[str, ...]) -> dict[str, Any]:
    """The schedules, and a row more of each with each average."""
    from laju.lab import Averaged

    try:
        more = {f"{name}, {text}": Averaged(named[name], text) for name in named for text in averages}
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--average") from None
    return {**named, **more}


def _beside(beside: tuple[str, ...], loss_column: str | None) -> tuple[LoggedRun, ...]:
    """The logs, read before anything trains; a file that is no log is a usage error."""
    from laju.lab.comparison.beside import logged, read_beside

    if loss_column is not None and not beside:
        raise click.BadParameter("needs --beside LOG, which is not given", param_hint="--loss-column")
    try:
        return read_beside([logged(path, loss=loss_column) for path in beside])
    except (OSError, ValueError) as error:
        text = of_system(error) if isinstance(error, OSError) else str(error)
        raise click.BadParameter(text, param_hint="--beside") from error


def _program(program: str | None, samples: int | None, checkpoint_every: str | None, store: str) -> Any:
    """The program as a task, its trials' folders beside the store; unsuitable options are usage errors."""
    from laju.lab.programs.task import Program
    from laju.lab.store import is_url

    context = click.get_current_context()
    if program is None:
        name = "--samples" if samples is not None else "--checkpoint-every"
        raise click.BadParameter("needs --program COMMAND, which is not given", param_hint=name)
    for name, why in (
        ("task", "a program is the task"),
        ("data_dir", "a program knows its own data"),
        ("momentum", "a program has an optimizer of its own"),
        ("framework", "a program is of a framework of its own"),
        ("on", "a program is started on this machine"),
    ):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.BadParameter(
                f"cannot be combined with --program: {why}", param_hint=f"--{name.replace('_', '-')}"
            )
    if samples is None:
        raise click.BadParameter(
            "needs --samples, the number of training examples per epoch, to know the length of the run",
            param_hint="--program",
        )
    folder = Path("laju-programs") if is_url(store) else Path(store).parent / "laju-programs"
    return Program(program, samples=samples, every=checkpoint_every, folder=folder)
