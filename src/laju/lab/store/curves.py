"""Loss curves of stored trials, for `laju.forecast`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from laju.core.checks import nearest
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.forecast.curves import Curve, ForecastWarning
from laju.lab.store import Store, StoredTrial, is_url
from laju.lab.trials import Record
from laju.text.spec import parse
from laju.view.plot import printable


@dataclass(frozen=True)
class StoredCurve:
    """A curve, the schedule and the plan of its trials, and the number of seeds in the mean."""

    curve: Curve
    schedule: Schedule
    plan: RunPlan
    seeds: int


def stored_curves(
    store: Store | str | os.PathLike[str],
    task: str | None = None,
    *,
    framework: str | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
) -> list[StoredCurve]:
    """The training losses of finished trials, a curve for each schedule and run length: the mean over its seeds.

    A record holds the mean over its epoch so far. The difference of two records gives the mean loss of the updates between,
    placed at the middle of these updates. The first such segment of a run is left out: the loss falls too steeply for any point
    to represent the mean. Trials that diverged or collapsed are left out, too.

    Args:
        store: a store, or its file or URL.
        task, framework, batch_size, optimizer: the trials to take, if the store has several kinds; losses of different tasks, for
            example, do not follow the same law. The optimizer is given as text, such as "sgd(momentum=0.9)".

    Warns:
        ForecastWarning: a curve that is left out because its loss rises.

    Raises:
        FileNotFoundError: no such file.
        StoreError: not a store.
        ValueError: no finished trials, or trials of several tasks, frameworks, batch sizes or optimizers.
    """
    if not isinstance(store, Store):
        if not is_url(store) and not os.path.exists(store):
            raise FileNotFoundError(f"there is no store {os.fspath(store)}")
        with Store(store) as opened:
            return stored_curves(opened, task, framework=framework, batch_size=batch_size, optimizer=optimizer)
    where = "the store" if store.name == "memory" else store.name
    trials = [trial for trial in store.trials() if trial.outcome.status == "finished" and trial.outcome.records]
    if not trials:
        raise ValueError(f"{where} has no finished trials")
    trials = _one(trials, where, "task", task, lambda trial: trial.task)
    trials = _one(trials, where, "framework", framework, lambda trial: trial.framework)
    trials = _one(trials, where, "batch size", batch_size, lambda trial: trial.batch_size)
    trials = _one(trials, where, "optimizer", optimizer, lambda trial: trial.optimizer)

    groups: dict[tuple[str, int], list[StoredTrial]] = {}
    schedules: dict[str, Schedule] = {}
    for trial in trials:
        schedule = parse(trial.schedule)
        schedules.setdefault(schedule.fingerprint, schedule)  # a schedule may have been written in several ways
        groups.setdefault((schedule.fingerprint, trial.epochs), []).append(trial)
    several = len({epochs for _, epochs in groups}) > 1
    found: list[StoredCurve] = []
    for (fingerprint, epochs), group in groups.items():
        schedule, text = schedules[fingerprint], str(schedules[fingerprint])
        name = f"{text}, {epochs} epochs" if several else text
        short = printable(name, most=60)
        if short in {one.curve.name for one in found}:
            short = f"{printable(name, most=54)} ({len(found) + 1})"
        per_epoch = updates_per_epoch(group[0])
        batch = group[0].batch_size
        plan = RunPlan(samples=per_epoch * batch, batch_size=batch, epochs=epochs)
        windows = [stretches(trial.outcome.records, per_epoch) for trial in group]
        at = windows[0][0]
        if len(at) == 0:
            continue
        loss = np.mean([losses for _, losses in windows], axis=0)
        try:
            curve = Curve(at, loss, schedule.resolve(plan), short)
        except ValueError as error:  # such as a loss that rose, which says nothing about the others
            warnings.warn(f"{where}: left out {short}: {error}", ForecastWarning, stacklevel=2)
            continue
        found.append(StoredCurve(curve, schedule, plan, len(group)))
    if not found:
        raise ValueError(f"{where} has no trial that says how a loss fell; train for two epochs or more")
    return found


def updates_per_epoch(trial: StoredTrial) -> int:
    """The updates in an epoch, by a record's update and epoch, since a store does not know how large a task is.

    Raises:
        ValueError: a trial without records.
    """
    if not trial.outcome.records:
        raise ValueError("a trial without records does not say how long an epoch is")
    last = trial.outcome.records[-1]
    return round(last.update / last.epoch)


def stretches(records: Sequence[Record], per_epoch: int) -> tuple[list[int], list[float]]:
    """The middles of the segments between records, in completed updates, and their mean losses, without the first segment."""
    at: list[int] = []
    losses: list[float] = []
    begin, total = 0, 0.0  # of the stretch; the sum of losses in its epoch so far
    for record in records:
        in_epoch = record.update - (record.update - 1) // per_epoch * per_epoch
        now = record.train_loss * in_epoch
        # The k-th loss of a run is that after k completed updates, from 0.
        at.append(max(1, round((begin + record.update - 1) / 2)))
        losses.append((now - total) / (record.update - begin))
        begin, total = record.update, 0.0 if in_epoch == per_epoch else now
    return at[1:], losses[1:]


def _one(
    trials: list[StoredTrial], where: str, what: str, chosen: str | int | None, of: Callable[[StoredTrial], str | int]
) -> list[StoredTrial]:
    """The trials of a single task (framework, …): of the chosen value, or of the only value present."""
    there = sorted({of(trial) for trial in trials}, key=str)
    if chosen is None and len(there) > 1:
        raise ValueError(f"{where} has finished trials of several {what}s: {_listed(there)}; say which one")
    if chosen is not None and chosen not in there:
        hint = nearest(str(chosen), map(str, there))
        raise ValueError(f"{where} has no finished trials of {what} {chosen!r}{hint}; it has {_listed(there)}")
    return [trial for trial in trials if of(trial) == (there[0] if chosen is None else chosen)]


def _listed(values: Iterable[str | int]) -> str:
    return ", ".join(map(str, values))
