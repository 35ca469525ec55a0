"""What a comparison shows while it runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from laju.lab.progress import Running
from laju.lab.report.table import duration
from laju.lab.statistics import number
from laju.lab.trials import Outcome
from laju.view.plot import printable


def display(console: Console) -> Lines | Bars:
    """Bars on a terminal, lines where the output goes to a file or a pipe."""
    return Bars(console) if console.is_terminal else Lines(console)


def _ending(outcome: Outcome) -> str:
    if outcome.status == "diverged":
        return f"diverged at update {outcome.diverged_at}"
    last = outcome.records[-1]
    ending = f"train loss {number(last.train_loss)}"
    if last.test_accuracy is not None:
        ending += f", test accuracy {last.test_accuracy:.3f}"
    return ending if outcome.status == "finished" else f"collapsed ({ending})"


class Lines:
    """One line for every trial that ends."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.total = self.done = 0
        self.began = time.monotonic()

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def start(self, total: int, kept: int, jobs: int) -> None:
        self.total, self.done, self.began = total, kept, time.monotonic()  # a study has several comparisons
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
        self.done += 1
        self._line(
            f"[{self.done}/{self.total}] {printable(name)}, seed {seed}: {_ending(outcome)} ({duration(outcome.seconds)})"
        )

    def stop(self) -> None:
        pass


class Bars(Lines):
    """A bar for every running trial, with its loss and accuracy, above one for the whole."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.trials: list[Running] = []
        self.kept = 0
        self.whole = Progress(
            TextColumn("[bold]trials"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self.bar = self.whole.add_task("trials", total=1, left="")
        self.live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._picture)

    def start(self, total: int, kept: int, jobs: int) -> None:
        super().start(total, kept, jobs)
        self.kept = kept
        if total > kept:
            self.whole.update(self.bar, total=total, completed=kept)
            self.live.start()

    def running(self, trials: list[Running]) -> None:
        self.trials = trials
        begun = sum(r.record.update / r.updates for r in trials)
        done = self.done - self.kept + begun
        if done > 0.5:
            left = (time.monotonic() - self.began) / done * (self.total - self.done - begun)
            self.whole.update(self.bar, left=f"about {duration(max(left, 1))} left" if left > 1 else "")

    def finished(self, name: str, seed: int, outcome: Outcome) -> None:
        super().finished(name, seed, outcome)
        self.whole.update(self.bar, completed=self.done)

    def stop(self) -> None:
        self.live.stop()

    def _picture(self) -> Group:
        from rich.progress_bar import ProgressBar

        # Beside the name and the bar a row takes 50 columns; the name gives way first, then the bar.
        width = max(self.console.width - 50, 16)
        bar = min(30, width // 2)
        most = max(min(40, width - bar), 8)
        rows = max(self.console.height - 4, 1)  # a picture that is higher than the terminal would not be wiped away
        shown = self.trials[:rows]
        running = Table.grid(padding=(0, 1))
        for column in ("left", "right", "left", "right", "right", "right"):
            running.add_column(justify=column, no_wrap=True)
        for trial in shown:
            record = trial.record
            running.add_row(
                Text(printable(trial.name, most=most)),
                Text(f"seed {trial.seed}", style="dim"),
                ProgressBar(total=trial.updates, completed=record.update, width=bar),
                Text(f"epoch {record.epoch:.1f}"),
                Text(f"loss {number(record.train_loss)}"),
                Text("" if math.isnan(record.train_accuracy) else f"accuracy {record.train_accuracy:.3f}"),
            )
        more = [Text(f"and {len(self.trials) - rows} more", style="dim")] if len(self.trials) > rows else []
        return Group(running, *more, self.whole)
