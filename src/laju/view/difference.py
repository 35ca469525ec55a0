"""Two schedules and their difference, as a picture."""

from __future__ import annotations

from laju.core.schedule import Schedule
from laju.view.plot import INK, Picture, curve_id, draw_steps, legend, need, printable, tidy


def picture(a: Schedule, b: Schedule, updates: int, names: tuple[str, str] = ("a", "b")) -> Picture:
    """Draw both schedules, and their difference b - a below, with Matplotlib.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.

    >>> from laju import cosine, linear
    >>> [axes.get_ylabel() for axes in picture(cosine(1, total=9), linear(1, 0, total=9), 9).figure.axes]
    ['value', 'b - a']
    """
    need("matplotlib")
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    x, y = a.values(updates), b.values(updates)
    lines = [draw_steps(above, v, i, label=names[i], gid=curve_id(i)) for i, v in enumerate((x, y))]
    draw_steps(below, y - x, 2, label=f"{names[1]} - {names[0]}", gid=curve_id(2))
    below.axhline(0, color=INK, linewidth=0.8, zorder=0)
    above.set_ylabel("value", color=INK)
    below.set_ylabel(f"{printable(names[1], most=12)} - {printable(names[0], most=12)}", color=INK, parse_math=False)
    below.set_xlabel("update", color=INK)
    below.set_xlim(0, updates)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (above, below):
        tidy(axes)
    legend(above, lines, list(names), loc="best")
    return Picture(figure, above)
