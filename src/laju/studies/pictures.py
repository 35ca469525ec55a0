"""The parts of studies' pictures: titled panels, axes with plain numbers, dots of seeds and intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.lab.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.lab.comparison.results import Results


def panels(rows: int, columns: int, width: float, height: float, **grid: Any) -> tuple[Figure, list[Any]]:
    """An empty white figure of the given size in inches, and its axes row by row.

    Args:
        rows, columns: the numbers of rows and columns of axes.
        width, height: the size of the figure in inches.
        grid: options of `Figure.subplots`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **grid).flat)


def plain_numbers(axis: Any, ticks: bool = True) -> None:
    """Label a logarithmic axis with numbers such as 0.02, at 1, 2 and 5 of each power of ten unless `ticks` is off."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if ticks:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def names_down(ax: Any, names: Sequence[str], margin: float = 0.5, **options: Any) -> None:
    """Draw a row label for each name, the first at the top."""
    ax.set_yticks(range(len(names)), names, **options)
    ax.set_ylim(len(names) - margin, -margin)


def seed_dots(ax: Any, seeds: Iterable[Sequence[float]], colors: Iterable[str], half: float) -> None:
    """Draw a row of dots for each name, a dot for each seed, with a bar of the given half height at the mean of the dots."""
    for y, (values, color) in enumerate(zip(seeds, colors, strict=True)):
        ax.scatter(values, [y] * len(values), s=18, color=color, alpha=0.45, lw=0)
        ax.plot([np.mean(values)] * 2, [y - half, y + half], color=color, lw=2.2)


def interval(ax: Any, value: Estimate, y: float, color: str) -> None:
    """Draw the mean with its interval along a row; the values themselves if there is no interval."""
    if value.low is None or value.high is None:
        ax.scatter(value.values or [value.mean], [y] * value.n, color=color, s=22)
        return
    arms = [[value.mean - value.low], [value.high - value.mean]]
    ax.errorbar(value.mean, y, xerr=arms, color=color, marker="o", ms=7, capsize=4, lw=1.8)


def mean_by_epoch(found: Results, name: str, figure: str) -> Mapping[float, list[float]]:
    """The seeds' values of a figure at the ends of epochs."""
    values: dict[float, list[float]] = {}
    for seed in found.seeds:
        for record in found.outcomes[name, seed].records:
            if record.test_accuracy is not None:
                values.setdefault(record.epoch, []).append(getattr(record, figure))
    return values
