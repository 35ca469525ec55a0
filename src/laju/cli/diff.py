"""laju diff: where two schedules differ, and by how much."""

from __future__ import annotations

from pathlib import Path

import click

from laju.cli.arguments import functions_option
from laju.cli.run_options import Run, as_text, read_one, run_options, sketched, usage_errors
from laju.inspect.difference import diff
from laju.view.difference import picture


@click.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@functions_option
@run_options
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-12,
    show_default=True,
    help="Values that differ by less, as a part of the larger one, are equal.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Picture to write: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def command(a: str, b: str, run: Run, tolerance: float, out: Path | None, as_json: bool) -> None:
    """Compare the schedules A and B over a run.

    The exit status is 0 when they are equal, 1 when they differ, and 2 when the question itself is wrong.

    \b
    laju diff 'cosine(0.3, total=1000)' 'linear(0.3, 0, total=1000)'
    laju diff 'cosine(0.3, total="100%")' 'square_root(0.3)' --updates 7050 --out difference.png
    """
    (name_a, given_a), (name_b, given_b) = read_one(a), read_one(b)
    with usage_errors():
        one, two = run.resolve(given_a), run.resolve(given_b)
        if run.length is None and one.length is None and two.length is None:
            raise click.UsageError("neither schedule has an end, so say how far to compare: --updates N.")
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
                    f"{found.updates:,} updates are too many to draw; leave --out away or compare fewer."
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
