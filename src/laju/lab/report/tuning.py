"""The result of a search, as a table for the terminal, a picture and files."""

from __future__ import annotations

import json
import math
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from rich.text import Text

from laju.lab.report import csv, figures
from laju.lab.statistics import Estimate
from laju.lab.tuning.search_space import Choice, Range
from laju.view.page import image, items, made, report, sentence, table
from laju.view.plot import INK, PALETTE, legend, printable, titled
from laju.view.table import Grid

if TYPE_CHECKING:
    from laju.lab.tuning.result import Evaluation, SearchResult

FILES = ("search.html", "search.png", "search.csv", "search.json")


def search_table(search: SearchResult, most: int = 10) -> Grid:
    """A table of the best trials, with a row for each; with several objectives, trials of the Pareto front have a star."""
    plan, seeds = search.plan, search.seeds
    title = f"{search.space.policy} on {search.task}: {plan.epochs} epoch{'s' * (plan.epochs > 1)}, batch size "
    title += f"{plan.batch_size}, {search.optimizer}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    pruned = sum(evaluation.pruned for evaluation in search.evaluations)
    ranked = search.ranked
    caption = (
        f"the best {min(most, len(ranked))} of {len(search.evaluations)} trials"
        + f", {pruned} of them pruned" * (pruned > 0)
    )
    if len(search.objectives) > 1:
        caption += "; * on the Pareto front"
    front = {evaluation.number for evaluation in search.front}
    rows: list[tuple[str | Text, ...]] = []
    for evaluation in ranked[:most]:
        star = "*" if evaluation.number in front and len(search.objectives) > 1 else ""
        cells = [_figure(search, evaluation, i) for i in range(len(search.objectives))]
        rows.append((f"{evaluation.number}{star}", *cells, *map(_short, evaluation.parameters.values())))
    head = ("trial", *(objective.label for objective in search.objectives), *search.space.varied)
    return Grid(head, rows, (), title=printable(title), caption=caption, styles={0: "bold"})


def search_summary(search: SearchResult) -> list[str]:
    """The best schedule and its figures, with a line for each, and the parameters that explain the figures, if known."""
    lines = []
    rows = {} if search.confirmation is None else {row.name: row for row in search.confirmation.summary()}
    for evaluation in search.front:
        lines.append(f"{'best' if len(search.front) == 1 else f'trial {evaluation.number}'}: {evaluation.spec}")
        row = rows.get(f"trial {evaluation.number}")
        if row is not None and row.test_accuracy is not None and search.confirmation is not None:
            fresh = ", ".join(map(str, search.confirmation.seeds))
            lines.append(f"  test accuracy {row.test_accuracy.text()} with seeds that the search did not see ({fresh})")
            if row.note:
                lines.append(f"  {row.note}")
        elif row is not None:
            lines.append(f"  with seeds that the search did not see: {row.note or 'no test accuracy'}")
    if search.importance:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in search.importance.items())
        lines.append(f"what the differences come from: {shares}")
    return lines


def picture(search: SearchResult) -> Figure:
    """A picture of the search's history, or its Pareto front, and a slice along every parameter.

    A slice shows every trial at its value of a parameter. Pruned trials are crosses at their last accuracy.

    Raises:
        ValueError: no trial has finished.
    """
    if not search.ranked:
        raise ValueError("no trial of the search has finished, so there is nothing to draw")
    several = len(search.objectives) > 1
    panels = 1 + several + len(search.space.varied)
    columns = 2 if panels == 4 else min(3, panels)
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(4.0 * columns, 3.3 * rows + 0.5), facecolor="white", layout="constrained")
    axes: list[Any] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[panels:]:
        ax.set_axis_off()
    _history(axes[0], search)
    if several:
        _front(axes[1], search)
    for ax, name in zip(axes[1 + several : panels], search.space.varied, strict=True):
        _slice(ax, search, name)
    handles, names = axes[0].get_legend_handles_labels()
    legend(figure, handles, names, loc="outside lower center", ncols=len(names), fontsize=10)
    return figure


def page(search: SearchResult, command: str | None = None) -> str:
    """The search as an HTML page that loads nothing: the verdict, every trial in a sortable table, and the picture.

    Args:
        search: the result of the search.
        command: the command that made the search, for the page's reader to run again.
    """
    plan, trials = search.plan, search.trials()
    run = {
        "task": search.task,
        "space": str(search.space),
        "epochs": f"{plan.epochs:,}",
        "batch size": f"{plan.batch_size:,}",
        "optimizer": str(search.optimizer),
        "seeds": ", ".join(map(str, search.seeds)),
        "trials": f"{len(search.evaluations):,}",
    }
    sections = [("", f"<p>{escape(printable(line))}</p>") for line in search_summary(search)]
    if warnings := search.warnings():
        listed = f'<section class="warnings" aria-label="Warnings">{items(warnings)}</section>'
        sections.insert(0, ("", listed))
    if search.ranked:
        sections.append(("", image(picture(search), "the trials by number and by each parameter")))
    if trials:
        headings = list(dict.fromkeys(key for trial in trials for key in trial))
        sections.append(("Trials", table(headings, ([trial.get(key) for key in headings] for trial in trials))))
    about = f"A search of {search.space.policy} on {search.task}"
    return report(about, sentence(search.verdict()), command, (run, made(("numpy", "torch", "optuna"))), sections)


def write_search(search: SearchResult, folder: str | os.PathLike[str], command: str | None = None) -> list[Path]:
    """Write `search.html`, `search.png`, `search.csv` and `search.json` into a folder, as far as finished trials allow.

    Args:
        search: the result of the search.
        folder: the folder for the files; created if missing.
        command: the command that made the search, to be shown on the page.

    Raises:
        OSError: the folder cannot be written.
    """
    from laju.lab.report import _write, check_writable

    path = check_writable(folder)
    _write(path / "search.html", lambda target: target.write_text(page(search, command), encoding="utf-8"))
    if search.ranked:
        _write(path / "search.png", lambda target: figures.save(picture(search), target))
    _write(path / "search.csv", lambda target: csv.write(search.trials(), target))
    text = json.dumps(search.to_json(), indent=2, allow_nan=False) + "\n"
    _write(path / "search.json", lambda target: target.write_text(text, encoding="utf-8"))
    return [path / name for name in FILES if search.ranked or name != "search.png"]


def _figure(search: SearchResult, evaluation: Evaluation, objective: int) -> Text:
    found = search.estimate(evaluation, objective) or Estimate(evaluation.values[objective], None, 1)
    if search.objectives[objective].target is None:
        return Text(found.text())
    missed = sum(value > search.plan.updates for value in evaluation.by_seed[objective]) if evaluation.by_seed else 0
    if missed:
        return Text(
            f"not reached by {missed} of {len(search.seeds)}" if len(search.seeds) > 1 else "not reached", "dim"
        )
    return Text(found.text(0))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(evaluation: Evaluation, search: SearchResult) -> float:
    """The drawn value of a trial: the first objective, or the last test accuracy of a pruned trial."""
    if evaluation.values:
        return evaluation.values[0]
    return evaluation.course[-1][1] if evaluation.course and search.objectives[0].target is None else math.nan


_DOT: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 5, "markeredgewidth": 0, "alpha": 0.75}
_CROSS: dict[str, Any] = {"marker": "x", "linestyle": "none", "markersize": 5, "color": "#8a8a8a"}
_BEST: dict[str, Any] = {
    "marker": "*",
    "linestyle": "none",
    "markersize": 14,
    "markeredgewidth": 0,
    "color": PALETTE[1],
}


def _points(ax: Any, search: SearchResult, x: Any) -> None:
    """Every trial at x(evaluation) and its figure, the best as a star."""
    finished = [t for t in search.evaluations if not t.pruned]
    pruned = [t for t in search.evaluations if t.pruned]
    ax.plot([x(t) for t in finished], [_value(t, search) for t in finished], color=PALETTE[0], label="trial", **_DOT)
    if pruned:
        ax.plot([x(t) for t in pruned], [_value(t, search) for t in pruned], label="pruned trial", **_CROSS)
    best = search.best
    ax.plot([x(best)], [_value(best, search)], label="best", zorder=5, clip_on=False, **_BEST)
    _limit(ax, search)


def _limit(ax: Any, search: SearchResult) -> None:
    """Limit an axis to the good trials: failed trials would squeeze the rest into a line, so only their number is shown."""
    values = sorted(t.values[0] for t in search.ranked)
    if len(values) < 4:
        return
    better = search.objectives[0].better
    good = values[len(values) // 4 :] if better > 0 else values[: -(len(values) // 4)]
    low, high = good[0], good[-1]
    margin = 0.12 * (high - low) or 0.02 * abs(high) or 0.02
    ax.set_ylim(low - 3 * margin if better > 0 else low - margin, high + margin if better > 0 else high + 3 * margin)
    outside = sum(v < low - 3 * margin if better > 0 else v > high + 3 * margin for v in values)
    if outside:
        text = f"{outside} {'below' if better > 0 else 'above'}"
        y, va = (0.02, "bottom") if better > 0 else (0.98, "top")
        ax.text(0.985, y, text, transform=ax.transAxes, ha="right", va=va, color="#6b6b6b", fontsize=9)


def _history(ax: Any, search: SearchResult) -> None:
    _points(ax, search, lambda evaluation: evaluation.number)
    better, so_far, steps = search.objectives[0].better, None, []
    for evaluation in search.evaluations:
        if evaluation.values and (so_far is None or better * evaluation.values[0] > better * so_far):
            so_far = evaluation.values[0]
        steps.append(math.nan if so_far is None else so_far)
    ax.plot(
        [evaluation.number for evaluation in search.evaluations],
        steps,
        drawstyle="steps-post",
        color=PALETTE[1],
        linewidth=1.6,
        label="best so far",
    )
    titled(ax, "History", "trial")
    ax.set_ylabel(search.objectives[0].label, color=INK)
    ax.xaxis.get_major_locator().set_params(integer=True)


def _front(ax: Any, search: SearchResult) -> None:
    finished, front = search.ranked, search.front
    ax.plot([t.values[1] for t in finished], [t.values[0] for t in finished], color=PALETTE[0], **_DOT)
    line = sorted((t.values[1], t.values[0]) for t in front)
    ax.plot(*zip(*line, strict=True), color=PALETTE[1], linewidth=1.2, marker="o", markersize=7)
    titled(ax, "Pareto front", search.objectives[1].label)
    _limit(ax, search)


def _slice(ax: Any, search: SearchResult, name: str) -> None:
    kind = search.space.varied[name]
    unit = ""
    if isinstance(kind, Choice):
        places = {value: i for i, value in enumerate(kind.values)}
        _points(ax, search, lambda evaluation: places[evaluation.suggested[name]])
        ax.set_xticks(range(len(places)), [printable(str(value), most=14) for value in places])
        ax.set_xlim(-0.5, len(places) - 0.5)
    else:
        _points(ax, search, lambda evaluation: evaluation.suggested[name])
        if kind.log:
            ax.set_xscale("log")
        ax.set_xlim(kind.low, kind.high)
        unit = f" ({kind.unit})" if isinstance(kind, Range) and kind.unit else ""
    share = search.importance.get(name)
    titled(ax, name + (f": {share:.0%} of the variance" if share is not None else ""), name + unit)


__all__ = ["FILES", "page", "picture", "search_summary", "search_table", "write_search"]
