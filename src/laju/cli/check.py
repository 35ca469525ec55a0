"""laju check: what is probably not meant in a schedule."""

from __future__ import annotations

import click

from laju.cli.run_options import Run, as_text, read_one, run_options, usage_errors
from laju.core.checks import nearest
from laju.inspect.lint import CODES, check


@click.command("check")
@click.argument("schedule", metavar="SCHEDULE")
@run_options
@click.option("--optimizer", metavar="NAME", help="The optimizer, such as adamw, for peaks that are too large for it.")
@click.option("--optimizer-groups", metavar="RATES", help="Base rates of the parameter groups, such as 1e-5,1e-3.")
@click.option(
    "--parameter", default="lr", show_default=True, help="What is scheduled: lr, weight_decay, momentum, beta1 …"
)
@click.option(
    "--ignore", multiple=True, metavar="CODE", help="A finding to leave out, such as LAJU001; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    schedule: str,
    run: Run,
    optimizer: str | None,
    optimizer_groups: str | None,
    parameter: str,
    ignore: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what is probably not meant in SCHEDULE, over a run.

    The exit status is 0 when nothing is found, 1 when something is, and 2 when the question itself is wrong.

    \b
    laju check 'cosine(0.3, total=20, warmup=5).per("epoch")' --samples 60000 --batch-size 256 --epochs 30
    laju check 'cosine(3e-4, total=10000, final=3e-5)' --updates 10000 --optimizer adamw --optimizer-groups 1e-5,3e-4
    """
    _, parsed = read_one(schedule)
    ignored = {code.strip().upper() for text in ignore for code in text.split(",")}
    for code in sorted(ignored - set(CODES)):
        raise click.BadParameter(f"{code!r} is no code{nearest(code, CODES)}", param_hint="--ignore")
    groups = None if optimizer_groups is None else _rates(optimizer_groups)
    with usage_errors():
        findings = check(
            parsed,
            run.plan_for(parsed) or run.updates,
            optimizer=optimizer,
            groups=groups,
            parameter=parameter,
        )
        findings = [finding for finding in findings if finding.code not in ignored]
        if as_json:
            found = [finding.to_json() for finding in findings]
            click.echo(as_text({"schedule": str(parsed), "updates": run.length, "findings": found}))
        else:
            for finding in findings:
                click.echo(str(finding))
            count = len(findings)
            over = "" if run.length is None else f" in a run of {run.length:,} update{'' if run.length == 1 else 's'}"
            click.echo(f"{count or 'no'} finding{'' if count == 1 else 's'}{over}")
    if findings:
        raise SystemExit(1)


def _rates(text: str) -> list[float]:
    try:
        return [float(rate) for rate in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a list of rates such as 1e-5,1e-3", param_hint="--optimizer-groups"
        ) from None
