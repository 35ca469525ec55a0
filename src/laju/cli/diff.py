"""laju diff: compare two schedules, and print where and by how much the values differ."""

from __future__ import annotations

import os
from pathlib import Path

import click

from laju.cli import completion
from laju.cli.arguments import functions_option
from laju.cli.run_options import Run, as_text, read_one, run_options, sketched, usage_errors
from laju.inspect.difference import diff
from laju.view.difference import picture


@click.command("diff")
@click.argument("a", metavar="A", shell_complete=completion.schedules_or_logs)
@click.argument("b", metavar="B", shell_complete=completion.schedules_or_logs)
@functions_option
@run_options
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-12,
    show_default=True,
    help="Largest relative difference of values that count as equal.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Picture to write: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def command(a: str, b: str, run: Run, tolerance: float, out: Path | None, as_json: bool) -> None:
    """Compare the schedules A and B over a run. A or B may be a log, whose learning rates are compared at the rows of the log.

    The exit status is 0 if A and B are equal, 1 if A and B differ, and 2 if the command is wrong.

    \b
    laju diff 'cosine(0.3, total=1000)' 'linear(0.3, 0, total=1000)'
    laju diff 'cosine(0.3, total="100%")' 'square_root(0.3)' --updates 7050 --out difference.png
    """
    logs = [each for each in (a, b) if each == "-" or os.path.exists(each)]
    if logs:
        if out is not None:
            raise click.UsageError("diff does not draw logs: leave out --out, or use `laju plot`.")
        _beside(a, b, logs, run, as_json)
        return
    (name_a, given_a), (name_b, given_b) = read_one(a), read_one(b)
    with usage_errors():
        one, two = run.resolve(given_a), run.resolve(given_b)
        if run.length is None and one.length is None and two.length is None:
            raise click.UsageError("neither schedule has an end; give the number of updates to compare: --updates N.")
        found = diff(one, two, run.length, tolerance=tolerance)
        # Names as the user gave them; an expression alone is too long for a legend.
        names = tuple(
            name if name != text.strip() else letter for name, text, letter in ((name_a, a, "a"), (name_b, b, "b"))
        )
        label_a, label_b = names if names[0] != names[1] else ("a", "b")
        if as_json:
            click.echo(as_text({"a": str(given_a), "b": str(given_b), **found.to_json()}))
        else:
            click.echo(f"{label_a}: {given_a}\n{label_b}: {given_b}\n{found}")
        if out is not None:
            if found.updates > 1 << 23:
                raise click.UsageError(
                    f"{found.updates:,} updates are too many to draw; leave out --out or compare fewer."
                )
            click.echo(f"wrote {picture(one, two, found.updates, (label_a, label_b)).save(out)}", err=as_json)
        elif not as_json and not found.equal:

            def draw() -> str:
                from laju.view.plot import sketch

                below = {f"{label_b} - {label_a}": two + -1.0 * one}
                above = sketch({label_a: one, label_b: two}, found.updates, height=14)
                return f"{above}\n{sketch(below, found.updates, height=9)}"

            click.echo(f"\n{sketched(draw, found.updates)}")
    if not found.equal:
        raise SystemExit(1)


def _beside(a: str, b: str, logs: list[str], run: Run, as_json: bool) -> None:
    """The rates of a log and a schedule at the rows of the log, or two logs at the rows that both have."""
    from laju.diagnosis import apart, beside
    from laju.logs import read

    with usage_errors():
        first = read(logs[0])
        if len(logs) == 2:
            other = read(logs[1])
            rows, count = apart(first, other)
        else:
            schedule = run.resolve(read_one(b if logs[0] == a else a)[1])
            rows, count = beside(first, schedule), len(first.rate().at)
        if logs[0] != a:
            rows = [(at, y, x) for at, x, y in rows]
        if as_json:
            click.echo(
                as_text({"a": a, "b": b, "equal": not rows, "rows": count, "different": [list(row) for row in rows]})
            )
        else:
            click.echo(
                f"a: {first.taken('rate') if logs[0] == a else a}\nb: {b if logs[-1] != b else read(b).taken('rate')}"
            )
            if not rows:
                click.echo(f"equal in all {count:,} rows, up to the digits of the log")
            else:
                at, x, y = rows[0]
                worst = max(rows, key=lambda row: abs(row[1] - row[2]))
                click.echo(f"different from update {at:,} on, in {len(rows):,} of {count:,} rows: a {x:g}, b {y:g}")
                click.echo(
                    f"largest difference {abs(worst[1] - worst[2]):g} at update {worst[0]:,}: a {worst[1]:g}, b {worst[2]:g}"
                )
    if rows:
        raise SystemExit(1)
