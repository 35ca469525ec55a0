"""laju check: the probable mistakes in a schedule."""

from __future__ import annotations

from collections import Counter

import click

from laju.cli import completion
from laju.cli.arguments import schedule_argument
from laju.cli.run_options import Run, as_text, read_one, run_options, usage_errors
from laju.cli.settings import Settings, code, read_settings
from laju.core.schedule import Schedule
from laju.inspect.lint import Finding, check, fixed
from laju.inspect.lint.codes import Level


@click.command("check")
@schedule_argument()
@run_options
@click.option(
    "--optimizer",
    metavar="NAME",
    help="The optimizer, such as adamw, to find peaks that are too large for the optimizer.",
)
@click.option("--optimizer-groups", metavar="RATES", help="Base rates of the parameter groups, such as 1e-5,1e-3.")
@click.option(
    "--parameter",
    default="lr",
    show_default=True,
    help="The scheduled hyper-parameter: lr, weight_decay, momentum, beta1 …",
)
@click.option(
    "--select",
    multiple=True,
    metavar="CODE",
    shell_complete=completion.codes,
    help="Report only this finding; may be repeated.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="CODE",
    shell_complete=completion.codes,
    help="Do not report this finding, such as LAJU001; may be repeated.",
)
@click.option("--exit-zero", is_flag=True, help="Exit with 0 regardless of the findings.")
@click.option("--fix", is_flag=True, help="Print the corrected text; remaining findings go to standard error.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    schedule: str,
    run: Run,
    optimizer: str | None,
    optimizer_groups: str | None,
    parameter: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    exit_zero: bool,
    fix: bool,
    as_json: bool,
) -> None:
    """List the probable mistakes in SCHEDULE over a run.

    The exit status is 0 if there are no findings or only notes, 1 for a warning or an error, and 2 if the command is wrong. A
    project can set select, ignore and exit-zero in the table [tool.laju] of its pyproject.toml.

    \b
    laju check 'cosine(0.3, total=20, warmup=5).per("epoch")' --samples 60000 --batch-size 256 --epochs 30
    laju check 'cosine(3e-4, total=10000, final=3e-5)' --updates 10000 --optimizer adamw --optimizer-groups 1e-5,3e-4
    laju check 'cosine(0.3, total=1000)' --updates 900 --fix
    """
    _, parsed = read_one(schedule)
    settings = read_settings()
    selected, ignored = _given(select, "--select"), _given(ignore, "--ignore")
    settings = Settings(selected or settings.select, settings.ignore | ignored, settings.exit_zero or exit_zero)
    groups = None if optimizer_groups is None else _rates_in(optimizer_groups)
    with usage_errors():
        plan = run.plan_for(parsed) or run.updates

        def found_in(one: Schedule) -> list[Finding]:
            every = check(one, plan, optimizer=optimizer, groups=groups, parameter=parameter)
            return [finding for finding in every if settings.wants(finding.code)]

        given = parsed
        if fix:
            parsed = fixed(parsed, found_in, lambda finding: True)
        findings = found_in(parsed)
        if as_json:
            facts = {"schedule": str(given), "updates": run.length, "findings": [f.to_json() for f in findings]}
            click.echo(as_text(facts | ({"fixed": str(parsed)} if fix else {})))
        else:
            if fix:
                click.echo(str(parsed))
            for finding in findings:
                click.echo(str(finding), err=fix)
            over = "" if run.length is None else f" in a run of {run.length:,} update{'' if run.length == 1 else 's'}"
            click.echo(f"{_counted(findings)}{over}", err=fix)
    if not settings.exit_zero and any(finding.level != "note" for finding in findings):
        raise SystemExit(1)


def _counted(findings: list[Finding]) -> str:
    """The number of findings of each level, in words.

    >>> _counted([])
    'no findings'
    """
    levels = Counter(finding.level for finding in findings)
    order: tuple[Level, ...] = ("error", "warning", "note")
    return ", ".join(
        f"{levels[level]} {level}{'s' if levels[level] > 1 else ''}" for level in order if levels[level]
    ) or ("no findings")


def _given(texts: tuple[str, ...], option: str) -> frozenset[str]:
    return frozenset(code(value, option) for text in texts for value in text.split(","))


def _rates_in(text: str) -> list[float]:
    try:
        return [float(rate) for rate in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a list of rates such as 1e-5,1e-3", param_hint="--optimizer-groups"
        ) from None
