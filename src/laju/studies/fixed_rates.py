"""The best constant rate, and where training diverges.

The study trains a grid of rates with several seeds each, then further rates between the largest rate that every seed survives and
the smallest rate that no seed survives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.lab.comparison import Comparison
from laju.lab.comparison.compare import compare
from laju.lab.statistics import Estimate, claim, counted, opening, settled_by, short
from laju.lab.trials.tasks import read_task
from laju.studies.base import Answer, Options, Table
from laju.studies.pictures import panels, plain_numbers
from laju.studies.ranking import (
    Ranking,
    accuracy_ranking,
    ahead,
    extreme,
    finals,
    interval_of,
    listed,
    loss_ranking,
    rank,
    untold,
)
from laju.view.plot import INK, PALETTE, legend, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "fixed-rates"
_GRID = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SMALL = (0.1, 0.3, 30.0)
_DOUBLINGS = 4
_FAILURES = ("collapsed", "diverged")


@dataclass(frozen=True)
class Boundary:
    """The boundary at which training begins to fail as the rate grows.

    Args:
        safe: the largest rate such that every seed survived at all rates from the best rate up to this rate.
        fatal: the smallest rate from which on no seed survived; None if some seeds survived at the largest rate.
        half: the rate at which half of the seeds fail, by a logistic curve in ln(rate).
        low, high: the 95 % interval of `half` by the profile likelihood; None if the tried rates do not bound the interval.
        width: s of the curve 1/(1 + exp(-(ln rate - ln half)/s)).
    """

    safe: float
    fatal: float | None
    half: float
    low: float | None
    high: float | None
    width: float

    def chance(self, rate: float) -> float:
        """The probability that training fails at a rate, by the curve."""
        return 0.5 * (1 + math.tanh((math.log(rate) - math.log(self.half)) / (2 * self.width)))


def boundary(failed: Mapping[float, tuple[int, int]]) -> Boundary | None:
    """The boundary from (failed, all) trials at each rate; None if no trial failed, or all trials failed.

    The likelihood of the logistic curve is maximised on a grid, which also handles failures that are completely separated by a
    rate: the curve is then a step anywhere between two rates, and `half` is the middle.

    >>> found = boundary({0.1: (0, 5), 0.2: (0, 5), 0.4: (3, 5), 0.8: (5, 5)})
    >>> found.safe, found.fatal, 0.2 < found.low < found.half < found.high < 0.8
    (0.2, 0.8, True)
    """
    rates = sorted(failed)
    bad = np.array([failed[r][0] for r in rates], dtype=float)
    good = np.array([failed[r][1] for r in rates], dtype=float) - bad
    if not bad.any() or not good.any() or bad[0]:
        return None
    x = np.log(rates)
    first, last = int(np.flatnonzero(bad)[0]), int(np.flatnonzero(good)[-1])
    step = float(np.diff(x).min())
    middles = np.linspace(x[0] - (x[1] - x[0]), x[-1] + (x[-1] - x[-2]), 2001)
    widths = np.geomspace(step / 20, x[-1] - x[0], 80)
    z = (x - middles[:, None, None]) / widths[:, None]
    likelihood = -(bad * np.logaddexp(0, -z) + good * np.logaddexp(0, z)).sum(axis=2)
    profile = likelihood.max(axis=1)
    top = profile.max()
    equal = middles[profile > top - 1e-3]
    half = float(equal.mean())
    inside = middles[2 * (top - profile) <= 3.841]
    ends = [None if edge in (middles[0], middles[-1]) else math.exp(edge) for edge in (inside[0], inside[-1])]
    width = float(widths[likelihood[int(np.abs(middles - half).argmin())].argmax()])
    fatal = rates[last + 1] if last + 1 < len(rates) else None
    return Boundary(rates[first - 1], fatal, math.exp(half), ends[0], ends[1], width)


def study(options: Options) -> Answer:
    """Train with constant rates, and find the best rate and the boundary."""
    epochs, seeds = options.size(small=(6, 2), full=(20, 5))

    def train(rates: Sequence[float]) -> Comparison:
        return compare(
            {_name(rate): rate for rate in sorted(rates)},
            read_task(options.task, options.data_dir),
            epochs=epochs,
            seeds=seeds,
            **options.running,
        )

    rates = set(_SMALL if options.small else _GRID)
    found = train(tuple(rates))
    for _ in range(_DOUBLINGS):
        if _failures(found)[max(rates)][0]:
            break
        rates.add(float(f"{2 * max(rates):.3g}"))
        found = _joined(found, train([max(rates)]))
    if (edge := boundary(_large(found))) is not None and edge.fatal is not None:
        between = np.geomspace(edge.safe, edge.fatal, 3 if options.small else 5)[1:-1]
        more = [r for r in (float(f"{b:.2g}") for b in between) if r not in rates]
        if more:
            found = _joined(found, train(more))
    return _answer(options.task, found)


def _name(rate: float) -> str:
    return f"{rate:g}"


def _joined(a: Comparison, b: Comparison) -> Comparison:
    schedules = a.schedules | b.schedules
    ordered = {name: schedules[name] for name in sorted(schedules, key=float)}
    return replace(a, schedules=ordered, outcomes=a.outcomes | b.outcomes, frameworks={})


def _failures(found: Comparison) -> dict[float, tuple[int, int]]:
    return {float(row.name): (row.diverged + row.collapsed, row.trials) for row in found.summary()}


def _large(found: Comparison) -> dict[float, tuple[int, int]]:
    """The failures from the rate with the lowest training loss on. Smaller rates fail, too, but because training is too slow."""
    fastest = loss_ranking(found)
    return {r: f for r, f in _failures(found).items() if fastest is not None and r >= float(fastest.best)}


# --- the answer --------------------------------------------------------------------------------------------------------


def _answer(task: str, found: Comparison) -> Answer:
    by_test, by_loss = accuracy_ranking(found), loss_ranking(found)
    gaps = {row.name: row.gap for row in found.summary()}
    edge = boundary(_large(found))
    seeds = counted(len(found.seeds), "seed")
    text = [f"{task}, {counted(found.plan.epochs, 'epoch')}, batch size {found.plan.batch_size}, {seeds} a rate."]
    if by_test is None or by_loss is None:
        text.append("**No rate of those tried was survived by every seed, so there is no best one.**")
    else:
        text += [_best(by_test, by_loss, found), _gap(by_test, by_loss, gaps)]
    text.append(_fails(found, by_test, edge))
    figures = {
        "task": task,
        "epochs": found.plan.epochs,
        "seeds": list(found.seeds),
        "rates": [
            {
                "rate": float(row.name),
                "finished": row.finished,
                "diverged": row.diverged,
                "collapsed": row.collapsed,
                "train_loss": row.train_loss,
                "test_accuracy": row.test_accuracy,
                "gap": row.gap,
            }
            for row in found.summary()
        ],
        "best by test accuracy": by_test,
        "best by training loss": by_loss,
        "boundary": edge,
    }
    headings = ("rate", "train loss", "test accuracy", "train - test accuracy", "diverged", "collapsed")
    rows = [
        (row.name, row.train_loss, row.test_accuracy, row.gap, row.diverged, row.collapsed) for row in found.summary()
    ]
    return Answer(
        NAME,
        _verdict(found, by_test, edge),
        "\n\n".join(text),
        {f"Constant rates, {interval_of(len(found.seeds))}": Table(headings, rows)},
        {"fixed-rates": _picture(found, edge)},
        figures,
    )


def _verdict(found: Comparison, by_test: Ranking | None, edge: Boundary | None) -> str:
    """The answer to both questions in a sentence: the best rate, and where training fails."""
    largest = list(found.schedules)[-1]
    if edge is not None:
        fails = f"half of the seeds fail at {edge.half:.2g} ({_known(edge)})"
    elif any(failed for failed, _ in _large(found).values()):
        fails = "where training begins to fail lies beside the rates that were tried"
    else:
        fails = f"no rate up to {largest} makes training fail"
    if by_test is None:
        return f"No rate of those tried was survived by every seed, so none is ahead; {fails}."
    if by_test.lead is None:
        return f"There is one rate alone that every seed survived, {by_test.best} ({short(by_test.value)}); {fails}."
    if by_test.decided:
        return f"Shown to be the best rate is {by_test.best} ({short(by_test.value)}); {fails}."
    settle = settled_by(by_test, f"laju study {NAME} …")
    return f"No rate is shown to be the best: {opening(by_test)}; {fails}; {settle}."


def _known(edge: Boundary) -> str:
    """How well the boundary is known."""
    if edge.low is None or edge.high is None:
        return f"somewhere above {edge.safe:g}" if edge.fatal is None else f"{edge.safe:g} to {edge.fatal:g}"
    return f"95 % interval {edge.low:.2g} to {edge.high:.2g}"


def _best(by_test: Ranking, by_loss: Ranking, found: Comparison) -> str:
    whole = [float(name) for name in finals(found, "test_accuracy")]
    text = f"**{ahead(by_test)} {by_test.best}: {by_test.value.text()}.** {untold(by_test, 'rate')} "
    text += extreme(by_loss, "rate")
    if float(by_test.best) == min(whole):
        text += " It is the smallest rate that was tried, so a smaller one may be better."
    return text


def _gap(by_test: Ranking, by_loss: Ranking, gaps: Mapping[str, Estimate | None]) -> str:
    gap = gaps[by_test.best]
    assert gap is not None
    text = f"At {by_test.best} training accuracy less test accuracy is {gap.text(signed=True)}: "
    text += claim(
        gap,
        above="it overfits.",
        below="it has not fitted the training data yet, so more epochs may help.",
        otherwise="no overfitting that these seeds show.",
    )
    other = gaps[by_loss.best]
    if by_loss.best != by_test.best and other is not None:
        text += f" At {by_loss.best} it is {other.text(signed=True)}."
    return text


def _fails(found: Comparison, by_test: Ranking | None, edge: Boundary | None) -> str:
    rows = found.summary()
    least = 0.0 if by_test is None else float(by_test.best)
    failed = [row for row in rows if row.diverged + row.collapsed and float(row.name) > least]
    slow = [row.name for row in rows if row.diverged + row.collapsed and float(row.name) < least]
    text = ""
    if not failed:
        text = f"**No rate up to {rows[-1].name} made training fail**, so the boundary is above it."
    elif edge is None:
        text = f"**Training fails at {listed(row.name for row in failed)}.**"
    else:
        text = f"**Training fails for half of the seeds at a rate of {edge.half:.2g}** ({_known(edge)})"
        text += f": every seed survives {edge.safe:g}, "
        text += "some survive every rate tried" if edge.fatal is None else f"none survives {edge.fatal:g} or more"
        mixed = [
            f"{row.diverged + row.collapsed} of {row.trials} fail at {row.name}"
            for row in failed
            if row.finished and float(row.name) > edge.safe
        ]
        text += f"; {listed(mixed)}." if mixed else "."
        if by_test is not None:
            text += f" {by_test.best} is {100 * float(by_test.best) / edge.half:.0f} % of that."
    if failed:
        diverged, collapsed = sum(row.diverged for row in failed), sum(row.collapsed for row in failed)
        missed = "collapsed to guessing with a finite loss, which a check for NaN would miss"
        if not diverged:
            text += f" {'The one failure' if collapsed == 1 else f'All {collapsed} failures'} above {least:g} {missed}."
        elif not collapsed:
            text += " In every failure the loss became NaN or infinite."
        else:
            text += (
                f" Of the trials above {least:g}, {collapsed} {missed}; the loss of {diverged} became NaN or infinite."
            )
    if slow:
        text += f" At {listed(slow)} some seeds had not learned anything yet: too small a rate for this many epochs."
    return text


def _picture(found: Comparison, edge: Boundary | None) -> Figure:
    figure, axes = panels(1, 3, 12.0, 4.0)
    rates = [float(name) for name in found.schedules]
    for ax, title in zip(axes, ("Test accuracy", "Training loss", "Share of seeds that fail"), strict=True):
        titled(ax, title, "constant rate")
        ax.set_xscale("log")
        plain_numbers(ax.xaxis)
        ax.set_xlim(min(rates) / 1.3, max(rates) * 1.3)
    _draw_figure(axes[0], found, "test_accuracy")
    _draw_figure(axes[1], found, "train_loss")
    _draw_failed(axes[2], found, edge)
    return figure


def _draw_figure(ax: Any, found: Comparison, panel: str) -> None:
    """A dot for every seed, and the means of the rates that every seed survived."""
    dots = [row for row in found.trials() if row["status"] == "finished"]
    ax.scatter([float(d["schedule"]) for d in dots], [d[panel] for d in dots], s=14, color=PALETTE[0], alpha=0.45, lw=0)
    whole = finals(found, panel)
    means = {float(name): float(np.mean(list(seeds.values()))) for name, seeds in whole.items()}
    ax.plot(list(means), list(means.values()), color=PALETTE[0], lw=1.8)
    best = rank(whole, smallest=panel == "train_loss")
    if best is not None:
        ax.plot(float(best.best), best.value.mean, "o", ms=9, mfc="none", mec=PALETTE[1], mew=1.8)
        which, offset = ("lowest", -16) if panel == "train_loss" else ("highest", 10)
        place: dict[str, Any] = {"xytext": (0, offset), "textcoords": "offset points", "ha": "center"}
        ax.annotate(f"{which} mean: {best.best}", (float(best.best), best.value.mean), color=PALETTE[1], **place)
    if panel == "train_loss":
        ax.set_yscale("log")
        values = [d[panel] for d in dots]
        if values:
            ax.set_ylim(min(values) / 2.5, max(values) * 1.6)
        plain_numbers(ax.yaxis, ticks=False)
    elif whole:  # survivors of the remaining rates may be anywhere down to guessing
        values = [value for seeds in whole.values() for value in seeds.values()]
        low, high = min(values), max(values)
        ax.set_ylim(max(low - 0.02, 0), high + max(0.25 * (high - low), 0.01))


def _draw_failed(ax: Any, found: Comparison, edge: Boundary | None) -> None:
    rows = found.summary()
    rates = np.array([float(row.name) for row in rows])
    collapsed, diverged = (np.array([getattr(row, kind) / row.trials for row in rows]) for kind in _FAILURES)
    bar: dict[str, Any] = {"width": 0.16 * rates, "lw": 0}
    names = [*_FAILURES]
    handles = [
        ax.bar(rates, collapsed, color=PALETTE[4], **bar),
        ax.bar(rates, diverged, bottom=collapsed, color=PALETTE[1], **bar),
    ]
    if edge is not None:
        low, high = ax.get_xlim()
        rates = np.geomspace(low, high, 400)
        (line,) = ax.plot(rates, [edge.chance(r) for r in rates], color=INK, lw=1.4)
        handles.append(line)
        names.append("logistic curve")
        if edge.low is not None and edge.high is not None:
            handles.append(ax.axvspan(edge.low, edge.high, color=PALETTE[0], alpha=0.15, lw=0, zorder=0))
            names.append("half fail, 95 %")
    ax.set_ylim(0, 1.04)
    legend(ax, handles, names, loc="upper left", fontsize=9)
