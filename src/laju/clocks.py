"""Clocks that count data instead of updates, for runs whose batch size changes."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from laju.arguments import shown, whole
from laju.arrays import Namespace
from laju.schedule import At, Duration, Schedule, node, put
from laju.units import RunPlan


@node
class Clock(Schedule):
    """A schedule that counts samples, read in updates: child(samples seen before update t).

    Args:
        child: on a clock of samples.
        pace: (first update, samples before it, samples an update) of every stretch with one batch size.

    >>> from laju import linear
    >>> Clock(linear(1, 0, total=8), [(0, 0, 1), (2, 2, 3)]).values(5)
    array([1.   , 0.875, 0.75 , 0.375, 0.   ])
    """

    child: Schedule
    pace: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.child, Schedule):
            raise TypeError(f"child must be a schedule, got {shown(self.child)}")
        if isinstance(self.pace, str) or not isinstance(self.pace, Iterable):
            raise TypeError(
                f"pace must be a sequence of (update, samples before it, samples an update), got {shown(self.pace)}"
            )
        pace = []
        for i, stretch in enumerate(self.pace):
            if not isinstance(stretch, tuple | list) or len(stretch) != 3:
                raise ValueError(
                    f"pace[{i}] must be (update, samples before it, samples an update), got {shown(stretch)}"
                )
            pace.append(
                (
                    whole(f"pace[{i}][0]", stretch[0]),
                    whole(f"pace[{i}][1]", stretch[1]),
                    whole(f"pace[{i}][2]", stretch[2], least=1),
                )
            )
        if not pace or pace[0][0] != 0 or any(b[0] < a[0] for a, b in zip(pace, pace[1:], strict=False)):
            raise ValueError(f"pace must begin at update 0 and go on from there, got {shown(self.pace)}")
        put(self, pace=tuple(pace))

    @property
    def length(self) -> Duration | None:
        length = self.child.length
        return None if length is None else self.update_at(length)

    def update_at(self, position: Any) -> int:
        """The first update at which the child's clock shows at least `position`."""
        begin, seen, each = [s for s in self.pace if s[1] < position or s[0] == 0][-1]
        return int(begin + max(0, math.ceil(Fraction(position - seen) / each)))

    def _scalar(self) -> At:
        child, pace, begins = self.child._scalar(), self.pace, [stretch[0] for stretch in self.pace]

        def at(t: Any) -> float:
            begin, seen, each = pace[bisect.bisect_right(begins, t) - 1]
            return child(seen + (t - begin) * each)

        return at

    def _array(self, t: Any, ns: Namespace) -> Any:
        exact = ns.reaches(self.pace[-1][1] * 4)  # a 32-bit counter cannot count the samples of a long run
        position: Any = None
        for begin, seen, each in self.pace:
            if not ns.reaches(begin):
                break
            after = t - begin
            here = seen + after * each if exact else float(seen) + ns.real(after) * float(each)
            position = here if position is None else ns.where(after >= 0, here, position)
        return self.child._array(position, ns if exact else ns.of_floats())


def on_data(schedule: Schedule, plan: RunPlan) -> Schedule:
    """A schedule in units of data as one in updates of a run with a batch ramp.

    Raises:
        ValueError: one formula counts updates and data at once.
    """
    return _on_data(schedule, plan, 0)


def _on_data(schedule: Schedule, plan: RunPlan, begin: int) -> Schedule:
    from laju.algebra import Chain, Take

    if not schedule.units:
        return schedule
    if not _counts_updates(schedule):
        return Clock(schedule._resolve(plan._data_scale), _pace_from(plan, begin))
    if not isinstance(schedule, Chain):
        raise ValueError(
            f"{shown(schedule)} counts updates and data at once, which a run with a batch_ramp cannot join"
        )
    parts: list[Schedule] = []
    for part in schedule.parts:
        placed = _on_data(part, plan, begin)
        if part is not schedule.parts[-1]:
            length: Any = placed.length
            placed = Take(placed, length) if part.units else placed
            begin += length
        parts.append(placed)
    return Chain(tuple(parts))


def _pace_from(plan: RunPlan, begin: int) -> tuple[tuple[int, int, int], ...]:
    """The pace of the run as seen from update `begin`, where both clocks show 0."""
    seen = plan.samples_before(begin)
    first = [stretch for stretch in plan.pace if stretch[0] <= begin][-1]
    later = [(t - begin, s - seen, each) for t, s, each in plan.pace if t > begin]
    return ((0, 0, first[2]), *later)


def _counts_updates(schedule: Schedule) -> bool:
    """Whether a length in plain updates is in it; those inside `per` count that unit."""
    from laju.algebra import Per

    if isinstance(schedule, Per):
        return False
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        if "time" in field.metadata and isinstance(value, int | float) and value:
            return True
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Schedule) and _counts_updates(child):
                return True
    return False
