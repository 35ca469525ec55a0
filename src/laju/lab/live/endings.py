"""Forecasts of the final losses of running trials, if a forecast is possible."""

from __future__ import annotations

import json
from collections.abc import Iterable

from laju.forecast.live import Process, Question
from laju.lab.statistics import number
from laju.lab.store.curves import stretches
from laju.lab.trials.progress import Running
from laju.text.json import from_json

AFTER = 15.0
"""Seconds before the first forecast: a comparison that takes seconds needs none."""
_SHARE = 0.05
"""The largest share of a core that forecasts take in addition to the trials."""


class Endings:
    """Forecasts of the running trials' training losses, computed in turn in a separate process."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._asked: dict[tuple[str, int], int] = {}

    def look(self, trials: Iterable[Running], elapsed: float) -> None:
        """Request forecasts for the trials that have new records."""
        if elapsed < AFTER:
            return
        for trial in trials:
            key, update = (trial.name, trial.seed), trial.record.update
            if trial.schedule is None or self._asked.get(key) == update or len(trial.records) < 6:
                continue
            self._asked[key] = update
            if self._process is None:
                self._process = Process(_SHARE, tell=str)  # a note on the screen would tear the picture
            self._process.ask(key, update, lambda trial=trial: _question(trial))

    def of(self, trial: Running) -> str:
        """The forecast end of a trial and half the width of its band, such as `0.21 ± 0.02`; empty without a forecast."""
        if self._process is None or (trial.name, trial.seed) not in self._process.answers:
            return ""
        _, found = self._process.answers[trial.name, trial.seed]
        if found.value is None or found.high is None:
            return ""
        return f"{number(found.value)} ± {found.high - found.value:.2g}"

    def stop(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process, self._asked = None, {}


def _question(trial: Running) -> Question:
    assert trial.schedule is not None
    at, losses = stretches(trial.records, round(trial.record.update / trial.record.epoch))
    rates = from_json(json.loads(trial.schedule)).values(trial.updates)
    return at, losses, rates, trial.updates, 0.9, "auto"
