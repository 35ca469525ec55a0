"""The results of `laju forecast`: fitted laws, forecasts of schedules, and tables of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laju.cli.forecast_curves import finite
from laju.core.schedule import Schedule
from laju.view.table import table

if TYPE_CHECKING:
    from laju.forecast import Curve, FittedLaw

LEVEL = 0.9


def fit_law(curves: Sequence[Curve], law: str, held_out: bool = True) -> FittedLaw:
    from laju.forecast import fit

    try:
        return fit(curves, law, held_out=held_out)
    except ValueError as error:
        if law == "average" and "cannot be fitted" in str(error):
            raise ValueError(f"{error}; or try --law functional, which has fewer terms") from error
        raise


def forecast_of(law: FittedLaw, name: str, schedule: Schedule, updates: int) -> dict[str, Any]:
    loss, low, high = (float(each[0]) for each in law.forecast(schedule, [updates], LEVEL))
    return {"name": name, "schedule": str(schedule), "loss": loss, "low": low, "high": high}


def ways_on(law: FittedLaw, run: Schedule, at: int, updates: int) -> tuple[dict[str, Schedule], dict[str, float]]:
    """Continuations of a run by name, as whole schedules, and the relative excess of each bound over the best continuation's."""
    import warnings

    import laju
    from laju.forecast import ForecastWarning, best_continuation, bound
    from laju.forecast.bound import distance

    ways = {"hold, cool down": law.best(updates, run=run, at=at).schedule}
    made = run.values(at)
    now, peak = float(made[-1]), float(made.max())
    if run.length is not None and run.length > at:
        ways["stretch the rest"] = laju.extend(run, updates, "value", at).schedule
        anew = laju.extend(run, updates, "phase", at)
        if anew.jumps:
            ways["as if planned so"] = anew.schedule
    again = max(1, (updates - at) // 20)
    if now < 0.9 * peak and at + again < updates:
        warmed = laju.chain(run.take(at), laju.Ramp(now, peak, again))
        ways["warm up, hold, cool"] = law.best(updates, run=warmed, at=at + again).schedule
        if not any(_warms_up_again(curve.rates) for curve in law.curves):
            warnings.warn(
                "no curve has a learning rate that rises again after a fall, so the law extrapolates its cost; add a curve that "
                "does, or take such ways with caution",
                ForecastWarning,
                stacklevel=2,
            )
    planned = int(run.length) if run.length is not None and run.length >= at else updates
    D = distance(run, planned)
    rest = best_continuation(made, updates, D=D)
    ways["convex bound's rest"] = laju.chain(run.take(at), rest.schedule(tolerance=0.01))
    return ways, {name: bound(way, updates, D=D) / rest.bound - 1 for name, way in ways.items()}


def _warms_up_again(rates: Any) -> bool:
    import numpy as np

    lowest = np.minimum.accumulate(rates[int(np.argmax(rates > 0.99 * rates.max())) :])
    return bool((rates[-len(lowest) :] > 1.05 * lowest).any())


def draw(law: FittedLaw, schedules: Mapping[str, Schedule], updates: int, out: Path | None, as_json: bool) -> None:
    if out is None:
        return
    from laju.forecast.picture import picture

    click.echo(f"wrote {picture(law, schedules, updates).save(out)}", err=as_json)


def headline(law: FittedLaw) -> str:
    losses = sum(map(len, law.curves))
    count = len(law.curves)
    return f"law: {law.name}, fitted to {count} curve{'s' if count > 1 else ''} with {losses:,} losses"


def parameters_table(law: FittedLaw) -> str:
    """The lines of the parameters. Errors of the nonlinear parameters are relative, since the fit is of their logarithms."""
    rows = []
    for weight, member in zip(law.weights, law.members, strict=True):
        label = member.law.name if len(law.members) == 1 else f"{member.law.name} ({weight:.0%})"
        for name, found in law.parameters[member.law.name].items():
            relative = name in member.law.parameters
            percent = 100 * found.error
            error = f"± {percent:.{0 if percent >= 10 else 1}f} %" if relative else f"± {found.error:.2g}"
            rows.append((label, name, f"{found.value:.4g}", error))
            label = ""
    return table(("law", "parameter", "value", "error"), rows, text=(0, 1), most=60)


def error_row(name: str, found: Any) -> dict[str, Any]:
    return {"curve": name, "mae": found.mae, "rmse": found.rmse, "r2": finite(found.r2), "worst": found.worst}


def errors_table(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        (
            row["curve"],
            f"{row['mae']:.4f}",
            f"{row['rmse']:.4f}",
            "–" if row["r2"] is None else f"{row['r2']:.4f}",
            f"{100 * row['worst']:.2f} %",
        )
        for row in rows
    ]
    return table(("curve", "MAE", "RMSE", "R²", "worst"), cells, most=60)


def final_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = f"{row['low']:.4f} – {row['high']:.4f}" if "low" in row else "–"
    return row["curve"], f"{row['update']:,}", f"{row['measured']:.4f}", f"{row['loss']:.4f}", interval


def forecast_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lowest = min(row["loss"] for row in rows)
    bounds = ("bound",) if "bound" in rows[0] else ()
    cells = [
        (
            row["name"],
            f"{row['loss']:.4f}",
            f"{row['low']:.4f} – {row['high']:.4f}",
            "lowest" if row["loss"] == lowest else f"{row['loss'] - lowest:+.4f}",
            *(f"{100 * row['bound']:+.1f} %" for _ in bounds),
        )
        for row in rows
    ]
    return table(("schedule", "loss", "90 % interval", "difference", *bounds), cells, most=60)
