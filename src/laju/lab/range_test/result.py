"""The result of a range test: the sweeps, and the suggested rates, with intervals over the seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from laju.core.schedule import Schedule
from laju.lab.range_test.curve import RULES, Curve, Floats, Suggestion, read
from laju.lab.range_test.picture import picture
from laju.lab.statistics import LEAST_SEEDS, counted, estimate
from laju.view.plot import Picture


@dataclass(frozen=True, eq=False)
class Sweep:
    """A training run with a rising learning rate.

    Attributes:
        seed: the seed of the run's random numbers.
        rates, losses: the rate and the loss of every update that was begun, shape (n,); the loss is that before the update, the
            mean over its micro-batches. The last loss may be NaN or infinite.
        width: the width of the smoothing, in updates.
        diverged_at: the update, counted from 0, in which the test stopped, or None for a sweep up to the highest rate.
    """

    seed: int
    rates: Floats
    losses: Floats
    width: float
    diverged_at: int | None = None

    @cached_property
    def curve(self) -> Curve:
        """The updates before the divergence, smoothed."""
        n, at = self.diverged_at, self.diverged_at
        rate = None if at is None else float(self.rates[at])
        return Curve(self.rates[:n], self.losses[:n], self.width, rate)

    @cached_property
    def suggestions(self) -> dict[str, float | str]:
        """By rule, the suggested rate, or the reason for no suggestion."""
        return read(self.curve)


@dataclass(frozen=True, eq=False)
class RangeTest:
    """The sweeps of a range test, a sweep for each seed.

    Attributes:
        schedule: the schedule of the rates, from exactly `low` to exactly `high`.
        updates: the number of updates of a whole sweep.
        sweeps: the measurements, a sweep for each seed.
    """

    schedule: Schedule
    updates: int
    sweeps: tuple[Sweep, ...]

    @property
    def low(self) -> float:
        return float(self.schedule(0))

    @property
    def high(self) -> float:
        return float(self.schedule(self.updates - 1))

    @cached_property
    def suggestions(self) -> dict[str, Suggestion]:
        """By rule, the suggested rate, or no rate and the reason."""
        return {rule: self._suggestion(rule) for rule in RULES}

    @cached_property
    def diverged(self) -> Suggestion:
        """The rates at which the sweeps diverged, in the form of a suggestion (which divergence is not)."""
        rates = [None if s.diverged_at is None else float(s.rates[s.diverged_at]) for s in self.sweeps]
        none = f"no divergence up to a rate of {self.high:.3g}" if None in rates else None
        return self._combined("diverged", [rate for rate in rates if rate is not None], none)

    def _suggestion(self, rule: str) -> Suggestion:
        found = [sweep.suggestions[rule] for sweep in self.sweeps]
        reasons = [x for x in found if isinstance(x, str)]
        return self._combined(rule, [x for x in found if not isinstance(x, str)], next(iter(reasons), None))

    def _combined(self, rule: str, rates: list[float], reason: str | None) -> Suggestion:
        given, of = len(rates), len(self.sweeps)
        found = estimate(map(math.log10, rates))
        if found is None or 2 * given <= of:
            return Suggestion(rule, None, None, None, given, of, reason)
        if found.half_width is None:
            return Suggestion(rule, 10**found.mean, None, None, given, of, reason)
        half = found.half_width + math.log10(self.high / self.low) / (self.updates - 1) / 2
        # Seeds that disagree by decades have an interval that a float cannot hold.
        low, high = (float(10.0 ** np.clip(x, -300, 300)) for x in (found.mean - half, found.mean + half))
        return Suggestion(rule, 10**found.mean, low, high, given, of, reason)

    def notes(self) -> list[str]:
        """The remarks that a reader of the suggestions needs."""
        notes = []
        stopped, n = self.diverged.given, len(self.sweeps)
        if stopped == 0:
            notes.append(
                f"training never diverged: rates above {self.high:.3g} were not tried, and the best may be among them"
            )
        elif stopped < n:
            notes.append(f"training diverged with {stopped} of {n} seeds up to a rate of {self.high:.3g}")
        for reason in dict.fromkeys(s.curve.nothing for s in self.sweeps):
            if reason is not None:
                notes.append(reason)
        if n < LEAST_SEEDS:
            few = f"{counted(n, 'seed')} say{'s' if n == 1 else ''} nothing of how far a suggestion is chance"
            notes.append(f"{few}; give {LEAST_SEEDS} or more")
        return notes

    def plot(self, *, title: str | None = None) -> Picture:
        """Draw the losses over the rates, smoothed, with the suggestions marked.

        Raises:
            ModuleNotFoundError: Matplotlib is not installed.
        """
        ends = [float(s.rates[s.diverged_at]) for s in self.sweeps if s.diverged_at is not None]
        return picture([s.curve for s in self.sweeps], [*self.suggestions.values()], ends, (self.low, self.high), title)

    def to_json(self) -> dict[str, Any]:
        """The whole result as numbers, texts and lists that `json.dumps` accepts; a loss that is not finite is None."""
        return {
            "low": self.low,
            "high": self.high,
            "updates": self.updates,
            "suggestions": [vars(s) for s in self.suggestions.values()],
            "diverged": vars(self.diverged),
            "notes": self.notes(),
            "sweeps": [
                {
                    "seed": s.seed,
                    "diverged_at": s.diverged_at,
                    "suggestions": {k: v if isinstance(v, float) else None for k, v in s.suggestions.items()},
                    "rates": s.rates.tolist(),
                    "losses": [loss if math.isfinite(loss) else None for loss in s.losses.tolist()],
                    "smoothed": s.curve.smoothed.values.tolist(),
                }
                for s in self.sweeps
            ],
        }
