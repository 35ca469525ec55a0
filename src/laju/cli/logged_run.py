"""The run of a log, for `laju advise` and `laju watch`: losses by update, schedule, used rates, and past runs to judge by."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.cli.logs import LogOptions
from laju.cli.run_options import read_one
from laju.core.checks import nearest
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.logs import completed
from laju.logs.names import averaged_beside, is_smoothed

if TYPE_CHECKING:
    from laju.forecast import Curve, Prior
    from laju.logs import Log, Series

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class LoggedRun:
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
    ) -> LoggedRun:
        log = options.read(file)
        losses = log.loss(loss_column)
        at = updates_of(log, losses, per_epoch)
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
            averaged = beside, updates_of(log, means, per_epoch), means.values
        verdict, intended = None, None
        if meant is not None:
            from laju.diagnosis import diagnose

            intended = in_updates(meant, per_epoch, updates)
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


def curve_of(
    options: LogOptions, file: str, spec: str | None, loss_column: str | None, per_epoch: int | None, notes: list[str]
) -> Curve:
    """The curve of one of several logs; findings of the reader are added to the notes."""
    from laju.forecast import ForecastWarning, read_curve

    log = options.read(file)
    rates = None if spec is None else in_updates(spec, per_epoch, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ForecastWarning)
        found = read_curve(log, rates, loss=log.loss(loss_column).name, rate=options.rate, updates_per_epoch=per_epoch)
    notes += [f"{found.name}: {text}" for text in dict.fromkeys(str(warning.message) for warning in caught)]
    return found


def updates_of(log: Log, losses: Series, per_epoch: int | None) -> np.ndarray[Any, np.dtype[np.float64]]:
    if log.unit == "update":
        return losses.at
    if log.unit == "epoch" and per_epoch is not None:
        return np.round(completed(log.unit, losses.at) * per_epoch)
    if log.unit == "epoch":
        raise ValueError(f"{log.path} counts epochs; say how many updates an epoch has: --updates-per-epoch M")
    raise ValueError(f"{log.path} counts {log.unit}s, not updates; name the column of updates: --update-column")


def in_updates(spec: str, per_epoch: int | None, updates: int | None) -> Schedule:
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
        return in_updates(spec, per_epoch, updates)
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
        curves = [curve_of(options, file, None, loss_column, per_epoch, []) for file in logs]
        return learn(curves, name=", ".join(curve.name for curve in curves))
    if len(names) > 1:
        other = next(name for name in names if name not in logs)
        raise ValueError(
            f"--prior is given {len(names)} times, so each must be the log of a finished run, got {other!r}"
        )
    return None if names[0] == "none" else "auto" if names[0] == "auto" else prior_runs(names[0])[0]
