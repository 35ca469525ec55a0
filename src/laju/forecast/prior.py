"""Priors: finished runs with their learning rates, which judge the candidates in the forecast of a new run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from laju.core.checks import nearest, shown
from laju.forecast.blocks import Array, Updates
from laju.forecast.candidates import ROWS, Track, amplitudes, track
from laju.forecast.curves import Curve, checked_updates
from laju.forecast.judging import LEAST_ROWS, Judges, judges

_FORMAT = "laju prior 1"
_RUNS, _KNOTS, _BYTES, _LONGEST = 1_000, 20_000, 20_000_000, 50_000_000
"""Limits of a prior file: runs, knots of a run's rates, bytes, updates of a run."""
SHIPPED = ("adamw-language", "muon-language", "algoperf")
BRANCHES = 12
"""The most finished branches of a run's trunk that are fitted together with the run."""
_ALIKE = 0.0015
"""Relative difference (root mean square) of losses up to which two runs with the same rates so far are of one trunk."""
_OFFSET, _TOLD = 0.02, 8
"""The largest constant, relative, by which branches of one trunk may differ, and the shared rows that tell a constant."""


@dataclass(frozen=True)
class PastRun:
    """A finished run: losses after completed updates, and the learning rates of the whole run as knots of straight lines."""

    name: str
    group: str
    updates: tuple[int, ...]
    losses: tuple[float, ...]
    knots: tuple[int, ...]
    rates: tuple[float, ...]

    @property
    def length(self) -> int:
        return self.knots[-1] + 1

    @cached_property
    def track(self) -> Track:
        return track(self._rows, self._losses, self.every_rate)

    @cached_property
    def every_rate(self) -> Array:
        return np.interp(np.arange(self.length), self.knots, self.rates)

    def offset(self, updates: Updates, losses: Array, rates: Array) -> float | None:
        """The offset of this run's losses above the losses of a second branch of the same trunk; None if the trunks differ."""
        return offset(updates, losses, rates, self._rows, self._losses, self.every_rate)

    def is_the_end_of(self, updates: Updates, losses: Array, rates: Array) -> bool:
        """Whether this past run is the given run itself, finished: the same losses so far, and the same learning rates.

        A branch of the same trunk has the same losses so far, but different learning rates.
        """
        if self.updates[-1] <= updates[-1]:
            return False
        at = self._rows[self._rows < len(rates)]
        logged, planned = self.every_rate / self.every_rate.max(), rates / rates.max()
        # Loggers differ by an update in the rate that belongs to a row.
        near = np.stack([np.abs(planned[np.clip(at + k, 0, len(planned) - 1)] - logged[at - 1]) for k in (-2, -1, 0)])
        return bool((near.min(axis=0) <= 0.02).all()) and self._begins_with(updates, losses)

    def _begins_with(self, updates: Updates, losses: Array) -> bool:
        """Whether the losses are these rows and more, or means of blocks of more rows that begin with these."""
        before = self._rows[self._rows <= updates[-1]]
        if len(before) >= LEAST_ROWS and np.isin(before, updates).all():
            return np.allclose(losses[np.searchsorted(updates, before)], self._losses[: len(before)], rtol=1e-6, atol=0)
        if len(self.updates) != ROWS or len(updates) < 2:
            return False
        sums = np.append(0.0, np.cumsum(losses))
        rows = round(ROWS / (ROWS - 1) * (self._rows[-1] - self._rows[0]) / float(np.median(np.diff(updates))))
        for whole in range(max(rows - 3, ROWS + 1), rows + 4):  # how many rows there were is not kept
            ends = np.append(0, np.cumsum([len(part) for part in np.array_split(np.arange(whole), ROWS)]))
            ends = ends[ends <= len(losses)]
            means = np.diff(sums[ends]) / np.diff(ends)
            if len(means) >= LEAST_ROWS and np.allclose(means, self._losses[: len(means)], rtol=1e-6, atol=0):
                return True
        return False

    def moved(self, offset: float) -> PastRun:
        """The run with an offset subtracted from its losses."""
        return self if offset == 0 else replace(self, losses=tuple((self._losses - offset).tolist()))

    @cached_property
    def _rows(self) -> Updates:
        return np.array(self.updates, dtype=np.int64)

    @cached_property
    def _losses(self) -> Array:
        return np.array(self.losses)

    def beside(self, length: int, total: float) -> Track:
        """The track in the units of a different run: its updates, and its sum of learning rates over the peak."""
        return track(self._rows, self._losses, self.every_rate, (length, total))


@dataclass(frozen=True)
class Prior:
    """Finished runs in groups, from `learn` or from a file, on which forecasts of further runs are based.

    Attributes:
        name: name of the prior, shown in forecasts.
        runs: the finished runs.
        source: origin of the curves.
        licence: licence of the curves.
    """

    name: str
    runs: tuple[PastRun, ...] = field(repr=False)
    source: str = ""
    licence: str = ""
    _judged: dict[Any, Judges | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.runs)

    def to_json(self) -> dict[str, Any]:
        """The prior as values that `json.dumps` takes."""
        runs = [
            {
                "name": run.name,
                "group": run.group,
                "updates": list(run.updates),
                "losses": list(run.losses),
                "knots": list(run.knots),
                "rates": list(run.rates),
            }
            for run in self.runs
        ]
        about = {"format": _FORMAT, "name": self.name, "source": self.source, "licence": self.licence}
        return {**about, "runs": runs}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Prior:
        """Read the prior that `to_json` wrote.

        Raises:
            ValueError: if the data is not a prior, or exceeds the limits of a prior.
        """
        if not isinstance(data, Mapping) or data.get("format") != _FORMAT:
            raise ValueError(
                f"a prior has the format {_FORMAT!r}, got {shown(data)}; write one with laju forecast learn"
            )
        runs = data.get("runs")
        if not isinstance(runs, list) or not 0 < len(runs) <= _RUNS:
            raise ValueError(f"a prior holds 1 to {_RUNS:,} runs, got {shown(runs)}")
        about = [data.get(key, "") for key in ("name", "source", "licence")]
        if not all(isinstance(text, str) and len(text) <= 2_000 for text in about):
            raise ValueError("name, source and licence of a prior must be texts of up to 2,000 characters")
        return cls(about[0], tuple(_past_run(i, run) for i, run in enumerate(runs)), about[1], about[2])

    def save(self, path: str | PathLike[str]) -> None:
        """Write the prior as JSON."""
        Path(path).write_text(json.dumps(self.to_json(), separators=(",", ":")) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Prior:
        """Read a prior from a JSON file.

        Raises:
            ValueError: if the file is not a prior, or larger than 20 MB.
            OSError: if the file cannot be read.
        """
        file = Path(path)
        if file.stat().st_size > _BYTES:
            raise ValueError(f"{path} is larger than {_BYTES:,} bytes, the most that a prior may have")
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from None
        return cls.from_json(data)

    @cached_property
    def _tracks(self) -> tuple[Track, ...]:
        return tuple(run.track for run in self.runs)

    @cached_property
    def _amplitudes(self) -> Array:
        return amplitudes(self._tracks)

    def judges_of_twins(self, share: float) -> Judges | None:
        """The candidates' errors on past runs for a run that no law describes; past runs of any misfit are included."""
        key = (round(share, 2), "twins")
        if key not in self._judged:
            names = [str(i) for i in range(len(self.runs))]
            self._judged[key] = judges(self._tracks, names, self._amplitudes, key[0], misfit=math.inf)
        return self._judged[key]

    def judges(self, share: float, to: float = 1.0) -> Judges | None:
        """The candidates' errors on past runs from a share of the run, rounded to a hundredth, to the later share `to`."""
        key = (round(share, 2), round(to, 2))
        if key not in self._judged:
            groups = [run.group for run in self.runs]
            self._judged[key] = judges(self._tracks, groups, self._amplitudes, *key)
        return self._judged[key]

    def judges_beside(self, share: float, longest: float) -> Judges | None:
        """The candidates' errors on past runs, each fitted together with the finished runs of its recipe and peak.

        Args:
            share: share of the run at which the candidates are solved.
            longest: the largest length of the finished runs, as a share of the run.
        """
        key = (round(share, 2), round(longest, 1), "beside")
        if key not in self._judged:
            beside = [
                tuple(
                    other.beside(run.length, float(run.every_rate.sum() / run.every_rate.max()))
                    for other in self._family[i]
                    if other.length <= round(longest, 1) * 1.05 * run.length
                )
                for i, run in enumerate(self.runs)
            ]
            use = [i for i, found in enumerate(beside) if found]
            self._judged[key] = (
                judges(
                    [self._tracks[i] for i in use],
                    [self.runs[i].group for i in use],
                    self._amplitudes[use],
                    round(share, 2),
                    beside=[beside[i] for i in use],
                )
                if use
                else None
            )
        return self._judged[key]

    @cached_property
    def _family(self) -> list[list[PastRun]]:
        return [
            [
                other.moved(offset)
                for j, other in enumerate(self.runs)
                if j != i
                and other.group == run.group
                and (offset := other.offset(run._rows, run._losses, run.every_rate)) is not None
            ][:BRANCHES]
            for i, run in enumerate(self.runs)
        ]


def offset(u: Updates, loss: Array, rates: Array, u2: Updates, loss2: Array, rates2: Array) -> float | None:
    """The offset of the second of two branches of a trunk above the first; None if the trunks differ.

    Branches have the same learning rates over the peak until after the warmup, and the same losses there up to a constant, which
    a different validation set, seed or machine adds. With such a constant the agreement must be closer, as runs of two peaks may
    stay parallel; the same holds for a log that begins near its branch and shares only a few rows.
    """
    shared = min(int(u[-1]), int(u2[-1]))
    first = max(int(u[0]), int(u2[0]))
    if abs(np.log(np.interp(first, u, loss) / np.interp(first, u2, loss2))) > 0.1:
        return None  # nothing alike: the usual case, decided at once
    until = same_until(rates[:shared], rates2[:shared])
    warm = int(np.argmax(rates > 0.999 * rates.max()))
    low, high = max(warm + 1, first), min(until, shared)
    rows = u2[(u2 >= low) & (u2 <= high)]
    late = max(int(u[0]) / len(rates), int(u2[0]) / len(rates2)) > 0.2
    if not len(rows) or (len(rows) < 3 and not late):
        return None
    # The last two thirds of the shared rows, as runs part with time.
    theirs, ours = (np.interp(rows, at, values)[len(rows) // 3 :] for at, values in ((u2, loss2), (u, loss)))
    off = np.log(theirs / ours)
    if float(np.sqrt(np.mean(off**2))) <= (_ALIKE if len(rows) > 2 else _ALIKE / 3):
        return 0.0
    constant = float(np.mean(theirs - ours))
    if len(off) < _TOLD or abs(constant) > _OFFSET * float(ours[-1]):
        return None
    return constant if float(np.sqrt(np.mean(((theirs - constant) / ours - 1) ** 2))) <= _ALIKE / 3 else None


def same_until(rates: Array, rates2: Array) -> int:
    """The first update at which two runs have different learning rates over their peaks."""
    n = min(len(rates), len(rates2))
    apart = np.flatnonzero(np.abs(rates[:n] / rates.max() - rates2[:n] / rates2.max()) > 0.01)
    return int(apart[0]) if apart.size else n


def learn(
    curves: Iterable[Curve],
    groups: Sequence[str] | None = None,
    *,
    name: str = "own runs",
    source: str = "",
    licence: str = "",
) -> Prior:
    """Learn a prior from finished runs, for the forecasts of further runs; even a single similar run improves a forecast.

    Args:
        curves: finished runs, each with its learning rates up to its last loss.
        groups: a name for each curve; runs of the same recipe, task or peak share a name. A run is never judged by its own group.
            By default, each curve is a separate group.
        name: name of the prior, shown in forecasts.
        source: origin of the curves.
        licence: licence of the curves.

    Raises:
        ValueError: if there are no curves, not a group for each curve, or a curve has fewer than five losses.
        TypeError: if an item of `curves` is not a Curve.

    >>> import laju, numpy as np
    >>> at = np.arange(100, 2001, 100)
    >>> run = Curve(at, 3 + (at / 100) ** -0.5, laju.cosine(0.1, total=2000), "run 1")
    >>> learn([run], ["small"], name="mine")
    Prior(name='mine', source='', licence='')
    """
    used = list(curves)
    if not used:
        raise ValueError("curves must hold at least one finished run, got none")
    names = [str(curve.name) if isinstance(curve, Curve) else "" for curve in used]
    groups = [f"{n} ({i})" for i, n in enumerate(names)] if groups is None else [str(group) for group in groups]
    if len(groups) != len(used):
        raise ValueError(f"groups must be one for each of the {len(used)} curves, got {len(groups)}")
    runs = []
    for curve, group in zip(used, groups, strict=True):
        if not isinstance(curve, Curve):
            raise TypeError(f"curves must be Curve objects, got {shown(curve)}")
        if len(curve) < LEAST_ROWS:
            raise ValueError(f"{curve.name} has {len(curve)} losses; a past run needs at least {LEAST_ROWS}")
        updates, losses = thinned(*_from_the_trunk(curve, [c for c, g in zip(used, groups, strict=True) if g == group]))
        knots = knots_of(curve.rates[: int(curve.updates[-1])])
        runs.append(
            PastRun(
                curve.name,
                group,
                tuple(updates.tolist()),
                # Seven digits are far below the noise of a loss, and keep the file short.
                tuple(float(f"{loss:.7g}") for loss in losses),
                tuple(knots.tolist()),
                tuple(float(f"{rate:.7g}") for rate in curve.rates[knots]),
            )
        )
    return Prior(name, tuple(runs), source, licence)


def _from_the_trunk(curve: Curve, others: Sequence[Curve]) -> tuple[Updates, Array]:
    """The rows of a run, preceded by the rows of its trunk where the log begins at the branch."""
    first = int(curve.updates[0])
    best = (curve.updates, curve.loss)
    for other in others:
        if other is curve or other.updates[0] >= best[0][0] or same_until(curve.rates, other.rates) < first - 1:
            continue
        if offset(curve.updates, curve.loss, curve.rates, other.updates, other.loss, other.rates) == 0:
            head = other.updates < first
            best = (np.append(other.updates[head], curve.updates), np.append(other.loss[head], curve.loss))
    return best


def thinned(updates: Updates, losses: Array) -> tuple[Updates, Array]:
    """Means of blocks of rows, if there are more than `ROWS` rows."""
    if len(updates) <= ROWS:
        return updates, losses
    parts = np.array_split(np.arange(len(updates)), ROWS)
    at = np.array([round(float(updates[part].mean())) for part in parts], dtype=np.int64)
    return at, np.array([losses[part].mean() for part in parts])


@lru_cache
def shipped(name: str) -> Prior:
    """Load a prior that is shipped with laju: "adamw-language", "muon-language" or "algoperf".

    Raises:
        ValueError: for an unknown name.
    """
    if name not in SHIPPED:
        raise ValueError(f"prior {shown(name)} is not one of {', '.join(SHIPPED)}{nearest(str(name), SHIPPED)}")
    text = resources.files("laju.forecast").joinpath("priors", f"{name}.json").read_text(encoding="utf-8")
    return Prior.from_json(json.loads(text))


def knots_of(rates: Array) -> Updates:
    """Updates between which straight lines reproduce the learning rates to a thousandth of the peak."""
    bound = 1e-3 * float(rates.max())
    keep, open_ = {0, len(rates) - 1}, [(0, len(rates) - 1)]
    while open_:
        a, b = open_.pop()
        if b - a < 2:
            continue
        line = np.linspace(rates[a], rates[b], b - a + 1)
        off = np.abs(rates[a : b + 1] - line)
        worst = int(off.argmax())
        if off[worst] > bound:
            keep.add(a + worst)
            open_ += [(a, a + worst), (a + worst, b)]
    return np.array(sorted(keep), dtype=np.int64)


def _past_run(i: int, data: Any) -> PastRun:
    if not isinstance(data, Mapping):
        raise ValueError(f"run {i} of the prior must be an object, got {shown(data)}")
    name, group = data.get("name"), data.get("group")
    if not isinstance(name, str) or not isinstance(group, str):
        raise ValueError(f"run {i} of the prior must have a name and a group, got {shown(name)} and {shown(group)}")
    where = f"of run {i} ({shown(name)}) of the prior"
    updates = checked_updates(_list(data, "updates", where, 10_000), f"updates {where}")
    knots = checked_updates(_list(data, "knots", where, _KNOTS), f"knots {where}", least=0)
    losses, rates = (_numbers(data, key, where, limit) for key, limit in (("losses", 10_000), ("rates", _KNOTS)))
    if len(updates) != len(losses) or len(updates) < LEAST_ROWS or (np.diff(updates) <= 0).any():
        raise ValueError(f"updates {where} must increase and be as many as the losses, at least {LEAST_ROWS}")
    if len(knots) != len(rates) or not len(knots) or knots[0] != 0 or (np.diff(knots) <= 0).any():
        raise ValueError(f"knots {where} must increase from 0 and be as many as the rates")
    if not updates[-1] <= knots[-1] + 1 <= _LONGEST:
        raise ValueError(f"knots {where} must reach the run's last loss, and end before update {_LONGEST:,}")
    if min(losses) <= 0 or min(rates) < 0 or max(rates) <= 0:
        raise ValueError(f"losses {where} must be positive, and its rates not negative and not all 0")
    return PastRun(name, group, tuple(updates.tolist()), losses, tuple(knots.tolist()), rates)


def _list(data: Mapping[str, Any], key: str, where: str, limit: int) -> list[Any]:
    found = data.get(key)
    if not isinstance(found, list) or len(found) > limit:
        raise ValueError(f"{key} {where} must be a list of up to {limit:,} numbers, got {shown(found)}")
    return found


def _numbers(data: Mapping[str, Any], key: str, where: str, limit: int) -> tuple[float, ...]:
    found = _list(data, key, where, limit)
    if not all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in found) or not found:
        raise ValueError(f"{key} {where} must be finite numbers")
    return tuple(float(x) for x in found)
