"""laju store: show the content and the damage of a store, and recover a damaged store into a new file."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from laju.cli.arguments import plain_errors
from laju.cli.run_options import as_text
from laju.view.table import table

if TYPE_CHECKING:
    from laju.lab.store import StoredTrial

_place = click.argument("place", metavar="FILE|URL")
_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")


@click.group("store")
def command() -> None:
    """Show the content of a store of finished trials, and recover a damaged store.

    A store is a SQLite file, laju.sqlite by default, or postgresql://USER@HOST/DATABASE. None of these commands changes a
    store.

    \b
    laju store list laju.sqlite
    laju store check laju.sqlite
    laju store recover laju.sqlite --out recovered.sqlite
    laju store export laju.sqlite --out trials.csv
    """


@command.command("check")
@_place
@_json
def check_command(place: str, as_json: bool) -> None:
    """Show the damage of a store and what can still be read; the exit status is 1 if the store is damaged.

    \b
    laju store check laju.sqlite
    """
    with plain_errors():
        from laju.lab.store import shown
        from laju.lab.store.repair import check

        found = check(place)
        name = shown(place)
        if as_json:
            click.echo(as_text({"store": name, "holds": found.holds, "damage": found.findings, "notes": found.notes}))
        elif found.findings:
            for finding in found.findings:
                click.echo(finding)
            click.echo(f"{found.holds}; `laju store recover {name}` writes what can be read into a new file")
        else:
            click.echo(f"{name} is whole: {found.holds}")
        for note in () if as_json else found.notes:
            click.echo(f"note: {note}", err=True)
    if found.findings:
        click.get_current_context().exit(1)


@command.command("recover")
@_place
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The new file.  [default: FILE, with -recovered]"
)
@_json
def recover_command(place: str, out: Path | None, as_json: bool) -> None:
    """Write every readable row to a new file; the store itself and existing files are not changed.

    A trial with lost records is kept as incomplete: its results are not used, and `laju compare` trains the trial again. States
    for resuming training runs are left out, since states only save time, and damage to a state would not be noticed.

    \b
    laju store recover laju.sqlite --out recovered.sqlite
    laju store recover postgresql://me@host/trials --out trials.sqlite
    """
    with plain_errors():
        from laju.lab.store import is_url, shown
        from laju.lab.store.repair import recover

        if out is None:
            path = Path("laju.sqlite" if is_url(place) else place)
            out = path.with_name(f"{path.stem}-recovered{path.suffix or '.sqlite'}")
        try:
            found = recover(place, out)
        except FileExistsError:
            raise click.BadParameter(
                f"{out} exists already and is not changed; choose a different file", param_hint="--out"
            ) from None
        if as_json:
            click.echo(
                as_text({"store": shown(place), "out": str(out), "holds": found.holds, "damage": found.findings})
            )
        else:
            click.echo(f"{out}: {found.holds}")


@command.command("list")
@_place
@_json
def list_command(place: str, as_json: bool) -> None:
    """List the content of a store: a line for each schedule of a task.

    \b
    laju store list laju.sqlite
    """
    with plain_errors():
        from laju.lab.statistics import counted, number
        from laju.lab.store import shown
        from laju.lab.store.repair import reading

        groups: dict[tuple[Any, ...], list[StoredTrial]] = {}
        with reading(place) as store:
            for trial in store.trials():
                key = (trial.task, trial.schedule, trial.epochs, trial.batch_size, trial.optimizer, trial.framework)
                groups.setdefault(key, []).append(trial)
            results = store.count_results()
        names = ("task", "schedule", "epochs", "batch_size", "optimizer", "framework")
        found: list[dict[str, Any]] = []
        for key, trials in groups.items():
            ends = [trial.outcome.status for trial in trials]
            last = [
                trial.outcome.records[-1]
                for trial in trials
                if trial.outcome.status == "finished" and trial.outcome.records
            ]
            accuracies = [record.test_accuracy for record in last if record.test_accuracy is not None]
            mean = math.fsum(accuracies) / len(accuracies) if accuracies else None
            statuses = {status: ends.count(status) for status in sorted(set(ends))}
            seeds = sorted(trial.seed for trial in trials)
            found.append(
                {**dict(zip(names, key, strict=True)), "seeds": seeds, "statuses": statuses, "test_accuracy": mean}
            )
        if as_json:
            click.echo(as_text({"store": shown(place), "kept": found, "results": results}))
            return
        if found:
            rows = [
                (
                    row["task"],
                    row["schedule"],
                    f"{row['epochs']}",
                    f"{row['batch_size']}",
                    row["optimizer"] if row["framework"] == "torch" else f"{row['optimizer']}, {row['framework']}",
                    ", ".join(f"{n} {status}" for status, n in row["statuses"].items()),
                    "-" if row["test_accuracy"] is None else number(row["test_accuracy"]),
                )
                for row in found
            ]
            head = ("task", "schedule", "epochs", "batch", "optimizer", "seeds", "test accuracy")
            click.echo(table(head, rows, text=(0, 1, 4, 5)))
            click.echo()
        more = f", {counted(results, 'result')} of studies" if results else ""
        click.echo(f"{shown(place)}: {counted(sum(map(len, groups.values())), 'trial')}{more}")


@command.command("export")
@_place
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write: .jsonl, one trial per line, or .csv, one record per line.  [default: JSON lines on standard output]",
)
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv"]), help="Format of the output; by default by the file's name."
)
def export_command(place: str, out: Path | None, form: str | None) -> None:
    """Write all trials with their records as JSON lines or CSV.

    \b
    laju store export laju.sqlite --out trials.jsonl
    laju store export laju.sqlite --format csv | head
    """
    with plain_errors():
        from laju.lab.store.repair import reading

        if form is None:
            ending = "" if out is None else out.suffix.lower()
            forms = {"": "jsonl", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
            if ending not in forms:
                raise click.BadParameter(f"{out} must end in .jsonl or .csv, or give --format", param_hint="--out")
            form = forms[ending]
        write = _write_lines if form == "jsonl" else _write_table
        with reading(place) as store:
            if out is None:
                write(store.trials(), sys.stdout)
            else:
                with out.open("w", encoding="utf-8", newline="") as file:
                    write(store.trials(), file)


def _facts(trial: StoredTrial) -> dict[str, Any]:
    outcome = trial.outcome
    own = {name: value for name, value in vars(trial).items() if name != "outcome"}
    return own | {"status": outcome.status, "diverged_at": outcome.diverged_at, "seconds": outcome.seconds}


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity, which stand as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _write_lines(trials: Iterator[StoredTrial], file: TextIO) -> None:
    for trial in trials:
        records = [{name: _plain(value) for name, value in asdict(record).items()} for record in trial.outcome.records]
        observed = [[update, _plain(loss)] for update, loss in trial.outcome.observed]
        content = _facts(trial) | {"records": records, "observed": observed}
        file.write(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def _write_table(trials: Iterator[StoredTrial], file: TextIO) -> None:
    from laju.lab.report import csv
    from laju.lab.trials import Record

    nothing = dict.fromkeys(Record.__dataclass_fields__)
    csv.write_to(
        file,
        (
            _facts(trial) | (nothing if record is None else vars(record))
            for trial in trials
            for record in trial.outcome.records or (None,)
        ),
    )
