"""A forecast as a picture: measured losses as points, predicted losses as lines with bands, and the learning rates below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.forecast.curves import Curve, Rates, as_rates
from laju.view.plot import INK, Picture, draw_steps, legend, line_style, need, tidy

if TYPE_CHECKING:
    from laju.forecast.cooldowns import Way
    from laju.forecast.ending import Ending
    from laju.forecast.fitting import FittedLaw

_POINTS = 150
_BEGIN = 0.15  # of a run: the axis begins at the loss there, or the fall before would take up the whole axis
_NAMED = 4  # more measured curves than so many share a line of the legend
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_GREYS = ("#8a94a3", "#5d6877", "#aab2bd")


def picture(
    law: FittedLaw,
    schedules: Mapping[str, Rates],
    updates: int | Mapping[str, int],
    *,
    measured: Sequence[Curve] | None = None,
    title: str | None = None,
    level: float = 0.9,
) -> Picture:
    """Draw a law's predictions for schedules, with bands, beside the measured losses.

    A curve of `measured` with the name of a schedule has the schedule's colour, so that forecast and outcome can be compared; the
    remaining curves are grey. The learning rates are drawn below. The first losses of a run are cut off at the top of the axis,
    so that the end of the run is visible.

    Args:
        law: a fitted law.
        schedules: schedules in updates, or arrays of learning rates, by name.
        updates: updates of the runs; a number for all, or a number by name.
        measured: curves to draw as points; by default the curves of the fit.
        title: title above the picture; no title by default.
        level: probability of the bands.

    Returns:
        A picture whose `axes` are the axes of the losses.

    Raises:
        ValueError: if there are neither schedules nor curves, or for arguments that `law.predict` refuses.
        ModuleNotFoundError: if Matplotlib is not installed.
    """
    curves = law.curves if measured is None else tuple(measured)
    outcomes = set() if measured is None else set(schedules)
    lengths = {name: updates if isinstance(updates, int) else updates[name] for name in schedules}
    if not schedules and not curves:
        raise ValueError("there is nothing to draw")
    figure, losses, rates = _panels()
    first = min((int(curve.updates[0]) for curve in (*curves, *law.curves)), default=1)
    lines, names, ends, starts = [], [], [], []

    greys = 0
    for curve in curves:
        chosen = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), _POINTS)).astype(int))
        own = list(schedules).index(curve.name) if curve.name in outcomes else None
        if own is None:
            color, marker = _GREYS[greys % len(_GREYS)], _MARKERS[greys % len(_MARKERS)]
        else:
            color, marker = line_style(own)["color"], "o"
        (points,) = losses.plot(
            curve.updates[chosen], curve.loss[chosen], marker, color=color, ms=3.2, mew=0, alpha=0.75, zorder=2
        )
        if own is None:
            lines.append(points)
            names.append(f"{curve.name}, measured")
            greys += 1
        ends.append(float(curve.loss.min()))
        starts.append(float(np.interp(_BEGIN * curve.updates[-1], curve.updates, curve.loss)))

    if greys > _NAMED:
        lines, names = lines[:1], [f"measured ({greys} curves)"]
    if any(curve.name in outcomes for curve in curves):
        lines += losses.plot([], [], "o", color=INK, ms=3.2, mew=0)
        names.append("measured")
    for i, (name, schedule) in enumerate(schedules.items()):
        n = lengths[name]
        at = np.unique(np.round(np.linspace(min(first, n), n, 250)).astype(int))
        mean, lower, upper = law.forecast(schedule, at, level)
        losses.fill_between(at, lower, upper, color=line_style(i)["color"], alpha=0.16, linewidth=0, zorder=1)
        (line,) = losses.plot(at, mean, linewidth=1.8, zorder=3, **line_style(i))
        draw_steps(rates, as_rates(schedule, n), i, linewidth=1.5)
        lines.insert(i, line)
        names.insert(i, name)
        ends.append(float(lower.min()))
        starts.append(float(np.interp(_BEGIN * n, at, mean)))
    if not schedules:
        for curve in curves:
            rates.plot(curve.rates, color=_GREYS[0], linewidth=1.2)

    low, high = min(ends), max(starts)
    losses.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
    losses.set_xlim(0, max([*lengths.values(), *(int(c.updates[-1]) for c in curves)]))
    return _labelled(figure, losses, rates, lines, names, title)


def _panels() -> tuple[Any, Any, Any]:
    """A figure with the losses above and the rates below, over the same updates."""
    need("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 5.2), layout="constrained")
    return figure, *figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))


def _labelled(figure: Any, losses: Any, rates: Any, lines: list[Any], names: list[str], title: str | None) -> Picture:
    """The picture of two panels with labels, ticks and legend."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    rates.set_ylim(bottom=0)
    rates.xaxis.set_major_locator(MaxNLocator(integer=True))
    rates.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    rates.yaxis.set_major_locator(MaxNLocator(3))
    rates.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.4g}"))
    losses.set_ylabel("loss", color=INK)
    rates.set_ylabel("learning rate", color=INK)
    rates.set_xlabel("update", color=INK)
    for ax in (losses, rates):
        tidy(ax)
    if title is not None:
        losses.set_title(title, loc="left", color=INK, parse_math=False)
    legend(losses, lines, names, loc="upper right", fontsize=9)
    return Picture(figure, losses)


def ending_picture(
    found: Ending,
    updates: Any,
    losses: Any,
    schedule: Rates,
    *,
    ways: Sequence[Way] = (),
    later: tuple[Any, Any] | None = None,
    title: str | None = None,
) -> Picture:
    """Draw the losses so far, the learning rates of the whole run, and the forecast of the final loss with its band.

    Args:
        found: the result of `ending`; for a refusal, only losses and learning rates are drawn.
        updates: the updates passed to `ending`; shape (n,).
        losses: the losses passed to `ending`; shape (n,).
        schedule: the schedule passed to `ending`.
        ways: alternative schedules from `cooldowns`, whose forecasts and learning rates are also drawn unless `later` is given.
        later: (updates, losses) measured after the forecast, two arrays of the same shape.
        title: title above the picture; no title by default.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
    """
    figure, above, below = _panels()
    at, loss = np.asarray(updates, dtype=float), np.asarray(losses, dtype=float)
    end = int(found.at or at[-1])
    (points,) = above.plot(at, loss, "o", color=_GREYS[0], ms=3.2, mew=0)
    lines, names = [points], ["measured"]
    lowest = [float(np.nanmin(loss))]
    if later is not None:
        ways = ()
        lines += above.plot(*later, "o", mfc="none", mec=_GREYS[0], ms=3.2, mew=0.8)
        names[0], after = f"seen, up to update {at[-1]:,.0f}", "came out after the forecast"
        names.append(after)
        lowest.append(float(np.nanmin(later[1])))
    if found.value is not None and found.low is not None and found.high is not None:
        lines.append(_end(above, found, 0))
        names.append(f"end: {found.value:#.4g}, {found.level:.0%} from {found.low:.4g} to {found.high:.4g}")
        lowest.append(found.low)
    others = [way for way in ways if way.name != "as planned" and way.ending.value is not None]
    last = end
    for i, way in enumerate(others, 1):
        lines.append(_end(above, way.ending, i, shift=0.008 * end if way.ending.at == end else 0.0))
        names.append(f"{way.name}: {way.ending.value:.4g}")
        lowest.append(float(way.ending.low or 0.0))
        length = int(way.ending.at or end)
        draw_steps(below, way.schedule.values(length), i, linewidth=1.2)
        last = max(last, length)
    highest = float(np.interp(_BEGIN * at[-1], at, loss))
    above.set_ylim(min(lowest) - 0.06 * (highest - min(lowest)), highest + 0.04 * (highest - min(lowest)))
    draw_steps(below, as_rates(schedule, end), 0, linewidth=1.5)
    below.axvline(at[-1], color=_GREYS[0], linewidth=1, linestyle=":")
    above.set_xlim(0, last * 1.02)
    return _labelled(figure, above, below, lines, names, title)


def _end(axes: Any, found: Ending, style: int, shift: float = 0.0) -> Any:
    """The end with its band."""
    assert found.at is not None
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    band = [[found.value - found.low], [found.high - found.value]]
    color = line_style(style)["color"]
    return axes.errorbar(
        [found.at + shift], [found.value], band, fmt="o", color=color, capsize=5, elinewidth=2.2, zorder=3
    )
