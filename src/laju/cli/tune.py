"""laju tune: search for the best parameters of a policy on a task."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from laju.cli import completion
from laju.cli.arguments import command_line, plain_errors, store_option
from laju.cli.run_options import as_text
from laju.cli.train_options import (
    batch_size_option,
    epochs_option,
    execution_options,
    json_option,
    momentum_option,
    search_options,
    seeds_option,
    task_options,
)
from laju.cli.trainings import check_task, console_for, kept_anyway

if TYPE_CHECKING:
    from rich.console import Console

    from laju.lab.tuning.result import SearchResult


@click.command("tune")
@click.argument("policy", shell_complete=completion.policies)
@click.option(
    "--space", required=True, metavar="TEXT", help="The search space, such as 'peak=1e-3..1 log, warmup=0%..20%'."
)
@click.option("--per", metavar="UNIT", help="The unit in which the policy counts, such as epoch; by default updates.")
@task_options()
@search_options
@epochs_option
@seeds_option(1, "Runs of every trial.")
@batch_size_option
@momentum_option
@execution_options("stack", "share_prefixes")
@store_option()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("laju-search"),
    show_default=True,
    help="Folder for the report, its picture and its data.",
)
@json_option
def command(
    policy: str,
    space: str,
    per: str | None,
    task: str,
    data_dir: Path | None,
    search: dict[str, Any],
    epochs: int,
    seeds: int,
    batch_size: int | None,
    momentum: float,
    execution: dict[str, Any],
    store: str,
    out: Path,
    as_json: bool,
) -> None:
    """Search for the parameters of a POLICY that train a task best, then train the best parameters with new seeds.

    A space is a list of NAME=LOW..HIGH (optionally followed by `log` or `step S`), NAME=A|B|C or NAME=VALUE, separated by commas.
    All trials are kept: repeating the command continues the search, and a larger --trials extends the search.
    `optuna-dashboard` opens the same storage.

    \b
    laju tune cosine --space 'peak=1e-3..1 log, warmup=0%..20%, final=0..0.1' --trials 30
    laju tune wsd --space 'peak=0.3, cooldown=5%..60%, shape=linear|cosine|sqrt'
    laju tune factor --space 'base=0.01..1 log, factor=0.8..1' --per epoch
    laju tune cosine --space 'peak=0.01..1 log' --objective accuracy --objective updates-to=0.9
    laju tune constant --space 'value=0.01..3 log' --sampler grid --points 9
    optuna-dashboard sqlite:///laju-tune.sqlite
    """
    with plain_errors():
        from laju.lab.live import display
        from laju.lab.report import check_writable
        from laju.lab.report.tuning import search_summary, search_table, write_search
        from laju.lab.trials import Optimizer
        from laju.lab.trials.tasks import get_task
        from laju.lab.tuning.search import Search
        from laju.lab.tuning.search_space import Space
        from laju.lab.tuning.tune import SearchInterrupted, SearchWorkerLost, tune
        from laju.lab.workers import Execution

        check_task(task)
        parsed = Space.parse(policy, space, per)
        check_writable(out)
        # Output for a program goes to standard output alone.
        console = console_for(as_json)
        began = time.monotonic()
        try:
            found = tune(
                parsed,
                get_task(task, data_dir),
                seeds=seeds,
                epochs=epochs,
                batch_size=batch_size,
                optimizer=Optimizer(momentum=momentum),
                search=Search(**search),
                execution=Execution(**execution),
                store=store,
                display=display(console),
            )
        except SearchInterrupted as stopped:
            _stop(console, f"{_kept(stopped.result)}; the same command runs the rest.")
        except SearchWorkerLost as error:
            raise click.ClickException(f"{error}. {_kept(error.result)}.") from error
        if as_json:
            click.echo(as_text(found.to_json()))
        else:
            console.print()
            console.print(found.verdict(), style="bold", markup=False, highlight=False, soft_wrap=True)
            console.print()
            console.print(search_table(found))
            for line in search_summary(found):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            for warning in found.warnings():
                console.print(f"note: {warning}", style="yellow", markup=False, highlight=False)
        with kept_anyway(console, _kept(found), "report"):
            files = write_search(found, out, command_line())
        console.print(
            f"\nreport: {files[0]}   ({time.monotonic() - began:.0f} s)", markup=False, highlight=False, soft_wrap=True
        )


def _kept(search: SearchResult) -> str:
    n = len(search.evaluations)
    return f"{n} trial{'s' if n != 1 else ''} of {search.study!r} {'are' if n != 1 else 'is'} kept in {search.storage}"


def _stop(console: Console, message: str) -> NoReturn:
    console.print(f"\nStopped. {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(130)
