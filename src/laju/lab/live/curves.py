"""The curves of running trials, their colours, and the progress of the whole run."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from laju.lab.trials import Outcome, Record
from laju.lab.trials.progress import Running
from laju.view.plot import PALETTE

PANELS = {"train loss": "train_loss", "train accuracy": "train_accuracy", "test accuracy": "test_accuracy"}
SHARE = 0.02
"""The largest share of a core that drawing takes."""
_KEPT = 64
Values = npt.NDArray[np.float64]
Points = Sequence[tuple[int | None, Values, Values]]
"""The colour, epochs and values of curves."""
Panels = dict[str, Points]


@dataclass(frozen=True)
class Curve:
    """The records of a trial, and the number of its colour; None for a finished trial, which is drawn faintly."""

    records: Sequence[Record]
    color: int | None

    def points(self, name: str) -> tuple[Values, Values]:
        """The epochs and values of a field of the records, without unknown values."""
        known = [
            (record.epoch, value)
            for record in self.records
            if (value := getattr(record, name)) is not None and math.isfinite(value)
        ]
        epochs, values = np.array(known, dtype=np.float64).reshape(-1, 2).T
        return epochs, values


def by_panel(curves: Sequence[Curve]) -> Panels:
    """The curves of every panel, by its title.

    A user's program may report no accuracies, which is known after its first epoch; there is then no panel of accuracies.
    """
    begun = any(curve.records and curve.records[-1].epoch >= 1 for curve in curves)
    found: Panels = {}
    for title, name in PANELS.items():
        points = [(curve.color, *curve.points(name)) for curve in curves]
        if not begun or any(x.size for _, x, _ in points):
            found[title] = points
    return found


def highest(title: str, points: Points) -> float:
    """The end of a panel's vertical axis: 1 for accuracies; the largest loss, but at most twice the largest first loss.

    With this limit, a loss that explodes does not flatten the remaining curves.
    """
    losses = [values for _, _, values in points if values.size]
    if PANELS[title] != "train_loss" or not losses:
        return 1.0
    return max(min(max(float(v.max()) for v in losses), 2 * max(float(v[0]) for v in losses)), 1e-12)


class Pace:
    """Decides when to draw again, such that drawing takes at most `SHARE` of a core."""

    def __init__(self) -> None:
        self._due = self._cost = 0.0

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    @contextmanager
    def drawing(self) -> Iterator[None]:
        began = time.thread_time()
        yield
        # The smaller of two in a row: a drawing that loads modules or fonts does not predict the time of the next.
        before, self._cost = self._cost, time.thread_time() - began
        self._due = time.monotonic() + min(before, self._cost) / SHARE


class Palette:
    """Gives every running trial a colour of `laju.view.plot.PALETTE`: its schedule's colour, unless taken."""

    def __init__(self) -> None:
        self._schedules: dict[str, int] = {}
        self._trials: dict[tuple[str, int], int] = {}

    def of_schedule(self, name: str) -> int:
        return self._schedules.setdefault(name, len(self._schedules)) % len(PALETTE)

    def of_trials(self, trials: Iterable[Running]) -> dict[tuple[str, int], int]:
        """The colours of the running trials, by name and seed; a trial keeps its colour while running."""
        keys = [(trial.name, trial.seed) for trial in trials]
        self._trials = {key: color for key, color in self._trials.items() if key in keys}
        for key in keys:
            if key not in self._trials:
                own, taken = self.of_schedule(key[0]), set(self._trials.values())
                around = ((own + i) % len(PALETTE) for i in range(len(PALETTE)))
                self._trials[key] = next((color for color in around if color not in taken), own)
        return self._trials


@dataclass
class Tally:
    """The number of finished trials, and the latest finished trial of every schedule."""

    total: int = 0
    kept: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    latest: dict[str, Outcome] = field(default_factory=dict)

    def begin(self, total: int, kept: int) -> None:
        """Begin anew: a study has several comparisons, in which a name may stand for different tasks."""
        self.total, self.kept, self.done, self.began = total, kept, kept, time.monotonic()
        self.latest.clear()

    def add(self, name: str, outcome: Outcome) -> None:
        self.done += 1
        self.latest.pop(name, None)
        self.latest[name] = outcome
        if len(self.latest) > _KEPT:  # a search gives every trial a name of its own
            del self.latest[next(iter(self.latest))]

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def left(self, trials: Iterable[Running]) -> float | None:
        """The estimated seconds left; None before an estimate is possible, and shortly before the end."""
        begun = sum(trial.record.update / trial.updates for trial in trials)
        done = self.done - self.kept + begun
        if done <= 0.5:
            return None
        left = self.elapsed / done * (self.total - self.done - begun)
        return left if left > 1 else None

    def curves(self, trials: Iterable[Running], colors: dict[tuple[str, int], int]) -> list[Curve]:
        """The running trials, preceded by the latest finished trial of each of their schedules, drawn faintly."""
        trials = list(trials)
        names = dict.fromkeys(trial.name for trial in trials)
        past = [Curve(outcome.records, None) for name in names if (outcome := self.latest.get(name)) is not None]
        return past + [Curve(trial.records, colors[trial.name, trial.seed]) for trial in trials]
