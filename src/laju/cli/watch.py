"""laju watch: a forecast of a run's final loss, updated as its log grows."""

from __future__ import annotations

import io
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from laju.cli import advise, reader_is_gone
from laju.cli.arguments import plain_errors
from laju.cli.logged_run import past_runs, run_schedule, updates_of, used_rates
from laju.cli.logs import LogOptions, log_options
from laju.cli.run_options import as_text, usage_errors

if TYPE_CHECKING:
    from laju.core.schedule import Schedule
    from laju.forecast import Ending
    from laju.logs import Log, Series

_SHARED = ("loss_column", "updates", "spec", "updates_per_epoch", "target", "priors")
"""Options that `laju watch` shares with `laju advise`."""


@click.command("watch")
@click.argument("file", metavar="LOG|FOLDER")
@log_options
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds between two readings of the log.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def command(
    file: str,
    options: LogOptions,
    loss_column: str | None,
    updates: int | None,
    spec: str | None,
    updates_per_epoch: int | None,
    target: float | None,
    priors: tuple[str, ...],
    every: float,
    as_json: bool,
) -> None:
    """Follow the log of a running run, and forecast the final loss whenever the log has grown.

    On a terminal each forecast replaces the last; elsewhere each forecast is a line. The command ends when the run has reached
    its end, or after Ctrl-C. If the log does not exist yet, the command waits.

    \b
    laju watch metrics.csv --schedule 'wsd(3e-4, total=24000, warmup=2000, cooldown=4800)'
    laju watch runs/7 --target 3.28 --every 30
    """
    if file == "-":
        raise click.UsageError("standard input cannot be followed: give a file or a folder, or use laju advise -")
    if (
        not Path(file).absolute().parent.is_dir()
    ):  # a log that is not there yet is waited for, a folder with a wrong name is not
        raise click.UsageError(
            f"there is no folder {Path(file).absolute().parent} in which {Path(file).name} could appear"
        )
    with usage_errors():
        if spec is not None:
            from laju.cli.run_options import read_one

            read_one(spec)
        used = past_runs(priors, options, loss_column, updates_per_epoch, file)
    screen = Screen(plain=as_json or not sys.stdout.isatty())
    stamp: Any = None
    row, contradicted = -1.0, False
    while True:
        before, stamp = stamp, _stamp(Path(file))
        if stamp != before:
            try:
                with plain_errors(), np.errstate(all="ignore"):
                    log = _log_so_far(file, options)
                    losses = log.loss(loss_column)
                    at = updates_of(log, losses, updates_per_epoch)
                    if at.size and at[-1] != row:
                        schedule = run_schedule(log, options, spec, updates_per_epoch, updates)
                        row = float(at[-1])
                        rates, other = schedule, None
                        if spec is not None and log.rates:
                            rates, other = used_rates(log, options, schedule, updates_per_epoch, updates)
                        end, found = _ending(at, losses, schedule, rates, updates, used)
                        if as_json:
                            click.echo(as_text(_told(found, losses, row, end)).replace("\n", " "))
                        else:
                            first, *more = _lines(log, losses, row, end, found, schedule, target)
                            if other is not None:
                                more.append(f"rates: {other}")
                                if screen.plain and not contradicted:  # a pipe has the first lines alone
                                    click.echo(more[-1], err=True)
                            screen.show(first, *more)
                        contradicted = other is not None
                        if _is_over(at, end):
                            return
            except (click.ClickException, OSError, ValueError, OverflowError, ArithmeticError) as error:
                # A part that a half-written file lacks may be there at the next look.
                text = error.message if isinstance(error, click.ClickException) else str(error)
                if not as_json:
                    screen.show(f"waiting: {text}")
        if reader_is_gone():
            return
        time.sleep(every)


class Screen:
    """Output that replaces the previous output on a terminal; elsewhere, only the first line is printed, if changed."""

    def __init__(self, plain: bool) -> None:
        self.plain, self._height, self._last = plain, 0, ""

    def show(self, first: str, *more: str) -> None:
        if self.plain:
            if first != self._last:
                click.echo(first)
                sys.stdout.flush()
            self._last = first
            return
        width = max(shutil.get_terminal_size().columns, 20)
        text = "\n".join(click.wrap_text(line, width, "", "  ") for line in (first, *more) for line in line.split("\n"))
        # Move the cursor up over the last answer and clear to the end of the screen.
        if self._height:
            click.echo(f"\x1b[{self._height}A\x1b[J", nl=False)
        click.echo(text)
        self._height = text.count("\n") + 1


def _stamp(path: Path) -> Any:
    """A value that changes when a log grows, shrinks or is rewritten."""
    try:
        files = [path] if not path.is_dir() else [each for each in path.rglob("*") if each.is_file()]
        return tuple((str(each), (status := each.stat()).st_size, status.st_mtime_ns) for each in files[:10_000])
    except OSError:
        return "missing"


def _log_so_far(file: str, options: LogOptions) -> Log:
    """The log, without a last line that is being written."""
    from laju.core.checks import nearest
    from laju.logs import LogError, read

    if not Path(file).exists():
        beside = [each.name for each in Path(file).absolute().parent.iterdir()]
        raise LogError(f"{file} is not there yet{nearest(Path(file).name, beside)}")
    log = options.read(file)
    where = Path(log.path)
    if where.is_file() and where.suffix != ".gz":
        content = where.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content) and b"\0" not in content[:1000]:
            # A writer may be in the middle of the last line, whose numbers would be cut.
            stream = io.BytesIO(content[:whole])
            stream.name = str(where)
            try:
                return read(stream, update=options.update, rate=options.rate, run=options.run)
            except LogError:  # a single JSON value, or no whole line yet
                pass
    return log


def _ending(
    at: np.ndarray[Any, np.dtype[np.float64]],
    losses: Series,
    schedule: Schedule,
    rates: Any,
    updates: int | None,
    prior: Any,
) -> tuple[int, Ending]:
    from laju.forecast import ending
    from laju.forecast.ending import whole_run

    end = whole_run(schedule, updates)[1]
    seen = at <= end  # some loggers count an update more
    return end, ending(at[seen], losses.values[seen], rates, updates, prior=prior)


def _is_over(at: np.ndarray[Any, np.dtype[np.float64]], end: int) -> bool:
    """Whether the log is complete: the last update has a row, counted from 1 or 0, or the next row would be beyond the end."""
    # Logs are written every n updates, so that the last row may come some updates before the end.
    gap = float(np.median(np.diff(at))) if len(at) > 2 else 0.0
    return bool(at[-1] >= end - 1 or at[-1] + gap > end)


def _told(found: Ending, losses: Series, row: float, end: int) -> dict[str, Any]:
    return {
        "update": int(row),
        "at": end,
        "loss": float(losses.values[-1]),
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "refused": found.refused,
        "prior": found.prior,
    }


def _lines(
    log: Log, losses: Series, row: float, end: int, found: Ending, schedule: Schedule, target: float | None
) -> list[str]:
    """The line for a pipe, and the lines below for a terminal."""
    where = f"update {row:,.0f} of {end:,}: loss {losses.values[-1]:.5g}"
    if found.law == "measured":
        return [f"update {row:,.0f} of {end:,}: ended at {losses.values[-1]:.5g}"]
    if found.refused:
        first = f"{where}, no answer: {found.refused}"
    else:
        first = f"{where}, ends at {found.value:.5g}, {found.level:.0%} between {found.low:.5g} and {found.high:.5g}"
        if target is not None:
            first += f", below {target:g} with a probability of about {advise.probability_below(found, target):.0%}"
    about = (
        f"{log.path}: losses {losses.name!r}, schedule {schedule}; seen at {time.strftime('%H:%M:%S')}, Ctrl-C stops"
    )
    return [first, *str(found).split("\n")[1:], about]


command.params += [each for each in advise.command.params if each.name in _SHARED]
