"""Shared by the verbs that train schedules side by side: the places of results, and the messages after an interrupt."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from laju.cli.arguments import command_line
from laju.cli.errors import of_system
from laju.core.checks import nearest

if TYPE_CHECKING:
    from rich.console import Console

    from laju.lab.comparison import Comparison, Findings
    from laju.lab.comparison.beside import LoggedRun
    from laju.lab.comparison.grid import Grid, Selection
    from laju.lab.report import Elsewhere
    from laju.lab.trials.tasks import Task
    from laju.lab.workers import Execution


def check_task(task: str) -> None:
    """Refuse an unknown task with a usage error that names the nearest task."""
    from laju.lab.trials.tasks import TASKS, task_names

    if task not in TASKS and task not in (known := task_names()):
        text = f"{task!r} is not a task{nearest(task, known)} (tasks: {', '.join(known)})"
        raise click.BadParameter(text, param_hint="--task")


def console_for(as_json: bool) -> Console:
    """The console for messages to people: standard output, or with `as_json` standard error."""
    from rich.console import Console

    console = Console(stderr=as_json)
    if console.is_terminal:
        return console
    columns = os.environ.get("COLUMNS", "")
    return Console(stderr=as_json, width=int(columns) if columns.isdigit() and int(columns) else 120)


def train_and_report(
    console: Console,
    grid: Grid,
    task: Task,
    store: str,
    out: Path,
    *,
    difference: float = 0.01,
    foretold: bool = False,
    annotate: Callable[[Comparison], tuple[str, Sequence[str], Elsewhere | None]] | None = None,
    beside: Sequence[LoggedRun] = (),
    execution: Execution | None = None,
    selection: Selection | None = None,
) -> tuple[Comparison, Findings, Callable[[], Path]]:
    """Run `compare` with a display; Ctrl-C and a lost worker end the program and name the kept trials.

    Args:
        console: console for the display.
        grid, task, store, execution, selection: as for `laju.lab.compare`.
        out: folder for the report.
        difference: the difference for which the findings report the necessary number of seeds.
        foretold: whether to print the expected time once known.
        beside: logs of runs outside the comparison, which the report shows as not paired.
        annotate: function that returns the verdict that opens the page, sentences for the beginning of the comparison's notes,
            and published figures for the page; by default the page opens with the comparison's own verdict.

    Returns:
        The comparison, the findings, and a function that writes the report and returns the report's page. Call the function after
        printing the results, so that a full disk affects only the report.
    """
    from laju.lab.comparison.compare import Interrupted, Unfinished, compare
    from laju.lab.live import display
    from laju.lab.live.foretold import Foretold
    from laju.lab.report import check_writable, write_report

    def tell(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=not console.is_terminal)

    check_writable(out)
    shown = Foretold(display(console), tell) if foretold else display(console)
    try:
        result = compare(grid, task, execution=execution, selection=selection, store=store, display=shown).with_logs(
            *beside
        )
    except Interrupted as stopped:
        others = (
            ", and so are finished runs of the race or of the tuning"
            if selection is not None and (selection.race or selection.tuned)
            else ""
        )
        _stop(console, f"{_kept(stopped.comparison, store)}{others}; the same command runs the rest.")
    except Unfinished as error:
        raise click.ClickException(f"{error}. {_kept(error.comparison, store)}.") from error
    verdict, elsewhere = None, None
    if annotate is not None:
        verdict, sentences, elsewhere = annotate(result)
        result = replace(result, notes=(*sentences, *result.notes))

    with kept_anyway(console, _kept(result, store), "report"):
        findings = result.findings(difference)

    def report() -> Path:
        with kept_anyway(console, _kept(result, store), "report"):
            return write_report(findings, out, elsewhere, verdict=verdict, command=command_line())[0]

    return result, findings, report


@contextmanager
def kept_anyway(console: Console, kept: str, what: str) -> Iterator[None]:
    """Turn an error while writing files into a message that says where results are kept; the same command writes the files."""
    try:
        yield
    except KeyboardInterrupt:
        _stop(console, f"{kept}; the same command writes the {what}.")
    except OSError as error:
        click.echo(
            f"Error: the {what} is not written: {of_system(error)}. {kept}; the same command writes the {what}",
            err=True,
        )
        sys.exit(1)


def _kept(comparison: Comparison, store: str) -> str:
    from laju.lab.store import shown

    asked = len(comparison.schedules) * len(comparison.seeds)
    return f"{len(comparison.outcomes)} of {asked} trial{'s' if asked > 1 else ''} are kept in {shown(store)}"


def _stop(console: Console, message: str) -> NoReturn:
    console.print(f"\nStopped. {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(130)
