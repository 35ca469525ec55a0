"""The arguments of a comparison, read and checked before anything is trained."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from laju.averaging import Average
from laju.averaging import parse as parse_average
from laju.core.checks import is_number, nearest, shown, whole
from laju.core.pieces import Table
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.lab.trials import FRAMEWORKS, Framework
from laju.policies import constant
from laju.recognition.naming import named as called
from laju.text.spec import parse


@dataclass(frozen=True)
class Averaged:
    """A row of a comparison with the test figures of averaged weights, at the same number of updates.

    Args:
        schedule: a schedule in any form that `compare` accepts.
        average: an average such as `laju.averaging.EMA(0.999)`, or its text.

    >>> Averaged(0.1, "ema:0.999").average
    EMA(0.999)
    """

    schedule: Any
    average: Any

    def __post_init__(self) -> None:
        if isinstance(self.average, str):
            object.__setattr__(self, "average", parse_average(self.average))
        if not isinstance(self.average, Average):
            raise TypeError(f"average must be an Average, or text such as 'ema:0.999', got {shown(self.average)}")


Given = Schedule | str | float | Sequence[float] | Callable[[int], Any] | Averaged
Read = Schedule | Callable[[int], Any] | Averaged


def read_schedules(schedules: Mapping[str, Given]) -> dict[str, Read]:
    """By name, schedules, and functions that become schedules only when the run is known."""
    if not isinstance(schedules, Mapping) or not schedules:
        raise ValueError(f"schedules must be a dict of at least one schedule by name, got {shown(schedules)}")
    named: dict[str, Read] = {}
    for name, schedule in schedules.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"schedules must have names that are not empty, got {shown(name)}")
        try:
            if isinstance(schedule, Averaged):
                named[name] = Averaged(read_schedules({name: schedule.schedule})[name], schedule.average)
            elif isinstance(schedule, str):
                named[name] = called(parse(schedule))
            elif is_number(schedule):
                named[name] = constant(schedule)
            elif isinstance(schedule, Schedule):
                named[name] = called(schedule)
            elif callable(schedule):
                named[name] = schedule
            elif isinstance(schedule, Sequence | np.ndarray):
                named[name] = Table(tuple(cast(Iterable[float], schedule)))
            else:
                raise TypeError(
                    f"it must be a schedule, its text, a number, rates or a function, got {shown(schedule)}"
                )
        except (ValueError, TypeError) as error:
            raise type(error)(f"schedule {name!r}: {error}") from None
    return named


def fitted(name: str, schedule: Read, plan: RunPlan) -> Schedule:
    """The schedule, after a check that it suits the run."""
    sampled = _sampled(name, schedule.schedule if isinstance(schedule, Averaged) else schedule, plan)
    _check_fit(name, sampled, plan)
    return sampled


def _sampled(name: str, schedule: Schedule | Callable[[int], Any], plan: RunPlan) -> Schedule:
    """The table of a function's values, by which a trial with the function is identified."""
    if isinstance(schedule, Schedule):
        return schedule
    values = []
    for t in range(plan.updates):
        value = schedule(t)
        try:
            values.append(float(value))
        except (TypeError, ValueError):
            raise TypeError(
                f"schedule {name!r}: {shown(schedule)} gave {shown(value)} for update {t}, not a rate"
            ) from None
    return Table(tuple(values))


def read_frameworks(framework: str | Iterable[str]) -> tuple[Framework, ...]:
    chosen = (framework,) if isinstance(framework, str) else tuple(framework)
    for name in chosen:
        if name not in FRAMEWORKS:
            raise ValueError(
                f"framework {shown(name)} is not one of {', '.join(FRAMEWORKS)}{nearest(str(name), FRAMEWORKS)}"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"framework must be at least one of {', '.join(FRAMEWORKS)}, each once, got {shown(framework)}"
        )
    return cast(tuple[Framework, ...], chosen)


def read_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(seeds, numbers.Real):
        return tuple(range(whole("seeds", seeds, least=1)))
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds must be a number of seeds or a sequence of them, got {shown(seeds)}")
    chosen = tuple(whole("a seed", seed) for seed in seeds)
    if not chosen:
        raise ValueError("seeds must hold at least one seed, got none")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"seeds must differ from one another, got {shown(chosen)}")
    if max(chosen) >= 2**63:
        raise ValueError(f"a seed must be less than 2**63, got {max(chosen)}")
    return chosen


def _check_fit(name: str, schedule: Schedule, plan: RunPlan) -> None:
    """Raise, before training, errors that would otherwise stop the training after minutes."""
    try:
        values = schedule.resolve(plan).values(plan.updates)
    except ValueError as error:
        raise ValueError(f"schedule {name!r} does not fit this run: {error}") from None
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        t = int(bad.argmax())
        raise ValueError(
            f"schedule {name!r} must have finite rates that are not negative, but update {t} has {values[t]:g}"
        )
