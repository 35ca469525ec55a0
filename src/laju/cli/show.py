"""laju show: print the properties of a schedule."""

from __future__ import annotations

import json

import click

from laju.cli.arguments import schedule_argument
from laju.cli.run_options import Run, as_text, read_one, run_options, sketched, usage_errors
from laju.inspect.description import Description, describe
from laju.recognition.naming import named
from laju.view.plot import printable
from laju.view.table import table

_ROWS = 20


@click.command("show")
@schedule_argument()
@run_options
@click.option(
    "--studio", "in_studio", is_flag=True, help="Open SCHEDULE in the studio, a page in the browser, instead."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(schedule: str, run: Run, in_studio: bool, as_json: bool) -> None:
    """Show SCHEDULE: its expression, segments, peak, sum, curve, JSON and fingerprint.

    \b
    laju show 'cosine(0.3, total=20, final=0.01, warmup=5)'
    laju show 'cosine(0.3, total=20, warmup=5).per("epoch")' --epochs 30 --updates-per-epoch 235
    """
    name, given = read_one(schedule)
    if in_studio:
        if as_json:
            raise click.UsageError("--studio and --json cannot be combined: give one of them.")
        from laju.cli.studio import open_one

        open_one(given, "" if name == schedule.strip() else name, run)
        return
    with usage_errors():
        resolved = run.resolve(given)
        if run.length is None and resolved.length is None:
            raise click.UsageError(f"{str(given)!r} has no end; give the number of updates to show: --updates N.")
        facts = describe(resolved, run.length)
        if as_json:
            everything = {
                "schedule": str(given),
                "in_updates": str(resolved),
                "fingerprint": given.fingerprint,
                "json": given.to_json(),
                "facts": facts.to_json(),
            }
            click.echo(as_text(everything))
            return
        if name != schedule.strip():
            click.echo(printable(name, most=200))
        click.echo(str(given))
        if (called := named(given)) is not given and str(called) != str(given):
            click.echo(f"by name: {called}")
        if resolved is not given:
            click.echo(f"in updates: {resolved}")
        click.echo()
        click.echo(_segments(facts))
        click.echo()
        click.echo(_facts(facts))

        def draw() -> str:
            from laju.view.plot import sketch

            return sketch({name: resolved}, run.length, height=14).rsplit("\n", 1)[0]  # the name is above already

        click.echo(f"\n{sketched(draw, facts.updates)}\n")
        click.echo(f"json         {json.dumps(given.to_json(), ensure_ascii=False)}")
        click.echo(f"fingerprint  {given.fingerprint}")


def _segments(facts: Description) -> str:
    rows = [
        (f"{s.begin:,} – {s.end - 1:,}" if s.end else f"{s.begin:,} –", f"{s.first:.6g}", f"{s.last:.6g}", s.formula)
        for s in facts.segments[:_ROWS]
    ]
    text = table(("updates", "from", "to", "formula"), rows, text=(0, 3))
    listed = len(facts.segments)
    if not facts.complete:
        return f"{text}\n… and many more segments (--json has the first {listed:,})"
    return f"{text}\n… and {listed - _ROWS:,} more segments (--json has them)" if listed > _ROWS else text


def _facts(facts: Description) -> str:
    jumps = ", ".join(f"{jump.by:+.4g} at {jump.at:,}" for jump in facts.jumps[:5])
    rows = [
        ("updates", f"{facts.updates:,}"),
        ("peak", f"{facts.peak:.6g} at update {facts.peak_at:,}"),
        ("lowest", f"{facts.lowest:.6g} at update {facts.lowest_at:,}"),
        ("first, last", f"{facts.first:.6g}, {facts.final:.6g} (arriving at {facts.end:.6g})"),
        ("mean, sum", f"{facts.mean:.6g}, {facts.sum:.6g}"),
        ("sum of squares", f"{facts.sum_of_squares:.6g}"),
        ("monotone", facts.monotone or "no"),
        ("jumps", (jumps + (" …" if len(facts.jumps) > 5 else "")) or "none"),
    ]
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:{width}}  {value}" for label, value in rows)
