"""laju forecast: predict the loss under a schedule from loss curves of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from laju.cli.arguments import F, plain_errors, read_schedules
from laju.cli.forecast_curves import RunLength, Source, curve_options, length_options, noted
from laju.cli.forecast_results import (
    LEVEL,
    draw,
    error_row,
    errors_table,
    final_row,
    fit_law,
    forecast_of,
    forecast_table,
    headline,
    parameters_table,
    ways_on,
)
from laju.cli.run_options import as_text, read_one
from laju.core.checks import nearest
from laju.core.schedule import Schedule
from laju.recognition.naming import named
from laju.view.plot import SUFFIXES
from laju.view.table import table

_VERBS = ("fit", "predict", "best", "extend", "check", "learn")


class _Verbs(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(_VERBS)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _VERBS:
            context.fail(f"No such command {args[0]!r}{nearest(args[0], _VERBS)} (commands: {', '.join(_VERBS)})")
        return super().resolve_command(context, args)


@click.group("forecast", cls=_Verbs)
def command() -> None:
    """Predict the loss under a schedule from the loss curves of a few short runs, and find the best schedule.

    A CURVE is a log with updates, losses and learning rates: a table, JSON lines, trainer_state.json, printed lines or
    TensorBoard's event files. For a file without learning rates, append @ and the run's schedule; a name may come first:

    \b
    run1.csv
    'run1.csv@cosine(3e-4, total=24000, warmup=2160)'
    'short=runs/17@wsd(3e-4, total=8000, cooldown=2000)'

    At least two runs with different schedules are needed, best with a slow decay in one run and a sudden drop in the other.
    """


def _picture_option(help_text: str) -> Callable[[F], F]:
    return click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path), help=f"{help_text}: .png, .svg or .pdf."
    )


_json_option = click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
_rates_option = click.option(
    "--schedule",
    "schedules",
    multiple=True,
    metavar="SPEC",
    help="The schedule of runs whose file has no learning rates: one --schedule for all, or one per file.",
)
_epoch_option = click.option("--updates-per-epoch", type=click.IntRange(min=1), help="For schedules in epochs.")


@command.command("fit", short_help="Fit a law to curves, and say how well it predicts each.")
@curve_options
@_rates_option
@_epoch_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write the fitted law to.")
@_json_option
def fit_command(
    source: Source, schedules: tuple[str, ...], updates_per_epoch: int | None, out: Path | None, as_json: bool
) -> None:
    """Fit a law to the curves, and print its parameters and the errors of each curve's prediction from the other curves.

    \b
    laju forecast fit cosine.csv constant.csv drop.csv
    laju forecast fit a.csv b.csv --schedule 'cosine(0.1, total=4000)' --schedule 'constant(0.1)'
    laju forecast fit --store laju.sqlite --task digits
    """
    with plain_errors(), noted() as notes:
        curves = source.read(schedules, updates_per_epoch)
        law = fit_law(curves.all, source.law)
        if as_json:
            click.echo(as_text({**law.to_json(), "notes": notes}))
        else:
            click.echo(headline(law))
            click.echo()
            click.echo(parameters_table(law))
            if law.held_out:
                click.echo("\neach curve, predicted by the others")
                click.echo(errors_table([error_row(row.curve, row) for row in law.held_out]))
            else:
                click.echo("\nwith three curves or more, each is predicted by the others here")
        if out is not None:
            out.write_text(json.dumps(law.to_json(), indent=2) + "\n", encoding="utf-8")
            click.echo(f"wrote {out}", err=as_json)


@command.command("predict", short_help="Predict the loss of schedules that were not run.")
@curve_options
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    required=True,
    metavar="[NAME=]SPEC",
    help="Schedule to predict; may be repeated.",
)
@length_options
@_picture_option("Picture to write, with the measured losses and the bands of the predicted ones")
@_json_option
def predict_command(
    source: Source, schedules: tuple[str, ...], length: RunLength, out: Path | None, as_json: bool
) -> None:
    """Predict the loss under new schedules, with a 90 % interval.

    \b
    laju forecast predict a.csv b.csv c.csv --updates 24000 \\
        --schedule 'cosine=cosine(3e-4, total="100%", warmup=2000)' \\
        --schedule 'wsd=wsd(3e-4, total="100%", warmup=2000, cooldown="20%")' --out forecast.png
    """
    named = read_schedules(schedules)
    _check_suffix(out)
    with plain_errors(), noted() as notes:
        curves = source.read((), length.updates_per_epoch)
        plan = length.plan(curves, named.values())
        wanted = {name: length.resolve(schedule, plan) for name, schedule in named.items()}
        law = fit_law(curves.all, source.law)
        rows = [forecast_of(law, name, schedule, plan.updates) for name, schedule in wanted.items()]
        if as_json:
            click.echo(
                as_text({"law": law.name, "updates": plan.updates, "level": LEVEL, "schedules": rows, "notes": notes})
            )
        else:
            click.echo(f"{headline(law)}\nafter {plan.updates:,} updates:\n")
            click.echo(forecast_table(rows))
        draw(law, wanted, plan.updates, out, as_json)


@command.command("best", short_help="Find the schedule that ends lowest.")
@curve_options
@length_options
@click.option("--peak", type=click.FloatRange(min=0, min_open=True), help="The peak; by default the curves' own.")
@click.option(
    "--family",
    type=click.Choice(["wsd", "cosine", "linear", "power", "knots"]),
    default="wsd",
    show_default=True,
    help="Family to search; wsd holds the peak, then decays. knots needs --law functional.",
)
@click.option("--warmup", type=click.IntRange(min=0), help="Updates from 0 to the peak; by default as in the curves.")
@_picture_option("Picture to write")
@_json_option
def best_command(
    source: Source,
    length: RunLength,
    peak: float | None,
    family: str,
    warmup: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Find the schedule with the lowest predicted final loss, and print its text for any adapter or verb.

    \b
    laju forecast best a.csv b.csv c.csv --updates 24000
    """
    _check_suffix(out)
    with plain_errors(), noted() as notes:
        from laju.core.joins import chain
        from laju.core.pieces import Ramp
        from laju.forecast.families import own_warmup

        curves = source.read((), length.updates_per_epoch)
        updates = length.plan(curves).updates
        law = fit_law(curves.all, source.law)
        warmup = own_warmup(law.curves) if warmup is None else warmup
        best = law.best(updates, peak=peak, family=family, warmup=warmup)

        def down_to(final: float, shape: str) -> Schedule:
            decay = Ramp(best.peak, final, updates - warmup, shape)
            return chain(Ramp(0.0, best.peak, warmup), decay) if warmup else decay

        named_best = named(best.schedule)
        wanted = {
            "best": named_best,
            "cosine to 0": down_to(0.0, "cosine"),
            "cosine to 10 %": down_to(0.1 * best.peak, "cosine"),
            "linear to 0": down_to(0.0, "linear"),
        }
        rows = [forecast_of(law, name, schedule, updates) for name, schedule in wanted.items()]
        if as_json:
            found = {
                "schedule": str(named_best),
                "json": named_best.to_json(),
                "peak": best.peak,
                "family": family,
            }
            click.echo(
                as_text(
                    {
                        "law": law.name,
                        "updates": updates,
                        "level": LEVEL,
                        "best": found,
                        "schedules": rows,
                        "notes": notes,
                    }
                )
            )
        else:
            click.echo(f"{headline(law)}\nthe best of family {family} for {updates:,} updates:\n")
            click.echo(f"{named_best}\n")
            click.echo(forecast_table(rows))
        draw(law, wanted, updates, out, as_json)


@command.command("extend", short_help="Say how to go on with a run that becomes longer.")
@curve_options
@click.option("--schedule", "spec", required=True, metavar="SPEC", help="The schedule of the run so far.")
@click.option("--at", type=click.IntRange(min=1), required=True, help="Updates that the run has made.")
@length_options
@_picture_option("Picture to write")
@_json_option
def extend_command(source: Source, spec: str, at: int, length: RunLength, out: Path | None, as_json: bool) -> None:
    """Compare continuations of a run that will be longer than planned.

    The column `bound` is from the convex bound, without curves: the relative excess of the bound over its own best continuation,
    assuming that the learning rate was optimal for the planned run.

    \b
    laju forecast extend a.csv b.csv c.csv --schedule 'cosine(3e-4, total=24000, warmup=2000)' --at 20000 --updates 48000
    """
    _, given = read_one(spec)
    _check_suffix(out)
    with plain_errors(), noted() as notes:
        curves = source.read((), length.updates_per_epoch)
        plan = length.plan(curves)
        updates, run = plan.updates, length.resolve(given, plan)
        if at >= updates:
            raise click.UsageError(f"--at {at} leaves no updates of the whole run's {updates:,}.")
        law = fit_law(curves.all, source.law)
        wanted, bounds = ways_on(law, run, at, updates)
        rows = [
            {**forecast_of(law, name, schedule, updates), "bound": bounds[name]} for name, schedule in wanted.items()
        ]
        planned = None
        if run.length is not None and at <= run.length < updates:
            planned = forecast_of(law, "as planned", run, int(run.length))
        if as_json:
            found = {
                "law": law.name,
                "at": at,
                "updates": updates,
                "level": LEVEL,
                "as_planned": planned,
                "schedules": rows,
            }
            click.echo(as_text({**found, "notes": notes}))
        else:
            click.echo(f"{headline(law)}\nfrom update {at:,} to {updates:,}:\n")
            click.echo(forecast_table(rows))
            if planned is not None:
                loss, low, high = (planned[key] for key in ("loss", "low", "high"))
                click.echo(f"\nas planned, at update {int(run.length or 0):,}: {loss:.4f} ({low:.4f} – {high:.4f})")
            click.echo()
            for name, schedule in wanted.items():
                click.echo(f"{name}: {named(schedule)}")
        draw(law, wanted, updates, out, as_json)


@command.command("check", short_help="Predict curves that were not fitted, and compare.")
@curve_options
@click.option(
    "--fit",
    "fitted",
    multiple=True,
    metavar="NAME",
    help="Fit to this curve; may be repeated. A part of the name suffices.",
)
@_epoch_option
@_picture_option("Picture to write, of the curves that were not fitted (with --fit)")
@_json_option
def check_command(
    source: Source, fitted: tuple[str, ...], updates_per_epoch: int | None, out: Path | None, as_json: bool
) -> None:
    """Check the forecast: predict curves that were not used in the fit, and compare with the measured losses.

    Without --fit, every curve is predicted from all other curves.

    \b
    laju forecast check *.csv --fit cosine --fit constant --fit drop --out check.png
    laju forecast check --store laju.sqlite --task digits
    """
    _check_suffix(out)
    if out is not None and not fitted:
        raise click.UsageError("--out needs --fit.")
    with plain_errors(), noted() as notes:
        from laju.forecast import errors

        curves = source.read((), updates_per_epoch)
        known = curves.pick(fitted)
        unseen = tuple(curve for curve in curves.all if curve not in known)
        if not unseen:
            raise click.UsageError("every curve is used in the fit, so no curve is left to check the forecast.")
        if not known and len(unseen) < 2:
            raise click.UsageError("a single curve cannot be predicted from other curves: give more curves.")
        law = fit_law(known, source.law) if known else None
        rows = []
        for curve in unseen:
            by = law or fit_law(tuple(other for other in curves.all if other is not curve), source.law, held_out=False)
            row = error_row(curve.name, errors(curve, by.predict(curve.rates, curve.updates)))
            last = int(curve.updates[-1])
            row |= {"update": last, "measured": float(curve.loss[-1]), "loss": by.final(curve.rates, last)}
            if law is not None:
                low, high = law.band(curve.rates, [last], LEVEL)
                row |= {"low": float(low[0]), "high": float(high[0])}
            rows.append(row)
        if as_json:
            head = {"law": source.law, "fitted": [curve.name for curve in known], "level": LEVEL}
            click.echo(as_text({**head, "curves": rows, "notes": notes}))
        else:
            click.echo(headline(law) if law is not None else f"{source.law}: each curve predicted by the others")
            click.echo()
            click.echo(errors_table(rows))
            click.echo("\nat their last update")
            click.echo(
                table(
                    ("curve", "update", "measured", "predicted", "90 % interval"),
                    [final_row(row) for row in rows],
                    most=60,
                )
            )
        if out is not None and law is not None:
            from laju.forecast.picture import picture

            drawn = picture(
                law,
                {curve.name: curve.rates for curve in unseen},
                {curve.name: int(curve.updates[-1]) for curve in unseen},
                measured=unseen,
            )
            click.echo(f"wrote {drawn.save(out)}", err=as_json)


@command.command("learn", short_help="Learn a prior for laju advise from finished runs.")
@curve_options
@_rates_option
@_epoch_option
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Recipe, task or peak of the runs: one --group for all, or one per file. By default each run is a separate group.",
)
@click.option("--name", help="Name of the prior, shown in forecasts; by default the file's name.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="JSON file to write the prior to."
)
def learn_command(
    source: Source,
    schedules: tuple[str, ...],
    updates_per_epoch: int | None,
    groups: tuple[str, ...],
    name: str | None,
    out: Path,
) -> None:
    """Learn a prior from finished runs, for forecasts of the next run: `laju advise LOG --prior out.json`.

    \b
    laju forecast learn run1.csv run2.csv --out mine.json
    laju forecast learn a.csv b.csv c.csv --group small --group small --group large --out mine.json
    """
    with plain_errors(), noted():
        from laju.forecast import learn

        curves = replace(source, begin=1).read(schedules, updates_per_epoch).all
        if len(groups) not in (0, 1, len(curves)):
            raise click.UsageError(
                f"--group is given {len(groups)} times for {len(curves)} runs: give one for all runs, or one per run."
            )
        named = None if not groups else list(groups) if len(groups) == len(curves) else [groups[0]] * len(curves)
        prior = learn(curves, named, name=name or out.stem)
        prior.save(out)
        click.echo(f"wrote {out}: {len(prior)} run{'s' * (len(prior) != 1)}")
        if len({run.group for run in prior.runs}) < 3:
            click.echo(
                "note: with fewer than three groups bands are wide; runs of another recipe make them narrower", err=True
            )


def _check_suffix(out: Path | None) -> None:
    """Before anything is fitted."""
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(
            f"cannot save {str(out)!r}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
            param_hint="--out",
        )
