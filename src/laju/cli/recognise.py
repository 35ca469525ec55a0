"""laju recognise: the schedule behind the rates of a log."""

from __future__ import annotations

import csv
import math
from typing import Any, TextIO

import click

from laju.cli.run_options import as_text, usage_errors

_UPDATES = ("step", "global_step", "update", "iteration", "iter")


@click.command("recognise")
@click.argument("file", type=click.File(encoding="utf-8-sig"), metavar="FILE.csv|-")
@click.option(
    "--column", metavar="NAME", help="The rates' column; by default lr, learning_rate, rate, or the last one."
)
@click.option(
    "--step",
    metavar="NAME",
    help="The updates' column; by default step, update or iteration, the first of two, or the rows are counted.",
)
@click.option("--updates-per-epoch", type=click.IntRange(min=1), help="The rates are of epochs of so many updates.")
@click.option("--tolerance", type=click.FloatRange(min=0), help="Differences that count as rounding.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    file: TextIO,
    column: str | None,
    step: str | None,
    updates_per_epoch: int | None,
    tolerance: float | None,
    as_json: bool,
) -> None:
    """Say which schedule has the rates of FILE: one rate a line, or CSV with update and rate; - reads standard input.

    \b
    laju recognise rates.csv
    laju recognise log.csv --column lr --step update
    """
    with usage_errors():
        from laju.recognition import recognise

        found = recognise(_read(file, column, step), updates_per_epoch=updates_per_epoch, tolerance=tolerance)
        if not as_json:
            click.echo(str(found))
            return
        ulp = found.ulp if math.isfinite(found.ulp) else None
        told = {"schedule": found.text, "name": found.name, "parameters": found.parameters, "values": found.values}
        click.echo(as_text({**told, "error": found.error, "ulp": ulp, "note": found.note}))


def _read(file: TextIO, column: str | None, step: str | None) -> list[Any]:
    """Rates as texts, so that their digits are known, or pairs of an update and such a text."""
    name = getattr(file, "name", "-")  # which standard input may lack
    rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    if not rows:
        raise ValueError(f"{name} must hold at least one rate, got an empty file")
    header = None if all(map(_is_number, rows[0])) else rows.pop(0)
    width = len(header or rows[0])
    for i, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"row {i + 1} of {name} must have {width} cells, got {len(row)}: {','.join(row)}")
    names = header or []
    known = next((names.index(usual) for usual in ("lr", "learning_rate", "rate") if usual in names), width - 1)
    rates = known if column is None else _column(names, column, "--column")
    usual = next((names.index(own) for own in _UPDATES if own in names), 0 if width == 2 and rates == 1 else None)
    at = usual if step is None else _column(names, step, "--step")
    if at is None:
        return [row[rates] for row in rows]
    return [(_update(row[at]), row[rates]) for row in rows if row[rates]]


def _column(names: list[str], name: str, option: str) -> int:
    if name not in names:
        raise ValueError(
            f"{option} must be one of {', '.join(names) or 'a header, which the file lacks'}, got {name!r}"
        )
    return names.index(name)


def _update(text: str) -> int:
    if not _is_number(text) or not float(text).is_integer():
        raise ValueError(f"an update must be a whole number, got {text!r}")
    return int(float(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
