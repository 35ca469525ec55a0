"""A schedule as a picture: in Matplotlib, or as text in the terminal.

Matplotlib and plotext are imported when a picture is asked for, never by `import laju`.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from laju.core.extras import install_command, needed_by
from laju.core.schedule import Schedule

if TYPE_CHECKING:
    from laju.core.units import RunPlan

Schedules = Schedule | Mapping[str, Schedule] | Sequence[Schedule]

# Okabe and Ito's colours, distinct for any colour vision, without the yellow, which is hard to see on white paper.
# From the eighth curve on the colours come again with another dash.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#3b3b3b")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.2, 1.5)))
INK, GRID = "#222b38", "#d9dee5"
SUFFIXES = (".png", ".svg", ".pdf")

_MARKS = "*+xo#@%&=~"  # curves in a terminal without colours
ANSI = (12, 9, 10, 13, 11, 14, 7)  # the palette's nearest among the sixteen that a terminal's own theme sets


class LettersMissing(UserWarning):
    """Warning that a picture shows boxes in place of letters that its fonts lack."""


@contextmanager
def letters() -> Iterator[None]:
    """Collect Matplotlib's warnings about missing letters, one per letter, into a single `LettersMissing` at the block's end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    lost = []
    for warning in caught:
        if found := re.match(r"Glyph (\d+) ", str(warning.message)):
            lost.append(chr(int(found[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if lost:
        named = "".join(dict.fromkeys(lost))
        warnings.warn(LettersMissing(f"pictures show boxes, as their font lacks the letters {named}"), stacklevel=3)


@dataclass(frozen=True)
class Picture:
    """A drawn picture: Matplotlib's figure and axes, to change further or to save; notebooks show the figure."""

    figure: Any
    axes: Any

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture as .png, .svg or .pdf.

        Raises:
            ValueError: for an unknown suffix.
            OSError: if the file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"cannot save {str(path)!r}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
            )
        with letters():
            self.figure.savefig(target, dpi=160, bbox_inches="tight", facecolor="white")
        return target

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", facecolor="white")
        return buffer.getvalue()


def plot(
    schedules: Schedules,
    updates: int | None = None,
    *,
    plan: RunPlan | None = None,
    ax: Any = None,
    title: str | None = None,
    label: str = "learning rate",
    log: bool = False,
) -> Picture:
    """Draw one or more schedules over the updates of a run.

    The value of update t is drawn from t to t + 1, so a jump looks like a jump. Long runs are thinned to a few thousand
    points that keep every peak, every valley and the largest jumps.

    Args:
        schedules: a schedule, a dict of schedules by name, or a list.
        updates: number of updates to draw; by default the plan's, else the longest schedule's.
        plan: the run; converts epochs and percentages to updates, and marks the epochs above the picture.
        ax: Matplotlib axes to draw into; by default a new figure.
        title: title above the picture; no title by default.
        label: label of the vertical axis.
        log: whether the vertical axis is logarithmic.

    Raises:
        ValueError: if there is no schedule to draw, or no length.
        ModuleNotFoundError: if Matplotlib is not installed.

    >>> from laju import cosine
    >>> picture = plot({"warmup 5": cosine(0.3, total=20, warmup=5)})
    >>> picture.axes.get_ylabel()
    'learning rate'
    """
    named, n = _prepare(schedules, updates, plan)
    own = ax is None
    if ax is None:
        need("matplotlib")
        from matplotlib.figure import Figure

        # A Figure of its own, not pyplot's, is no part of any global state and is freed with its last reference.
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        ax = figure.add_subplot()
    else:
        figure = ax.figure
    values = [s.values(n) for s in named.values()]
    lines = [
        draw_steps(ax, v, i, label=name, gid=curve_id(i)) for i, (name, v) in enumerate(zip(named, values, strict=True))
    ]
    ax.set_xlim(0, n)
    if log:
        peak = max(float(v.max()) for v in values)
        least = min((float(v[v > 0].min()) for v in values if (v > 0).any()), default=0.0)
        if not least:
            raise ValueError("a logarithmic axis needs a value above 0")
        ax.set_yscale("log")
        ax.set_ylim(max(least, 1e-4 * peak) / 1.3, 1.3 * peak)  # a decay to 0 would take up the whole axis
    elif all(v.min() >= 0 for v in values):
        ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(_whole_ticks())
    ax.set_xlabel("update", color=INK)
    ax.set_ylabel(label, color=INK)
    tidy(ax)
    if title is not None:
        ax.set_title(printable(title), loc="left", color=INK, parse_math=False)
    if plan is not None:
        _mark_epochs(ax, plan)
    if len(named) > 1 and not own:
        legend(ax, lines, list(named), loc="best")
    elif len(named) > 1 and max(map(len, named)) < 30:
        legend(figure, lines, list(named), loc="outside right upper")
    elif len(named) > 1:
        figure.set_figheight(figure.get_figheight() + 0.23 * len(named))
        legend(figure, lines, list(named), loc="outside lower center")
    return Picture(figure, ax)


def sketch(
    schedules: Schedules,
    updates: int | None = None,
    *,
    plan: RunPlan | None = None,
    width: int | None = None,
    height: int = 20,
    color: bool | None = None,
) -> str:
    """Draw one or more schedules as text, for the terminal.

    Args:
        schedules: a schedule, a dict of schedules by name, or a list.
        updates: number of updates to draw; by default the plan's, else the longest schedule's.
        plan: the run; converts epochs and percentages to updates.
        width, height: size in characters, without the legend below; by default the terminal's width, and 20 lines.
        color: whether colours distinguish the curves; by default only if the output is a terminal that shows colours.

    Returns:
        Lines of text: plain characters without `color`, otherwise with ANSI colour codes.

    Raises:
        ValueError: if there is no schedule to draw, no length, or the size is below 20 by 5 characters.
        ModuleNotFoundError: if plotext is not installed.
    """
    named, n = _prepare(schedules, updates, plan)
    width = shutil.get_terminal_size().columns if width is None else width
    if width < 20 or height < 5:
        raise ValueError(f"a sketch needs at least 20 by 5 characters, got {width} by {height}")
    color = _shows_color() if color is None else color
    plotext, figure = text_figure(width, height, color)
    plain = len(named) > 1 and not color
    marks = [_MARKS[i % len(_MARKS)] if plain else "⠤⠤" for i in range(len(named))]
    low, high = 0.0, 0.0
    for i, s in enumerate(named.values()):
        x, y = thin(s.values(n), limit=4 * width)
        low, high = min(low, float(y.min())), max(high, float(y.max()))
        # Corners are spelt out, since plotext joins points with straight lines.
        xs, ys = np.repeat(np.append(x, n), 2)[1:-1], np.repeat(y, 2)
        marker = plotext.marker(marks[i] if plain else "braille", ANSI[i % len(ANSI)] if color else None)
        figure.draw(figure.signal(xs.tolist(), ys.tolist(), marker=marker).lines(True))
    per_tick, unit = (plan.updates_per_epoch, "epoch") if plan is not None else (1, "update")
    ticks = _ticks(n / per_tick, most=max(2, width // 12))
    figure.ruler("x", "lower").lim(0, n).ticks([float(t * per_tick) for t in ticks], [str(t) for t in ticks])
    if low == high:
        high = 1.0
    # Fewer than one mark to two lines: plotext writes the labels of one line over each other.
    levels = np.linspace(low, high, max(2, min(5, (height - 3) // 2))).tolist()
    figure.ruler("y", "left").lim(low, high).ticks(levels, [f"{level:.3g}" for level in levels])
    lines = [line.rstrip() for line in figure.build().string(not color).splitlines()]
    lines.append(unit.rjust(width))
    for i, name in enumerate(named):
        mark = f"\x1b[38;5;{ANSI[i % len(ANSI)]}m{marks[i]}\x1b[0m" if color else marks[i]
        lines.append(f"  {mark} {printable(name)}")
    return "\n".join(lines)


def text_figure(width: int, height: int, color: bool) -> tuple[Any, Any]:
    """The module plotext and an empty figure of the given size in characters.

    Raises:
        ModuleNotFoundError: if plotext is not installed.
        ImportError: if plotext is too old.
    """
    plotext = need("plotext")
    if not hasattr(plotext, "figure"):
        raise ImportError(f"drawing in the terminal needs plotext 6 or newer: {install_command('plotext', 'plot')}")
    # A terminal and figure of our own: plotext's global ones keep whatever the caller has drawn, and their size limit.
    terminal = type(plotext.terminal)()
    terminal.limit(False, False)
    figure = type(plotext.figure)(terminal)
    figure.plot_size(width, height)
    figure.theme("simple" if color else "colorless")
    return plotext, figure


def need(package: str) -> Any:
    """Import an optional package for drawing; the error of a missing package has the command that installs the package."""
    with needed_by("drawing", "plot"):
        return importlib.import_module(package)


def thin(values: NDArray[np.float64], limit: int = 4000) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The updates and values that suffice to draw a long run; all values if there are at most `limit`.

    The first, last, smallest and largest value of each of `limit / 8` segments are kept, which does not change the picture as
    long as a segment is narrower than a pixel, and also both sides of the largest jumps.

    >>> thin(np.r_[np.zeros(70_001), np.ones(29_999)], limit=80)[0].tolist().count(70_001)
    1
    """
    n = len(values)
    if n <= limit:
        return np.arange(n), values
    edges = np.linspace(0, n, limit // 8 + 1).astype(np.int64)
    # The first and last value of a stretch join it to its neighbours where they are; its smallest and largest alone could fill
    # the gap between two stretches with a slope.
    kept = [edges[:-1], edges[1:] - 1]
    for start, stop in pairwise(edges):
        stretch = values[start:stop]
        kept.append(start + np.array([stretch.argmin(), stretch.argmax()]))
    # Inside a stretch only the extremes are kept, which would turn a jump into a slope: keep both sides of the largest.
    jumps = np.abs(np.diff(values))
    largest = np.argpartition(jumps, -(limit // 8))[-(limit // 8) :]
    kept += [largest, largest + 1]
    t = np.unique(np.concatenate(kept))
    return t, values[t]


def line_style(i: int) -> dict[str, Any]:
    """Colour and dash of the i-th curve."""
    return {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[i // len(PALETTE) % len(DASHES)]}


def curve_id(i: int) -> str:
    """The group id for an artist of the i-th curve of a page; the script of `laju.view.page` finds the curve by this id."""
    return f"curve-{i}-"


def draw_steps(ax: Any, values: NDArray[np.float64], i: int, per: float = 1, limit: int = 4000, **style: Any) -> Any:
    """Draw values as steps, the t-th from t / per to (t + 1) / per, in the style of the i-th curve.

    More than `limit` values are thinned, and the rest is joined by straight lines: a step would last for several updates.
    """
    t, v = thin(values, limit)
    style = {**line_style(i), "linewidth": 1.8, "solid_capstyle": "butt", **style}
    drawstyle = "steps-post" if len(t) == len(values) else "default"
    (line,) = ax.plot(np.append(t, len(values)) / per, np.append(v, v[-1]), drawstyle=drawstyle, **style)
    return line


def tidy(ax: Any) -> None:
    """Style axes: two spines, a faint grid, and the same colour for all text."""
    ax.set_facecolor("none")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(INK)
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(which="both", color=INK, labelcolor=INK)
    ax.grid(visible=True, color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)


def titled(ax: Any, title: str, xlabel: str = "", size: float = 12) -> None:
    """Tidy axes with a bold title at the left, and the words along the horizontal axis."""
    tidy(ax)
    ax.set_title(title, loc="left", color=INK, fontsize=size, fontweight="bold", pad=10 if size >= 12 else None)
    if xlabel:
        ax.set_xlabel(xlabel, color=INK)


def legend(where: Any, lines: Sequence[Any], names: Sequence[str], **options: Any) -> Any:
    """A legend of axes or a figure with the names unchanged: no mathematics between dollars, no hidden `_names`."""
    box = where.legend(
        lines, ["name"] * len(names), frameon=False, **{"labelcolor": INK, "handlelength": 2.4, **options}
    )
    for text, name in zip(box.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(printable(name, most=60))
    return box


def printable(name: str, most: int | None = None) -> str:
    """A name as printable text: control characters spelt out, and the middle left out beyond `most` characters.

    >>> printable("a\\x1b[31m"), printable("a long name", most=7)
    ('a\\\\x1b[31m', 'a l…ame')
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    if most is not None and len(text) > most:
        text = f"{text[: (most - 1) // 2]}…{text[len(text) - most // 2 :]}"
    return text


def _prepare(schedules: Schedules, updates: int | None, plan: RunPlan | None) -> tuple[dict[str, Schedule], int]:
    """The schedules by name, in updates, and how many updates to draw."""
    if isinstance(schedules, Schedule):
        schedules = [schedules]
    if isinstance(schedules, Mapping):
        named = dict(schedules)
    else:
        named = {}
        for schedule in schedules:
            name, again = str(schedule), 2
            while name in named:
                name, again = f"{schedule} ({again})", again + 1
            named[name] = schedule
    if not named:
        raise ValueError("there is no schedule to draw")
    if plan is not None:
        named = {name: s.resolve(plan) for name, s in named.items()}
        updates = plan.updates if updates is None else updates
    if updates is None:
        lengths = [s.length for s in named.values()]
        updates = max((math.ceil(length) for length in lengths if isinstance(length, int | float)), default=None)
    if updates is None:
        raise ValueError("the schedules have no length in updates: say how many to draw with updates= or plan=")
    if updates < 1:
        raise ValueError(f"updates must be at least 1, got {updates!r}")
    return named, updates


def _mark_epochs(ax: Any, plan: RunPlan) -> None:
    per = plan.updates_per_epoch
    above = ax.secondary_xaxis("top", functions=(lambda t: t / per, lambda e: e * per))
    above.xaxis.set_major_locator(_whole_ticks())
    above.set_xlabel("epoch", color=INK)
    above.tick_params(color=INK, labelcolor=INK)
    above.spines["top"].set_color(INK)


def _whole_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def _ticks(end: float, most: int) -> list[int]:
    """At most `most` round whole numbers from 0 to `end`."""
    steps = (k * 10**e for e in range(20) for k in (1, 2, 5))
    step = next(s for s in steps if end / s + 1 <= most)
    return list(range(0, int(end) + 1, step))


def _shows_color() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
