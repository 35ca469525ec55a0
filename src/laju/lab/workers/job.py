"""The work of a job in its process: train a segment of a trial, and send the progress to the waiting process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from laju.lab.engines import train, train_part
from laju.lab.engines.loop import Progress
from laju.lab.trials import Outcome, Record, Trial
from laju.lab.trials.numerics import Numerics
from laju.lab.trials.progress import Channel
from laju.lab.trials.tasks import Data, Task
from laju.lab.workers.executors import Shared
from laju.lab.workers.prefixes import Key


@dataclass(frozen=True)
class Work:
    """The trials of a run; `data` has the data of the tasks, for machines that may lack the data."""

    trials: dict[Key, Trial]
    data: dict[int, Data]

    @classmethod
    def of(cls, trials: Mapping[Key, Trial], with_data: bool) -> Work:
        tasks = {id(trial.task): trial.task for trial in trials.values()} if with_data else {}
        # By the position of the first trial of each task, since ids do not travel.
        places = {id(trial.task): i for i, trial in reversed(list(enumerate(trials.values())))}
        data = {places[i]: task.data() for i, task in tasks.items() if type(task).data is Task.data}
        return cls(dict(trials), data)

    def unpack(self) -> dict[Key, Trial]:
        """The trials, with the transferred data in their tasks."""
        trials = list(self.trials.values())
        for i, data in self.data.items():
            trials[i].task.__dict__.setdefault("_data", data)
        return self.trials


@dataclass(frozen=True)
class Job:
    """A segment to train: the first trial of `keys` up to `stop`, or every trial to its end if `stop` is None.

    `start` is the branch point at the beginning, and `keep` requests a branch point at the end.
    `name` is for the display, through `folder`.
    """

    keys: tuple[Key, ...]
    fingerprints: tuple[str, ...]
    name: str
    folder: Path | None
    start: bytes | None = None
    stop: int | None = None
    keep: bool = False
    stack: int | None = None


def work(shared: Shared, job: Job) -> list[Outcome] | tuple[Progress, bytes | None]:
    """Train a segment: the outcome of each whole trial, or the progress of a trial and a branch point."""
    content: Work = shared.get()
    known = content.unpack()
    trials = [known[key] for key in job.keys]
    channel = None if job.folder is None else Channel(job.folder)

    # A segment that keeps a branch point is shared by several trials, whose rates go on in several ways.
    known_rates = [None if job.keep else _schedule(trial) for trial in trials]

    def tell(i: int, record: Record) -> None:
        if channel is not None:
            name = job.name if job.stop is not None else job.keys[i][0]
            updates = trials[i].plan.updates
            channel.tell(job.fingerprints[i], name, job.keys[i][1], updates, record, known_rates[i])

    def report(record: Record) -> None:
        tell(0, record)

    try:
        if job.stop is not None:
            return train_part(trials[0], job.start, job.stop, job.keep, report)
        if trials[0].numerics == Numerics():
            return [train(trials[0], report)]
        from laju.lab.engines.stack import train_stack

        return train_stack(trials, tell, job.stack)
    finally:
        if channel is not None:
            for fingerprint in job.fingerprints:
                channel.done(fingerprint)


def _schedule(trial: Trial) -> str | None:
    """The JSON of a trial's schedule in updates; None if a rule changes its rates, its losses are of an average, or the
    schedule has no JSON."""
    if trial.rule is not None or trial.average is not None:
        return None
    try:
        return json.dumps(trial.schedule.resolve(trial.plan).to_json())
    except (TypeError, ValueError):  # a function of the user's without a name
        return None
