"""The page's drawings and texts for a state: curves, axes, handles, fields, findings and the difference, all computed by laju."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.checks import SpecError
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, UnresolvedError
from laju.inspect.description import breakpoints
from laju.inspect.difference import diff
from laju.inspect.lint import check
from laju.inspect.lint.codes import CODES
from laju.recognition.naming import named
from laju.studio.axes import x_axis, y_axis, zoomed
from laju.studio.handles import Window, handles
from laju.studio.spots import spots
from laju.studio.state import LARGEST, State, StateError
from laju.text.spec import parse
from laju.view.plot import thin

POINTS = 1600
"""The number of points of a curve on the page, about two for each pixel of its width."""

_FEW, _EDGES, _ALL = 1 << 14, 400, 1 << 22
"""Every value is computed for a run of few updates, and for a longer run with many boundaries; else a grid and the boundaries."""

_ENDLESS = 1000
"""The number of updates to show of a schedule without an end, if the length of the run is unknown."""

REFUSED = (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError, MemoryError, LookupError)
"""The errors that a schedule from an untrusted text may raise."""


@dataclass(frozen=True)
class Read:
    """A schedule of the page: as written, and in updates; or the error of its text, with the column."""

    given: Schedule | None = None
    resolved: Schedule | None = None
    error: str | None = None
    column: int | None = None


@lru_cache(maxsize=256)
def read(text: str, plan: RunPlan | None) -> Read:
    """The schedule of a text, in the updates of a plan."""
    try:
        given = parse(text)
        resolved = given.resolve(plan) if plan is not None and given.units else given
        resolved.require_resolved()
        with np.errstate(all="ignore"):
            resolved(0)
        if resolved.length is not None and resolved.length > LARGEST:
            return Read(
                given=given, error=f"the page shows at most {LARGEST:,} updates, got {float(resolved.length):g}"
            )
        return Read(given, resolved)
    except SpecError as error:
        return Read(error=str(error).partition("\n")[0], column=error.column)
    except UnresolvedError as error:
        return Read(given=parse(text), error=f"{error}; say what the run is, under Run")
    except REFUSED as error:
        return Read(error=str(error) or type(error).__name__)


def run_length(state: State, found: Iterable[Read]) -> int:
    """The number of updates that the page shows: those of the plan, or else up to the end of the last schedule."""
    if state.plan is not None and set(state.counts) != {"epochs"}:
        return state.plan.updates
    ends = [math.ceil(r.resolved.length) for r in found if r.resolved is not None and r.resolved.length is not None]
    return max(ends, default=_ENDLESS if state.plan is None else state.plan.updates) or 1


@lru_cache(maxsize=64)
def points(schedule: Schedule, end: int, begin: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The updates and values that a picture needs between two updates."""
    n = end - begin
    with np.errstate(all="ignore"):
        edges = list(islice(breakpoints(schedule, end), _EDGES + 1)) if n > _FEW else []
        if n <= _FEW or (len(edges) > _EDGES and n <= _ALL):
            t, v = thin(schedule(np.arange(begin, end)) if begin else schedule.values(end), POINTS)
            t = t + begin
        else:
            # Between two boundaries a curve is smooth, so that a grid and both sides of every boundary show the curve.
            near = np.array([edge + i for edge in edges for i in (-1, 0) if edge > begin], dtype=np.int64)
            t = np.union1d(np.linspace(begin, end - 1, POINTS // 2).astype(np.int64), near)
            v = schedule(t)
        kept = np.isfinite(v)
        return t[kept], v[kept]


@dataclass(frozen=True)
class Reach:
    """The extent of a log's rates: the last update, the lowest and the highest rate."""

    name: str
    end: int
    low: float
    top: float


def drawn(state: State, logs: Sequence[Reach] = (), *, moving: bool = False) -> dict[str, Any]:
    """Everything that the page shows for a state.

    Args:
        state: the state of the page.
        logs: the logs of the page, for which the picture leaves room.
        moving: whether a handle is being dragged; only the moving parts are then computed, without findings and sentences.

    Raises:
        StateError: the run's facts contradict each other.
    """
    plan, zoom = state.plan, state.zoom
    found = [read(line.text, plan) for line in state.schedules]
    n = run_length(state, found)
    begin, end = span(state, max([n, *(log.end for log in logs)]))
    active = found[state.active]
    lines = [_line(line.label, r, min(n, end), begin) for line, r in zip(state.schedules, found, strict=True)]
    seen = [value for line in lines for value in line.get("values", ())]
    seen += [value for log in logs for value in (log.low, log.top)]
    y = y_axis(min(seen, default=0.0), max(seen, default=1.0), state.log, seen)
    if "low" in zoom or "top" in zoom:
        low, top = zoom.get("low", y["low"]), zoom.get("top", y["top"])
        y = zoomed(low, top if top > low else low + 1.0, state.log)
    answer: dict[str, Any] = {
        "state": state.to_json(), "fragment": state.fragment, "updates": n, "begin": begin, "end": end, "lines": lines,
        "x": x_axis(state.axis, plan, end, begin), "y": y, "reaches": [vars(log) for log in logs],
        "error": active.error, "column": active.column,
    }  # fmt: skip
    if active.resolved is not None:
        text = state.schedules[state.active].text
        answer["handles"] = [h.to_json() for h in handles(text, active.resolved, plan, window(state))]
        answer["fields"] = [
            {"id": s.id, "name": s.name, "call": s.call, "text": s.text, "kind": s.kind, "written": s.written}
            for s in spots(text, plan)
        ]
    if state.against is not None:
        answer["difference"] = _difference(state, found, min(n, end), begin)
    if not moving:
        answer |= _said(state, active, plan, n)
    return answer


def span(state: State, n: int) -> tuple[int, int]:
    """The range of updates that the picture shows, within the updates of the run."""
    begin = int(state.zoom.get("begin", 0))
    end = int(state.zoom.get("end", n))
    return (begin, end) if begin < end else (0, n)


def _line(label: str, found: Read, end: int, begin: int) -> dict[str, Any]:
    line: dict[str, Any] = {"label": label, "error": found.error, "column": found.column}
    if found.resolved is None:
        return line
    if begin >= end:  # a part of the picture beyond the run
        return {**line, "updates": [], "values": [], "steps": False}
    try:
        t, v = points(found.resolved, end, begin)
    except REFUSED as error:
        return {**line, "error": str(error) or type(error).__name__}
    # A run of few updates is drawn in steps; the last value holds for one update more.
    return {
        **line,
        "updates": [*t.tolist(), end],
        "values": [*v.tolist(), float(v[-1])] if len(v) else [],
        "steps": end - begin <= POINTS,
    }


def _difference(state: State, found: list[Read], end: int, begin: int) -> dict[str, Any] | None:
    assert state.against is not None
    one, other = found[state.active].resolved, found[state.against].resolved
    if one is None or other is None or begin >= end:
        return None
    t = np.union1d(points(one, end, begin)[0], points(other, end, begin)[0])
    with np.errstate(all="ignore"):
        values = one(t) - other(t)
    kept = np.isfinite(values)
    t, values = t[kept], values[kept]
    if not len(t):
        return None
    reach = float(np.abs(values).max()) or 1.0
    return {
        "updates": [*t.tolist(), end],
        "values": [*values.tolist(), float(values[-1])],
        "reach": reach,
        "label": f"{reach:.3g}",
    }


def _said(state: State, active: Read, plan: RunPlan | None, n: int) -> dict[str, Any]:
    """The sentences beside the picture: findings, name and difference of the active schedule."""
    said: dict[str, Any] = {"findings": [], "name": None, "told": None, "checked": None}
    if active.resolved is None or active.given is None:
        return said
    try:
        with np.errstate(all="ignore"):
            known = plan if plan is not None else n
            asked: Any = known if active.given.units or plan is None else plan
            findings = check(active.given, asked, optimizer=state.optimizer or None)
        said["findings"] = [
            {"code": f.code, "level": f.level, "title": CODES[f.code], "message": f.message, "why": f.why,
             "instead": f.instead.partition(": `")[0] if f.fix else f.instead, "fix": f.fix, "update": f.update}
            for f in findings
        ]  # fmt: skip
    except REFUSED as error:
        said["checked"] = str(error)
    try:
        called = str(named(active.given))
        said["name"] = called if called != str(active.given) else None
        if state.against is not None:
            other = read(state.schedules[state.against].text, plan)
            if other.resolved is not None:
                said["told"] = str(diff(other.resolved, active.resolved, n))
    except REFUSED as error:
        said["told"] = str(error)
    return said


def resolved_others(state: State) -> list[Schedule]:
    """The schedules of the page except the active schedule, in updates."""
    found = (read(line.text, state.plan) for i, line in enumerate(state.schedules) if i != state.active)
    return [r.resolved for r in found if r.resolved is not None]


def run(state: State) -> int:
    """The number of updates that the page shows for a state."""
    return run_length(state, [read(line.text, state.plan) for line in state.schedules])


def window(state: State) -> Window:
    """The part of the run that the page shows for a state."""
    n = run(state)
    found = [read(line.text, state.plan).resolved for line in state.schedules]
    tops = [float(points(r, n)[1].max(initial=0.0)) for r in found if r is not None]
    top = max(tops, default=0.0) or 1.0
    begin, end = span(state, n)
    reach = state.zoom.get("top", top) - state.zoom.get("low", 0.0)
    return Window(
        n, top, end - begin, reach if reach > 0 else 1.0
    )  # a picture whose sides are exchanged has the height 1, too


def active(state: State) -> Schedule:
    """The active schedule in updates.

    Raises:
        StateError: its text is wrong.
    """
    found = read(state.schedules[state.active].text, state.plan)
    if found.resolved is None:
        raise StateError(found.error or "the schedule's text is wrong")
    return found.resolved
