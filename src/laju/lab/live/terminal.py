"""Lines for trials that end and, on a terminal, curves of the trials that run."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.style import Style
from rich.table import Table
from rich.text import Text

from laju.lab.live.curves import Curve, Pace, Palette, Points, Tally, by_panel, highest
from laju.lab.live.duration import duration
from laju.lab.live.endings import Endings
from laju.lab.statistics import number
from laju.lab.trials import Outcome
from laju.lab.trials.progress import Running
from laju.view.plot import ANSI, printable, text_figure, thin

_FAINT = 8  # bright black
_LEAST_WIDTH, _MOST_WIDTH = 18, 60
_LEAST_HEIGHT, _MOST_HEIGHT = 7, 16


class Lines:
    """A line for every trial that ends."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.tally = Tally()

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def start(self, total: int, kept: int, jobs: int) -> None:
        self.tally.begin(total, kept)
        text = f"{total} trial{'s' if total > 1 else ''}"
        if kept:
            text += f", {kept} of them in the store already"
        if total > kept:
            text += f"; {total - kept} to run, {jobs} at a time"
        self._line(text)

    def planned(self, updates: int, separately: int) -> None:
        if updates < separately:
            self._line(f"What schedules have in common is trained once: {updates:,} updates instead of {separately:,}")

    def running(self, trials: list[Running]) -> None:
        pass

    def finished(self, name: str, seed: int, outcome: Outcome) -> None:
        self.tally.add(name, outcome)
        count = f"[{self.tally.done}/{self.tally.total}]"
        self._line(f"{count} {printable(name)}, seed {seed}: {_ending(outcome)} ({duration(outcome.seconds)})")

    def stop(self) -> None:
        pass


def _ending(outcome: Outcome) -> str:
    if outcome.status == "diverged":
        return f"diverged at update {outcome.diverged_at}"
    last = outcome.records[-1]
    ending = f"train loss {number(last.train_loss)}"
    if last.test_accuracy is not None:
        ending += f", test accuracy {last.test_accuracy:.3f}"
    return ending if outcome.status == "finished" else f"collapsed ({ending})"


class Terminal(Lines):
    """Below the lines, curves of the running trials, a row for each trial, and a bar for all; no curves if there is no room."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.palette = Palette()
        self.trials: list[Running] = []
        self.printed: deque[Text] = deque(maxlen=100)
        self.size = console.size
        self.pace = Pace()
        self.endings = Endings()
        self.live = self._new_live()
        self.lock = threading.RLock()  # the main thread prints lines, the watching thread draws

    def _new_live(self) -> Live:
        # Without a thread of its own, which would redraw unchanged curves.
        return Live(Text(), console=self.console, auto_refresh=False, transient=True)

    def _line(self, text: str) -> None:
        with self.lock:
            self.printed.append(Text(text))
            super()._line(text)

    def start(self, total: int, kept: int, jobs: int) -> None:
        super().start(total, kept, jobs)
        with self.lock:
            self.trials, self.size = [], self.console.size
            if total > kept:
                self.live = self._new_live()
                self.live.start()

    def running(self, trials: list[Running]) -> None:
        if self.pace.is_due():
            with self.lock, self.pace.drawing():
                self.trials = trials
                self.endings.look(trials, self.tally.elapsed)
                self._begin_anew_if_resized()
                self.live.update(self._picture(), refresh=True)

    def finished(self, name: str, seed: int, outcome: Outcome) -> None:
        with self.lock:
            super().finished(name, seed, outcome)

    def stop(self) -> None:
        self.endings.stop()
        with self.lock:
            self.live.stop()

    def _begin_anew_if_resized(self) -> None:
        before, self.size = self.size, self.console.size
        if self.size.width >= before.width and self.size.height >= before.height:
            return
        # A terminal that became smaller has broken the lines of the last picture, which cannot be wiped away any more.
        self.live.stop()
        self.console.clear()
        for line in list(self.printed)[-max(self.size.height // 2, 1) :]:
            self.console.print(line, soft_wrap=True)
        self.live = self._new_live()
        self.live.start()

    def _picture(self) -> Group:
        width, height = self.size
        rows = max(height - 4, 1)  # a picture that is higher than the terminal would not be wiped away
        shown, more = self.trials[:rows], len(self.trials) - rows
        colors = self.palette.of_trials(self.trials)
        parts: list[RenderableType] = []
        if shown:
            if not self.console.no_color and self.console.color_system is not None:
                room = (height - len(shown) - 3) * 7 // 8  # lines stay visible above the curves
                plots = _plots(self.tally.curves(shown, colors), max(trial.epochs for trial in shown), width, room)
                parts += [] if plots is None else [plots]
            parts.append(_table(shown, colors, width, [self.endings.of(trial) for trial in shown]))
        if more > 0:
            parts.append(Text(f"and {more} more", style="dim"))
        return Group(*parts, self._whole(width))

    def _whole(self, width: int) -> Table:
        tally, left = self.tally, self.tally.left(self.trials)
        row = Table.grid(padding=(0, 1, 0, 0))
        for _ in range(5):
            row.add_column(no_wrap=True)
        row.add_row(
            Text("trials", style="bold"),
            ProgressBar(total=tally.total, completed=tally.done, width=min(30, max(width - 50, 5))),
            Text(f"{tally.done}/{tally.total}", style="green"),
            Text(str(timedelta(seconds=int(tally.elapsed))) if width >= 60 else "", style="yellow"),
            Text("" if left is None else f"about {duration(left)} left"),
        )
        return row


def _table(trials: Sequence[Running], colors: dict[tuple[str, int], int], width: int, ends: Sequence[str]) -> Table:
    """A row for every trial, its bar in the colour of its curves; a narrow terminal has fewer columns."""
    headings = ["seed", "epoch", "rate", "train loss", "train acc", "test acc"]
    if width < 80:
        headings = ["seed", "epoch", "rate", "loss", "train", "test"]
    rows = []
    for trial in trials:
        last, tested = trial.record, [r.test_accuracy for r in trial.records if r.test_accuracy is not None]
        rows.append(
            [
                str(trial.seed),
                f"{last.epoch:.1f}/{trial.epochs:.3g}",
                f"{last.rate:.3g}",
                number(last.train_loss),
                "" if math.isnan(last.train_accuracy) else f"{last.train_accuracy:.3f}",
                f"{tested[-1]:.3f}" if tested else "",
            ]
        )
    columns = list(zip(headings, *rows, strict=True))
    if width >= 80 and any(ends):
        columns.insert(4, ("ends at", *ends))
    if width < 60:
        columns = [column for column in columns if column[0] not in ("rate", "train")]
    widths = [max(map(len, column)) for column in columns]
    room = width - sum(widths) - len(widths) - 1  # for the name and the bar
    bar = max(min(30, room // 3), 3)
    name = max(min(40, room - bar), 6)
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(width=bar)
    for size in widths:
        table.add_column(justify="right", no_wrap=True, width=size)
    heading, *cells = zip(*columns, strict=True)
    table.add_row("", "", *(Text(text, style="dim") for text in heading))
    for trial, texts in zip(trials, cells, strict=True):
        style = Style(color=f"color({ANSI[colors[trial.name, trial.seed]]})")
        progress = ProgressBar(trial.updates, trial.record.update, bar, complete_style=style, finished_style=style)
        table.add_row(Text(printable(trial.name, most=name)), progress, *map(Text, texts))
    return table


def _plots(curves: Sequence[Curve], epochs: float, width: int, height: int) -> Table | None:
    """Plots side by side in the given room; None if the room is too small for a readable size.

    Args:
        curves: the curves to draw, the most important last.
        epochs: length of the longest trial.
        width, height: room in characters.
    """
    panels, height = by_panel(curves), min(height, _MOST_HEIGHT)
    if width < len(panels) * (_LEAST_WIDTH + 6):
        panels.pop("train accuracy", None)
    across = min((width - len(panels) + 1) // len(panels), _MOST_WIDTH)
    if across < _LEAST_WIDTH or height < _LEAST_HEIGHT:
        return None
    grid = Table.grid(padding=(0, 1, 0, 0))
    for _ in panels:
        grid.add_column(width=across, no_wrap=True)
    grid.add_row(*(_plot(title, points, epochs, across, height) for title, points in panels.items()))
    return grid


def _plot(title: str, points: Points, epochs: float, width: int, height: int) -> Text:
    top = highest(title, points)
    plotext, figure = text_figure(width, height - 2, color=True)
    for color, x, y in points:
        if x.size:
            chosen, y = thin(np.minimum(y, top), limit=4 * width)
            marker = plotext.marker("braille", _FAINT if color is None else ANSI[color])
            figure.draw(figure.signal(x[chosen].tolist(), y.tolist(), marker=marker).lines(True))
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    figure.ruler("x", "lower").lim(0.0, epochs).ticks([], [])
    levels = [0.0, top / 2, top] if height > _LEAST_HEIGHT else [0.0, top]
    labels = [f"{level:.2g}" for level in levels]
    figure.ruler("y", "left").lim(0.0, top).ticks(levels, labels)
    margin, end = max(map(len, labels)) + 1, f"{epochs:.3g}"
    scale = "0" + "epoch".center(width - margin - 1 - len(end)) + end
    picture = Text(no_wrap=True, end="")
    picture.append(f"{title.center(width - margin).rjust(width)}\n", style="bold")
    picture.append_text(Text.from_ansi(figure.build().string(False).rstrip("\n")))
    picture.append(f"\n{scale.rjust(width)}", style="dim")
    return picture
