"""A single trial of a search, here or in a worker process."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laju.core.schedule import Schedule
from laju.lab.engines import train
from laju.lab.trials import Outcome, Record
from laju.lab.trials.progress import Channel
from laju.lab.tuning.objectives import Objective
from laju.lab.tuning.storage import open_storage, quiet
from laju.lab.workers import Key
from laju.lab.workers.executors import Shared
from laju.lab.workers.job import Work

if TYPE_CHECKING:
    import optuna


def pruner_of(name: str) -> Any:
    from optuna import pruners

    match name:
        case "median":
            return pruners.MedianPruner(n_startup_trials=4)
        case "hyperband":
            return pruners.HyperbandPruner()
    return pruners.NopPruner()


MODEL: Key = ("", 0)
"""The key of the trial that is shared with all jobs; each job replaces its schedule and seed."""


@dataclass(frozen=True)
class Job:
    """A trial to run; its records go to `folder`, for a display."""

    folder: Path | None
    name: str
    schedule: Schedule
    seed: int
    fingerprint: str
    study: tuple[str, str, str, int] | None
    objective: Objective


@dataclass(frozen=True)
class Ran:
    """An outcome, or the records so far of a pruned trial. `reported`: the study already has the trial's course."""

    outcome: Outcome
    pruned: bool = False
    reported: bool = True


_studies: dict[tuple[str, str], optuna.Study] = {}


class _Pruned(Exception):
    pass


def work(shared: Shared, job: Job) -> Ran:
    """Train a trial, in this process or a worker; with a study, report every epoch to the study and stop on its advice."""
    content: Work = shared.get()
    trial = replace(content.unpack()[MODEL], schedule=job.schedule, seed=job.seed)
    channel = None if job.folder is None else Channel(job.folder)
    updates, records = trial.plan.updates, list[Record]()
    asked = None if job.study is None else _trial_of(*job.study)
    begin = time.perf_counter()

    def report(record: Record) -> None:
        records.append(record)
        if channel is not None:
            channel.tell(job.fingerprint, job.name, trial.seed, updates, record)
        if asked is not None and record.test_accuracy is not None:
            with quiet():
                asked.report(job.objective.step(record), round(record.epoch))
                if record.update < updates and asked.should_prune():
                    raise _Pruned

    try:
        return Ran(train(trial, report), reported=asked is not None)
    except _Pruned:
        return Ran(Outcome("finished", tuple(records), time.perf_counter() - begin), pruned=True)
    finally:
        if channel is not None:
            channel.done(job.fingerprint)


def _trial_of(url: str, name: str, pruner: str, trial: int) -> optuna.Trial:
    import optuna

    with quiet():
        study = _studies.get((url, name))
        if study is None:
            _studies.clear()
            # The sampler is never asked here; a random sampler does nothing on its own.
            study = _studies[url, name] = optuna.load_study(
                study_name=name, storage=open_storage(url), sampler=optuna.samplers.RandomSampler()
            )
        study.pruner = pruner_of(pruner)
        return optuna.Trial(study, trial)
