"""The properties of a run that the rules read: values, peak, and the text of a correction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.core.clocks import stretch
from laju.core.measure import unchecked
from laju.core.outline import Geometric, Level, Transition
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.inspect.description import breakpoints
from laju.inspect.lint.codes import ALL, PARAMETERS, RATE, WHY, Finding
from laju.inspect.lint.structure import (
    Warmup,
    boundaries_of,
    cycles_of,
    end,
    looked_at,
    nodes_of,
    value_at,
    warmup_of,
)
from laju.inspect.wording import reworded


@dataclass(frozen=True)
class Run:
    given: Schedule
    schedule: Schedule  # in updates
    plan: RunPlan | None
    updates: int | None  # None where the run is not known
    optimizer: str | None
    bases: tuple[float, ...]
    parameter: str

    @property
    def name(self) -> str:
        return "the rate" if self.kind == RATE else self.parameter

    @property
    def kind(self) -> str:
        return PARAMETERS[self.parameter]

    @cached_property
    def n(self) -> int:
        return looked_at(self.schedule) if self.updates is None else self.updates

    @cached_property
    def t(self) -> npt.NDArray[np.int64]:
        """The updates that the rules read: all updates, unless the run is very long."""
        n = min(self.n, 2**62)  # updates beyond an integer of 64 bits are not checked
        if n <= ALL:
            return np.arange(n, dtype=np.int64)
        points = list(itertools.islice(breakpoints(self.schedule, n), 2_000))
        near = [p + i for p in points for i in (-1, 0, 1)]
        grid = np.linspace(0, n - 1, 1 << 16, dtype=np.float64).astype(np.int64)
        both = np.arange(1 << 12, dtype=np.int64)
        t = np.concatenate([grid, both, n - 1 - both, np.array(near, dtype=np.int64)])
        return np.unique(t[(t >= 0) & (t < n)])

    @cached_property
    def every_value(self) -> npt.NDArray[np.float64]:
        return unchecked(self.schedule, self.n if self.n <= ALL else self.t)

    @cached_property
    def v(self) -> npt.NDArray[np.float64]:
        """The values at `t`, up to the first value that is not finite."""
        bad = np.flatnonzero(~np.isfinite(self.every_value))
        return self.every_value[: bad[0]] if bad.size else self.every_value

    @cached_property
    def peak(self) -> float:
        return float(self.v.max()) if self.v.size else 0.0

    @cached_property
    def scale(self) -> float:
        """The largest absolute value, the scale by which values count as small."""
        return float(np.abs(self.v).max()) if self.v.size else 0.0

    @cached_property
    def end(self) -> int | None:
        """The first update at which the last value is reached and holds; None if only a warmup has an end."""
        length: Any = self.schedule.length
        if length is None or (self.warmup and self.warmup.after_all):
            return None
        return end(length)

    @cached_property
    def warmup(self) -> Warmup | None:
        return warmup_of(self.schedule)

    @cached_property
    def boundaries(self) -> tuple[Any, ...]:
        return tuple(boundaries_of(self.schedule))

    @cached_property
    def factor(self) -> bool:
        """Whether the values are factors of the groups' bases."""
        return bool(self.bases) and math.isclose(self.peak, 1)

    @cached_property
    def mistaken(self) -> Finding | None:
        """The finding for a length that was probably meant in a different unit, or None."""
        return _another_unit(self)

    def write(self, words: str, make: Callable[[], Schedule]) -> str:
        """The correction in words, with the corrected schedule's text if that text is short enough."""
        try:
            text = str(reworded(self.given, make()))
        except (ValueError, TypeError, ArithmeticError):  # a remedy that this schedule refuses stays in words
            return words
        return f"{words}: `{text}`" if text != str(self.given) and len(text) <= 300 else words

    def finding(self, code: str, update: int, message: str, instead: str) -> Finding:
        return Finding(code, int(update), message, WHY[code], instead)


def figure(value: float) -> str:
    return f"{value:.3g}"


def many(n: int, what: str = "update") -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def fitted_to(schedule: Schedule, n: int) -> Schedule:
    """The schedule stretched to last n updates, with the boundaries of a chain at whole updates."""
    by = n / float(schedule.length)  # type: ignore[arg-type]
    parts = schedule.children
    if not any(schedule.begins) or not all(isinstance(part.form, Level | Transition) for part in parts):
        fitted = stretch(schedule, by)
        if end(fitted.length) != n:  # a staircase whose steps do not divide the run
            raise ValueError("it cannot be stretched to the run")
        return fitted
    ends = [round(at * n / schedule.length) for at in (*schedule.begins, schedule.length)]
    lengths = iter([b - a for a, b in itertools.pairwise(ends)])
    return schedule.rebuild(lambda part: part.lasting(next(lengths)))


def _another_unit(run: Run) -> Finding | None:
    if run.updates is None or run.given.units:
        return None
    n, plan = run.n, run.plan
    # With fewer than ten updates in an epoch, a length in updates cannot be told from one in epochs.
    epochs = plan.epochs if plan is not None and n >= 10 * plan.epochs else 0
    decay = _vanishing(run.schedule, n, epochs) if epochs else None
    if decay is not None:
        at = min(n - 1, math.ceil(decay.every))
        message = (
            f"×{decay.factor:g} every {many(decay.every)} leaves nothing of {run.name} long before the end of "
            f"{many(n)}: it looks like {many(decay.every, 'epoch')}"
        )
        return run.finding("LAJU013", at, message, run.write("the unit", lambda: run.given.per("epoch")))
    length = max(run.boundaries, default=None) if run.end is None else run.end
    # A schedule that only warms up ends early on purpose, and says nothing of its unit.
    if not length or (run.warmup and run.warmup.length == length):
        return None
    cycle = run.schedule.length is None and any(until == math.inf for _, until in cycles_of(run.schedule, n))
    what = "a cycle" if cycle else "the schedule"
    shown_length = f"{math.ceil(length):,}"
    held = "" if cycle else f"; {figure(value_at(run.schedule, math.ceil(length)))} then holds"
    if length <= epochs:
        message = (
            f"{what} takes {shown_length} of {many(n)}{held}: it looks like {many(math.ceil(length), 'epoch')}, "
            f"of which the run has {plan.epochs if plan else 0:,}"
        )
        return run.finding("LAJU013", math.ceil(length), message, run.write("the unit", lambda: run.given.per("epoch")))
    after = None if run.end is not None else next(run.schedule.outline(length), None)
    holds = after is None or after.piece.level is not None
    if not cycle and holds and (100 * length <= n or (length == 100 and 10 * length <= n)):
        percent = "percent of the run" if length == 100 else "another unit"
        message = f"{what} takes {shown_length} of {many(n)}{held}: it looks like {percent}"
        words = 'a total of the whole run, which total="100%" is whatever its length'
        fitted = run.write(words, lambda: fitted_to(run.given, n)) if run.end is not None else words
        return run.finding("LAJU013", math.ceil(length), message, fitted)
    if plan is None or length < 1.5 * n or cycle:
        return None
    for count, words in _counts(plan):
        if math.isclose(length, count, rel_tol=0.01):
            message = f"{what} takes {shown_length} updates, and the run has {n:,}: it looks like {words}"
            instead = run.write(
                'a total in updates, which total="100%" is whatever is counted', lambda: fitted_to(run.given, n)
            )
            return run.finding("LAJU013", n, message, instead)
    return None


def _counts(plan: RunPlan) -> Iterator[tuple[int, str]]:
    """Counts of a run that are taken for the length of the run by mistake."""
    all_samples = plan.samples * plan.epochs
    yield all_samples, "samples"
    yield plan.samples, "the samples of one epoch"
    if plan.tokens_per_sample:
        yield all_samples * plan.tokens_per_sample, "tokens"
    if not plan.batch_ramp:
        for accumulate, world, words in (
            (1, plan.world_size, "micro-batches, before accumulation"),
            (plan.accumulate, 1, "the updates of all processes"),
            (1, 1, "the micro-batches of all processes"),
        ):
            yield -(-plan.samples // (plan.batch_size * accumulate * world)) * plan.epochs, words


def _vanishing(schedule: Schedule, n: int, epochs: int) -> Geometric | None:
    """A decay in updates that is over long before the end, and would reach the end if the decay counted epochs."""
    for node in nodes_of(schedule):
        match node.form:
            case Geometric(_, factor, every) as decay if factor < 1 and every <= epochs:
                digits = math.log10(factor) / float(every)
                if digits * n < -12 and digits * epochs >= -6:
                    return decay
    return None
