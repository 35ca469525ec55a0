"""Where two schedules differ, and by how much."""

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


@dataclass(frozen=True)
class Difference:
    """How schedules a and b differ over the updates 0 … updates - 1.

    Args:
        updates: that were compared.
        tolerance: values count as equal up to tolerance·max(|a|, |b|).
        first: the first update at which they differ; None when they are equal.
        first_values: (a, b) there.
        largest: the largest |a - b|.
        largest_at, largest_values: where it is first, and (a, b) there.
        relative: the largest |a - b| / max(|a|, |b|), which is 0 where both are 0, and at most 2.
        relative_at: where it is first.
        area: Σ |a - b|.
        relative_area: Σ |a - b| / max(Σ |a|, Σ |b|).
    """

    updates: int
    tolerance: float
    first: int | None
    first_values: tuple[float, float] | None
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
        (a, b), (c, d) = self.first_values, self.largest_values
        return (
            f"different from update {self.first:,} on, over {run}\n"
            f"  first     {_pair(a, b)} at update {self.first:,}\n"
            f"  largest   {_pair(c, d)} at update {self.largest_at:,}: a difference of {self.largest:.6g}\n"
            f"  relative  {100 * self.relative:.4g}% at update {self.relative_at:,}\n"
            f"  area      {self.area:.6g}, or {100 * self.relative_area:.4g}% of the larger sum"
        )


def _pair(a: float, b: float) -> str:
    """Two values with as many digits as tell them apart."""
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
    """How two schedules differ over a run: |a(t) - b(t)| for t = 0 … updates - 1.

    In runs of more than four million updates, some thousands are compared, all around each boundary among these, and the areas
    are measured as `laju.core.measure` says.

    Args:
        a, b: schedules in updates, or in units of the plan; rates of updates 0, 1, 2, …, shape (n,); schedulers of frameworks
            and functions of the update, of which `laju.trace` runs a copy. For a group but the first: `laju.trace(…, group=1)`.
        updates: of the run; by default the plan's, else until both schedules end. A scheduler has no end.
        plan: the run, for schedules in epochs, tokens or percent.
        tolerance: relative: values count as equal when |a - b| ≤ tolerance·max(|a|, |b|). The default of 1e-12 is some
            thousands of ulps, so that formulas that differ in rounding alone are equal; 0 asks for the same bits.

    Raises:
        UnresolvedError: lengths in units without a plan.
        TypeError: no schedule, rates or scheduler, or a scheduler that follows a metric.
        ValueError: two schedules without an end and no `updates`; a scheduler that raises or gives no number.

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
    largest, largest_at, largest_values = -1.0, 0, (0.0, 0.0)
    relative, relative_at = -1.0, 0
    areas, sums_a, sums_b = [], [], []
    for t, x, y in _blocks(a, b, n, tolerance):
        with np.errstate(all="ignore"):
            apart = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
            apart[np.isnan(apart)] = np.inf  # a number and none are as far apart as can be
            size = np.maximum(np.abs(x), np.abs(y))
            ratio = np.where(apart == 0, 0.0, np.where(np.isfinite(apart), apart / size, 2.0))
            beyond = np.flatnonzero((apart > 0) & ~(apart <= tolerance * np.where(np.isfinite(size), size, 0.0)))
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
        area, larger = (
            (measure(_apart(a, b), n).sum if largest else 0.0),
            max(measure(_apart(s, 0.0), n).sum for s in (a, b)),
        )
    return Difference(
        updates=n,
        tolerance=tolerance,
        first=first,
        first_values=first_values,
        largest=largest,
        largest_at=largest_at,
        largest_values=largest_values,
        relative=relative,
        relative_at=relative_at,
        area=area,
        relative_area=area / larger if area and math.isfinite(area) and math.isfinite(larger) else min(area, 2.0),
    )


def _resolved(given: Any, plan: RunPlan | None) -> Any:
    """A schedule in updates, of a schedule or of rates; a scheduler as it is."""
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


def _blocks(a: Schedule, b: Schedule, n: int, tolerance: float) -> Iterator[tuple[Any, Any, Any]]:
    """(updates, values of a, values of b): all of them, or some of a long run, with the first that differs found exactly."""
    with np.errstate(all="ignore"):
        if n > EACH:
            t = np.union1d(places((a, b), n), [measure(_apart(a, b), n).peak_at] if a != b else [0])
            x, y = a(t), b(t)
            beyond = np.flatnonzero(np.abs(x - y) > tolerance * np.maximum(np.abs(x), np.abs(y)))
            if beyond.size and beyond[0]:
                equal, differs = int(t[beyond[0] - 1]), int(t[beyond[0]])
                while differs - equal > 1:
                    middle = (equal + differs) // 2
                    p, q = a(middle), b(middle)
                    equal, differs = (
                        (equal, middle) if abs(p - q) > tolerance * max(abs(p), abs(q)) else (middle, differs)
                    )
                t = np.union1d(t, [differs])
                x, y = a(t), b(t)
            yield t, x, y
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
