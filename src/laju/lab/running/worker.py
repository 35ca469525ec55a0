"""What happens where a job runs: a stretch of a trial is trained, and whoever waits is told where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from laju.lab.engines import train, train_part
from laju.lab.engines.loop import Progress
from laju.lab.progress import Channel, Running
from laju.lab.running.places import Shared
from laju.lab.running.stretches import Key
from laju.lab.tasks import Data, Task
from laju.lab.trials import Outcome, Record, Trial


@dataclass(frozen=True)
class Work:
    """The trials of a run; `data` are those of their tasks, for machines that may not have them."""

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
        """The trials, their tasks with the data that came along."""
        trials = list(self.trials.values())
        for i, data in self.data.items():
            trials[i].task.__dict__.setdefault("_data", data)
        return self.trials


@dataclass(frozen=True)
class Job:
    """A stretch to train: of the trial `key`, to `stop`, or the whole trial where `stop` is None.

    `start` is the branch point that it begins at, and `keep` asks for one at its end. `name` is shown to who waits, in `folder`.
    """

    key: Key
    fingerprint: str
    name: str
    folder: Path | None
    start: bytes | None = None
    stop: int | None = None
    keep: bool = False


def work(shared: Shared, job: Job) -> Outcome | tuple[Progress, bytes | None]:
    """Train a stretch: the outcome of a whole trial, or how far the trial is and a branch point."""
    content: Work = shared.get()
    trial = content.unpack()[job.key]
    channel = None if job.folder is None else Channel(job.folder)
    updates, seed = trial.plan.updates, job.key[1]

    def report(record: Record) -> None:
        if channel is not None:
            channel.tell(job.fingerprint, Running(job.name, seed, updates=updates, record=record))

    try:
        if job.stop is None:
            return train(trial, report)
        return train_part(trial, job.start, job.stop, job.keep, report)
    finally:
        if channel is not None:
            channel.done(job.fingerprint)
