"""A range test as a picture: the losses of all seeds over the rate, smoothed, and the suggestions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from laju.lab.range_test.curve import Curve, Suggestion
from laju.view.plot import INK, PALETTE, Picture, legend, need, tidy

_COLORS = (PALETTE[1], PALETTE[2], PALETTE[3])
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))


def picture(
    curves: Sequence[Curve],
    suggestions: Sequence[Suggestion],
    ends: Sequence[float],
    span: tuple[float, float],
    title: str | None = None,
) -> Picture:
    """Draw a range test: points are losses, thin lines the smoothed losses of each seed, the thick line their mean.

    A suggestion is a vertical line, and its interval a bar across that line; crosses at the top mark where seeds diverged.

    Args:
        curves: the curve of each seed.
        suggestions: the suggestion of every rule.
        ends: the rates at which seeds diverged.
        span: the lowest and the highest rate of the test.
        title: the title above the picture.
    """
    need("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    ax = figure.add_subplot()
    ax.set_xscale("log")
    lines: list[Any] = []
    names: list[str] = []
    for curve in curves:
        ax.plot(curve.rates, curve.losses, ".", color="#aab2bd", ms=3, mew=0, zorder=1)
        ax.plot(curve.rates, curve.smoothed.values, color=PALETTE[0], linewidth=0.8, alpha=0.6, zorder=2)
    lines += ax.plot([], [], ".", color="#aab2bd", ms=6, mew=0)
    names.append("loss of an update")
    if len(curves) == 1:
        lines += ax.plot([], [], color=PALETTE[0], linewidth=0.8)
        names.append("smoothed")
    else:
        # Where seeds are missing that have diverged already, a mean would jump.
        n = min(len(curve.losses) for curve in curves)
        mean = np.mean([curve.smoothed.values[:n] for curve in curves], axis=0)
        lines += ax.plot(curves[0].rates[:n], mean, color=PALETTE[0], linewidth=2.2, zorder=4)
        names.append(f"smoothed, {len(curves)} seeds and mean")
    low, high = _limits(curves)
    ax.set_ylim(low, high)
    for i, (suggestion, color, dash) in enumerate(zip(suggestions, _COLORS, _DASHES, strict=True)):
        if suggestion.rate is None:
            continue
        lines.append(ax.axvline(suggestion.rate, color=color, linestyle=dash, linewidth=1.8, zorder=3))
        names.append(f"{suggestion.rule}: {suggestion.rate:.2g}")
        if suggestion.low is not None and suggestion.high is not None:
            height = low + (0.035 + 0.04 * i) * (high - low)
            bar = [max(suggestion.low, span[0]), min(suggestion.high, span[1])]
            ax.plot(bar, [height, height], color=color, linewidth=4, alpha=0.75, solid_capstyle="butt", zorder=5)
    if ends:
        lines += ax.plot(ends, [high] * len(ends), "X", color=INK, ms=7, mew=0, clip_on=False, zorder=5)
        names.append("diverged")
    ax.set_xlim(*span)
    ax.set_xlabel("learning rate", color=INK)
    ax.set_ylabel("loss", color=INK)
    tidy(ax)
    if title is not None:
        ax.set_title(title, loc="left", color=INK, parse_math=False)
    legend(figure, lines, names, loc="outside right upper", fontsize=9)
    return Picture(figure, ax)


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Axis limits that contain every smoothed loss up to the initial loss, and a part of the rise beyond."""
    values = [curve.smoothed.values for curve in curves if len(curve.losses)]
    if not values:
        return 0.0, 1.0
    low, first = min(float(v.min()) for v in values), max(float(v[0]) for v in values)
    spread = max(float(np.abs(v[:10] - v[0]).max()) for v in values)
    reach = max(first - low, spread, 1e-9 * abs(first), 1e-12)
    return low - 0.25 * reach, first + 0.45 * reach
