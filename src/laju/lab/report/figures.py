"""Pictures of a comparison: the learning rate, and the loss and accuracies by epoch, as means with 95 % bands over the seeds.

All pictures are drawn with Matplotlib's objects, without pyplot, so that no global state is read or left behind.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from laju.lab.report.table import why_dropped
from laju.lab.statistics import ACCURACY, LOSS, counted, estimate
from laju.view.plot import DASHES, INK, PALETTE, curve_id, draw_steps, legend, line_style, printable, thin, titled

if TYPE_CHECKING:
    from collections.abc import Callable

    from laju.lab.comparison import Findings
    from laju.lab.comparison.race import Race
    from laju.lab.comparison.results import Results

PANELS = {
    "rate": "Learning rate",
    "train_loss": "Training loss",
    "train_accuracy": "Training accuracy",
    "test_accuracy": "Test accuracy",
}
BEST = "Probability of being the best so far"
RACE = "Seeds that each schedule was trained with"
_MARKS: dict[str, dict[str, Any]] = {
    "diverged": {"marker": "X", "markersize": 8, "markeredgewidth": 0, "linestyle": "none"},
    "collapsed": {"marker": "v", "markersize": 8, "markeredgewidth": 0, "linestyle": "none"},
}


def overview(comparison: Results) -> Figure:
    """A picture of all four panels with a shared legend at the bottom."""
    names = list(comparison.schedules)
    columns = min(4 if max(map(len, names)) < 22 else 2, len(names))
    lines = math.ceil(len(names) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(11.5, 7.4 + 0.24 * lines), facecolor="white", layout=layout)
    handles: list[Any] = []
    for ax, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        handles = draw(ax, comparison, panel)
    marks, meanings = _key(comparison)
    logs, titles = _key_of_logs(comparison)
    legend(
        figure,
        handles + marks + logs,
        names + meanings + titles,
        loc="outside lower center",
        ncols=columns,
        fontsize=10,
        columnspacing=2.2,
    )
    return figure


def single(comparison: Results, panel: str) -> Figure:
    """A picture of a single panel, with its legend on the right."""
    longest = min(max(map(len, comparison.schedules)), 60)
    figure = Figure(figsize=(7.4 + 0.085 * longest, 4.6), facecolor="white", layout="constrained")
    handles = draw(figure.subplots(), comparison, panel)
    marks, meanings = _key(comparison) if panel != "rate" else ([], [])
    logs, titles = _key_of_logs(comparison)
    names = list(comparison.schedules) + meanings + titles
    legend(figure, handles + marks + logs, names, loc="outside right upper", fontsize=10)
    return figure


def bare(comparison: Results, panel: str) -> Figure:
    """A picture of a single panel without legend and title, for a page with its own legend and title."""
    return _bare(lambda ax: draw(ax, comparison, panel, points=800))


def _bare(draw: Callable[[Any], object]) -> Figure:
    # Laid out for a narrow screen; a page makes the text smaller where there is room.
    with matplotlib.rc_context({"font.size": 13}):
        figure = Figure(figsize=(5.4, 3.4), facecolor="none", layout="constrained")
        ax = figure.subplots()
        draw(ax)
    ax.set_title("", loc="left")
    return figure


def best(findings: Findings) -> Figure:
    """A picture of the probability that each schedule is the best, by epoch, with the legend on the right."""
    names = list(findings.comparison.schedules)
    figure = Figure(figsize=(7.4 + 0.085 * min(max(map(len, names)), 60), 4.6), facecolor="white", layout="constrained")
    handles = draw_best(figure.subplots(), findings)
    if handles:
        legend(figure, handles, names, loc="outside right upper", fontsize=10)
    return figure


def bare_best(findings: Findings) -> Figure:
    """The picture of `best` without legend and title, for a page with its own legend and title."""
    return _bare(lambda ax: draw_best(ax, findings))


def draw_best(ax: Any, findings: Findings) -> list[Any]:
    """Draw each schedule's probability of being the best by epoch into Matplotlib axes; returns a line for each schedule."""
    rows, comparison = findings.anytime, findings.comparison
    titled(ax, BEST, "epoch")
    if not rows or any(row["best"] is None for row in rows):
        ax.text(0.5, 0.5, "needs two seeds that were run with every schedule", ha="center", va="center", color=INK)
        ax.set_axis_off()
        return []
    epochs = sorted({row["epoch"] for row in rows})
    lines = []
    for k, (i, name) in enumerate(zip(looks(comparison), comparison.schedules, strict=True)):
        values = [row["best"] for row in rows if row["schedule"] == name]
        dot = {"marker": "o", "markersize": 4} if len(epochs) == 1 else {}
        lines += ax.plot(
            epochs, values, linewidth=1.8, clip_on=False, label=name, gid=curve_id(k), **dot, **line_style(i)
        )
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.set_xlim(0, comparison.plan.epochs)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return lines


def race(race: Race) -> Figure:
    """A picture of how long each schedule stayed in a race."""
    figure = Figure(figsize=(11.5, 1.5 + 0.34 * len(race.entered)), facecolor="white", layout="constrained")
    draw_race(figure.subplots(), race)
    return figure


def bare_race(race: Race) -> Figure:
    """The picture of `race` for a page."""
    figure = Figure(figsize=(13.0, 1.2 + 0.34 * len(race.entered)), facecolor="none", layout="constrained")
    ax = figure.subplots()
    draw_race(ax, race)
    ax.set_title("", loc="left")
    return figure


def draw_race(ax: Any, race: Race) -> None:
    """Draw a bar for each schedule: the seeds of its runs, and the reason why the schedule was dropped."""
    dropped = {d.name: d for d in race.dropped}
    for i, name in enumerate(race.entered):
        seeds = race.trained(name)
        ax.barh(i, seeds, height=0.62, color=PALETTE[0], edgecolor="none")
        if name in dropped:
            why = printable(why_dropped(dropped[name]), most=60)
            place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(why, (seeds, i), color=INK, fontsize=9.5, parse_math=False, **place)
    titled(ax, RACE, f"seeds, runs of {counted(race.epochs, 'epoch')} each")
    ax.grid(axis="y", visible=False)
    names = [printable(name, most=40) for name in race.entered]
    ax.set_yticks(range(len(names)), names, parse_math=False)
    ax.invert_yaxis()
    ax.axvline(len(race.seeds), color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="without a race")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = ax.get_legend_handles_labels()
    legend(ax.figure, handles, labels, loc="outside right upper", fontsize=10)


def draw(ax: Any, comparison: Results, panel: str, points: int = 4000) -> list[Any]:
    """Draw a panel into Matplotlib axes, with at most `points` points per rate; return a line per schedule, for a legend."""
    lines = _rates(ax, comparison, points) if panel == "rate" else _curves(ax, comparison, panel)
    _draw_logs(ax, comparison, panel)
    titled(ax, PANELS[panel], "epoch")
    ax.set_xlim(0, comparison.plan.epochs)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return lines


def save(figure: Figure, target: Path | IO[bytes]) -> None:
    """Write a PNG file."""
    figure.savefig(target, format="png", dpi=160)


def _key(comparison: Results) -> tuple[list[Any], list[str]]:
    """Legend entries for the marks at the ends of failed trials, if any."""
    met = [status for status in _MARKS if any(o.status == status for o in comparison.outcomes.values())]
    return [Line2D([], [], color=INK, **_MARKS[status]) for status in met], [f"a trial that {status}" for status in met]


def log_dash(i: int) -> Any:
    """The dash pattern of the i-th log; all logs have the colour of ink."""
    return DASHES[1:][i % (len(DASHES) - 1)]


def _key_of_logs(comparison: Results) -> tuple[list[Any], list[str]]:
    lines = [Line2D([], [], color=INK, linewidth=1.4, linestyle=log_dash(i)) for i in range(len(comparison.beside))]
    return lines, [run.label for run in comparison.beside]


def _draw_logs(ax: Any, comparison: Results, panel: str) -> None:
    """The curves of logs, dashed, and axes that hold the values of logs from a fifth of the run on."""
    for i, run in enumerate(comparison.beside):
        curve = run.curve(panel, comparison.plan)
        if curve is None:
            continue
        finite = np.isfinite(curve[1])
        epochs, values = curve[0][finite], curve[1][finite]
        if not values.size:
            continue
        places, kept = thin(values)
        look = {"marker": "o", "markersize": 4} if len(kept) == 1 else {}
        look |= {"drawstyle": "steps-post"} if panel == "rate" else {}
        low, high = ax.get_ylim()
        look |= {"label": run.label, "gid": curve_id(len(comparison.schedules) + i)}
        ax.plot(epochs[places], kept, color=INK, linewidth=1.4, linestyle=log_dash(i), **look)
        seen = values[(epochs >= 0.2 * comparison.plan.epochs) & (epochs <= comparison.plan.epochs)]
        seen = values[epochs <= comparison.plan.epochs] if panel == "rate" else seen
        if seen.size:
            margin = 0.06 * (high - low)
            low, high = min(low, max(float(seen.min()) - margin, 0.0)), max(high, float(seen.max()) + margin)
        ax.set_ylim(low, min(high, 1.0) if panel.endswith("accuracy") else high)


def looks(comparison: Results) -> list[int]:
    """The style of each line: a schedule in several frameworks has the same colour and a dash pattern for each framework."""
    schedules = list(dict.fromkeys(comparison.schedules.values()))
    frameworks = list(dict.fromkeys(comparison.frameworks.values()))
    if len(frameworks) == 1 or len(schedules) > len(PALETTE) or len(frameworks) > len(DASHES):
        return list(range(len(comparison.schedules)))
    return [
        schedules.index(schedule) + len(PALETTE) * frameworks.index(comparison.frameworks[name])
        for name, schedule in comparison.schedules.items()
    ]


def _rates(ax: Any, comparison: Results, points: int) -> list[Any]:
    plan = comparison.plan
    values = [schedule.resolve(plan).values(plan.updates) for schedule in comparison.schedules.values()]
    lines = [
        draw_steps(ax, v, i, per=plan.updates_per_epoch, limit=points, label=name, gid=curve_id(k))
        for k, (i, v, name) in enumerate(zip(looks(comparison), values, comparison.schedules, strict=True))
    ]
    if all(v.min() >= 0 for v in values):
        ax.set_ylim(bottom=0)
    return lines


def _curves(ax: Any, comparison: Results, panel: str) -> list[Any]:
    lines, means_shown, failed = [], [], []
    faint = 0.15 if len(comparison.schedules) <= len(PALETTE) else 0.06  # many overlaid bands would hide the lines
    for k, (i, name) in enumerate(zip(looks(comparison), comparison.schedules, strict=True)):
        style = line_style(i)
        finished: dict[float, list[float]] = {}
        for seed in comparison.seeds:
            outcome = comparison.outcomes.get((name, seed))
            if outcome is None:
                continue
            points = [
                (r.epoch, v) for r in outcome.records if (v := getattr(r, panel)) is not None and math.isfinite(v)
            ]
            if outcome.status == "finished":
                for epoch, value in points:
                    finished.setdefault(epoch, []).append(value)
            else:
                if not points and outcome.diverged_at is not None:  # before its first record
                    points = [
                        (
                            outcome.diverged_at / comparison.plan.updates_per_epoch,
                            math.inf if panel == "train_loss" else 0.0,
                        )
                    ]
                of = {"label": f"{name}, seed {seed}, which {outcome.status}", "gid": curve_id(k)}
                failed.append((points, style["color"], outcome.status, of))
        epochs = sorted(finished)
        bounds = LOSS if panel == "train_loss" else ACCURACY
        estimates = [e for epoch in epochs if (e := estimate(finished[epoch], bounds=bounds)) is not None]
        means = np.array([e.mean for e in estimates])
        low, high = (
            np.array([e.mean if x is None else x for e in estimates for x in [getattr(e, end)]])
            for end in ("low", "high")
        )
        (line,) = ax.plot(epochs, means, linewidth=1.8, label=name, gid=curve_id(k), **style)
        ax.fill_between(epochs, low, high, color=style["color"], alpha=faint, linewidth=0, gid=curve_id(k))
        lines.append(line)
        means_shown.append(means[np.asarray(epochs) >= 0.2 * comparison.plan.epochs] if epochs else means)
    _limits(ax, panel, means_shown)
    for points, color, status, of in failed:
        _draw_failed(ax, points, color, status, of)
    return lines


def _draw_failed(ax: Any, points: list[tuple[float, float]], color: str, status: str, of: dict[str, str]) -> None:
    """Draw a trial that enters no mean: a dotted line that ends in a mark, at the edge for a loss outside the axes."""
    if points:
        x, y = np.array(points).T
        low, high = ax.get_ylim()
        ax.plot(x, y, color=color, linewidth=1.0, linestyle=(0, (1, 1.6)), **of)
        ax.plot(x[-1:], np.clip(y[-1:], low, high), color=color, clip_on=False, zorder=5, **of, **_MARKS[status])


def _limits(ax: Any, panel: str, means: list[Any]) -> None:
    """Axis limits that contain every mean from a fifth of the run on, so that the small differences at the end are visible."""
    values = np.concatenate([m for m in means if m.size] or [np.array([])])
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = low - margin, high + margin
    ax.set_ylim(max(low, 0.0), high if panel == "train_loss" else min(high, 1.0))
