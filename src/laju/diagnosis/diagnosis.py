"""The report on a run whose learning rates differ from the planned ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.diagnosis.causes import Cause, causes_of
from laju.diagnosis.rows import Case
from laju.logs import Log, LogError


@dataclass(frozen=True)
class Diagnosis:
    """The result of `diagnose`.

    Attributes:
        healthy: whether the learning rates are as planned, under any of the writer's conventions of positions.
        causes: changes that explain all learning rates; several if they give the same learning rates at the rows of the log.
        rows: number of learning rates that were compared.
        first: the first update with a deviating learning rate, and the two rates (logged, planned) at this update.
        note: the convention of positions, or the deviation for which no explanation was found.
    """

    healthy: bool
    causes: tuple[Cause, ...]
    rows: int
    first: tuple[int, float, float] | None = None
    note: str = ""

    @property
    def certain(self) -> bool:
        """Whether exactly one change explains the learning rates."""
        return self.healthy or len(self.causes) == 1

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "certain": self.certain}

    def __str__(self) -> str:
        if self.healthy:
            text = f"healthy: all {self.rows:,} rates are the meant ones"
            return f"{text} ({self.note})" if self.note else text
        lines = []
        if self.first is not None:
            at, logged, meant = self.first
            lines.append(f"at update {at:,} the rate is {logged:g}, and {meant:g} is meant")
        if not self.causes:
            lines.append(self.note or "no cause was found")
        elif len(self.causes) > 1:
            lines.append(f"{len(self.causes)} causes give the same rates at the rows of this log:")
        lines += [str(cause) for cause in self.causes]
        return "\n".join(lines)


def diagnose(log: Log, meant: Schedule, *, rate: str | None = None, updates_per_epoch: int | None = None) -> Diagnosis:
    """Explain why the learning rates of a log differ from the planned schedule.

    Args:
        log: log of the run, from `laju.logs.read`.
        meant: the planned schedule, in the unit of the log.
        rate: name of the column of learning rates; by default the log's first.
        updates_per_epoch: number of updates per epoch, to convert a log that counts epochs to updates.

    Returns:
        Whether the run is healthy, else the changes of the schedule that reproduce all logged learning rates.

    Raises:
        LogError: if the log has no learning rates, or a column is missing.
        UnresolvedError: if the schedule is not in updates.

    >>> import io, laju
    >>> from laju.logs import read
    >>> meant = laju.cosine(0.1, total=1000, warmup=100)
    >>> rows = [f"{t},{meant(2 * t)}" for t in range(0, 500, 10)]
    >>> found = diagnose(read(io.StringIO("step,lr\\n" + "\\n".join(rows))), meant)
    >>> found.causes[0].kind, found.causes[0].text
    ('counted', 'every update is counted 2 times')
    """
    if not isinstance(meant, Schedule):
        raise TypeError(f"meant must be a laju schedule, got {shown(meant)}")
    meant.require_resolved()
    series = log.rate(rate)
    if not len(series.at):
        raise LogError(f"{log.path} has no rates in column {series.name!r}")
    at = series.at * (updates_per_epoch or 1) if log.unit == "epoch" else series.at
    case = Case(meant, np.round(at), series.values, series.precision())
    for shift in log.format.shifts:
        if case.explains(case.meant(case.t + shift)):
            note = "" if shift == 0 else f"row k has the rate of update k {'-' if shift < 0 else '+'} {abs(shift)}"
            if note:
                note += f", as {log.format.name} writes" if log.format.known else ", logged before or after the update"
            return Diagnosis(True, (), len(at), note=note)
    found: list[Cause] = []
    for shift in log.format.shifts:  # the writer's usual convention first
        found = causes_of(replace(case, t=case.t + shift))
        if found:
            break
    predicted = case.meant(case.t + log.format.shifts[0])
    apart = np.flatnonzero(np.abs(predicted - case.y) > case.tolerance)
    i = int(apart[0]) if apart.size else 0
    note = (
        ""
        if found
        else "no known cause turns the planned rates into the logged rates; the run may have a different schedule"
    )
    return Diagnosis(False, tuple(found), len(at), (int(case.t[i]), float(case.y[i]), float(predicted[i])), note)
