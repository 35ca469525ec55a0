"""laju recognise: find the schedule behind the learning rates of a log."""

from __future__ import annotations

import math

import click

from laju.cli.logs import LogOptions, log_options
from laju.cli.run_options import as_text, usage_errors


@click.command("recognise")
@click.argument("file", metavar="LOG|-")
@log_options
@click.option(
    "--updates-per-epoch", type=click.IntRange(min=1), help="Updates per epoch, if the log has a rate per epoch."
)
@click.option("--tolerance", type=click.FloatRange(min=0), help="Largest difference that counts as rounding.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    file: str, options: LogOptions, updates_per_epoch: int | None, tolerance: float | None, as_json: bool
) -> None:
    """Find the schedule behind the learning rates of LOG.

    A LOG is a table, JSON lines, trainer_state.json, printed lines, event files, a folder with any of these, or a rate per line.

    \b
    laju recognise trainer_state.json
    laju recognise log.csv --rate-column lr --update-column step
    tail -n 500 train.log | laju recognise -
    """
    with usage_errors():
        from laju.recognition import recognise

        log = options.read(file)
        pairs = log.pairs(options.rate, updates_per_epoch)
        per_epoch = updates_per_epoch if log.unit in ("epoch", "row") else None
        found = recognise(pairs, updates_per_epoch=per_epoch, tolerance=tolerance)
        taken = log.taken("rate")
        if not as_json:
            click.echo(f"{found}\n{taken}")
            for note in log.notes:
                click.echo(f"note: {note}", err=True)
            return
        ulp = found.ulp if math.isfinite(found.ulp) else None
        told = {"schedule": found.text, "name": found.name, "parameters": found.parameters, "values": found.values}
        read = {
            "rates": log.rates[0],
            "unit": log.unit,
            "position": log.position,
            "format": log.format.name,
            "notes": list(log.notes),
        }
        click.echo(
            as_text({**told, "error": found.error, "ulp": ulp, "lag": found.lag, "note": found.note, "log": read})
        )
