"""The difference of two schedules: at which updates, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from laju.core.checks import number, whole
from laju.core.measure import EACH, measure, places, run_length
from laju.core.pieces import Table
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.tracing import trace

_BLOCK = 1 << 18
SHARE = 1e-3
"""Differences of at most this share of the peak are too small to matter for a training run."""


@dataclass(frozen=True)
class Difference:
    """The difference of the schedules a and b over the updates 0 … updates - 1.

    Args:
        updates: number of updates that were compared.
        tolerance: values count as equal if |a - b| ≤ tolerance·max(|a|, |b|).
        first: the first update at which the values differ; None if all values are equal.
        first_values: (a, b) at update `first`.
        peak: the largest finite |a| or |b| among the updates.
        matters: the first update at which |a - b| is more than a thousandth of the peak (`SHARE`); None without such an update.
        matters_values: (a, b) at update `matters`.
        largest: the largest |a - b|.
        largest_at, largest_values: the first update with the largest |a - b|, and (a, b) at this update.
        relative: the largest |a - b| / max(|a|, |b|), which is at most 2, and counts as 0 if a = b = 0.
        relative_at: the first update with that relative difference.
        area: Σ |a - b|.
        relative_area: Σ |a - b| / max(Σ |a|, Σ |b|).
    """

    updates: int
    tolerance: float
    first: int | None
    first_values: tuple[float, float] | None
    peak: float
    matters: int | None
    matters_values: tuple[float, float] | None
    largest: float
    largest_at: int
    largest_values: tuple[float, float]
    relative: float
    relative_at: int
    area: float
    relative_area: float

    @property
    def equal(self) -> bool:
        return self.first is None

    def to_json(self) -> dict[str, Any]:
        return {"equal": self.equal, **asdict(self)}

    def __str__(self) -> str:
        run = f"{self.updates:,} update{'' if self.updates == 1 else 's'}"
        if self.first is None or self.first_values is None:
            return f"equal over {run}" + (f", up to {self.tolerance:g} of the value" if self.largest else "")
        if self.matters is None or self.matters_values is None:
            share = f"at most {100 * self.largest / self.peak:.2g}%" if self.peak else "less than a share"
            at, values, smaller = self.first, self.first_values, ""
        else:
            share, at, values = f"more than {100 * SHARE:g}%", self.matters, self.matters_values
            smaller = f"  smaller   {_pair(*self.first_values)} at update {self.first:,}\n" if at != self.first else ""
        c, d = self.largest_values
        return (
            f"different from update {at:,} on, by {share} of the peak ({self.peak:.6g}), over {run}\n"
            f"  first     {_pair(*values)} at update {at:,}\n{smaller}"
            f"  largest   {_pair(c, d)} at update {self.largest_at:,}: a difference of {self.largest:.6g}\n"
            f"  relative  {100 * self.relative:.4g}% at update {self.relative_at:,}\n"
            f"  area      {self.area:.6g}, or {100 * self.relative_area:.4g}% of the larger sum"
        )


def _pair(a: float, b: float) -> str:
    """Two values with as many digits as distinguish the values."""
    digits = next((n for n in (6, 9, 12, 15) if f"{a:.{n}g}" != f"{b:.{n}g}"), 17)
    return f"{a:.{digits}g} and {b:.{digits}g}"


def diff(
    a: Any,
    b: Any,
    updates: int | None = None,
    *,
    plan: RunPlan | None = None,
    tolerance: float = 1e-12,
) -> Difference:
    """Compare two schedules over a run: |a(t) - b(t)| for t = 0 … updates - 1.

    In runs of more than four million updates, some thousands of updates are compared, among them all around each boundary,
    and the areas are computed by integrals, as `laju.core.measure` explains.

    Args:
        a, b: schedules in updates, or in units of the plan; learning rates of updates 0, 1, 2, …, of shape (n,); or schedulers
            of frameworks and functions of the update, a copy of which `laju.trace` runs. A scheduler's first parameter group
            is compared; for a later group, pass `laju.trace(…, group=1)`.
        updates: number of updates of the run; by default the plan's, else until both schedules end. Required for schedulers,
            which have no end.
        plan: the run, for schedules in epochs, tokens or percent.
        tolerance: values count as equal if |a - b| ≤ tolerance·max(|a|, |b|). The default of 1e-12 is some thousands of ulps,
            so that formulas that differ only in rounding are equal; 0 requires the same bits.

    Raises:
        UnresolvedError: if lengths are in units and there is no plan.
        TypeError: if `a` or `b` is no schedule, learning rates or scheduler, or is a scheduler that follows a metric.
        ValueError: if both schedules are endless and `updates` is None, or a scheduler raises or returns no number.

    >>> from laju import cosine, linear
    >>> difference = diff(linear(1, 0, total=4), linear(1, 0, total=5))
    >>> difference.first, difference.largest_at, round(difference.largest, 3), round(difference.area, 3)
    (1, 4, 0.2, 0.5)
    >>> diff(cosine(1, total=10), cosine(1, total=10)).equal
    True
    """
    tolerance = number("tolerance", tolerance, least=0)
    if updates is None and plan is not None:
        updates = plan.updates
    updates = None if updates is None else whole("updates", updates, least=1)
    a, b = _resolved(a, plan), _resolved(b, plan)
    ends = [run_length(s) for s in (a, b) if isinstance(s, Schedule) and s.length is not None]
    asked = updates or max(ends, default=None)
    a, b = _traced("a", a, asked), _traced("b", b, asked)
    if updates is None and a.length is None and b.length is None:
        raise ValueError("a and b have no end, so say how many updates to compare: updates=…")
    n = max(run_length(s, updates) for s in (a, b) if updates is not None or s.length is not None)
    first: int | None = None
    first_values: tuple[float, float] | None = None
    peak = 0.0
    largest, largest_at, largest_values = -1.0, 0, (0.0, 0.0)
    relative, relative_at = -1.0, 0
    areas, sums_a, sums_b = [], [], []
    for t, x, y in _blocks(a, b, n, relative=tolerance):
        with np.errstate(all="ignore"):
            apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
            apart[np.isnan(apart)] = np.inf  # a number and NaN are as far apart as can be
            size = np.maximum(np.abs(x), np.abs(y))
            ratio = np.where(apart == 0, 0.0, np.where(np.isfinite(apart), apart / size, 2.0))
            beyond = np.flatnonzero((apart > 0) & ~(apart <= tolerance * np.where(np.isfinite(size), size, 0.0)))
            peak = max(peak, float(np.max(size, initial=0.0, where=np.isfinite(size))))
        if first is None and beyond.size:
            first = int(t[beyond[0]])
            first_values = float(x[beyond[0]]), float(y[beyond[0]])
        i, j = int(apart.argmax()), int(ratio.argmax())
        if apart[i] > largest:
            largest, largest_at, largest_values = float(apart[i]), int(t[i]), (float(x[i]), float(y[i]))
        if ratio[j] > relative:
            relative, relative_at = float(ratio[j]), int(t[j])
        areas.append(float(apart.sum()))
        sums_a.append(float(np.abs(x).sum()))
        sums_b.append(float(np.abs(y).sum()))
    area, larger = _total(areas), max(_total(sums_a), _total(sums_b))
    if n > EACH:
        # A sum over some thousand places is no sum over the run.
        area, larger = (
            (measure(_apart(a, b), n).sum if largest else 0.0),
            max(measure(_apart(s, 0.0), n).sum for s in (a, b)),
        )
    matters, matters_values = None, None
    if first is not None and largest > SHARE * peak:
        matters, matters_values = _first_beyond(a, b, n, SHARE * peak)
    return Difference(
        updates=n,
        tolerance=tolerance,
        first=first,
        first_values=first_values,
        peak=peak,
        matters=matters,
        matters_values=matters_values,
        largest=largest,
        largest_at=largest_at,
        largest_values=largest_values,
        relative=relative,
        relative_at=relative_at,
        area=area,
        relative_area=area / larger if area and math.isfinite(area) and math.isfinite(larger) else min(area, 2.0),
    )


def _resolved(given: Any, plan: RunPlan | None) -> Any:
    """A schedule in updates, of a schedule or of rates; a scheduler unchanged."""
    if isinstance(given, np.ndarray | list | tuple):
        given = Table(tuple(np.asarray(given, float).tolist()))
    if not isinstance(given, Schedule):
        return given
    schedule = given if plan is None else given.resolve(plan)
    schedule.require_resolved()
    return schedule


def _traced(name: str, given: Any, updates: int | None) -> Schedule:
    """The rates of a scheduler."""
    if isinstance(given, Schedule):
        return given
    try:
        rates = trace(given, updates or 1)
    except TypeError as error:
        raise TypeError(
            f"{name} must be a laju schedule, rates of updates 0, 1, 2, …, or a scheduler: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if updates is None:
        raise ValueError(f"{name} is a scheduler, which has no end, so say how many updates to compare: updates=…")
    return rates


def _first_beyond(a: Schedule, b: Schedule, n: int, least: float) -> tuple[int | None, tuple[float, float] | None]:
    """The first update at which |a - b| > least, and both values there."""
    for t, x, y in _blocks(a, b, n, absolute=least):
        with np.errstate(all="ignore"):
            beyond = np.flatnonzero(~((x == y) | (np.isnan(x) & np.isnan(y)) | (np.abs(x - y) <= least)))
        if beyond.size:
            i = beyond[0]
            return int(t[i]), (float(x[i]), float(y[i]))
    return None, None


def _blocks(
    a: Schedule, b: Schedule, n: int, *, relative: float = 0.0, absolute: float = 0.0
) -> Iterator[tuple[Any, Any, Any]]:
    """(updates, values of a, values of b): all updates, or some of a long run, with the first beyond the limits found exactly."""

    def beyond(x: Any, y: Any) -> Any:
        return np.abs(x - y) > np.maximum(relative * np.maximum(np.abs(x), np.abs(y)), absolute)

    with np.errstate(all="ignore"):
        if n > EACH:
            t = np.union1d(places((a, b), n), [measure(_apart(a, b), n).peak_at] if a != b else [0])
            first = np.flatnonzero(beyond(a(t), b(t)))
            if first.size and first[0]:
                # Only some places of a long run are looked at, close together around each boundary: between the last equal
                # place and the first different one, halving finds the update.
                equal, differs = int(t[first[0] - 1]), int(t[first[0]])
                while differs - equal > 1:
                    middle = (equal + differs) // 2
                    equal, differs = (equal, middle) if beyond(a(middle), b(middle)) else (middle, differs)
                t = np.union1d(t, [differs])
            yield t, a(t), b(t)
            return
        for begin in range(0, n, _BLOCK):
            size = min(_BLOCK, n - begin)
            yield np.arange(begin, begin + size), a.values(size, start=begin), b.values(size, start=begin)


def _apart(a: Schedule, b: Schedule | float) -> Schedule:
    """|a - b| as a schedule."""
    less = b * -1 if isinstance(b, Schedule) else -b
    return (a + less).maximum((a * -1) + b)


def _total(parts: list[float]) -> float:
    return math.fsum(parts) if all(map(math.isfinite, parts)) else math.inf
