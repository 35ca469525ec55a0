"""laju advise: a forecast of a run's final loss from its log, when to cool down, and which run to make next."""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from laju.cli.logged_run import LoggedRun, curve_of, past_runs
from laju.cli.logs import LogOptions, log_options
from laju.cli.run_options import as_text, usage_errors
from laju.core.schedule import Schedule
from laju.recognition.naming import named
from laju.view.plot import SUFFIXES
from laju.view.table import table

if TYPE_CHECKING:
    from laju.forecast import Curve, Ending, FittedLaw, NextRun, Prior, Way

_TRUSTED = 0.01
"""The largest relative error (root mean square) on held-out curves at which a law may choose a schedule."""
_REACH = 4
"""The largest length of a schedule that a law chooses, as a multiple of the longest curve."""


@click.command("advise")
@click.argument("files", metavar="LOG...|-", nargs=-1, required=True)
@log_options
@click.option("--loss-column", metavar="NAME", help="The column of losses.")
@click.option(
    "--updates",
    type=click.IntRange(min=1),
    help="Updates of the whole run; for several logs, of the next long run. By default the schedule's end, or the longest log.",
)
@click.option(
    "--schedule",
    "spec",
    metavar="SPEC",
    help="The schedule of the whole run; by default recognised from the learning rates.",
)
@click.option("--meant", metavar="SPEC", help="The planned schedule, to compare with the logged rates.")
@click.option("--updates-per-epoch", type=click.IntRange(min=1), help="For a log or a schedule in epochs.")
@click.option(
    "--until",
    type=click.IntRange(min=1),
    help="Use only the rows up to this update, and compare the forecast with the later rows: a test on a finished run.",
)
@click.option("--target", type=float, help="A loss to beat; prints the probability.")
@click.option("--against", metavar="LOG", help="A log whose last loss is to be beaten; prints the probability.")
@click.option(
    "--prior",
    "priors",
    metavar="LOG|FILE|NAME|none",
    multiple=True,
    default=("auto",),
    help="Past runs for the forecast: logs of finished runs (one --prior per log), a file of `laju forecast learn`, or shipped "
    "runs; auto, the default, selects the shipped runs that fit.",
)
@click.option(
    "--budget", type=click.IntRange(min=1), help="The most updates of the next run; suggests the most informative run."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Picture to write: .png, .svg or .pdf.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    files: tuple[str, ...],
    options: LogOptions,
    loss_column: str | None,
    updates: int | None,
    spec: str | None,
    meant: str | None,
    updates_per_epoch: int | None,
    until: int | None,
    target: float | None,
    against: str | None,
    priors: tuple[str, ...],
    budget: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Forecast the final loss of the run in LOG, with its uncertainty, and say when to cool down and which run to make next.

    For several logs: suggest a schedule and peak for the next long run, and with --budget the most informative short run.

    The exit status is 1 if the question cannot be answered; the reason and the remedy are printed.

    \b
    laju advise metrics.csv --schedule 'wsd(3e-4, total=24000, warmup=2000, cooldown=4800)'
    laju advise trainer_state.json --meant 'linear_to_zero(2e-5, total=5000, warmup=500)' --target 3.28
    laju advise run2.csv --prior run1.csv --against run1.csv
    laju advise finished.csv --until 10000
    laju advise a.csv b.csv c.csv --updates 48000 --budget 6000
    """
    if target is not None and against is not None:
        raise click.UsageError("--target and --against both name a loss to beat: give one of them.")
    if len(files) > 1:
        alone = {"--meant": meant, "--until": until, "--target": target, "--against": against, "--out": out}
        for name, value in alone.items():
            if value is not None:
                raise click.UsageError(f"{name} goes with one log, got {len(files)}.")
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(
            f"cannot save {str(out)!r}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}",
            param_hint="--out",
        )
    with usage_errors():
        if len(files) > 1:
            notes: list[str] = []
            curves = [curve_of(options, file, spec, loss_column, updates_per_epoch, notes) for file in files]
            answer, lines, refused = _next(curves, budget, updates or max(len(c.rates) for c in curves), None)
            _print(as_json, {"schedule": None, "notes": notes, "next": answer}, lines, notes)
            if refused and budget is None:
                click.get_current_context().exit(1)
            return
        run = LoggedRun.read(options, files[0], loss_column, spec, meant, updates_per_epoch, updates, until)
        used = past_runs(priors, options, loss_column, updates_per_epoch, files[0])
        from laju.forecast import ending

        forecast = ending(run.at, run.losses.values, run.rates, updates, prior=used)
        bar, what = (target, "the target") if target is not None else (None, "")
        if against is not None:
            theirs = (other := options.read(against)).loss()
            bar, what = float(theirs.values[-1]), f"the last loss of {against}, at {other.unit} {theirs.at[-1]:,g}"
        chance = None if bar is None or forecast.value is None else probability_below(forecast, bar)
        answer = {
            **asdict(forecast),
            "schedule": str(run.schedule),
            "loss": run.losses.name,
            "log": list(run.log.notes),
            "rates": run.verdict,
        }
        lines = [*run.taken(), str(forecast)]
        if until is not None:
            answer["came_out"], line = _came_out(run, forecast)
            lines.append(line)
        if bar is not None:
            answer |= {"target": bar, "probability": chance}
        if chance is not None:
            lines.append(f"ends below {bar:.5g} ({what}) with a probability of about {chance:.0%}")
        ways, when = _cooldowns(run, forecast, used, updates)
        answer["cooldowns"] = [_way(way) for way in ways]
        lines += ["", "when to cool down", *when]
        answer["averages"], of_averages = _averages(run, forecast, used, updates)
        lines += of_averages
        answer["next"] = None
        if (single := run.curve()) is not None:
            end = int(forecast.at or run.at[-1])
            asked = run.schedule if updates is None else run.schedule.take(updates)
            try:
                answer["next"], next_lines, _ = _next([single], budget, end, asked if forecast.refused else None)
            except ValueError as error:
                next_lines = ["which run to make next", f"  no answer: {error}"]
            lines += ["", *next_lines]
        _print(as_json, answer, lines, run.log.notes)
        if out is not None:
            from laju.forecast.picture import ending_picture

            drawn = ending_picture(forecast, run.at, run.losses.values, run.rates, ways=ways, later=run.later)
            click.echo(f"wrote {drawn.save(out)}", err=as_json)
        if forecast.refused:
            click.get_current_context().exit(1)


def _print(as_json: bool, answer: dict[str, Any], lines: Sequence[str], notes: Sequence[str]) -> None:
    if as_json:
        click.echo(as_text(answer))
        return
    for note in notes:
        click.echo(f"note: {note}", err=True)
    width = sys.stdout.isatty() and shutil.get_terminal_size().columns
    for line in "\n".join(lines).split("\n"):
        indent = "  " * line.startswith("  ")
        prose = width and (not indent or "no answer: " in line)  # tables and schedules are printed unchanged
        click.echo(click.wrap_text(line.strip(), width, indent, "  " + indent) if prose else line)


# --- what came out -----------------------------------------------------------------------------------------------------


def _came_out(run: LoggedRun, forecast: Ending) -> tuple[dict[str, Any] | None, str]:
    """The verdict of the rows after --until on the answer."""
    assert run.later is not None
    at, losses = run.later
    i = int(np.abs(at - (forecast.at or at[-1])).argmin())
    value, where = float(losses[i]), int(at[i])
    if forecast.at is not None and abs(where - forecast.at) > np.diff(np.append(run.at[-1], at)).max():
        return None, f"came out: not known, as the log ends at update {at[-1]:,.0f}, with {losses[-1]:.5g}"
    inside = None
    if forecast.low is not None and forecast.high is not None:
        inside = bool(forecast.low <= value <= forecast.high)
    verdict = "" if inside is None else ", inside the band" if inside else ", outside the band"
    return {"at": where, "value": value, "inside": inside}, f"came out: {value:.5g} at update {where:,}{verdict}"


def probability_below(forecast: Ending, bar: float) -> float:
    """The probability of an end below a bar, as if errors were normal."""
    assert forecast.value is not None
    assert forecast.high is not None
    spread = (forecast.high - forecast.value) / NormalDist().inv_cdf((1 + forecast.level) / 2)
    return NormalDist(forecast.value, max(spread, 1e-12)).cdf(bar)


# --- when to cool down -------------------------------------------------------------------------------------------------


def _cooldowns(
    run: LoggedRun, forecast: Ending, prior: Prior | str | None, updates: int | None
) -> tuple[tuple[Way, ...], list[str]]:
    """The ways to cool down, and the lines to print."""
    from laju.forecast import cooldowns
    from laju.forecast.prior import SHIPPED

    if run.rates is not run.schedule:
        return (), ["  not told, as the logged rates are not those of the schedule"]
    if forecast.seen is None:
        return (), ["  not told, as the losses say too little"]
    schedule = run.schedule if updates is None else run.schedule.take(updates)
    if forecast.law == "measured":
        return (), ["  the run is over"]
    # The same prior for all ways, or their ends could not be compared.
    if prior == "auto":
        prior = forecast.prior if forecast.prior in SHIPPED else None
    ways = cooldowns(run.at, run.losses.values, schedule, prior=prior)
    if not ways:
        return (), ["  not told while the rate warms up, or with fewer than four updates left"]
    if all(way.ending.refused for way in ways):
        return ways, ["  not told, for the same reason"]
    rows = []
    for way in ways:
        e = way.ending
        figures = (f"{e.value:.4f}", f"{e.low:.4f} – {e.high:.4f}") if e.value is not None else ("no answer", "–")
        rows.append((way.name, f"{e.at:,}", *figures))
    lines = [
        "  " + line
        for line in table(("cool down", "ends after", "loss", f"{forecast.level:.0%} band"), rows).splitlines()
    ]
    if verdict := _compared_ends(ways):
        lines.append("  " + verdict)
    lines += [
        f"  {way.name}: {named(way.schedule)}"
        for way in ways
        if way.name != "as planned" and way.ending.value is not None
    ]
    # The same reason with different distances is printed once.
    whys = [way.ending.refused for way in ways if way.ending.refused]
    reasons = {re.sub(r"[\d.]+", "", why): why for why in reversed(whys)}.values()
    return ways, lines + [f"  no answer: {reason}" for reason in reasons]


def _compared_ends(ways: Sequence[Way]) -> str | None:
    """The comparison of the ends of the same length."""
    by = {way.name: way.ending for way in ways}
    planned, later = by["as planned"], by["later"]
    if planned.value is None or later.value is None or planned.high is None or later.high is None:
        return None
    better, worse = ("as planned", "later") if planned.value <= later.value else ("later", "as planned")
    gain = abs(planned.value - later.value)
    sure = gain > max(planned.high - planned.value, later.high - later.value)
    return f"{better} ends lower than {worse} by {gain:.4f}, which is {'more' if sure else 'less'} than the bands tell apart"


def _way(way: Way) -> dict[str, Any]:
    e = way.ending
    return {
        "name": way.name, "schedule": str(named(way.schedule)), "json": way.schedule.to_json(), "at": e.at, "value": e.value,
        "low": e.low, "high": e.high, "refused": e.refused,
    }  # fmt: skip


def _averages(
    run: LoggedRun, forecast: Ending, prior: Prior | str | None, updates: int | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """The end of the averaged weights, and the lines to print; nothing where the log has no averages, or too few to tell.

    A run that is to cool down far has little left to average: of its plateau, averages are told as a way without the cooldown.
    """
    from laju.core.joins import chain
    from laju.core.pieces import Constant
    from laju.forecast import ending, fit_averages
    from laju.forecast.averages import LOWEST
    from laju.forecast.prior import SHIPPED

    how, held = "with the rates as planned", False
    if run.averaged is None or forecast.seen is None or forecast.law == "measured":
        return None, []
    name, rows, means = run.averaged
    at = np.union1d(run.at, rows)
    raw, averaged = np.full(len(at), np.nan), np.full(len(at), np.nan)
    raw[np.searchsorted(at, run.at)] = run.losses.values
    averaged[np.searchsorted(at, rows)] = means
    end, seen = int(forecast.at or at[-1]), forecast.seen
    schedule = run.rates
    if isinstance(schedule, Schedule):
        schedule = schedule if updates is None else schedule.take(updates)
        rates = schedule.values(end)
        if rates[-1] < LOWEST * rates.max() and rates[seen - 1] == rates.max():
            schedule = chain(schedule.take(seen), Constant(float(rates.max()), end - seen))
            how, held = "with the rate held, without a cooldown", True
            if prior == "auto":  # the same past runs as for the ways to cool down
                prior = forecast.prior if forecast.prior in SHIPPED else None
            forecast = ending(run.at, run.losses.values, schedule, prior=prior)
    try:
        law = fit_averages(at, raw, averaged, schedule)
    except ValueError as error:  # rows that do not rise: of several runs, or repeated
        return {"column": name, "value": None, "refused": str(error)}, []
    answer = law.ending(forecast, schedule)
    figures = {
        "column": name, "window": law.window, "at": answer.at, "value": answer.value, "low": answer.low, "high": answer.high,
        "raw": forecast.value, "held": held, "refused": answer.refused,
    }  # fmt: skip
    if answer.value is None:
        return figures, []
    of = "averaged weights" if law.window is None else f"weights averaged over {law.window:,} updates"
    return figures, [
        f"  {of} ({name!r}) end at {answer.value:.4f} after {end:,} updates {how}, {answer.level:.0%} between "
        f"{answer.low:.4f} and {answer.high:.4f}; not averaged, {forecast.value:.4f}"
    ]


# --- the next run ------------------------------------------------------------------------------------------------------


def _next(
    curves: Sequence[Curve], budget: int | None, updates: int, unknown: Schedule | None
) -> tuple[dict[str, Any], list[str], bool]:
    """The schedule and peak for the next run of `updates` updates, and the most informative short run.

    The question is the end of the unknown schedule, or else of the best schedule at several peaks.
    """
    from laju.forecast import ForecastWarning, fit, next_run

    budget = budget or max(1, updates // 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForecastWarning)
        law = fit([_after_warmup(curve) for curve in curves])
        why = _distrust(law, updates)
        best = law.best(updates)
        asked = [unknown] if unknown is not None else [best.schedule, *_scaled(best.schedule, law)]
        suggested = next_run(law, budget, asked)
    lines = [f"which schedule and peak next, for {updates:,} updates"]
    if why is None:
        lines.append(f"  {named(best.schedule)}")
        lines.append(f"  ends at {best.loss:.4f}, 90% between {best.low:.4f} and {best.high:.4f}")
        peaks = sorted({curve.peak for curve in curves})
        if len(peaks) == 1:
            lines.append(f"  all curves have the peak {peaks[0]:g}, so nothing is known of other peaks")
    else:
        lines.append(f"  no answer: {why}")
    lines += ["", f"which run tells most, within {budget:,} updates", *_telling(suggested, unknown)]
    answer = None
    if why is None:
        answer = {
            "schedule": str(named(best.schedule)), "json": best.schedule.to_json(), "value": best.loss, "low": best.low,
            "high": best.high, "peak": best.peak,
        }  # fmt: skip
    runs = [
        {
            "schedule": str(r.schedule),
            "json": r.schedule.to_json(),
            "updates": r.cost,
            "spread": r.spread,
            "branch": r.branch,
        }
        for r in suggested.runs[:3]
    ]
    return (
        {"updates": updates, "best": answer, "refused": why, "spread": suggested.spread, "runs": runs},
        lines,
        why is not None,
    )


def _after_warmup(curve: Curve) -> Curve:
    """The curve without the losses of its warmup, which the laws do not describe."""
    from laju.forecast import Curve

    keep = curve.updates >= curve.warmup
    return Curve(curve.updates[keep], curve.loss[keep], curve.rates, curve.name) if keep.sum() > 3 else curve


def _distrust(law: FittedLaw, updates: int) -> str | None:
    """Why the law may not choose a schedule."""
    if not law.held_out:
        many = len(law.curves)
        return (
            f"{many} curve{'s' * (many != 1)} cannot tell what annealing gains, as none can be held out to test the law; three "
            "runs that differ in schedule or peak can, and short ones will do"
        )
    worst = max(law.held_out, key=lambda row: row.rmse)
    if worst.rmse > _TRUSTED * law.units.level:
        return (
            f"{worst.curve}, predicted by the others, is off by {worst.rmse / law.units.level:.1%} (at most {_TRUSTED:.0%} is "
            "trusted); bring a run between it and the others"
        )
    longest = max(len(curve.rates) for curve in law.curves)
    if updates > _REACH * longest:
        return (
            f"{updates:,} updates are {updates / longest:.2g} times the longest curve, and {_REACH} times at most is trusted; "
            "bring a longer run"
        )
    return None


def _scaled(schedule: Schedule, law: FittedLaw) -> list[Schedule]:
    """The same schedule at half the lowest peak of the curves and twice the highest."""
    from laju.forecast.telling import peaks

    every = peaks(law.curves)
    top = float(schedule.values(int(schedule.length or 1)).max())
    return [schedule * (every[0] / top), schedule * (every[-1] / top)]


def _telling(suggested: NextRun, unknown: Schedule | None) -> list[str]:
    what = "the end of this run" if unknown is not None else "the best ends, at other peaks too,"
    lines = [f"  standard deviation of {what} by these curves: {suggested.spread:.4f}"]
    for run in suggested.runs[:2]:
        where = "" if run.branch is None else f" from the last checkpoint of {run.branch}"
        lines += [f"  {run.spread:.4f} after {run.cost:,} updates{where}:", f"    {named(run.schedule)}"]
    return lines
