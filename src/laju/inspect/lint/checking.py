"""check: the findings of all rules, each with a correction that has been verified."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from laju.core.checks import is_number, nearest, number, shown, whole
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, UnresolvedError
from laju.inspect.lint.codes import LARGEST, OTHERS, PARAMETERS, Finding
from laju.inspect.lint.rules import RULES, does_not_fit
from laju.inspect.lint.run import Run
from laju.text.spec import parse


def check(
    schedule: Schedule,
    plan: RunPlan | int | None = None,
    *,
    optimizer: Any = None,
    groups: Iterable[float] | None = None,
    parameter: str = "lr",
) -> list[Finding]:
    """Find probable mistakes in a schedule. The list is in the order of the updates, and empty for a clean schedule.

    Args:
        schedule: a schedule in updates, or in units of the plan.
        plan: the run, or its number of updates. Without a plan, the schedule is checked until its end (an endless schedule for
            twice its last boundary, at least 1,000 updates), and mismatches of run length and schedule length are not checked.
        optimizer: name of the optimizer, such as "adamw", or the optimizer itself; enables the check for a peak that is too
            large for the optimizer.
        groups: base learning rates of the parameter groups. A schedule with peak 1 is taken as a factor of the base rates.
        parameter: the scheduled hyper-parameter: "lr" (the default), "weight_decay", "momentum", "beta1", "betas[0]" …

    Raises:
        UnresolvedError: if the schedule's lengths are in units that the plan does not know.
        ValueError: for an unknown optimizer or parameter, or base rates that are not positive.

    >>> from laju import cosine
    >>> for finding in check(cosine(0.3, total=100, warmup=5), 80):
    ...     print(finding.code, finding.update, finding.message)
    LAJU001 0 the warmup starts at 0, so update 0 changes nothing
    LAJU005 80 the run has 80 updates, the schedule 100: it stops at 0.0347 on its way to 0
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a laju schedule, got {shown(schedule)}")
    if parameter not in PARAMETERS:
        raise ValueError(
            f"parameter must be one of {', '.join(PARAMETERS)}, got {shown(parameter)}"
            f"{nearest(str(parameter), PARAMETERS)}"
        )
    name = _optimizer_name(optimizer)
    bases = _bases(groups)
    if plan is not None and not isinstance(plan, RunPlan):
        if not is_number(plan):
            raise TypeError(f"plan must be a RunPlan or a number of updates, got {shown(plan)}")
        plan = whole("plan", plan, least=1)
    findings = _found(schedule, plan, name, bases, parameter)
    return [_proven(f, lambda fixed: _found(fixed, plan, name, bases, parameter)) for f in findings]


def _found(
    schedule: Schedule, plan: RunPlan | int | None, optimizer: str | None, bases: tuple[float, ...], parameter: str
) -> list[Finding]:
    try:
        resolved = schedule.resolve(_plan_for(schedule, plan)) if schedule.units else schedule
    except UnresolvedError:
        raise
    except ValueError as error:
        return [does_not_fit(schedule, plan, error)]
    updates = plan.updates if isinstance(plan, RunPlan) else plan
    run = Run(schedule, resolved, plan if isinstance(plan, RunPlan) else None, updates, optimizer, bases, parameter)
    with np.errstate(all="ignore"):
        return sorted((f for rule in RULES for f in rule(run)), key=lambda f: (f.update, f.code))


def _proven(finding: Finding, found: Callable[[Schedule], list[Finding]]) -> Finding:
    """The finding, whose correction stays only if the corrected schedule can be read and does not have the finding itself."""
    if finding.fix is None:
        return finding
    try:
        if all(again.code != finding.code for again in found(parse(finding.fix))):
            return finding
    except ValueError:  # a function of the user's without a name
        pass
    return dataclasses.replace(finding, instead=finding.instead.partition(": `")[0])


def fixed(
    schedule: Schedule, found: Callable[[Schedule], list[Finding]], wanted: Callable[[Finding], bool]
) -> Schedule:
    """Correct the findings of a schedule one after the other, as far as corrections are known, and return the result.

    Args:
        schedule: the schedule to correct.
        found: function from a schedule to its findings, such as `check`.
        wanted: function that says whether a finding should be corrected.
    """
    seen = {schedule}
    while True:
        texts = [finding.fix for finding in found(schedule) if wanted(finding) and finding.fix is not None]
        schedules = [parse(text) for text in texts]
        following = next((s for s in schedules if s not in seen), None)
        if following is None:
            return schedule
        schedule = following
        seen.add(schedule)


def _plan_for(schedule: Schedule, plan: RunPlan | int | None) -> RunPlan:
    if plan is None or (not isinstance(plan, RunPlan) and schedule.units != {"%"}):
        schedule.require_resolved()
    if isinstance(plan, RunPlan):
        return plan
    assert plan is not None
    return RunPlan(samples=plan, batch_size=1, epochs=1)  # a plan in which 100% has a length


def _optimizer_name(optimizer: Any) -> str | None:
    if optimizer is None:
        return None
    if not isinstance(optimizer, str):  # an optimizer of any framework, or its class
        return (optimizer if isinstance(optimizer, type) else type(optimizer)).__name__.lower()
    name = optimizer.lower()
    if name not in LARGEST and name not in OTHERS:
        known = sorted({*LARGEST, *OTHERS})
        raise ValueError(f"optimizer must be one of {', '.join(known)}, got {shown(optimizer)}{nearest(name, known)}")
    return name


def _bases(groups: Any) -> tuple[float, ...]:
    if groups is None:
        return ()
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        raise TypeError(f"groups must be base rates such as [1e-5, 1e-3], got {shown(groups)}")
    return tuple(number(f"groups[{i}]", base, above=0) for i, base in enumerate(groups))
