"""laju diagnose: explain why the learning rates of a log differ from the planned schedule."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

from laju.cli.logs import LogOptions, log_options
from laju.cli.run_options import Run, as_text, read_one, run_options, usage_errors
from laju.core.schedule import Schedule
from laju.logs import Log

_CONFIGS = (".json", ".yaml", ".yml", ".toml", ".py")


@click.command("diagnose")
@click.argument("file", metavar="LOG|-")
@click.option("--meant", metavar="SCHEDULE|CONFIG", help="The planned schedule, or the configuration of the run.")
@log_options
@run_options
@click.option(
    "--lr", type=click.FloatRange(min=0), help="The optimizer's learning rate, if missing in the configuration."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(file: str, meant: str | None, options: LogOptions, run: Run, lr: float | None, as_json: bool) -> None:
    """Explain why the learning rates of LOG differ from the planned ones: the change, its first update, and its usual cause.

    Without --meant: print the formula of the learning rates, and the findings of `laju check` for the formula.

    The exit status is 0 if the learning rates are as planned, 1 if a cause is found or no cause explains the learning rates, and
    2 if the command is wrong.

    \b
    laju diagnose trainer_state.json --meant 'linear_to_zero(2e-5, total=5000, warmup=500)'
    laju diagnose metrics.csv --meant config.yaml --updates 5000
    """
    with usage_errors():
        log = options.read(file)
        per_epoch = run.plan.updates_per_epoch if run.plan is not None and log.unit == "epoch" else None
        found = _formula(log, options, run) if meant is None else _against(log, meant, options, run, lr, per_epoch)
        if as_json:
            click.echo(as_text({**found, "taken": log.taken("rate"), "notes": list(log.notes)}))
        else:
            click.echo(found["text"])
            click.echo(log.taken("rate"))
            for note in log.notes:
                click.echo(f"note: {note}", err=True)
    if not found["healthy"]:
        raise SystemExit(1)


def _against(
    log: Log, text: str, options: LogOptions, run: Run, lr: float | None, per_epoch: int | None
) -> dict[str, Any]:
    from laju.diagnosis import diagnose
    from laju.recognition import recognise

    meant, notes = _meant(text, run, lr)
    found = diagnose(log, meant, rate=options.rate, updates_per_epoch=per_epoch)
    lines = [str(found), *notes]
    if not found.healthy and not found.causes:
        rates = recognise(log.pairs(options.rate, per_epoch))
        lines.append(
            f"the rates are those of {rates}" if rates.is_formula else "the rates have no formula that laju knows"
        )
    for name in log.rates[1:] if options.rate is None else ():
        other = diagnose(log, meant, rate=name, updates_per_epoch=per_epoch)
        what = "as meant" if other.healthy else "; ".join(c.text for c in other.causes) or "another schedule"
        lines.append(f"{name!r}: {what}")
    return {**found.to_json(), "meant": str(meant), "text": "\n".join(lines)}


def _meant(text: str, run: Run, lr: float | None) -> tuple[Schedule, list[str]]:
    """The schedule of an expression or of a configuration, in updates."""
    if Path(text).suffix.lower() in _CONFIGS and os.path.exists(text):
        from laju.dialects.configs import read_config

        facts: dict[str, Any] = {"lr": lr, "total": run.length}
        if run.plan is not None:
            facts |= {"updates_per_epoch": run.plan.updates_per_epoch}
        read = read_config(text, **{name: value for name, value in facts.items() if value is not None})
        return run.resolve(read.schedule), [f"meant: {read.call}", *(f"note: {note}" for note in read.notes)]
    meant = run.resolve(read_one(text)[1])
    return meant, [f"meant: {meant}"]


def _formula(log: Log, options: LogOptions, run: Run) -> dict[str, Any]:
    """The formula of the rates, and the findings in the formula."""
    from laju.inspect.lint import check
    from laju.recognition import recognise

    pairs = log.pairs(options.rate)
    found = recognise(pairs)
    updates = run.length or _run_length([t for t, _ in pairs], found.schedule.length, found.lag)
    findings = check(found.schedule, updates) if found.is_formula else []
    text = [
        str(found),
        *map(str, findings),
        "" if findings else "nothing is wrong with that by itself; --meant says what was meant",
    ]
    serious = [finding for finding in findings if finding.level != "note"]
    ulp = found.ulp if math.isfinite(found.ulp) else None
    return {
        "healthy": not serious,
        "schedule": found.text,
        "ulp": ulp,
        "findings": [finding.to_json() for finding in findings],
        "text": "\n".join(line for line in text if line),
    }


def _run_length(at: list[int], length: int | None, lag: int) -> int:
    """Updates that the schedule was read at: up to the last row, or to the schedule's end where no row would come before that."""
    last = at[-1] + 1 - lag
    gap = at[-1] - at[-2] if len(at) > 1 else 1
    return length if length is not None and last <= length < last + gap else max(last, 1)
