"""The trials of a store, group by group: a table of schedules and their learning curves, which is refreshed while trials run."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from laju.core.checks import shown
from laju.lab.statistics import ACCURACY, estimate
from laju.lab.store import Store, StoredTrial, is_url
from laju.studio.axes import around, x_axis

MOST_GROUPS = 40
_MOST_RECORDS = 400


def results(place: str) -> list[dict[str, Any]]:
    """The finished trials of a store, with a table for each task, framework, run length, batch size and optimizer.

    Raises:
        FileNotFoundError: no such file.
        StoreError: not a store.
    """
    if not is_url(place) and not os.path.exists(place):
        raise FileNotFoundError(f"there is no store {place}")
    groups: dict[tuple[Any, ...], list[StoredTrial]] = defaultdict(list)
    with Store(place) as store:
        for trial in store.trials():
            groups[trial.task, trial.framework, trial.epochs, trial.batch_size, trial.optimizer].append(trial)
    return [_group(key, trials) for key, trials in list(groups.items())[-MOST_GROUPS:]]


def _group(key: tuple[Any, ...], trials: Sequence[StoredTrial]) -> dict[str, Any]:
    task, framework, epochs, batch, optimizer = key
    by_schedule: dict[str, list[StoredTrial]] = defaultdict(list)
    for trial in trials:
        by_schedule[trial.schedule].append(trial)
    rows = [_row(schedule, each) for schedule, each in by_schedule.items()]
    curves = [row["curve"] for row in rows if row["curve"] is not None]
    end = int(max((curve["updates"][-1] for curve in curves), default=1))
    return {
        "end": end,
        "x": x_axis("updates", None, end),
        "y": around([value for curve in curves for value in curve["values"]]),
        "title": f"{task}: {epochs} epoch{'s' * (epochs != 1)}, batches of {batch:,}, {optimizer}, {framework}",
        "rows": rows,
    }


def _row(schedule: str, trials: Sequence[StoredTrial]) -> dict[str, Any]:
    finished = [trial for trial in trials if trial.outcome.status == "finished" and trial.outcome.records]
    lasts = [trial.outcome.records[-1] for trial in finished]
    tests = [last.test_accuracy for last in lasts if last.test_accuracy is not None]
    accuracy = estimate(tests, bounds=ACCURACY)
    losses = [last.test_loss for last in lasts if last.test_loss is not None]
    return {
        "schedule": schedule,
        "seeds": len(trials),
        "failed": len(trials) - len(finished),
        "accuracy": None if accuracy is None else accuracy.mean,
        "accuracy_text": "" if accuracy is None else accuracy.text(),
        "test_loss": statistics.fmean(losses) if losses else None,
        "train_loss": statistics.fmean(last.train_loss for last in lasts) if lasts else None,
        "seconds": statistics.fmean(trial.outcome.seconds for trial in trials),
        "curve": _curve(finished),
    }


def _curve(trials: Sequence[StoredTrial]) -> dict[str, list[float]] | None:
    """The training loss by update, as the mean over the seeds that have a record at the update."""
    at: dict[int, list[float]] = defaultdict(list)
    for trial in trials:
        for record in trial.outcome.records:
            at[record.update].append(record.train_loss)
    if not at:
        return None
    updates = sorted(at)
    kept_of = updates[:: max(1, len(updates) // _MOST_RECORDS)]
    return {"updates": [float(u) for u in kept_of], "values": [statistics.fmean(at[u]) for u in kept_of]}


def checked(place: str) -> str:
    """The location of a store, after a check of its content.

    Raises:
        ValueError: a folder.
        OSError: no store.
    """
    if os.path.isdir(place):
        raise ValueError(f"{shown(place)} is a folder, not a store")
    results(place)
    return place
