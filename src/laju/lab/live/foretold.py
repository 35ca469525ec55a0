"""A forecast of a run's duration, once its first seconds have shown how fast the run trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from laju.lab.live.duration import duration
from laju.lab.trials.progress import Running
from laju.lab.workers.display import Display

LEAST_SECONDS = 3.0
"""The least time between the first and the last record of each running trial that is measured."""


class Foretold:
    """A display that passes everything on to a second display, and reports once how long the run will take.

    The time is (updates of the run) / (updates per second), the latter summed over the trials that run at once. The speed of a
    trial is measured between two of its records, so that the start of a process does not count. A shorter run gets no report.

    Args:
        display: the second display.
        tell: called with the sentence, from the thread that watches.
        clock: a function that returns the time in seconds.
    """

    def __init__(
        self, display: Display, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.display, self.tell, self.clock = display, tell, clock
        self._jobs, self._updates, self._told = 1, 0, False
        self._seen: dict[tuple[str, int], tuple[int, float, int, float]] = {}

    def start(self, total: int, kept: int, jobs: int) -> None:
        self._jobs, self._told = jobs, False
        self._seen.clear()
        self.display.start(total, kept, jobs)

    def planned(self, updates: int, separately: int) -> None:
        self._updates = updates
        self.display.planned(updates, separately)

    def running(self, trials: list[Running]) -> None:
        self.display.running(trials)
        if self._told:
            return
        now, spans = self.clock(), []
        for trial in trials:
            key, at = (trial.name, trial.seed), trial.record.update
            first, since, last, until = self._seen.get(key, (at, now, at, now))
            if at != last:
                last, until = at, now
            self._seen[key] = first, since, last, until
            spans.append((last - first, until - since))
        if len(trials) < self._jobs or min((seconds for _, seconds in spans), default=0.0) < LEAST_SECONDS:
            return
        self._told = True
        speed, made = sum(updates / seconds for updates, seconds in spans), sum(updates for updates, _ in spans)
        at_once = f", {self._jobs} trials at a time" if self._jobs > 1 else ""
        self.tell(
            f"It will take about {duration(float(f'{self._updates / speed:.2g}'))}: {self._updates:,} updates at "
            f"{speed:.3g} a second{at_once}, measured over {made:,}."
        )

    def finished(self, *arguments: Any) -> None:
        self.display.finished(*arguments)

    def stop(self) -> None:
        self.display.stop()
