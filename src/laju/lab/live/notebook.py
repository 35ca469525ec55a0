"""A figure with the curves of the running trials in a notebook, redrawn as the curves grow, and kept at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from laju.lab.live.curves import Curve, Pace, Palette, Panels, Tally, by_panel, highest
from laju.lab.live.duration import duration
from laju.lab.live.endings import Endings
from laju.lab.statistics import number
from laju.lab.trials import Outcome
from laju.lab.trials.progress import Running
from laju.view.plot import INK, PALETTE, legend, thin, tidy

_WIDTH, _HEIGHT, _ROW = 9.6, 3.3, 0.21
_DOTS, _POINTS = 100, 1000
_FAINT = "#b8bfc9"


class NotebookFigure:
    """A figure in the output of the cell that runs trials."""

    def __init__(self) -> None:
        self.tally, self.palette = Tally(), Palette()
        self.pace = Pace()
        self.endings = Endings()
        self.epochs, self.rows = 0.0, 0
        self.frame: _Frame | None = None
        self.handle: Any = None

    def start(self, total: int, kept: int, jobs: int) -> None:
        self.tally.begin(total, kept)
        self.epochs, self.rows = 0.0, 0

    def planned(self, updates: int, separately: int) -> None:
        pass

    def running(self, trials: list[Running]) -> None:
        if trials and self.pace.is_due():
            with self.pace.drawing():
                self._show_running(trials)

    def _show_running(self, trials: list[Running]) -> None:
        colors = self.palette.of_trials(trials)
        self.epochs = max(trial.epochs for trial in trials)
        self.endings.look(trials, self.tally.elapsed)
        ends = {id(trial): end and f", ends at {end}" for trial in trials for end in [self.endings.of(trial)]}
        names = {
            f"{trial.name}, seed {trial.seed}: epoch {trial.record.epoch:.1f}, rate {trial.record.rate:.3g}, "
            f"loss {number(trial.record.train_loss)}{ends[id(trial)]}": colors[trial.name, trial.seed]
            for trial in trials
        }
        left = self.tally.left(trials)
        about = "" if left is None else f", about {duration(left)} left"
        self._show(self.tally.curves(trials, colors), names, about)

    def finished(self, name: str, seed: int, outcome: Outcome) -> None:
        self.tally.add(name, outcome)

    def stop(self) -> None:
        """Draw the last figure, which has a curve for every schedule, of its latest seed."""
        self.endings.stop()
        latest = {name: outcome for name, outcome in self.tally.latest.items() if outcome.records}
        if not latest:
            return
        many = len(latest) > len(PALETTE)
        names, curves = dict[str, int | None](), list[Curve]()
        for name, outcome in latest.items():
            curves.append(Curve(outcome.records, None if many else self.palette.of_schedule(name)))
            if not many:
                names[name if outcome.status == "finished" else f"{name} ({outcome.status})"] = curves[-1].color
        self.epochs = max(self.epochs, *(outcome.records[-1].epoch for outcome in latest.values()))
        several = "; the curves are of the latest seed" if self.tally.done - self.tally.kept > len(latest) else ""
        self._show(curves, names, f" in {duration(self.tally.elapsed)}{several}")

    def _show(self, curves: Sequence[Curve], names: Mapping[str, int | None], when: str) -> None:
        from IPython.display import DisplayHandle, Image

        image = Image(self._drawn(curves, names, when), format="png")
        if self.handle is None:
            self.handle = DisplayHandle()
            self.handle.display(image)
        else:
            self.handle.update(image)

    def _drawn(self, curves: Sequence[Curve], names: Mapping[str, int | None], when: str) -> bytes:
        panels = by_panel(curves)
        # The place for names never shrinks, so that the cells below the figure in the notebook do not jump.
        self.rows = max(self.rows, (len(names) + 1) // 2)
        tops = {title: highest(title, points) for title, points in panels.items()}
        if self.frame is None or self.frame.what != (tops, self.epochs, self.rows):
            self.frame = _Frame(tops, self.epochs, self.rows)
        done = f"{self.tally.done} of {self.tally.total} trial{'s' if self.tally.total > 1 else ''}{when}"
        return self.frame.drawn(panels, names, done)


class _Frame:
    """Axes that are drawn once and reused while curves and names change: ticks and tick labels take most of the drawing time."""

    canvas: Any  # Matplotlib's, whose methods have no types

    def __init__(self, tops: dict[str, float], epochs: float, rows: int) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.what = tops, epochs, rows
        self.height = _HEIGHT + _ROW * rows
        self.figure = Figure(figsize=(_WIDTH, self.height), dpi=_DOTS, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)
        self.figure.subplots_adjust(
            left=0.05, right=0.99, top=1 - 0.62 / self.height, bottom=(0.5 + _ROW * rows) / self.height, wspace=0.17
        )
        axes = self.figure.subplots(1, len(tops), squeeze=False)[0]
        self.axes = dict(zip(tops, axes, strict=True))
        for title, ax in self.axes.items():
            tidy(ax)
            ax.set_xlim(0, epochs)
            ax.set_ylim(0, 1.04 * tops[title])
            ax.set_title(title, loc="left", color=INK, fontsize=10)
            ax.set_xlabel("epoch", color=INK, labelpad=1)
        self.canvas.draw()
        self.empty = self.canvas.copy_from_bbox(self.figure.bbox)

    def drawn(self, panels: Panels, names: Mapping[str, int | None], done: str) -> bytes:
        """The frame with its curves, as the bytes of a PNG file."""
        from matplotlib.image import imsave
        from matplotlib.lines import Line2D

        self.canvas.restore_region(self.empty)
        for title, points in panels.items():
            for color, x, y in points:
                chosen, y = thin(y, limit=_POINTS)
                dot = {"marker": "o", "markersize": 3} if x.size == 1 else {}
                style = {"color": _FAINT if color is None else PALETTE[color], "linewidth": 1.6, **dot}
                (line,) = self.axes[title].plot(x[chosen], y, **style)
                self.axes[title].draw_artist(line)
                line.remove()
        text = self.figure.text(
            0.008, 1 - 0.22 / self.height, done, color=INK, fontsize=11, fontweight="bold", va="center"
        )
        lines = [Line2D([], [], color=PALETTE[color or 0], linewidth=2) for color in names.values()]
        below = legend(self.figure, lines, list(names), loc="lower left", ncols=2, fontsize=9, bbox_to_anchor=(0, 0))
        for artist in (text, below):
            self.figure.draw_artist(artist)
            artist.remove()
        buffer = BytesIO()
        imsave(buffer, self.canvas.buffer_rgba(), format="png", pil_kwargs={"compress_level": 1})
        return buffer.getvalue()
