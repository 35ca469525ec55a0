"""laju advise: a forecast of a run's final loss from its log, when to cool down, and which run to make next."""

from __future__ import annotations

import math
import re
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from laju.cli.logs import LogOptions, log_options
from laju.cli.run_options import as_text, read_one, usage_errors
from laju.core.checks import nearest
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.logs import completed
from laju.logs.names import averaged_beside, is_smoothed
from laju.recognition.naming import named
from laju.view.plot import SUFFIXES
from laju.view.table import table

if TYPE_CHECKING:
    from laju.forecast import Curve, Ending, FittedLaw, NextRun, Prior, Way
    from laju.logs import Log, Series

Floats = np.ndarray[Any, np.dtype[np.float64]]

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
            curves = [_curve(options, file, spec, loss_column, updates_per_epoch, notes) for file in files]
            told, lines, refused = _next(curves, budget, updates or max(len(c.rates) for c in curves), None)
            _print(as_json, {"schedule": None, "notes": notes, "next": told}, lines, notes)
            if refused and budget is None:
                click.get_current_context().exit(1)
            return
        run = _Run.read(options, files[0], loss_column, spec, meant, updates_per_epoch, updates, until)
        used = past_runs(priors, options, loss_column, updates_per_epoch, files[0])
        from laju.forecast import ending

        found = ending(run.at, run.losses.values, run.rates, updates, prior=used)
        bar, what = (target, "the target") if target is not None else (None, "")
        if against is not None:
            theirs = (other := options.read(against)).loss()
            bar, what = float(theirs.values[-1]), f"the last loss of {against}, at {other.unit} {theirs.at[-1]:,g}"
        chance = None if bar is None or found.value is None else _chance(found, bar)
        told = {
            **asdict(found),
            "schedule": str(run.schedule),
            "loss": run.losses.name,
            "log": list(run.log.notes),
            "rates": run.verdict,
        }
        lines = [*run.taken(), str(found)]
        if until is not None:
            told["came_out"], line = _came_out(run, found)
            lines.append(line)
        if bar is not None:
            told |= {"target": bar, "probability": chance}
        if chance is not None:
            lines.append(f"ends below {bar:.5g} ({what}) with a probability of about {chance:.0%}")
        ways, when = _cooldowns(run, found, used, updates)
        told["cooldowns"] = [_way(way) for way in ways]
        lines += ["", "when to cool down", *when]
        told["averages"], of_averages = _averages(run, found, used, updates)
        lines += of_averages
        told["next"] = None
        if (single := run.curve()) is not None:
            end = int(found.at or run.at[-1])
            asked = run.schedule if updates is None else run.schedule.take(updates)
            try:
                told["next"], next_lines, _ = _next([single], budget, end, asked if found.refused else None)
            except ValueError as error:
                next_lines = ["which run to make next", f"  no answer: {error}"]
            lines += ["", *next_lines]
        _print(as_json, told, lines, run.log.notes)
        if out is not None:
            from laju.forecast.picture import ending_picture

            drawn = ending_picture(found, run.at, run.losses.values, run.rates, ways=ways, later=run.later)
            click.echo(f"wrote {drawn.save(out)}", err=as_json)
        if found.refused:
            click.get_current_context().exit(1)


def _print(as_json: bool, told: dict[str, Any], lines: Sequence[str], notes: Sequence[str]) -> None:
    if as_json:
        click.echo(as_text(told))
        return
    for note in notes:
        click.echo(f"note: {note}", err=True)
    width = sys.stdout.isatty() and shutil.get_terminal_size().columns
    for line in "\n".join(lines).split("\n"):
        indent = "  " * line.startswith("  ")
        prose = width and (not indent or "no answer: " in line)  # tables and schedules are printed unchanged
        click.echo(click.wrap_text(line.strip(), width, indent, "  " + indent) if prose else line)


# --- the run -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """The run of a log: losses by update, the schedule, and the rates of the whole run."""

    log: Log
    losses: Series
    at: Floats
    schedule: Schedule
    rates: Any
    verdict: str | None
    later: tuple[Floats, Floats] | None = None
    averaged: tuple[str, Floats, Floats] | None = None
    """Losses of averaged weights: the column's name, completed updates, and losses."""

    @classmethod
    def read(
        cls,
        options: LogOptions,
        file: str,
        loss_column: str | None,
        spec: str | None,
        meant: str | None,
        per_epoch: int | None,
        updates: int | None,
        until: int | None,
    ) -> _Run:
        log = options.read(file)
        losses = log.loss(loss_column)
        at = _updates(log, losses, per_epoch)
        later = None
        if until is not None:
            rows = int(np.searchsorted(at, until, side="right"))
            if not 0 < rows < len(at):
                raise ValueError(
                    f"--until must lie between the rows, which are of update {at[0]:,.0f} to {at[-1]:,.0f}; got {until:,}"
                )
            later = at[rows:], losses.values[rows:]
            log = log.until(losses.at[rows - 1])
            losses, at = log.loss(losses.name), at[:rows]
        averaged = None
        if (beside := averaged_beside(losses.name, log.losses)) is not None:
            means = log.series(beside)
            averaged = beside, _updates(log, means, per_epoch), means.values
        verdict, intended = None, None
        if meant is not None:
            from laju.diagnosis import diagnose

            intended = _in_updates(meant, per_epoch, updates)
            epochs = per_epoch if log.unit == "epoch" else None
            diagnosed = diagnose(log, intended, rate=options.rate, updates_per_epoch=epochs)
            verdict = f"as meant, {intended}" if diagnosed.healthy else f"not the meant ones: {diagnosed}"
            if not diagnosed.healthy:
                intended = None  # the run does not follow the meant schedule
        schedule = intended if spec is None and intended is not None else None
        schedule = schedule or run_schedule(log, options, spec, per_epoch, updates)
        length = schedule.length
        if updates is None and length is not None and at.size and length < at[-1]:
            if spec is None and intended is None:
                raise ValueError(
                    f"the rates so far are {schedule} and then flat up to update {at[-1]:,.0f}, which does "
                    "not tell how the run goes on; give its schedule: --schedule SPEC"
                )
            raise ValueError(
                f"{schedule} must not lie before the last row: the schedule ends at update {length:,g}, and the log goes on to "
                f"{at[-1]:,.0f}; give the schedule of the whole run, or --updates"
            )
        rates: Any = schedule
        if spec is not None and log.rates:
            rates, note = used_rates(log, options, schedule, per_epoch, updates)
            verdict = verdict if note is None else note if verdict is None else f"{verdict}\n{note}"
        return cls(log, losses, at, schedule, rates, verdict, later, averaged)

    def taken(self) -> list[str]:
        """The columns and rows that the answer is from, a line for each."""
        line = (
            f"losses: {self.losses.name!r}, updates {self.at[0]:,.0f} … {self.at[-1]:,.0f}"
            if self.at.size
            else "no losses"
        )
        if unused := [name for name in self.log.losses if name != self.losses.name]:
            line += f" (not {', '.join(map(repr, unused))}: --loss-column takes another)"
        lines = [line]
        if is_smoothed(self.losses.name):
            lines.append(
                f"{self.losses.name!r} is a smoothed column, which lags behind a cooldown, as does the answer; log raw losses"
            )
        if self.verdict is not None:
            lines.append(f"rates: {self.verdict}")
        return [*lines, f"schedule: {self.schedule}"]

    def curve(self) -> Curve | None:
        """The curve so far; None if the losses are no curve, which the ending says."""
        from laju.forecast import Curve

        keep = np.isfinite(self.losses.values) & (self.at > 0)
        try:
            return Curve(self.at[keep], self.losses.values[keep], self.rates, Path(self.log.path).stem)
        except ValueError:
            return None


def _curve(
    options: LogOptions, file: str, spec: str | None, loss_column: str | None, per_epoch: int | None, notes: list[str]
) -> Curve:
    """The curve of one of several logs; findings of the reader are added to the notes."""
    from laju.forecast import ForecastWarning, read_curve

    log = options.read(file)
    rates = None if spec is None else _in_updates(spec, per_epoch, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ForecastWarning)
        found = read_curve(log, rates, loss=log.loss(loss_column).name, rate=options.rate, updates_per_epoch=per_epoch)
    notes += [f"{found.name}: {text}" for text in dict.fromkeys(str(warning.message) for warning in caught)]
    return found


def _updates(log: Log, losses: Series, per_epoch: int | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    if log.unit == "update":
        return losses.at
    if log.unit == "epoch" and per_epoch is not None:
        return np.round(completed(log.unit, losses.at) * per_epoch)
    if log.unit == "epoch":
        raise ValueError(f"{log.path} counts epochs; say how many updates an epoch has: --updates-per-epoch M")
    raise ValueError(f"{log.path} counts {log.unit}s, not updates; name the column of updates: --update-column")


def _in_updates(spec: str, per_epoch: int | None, updates: int | None) -> Schedule:
    schedule = read_one(spec)[1]
    if not schedule.units:
        return schedule
    if per_epoch is None and updates is None:
        raise ValueError(f"{spec!r} has lengths in other units than updates: give --updates-per-epoch or --updates")
    if per_epoch is None:
        assert updates is not None
        return schedule.resolve(RunPlan(samples=updates, batch_size=1, epochs=1))
    epochs = 1 if updates is None else math.ceil(updates / per_epoch)
    return schedule.resolve(RunPlan(samples=per_epoch, batch_size=1, epochs=epochs))


def run_schedule(
    log: Log, options: LogOptions, spec: str | None, per_epoch: int | None, updates: int | None
) -> Schedule:
    """The schedule of a log's run: from the option, else recognised from the learning rates."""
    if spec is not None:
        return _in_updates(spec, per_epoch, updates)
    if not log.rates:
        raise ValueError(f"{log.path} has no column of rates: {log.has()}; give the run's schedule: --schedule SPEC")
    from laju.recognition import recognise

    found = recognise(log.pairs(options.rate, per_epoch), updates_per_epoch=per_epoch if log.unit == "epoch" else None)
    end = found.schedule.length
    if not found.is_formula or (updates is None and end is None):
        so_far = f"are {found.text}, which does not" if found.is_formula else "follow no formula, and do not"
        raise ValueError(f"the rates so far {so_far} tell how the run goes on; give its schedule: --schedule SPEC")
    logged = log.rate(options.rate).values
    if updates is None and str(found.schedule).startswith("knots(") and logged[-1] > 0.01 * logged.max():
        raise ValueError(  # knots end with the log, whether or not the run does
            f"the rates so far are {found.schedule}, which does not tell how the run goes on; give its schedule: --schedule SPEC"
        )
    return found.schedule


def used_rates(
    log: Log, options: LogOptions, schedule: Schedule, per_epoch: int | None, updates: int | None
) -> tuple[Any, str | None]:
    """The learning rates of the whole run: of the schedule; if the log differs, logged rates up to the last row."""
    from laju.forecast.curves import between_rows

    # Whole epochs are not yet in updates, and the rate of an epoch may be logged with the epoch's number from 0 or from 1.
    step = per_epoch if log.unit == "epoch" and per_epoch and not (log.rate(options.rate).at % 1).any() else 1
    pairs = [(t * step, float(text)) for t, text in log.pairs(options.rate, per_epoch)]
    end = updates or (int(schedule.length) if schedule.length is not None else 0)
    pairs = [pair for pair in pairs if pair[0] < end]
    if len(pairs) < 2:
        return schedule, None
    if not any(rate for _, rate in pairs):
        return schedule, "all rates in the log are 0, with which nothing is trained; the schedule counts"
    at, logged = np.array([t for t, _ in pairs]), np.array([rate for _, rate in pairs])
    planned = schedule.values(end)
    near = np.stack([planned[np.clip(at + k, 0, end - 1)] for k in (-step, 0, step)])
    scale = float(np.median(logged[logged > 0])) / max(float(np.median(near[1][logged > 0])), 1e-300)
    off = np.abs(near * scale - logged).min(axis=0)
    apart = np.flatnonzero(off > 0.02 * logged.max())
    if not apart.size:
        return schedule, None
    i = int(apart[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        so_far = between_rows(at, logged, int(at[-1]) + 1, log.path, None, stacklevel=2)
    return (
        np.append(so_far, planned[len(so_far) :]),
        f"the log has {logged[i]:g} at update {at[i]:,}, where the schedule has {near[1][i]:g}; up to update {at[-1]:,} the log "
        "counts, from there on the schedule",
    )


def past_runs(
    names: Sequence[str], options: LogOptions, loss_column: str | None, per_epoch: int | None, own: str
) -> Prior | str | None:
    """The runs that `--prior` names: logs of finished runs, a file of `laju forecast learn`, shipped runs, or none.

    The log of the run itself is refused, since it contains the loss to be forecast.
    """
    from laju.forecast import learn
    from laju.forecast.ending import prior_runs
    from laju.forecast.prior import SHIPPED

    logs = [name for name in names if name not in ("auto", "none", *SHIPPED) and not name.endswith(".json")]
    if logs and len(logs) == len(names):
        if lost := [name for name in logs if not Path(name).exists()]:
            valid = ", ".join(("auto", "none", *SHIPPED))
            raise ValueError(
                f"--prior must be {valid}, a .json file of laju forecast learn, or the log of a finished run; there is no file "
                f"{lost[0]!r}{nearest(lost[0], SHIPPED)}"
            )
        if itself := [name for name in logs if Path(own).exists() and Path(name).samefile(own)]:
            raise ValueError(
                f"--prior must be other runs than the one that is asked about, got its own log {itself[0]!r}; give the log of "
                "another finished run, or leave --prior out"
            )
        curves = [_curve(options, file, None, loss_column, per_epoch, []) for file in logs]
        return learn(curves, name=", ".join(curve.name for curve in curves))
    if len(names) > 1:
        other = next(name for name in names if name not in logs)
        raise ValueError(
            f"--prior is given {len(names)} times, so each must be the log of a finished run, got {other!r}"
        )
    return None if names[0] == "none" else "auto" if names[0] == "auto" else prior_runs(names[0])[0]


def _came_out(run: _Run, found: Ending) -> tuple[dict[str, Any] | None, str]:
    """The verdict of the rows after --until on the answer."""
    assert run.later is not None
    at, losses = run.later
    i = int(np.abs(at - (found.at or at[-1])).argmin())
    value, where = float(losses[i]), int(at[i])
    if found.at is not None and abs(where - found.at) > np.diff(np.append(run.at[-1], at)).max():
        return None, f"came out: not known, as the log ends at update {at[-1]:,.0f}, with {losses[-1]:.5g}"
    inside = None
    if found.low is not None and found.high is not None:
        inside = bool(found.low <= value <= found.high)
    verdict = "" if inside is None else ", inside the band" if inside else ", outside the band"
    return {"at": where, "value": value, "inside": inside}, f"came out: {value:.5g} at update {where:,}{verdict}"


def _chance(found: Ending, bar: float) -> float:
    """The probability of an end below a bar, as if errors were normal."""
    assert found.value is not None
    assert found.high is not None
    spread = (found.high - found.value) / NormalDist().inv_cdf((1 + found.level) / 2)
    return NormalDist(found.value, max(spread, 1e-12)).cdf(bar)


# --- when to cool down -------------------------------------------------------------------------------------------------


def _cooldowns(
    run: _Run, found: Ending, prior: Prior | str | None, updates: int | None
) -> tuple[tuple[Way, ...], list[str]]:
    """The ways to cool down, and the lines to print."""
    from laju.forecast import cooldowns
    from laju.forecast.prior import SHIPPED

    if run.rates is not run.schedule:
        return (), ["  not told, as the logged rates are not those of the schedule"]
    if found.seen is None:
        return (), ["  not told, as the losses say too little"]
    schedule = run.schedule if updates is None else run.schedule.take(updates)
    if found.law == "measured":
        return (), ["  the run is over"]
    # The same prior for all ways, or their ends could not be compared.
    if prior == "auto":
        prior = found.prior if found.prior in SHIPPED else None
    ways = cooldowns(run.at, run.losses.values, schedule, prior=prior)
    if not ways:
        return (), ["  not told while the rate warms up, or with fewer than four updates left"]
    if all(way.ending.refused for way in ways):
        return ways, ["  not told, for the same reason"]
    rows = []
    for way in ways:
        e = way.ending
        told = (f"{e.value:.4f}", f"{e.low:.4f} – {e.high:.4f}") if e.value is not None else ("no answer", "–")
        rows.append((way.name, f"{e.at:,}", *told))
    lines = [
        "  " + line for line in table(("cool down", "ends after", "loss", f"{found.level:.0%} band"), rows).splitlines()
    ]
    if verdict := _verdict(ways):
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


def _verdict(ways: Sequence[Way]) -> str | None:
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
    run: _Run, found: Ending, prior: Prior | str | None, updates: int | None
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
    if run.averaged is None or found.seen is None or found.law == "measured":
        return None, []
    name, rows, means = run.averaged
    at = np.union1d(run.at, rows)
    raw, averaged = np.full(len(at), np.nan), np.full(len(at), np.nan)
    raw[np.searchsorted(at, run.at)] = run.losses.values
    averaged[np.searchsorted(at, rows)] = means
    end, seen = int(found.at or at[-1]), found.seen
    schedule = run.rates
    if isinstance(schedule, Schedule):
        schedule = schedule if updates is None else schedule.take(updates)
        rates = schedule.values(end)
        if rates[-1] < LOWEST * rates.max() and rates[seen - 1] == rates.max():
            schedule = chain(schedule.take(seen), Constant(float(rates.max()), end - seen))
            how, held = "with the rate held, without a cooldown", True
            if prior == "auto":  # the same past runs as for the ways to cool down
                prior = found.prior if found.prior in SHIPPED else None
            found = ending(run.at, run.losses.values, schedule, prior=prior)
    try:
        law = fit_averages(at, raw, averaged, schedule)
    except ValueError as error:  # rows that do not rise: of several runs, or repeated
        return {"column": name, "value": None, "refused": str(error)}, []
    answer = law.ending(found, schedule)
    told = {
        "column": name, "window": law.window, "at": answer.at, "value": answer.value, "low": answer.low, "high": answer.high,
        "raw": found.value, "held": held, "refused": answer.refused,
    }  # fmt: skip
    if answer.value is None:
        return told, []
    of = "averaged weights" if law.window is None else f"weights averaged over {law.window:,} updates"
    return told, [
        f"  {of} ({name!r}) end at {answer.value:.4f} after {end:,} updates {how}, {answer.level:.0%} between "
        f"{answer.low:.4f} and {answer.high:.4f}; not averaged, {found.value:.4f}"
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
        told = next_run(law, budget, asked)
    lines = [f"which schedule and peak next, for {updates:,} updates"]
    if why is None:
        lines.append(f"  {named(best.schedule)}")
        lines.append(f"  ends at {best.loss:.4f}, 90% between {best.low:.4f} and {best.high:.4f}")
        peaks = sorted({curve.peak for curve in curves})
        if len(peaks) == 1:
            lines.append(f"  all curves have the peak {peaks[0]:g}, so nothing is known of other peaks")
    else:
        lines.append(f"  no answer: {why}")
    lines += ["", f"which run tells most, within {budget:,} updates", *_telling(told, unknown)]
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
        for r in told.runs[:3]
    ]
    return (
        {"updates": updates, "best": answer, "refused": why, "spread": told.spread, "runs": runs},
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


def _telling(found: NextRun, unknown: Schedule | None) -> list[str]:
    what = "the end of this run" if unknown is not None else "the best ends, at other peaks too,"
    lines = [f"  standard deviation of {what} by these curves: {found.spread:.4f}"]
    for run in found.runs[:2]:
        where = "" if run.branch is None else f" from the last checkpoint of {run.branch}"
        lines += [f"  {run.spread:.4f} after {run.cost:,} updates{where}:", f"    {named(run.schedule)}"]
    return lines
